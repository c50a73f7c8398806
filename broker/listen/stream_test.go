package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/petrelchat/petrel/internal/petreltest"
)

// opened is a listener of either kind that serves; every connection that it establishes comes out of conns,
// and lives until the test ends.
type opened struct {
	conns chan net.Conn
	addr  string
}

type waiter interface {
	listeners.Listener
	Wait()
}

func open(t *testing.T, l waiter) *opened {
	t.Helper()
	must(t, l.Init(slog.New(slog.DiscardHandler)))
	o := &opened{conns: make(chan net.Conn, 16), addr: l.Address()}
	end := make(chan struct{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		l.Serve(func(id string, c net.Conn) error {
			if id != l.ID() {
				t.Errorf("established by %q, not %q", id, l.ID())
			}
			o.conns <- c
			<-end
			return errors.New("the end of the test")
		})
	}()
	t.Cleanup(func() {
		asked := ""
		l.Close(func(id string) { asked = id; close(end) })
		if asked != l.ID() {
			t.Errorf("asked to close the clients of %q", asked)
		}
		l.Close(func(string) { t.Error("closed the clients twice") })
		<-served
		l.Wait()
	})
	return o
}

func (o *opened) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", o.addr)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wantClosed fails unless the other side closes c.
func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is open: read %d, %v", n, err)
	}
}

// echo sends a word each way.
func echo(t *testing.T, client, server net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		if _, err := way[0].Write([]byte("word")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != "word" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestTCP(t *testing.T) {
	o := open(t, NewStream(StreamOptions{ID: "mqtt", Addr: "127.0.0.1:0"}))
	client := o.dial(t)
	server := <-o.conns
	echo(t, client, server)
	info := server.(Info)
	if info.ClientAddr() != netip.MustParseAddr("127.0.0.1") || info.TLS() || info.PeerCN() != "" || info.Accepted().IsZero() {
		t.Errorf("%v %v %q %v", info.ClientAddr(), info.TLS(), info.PeerCN(), info.Accepted())
	}
	if _, ok := server.(*streamConn).NetConn().(*net.TCPConn); !ok {
		t.Error("no *net.TCPConn below")
	}
}

func TestAddressInUse(t *testing.T) {
	o := open(t, NewStream(StreamOptions{ID: "mqtt", Addr: "127.0.0.1:0"}))
	err := NewStream(StreamOptions{ID: "other", Addr: o.addr}).Init(slog.New(slog.DiscardHandler))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), o.addr) {
		t.Error(err)
	}
}

func TestProxyFromTrusted(t *testing.T) {
	o := open(t, NewStream(StreamOptions{ID: "mqtt", Addr: "127.0.0.1:0", Proxy: true, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}))
	client := o.dial(t)
	_, err := client.Write([]byte(v2IPv4 + "word"))
	must(t, err)
	server := <-o.conns
	got := make([]byte, 4)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "word" {
		t.Fatalf("%q, %v", got, err)
	}
	echo(t, client, server)
	if a := server.(Info).ClientAddr().String(); a != "192.0.2.1" {
		t.Error(a)
	}
	health := o.dial(t)
	_, err = health.Write([]byte(v2(0, 0)))
	must(t, err)
	if a := (<-o.conns).(Info).ClientAddr().String(); a != "127.0.0.1" {
		t.Errorf("the proxy's own connection is from %s", a)
	}
	bare := o.dial(t)
	_, err = bare.Write([]byte("\x10\x0c\x00\x04MQTT"))
	must(t, err)
	wantClosed(t, bare)
}

func TestProxyFromOthersIsRefused(t *testing.T) {
	o := open(t, NewStream(StreamOptions{ID: "mqtt", Addr: "127.0.0.1:0", Proxy: true, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}))
	wantClosed(t, o.dial(t))
	if len(o.conns) != 0 {
		t.Error("established all the same")
	}
}

func TestAdmitIsAskedBeforeTLSAndReleasedAfter(t *testing.T) {
	pki := petreltest.NewAuthority(t)
	pki.Issue("server", "server")
	certs, err := NewCertificates(CertificateOptions{Cert: pki.Path("server.pem"), Key: pki.Path("server.key")})
	must(t, err)
	released := make(chan struct{})
	var asked atomic.Int32
	o := open(t, NewStream(StreamOptions{ID: "mqtts", Addr: "127.0.0.1:0", TLS: certs, Admit: func(a netip.Addr) (func(), bool) {
		if a.String() != "127.0.0.1" {
			t.Errorf("asked about %s", a)
		}
		return func() { close(released) }, asked.Add(1) == 1
	}}))
	first := o.dial(t)
	must(t, first.Close()) // no handshake comes of it
	<-released
	wantClosed(t, o.dial(t))
}

func TestMutualTLS(t *testing.T) {
	pki := petreltest.NewAuthority(t)
	pki.Issue("server", "server")
	pki.Issue("ann", "ann")
	certs, err := NewCertificates(CertificateOptions{
		Cert: pki.Path("server.pem"), Key: pki.Path("server.key"), ClientCA: pki.Path("ca.pem"), ClientAuth: tls.VerifyClientCertIfGiven,
	})
	must(t, err)
	o := open(t, NewStream(StreamOptions{ID: "mqtts", Addr: "127.0.0.1:0", TLS: certs}))
	idle := o.dial(t) // shakes no hands, and must not keep the others from it
	for _, cn := range []string{"ann", ""} {
		client := tls.Client(o.dial(t), pki.Client(cn))
		must(t, client.Handshake())
		server := <-o.conns
		echo(t, client, server)
		if info := server.(Info); info.PeerCN() != cn || !info.TLS() {
			t.Errorf("CN %q, TLS %v; want %q", info.PeerCN(), info.TLS(), cn)
		}
	}
	stranger := petreltest.NewAuthority(t)
	stranger.Issue("ann", "ann")
	cfg := pki.Client("")
	cfg.Certificates = stranger.Client("ann").Certificates
	c := tls.Client(o.dial(t), cfg)
	_ = c.Handshake() // with TLS 1.3 the refusal comes at the first read
	wantClosed(t, c)
	old := pki.Client("")
	old.MaxVersion = tls.VersionTLS11
	if err := tls.Client(o.dial(t), old).Handshake(); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
	_ = idle
}

func TestHandshakeHasADeadline(t *testing.T) {
	o := open(t, NewStream(StreamOptions{ID: "mqtt", Addr: "127.0.0.1:0", Proxy: true, HandshakeTimeout: time.Millisecond, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}))
	c := o.dial(t)
	_, err := c.Write([]byte("PROXY TCP4"))
	must(t, err)
	wantClosed(t, c)
}

func TestCloseCutsHandshakes(t *testing.T) {
	l := NewStream(StreamOptions{ID: "mqtt", Addr: "127.0.0.1:0", Proxy: true, HandshakeTimeout: time.Hour, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	must(t, l.Init(slog.New(slog.DiscardHandler)))
	go l.Serve(func(string, net.Conn) error { t.Error("established"); return nil })
	c, err := net.Dial("tcp", l.Address())
	must(t, err)
	defer c.Close() //nolint:errcheck // a test
	l.Close(func(string) {})
	l.Wait()
	wantClosed(t, c)
	if _, err := net.Dial("tcp", l.Address()); err == nil {
		t.Error("it still listens")
	}
}

func TestCloseWithoutServe(t *testing.T) {
	l := NewStream(StreamOptions{ID: "mqtt", Addr: "127.0.0.1:0"})
	must(t, l.Init(slog.New(slog.DiscardHandler)))
	l.Close(func(string) {})
	l.Serve(func(string, net.Conn) error { return nil }) // returns at once
	l.Wait()
}

// starved fails to accept for want of file descriptors, a number of times.
type starved struct {
	failures int
	times    []time.Time
	one      net.Conn
	closed   chan struct{}
}

func (s *starved) Accept() (net.Conn, error) {
	s.times = append(s.times, time.Now())
	if s.failures--; s.failures >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	if c := s.one; c != nil {
		s.one = nil
		return c, nil
	}
	<-s.closed
	return nil, net.ErrClosed
}
func (s *starved) Close() error   { close(s.closed); return nil }
func (s *starved) Addr() net.Addr { return &net.TCPAddr{} }

func TestAcceptBacksOffWithoutFileDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far, near := net.Pipe()
		ln := &starved{failures: 12, one: near, closed: make(chan struct{})}
		l := NewStream(StreamOptions{ID: "mqtt"})
		l.listen = func() (net.Listener, error) { return ln, nil }
		must(t, l.Init(slog.New(slog.DiscardHandler)))
		got := make(chan struct{})
		go l.Serve(func(string, net.Conn) error { close(got); return nil })
		<-got
		_ = far.Close()
		l.Close(func(string) {})
		l.Wait()
		first, last := ln.times[1].Sub(ln.times[0]), ln.times[12].Sub(ln.times[11])
		if first != 5*time.Millisecond || last != time.Second {
			t.Errorf("paused for %v at first and %v at last", first, last)
		}
	})
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	o := open(t, NewStream(StreamOptions{ID: "unix", Unix: path, Mode: 0o660}))
	st, err := os.Stat(path)
	must(t, err)
	if st.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v", st.Mode())
	}
	client, err := net.Dial("unix", path)
	must(t, err)
	defer client.Close() //nolint:errcheck // a test
	server := <-o.conns
	echo(t, client, server)
	if a := server.(Info).ClientAddr(); a.IsValid() {
		t.Errorf("a Unix socket's client has the address %v", a)
	}
	if _, err := listenUnix(path, 0o600); err == nil || !strings.Contains(err.Error(), "another server listens") {
		t.Errorf("a second server on it: %v", err)
	}
	if left, _ := filepath.Glob(path + ".*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnixSocketOfADeadServerIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	dead.SetUnlinkOnClose(false)
	must(t, dead.Close())
	ln, err := listenUnix(path, 0o600)
	must(t, err)
	c, err := net.Dial("unix", path)
	must(t, err)
	must(t, c.Close())
	must(t, ln.Close())
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestUnixSocketSparesFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	must(t, os.WriteFile(path, []byte("x"), 0o600))
	if _, err := listenUnix(path, 0o600); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}
