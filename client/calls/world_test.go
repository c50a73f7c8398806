package calls

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/vnet"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// long reports whether the long forms of tests run: make long.
func long() bool { return os.Getenv("PETREL_LONG") != "" }

// world is a network of this process alone: homes, each behind a NAT of its own, and an internet between them that delays and loses packets.
// The server in it is a real one, with its real sockets for TURN and the SFU: what is sent to 198.18.k.1 leaves the world through a socket
// on loopback, 127.18.k.n for the NAT at 198.18.k.n, and what the server sends there comes back in.
//
// Since a server of this process tells devices addresses of loopback, and the world takes none of these, each device sees 127.18.k.n in the
// place of 198.18.k.n (line).
type world struct {
	*server
	router *vnet.Router
	k      byte
	bridge *bridge
	homes  byte
	loss   atomic.Int64  // of a thousand packets
	jitter time.Duration // of homes that are made from now on; their routers hold everything up for it

	mu     sync.Mutex
	rng    *rand.Rand
	direct map[[2]byte]int // packets from one NAT to another
}

// makers is held by who makes cards and routers: vnet counts hardware addresses of all without a lock.
var makers sync.Mutex

func newRouter(t testing.TB, c *vnet.RouterConfig) *vnet.Router {
	t.Helper()
	makers.Lock()
	defer makers.Unlock()
	c.LoggerFactory = silence{}
	r, err := vnet.NewRouter(c)
	must(t, err)
	return r
}

func newCard(t testing.TB, ip string) *vnet.Net {
	t.Helper()
	makers.Lock()
	defer makers.Unlock()
	n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}})
	must(t, err)
	return n
}

// newWorld makes a world whose chance is seeded. Time in it is real.
func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), direct: make(map[[2]byte]int)}
	w.claim(t)
	w.server = serve(t, func(c *config.Config) {
		at := net.JoinHostPort(w.real(1).String(), "0")
		c.TURN.Enabled, c.TURN.Listen, c.TURN.RelayPorts = "true", []string{at}, "30000-30999"
		c.SFU.Enabled, c.SFU.Listen = "true", at
	})
	w.router = newRouter(t, &vnet.RouterConfig{CIDR: w.inside(0).String() + "/24", MinDelay: 5 * time.Millisecond})
	w.bridge = newBridge(t, w)
	w.router.AddChunkFilter(w.pass)
	must(t, w.router.Start())
	t.Cleanup(func() { must(t, w.router.Stop()) })
	return w
}

// claim finds addresses of loopback that nobody else uses.
func (w *world) claim(t *testing.T) {
	t.Helper()
	for range 100 {
		w.k = byte(rand.IntN(256))
		if c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: w.real(2).AsSlice(), Port: 16000}); err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return
		}
	}
	t.Skip("this system has one loopback address only")
}

func (w *world) inside(n byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, w.k, n}) }
func (w *world) real(n byte) netip.Addr   { return netip.AddrFrom4([4]byte{127, 18, w.k, n}) }

// natPorts is by how much a NAT's ports are higher than those that stand for them outside: there, they are below those that
// systems give out.
const natPorts = 32768

// out is what an address of the world is outside, and as devices see it.
func (w *world) out(a net.Addr) net.Addr {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return a
	}
	ip, _ := netip.AddrFromSlice(u.IP.To4())
	if b := ip.As4(); ip != w.inside(b[3]) {
		return a
	} else if b[3] == 1 {
		return &net.UDPAddr{IP: w.real(1).AsSlice(), Port: u.Port}
	} else {
		return &net.UDPAddr{IP: w.real(b[3]).AsSlice(), Port: u.Port - natPorts}
	}
}

// in is the reverse of out.
func (w *world) in(a net.Addr) net.Addr {
	u, ok := a.(*net.UDPAddr)
	if !ok || u.IP.To4() == nil {
		return a
	}
	ip, _ := netip.AddrFromSlice(u.IP.To4())
	if b := ip.As4(); ip != w.real(b[3]) {
		return a
	} else if b[3] == 1 {
		return &net.UDPAddr{IP: w.inside(1).AsSlice(), Port: u.Port}
	} else {
		return &net.UDPAddr{IP: w.inside(b[3]).AsSlice(), Port: u.Port + natPorts}
	}
}

// pass sees all packets between homes and the server, and loses some.
func (w *world) pass(c vnet.Chunk) bool {
	from, ok := c.SourceAddr().(*net.UDPAddr)
	to, ok2 := c.DestinationAddr().(*net.UDPAddr)
	if !ok || !ok2 {
		return false
	}
	server := w.inside(1).AsSlice()
	w.mu.Lock()
	if !to.IP.Equal(server) && !from.IP.Equal(server) && to.IP.To4()[0] == 198 {
		w.direct[[2]byte{from.IP.To4()[3], to.IP.To4()[3]}]++
	}
	lost := int64(w.rng.IntN(1000)) < w.loss.Load()
	w.mu.Unlock()
	switch {
	case lost:
		return false
	case to.IP.Equal(server):
		w.bridge.send(from, to.Port, c.UserData())
		return false
	}
	return true
}

// directly counts the packets that went between two homes past the server.
func (w *world) directly(a, b *home) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.direct[[2]byte{a.n, b.n}] + w.direct[[2]byte{b.n, a.n}]
}

// bridge carries packets between the world and the server's real sockets.
type bridge struct {
	w   *world
	t   *testing.T
	net *vnet.Net // the server's card
	wg  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	outs   map[netip.AddrPort]*net.UDPConn // by the address of the world that they stand for
	ins    map[uint16]transport.UDPConn    // by port of the server
}

func newBridge(t *testing.T, w *world) *bridge {
	t.Helper()
	n := newCard(t, w.inside(1).String())
	must(t, w.router.AddNet(n))
	b := &bridge{w: w, t: t, net: n, outs: make(map[netip.AddrPort]*net.UDPConn), ins: make(map[uint16]transport.UDPConn)}
	t.Cleanup(b.close)
	return b
}

// send brings a packet to a port of the server. The router waits meanwhile.
func (b *bridge) send(from *net.UDPAddr, port int, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	c := b.outs[from.AddrPort()]
	if c == nil {
		at := b.w.out(from).(*net.UDPAddr)
		var err error
		if c, err = net.ListenUDP("udp4", at); err != nil {
			b.t.Errorf("the world can't be left: %v", err)
			return
		}
		b.outs[from.AddrPort()] = c
		b.wg.Go(func() { b.pump(c, from) })
	}
	_, _ = c.WriteToUDP(data, &net.UDPAddr{IP: b.w.real(1).AsSlice(), Port: port})
}

// pump brings into the world what the server sends to one address.
func (b *bridge) pump(c *net.UDPConn, to *net.UDPAddr) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error: an allocation that is no more
		}
		if in := b.in(from.Port()); in != nil {
			_, _ = in.WriteTo(buf[:n], to)
		}
	}
}

// in is a port of the server in the world.
func (b *bridge) in(port uint16) transport.UDPConn {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.ins[port]
	if c == nil && !b.closed {
		var err error
		if c, err = b.net.ListenUDP("udp4", &net.UDPAddr{IP: b.w.inside(1).AsSlice(), Port: int(port)}); err != nil {
			b.t.Errorf("the world can't be entered: %v", err)
			return nil
		}
		b.ins[port] = c
	}
	return c
}

func (b *bridge) close() {
	b.mu.Lock()
	b.closed = true
	for _, c := range b.outs {
		_ = c.Close()
	}
	for _, c := range b.ins {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// kind is a kind of NAT, in the words of RFC 3489 §5.
type kind string

const (
	fullCone          kind = "full cone"
	addressRestricted kind = "address-restricted"
	portRestricted    kind = "port-restricted"
	symmetric         kind = "symmetric"
)

var kinds = []kind{fullCone, addressRestricted, portRestricted, symmetric}

func (k kind) nat() *vnet.NATType {
	n := &vnet.NATType{MappingLifeTime: time.Minute}
	switch k {
	case addressRestricted:
		n.FilteringBehavior = vnet.EndpointAddrDependent
	case portRestricted:
		n.FilteringBehavior = vnet.EndpointAddrPortDependent
	case symmetric:
		n.MappingBehavior, n.FilteringBehavior = vnet.EndpointAddrPortDependent, vnet.EndpointAddrPortDependent
	}
	return n
}

// direct reports whether two NATs can be passed without a relay: a symmetric one has another port for each peer, which the
// other one must not care about.
func (k kind) direct(other kind) bool {
	picky := func(k kind) bool { return k == portRestricted || k == symmetric }
	return !(k == symmetric && picky(other) || other == symmetric && picky(k))
}

// home is a network behind a NAT. All homes use the same private addresses.
type home struct {
	w      *world
	n      byte // 198.18.k.n is outside
	kind   kind
	delay  time.Duration // each way, to the NAT
	router *vnet.Router
	guests byte
}

func (w *world) home(k kind, delay time.Duration) *home {
	w.t.Helper()
	w.homes++
	h := &home{w: w, n: 9 + w.homes, kind: k, delay: delay}
	h.router = newRouter(w.t, &vnet.RouterConfig{
		CIDR: "192.168.1.0/24", StaticIPs: []string{w.inside(h.n).String()}, NATType: k.nat(), MinDelay: delay, MaxJitter: w.jitter,
	})
	must(w.t, w.router.AddRouter(h.router))
	must(w.t, h.router.Start())
	return h
}

// card puts one more card into the home.
func (h *home) card() *vnet.Net {
	h.w.t.Helper()
	h.guests++
	n := newCard(h.w.t, fmt.Sprintf("192.168.1.%d", 1+h.guests))
	must(h.w.t, h.router.AddNet(n))
	return n
}

// line is a device's way into the world, which it can take to another home.
type line struct {
	transport.Net // what is left out below is not used
	w             *world

	mu   sync.Mutex
	card *vnet.Net
}

func (l *line) now() *vnet.Net {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.card
}

func (l *line) listen(c transport.UDPConn, card *vnet.Net, err error) (*wire, error) {
	if err != nil {
		return nil, err
	}
	return &wire{c, l, card}, nil
}

func (l *line) ListenUDP(network string, at *net.UDPAddr) (transport.UDPConn, error) {
	card := l.now()
	c, err := card.ListenUDP(network, at)
	return l.listen(c, card, err)
}

func (l *line) ListenPacket(network, at string) (net.PacketConn, error) {
	a, err := net.ResolveUDPAddr(network, at)
	if err != nil {
		return nil, err
	}
	return l.ListenUDP(network, a)
}

func (l *line) DialTCP(string, *net.TCPAddr, *net.TCPAddr) (transport.TCPConn, error) {
	return nil, errors.New("nothing but UDP gets out of this home")
}

func (l *line) ResolveUDPAddr(network, a string) (*net.UDPAddr, error) {
	return net.ResolveUDPAddr(network, a)
}

func (l *line) ResolveTCPAddr(network, a string) (*net.TCPAddr, error) {
	return net.ResolveTCPAddr(network, a)
}

func (l *line) Interfaces() ([]*transport.Interface, error) { return l.now().Interfaces() }

// wire is a socket of a device. When the device is elsewhere nothing goes through it any more.
type wire struct {
	transport.UDPConn
	l    *line
	card *vnet.Net
}

func (c *wire) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.UDPConn.ReadFrom(p)
		if err != nil || c.l.now() == c.card {
			return n, c.l.w.out(from), err
		}
	}
}

func (c *wire) WriteTo(p []byte, to net.Addr) (int, error) {
	if c.l.now() != c.card {
		return len(p), nil
	}
	return c.UDPConn.WriteTo(p, c.l.w.in(to))
}

// station is a device in a home, with a voice, and its own way to the server for signalling.
type station struct {
	*device
	*voice
	name string
	line *line
	via  *faultproxy.Proxy
	home *home
	slow time.Duration // by how much signalling takes longer than the way to the home, each way
}

// station puts a user's device into a home.
func (w *world) station(user string, h *home, change ...func(*Options)) *station {
	w.t.Helper()
	s := &station{name: user, home: h, line: &line{w: w, card: h.card()}}
	var err error
	s.via, err = faultproxy.New(w.Addr("mqtt"))
	must(w.t, err)
	w.t.Cleanup(s.via.Close)
	s.route()
	world := func(o *Options) {
		o.Loopback, o.Net = false, s.line
		o.Tune = func(se *webrtc.SettingEngine) {
			se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
			se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
		}
	}
	s.device = w.deviceAt(s.via.Addr(), user, user+"1", append([]func(*Options){world}, change...)...)
	s.voice = newVoice(w.t, user)
	return s
}

// route has signalling be as slow as the home is, and come from there. It is for connections that come.
func (s *station) route() {
	d := s.home.delay + 5*time.Millisecond + s.slow
	s.via.Always(faultproxy.Faults{DelayUp: d, DelayDown: d})
	s.via.From(s.home.w.real(s.home.n).AsSlice())
}

// moves takes the device into another home: what it had there is gone, its connection to the server too.
func (s *station) moves(to *home) {
	to.w.t.Helper()
	card := to.card()
	s.line.mu.Lock()
	s.line.card = card
	s.line.mu.Unlock()
	s.home = to
	s.route()
	s.via.Cut()
}

// meets has one station call another, and both talk.
func (s *station) meets(other *station) (a, b *Call) {
	s.device.t.Helper()
	a = s.device.start(s.Direct(other.name), s.local())
	b = other.rings()
	must(s.device.t, b.Accept(soon(s.device.t), other.local()))
	s.hears(5, other.name)
	other.hears(5, s.name)
	return a, b
}
