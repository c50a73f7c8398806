package relay

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A real client relays both ways over each transport, all on one port.
func TestRelaysOverEachTransport(t *testing.T) {
	needIPv6(t)
	server, roots := certificate(t)
	g := newRig(t, func(o *Options) {
		o.Listen, o.TLS = []string{"127.0.0.1:0", "[::1]:0"}, server
	})
	name, secret := g.credentials("alice", "call1")
	dial := func(network, host string, secure bool) net.PacketConn {
		c, err := net.Dial(network, g.at(host))
		require.NoError(t, err)
		if secure {
			c = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		}
		return turn.NewSTUNConn(c)
	}
	for _, c := range []struct {
		name, host string
		conn       net.PacketConn
	}{
		{"udp4", "127.0.0.1", peerAt(t, "127.0.0.1")},
		{"udp6", "::1", peerAt(t, "::1")},
		{"tcp4", "127.0.0.1", dial("tcp", "127.0.0.1", false)},
		{"tcp6", "::1", dial("tcp", "::1", false)},
		{"tls4", "127.0.0.1", dial("tcp", "127.0.0.1", true)},
		{"tls6", "::1", dial("tcp", "::1", true)},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := pionClient(t, c.conn, g.at(c.host), name, secret)
			relayed, err := client.Allocate()
			require.NoError(t, err)
			peer := echo(t, c.host)
			buf := make([]byte, mtu)
			for i := range 20 { // permission and channel come into being on the way
				sent := fmt.Appendf(nil, "packet %d %s", i, strings.Repeat("x", 60*i))
				_, err = relayed.WriteTo(sent, peer.LocalAddr())
				require.NoError(t, err)
				require.NoError(t, relayed.SetReadDeadline(time.Now().Add(patience)))
				n, from, err := relayed.ReadFrom(buf)
				require.NoError(t, err)
				require.Equal(t, string(sent), string(buf[:n]))
				require.Equal(t, peer.LocalAddr().String(), from.String())
			}
			require.NoError(t, relayed.Close())
			client.Close()
			_ = c.conn.Close()
		})
	}
	g.allocations(0)
	require.EqualValues(t, 6, g.Stats().Allocated.Load())
	require.Equal(t, g.Stats().BytesIn.Load(), g.Stats().BytesOut.Load())
	require.Positive(t, g.Stats().BytesIn.Load())
}

func TestServers(t *testing.T) {
	needIPv6(t)
	server, _ := certificate(t)
	g := newRig(t, func(o *Options) {
		o.Listen, o.TLS = []string{"127.0.0.1:0", "[::1]:0"}, server
		o.External = []External{{URLs: []string{"turn:turn.example.org:3478"}, Secret: []byte("theirs")}, {URLs: []string{"stun:stun.example.org"}}}
	})
	list, ttl, err := g.Servers("alice", "call1")
	require.NoError(t, err)
	require.Equal(t, 10*time.Minute, ttl)
	name := fmt.Sprintf("%d:alice:call1", g.now.Add(ttl).Unix())
	p, _ := strconv.Atoi(g.port())
	require.Equal(t, []Server{
		{URLs: []string{fmt.Sprintf("stun:127.0.0.1:%d", p), fmt.Sprintf("stun:[::1]:%d", p)}},
		{URLs: []string{
			fmt.Sprintf("turn:127.0.0.1:%d?transport=udp", p), fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", p),
			fmt.Sprintf("turn:[::1]:%d?transport=udp", p), fmt.Sprintf("turn:[::1]:%d?transport=tcp", p),
			fmt.Sprintf("turns:127.0.0.1:%d?transport=tcp", p), fmt.Sprintf("turns:[::1]:%d?transport=tcp", p),
		}, Username: name, Credential: password([]byte("a secret of the tests"), name)},
		{URLs: []string{"turn:turn.example.org:3478"}, Username: name, Credential: password([]byte("theirs"), name)},
		{URLs: []string{"stun:stun.example.org"}},
	}, list)
	for _, s := range list {
		for _, u := range s.URLs {
			_, err := stun.ParseURI(u)
			require.NoError(t, err, u)
		}
	}
	for _, who := range [][2]string{{"", "call1"}, {"a:b", "call1"}, {"alice", "a:b"}, {"alice", strings.Repeat("a", 33)}} {
		_, _, err := g.Servers(who[0], who[1])
		require.ErrorIs(t, err, errCredential)
	}
}

// The value of the draft's scheme, checked with openssl: printf '1:alice:c' | openssl dgst -sha1 -hmac theirs -binary | base64
func TestPasswordIsThatOfTheScheme(t *testing.T) {
	require.Equal(t, "Dh5NpWV3aQxiB0gFrNL3ac0GW8I=", password([]byte("theirs"), "1:alice:c"))
}

func TestOnlyExternalServersNeedNoSocket(t *testing.T) {
	r, err := New(Options{Credentials: time.Minute, External: []External{{URLs: []string{"stun:a"}}}})
	require.NoError(t, err)
	require.NoError(t, r.Start())
	list, _, err := r.Servers("alice", "")
	require.NoError(t, err)
	require.Equal(t, []Server{{URLs: []string{"stun:a"}}}, list)
	r.Close()
	r.Close()
}

func TestOptionsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"secret must have":     func(o *Options) { o.Secret = nil },
		"realm":                func(o *Options) { o.Realm = "" },
		"no range":             func(o *Options) { o.LastPort = 1 },
		"limit is missing":     func(o *Options) { o.Limits.Channels = 0 },
		"room for a packet":    func(o *Options) { o.Limits.Bandwidth = 1 },
		"bandwidth of all":     func(o *Options) { o.Limits.TotalBandwidth = 1600 },
		"allocation must have": func(o *Options) { o.Limits.Lifetime = 0 },
		"public address":       func(o *Options) { o.Public = []netip.Addr{netip.IPv4Unspecified()} },
		"no URL":               func(o *Options) { o.External = []External{{}} },
		"credentials must":     func(o *Options) { o.Credentials = 0 },
	} {
		o := defaults()
		change(&o)
		_, err := New(o)
		require.ErrorContains(t, err, want)
	}
}

func TestStartLeavesNothingOpen(t *testing.T) {
	o := defaults()
	o.Listen = []string{"0.0.0.0:0"}
	r, err := New(o)
	require.NoError(t, err)
	require.ErrorContains(t, r.Start(), "turn.public")
	taken := peerAt(t, "127.0.0.1")
	o.Listen = []string{"127.0.0.1:0", taken.LocalAddr().String()}
	r, err = New(o)
	require.NoError(t, err)
	require.ErrorContains(t, r.Start(), "address already in use")
	require.Empty(t, r.Addr())
}

// places are public addresses of a relay: of this machine, or not.
func places() map[string]string {
	return map[string]string{"here": "127.0.0.1", "behind a router": "203.0.113.7", "here, IPv6": "::1", "behind a router, IPv6": "2001:db8::7"}
}

// listens is where a relay with such a public address listens here.
func listens(t *testing.T, public string) string {
	t.Helper()
	if netip.MustParseAddr(public).Is4() {
		return "127.0.0.1"
	}
	needIPv6(t)
	return "::1"
}

// Both sides are relayed here, though loopback is no peer otherwise: the relayed socket is reached, and nothing else.
func TestRelayedToRelayed(t *testing.T) {
	for name, public := range places() {
		t.Run(name, func(t *testing.T) {
			host := listens(t, public)
			g := newRig(t, func(o *Options) {
				o.AllowPeers, o.Listen, o.Public = nil, []string{net.JoinHostPort(host, "0")}, []netip.Addr{netip.MustParseAddr(public)}
			})
			a, b := g.caller("alice", "call1"), g.caller("bob", "call1")
			atA, atB := a.mustAllocate(), b.mustAllocate()
			require.Equal(t, public, atA.Addr().String())
			require.Zero(t, codeOf(a.do(stun.MethodChannelBind, channel(0x4000), peerAddress(atB.String()))))
			require.Zero(t, codeOf(b.do(stun.MethodChannelBind, channel(0x4001), peerAddress(atA.String()))))

			other := peerAt(t, host) // a service of the machine
			service := netip.AddrPortFrom(atA.Addr(), uint16(other.LocalAddr().(*net.UDPAddr).Port))
			require.Zero(t, codeOf(a.do(stun.MethodChannelBind, channel(0x4002), peerAddress(service.String()))))
			a.send(0x4002, []byte("to the service"))

			a.send(0x4000, []byte("hello bob"))
			got, err := b.packet(patience)
			require.NoError(t, err)
			require.Equal(t, "\x40\x01\x00\x09hello bob", string(bytes.TrimRight(got, "\x00")))
			b.send(0x4001, []byte("hello alice"))
			got, err = a.packet(patience)
			require.NoError(t, err)
			require.Equal(t, "\x40\x00\x00\x0bhello alice", string(bytes.TrimRight(got, "\x00")))
			require.Empty(t, rest(other), "what listens on the machine itself gets nothing")
			require.EqualValues(t, 1, g.Stats().Refused(Peer))
		})
	}
}

// A service of this server that says so is a peer, at a public address that may be a router's, too.
func TestServices(t *testing.T) {
	for name, public := range places() {
		t.Run(name, func(t *testing.T) {
			host, elsewhere, beside := listens(t, public), "10.0.0.1:5000", "10.0.0.2:5000"
			if host == "::1" {
				elsewhere, beside = "[fd00:1::1]:5000", "[fd00:1::2]:5000"
			}
			sfu, other := echo(t, host), echo(t, host)
			at := func(c *net.UDPConn) netip.AddrPort {
				return netip.AddrPortFrom(netip.MustParseAddr(public), addrPort(c.LocalAddr()).Port())
			}
			g := newRig(t, func(o *Options) {
				o.AllowPeers, o.Listen, o.Public = nil, []string{net.JoinHostPort(host, "0")}, []netip.Addr{netip.MustParseAddr(public)}
				o.Services = func() []netip.AddrPort { return []netip.AddrPort{at(sfu), netip.MustParseAddrPort(elsewhere)} }
			})
			c := g.caller("alice", "call1")
			c.mustAllocate()
			require.Zero(t, codeOf(c.do(stun.MethodChannelBind, channel(0x4000), peerAddress(at(other).String()))))
			require.Zero(t, codeOf(c.do(stun.MethodChannelBind, channel(0x4001), peerAddress(at(sfu).String()))))
			require.Zero(t, codeOf(c.do(stun.MethodCreatePermission, peerAddress(elsewhere))))
			require.Equal(t, stun.CodeForbidden, codeOf(c.do(stun.MethodCreatePermission, peerAddress(beside))))
			c.send(0x4000, []byte("to another"))
			c.send(0x4001, []byte("to the SFU"))
			got, err := c.packet(patience)
			require.NoError(t, err)
			require.Equal(t, "\x40\x01\x00\x0ato the SFU", string(bytes.TrimRight(got, "\x00")))
			require.EqualValues(t, 2, g.Stats().Refused(Peer))
		})
	}
}

func TestCloseEndsEverything(t *testing.T) {
	g := newRig(t, nil)
	udp := g.caller("alice", "call1")
	udp.mustAllocate()
	name, secret := g.credentials("bob", "call1")
	tcp := g.callerWith("tcp", name, secret)
	tcp.mustAllocate()
	idle, err := net.Dial("tcp", g.at("127.0.0.1"))
	require.NoError(t, err)
	defer idle.Close() //nolint:errcheck
	g.Close()
	_, err = tcp.packet(patience)
	require.Error(t, err)
	require.Zero(t, g.Stats().Connections.Load())
	g.allocations(0)
	list, _, err := g.Servers("alice", "call1")
	require.NoError(t, err)
	require.Empty(t, list, "nobody is sent to a server that is closed")
}
