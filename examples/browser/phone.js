// What the page shows of calls: the dialog when it rings, a section for each call, and the buttons that begin one. Whatever others
// chose (their names) gets into it by textContent alone.

import { Calls } from './calls.js'
import { settings } from './settings.js'

const $ = (id) => document.getElementById(id)

const PHASES = { elsewhere: 'On another of your devices.', calling: 'Calling …', connecting: 'Connecting …', active: 'Connected.', reconnecting: 'Connection lost. Trying to get it back …' }
const OUTCOMES = { // of calls that are over
  answered: 'The call is over.', missed: 'Nobody answered.', declined: 'The call was declined.', busy: 'They are in another call.',
  cancelled: 'The call was cancelled.', failed: 'The call failed.', taken: 'The call is on another of your devices.',
}

const rate = (bits) => `${Math.round(bits / 1000)} kbit/s`

function quality(q) {
  if (!q || q.rtt === undefined) return ''
  const words = [`Round trip ${Math.round(q.rtt * 1000)} ms`, `loss ${(q.loss * 100).toFixed(1)} %`, `${rate(q.received)} in`, `${rate(q.sent)} out`]
  return words.concat(q.relayed ? ['relayed'] : []).join(', ')
}

// Phone is all calls of one user.
export class Phone {
  #views = new Map() // id -> View
  #ringing = null // the call that the dialog shows
  #running = new Map() // conversation -> the call of the group
  #conv = null // that is open
  #tone = null

  // title(conv) is what a conversation is called; status(text) tells the user something.
  constructor(petrel, title, status) {
    Object.assign(this, { title, status })
    this.calls = new Calls(petrel, (call) => this.#changed(call))
    settings(petrel, this.calls, status)
    $('call').onclick = () => this.#start(['audio'])
    $('video-call').onclick = () => this.#start(['audio', 'video'])
    $('answer').onclick = () => this.#answer(['audio'])
    $('answer-video').onclick = () => this.#answer(['audio', 'video'])
    $('decline').onclick = () => this.#ringing?.decline()
    $('silence').onclick = () => this.#ringing?.decline({ device: true })
    $('incoming').oncancel = (escape) => {
      escape.preventDefault() // #ring closes it
      this.#ringing?.decline({ device: true })
    }
  }

  online() {
    this.calls.online()
    $('settings').hidden = false
  }

  told(party, message) { this.calls.told(party, message) }
  end() {
    this.calls.end()
    $('settings').hidden = true
  }

  // open says which conversation the page shows.
  open(conv) {
    this.#conv = conv
    this.#buttons()
  }

  // running notes the call of a group, null when there is none.
  running(conv, call) {
    call ? this.#running.set(conv, call) : this.#running.delete(conv)
    this.#buttons()
  }

  #buttons() {
    const here = [...this.calls.all.values()].some((c) => c.conv === this.#conv && (c.party || c.elsewhere))
    const people = this.#running.get(this.#conv)?.parties.length
    $('call').hidden = $('video-call').hidden = !this.#conv || here
    $('call').textContent = people ? `Join the call of ${people}` : 'Call'
    $('video-call').textContent = people ? 'Join with video' : 'Video call'
  }

  // A call at a time: others go on hold.
  #only(call) { for (const c of this.calls.all.values()) if (c !== call && c.party && !c.hold) c.setHold(true) }

  async #start(media) {
    $('call').disabled = $('video-call').disabled = true // once
    try {
      this.#only(await this.calls.start(this.#conv, media))
    } catch (err) {
      this.status(`No call: ${err.message}`)
    } finally {
      $('call').disabled = $('video-call').disabled = false
    }
  }

  async #answer(media) {
    const call = this.#ringing
    if (!call) return
    try {
      await call.accept(media)
      if (!call.ended) this.#only(call)
    } catch (err) {
      $('trouble').textContent = err.message
    }
  }

  #changed(call) {
    if ((call.party || call.elsewhere) && !call.ended && !this.#views.has(call.id)) {
      this.#views.set(call.id, new View(call, this.title(call.conv), () => this.#only(call)))
    }
    this.#views.get(call.id)?.show()
    if (call.ended) {
      this.#views.get(call.id)?.remove()
      this.#views.delete(call.id)
      const { outcome } = call.ended
      const text = outcome === 'missed' && call.incoming ? 'You missed a call.' : OUTCOMES[outcome] ?? OUTCOMES.answered
      this.status(`${this.title(call.conv)}: ${text}`)
    }
    this.#ring()
    this.#buttons()
  }

  // #ring shows the first call that rings, if there is one.
  #ring() {
    const calls = [...this.calls.all.values()]
    const call = calls.find((c) => c.phase === 'ringing' && c.state) ?? null
    const dialog = $('incoming')
    if (call === this.#ringing) return
    this.#ringing = call
    this.#tone?.close()
    this.#tone = null
    dialog.close()
    if (!call) return
    const { from, conv, media } = call.state
    const group = this.title(conv) === `@${from}` ? '' : ` (${this.title(conv)})`
    $('caller').textContent = `${from} calls${media.includes('video') ? ' with video' : ''}${group}`
    $('waiting').hidden = !calls.some((c) => c.party)
    $('trouble').textContent = ''
    dialog.showModal()
    this.#tone = tone()
  }
}

// tone rings until it is closed.
function tone() {
  const audio = new AudioContext()
  const bell = new OscillatorNode(audio, { frequency: 440 })
  const volume = new GainNode(audio, { gain: 0 })
  for (let at = 0; at < 120; at += 3) {
    volume.gain.setValueAtTime(0.1, at)
    volume.gain.setValueAtTime(0, at + 1)
  }
  bell.connect(volume).connect(audio.destination)
  bell.start()
  return audio
}

// View is the section of one call.
class View {
  #people = new Map() // party -> {item, video, name}

  // only() puts all other calls on hold.
  constructor(call, title, only) {
    this.call = call
    this.section = $('call-template').content.firstElementChild.cloneNode(true)
    const $$ = this.$$ = (selector) => this.section.querySelector(selector)
    $$('h2').textContent = `Call: ${title}`
    $$('h2').id = `call-${call.id}`
    this.section.setAttribute('aria-labelledby', $$('h2').id)
    $$('.mute').onclick = () => call.mute(!call.muted)
    $$('.hold').onclick = () => {
      if (call.hold) only()
      call.setHold(!call.hold)
    }
    $$('.take').onclick = () => call.take().then(() => { if (!call.ended && !call.hold) only() }, (err) => this.#phase(err.message))
    $$('.video').onclick = () => call.video(!call.media.includes('video')).catch((err) => this.#phase(err.message))
    $$('.hangup').onclick = () => call.hangup()
    $('calls').append(this.section)
  }

  show() {
    const { call, $$ } = this
    if (call.phase !== this.phase) this.#phase(PHASES[this.phase = call.phase] ?? '')
    $$('.take').hidden = !call.elsewhere
    for (const name of ['.mute', '.hold', '.video', '.hangup', '.people']) $$(name).hidden = call.elsewhere
    $$('.mute').ariaPressed = String(call.muted)
    $$('.hold').ariaPressed = String(call.hold)
    $$('.video').ariaPressed = String(call.media.includes('video'))
    $$('.quality').textContent = quality(call.quality)
    $$('.me').hidden = !call.stream?.getVideoTracks().length
    play($$('.me video'), call.stream)
    const others = call.others()
    for (const other of others) this.#person(other)
    for (const [party, { item }] of this.#people) {
      if (others.some((o) => o.party === party)) continue
      item.remove()
      this.#people.delete(party)
    }
  }

  #phase(text) { this.$$('.phase').textContent = text } // read out, so only when it is another

  #person({ party, user, state, media, hold, stream }) {
    if (!this.#people.has(party)) {
      const [item, video, name] = ['li', 'video', 'span'].map((tag) => document.createElement(tag))
      video.autoplay = video.playsInline = true
      item.append(video, name)
      this.$$('.people').append(item)
      this.#people.set(party, { item, video, name })
    }
    const { video, name } = this.#people.get(party)
    const text = user + (hold ? ' (on hold)' : state === 'reconnecting' ? ' (away)' : '')
    if (name.textContent !== text) name.textContent = text
    video.setAttribute('aria-label', `Video of ${user}`)
    video.hidden = hold || !media.includes('video') || !stream?.getVideoTracks().length // its sound goes on
    video.muted = this.call.hold
    play(video, stream)
  }

  remove() { this.section.remove() }
}

function play(video, stream) {
  if (video.srcObject !== (stream ?? null)) video.srcObject = stream ?? null
}
