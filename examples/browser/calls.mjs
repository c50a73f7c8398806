// Drives calls of the page in a browser with a false microphone and camera: node calls.mjs http://page ws://server/mqtt
// /path/of/chromium scenario. What it asks the test for (see tabs.mjs) differs with the scenario; it ends with "ok".

import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'
import { ask, executablePath, logIn, open, tab } from './tabs.mjs'

const browser = await chromium.launch({
  executablePath, args: ['--use-fake-device-for-media-stream=device-count=3', '--use-fake-ui-for-media-stream', '--autoplay-policy=no-user-gesture-required'],
})

// A device: a tab with a session of its own, in which connections can be counted and measured.
async function device(user, conv) {
  const context = await browser.newContext()
  await context.addInitScript(() => {
    globalThis.pcs = []
    globalThis.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...args) {
        super(...args)
        globalThis.pcs.push(this)
      }
    }
    // figures are those of all connections that stand: packets and frames, from how many they are heard and seen, to how many a camera may
    // be seen, and the bits a second that it takes.
    globalThis.figures = async () => {
      const sum = { audio: 0, video: 0, heard: 0, seen: 0, cameras: 0, filmed: 0, open: 0, made: globalThis.pcs.length }
      for (const pc of globalThis.pcs.filter((p) => p.connectionState === 'connected')) {
        sum.open++
        for (const s of (await pc.getStats()).values()) {
          if (s.type === 'outbound-rtp' && s.kind === 'video') {
            sum.cameras++
            if (s.active) sum.filmed += s.targetBitrate ?? 0
          }
          if (s.type !== 'inbound-rtp') continue
          const n = s.kind === 'video' ? s.framesDecoded ?? 0 : s.packetsReceived
          sum[s.kind] += n
          if (n > 10) sum[s.kind === 'video' ? 'seen' : 'heard']++
        }
      }
      return sum
    }
  })
  const t = await tab(context)
  await logIn(t, user)
  await open(t, conv)
  console.log(`${user} is here`) // the test waits for a line at a time
  return t
}

const figures = (t) => t.evaluate(() => globalThis.figures())

// until waits for figures.
async function until(t, what, ok) {
  const deadline = Date.now() + 60_000
  for (let f; ;) {
    f = await figures(t)
    if (ok(f)) return f
    assert.ok(Date.now() < deadline, `${what}: ${JSON.stringify(f)}`)
    await new Promise((r) => setTimeout(r, 50))
  }
}

// flows waits until so much more of each kind has arrived: packets of audio, frames of video.
async function flows(t, more) {
  const before = await figures(t)
  return until(t, `media that go on from ${JSON.stringify(before)}`, (f) => Object.entries(more).every(([kind, n]) => f[kind] >= before[kind] + n))
}

const button = (t, name) => t.getByRole('button', { name, exact: true })
const incoming = (t) => t.getByRole('alertdialog')
const call = (t, title = '') => t.getByRole('region', { name: new RegExp(`^Call: ${title}`) })
const phase = (t, text) => call(t).getByRole('status').filter({ hasText: text }).waitFor()
const says = (t, text) => t.locator('#status').filter({ hasText: text }).waitFor()
const gone = (locator) => locator.waitFor({ state: 'hidden' })

async function rings(t, by) {
  await incoming(t).getByRole('heading', { name: by }).waitFor()
}

async function answer(t, by, how = 'Answer') {
  await rings(t, by)
  await button(t, how).click()
  await phase(t, 'Connected.')
}

// over: all parties see that the call is, and have no connection left.
async function over(...tabs) {
  for (const t of tabs) {
    await gone(call(t))
    await until(t, 'the end of connections', (f) => f.open === 0)
  }
}

// Three browsers are in a mesh; when two programs come, all goes through the SFU, also through one that knows nothing of anybody.
async function crew(video) {
  const tabs = []
  for (const user of ['ann', 'bob', 'carol']) tabs.push(await device(user, 'crew'))
  const [ann, bob, carol] = tabs
  const seen = video ? 2 : 0
  const rest = (audio, frames) => video ? { audio, video: frames } : { audio }
  const ring = video ? 'ann calls with video' : 'ann calls'
  await button(ann, video ? 'Video call' : 'Call').click()
  await phase(ann, /Calling|Connected/)
  await answer(bob, ring, video ? 'Answer with video' : 'Answer')
  await rings(carol, ring)
  await button(carol, 'Not on this device').click()
  await carol.getByRole('button', { name: video ? 'Join with video' : /^Join the call of/ }).click()
  for (const t of tabs) {
    await until(t, 'a mesh', (f) => f.open === 2)
    await flows(t, rest(40, 10))
  }
  console.log('a mesh')
  await ask('programs') // two more join: the SFU takes over, and no second is lost
  for (const t of tabs) {
    for (const name of ['dave', 'erin']) await call(t).getByText(name, { exact: true }).waitFor()
    await until(t, 'one connection instead of the mesh', (f) => f.open === 1 && f.heard === 4 && f.seen === seen)
    await flows(t, rest(100, 20))
    if (video) for (const user of ['ann', 'bob', 'carol'].filter((u) => tabs['abc'.indexOf(u[0])] !== t)) await call(t).getByLabel(`Video of ${user}`).waitFor()
    console.log('all through the SFU')
  }
  await ask('heard')
  await ask('stop')
  for (const t of tabs) await says(t, 'No connection')
  await ask('start')
  for (const t of tabs) {
    await says(t, 'Connected as')
    await until(t, 'a new connection', (f) => f.open === 1 && f.heard === 4 && f.seen === seen)
    await flows(t, rest(50, 10))
    console.log('all through the new SFU')
  }
  for (const t of tabs) await button(t, 'Hang up').click()
  await over(...tabs)
}

const scenarios = {
  async direct() {
    const [ann, bob, other] = [await device('ann', '@bob'), await device('bob', '@ann'), await device('bob', '@ann')]

    // It rings at both of bob's devices; who types on when it begins to ring answers nothing.
    await button(ann, 'Call').click()
    await phase(ann, 'Calling …')
    await rings(bob, 'ann calls')
    await rings(other, 'ann calls')
    await bob.keyboard.press('Enter')
    await bob.keyboard.press('Space')
    assert.equal(await bob.evaluate(() => document.activeElement.id), 'caller')
    await answer(bob, 'ann calls')
    await gone(incoming(other))
    await says(other, 'another of your devices')
    await phase(ann, 'Connected.')
    for (const t of [ann, bob]) {
      await flows(t, { audio: 50 })
      await call(t).getByText(/Round trip \d+ ms, loss \d+\.\d %, \d+ kbit\/s in/).waitFor()
    }

    // Both switch on their cameras at the same time, bob off again.
    await Promise.all([ann, bob].map((t) => button(t, 'Video').click()))
    for (const t of [ann, bob]) await flows(t, { audio: 20, video: 5 })
    await call(ann).getByLabel('Video of bob').waitFor()
    await button(bob, 'Video').click()
    await gone(call(ann).getByLabel('Video of bob'))
    await flows(bob, { audio: 20, video: 5 })
    await button(bob, 'Video').click()
    await flows(ann, { video: 5 })

    // Hold: nothing flows, either way.
    await button(bob, 'Hold').click()
    await call(ann).getByText('bob (on hold)').waitFor()
    for (const t of [ann, bob]) {
      let before
      await until(t, 'silence', async () => true)
      for (let same = 0; same < 10;) { // half a second
        const now = await until(t, 'figures', () => true)
        same = before && now.audio === before.audio && now.video === before.video ? same + 1 : 0
        before = now
        await new Promise((r) => setTimeout(r, 50))
      }
    }
    await button(bob, 'Hold').click()
    for (const t of [ann, bob]) await flows(t, { audio: 20, video: 5 })

    // Another network: ICE begins anew, media go on, over the same connection.
    const ufrag = () => ann.evaluate(() => /a=ice-ufrag:(\S+)/.exec(globalThis.pcs[0].localDescription.sdp)[1])
    const first = await ufrag()
    await ann.evaluate(() => dispatchEvent(new Event('online')))
    await ann.waitForFunction((was) => !globalThis.pcs[0].localDescription.sdp.includes(`a=ice-ufrag:${was}`), first)
    for (const t of [ann, bob]) assert.equal((await flows(t, { audio: 50 })).made, 1)
    await button(ann, 'Mute').click()
    assert.equal(await button(ann, 'Mute').getAttribute('aria-pressed'), 'true')
    await button(ann, 'Hang up').click()
    await over(ann, bob)
    await bob.getByRole('log').getByText(/^Call by ann: answered, 0:\d\d$/).waitFor()

    // Declined, at once at all devices; taken back; not on this device.
    await button(ann, 'Video call').click()
    await rings(other, 'ann calls with video')
    await rings(bob, 'ann calls with video')
    await button(bob, 'Decline').click()
    await gone(incoming(other))
    await says(ann, 'declined')
    await over(ann, bob)
    await button(ann, 'Call').click()
    await rings(bob, 'ann calls')
    await rings(other, 'ann calls')
    await button(ann, 'Hang up').click()
    for (const t of [bob, other]) await gone(incoming(t))
    await ann.getByRole('log').getByText('Call by ann: cancelled').waitFor()
    await button(ann, 'Call').click()
    await rings(bob, 'ann calls')
    await button(bob, 'Not on this device').click()
    await gone(incoming(bob))
    await answer(other, 'ann calls', 'Answer with video')
    await flows(ann, { audio: 20, video: 5 })
    await flows(other, { audio: 20 })
    await button(other, 'Hang up').click()
    await over(ann, other)
  },

  // They call each other at the same time: one call, and nothing rings.
  async glare() {
    const [ann, bob] = [await device('ann', '@bob'), await device('bob', '@ann')]
    await Promise.all([ann, bob].map((t) => button(t, 'Video call').click()))
    for (const t of [ann, bob]) {
      await phase(t, 'Connected.')
      await flows(t, { audio: 20, video: 5 })
      assert.equal(await incoming(t).isVisible(), false)
    }
    await button(bob, 'Hang up').click()
    await over(ann, bob)
  },

  // carol calls bob, who talks with ann: he refuses, then he puts ann on hold, and then carol.
  async waiting() {
    const [ann, bob, carol] = [await device('ann', '@bob'), await device('bob', '@ann'), await device('carol', '@bob')]
    await button(ann, 'Call').click()
    await answer(bob, 'ann calls')
    await button(carol, 'Call').click()
    await rings(bob, 'carol calls')
    await incoming(bob).getByText('will be on hold').waitFor()
    await button(bob, 'Decline').click()
    await says(carol, 'declined')
    await flows(ann, { audio: 20 })
    await button(carol, 'Call').click()
    await rings(bob, 'carol calls')
    await button(bob, 'Answer').click()
    await call(ann).getByText('bob (on hold)').waitFor()
    await phase(carol, 'Connected.')
    await flows(carol, { audio: 20 })
    await button(call(bob, '@ann'), 'Hold').click()
    await call(carol).getByText('bob (on hold)').waitFor()
    await call(ann).getByText('bob', { exact: true }).waitFor()
    await button(call(bob, '@carol'), 'Hang up').click()
    await over(carol)
    for (const t of [ann, bob]) await flows(t, { audio: 20 })
    await button(ann, 'Hang up').click()
    await over(ann, bob)
  },

  // ann goes on with a call on her other device, and then on the first one again.
  async handover() {
    const [ann, bob, tablet] = [await device('ann', '@bob'), await device('bob', '@ann'), await device('ann', '@bob')]
    await button(ann, 'Video call').click()
    await answer(bob, 'ann calls with video', 'Answer with video')
    for (const [from, to] of [[ann, tablet], [tablet, ann]]) {
      await phase(to, 'On another of your devices.')
      await gone(button(to, 'Call'))
      await button(to, 'Take the call here').click()
      await says(from, 'another of your devices')
      await phase(to, 'Connected.')
      for (const t of [to, bob]) await flows(t, { audio: 20, video: 5 })
      await until(from, 'the end of connections', (f) => f.open === 0)
    }
    await button(bob, 'Hang up').click()
    await over(ann, bob, tablet)
  },

  // ann's addresses are nobody's business; in the middle of the call she takes another camera and another microphone.
  async settings() {
    const [ann, bob] = [await device('ann', '@bob'), await device('bob', '@ann')]
    await ann.getByText('Settings of calls').click()
    await ann.getByLabel('Network addresses').selectOption('always')
    await button(ann, 'Video call').click()
    await answer(bob, 'ann calls with video', 'Answer with video')
    for (const t of [ann, bob]) await flows(t, { audio: 20, video: 5 })
    await call(ann).getByText(/Round trip .*, relayed$/).waitFor()
    const types = await ann.evaluate(async () => [...await globalThis.pcs[0].getStats()].map(([, s]) => s).filter((s) => s.type === 'local-candidate').map((s) => s.candidateType))
    assert.ok(types.length > 0 && types.every((type) => type === 'relay'), `candidates: ${types}`)

    await ann.getByText('Settings of calls').click() // devices have names by now
    await ann.getByText('Settings of calls').click()
    for (const [label, kind] of [['Camera', 'video'], ['Microphone', 'audio']]) {
      const uses = () => ann.evaluate((k) => globalThis.pcs[0].getSenders().find((s) => s.track?.kind === k)?.track.getSettings().deviceId, kind)
      const first = await uses()
      const last = await ann.getByLabel(label).locator('option').evaluateAll((all) => all.at(-1).value) // Chromium's second false camera has a format that isn't sent
      assert.notEqual(last, first)
      await ann.getByLabel(label).selectOption(last)
      while (await uses() !== last) await flows(ann, { audio: 5 })
      assert.equal((await flows(bob, { audio: 20, video: 5 })).made, 1)
    }
    await button(ann, 'Hang up').click()
    await over(ann, bob)
    await ann.reload() // the choices stay
    await button(ann, 'Connect').click()
    await ann.getByText('Settings of calls').click()
    await ann.waitForFunction(() => document.getElementById('relay').value === 'always')
  },

  // ann loads her page again in the middle of a call.
  async reload() {
    const [ann, bob] = [await device('ann', '@bob'), await device('bob', '@ann')]
    await button(ann, 'Video call').click()
    await answer(bob, 'ann calls with video', 'Answer with video')
    for (const t of [ann, bob]) await flows(t, { audio: 20, video: 5 })
    await ann.reload()
    await call(bob).getByText('ann (away)').waitFor()
    assert.equal(await ann.getByLabel('User').inputValue(), 'ann')
    await button(ann, 'Connect').click()
    await phase(ann, 'Connected.')
    for (const t of [ann, bob]) await flows(t, { audio: 50, video: 5 })
    await call(bob).getByText('ann', { exact: true }).waitFor()
    await button(bob, 'Hang up').click()
    await over(ann, bob)
  },

  // The server is killed in the middle of a call, and comes back: media don't notice.
  async crash() {
    const [ann, bob] = [await device('ann', '@bob'), await device('bob', '@ann')]
    await button(ann, 'Video call').click()
    await answer(bob, 'ann calls with video', 'Answer with video')
    for (const t of [ann, bob]) await flows(t, { audio: 20, video: 5 })
    await ask('stop')
    for (const t of [ann, bob]) {
      await says(t, 'No connection')
      await flows(t, { audio: 100, video: 20 })
    }
    await button(bob, 'Hold').click() // is told when there is a server
    await ask('start')
    for (const t of [ann, bob]) {
      await says(t, 'Connected as')
      await phase(t, 'Connected.')
    }
    await call(ann).getByText('bob (on hold)').waitFor()
    await button(bob, 'Hold').click()
    for (const t of [ann, bob]) assert.equal((await flows(t, { audio: 50, video: 10 })).made, 1, 'connections that were made')
    await button(bob, 'Hang up').click()
    await over(ann, bob)
    await ann.getByRole('log').getByText(/^Call by ann: answered/).waitFor()
  },

  // A program of ours answers, and calls.
  async program() {
    const ann = await device('ann', '@bob')
    await ask('answer')
    await button(ann, 'Video call').click()
    await phase(ann, 'Connected.')
    await flows(ann, { audio: 50 })
    await ask('heard')
    await until(ann, 'a small picture', (f) => f.filmed > 0 && f.filmed <= 150_000) // as the program wants it
    await button(ann, 'Hang up').click()
    await over(ann)
    await ask('call')
    await answer(ann, 'bob calls', 'Answer with video')
    await flows(ann, { audio: 50 })
    await until(ann, 'no picture, which nobody wants to see', (f) => f.cameras === 1 && f.filmed === 0)
    await button(ann, 'Hang up').click()
    await over(ann)
  },

  group: () => crew(true),
  voices: () => crew(false),
}

await scenarios[process.argv[5]]()
await browser.close()
console.log('ok')
process.exit(0)
