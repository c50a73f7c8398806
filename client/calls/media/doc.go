// Package media brings files into calls and calls into files: [Tone], [OpenOgg] and [OpenIVF] are sources, [NewRecorder] keeps what others send.
// Sources are played with [Source.Play] once there is somebody to hear them.
package media
