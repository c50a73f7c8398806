// Package rtpvideo reads what whoever passes on a picture has to know of a packet's payload: whether a picture that stands for itself begins
// with it, and how pictures are numbered. Both are in the clear in end-to-end encrypted media that are meant to be forwarded. Payloads come
// from the network: any bytes may be given to its functions.
package rtpvideo

import "encoding/binary"

// VP8 is VP8's payload descriptor (RFC 7741 §4.2).
type VP8 struct {
	Start bool // of a frame's first partition
	ID    int  // offset of the picture id, 0: none
	Long  bool // it has 15 bits
	TL0   int  // offset of TL0PICIDX, 0: none
	Size  int
}

// ReadVP8 reads the descriptor of a payload. It is not ok where nothing stands behind it.
func ReadVP8(b []byte) (d VP8, ok bool) {
	if len(b) < 2 {
		return d, false
	}
	d.Start = b[0]&0x17 == 0x10
	d.Size = 1
	if b[0]&0x80 == 0 {
		return d, true
	}
	flags := b[1]
	d.Size = 2
	if flags&0x80 != 0 {
		if len(b) <= d.Size {
			return d, false
		}
		d.ID, d.Long = d.Size, b[d.Size]&0x80 != 0
		d.Size++
		if d.Long {
			d.Size++
		}
	}
	if flags&0x40 != 0 {
		d.TL0 = d.Size
		d.Size++
	}
	if flags&0x30 != 0 {
		d.Size++
	}
	return d, len(b) > d.Size
}

// Picture is the picture id of the payload that the descriptor was read from, 0 where it has none.
func (d VP8) Picture(b []byte) uint16 {
	switch {
	case d.ID == 0:
		return 0
	case d.Long:
		return binary.BigEndian.Uint16(b[d.ID:]) & 0x7FFF
	}
	return uint16(b[d.ID])
}

// KeyVP8 reports whether a key frame begins with a payload.
func KeyVP8(b []byte) bool {
	d, ok := ReadVP8(b)
	return ok && d.Start && b[d.Size]&1 == 0 // RFC 6386 §9.1: bit 0 is 0 in a key frame
}

// KeyH264 finds an IDR picture or a sequence parameter set, which stands before one (RFC 6184 §5.2).
func KeyH264(b []byte) bool {
	const idr, sps, stapA, fuA = 5, 7, 24, 28
	if len(b) < 2 {
		return false
	}
	is := func(nal byte) bool { return nal&31 == idr || nal&31 == sps }
	switch b[0] & 31 {
	case stapA:
		for b = b[1:]; len(b) > 2; {
			n := int(binary.BigEndian.Uint16(b))
			if is(b[2]) {
				return true
			}
			if n+2 >= len(b) {
				return false
			}
			b = b[2+n:]
		}
		return false
	case fuA:
		return b[1]&0x80 != 0 && is(b[1])
	}
	return is(b[0])
}
