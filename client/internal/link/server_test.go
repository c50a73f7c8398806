package link_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/internal/faultproxy"
	"github.com/petrelchat/petrel/internal/petreltest"
	"github.com/petrelchat/petrel/internal/servertest"
)

// TestTransports talks over each kind of connection.
func TestTransports(t *testing.T) {
	ca := petreltest.NewAuthority(t)
	socket := filepath.Join(t.TempDir(), "m.sock")
	plain := serve(t, func(c *config.Config) {
		c.MQTT = append(c.MQTT, config.Listener{Unix: socket})
	})
	secret := withTLS(ca)
	secure := serve(t, func(c *config.Config) { c.MQTT[0].TLS, c.HTTP.TLS = secret, secret })
	for _, c := range []struct {
		s       *server
		at      *url.URL
		trusted bool
	}{
		{plain, plain.at("mqtt", "mqtt"), false},
		{plain, plain.at("tcp", "mqtt"), false},
		{plain, plain.at("ws", "http"), false},
		{plain, parse(t, plain.at("ws", "http").String()+"/mqtt"), false},
		{plain, &url.URL{Scheme: "unix", Path: socket}, false},
		{secure, secure.at("mqtts", "mqtt"), true},
		{secure, secure.at("tls", "mqtt"), true},
		{secure, secure.at("ssl", "mqtt"), true},
		{secure, secure.at("wss", "http"), true},
	} {
		t.Run(c.at.Scheme+c.at.Path, func(t *testing.T) {
			trust := func(o *link.Options) {
				if c.trusted {
					o.TLS = ca.Trust()
				}
			}
			ana, bob := open(t, c.at, "ana", trust), open(t, c.at, "bob", trust)
			up := ana.next("up").session
			if up.MaxPacket == 0 || up.ReceiveMax == 0 || up.Expiry != time.Hour {
				t.Fatalf("%+v", up)
			}
			bob.next("up")
			ana.subscribe("u/ana/rpc")
			bob.subscribe("c/+/text/+")
			text := strings.Repeat(c.at.Scheme, 10_000)
			seq := ana.send("u/bob/text", text).Property("seq")
			if m := bob.message(); m.Topic != "c/ana~bob/text/ana" || string(m.Payload) != text || m.QoS != 1 || m.Dup {
				t.Fatalf("%s: %d bytes, QoS %d", m.Topic, len(m.Payload), m.QoS)
			}
			if reply := ana.call("conv.list", `{"limit":1}`); !strings.Contains(reply, `"head":`+seq) {
				t.Fatalf("%s instead of head %s", reply, seq)
			}
			if err := bob.Probe(servertest.Soon(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// between puts a proxy before the server.
func (s *server) between() (*faultproxy.Proxy, *url.URL) {
	s.t.Helper()
	return s.betweenAt("mqtt", "mqtt")
}

func (s *server) betweenAt(scheme, listener string) (*faultproxy.Proxy, *url.URL) {
	s.t.Helper()
	p, err := faultproxy.New(s.Addr(listener))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(p.Close)
	return p, parse(s.t, scheme+"://"+p.Addr())
}

// TestBytesOfAReconnect: what a phone pays for coming back when there is nothing new.
func TestBytesOfAReconnect(t *testing.T) {
	s := serve(t)
	p, at := s.between()
	alice := open(t, at, "alice", func(o *link.Options) {
		o.ClientID = "phone"
		o.SessionExpiry = 30 * 24 * time.Hour
	})
	alice.next("up")
	alice.subscribe("c/+/cbor", "u/alice/events", "u/alice/rpc")
	before := p.Stats()
	p.Cut()
	if !alice.next("up").session.Present {
		t.Fatal("the session is gone")
	}
	if err := p.Wait(servertest.Soon(t), func(s faultproxy.Stats) bool { return s.Down > before.Down }); err != nil {
		t.Fatal(err)
	}
	after := p.Stats()
	up, down := after.Up-before.Up, after.Down-before.Down
	t.Logf("%d bytes up, %d down", up, down)
	if up+down > 70 {
		t.Errorf("%d bytes, at most 70 are allowed", up+down)
	}
	before = after
	alice.close()
	if got := p.Stats().Up - before.Up; got != 2 {
		t.Errorf("taking leave took %d bytes, DISCONNECT has 2", got)
	}
}

// memory is a link.Memory that outlives a Link.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *memory) Get(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[name]
}

func (m *memory) Put(name string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = make(map[string][]byte)
	}
	m.values[name] = value
}

// TestTicketsSurviveTheProgram: the first handshake after a restart of the program is a short one, and cheap.
func TestTicketsSurviveTheProgram(t *testing.T) {
	ca := petreltest.NewAuthority(t)
	secret := withTLS(ca)
	s := serve(t, func(c *config.Config) { c.MQTT[0].TLS, c.HTTP.TLS = secret, secret })
	for _, listener := range []string{"mqtt", "http"} {
		t.Run(listener, func(t *testing.T) {
			p, at := s.betweenAt(map[string]string{"mqtt": "mqtts", "http": "wss"}[listener], listener)
			var kept memory
			run := func() (resumed bool, bytes int64) {
				before := p.Stats()
				alice := open(t, at, "alice", func(o *link.Options) { o.TLS, o.Memory, o.ClientID = ca.Trust(), &kept, "phone" })
				resumed = alice.next("up").session.Resumed
				now := p.Stats()
				alice.close()
				return resumed, now.Up + now.Down - before.Up - before.Down
			}
			if resumed, _ := run(); resumed {
				t.Fatal("what was there to resume?")
			}
			for range 3 {
				resumed, bytes := run()
				t.Logf("%d bytes", bytes)
				if !resumed {
					t.Fatal("the ticket did not survive")
				}
				if listener == "mqtt" && bytes > 900 {
					t.Errorf("%d bytes, at most 900 are allowed", bytes)
				}
			}
			for name := range kept.values { // damaged
				kept.Put(name, []byte("\x00\x00\x00\x05abcdefgh"))
			}
			if resumed, _ := run(); resumed {
				t.Fatal("a damaged ticket was taken")
			}
		})
	}
}

// TestPipeline: ten thousand publishes, each answered once, in order.
func TestPipeline(t *testing.T) {
	s := serve(t)
	ana := open(t, s.at("mqtt", "mqtt"), "ana")
	ana.next("up")
	ana.subscribe("u/ana/rpc")
	ana.call("group.create", `{"id":"crew","title":"crew","visibility":"private","join":"invite","history":"all"}`)
	const n = 10_000
	var mu sync.Mutex
	var seqs []string
	all := make(chan struct{})
	begun := time.Now()
	for i := range n {
		err := ana.Publish(link.Publish{Topic: "c/crew/text", Payload: fmt.Appendf(nil, "message %d", i), QoS: 1}, func(a link.Ack, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil || a.Code >= 0x80 {
				t.Errorf("message %d: %v, %v", i, a.Refusal(), err)
			}
			seqs = append(seqs, a.Property("seq"))
			if len(seqs) == n {
				close(all)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-all:
	case <-time.After(patience * 3):
		t.Fatal("not all were answered")
	}
	t.Logf("%.0f a second", n/time.Since(begun).Seconds())
	if err := ana.Probe(servertest.Soon(t)); err != nil { // nothing comes after
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, seq := range seqs {
		if seq != fmt.Sprint(i+2) { // 1 is the group's creation
			t.Fatalf("answer %d has seq %s", i, seq)
		}
	}
}
