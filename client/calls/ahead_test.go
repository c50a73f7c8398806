package calls

import (
	"bytes"
	"runtime"
	"testing"
)

// TestOfferGoesAheadOfTheAnswer: the offer leaves with accept, and both are said again when the connection was lost before the answer.
func TestOfferGoesAheadOfTheAnswer(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	offered := make(chan bool, 1)
	bob.Manager.said = func(payload []byte) {
		if bytes.Contains(payload, []byte(`"type":"offer"`)) {
			select {
			case offered <- true:
			default:
			}
		}
	}
	a := ann.start(ann.Direct("bob"), va.local())
	b := bob.rings()
	until(t, a, "ringing", func(s Status) bool { return s.State == StateRinging })
	for ready, ctx := make(chan bool), soon(t); ; runtime.Gosched() {
		if b.post(func() { ready <- b.ice.ready }); <-ready {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("there are no ICE servers")
		}
	}
	s.proxy.Hole()
	answered := make(chan error, 1)
	go func() { answered <- b.Accept(soon(t), vb.local()) }()
	select {
	case <-offered:
	case err := <-answered:
		t.Fatal("accept without a server:", err)
	case <-soon(t).Done():
		t.Fatal("no offer without an answer to accept")
	}
	s.proxy.Cut()
	must(t, <-answered)
	va.hears(5, "bob")
	vb.hears(5, "ann")
	must(t, a.Hangup(soon(t)))
	over(t, b)
}
