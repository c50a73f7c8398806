package calls

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/client"
)

// settledDown waits until both sides have one connection that stands, with nothing left to negotiate.
func settledDown(t *testing.T, both ...*Call) {
	t.Helper()
	for _, c := range both {
		until(t, c, "a connection that stands", func(Status) bool {
			ok := make(chan bool, 1)
			return c.post(func() {
				good := len(c.peers) == 1 && len(c.pending) == 0
				for _, p := range c.peers {
					good = good && p.up && !p.again && p.unsaid == 0 && p.pc.SignalingState() == webrtc.SignalingStateStable
				}
				ok <- good
			}) && <-ok
		})
	}
}

// TestOffersCross: both sides offer at the same moment, again and again; the polite one's offer falls, and nothing is lost.
func TestOffersCross(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	fell := 0
	for i := range 6 {
		var gate sync.WaitGroup
		gate.Add(2)
		var done sync.WaitGroup
		for _, c := range []*Call{a, b} {
			done.Add(1)
			c.post(func() {
				gate.Done()
				gate.Wait()
				for _, p := range c.peers {
					p.offer(i%2 == 1) // every other time with an ICE restart
					if p.polite && p.pc.SignalingState() == webrtc.SignalingStateHaveLocalOffer {
						fell++
					}
				}
				done.Done()
			})
		}
		done.Wait()
		settledDown(t, a, b)
		va.hears(3, "bob")
		vb.hears(3, "ann")
	}
	if fell == 0 {
		t.Error("no offers have crossed")
	}
	must(t, a.Hangup(soon(t)))
	over(t, b)
}

// TestRebuilt: media begin anew on one side, with another epoch; the other side follows.
func TestRebuilt(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	a.post(func() { a.rebuild() })
	until(t, b, "another epoch", func(Status) bool {
		n := make(chan uint64, 1)
		return b.post(func() { n <- b.epochs[a.Status().Party] }) && <-n == 2
	})
	settledDown(t, a, b)
	va.hears(5, "bob")
	vb.hears(5, "ann")
	b.post(func() { b.rebuild() }) // now both at the same time
	a.post(func() { a.owned.rebuilt = a.owned.rebuilt.Add(-rebuildEvery); a.rebuild() })
	until(t, b, "another epoch", func(Status) bool {
		n := make(chan uint64, 1)
		return b.post(func() { n <- b.epochs[a.Status().Party] }) && <-n == 3
	})
	va.hears(5, "bob")
	vb.hears(5, "ann")
	must(t, a.Hangup(soon(t)))
	over(t, b)
}

// tardy keeps the signals of a device until it is told to hand them over.
type tardy struct {
	handler
	mu   sync.Mutex
	keep bool
	kept []func()
	mute bool // what answers are for is not heard

	answers int // among them
}

var named = regexp.MustCompile(`"re":"[^"]*",`)

func (l *tardy) Told(party string, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if payload = slices.Clone(payload); l.mute {
		payload = named.ReplaceAll(payload, nil)
	}
	if l.keep && party != "" {
		if strings.Contains(string(payload), `"type":"answer"`) {
			l.answers++
		}
		l.kept = append(l.kept, func() { l.handler.Told(party, payload) })
		return
	}
	l.handler.Told(party, payload)
}

// TestLateSignals: what was meant for media that have begun anew since is no part of the new ones, whether it comes late to the server, or late from
// there.
func TestLateSignals(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	post := &tardy{handler: handler{ann.Manager}}
	must(t, ann.HandleCalls(nil))
	must(t, ann.HandleCalls(post))
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	settledDown(t, a, b)
	var mu sync.Mutex
	var old [][]byte
	bob.Manager.said = func(p []byte) {
		if strings.Contains(string(p), `"type":"offer"`) {
			mu.Lock()
			old = append(old, slices.Clone(p))
			mu.Unlock()
		}
	}
	post.mu.Lock()
	post.keep = true
	post.mu.Unlock()
	b.post(func() { // an offer that ann has not got when she begins anew
		for _, p := range b.peers {
			p.restarted = time.Time{}
			p.restart()
		}
	})
	kept := func() int {
		post.mu.Lock()
		defer post.mu.Unlock()
		return len(post.kept)
	}
	until(t, a, "an offer that is on its way", func(Status) bool { return kept() > 0 })
	taken := make(chan string, 1)
	a.post(func() {
		a.rebuild()
		post.mu.Lock()
		post.keep = false
		for _, tell := range post.kept {
			tell()
		}
		post.mu.Unlock()
		a.post(func() { taken <- fmt.Sprint(len(a.peers)) })
	})
	if n := <-taken; n != "0" {
		t.Errorf("%s connections came of an offer that was for the one before", n)
	}
	va.hears(5, "bob")
	vb.hears(5, "ann")
	mu.Lock()
	again := old[0]
	mu.Unlock()
	before := make(chan uint64, 1)
	a.post(func() { before <- a.seq })
	seq := <-before
	acked := make(chan error, 1)
	must(t, bob.CallVerb(b.ID(), verbSignal, again, func(_ client.CallAck, err error) { acked <- err }))
	must(t, <-acked)
	must(t, b.Hold(soon(t), true)) // is told behind it
	until(t, a, "hold", func(s Status) bool {
		return slices.ContainsFunc(s.Roster, func(m Member) bool { return m.User == "bob" && m.Hold })
	})
	a.post(func() { before <- a.seq })
	if now := <-before; now != seq {
		t.Errorf("signal %d was passed on, for media that are no more", now)
	}
	farewell(t, a, b)
}

// TestForgottenOffer: an answer to an offer that was given up is passed over; where the other side does not say what it answers, it is taken for that to the next one, and the
// mistake is noticed when that comes.
func TestForgottenOffer(t *testing.T) {
	t.Run("named", func(t *testing.T) { forgotten(t, false, 2) })
	t.Run("nameless", func(t *testing.T) { forgotten(t, true, 3) })
}

func forgotten(t *testing.T, mute bool, want int) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	post := &tardy{handler: handler{bob.Manager}, keep: true, mute: mute}
	must(t, bob.HandleCalls(nil))
	must(t, bob.HandleCalls(post))
	var mu sync.Mutex
	var offers []time.Time
	bob.Manager.said = func(p []byte) {
		if strings.Contains(string(p), `"type":"offer"`) {
			mu.Lock()
			offers = append(offers, time.Now())
			mu.Unlock()
		}
	}
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a := ann.start(ann.Direct("bob"), va.local())
	b := bob.rings()
	must(t, b.Accept(soon(t), vb.local()))
	answers := func(n int) {
		t.Helper()
		until(t, b, "answers", func(Status) bool {
			post.mu.Lock()
			defer post.mu.Unlock()
			return post.answers >= n
		})
	}
	answers(1)
	b.post(func() {
		for _, p := range b.peers {
			p.anew()
		}
	})
	answers(2)
	post.mu.Lock()
	post.keep = false
	for _, tell := range post.kept {
		tell()
	}
	post.mu.Unlock()
	va.hears(5, "bob")
	vb.hears(5, "ann")
	mu.Lock()
	defer mu.Unlock()
	if n := len(offers); n != want || offers[n-1].Sub(offers[1]) >= stalledAfter {
		t.Errorf("it took %d offers, at %v", n, offers)
	}
	farewell(t, a, b)
}

// leaky loses some of what a device is told, and lets the rest come twice.
type leaky struct {
	handler
	n *int
}

func (l leaky) Told(party string, payload []byte) {
	if *l.n++; *l.n%3 == 0 {
		return
	}
	l.handler.Told(party, payload)
	l.handler.Told(party, slices.Clone(payload))
}

// TestLostAndDoubled: a third of what bob is told gets lost on the way.
func TestLostAndDoubled(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	must(t, bob.HandleCalls(nil))
	must(t, bob.HandleCalls(leaky{handler{bob.Manager}, new(int)}))
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	must(t, b.Hangup(soon(t)))
	over(t, a)
}

// TestOverMeanwhile: somebody hangs up while the other one has no connection, who learns of it when there is one.
func TestOverMeanwhile(t *testing.T) {
	s := serve(t)
	bob := s.device("bob", "b")
	s.past = true
	ann := s.device("ann", "a")
	var mu sync.Mutex
	var vouched bool
	ann.Manager.said = func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		vouched = vouched || strings.Contains(string(p), `"hears":["`)
	}
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	s.proxy.Refuse(true)
	s.proxy.Cut()
	until(t, a, "bob is away, and vouched for", func(s Status) bool {
		mu.Lock()
		defer mu.Unlock()
		return s.State == StateReconnecting && vouched
	})
	va.hears(5, "bob")
	must(t, a.Hangup(soon(t)))
	s.proxy.Refuse(false)
	if got := over(t, b); got != Answered {
		t.Errorf("the call was %s", got)
	}
}

// TestRingsLater: a device that was away rings when it is back, if it still rings.
func TestRingsLater(t *testing.T) {
	s := serve(t)
	bob := s.device("bob", "b")
	s.past = true
	ann := s.device("ann", "a")
	s.proxy.Refuse(true)
	s.proxy.Cut()
	must(t, bob.Wait(soon(t), func(s client.Status) bool { return s.State == client.Offline }))
	over1 := ann.start(ann.Direct("bob"), Local{})
	must(t, over1.Cancel(soon(t)))
	a := ann.start(ann.Direct("bob"), Local{})
	s.proxy.Refuse(false)
	b := bob.rings()
	if b.ID() != a.ID() {
		t.Errorf("%s rings, which is over", b.ID())
	}
	must(t, b.Decline(soon(t), ""))
	over(t, a)
}

// TestFalseRing: what rings for no call falls silent at once.
func TestFalseRing(t *testing.T) {
	s := serve(t)
	bob := s.device("bob", "b")
	ring, err := json.Marshal(map[string]any{
		"kind": "ring", "call": "2f7q3m5xk4abz", "conv": "ann~bob", "seq": 1, "at": 1000, "exp": 61000, "from": "ann", "state": "ringing",
	})
	must(t, err)
	handler{bob.Manager}.Told("", ring)
	if got := over(t, bob.rings()); got != Missed {
		t.Errorf("it was %s", got)
	}
	// Nor does it end anything, or come to life, whatever else it says.
	for _, bad := range []string{
		``, `[]`, `{}`, `{"kind":"ring"}`, `{"kind":"state","call":"2f7q3m5xk4abz","state":"active","party":"aaaaaaaa"}`,
		`{"kind":"taken","call":"2f7q3m5xk4abz","seq":9}`, `{"kind":"signal","call":"2f7q3m5xk4abz","party":"aaaaaaaa","seq":1}`,
	} {
		handler{bob.Manager}.Told("", []byte(bad))
		handler{bob.Manager}.Told("aaaaaaaa", []byte(bad))
	}
	if all := bob.Calls(); len(all) != 0 {
		t.Errorf("there are calls: %v", all)
	}
}

// TestHostileSignals: signals that no honest party sends change nothing for those who talk.
func TestHostileSignals(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	from, mine := b.Status().Party, a.Status().Party
	seq := make(chan uint64, 1)
	a.post(func() { seq <- a.seq })
	n := <-seq
	for _, s := range []string{
		`"type":"answer","body":"v=0"`, `"type":"answer","body":{"z":"AAAA"}`, `"type":"candidates","body":["candidate:x"]`, `"type":"candidates","body":[{"c":"","m":77}]`,
		`"type":"candidates","body":{}`, `"type":"negotiate","body":{"want":{"audio":1000000,"video":-1}}`, `"type":"negotiate"`, `"type":"dance","body":1`, `"type":"answer"`,
	} {
		n++
		handler{ann.Manager}.Told(mine, fmt.Appendf(nil, `{"kind":"signal","call":%q,"party":%q,"from":%q,"epoch":1,"seq":%d,%s}`, a.ID(), mine, from, n, s))
	}
	va.hears(5, "bob")
	vb.hears(5, "ann")
	must(t, a.Hangup(soon(t)))
	over(t, b)
}

func FuzzDescription(f *testing.F) {
	for _, s := range []string{"v=0\r\n", strings.Repeat("a=candidate\r\n", 100)} {
		b, err := json.Marshal(describe(s))
		must(f, err)
		f.Add(b)
	}
	f.Add([]byte(`{"z":"AAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := description(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(describe(s))
		must(t, err)
		if back, err := description(again); err != nil || back != strings.ToValidUTF8(s, "\uFFFD") && back != s {
			t.Fatalf("%q comes back as %q, %v", s, back, err)
		}
	})
}
