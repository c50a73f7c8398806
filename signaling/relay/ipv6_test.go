package relay

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"
	"github.com/stretchr/testify/require"
)

// requestedFamily is REQUESTED-ADDRESS-FAMILY (RFC 8656 section 18.6): 1 for IPv4, 2 for IPv6.
func requestedFamily(n byte) stun.Setter {
	return setter(func(m *stun.Message) error {
		m.Add(stun.AttrRequestedAddressFamily, []byte{n, 0, 0, 0})
		return nil
	})
}

// relayedOf allocates at the server from a host, and returns the relayed address, or why there is none.
func (g *rig) relayedOf(host string, with ...stun.Setter) (*caller, netip.Addr, stun.ErrorCode) {
	g.t.Helper()
	name, secret := g.credentials("alice", "call1")
	c := g.callerAt(host, "udp", name, secret)
	m := c.do(stun.MethodAllocate, append([]stun.Setter{setter(udpTransport)}, with...)...)
	if code := codeOf(m); code != 0 {
		return c, netip.Addr{}, code
	}
	var at stun.XORMappedAddress
	require.NoError(g.t, at.GetFromAs(m, stun.AttrXORRelayedAddress))
	ip, _ := netip.AddrFromSlice(at.IP)
	return c, ip.Unmap(), 0
}

// A client gets a relayed address of the family that it asks for, over whichever it came; who does not ask gets IPv4, if there is any.
func TestRequestedFamily(t *testing.T) {
	needIPv6(t)
	both := newRig(t, func(o *Options) { o.Listen = []string{"127.0.0.1:0", "[::1]:0"} })
	only6 := newRig(t, func(o *Options) { o.Listen = []string{"[::1]:0"} })
	every := newRig(t, func(o *Options) {
		o.Listen, o.Public = []string{"[::]:0"}, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	})
	for _, c := range []struct {
		g        *rig
		from     string
		ask      byte // 0: for none
		at       string
		refusing stun.ErrorCode
	}{
		{both, "127.0.0.1", 0, "127.0.0.1", 0}, {both, "127.0.0.1", 1, "127.0.0.1", 0}, {both, "127.0.0.1", 2, "::1", 0},
		{both, "::1", 0, "127.0.0.1", 0}, {both, "::1", 1, "127.0.0.1", 0}, {both, "::1", 2, "::1", 0},
		{both, "::1", 3, "", stun.CodeAddrFamilyNotSupported}, {both, "::1", 0xFF, "", stun.CodeAddrFamilyNotSupported},
		{every, "127.0.0.1", 0, "127.0.0.1", 0}, {every, "::1", 0, "127.0.0.1", 0}, {every, "127.0.0.1", 2, "::1", 0}, {every, "::1", 2, "::1", 0},
		{only6, "::1", 0, "::1", 0}, {only6, "::1", 2, "::1", 0}, {only6, "::1", 1, "", stun.CodeInsufficientCapacity},
	} {
		var with []stun.Setter
		if c.ask != 0 {
			with = append(with, requestedFamily(c.ask))
		}
		_, at, code := c.g.relayedOf(c.from, with...)
		require.Equal(t, c.refusing, code, "%+v", c)
		if code == 0 {
			require.Equal(t, c.at, at.String(), "%+v", c)
		}
	}
	_, _, code := both.relayedOf("::1", requestedFamily(2), setter(func(m *stun.Message) error {
		m.Add(stun.AttrReservationToken, []byte("12345678")) // not both, and there is nothing that is reserved
		return nil
	}))
	require.NotZero(t, code)
	both.allocations(6)
	only6.allocations(2)
	every.allocations(4)
}

// Over IPv4 to a peer that has IPv6 only, and back. What is of the other family is no peer (RFC 8656 sections 9.2 and 11.2).
func TestFromOneFamilyToTheOther(t *testing.T) {
	needIPv6(t)
	g := newRig(t, func(o *Options) { o.Listen = []string{"127.0.0.1:0", "[::1]:0"} })
	for _, w := range []struct {
		from, to string
		family   byte
	}{{"127.0.0.1", "::1", 2}, {"::1", "127.0.0.1", 1}} {
		c, _, code := g.relayedOf(w.from, requestedFamily(w.family))
		require.Zero(t, code)
		near, far := echo(t, w.from), echo(t, w.to)
		require.Zero(t, codeOf(c.do(stun.MethodChannelBind, channel(0x4000), peerAddress(far.LocalAddr().String()))))
		c.send(0x4000, []byte("over there"))
		got, err := c.packet(patience)
		require.NoError(t, err)
		require.Equal(t, "\x40\x00\x00\x0aover there", string(bytes.TrimRight(got, "\x00")))
		to := peerAddress(near.LocalAddr().String())
		require.Equal(t, stun.CodePeerAddrFamilyMismatch, codeOf(c.do(stun.MethodCreatePermission, to)))
		require.Equal(t, stun.CodePeerAddrFamilyMismatch, codeOf(c.do(stun.MethodChannelBind, channel(0x4001), to)))
		require.Equal(t, stun.CodePeerAddrFamilyMismatch, codeOf(c.do(stun.MethodRefresh, lifetime(600), requestedFamily(3-w.family))))
		require.Zero(t, codeOf(c.do(stun.MethodRefresh, lifetime(600), requestedFamily(w.family))))
	}
}

// What of IPv6 leads into the machine, its network, or to IPv4 in disguise is refused on the wire, by permissions, channels and what is sent.
func TestIPv6PeersThatAreRefusedOnTheWire(t *testing.T) {
	needIPv6(t)
	g := newRig(t, func(o *Options) {
		o.Listen, o.AllowPeers, o.Public = []string{"[::1]:0"}, nil, []netip.Addr{netip.MustParseAddr("2620:fe::7")}
	})
	c, _, code := g.relayedOf("::1", requestedFamily(2))
	require.Zero(t, code)
	raw := func(ip string) stun.Setter { // as 16 bytes, whatever they mean
		return setter(func(m *stun.Message) error {
			v := append([]byte{0, 2, 0x21 ^ 0x13, 0x12 ^ 0x88}, netip.MustParseAddr(ip).AsSlice()...)
			for i, x := range append([]byte{0x21, 0x12, 0xA4, 0x42}, m.TransactionID[:]...) {
				v[4+i] ^= x
			}
			m.Add(stun.AttrXORPeerAddress, v)
			return nil
		})
	}
	number := uint16(0x4000)
	for _, peer := range []string{
		"::1", "::", "::2", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1",
		"fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00::2", "fdff:ffff::1", "ff01::1", "ff02::1", "ff02::fb", "ff05::2", "ff0e::1",
		"64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "2002:7f00:1::1", "2002:a00:1::1", "2002:c0a8:101::1",
		"2001::1", "2001:0:7f00:1::1", "2001:db8::1", "100::1", "3fff::1", "5f00::1",
	} {
		number++
		require.NotZero(t, codeOf(c.do(stun.MethodCreatePermission, raw(peer))), peer)
		require.NotZero(t, codeOf(c.do(stun.MethodChannelBind, channel(number), raw(peer))), peer)
		m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), raw(peer),
			setter(func(m *stun.Message) error { m.Add(stun.AttrData, []byte("hello")); return nil }))
		_, err := c.conn.Write(m.Raw)
		require.NoError(t, err)
		c.send(number, []byte("hello"))
	}
	g.barrier()
	require.Zero(t, g.Stats().BytesOut.Load())
	require.Zero(t, codeOf(c.do(stun.MethodCreatePermission, raw("2606:4700::1111"))))
	require.Zero(t, codeOf(c.do(stun.MethodCreatePermission, raw("2620:fe::7"))), "others are relayed there")
}
