package calls

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// pair has ann call bob, who accepts; both talk.
func pair(t testing.TB, ann, bob *device, va, vb *voice) (a, b *Call) {
	t.Helper()
	a = ann.start(ann.Direct("bob"), va.local())
	b = bob.rings()
	must(t, b.Accept(soon(t), vb.local()))
	va.hears(5, "bob")
	vb.hears(5, "ann")
	return a, b
}

func TestCall(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	until(t, a, "active", func(s Status) bool { return s.State == StateActive && s.Quality.RTT > 0 && s.Quality.Received > 0 })
	farewell(t, b, a)
	if got := over(t, b); got != Answered {
		t.Errorf("the call was %s", got)
	}
	<-a.Done()
	<-b.Done()
}

func TestDeclined(t *testing.T) {
	s := serve(t)
	ann, bob, other := s.device("ann", "a"), s.device("bob", "b"), s.device("bob", "b2")
	a := ann.start(ann.Direct("bob"), Local{})
	b, b2 := bob.rings(), other.rings()
	until(t, a, "ringing", func(s Status) bool { return s.State == StateRinging })
	must(t, b2.Silence(soon(t))) // for itself
	if got := over(t, b2); got != Declined {
		t.Errorf("the silenced one was %s", got)
	}
	if st := b.Status(); st.State != StateRinging {
		t.Errorf("the first device does not ring any more: %+v", st)
	}
	must(t, b.Decline(soon(t), ""))
	if got := over(t, a); got != Declined {
		t.Errorf("the call was %s", got)
	}
	if err := a.Accept(soon(t), Local{}); !errors.Is(err, ErrEnded) {
		t.Errorf("accepting what is over: %v", err)
	}
}

func TestBusy(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	a := ann.start(ann.Direct("bob"), Local{})
	must(t, bob.rings().Decline(soon(t), "busy"))
	if got := over(t, a); got != Busy {
		t.Errorf("the call was %s", got)
	}
}

func TestCancelled(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	a := ann.start(ann.Direct("bob"), Local{})
	b := bob.rings()
	must(t, a.Cancel(soon(t)))
	if got := over(t, a); got != Cancelled {
		t.Errorf("the call was %s", got)
	}
	if got := over(t, b); got != Missed {
		t.Errorf("it was %s where it rang", got)
	}
}

func TestTakenElsewhere(t *testing.T) {
	s := serve(t)
	ann, bob, other := s.device("ann", "a"), s.device("bob", "b"), s.device("bob", "b2")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a := ann.start(ann.Direct("bob"), va.local())
	b, b2 := bob.rings(), other.rings()
	errs := make(chan error, 2)
	go func() { errs <- b.Accept(soon(t), vb.local()) }()
	go func() { errs <- b2.Accept(soon(t), vb.local()) }()
	one, two := <-errs, <-errs
	if (one == nil) == (two == nil) {
		t.Fatalf("of two that accept one has the call, not %v and %v", one, two)
	}
	winner, loser := b, b2
	if b.Status().State == StateEnded || b.Status().Party == "" {
		winner, loser = b2, b
	}
	if got := over(t, loser); got != Taken {
		t.Errorf("the other one was %s", got)
	}
	va.hears(5, "bob")
	vb.hears(5, "ann")
	must(t, winner.Hangup(soon(t)))
	over(t, a)
}

func TestGlare(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	both := make(chan *Call, 2)
	for d, v := range map[*device]*voice{ann: va, bob: vb} {
		go func() {
			c, err := d.Start(soon(t), chat.DirectID("ann", "bob"), v.local())
			if err != nil {
				t.Error(err)
			}
			both <- c
		}()
	}
	x, y := <-both, <-both
	if t.Failed() {
		return
	}
	if x.ID() != y.ID() {
		t.Fatalf("they are in two calls, %s and %s", x.ID(), y.ID())
	}
	va.hears(5, "bob")
	vb.hears(5, "ann")
	must(t, x.Hangup(soon(t)))
	over(t, x)
	over(t, y)
}

func TestOffline(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a")
	s.proxy.Refuse(true)
	s.proxy.Cut()
	must(t, ann.Wait(soon(t), func(s client.Status) bool { return s.State == client.Offline }))
	if _, err := ann.Start(soon(t), ann.Direct("bob"), Local{}); !errors.Is(err, client.ErrOffline) {
		t.Errorf("a call without a connection: %v", err)
	}
	s.proxy.Refuse(false)
}

func TestHoldAndVideo(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	must(t, a.Hold(soon(t), true))
	until(t, b, "held", func(s Status) bool {
		return slices.ContainsFunc(s.Roster, func(m Member) bool { return m.User == "ann" && m.Hold })
	})
	must(t, a.Hold(soon(t), false))
	va.hears(5, "bob")
	vb.hears(5, "ann")

	// Both switch their cameras on at the same time.
	ca, cb := newVoice(t, "ann's camera"), newVoice(t, "bob's camera")
	ca.track, cb.track = videoTrack(t, "ann"), videoTrack(t, "bob")
	errs := make(chan error, 2)
	go func() { errs <- a.SetTracks(soon(t), nil, va.track, ca.track) }()
	go func() { errs <- b.SetTracks(soon(t), nil, vb.track, cb.track) }()
	must(t, <-errs)
	must(t, <-errs)
	_ = ca
	until(t, a, "bob's video", func(s Status) bool {
		return slices.ContainsFunc(s.Roster, func(m Member) bool { return m.User == "bob" && slices.Contains(m.Media, "video") })
	})
	va.hears(5, "bob")
	vb.hears(5, "ann")
	must(t, a.Hangup(soon(t)))
	over(t, b)
}

// TestServerRestarts: media and call go on while there is no server, and everybody knows how things stand afterwards.
func TestServerRestarts(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	s.stop()
	until(t, a, "no signalling", func(s Status) bool { return !s.Online })
	va.hears(50, "bob")
	vb.hears(50, "ann")
	s.start()
	s.proxy.Target(s.Addr("mqtt"))
	for _, c := range []*Call{a, b} {
		until(t, c, "active with everybody there", func(s Status) bool {
			return s.Online && s.State == StateActive && len(s.Roster) == 2 && !s.Roster[0].Reconnecting && !s.Roster[1].Reconnecting
		})
	}
	va.hears(5, "bob")
	vb.hears(5, "ann")
	farewell(t, a, b)
}

// TestConnectionsCut: nobody has signalling for a while, and one of the verbs was said meanwhile.
func TestConnectionsCut(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	s.proxy.Refuse(true)
	s.proxy.Cut()
	until(t, a, "no signalling", func(s Status) bool { return !s.Online })
	until(t, b, "no signalling", func(s Status) bool { return !s.Online })
	vb.hears(250, "ann") // five seconds of it
	held := make(chan error, 1)
	go func() { held <- b.Hold(soon(t), true) }()
	until(t, b, "its own hold", func(s Status) bool { return s.Hold })
	s.proxy.Refuse(false)
	must(t, <-held)
	until(t, a, "bob's hold", func(s Status) bool {
		return s.State == StateActive && slices.ContainsFunc(s.Roster, func(m Member) bool { return m.User == "bob" && m.Hold })
	})
	must(t, b.Hold(soon(t), false))
	va.hears(5, "bob")
	must(t, b.Hangup(soon(t)))
	over(t, a)
}

func TestTakeOver(t *testing.T) {
	s := serve(t)
	ann, bob, other := s.device("ann", "a"), s.device("bob", "b"), s.device("bob", "b2")
	va, vb, vo := newVoice(t, "ann"), newVoice(t, "bob"), newVoice(t, "bob elsewhere")
	a, b := pair(t, ann, bob, va, vb)
	c, err := other.TakeOver(soon(t), a.ID(), vo.local())
	must(t, err)
	if got := over(t, b); got != Taken {
		t.Errorf("the call was %s on the old device", got)
	}
	va.hears(5, "bob elsewhere")
	vo.hears(5, "ann")
	must(t, c.Hangup(soon(t)))
	over(t, a)
}

func TestData(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	got := make(chan string, 4)
	take := func(party string, b []byte) { got <- string(b) }
	a := ann.start(ann.Direct("bob"), Local{Media: []string{"data"}, OnData: take})
	b := bob.rings()
	must(t, b.Accept(soon(t), Local{Media: []string{"data"}, OnData: take}))
	for _, c := range []*Call{a, b} {
		for range until(t, c, "connected", func(s Status) bool { return s.Quality.RTT > 0 }).Roster {
			break
		}
		said := "from " + c.m.c.Me()
		var heard string
		for heard == "" {
			must(t, c.Send(soon(t), []byte(said)))
			select {
			case heard = <-got:
			case <-time.After(50 * time.Millisecond): // the channel is not open yet
			case <-soon(t).Done():
				t.Fatal("no message arrives")
			}
		}
		if heard != said {
			t.Errorf("got %q, not %q", heard, said)
		}
	}
	must(t, a.Hangup(soon(t)))
	over(t, b)
}

func videoTrack(t testing.TB, name string) *webrtc.TrackLocalStaticSample {
	t.Helper()
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "video", name)
	must(t, err)
	return track
}
