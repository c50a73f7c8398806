package sfu

import (
	"encoding/binary"

	"github.com/petrelchat/petrel/internal/rtpvideo"
)

// codec is a codec that is forwarded. Payload types are each party's own.
type codec uint8

const (
	noCodec codec = iota
	opus
	vp8
	h264 // packetization-mode=1, any profile: what the sender chose must be what the receiver offered
	codecs
)

// packet is what is forwarded of a packet: the header's fields that matter, and the payload with its padding.
type packet struct {
	seq      uint16
	ts       uint32
	codec    codec
	marker   bool
	padding  bool
	hasLevel bool
	hasTurn  bool
	level    byte // audio level header extension // RFC 6464 §3
	turn     byte // video orientation // 3GPP TS 26.114 §7.4.5
	payload  []byte
}

// place says where a packet goes in the stream of a slot. What is sent follows from it and the packet alone, so that
// sending it again makes the same bytes: another plaintext under one SRTP index would give the key away.
type place struct {
	seq, twcc uint16
	ts        uint32
	pic       uint16 // added to VP8's picture id, and
	tl0       uint8  // to its TL0PICIDX
}

// exts are the ids of the header extensions that a party agreed to; 0: not.
type exts struct{ level, twcc, turn, mid, rid uint8 }

// appendPacket appends the packet to dst as the receiver is to see it.
func appendPacket(dst []byte, pk *packet, pl place, ssrc uint32, pt uint8, x *exts) []byte {
	at := len(dst)
	b0 := byte(0x80)
	if pk.padding {
		b0 |= 0x20
	}
	if pk.marker {
		pt |= 0x80
	}
	dst = append(dst, b0, pt, byte(pl.seq>>8), byte(pl.seq))
	dst = binary.BigEndian.AppendUint32(dst, pl.ts)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	if x.level != 0 && pk.hasLevel || x.twcc != 0 || x.turn != 0 && pk.hasTurn {
		dst[at] |= 0x10
		dst = appendExts(dst, pk, pl, x)
	}
	body := len(dst)
	dst = append(dst, pk.payload...)
	if pk.codec == vp8 && (pl.pic != 0 || pl.tl0 != 0) {
		shiftVP8(dst[body:], pl.pic, pl.tl0)
	}
	return dst
}

// appendExts appends one-byte header extensions. // RFC 8285 §4.2
func appendExts(dst []byte, pk *packet, pl place, x *exts) []byte {
	at := len(dst)
	dst = append(dst, 0xBE, 0xDE, 0, 0)
	if x.level != 0 && pk.hasLevel {
		dst = append(dst, x.level<<4, pk.level)
	}
	if x.twcc != 0 {
		dst = append(dst, x.twcc<<4|1, byte(pl.twcc>>8), byte(pl.twcc))
	}
	if x.turn != 0 && pk.hasTurn {
		dst = append(dst, x.turn<<4, pk.turn)
	}
	for (len(dst)-at)%4 != 0 {
		dst = append(dst, 0)
	}
	dst[at+3] = byte((len(dst) - at - 4) / 4)
	return dst
}

// shiftVP8 moves the picture id and TL0PICIDX of a payload.
func shiftVP8(b []byte, pic uint16, tl0 uint8) {
	d, ok := rtpvideo.ReadVP8(b)
	if !ok {
		return
	}
	switch {
	case d.ID != 0 && d.Long:
		binary.BigEndian.PutUint16(b[d.ID:], (d.Picture(b)+pic)|0x8000)
	case d.ID != 0:
		b[d.ID] = (b[d.ID] + byte(pic)) & 0x7F
	}
	if d.TL0 != 0 {
		b[d.TL0] += tl0
	}
}

// pictureVP8 reads the picture id and TL0PICIDX, 0 where there is none.
func pictureVP8(b []byte) (pic uint16, tl0 uint8) {
	d, ok := rtpvideo.ReadVP8(b)
	if !ok {
		return 0, 0
	}
	if d.TL0 != 0 {
		tl0 = b[d.TL0]
	}
	return d.Picture(b), tl0
}

// keyFrame reports whether the packet begins a key frame, as far as can be seen.
func keyFrame(pk *packet) bool {
	switch pk.codec {
	case vp8:
		return rtpvideo.KeyVP8(pk.payload)
	case h264:
		return rtpvideo.KeyH264(pk.payload)
	}
	return true
}
