package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/internal/servertest"
)

// "64 KiB of write queue allocated for each connection; packets stay in its buffer when the last queued
// one exceeds the client's size"
func TestMochiWriteQueue(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		s := serve(t)
		small := func(o *mqttc.ConnectOptions) { o.ReadBuffer = 64 }
		s.dial("first")
		const n = 300
		before := memory()
		for i := range n {
			code(t, s.dial(fmt.Sprint("u", i), small).subscribe("c/+/text/+"), 1)
		}
		if each := (memory() - before) / n; each > 32<<10 { // with this process's clients
			t.Errorf("%d bytes for a connection", each)
		}
	})
	t.Run("too large at the end", func(t *testing.T) {
		s := serve(t)
		ana := s.dial("ana")
		bob := s.dial("bob", v5, func(o *mqttc.ConnectOptions) { o.MaximumPacketSize = 200 })
		code(t, bob.subscribe("c/+/json", "plain/#"), 1, 1)
		ana.send("u/bob/text", "small")
		ana.send("u/bob/text", strings.Repeat("x", 300))
		if m := bob.next(); m.field(t, "text") != "small" {
			t.Error(m)
		}
		if m := bob.next(); m.payload != `{"seq":2,"to":2,"kind":"large"}` {
			t.Error(m)
		}
		ana.send("plain/x", "small")
		ana.send("plain/x", strings.Repeat("x", 300)) // dropped, as the standard says [MQTT-3.1.2-25]
		ana.send("plain/x", "after it")
		bob.expect([2]string{"plain/x", "small"}, [2]string{"plain/x", "after it"})
		bob.quiet()
	})
}

func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// "Outbound aliases are stored with an emptied topic and resent so on a new connection"
func TestMochiAliasesEndWithTheConnection(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana")
	bob := s.dial("bob", v5, keep, func(o *mqttc.ConnectOptions) { o.TopicAliasMaximum = 5 })
	code(t, bob.subscribe("c/+/text/+", "plain"), 1, 1)
	want := []string{"c/ana~bob/text/ana", "c/ana~bob/text/ana", "plain", "plain"}
	for i, topic := range []string{"u/bob/text", "u/bob/text", "plain", "plain"} {
		ana.send(topic, fmt.Sprint(i))
	}
	for i := range want {
		if m := bob.peek(); m.topic != want[i] {
			t.Fatal(m)
		}
	}
	bob.vanish()
	bob = s.dial("bob", v5, keep) // takes no aliases now
	for i := range want {
		if m := bob.next(); m.topic != want[i] || !m.dup || m.payload != fmt.Sprint(i) {
			t.Fatalf("%v at %d", m, i)
		}
	}
	bob.quiet()
}

// "Filters a#, a+/b accepted; +/# misses a; publishing to $SYS at QoS 1 gets no PUBACK; v3 clients receive
// an illegal DISCONNECT"
func TestMochiTopics(t *testing.T) {
	versions(t, func(t *testing.T, version opt) {
		s := serve(t)
		bob := s.dial("bob", version)
		bad := byte(0x80)
		if bob.Version() == 5 {
			bad = 0x8F
		}
		code(t, bob.subscribe("a#", "a+/b", "a/#/b", "+/#"), bad, bad, bad, 1)
		ana := s.dial("ana", version)
		ana.send("a", "one level")
		bob.expect([2]string{"a", "one level"})
		got := ana.publish("$SYS/broker/version", "mine")
		if want := byte(0x87); ana.Version() == 5 && got != want {
			t.Errorf("PUBACK 0x%02X", got)
		}
		bob.quiet()
		bob.bytes(0xF0, 2, 0x18, 0) // AUTH without a method, or a type that 3.1.1 does not have
		bob.closedWith(0x82)
	})
}

// "RequestProblemInfo=0 (autopaho's default) makes it strip user properties from PUBLISH"
func TestMochiRequestProblemInfo(t *testing.T) {
	s := serve(t)
	bob := s.connectWith("bob", []byte{mqttc.PropRequestProblem, 0})
	code(t, bob.subscribe("plain"), 1)
	ana := s.dial("ana", v5)
	for _, qos := range []byte{0, 1} {
		p := mqttc.Publish{Topic: "plain", QoS: qos, Props: mqttc.AppendUserProperty(nil, "k", "v"), ID: 9}
		ana.put(p)
		if m := bob.next(); string(m.props) != string(p.Props) {
			t.Errorf("QoS %d: properties % x", qos, m.props)
		}
	}
	ack := bob.publishWith(mqttc.Publish{Topic: "c/nowhere/text", Payload: []byte("x"), QoS: 1})
	if reason, ok := ack.Props.String(mqttc.PropReason); ack.Code != 0x87 || ok {
		t.Errorf("PUBACK 0x%02X with reason %q, which was not asked for", ack.Code, reason)
	}
}

// "Shared subscriptions pick any member, offline ones too"
func TestMochiSharedSubscription(t *testing.T) {
	s := serve(t)
	away := s.dial("away", keep)
	code(t, away.subscribe("$share/crew/work/#"), 1)
	away.leave()
	here, too := s.dial("here"), s.dial("too")
	code(t, here.subscribe("$share/crew/work/#"), 1)
	code(t, too.subscribe("$share/crew/work/#"), 1)
	ana := s.dial("ana")
	for i := range 20 {
		ana.send("work/x", fmt.Sprint(i))
	}
	count := func(c *client) (n int) {
		if err := c.WritePing(); err != nil {
			t.Fatal(err)
		}
		c.flush()
		c.await(mqttc.PINGRESP)
		n, c.pending = len(c.pending), nil
		return n
	}
	a, b := count(here), count(too)
	if a+b != 20 || a == 0 || b == 0 {
		t.Errorf("%d and %d messages of 20", a, b)
	}
	s.dial("away", keep).quiet()
}

// "Warnings log whole packets: bodies and passwords"
func TestMochiLogsNoBodies(t *testing.T) {
	out := servertest.NewLog(t)
	s := serveTuned(t, func(o *broker.Options) {
		o.Log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}, accounts, openly)
	s.addUsers("ana", "bob")
	const body, secret = "an utterly private body", "a wrong but private password"
	if _, err := s.try("ana", password(secret)); err == nil {
		t.Error("let in")
	}
	for _, version := range []opt{func(*mqttc.ConnectOptions) {}, v5} {
		ana := s.signIn("ana", version, will("ana/will", body))
		bob := s.signIn("bob", version)
		code(t, bob.subscribe("c/+/text/+", "c/+/json"), 1, 1)
		for _, topic := range []string{"u/bob/text", "u/bob/json", "c/nowhere/text", "ana/x", "secret", "$SYS/x", "rpc/no.such"} {
			ana.publish(topic, body)
			ana.put(mqttc.Publish{Topic: topic, Payload: []byte(body)})
		}
		bob.next()
		ana.bytes(append([]byte{0x36}, str([]byte{byte(len(body) + 2)}, body)...)...) // malformed: QoS 3
		ends(t, ana.Conn)
		bob.vanish()
	}
	s.Stop()
	if text := out.String(); strings.Contains(text, body) || strings.Contains(text, secret) || strings.Contains(text, passwordOf("ana")) ||
		strings.Contains(text, fmt.Sprint([]byte(body))[1:40]) {
		t.Errorf("the log tells secrets:\n%s", text)
	} else if text == "" {
		t.Error("nothing was captured")
	}
}

// "SUBACK echoes user properties; expiry adds 5 bytes to each PUBLISH"
func TestMochiBytes(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana", v5), s.dial("bob", v5)
	bob.pid++
	if err := bob.WriteSubscribe(bob.pid, []mqttc.Filter{{Topic: "c/+/text/+", QoS: 1}, {Topic: "plain", QoS: 1}}, mqttc.UserProperty{Key: "k", Value: "v"}); err != nil {
		t.Fatal(err)
	}
	bob.flush()
	if ack := bob.await(mqttc.SUBACK); len(ack.Props) != 0 {
		t.Errorf("SUBACK with properties % x", ack.Props)
	}
	ana.send("u/bob/text", "hi")
	ana.send("plain", "hi")
	for range 2 {
		if m := bob.next(); len(m.props) != 0 {
			t.Errorf("%v with properties % x", m, m.props)
		}
	}
}

// "Closing the server waits 90 s for clients of listeners it doesn't know"
func TestMochiClosing(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Limits.DrainTimeout = 5 * time.Second })
	s.dial("ana")
	ana := s.dial("ana", v5, device("other"))
	s.open() // has said nothing yet
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+s.Addr("http")+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	connect := mqttc.AppendConnect(nil, mqttc.ConnectOptions{ClientID: "web", Username: "web", CleanStart: true})
	if err := ws.Write(ctx, websocket.MessageBinary, connect); err != nil {
		t.Fatal(err)
	}
	if _, p, err := ws.Read(ctx); err != nil || p[0] != mqttc.CONNACK<<4 {
		t.Fatal(p, err)
	}
	ws.CloseRead(ctx) // answers the closing handshake, as a browser does
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Error("closing took", took)
	}
	ana.closedWith(0x8B)
}
