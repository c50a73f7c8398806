package calls

import (
	"fmt"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/transport/v4/vnet"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/roam"
)

// country is a network of this process alone, with a network card for each device.
type country struct {
	t      *testing.T
	router *vnet.Router
}

func newCountry(t *testing.T) *country {
	t.Helper()
	return &country{t, newRouter(t, &vnet.RouterConfig{CIDR: "10.7.0.0/16", MinDelay: 10 * time.Millisecond, MaxJitter: 3 * time.Millisecond})}
}

func (c *country) card(ip string) *roam.Card {
	c.t.Helper()
	n, err := roam.New(ip)
	must(c.t, err)
	must(c.t, c.router.AddNet(n))
	return n
}

// on puts a device behind a card.
func on(n *roam.Card) func(*Options) {
	return func(o *Options) {
		o.Loopback, o.Net = false, n
		o.Tune = func(se *webrtc.SettingEngine) {
			se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
			se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
		}
	}
}

// TestNewAddress: a device that comes into another network is heard, and hears, within three seconds; and again and again, whether its program is told
// or not.
func TestNewAddress(t *testing.T) {
	t.Parallel()
	// Without TURN, which nothing in the country reaches: its devices would wait for it.
	s, world := serve(t, func(c *config.Config) { c.TURN.Enabled = "false" }), newCountry(t)
	home, other := world.card("10.7.0.1"), world.card("10.7.0.2")
	must(t, world.router.Start())
	t.Cleanup(func() { must(t, world.router.Stop()) })
	ann := openPatient(t, s.Log, s.way(), "ann", "a", on(home))
	bob := openPatient(t, s.Log, s.way(), "bob", "b", on(other))
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	until(t, a, "figures", func(s Status) bool { return s.Quality.RTT > 0 && s.Quality.Received > 0 })

	for i := range 4 {
		vb.hears(100, "ann") // two seconds: the client connects no more often when it is told
		here := fmt.Sprintf("10.7.9.%d", 1+i)
		began := time.Now()
		must(t, home.Move(here))
		s.proxy.Cut() // the connections to the server were of the old network too
		if i%2 == 0 {
			ann.Manager.NetworkChanged()
		}
		for _, v := range []*voice{va, vb} {
			v.mu.Lock() // what was on its way does not count
			clear(v.count)
			v.mu.Unlock()
		}
		until(t, a, "another address", func(s Status) bool {
			local := make(chan string, 1)
			return a.post(func() {
				for _, p := range a.peers {
					local <- p.flows(time.Now()).local
					return
				}
				local <- ""
			}) && <-local == here
		})
		va.hears(5, "bob")
		vb.hears(5, "ann")
		took := time.Since(began)
		t.Logf("after change %d of the address both hear each other again in %v", i, took)
		if took > 3*time.Second {
			t.Errorf("that took %v", took)
		}
	}
	farewell(t, b, a)
}

// TestRelayOnly: everything goes through the server's relay.
func TestRelayOnly(t *testing.T) {
	s := serve(t)
	only := func(o *Options) { o.RelayOnly = true }
	ann, bob := s.device("ann", "a", only), s.device("bob", "b", only)
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	a, b := pair(t, ann, bob, va, vb)
	for _, c := range []*Call{a, b} {
		until(t, c, "a relay", func(s Status) bool { return s.Quality.Relayed && s.Quality.RTT > 0 })
	}
	must(t, b.Hangup(soon(t)))
	over(t, a)
}
