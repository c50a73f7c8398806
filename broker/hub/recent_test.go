package hub

import (
	"fmt"
	"testing"
)

// What recent forgets it knows that it forgot: from floor on its answers are exact, and its size is bounded.
func TestRecentForgetsTheOldest(t *testing.T) {
	const most = 2000
	h := &Hub{}
	h.heads.init(7)
	h.recent.init(7, most)
	name := func(commit uint64) string { return fmt.Sprint("user", commit) }
	const last = 5 * most / 2
	for commit := uint64(8); commit < last; commit++ {
		h.recent.moved(name(commit), "town", commit) // an entry of the user's, and the town's
		if commit%100 == 0 {
			h.recent.changed([]string{name(commit)}, "crew", commit)
		}
	}
	r := &h.recent
	if r.floor <= 7 || r.floor > last-most {
		t.Fatalf("the floor is %d after %d commits", r.floor, last)
	}
	if n := len(r.now) + len(r.elder); n > 2*most {
		t.Errorf("%d users", n)
	}
	if _, ok := h.Changes("user9", nil, r.floor-1); ok || !h.MembershipsChanged("user9", r.floor-1) {
		t.Error("what was forgotten is taken for unchanged")
	}
	for commit := r.floor + 1; commit < last; commit += 97 {
		before, ok := h.Changes(name(commit), []string{"town", "village"}, commit-1)
		if !ok || before.Own["town"] != commit || fmt.Sprint(before.Moved) != "[town]" {
			t.Fatalf("before commit %d: %+v %v", commit, before, ok)
		}
		after, ok := h.Changes(name(commit), []string{"town"}, commit)
		if !ok || after.Own["town"] != 0 || len(after.Moved) != 1 && commit < last-1 {
			t.Fatalf("after commit %d: %+v %v", commit, after, ok)
		}
	}
	joined := r.floor/100*100 + 100
	if !h.MembershipsChanged(name(joined), joined-1) || h.MembershipsChanged(name(joined), joined) || h.MembershipsChanged("nobody", joined) {
		t.Error("memberships are not followed")
	}
	if c, _ := h.Changes(name(joined), nil, joined-1); c.Own["crew"] != joined || c.Own[""] != 0 {
		t.Errorf("%+v", c.Own)
	}
}
