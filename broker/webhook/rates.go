package webhook

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates bound how often an incoming webhook, or an address, may be heard.
type rates struct {
	mu sync.Mutex
	m  map[string]*rate.Limiter
}

// ratesMax bounds the memory: about 150 bytes each. Beyond it all are forgotten, and begin full.
const ratesMax = 20_000

// take takes a token. wait is how long until there is one, if there is none now.
func (r *rates) take(key string, perSecond int, now time.Time) (wait time.Duration, ok bool) {
	if perSecond <= 0 {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil || len(r.m) >= ratesMax {
		r.m = make(map[string]*rate.Limiter)
	}
	l := r.m[key]
	if l == nil || l.Limit() != rate.Limit(perSecond) {
		l = rate.NewLimiter(rate.Limit(perSecond), 2*perSecond)
		r.m[key] = l
	}
	if l.AllowN(now, 1) {
		return 0, true
	}
	t := l.ReserveN(now, 1)
	wait = t.DelayFrom(now)
	t.CancelAt(now)
	return max(wait, time.Millisecond), false
}

// addressKey is what an address counts as: of IPv6 whole networks, since who has one address there has 2^64.
func addressKey(a netip.Addr) string {
	if a.Is6() && !a.Is4In6() {
		p, err := a.WithZone("").Prefix(64)
		if err == nil {
			return p.String()
		}
	}
	return a.Unmap().String()
}
