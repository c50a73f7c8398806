package calls

import (
	"encoding/binary"

	"github.com/pion/webrtc/v4"
)

// keyFrame reports whether a frame that stands for itself begins with a packet. Of codecs that are not known every packet may be one.
func keyFrame(mime string, b []byte) bool {
	switch mime {
	case webrtc.MimeTypeVP8:
		at, ok := headerVP8(b)
		return ok && b[0]&0x1F == 0x10 && b[at]&1 == 0 // RFC 7741 §4.2, RFC 6386 §9.1
	case webrtc.MimeTypeH264:
		return keyH264(b)
	}
	return true
}

// headerVP8 is where the frame begins behind the payload descriptor (RFC 7741 §4.2).
func headerVP8(b []byte) (at int, ok bool) {
	if len(b) < 2 {
		return 0, false
	}
	at = 1
	if b[0]&0x80 != 0 {
		x := b[1]
		at = 2
		if x&0x80 != 0 {
			if at >= len(b) {
				return 0, false
			}
			at += 1 + int(b[at]>>7)
		}
		if x&0x40 != 0 {
			at++
		}
		if x&0x30 != 0 {
			at++
		}
	}
	return at, at < len(b)
}

// pictureVP8 is the picture id of a packet.
func pictureVP8(b []byte) (uint16, bool) {
	switch {
	case len(b) < 4 || b[0]&0x80 == 0 || b[1]&0x80 == 0:
		return 0, false
	case b[2]&0x80 != 0:
		return binary.BigEndian.Uint16(b[2:]) & 0x7FFF, true
	}
	return uint16(b[2]), true
}

// withPicture is the packet with its picture id moved on, in 15 bits always: whoever moves it on again, as the SFU does, has room for it.
func withPicture(b []byte, off uint16) []byte {
	pic, ok := pictureVP8(b)
	if !ok {
		return b
	}
	rest := b[3:]
	if b[2]&0x80 != 0 {
		rest = b[4:]
	}
	out := make([]byte, 0, len(b)+1)
	out = append(out, b[0], b[1])
	out = binary.BigEndian.AppendUint16(out, 0x8000|(pic+off)&0x7FFF)
	return append(out, rest...)
}

// keyH264 finds the units that a picture which stands for itself begins with: parameter sets or an IDR slice (RFC 6184 §5.2).
func keyH264(b []byte) bool {
	if len(b) < 2 {
		return false
	}
	first := func(unit byte) bool { return unit&0x1F == 5 || unit&0x1F == 7 }
	switch b[0] & 0x1F {
	case 24: // STAP-A
		return len(b) > 3 && first(b[3])
	case 28: // FU-A: the first fragment
		return b[1]&0x80 != 0 && first(b[1])
	}
	return first(b[0])
}
