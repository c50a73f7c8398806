// Drives the page in a browser: node drive.mjs http://page ws://server/mqtt /path/of/chromium
//
// ann sits at a desk and uses the keyboard alone, bob has a phone. It writes "stop" and "start" when the server is
// to crash and to come back, reads a line when that has happened, and ends with "ok".

import assert from 'node:assert/strict'
import mqtt from 'mqtt'
import { chromium, devices } from 'playwright-core'
import { ask, executablePath, logIn, open, page, server, tab } from './tabs.mjs'

const browser = await chromium.launch({ executablePath })

const items = (t) => t.getByRole('log').getByRole('listitem')
const message = (t, text) => items(t).filter({ has: t.getByText(text, { exact: true }) })
// texts is every message of the log, once it ends with `last`.
async function texts(t, last) {
  await items(t).last().getByText(last, { exact: true }).waitFor()
  return t.getByRole('log').locator('.text').allTextContents()
}

// ann, with the keyboard: everything is reached with Tab and Enter.
const desk = await browser.newContext()
const ann = await tab(desk)
await ann.goto(page)
await ann.keyboard.press('Tab')
await ann.keyboard.press('ControlOrMeta+a')
await ann.keyboard.type(server)
await ann.keyboard.press('Tab')
await ann.keyboard.type('ann')
await ann.keyboard.press('Enter')
await ann.getByRole('status').filter({ hasText: 'Connected as ann.' }).waitFor()
await ann.keyboard.type('@bob') // the focus is where one begins
await ann.keyboard.press('Enter')
await ann.getByRole('heading', { name: '@bob' }).waitFor()

// bob, on a phone.
const phone = await browser.newContext(devices['Pixel 5'])
const bob = await tab(phone)
await logIn(bob, 'bob')
await open(bob, '@ann')
for (const control of await bob.locator('button:visible, input:visible, textarea:visible').all()) {
  const { width, height } = await control.boundingBox()
  assert.ok(width >= 44 && height >= 44, `too small for a thumb: ${await control.evaluate((e) => e.outerHTML)}`)
}
assert.ok(await bob.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is wider than the phone')

// What looks like HTML is text.
const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script><b>hello</b> & goodbye'
await ann.getByLabel('Message').fill(hostile)
await ann.keyboard.press('Enter')
await message(bob, hostile).waitFor()
assert.equal(await bob.locator('#log img, #log script, #log b').count(), 0, 'a message became HTML')
assert.equal(await bob.title(), 'petrel')
await message(ann, hostile).getByText('sent').waitFor()

// Both ways, and several lines.
await bob.getByLabel('Message').tap()
await bob.getByLabel('Message').fill('one line\nand another')
await bob.getByRole('button', { name: 'Send' }).tap()
await message(ann, 'one line\nand another').waitFor()

// A refusal is told, and the page goes on.
await open(ann, 'no-such-group')
await ann.getByLabel('Message').fill('is anybody here?')
await ann.keyboard.press('Enter')
await ann.getByRole('status').filter({ hasText: 'Not sent: not-found' }).waitFor()
await open(ann, '@bob')

// The server crashes. What ann writes is kept, although she reloads the page; what bob writes is, too.
await ask('stop')
for (const t of [ann, bob]) await t.getByRole('status').filter({ hasText: 'No connection' }).waitFor()
await ann.getByLabel('Message').fill('written without a server')
await ann.keyboard.press('Enter')
await message(ann, 'written without a server').getByText('waiting').waitFor()
await bob.getByLabel('Message').fill('me too')
await bob.getByRole('button', { name: 'Send' }).tap()
await message(bob, 'me too').getByText('waiting').waitFor()
await ann.reload()
await ask('start')
await bob.getByRole('status').filter({ hasText: 'Connected as bob.' }).waitFor()
await message(bob, 'me too').getByText('sent').waitFor()
await logIn(ann, 'ann')
await ann.getByRole('button', { name: '@bob' }).press('Enter')
await ann.getByLabel('Message').fill('the end')
await ann.keyboard.press('Enter')

// Each message is there once, in the same order for both, as in the log.
const want = [hostile, 'one line\nand another', 'me too', 'written without a server', 'the end']
assert.deepEqual(await texts(ann, 'the end'), want)
assert.deepEqual(await texts(bob, 'the end'), want)

// What a screen reader finds: named regions, a log that speaks, controls with names.
const snapshot = await bob.locator('main').ariaSnapshot()
for (const part of ['navigation "Conversations"', 'region "@ann"', 'log "@ann"', 'textbox "Message"', 'button "Send"', 'status: Connected as bob.']) {
  assert.ok(snapshot.includes(part), `no ${part} in\n${snapshot}`)
}

// Edits and deletions, by another device of ann's, in a page that is open and in one that is loaded afterwards.
const device = await mqtt.connectAsync(server, { protocolVersion: 5, username: 'ann', clientId: 'watch' })
const act = (event) => device.publishAsync('u/bob/json', JSON.stringify(event), { qos: 1 })
const seqOf = async (text) => Number(await message(bob, text).getAttribute('data-seq'))
await act({ kind: 'edit', re: await seqOf('written without a server'), text: '<i>corrected</i>' })
await act({ kind: 'delete', re: await seqOf(hostile) })
await device.endAsync()
const after = ['(deleted)', 'one line\nand another', 'me too', '<i>corrected</i> (edited)', 'the end']
await message(bob, '(deleted)').waitFor()
assert.deepEqual(await texts(bob, 'the end'), after)
const second = await tab(desk)
await logIn(second, 'ann')
await second.getByRole('button', { name: '@bob' }).click()
assert.deepEqual(await texts(second, 'the end'), after.slice(1), 'what is deleted is no longer in the log')

// Were there a mistake in the page, the browser would still not take text for HTML.
const careless = await desk.newPage()
await careless.goto(page)
await assert.rejects(careless.evaluate(() => { document.body.innerHTML = '<b>x</b>' }), /TrustedHTML/)

await browser.close()
console.log('ok')
process.exit(0)
