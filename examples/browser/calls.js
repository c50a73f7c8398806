// Calls over a Petrel connection. It knows nothing of the page; phone.js shows what comes of it. Begin with
//
//   const calls = new Calls(petrel, (call) => show(call))  // and have petrel's handlers call online() and told()
//   const call = await calls.start('ann~bob', ['audio'])   // or call.accept(['audio']), when call.phase is 'ringing'
//   …
//   call.hangup()

import { Call } from './call.js'
import { capture, stop } from './capture.js'
import { random } from './petrel.js'

// Calls are all that this tab takes part in, those that ring, and those on other devices of the user.
export class Calls {
  all = new Map() // id -> Call
  #starting = 0
  #early = [] // what was told of calls that we don't know, while one starts: it may be about that one

  // changed(call) is called whenever there is something new about a call.
  constructor(petrel, changed) {
    Object.assign(this, { petrel, changed })
    this.key = `petrel calls ${petrel.user} ${petrel.url}`
    for (const kept of JSON.parse(sessionStorage.getItem(this.key) ?? '[]')) { // the page was loaded again in the middle of them
      this.all.set(kept.id, new Call(this, { ...kept, reloaded: true }))
    }
    addEventListener('online', this.#moved)
    navigator.connection?.addEventListener('change', this.#moved)
  }

  // end forgets all; the server hears nothing of it.
  end() {
    removeEventListener('online', this.#moved)
    navigator.connection?.removeEventListener('change', this.#moved)
    for (const call of this.all.values()) call.over()
  }

  #moved = () => { for (const call of this.all.values()) call.moved() }

  // online is to be called when there is a connection again.
  online() { for (const call of this.all.values()) call.online() }

  // start calls whoever is in the conversation, or joins the call of a group.
  async start(conv, media) {
    this.#starting++
    let stream
    try {
      stream = await capture(media)
      const other = this.petrel.other(conv)
      const { call: id, party } = await this.petrel.say(other ? `u/${other}/call` : `c/${conv}/call`, { media, id: random() }, { again: true })
      const call = this.all.get(id) ?? new Call(this, { id, conv })
      this.all.set(id, call)
      call.joined(party, media, stream)
      return call
    } catch (err) {
      stop(stream)
      throw err
    } finally {
      if (--this.#starting === 0) for (const [party, message] of this.#early.splice(0)) this.told(party, message)
    }
  }

  // told takes what came on u/{me}/calls, or on u/{me}/calls/{party}.
  told(party, message) {
    const known = this.all.get(message.call)
    if (known) party ? known.signalled(message) : known.told(message)
    if (this.all.has(message.call)) return
    const elsewhere = this.#elsewhere(message)
    if (message.kind !== 'ring' && !elsewhere) {
      if (!known && this.#starting) this.#early.push([party, message])
      return
    }
    const call = new Call(this, { id: message.call, conv: message.conv, incoming: !elsewhere, elsewhere })
    this.all.set(call.id, call)
    call.told(message)
  }

  // #elsewhere: another device of the user takes part in the call.
  #elsewhere({ kind, state, party, parties }) {
    return ['state', 'taken'].includes(kind) && state !== 'ended' && !party && parties.some((p) => p.user === this.petrel.user)
  }

  // recapture has all calls use the microphone or camera (audio, video) that was chosen.
  async recapture(kind) { for (const call of this.all.values()) await call.recapture(kind) }

  // keep remembers what a page that is loaded again goes on with.
  keep() {
    const kept = [...this.all.values()].filter((c) => c.party && !c.ended).map(({ id, conv, party, media, hold }) => ({ id, conv, party, media, hold }))
    sessionStorage.setItem(this.key, JSON.stringify(kept))
  }
}
