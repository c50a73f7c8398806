package relay

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	guestsMax  = 16_384 // addresses remembered in each of two generations: some 5 MB at worst
	creditMax  = 4096   // bytes that an address can have saved up
	answersMax = 100    // a second for a known address without an allocation
)

// guest is an address that has no allocation, or none for the socket that it speaks from.
type guest struct {
	credit  int           // bytes that came and were not answered with bytes
	answers *rate.Limiter // of a known address
	fails   *rate.Limiter // wrong passwords; empty: no more is heard
}

// guests remembers addresses, boundedly: when one generation is full the one before is forgotten. To be forgotten
// takes away credit, and forgives failures, which somebody with 32,768 addresses did not need to begin with.
type guests struct {
	mu       sync.Mutex
	failures int
	now, old map[netip.Addr]*guest
}

func newGuests() *guests { return &guests{now: make(map[netip.Addr]*guest)} }

// allow says how many wrong passwords an address may send in a minute that has sent none yet.
func (g *guests) allow(failures int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures = failures
}

// get is called with mu held.
func (g *guests) get(a netip.Addr) *guest {
	if v, ok := g.now[a]; ok {
		return v
	}
	v, ok := g.old[a]
	if !ok {
		v = &guest{}
	}
	if len(g.now) >= guestsMax {
		g.old, g.now = g.now, make(map[netip.Addr]*guest)
	}
	g.now[a] = v
	return v
}

// earn notes that n bytes came.
func (g *guests) earn(a netip.Addr, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.get(a)
	v.credit = min(v.credit+n, creditMax)
}

// spend reports whether n bytes may be sent to an address that may be forged.
func (g *guests) spend(a netip.Addr, n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.get(a)
	if v.credit < n {
		return false
	}
	v.credit -= n
	return true
}

// answer reports whether a known address may be answered once more.
func (g *guests) answer(a netip.Addr, at time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.get(a)
	if v.answers == nil {
		v.answers = rate.NewLimiter(answersMax, 2*answersMax)
	}
	return v.answers.AllowN(at, 1)
}

// fail notes a wrong password.
func (g *guests) fail(a netip.Addr, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.get(network(a))
	if v.fails == nil {
		v.fails = rate.NewLimiter(rate.Limit(float64(g.failures)/60), g.failures)
	}
	v.fails.AllowN(at, 1)
}

// throttled reports whether nothing is to be heard from the address now.
func (g *guests) throttled(a netip.Addr, at time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a = network(a)
	v := g.now[a]
	if v == nil {
		v = g.old[a]
	}
	return v != nil && v.fails != nil && v.fails.TokensAt(at) < 1
}

// network is what one customer has: an IPv4 address, or a /64.
func network(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64) // 64 fits
	return p.Addr()
}
