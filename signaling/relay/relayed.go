package relay

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/turn/v5"
	"golang.org/x/time/rate"
)

// errNoPort and errUnsupported become error 508 for the client.
var (
	errNoPort      = errors.New("relay: no port is free")
	errUnsupported = errors.New("relay: only single UDP ports are relayed, of the families that have a public address")
)

// generator makes the relayed sockets for pion.
type generator struct{ r *Relay }

var _ turn.RelayAddressGenerator = generator{}

// Validate has nothing to say.
func (generator) Validate() error { return nil }

// AllocatePacketConn opens the socket of an allocation. Without a user it is asked for pairs of ports (EVEN-PORT), which
// WebRTC has no use for.
func (g generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	f := g.r.families[0]
	if c.Network == "udp6" {
		f = g.r.families[1]
	}
	if f == nil || c.UserID == "" || c.RequestedPort != 0 {
		g.r.stats.refuse(Unsupported)
		return nil, nil, errUnsupported
	}
	conn, err := g.r.open(c.Network, f, c.UserID)
	if err != nil {
		g.r.stats.refuse(Full)
		return nil, nil, err
	}
	return conn, net.UDPAddrFromAddrPort(conn.at), nil
}

// AllocateListener refuses: TCP to peers (RFC 6062) is not for media, and would be a proxy.
func (g generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	g.r.stats.refuse(Unsupported)
	return nil, nil, errUnsupported
}

// AllocateConn refuses, too.
func (g generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) {
	g.r.stats.refuse(Unsupported)
	return nil, errUnsupported
}

// open takes a free port, from a random one on so that it can't be guessed.
func (r *Relay) open(network string, f *family, owner string) (*relayed, error) {
	const tries = 64 // of ports that other programs have
	n := int(r.o.LastPort-r.o.FirstPort) + 1
	start, tried := rand.IntN(n), 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, net.ErrClosed
	}
	for i := 0; i < n && tried < tries; i++ {
		port := r.o.FirstPort + uint16((start+i)%n)
		at := netip.AddrPortFrom(f.public, port)
		if r.byAddr[at] != nil {
			continue
		}
		tried++
		udp, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.bind, port)))
		if err != nil {
			continue
		}
		c := newRelayed(r, udp, f, at, owner)
		r.byAddr[at] = c
		return c, nil
	}
	return nil, errNoPort
}

// relayed is the socket of one allocation: all of its data pass here. pion writes to it from the reader of its client and
// reads it from a goroutine of its own.
type relayed struct {
	*net.UDPConn
	r          *Relay
	f          *family
	at         netip.AddrPort // as peers see it
	user, call string
	since      time.Time
	in, out    *rate.Limiter
	gone       sync.Once

	mu        sync.RWMutex
	permitted map[netip.Addr]struct{}
}

func newRelayed(r *Relay, c *net.UDPConn, f *family, at netip.AddrPort, owner string) *relayed {
	const buffer = 256 << 10
	_, _ = c.SetReadBuffer(buffer), c.SetWriteBuffer(buffer)
	per := r.limits.Load().Bandwidth
	// A quarter of a second at once: a key frame.
	limiter := func() *rate.Limiter { return rate.NewLimiter(rate.Limit(per), max(per/4, mtu)) }
	conn := &relayed{UDPConn: c, r: r, f: f, at: at, since: r.o.Now(), in: limiter(), out: limiter(), permitted: make(map[netip.Addr]struct{})}
	conn.user, conn.call = splitOwner(owner)
	return conn
}

// end has pion delete the allocation: its reader finds the socket closed.
func (c *relayed) end() { _ = c.UDPConn.Close() }

// Close is pion's, when the allocation ends.
func (c *relayed) Close() error {
	err := c.UDPConn.Close()
	c.gone.Do(func() {
		c.r.mu.Lock()
		delete(c.r.byAddr, c.at)
		c.r.mu.Unlock()
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// mayPermit reports whether there is room for one more peer, or it is one already.
func (c *relayed) mayPermit(peer netip.Addr) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, has := c.permitted[peer]
	return has || len(c.permitted) < c.r.limits.Load().Permissions
}

func (c *relayed) permit(peer net.IP, on bool) {
	a, _ := netip.AddrFromSlice(peer)
	c.mu.Lock()
	defer c.mu.Unlock()
	if on {
		c.permitted[a.Unmap()] = struct{}{}
	} else {
		delete(c.permitted, a.Unmap())
	}
}

// WriteTo sends a client's payload to a peer, if it is one. What is dropped counts as sent, as in any network.
func (c *relayed) WriteTo(p []byte, to net.Addr) (int, error) {
	peer := addrPort(to)
	switch c.r.peer(peer.Addr()) {
	case peerRefused:
		c.r.stats.refuse(Peer)
		return len(p), nil
	case peerOurs:
		if !c.r.ours(peer) {
			c.r.stats.refuse(Peer)
			return len(p), nil
		}
		if peer.Addr() == c.f.public {
			peer = netip.AddrPortFrom(c.f.within, peer.Port())
		}
	}
	if !c.spend(c.out, len(p)) {
		return len(p), nil
	}
	c.r.stats.BytesOut.Add(int64(len(p)))
	return c.WriteToUDPAddrPort(p, peer)
}

// ReadFrom returns the next packet of a peer that the client permitted. Of others nothing counts against its bandwidth.
func (c *relayed) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, peer, err := c.ReadFromUDPAddrPort(p)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return 0, nil, err
			}
			time.Sleep(time.Millisecond)
			continue
		}
		peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
		if peer.Addr() == c.f.within { // a socket of ours is known by its public address
			if other := netip.AddrPortFrom(c.f.public, peer.Port()); c.r.ours(other) {
				peer = other
			}
		}
		c.mu.RLock()
		_, ok := c.permitted[peer.Addr()]
		c.mu.RUnlock()
		if !ok {
			c.r.stats.refuse(Unsolicited)
			continue
		}
		if !c.spend(c.in, n) {
			continue
		}
		c.r.stats.BytesIn.Add(int64(n))
		return n, net.UDPAddrFromAddrPort(peer), nil
	}
}

func (c *relayed) spend(own *rate.Limiter, n int) bool {
	now := c.r.o.Now()
	if !own.AllowN(now, n) || !c.r.total.AllowN(now, n) {
		c.r.stats.refuse(Bandwidth)
		return false
	}
	return true
}

// relayedAt returns the relayed socket that others know by that address.
func (r *Relay) relayedAt(a netip.AddrPort) *relayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byAddr[a]
}
