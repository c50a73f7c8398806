// Package listen accepts connections: TCP, TLS with or without client certificates, Unix sockets, and
// MQTT over WebSocket on an HTTP server that also serves health and metrics.
//
// Start with [NewStream] or [NewHTTP]; both are listeners for mochi's server. What they hand to its
// EstablishFn is ready to speak MQTT (PROXY header read, TLS shaken, WebSocket upgraded) and implements
// [Info], which says who is at the other end. [NewCertificates] makes the TLS side, with certificates
// that follow their files and [Tickets] that survive a restart.
//
// Goroutines: Serve's caller runs the accept loop; each connection has one that shakes hands and then
// calls establish; a WebSocket has a second one that reads frames. All of them have ended when Wait
// returns, which needs Close first and the end of every establish.
package listen

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// Info says who is at the other end of a connection. Every net.Conn that a listener of this package
// hands over implements it. It never changes during the life of a connection.
type Info interface {
	// ClientAddr is the client's address, behind trusted proxies too. The zero Addr: a Unix socket.
	ClientAddr() netip.Addr
	// PeerCN is the common name of the client's certificate if that was verified, else "".
	PeerCN() string
	// TLS says whether this server's side of the connection is encrypted.
	TLS() bool
	// Accepted is when the connection came, for deadlines that begin there.
	Accepted() time.Time
}

// Admit is asked once the client's address is known, before anything costly is done for it. When ok,
// release is called after the connection was closed.
type Admit func(client netip.Addr) (release func(), ok bool)

func admitAll(netip.Addr) (func(), bool) { return func() {}, true }

// peer is what the listeners find out about a connection.
type peer struct {
	addr     netip.Addr
	cn       string
	tls      bool
	accepted time.Time
}

func (p *peer) ClientAddr() netip.Addr { return p.addr }
func (p *peer) PeerCN() string         { return p.cn }
func (p *peer) TLS() bool              { return p.tls }
func (p *peer) Accepted() time.Time    { return p.accepted }

// streamConn is a connection of a Stream.
type streamConn struct {
	net.Conn
	peer
}

var _ Info = (*streamConn)(nil)

// NetConn returns the connection below, a *net.TCPConn, *net.UnixConn or *tls.Conn in most cases.
func (c *streamConn) NetConn() net.Conn { return c.Conn }

// CloseWrite closes the sending side: of TCP, a Unix socket or TLS; what has none is closed.
func (c *streamConn) CloseWrite() error {
	if side, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return side.CloseWrite()
	}
	return c.Conn.Close()
}

// addrOf is the IP address in a net.Addr, without the mapping of IPv4 into IPv6; zero for a Unix socket.
func addrOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return t.AddrPort().Addr().Unmap()
}

// trusted says whether a is in one of the prefixes.
func trusted(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}
