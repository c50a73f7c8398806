package e2e_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// mosquitto runs Debian's clients as one user against one server.
type mosquitto struct {
	t        *testing.T
	s        *petreltest.Server
	pub, sub string
	buffered string // stdbuf: their debug lines come when they are written
	version  string // mqttv311 or mqttv5
}

func newMosquitto(t *testing.T, s *petreltest.Server, version string) *mosquitto {
	return &mosquitto{t: t, s: s, pub: petreltest.Tool(t, "mosquitto_pub"), sub: petreltest.Tool(t, "mosquitto_sub"), buffered: petreltest.Tool(t, "stdbuf"), version: version}
}

func (m *mosquitto) args(user string, args []string) []string {
	host, port := m.s.HostPort()
	return append([]string{"-h", host, "-p", port, "-V", m.version, "-u", user}, args...)
}

// publish runs mosquitto_pub to its end; with QoS 1 that is when the message is stored.
func (m *mosquitto) publish(user string, args ...string) {
	m.t.Helper()
	cmd := exec.Command(m.pub, m.args(user, args)...)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		m.t.Fatalf("mosquitto_pub %q: %v\n%s", args, err, out)
	}
}

// publishLines sends each line as a message, one after another over one connection.
func (m *mosquitto) publishLines(user, topic string, lines []string) {
	m.t.Helper()
	cmd := exec.Command(m.pub, m.args(user, []string{"-q", "1", "-t", topic, "-l"})...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		m.t.Fatalf("mosquitto_pub -l: %v\n%s", err, out)
	}
}

// subscribe starts mosquitto_sub and returns when its subscription is acknowledged.
func (m *mosquitto) subscribe(user string, args ...string) *petreltest.Process {
	m.t.Helper()
	all := append([]string{"-oL", m.sub}, m.args(user, append([]string{"-d", "-F", "> %t %p"}, args...))...)
	p := petreltest.Launch(m.t, "mosquitto_sub of "+user, exec.Command(m.buffered, all...))
	return p
}

func subscribed(l string) bool { return strings.Contains(l, "received SUBACK") }
func message(l string) bool    { return strings.HasPrefix(l, "> ") }

// TestMosquitto is the conversation that the README promises, with both versions of the protocol.
func TestMosquitto(t *testing.T) {
	for _, version := range []string{"mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			s := startServer(t)
			m := newMosquitto(t, s, version)
			t.Run("an offline gap", func(t *testing.T) { m.t = t; offlineGap(t, m) })
			t.Run("the group general", func(t *testing.T) { m.t = t; general(t, m) })
			t.Run("retained", func(t *testing.T) { m.t = t; retained(t, m) })
			t.Run("presence", func(t *testing.T) { m.t = t; presence(t, m) })
		})
	}
}

func offlineGap(t *testing.T, m *mosquitto) {
	phone := []string{"-i", "phone", "-c", "-q", "1", "-t", "c/+/text/+"}
	bob := m.subscribe("bob", phone...)
	bob.Line(subscribed)
	alice := m.subscribe("alice", "-q", "1", "-t", "c/+/receipts")
	alice.Line(subscribed)

	m.publish("alice", "-q", "1", "-t", "u/bob/text", "-m", "hello bob")
	bob.Expect(message, "> c/alice~bob/text/alice hello bob")
	// The receipt says that the server has bob's acknowledgement. Without waiting for it the message
	// could rightly come again.
	alice.Line(func(l string) bool {
		var r struct {
			User      string
			Delivered int
		}
		body, ok := strings.CutPrefix(l, "> c/alice~bob/receipts ")
		return ok && json.Unmarshal([]byte(body), &r) == nil && r.User == "bob" && r.Delivered >= 1
	})

	bob.Kill()
	var away, want []string
	for i := range 20 {
		away = append(away, fmt.Sprintf("while you were away %02d", i+1))
		want = append(want, "> c/alice~bob/text/alice "+away[i])
	}
	m.publishLines("alice", "u/bob/text", away[:10])
	m.s.Restart()
	m.publishLines("alice", "u/bob/text", away[10:])

	bob = m.subscribe("bob", phone...)
	bob.Expect(message, want...)
	m.publish("alice", "-q", "1", "-t", "u/bob/text", "-m", "welcome back")
	bob.Expect(message, "> c/alice~bob/text/alice welcome back") // so nothing came twice
	bob.Kill()
}

func general(t *testing.T, m *mosquitto) {
	var members []*petreltest.Process
	for _, user := range []string{"carol", "dave"} {
		p := m.subscribe(user, "-i", "tablet", "-c", "-q", "1", "-t", "c/general/text/+")
		p.Line(subscribed)
		members = append(members, p)
	}
	for i := range 5 {
		m.publish("carol", "-q", "1", "-t", "c/general/text", "-m", fmt.Sprint("to all ", i))
		m.publish("dave", "-q", "1", "-t", "c/general/text", "-m", fmt.Sprint("and back ", i))
	}
	for _, p := range members {
		for i := range 5 {
			p.Expect(message, fmt.Sprint("> c/general/text/carol to all ", i), fmt.Sprint("> c/general/text/dave and back ", i))
		}
	}
}

func retained(t *testing.T, m *mosquitto) {
	m.publish("alice", "-q", "1", "-r", "-t", "alice/temperature", "-m", "20.5")
	m.publish("alice", "-q", "1", "-r", "-t", "alice/temperature", "-m", "21.5")
	m.s.Restart()
	p := m.subscribe("erin", "-q", "1", "-C", "1", "-t", "alice/#")
	p.Expect(message, "> alice/temperature 21.5")
	p.Wait(0)
	m.publish("alice", "-q", "1", "-r", "-n", "-t", "alice/temperature")
	p = m.subscribe("erin", "-q", "1", "-C", "1", "-t", "alice/#")
	p.Line(subscribed)
	m.publish("alice", "-q", "1", "-t", "alice/temperature", "-m", "live")
	p.Expect(message, "> alice/temperature live")
	p.Wait(0)
}

func presence(t *testing.T, m *mosquitto) {
	m.subscribe("grace", "-E", "-q", "1", "-t", "c/+/text/+").Wait(0) // now there is a grace
	m.publish("frank", "-q", "1", "-t", "u/grace/text", "-m", "now we know each other")
	p := m.subscribe("grace", "-q", "1", "-t", "u/frank/presence")
	// until waits for a state, and returns the last-seen time that came with it.
	until := func(want string) int64 {
		t.Helper()
		var v struct {
			State string
			Seen  int64
		}
		p.Line(func(l string) bool {
			body, ok := strings.CutPrefix(l, "> u/frank/presence ")
			return ok && json.Unmarshal([]byte(body), &v) == nil && v.State == want
		})
		return v.Seen
	}
	until("offline")
	frank := m.subscribe("frank", "-i", "laptop", "-q", "1", "-t", "c/+/text/+")
	frank.Line(subscribed)
	until("online")
	frank.Kill() // no DISCONNECT: the broken connection tells
	if age := time.Since(time.UnixMilli(until("offline"))); age < 0 || age > petreltest.Patience {
		t.Errorf("frank was last seen %s ago", age)
	}
}
