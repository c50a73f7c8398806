// A WebRTC connection to one party of a call: perfect negotiation, candidates in batches, SDP deflated. It knows neither the
// server nor the page: what it has to tell goes out through signal().

const TOGETHER = 80 // ms in which candidates gather for one signal, of 32 at most
const RESTART_EVERY = 3000 // ms

// pack makes the body of an offer or an answer; deflated it has a third of the size. unpack is its inverse.
async function pack(sdp) {
  if (!('CompressionStream' in globalThis)) return sdp
  try {
    return { z: btoa(String.fromCharCode(...await through(new CompressionStream('deflate-raw'), new TextEncoder().encode(sdp)))) }
  } catch { // it does not know deflate-raw
    return sdp
  }
}

async function unpack(body) {
  if (typeof body === 'string') return body
  const deflated = Uint8Array.from(atob(body.z), (c) => c.charCodeAt(0))
  return new TextDecoder().decode(await through(new DecompressionStream('deflate-raw'), deflated))
}

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer())
}

// session tells apart the connections that descriptions are of.
const session = (sdp) => /^o=\S+ (\S+)/m.exec(sdp)?.[1]

// name tells a description from all others of a call.
const name = (sdp) => /^o=\S+ (\d+ \d+)/m.exec(sdp)?.[1]

// Peer is a connection of the mesh.
export class Peer {
  stream = new MediaStream() // what arrives
  up = false
  ever = false // it was up
  since = performance.now() // the last change of up, ms
  heard = performance.now() // when something arrived
  closed = false
  senders = new Map() // kind -> RTCRtpSender
  local = null // what it sends: {stream, shut}
  #begun = false
  #offering = false
  #settling = false // an answer is being applied
  #ignoring = false // the last offer of the other side
  #work = Promise.resolve() // signals are taken one after the other
  #words = Promise.resolve() // and sent so
  #found = []
  #timer = 0
  #restarted = 0
  #before = null // figures of the last measure
  #want = null // what the other side wants to get

  // signal(type, body, re) sends one, re being the name of the offer that an answer is for; changed() says that up or stream is another; broken(err) that only a new
  // connection helps. Of two parties one is polite.
  constructor({ party, epoch, polite, config, local, signal, changed, broken }) {
    Object.assign(this, { party, epoch, polite, config, local, signal, changed, broken })
    this.#open()
  }

  // #open makes the connection.
  #open() {
    const pc = this.pc = new RTCPeerConnection(this.config)
    pc.onnegotiationneeded = () => this.#offer()
    pc.onicecandidate = ({ candidate }) => this.#candidate(candidate)
    pc.onconnectionstatechange = () => this.#state()
    pc.ontrack = ({ track }) => {
      this.stream.addTrack(track)
      this.changed()
    }
  }

  // offer begins, with what is sent, and room for what the other side sends. Who does not offer waits for the offer.
  offer(kinds) {
    this.begin()
    for (const kind of kinds) if (!this.senders.has(kind)) this.pc.addTransceiver(kind, { direction: 'recvonly' })
  }

  begin() {
    this.#begun = true
    this.send(this.local)
  }

  // send says what is sent from now on; while it is shut, nothing flows.
  send(local) {
    this.local = local
    if (!this.#begun || this.closed) return // the sections of the first offer are to be used
    const { stream, shut } = local
    for (const kind of ['audio', 'video']) {
      const track = stream.getTracks().find((t) => t.kind === kind)
      const sender = this.senders.get(kind)
      if (sender) {
        sender.replaceTrack(shut ? null : track ?? null).catch(this.broken)
        const transceiver = this.pc.getTransceivers().find((t) => t.sender === sender)
        const direction = this.direction(Boolean(track))
        if (transceiver.direction !== direction) transceiver.direction = direction // which is negotiated
      } else if (track) {
        this.senders.set(kind, this.add(track, stream))
        if (shut) this.senders.get(kind).replaceTrack(null).catch(this.broken)
      }
    }
  }

  add(track, stream) { return this.pc.addTrack(track, stream) }
  direction(sends) { return sends ? 'sendrecv' : 'recvonly' }

  async #offer() {
    try {
      this.#offering = true
      await this.pc.setLocalDescription()
      this.#describe()
    } catch (err) {
      if (!this.closed) this.broken(err)
    } finally {
      this.#offering = false
    }
  }

  #describe(re) {
    const { type, sdp } = this.pc.localDescription
    this.#say(async () => this.signal(type, await pack(sdp), re))
  }

  #say(fn) {
    this.#words = this.#words.then(() => this.closed || fn())
  }

  #candidate(candidate) {
    if (candidate?.candidate) this.#found.push({ c: candidate.candidate, mid: candidate.sdpMid, m: candidate.sdpMLineIndex })
    if (!candidate) this.#tell(true)
    else this.#timer ||= setTimeout(() => this.#tell(), TOGETHER)
  }

  #tell(all) {
    clearTimeout(this.#timer)
    this.#timer = 0
    while (this.#found.length) {
      const some = this.#found.splice(0, 32)
      this.#say(() => this.signal('candidates', some))
    }
    if (all) this.#say(() => this.signal('candidates', null))
  }

  // take takes a signal of the other side.
  take({ type, body, re }) {
    this.#work = this.#work.then(async () => {
      if (this.closed) return
      if (type === 'offer' || type === 'answer') await this.#description(type, await unpack(body), re)
      if (type === 'candidates') await this.#candidates(body ?? [])
      if (type === 'negotiate') this.negotiate(body)
    }).catch((err) => { if (!this.closed) this.broken(err) })
  }

  negotiate({ want }) {
    if (!want) return
    if (want.through) { // it hears me through the SFU
      this.let = true
      return
    }
    this.#want = want
    this.#heed()
  }

  // #heed sends no more of a picture than the other side wants to get.
  #heed() {
    const sender = this.senders.get('video')
    if (!sender || !this.#want) return
    const { video, limit } = this.#want
    const parameters = sender.getParameters()
    for (const e of parameters.encodings) {
      e.active = video !== 0
      if (limit) e.maxBitrate = limit
      else delete e.maxBitrate
    }
    sender.setParameters(parameters).catch((err) => console.debug('what the other side wants to see was not set:', err.message)) // while something else is
  }

  // Perfect negotiation, https://w3c.github.io/webrtc-pc/#perfect-negotiation-example
  async #description(type, sdp, re) {
    if (type === 'offer' && this.pc.currentRemoteDescription && session(this.pc.currentRemoteDescription.sdp) !== session(sdp)) this.#anew()
    const { pc } = this
    if (type === 'answer' && pc.signalingState !== 'have-local-offer') return // it came twice, or to what was taken back
    if (re && re !== name(pc.localDescription.sdp)) return // it is for an offer before this one
    const crossed = type === 'offer' && (this.#offering || (pc.signalingState !== 'stable' && !this.#settling))
    this.#ignoring = crossed && !this.polite
    if (this.#ignoring) return
    this.#settling = type === 'answer'
    await pc.setRemoteDescription({ type, sdp }) // takes our own offer back, where they crossed
    this.#settling = false
    if (type === 'answer') return this.settled(sdp)
    this.begin()
    await pc.setLocalDescription()
    this.#describe(name(sdp))
    this.settled()
  }

  // settled is called with each exchange that is over.
  settled() { this.#heed() }

  // #anew takes another connection: the other side did.
  #anew() {
    this.pc.close()
    this.senders.clear()
    for (const track of this.stream.getTracks()) this.stream.removeTrack(track)
    this.#begun = false
    this.#open()
    this.#state()
  }

  async #candidates(list) {
    for (const { c, mid, m } of list) {
      const candidate = { candidate: c, sdpMid: mid, sdpMLineIndex: m ?? (mid === undefined ? 0 : undefined) }
      await this.pc.addIceCandidate(candidate).catch((err) => { // of an offer that was passed over, or of no use to this browser
        if (!this.#ignoring) console.debug('a candidate was not taken:', err.message)
      })
    }
  }

  #state() {
    const up = this.pc.connectionState === 'connected'
    if (up !== this.up) {
      this.up = up
      this.since = performance.now()
      if (up) this.ever = true
      this.changed()
    }
  }

  // restart looks for another way to the other side, with ICE servers that are up to date.
  restart(config) {
    if (this.closed || !this.pc.remoteDescription || performance.now() - this.#restarted < RESTART_EVERY) return
    this.#restarted = performance.now()
    this.config = config
    this.pc.setConfiguration(config)
    this.pc.restartIce()
  }

  // measure returns what has flowed since the last time: bytes, packets, rtt in seconds.
  async measure() {
    const f = { sent: 0, received: 0, packets: 0, lost: 0, answers: 0, rtt: undefined, relayed: false }
    const stats = await this.pc.getStats()
    for (const s of stats.values()) {
      if (s.type === 'candidate-pair') {
        f.sent += s.bytesSent
        f.received += s.bytesReceived
        f.answers += s.responsesReceived
        if (s.nominated && s.state === 'succeeded') {
          f.rtt = s.currentRoundTripTime
          f.relayed = stats.get(s.localCandidateId)?.candidateType === 'relay'
        }
      } else if (s.type === 'inbound-rtp') {
        f.packets += s.packetsReceived
        f.lost += Math.max(0, s.packetsLost)
        this.arrived(s)
      }
    }
    const before = this.#before ?? f
    this.#before = f
    if (f.received !== before.received || f.answers !== before.answers) this.heard = performance.now()
    const since = (name) => Math.max(0, f[name] - before[name])
    return { ...f, sent: since('sent'), received: since('received'), packets: since('packets'), lost: since('lost') }
  }

  arrived() {}

  close() {
    this.closed = true
    this.up = false
    clearTimeout(this.#timer)
    this.pc.close()
  }
}

// What is agreed on with the SFU: fewer codecs make a description that has 30 sections short enough.
const CODECS = { audio: ['audio/opus'], video: ['video/VP8', 'video/H264'] }
const SIMULCAST = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 }, { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 400_000 }, { rid: 'f', maxBitrate: 900_000 },
]
const SLOTS = 16 // of a kind: more than this page can show

// Forwarded is the connection to the party `sfu`, which carries everybody's media. It alone makes offers, so they never cross.
// https://github.com/petrelchat/petrel/blob/main/docs/protocol.md#through-the-sfu
export class Forwarded extends Peer {
  #who = new Map() // mid -> party
  #streams = new Map() // party -> MediaStream
  #packets = new Map() // mid -> number of them
  #heardFrom = new Map() // party -> ms

  offer(others) {
    this.control = this.pc.createDataChannel('sfu') // both before the first offer
    this.pc.createDataChannel('data')
    this.control.onmessage = ({ data }) => this.#controlled(JSON.parse(data))
    this.begin()
    this.#slots({ audio: others, video: others })
  }

  add(track, stream) {
    const more = track.kind === 'video' ? { sendEncodings: SIMULCAST.map((e) => ({ ...e })) } : {}
    return this.#prefer(this.pc.addTransceiver(track, { direction: 'sendonly', streams: [stream], ...more })).sender
  }

  direction(sends) { return sends ? 'sendonly' : 'inactive' }

  #prefer(transceiver) {
    const { kind } = transceiver.receiver.track
    transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities(kind).codecs.filter((c) => CODECS[kind].includes(c.mimeType)))
    return transceiver
  }

  // #slots offers as many as would be of use.
  #slots(want) {
    for (const kind of ['audio', 'video']) {
      const has = this.pc.getTransceivers().filter((t) => t.receiver.track.kind === kind && t.direction === 'recvonly').length
      for (let n = has; n < Math.min(want[kind] ?? 0, SLOTS); n++) this.#prefer(this.pc.addTransceiver(kind, { direction: 'recvonly' }))
    }
  }

  negotiate({ want }) { if (want) this.#slots(want) }

  // settled has new slots begin: they wait for their answer to be here, so that no key frame comes too early.
  settled(answer) {
    if (this.control.readyState === 'open') this.control.send(JSON.stringify({ kind: 'has', version: Number(name(answer).split(' ')[1]) }))
  }

  #controlled({ kind, slots }) {
    if (kind !== 'slots') return
    this.#who = new Map(slots.filter((s) => s.party).map((s) => [s.mid, s.party]))
    this.changed()
  }

  // from is what a party sends. It stays the same stream while that does.
  from(party) {
    const tracks = this.pc.getTransceivers().filter((t) => this.#who.get(t.mid) === party && t.direction === 'recvonly').map((t) => t.receiver.track)
    if (!this.#streams.has(party)) this.#streams.set(party, new MediaStream())
    const stream = this.#streams.get(party)
    for (const track of stream.getTracks()) if (!tracks.includes(track)) stream.removeTrack(track)
    for (const track of tracks) stream.addTrack(track)
    return stream
  }

  arrived({ mid, packetsReceived }) {
    if (this.#who.has(mid) && packetsReceived > (this.#packets.get(mid) ?? 0)) this.#heardFrom.set(this.#who.get(mid), performance.now())
    this.#packets.set(mid, packetsReceived)
  }

  heardFrom(party) { return this.#heardFrom.get(party) ?? -Infinity }
}
