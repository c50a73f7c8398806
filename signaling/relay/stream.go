package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// guestTime is how long a connection may stand without an allocation, its TLS handshake included.
	guestTime = 30 * time.Second
	// quietTime is longer than a client with an allocation can be silent: it has to refresh that within an hour.
	quietTime = time.Hour + time.Minute
	// stallTime is how long a client may take nothing before it is cut.
	stallTime = 10 * time.Second
	// recordHandshake begins a TLS connection (RFC 8446 §5.1). STUN and channels begin with less or more.
	recordHandshake = 0x16
)

// errNoFrame ends a connection that does not speak STUN, or is not to be heard.
var errNoFrame = errors.New("relay: no STUN")

// tcpSocket accepts TCP and TLS, and gives pion connections that are shaken and speak in whole messages.
type tcpSocket struct {
	t     *transport
	ln    net.Listener
	ready chan net.Conn
	done  chan struct{}

	mu     sync.Mutex
	closed bool
	conns  map[*streamConn]struct{}
	byAddr map[netip.AddrPort]*streamConn
	perNet map[netip.Addr]int
	wg     sync.WaitGroup // the acceptor, and each connection until pion is through with it
}

var _ net.Listener = (*tcpSocket)(nil)

func newTCP(r *Relay, ln net.Listener, local netip.AddrPort) *transport {
	t := newTransport(r, local)
	t.tcp = &tcpSocket{
		t: t, ln: ln, ready: make(chan net.Conn), done: make(chan struct{}),
		conns: make(map[*streamConn]struct{}), byAddr: make(map[netip.AddrPort]*streamConn), perNet: make(map[netip.Addr]int),
	}
	return t
}

func (l *tcpSocket) start() {
	l.wg.Add(1)
	go func() { defer l.wg.Done(); l.acceptAll() }()
}

// Accept is called by pion.
func (l *tcpSocket) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr is where it listens.
func (l *tcpSocket) Addr() net.Addr { return l.ln.Addr() }

// Close stops accepting and cuts all connections.
func (l *tcpSocket) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	for c := range l.conns {
		_ = c.Conn.Close()
	}
	l.mu.Unlock()
	if !first {
		return nil
	}
	close(l.done)
	return l.ln.Close()
}

// end closes and waits for the connections.
func (l *tcpSocket) end() {
	_ = l.Close()
	l.wg.Wait()
}

func (l *tcpSocket) acceptAll() {
	var pause time.Duration
	for {
		raw, err := l.ln.Accept()
		if err == nil {
			pause = 0
			l.admit(raw)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second) // out of file descriptors: it passes
		select {
		case <-time.After(pause):
		case <-l.done:
			return
		}
	}
}

// admit begins a connection, if there may be one more.
func (l *tcpSocket) admit(raw net.Conn) {
	from := addrPort(raw.RemoteAddr())
	limits := l.t.r.limits.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) >= limits.Connections || l.perNet[network(from.Addr())] >= limits.ConnectionsPerAddress ||
		l.t.r.guests.throttled(from.Addr(), l.t.r.o.Now()) {
		l.t.r.stats.refuse(Connections)
		_ = raw.Close()
		return
	}
	c := &streamConn{Conn: raw, l: l, from: from}
	l.conns[c], l.byAddr[from] = struct{}{}, c
	l.perNet[network(from.Addr())]++
	l.t.r.stats.Connections.Add(1)
	l.wg.Add(1)
	go c.greet()
}

// forget is the end of a connection.
func (l *tcpSocket) forget(c *streamConn) {
	l.mu.Lock()
	delete(l.conns, c)
	if l.byAddr[c.from] == c {
		delete(l.byAddr, c.from)
	}
	if n := network(c.from.Addr()); l.perNet[n] > 1 {
		l.perNet[n]--
	} else {
		delete(l.perNet, n)
	}
	l.mu.Unlock()
	l.t.r.stats.Connections.Add(-1)
	l.wg.Done()
}

// idle is told when a connection's allocation has ended: it may make another one, soon.
func (l *tcpSocket) idle(from netip.AddrPort) {
	l.mu.Lock()
	c := l.byAddr[from]
	l.mu.Unlock()
	if c != nil {
		_ = c.SetReadDeadline(time.Now().Add(l.t.r.o.guestTime))
	}
}

// streamConn is a connection of a client. Each Read returns one message: what pion does with pieces of messages
// takes it a stack frame a byte.
type streamConn struct {
	net.Conn
	l    *tcpSocket
	from netip.AddrPort
	in   *bufio.Reader
	tls  *tls.Conn // or nil
	once sync.Once
}

// greet finds out whether the client speaks TLS, shakes hands, and hands the connection to pion.
func (c *streamConn) greet() {
	_ = c.SetDeadline(time.Now().Add(c.l.t.r.o.guestTime)) // a connection that is closed already says so in Peek
	c.in = bufio.NewReaderSize(c.Conn, 2*mtu)
	first, err := c.in.Peek(1)
	if err == nil && first[0] == recordHandshake {
		err = c.shake()
	}
	if err != nil {
		_ = c.Close()
		return
	}
	select {
	case c.l.ready <- c:
	case <-c.l.done:
		_ = c.Close()
	}
}

func (c *streamConn) shake() error {
	if c.l.t.r.o.TLS == nil {
		c.l.t.r.stats.refuse(Unsupported)
		return errNoFrame
	}
	c.tls = tls.Server(peeked{c.Conn, c.in}, c.l.t.r.o.TLS)
	if err := c.tls.HandshakeContext(context.Background()); err != nil { // bounded by the deadline
		c.l.t.r.stats.refuse(Malformed)
		return err
	}
	c.in = bufio.NewReaderSize(c.tls, 2*mtu)
	return nil
}

// peeked reads what was peeked at first.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.in.Read(b) }

// Read returns the next whole message that is worth pion's time. (RFC 8656 §12.5 pads data on channels to four bytes.
// pion waits for more after one of less than five bytes; media have none so short.)
func (c *streamConn) Read(p []byte) (int, error) {
	for {
		n, err := c.frame(p)
		if err != nil {
			return 0, err
		}
		ok, bad := c.l.t.accept(c.from, p[:n])
		if bad {
			return 0, errNoFrame
		}
		if ok {
			return n, nil
		}
	}
}

// frame reads one message of a length that pion takes.
func (c *streamConn) frame(p []byte) (int, error) {
	if c.l.t.allocated(c.from) != nil {
		_ = c.SetReadDeadline(time.Now().Add(quietTime))
	}
	head, err := c.in.Peek(4)
	if err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	switch {
	case head[0] < 0x40:
		n += headerLen
	case isChannelData(head):
		n = 4 + (n+3)&^3
	default:
		n = mtu
	}
	if n >= min(mtu, len(p)) {
		c.l.t.r.stats.refuse(Malformed)
		return 0, errNoFrame
	}
	return io.ReadFull(c.in, p[:n])
}

// Write sends a whole message. A client that takes nothing for a while is cut: what waits for it waits in
// the system's buffers and on the one goroutine of its allocation.
func (c *streamConn) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(stallTime))
	var n int
	var err error
	if c.tls != nil {
		n, err = c.tls.Write(p)
	} else {
		n, err = c.Conn.Write(p)
	}
	if err != nil {
		_ = c.Conn.Close()
	}
	return n, err
}

// Close is the last that happens to a connection: pion calls it when it is through.
func (c *streamConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.l.forget(c) })
	return err
}
