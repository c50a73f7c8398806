package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"github.com/stretchr/testify/require"
)

const patience = 10 * time.Second // for what comes at once on a machine that is not overloaded

// rig is a relay on loopback whose clock and calls the test has in its hands.
type rig struct {
	*Relay
	t testing.TB

	mu    sync.Mutex
	now   time.Time
	ended map[string]bool // calls
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func defaults() Options {
	return Options{
		Listen: []string{"127.0.0.1:0"}, FirstPort: 20000, LastPort: 29999, Realm: "petrel", Secret: []byte("a secret of the tests"),
		AllowPeers: loopback(), Credentials: 10 * time.Minute, Limits: DefaultLimits(),
	}
}

func newRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	g := &rig{t: t, now: time.Now(), ended: make(map[string]bool)}
	o := defaults()
	o.Live = func(_, call string) bool { g.mu.Lock(); defer g.mu.Unlock(); return !g.ended[call] }
	o.Known = func(netip.Addr) bool { return true }
	o.Now = func() time.Time { g.mu.Lock(); defer g.mu.Unlock(); return g.now }
	if change != nil {
		change(&o)
	}
	r, err := New(o)
	require.NoError(t, err)
	require.NoError(t, r.Start())
	t.Cleanup(r.Close)
	g.Relay = r
	return g
}

func (g *rig) later(d time.Duration) { g.mu.Lock(); defer g.mu.Unlock(); g.now = g.now.Add(d) }
func (g *rig) end(call string)       { g.mu.Lock(); defer g.mu.Unlock(); g.ended[call] = true }

func (g *rig) port() string {
	_, port, err := net.SplitHostPort(g.Addr())
	require.NoError(g.t, err)
	return port
}

// host is where it listens.
func (g *rig) host() string {
	host, _, err := net.SplitHostPort(g.Addr())
	require.NoError(g.t, err)
	return host
}

// needIPv6 skips a test on machines without it.
func needIPv6(t testing.TB) {
	t.Helper()
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no ::1:", err)
	}
	_ = c.Close()
}

func (g *rig) at(host string) string { return net.JoinHostPort(host, g.port()) }

// credentials are those that a device gets from Servers.
func (g *rig) credentials(user, call string) (name, secret string) {
	g.t.Helper()
	list, _, err := g.Servers(user, call)
	require.NoError(g.t, err)
	for _, s := range list {
		if s.Username != "" {
			return s.Username, s.Credential
		}
	}
	g.t.Fatal("no server with credentials")
	return "", ""
}

// allocations waits until there are so many, which pion reaches on a goroutine of its own.
func (g *rig) allocations(want int64) {
	g.t.Helper()
	require.Eventually(g.t, func() bool { return g.Stats().Allocations.Load() == want }, patience, time.Millisecond, "allocations")
}

// certificate is for localhost.
func certificate(t testing.TB) (*tls.Config, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, pool
}

// echo is a peer that sends back what it gets.
func echo(t testing.TB, host string) *net.UDPConn {
	c := peerAt(t, host)
	go func() {
		b := make([]byte, mtu)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return c
}

func peerAt(t testing.TB, host string) *net.UDPConn {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pionClient is a real TURN client over a connection.
func pionClient(t testing.TB, conn net.PacketConn, server, name, secret string) *turn.Client {
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server, Conn: conn, Username: name, Password: secret, Realm: "petrel", LoggerFactory: quiet{},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	require.NoError(t, c.Listen())
	return c
}

// caller speaks STUN itself, message by message.
type caller struct {
	t            testing.TB
	conn         net.Conn
	name, secret string
	nonce        stun.Nonce
	data         [][]byte // what was relayed to it while it waited for answers
}

func (g *rig) caller(user, call string) *caller {
	name, secret := g.credentials(user, call)
	return g.callerWith("udp", name, secret)
}

func (g *rig) callerWith(network, name, secret string) *caller {
	return g.callerAt(g.host(), network, name, secret)
}

func (g *rig) callerAt(host, network, name, secret string) *caller {
	conn, err := net.Dial(network, g.at(host))
	require.NoError(g.t, err)
	g.t.Cleanup(func() { _ = conn.Close() })
	return &caller{t: g.t, conn: conn, name: name, secret: secret}
}

func udpTransport(m *stun.Message) error {
	m.Add(stun.AttrRequestedTransport, []byte{17, 0, 0, 0})
	return nil
}

type setter func(m *stun.Message) error

func (s setter) AddTo(m *stun.Message) error { return s(m) }

func lifetime(seconds uint32) stun.Setter {
	return setter(func(m *stun.Message) error {
		m.Add(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, seconds))
		return nil
	})
}

func peerAddress(to string) stun.Setter {
	ap := netip.MustParseAddrPort(to)
	return setter(func(m *stun.Message) error {
		return stun.XORMappedAddress{IP: ap.Addr().AsSlice(), Port: int(ap.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
	})
}

func channel(n uint16) stun.Setter {
	return setter(func(m *stun.Message) error {
		m.Add(stun.AttrChannelNumber, []byte{byte(n >> 8), byte(n), 0, 0})
		return nil
	})
}

// do sends a request with credentials and returns the answer.
func (c *caller) do(method stun.Method, with ...stun.Setter) *stun.Message {
	c.t.Helper()
	for range 2 {
		all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, with...)
		if c.nonce != nil {
			all = append(all, stun.NewUsername(c.name), stun.NewRealm("petrel"), c.nonce,
				stun.MessageIntegrity(turn.GenerateAuthKey(c.name, "petrel", c.secret)))
		}
		m := stun.MustBuild(all...)
		_, err := c.conn.Write(m.Raw)
		require.NoError(c.t, err)
		answer := c.read(m.TransactionID)
		code := codeOf(answer)
		if code != stun.CodeUnauthorized && code != stun.CodeStaleNonce || c.nonce != nil && code == stun.CodeUnauthorized {
			return answer
		}
		require.NoError(c.t, c.nonce.GetFrom(answer))
	}
	c.t.Fatal("asked for credentials twice")
	return nil
}

// read returns the answer to a request.
func (c *caller) read(id [stun.TransactionIDSize]byte) *stun.Message {
	c.t.Helper()
	for {
		b, err := c.packet(patience)
		require.NoError(c.t, err)
		if !stun.IsMessage(b) {
			c.data = append(c.data, b)
			continue
		}
		m := &stun.Message{Raw: b}
		require.NoError(c.t, m.Decode())
		if m.TransactionID == id {
			return m
		}
	}
}

// packet returns the next one.
func (c *caller) packet(within time.Duration) ([]byte, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, mtu)
	if _, stream := c.conn.(*net.UDPConn); stream {
		n, err := c.conn.Read(b)
		return b[:n], err
	}
	if _, err := io.ReadFull(c.conn, b[:4]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if b[0] < 0x40 {
		n += headerLen - 4
	} else {
		n = (n + 3) &^ 3
	}
	_, err := io.ReadFull(c.conn, b[4:4+n])
	return b[:4+n], err
}

func (c *caller) allocate() *stun.Message {
	return c.do(stun.MethodAllocate, setter(udpTransport))
}

func (c *caller) mustAllocate() netip.AddrPort {
	c.t.Helper()
	m := c.allocate()
	require.Equal(c.t, stun.ClassSuccessResponse, m.Type.Class, m.String())
	var at stun.XORMappedAddress
	require.NoError(c.t, at.GetFromAs(m, stun.AttrXORRelayedAddress))
	ip, _ := netip.AddrFromSlice(at.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(at.Port))
}

// send writes data on a channel.
func (c *caller) send(n uint16, data []byte) {
	b := binary.BigEndian.AppendUint16(nil, n)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	b = append(b, data...)
	_, err := c.conn.Write(append(b, make([]byte, (4-len(b)%4)%4)...))
	require.NoError(c.t, err)
}

// codeOf is the error code of an answer; 0: success.
func codeOf(m *stun.Message) stun.ErrorCode {
	var e stun.ErrorCodeAttribute
	if e.GetFrom(m) != nil {
		return 0
	}
	return e.Code
}

// rest returns the packets that have come to a UDP socket already.
func rest(c net.Conn) (all [][]byte) {
	_ = c.SetReadDeadline(time.Time{})
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		panic(err)
	}
	for err == nil {
		b, n := make([]byte, 4*mtu), 0
		if e := raw.Read(func(fd uintptr) bool { n, _, err = syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT); return true }); e != nil {
			err = e
		}
		if err == nil {
			all = append(all, b[:n])
		}
	}
	return all
}

// barrier returns when all packets that were sent before have been dealt with: one goroutine reads them in turn.
func (g *rig) barrier() {
	g.t.Helper()
	from := barrierAddr
	if netip.MustParseAddr(g.host()).Is6() {
		from = netip.IPv6Loopback()
	}
	g.guests.mu.Lock()
	g.guests.get(from).answers = nil // as many as it takes
	g.guests.mu.Unlock()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: from.AsSlice()}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(g.Addr())))
	require.NoError(g.t, err)
	defer c.Close() //nolint:errcheck
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	_, err = c.Write(m.Raw)
	require.NoError(g.t, err)
	(&caller{t: g.t, conn: c}).read(m.TransactionID)
}

var barrierAddr = netip.MustParseAddr("127.9.9.9")
