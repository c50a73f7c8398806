package broker_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/petreltest"
	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

// turnCredentials are made as any program could that is told the secret.
func (s *testServer) turnCredentials(user string) (name, pass string) {
	s.t.Helper()
	secret, err := os.ReadFile(filepath.Join(s.Config.Data, "turn.secret"))
	if err != nil {
		s.t.Fatal(err)
	}
	name = fmt.Sprintf("%d:%s:", time.Now().Add(time.Minute).Unix(), user)
	mac := hmac.New(sha1.New, []byte(strings.TrimSpace(string(secret))))
	mac.Write([]byte(name))
	return name, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// relays sends through an allocation to a peer and back.
func (s *testServer) relays(conn net.PacketConn) error {
	s.t.Helper()
	name, pass := s.turnCredentials("ana")
	return s.relaysAs(conn, name, pass)
}

// allocates returns the socket of an allocation, which ends with the test.
func (s *testServer) allocates(conn net.PacketConn, name, pass string) (net.PacketConn, error) {
	s.t.Helper()
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: s.Addr("turn"), TURNServerAddr: s.Addr("turn"), Conn: conn, Username: name, Password: pass, Realm: "petrel", LoggerFactory: quiet,
	})
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(client.Close)
	if err := client.Listen(); err != nil {
		return nil, err
	}
	return client.Allocate()
}

func (s *testServer) relaysAs(conn net.PacketConn, name, pass string) error {
	s.t.Helper()
	relayed, err := s.allocates(conn, name, pass)
	if err != nil {
		return err
	}
	defer relayed.Close() //nolint:errcheck
	peer, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer peer.Close() //nolint:errcheck
	if _, err := relayed.WriteTo([]byte("hello"), peer.LocalAddr()); err != nil {
		return err
	}
	_ = peer.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 100)
	n, from, err := peer.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" || from.String() != relayed.LocalAddr().String() {
		return fmt.Errorf("%q from %v: %w", buf[:n], from, err)
	}
	return nil
}

func (s *testServer) udp() net.PacketConn {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// In dev mode calls work out of the box; the secret survives a restart and is nobody else's.
func TestTURNOfDev(t *testing.T) {
	s := serve(t)
	s.dial("ana", v5)
	if err := s.relays(s.udp()); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(s.Config.Data, "turn.secret")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the secret: %v, %v", st, err)
	}
	before, _ := os.ReadFile(filepath.Join(s.Config.Data, "turn.secret"))
	s.Restart()
	after, _ := os.ReadFile(filepath.Join(s.Config.Data, "turn.secret"))
	if string(before) != string(after) {
		t.Error("credentials that were given out are worth nothing after a restart")
	}
	if err := s.relays(s.udp()); err != nil {
		t.Error("a stranger, who has to repeat himself:", err)
	}
}

// What call.ice gives is good for the call, and not after it.
func TestTURNForACall(t *testing.T) {
	s := serve(t)
	ana, bob := s.phone("ana", "a"), s.phone("bob", "b")
	call, _, _ := established(t, ana, bob, "u/bob/call")
	var name, pass string
	for _, server := range ana.want("call.ice", `{"call":"`+call+`"}`)["servers"].([]any) {
		server := server.(map[string]any)
		if server["username"] != nil {
			name, pass = server["username"].(string), server["credential"].(string)
		}
	}
	if !strings.HasSuffix(name, ":ana:"+call) {
		t.Fatal(name)
	}
	if err := s.relaysAs(s.udp(), name, pass); err != nil {
		t.Error(err)
	}
	ana.does(call, "hangup", "")
	if err := s.relaysAs(s.udp(), name, pass); err == nil {
		t.Error("credentials outlive their call")
	}
	if ice := ana.want("call.ice", "{}"); len(ice["servers"].([]any)) != 2 || ice["ttl"] != 600.0 {
		t.Errorf("before a call: %v", ice)
	}
}

func TestTURNIsOffOtherwise(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.TURN.Enabled = "false" })
	if s.Addr("turn") != "" {
		t.Error("it listens")
	}
	if _, err := os.Stat(filepath.Join(s.Config.Data, "turn.secret")); !os.IsNotExist(err) {
		t.Error("there is a secret for nothing")
	}
}

// TLS on the same port, with a certificate that is taken over as those of the other listeners are.
func TestTURNOverTLS(t *testing.T) {
	ca := petreltest.NewAuthority(t)
	ca.Issue("server", "first")
	s := serve(t, func(c *config.Config) {
		c.TURN.Enabled, c.TURN.Listen = "true", []string{"127.0.0.1:0"}
		c.TURN.TLS = config.KeyPair{Cert: ca.Path("server.pem"), Key: ca.Path("server.key")}
	})
	dial := func() *tls.Conn {
		t.Helper()
		c, err := tls.Dial("tcp", s.Addr("turn"), ca.Client(""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first := dial()
	if cn := first.ConnectionState().PeerCertificates[0].Subject.CommonName; cn != "first" {
		t.Error(cn)
	}
	if err := s.relays(turn.NewSTUNConn(first)); err != nil {
		t.Error(err)
	}
	plain, err := net.Dial("tcp", s.Addr("turn"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close() //nolint:errcheck
	if err := s.relays(turn.NewSTUNConn(plain)); err != nil {
		t.Error(err)
	}
	ca.Issue("server", "second")
	if _, _, err := s.Reload(s.Config); err != nil {
		t.Fatal(err)
	}
	if cn := dial().ConnectionState().PeerCertificates[0].Subject.CommonName; cn != "second" {
		t.Error("the renewed certificate is not used:", cn)
	}
}
