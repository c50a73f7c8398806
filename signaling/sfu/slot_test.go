package sfu

import (
	"testing"
	"time"
)

// TestSlotsWaitForTheirAnswer: in a slot that came with a later answer nothing begins before the party has said that it has that, or a second has passed.
func TestSlotsWaitForTheirAnswer(t *testing.T) {
	for _, says := range []bool{true, false} {
		now := time.Now()
		p := gallery(2, now)
		for _, q := range p.room.order[1:] {
			q.tracks = append(q.tracks, newTrack(q, "1", audio, nil))
		}
		p.slots = p.slots[:1] // of the first answer
		p.version = 1
		p.slots = append(p.slots, p.slotFor(section{mid: "1"}, video, now), p.slotFor(section{mid: "2"}, audio, now))
		begun := func() (n int) {
			p.room.arrange(now)
			for _, o := range p.slots {
				if o.source == nil {
					t.Errorf("slot %s is for nobody", o.mid)
				}
				if o.next.Load() != nil {
					n++
				}
			}
			return n
		}
		if n := begun(); n != 1 {
			t.Errorf("%d slots begin, and the party has the first answer, with one", n)
		}
		if now = now.Add(slotWait - 1); begun() != 1 {
			t.Error("a slot begins too soon")
		}
		if says {
			if p.room.s.has(p, 1, now); begun() != 1 {
				t.Error("a slot begins with the answer before its own")
			}
			p.room.s.has(p, 2, now)
		} else {
			now = now.Add(1)
		}
		if n := begun(); n != 3 {
			t.Errorf("says %v: %d of 3 slots begin", says, n)
		}
	}
}
