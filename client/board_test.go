package client

import "testing"

// TestCountsInAnyOrder: a message may have been stored by the server, and that told here, before whoever queued it tells that it is
// queued. In the end the counts are right nevertheless.
func TestCountsInAnyOrder(t *testing.T) {
	b := newBoard(newFanout())
	b.begin(0, 1)
	for _, step := range []struct{ queued, failed, wantQueued, wantFailed int }{
		{-1, 0, 0, 1}, {1, 0, 0, 1}, {-2, -2, 0, 0}, {3, 1, 1, 0}, {-1, 1, 0, 1},
	} {
		b.moved(step.queued, step.failed, 0, nil)
		if s := b.status(); s.Queued != step.wantQueued || s.Failed != step.wantFailed {
			t.Errorf("after %+v: %d queued, %d failed", step, s.Queued, s.Failed)
		}
	}
}
