package relay

import (
	"net"
	"net/netip"
	"sync"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

// transport is one socket and the pion server on it: each has its own, so that its events tell by the client's address
// whom they are about.
type transport struct {
	r     *Relay
	local netip.AddrPort
	udp   *udpSocket // or
	tcp   *tcpSocket
	log   logging.LoggerFactory

	mu      sync.RWMutex
	clients map[netip.AddrPort]*client // those that have an allocation, or are about to get one
}

// client is the address of somebody with an allocation.
type client struct {
	user     string
	conn     *relayed            // nil: reserved only
	channels map[uint16]struct{} // guarded by transport.mu
}

func newTransport(r *Relay, local netip.AddrPort) *transport {
	return &transport{r: r, local: local, clients: make(map[netip.AddrPort]*client), log: quiet{r}}
}

// start hands the socket to pion.
func (t *transport) start() error {
	cfg := turn.ServerConfig{
		// Whoever asks for no family gets IPv4, over IPv6 too (RFC 8656 section 7.2), so that the relayed addresses of two who can't see each
		// other are of one family. Without IPv4 here it is that of the socket.
		StrictAddressFamily: t.r.families[0] != nil,
		Realm:               t.r.o.Realm, AuthHandler: t.authenticate, QuotaHandler: t.quota, LoggerFactory: t.log, InboundMTU: mtu,
		EventHandler: turn.EventHandler{
			OnAuth:              t.onAuth,
			OnAllocationCreated: t.onCreated,
			OnAllocationDeleted: t.onDeleted,
			OnAllocationError:   t.onError,
			OnPermissionCreated: t.onPermission,
			OnPermissionDeleted: t.onPermissionGone,
			OnChannelCreated:    t.onChannel,
			OnChannelDeleted:    t.onChannelGone,
		},
	}
	if t.udp != nil {
		cfg.PacketConnConfigs = []turn.PacketConnConfig{{PacketConn: t.udp, RelayAddressGenerator: generator{t.r}, PermissionHandler: t.permit}}
	} else {
		t.tcp.start()
		cfg.ListenerConfigs = []turn.ListenerConfig{{Listener: t.tcp, RelayAddressGenerator: generator{t.r}, PermissionHandler: t.permit}}
	}
	_, err := turn.NewServer(cfg) // its Close would only close the socket
	return err
}

func (t *transport) close() {
	if t.udp != nil {
		_ = t.udp.Close()
		return
	}
	t.tcp.end()
}

// allocated returns the client's allocation, or nil.
func (t *transport) allocated(from netip.AddrPort) *relayed {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if c := t.clients[from]; c != nil {
		return c.conn
	}
	return nil
}

// quota is pion's QuotaHandler, asked right before an allocation is made. What it reserves, onDeleted gives back, or
// onError when nothing was made after all.
func (t *transport) quota(owner, _ string, src net.Addr) bool {
	from := addrPort(src)
	user, _ := splitOwner(owner)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.clients[from] != nil { // the one before is just ending
		t.r.stats.refuse(PerUser)
		return false
	}
	if why, ok := t.r.reserve(user, from.Addr()); !ok {
		t.r.stats.refuse(why)
		return false
	}
	t.clients[from] = &client{user: user, channels: make(map[uint16]struct{})}
	return true
}

func (t *transport) onAuth(src, _ net.Addr, _, _, _, _ string, ok bool) {
	if !ok {
		t.r.failed(addrPort(src).Addr())
	}
}

func (t *transport) onCreated(src, _ net.Addr, _, _, _ string, at net.Addr, _ int) {
	from := addrPort(src)
	t.r.mu.Lock()
	conn := t.r.byAddr[addrPort(at)]
	t.r.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.clients[from]; c != nil {
		c.conn = conn
		t.r.stats.Allocated.Add(1)
		t.r.stats.Allocations.Add(1)
		t.r.debug("turn: allocated", "client", from, "user", c.user, "relayed", at.String())
	}
}

func (t *transport) onDeleted(src, _ net.Addr, _, _, _ string) {
	from := addrPort(src)
	t.mu.Lock()
	c := t.clients[from]
	delete(t.clients, from)
	t.mu.Unlock()
	if c == nil || c.conn == nil {
		return
	}
	t.r.stats.Allocations.Add(-1)
	t.r.debug("turn: allocation ended", "client", from, "user", c.user)
	if t.tcp != nil {
		t.tcp.idle(from)
	}
	t.r.give(c.user, from.Addr())
}

// onError is called for each packet that pion could do nothing with; one of them may have been an allocation
// for which there was room, but no port.
func (t *transport) onError(src, _ net.Addr, _, _ string) {
	from := addrPort(src)
	t.mu.Lock()
	c := t.clients[from]
	if c == nil || c.conn != nil {
		t.mu.Unlock()
		return
	}
	delete(t.clients, from)
	t.mu.Unlock()
	t.r.give(c.user, from.Addr())
}

// permit is pion's PermissionHandler, for CreatePermission and ChannelBind.
func (t *transport) permit(src net.Addr, peer net.IP) bool {
	to, ok := netip.AddrFromSlice(peer)
	if to = to.Unmap(); !ok || t.r.peer(to) == peerRefused {
		t.r.stats.refuse(Peer)
		t.r.debug("turn: peer refused", "client", addrPort(src), "peer", to)
		return false
	}
	conn := t.allocated(addrPort(src))
	if conn == nil || !conn.mayPermit(to) {
		t.r.stats.refuse(Permissions)
		return false
	}
	return true
}

func (t *transport) onPermission(src, _ net.Addr, _, _, _ string, _ net.Addr, peer net.IP) {
	if conn := t.allocated(addrPort(src)); conn != nil {
		conn.permit(peer, true)
	}
}

func (t *transport) onPermissionGone(src, _ net.Addr, _, _, _ string, _ net.Addr, peer net.IP) {
	if conn := t.allocated(addrPort(src)); conn != nil {
		conn.permit(peer, false)
	}
}

func (t *transport) onChannel(src, _ net.Addr, _, _, _ string, _, _ net.Addr, n uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.clients[addrPort(src)]; c != nil {
		c.channels[n] = struct{}{}
	}
}

func (t *transport) onChannelGone(src, _ net.Addr, _, _, _ string, _, _ net.Addr, n uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.clients[addrPort(src)]; c != nil {
		delete(c.channels, n)
	}
}

// mayBind reports whether the client has room for the channel, or has it already.
func (t *transport) mayBind(from netip.AddrPort, channel uint16) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c := t.clients[from]
	if c == nil {
		return true // pion refuses it
	}
	_, has := c.channels[channel]
	return has || len(c.channels) < t.r.limits.Load().Channels
}

// quiet is pion's log. It speaks of user names and addresses, and strangers can make it speak at any level.
type quiet struct{ r *Relay }

// NewLogger returns the log itself.
func (q quiet) NewLogger(string) logging.LeveledLogger { return q }

func (q quiet) Trace(string)          {}
func (q quiet) Tracef(string, ...any) {}
func (q quiet) Debug(string)          {}
func (q quiet) Debugf(string, ...any) {}
func (q quiet) Info(string)           {}
func (q quiet) Infof(string, ...any)  {}
func (q quiet) Warn(string)           {}
func (q quiet) Warnf(string, ...any)  {}
func (q quiet) Error(string)          {}
func (q quiet) Errorf(string, ...any) {}
