package broker_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// authority signs certificates and writes them as files, name.pem and name.key.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", "ca")
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a certificate for a common name; the first is the authority's own.
func (a *authority) issue(file, cn string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	a.must(err)
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: a.cert == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		c.KeyUsage |= x509.KeyUsageCertSign
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	a.must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	a.must(err)
	a.must(os.WriteFile(a.path(file+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a.must(os.WriteFile(a.path(file+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	cert, err := x509.ParseCertificate(der)
	a.must(err)
	return cert, key
}

// server is the setting of a listener with the certificate in that file.
func (a *authority) server(file, clientAuth string) config.TLS {
	t := config.TLS{Cert: a.path(file + ".pem"), Key: a.path(file + ".key"), ClientAuth: clientAuth}
	if clientAuth != "" {
		t.ClientCA = a.path("ca.pem")
	}
	return t
}

// client trusts the authority and shows a certificate; "": none.
func (a *authority) client(file string) *tls.Config {
	a.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if file != "" {
		pair, err := tls.LoadX509KeyPair(a.path(file+".pem"), a.path(file+".key"))
		a.must(err)
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

func over(c *tls.Config) opt { return func(o *mqttc.ConnectOptions) { o.TLS = c } }

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	ca.issue("server", "first")
	s := serve(t, accounts, func(c *config.Config) { c.MQTT[0].TLS = ca.server("server", "") })
	s.addUsers("ana")
	ana := ca.client("")
	connect := func() *client {
		t.Helper()
		c, err := s.tryAt("tls://"+s.Addr("mqtt"), "ana", v5, password(passwordOf("ana")), over(ana))
		if err != nil {
			t.Fatal(err)
		}
		c.send("ana/x", "secret")
		return c
	}
	first := connect()
	if state, _ := first.TLS(); state.DidResume || state.Version != tls.VersionTLS13 || state.PeerCertificates[0].Subject.CommonName != "first" {
		t.Errorf("%+v", state)
	}
	if _, err := s.try("ana", password(passwordOf("ana"))); err == nil {
		t.Error("connected without TLS")
	}
	s.restart()
	if state, _ := connect().TLS(); !state.DidResume {
		t.Error("the session ticket is worth nothing after a restart")
	}

	ca.issue("server", "second")
	if _, _, err := s.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	ana = ca.client("")
	if state, _ := connect().TLS(); state.PeerCertificates[0].Subject.CommonName != "second" {
		t.Error("the renewed certificate is not used")
	}
	if err := os.WriteFile(ca.path("server.pem"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Reload(s.cfg); err == nil {
		t.Error("an unusable certificate is taken over")
	}
	connect()
}

// Mutual TLS: the common name is the user, whatever password comes along.
func TestClientCertificates(t *testing.T) {
	ca := newAuthority(t)
	for _, name := range []string{"server", "ana", "bob", "not a user id!"} {
		ca.issue(name, name)
	}
	s := serve(t, accounts, func(c *config.Config) {
		c.MQTT[0].TLS = ca.server("server", "require")
		c.MQTT = append(c.MQTT, config.Listener{Addr: "127.0.0.1:0", TLS: ca.server("server", "request")})
		c.Auth.Certificates.Create = false
	})
	s.addUsers("ana")
	must, may := "tls://"+s.Addr("mqtt"), "tls://"+s.Addr("mqtt-1")
	refused := func(addr, user string, opts ...opt) {
		t.Helper()
		if _, err := s.tryAt(addr, user, append([]opt{v5}, opts...)...); err == nil {
			t.Errorf("%s is let in", user)
		}
	}
	for _, user := range []string{"ana", ""} { // without a user name it is the certificate's
		c, err := s.tryAt(must, user, v5, device("d"+user), over(ca.client("ana")))
		if err != nil {
			t.Fatal(err)
		}
		c.send("ana/x", "x")
		c.refused(0x87, "bob/x", "x")
	}
	refused(must, "bob", over(ca.client("ana")))
	refused(must, "ana", over(ca.client("bob")), password(passwordOf("ana")))
	refused(must, "bob", over(ca.client("bob"))) // no account, and none is made
	refused(must, "", over(ca.client("not a user id!")))
	refused(must, "ana", over(ca.client("")), password(passwordOf("ana")))
	stranger := newAuthority(t)
	stranger.issue("ana", "ana")
	foreign := ca.client("")
	foreign.Certificates = stranger.client("ana").Certificates
	refused(must, "ana", over(foreign))
	refused(may, "ana", over(foreign), password(passwordOf("ana")))
	if _, err := s.tryAt(may, "ana", password(passwordOf("ana")), over(ca.client(""))); err != nil {
		t.Error("a password where a certificate is only asked for:", err)
	}
	refused(may, "ana", over(ca.client("")), password("a guess"))
}

// ws opens a WebSocket; the connection is nil when it is refused.
func (s *testServer) ws(secure *tls.Config, header http.Header, protocol string) (net.Conn, int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o := &websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{protocol}, HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: secure}}}
	scheme := "ws://"
	if secure != nil {
		scheme = "wss://"
	}
	c, resp, err := websocket.Dial(ctx, scheme+s.Addr("http")+"/mqtt", o)
	if err != nil {
		if resp == nil {
			s.t.Fatal(err)
		}
		return nil, resp.StatusCode
	}
	if c.Subprotocol() != "mqtt" {
		s.t.Errorf("subprotocol %q", c.Subprotocol())
	}
	nc := websocket.NetConn(context.Background(), c, websocket.MessageBinary)
	s.t.Cleanup(func() { _ = nc.Close() })
	return nc, resp.StatusCode
}

func (s *testServer) overWS(nc net.Conn, user string, opts ...opt) *client {
	s.t.Helper()
	o := mqttc.ConnectOptions{ClientID: user, Username: user, CleanStart: true, Password: []byte(passwordOf(user))}
	for _, fn := range opts {
		fn(&o)
	}
	c := &client{Conn: mqttc.NewConn(nc, o), t: s.t, name: user}
	var err error
	if c.ack, err = c.Connect(o); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func origin(o string) http.Header { return http.Header{"Origin": {o}} }

func TestWebSocket(t *testing.T) {
	ca := newAuthority(t)
	ca.issue("server", "server")
	ca.issue("ana", "ana")
	s := serve(t, accounts, func(c *config.Config) {
		c.HTTP.TLS = ca.server("server", "request")
		c.HTTP.Origins = []string{"https://chat.example.org"}
	}, openly)
	s.addUsers("ana", "bob")
	bob := s.signIn("bob")
	code(t, bob.subscribe("c/+/text/+"), 1)
	for name, h := range map[string]http.Header{"no page": nil, "own host": origin("https://" + s.Addr("http")), "listed": origin("https://chat.example.org")} {
		nc, _ := s.ws(ca.client(""), h, "mqtt")
		if nc == nil {
			t.Fatal(name, "is refused")
		}
		ana := s.overWS(nc, "ana", v5)
		ana.send("u/bob/text", name)
		bob.expect([2]string{"c/ana~bob/text/ana", name})
	}
	for _, o := range []string{"https://evil.example", "http://chat.example.org", "https://chat.example.org.evil.example", "null", "http://localhost"} {
		if nc, status := s.ws(ca.client(""), origin(o), "mqtt"); nc != nil || status != http.StatusForbidden {
			t.Errorf("Origin %s: %d", o, status)
		}
	}
	if nc, status := s.ws(ca.client(""), nil, "chat"); nc != nil || status != http.StatusBadRequest {
		t.Errorf("another subprotocol: %d", status)
	}
	nc, _ := s.ws(ca.client("ana"), nil, "mqtt")
	s.overWS(nc, "ana", func(o *mqttc.ConnectOptions) { o.Password = nil }).quiet() // by certificate

	cfg := s.cfg
	cfg.HTTP.Origins = []string{"https://evil.example"}
	if changed, _, err := s.Reload(cfg); err != nil || len(changed) != 1 || changed[0] != "http.origins" {
		t.Fatal(changed, err)
	}
	if nc, _ := s.ws(ca.client(""), origin("https://evil.example"), "mqtt"); nc == nil {
		t.Error("the new list of origins is not in force")
	}
}

func TestWebSocketDev(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.HTTP.Origins = []string{"https://chat.example.org"} })
	for o, want := range map[string]int{"": 101, "http://localhost:3000": 101, "http://127.0.0.1": 101, "http://[::1]:1": 101, "https://chat.example.org": 403, "null": 403} {
		h := origin(o)
		if o == "" {
			h = nil
		}
		if _, status := s.ws(nil, h, "mqtt"); status != want {
			t.Errorf("Origin %q: %d, want %d", o, status, want)
		}
	}
}
