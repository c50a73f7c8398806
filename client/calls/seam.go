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
// Readers of tracks call it, each on its goroutine.
type seams struct {
	mu     sync.Mutex
	tracks []*RemoteTrack // of live connections, in calls that have both ways
}

// seam is a track's place in it; guarded by seams.mu.
type seam struct {
	begun bool
	at    time.Time // of the last packet
	first uint32    // timestamp that it began with, or began again
	ts    uint32    // the greatest since then

	party    string // of the SFU's: whose packets it went on with
	from, to uint32 // of the SFU's: timestamps that the mesh yields, the last one excluded,
	skips    bool   // if there are any

	next  *RemoteTrack // of the mesh's: the SFU's that goes on with it; nil: none
	cut   uint32       // the first timestamp that is next's,
	exact bool         // if it is known
}

const (
	seamPause = time.Second      // of silence, and the other way is heard again
	seamNear  = 10 * time.Second // timestamps as close as that are of one source
)

// add makes a track known, which is about to be read.
func (s *seams) add(t *RemoteTrack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tracks = append(s.tracks, t)
}

// end forgets a track that is over.
func (s *seams) end(t *RemoteTrack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tracks = slices.DeleteFunc(s.tracks, func(o *RemoteTrack) bool { return o == t })
	for _, o := range s.tracks {
		if o.seam.next == t {
			o.seam.next = nil
		}
	}
}

// take reports whether the reader of a track gets a packet.
func (s *seams) take(t *RemoteTrack, h *rtp.Header) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // in the order of the lock
	if t.sfu {
		return s.takeSFU(t, h, now)
	}
	m := &t.seam
	if m.next == nil || now.Sub(m.next.seam.at) > seamPause {
		if m.next != nil { // what goes on here was left out there
			m.next, m.begun = nil, false
		}
		for _, o := range s.tracks { // it may be this one that comes later
			if o.sfu && now.Sub(o.seam.at) <= seamPause && o.Kind() == t.Kind() && o.Party() == t.Party() {
				s.follow(o, o.seam.first)
			}
		}
	}
	if m.next != nil && (!m.exact || int32(h.Timestamp-m.cut) >= 0) {
		return false
	}
	m.note(h, now, false)
	return true
}

func (s *seams) takeSFU(t *RemoteTrack, h *rtp.Header, now time.Time) bool {
	m := &t.seam
	begins := !m.begun || now.Sub(m.at) > seamPause
	if party := t.Party(); begins || party != m.party {
		m.party, m.skips = party, m.skips && !begins
		s.follow(t, h.Timestamp)
	}
	m.note(h, now, begins)
	if !m.skips || int32(h.Timestamp-m.from) < 0 {
		return true
	}
	if int32(h.Timestamp-m.to) >= int32(t.clock(seamNear)) {
		m.skips = false
	}
	return int32(h.Timestamp-m.to) >= 0
}

// follow finds the track of the mesh that one of the SFU goes on with, from a timestamp on.
func (s *seams) follow(t *RemoteTrack, ts uint32) {
	var same, near []*RemoteTrack
	for _, o := range s.tracks {
		switch {
		case o.Kind() != t.Kind():
		case o.sfu:
			if o != t && o.Party() == t.Party() && t.Party() != sfuParty {
				return // of two cameras nobody knows which is which
			}
		case o.Party() == t.Party():
			same = append(same, o)
		case t.Party() == sfuParty && o.seam.begun && t.near(o.seam.ts, ts): // whose it is will be told on another way
			near = append(near, o)
		}
	}
	if len(same) == 0 {
		same = near
	}
	if len(same) != 1 {
		return
	}
	if m := &same[0].seam; m.next != t || !m.exact {
		s.join(same[0], t, ts)
	}
}

// join has a track of the SFU go on with one of the mesh, from a timestamp on, or behind what the mesh has yielded.
func (s *seams) join(mesh, sfu *RemoteTrack, ts uint32) {
	m := &mesh.seam
	m.next = sfu
	m.exact = mesh.Kind() == webrtc.RTPCodecTypeAudio && (!m.begun || mesh.near(m.ts, ts))
	if !m.exact {
		return
	}
	m.cut = ts
	if !m.begun {
		return
	}
	if int32(m.ts-ts) >= 0 {
		m.cut = m.ts + 1
	}
	sfu.seam.from, sfu.seam.to, sfu.seam.skips = m.first, m.cut, true
}

// near reports whether two timestamps can be of one source.
func (t *RemoteTrack) near(a, b uint32) bool {
	d := int32(a - b)
	return max(d, -d) < int32(t.clock(seamNear))
}

// clock is a time in ticks of the track's timestamps.
func (t *RemoteTrack) clock(d time.Duration) int64 {
	return int64(d.Seconds() * float64(t.Codec().ClockRate))
}

func (m *seam) note(h *rtp.Header, now time.Time, again bool) {
	if again || !m.begun {
		m.first, m.ts = h.Timestamp, h.Timestamp
	}
	if int32(h.Timestamp-m.ts) > 0 {
		m.ts = h.Timestamp
	}
	m.begun, m.at = true, now
}
