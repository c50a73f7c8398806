// The microphone and the camera, as the user chose them.

const KEY = 'petrel devices' // in localStorage: {audio, video}, ids of devices

const chosen = () => JSON.parse(localStorage.getItem(KEY) ?? '{}')

// choose says which device of a kind (audio, video) is used from now on; '': the browser's choice.
export function choose(kind, id) { localStorage.setItem(KEY, JSON.stringify({ ...chosen(), [kind]: id })) }

// choices are the devices of a kind, as {id, label, chosen}. The browser names them once the user has let the page use one.
export async function choices(kind) {
  const { [kind]: id } = chosen()
  const all = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === `${kind}input` && d.deviceId)
  return all.map((d) => ({ id: d.deviceId, label: d.label, chosen: d.deviceId === id }))
}

// capture opens the microphone, and the camera if `media` says so: those that were chosen, or what there is if they are gone.
export async function capture(media) {
  const wanted = (kind, id) => media.includes(kind) && (id ? { deviceId: { exact: id } } : true)
  const get = (ids) => navigator.mediaDevices.getUserMedia({ audio: wanted('audio', ids.audio), video: wanted('video', ids.video) })
  try {
    return await get(chosen()).catch((err) => err.name === 'OverconstrainedError' ? get({}) : Promise.reject(err))
  } catch (err) {
    throw new Error(`the ${media.includes('video') ? 'camera and microphone' : 'microphone'} cannot be used: ${err.message}`)
  }
}

export const stop = (stream) => { for (const track of stream?.getTracks() ?? []) track.stop() }
