package broker_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// proxied connects through a "load balancer" that claims to speak for somebody.
func (s *testServer) proxied(header, user string) (*client, error) {
	s.t.Helper()
	o := mqttc.ConnectOptions{ClientID: user, Username: user, Password: []byte(passwordOf(user)), CleanStart: true, Version: 5}
	c, err := mqttc.Open(context.Background(), s.Addr("mqtt"), o)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if err := c.Raw([]byte(header)); err != nil {
		return nil, err
	}
	if _, err := c.Connect(o); err != nil {
		return nil, err
	}
	return &client{Conn: c, t: s.t, name: user}, nil
}

func proxyV1(from string) string { return "PROXY TCP4 " + from + " 10.0.0.1 5000 1883\r\n" }

func proxyV2(a, b, c, d byte) string {
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11"), 0, 12)
	return string(binary.BigEndian.AppendUint16(append(h, a, b, c, d, 10, 0, 0, 1, 0x13, 0x88), 1883))
}

// soon tries until it is so: for what the server does after the last packet of a connection.
func soon(t *testing.T, otherwise string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}

// Limits per address count the client's, not the proxy's.
func TestProxyProtocol(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) {
		c.MQTT[0].ProxyProtocol, c.MQTT[0].TrustedProxies = true, []string{"127.0.0.0/8"}
		c.MQTT = append(c.MQTT, config.Listener{Addr: "127.0.0.1:0", ProxyProtocol: true, TrustedProxies: []string{"192.0.2.0/24"}})
		c.Limits.ConnectionsPerAddress = 1
	})
	s.addUsers("ana", "bob", "eve")
	ana, err := s.proxied(proxyV1("198.51.100.1"), "ana")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.proxied(proxyV2(198, 51, 100, 1), "eve"); err == nil {
		t.Error("a second connection of the same address")
	}
	if _, err := s.proxied(proxyV2(198, 51, 100, 2), "bob"); err != nil {
		t.Error("another address:", err)
	}
	code(t, ana.subscribe("u/ana/rpc"), 1)
	ana.send("rpc/device.list", `{"tag":"1"}`)
	list := object(t, ana.next().payload)["ok"].(map[string]any)["devices"].([]any)
	if got := list[0].(map[string]any)["addr"]; got != "198.51.100.1" {
		t.Errorf("the session's address is %v", got)
	}
	for name, header := range map[string]string{"none": "", "no header": "HELLO\r\n", "a bad address": "PROXY TCP4 x y 1 2\r\n"} {
		if _, err := s.proxied(header, "eve"); err == nil {
			t.Error(name, "is let in")
		}
	}
	if _, err := s.tryAt(s.Addr("mqtt-1"), "eve", password(passwordOf("eve"))); err == nil {
		t.Error("a proxy that is not trusted is let in")
	}
	ana.leave()
	soon(t, "the address counts for ever", func() bool { // until the listener has noticed
		_, err := s.proxied(proxyV1("198.51.100.1"), "ana")
		return err == nil
	})
}

func TestForwardedFor(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) {
		c.HTTP.TrustedProxies = []string{"127.0.0.1", "10.0.0.0/8"}
		c.Limits.ConnectionsPerAddress = 1
	})
	from := func(list ...string) http.Header { return http.Header{"X-Forwarded-For": list} }
	s.addUsers("ana")
	nc, _ := s.ws(nil, from("198.51.100.1"), "mqtt")
	s.overWS(nc, "ana").quiet()
	for _, tc := range []struct {
		header http.Header
		want   int
	}{
		{from("198.51.100.1, 10.1.1.1"), 429},              // through one more proxy
		{from("203.0.113.9, 198.51.100.1"), 429},           // what stands before it, anybody may have written
		{from("203.0.113.9", "198.51.100.1"), 429},         // in lines
		{from("198.51.100.1, 198.51.100.2"), 101},          // another client
		{from("[2001:db8::1]:5000"), 101}, {from(""), 101}, // the proxy itself
	} {
		if _, status := s.ws(nil, tc.header, "mqtt"); status != tc.want {
			t.Errorf("%v: %d, want %d", tc.header, status, tc.want)
		}
	}
	open := serve(t, accounts, func(c *config.Config) { c.Limits.ConnectionsPerAddress = 1 })
	for i, want := range []int{101, 429} {
		if _, status := open.ws(nil, from([]string{"198.51.100.1", "198.51.100.2"}[i]), "mqtt"); status != want {
			t.Errorf("the header of somebody who is not trusted: %d, want %d", status, want)
		}
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) { c.Limits.ConnectionsPerAddress = 2 })
	s.addUsers("ana")
	first, _ := s.signIn("ana", device("1")), s.signIn("ana", device("2"))
	if _, err := s.try("ana", device("3"), password(passwordOf("ana"))); err == nil {
		t.Error("a third connection")
	}
	cfg := s.Config
	cfg.Limits.ConnectionsPerAddress = 3
	if _, _, err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	s.signIn("ana", device("3")).leave()
	first.quiet()
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mqtt.sock")
	s := serve(t, accounts, func(c *config.Config) {
		c.MQTT = append(c.MQTT, config.Listener{Unix: path, UnixMode: "0620"})
		c.Limits.ConnectionsPerAddress = 1
	})
	s.addUsers("ana")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o620 {
		t.Errorf("%v %v", st, err)
	}
	for _, id := range []string{"a", "b", "c"} { // they have no address
		c, err := s.tryAt("unix://"+path, "ana", v5, keep, clean, device(id), password(passwordOf("ana")))
		if err != nil {
			t.Fatal(err)
		}
		c.send("ana/x", "x")
	}
	list := s.call("ana", "device.list", `{}`)["devices"].([]any)
	if got := list[0].(map[string]any)["addr"]; got != nil && got != "" {
		t.Errorf("a connection without address has %v", got)
	}
	if _, err := s.tryAt("unix://"+path, "ana", password("a guess")); err == nil {
		t.Error("any password is taken on the Unix socket")
	}
	s.Stop()
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the socket answers after the server's end")
	}
}
