package calls

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
)

// network is where pion's ICE finds its ways. It mends two things there: addresses are those of the moment, not those of when the connection was made, and
// a relay that is gone fails soon. ICE waits for a relay's permission with everything else it has to do, restarts and figures too: with pion's own
// patience eight seconds for each address of the other side, and again with each check.
type network struct{ transport.Net }

// newNetwork takes the network of this machine for nil.
func newNetwork(n transport.Net) (network, error) {
	if n != nil {
		return network{n}, nil
	}
	std, err := stdnet.NewNet()
	return network{machine{std}}, err
}

// machine is the network of this machine.
type machine struct{ *stdnet.Net }

func (machine) Interfaces() ([]*transport.Interface, error) {
	now, err := stdnet.NewNet() // it reads them once
	if err != nil {
		return nil, err
	}
	return now.Interfaces()
}

// addresses are those that the device has at the moment.
func (n network) addresses() ([]net.Addr, error) {
	if _, ok := n.Net.(machine); ok {
		return net.InterfaceAddrs() // the same, in one question
	}
	cards, err := n.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []net.Addr
	for _, i := range cards {
		if a, err := i.Addrs(); err == nil { // it has none yet, otherwise
			all = append(all, a...)
		}
	}
	return all, nil
}

// ListenPacket makes the socket for a relay over UDP: pion asks for no others this way.
func (n network) ListenPacket(network, address string) (net.PacketConn, error) {
	c, err := n.Net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	return &relayPackets{PacketConn: c}, nil
}

// DialTCP makes the connection to a relay over TCP. Over TLS as well, where requests can't be seen.
func (n network) DialTCP(network string, from, to *net.TCPAddr) (transport.TCPConn, error) {
	c, err := n.Net.DialTCP(network, from, to)
	if err != nil {
		return nil, err
	}
	return &relayStream{TCPConn: c}, nil
}

type relayPackets struct {
	net.PacketConn
	doubt doubt
}

func (c *relayPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(b)
	if err == nil {
		c.doubt.heard()
	}
	return n, from, err
}

func (c *relayPackets) WriteTo(b []byte, to net.Addr) (int, error) {
	if err := c.doubt.asks(b, time.Now()); err != nil {
		return 0, err
	}
	return c.PacketConn.WriteTo(b, to)
}

type relayStream struct {
	transport.TCPConn
	doubt doubt
}

func (c *relayStream) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.doubt.heard()
	}
	return n, err
}

func (c *relayStream) Write(b []byte) (int, error) {
	if err := c.doubt.asks(b, time.Now()); err != nil {
		return 0, err
	}
	return c.TCPConn.Write(b)
}

// doubt is whether a relay that has answered once is still there.
type doubt struct {
	mu     sync.Mutex
	spoke  bool      // something has come from it
	asked  time.Time // the first request since then; zero: none
	last   [12]byte  // the id of the last request for a permission that went out,
	lastAt time.Time // and when it did for the first time
}

// A relay that says nothing for relaySilence after a request is gone, until something comes. Once in relayProbe it is asked again.
const (
	relaySilence = 2500 * time.Millisecond
	relayProbe   = time.Second
)

var errRelaySilent = errors.New("the relay does not answer")

// heard notes that something came.
func (d *doubt) heard() {
	d.mu.Lock()
	d.spoke, d.asked = true, time.Time{}
	d.mu.Unlock()
}

// asks notes a request, and refuses to ask a silent relay for a permission (RFC 8656 §9). Other requests go out: ICE does not wait for them.
func (d *doubt) asks(b []byte, now time.Time) error {
	if len(b) < 20 || b[0] != 0 || b[1]&0x10 != 0 { // RFC 8489 §5: not a request of the methods of TURN
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked.IsZero() {
		d.asked = now
	}
	if stun.Method(b[1]) != stun.MethodCreatePermission {
		return nil
	}
	id := [12]byte(b[8:20])
	again := id == d.last
	if d.spoke && now.Sub(d.asked) >= relaySilence && (again || now.Sub(d.lastAt) < relayProbe) {
		return errRelaySilent
	}
	if !again {
		d.last, d.lastAt = id, now
	}
	return nil
}
