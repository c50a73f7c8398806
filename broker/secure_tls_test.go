package broker_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/coder/websocket"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/internal/petreltest"
)

// withTLS is the setting of a listener with the authority's certificate in that file.
func withTLS(a *petreltest.Authority, file, clientAuth string) config.TLS {
	t := config.TLS{Cert: a.Path(file + ".pem"), Key: a.Path(file + ".key"), ClientAuth: clientAuth}
	if clientAuth != "" {
		t.ClientCA = a.Path("ca.pem")
	}
	return t
}

func over(c *tls.Config) opt { return func(o *mqttc.ConnectOptions) { o.TLS = c } }

func TestTLS(t *testing.T) {
	ca := petreltest.NewAuthority(t)
	ca.Issue("server", "first")
	s := serve(t, accounts, func(c *config.Config) { c.MQTT[0].TLS = withTLS(ca, "server", "") })
	s.addUsers("ana")
	ana := ca.Client("")
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
	s.Restart()
	if state, _ := connect().TLS(); !state.DidResume {
		t.Error("the session ticket is worth nothing after a restart")
	}

	ca.Issue("server", "second")
	if _, _, err := s.Reload(s.Config); err != nil {
		t.Fatal(err)
	}
	ana = ca.Client("")
	if state, _ := connect().TLS(); state.PeerCertificates[0].Subject.CommonName != "second" {
		t.Error("the renewed certificate is not used")
	}
	if err := os.WriteFile(ca.Path("server.pem"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Reload(s.Config); err == nil {
		t.Error("an unusable certificate is taken over")
	}
	connect()
}

// Mutual TLS: the common name is the user, whatever password comes along.
func TestClientCertificates(t *testing.T) {
	ca := petreltest.NewAuthority(t)
	for _, name := range []string{"server", "ana", "bob", "not a user id!"} {
		ca.Issue(name, name)
	}
	s := serve(t, accounts, func(c *config.Config) {
		c.MQTT[0].TLS = withTLS(ca, "server", "require")
		c.MQTT = append(c.MQTT, config.Listener{Addr: "127.0.0.1:0", TLS: withTLS(ca, "server", "request")})
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
		c, err := s.tryAt(must, user, v5, device("d"+user), over(ca.Client("ana")))
		if err != nil {
			t.Fatal(err)
		}
		c.send("ana/x", "x")
		c.refused(0x87, "bob/x", "x")
	}
	refused(must, "bob", over(ca.Client("ana")))
	refused(must, "ana", over(ca.Client("bob")), password(passwordOf("ana")))
	refused(must, "bob", over(ca.Client("bob"))) // no account, and none is made
	refused(must, "", over(ca.Client("not a user id!")))
	refused(must, "ana", over(ca.Client("")), password(passwordOf("ana")))
	stranger := petreltest.NewAuthority(t)
	stranger.Issue("ana", "ana")
	foreign := ca.Client("")
	foreign.Certificates = stranger.Client("ana").Certificates
	refused(must, "ana", over(foreign))
	refused(may, "ana", over(foreign), password(passwordOf("ana")))
	if _, err := s.tryAt(may, "ana", password(passwordOf("ana")), over(ca.Client(""))); err != nil {
		t.Error("a password where a certificate is only asked for:", err)
	}
	refused(may, "ana", over(ca.Client("")), password("a guess"))
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
	ca := petreltest.NewAuthority(t)
	ca.Issue("server", "server")
	ca.Issue("ana", "ana")
	s := serve(t, accounts, func(c *config.Config) {
		c.HTTP.TLS = withTLS(ca, "server", "request")
		c.HTTP.Origins = []string{"https://chat.example.org"}
	}, openly)
	s.addUsers("ana", "bob")
	bob := s.signIn("bob")
	code(t, bob.subscribe("c/+/text/+"), 1)
	for name, h := range map[string]http.Header{"no page": nil, "own host": origin("https://" + s.Addr("http")), "listed": origin("https://chat.example.org")} {
		nc, _ := s.ws(ca.Client(""), h, "mqtt")
		if nc == nil {
			t.Fatal(name, "is refused")
		}
		ana := s.overWS(nc, "ana", v5)
		ana.send("u/bob/text", name)
		bob.expect([2]string{"c/ana~bob/text/ana", name})
	}
	for _, o := range []string{"https://evil.example", "http://chat.example.org", "https://chat.example.org.evil.example", "null", "http://localhost"} {
		if nc, status := s.ws(ca.Client(""), origin(o), "mqtt"); nc != nil || status != http.StatusForbidden {
			t.Errorf("Origin %s: %d", o, status)
		}
	}
	if nc, status := s.ws(ca.Client(""), nil, "chat"); nc != nil || status != http.StatusBadRequest {
		t.Errorf("another subprotocol: %d", status)
	}
	nc, _ := s.ws(ca.Client("ana"), nil, "mqtt")
	s.overWS(nc, "ana", func(o *mqttc.ConnectOptions) { o.Password = nil }).quiet() // by certificate

	cfg := s.Config
	cfg.HTTP.Origins = []string{"https://evil.example"}
	if changed, _, err := s.Reload(cfg); err != nil || len(changed) != 1 || changed[0] != "http.origins" {
		t.Fatal(changed, err)
	}
	if nc, _ := s.ws(ca.Client(""), origin("https://evil.example"), "mqtt"); nc == nil {
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
