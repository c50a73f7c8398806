package media

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

const frameMost = 8 << 20

var errIVF = errors.New("it is no IVF file with VP8 (ffmpeg -i FILE -c:v libvpx -an OUT.ivf makes one)")

// vp8Frames reads the frames of an IVF file.
type vp8Frames struct {
	in   io.ReadSeeker
	r    *bufio.Reader
	unit time.Duration // of time stamps
	pts  uint64
	held *frame // read ahead: a frame lasts until the next one

	pixels int // of a picture, says the header
}

func (f *vp8Frames) rewind() error {
	if _, err := f.in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f.r, f.held = bufio.NewReader(f.in), nil
	var h [32]byte
	if _, err := io.ReadFull(f.r, h[:]); err != nil || string(h[:4]) != "DKIF" || string(h[8:12]) != "VP80" {
		return errIVF
	}
	if n := binary.LittleEndian.Uint16(h[6:]); n > 32 {
		if _, err := f.r.Discard(int(n) - 32); err != nil {
			return errIVF
		}
	}
	f.pixels = int(binary.LittleEndian.Uint16(h[12:])) * int(binary.LittleEndian.Uint16(h[14:]))
	rate, scale := binary.LittleEndian.Uint32(h[16:]), binary.LittleEndian.Uint32(h[20:])
	if rate == 0 || scale == 0 {
		return errIVF
	}
	f.unit = time.Duration(float64(time.Second) * float64(scale) / float64(rate))
	return nil
}

func (f *vp8Frames) next() (frame, error) {
	if f.held == nil {
		if err := f.read(); err != nil {
			return frame{}, err
		}
	}
	now, pts := *f.held, f.pts
	now.lasts = f.unit
	if err := f.read(); err != nil {
		f.held = nil
		if errors.Is(err, io.EOF) {
			return now, nil // the last one
		}
		return frame{}, err
	}
	if f.pts > pts && f.pts-pts < uint64(10*time.Second/max(f.unit, 1)) {
		now.lasts = time.Duration(f.pts-pts) * f.unit
	}
	return now, nil
}

// read reads a frame ahead.
func (f *vp8Frames) read() error {
	f.held = nil
	var h [12]byte
	if _, err := io.ReadFull(f.r, h[:]); err != nil {
		return io.EOF
	}
	n := binary.LittleEndian.Uint32(h[:])
	if n == 0 || n > frameMost {
		return errIVF
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(f.r, data); err != nil {
		return io.EOF // cut off
	}
	f.pts = binary.LittleEndian.Uint64(h[4:])
	f.held = &frame{data: data, key: data[0]&1 == 0} // RFC 6386 §9.1
	return nil
}
