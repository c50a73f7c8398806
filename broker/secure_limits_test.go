package broker_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

func TestLimits(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) {
		l := &c.Limits
		l.Subscriptions, l.TopicLevels, l.UserProperties = 3, 4, 2
		l.PacketBeforeAuth, l.Packet, l.Event = 512, 4096, 1024
		l.Inflight, l.InflightV3 = 4, 2
	})
	s.addUsers("ana", "bob")
	ana := s.signIn("ana", v5, func(o *mqttc.ConnectOptions) { o.UserProperties = []mqttc.UserProperty{{Key: "a"}, {Key: "b"}} })
	if ana.ack.MaximumPacketSize != 4096 {
		t.Errorf("Maximum Packet Size %d", ana.ack.MaximumPacketSize)
	}
	code(t, ana.subscribe("public/a", "public/b", "public/c", "public/d"), 1, 1, 1, 0x83)
	code(t, ana.subscribe("public/a", "public/a/b/c/d"), 1, 0x8F)
	ana.refused(0x99, "public/a/b/c/d", "x")
	ana.refused(0x83, "u/bob/text", strings.Repeat("x", 1025))
	three := [][2]string{{"a", ""}, {"b", ""}, {"c", ""}}
	var props []byte
	for _, p := range three {
		props = mqttc.AppendUserProperty(props, p[0], p[1])
	}
	ana.put(mqttc.Publish{Topic: "ana/x", Props: props})
	ana.closedWith(0x97)
	big := s.signIn("ana", v5)
	big.put(mqttc.Publish{Topic: "ana/x", Payload: make([]byte, 4096)})
	big.closedWith(0x95)
	if _, err := s.try("ana", v5, password(strings.Repeat("x", 600))); err == nil {
		t.Error("a CONNECT that is too long")
	}
	for _, version := range []opt{v3, v5} {
		bob := s.signIn("bob", version)
		code(t, bob.subscribe("bob/#"), 1)
		other := s.signIn("bob", device("other"))
		for i := range 6 {
			other.send("bob/x", fmt.Sprint(i))
		}
		bob.ping()
		want := 2
		if bob.Version() == 5 {
			want = 4
		}
		if len(bob.pending) != want {
			t.Errorf("%d messages in flight, want %d", len(bob.pending), want)
		}
		for i := range 6 {
			if m := bob.next(); m.payload != fmt.Sprint(i) {
				t.Error(m)
			}
		}
		other.leave()
		bob.leave()
	}
}

// A user who is too fast is slowed down first, all connections together, and refused then; nobody else
// notices.
func TestRates(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) {
		c.Limits.EventsPerSecond, c.Limits.RequestsPerSecond, c.Limits.Burst = 10, 2, 1
	})
	s.addUsers("ana", "bob")
	began := time.Now()
	ana, second := s.signIn("ana", v5), s.signIn("ana", v5, device("second"))
	for i := range 15 { // ten at once, the others at their pace
		[]*client{ana, second}[i%2].send("ana/x", "x")
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("15 messages at 10 a second, 10 of them at once, took %v", took)
	}
	s.signIn("bob").send("bob/x", "x")
	// What would have to wait for more than two seconds is refused: here that of the last of many devices.
	devices := []*client{ana, second}
	for i := range 8 {
		devices = append(devices, s.signIn("ana", v5, device(fmt.Sprint("more ", i))))
	}
	for _, c := range devices {
		c.put(mqttc.Publish{Topic: "rpc/sync", Payload: []byte("{}"), QoS: 1, ID: 1000})
	}
	answers := make(map[byte]int)
	for _, c := range devices {
		answers[c.await(mqttc.PUBACK).Code]++
	}
	if answers[0] < 5 || answers[0x97] < 2 || len(answers) != 2 {
		t.Errorf("ten requests at once: %v", answers)
	}
	cfg := s.Config
	cfg.Limits.RequestsPerSecond = 0
	if _, _, err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		ana.send("rpc/sync", "{}")
	}
}

// One user's sessions that stay are counted; those that exist are never locked out.
func TestSessionsPerUser(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) { c.Limits.SessionsPerUser = 2 })
	s.addUsers("ana", "bob")
	own := password(passwordOf("ana"))
	s.dial("ana", own, v5, keep, device("phone")).leave()
	s.dial("ana", own, v3, keep, device("tablet")).leave()
	if reason := s.turnedAway(3, 0x97, "ana", own, device("laptop"), func(o *mqttc.ConnectOptions) {
		o.CleanStart, o.SessionExpiry = false, 60
	}); !strings.Contains(reason, "device.revoke") {
		t.Errorf("reason %q", reason)
	}
	visit := s.dial("ana", own, v5, device("laptop")) // one that ends with its connection
	for _, o := range []opt{keep, clean} {
		c := s.dial("ana", own, v5, device("phone"), keep, o)
		c.quiet()
		c.leave()
	}
	s.signIn("bob", v5, keep)
	if got := visit.ask("device.revoke", `{"device":"tablet","tag":"1"}`); got["ok"] == nil {
		t.Fatal(got)
	}
	s.dial("ana", own, v5, keep, device("laptop 2")).quiet()
}

// What waits for all sessions of a user together is bounded, also across a restart; what was acknowledged
// makes room again.
func TestQueueBytesPerUser(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) {
		c.Limits.Queue.Bytes, c.Limits.Queue.BytesPerUser = 16*config.KiB, 20*config.KiB
	})
	s.addUsers("ana", "bob")
	for _, id := range []string{"a", "b"} {
		c := s.signIn("ana", v5, keep, device(id))
		code(t, c.subscribe("public/#"), 1)
		c.leave()
	}
	reader := s.signIn("bob", v5, keep)
	code(t, reader.subscribe("public/#"), 1)
	reader.leave()
	fill := func(n int) {
		t.Helper()
		bob := s.signIn("bob", device("writer"))
		for range n {
			bob.send("public/x", strings.Repeat("x", 1024))
		}
		bob.leave()
	}
	drain := func(user, id string) (n int) {
		t.Helper()
		c := s.signIn(user, v5, keep, device(id))
		c.ping()
		for c.ping(); len(c.pending) > 0; c.ping() {
			n++
			c.next()
		}
		c.leave()
		return n
	}
	fill(6)
	s.Restart()
	fill(6)
	a, b, bob := drain("ana", "a"), drain("ana", "b"), drain("bob", "bob")
	if a+b < 16 || a+b > 19 || bob != 12 { // 20 KiB of messages a little longer than 1 KiB
		t.Errorf("%d and %d messages waited for ana's devices, %d for bob's", a, b, bob)
	}
	fill(6)
	if a, b := drain("ana", "a"), drain("ana", "b"); a != 6 || b != 6 {
		t.Errorf("after they were emptied %d and %d", a, b)
	}
	if text := s.get("/metrics"); !regexp.MustCompile(`(?m)^petrel_queue_dropped_total [1-9]`).MatchString(text) {
		t.Error("what was dropped is not counted")
	}
}

// get reads a page of the HTTP listener.
func (s *testServer) get(path string) string {
	s.t.Helper()
	_, text := s.fetch("http", path)
	return text
}

func (s *testServer) fetch(listener, path string) (int, string) {
	s.t.Helper()
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + s.Addr(listener) + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Every metric that the documentation names is there, and no other of ours.
func TestHTTP(t *testing.T) {
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range []bool{false, true} {
		s := serve(t, accounts, func(c *config.Config) {
			if own {
				c.Metrics.Addr = "127.0.0.1:0"
			}
		})
		for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
			if status, text := s.fetch("http", path); status != 200 || text != want {
				t.Errorf("%s: %d %q", path, status, text)
			}
		}
		listener := "http"
		if own {
			listener = "metrics"
			if status, _ := s.fetch("http", "/metrics"); status != 404 {
				t.Errorf("/metrics on the http listener beside its own: %d", status)
			}
			if status, _ := s.fetch("metrics", "/healthz"); status != 404 {
				t.Errorf("/healthz on the listener for metrics: %d", status)
			}
		}
		for _, path := range []string{"/debug/pprof/", "/", "/mqtt/x"} {
			if status, _ := s.fetch(listener, path); status != 404 {
				t.Errorf("%s: %d", path, status)
			}
		}
		status, text := s.fetch(listener, "/metrics")
		if status != 200 {
			t.Fatal(status, text)
		}
		named := make(map[string]bool)
		for _, name := range regexp.MustCompile("petrel_[a-z0-9_]+").FindAllString(string(doc), -1) {
			named[name] = true
			if !strings.Contains(text, "\n"+name+" ") && !strings.Contains(text, "\n# TYPE "+name+" ") { // with labels
				t.Errorf("%s is documented, but not there", name)
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^(petrel_[a-z0-9_]+) `).FindAllStringSubmatch(text, -1) {
			if !named[m[1]] {
				t.Errorf("%s is not documented", m[1])
			}
		}
	}
}
