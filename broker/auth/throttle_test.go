package auth

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
)

func wrongTimes(t *testing.T, h *house, n int, a Attempt) {
	t.Helper()
	for i := range n {
		a.Password = fmt.Appendf(nil, "wrong %d", i)
		h.out(t, a, chat.NotAuthorized)
	}
}

func TestWrongPasswordsSlowDownMoreAndMore(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	wrongTimes(t, h, 5, login("ann", ""))
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		wait *= time.Second
		r := h.out(t, login("ann", "pw"), chat.RateLimited) // even the right one
		if want := fmt.Sprintf("in %d s", wait/time.Second); !strings.Contains(r.Reason, want) {
			t.Fatalf("%q does not say %q", r.Reason, want)
		}
		h.clock.add(wait - time.Millisecond)
		h.out(t, login("ann", "pw"), chat.RateLimited)
		h.clock.add(time.Millisecond)
		h.out(t, login("ann", "wrong"), chat.NotAuthorized)
	}
	h.clock.add(300 * time.Second)
	h.in(t, login("ann", "pw"))
	wrongTimes(t, h, 4, login("ann", "")) // the success has reset the count
	h.in(t, login("ann", "pw"))
}

func TestFailuresAreForgivenAfterTheWindow(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	wrongTimes(t, h, 4, login("ann", ""))
	h.clock.add(10*time.Minute + 1)
	wrongTimes(t, h, 4, login("ann", ""))
	h.in(t, login("ann", "pw"))
}

func TestThrottleIsPerAddressAndPerUser(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	h.add(t, "bob", "pw")
	// One address, a new user each time.
	for i := range 5 {
		h.out(t, login(fmt.Sprint("u", i), "x"), chat.NotAuthorized)
	}
	h.out(t, login("bob", "pw"), chat.RateLimited)
	h.in(t, from("192.0.2.2", login("bob", "pw")))
	// One user, a new address each time.
	for i := range 5 {
		h.out(t, from(fmt.Sprint("198.51.100.", i), login("ann", "x")), chat.NotAuthorized)
	}
	h.out(t, from("192.0.2.3", login("ann", "pw")), chat.RateLimited)
	h.out(t, from("192.0.2.3", login("ANN", "pw")), chat.RateLimited) // whatever the spelling
	h.in(t, from("192.0.2.3", login("bob", "pw")))
}

func TestIPv6CountsBySlash64(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	for i := range 5 {
		h.out(t, from(fmt.Sprintf("2001:db8::%x", i), login(fmt.Sprint("u", i), "x")), chat.NotAuthorized)
	}
	h.out(t, from("2001:db8::ffff:1", login("ann", "pw")), chat.RateLimited)
	h.in(t, from("2001:db8:0:1::1", login("ann", "pw")))
	if network(netip.MustParseAddr("::ffff:192.0.2.1")) != home {
		t.Error("an IPv4 address in IPv6 clothes is another one")
	}
}

func TestNobodyCanLockAUserOut(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	h.in(t, login("ann", "pw")) // at home
	for range 20 {              // an attack from elsewhere
		h.Authenticate(t.Context(), from("198.51.100.1", login("ann", "x")))
		h.clock.add(time.Second)
	}
	h.out(t, from("203.0.113.9", login("ann", "pw")), chat.RateLimited) // a new place has to wait
	h.in(t, login("ann", "pw"))
	// Home is no place to guess from for ever.
	wrongTimes(t, h, 5, login("ann", ""))
	h.out(t, login("ann", "pw"), chat.RateLimited)
	h.clock.add(time.Second)
	h.in(t, login("ann", "pw"))
	// A day later home is like any place.
	h.clock.add(24 * time.Hour)
	for i := range 5 {
		h.out(t, from(fmt.Sprint("198.51.100.", i+2), login("ann", "x")), chat.NotAuthorized)
	}
	h.out(t, login("ann", "pw"), chat.RateLimited)
}

func TestABrokenDeviceDoesNotLockOutItsNeighbours(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	h.add(t, "pump", "pw")
	h.in(t, login("ann", "pw"))
	h.in(t, login("pump", "pw"))
	must(t, h.SetPassword(t.Context(), "pump", []byte("new")))
	wrongTimes(t, h, 5, login("pump", ""))
	h.out(t, login("pump", "new"), chat.RateLimited)
	h.in(t, login("ann", "pw"))
}

func TestOwnLoginsDoNotClearTheAddress(t *testing.T) {
	h := open(t, nil)
	h.add(t, "mallory", "pw")
	h.in(t, login("mallory", "pw"))
	for i := range 5 {
		h.out(t, login(fmt.Sprint("victim", i), "x"), chat.NotAuthorized)
		h.in(t, login("mallory", "pw"))
	}
	h.out(t, login("victim", "x"), chat.RateLimited)
}

// Attempts that came before the first failure was known wait for their turn; then they are refused.
func TestParallelGuessesDoNotSlipThrough(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	free := occupy(h)
	var wg sync.WaitGroup
	var mu sync.Mutex
	count := map[chat.Code]int{}
	for i := range 100 {
		wg.Go(func() {
			_, err := h.Authenticate(context.Background(), login("ann", fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			count[err.(*chat.Refusal).Code]++
		})
	}
	free()
	wg.Wait()
	if most := 5 + cap(h.hasher.slots); count[chat.NotAuthorized] > most || count[chat.RateLimited] < 100-most {
		t.Errorf("%v, but at most %d may be tried", count, most)
	}
}

// When the delay is over one attempt goes through, not as many as come at once.
func TestOneProbePerDelay(t *testing.T) {
	th := newThrottle(Throttle{})
	now := time.Unix(1_700_000_000, 0)
	for range 5 {
		th.fail(th.ticket(home, "ann", now), now)
	}
	now = now.Add(time.Second)
	first, second := th.ticket(home, "ann", now), th.ticket(home, "ann", now)
	if wait := th.admit(first, now); wait != 0 {
		t.Errorf("the first waits %v", wait)
	}
	if wait := th.admit(first, now); wait != 0 {
		t.Errorf("the first waits %v for itself", wait)
	}
	if wait := th.admit(second, now); wait != time.Second {
		t.Errorf("the second waits %v", wait)
	}
	th.giveBack(first, now) // no verdict
	if wait := th.admit(second, now); wait != 0 {
		t.Errorf("then it waits %v", wait)
	}
}

func TestAnAbandonedProbeIsGivenBack(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	wrongTimes(t, h, 5, login("ann", ""))
	h.clock.add(time.Second)
	free := occupy(h)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Authenticate(ctx, login("ann", "pw"))
	refusal(t, err, chat.Unavailable)
	free()
	h.in(t, login("ann", "pw"))
}

func TestAClockThatJumpsBackLocksNobodyForLong(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	wrongTimes(t, h, 5, login("ann", ""))
	h.clock.add(-24 * time.Hour)
	r := h.out(t, login("ann", "pw"), chat.RateLimited)
	if !strings.Contains(r.Reason, "in 300 s") {
		t.Errorf("%s", r.Reason)
	}
}

func TestUnguessableCredentialsAreNotHeldUp(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	_, text, err := h.AddToken(t.Context(), "ann", TokenSpec{Read: true})
	must(t, err)
	bad := text[:len(text)-4] + "aaaa"
	for range 5 {
		h.out(t, login("ann", bad), chat.NotAuthorized)
	}
	h.out(t, login("ann", bad), chat.RateLimited)
	h.out(t, login("ann", "pw"), chat.RateLimited) // the address is slow
	h.in(t, login("ann", text))
}

func TestDevModeAndUnixSocketsAreNotThrottled(t *testing.T) {
	dev := open(t, func(o *Options) { o.Dev = true })
	dev.in(t, login("Ann", ""))
	for range 20 {
		dev.out(t, login("ann", "x"), chat.NotAuthorized)
	}
	h := open(t, nil)
	h.add(t, "ann", "pw")
	for i := range 20 {
		h.out(t, Attempt{User: fmt.Sprint("u", i), Password: []byte("x"), HasPassword: true}, chat.NotAuthorized)
	}
	h.in(t, Attempt{User: "ann", Password: []byte("pw"), HasPassword: true})
}

func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle(Throttle{Entries: 10})
	now := time.Unix(1_700_000_000, 0)
	for i := range 1000 {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		tk := th.ticket(addr, fmt.Sprint(i), now)
		th.admit(tk, now)
		th.fail(tk, now)
		th.succeed(th.ticket(addr, "x", now), now)
	}
	n := th.trusted.len()
	for _, table := range th.tables {
		n += table.len()
	}
	if n > 40 {
		t.Errorf("%d entries", n)
	}
}
