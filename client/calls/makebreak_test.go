package calls

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// ledger keeps account of each frame that a party gets of each other one.
type ledger struct {
	t    testing.TB
	name string

	mu     sync.Mutex
	of     map[string]*account
	closed bool
	bell   chan struct{}
}

// account is what came of one speaker.
type account struct {
	first, last uint64         // frames
	times       map[uint64]int // how often each came
	tracks      []*RemoteTrack // that something came on, in order
	meshed      uint64         // the last frame that came over the mesh
	sfu         uint64         // the first that came through the SFU
	disorder    int            // frames that came behind a later one of the same track
}

func newLedger(t testing.TB, name string) *ledger {
	return &ledger{t: t, name: name, of: make(map[string]*account), bell: make(chan struct{}, 1)}
}

// listen is for Local.OnTrack.
func (l *ledger) listen(rt *RemoteTrack) {
	var last uint64
	for {
		pkt, err := rt.ReadRTP()
		if err != nil {
			return
		}
		if len(pkt.Payload) != 64 {
			continue // padding
		}
		who, n := strings.TrimRight(string(pkt.Payload[:24]), "\x00"), binary.BigEndian.Uint64(pkt.Payload[24:])
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			continue
		}
		a := l.of[who]
		if a == nil {
			a = &account{first: n, times: make(map[uint64]int)}
			l.of[who] = a
		}
		if !slices.Contains(a.tracks, rt) {
			a.tracks, last = append(a.tracks, rt), 0
		}
		if n < last {
			a.disorder++
		}
		last = n
		if rt.sfu && a.sfu == 0 {
			a.sfu = n
		}
		if !rt.sfu {
			a.meshed = n
		}
		a.times[n]++
		a.first, a.last = min(a.first, n), max(a.last, n)
		l.mu.Unlock()
		select {
		case l.bell <- struct{}{}:
		default:
		}
	}
}

// reaches waits until frame n of somebody came, or a later one.
func (l *ledger) reaches(who string, n uint64) {
	l.t.Helper()
	l.comes(who, fmt.Sprint("frame ", n), func(a *account) bool { return a.last >= n })
}

// comes waits until something came of somebody.
func (l *ledger) comes(who, what string, enough func(*account) bool) {
	l.t.Helper()
	ctx := soon(l.t)
	for {
		l.mu.Lock()
		a := l.of[who]
		ok := a != nil && enough(a)
		l.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-l.bell:
		case <-ctx.Done():
			l.t.Fatalf("%s waits for %s: %s", l.name, who, what)
		}
	}
}

// tally says which frames of somebody from one to another one are missing, and which came more than once. They count from when the first came.
func (l *ledger) tally(who string, from, to uint64) (missing, doubled []uint64) {
	a := l.of[who]
	for n := max(from, a.first); n <= to; n++ {
		switch k := a.times[n]; {
		case k == 0:
			missing = append(missing, n)
		case k > 1:
			doubled = append(doubled, n)
		}
	}
	return missing, doubled
}

// speaker numbers its frames, one each 20 ms, whether anybody hears them or not.
type speaker struct {
	*ledger
	track *webrtc.TrackLocalStaticSample

	now  sync.Mutex
	said uint64 // frames
}

func newSpeaker(t testing.TB, name string) *speaker {
	t.Helper()
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", name)
	must(t, err)
	s := &speaker{ledger: newLedger(t, name), track: track}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.now.Lock()
				s.said++
				_ = track.WriteSample(media.Sample{Data: frame(name, s.said), Duration: 20 * time.Millisecond})
				s.now.Unlock()
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return s
}

// frames is how many it has said.
func (s *speaker) frames() uint64 {
	s.now.Lock()
	defer s.now.Unlock()
	return s.said
}

func (s *speaker) local() Local {
	return Local{Tracks: []webrtc.TrackLocal{s.track}, OnTrack: s.listen}
}

// crowd is five stations, of which four are in a call.
type crowd struct {
	*world
	conv     string
	names    []string
	stations []*station
	speakers []*speaker
	calls    []*Call
}

// newCrowd puts five people behind different NATs and four of them into a call, which is a mesh.
func newCrowd(t *testing.T, seed uint64, behind ...kind) *crowd {
	t.Helper()
	c := &crowd{world: newWorld(t, seed), names: []string{"ann", "bob", "cy", "di", "ed"}}
	for i, n := range c.names {
		h := c.home(behind[i], time.Duration(5+10*i)*time.Millisecond)
		c.stations = append(c.stations, c.station(n, h))
		c.speakers = append(c.speakers, newSpeaker(t, n))
	}
	c.conv = c.stations[0].group("crew", c.names[1:]...)
	c.calls = append(c.calls, c.stations[0].start(c.conv, c.speakers[0].local()))
	for i := 1; i < 4; i++ {
		in := c.stations[i].rings()
		must(t, in.Accept(soon(t), c.speakers[i].local()))
		c.calls = append(c.calls, in)
	}
	return c
}

// joins brings the fifth in.
func (c *crowd) joins() {
	c.t.Helper()
	c.calls = append(c.calls, c.stations[4].start(c.conv, c.speakers[4].local()))
}

// hear waits until each of some hears so many frames more of each other one.
func (c *crowd) hear(frames uint64, who ...int) {
	c.t.Helper()
	marks := make([]uint64, len(c.speakers))
	for _, i := range who {
		marks[i] = c.speakers[i].frames() + frames
	}
	for _, i := range who {
		for _, j := range who {
			if i != j {
				c.speakers[i].reaches(c.names[j], marks[j])
			}
		}
	}
}

// alone waits until a call has no connection left but that to the SFU.
func alone(t testing.TB, c *Call) {
	t.Helper()
	until(t, c, "no mesh", func(Status) bool {
		peers := make(chan int, 1)
		return c.post(func() {
			n := len(c.peers)
			if c.peers[sfuParty] == nil {
				n = 0
			}
			peers <- n
		}) && <-peers == 1
	})
}

// slowly keeps what the SFU signals to a device behind its first answer, until it is let go.
type slowly struct {
	handler
	mu     sync.Mutex
	held   []func()
	answer bool // it came
	open   bool
}

func (s *slowly) Told(party string, payload []byte) {
	var t told
	_ = json.Unmarshal(payload, &t) // of the server
	s.mu.Lock()
	defer s.mu.Unlock()
	if party == "" || !s.answer || s.open {
		s.answer = s.answer || t.Kind == "signal" && t.From == sfuParty && t.Type == "answer"
		s.handler.Told(party, payload)
		return
	}
	payload = slices.Clone(payload)
	s.held = append(s.held, func() { s.handler.Told(party, payload) })
}

func (s *slowly) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
	for _, fn := range s.held {
		fn()
	}
}

// TestMakeBeforeBreak: when the fifth joins a mesh of four it becomes a call through the SFU, and nobody misses a single frame of anybody by that, nor
// gets one twice. One of the four is heard through the SFU long before she can hear the others there.
func TestMakeBeforeBreak(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 2, fullCone, portRestricted, addressRestricted, portRestricted, fullCone)
	di := c.stations[3]
	late := &slowly{handler: handler{di.Manager}}
	must(t, di.HandleCalls(nil))
	must(t, di.HandleCalls(late))
	c.hear(10, 0, 1, 2, 3)
	from := c.marks()
	c.hear(1, 0, 1, 2, 3) // frames on their way are behind it
	c.joins()
	for _, s := range c.speakers[:3] {
		s.comes("di", "over the SFU for two seconds", func(a *account) bool { return a.sfu > 0 && a.last > a.sfu+110 })
	}
	c.hear(5, 0, 1, 2, 3) // still
	late.letGo()
	to := c.over(from)
	for i, s := range c.speakers {
		for j, who := range c.names {
			if i == j {
				continue
			}
			a := s.of[who]
			missing, doubled := s.tally(who, from[j], to[j])
			if len(missing) > 0 || len(doubled) > 0 || a.disorder > 0 {
				t.Errorf("%s of %s: missing %v, doubled %v, out of order %d; the last over the mesh %d, the first through the SFU %d",
					s.name, who, missing, doubled, a.disorder, a.meshed, a.sfu)
			}
			if i < 4 && j < 4 && (a.meshed <= from[j] || a.sfu == 0) {
				t.Errorf("%s of %s: there was nothing to go over", s.name, who)
			}
		}
	}
}

// marks says how many frames each has said.
func (c *crowd) marks() []uint64 {
	marks := make([]uint64, len(c.speakers))
	for i, s := range c.speakers {
		marks[i] = s.frames()
	}
	return marks
}

// over waits until everything goes through the SFU, for everybody, and tells the frames up to which that was so. Nobody listens afterwards.
func (c *crowd) over(from []uint64) (to []uint64) {
	c.t.Helper()
	c.hear(5, 0, 1, 2, 3, 4)
	for _, call := range c.calls {
		alone(c.t, call)
	}
	to = c.marks()
	c.hear(25, 0, 1, 2, 3, 4)
	for _, s := range c.speakers {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
	}
	return to
}
