// A page's connection to petrel, on MQTT.js. It knows nothing of the page; chat.js shows what comes of it, and calls.js
// makes calls over it.

import mqtt from './node_modules/mqtt/dist/mqtt.esm.js'

// Reason codes that are worth another try, docs/protocol.md#refusals. All others from 0x80 on are final.
const TRY_AGAIN = new Set([0x80, 0x88, 0x89, 0x97, 0x9f])

export const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('')

// Petrel is one user's connection: kept alive, with an outbox that survives the network and the page.
//
// MQTT.js could connect again by itself. A page does better: at once when the browser says that there is a network,
// and always with what the outbox holds. So each attempt gets a client of its own.
export class Petrel {
  #client = null
  #pause = 0 // ms before the next attempt
  #timer = 0
  #calls = new Map() // tag -> {resolve, reject}
  #sending = new Set() // ids of the outbox that this connection was given
  #saying = [] // what say was given and the server has not answered
  #puback = null // the newest
  #ended = false

  // handlers: online(resumed), offline(why), refused(reason), event(conv, event), settled(entry, reason),
  // call(party, message): of a call; running(conv, call): the call of a group, or null.
  // settled has no reason when the server has the event on its disk.
  constructor({ url, user, password, handlers }) {
    Object.assign(this, { url, user, password, handlers })
    this.outboxKey = `petrel outbox ${user} ${url}`
    // The session is this tab's, and lasts as long as it does: two tabs with one client id would push each other out.
    this.clientId = sessionStorage.getItem('petrel client') ?? `web-${random()}`
    sessionStorage.setItem('petrel client', this.clientId)
    this.fresh = true // the page shows nothing yet, so a session that goes on is not enough
    this.#connect()
    addEventListener('online', this.#now)
  }

  get connected() { return Boolean(this.#client?.connected) }

  // other is the other user of a direct conversation (or oneself), and undefined for a group.
  other(conv) {
    const users = conv.split('~')
    return users.length === 2 ? users.find((u) => u !== this.user) ?? this.user : undefined
  }

  #now = () => {
    this.#pause = 0
    if (!this.#client) this.#connect()
  }

  #connect() {
    clearTimeout(this.#timer)
    const client = mqtt.connect(this.url, {
      protocolVersion: 5, username: this.user, password: this.password || undefined, clientId: this.clientId,
      clean: false, properties: { sessionExpiryInterval: 3600 },
      reconnectPeriod: 0, resubscribe: false, queueQoSZero: false, connectTimeout: 10_000,
      keepalive: 120, timerVariant: 'native', // browsers let the timers of hidden pages run once a minute
    })
    this.#client = client
    let why = 'the server cannot be reached'
    client.on('connect', (connack) => this.#connected(client, connack))
    client.on('message', (topic, payload) => this.#message(topic, payload))
    client.on('packetreceive', (packet) => { if (packet.cmd === 'puback') this.#puback = packet })
    client.on('disconnect', (packet) => { why = packet.properties?.reasonString ?? why })
    client.on('error', (err) => {
      if (!(err.code >= 0x80)) return // of the network; close follows
      why = err.message
      if (!TRY_AGAIN.has(err.code)) {
        this.end()
        this.handlers.refused(why)
      }
    })
    client.on('close', () => this.#closed(client, why))
  }

  async #connected(client, { sessionPresent }) {
    this.#pause = 0
    if (!sessionPresent) {
      // Every conversation that we are a member of, now and later; the replies to our requests; and calls.
      const calls = `u/${this.user}/calls`
      await client.subscribeAsync(['c/+/json', `u/${this.user}/rpc`, 'c/+/call', `${calls}/+`, calls], { qos: 1 }).catch(() => client.end(true))
    }
    if (client !== this.#client) return
    this.handlers.online(sessionPresent && !this.fresh)
    this.fresh = false
    this.#flush()
    this.#sayAll()
  }

  #closed(client, why) {
    if (client !== this.#client) return
    client.end(true)
    this.#client = null
    this.#sending.clear()
    for (const { reject } of this.#calls.values()) reject(new Error('the connection was lost: try again'))
    this.#calls.clear()
    for (const said of this.#saying) said.over = null
    if (this.#ended) return
    this.#pause = Math.min(30_000, this.#pause * 2 || 500)
    this.#timer = setTimeout(() => this.#connect(), this.#pause * (0.5 + Math.random() / 2)) // not all pages at once
    this.handlers.offline(why)
  }

  end() {
    this.#ended = true
    clearTimeout(this.#timer)
    removeEventListener('online', this.#now)
    this.#client?.end()
    for (const { reject } of this.#saying.splice(0)) reject(new Error('the connection was ended'))
  }

  #message(topic, payload) {
    const [first, name, view, party] = topic.split('/')
    const message = payload.length ? JSON.parse(new TextDecoder().decode(payload)) : null
    if (first === 'c' && view === 'json') return this.handlers.event(name, message)
    if (first === 'c') return this.handlers.running(name, message)
    if (view === 'calls') return this.handlers.call(party, message)
    const call = this.#calls.get(message.tag)
    this.#calls.delete(message.tag)
    if (message.error) call?.reject(new Error(message.error.reason))
    else call?.resolve(message.ok)
  }

  // call makes a request and returns what the server replies; it rejects with the server's reason.
  call(method, params) {
    if (!this.#client?.connected) return Promise.reject(new Error('not connected'))
    const tag = random()
    return new Promise((resolve, reject) => {
      this.#calls.set(tag, { resolve, reject })
      const options = { qos: 1, properties: { responseTopic: `u/${this.user}/rpc` } }
      this.#client.publish(`rpc/${method}`, JSON.stringify({ ...params, tag }), options, (err) => {
        if (err && this.#calls.delete(tag)) reject(err)
      })
    })
  }

  // read tells the others how far we have read.
  read(conv, seq) {
    if (this.#client?.connected) this.#client.publish(`c/${conv}/read`, String(seq), { qos: 1 }, () => {})
  }

  // say publishes until the server has answered, over as many connections as that takes, in the order of saying. It
  // returns the user properties of the answer, or rejects with the server's code and reason; `again`: not for reasons that pass.
  // What is not wanted() any more when its turn comes is not said.
  say(topic, message, { again = false, wanted = () => true } = {}) {
    return new Promise((resolve, reject) => {
      this.#saying.push({ topic, payload: JSON.stringify(message), again, wanted, resolve, reject, over: null })
      this.#sayAll()
    })
  }

  #sayAll() {
    const client = this.#client
    if (!client?.connected) return
    for (const said of [...this.#saying]) {
      if (said.over) continue
      if (!said.wanted()) {
        this.#said(said).reject(new Error('it is not wanted any more'))
        continue
      }
      said.over = client
      client.publish(said.topic, said.payload, { qos: 1 }, (err) => this.#answered(client, said, err))
    }
  }

  #said(said) {
    this.#saying = this.#saying.filter((s) => s !== said)
    return said
  }

  #answered(client, said, err) {
    if (said.over !== client || (err && !(err.code >= 0x80))) return // the connection was lost: the next one gets it
    const { reasonString = err?.message, userProperties = {} } = this.#puback?.properties ?? {} // of this PUBACK: it has just arrived
    if (!err) return this.#said(said).resolve(userProperties)
    if (said.again && TRY_AGAIN.has(err.code)) {
      setTimeout(() => { if (said.over === client) { said.over = null; this.#sayAll() } }, 1000)
      return
    }
    const [code] = reasonString.split(':', 1)
    this.#said(said).reject(Object.assign(new Error(reasonString), { code }))
  }

  // -- outbox: what was said and is not known to be on the server's disk. It outlives the page.

  outbox() {
    return JSON.parse(localStorage.getItem(this.outboxKey) ?? '[]')
  }

  #keep(entries) {
    localStorage.setItem(this.outboxKey, JSON.stringify(entries))
  }

  // send queues a message for `conv`, and returns its entry {id, conv, topic, text}. The id makes sure that the
  // message is stored once, however often it is sent.
  send(conv, text) {
    const other = this.other(conv)
    const entry = { id: random(), conv, topic: other ? `u/${other}/json` : `c/${conv}/json`, text }
    this.#keep([...this.outbox(), entry])
    this.#flush()
    return entry
  }

  #flush() {
    if (!this.#client?.connected) return
    for (const entry of this.outbox()) {
      if (this.#sending.has(entry.id)) continue
      this.#sending.add(entry.id)
      const { id, topic, text } = entry
      this.#client.publish(topic, JSON.stringify({ id, text }), { qos: 1 }, (err, packet) => this.#acknowledged(entry, err, packet))
    }
  }

  #acknowledged(entry, err, packet) {
    if (err && !(err.code >= 0x80)) return // the connection was lost: the next one gets it
    if (err && TRY_AGAIN.has(err.code)) {
      setTimeout(() => { this.#sending.delete(entry.id); this.#flush() }, 5000)
      return
    }
    this.#keep(this.outbox().filter((e) => e.id !== entry.id))
    this.handlers.settled(entry, err ? packet?.properties?.reasonString ?? err.message : undefined)
  }
}
