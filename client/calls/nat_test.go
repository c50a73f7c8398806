package calls

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// TestNAT: whatever NATs two devices are behind, they hear each other: without a relay where that is possible, else through the server's.
// Packets are late and get lost meanwhile.
func TestNAT(t *testing.T) {
	t.Parallel()
	pairs := [][2]kind{{fullCone, symmetric}, {portRestricted, addressRestricted}, {symmetric, portRestricted}, {symmetric, symmetric}}
	if long() {
		pairs = nil
		for i, a := range kinds {
			for _, b := range kinds[i:] {
				pairs = append(pairs, [2]kind{a, b}, [2]kind{b, a})
			}
		}
	}
	w := newWorld(t, 1)
	w.loss.Store(30)
	var all sync.WaitGroup
	for i, p := range pairs {
		want := !p[0].direct(p[1])
		var change []func(*Options)
		if !want {
			change = append(change, reluctant)
		}
		ann := w.station(fmt.Sprintf("ann%d", i), w.home(p[0], time.Duration(10+5*(i%8))*time.Millisecond), change...)
		bob := w.station(fmt.Sprintf("bob%d", i), w.home(p[1], time.Duration(45-5*(i%8))*time.Millisecond), change...)
		all.Go(func() {
			a, b := ann.meets(bob)
			for _, c := range []*Call{a, b} {
				s := until(t, c, "figures", func(s Status) bool { return s.Quality.RTT > 0 && s.Quality.Received > 0 })
				if s.Quality.Relayed != want {
					t.Errorf("%s to %s: relayed is %v, want %v", p[0], p[1], s.Quality.Relayed, want)
				}
				if least := 2 * (ann.home.delay + bob.home.delay); s.Quality.RTT < least {
					t.Errorf("%s to %s: the round trip takes %v; at least %v was expected", p[0], p[1], s.Quality.RTT, least)
				}
			}
			ann.hears(20, bob.name)
			bob.hears(20, ann.name)
			if err := a.Hangup(soon(t)); err != nil {
				t.Error(err)
			}
			over(t, b)
		})
	}
	all.Wait()
}

// reluctant has a device wait longer for a direct way than people would: whether there is one must not depend on how busy the machine is.
func reluctant(o *Options) {
	tune := o.Tune
	o.Tune = func(se *webrtc.SettingEngine) {
		tune(se)
		se.SetRelayAcceptanceMinWait(10 * time.Second)
	}
}

// TestRelayOnlyBehindNAT: who wants a relay only tells no other address, and no packet goes past the relay, whoever of the two wants it.
func TestRelayOnlyBehindNAT(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.loss.Store(20)
	only := func(o *Options) { o.RelayOnly = true }
	var all sync.WaitGroup
	for i, both := range []bool{false, true} {
		// NATs through which there would be a direct way.
		ann := w.station(fmt.Sprintf("ann%d", i), w.home(fullCone, 10*time.Millisecond), only)
		var change []func(*Options)
		if both {
			change = append(change, only)
		}
		bob := w.station(fmt.Sprintf("bob%d", i), w.home(fullCone, 20*time.Millisecond), change...)
		said := newSaid(ann)
		all.Go(func() {
			a, b := ann.meets(bob)
			until(t, a, "figures", func(s Status) bool { return s.Quality.RTT > 0 && s.Quality.Received > 0 && s.Quality.Relayed })
			ann.hears(20, bob.name)
			bob.hears(20, ann.name)
			said.relays(t)
			// ann's NAT is never spoken to by bob's, nor the other way round.
			if n := w.directly(ann.home, bob.home); n > 0 {
				t.Errorf("both relay only: %v: %d packets went past the relay", both, n)
			}
			if err := b.Hangup(soon(t)); err != nil {
				t.Error(err)
			}
			over(t, a)
		})
	}
	all.Wait()
}

// said keeps what a device publishes about calls.
type said struct {
	mu  sync.Mutex
	all []request
}

func newSaid(s *station) *said {
	var k said
	s.Manager.said = func(payload []byte) {
		var r struct {
			Type string          `json:"type"`
			Body json.RawMessage `json:"body"`
		}
		if json.Unmarshal(payload, &r) == nil && r.Type != "" {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.all = append(k.all, request{Type: r.Type, Body: r.Body})
		}
	}
	return &k
}

// relays fails if there was a candidate that is none of a relay, and if there was none at all.
func (k *said) relays(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, r := range k.all {
		text := string(r.Body.(json.RawMessage))
		if r.Type == "offer" || r.Type == "answer" {
			var err error
			if text, err = description(r.Body.(json.RawMessage)); err != nil {
				t.Error(err)
			}
		}
		for _, c := range strings.Split(text, "candidate:")[1:] {
			n++
			if !strings.Contains(c, " typ relay ") {
				t.Errorf("it told of %.60q", c)
			}
		}
	}
	if n == 0 {
		t.Error("no candidate was told")
	}
}
