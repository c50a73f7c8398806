package calls

import (
	"testing"
	"time"
)

// TestMovesBehindNAT: a device comes into another network, behind another kind of NAT, which leaves no direct way; the call goes on through the relay.
func TestMovesBehindNAT(t *testing.T) {
	if !long() {
		t.Skip("make long")
	}
	t.Parallel()
	w := newWorld(t, 4)
	w.loss.Store(20)
	first, second := w.home(fullCone, 10*time.Millisecond), w.home(symmetric, 20*time.Millisecond)
	ann, bob := w.station("ann", first), w.station("bob", w.home(portRestricted, 15*time.Millisecond))
	a, b := ann.meets(bob)
	until(t, a, "a direct way", func(s Status) bool { return s.Quality.RTT > 0 && !s.Quality.Relayed })
	ann.moves(second)
	until(t, a, "the relay", func(s Status) bool { return s.Quality.Relayed })
	ann.hears(20, "bob")
	bob.hears(20, "ann")
	farewell(t, b, a)
}

// TestSilentSignalling: nobody has signalling for longer than silence of everything would end a call. Media flow, so it does not end.
func TestSilentSignalling(t *testing.T) {
	if !long() {
		t.Skip("a minute: make long")
	}
	t.Parallel()
	w := newWorld(t, 5)
	w.loss.Store(20)
	ann, bob := w.station("ann", w.home(fullCone, 10*time.Millisecond)), w.station("bob", w.home(symmetric, 20*time.Millisecond))
	a, b := ann.meets(bob)
	for _, s := range []*station{ann, bob} {
		s.via.Refuse(true)
		s.via.Cut()
	}
	for _, c := range []*Call{a, b} {
		until(t, c, "no signalling", func(s Status) bool { return !s.Online })
	}
	for end := time.Now().Add(silentMost + 10*time.Second); time.Now().Before(end); {
		ann.hears(100, "bob")
		bob.hears(100, "ann")
	}
	for _, c := range []*Call{a, b} {
		if s := c.Status(); s.State == StateEnded || s.Online {
			t.Fatalf("without signalling: %+v", s)
		}
	}
	for _, s := range []*station{ann, bob} {
		s.via.Refuse(false)
	}
	for _, c := range []*Call{a, b} {
		until(t, c, "active", func(s Status) bool { return s.Online && s.State == StateActive })
	}
	ann.hears(20, "bob")
	bob.hears(20, "ann")
	farewell(t, a, b)
}

// TestFiveInTheWorld: five behind all kinds of NATs, with late and lost packets; one is without signalling while the call becomes one through the SFU,
// then one leaves and one comes into another network.
func TestFiveInTheWorld(t *testing.T) {
	if !long() {
		t.Skip("half a minute: make long")
	}
	t.Parallel()
	c := newCrowd(t, 6, fullCone, portRestricted, addressRestricted, symmetric, symmetric)
	c.loss.Store(20)
	c.hear(10, 0, 1, 2, 3)
	cy := c.stations[2]
	cy.via.Refuse(true)
	cy.via.Cut()
	c.joins()
	c.hear(25, 0, 1, 2, 3) // cy too, over the mesh
	c.hear(25, 0, 1, 3, 4)
	cy.via.Refuse(false)
	c.hear(25, 0, 1, 2, 3, 4)
	for _, call := range c.calls {
		alone(t, call)
	}

	must(t, c.calls[1].Hangup(soon(t)))
	c.hear(25, 0, 2, 3, 4)
	c.stations[3].moves(c.home(portRestricted, 20*time.Millisecond))
	c.hear(50, 0, 2, 3, 4)
	until(t, c.calls[0], "four", func(s Status) bool { return s.State == StateActive && len(s.Roster) == 4 })
	must(t, c.calls[0].Hangup(soon(t)))
	if got := over(t, c.calls[0]); got != Left {
		t.Errorf("%s: the call was %s", c.names[0], got)
	}
}

// TestMakeBeforeBreakLossy: where packets get lost, what is missing when a mesh becomes a call through the SFU is what was lost, and no more.
func TestMakeBeforeBreakLossy(t *testing.T) {
	if !long() {
		t.Skip("20 seconds: make long")
	}
	t.Parallel()
	c := newCrowd(t, 7, fullCone, portRestricted, addressRestricted, portRestricted, fullCone)
	c.loss.Store(40)
	c.hear(10, 0, 1, 2, 3)
	from := c.marks()
	c.hear(1, 0, 1, 2, 3)
	c.joins()
	to := c.over(from)
	for i, s := range c.speakers {
		for j, who := range c.names {
			if i == j {
				continue
			}
			missing, doubled := s.tally(who, from[j], to[j])
			run, most := 1, 0
			for k := range missing {
				if k > 0 && missing[k] == missing[k-1]+1 {
					run++
				} else {
					run = 1
				}
				most = max(most, run)
			}
			// 4 % over the mesh, 8 % through the SFU; of a hundred million packets one follows seven that were lost.
			if n := int(to[j] - from[j]); len(missing) > n/5 || most > 7 || len(doubled) > 0 {
				t.Errorf("%s of %s: of %d frames %d are missing, %d in a row; doubled %v", s.name, who, n, len(missing), most, doubled)
			}
		}
	}
}
