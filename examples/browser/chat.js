// The page. Whatever others wrote gets into it by textContent alone.

import { Petrel } from './petrel.js'
import { Phone } from './phone.js'

const $ = (id) => document.getElementById(id)
const conversations = new Map() // id -> Conversation
let petrel = null
let phone = null
let current = null

// element makes one with text in it: the only way in which text gets into this page.
function element(tag, className, text = '') {
  const e = document.createElement(tag)
  e.className = className
  e.textContent = text
  return e
}

const status = (text) => { $('status').textContent = text }
const unreadText = (n) => n ? `, ${n} unread` : ''

// ended is what became of a call, for people.
function ended({ from, ext = {} }) {
  const seconds = ext.duration ?? 0
  const length = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
  return `Call by ${from}: ${ext.outcome}${ext.outcome === 'answered' ? `, ${length}` : ''}`
}

// Conversation is what the page knows of one, and its list of messages, which is in the document while it is current.
class Conversation {
  constructor(id, title) {
    this.id = id
    this.unread = 0
    this.head = 0
    this.oldest = Infinity // seq of the first event that is here
    this.more = true // there are older ones
    this.seen = new Set() // seqs
    this.changed = new Map() // seq of a post -> its newest edit or its deletion
    this.list = element('ol', '')
    this.list.id = 'messages'
    this.title = title ?? (petrel.other(id) ? `@${petrel.other(id)}` : id)
    this.button = element('button', '')
    this.button.onclick = () => open(this)
    this.label()
    const item = element('li', '')
    item.append(this.button)
    $('conversations').append(item)
  }

  label() {
    this.button.textContent = this.title + unreadText(this.unread)
    this.button.setAttribute('aria-current', String(this === current))
  }

  // add takes in one event, in whatever order they come. Kinds that the page does not know are passed over.
  add(event) {
    for (let seq = event.seq; seq <= (event.to ?? event.seq); seq++) { // a stub stands for several
      if (this.seen.has(seq)) return false
      this.seen.add(seq)
    }
    this.head = Math.max(this.head, event.to ?? event.seq)
    this.oldest = Math.min(this.oldest, event.seq)
    const kind = event.kind ?? 'post'
    if (kind === 'edit' || kind === 'delete') {
      if ((this.changed.get(event.re)?.seq ?? 0) < event.seq) this.changed.set(event.re, event)
      const item = this.list.querySelector(`[data-seq="${event.re}"]`)
      if (item) this.showText(item, null)
      return false
    }
    if (kind === 'post') this.insert(this.message(event), event.seq)
    else if (kind === 'call') this.insert(element('li', 'note', ended(event)), event.seq)
    else if (event.member?.user) this.insert(element('li', 'note', `${event.member.user}: ${kind}`), event.seq)
    return kind === 'post' || (kind === 'call' && event.ext?.outcome !== 'answered') // news
  }

  message({ seq, from, at, text, id }) {
    const item = id && this.list.querySelector(`[data-id="${CSS.escape(id)}"]`) || element('li', '') // ours, from the outbox
    const head = element('span', 'head')
    head.append(element('span', 'from', from))
    if (at) {
      const when = element('time', '', new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))
      when.dateTime = new Date(at).toISOString()
      head.append(' ', when)
    }
    if (from === petrel.user) head.append(' ', element('span', 'state', seq ? 'sent' : 'waiting'))
    const body = element('p', 'text')
    body.dir = 'auto'
    item.replaceChildren(head, body)
    if (seq) item.dataset.seq = seq
    if (id) item.dataset.id = id
    this.showText(item, text ?? '(something that this page cannot show)')
    return item
  }

  showText(item, text) {
    const change = this.changed.get(Number(item.dataset.seq))
    if (change?.kind === 'delete') text = '(deleted)'
    else if (change) text = `${change.text} (edited)`
    if (text !== null) item.querySelector('.text').textContent = text
  }

  // insert keeps the list in the order of seq; what has none yet stays at the end.
  insert(item, seq) {
    item.dataset.seq = seq
    let after = this.list.lastElementChild
    while (after && (after === item || !(Number(after.dataset.seq) < seq))) after = after.previousElementSibling
    if (after) after.after(item)
    else this.list.prepend(item)
  }

  // forget drops what is older than seq: between it and what follows there is a gap, after a long absence.
  forget(seq) {
    for (const item of [...this.list.children]) if (Number(item.dataset.seq) < seq) item.remove()
    for (const s of this.seen) if (s < seq) this.seen.delete(s)
    this.oldest = seq
  }

  // history loads the newest events, or those before what is here. What fills a screen is not to be read out.
  async history(before) {
    $('log').setAttribute('aria-busy', 'true')
    try {
      const page = await petrel.call('history', { conv: this.id, limit: 50, ...(before ? { before } : {}) })
      const first = page.events[0]?.seq
      if (!before && page.more && !this.seen.has(first - 1)) this.forget(first)
      for (const event of page.events) this.add(event)
      this.more = page.more
    } catch (err) {
      if (!petrel.other(this.id)) status(err.message) // a direct conversation begins with its first message
      this.more = false
    } finally {
      $('log').setAttribute('aria-busy', 'false')
    }
    if (this === current) $('earlier').hidden = !this.more
  }
}

function conversation(id, title) {
  if (!conversations.has(id)) conversations.set(id, new Conversation(id, title))
  return conversations.get(id)
}

const scrollDown = () => { $('log').scrollTop = $('log').scrollHeight }

function markRead(conv) {
  if (conv !== current || document.hidden || !conv.head) return
  if (conv.unread) petrel.read(conv.id, conv.head)
  conv.unread = 0
  conv.label()
}

async function open(conv) {
  current = conv
  $('messages').replaceWith(conv.list)
  $('title').textContent = conv.title
  phone.open(conv.id, conv.title)
  for (const c of conversations.values()) c.label()
  $('text').focus()
  if (!conv.loaded) {
    conv.loaded = true
    await conv.history()
  }
  $('earlier').hidden = !conv.more
  scrollDown()
  markRead(conv)
}

const handlers = {
  async online(resumed) {
    status(`Connected as ${petrel.user}.`)
    $('login').hidden = true
    $('chat').hidden = false
    if (!resumed) {
      const { convs } = await petrel.call('conv.list', { limit: 100 }).catch((err) => (status(err.message), { convs: [] }))
      for (const row of convs) {
        const conv = conversation(row.conv, row.title)
        conv.unread = row.unread
        conv.loaded = false
        conv.label()
      }
      if (current) await open(current)
    }
    phone.online()
    for (const entry of petrel.outbox()) showWaiting(entry)
    if (!current) $('open').elements.name.focus()
  },
  offline: (why) => status(`No connection (${why}). What you write is kept and sent later.`),
  refused(reason) {
    status(`The server refuses: ${reason}`)
    phone.end()
    $('login').hidden = false
    $('chat').hidden = true
    $('login').elements.password.focus()
  },
  event(id, event) {
    const conv = conversation(id)
    const log = $('log')
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40
    if (conv.add(event) && event.from !== petrel.user) conv.unread++
    conv.label()
    markRead(conv)
    if (conv === current && atEnd) scrollDown()
  },
  call: (party, message) => phone.told(party, message),
  running: (conv, call) => phone.running(conv, call),
  settled(entry, reason) {
    const item = conversation(entry.conv).list.querySelector(`[data-id="${entry.id}"]`)
    if (!item) return
    item.querySelector('.state').textContent = reason ? 'not sent' : 'sent'
    if (reason) status(`Not sent: ${reason}`)
  },
}

function showWaiting(entry) {
  const conv = conversation(entry.conv)
  if (!conv.list.querySelector(`[data-id="${entry.id}"]`)) conv.list.append(conv.message({ ...entry, from: petrel.user }))
}

$('login').onsubmit = (submit) => {
  submit.preventDefault()
  const { url, user, password } = Object.fromEntries(new FormData(submit.target))
  status('Connecting …')
  conversations.clear() // they may have been another user's
  $('conversations').replaceChildren()
  current = null
  petrel?.end()
  phone?.end()
  try {
    petrel = new Petrel({ url, user, password, handlers })
    phone = new Phone(petrel, (conv) => conversations.get(conv)?.title ?? (petrel.other(conv) ? `@${petrel.other(conv)}` : conv), status)
    sessionStorage.setItem('petrel login', JSON.stringify({ url, user }))
  } catch (err) {
    status(`${url} is no address of a server, like ws://127.0.0.1:8080/mqtt: ${err.message}`)
  }
}

$('open').onsubmit = (submit) => {
  submit.preventDefault()
  const name = submit.target.elements.name.value.trim()
  submit.target.reset()
  open(conversation(name.startsWith('@') ? [petrel.user, name.slice(1)].sort().join('~') : name))
}

$('compose').onsubmit = (submit) => {
  submit.preventDefault()
  const text = $('text').value
  if (!current || !text.trim()) return
  $('text').value = ''
  showWaiting(petrel.send(current.id, text))
  scrollDown()
}

$('text').onkeydown = (key) => {
  if (key.key !== 'Enter' || key.shiftKey || key.isComposing) return // Enter also ends what an input method composes
  key.preventDefault()
  $('compose').requestSubmit()
}

$('earlier').onclick = async () => {
  const log = $('log')
  const fromEnd = log.scrollHeight - log.scrollTop
  await current.history(current.oldest)
  log.scrollTop = log.scrollHeight - fromEnd // what was read stays where it is
}

// Whoever loads the page again in the middle of a call has half a minute to be back.
for (const [name, value] of Object.entries(JSON.parse(sessionStorage.getItem('petrel login') ?? '{}'))) $('login').elements[name].value = value

document.addEventListener('visibilitychange', () => { if (current) markRead(current) })
