package delivery

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestOwed compares the runs with a set of seqs that says of each whether it was sent before.
func TestOwed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 0))
	for range 2000 {
		var l owed
		want := make(map[uint64]bool)
		for range 12 {
			first := 1 + rnd.Uint64N(30)
			sp := span{first: first, last: first + rnd.Uint64N(4)}
			clash := false
			for seq := sp.first; seq <= sp.last; seq++ {
				_, have := want[seq]
				clash = clash || have
			}
			sent := rnd.IntN(2) == 0
			if clash { // runs that overlap become one: see below
				continue
			}
			if sent {
				sp.sent = sp.last
			}
			for seq := sp.first; seq <= sp.last; seq++ {
				want[seq] = sent
			}
			l.add(sp)
			if rnd.IntN(4) == 0 {
				cut := rnd.Uint64N(30)
				l.advance(cut)
				for seq := range want {
					if seq <= cut {
						delete(want, seq)
					}
				}
			}
		}
		got := make(map[uint64]bool)
		for _, x := range l.spans {
			for seq := x.first; seq <= x.last; seq++ {
				if _, twice := got[seq]; twice {
					t.Fatal("runs overlap:", l.spans)
				}
				got[seq] = seq <= x.sent
			}
		}
		if !slices.IsSortedFunc(l.spans, func(a, b span) int { return int(a.first) - int(b.first) }) {
			t.Fatal("runs out of order:", l.spans)
		}
		if len(got) != len(want) {
			t.Fatalf("%v, want %v", l.spans, want)
		}
		for seq, sent := range want {
			if s, ok := got[seq]; !ok || s != sent {
				t.Fatalf("seq %d: there %v, sent %v, want %v in %v", seq, ok, s, sent, l.spans)
			}
		}
	}
	var l owed
	for _, sp := range []span{{first: 5, last: 9}, {first: 1, last: 6}, {first: 9, last: 20}, {first: 3, last: 4}} {
		l.add(sp)
	}
	if !slices.Equal(l.spans, []span{{first: 1, last: 20}}) {
		t.Fatal("runs that overlap did not become one:", l.spans)
	}
}
