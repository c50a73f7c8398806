package auth

import (
	"net/netip"
	"sync"
	"time"
)

// throttle slows guessing down. An attempt is judged by, and a failure charged to, the bucket of its
// address and the bucket of its user. Somebody whose address is known to the user, because a login
// from there went well lately, is judged by the bucket of that pair alone: so nobody can lock a user
// out from afar, nor can one broken device lock out the others behind the same address.
type throttle struct {
	o       Throttle
	mu      sync.Mutex
	tables  [3]*recent[pair, bucket]
	trusted *recent[pair, time.Time] // time of the last success
}

// The tables are apart, so that a flood of addresses can't make the server forget users.
const (
	byAddr = iota
	byUser
	byPair
)

type pair struct {
	addr netip.Addr
	user string
}

// bucket counts failures. Its zero value has none.
type bucket struct {
	n           int
	first, last time.Time
	until       time.Time // refused until then
}

func newThrottle(o Throttle) *throttle {
	o = o.withDefaults()
	t := &throttle{o: o, trusted: newRecent[pair, time.Time](o.Entries)}
	for i := range t.tables {
		t.tables[i] = newRecent[pair, bucket](o.Entries)
	}
	return t
}

// network is what counts as one address: an IPv6 customer has a /64 at least.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // fails for lengths out of range only
		return p.Addr()
	}
	return a
}

// ticket is one attempt on its way through the throttle: which buckets judge it.
type ticket struct {
	pair
	judges []judge
}

type judge struct {
	table int
	key   pair
	probe bool // this attempt is the one that the slow bucket lets through per delay
}

// ticket starts an attempt. An address that isn't valid (a Unix socket) is not judged; nor is a user
// when the name is empty.
func (t *throttle) ticket(addr netip.Addr, user string, now time.Time) *ticket {
	tk := &ticket{pair: pair{network(addr), user}}
	if t.o.Off {
		return tk
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.trusted.get(tk.pair); ok && addr.IsValid() && now.Sub(at) < t.o.Trust {
		tk.judges = []judge{{table: byPair, key: tk.pair}}
		return tk
	}
	if addr.IsValid() {
		tk.judges = append(tk.judges, judge{table: byAddr, key: pair{addr: tk.addr}})
	}
	if user != "" {
		tk.judges = append(tk.judges, judge{table: byUser, key: pair{user: user}})
	}
	return tk
}

// admit returns how long the attempt must wait; zero: go on. A slow bucket lets one attempt through per
// delay, however many come at once. It may be asked again for the same ticket later: buckets that
// became slow meanwhile are judged anew.
func (t *throttle) admit(tk *ticket, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range tk.judges {
		if b := t.bucket(j, now); !j.probe && b.n >= t.o.Failures {
			// Not more than Max, also when the clock jumped back.
			wait = max(wait, min(b.until.Sub(now), t.o.Max))
		}
	}
	if wait > 0 {
		return wait
	}
	for i, j := range tk.judges {
		if b := t.bucket(j, now); b.n >= t.o.Failures {
			tk.judges[i].probe = true
			b.until = now.Add(t.delay(b.n))
			t.tables[j.table].put(j.key, b)
		}
	}
	return 0
}

// bucket returns the state of a bucket now: forgiven when its window is over.
func (t *throttle) bucket(j judge, now time.Time) bucket {
	b, _ := t.tables[j.table].get(j.key)
	since := b.first
	if b.n >= t.o.Failures {
		since = b.last
	}
	if now.Sub(since) > t.o.Window {
		return bucket{}
	}
	return b
}

func (t *throttle) delay(failures int) time.Duration {
	d := t.o.Base
	for i := t.o.Failures; i < failures && d < t.o.Max; i++ {
		d *= 2
	}
	return min(d, t.o.Max)
}

// fail charges a wrong password.
func (t *throttle) fail(tk *ticket, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range tk.judges {
		b := t.bucket(j, now)
		if b.n == 0 {
			b.first = now
		}
		b.n++
		b.last = now
		if b.n >= t.o.Failures {
			b.until = now.Add(t.delay(b.n))
		}
		t.tables[j.table].put(j.key, b)
	}
}

// succeed forgives the user. The address is forgiven only when it becomes known to one more user: else
// an attacker with an account could clear it with a login of their own between two guesses.
func (t *throttle) succeed(tk *ticket, now time.Time) {
	t.giveBack(tk, now)
	if t.o.Off {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tables[byUser].delete(pair{user: tk.user})
	if !tk.addr.IsValid() {
		return
	}
	t.tables[byPair].delete(tk.pair)
	if at, ok := t.trusted.get(tk.pair); !ok || now.Sub(at) >= t.o.Trust {
		t.tables[byAddr].delete(pair{addr: tk.addr})
	}
	t.trusted.put(tk.pair, now)
}

// giveBack returns the probes of an attempt that came to no verdict, or to a good one.
func (t *throttle) giveBack(tk *ticket, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, j := range tk.judges {
		if !j.probe {
			continue
		}
		tk.judges[i].probe = false
		if b := t.bucket(j, now); b.n > 0 {
			b.until = now
			t.tables[j.table].put(j.key, b)
		}
	}
}
