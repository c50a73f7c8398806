package calls

import (
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// seams sees to it that what a party sends is heard once while it comes on two ways: over the mesh, and through the SFU already. Where it comes out of
// its sender once, as with this package, both ways have the same timestamps, and audio goes over from one to the other between two frames: the track of the
// mesh yields all before, that of the SFU all from there on, and none is missing or comes twice. Browsers encode for each connection anew, and pictures need a key
// frame to begin with: there the track of the mesh yields nothing more as soon as that of the SFU does. If the SFU falls silent, the mesh is heard again.
//
// A way that is only late may be taken for a silent one, and its packets come when the other way has gone on: so each track leaves out what the other ones have yielded.
//
// Readers of tracks call it, each on its goroutine.
type seams struct {
	mu     sync.Mutex
	tracks []*RemoteTrack // of live connections, and for a while of what was the mesh
}

// seam is a track's place in it; guarded by seams.mu.
type seam struct {
	kind webrtc.RTPCodecType
	rate uint32 // of its clock, a second

	came bool   // something has,
	last uint32 // with this timestamp, taken or not

	begun bool
	over  bool      // of the mesh's: nothing comes any more
	at    time.Time // of the last packet
	first uint32    // timestamp that it began with, or began again
	ts    uint32    // the greatest since then
	party string    // of the SFU's: whose packets it went on with
	there spans     // what other tracks have yielded, or will

	next  *RemoteTrack // of the mesh's: the SFU's that goes on with it; nil: none
	cut   uint32       // the first timestamp that is next's,
	exact bool         // if it is known
}

// span is timestamps from one to another one, which it does not hold.
type span struct{ from, to uint32 }

// spans are a few that were added last.
type spans []span

const spansMost = 8

func (s *spans) add(from, to uint32) {
	if len(*s) == spansMost {
		*s = slices.Delete(*s, 0, 1)
	}
	*s = append(*s, span{from, to})
}

// hold reports whether a timestamp is in one of them, and forgets those that it is far beyond.
func (s *spans) hold(ts uint32, far int64) bool {
	*s = slices.DeleteFunc(*s, func(p span) bool { return int64(int32(ts-p.to)) >= far })
	return slices.ContainsFunc(*s, func(p span) bool { return int32(ts-p.from) >= 0 && int32(ts-p.to) < 0 })
}

const (
	seamPause = time.Second      // of silence, and the other way is heard again
	seamNear  = 10 * time.Second // timestamps as close as that are of one source
)

// add makes a track known, which is about to be read.
func (s *seams) add(t *RemoteTrack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.seam.kind, t.seam.rate = t.Kind(), t.Codec().ClockRate
	s.tracks = append(s.tracks, t)
}

// end is called when nothing comes on a track any more. What one of the mesh yielded may still come through the SFU.
func (s *seams) end(t *RemoteTrack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.tracks = slices.DeleteFunc(s.tracks, func(o *RemoteTrack) bool { return o == t || o.seam.over && now.Sub(o.seam.at) > seamNear })
	if !t.sfu && t.seam.begun {
		over := &RemoteTrack{seam: t.seam} // without its connection
		over.party.Store(t.party.Load())
		over.seam.over, over.seam.next = true, nil
		s.tracks = append(s.tracks, over)
		t.seam.begun = false // who reads on after the end comes here once more
	}
	for _, o := range s.tracks {
		if o.seam.next == t {
			o.seam.resume()
		}
	}
}

// take reports whether the reader of a track gets a packet.
func (s *seams) take(t *RemoteTrack, h *rtp.Header) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // in the order of the lock
	t.seam.came, t.seam.last = true, h.Timestamp
	if t.sfu {
		s.begin(t, h.Timestamp, now)
	} else {
		s.look(t, now)
		if m := &t.seam; m.next != nil && (!m.exact || int32(h.Timestamp-m.cut) >= 0) {
			return false
		}
	}
	if t.seam.there.hold(h.Timestamp, t.seam.clock(seamNear)) {
		if t.sfu {
			t.seam.note(h, now) // it is not silent
		}
		return false
	}
	t.seam.note(h, now)
	return true
}

// look finds out whether a track of the SFU goes on with one of the mesh, still or by now.
func (s *seams) look(t *RemoteTrack, now time.Time) {
	m := &t.seam
	if m.next != nil && now.Sub(m.next.seam.at) <= seamPause {
		return
	}
	if m.next != nil {
		m.resume()
	}
	for _, o := range s.tracks { // it may be this one that comes later
		if o.sfu && now.Sub(o.seam.at) <= seamPause && t.same(o) {
			s.follow(o, o.seam.first)
		}
	}
}

// begin sees to a track of the SFU that begins, perhaps again, or with another party.
func (s *seams) begin(t *RemoteTrack, ts uint32, now time.Time) {
	m := &t.seam
	again := !m.begun || now.Sub(m.at) > seamPause
	party := t.Party()
	if !again && party == m.party {
		return
	}
	switch {
	case again:
	case m.party == sfuParty: // it has become known whose it was from the beginning
		ts = m.first
	default:
		m.there = nil // of another source
	}
	m.party = party
	s.follow(t, ts)
	for _, o := range s.tracks {
		if o.seam.over && o.same(t) && o.exactly(t) {
			m.there.add(o.seam.first, o.seam.ts+1)
		}
	}
	if again {
		m.begun = false
	}
}

// same reports whether what comes on a track of the mesh is what one of the SFU goes on with, as far as is known.
func (t *RemoteTrack) same(sfu *RemoteTrack) bool {
	switch {
	case t.sfu || !t.seam.came || t.seam.kind != sfu.seam.kind:
		return false
	case sfu.Party() == sfuParty: // whose it is will be told on another way
		return t.seam.near(sfu.seam.last)
	}
	return t.Party() == sfu.Party()
}

// exactly reports whether both have the same timestamps: the source encodes once.
func (t *RemoteTrack) exactly(sfu *RemoteTrack) bool {
	return t.seam.kind == webrtc.RTPCodecTypeAudio && t.seam.near(sfu.seam.last)
}

// follow finds the track of the mesh that one of the SFU goes on with, from a timestamp on.
func (s *seams) follow(t *RemoteTrack, ts uint32) {
	var mesh *RemoteTrack
	for _, o := range s.tracks {
		switch {
		case o.sfu && o != t && o.seam.kind == t.seam.kind && o.Party() == t.Party() && t.Party() != sfuParty:
			return // of two cameras nobody knows which is which
		case o.seam.over || !o.same(t):
		case mesh != nil:
			return
		default:
			mesh = o
		}
	}
	if mesh != nil && (mesh.seam.next != t || !mesh.seam.exact) {
		s.join(mesh, t, ts)
	}
}

// join has a track of the SFU go on with one of the mesh, from a timestamp on, or behind what the mesh has yielded.
func (s *seams) join(mesh, sfu *RemoteTrack, ts uint32) {
	m := &mesh.seam
	m.next = sfu
	m.cut, m.exact = ts, mesh.exactly(sfu)
	if !m.exact || !m.begun {
		return
	}
	if int32(m.ts-ts) >= 0 {
		m.cut = m.ts + 1
	}
	sfu.seam.there.add(m.first, m.cut)
}

// resume has a track of the mesh yield what comes on it, as the one that went on with it has fallen silent. What was left out until now may come there yet.
func (m *seam) resume() {
	if n := &m.next.seam; m.exact && n.begun && int32(n.ts-m.cut) >= 0 {
		m.there.add(m.cut, n.ts+1)
	}
	m.next, m.begun = nil, false
}

// near reports whether a timestamp can be of the same source.
func (m *seam) near(ts uint32) bool {
	d := int64(int32(m.last - ts))
	return max(d, -d) < m.clock(seamNear)
}

// clock is a time in ticks of the track's timestamps.
func (m *seam) clock(d time.Duration) int64 { return int64(d.Seconds() * float64(m.rate)) }

func (m *seam) note(h *rtp.Header, now time.Time) {
	if !m.begun {
		m.first, m.ts = h.Timestamp, h.Timestamp
	}
	if int32(h.Timestamp-m.ts) > 0 {
		m.ts = h.Timestamp
	}
	m.begun, m.at = true, now
}
