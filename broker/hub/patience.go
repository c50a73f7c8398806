package hub

import (
	"sync/atomic"
	"time"
)

// patience decides how long an owner gathers before it sends a batch to the disk.
//
// When a sync ends, all whom it acknowledged send again, within a fraction of a millisecond. If the next
// sync begins at once, with what came during the last, they wait for the one after: the senders fall into
// two groups that take turns, and every message waits for two syncs. On a slow disk it pays to keep what
// comes until the sync ends, and to wait a little for those whom it acknowledged. A message among few
// never waits, and on a fast disk nobody does.
type patience struct {
	sync atomic.Int64 // how long a batch takes to the disk, ns: a moving average

	began  time.Time // of the period of one sync that is being counted
	count  int
	expect int // requests in the period before
}

const (
	slowDisk = time.Millisecond // a sync that takes less is not worth waiting for
	company  = 16               // requests per sync from which on others are expected
	share    = 4                // the wait is this part of a sync at most
)

// took notes how long a batch took from its commit to its completion. The pipeline's goroutine calls it.
func (p *patience) took(d time.Duration) {
	old := p.sync.Load()
	p.sync.Store(old + (int64(d)-old)/8)
}

// got counts requests.
func (p *patience) got(n int, now time.Time) {
	if since := now.Sub(p.began); since > time.Duration(p.sync.Load()) {
		if since > 4*time.Duration(p.sync.Load()) {
			p.count = 0 // nothing happened for a while
		}
		p.expect, p.count, p.began = p.count, 0, now
	}
	p.count += n
}

// wait is how long to gather after a sync; 0: don't wait for one at all.
func (p *patience) wait() time.Duration {
	s := time.Duration(p.sync.Load())
	if s < slowDisk || p.expect < company {
		return 0
	}
	return s / share
}
