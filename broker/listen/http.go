package listen

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// HTTPOptions says where an HTTP server listens and who may open a WebSocket there.
type HTTPOptions struct {
	ID      string
	Addr    string        // host:port
	TLS     *Certificates // nil: plain. Its NextProtos must be http/1.1 or none: a WebSocket needs that
	Path    string        // where MQTT over WebSocket is; "" for nowhere
	Origins []string      // scheme://host[:port] that may connect beside the server's own host
	Dev     bool          // only a loopback Origin, or none, whatever Origins says

	TrustedProxies   []netip.Prefix // whose X-Forwarded-For is believed
	MessageLimit     int64          // longest WebSocket message, bytes; 0 is 4 MiB
	HandshakeTimeout time.Duration  // for TLS and the request's header; 0 is 10 s
	Admit            Admit          // asked for WebSockets; nil admits all
}

// HTTP is a listener for MQTT over WebSocket and for the caller's handlers.
type HTTP struct {
	o       HTTPOptions
	origins atomic.Pointer[[]string]
	log     *slog.Logger
	ln      net.Listener
	server  *http.Server

	establish listeners.EstablishFn // set by Serve before the first request
	buffers   sync.Pool             // of *[]byte, for messages on their way through

	mu     sync.Mutex
	closed bool
	conns  sync.WaitGroup // Serve and the goroutines of WebSockets
}

var _ listeners.Listener = (*HTTP)(nil)

// NewHTTP returns a listener that opens its address in Init. handlers are patterns of http.ServeMux.
func NewHTTP(o HTTPOptions, handlers map[string]http.Handler) *HTTP {
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 10*time.Second)
	o.MessageLimit = cmp.Or(o.MessageLimit, 4<<20)
	if o.Admit == nil {
		o.Admit = admitAll
	}
	l := &HTTP{o: o}
	l.buffers.New = func() any { b := make([]byte, 4096); return &b }
	l.SetOrigins(o.Origins)
	mux := http.NewServeMux()
	for pattern, h := range handlers {
		mux.Handle(pattern, h)
	}
	if o.Path != "" {
		mux.HandleFunc(o.Path, l.upgrade)
	}
	l.server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: o.HandshakeTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		// A WebSocket is a connection of its own under HTTP/1.1 (RFC 6455 §4.1).
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	return l
}

// SetOrigins replaces the origins that may connect. Open connections stay.
func (l *HTTP) SetOrigins(origins []string) { l.origins.Store(&origins) }

// Init opens the address.
func (l *HTTP) Init(log *slog.Logger) error {
	ln, err := net.Listen("tcp", l.o.Addr)
	if err != nil {
		return err // the caller knows which listener it is
	}
	l.ln, l.log = ln, log.With("listener", l.o.ID)
	l.server.ErrorLog = slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)
	return nil
}

// ID is the listener's name.
func (l *HTTP) ID() string { return l.o.ID }

// Protocol is what mochi calls the kind of the listener: ws or wss.
func (l *HTTP) Protocol() string {
	if l.o.TLS != nil {
		return "wss"
	}
	return "ws"
}

// Address is where it listens, with the port that was taken for port 0.
func (l *HTTP) Address() string {
	if l.ln != nil {
		return l.ln.Addr().String()
	}
	return l.o.Addr
}

// Serve answers requests until Close. establish owns a connection until it returns; then it is closed.
func (l *HTTP) Serve(establish listeners.EstablishFn) {
	l.establish = establish
	if !l.begin() {
		return
	}
	defer l.conns.Done()
	ln := l.ln
	if l.o.TLS != nil {
		ln = tls.NewListener(ln, l.o.TLS.Config())
	}
	if err := l.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		l.log.Error("the HTTP server has ended", "error", err)
	}
}

// begin counts a goroutine that Wait waits for; false after Close.
func (l *HTTP) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns.Add(1)
	}
	return !l.closed
}

// Close stops accepting, lets requests that are being answered end for a second, and then has the
// caller close the WebSocket clients. It returns when closeClients did.
func (l *HTTP) Close(closeClients listeners.CloseFn) {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if !first {
		return
	}
	if l.ln != nil {
		_ = l.ln.Close() // Shutdown knows only what Serve has seen
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := l.server.Shutdown(ctx); err != nil {
		_ = l.server.Close()
	}
	closeClients(l.o.ID)
}

// Wait returns when, after Close, the last WebSocket has ended; for a client that does not answer the
// closing of a WebSocket that takes up to ten seconds.
func (l *HTTP) Wait() { l.conns.Wait() }

// upgrade answers a request for a WebSocket and starts the connection.
func (l *HTTP) upgrade(w http.ResponseWriter, r *http.Request) {
	p := peer{accepted: time.Now(), addr: l.clientAddr(r), tls: r.TLS != nil}
	if r.TLS != nil {
		p.cn = verifiedCN(*r.TLS)
	}
	if err := l.checkOrigin(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	// [MQTT-6.0.0-3]. What does not ask for an upgrade at all is refused by Accept below.
	if r.Header.Get("Upgrade") != "" && !offersMQTT(r.Header) {
		http.Error(w, "the WebSocket must offer the subprotocol mqtt", http.StatusBadRequest)
		return
	}
	release, ok := l.o.Admit(p.addr)
	if !ok {
		http.Error(w, "too many connections from this address: close some, or come back later", http.StatusTooManyRequests)
		return
	}
	if !l.begin() {
		release()
		http.Error(w, "the server is shutting down", http.StatusServiceUnavailable)
		return
	}
	raw := &hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(raw, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}, InsecureSkipVerify: true}) // Origin: checkOrigin
	if err != nil {                                                                                                         // Accept has answered
		release()
		l.conns.Done()
		l.log.Debug("WebSocket refused", "from", p.addr, "error", err)
		return
	}
	ws.SetReadLimit(l.o.MessageLimit)
	c := newWSConn(ws, raw.conn, p)
	// The handler returns, so that the memory of the HTTP request is free.
	pumped := make(chan struct{})
	go func() { defer close(pumped); c.pump(&l.buffers) }()
	go func() {
		defer l.conns.Done()
		defer release()
		defer func() { c.finish(); <-pumped }()
		if err := l.establish(l.o.ID, c); err != nil {
			l.log.Debug("connection ended", "from", p.addr, "error", err)
		}
	}()
}
