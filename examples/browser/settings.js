// The settings of calls: microphone, camera, and who learns the user's network addresses.

import { choices, choose } from './capture.js'

const $ = (id) => document.getElementById(id)

// settings makes the controls those of a user. status(text) tells what could not be set.
export function settings(petrel, calls, status) {
  for (const [id, kind] of [['microphone', 'audio'], ['camera', 'video']]) {
    $(id).onchange = async ({ target }) => {
      choose(kind, target.value)
      await calls.recapture(kind).catch((err) => status(err.message))
    }
  }
  const show = async () => {
    const { relay } = await petrel.call('user.get', { user: petrel.user })
    $('relay').value = relay || 'never'
  }
  $('relay').onchange = ({ target }) => petrel.call('user.update', { relay: target.value }).catch((err) => {
    status(`Not set: ${err.message}`)
    return show()
  }).catch(() => {})
  $('settings').ontoggle = () => {
    if (!$('settings').open) return
    list()
    show().catch((err) => status(err.message))
  }
  navigator.mediaDevices?.addEventListener('devicechange', list)
}

// list shows which devices there are.
async function list() {
  for (const [id, kind] of [['microphone', 'audio'], ['camera', 'video']]) {
    const all = await choices(kind).catch(() => [])
    const options = all.map((d, i) => new Option(d.label || `${i + 1}`, d.id, false, d.chosen))
    $(id).replaceChildren(new Option('As the browser chooses', ''), ...options)
  }
}
