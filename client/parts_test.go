package client

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/client/store"
)

// The parts of a log are those of a naive set, and what is counted as new, missing and uncovered too.
func TestCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &log{}
		set := make(map[uint64]bool)
		t.Repeat(map[string]func(*rapid.T){
			"cover": func(t *rapid.T) {
				first := rapid.Uint64Range(1, 40).Draw(t, "first")
				last := first + rapid.Uint64Range(0, 6).Draw(t, "more")
				fresh := uint64(0)
				for s := first; s <= last; s++ {
					if !set[s] {
						fresh++
					}
					set[s] = true
				}
				if got := l.cover(first, last); got != fresh {
					t.Fatalf("%d new, want %d", got, fresh)
				}
				l.row.Head = max(l.row.Head, last)
			},
			"head": func(t *rapid.T) { l.row.Head = max(l.row.Head, rapid.Uint64Range(1, 50).Draw(t, "head")) },
			"": func(t *rapid.T) {
				var want []store.Span
				low, missing := uint64(0), uint64(0)
				for s := uint64(1); s <= 60; s++ {
					if l.has(s) != set[s] {
						t.Fatalf("has %d: %v", s, l.has(s))
					}
					if !set[s] {
						if low != 0 && s <= l.row.Head {
							missing++
						}
						continue
					}
					if low == 0 {
						low = s
					}
					if n := len(want); n > 0 && want[n-1].Last == s-1 {
						want[n-1].Last = s
					} else {
						want = append(want, store.Span{First: s, Last: s})
					}
				}
				if !slices.Equal(l.spans, want) {
					t.Fatalf("parts %v, want %v", l.spans, want)
				}
				if low == 0 {
					missing = min(l.row.Head, 1)
				}
				if l.missing() != missing {
					t.Fatalf("%d missing, want %d: %v, head %d", l.missing(), missing, l.spans, l.row.Head)
				}
				first, last, gap := l.gap()
				if gap != (missing > 0) || gap && low != 0 && l.uncovered(first, last) != last-first+1 {
					t.Fatalf("gap %d to %d %v: %v, head %d", first, last, gap, l.spans, l.row.Head)
				}
			},
		})
	})
}

// A reader who does not read holds nothing up and costs a bounded amount of memory; afterwards they know what to look at.
func TestFanoutMerges(t *testing.T) {
	f := newFanout()
	r := f.listen()
	for i := range 10_000 {
		f.tell(Update{Kind: UpdateMessages, Conv: "a", Seqs: []uint64{uint64(i%5 + 1)}}, Update{Kind: UpdateStatus}, Update{Kind: UpdateOwn})
		f.tell(Update{Kind: UpdateMessages, Conv: "b", Seqs: []uint64{uint64(i + 1)}})
	}
	us, ok := f.next(context.Background(), r)
	if !ok || len(us) != 3+ownMost {
		t.Fatalf("%d updates, %v", len(us), ok)
	}
	for _, u := range us {
		switch {
		case u.Kind == UpdateMessages && u.Conv == "a" && !slices.Equal(u.Seqs, []uint64{1, 2, 3, 4, 5}):
			t.Errorf("of a: %v", u.Seqs)
		case u.Kind == UpdateMessages && u.Conv == "b" && u.Seqs != nil:
			t.Errorf("of b: %d seqs", len(u.Seqs))
		}
	}
	f.tell(Update{Kind: UpdateStatus})
	if us, _ := f.next(context.Background(), r); len(us) != 1 {
		t.Errorf("after reading: %v", us)
	}
	f.close()
	if _, ok := f.next(context.Background(), r); ok {
		t.Error("a stream without an end")
	}
}
