package media

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// packetMost bounds a packet, bytes: the longest of Opus is 1275 × 48 (RFC 6716 §3.2.5), and tags are thrown away.
const packetMost = 1 << 20

var errOgg = errors.New("it is no Ogg file with Opus (ffmpeg -i FILE -c:a libopus OUT.ogg makes one)")

// oggPackets reads the packets of the first stream of an Ogg file (RFC 3533 §6).
type oggPackets struct {
	r      *bufio.Reader
	serial uint32
	began  bool
	lacing []byte // of the page, what is left
	packet bytes.Buffer
}

// next returns the next packet; it is valid until the next call. io.EOF: there are no more.
func (o *oggPackets) next() ([]byte, error) {
	o.packet.Reset()
	for {
		for len(o.lacing) > 0 {
			n := int(o.lacing[0])
			o.lacing = o.lacing[1:]
			if o.packet.Len()+n > packetMost {
				return nil, errOgg
			}
			if _, err := io.CopyN(&o.packet, o.r, int64(n)); err != nil {
				return nil, io.EOF // a file that was cut off
			}
			if n < 255 {
				return o.packet.Bytes(), nil
			}
		}
		if err := o.page(); err != nil {
			return nil, err
		}
	}
}

// page reads the header of the next page of the stream, and skips those of others.
func (o *oggPackets) page() error {
	for {
		var h [27]byte
		if _, err := io.ReadFull(o.r, h[:]); err != nil {
			return io.EOF
		}
		if string(h[:5]) != "OggS\x00" {
			return errOgg
		}
		lacing := make([]byte, h[26])
		if _, err := io.ReadFull(o.r, lacing); err != nil {
			return io.EOF
		}
		serial := binary.LittleEndian.Uint32(h[14:])
		if !o.began {
			o.began, o.serial = true, serial
		}
		if serial == o.serial {
			o.lacing = lacing
			return nil
		}
		size := 0
		for _, n := range lacing {
			size += int(n)
		}
		if _, err := o.r.Discard(size); err != nil {
			return io.EOF
		}
	}
}

// opusFrames reads the packets of an Ogg file with Opus (RFC 7845).
type opusFrames struct {
	in  io.ReadSeeker
	ogg oggPackets
}

func (f *opusFrames) rewind() error {
	if _, err := f.in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f.ogg = oggPackets{r: bufio.NewReader(f.in)}
	head, err := f.ogg.next()
	if err != nil || !bytes.HasPrefix(head, []byte("OpusHead")) {
		return errOgg
	}
	if tags, err := f.ogg.next(); err != nil || !bytes.HasPrefix(tags, []byte("OpusTags")) {
		return errOgg
	}
	return nil
}

func (f *opusFrames) next() (frame, error) {
	for {
		p, err := f.ogg.next()
		if err != nil {
			return frame{}, err
		}
		if d := opusDuration(p); d > 0 {
			return frame{data: bytes.Clone(p), lasts: d, key: true, silent: len(p) <= silentMost}, nil
		}
	}
}

// silentMost is how long a packet is in which there is nothing, bytes: with DTX at most 2 (RFC 6716 §3.1), without it digital silence is 3.
const silentMost = 3

// opusDuration is how long a packet lasts, 0 if it is none (RFC 6716 §3.1, 3.2).
func opusDuration(p []byte) time.Duration {
	if len(p) == 0 {
		return 0
	}
	var one time.Duration
	switch conf := p[0] >> 3; {
	case conf < 12: // SILK
		one = []time.Duration{10, 20, 40, 60}[conf%4] * time.Millisecond
	case conf < 16: // hybrid
		one = []time.Duration{10, 20}[conf%2] * time.Millisecond
	default: // CELT
		one = []time.Duration{2500, 5000, 10000, 20000}[conf%4] * time.Microsecond
	}
	n := 1
	switch p[0] & 3 {
	case 1, 2:
		n = 2
	case 3:
		if len(p) < 2 {
			return 0
		}
		n = int(p[1] & 0x3f)
	}
	if d := time.Duration(n) * one; d <= 120*time.Millisecond {
		return d
	}
	return 0
}
