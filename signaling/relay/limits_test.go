package relay

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/stretchr/testify/require"
)

func TestAllocationsAreLimited(t *testing.T) {
	quota := func(c *caller) bool { return codeOf(c.allocate()) == stun.CodeAllocQuotaReached }
	t.Run("user", func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.Limits.AllocationsPerUser = 2 })
		first := g.caller("alice", "call1")
		first.mustAllocate()
		g.caller("alice", "call2").mustAllocate()
		require.True(t, quota(g.caller("alice", "call3")), "of all calls together")
		g.caller("bob", "call1").mustAllocate()
		require.Zero(t, codeOf(first.do(stun.MethodRefresh, lifetime(0))))
		g.caller("alice", "call3").mustAllocate()
		require.EqualValues(t, 1, g.Stats().Refused(PerUser))
	})
	t.Run("address", func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.Limits.AllocationsPerAddress = 2 })
		g.caller("alice", "call1").mustAllocate()
		name, secret := g.credentials("bob", "call1")
		g.callerWith("tcp", name, secret).mustAllocate()
		require.True(t, quota(g.caller("carol", "call1")))
		require.EqualValues(t, 1, g.Stats().Refused(PerAddress))
	})
	t.Run("all", func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.Limits.Allocations = 1 })
		g.caller("alice", "call1").mustAllocate()
		require.True(t, quota(g.caller("bob", "call1")))
		require.EqualValues(t, 1, g.Stats().Refused(Full))
	})
	t.Run("ports", func(t *testing.T) {
		taken := peerAt(t, "127.0.0.1")
		port := uint16(taken.LocalAddr().(*net.UDPAddr).Port)
		g := newRig(t, func(o *Options) { o.FirstPort, o.LastPort = port, port })
		require.Equal(t, stun.CodeInsufficientCapacity, codeOf(g.caller("alice", "call1").allocate()))
		_ = taken.Close()
		c := g.caller("alice", "call1")
		require.Equal(t, port, c.mustAllocate().Port())
		require.Equal(t, stun.CodeInsufficientCapacity, codeOf(g.caller("bob", "call1").allocate()))
		require.EqualValues(t, 2, g.Stats().Refused(Full))
	})
}

func TestPermissionsAndChannelsAreLimited(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Limits.Permissions, o.Limits.Channels = 2, 3 })
	c := g.caller("alice", "call1")
	c.mustAllocate()
	permit := func(at string) stun.ErrorCode { return codeOf(c.do(stun.MethodCreatePermission, peerAddress(at))) }
	require.Zero(t, permit("127.0.0.1:1"))
	require.Zero(t, permit("127.0.0.2:1"))
	require.Equal(t, stun.CodeForbidden, permit("127.0.0.3:1"))
	require.Zero(t, permit("127.0.0.2:2"), "refreshed")
	bind := func(n uint16, at string) *stun.Message {
		return c.do(stun.MethodChannelBind, channel(n), peerAddress(at))
	}
	require.Zero(t, codeOf(bind(0x4000, "127.0.0.1:1")))
	require.Zero(t, codeOf(bind(0x4001, "127.0.0.1:2")))
	require.Zero(t, codeOf(bind(0x4002, "127.0.0.1:3")))
	require.Zero(t, codeOf(bind(0x4002, "127.0.0.1:3")), "refreshed")
	_, err := c.conn.Write(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodChannelBind, stun.ClassRequest), channel(0x4003), peerAddress("127.0.0.1:4")).Raw)
	require.NoError(t, err)
	g.barrier()
	require.Empty(t, rest(c.conn))
	require.EqualValues(t, 1, g.Stats().Refused(Channels))
	require.EqualValues(t, 1, g.Stats().Refused(Permissions))
}

// Other limits hold for what is asked for from then on, and end nothing.
func TestLimitsChange(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Limits.TotalBandwidth = 0 })
	quota := func(c *caller) bool { return codeOf(c.allocate()) == stun.CodeAllocQuotaReached }
	a, b := g.caller("alice", "call1"), g.caller("alice", "call1")
	a.mustAllocate()
	b.mustAllocate()
	name, secret := g.credentials("alice", "call1")
	for range 2 {
		g.callerWith("tcp", name, secret).do(stun.MethodBinding)
	}
	l := DefaultLimits()
	l.AllocationsPerUser, l.Bandwidth, l.TotalBandwidth, l.Permissions, l.Channels, l.Connections, l.Failures = 1, 4000, 4000, 1, 1, 2, 1
	require.NoError(t, g.SetLimits(l))
	require.True(t, quota(g.caller("alice", "call1")))
	require.Zero(t, codeOf(a.do(stun.MethodRefresh, lifetime(600))))
	require.Zero(t, codeOf(b.do(stun.MethodRefresh, lifetime(600))))
	g.caller("bob", "call1").mustAllocate()
	peer := peerAt(t, "127.0.0.1")
	require.Zero(t, codeOf(a.do(stun.MethodChannelBind, channel(0x4000), peerAddress(peer.LocalAddr().String()))))
	require.Equal(t, stun.CodeForbidden, codeOf(a.do(stun.MethodCreatePermission, peerAddress("127.0.0.2:1"))))
	for range 10 {
		a.send(0x4000, make([]byte, 1000))
	}
	g.barrier()
	require.Len(t, rest(peer), 1, "a quarter of a second of all, and no less than a packet")
	refused := g.Stats().Refused(Connections)
	c, err := net.Dial("tcp", g.Addr())
	require.NoError(t, err)
	defer c.Close() //nolint:errcheck
	require.Eventually(t, func() bool { return g.Stats().Refused(Connections) == refused+1 }, patience, time.Millisecond)
	require.Equal(t, stun.CodeBadRequest, codeOf(g.callerWith("udp", name, secret+"x").allocate()))
	require.True(t, g.guests.throttled(netip.MustParseAddr("127.0.0.1"), g.o.Now()), "after one wrong password")
	l.Channels = 0
	require.ErrorContains(t, g.SetLimits(l), "limit is missing")
	g.later(time.Hour)
	require.NoError(t, g.SetLimits(DefaultLimits()))
	g.caller("alice", "call1").mustAllocate()
}

// With a clock that stands still, exactly the burst passes, in each direction; a second later a second's worth.
func TestBandwidthIsLimited(t *testing.T) {
	const size = 1000
	for name, c := range map[string]struct{ per, total, burst, rate int }{
		"of one": {per: 40_000, total: 1 << 20, burst: 10, rate: 10}, // a quarter of a second saves up
		"of all": {per: 40_000, total: 40_000, burst: 10, rate: 10},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, func(o *Options) { o.Limits.Bandwidth, o.Limits.TotalBandwidth = c.per, c.total })
			a := g.caller("alice", "call1")
			at := a.mustAllocate()
			peer := peerAt(t, "127.0.0.1")
			require.Zero(t, codeOf(a.do(stun.MethodChannelBind, channel(0x4000), peerAddress(peer.LocalAddr().String()))))
			for want := range 2 {
				for range 30 {
					a.send(0x4000, make([]byte, size))
				}
				g.barrier()
				require.Len(t, rest(peer), c.burst, "round %d", want)
				require.EqualValues(t, 20*(want+1), g.Stats().Refused(Bandwidth))
				g.later(time.Second)
			}
			// The other direction, to the end that its own counter shows: another goroutine reads that.
			before := g.Stats().Refused(Bandwidth)
			for range 30 {
				_, err := peer.WriteToUDPAddrPort(make([]byte, size), at)
				require.NoError(t, err)
			}
			require.Eventually(t, func() bool { return g.Stats().Refused(Bandwidth)-before+g.Stats().BytesIn.Load()/size == 30 }, patience, time.Millisecond)
			require.EqualValues(t, c.rate*size, g.Stats().BytesIn.Load())
		})
	}
}

// What strangers send to a relayed address reaches nobody, and takes nothing from the client's bandwidth.
func TestUnsolicited(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Limits.Bandwidth = 8000 })
	a := g.caller("alice", "call1")
	at := a.mustAllocate()
	peer, stranger := peerAt(t, "127.0.0.2"), peerAt(t, "127.0.0.3")
	require.Zero(t, codeOf(a.do(stun.MethodChannelBind, channel(0x4000), peerAddress(peer.LocalAddr().String()))))
	for range 50 {
		_, err := stranger.WriteToUDPAddrPort(make([]byte, 1000), at)
		require.NoError(t, err)
	}
	_, err := peer.WriteToUDPAddrPort([]byte("from a peer"), at)
	require.NoError(t, err)
	got, err := a.packet(patience)
	require.NoError(t, err)
	require.Contains(t, string(got), "from a peer")
	require.EqualValues(t, 50, g.Stats().Refused(Unsolicited))
	require.Zero(t, g.Stats().Refused(Bandwidth))
}

// Guessing is answered so often, then not heard; allocations that stand go on.
func TestFailuresAreLimited(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Limits.Failures = 3 })
	good := g.caller("alice", "call1")
	good.mustAllocate()
	forged := g.callerWith("udp", good.name, "guess")
	for range 3 {
		require.Equal(t, stun.CodeBadRequest, codeOf(forged.allocate()))
	}
	_, err := forged.conn.Write(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), setter(udpTransport)).Raw)
	require.NoError(t, err)
	require.Zero(t, codeOf(good.do(stun.MethodRefresh, lifetime(600))), "that of the same address goes on")
	require.Empty(t, rest(forged.conn))
	require.EqualValues(t, 1, g.Stats().Refused(Throttled))
	c, err := net.Dial("tcp", g.at("127.0.0.1"))
	require.NoError(t, err)
	defer c.Close() //nolint:errcheck
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err, "nor over TCP")
	require.NotErrorIs(t, err, net.ErrClosed)
	g.barrier() // another address is not concerned
	g.later(20 * time.Second)
	g.caller("alice", "call1").mustAllocate()
}

func TestConnectionsAreLimited(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Limits.ConnectionsPerAddress = 2 })
	name, secret := g.credentials("alice", "call1")
	a, b := g.callerWith("tcp", name, secret), g.callerWith("tcp", name, secret)
	a.mustAllocate()
	b.mustAllocate()
	closed := func() bool {
		c, err := net.Dial("tcp", g.at("127.0.0.1"))
		require.NoError(t, err)
		defer c.Close() //nolint:errcheck
		m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		_, _ = c.Write(m.Raw)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 100))
		return err != nil
	}
	require.True(t, closed())
	require.EqualValues(t, 1, g.Stats().Refused(Connections))
	_ = a.conn.Close()
	require.Eventually(t, func() bool { return g.Stats().Connections.Load() == 1 }, patience, time.Millisecond)
	g.allocations(1)
	require.False(t, closed())
}

// What is no STUN ends a TCP connection at once; so does a message longer than any.
func TestStreamsThatSpeakNoSTUN(t *testing.T) {
	g := newRig(t, nil)
	for name, what := range map[string]string{
		"HTTP":              "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"TLS without":       "\x16\x03\x01\x00\x05hello",
		"no cookie":         "\x00\x01\x00\x00aaaabbbbbbbbbbbb",
		"an odd length":     "\x00\x01\x00\x03\x21\x12\xA4\x42bbbbbbbbbbbbccc",
		"too long":          "\x00\x01\xff\xfc\x21\x12\xA4\x42bbbbbbbbbbbb",
		"long channel data": "\x40\x00\xff\xff",
	} {
		c, err := net.Dial("tcp", g.at("127.0.0.1"))
		require.NoError(t, err)
		_, err = c.Write([]byte(what))
		require.NoError(t, err)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		n, err := c.Read(make([]byte, 100))
		require.Error(t, err, name)
		require.Zero(t, n, name)
		var timeout net.Error
		require.False(t, errors.As(err, &timeout) && timeout.Timeout(), name)
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return g.Stats().Connections.Load() == 0 }, patience, time.Millisecond)
}

// Who connects and allocates nothing is cut, whether silent or talkative; an allocation keeps its connection, and when
// it ends there is time for another.
func TestConnectionsOfGuestsEnd(t *testing.T) {
	g := newRig(t, func(o *Options) { o.guestTime = 300 * time.Millisecond })
	name, secret := g.credentials("alice", "call1")
	staying := g.callerWith("tcp", name, secret)
	staying.mustAllocate()
	silent, err := net.Dial("tcp", g.at("127.0.0.1"))
	require.NoError(t, err)
	defer silent.Close() //nolint:errcheck
	talkative := g.callerWith("tcp", name, secret)
	asked := 0
	for began := time.Now(); time.Since(began) < patience; asked++ {
		m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		if _, err := talkative.conn.Write(m.Raw); err != nil {
			break
		}
		if _, err := talkative.packet(patience); err != nil {
			break
		}
	}
	require.Positive(t, asked)
	require.NoError(t, silent.SetReadDeadline(time.Now().Add(patience)))
	_, err = silent.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Eventually(t, func() bool { return g.Stats().Connections.Load() == 1 }, patience, time.Millisecond)
	require.Zero(t, codeOf(staying.do(stun.MethodRefresh, lifetime(600))))
	require.Zero(t, codeOf(staying.do(stun.MethodRefresh, lifetime(0))))
	_, err = staying.packet(patience)
	require.Error(t, err)
	require.Eventually(t, func() bool { return g.Stats().Connections.Load() == 0 }, patience, time.Millisecond)
}

func TestGuestsAreBounded(t *testing.T) {
	g := newGuests()
	g.allow(3)
	now := time.Unix(1, 0)
	for i := range 5 * guestsMax {
		a := netip.AddrFrom4([4]byte{1, byte(i >> 16), byte(i >> 8), byte(i)})
		g.earn(a, 100)
		g.fail(a, now)
	}
	require.LessOrEqual(t, len(g.now)+len(g.old), 2*guestsMax)
	a, b := netip.MustParseAddr("2001:470::1"), netip.MustParseAddr("2001:470::2")
	for range 3 {
		g.fail(a, now)
	}
	require.True(t, g.throttled(b, now), "a /64 is one customer's")
	require.False(t, g.throttled(netip.MustParseAddr("2001:470:0:1::1"), now))
	g.earn(a, 100)
	require.False(t, g.spend(b, 1), "credit is of an address alone")
	require.False(t, g.spend(a, 101))
	require.True(t, g.spend(a, 100))
	require.False(t, g.spend(a, 1))
	for range 1000 {
		g.earn(a, 1500)
	}
	require.False(t, g.spend(a, creditMax+1))
}
