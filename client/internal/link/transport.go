package link

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// scheme is how a server is reached.
type scheme struct {
	tls, web bool
	port     string
}

func schemeOf(u *url.URL) (scheme, bool) {
	switch strings.ToLower(u.Scheme) {
	case "mqtt", "tcp":
		return scheme{port: "1883"}, true
	case "mqtts", "tls", "ssl":
		return scheme{tls: true, port: "8883"}, true
	case "ws":
		return scheme{web: true, port: "80"}, true
	case "wss":
		return scheme{tls: true, web: true, port: "443"}, true
	}
	return scheme{}, false
}

// checkServer says what is wrong with an address.
func checkServer(u *url.URL) error {
	_, known := schemeOf(u)
	switch {
	case u.User != nil:
		return errors.New("the server's address has a user or password in it: give those by themselves")
	case strings.EqualFold(u.Scheme, "unix"):
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return errors.New("a Unix socket is unix:///path/to.sock")
		}
	case !known:
		return fmt.Errorf("%q is no kind of server: use mqtts://, wss://, mqtt://, ws:// or unix://", u.Scheme)
	case u.Hostname() == "":
		return errors.New("the server's address has no host")
	case !u.IsAbs():
		return errors.New("the server's address is not complete: mqtts://chat.example.org")
	}
	return nil
}

// dialer makes TCP connections without TCP's own keep-alive: ours does what that would, and each probe of
// it would wake a phone's radio every 15 seconds.
func dialer() *net.Dialer { return &net.Dialer{KeepAlive: -1} }

// connect makes a network connection to the server: dial, TLS, WebSocket.
func (l *Link) connect(ctx context.Context) (net.Conn, error) {
	u := l.o.Server
	if l.o.Dial != nil {
		return l.o.Dial(ctx)
	}
	if strings.EqualFold(u.Scheme, "unix") {
		return dialer().DialContext(ctx, "unix", u.Path)
	}
	s, ok := schemeOf(u)
	if !ok {
		return nil, checkServer(u)
	}
	host := u.Hostname()
	addr := net.JoinHostPort(host, cmp.Or(u.Port(), s.port))
	var conf *tls.Config
	if s.tls {
		conf = l.tickets.config(l.o.TLS, host)
	}
	if s.web {
		return l.dialWebSocket(ctx, conf)
	}
	conn, err := dialer().DialContext(ctx, "tcp", addr)
	if err != nil || !s.tls {
		return conn, err
	}
	secure := tls.Client(conn, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		l.tickets.failed(ctx)
		return nil, err
	}
	state := secure.ConnectionState()
	l.tickets.shook(&state)
	return &tlsConn{secure, state.DidResume}, nil
}

type tlsConn struct {
	*tls.Conn
	resumed bool
}

// Resumed tells whether the handshake was a short one.
func (c *tlsConn) Resumed() bool { return c.resumed }

// wsConn is a WebSocket as a stream: each Write is one binary message, reads go on across messages [MQTT-6.0.0-2].
type wsConn struct {
	ws       *websocket.Conn
	local    net.Addr // of the connection below
	resumed  bool
	message  io.Reader // the one being read; the reader's alone
	deadline time.Time // for writes; the writer's alone
}

var _ net.Conn = (*wsConn)(nil)

// dialWebSocket opens a WebSocket with subprotocol mqtt [MQTT-6.0.0-3]. Proxies are those of the environment.
func (l *Link) dialWebSocket(ctx context.Context, conf *tls.Config) (net.Conn, error) {
	web := *l.o.Server
	web.Scheme = strings.ToLower(web.Scheme)
	if web.Path == "" {
		web.Path = "/mqtt"
	}
	var local net.Addr
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer().DialContext(ctx, network, addr)
		if err == nil {
			local = conn.LocalAddr()
		}
		return conn, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dial, TLSClientConfig: conf,
		DisableKeepAlives: true, DisableCompression: true,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // RFC 6455 §4.1 is about HTTP/1.1
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // credentials go to who was asked for
	}}
	ws, resp, err := websocket.Dial(ctx, web.String(), &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}})
	if err != nil {
		if conf != nil && resp == nil {
			l.tickets.failed(ctx)
		}
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, &statusError{resp.StatusCode}
		}
		return nil, err
	}
	if ws.Subprotocol() != "mqtt" {
		_ = ws.CloseNow()
		return nil, errors.New("the WebSocket at this address does not speak MQTT")
	}
	ws.SetReadLimit(-1) // the wire limits packets
	c := &wsConn{ws: ws, local: local}
	if resp.TLS != nil {
		c.resumed = resp.TLS.DidResume
		l.tickets.shook(resp.TLS)
	}
	return c, nil
}

// statusError is an HTTP server that does not open a WebSocket.
type statusError struct{ code int }

func (s *statusError) Error() string {
	return fmt.Sprintf("the web server answered %d %s", s.code, http.StatusText(s.code))
}

func (c *wsConn) Resumed() bool { return c.resumed }

func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			kind, r, err := c.ws.Reader(context.Background())
			switch {
			case websocket.CloseStatus(err) != -1:
				return 0, io.EOF
			case err != nil:
				return 0, err
			case kind != websocket.MessageBinary: // [MQTT-6.0.0-1]
				return 0, errors.New("the server sent a text message over the WebSocket: MQTT goes in binary ones")
			}
			c.message = r
		}
		n, err := c.message.Read(p)
		if err == io.EOF {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *wsConn) Write(p []byte) (int, error) {
	ctx, cancel := context.WithDeadline(context.Background(), c.deadline)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close drops the connection: who left in good order has sent DISCONNECT.
func (c *wsConn) Close() error { return c.ws.CloseNow() }

func (c *wsConn) SetWriteDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

// Reads have no deadline: Close ends them.
func (c *wsConn) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }
func (c *wsConn) SetDeadline(time.Time) error     { return errors.ErrUnsupported }

func (c *wsConn) LocalAddr() net.Addr  { return c.local }
func (c *wsConn) RemoteAddr() net.Addr { return wsAddr{} }

type wsAddr struct{}

func (wsAddr) Network() string { return "websocket" }
func (wsAddr) String() string  { return "websocket" }
