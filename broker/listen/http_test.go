package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/petrelchat/petrel/internal/petreltest"
)

func newHTTP(change func(*HTTPOptions)) *HTTP {
	o := HTTPOptions{ID: "http", Addr: "127.0.0.1:0", Path: "/mqtt"}
	if change != nil {
		change(&o)
	}
	return NewHTTP(o, map[string]http.Handler{"/healthz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "well")
	})})
}

// ask opens a WebSocket with header lines "Name: value".
func ask(t *testing.T, addr, protocol string, header ...string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	h := http.Header{}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	o := &websocket.DialOptions{HTTPHeader: h}
	if protocol != "" {
		o.Subprotocols = []string{protocol}
	}
	ws, resp, err := websocket.Dial(ctx, "ws://"+addr+"/mqtt", o)
	if ws != nil {
		t.Cleanup(func() { _ = ws.CloseNow() })
	}
	return ws, resp, err
}

func TestWebSocket(t *testing.T) {
	o := open(t, newHTTP(nil))
	ws, _, err := ask(t, o.addr, "mqtt")
	must(t, err)
	if ws.Subprotocol() != "mqtt" {
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	ctx := context.Background()
	server := <-o.conns
	// Each Write is one message; reads go on across messages [MQTT-6.0.0-2].
	for _, word := range []string{"one", strings.Repeat("x", 100_000)} {
		done := make(chan error, 1)
		go func() { _, err := server.Write([]byte(word)); done <- err }()
		ws.SetReadLimit(-1)
		kind, got, err := ws.Read(ctx)
		if err != nil || kind != websocket.MessageBinary || string(got) != word {
			t.Fatalf("%v, %d bytes, %v", kind, len(got), err)
		}
		must(t, <-done)
	}
	must(t, ws.Write(ctx, websocket.MessageBinary, []byte("he")))
	must(t, ws.Write(ctx, websocket.MessageBinary, []byte("llo")))
	got := make([]byte, 5)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	info := server.(Info)
	if info.ClientAddr().String() != "127.0.0.1" || info.TLS() || info.PeerCN() != "" || info.Accepted().IsZero() {
		t.Errorf("%v %v %q", info.ClientAddr(), info.TLS(), info.PeerCN())
	}
}

func TestReadDeadlineLeavesTheWebSocketAlive(t *testing.T) {
	o := open(t, newHTTP(nil))
	ws, _, err := ask(t, o.addr, "mqtt")
	must(t, err)
	server := <-o.conns
	must(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
	var timeout net.Error
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("read: %v", err)
	}
	// A DISCONNECT with a reason can be sent still, and the stream goes on where it was.
	ctx := context.Background()
	if _, err := server.Write([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := ws.Read(ctx); err != nil || string(got) != "bye" {
		t.Fatalf("%q, %v", got, err)
	}
	must(t, server.SetReadDeadline(time.Time{}))
	must(t, ws.Write(ctx, websocket.MessageBinary, []byte("word")))
	got := make([]byte, 4)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "word" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestWriteDeadline(t *testing.T) {
	o := open(t, newHTTP(nil))
	_, _, err := ask(t, o.addr, "mqtt") // never reads
	must(t, err)
	server := <-o.conns
	must(t, server.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
	for err == nil {
		_, err = server.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestExpiredWriteDeadlineDoesNotHitPongs(t *testing.T) {
	o := open(t, newHTTP(nil))
	ws, _, err := ask(t, o.addr, "mqtt")
	must(t, err)
	server := <-o.conns
	must(t, server.SetWriteDeadline(time.Now().Add(time.Minute)))
	_, err = server.Write([]byte("x"))
	must(t, err)
	must(t, server.SetWriteDeadline(time.Now().Add(-time.Minute)))
	if _, _, err := ws.Read(context.Background()); err != nil { // the x
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ws.CloseRead(context.Background()), 10*time.Second)
	defer cancel()
	if err := ws.Ping(ctx); err != nil {
		t.Errorf("a ping after the deadline of an earlier write: %v", err)
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
}

func TestTextMessageEndsTheWebSocket(t *testing.T) {
	o := open(t, newHTTP(nil))
	ws, _, err := ask(t, o.addr, "mqtt")
	must(t, err)
	server := <-o.conns
	must(t, ws.Write(context.Background(), websocket.MessageText, []byte("hello")))
	_, _, err = ws.Read(context.Background())
	if websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("the client is told %v", err)
	}
	if _, err := server.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "text message") {
		t.Errorf("the server reads %v", err)
	}
}

func TestMessageLimit(t *testing.T) {
	o := open(t, newHTTP(func(o *HTTPOptions) { o.MessageLimit = 1000 }))
	ws, _, err := ask(t, o.addr, "mqtt")
	must(t, err)
	server := <-o.conns
	must(t, ws.Write(context.Background(), websocket.MessageBinary, make([]byte, 2000)))
	if n, err := io.Copy(io.Discard, server); err == nil || n > 1001 { // the library adds one to its limit
		t.Errorf("%d bytes came through, %v", n, err)
	}
	_, _, err = ws.Read(context.Background())
	if websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("the client is told %v", err)
	}
}

func TestClosingFromEitherSide(t *testing.T) {
	o := open(t, newHTTP(nil))
	ws, _, err := ask(t, o.addr, "mqtt")
	must(t, err)
	server := <-o.conns
	go func() { _ = ws.Close(websocket.StatusNormalClosure, "") }()
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read after the client's close: %v", err)
	}
	ws, _, err = ask(t, o.addr, "mqtt")
	must(t, err)
	server = <-o.conns
	must(t, server.Close())
	if err := server.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second close: %v", err)
	}
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	_, _, err = ws.Read(context.Background())
	if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the client is told %v", err)
	}
}

func TestSubprotocol(t *testing.T) {
	o := open(t, newHTTP(nil))
	for _, protocol := range []string{"", "mqttv3.1", "chat"} {
		_, resp, err := ask(t, o.addr, protocol)
		if err == nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %v, %v", protocol, resp, err)
		}
	}
	resp, err := http.Get("http://" + o.addr + "/mqtt")
	must(t, err)
	defer resp.Body.Close() //nolint:errcheck // a test
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("no WebSocket at all: %s", resp.Status)
	}
}

func TestOrigin(t *testing.T) {
	normal := open(t, newHTTP(func(o *HTTPOptions) { o.Origins = []string{"https://chat.example.org"} }))
	dev := open(t, newHTTP(func(o *HTTPOptions) { o.Dev, o.Origins = true, []string{"https://chat.example.org"} }))
	for _, c := range []struct {
		o      *opened
		origin string
		ok     bool
	}{
		{normal, "", true},
		{normal, "https://chat.example.org", true},
		{normal, "HTTPS://CHAT.example.org", true},
		{normal, "http://" + normal.addr, true},
		{normal, "http://chat.example.org", false},
		{normal, "https://chat.example.org:444", false},
		{normal, "https://chat.example.org.evil.example", false},
		{normal, "null", false},
		{normal, "http://127.0.0.1:1", false},
		{dev, "", true},
		{dev, "http://localhost:5173", true},
		{dev, "http://127.0.0.1:1", true},
		{dev, "http://[::1]", true},
		{dev, "https://chat.example.org", false},
		{dev, "http://localhost.evil.example", false},
		{dev, "null", false},
	} {
		var header []string
		if c.origin != "" {
			header = []string{"Origin: " + c.origin}
		}
		_, resp, err := ask(t, c.o.addr, "mqtt", header...)
		if (err == nil) != c.ok || !c.ok && resp.StatusCode != http.StatusForbidden {
			t.Errorf("dev %v, %q: %v", c.o == dev, c.origin, err)
		}
		if err == nil {
			<-c.o.conns
		}
	}
}

func TestOriginsAreReplaced(t *testing.T) {
	l := newHTTP(nil)
	o := open(t, l)
	if _, _, err := ask(t, o.addr, "mqtt", "Origin: https://a.example"); err == nil {
		t.Error("a foreign page may connect")
	}
	l.SetOrigins([]string{"https://a.example"})
	if _, _, err := ask(t, o.addr, "mqtt", "Origin: https://a.example"); err != nil {
		t.Error(err)
	}
}

func TestForwardedFor(t *testing.T) {
	behind := newHTTP(func(o *HTTPOptions) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	direct := newHTTP(nil)
	for _, c := range []struct {
		l      *HTTP
		header []string
		want   string
	}{
		{direct, []string{"192.0.2.1"}, "127.0.0.1"},
		{behind, nil, "127.0.0.1"},
		{behind, []string{"192.0.2.1"}, "192.0.2.1"},
		{behind, []string{"6.6.6.6, 192.0.2.1, 10.1.2.3"}, "192.0.2.1"}, // the left one is the client's invention
		{behind, []string{"6.6.6.6", "192.0.2.1"}, "192.0.2.1"},
		{behind, []string{"192.0.2.1:5000"}, "192.0.2.1"},
		{behind, []string{"[2001:db8::1]:5000"}, "2001:db8::1"},
		{behind, []string{"2001:db8::1"}, "2001:db8::1"},
		{behind, []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{behind, []string{"192.0.2.1, unknown, 10.1.2.3"}, "10.1.2.3"},
		{behind, []string{""}, "127.0.0.1"},
	} {
		r := &http.Request{RemoteAddr: "127.0.0.1:4711", Header: http.Header{"X-Forwarded-For": c.header}}
		if got := c.l.clientAddr(r).String(); got != c.want {
			t.Errorf("%q: %s, want %s", c.header, got, c.want)
		}
	}
}

func TestAdmitRefusesWebSockets(t *testing.T) {
	o := open(t, newHTTP(func(o *HTTPOptions) {
		o.Admit = func(netip.Addr) (func(), bool) { return nil, false }
	}))
	if _, resp, err := ask(t, o.addr, "mqtt"); err == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestHandlersBesideTheWebSocket(t *testing.T) {
	pki := petreltest.NewAuthority(t)
	pki.Issue("server", "server")
	certs, err := NewCertificates(CertificateOptions{Cert: pki.Path("server.pem"), Key: pki.Path("server.key"), NextProtos: []string{"http/1.1"}})
	must(t, err)
	o := open(t, newHTTP(func(o *HTTPOptions) { o.TLS = certs }))
	transport := &http.Transport{TLSClientConfig: pki.Client(""), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport}
	resp, err := web.Get("https://" + o.addr + "/healthz")
	must(t, err)
	body, err := io.ReadAll(resp.Body)
	must(t, errors.Join(err, resp.Body.Close()))
	if string(body) != "well" || resp.ProtoMajor != 1 {
		t.Errorf("%q over %s", body, resp.Proto)
	}
	ws, _, err := websocket.Dial(context.Background(), "wss://"+o.addr+"/mqtt", &websocket.DialOptions{HTTPClient: web, Subprotocols: []string{"mqtt"}})
	must(t, err)
	defer ws.CloseNow() //nolint:errcheck // a test
	if info := (<-o.conns).(Info); !info.TLS() {
		t.Error("a WSS connection that is not encrypted")
	}
}
