// A conversation of MQTT.js with petrel: node conversation.mjs ws://host:port/mqtt
//
// It writes "restart" when it wants the server to crash and come back, reads a line when that has
// happened, and ends with "ok". Anything that is not as it should be ends it with an error.

import assert from 'node:assert/strict'
import readline from 'node:readline'
import mqtt from 'mqtt'
import { decode, encode } from 'cborg'

const url = process.argv[2]
const stdin = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()

// Event keys of the CBOR view, docs/protocol.md.
const SEQ = 1, FROM = 2, ID = 5, TEXT = 6

async function restartServer() {
  console.log('restart')
  await stdin.next()
}

// A client whose messages are taken one by one with next().
class Client {
  constructor(user, clientId, options = {}) {
    this.waiting = []
    this.takers = []
    this.options = {
      protocolVersion: 5, username: user, password: 'any', clientId, clean: false,
      properties: { sessionExpiryInterval: 3600, topicAliasMaximum: 10 },
      autoUseTopicAlias: true, autoAssignTopicAlias: true, reconnectPeriod: 0, ...options,
    }
  }

  async connect() {
    this.mqtt = await mqtt.connectAsync(url, this.options)
    this.attach()
    return this
  }

  // reconnect resumes the session of a client that went away. What waits for it may arrive together
  // with the CONNACK, so the messages have to find a listener before the connection is made.
  async reconnect() {
    this.mqtt = mqtt.connect(url, this.options)
    this.attach()
    const connack = await new Promise((resolve, reject) => {
      this.mqtt.once('connect', resolve)
      this.mqtt.once('error', reject)
    })
    assert.equal(connack.sessionPresent, true, 'the session is gone')
  }

  attach() {
    this.aliased = 0
    this.mqtt.on('packetreceive', (p) => { if (p.cmd === 'publish' && p.properties?.topicAlias) this.aliased++ })
    this.mqtt.on('error', (err) => { throw err })
    this.mqtt.on('message', (topic, payload, packet) => {
      const message = { topic, payload, packet }
      const taker = this.takers.shift()
      if (taker) taker(message)
      else this.waiting.push(message)
    })
  }

  next() {
    const message = this.waiting.shift()
    return message ? Promise.resolve(message) : new Promise((resolve) => this.takers.push(resolve))
  }

  // vanish closes the connection without DISCONNECT, as a phone does in a tunnel.
  async vanish() {
    await new Promise((resolve) => { this.mqtt.once('close', resolve); this.mqtt.stream.destroy() })
    await this.mqtt.endAsync(true)
    assert.deepEqual(this.waiting, [], 'messages that nobody expected')
  }
}

let requests = 0
// call makes a request: the reply comes to the response topic with the correlation data.
async function call(client, user, method, params) {
  const correlationData = Buffer.from(`call-${++requests}`)
  await client.mqtt.publishAsync(`rpc/${method}`, JSON.stringify(params), {
    qos: 1, properties: { responseTopic: `u/${user}/rpc/js`, correlationData },
  })
  const { topic, payload, packet } = await client.next()
  assert.equal(topic, `u/${user}/rpc/js`)
  assert.deepEqual(packet.properties.correlationData, correlationData)
  const reply = JSON.parse(payload)
  assert.ok(reply.ok, `${method}: ${payload}`)
  return reply.ok
}

const ann = await new Client('ann', 'browser').connect()
const bob = await new Client('bob', 'phone').connect()
await bob.mqtt.subscribeAsync('c/+/cbor', { qos: 1 })
await ann.mqtt.subscribeAsync('u/ann/rpc/+', { qos: 1 })

// A group by request, and an event in each direction through both encodings.
const { conv } = await call(ann, 'ann', 'group.create', { title: 'Crew', visibility: 'private', join: 'invite', history: 'all', members: ['bob'] })
const post = (client, text, id) => client.mqtt.publishAsync(`c/${conv}/json`, JSON.stringify({ text, id }), { qos: 1 })

// take reads the next event of the conversation, whatever its view.
async function take(client, view) {
  const { topic, payload } = await client.next()
  assert.equal(topic, `c/${conv}/${view}`)
  if (view === 'json') return JSON.parse(payload)
  const m = decode(payload, { useMaps: true })
  return { seq: m.get(SEQ), from: m.get(FROM), id: m.get(ID), text: m.get(TEXT) }
}

await post(ann, 'hello bob', 'a-1')
// bob's first event is the one that made him a member: 1 created the group, 2 added him.
let seq = 1
// takePost takes events until a post, and checks that no seq is left out.
async function takePost(client, view) {
  for (;;) {
    const e = await take(client, view)
    assert.equal(e.seq, seq + 1, 'a gap or a repetition')
    seq = e.seq
    if (e.text !== undefined) return e
  }
}
assert.deepEqual({ ...await takePost(bob, 'cbor'), seq: 0 }, { seq: 0, from: 'ann', id: undefined, text: 'hello bob' })

await bob.mqtt.publishAsync(`c/${conv}/cbor`, Buffer.from(encode(new Map([[TEXT, 'hello ann'], [ID, 'b-1']]))), { qos: 1 })
assert.deepEqual({ ...await takePost(bob, 'cbor'), seq: 0 }, { seq: 0, from: 'bob', id: 'b-1', text: 'hello ann' })
assert.ok(bob.aliased >= 1, 'no delivery used a topic alias')

// The same id again is the same message; with other content it is refused.
const puback = await post(ann, 'hello bob', 'a-1')
assert.ok(!(puback?.reasonCode >= 0x80))
await assert.rejects(post(ann, 'something else', 'a-1'), (err) => err.code === 0x83)

// The offline gap, with a crash of the server in the middle of it. ann ends her connection before, since
// the test wants to know exactly what was acknowledged.
await bob.vanish()
const want = []
for (let i = 1; i <= 15; i++) {
  want.push(`while you were away ${i}`)
  await post(ann, want.at(-1), `gap-${i}`)
}
await ann.vanish()
await restartServer()
await ann.reconnect()
await post(ann, want.at(-1), 'gap-15') // a retry across the crash
for (let i = 16; i <= 30; i++) {
  want.push(`while you were away ${i}`)
  await post(ann, want.at(-1), `gap-${i}`)
}
await bob.reconnect()
for (const text of want) assert.equal((await takePost(bob, 'cbor')).text, text)
await post(ann, 'welcome back', 'end')
assert.equal((await takePost(bob, 'cbor')).text, 'welcome back')

// What ann reads back is what was said.
const history = await call(ann, 'ann', 'history', { conv, after: 0, limit: 100 })
assert.deepEqual(history.events.filter((e) => e.text).map((e) => e.text), ['hello bob', 'hello ann', ...want, 'welcome back'])
assert.equal(history.head, seq)

await bob.mqtt.endAsync()
await ann.mqtt.endAsync()
console.log('ok')
process.exit(0)
