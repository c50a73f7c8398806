package sfu

import (
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/petrelchat/petrel/signaling/sfu/sfuload"
)

// settle waits until cond holds for what Server.run owns.
func (h *hall) settle(what string, cond func() bool) {
	h.t.Helper()
	got := make(chan bool)
	h.until(func() string {
		h.s.post(func(time.Time) { got <- cond() })
		if <-got {
			return ""
		}
		return what
	})
}

// until waits until nothing is amiss any more. It looks now and then: the parties need the processor too.
func (h *hall) until(look func() (amiss string)) {
	h.t.Helper()
	now := time.NewTicker(5 * time.Millisecond)
	defer now.Stop()
	for deadline := time.Now().Add(patience); ; <-now.C {
		switch amiss := look(); {
		case amiss == "":
			return
		case time.Now().After(deadline):
			h.t.Fatal(amiss)
		}
	}
}

func TestWhoLeavesLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("call", func(t *testing.T) {
		h := newHall(t, Options{})
		before := runtime.NumGoroutine()
		var all []*client
		for _, id := range []string{"ann", "bob", "cem"} {
			all = append(all, h.caller(id, 30))
		}
		all[0].hears("bob", "cem")
		all[1].leave()
		h.settle("bob is still there", func() bool { return len(h.s.rooms["c"].order) == 2 })
		all[0].hears("cem")
		h.s.Gone("c", "")
		for _, c := range all {
			c.close()
		}
		h.settle("something is left of the call", func() bool {
			x := &h.s.index
			x.mu.RLock()
			defer x.mu.RUnlock()
			return len(h.s.rooms) == 0 && len(x.byAddr) == 0 && len(x.byUfrag) == 0 && len(h.s.seats.calls) == 0 && h.s.Stats().Parties == 0
		})
		h.settle("goroutines are left of the call", func() bool { return runtime.NumGoroutine() <= before+1 })
	})
}

func TestReloadTakesThePlaceOfTheOldConnection(t *testing.T) {
	h := newHall(t, Options{})
	ann, bob := h.caller("ann", 30), h.caller("bob", 30)
	ann.hears("bob")
	bob.close() // without a word
	again := h.caller("bob", 30)
	again.hears("ann")
	drain(ann)
	ann.hears("bob")
	h.settle("the old connection is still there", func() bool { return len(h.s.rooms["c"].order) == 2 })
}

// drain throws away what has come.
func drain(c *client) {
	for {
		select {
		case <-c.packets:
		default:
			return
		}
	}
}

func TestICERestart(t *testing.T) {
	h := newHall(t, Options{})
	ann, bob := h.caller("ann", 30), h.caller("bob", 30)
	ann.hears("bob")
	bob.hears("ann")
	var before *creds
	h.settle("", func() bool { before = h.s.rooms["c"].parties["bob"].creds; return true })
	// The client's own goroutine waits for signals; the exchange is made by hand.
	o, err := bob.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.pc.SetLocalDescription(o); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	hand := &client{signals: make(chan signal, 64)}
	h.clients["bob"] = hand
	h.mu.Unlock()
	if err := h.s.Signal("c", "bob", "user-bob", "offer", []byte(bob.pc.LocalDescription().SDP)); err != nil {
		t.Fatal(err)
	}
	answer := <-hand.signals
	h.mu.Lock()
	h.clients["bob"] = bob
	h.mu.Unlock()
	if err := bob.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer.body)}); err != nil {
		t.Fatal(err)
	}
	h.settle("the credentials are the old ones", func() bool { return h.s.rooms["c"].parties["bob"].creds != before })
	drain(ann)
	drain(bob)
	ann.hears("bob")
	bob.hears("ann")
}

func TestWhoHangsUpTheirConnectionIsGone(t *testing.T) {
	h := newHall(t, Options{})
	ann, bob := h.caller("ann", 30), h.caller("bob", 30)
	ann.hears("bob")
	bob.close()
	h.settle("bob is still there", func() bool { return len(h.s.rooms["c"].order) == 1 })
}

func TestSilentPartyIsGivenUp(t *testing.T) {
	answers := make(chan string, 1)
	s, err := New(Options{Listen: "127.0.0.1:0", Silence: 500 * time.Millisecond, Send: func(_, _, _, _ string, body []byte) { answers <- string(body) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := sfuload.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := s.Signal("c", "ann", "ann", "offer", []byte(l.Offer(0))); err != nil {
		t.Fatal(err)
	}
	if err := l.Connect(<-answers); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for s.Stats().Parties != 0 {
		if time.Now().After(deadline) {
			t.Fatal("a party that says nothing is kept")
		}
		runtime.Gosched()
	}
}

func TestAddressFollowsTheClient(t *testing.T) {
	s, err := New(Options{Listen: "127.0.0.1:0", Send: func(string, string, string, string, []byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := net.Dial("udp4", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := s.Signal("c", "ann", "ann", "offer", []byte(plainOffer())); err != nil {
		t.Fatal(err)
	}
	var p *party
	got := make(chan *party)
	s.post(func(time.Time) { got <- s.rooms["c"].parties["ann"] })
	p = <-got
	ask := func(c net.Conn, pwd, user string, nominate bool) bool {
		setters := []stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername(user)}
		if nominate {
			setters = append(setters, stun.RawAttribute{Type: stun.AttrUseCandidate})
		}
		m, err := stun.Build(append(setters, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(m.Raw); err != nil {
			t.Fatal(err)
		}
		return true
	}
	answered := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		n, err := c.Read(make([]byte, 1500))
		return err == nil && n > 20
	}
	name := p.creds.ufrag + ":" + sfuload.Ufrag
	// A wrong password, a wrong name, then the right ones: only they are answered, and so come first.
	ask(conn, "not the password", name, true)
	ask(conn, p.creds.pwd, p.creds.ufrag+":other", true)
	ask(conn, p.creds.pwd, "nobody:"+sfuload.Ufrag, true)
	ask(conn, p.creds.pwd, name, true)
	if !answered(conn) {
		t.Fatal("no answer to the right password")
	}
	first := p.via.Load()
	if first == nil || first.key != conn.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Fatalf("packets go to %v", first)
	}
	other, err := net.Dial("udp4", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ask(other, p.creds.pwd, name, false)
	if !answered(other) || p.via.Load() != first {
		t.Fatal("an address that is only checked took over")
	}
	ask(other, p.creds.pwd, name, true)
	if !answered(other) || p.via.Load().key != other.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Fatal("an address that is nominated did not take over")
	}
	// Many addresses: the table stays small.
	for range 3 * routesPerParty {
		c, err := net.Dial("udp4", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		ask(c, p.creds.pwd, name, false)
		if !answered(c) {
			t.Fatal("no answer")
		}
		c.Close()
	}
	s.index.mu.RLock()
	n := len(s.index.byAddr)
	s.index.mu.RUnlock()
	if n > routesPerParty {
		t.Fatalf("%d addresses are kept", n)
	}
	if p.via.Load() == nil {
		t.Fatal("the nominated address was forgotten")
	}
}

func TestOptionsAreValidated(t *testing.T) {
	_, err := New(Options{Listen: "nowhere", Public: []string{"example.org"}, Parties: -1})
	if err == nil {
		t.Fatal("nonsense was taken")
	}
	for _, want := range []string{"Send", "nowhere", "example.org", "parties"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in: %v", want, err)
		}
	}
	s, err := New(Options{Listen: "127.0.0.1:0", Public: []string{"203.0.113.7", "[2001:db8::1]:9"}, Send: func(string, string, string, string, []byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if a := s.Addrs(); a[0].Addr() != netip.MustParseAddr("203.0.113.7") || a[0].Port() == 0 || a[1].Port() != 9 {
		t.Fatalf("addresses are %v", a)
	}
}
