package link

import "time"

// backoff says how long to wait after failures: anything up to a bound that doubles with each ("full jitter": those who
// were cut off together come back apart).
type backoff struct {
	first, most time.Duration
	rand        func() float64
	failures    int
}

// next counts a failure and returns the wait after it.
func (b *backoff) next() time.Duration {
	bound := b.most
	if b.failures < 30 && b.first<<b.failures < b.most {
		bound = b.first << b.failures
	}
	b.failures++
	return time.Duration(b.rand() * float64(bound))
}

// atLeast counts a failure that calls for a longer pause: the wait is within [wait/2, wait] or, when there
// were many failures, longer.
func (b *backoff) atLeast(wait time.Duration) time.Duration {
	wait = min(wait, b.most)
	return max(b.next(), wait/2+time.Duration(b.rand()*float64(wait/2)))
}

func (b *backoff) reset() { b.failures = 0 }
