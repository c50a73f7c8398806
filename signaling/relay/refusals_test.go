package relay

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"github.com/stretchr/testify/require"
)

// Every kind of address that must not be reached through the server, by a real client.
func TestPeersThatAreRefused(t *testing.T) {
	needIPv6(t)
	g := newRig(t, func(o *Options) {
		o.Listen, o.AllowPeers = []string{"127.0.0.1:0", "[::1]:0"}, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}
	})
	name, secret := g.credentials("alice", "call1")
	allocation := func(host string) *turn.Client {
		client := pionClient(t, peerAt(t, host), g.at(host), name, secret)
		relayed, err := client.Allocate()
		require.NoError(t, err)
		t.Cleanup(func() { _ = relayed.Close() })
		return client
	}
	v4, v6 := allocation("127.0.0.1"), allocation("::1")
	permit := func(peer string) error {
		a := netip.MustParseAddr(peer)
		client := v6
		if a.Unmap().Is4() {
			client = v4
		}
		return client.CreatePermission(&net.UDPAddr{IP: a.AsSlice(), Port: 5000})
	}
	for _, peer := range []string{
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", // private
		"127.0.0.2", "127.255.255.255", // loopback; 127.0.0.1 is where this server relays
		"169.254.169.254", "169.254.0.1", // link-local, and the metadata of clouds
		"224.0.0.1", "239.255.255.250", "255.255.255.255", // multicast, broadcast
		"0.0.0.0", "0.1.2.3", // unspecified, this network
		"100.64.0.1", "100.127.255.255", // CGNAT
		"192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "192.88.99.1", // special
		"::ffff:10.0.0.1", "::ffff:127.0.0.2", "::ffff:169.254.169.254", // IPv4, mapped
		"::", "::2", "::7f00:2", // unspecified, IPv4-compatible
		"fc00::1", "fd00:2::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff01::1", "ff02::1", "ff05::2", "ff0e::1", // private, link-local, multicast
		"64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", // NAT64
		"::ffff:0:a00:1", "::ffff:0:7f00:1", // SIIT
		"2002:a00:1::", "2002:7f00:1::1", "2002:808:808::1", // 6to4
		"2001::1", "2001:0:7f00:1::1", "2001:2::1", "2001:20::1", "2001:db8::1", "100::1", "3fff::1", "5f00::1", // Teredo, special
	} {
		before := g.Stats().Refused(Peer)
		require.Error(t, permit(peer), peer)
		if !strings.HasPrefix(peer, "::ffff:") { // pion's client speaks of them as IPv4, see below for those who do not
			require.Equal(t, before+1, g.Stats().Refused(Peer), peer)
		}
	}
	for _, peer := range []string{"8.8.8.8", "1.1.1.1", "10.1.2.3", "2606:4700::1111", "fd00:1::5"} {
		require.NoError(t, permit(peer), peer)
	}
	own := map[netip.Addr]bool{netip.MustParseAddr("9.9.9.9"): true, netip.MustParseAddr("2620:fe::fe"): true}
	g.own.Store(&own)
	require.Error(t, permit("9.9.9.9"), "an address of this machine")
	require.Error(t, permit("2620:fe::fe"))
}

// What pion's client would not send: IPv4 in the form of IPv6, the other family, channels.
func TestPeersThatAreRefusedOnTheWire(t *testing.T) {
	g := newRig(t, func(o *Options) { o.AllowPeers = nil })
	c := g.caller("alice", "call1")
	c.mustAllocate()
	raw := func(family byte, ip []byte) stun.Setter {
		return setter(func(m *stun.Message) error {
			v := append([]byte{0, family, 0x21 ^ 0x13, 0x12 ^ 0x88}, ip...)
			mask := append([]byte{0x21, 0x12, 0xA4, 0x42}, m.TransactionID[:]...)
			for i := range ip {
				v[4+i] ^= mask[i]
			}
			m.Add(stun.AttrXORPeerAddress, v)
			return nil
		})
	}
	for name, s := range map[string]stun.Setter{
		"mapped private":   raw(2, netip.MustParseAddr("::ffff:10.0.0.1").AsSlice()),
		"mapped loopback":  raw(2, netip.MustParseAddr("::ffff:127.0.0.5").AsSlice()),
		"the other family": raw(2, netip.MustParseAddr("2606:4700::1111").AsSlice()),
		"no family":        raw(7, []byte{1, 1, 1, 1}),
		"nothing":          setter(func(*stun.Message) error { return nil }),
	} {
		require.NotZero(t, codeOf(c.do(stun.MethodCreatePermission, s)), name)
		require.NotZero(t, codeOf(c.do(stun.MethodChannelBind, channel(0x4000), s)), name)
	}
	require.Equal(t, stun.CodeForbidden, codeOf(c.do(stun.MethodCreatePermission, peerAddress("10.0.0.1:5000"))))
	require.NotZero(t, codeOf(c.do(stun.MethodChannelBind, channel(0x4000), peerAddress("10.0.0.1:5000"))))
	// One bad peer among good ones.
	require.Equal(t, stun.CodeForbidden, codeOf(c.do(stun.MethodCreatePermission, peerAddress("1.1.1.1:5000"), peerAddress("10.0.0.1:5000"))))
}

// A permission is for an address; what may be sent to is looked at for each packet.
func TestPermissionDoesNotOpenTheMachine(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) { permissionDoesNotOpen(t, listens(t, host)) })
	}
}

func permissionDoesNotOpen(t *testing.T, host string) {
	g := newRig(t, func(o *Options) { o.AllowPeers, o.Listen = nil, []string{net.JoinHostPort(host, "0")} })
	c := g.caller("alice", "call1")
	at := c.mustAllocate()
	service := peerAt(t, host)
	to := service.LocalAddr().String()
	require.Zero(t, codeOf(c.do(stun.MethodCreatePermission, peerAddress(to))), "other relayed sockets are at the same address")
	m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peerAddress(to),
		setter(func(m *stun.Message) error { m.Add(stun.AttrData, []byte("hello")); return nil }))
	_, err := c.conn.Write(m.Raw)
	require.NoError(t, err)
	g.barrier()
	require.Empty(t, rest(service))
	require.EqualValues(t, 1, g.Stats().Refused(Peer))
	require.Equal(t, host, at.Addr().String())
}

func TestCredentials(t *testing.T) {
	g := newRig(t, nil)
	good, secret := g.credentials("alice", "call1")
	expiry, _, _ := strings.Cut(good, ":")
	signed := func(name string) [2]string { return [2]string{name, password([]byte("a secret of the tests"), name)} }
	past := strconv.FormatInt(g.now.Add(-time.Second).Unix(), 10)
	g.end("over")
	for name, c := range map[string]struct {
		with [2]string
		why  Reason
	}{
		"another password":      {[2]string{good, secret + "x"}, Forged},
		"no password":           {[2]string{good, ""}, Forged},
		"another user":          {[2]string{expiry + ":bob:call1", secret}, Forged},
		"another call":          {[2]string{expiry + ":alice:call2", secret}, Forged},
		"a longer life":         {[2]string{"9" + expiry + ":alice:call1", secret}, Forged},
		"another secret":        {[2]string{good, password([]byte("another secret"), good)}, Forged},
		"only a time":           {signed(expiry), Forged},
		"no call":               {signed(expiry + ":alice"), Forged},
		"no user":               {signed(expiry + "::call1"), Forged},
		"four parts":            {signed(expiry + ":alice:call1:x"), Forged},
		"a time that is none":   {signed("soon:alice:call1"), Forged},
		"a time with a sign":    {signed("+" + expiry + ":alice:call1"), Forged},
		"a time before all":     {signed("-" + expiry + ":alice:call1"), Forged},
		"a time with zeros":     {signed("0" + expiry + ":alice:call1"), Forged},
		"more time than fits":   {signed("99999999999999999999:alice:call1"), Forged},
		"too long":              {signed(expiry + ":" + strings.Repeat("a", 200) + ":call1"), Forged},
		"expired":               {signed(past + ":alice:call1"), Expired},
		"expired without call":  {signed(past + ":alice:"), Expired},
		"of a call that ended":  {signed(expiry + ":alice:over"), Ended},
		"of nothing whatsoever": {[2]string{"", ""}, Forged},
	} {
		t.Run(name, func(t *testing.T) {
			before := g.Stats().Refused(c.why)
			answer := g.callerWith("udp", c.with[0], c.with[1]).allocate()
			require.Equal(t, stun.CodeBadRequest, codeOf(answer))
			if c.with[0] != "" { // else pion refuses it before it asks
				require.Equal(t, before+1, g.Stats().Refused(c.why))
			}
		})
	}
	require.Zero(t, g.Stats().Allocated.Load())
	g.callerWith("udp", good, secret).mustAllocate()
	g.caller("alice", "").mustAllocate()
}

// A key is made with the realm that the client names; it must be ours.
func TestRealmMustBeOurs(t *testing.T) {
	g := newRig(t, nil)
	c := g.caller("alice", "call1")
	c.do(stun.MethodAllocate) // no transport: refused, but there is a nonce now
	m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), setter(udpTransport), stun.NewUsername(c.name),
		stun.NewRealm("elsewhere"), c.nonce, stun.MessageIntegrity(turn.GenerateAuthKey(c.name, "elsewhere", c.secret)))
	_, err := c.conn.Write(m.Raw)
	require.NoError(t, err)
	require.Equal(t, stun.CodeBadRequest, codeOf(c.read(m.TransactionID)))
}

// Credentials expire; the allocations of a call that goes on do not.
func TestExpiry(t *testing.T) {
	g := newRig(t, nil)
	inCall, before := g.caller("alice", "call1"), g.caller("alice", "")
	inCall.mustAllocate()
	before.mustAllocate()
	refresh := func(c *caller) stun.ErrorCode { return codeOf(c.do(stun.MethodRefresh, lifetime(600))) }
	g.later(10 * time.Minute)
	require.Zero(t, refresh(inCall))
	require.Zero(t, refresh(before))
	again := g.callerWith("udp", inCall.name, inCall.secret)
	again.mustAllocate()
	g.later(time.Second)
	require.Equal(t, stun.CodeBadRequest, codeOf(g.callerWith("udp", inCall.name, inCall.secret).allocate()), "to allocate they are too old")
	require.Zero(t, refresh(inCall), "a call that goes on keeps what it has")
	require.Zero(t, codeOf(inCall.do(stun.MethodCreatePermission, peerAddress("127.0.0.1:5000"))))
	require.Equal(t, stun.CodeBadRequest, refresh(before), "what was given out before a call is short-lived")

	name, secret := g.credentials("alice", "call1") // fresh ones for the same call go on with the allocation
	inCall.name, inCall.secret = name, secret
	require.Zero(t, refresh(inCall))
	fresh, freshSecret := g.credentials("bob", "call1")
	inCall.name, inCall.secret = fresh, freshSecret
	m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest), lifetime(0), stun.NewUsername(fresh), stun.NewRealm("petrel"),
		inCall.nonce, stun.MessageIntegrity(turn.GenerateAuthKey(fresh, "petrel", freshSecret)))
	_, err := inCall.conn.Write(m.Raw)
	require.NoError(t, err)
	g.barrier()
	require.EqualValues(t, 3, g.Stats().Allocations.Load(), "nobody else ends it")
}

func TestEndOfTheCall(t *testing.T) {
	g := newRig(t, nil)
	a, other := g.caller("alice", "call1"), g.caller("alice", "call2")
	name, secret := g.credentials("bob", "call1")
	tcp := g.callerWith("tcp", name, secret)
	relayed := a.mustAllocate()
	tcp.mustAllocate()
	other.mustAllocate()
	g.sweep()
	g.allocations(3)
	g.end("call1")
	require.Equal(t, stun.CodeBadRequest, codeOf(a.do(stun.MethodRefresh, lifetime(600))))
	require.Equal(t, stun.CodeBadRequest, codeOf(a.do(stun.MethodChannelBind, channel(0x4000), peerAddress("127.0.0.1:5000"))))
	g.sweep()
	g.allocations(1)
	require.Nil(t, g.relayedAt(relayed), "its port is free")
	require.Zero(t, codeOf(other.do(stun.MethodRefresh, lifetime(600))))
	g.later(12 * time.Hour)
	g.sweep()
	g.allocations(0)
}

func TestUnsupported(t *testing.T) {
	g := newRig(t, nil)
	c := g.caller("alice", "call1")
	tcp := setter(func(m *stun.Message) error { m.Add(stun.AttrRequestedTransport, []byte{6, 0, 0, 0}); return nil })
	even := setter(func(m *stun.Message) error { m.Add(stun.AttrEvenPort, []byte{0x80}); return nil })
	v6 := setter(func(m *stun.Message) error { m.Add(stun.AttrRequestedAddressFamily, []byte{2, 0, 0, 0}); return nil })
	token := setter(func(m *stun.Message) error { m.Add(stun.AttrReservationToken, []byte("12345678")); return nil })
	for name, with := range map[string][]stun.Setter{"TCP to peers": {tcp}, "pairs": {setter(udpTransport), even}, "a family without an address": {setter(udpTransport), v6},
		"a reservation": {setter(udpTransport), token}, "no life": {setter(udpTransport), lifetime(0)}} {
		require.Equal(t, stun.CodeInsufficientCapacity, codeOf(c.do(stun.MethodAllocate, with...)), name)
	}
	g.barrier()
	g.Relay.mu.Lock()
	users, networks, all := len(g.perWho), len(g.perNet), g.count
	g.Relay.mu.Unlock()
	require.Zero(t, users+networks+all, "what was not made is not counted")
	c.mustAllocate()
	before := g.Stats().Refused(Unsupported)
	for _, method := range []stun.Method{stun.MethodConnect, stun.MethodConnectionBind, 0x7FF} {
		_, err := c.conn.Write(stun.MustBuild(stun.TransactionID, stun.NewType(method, stun.ClassRequest), peerAddress("1.1.1.1:80")).Raw)
		require.NoError(t, err)
	}
	g.barrier()
	require.Empty(t, rest(c.conn))
	require.Equal(t, before+3, g.Stats().Refused(Unsupported))
}

// Neither passwords nor, above debug, addresses and names reach the log.
func TestLogKeepsSecrets(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		var out bytes.Buffer
		g := newRig(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})) })
		c := g.caller("alice", "call1")
		c.mustAllocate()
		c.do(stun.MethodCreatePermission, peerAddress("10.0.0.1:5000"))
		g.callerWith("udp", c.name, "guess").allocate()
		g.Close()
		require.NotContains(t, out.String(), c.secret)
		require.NotContains(t, out.String(), c.name)
		if level == slog.LevelInfo {
			require.Empty(t, out.String())
		} else {
			require.Contains(t, out.String(), "10.0.0.1")
		}
	}
}
