package sfu

import (
	"sync"
	"sync/atomic"
	"time"
)

// kind is what a section carries.
type kind uint8

const (
	audio kind = iota
	video
)

func (k kind) String() string { return [...]string{"audio", "video"}[k] }

func (k kind) clock() int64 {
	if k == audio {
		return 48000
	}
	return 90000
}

const (
	videoRing  = 512                    // packets that can be sent again: half a second of 8 Mbit/s
	audioRing  = 32                     // 0.6 s
	keyPause   = 500 * time.Millisecond // between two requests for a key frame of one layer
	nackPause  = 40 * time.Millisecond  // between two requests for one packet
	nackTries  = 10
	nackMost   = 128 // packets of a layer that are missed at a time; beyond it a key frame is cheaper
	deadLayer  = 1500 * time.Millisecond
	maxMisplay = 3000 // packets out of order before a stream counts as begun anew
)

// track is what a party sends in one section: one stream, or as many as it has RIDs.
type track struct {
	p      *party
	mid    string
	kind   kind
	pts    [128]codec // by payload type; guarded by p.in.mu
	layers []*layer
	subs   atomic.Pointer[[]*slot] // who gets it
	loud   loudness
}

// layer is one stream of packets from a party.
type layer struct {
	t   *track
	rid string

	rate    atomic.Int64 // bits per second, measured
	took    atomic.Int64 // the last rate that was not 0
	bytes   atomic.Int64 // since rate was measured
	last    atomic.Int64 // ns of the last packet
	wantKey atomic.Bool  // a key frame is to be asked for
	keys    atomic.Int64 // requests that were sent
	keyAt   time.Time    // of the last request; Server.run's

	in stats // guarded by t.p.in.mu

	mu   sync.Mutex // guards what follows; nothing is locked under it
	ring []cell
	sr   senderReport
}

// senderReport ties a stream's timestamps to its sender's clock. // RFC 3550 §6.4.1
type senderReport struct {
	ntp uint64
	rtp uint32
	at  time.Time
}

// cell is a packet that can be sent again.
type cell struct {
	packet
	used bool
	mem  []byte
}

func newTrack(p *party, mid string, k kind, rids []string) *track {
	t := &track{p: p, mid: mid, kind: k}
	if len(rids) == 0 {
		rids = []string{""}
	}
	n := audioRing
	if k == video {
		n = videoRing
	}
	for _, rid := range rids {
		t.layers = append(t.layers, &layer{t: t, rid: rid, ring: make([]cell, n)})
	}
	return t
}

// keep puts a packet where it can be found again.
func (l *layer) keep(pk *packet) {
	l.mu.Lock()
	c := &l.ring[int(pk.seq)%len(l.ring)]
	c.mem = append(c.mem[:0], pk.payload...)
	c.packet, c.used = *pk, true
	c.payload = c.mem
	l.mu.Unlock()
}

// again appends the packet seq of the source as it was sent before, nil if it is not kept any more.
func (l *layer) again(dst []byte, seq uint16, pl place, ssrc uint32, pts *[codecs]uint8, x *exts) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.ring[int(seq)%len(l.ring)]
	if !c.used || c.seq != seq || pts[c.codec] == 0 {
		return nil
	}
	return appendPacket(dst, &c.packet, pl, ssrc, pts[c.codec]-1, x)
}

func (l *layer) alive(now time.Time) bool {
	return now.UnixNano()-l.last.Load() < int64(deadLayer)
}

// cost is what showing the layer takes, in bits per second. A layer that pauses for a moment costs what it did; known: it was measured
// once, and what it costs is no guess.
func (l *layer) cost(now time.Time) (bits float64, known bool) {
	rate, took := l.rate.Load(), l.took.Load()
	if rate == 0 && l.alive(now) {
		rate = took
	}
	return float64(rate), rate != 0 || took != 0
}

// stats are those of RFC 3550 §6.4 and A.3, and what is missed.
type stats struct {
	ssrc         uint32
	epoch        uint32 // grows when the sender begins anew
	begun        bool
	base, cycles uint32
	max          uint16
	received     uint32
	jitter       float64
	transit      int64
	expectedThen uint32
	receivedThen uint32
	odd          int
	missing      []missed
}

type missed struct {
	seq   uint16
	tries int
	since time.Time
	asked time.Time
}

// took notes a packet's arrival. use: it belongs to the stream; lost: so much is missing that a key frame is needed.
func (s *stats) took(pk *packet, clock int64, now time.Time) (use, lost bool) {
	arrival := now.UnixNano() / 1000 * clock / 1_000_000
	transit := arrival - int64(pk.ts)
	if !s.begun {
		s.begun, s.base, s.max, s.transit = true, uint32(pk.seq), pk.seq, transit
		s.received = 1
		return true, false
	}
	s.received++
	if d := transit - s.transit; d < clock && d > -clock { // a jump of the timestamp is no jitter
		s.jitter += (float64(max(d, -d)) - s.jitter) / 16
	}
	s.transit = transit
	switch d := int16(pk.seq - s.max); {
	case d > maxMisplay || d < -maxMisplay:
		// The sender began anew, if the next one says so too.
		if s.odd++; s.odd == 1 {
			return false, false
		}
		*s = stats{ssrc: s.ssrc, epoch: s.epoch + 1, begun: true, base: uint32(pk.seq), max: pk.seq, transit: transit, received: 1}
		return true, true
	case d > 0:
		s.odd = 0
		if pk.seq < s.max {
			s.cycles += 1 << 16
		}
		if int(d)-1+len(s.missing) > nackMost {
			s.missing, lost = s.missing[:0], true
		} else {
			for q := s.max + 1; q != pk.seq; q++ {
				s.missing = append(s.missing, missed{seq: q, since: now})
			}
		}
		s.max = pk.seq
	default:
		for i := range s.missing {
			if s.missing[i].seq == pk.seq {
				s.missing = append(s.missing[:i], s.missing[i+1:]...)
				break
			}
		}
	}
	return true, lost
}

// due returns what is to be asked for again, in dst; lost: something will not come any more.
func (s *stats) due(dst []uint16, now time.Time) (ask []uint16, lost bool) {
	keep := s.missing[:0]
	for _, m := range s.missing {
		if m.tries >= nackTries || now.Sub(m.since) > time.Second {
			lost = true
			continue
		}
		if now.Sub(m.asked) >= nackPause {
			m.asked = now
			m.tries++
			dst = append(dst, m.seq)
		}
		keep = append(keep, m)
	}
	s.missing = keep
	return dst, lost
}

// loudness follows the audio level of a track. Written under p.in.mu, read by anybody.
type loudness struct {
	level atomic.Int32 // smoothed, 0 (silence) to 127, times 256
	seen  atomic.Int64 // ns
}

// hear takes an audio level: 0 is the loudest, 127 silence. // RFC 6464 §3
func (d *loudness) hear(level byte, now time.Time) {
	v := int32(127-level&0x7F) << 8
	old := d.level.Load()
	if v > old {
		old += (v - old) / 4 // speech is noticed at once,
	} else {
		old += (v - old) / 32 // and a pause between words is none
	}
	d.level.Store(old)
	d.seen.Store(now.UnixNano())
}

// now returns the level, 0 to 127.
func (d *loudness) now(at time.Time) int {
	if at.UnixNano()-d.seen.Load() > int64(time.Second) {
		return 0
	}
	return int(d.level.Load() >> 8)
}
