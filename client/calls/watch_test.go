package calls

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/petrelchat/petrel/internal/rtpvideo"
)

// camera films in up to three sizes, 25 frames a second each, and sends key frames only when somebody asks for them.
type camera struct {
	name   string
	tracks []webrtc.TrackLocal
	wanted map[webrtc.TrackLocal]*atomic.Bool
}

// sizes are the bytes of a frame of each layer: with all headers 13, 23 and 35 kbit/s through the SFU, 7, 17 and 29 in a mesh. It is little, so that
// the estimate of a machine that is busy with other things, 50 kbit/s at least, carries the largest.
var sizes = map[string]int{"": 20, "q": 20, "h": 70, "f": 130}

const (
	frameFor  = 40 * time.Millisecond
	forLow    = 11_000 // bits per second that let only the smallest through, in a mesh
	forMiddle = 20_000
	sfuLow    = 18_000 // and through the SFU
	sfuMiddle = 28_000
)

// newCamera films until the test ends. Without rids there is one layer.
func newCamera(t *testing.T, name string, rids ...string) *camera {
	t.Helper()
	if rids == nil {
		rids = []string{""}
	}
	c := &camera{name: name, wanted: make(map[webrtc.TrackLocal]*atomic.Bool)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, rid := range rids {
		track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "camera", name,
			webrtc.WithRTPStreamID(rid))
		must(t, err)
		c.tracks = append(c.tracks, track)
		key := &atomic.Bool{}
		key.Store(true)
		c.wanted[track] = key
		wg.Go(func() {
			tick := time.NewTicker(frameFor)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				b := bytes.Repeat([]byte{1}, sizes[rid])
				if key.Swap(false) {
					b[0] = 0 // RFC 6386 §9.1
				}
				copy(b[1:], fmt.Sprintf("%s/%s;", name, rid))
				_ = track.WriteSample(media.Sample{Data: b, Duration: frameFor})
			}
		})
	}
	t.Cleanup(func() { close(stop); wg.Wait() })
	return c
}

func (c *camera) local() Local {
	return Local{Tracks: c.tracks, OnKeyFrame: func(t webrtc.TrackLocal) { c.wanted[t].Store(true) }}
}

// screen sees what cameras send, and checks that it goes on without a seam.
type screen struct {
	t    *testing.T
	mu   sync.Mutex
	sees map[string]int // frames, by "name/rid"
	bell chan struct{}
}

func newScreen(t *testing.T) *screen {
	return &screen{t: t, sees: make(map[string]int), bell: make(chan struct{}, 1)}
}

func (s *screen) watch(rt *RemoteTrack) {
	if rt.Kind() != webrtc.RTPCodecTypeVideo {
		return
	}
	rt.RequestKeyFrame()
	var seq, pic uint16
	var last string
	for first := true; ; first = false {
		pkt, err := rt.ReadRTP()
		if err != nil {
			return
		}
		d, ok := rtpvideo.ReadVP8(pkt.Payload)
		if !ok {
			first = true
			continue
		}
		what, _, _ := bytes.Cut(pkt.Payload[d.Size+1:], []byte(";"))
		now, _ := pictureVP8(pkt.Payload)
		if !first && pkt.SequenceNumber == seq+1 {
			if now != (pic+1)&0x7FFF {
				s.t.Errorf("behind picture %d of %s comes %d of %s", pic, last, now, what)
			}
			if string(what) != last && pkt.Payload[d.Size]&1 != 0 {
				s.t.Errorf("%s follows %s without a key frame", what, last)
			}
		}
		seq, pic, last = pkt.SequenceNumber, now, string(what)
		s.mu.Lock()
		s.sees[last]++
		s.mu.Unlock()
		select {
		case s.bell <- struct{}{}:
		default:
		}
	}
}

// until waits for so many more frames of each of some layers.
func (s *screen) until(n int, layers ...string) {
	s.t.Helper()
	ctx := soon(s.t)
	s.mu.Lock()
	clear(s.sees)
	s.mu.Unlock()
	for {
		s.mu.Lock()
		missing := slices.IndexFunc(layers, func(l string) bool { return s.sees[l] < n })
		all := fmt.Sprint(s.sees)
		s.mu.Unlock()
		if missing < 0 {
			return
		}
		select {
		case <-s.bell:
		case <-ctx.Done():
			s.t.Fatalf("%s is not seen, but %s", layers[missing], all)
		}
	}
}

// only waits until, of a camera's layers, one alone has come for a while.
func (s *screen) only(name, rid string) {
	s.t.Helper()
	ctx := soon(s.t)
	for {
		s.until(12, name+"/"+rid)
		s.mu.Lock()
		n := len(s.sees)
		s.mu.Unlock()
		if n == 1 {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("%s is not seen alone", name+"/"+rid)
		}
	}
}

// hall is a group's call through the SFU: ann has a camera of three layers, cy one of one, di speaks, bob watches, ed is there.
type hall struct {
	calls map[string]*Call
	tv    *screen
	data  chan string
}

func newHall(t *testing.T) *hall {
	s := serve(t)
	h := &hall{calls: make(map[string]*Call), tv: newScreen(t), data: make(chan string, 16)}
	names := []string{"ann", "bob", "cy", "di", "ed"}
	both := []string{"audio", "video"}
	speaker := &speech{newVoice(t, "di").track}
	locals := map[string]Local{
		"ann": newCamera(t, "ann", "q", "h", "f").local(), "cy": newCamera(t, "cy").local(), "di": {Tracks: []webrtc.TrackLocal{speaker}},
		"bob": {Media: both, OnTrack: h.tv.watch, Watch: Watch{Limit: sfuLow, Pin: []string{"ann"}, Pictures: 1}},
		"ed":  {OnData: func(party string, b []byte) { h.data <- party + " " + string(b) }},
	}
	devices := make(map[string]*device)
	for _, n := range names {
		devices[n] = s.device(n, n+"1")
	}
	conv := devices["ann"].group("crew", names[1:]...)
	for _, n := range names {
		h.calls[n] = devices[n].start(conv, locals[n])
	}
	for _, n := range names {
		until(t, h.calls[n], "the SFU", func(s Status) bool { return s.SFU && len(s.Roster) == 5 && !s.Began.IsZero() })
	}
	t.Cleanup(func() {
		for _, c := range h.calls {
			must(t, c.Hangup(soon(t)))
		}
	})
	return h
}

// speech is a track that knows how loud it is.
type speech struct {
	*webrtc.TrackLocalStaticSample
}

func (speech) AudioLevel() (uint8, bool) { return 20, true }

// shown are the users whose pictures a call shows.
func shown(s Status) (users []string) {
	for _, m := range s.Roster {
		if m.Shown {
			users = append(users, m.User)
		}
	}
	slices.Sort(users)
	return users
}

// TestThroughSFU: layers by what the receiver takes, pictures by pins and number, who speaks, messages, figures of each party.
func TestThroughSFU(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	bob := h.calls["bob"]
	see := func(what string, w Watch, users ...string) {
		t.Helper()
		must(t, bob.Watch(soon(t), w))
		until(t, bob, what, func(s Status) bool { return slices.Equal(shown(s), users) })
	}
	until(t, bob, "ann alone, who is pinned", func(s Status) bool { return slices.Equal(shown(s), []string{"ann"}) })
	h.tv.only("ann", "q")
	see("ann without a limit", Watch{Pin: []string{"ann"}, Pictures: 1}, "ann")
	h.tv.only("ann", "f")
	see("ann with a limit in between", Watch{Pin: []string{"ann"}, Pictures: 1, Limit: sfuMiddle}, "ann")
	h.tv.only("ann", "h")
	see("cy in her place", Watch{Pin: []string{"cy"}, Pictures: 1}, "cy")
	h.tv.only("cy", "")
	see("everybody", Watch{}, "ann", "cy")
	h.tv.until(10, "cy/")
	see("nobody", Watch{Pictures: -1})
	see("one again", Watch{Pictures: 1, Pin: []string{"ann"}}, "ann")
	h.tv.until(10, "ann/f")

	until(t, bob, "di speaking", func(s Status) bool {
		return slices.ContainsFunc(s.Roster, func(m Member) bool { return m.User == "di" && m.Speaking })
	})
	st := until(t, bob, "figures of ann and di", func(s Status) bool {
		got := 0
		for _, m := range s.Roster {
			if q := m.Quality; (m.User == "ann" || m.User == "di") && q.Received > 5_000 && q.RTT > 0 && q.Jitter > 0 {
				got++
			}
		}
		return got == 2
	})
	for _, m := range st.Roster {
		if q := m.Quality; q.Jitter > time.Second || q.Loss > 1 || q.LossThere > 1 {
			t.Errorf("%s: %+v", m.User, q)
		}
	}

	must(t, h.calls["di"].Send(soon(t), []byte("hello")))
	select {
	case got := <-h.data:
		if want := h.calls["di"].Status().Party + " hello"; got != want {
			t.Errorf("ed got %q, not %q", got, want)
		}
	case <-soon(t).Done():
		t.Error("no message came through the SFU")
	}
}

// TestLayersInMesh: one layer goes out, as large as the other side wants.
func TestLayersInMesh(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	tv := newScreen(t)
	a := ann.start(ann.Direct("bob"), newCamera(t, "ann", "q", "h", "f").local())
	b := bob.rings()
	must(t, b.Accept(soon(t), Local{Media: []string{"audio", "video"}, OnTrack: tv.watch, Watch: Watch{Limit: forLow}}))
	tv.only("ann", "q")
	must(t, b.Watch(soon(t), Watch{}))
	tv.only("ann", "f")
	must(t, b.Watch(soon(t), Watch{Limit: forMiddle}))
	tv.only("ann", "h")
	until(t, a, "figures of bob", func(s Status) bool {
		return slices.ContainsFunc(s.Roster, func(m Member) bool { return m.User == "bob" && m.Quality.Sent > 12_000 && m.Quality.RTT > 0 })
	})
	must(t, b.Watch(soon(t), Watch{Pictures: -1}))
	until(t, b, "no pictures", func(s Status) bool { return len(shown(s)) == 0 })
	until(t, a, "nothing sent", func(s Status) bool { return s.Quality.Sent < 6_000 })
	must(t, b.Watch(soon(t), Watch{}))
	tv.until(10, "ann/f")
	must(t, a.Hangup(soon(t)))
	over(t, b)
}
