package calls

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/petrelchat/petrel/client"
)

// late is a handler that gets to know of a call only when the answer to its start is there: answers and deliveries come on different ways.
type late struct {
	handler
	gap *atomic.Bool // there was a time when nobody would have taken it
}

func (l late) Told(party string, payload []byte) {
	var t told
	for json.Unmarshal(payload, &t) == nil && t.Kind == "state" && t.Party != "" {
		l.m.mu.Lock()
		known := l.m.calls[t.Call] != nil
		waits := slices.ContainsFunc(l.m.starting, func(c *Call) bool { return c.id == "" })
		old := t.Seq <= l.m.elder[t.Call]
		l.m.mu.Unlock()
		if !known && !waits && !old {
			l.gap.Store(true)
		}
		if known || !waits {
			break
		}
	}
	l.handler.Told(party, payload)
}

// TestToldAfterTheAnswer: who joins a group's call learns how it stands, also when the answer overtakes that, and also who joins it again.
func TestToldAfterTheAnswer(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	conv := ann.group("crew", "bob")
	first := ann.start(conv, Local{})
	var gap atomic.Bool
	must(t, bob.HandleCalls(nil))
	must(t, bob.HandleCalls(late{handler{bob.Manager}, &gap}))
	for range 8 {
		c := bob.start(conv, Local{})
		until(t, c, "the roster", func(s Status) bool { return len(s.Roster) == 2 })
		must(t, c.Hangup(soon(t)))
		<-c.Done()
		until(t, first, "alone", func(s Status) bool { return len(s.Roster) == 1 })
	}
	if gap.Load() {
		t.Error("a call was neither known nor waited for")
	}
	must(t, first.Hangup(soon(t)))
}

// TestJoinedIsNotDeclined: a call rings at a device that joins it by itself. Whoever silences what rings doesn't leave it.
func TestJoinedIsNotDeclined(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	conv := ann.group("crew", "bob")
	first := ann.start(conv, Local{})
	rung := bob.rings()
	joined := bob.start(conv, Local{})
	if rung != joined {
		t.Fatal("what rings and what is joined are two calls")
	}
	for name, refuse := range map[string]func() error{
		"silenced": func() error { return rung.Silence(soon(t)) }, "declined": func() error { return rung.Decline(soon(t), "") },
	} {
		if err := refuse(); !conflict(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	until(t, joined, "the roster", func(s Status) bool { return s.State == StateActive && len(s.Roster) == 2 })
	must(t, joined.Hangup(soon(t)))
	until(t, first, "alone", func(s Status) bool { return len(s.Roster) == 1 })
	must(t, first.Hangup(soon(t)))
}

// TestStartedOnce: the answers to a start and to an acceptance get lost with the connection; both are said again, and there is one call.
func TestStartedOnce(t *testing.T) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	for _, d := range []*device{ann, bob} { // as it is sent the connection ends
		var once sync.Once
		d.Manager.said = func(p []byte) {
			if strings.Contains(string(p), `"media"`) {
				once.Do(func() { s.proxy.Hole(); go s.proxy.Cut() })
			}
		}
	}
	a := ann.start(ann.Direct("bob"), Local{})
	b := bob.rings()
	if a.ID() != b.ID() {
		t.Errorf("%s rings, it is %s", b.ID(), a.ID())
	}
	must(t, bob.Wait(soon(t), func(s client.Status) bool { return s.State == client.UpToDate }))
	until(t, b, "signalling", func(s Status) bool { return s.Online })
	must(t, b.Accept(soon(t), Local{}))
	until(t, a, "active", func(s Status) bool { return s.State == StateActive })
	must(t, b.Hangup(soon(t)))
	if got := over(t, a); got != Answered {
		t.Errorf("the call was %s", got)
	}
}
