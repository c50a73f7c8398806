package broker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// What tests say on the wire beyond the harness: raw bytes, how a connection ends, accounts, requests,
// a clock that can be put forward.

// clock runs with the real one, ahead of it.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time            { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(d time.Duration)   { c.ahead.Add(int64(d)) }
func (c *clock) options(o *broker.Options) { o.Now = c.now }

// accounts makes a server with passwords, which are cheap to check.
func accounts(c *config.Config) {
	c.Dev = false
	c.Auth.Argon2 = config.Argon2{Memory: 8 * config.KiB, Time: 1, Threads: 1}
}

// passwordOf is the password of an account made with addUsers.
func passwordOf(user string) string { return "the password of " + user }

func password(p string) opt { return func(o *mqttc.ConnectOptions) { o.Password = []byte(p) } }

// signIn connects with the password of addUsers.
func (s *testServer) signIn(user string, opts ...opt) *client {
	s.t.Helper()
	return s.dial(user, append([]opt{password(passwordOf(user))}, opts...)...)
}

// control calls a method on the control socket.
func (s *testServer) control(method string, in, out any) {
	s.t.Helper()
	c, err := control.Dial(broker.SocketPath(s.Config.Data))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Call(context.Background(), method, in, out); err != nil {
		s.t.Fatal(method, err)
	}
}

func (s *testServer) addUsers(users ...string) {
	s.t.Helper()
	for _, u := range users {
		s.control("admin.user.add", map[string]any{"user": u, "password": passwordOf(u)}, nil)
	}
}

// addToken makes a device token.
func (s *testServer) addToken(user string, spec map[string]any) string {
	s.t.Helper()
	spec["user"] = user
	var reply struct{ Token string }
	s.control("admin.token.add", spec, &reply)
	return reply.Token
}

// call carries out a request for a user, not over the wire, and returns what ok holds.
func (s *testServer) call(user, method, request string) map[string]any {
	s.t.Helper()
	reply := object(s.t, string(s.Call(context.Background(), user, method, []byte(request))))
	ok, is := reply["ok"].(map[string]any)
	if !is {
		s.t.Fatalf("%s by %s: %v", method, user, reply)
	}
	return ok
}

// group makes a group; its first event is its creation, then one for each member.
func (s *testServer) group(owner, id string, members ...string) {
	s.t.Helper()
	list, err := json.Marshal(append([]string{}, members...))
	if err != nil {
		s.t.Fatal(err)
	}
	s.call(owner, "group.create", fmt.Sprintf(`{"id":%q,"title":"A group","members":%s}`, id, list))
}

// know makes accounts come into being, as a first connection in dev mode does.
func (s *testServer) know(users ...string) {
	s.t.Helper()
	for _, u := range users {
		s.dial(u, device("once"), clean).leave()
	}
}

// object decodes a JSON payload.
func object(t *testing.T, payload string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(payload))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", payload, err)
	}
	return v
}

// field is a value of a JSON payload as text.
func (m message) field(t *testing.T, name string) string {
	t.Helper()
	if v, ok := object(t, m.payload)[name]; ok {
		return fmt.Sprint(v)
	}
	return ""
}

// code asserts what a SUBACK says.
func code(t *testing.T, got []byte, want ...byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("SUBACK % x, want % x", got, want)
	}
}

// send publishes at QoS 1 and fails unless it is accepted.
func (c *client) send(topic, payload string) {
	c.t.Helper()
	if code := c.publish(topic, payload); code != 0 {
		c.t.Fatalf("%s publishes to %s: PUBACK 0x%02X", c.name, topic, code)
	}
}

// refused asserts that a publish at QoS 1 is answered with a code.
func (c *client) refused(want byte, topic, payload string) {
	c.t.Helper()
	if got := c.publish(topic, payload); got != want {
		c.t.Fatalf("%s publishes to %s: PUBACK 0x%02X, want 0x%02X", c.name, topic, got, want)
	}
}

// put writes packets without waiting for an answer.
func (c *client) put(p mqttc.Publish) {
	c.t.Helper()
	if err := c.WritePublish(p); err != nil {
		c.t.Fatal(err)
	}
	c.flush()
}

func (c *client) answer(kind byte, id uint16) {
	c.t.Helper()
	if err := c.WriteAck(kind, id, 0); err != nil {
		c.t.Fatal(err)
	}
	c.flush()
}

func (c *client) bytes(b ...byte) {
	c.t.Helper()
	if err := c.Raw(b); err != nil {
		c.t.Fatal(err)
	}
	c.flush()
}

// vanish closes the socket without a word. The server has noticed when the next connection with the
// same client id is let in.
func (c *client) vanish() {
	c.t.Helper()
	if err := c.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// ends reads to the end of the connection and returns the DISCONNECT's reason code, 0 without one.
func ends(t *testing.T, c *mqttc.Conn) (reason byte) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for {
		p, err := c.ReadPacket()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
			return reason
		case err != nil:
			t.Fatal("the connection does not end:", err)
		case p.Type == mqttc.DISCONNECT:
			reason = p.Code
			if c.Version() != 5 {
				t.Error("an MQTT 3.1.1 client got a DISCONNECT")
			}
		}
	}
}

// closedWith asserts how the server ends the connection: 3.1.1 has no reasons.
func (c *client) closedWith(want byte) {
	c.t.Helper()
	if c.Version() != 5 {
		want = 0
	}
	if got := ends(c.t, c.Conn); got != want {
		c.t.Errorf("%s is sent away with 0x%02X, want 0x%02X", c.name, got, want)
	}
}

// open makes a connection that has sent nothing.
func (s *testServer) open(opts ...opt) *mqttc.Conn {
	s.t.Helper()
	var o mqttc.ConnectOptions
	for _, fn := range opts {
		fn(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := mqttc.Open(ctx, s.Addr("mqtt"), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// connectWith connects with properties of CONNECT that mqttc has no option for.
func (s *testServer) connectWith(user string, props []byte) *client {
	s.t.Helper()
	c := s.open(v5)
	body := append(str(nil, "MQTT"), 5, 0x80|2, 0, 0)
	body = append(append(body, byte(len(props))), props...)
	body = str(str(body, user), user)
	if err := c.Raw(frame(mqttc.CONNECT<<4, body)); err != nil {
		s.t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		s.t.Fatal(err)
	}
	one := &client{Conn: c, t: s.t, name: user}
	one.await(mqttc.CONNACK)
	return one
}

// str appends an MQTT string; frame makes a packet of a body.
func str(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func frame(first byte, body []byte) []byte {
	return append(varint([]byte{first}, len(body)), body...)
}

func varint(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// dialTCP is a connection below MQTT, with small buffers in the kernel.
func (s *testServer) dialTCP() *net.TCPConn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Addr("mqtt"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}
