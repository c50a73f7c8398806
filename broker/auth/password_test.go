package auth

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
)

// A test vector of the reference implementation, phc-winner-argon2: "password", "somesalt", t=2, m=2^16,
// p=1, version 0x13.
const reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestPHCOfTheReferenceImplementation(t *testing.T) {
	r, err := parsePHC(reference)
	must(t, err)
	if r.Params != (Params{65536, 2, 1}) || string(r.salt) != "somesalt" || r.String() != reference {
		t.Errorf("parsed %+v", r)
	}
	if !r.matches([]byte("password")) || r.matches([]byte("passwore")) {
		t.Error("the hash is another one")
	}
}

func TestPHCRefusesWhatIsNotCanonical(t *testing.T) {
	for _, s := range []string{
		"", "$", "password",
		strings.Replace(reference, "argon2id", "argon2i", 1),
		strings.Replace(reference, "v=19", "v=16", 1),
		strings.Replace(reference, "m=65536", "m=065536", 1),
		strings.Replace(reference, "m=65536", "m=+65536", 1),
		strings.Replace(reference, "m=65536", "m=4294967296", 1),
		strings.Replace(reference, "m=65536", "m=2000000", 1), // 2 GB: not on our machine
		strings.Replace(reference, "t=2", "t=0", 1),
		strings.Replace(reference, "t=2", "t=65", 1),
		strings.Replace(reference, "p=1", "p=0", 1),
		strings.Replace(reference, "p=1", "p=257", 1),
		strings.Replace(reference, ",p=1", "", 1),
		strings.Replace(reference, "t=2,p=1", "p=1,t=2", 1),
		strings.Replace(reference, "c29tZXNhbHQ", "c29tZQ", 1),
		strings.Replace(reference, "c29tZXNhbHQ", "c29tZXNhbHQ=", 1),
		strings.Replace(reference, "c29tZXNhbHQ", "c29tZX\nNhbHQ", 1),
		strings.Replace(reference, "c29tZXNhbHQ", "c29tZXNhbHR", 1), // bits that mean nothing
		reference + "$", reference + "\n", reference[:60],
	} {
		if r, err := parsePHC(s); err == nil {
			t.Errorf("%q gives %+v", s, r)
		}
	}
}

func FuzzPHC(f *testing.F) {
	f.Add(reference)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parsePHC(s)
		if err != nil {
			return
		}
		if r.String() != s {
			t.Errorf("%q is read as %q", s, r)
		}
		if err := r.Params.validate(); err != nil {
			t.Error(err)
		}
	})
}

func TestRecordIsRenewedWithOtherCosts(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	h2 := reopen(t, h.store, func(o *Options) { o.Argon2 = Params{MemoryKiB: 16, Time: 2, Threads: 1} })
	h2.out(t, login("ann", "wrong"), chat.NotAuthorized)
	id := h2.in(t, login("ann", "pw"))
	acc, _ := h2.lookup("ann")
	if r, err := parsePHC(acc.PHC); err != nil || r.Params != (Params{16, 2, 1}) || !r.matches([]byte("pw")) {
		t.Errorf("record %s, %v", acc.PHC, err)
	}
	if h2.revocations() != nil || !h2.Current(id) {
		t.Error("renewing is no change of the password")
	}
	commits := h2.store.commits
	h2.in(t, login("ann", "pw"))
	if h2.store.commits != commits {
		t.Error("renewed again")
	}
	reopen(t, h.store, nil).in(t, login("ann", "pw")) // and back
}

func TestRenewingLosesToAPasswordChange(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "old")
	before, _ := h.lookup("ann")
	must(t, h.SetPassword(t.Context(), "ann", []byte("new")))
	must(t, h.renew(before, h.hasher.hash([]byte("old"))))
	h.in(t, login("ann", "new"))
}

// occupy takes all turns of the hasher, so that whatever needs argon2 must wait.
func occupy(h *house) (free func()) {
	for range cap(h.hasher.slots) {
		h.hasher.slots <- struct{}{}
	}
	return func() {
		for range cap(h.hasher.slots) {
			<-h.hasher.slots
		}
	}
}

func TestStormNeedsNoArgon2(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	h.in(t, login("ann", "pw"))
	defer occupy(h)()
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			a := login("ann", "pw")
			a.ClientID = fmt.Sprint(i)
			if _, err := h.Authenticate(context.Background(), a); err != nil {
				t.Errorf("device %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestVerifiedPasswordIsForgotten(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	h.in(t, login("ann", "pw"))
	h.clock.add(verifiedFor)
	defer occupy(h)()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Authenticate(ctx, login("ann", "pw"))
	refusal(t, err, chat.Unavailable)
}

func TestWaitingForATurnEndsWithItsContext(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	free := occupy(h)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for _, a := range []Attempt{login("ann", "pw"), login("nobody", "pw")} {
		go func() {
			_, err := h.Authenticate(ctx, a)
			errs <- err
		}()
	}
	go func() { errs <- h.AddUser(ctx, "bob", []byte("x"), false) }()
	cancel()
	for range 3 {
		refusal(t, <-errs, chat.Unavailable)
	}
	free()
	h.in(t, login("ann", "pw"))
}

// Who has an account must not show in whether argon2 is computed.
func TestEveryRefusedPasswordCostsArgon2(t *testing.T) {
	h := open(t, func(o *Options) { o.Throttle.Off = true })
	h.add(t, "Ann", "pw")
	must(t, h.AddUser(t.Context(), "bare", nil, false))
	defer occupy(h)()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, a := range []Attempt{login("Ann", "no"), login("ann", "no"), login("nobody", "no"), login("bare", "no")} {
		_, err := h.Authenticate(ctx, a)
		refusal(t, err, chat.Unavailable) // it waited for a turn
	}
}

func TestDummyIsComputed(t *testing.T) {
	h := open(t, func(o *Options) { o.Throttle.Off = true })
	h.add(t, "Ann", "pw")
	must(t, h.AddUser(t.Context(), "bare", nil, false))
	if h.hasher.dummy.Params != cheap || h.hasher.dummy.matches([]byte("x")) {
		t.Error("the dummy must cost what a record costs, and match nothing")
	}
	h.hasher.dummy.Time = 0 // argon2 panics on it
	computed := func(a Attempt) (yes bool) {
		defer func() { yes = recover() != nil }()
		h.Authenticate(t.Context(), a)
		return false
	}
	for _, a := range []Attempt{login("ann", "pw"), login("nobody", "pw"), login("bare", "pw"), login("Ann", strings.Repeat("x", 5000))} {
		if !computed(a) {
			t.Errorf("%s with %d bytes is refused faster than a wrong password", a.User, len(a.Password))
		}
	}
	if computed(login("Ann", "wrong")) {
		t.Error("a real record needs no dummy beside it")
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := newRecent[int, int](100)
	r.put(-1, 7)
	for i := range 10_000 {
		r.put(i, i)
		if v, ok := r.get(-1); !ok || v != 7 { // in use, so it stays
			t.Fatalf("lost after %d", i)
		}
		if r.len() > 100 {
			t.Fatalf("%d entries", r.len())
		}
	}
	if _, ok := r.get(9_999); !ok {
		t.Error("the newest is gone")
	}
	r.delete(-1)
	if _, ok := r.get(-1); ok {
		t.Error("deleted, and there")
	}
}

func TestVerifiedIsNotProlongedByAClockThatJumpsBack(t *testing.T) {
	h := newHasher(cheap, 1)
	now := time.Unix(1_700_000_000, 0)
	k := h.cacheKey("ann", []byte("pw"), "record")
	h.remember(k, now)
	if !h.known(k, now) || h.known(k, now.Add(-time.Hour)) || h.known(h.cacheKey("ann", []byte("pw"), "other"), now) {
		t.Error("the cache is wrong")
	}
}
