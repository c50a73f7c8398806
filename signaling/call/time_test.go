package call_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/call"
	"github.com/petrelchat/petrel/storage"
)

// story drives a direct call between ann (d1) and ben, at times in seconds.
type story struct {
	t   *testing.T
	s   *call.State
	sec int64
}

func (y *story) do(sec int64, c call.Command) error {
	y.t.Helper()
	y.sec = sec
	c.Member, c.Here, c.Call, c.Conv, c.Direct, c.NewParty = true, true, "c", "ann~ben", true, "party-"+c.User
	if c.Device == "" {
		c.Device = "d1"
	}
	if c.Verb == call.Start {
		c.Ring = []call.Callee{{User: "ben"}}
	}
	next, _, err := call.Decide(y.s, &c, 1_800_000_000_000+sec*1000, limits())
	y.s = next
	return err
}

func (y *story) tick(sec int64) { _ = y.do(sec, call.Command{Verb: call.Tick}) }

// talk is a call that is active at 12 s.
func (y *story) talk() {
	_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
	_ = y.do(10, call.Command{Verb: call.Accept, User: "ben"})
	_ = y.do(11, call.Command{Verb: call.Signal, User: "ben", To: "party-ann", Type: "offer"})
	_ = y.do(12, call.Command{Verb: call.Signal, User: "ann", To: "party-ben", Type: "answer"})
	if y.s.Phase != call.Active {
		y.t.Fatalf("%+v", y.s)
	}
}

// TestDeadlines: each time limit to the second. A call that lives at last is over one second later.
func TestDeadlines(t *testing.T) {
	for _, c := range []struct {
		name    string
		do      func(y *story)
		last    int64
		outcome call.Outcome
		reason  call.Reason
	}{
		{"nobody's device rings", func(y *story) { _ = y.do(0, call.Command{Verb: call.Start, User: "ann"}) }, 119, call.Missed, call.ByTimeout},
		{"it rings at once", func(y *story) {
			_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
			_ = y.do(1, call.Command{Verb: call.Rings, User: "ben"})
			_ = y.do(30, call.Command{Verb: call.Rings, User: "ben", Device: "d2"})
		}, 60, call.Missed, call.ByTimeout},
		{"it rings late", func(y *story) {
			_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
			_ = y.do(100, call.Command{Verb: call.Rings, User: "ben"})
		}, 119, call.Missed, call.ByTimeout},
		{"the caller is gone", func(y *story) {
			_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
			_ = y.do(5, call.Command{Verb: call.Went, User: "ann"})
		}, 34, call.Missed, call.ByLoss},
		{"no answer", func(y *story) {
			_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
			_ = y.do(10, call.Command{Verb: call.Accept, User: "ben"})
			_ = y.do(11, call.Command{Verb: call.Signal, User: "ben", To: "party-ann", Type: "offer"})
		}, 39, call.Failed, call.ByFailure},
		{"an answer without an offer", func(y *story) {
			_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
			_ = y.do(10, call.Command{Verb: call.Accept, User: "ben"})
			_ = y.do(11, call.Command{Verb: call.Signal, User: "ben", To: "party-ann", Type: "answer"})
		}, 39, call.Failed, call.ByFailure},
		{"one is silent", func(y *story) { y.talk(); _ = y.do(20, call.Command{Verb: call.Went, User: "ben"}) }, 49, call.Answered, call.ByLoss},
		{"one is silent and heard", func(y *story) {
			y.talk()
			_ = y.do(20, call.Command{Verb: call.Went, User: "ben"})
			_ = y.do(45, call.Command{Verb: call.Resume, User: "ann", Hears: []string{"party-ben"}})
		}, 59, call.Answered, call.ByLoss},
		{"a word of who is away counts nothing", func(y *story) {
			y.talk()
			_ = y.do(20, call.Command{Verb: call.Went, User: "ben"})
			_ = y.do(48, call.Command{Verb: call.Resume, User: "ben", Device: "d2", Hears: []string{"party-ben"}})
		}, 49, call.Answered, call.ByLoss},
		{"nobody is connected", func(y *story) {
			y.talk()
			_ = y.do(20, call.Command{Verb: call.Went, User: "ben"})
			_ = y.do(40, call.Command{Verb: call.Went, User: "ann"})
		}, 339, call.Answered, call.ByLoss},
		{"one is back", func(y *story) {
			y.talk()
			_ = y.do(20, call.Command{Verb: call.Went, User: "ben"})
			_ = y.do(40, call.Command{Verb: call.Went, User: "ann"})
			_ = y.do(200, call.Command{Verb: call.Came, User: "ann"})
		}, 229, call.Answered, call.ByLoss},
		{"restarted while it connects", func(y *story) {
			_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
			_ = y.do(10, call.Command{Verb: call.Accept, User: "ben"})
			_ = y.do(70, call.Command{Verb: call.Restart})
		}, 99, call.Failed, call.ByFailure},
		{"restarted while it rings", func(y *story) {
			_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
			_ = y.do(10, call.Command{Verb: call.Rings, User: "ben"})
			_ = y.do(50, call.Command{Verb: call.Restart})
			_ = y.do(51, call.Command{Verb: call.Came, User: "ann"})
		}, 69, call.Missed, call.ByTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := &story{t: t}
			c.do(y)
			y.tick(c.last)
			if !y.s.Live() {
				t.Fatalf("at %d s it is over: %+v", c.last, y.s)
			}
			y.tick(c.last + 1)
			if y.s.Live() || y.s.Outcome != c.outcome || y.s.Reason != c.reason || y.s.Over != 1_800_000_000_000+(c.last+1)*1000 {
				t.Fatalf("at %d s: %+v", c.last+1, y.s)
			}
		})
	}
}

// TestVerbsThatComeTooLate: the end of a ring counts from its deadline on, also when no tick has come.
func TestVerbsThatComeTooLate(t *testing.T) {
	y := &story{t: t}
	_ = y.do(0, call.Command{Verb: call.Start, User: "ann"})
	if err := y.do(120, call.Command{Verb: call.Accept, User: "ben"}); !errors.Is(err, &chat.Refusal{Code: chat.NotFound}) || y.s.Outcome != call.Missed {
		t.Fatalf("%v %+v", err, y.s)
	}
	for _, v := range []call.Verb{call.Hangup, call.Decline, call.Cancel, call.Leave} {
		if err := y.do(121, call.Command{Verb: v, User: "ben"}); err != nil {
			t.Errorf("%v: %v", v, err)
		}
	}
}

// TestTicksDoNotMatter: however often somebody looks at the clock in between, a call becomes the same.
func TestTicksDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		direct := rapid.Bool().Draw(t, "direct")
		a, b := newRig(t, direct), newRig(t, direct)
		users := []string{"ann", "ben", "cat", "dan"}
		if direct {
			users = users[:2]
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			passes := rapid.SampledFrom([]int64{0, 0, 1, 5000, 16_000, 45_000, 130_000, 400_000}).Draw(t, "passes")
			for range rapid.IntRange(0, 3).Draw(t, "ticks") {
				b.now = a.now + rapid.Int64Range(0, passes).Draw(t, "at")
				if b.now < b.s.Started {
					continue
				}
				_ = b.do(&call.Command{Verb: call.Tick})
			}
			a.now += passes
			b.now = a.now
			c := a.helpful()
			if c == nil || rapid.Bool().Draw(t, "anything") {
				c = a.draw(users, []string{"d1", "d2"})
			}
			b.n = a.n
			d := *c
			errA, errB := a.do(c), b.do(&d)
			x, y := *a.s, *b.s
			x.Version, y.Version = 0, 0
			if string(storage.Marshal(x)) != string(storage.Marshal(y)) || (errA == nil) != (errB == nil) {
				t.Fatalf("without ticks %+v %v\nwith them %+v %v", x, errA, y, errB)
			}
		}
	})
}
