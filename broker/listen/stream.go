package listen

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// StreamOptions says where a Stream listens and what it asks of a connection.
type StreamOptions struct {
	ID   string
	Addr string      // host:port; "" for a Unix socket
	Unix string      // path of the socket
	Mode fs.FileMode // its permissions; 0 is 0600

	TLS *Certificates // nil: plain

	Proxy   bool           // every connection opens with a PROXY header
	Trusted []netip.Prefix // who may connect then; a Unix socket's permissions say that for themselves

	HandshakeTimeout time.Duration // for PROXY header and TLS together; 0 is 10 s
	Admit            Admit         // nil admits all
}

// Stream is a listener for MQTT over TCP, TLS or a Unix socket.
type Stream struct {
	o      StreamOptions
	listen func() (net.Listener, error)
	log    *slog.Logger
	ln     net.Listener

	mu        sync.Mutex
	closed    bool
	handshake map[net.Conn]struct{} // connections that establish has not seen yet
	done      chan struct{}         // closed by Close
	conns     sync.WaitGroup        // the accept loop and one for each connection
	shaking   sync.WaitGroup        // the connections in handshake
}

var _ listeners.Listener = (*Stream)(nil)

// NewStream returns a listener that opens its address in Init.
func NewStream(o StreamOptions) *Stream {
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 10*time.Second)
	o.Mode = cmp.Or(o.Mode, 0o600)
	if o.Admit == nil {
		o.Admit = admitAll
	}
	l := &Stream{o: o, handshake: map[net.Conn]struct{}{}, done: make(chan struct{})}
	l.listen = func() (net.Listener, error) {
		if o.Unix != "" {
			return listenUnix(o.Unix, o.Mode)
		}
		return net.Listen("tcp", o.Addr)
	}
	return l
}

// Init opens the address.
func (l *Stream) Init(log *slog.Logger) error {
	ln, err := l.listen()
	if err != nil {
		return err // the caller knows which listener it is
	}
	l.log, l.ln = log.With("listener", l.o.ID), ln
	return nil
}

// ID is the listener's name.
func (l *Stream) ID() string { return l.o.ID }

// Protocol is what mochi calls the kind of the listener: tcp, tls or unix.
func (l *Stream) Protocol() string {
	switch {
	case l.o.Unix != "":
		return "unix"
	case l.o.TLS != nil:
		return "tls"
	}
	return "tcp"
}

// Address is where it listens, with the port that was taken for port 0.
func (l *Stream) Address() string {
	if l.o.Unix != "" {
		return l.o.Unix
	}
	if l.ln != nil {
		return l.ln.Addr().String()
	}
	return l.o.Addr
}

// Serve accepts until Close. establish owns the connection until it returns; then the connection is closed.
func (l *Stream) Serve(establish listeners.EstablishFn) {
	if !l.start() {
		return
	}
	defer l.conns.Done()
	var pause time.Duration
	for {
		c, err := l.ln.Accept()
		if err == nil {
			pause = 0
			l.spawn(c, establish)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Out of file descriptors or the like: it passes when somebody leaves. Accepting at once
		// again would only burn the CPU that they need for it.
		if pause == 0 {
			l.log.Warn("cannot accept connections; raise the limit of open files (ulimit -n)", "error", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-l.done:
			return
		}
	}
}

func (l *Stream) start() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns.Add(1)
	}
	return !l.closed
}

func (l *Stream) spawn(c net.Conn, establish listeners.EstablishFn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return
	}
	l.handshake[c] = struct{}{}
	l.conns.Add(1)
	l.shaking.Add(1)
	go func() {
		defer l.conns.Done()
		l.serve(c, time.Now(), establish)
	}()
}

// serve is the life of one connection. What establish runs on top of is kept small: the stack of an idle
// connection is most of what it costs.
func (l *Stream) serve(raw net.Conn, now time.Time, establish listeners.EstablishFn) {
	c, release := l.greet(raw, now)
	if c != nil {
		l.ended(c, establish(l.o.ID, c))
	}
	_ = raw.Close() // closed by establish in most cases
	release()
}

func (l *Stream) ended(c *streamConn, err error) {
	_ = c.Close() // closed by establish in most cases
	if err != nil {
		l.log.Debug("connection ended", "from", c.addr, "error", err)
	}
}

// greet shakes hands, on a stack of its own: TLS makes one grow. c is nil when that failed; release is
// to be called in any case.
func (l *Stream) greet(raw net.Conn, now time.Time) (c *streamConn, release func()) {
	done := make(chan struct{})
	release = func() {}
	go func() {
		defer close(done)
		shook, err := l.shake(raw, now, &release)
		if l.shaken(raw) && err == nil {
			c = shook
		} else if err != nil {
			l.log.Debug("connection refused", "from", raw.RemoteAddr().String(), "error", err)
		}
	}()
	<-done
	return c, release
}

// shaken takes the connection off the list of handshakes; false: the listener was closed meanwhile.
func (l *Stream) shaken(raw net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.handshake, raw)
	l.shaking.Done()
	return !l.closed
}

func (l *Stream) shake(raw net.Conn, now time.Time, release *func()) (*streamConn, error) {
	if err := raw.SetDeadline(now.Add(l.o.HandshakeTimeout)); err != nil {
		return nil, err
	}
	c := &streamConn{Conn: raw, peer: peer{addr: addrOf(raw.RemoteAddr()), accepted: now}}
	if l.o.Proxy {
		if l.o.Unix == "" && !trusted(l.o.Trusted, c.addr) {
			return nil, errors.New("only the trusted proxies may connect here")
		}
		behind, client, err := readProxy(raw)
		if err != nil {
			return nil, err
		}
		c.Conn = behind
		if client.IsValid() {
			c.addr = client
		}
	}
	done, ok := l.o.Admit(c.addr)
	if !ok {
		return nil, fmt.Errorf("%s has too many connections", c.addr)
	}
	*release = done
	if l.o.TLS != nil {
		t := tls.Server(c.Conn, l.o.TLS.Config())
		if err := t.HandshakeContext(context.Background()); err != nil { // bounded by the deadline
			return nil, fmt.Errorf("TLS: %w", err)
		}
		c.Conn, c.tls, c.cn = t, true, verifiedCN(t.ConnectionState())
	}
	return c, c.SetDeadline(time.Time{})
}

// Close stops accepting, cuts what is still shaking hands, and then has the caller close the clients. It
// returns when closeClients did; Wait waits for the end of the connections.
func (l *Stream) Close(closeClients listeners.CloseFn) {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	for c := range l.handshake {
		_ = c.Close()
	}
	l.mu.Unlock()
	if !first {
		return
	}
	close(l.done)
	if l.ln != nil {
		if err := l.ln.Close(); err != nil {
			l.log.Warn("closing the listener", "error", err)
		}
	}
	l.shaking.Wait()
	closeClients(l.o.ID)
}

// Wait returns when, after Close, the last connection has ended.
func (l *Stream) Wait() { l.conns.Wait() }
