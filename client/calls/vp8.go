package calls

import (
	"encoding/binary"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/internal/rtpvideo"
)

// keyFrame reports whether a frame that stands for itself begins with a packet. Of codecs that are not known every packet may be one.
func keyFrame(mime string, b []byte) bool {
	switch mime {
	case webrtc.MimeTypeVP8:
		return rtpvideo.KeyVP8(b)
	case webrtc.MimeTypeH264:
		return rtpvideo.KeyH264(b)
	}
	return true
}

// pictureVP8 is the picture id of a packet.
func pictureVP8(b []byte) (uint16, bool) {
	d, ok := rtpvideo.ReadVP8(b)
	if !ok || d.ID == 0 {
		return 0, false
	}
	return d.Picture(b), true
}

// withPicture is the packet with its picture id moved on, in 15 bits always: whoever moves it on again, as the SFU does, has room for it.
func withPicture(b []byte, off uint16) []byte {
	d, ok := rtpvideo.ReadVP8(b)
	if !ok || d.ID == 0 {
		return b
	}
	rest := d.ID + 1
	if d.Long {
		rest++
	}
	out := append(make([]byte, 0, len(b)+1), b[:d.ID]...)
	out = binary.BigEndian.AppendUint16(out, 0x8000|(d.Picture(b)+off)&0x7FFF)
	return append(out, b[rest:]...)
}
