// Call is a call that this tab takes part in, or that rings. The server is the authority on what state it is in: a Call follows
// what it is told, and makes the connections (peer.js) that this asks for. docs/protocol.md#calls is the contract.

import { capture, stop } from './capture.js'
import { Forwarded, Peer } from './peer.js'

const SFU = 'sfu'
const SILENT = 30_000 // ms without media and signals, after which a call is over
const STALLED = 10_000 // ms until what should have come is helped along
const HOPELESS = 25_000 // ms until media begin anew
const BRIDGE = 10_000 // ms that the mesh is kept for parties that send nothing

// phase is what the page shows: ringing (here), elsewhere (on another device of mine), calling, connecting, active, reconnecting, ended.
export class Call {
  party // mine; none while it rings
  media = [] // what I send
  stream = null // my camera and microphone
  muted = false
  hold = false
  state = null // what the server told last
  ended = null // {outcome, reason}, when it is over
  quality = null
  peers = new Map() // party -> Peer
  #seq = 0 // of the last signal
  #gap = 0 // seq behind which one was missing
  #epochs = new Map() // party -> the newest
  #own = 0 // epoch of my party
  #early = [] // signals from before connections could be made
  #config = null // of connections; null: not known yet
  #until = 0 // when the ICE servers' passwords end
  #fetching = false
  #fresh = false // I offer to everybody
  #waits = new Map() // party -> since when a connection to it is missing
  #timers = []
  #heard = performance.now() // media of anybody
  #online = performance.now() // signalling
  #vouched = 0
  #rebuilt = 0
  #measured = 0

  constructor(calls, { id, conv, incoming = false, elsewhere = false, party, media, hold = false, reloaded = false }) {
    Object.assign(this, { calls, petrel: calls.petrel, id, conv, incoming, elsewhere, party, media: media ?? [], hold, reloaded })
  }

  get phase() {
    if (this.ended) return 'ended'
    if (this.elsewhere) return 'elsewhere'
    if (!this.party) return 'ringing'
    return { connecting: 'connecting', active: 'active', reconnecting: 'reconnecting' }[this.state?.state] ?? 'calling'
  }

  #changed() { this.calls.changed(this) }

  #say(verb, message = {}, options) { return this.petrel.say(`k/${this.id}/${verb}`, message, options) }

  // -- what the person wants

  async accept(media) {
    const stream = await capture(media)
    try {
      const { party } = await this.#say('accept', { media }, { again: true, wanted: () => !this.ended })
      this.joined(party, media, stream)
    } catch (err) {
      stop(stream)
      if (err.code === 'conflict') this.over('taken')
      else if (err.code === 'not-found') this.over('missed')
      else if (!this.ended) throw err
    }
  }

  // take brings my part from another device of mine to this one. Media begin anew.
  async take() {
    const { party, media, hold = false } = this.state.parties.find((p) => p.user === this.petrel.user)
    const stream = await capture(media)
    try {
      await this.#say('resume', { party, media }, { again: true, wanted: () => this.elsewhere && !this.ended })
      Object.assign(this, { elsewhere: false, hold })
      this.#fresh = true
      this.joined(party, media, stream)
    } catch (err) {
      stop(stream)
      if (err.code === 'not-found') this.over()
      else throw err
    }
  }

  // decline refuses the call for all of the user's devices, or for this one.
  decline({ device = false } = {}) { this.#leave('decline', device ? { device } : {}, 'declined') }

  // hangup ends my part, at once. The server is told as soon as that is possible.
  hangup() { this.phase === 'calling' ? this.#leave('cancel', {}, 'cancelled') : this.#leave('hangup', {}, 'answered') }

  #leave(verb, message, outcome) {
    if (this.ended) return
    this.#say(verb, message, { again: true }).catch((err) => console.warn(`${verb}:`, err.message))
    this.over(outcome)
  }

  mute(on) {
    this.muted = on
    for (const track of this.stream?.getAudioTracks() ?? []) track.enabled = !on
    this.#changed()
  }

  setHold(on) {
    this.hold = on
    this.#negotiate({ hold: on })
  }

  // video switches the camera on or off.
  async video(on) {
    if (on === this.media.includes('video')) return
    if (on) {
      const [track] = (await capture(['video'])).getTracks()
      if (this.ended) return track.stop()
      this.stream.addTrack(track)
    } else {
      for (const track of this.stream.getVideoTracks()) {
        track.stop()
        this.stream.removeTrack(track)
      }
    }
    this.media = on ? [...this.media, 'video'] : this.media.filter((m) => m !== 'video')
    this.#negotiate({ media: this.media })
  }

  // recapture takes the microphone or the camera that was chosen meanwhile.
  async recapture(kind) {
    if (!this.party || !this.media.includes(kind)) return
    const [track] = (await capture([kind])).getTracks()
    if (this.ended || !this.media.includes(kind)) return track.stop()
    for (const old of this.stream.getTracks()) {
      if (old.kind !== kind) continue
      old.stop()
      this.stream.removeTrack(old)
    }
    this.stream.addTrack(track)
    this.mute(this.muted)
    this.#send()
  }

  // #negotiate says what I send from now on, and sends that.
  #negotiate(body) {
    this.#say('signal', { type: 'negotiate', body }, { again: true, wanted: () => !this.ended }).catch(() => {}) // the state says what holds
    this.#send()
    this.calls.keep()
    this.#changed()
  }

  #local(party) {
    return { stream: this.stream, shut: this.hold || Boolean(this.state?.parties.find((p) => p.party === party)?.hold) }
  }

  #send() { for (const [party, peer] of this.peers) peer.send(this.#local(party)) }

  // others are those who are in the call, with what they send.
  others() {
    const sfu = this.peers.get(SFU)
    return (this.state?.parties ?? []).filter((p) => p.party !== this.party).map((p) => {
      const peer = this.peers.get(p.party)
      return { ...p, stream: peer?.stream ?? sfu?.from(p.party), up: peer?.up ?? sfu?.up ?? false }
    })
  }

  // -- what the server says

  // joined: this device has a part in the call.
  joined(party, media, stream) {
    if (this.ended) return stop(stream)
    stop(this.stream)
    Object.assign(this, { party, media, stream })
    if (this.reloaded) this.reloaded = false
    else this.#config = null // it may have been relayed only until now
    this.mute(this.muted)
    this.calls.keep()
    this.#timers.push(setInterval(() => this.#tick(performance.now()), 1000))
    this.#servers()
    this.#changed()
  }

  async online() {
    this.#online = performance.now()
    if (this.ended) return
    if (this.elsewhere) return this.#say('resume').catch((err) => { if (err.code === 'not-found') this.over() }) // else it is taken
    if (!this.party) return this.#rings() // if it is over, the answer says so
    if (this.reloaded) return this.#afterReload()
    this.#resume()
    for (const peer of this.peers.values()) if (!peer.up || performance.now() - peer.heard > 2000) peer.restart(this.#config)
  }

  // #resume says that I am here, asks how the call stands, and vouches for those whose media arrive.
  #resume(more) {
    const hears = [...this.peers].filter(([, p]) => p.up && performance.now() - p.heard < 5000).map(([id]) => id).filter((id) => id !== SFU)
    const sfu = this.peers.get(SFU)
    for (const p of this.others()) if (sfu && !hears.includes(p.party) && performance.now() - sfu.heardFrom(p.party) < 5000) hears.push(p.party)
    return this.#say('resume', { seq: this.#seq, hears, ...more }, { again: true, wanted: () => !this.ended }).then(() => true, (err) => {
      if (err.code === 'not-found') this.over('failed')
      if (err.code === 'conflict') this.over('taken')
      return false
    })
  }

  // After the page was loaded again media begin anew: the others learn it from the epoch.
  async #afterReload() {
    this.reloaded = 'resuming'
    try {
      const stream = await capture(this.media)
      if (!await this.#resume({ fresh: true, media: this.media })) return stop(stream)
      for (const t of this.#early.splice(0)) if (t.party === this.party) this.#seq = Math.max(this.#seq, t.seq) // of connections that are no more
      this.#fresh = true
      this.joined(this.party, this.media, stream)
    } catch (err) {
      console.warn(err.message)
      this.hangup()
    }
  }

  // told takes how the call stands.
  told(t) {
    this.#online = performance.now()
    if (this.ended || t.seq < (this.state?.seq ?? 0)) return
    if (this.elsewhere && t.state !== 'ended' && t.parties.some((p) => p.user === this.petrel.user)) {
      this.state = t
      return this.#changed()
    }
    if (t.kind === 'taken') return this.over('taken')
    if (t.kind === 'missed') return this.over('missed', t)
    if (t.state === 'ended') return this.over(t.outcome, t)
    if (this.party && !this.reloaded) { // my part is not mine any more: given up, or another device has it
      if (!t.parties.some((p) => p.party === this.party)) return t.seq > this.state?.seq && this.over('failed')
      if (t.kind === 'state' && !t.party) return this.over('taken')
    }
    if (this.elsewhere) return this.over('answered', t)
    this.state = t
    if (t.kind === 'ring' && !this.party) this.#rings(t.exp - t.at)
    this.#send()
    this.#reconcile()
    this.#changed()
  }

  // #rings says that it rings here; who answered elsewhere, or gave up, is in the answer.
  #rings(ms) {
    if (ms) this.#timers.push(setTimeout(() => { if (!this.party) this.over('missed') }, ms))
    const wanted = () => !this.party && !this.ended
    this.#say('ringing', {}, { again: true, wanted }).catch((err) => { if (wanted()) this.over(err.code === 'conflict' ? 'taken' : 'missed') })
  }

  over(outcome = 'failed', { reason, duration } = {}) {
    if (this.ended) return
    this.ended = { outcome, reason, duration }
    for (const timer of this.#timers) clearTimeout(timer) // which is clearInterval too
    for (const peer of this.peers.values()) peer.close()
    this.peers.clear()
    stop(this.stream)
    this.calls.all.delete(this.id)
    this.calls.keep()
    this.#changed()
  }

  // -- connections

  // #servers asks for ICE servers. Without an answer no connection is made: it might give away what is not to be known.
  async #servers() {
    if (this.#fetching || (this.#config && performance.now() < this.#until)) return
    this.#fetching = true
    try {
      const { servers, ttl, relay } = await this.petrel.call('call.ice', { call: this.id })
      this.#config = { iceServers: servers, iceTransportPolicy: relay ? 'relay' : 'all', bundlePolicy: 'max-bundle' }
      this.#until = performance.now() + (ttl ? ttl - 60 : 86_400) * 1000
    } catch { /* #tick asks again */ } finally {
      this.#fetching = false
    }
    this.#reconcile()
  }

  // signalled takes a signal for my party.
  signalled(t) {
    this.#online = performance.now()
    if (!this.party || this.reloaded || !this.#config) {
      if (!this.ended && this.#early.length < 256) this.#early.push(t)
      return
    }
    if (this.ended || t.party !== this.party || t.seq <= this.#seq) return
    if (this.#seq && t.seq > this.#seq + 1 && this.#gap !== this.#seq) { // something was not sent: once, ask for it
      this.#gap = this.#seq
      return void this.#resume()
    }
    this.#seq = t.seq
    if (t.epoch < (this.#epochs.get(t.from) ?? 0) || t.of < this.#own) return // of a connection that is no more
    this.#epoch(t.from, t.epoch)
    let peer = this.peers.get(t.from)
    if (!peer && (t.from === SFU || t.type !== 'offer' || this.state?.mode === SFU)) return
    peer ??= this.#connect(t.from, t.epoch)
    peer.take(t)
  }

  // #epoch notes that of a party. With a newer one, its connection is no more.
  #epoch(party, epoch) {
    if (epoch <= (this.#epochs.get(party) ?? 0)) return
    this.#epochs.set(party, epoch)
    if (this.peers.has(party) && this.peers.get(party).epoch !== epoch) this.#drop(party)
  }

  #drop(party) {
    this.peers.get(party).close()
    this.peers.delete(party)
  }

  #connect(party, epoch) {
    const peer = new (party === SFU ? Forwarded : Peer)({
      party, epoch, polite: this.party > party, config: this.#config, local: this.#local(party),
      signal: (type, body, re) => {
        if (party === SFU && type === 'candidates') return // it answers where it is asked from
        const wanted = () => !peer.closed
        this.#say('signal', { to: party, of: epoch, type, re, body }, { again: true, wanted }).catch((err) => wanted() && console.warn(`${type}: ${err.message}`))
      },
      changed: () => this.#changed(),
      broken: (err) => {
        console.warn('negotiation failed:', err.message)
        this.#rebuild()
      },
    })
    this.peers.set(party, peer)
    return peer
  }

  #offer(party, epoch) {
    const kinds = ['audio', 'video'].filter((kind) => this.state.media.includes(kind))
    this.#connect(party, epoch).offer(party === SFU ? this.state.parties.length - 1 : kinds)
  }

  // #reconcile makes the connections that the state asks for, and ends others. Who came later offers.
  #reconcile() {
    if (this.ended || !this.party || this.reloaded || !this.#config || !['connecting', 'active', 'reconnecting'].includes(this.state?.state)) return
    const { parties, mode, sfu } = this.state
    const mine = parties.findIndex((p) => p.party === this.party)
    this.#own = Math.max(this.#own, parties[mine]?.epoch ?? 0)
    for (const [i, { party, epoch }] of parties.entries()) {
      if (party === this.party) continue
      const known = this.#epochs.has(party)
      this.#epoch(party, epoch)
      if (mode !== SFU && !this.peers.has(party) && (this.#fresh || (!known && i < mine))) this.#offer(party, epoch)
    }
    this.#fresh = false
    for (const party of this.peers.keys()) if (party !== SFU && !parties.some((p) => p.party === party)) this.#drop(party)
    if (mode === SFU) {
      this.#epoch(SFU, sfu)
      if (!this.peers.has(SFU)) this.#offer(SFU, sfu)
    }
    for (const t of this.#early.splice(0)) this.signalled(t)
  }

  // moved: the device is in another network.
  async moved() {
    if (!this.peers.size) return
    await this.#servers()
    for (const peer of this.peers.values()) peer.restart(this.#config)
  }

  // #rebuild begins all media anew: nothing else helped.
  async #rebuild() {
    if (this.ended || !this.petrel.connected || performance.now() - this.#rebuilt < STALLED) return
    this.#rebuilt = performance.now()
    if (!await this.#resume({ fresh: true }) || this.ended) return
    for (const party of [...this.peers.keys()]) this.#drop(party) // not before: they take what was said to them until now
    this.#fresh = true
    this.#own++
    this.#reconcile()
  }

  async #tick(now) {
    if (this.petrel.connected) this.#online = now
    if (this.petrel.connected && !this.state) this.#resume() // what was told went by: devices are told at QoS 0
    if (!this.#config || now > this.#until) this.#servers()
    await this.#measure(now)
    if (this.ended) return
    if (now - this.#online > SILENT && now - this.#heard > SILENT) return this.#leave('hangup', { reason: 'failed' }, 'failed')
    if (this.petrel.connected) this.#mend(now)
    this.#bridge(now)
    this.#changed()
  }

  async #measure(now) {
    const q = { sent: 0, received: 0, packets: 0, lost: 0, rtt: undefined, relayed: false }
    for (const peer of this.peers.values()) {
      const m = await peer.measure().catch(() => null)
      if (!m || peer.closed) continue
      for (const name of ['sent', 'received', 'packets', 'lost']) q[name] += m[name]
      if (m.rtt !== undefined) q.rtt = Math.max(q.rtt ?? 0, m.rtt)
      q.relayed ||= m.relayed
      this.#heard = Math.max(this.#heard, peer.ever ? peer.heard : 0)
    }
    const seconds = (now - this.#measured) / 1000
    this.#measured = now
    this.quality = this.peers.size && {
      rtt: q.rtt, relayed: q.relayed, loss: q.lost / (q.packets + q.lost || 1), sent: q.sent * 8 / seconds, received: q.received * 8 / seconds,
    }
  }

  // #mend sees that connections come to be, and come back.
  #mend(now) {
    const peers = [...this.peers.values()]
    for (const p of peers) {
      if (p.closed || p.up) continue
      if (now - p.since > (p.ever ? 2000 : STALLED)) p.restart(this.#config)
    }
    if (peers.length && peers.every((p) => !p.up && now - p.since > HOPELESS)) return this.#rebuild()
    if (!['connecting', 'active', 'reconnecting'].includes(this.state?.state) || !this.#config) return
    const away = this.state.parties.some((p) => p.state === 'reconnecting' && p.party !== this.party)
    if (away && now - this.#vouched > 5000) { // the server believes for 15 s that their media arrive
      this.#vouched = now
      this.#resume()
    }
    for (const { party, epoch, state } of this.state.parties) { // an offer that was to come and did not
      if (party === this.party || this.peers.has(party) || this.state.mode === SFU || state !== 'joined') this.#waits.delete(party)
      else if (!this.#waits.has(party)) this.#waits.set(party, now)
      else if (now - this.#waits.get(party) > STALLED) this.#offer(party, epoch)
    }
  }

  // #bridge lets go of the mesh when media flow through the SFU, on both sides: each tells the other one.
  #bridge(now) {
    const sfu = this.peers.get(SFU)
    if (!sfu?.up) return
    for (const [party, peer] of [...this.peers]) {
      if (party === SFU) continue
      peer.crossed = now - sfu.heardFrom(party) < 2000 ? (peer.crossed ?? now) : undefined
      if (!peer.through && now - peer.crossed > 1500) {
        peer.through = true
        this.#say('signal', { to: party, type: 'negotiate', body: { want: { through: true } } }, { again: true, wanted: () => !peer.closed }).catch(() => {})
      }
      if ((peer.through && peer.let) || now - sfu.since > BRIDGE) this.#drop(party)
    }
  }
}
