package signaling

import "sync"

// rates counts what users do in a minute, by the clock of the service.
type rates struct {
	mu     sync.Mutex // a leaf
	minute int64
	counts map[rateKey]int
}

type rateKey struct {
	what       byte // 's': starts of a user, 'p': of a user in a conversation, 'n': signals
	user, conv string
}

// maxRates bounds the memory of one minute. Above it everybody is refused: nobody types that fast.
const maxRates = 1 << 18

// rate is how often something may be in a minute.
type rate struct {
	key   rateKey
	limit int
}

// take counts one of each, unless one of them is at its limit.
func (r *rates) take(now int64, all ...rate) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := now / 60_000; m != r.minute || r.counts == nil {
		r.minute, r.counts = m, make(map[rateKey]int)
	}
	for _, x := range all {
		if r.counts[x.key] >= x.limit || len(r.counts) >= maxRates {
			return false
		}
	}
	for _, x := range all {
		r.counts[x.key]++
	}
	return true
}

// signal counts a signal of a user.
func (r *rates) signal(now int64, user string, limit int) bool {
	return r.take(now, rate{rateKey{what: 'n', user: user}, limit})
}

// start counts a call that a user starts.
func (r *rates) start(now int64, user, conv string, pair, all int) bool {
	return r.take(now, rate{rateKey{what: 's', user: user}, all}, rate{rateKey{what: 'p', user: user, conv: conv}, pair})
}
