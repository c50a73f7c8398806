package relay

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

func FuzzUsername(f *testing.F) {
	for _, s := range []string{"1:alice:call1", "1:alice:", "1:alice", "", "::", "-1:a:b", "01:a:b", "1:a:b:c", strings.Repeat("9", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, ok := parseUsername(s)
		if !ok {
			return
		}
		if u.String() != s || u.expiry <= 0 {
			t.Fatalf("%q became %+v", s, u)
		}
		if user, call := splitOwner(u.owner()); user != u.user || call != u.call {
			t.Fatalf("%q is of %q in %q", s, user, call)
		}
	})
}

// FuzzPackets sends anything to the listener: it must not panic, not answer with more than it got, go on answering, and
// allocate nothing for somebody without a password.
func FuzzPackets(f *testing.F) {
	g := newRig(f, func(o *Options) {
		o.Limits.Failures, o.Known = 1<<30, func(a netip.Addr) bool { return a == barrierAddr }
	})
	for _, b := range unproved(g) {
		f.Add(b)
	}
	c := g.stranger("127.1.0.1")
	credit := 0
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<15 {
			return
		}
		g.t = t
		if _, err := c.Write(b); err != nil {
			t.Skip(err)
		}
		credit = min(credit+len(b), creditMax)
		g.barrier()
		for _, answer := range rest(c) {
			credit -= len(answer)
		}
		if credit < 0 {
			t.Fatalf("%d bytes more than were sent, after %x", -credit, b)
		}
		if n := g.Stats().Allocated.Load(); n != 0 {
			t.Fatalf("allocated, after %x", b)
		}
	})
}

// FuzzAuthenticated sends anything on behalf of a client with an allocation, signed.
func FuzzAuthenticated(f *testing.F) {
	g := newRig(f, nil)
	c := g.caller("alice", "call1")
	c.mustAllocate()
	f.Add(uint16(typeChannelBind), []byte{0, 0x0C, 0, 4, 0x40, 0, 0, 0})
	f.Add(uint16(typeCreatePermission), []byte{0, 0x12, 0, 8, 0, 1, 0x33, 0x9a, 0x5e, 0x12, 0xa4, 0x43})
	f.Add(uint16(typeSend), []byte{0, 0x13, 0, 4, 1, 2, 3, 4})
	f.Add(uint16(typeRefresh), []byte{0, 0x0D, 0, 4, 0, 0, 2, 0x58})
	f.Add(uint16(typeAllocate), []byte{0, 0x19, 0, 4, 17, 0, 0, 0})
	f.Add(uint16(0x4000), []byte("data"))
	f.Fuzz(func(t *testing.T, kind uint16, attributes []byte) {
		if len(attributes) > 1000 {
			return
		}
		g.t, c.t = t, t
		m := stun.New()
		m.WriteHeader()
		m.Raw = append(m.Raw, attributes...)
		m.Length = uint32(len(attributes))
		m.Type.ReadValue(kind)
		m.WriteHeader()
		for _, s := range []stun.Setter{stun.NewUsername(c.name), stun.NewRealm("petrel"), c.nonce, stun.MessageIntegrity(turn.GenerateAuthKey(c.name, "petrel", c.secret))} {
			if s.AddTo(m) != nil {
				t.Skip("no message")
			}
		}
		if _, err := c.conn.Write(m.Raw); err != nil {
			t.Skip(err)
		}
		g.barrier()
		if n := g.Stats().Allocations.Load(); n > 1 {
			t.Fatalf("%d allocations", n)
		}
	})
}

// FuzzChannelNumber: the attribute is found where pion finds it.
func FuzzChannelNumber(f *testing.F) {
	f.Add(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodChannelBind, stun.ClassRequest), channel(0x4000)).Raw)
	f.Add(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodChannelBind, stun.ClassRequest), stun.NewSoftware("abc"), channel(0x4000)).Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if !isSTUN(b) {
			return
		}
		m := &stun.Message{Raw: append([]byte{}, b...)}
		if m.Decode() != nil {
			return // pion drops it
		}
		n, ok := channelOf(b)
		v, err := m.Get(stun.AttrChannelNumber)
		if want := err == nil && len(v) >= 2; want != ok && !(len(v) < 2 && err == nil) {
			t.Fatalf("found %v, want %v in %x", ok, want, b)
		}
		if ok && err == nil && len(v) == 4 && n != uint16(v[0])<<8|uint16(v[1]) {
			t.Fatalf("channel %x of %x", n, b)
		}
	})
}
