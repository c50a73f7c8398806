package hooks

import (
	"time"

	"golang.org/x/time/rate"
)

// bucket bounds how often something happens: a little too fast is slowed down, by not reading from the
// connection for a while; far too fast is refused.
type bucket struct{ l *rate.Limiter }

// pauseMax is the longest that a reader pauses: well below any sensible keep-alive.
const pauseMax = 2 * time.Second

func newBucket(perSecond, burst int) *bucket {
	if perSecond <= 0 {
		return nil
	}
	return &bucket{rate.NewLimiter(rate.Limit(perSecond), max(1, perSecond*burst))}
}

// take takes one token. wait is how long the caller has to pause; ok false: refuse. A nil bucket is
// always full.
func (b *bucket) take(now time.Time) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	r := b.l.ReserveN(now, 1)
	wait = r.DelayFrom(now)
	if wait > pauseMax {
		r.CancelAt(now)
		return 0, false
	}
	return wait, true
}
