package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

func lastWill(w mqttc.Will) opt { return func(o *mqttc.ConnectOptions) { o.Will = &w } }

func expires(seconds uint32) opt {
	return func(o *mqttc.ConnectOptions) { o.CleanStart, o.SessionExpiry = false, seconds }
}

// TestMQTTWill: when a will is published, and when not. Time is put forward; a connection wakes the server.
func TestMQTTWill(t *testing.T) {
	last := mqttc.Will{Topic: "w/ana", Payload: []byte("gone"), QoS: 1}
	delayed := last
	delayed.Delay = 100
	start := func(t *testing.T, opts ...opt) (s *testServer, clk *clock, ana, bob *client) {
		clk = new(clock)
		s = serveTuned(t, clk.options)
		bob = s.dial("bob", v5)
		code(t, bob.subscribeWith([]mqttc.Filter{{Topic: "w/#", QoS: 2, RetainAsPublished: true}}), 2)
		return s, clk, s.dial("ana", opts...), bob
	}
	published := func(t *testing.T, bob *client) {
		t.Helper()
		if m := bob.complete(); m.topic != "w/ana" || m.payload != "gone" {
			t.Fatal(m)
		}
		bob.quiet()
	}
	// wake makes the server look at what is due, and waits until it has.
	wake := func(s *testServer) { s.dial("wake", v5, lastWill(mqttc.Will{Topic: "none"})) }

	versions(t, func(t *testing.T, version opt) {
		t.Run("connection lost", func(t *testing.T) {
			_, _, ana, bob := start(t, version, lastWill(last))
			ana.vanish()
			published(t, bob)
		})
		t.Run("DISCONNECT", func(t *testing.T) {
			s, _, ana, bob := start(t, version, lastWill(last))
			ana.leave()
			wake(s)
			bob.quiet()
		})
		t.Run("protocol error", func(t *testing.T) {
			_, _, ana, bob := start(t, version, lastWill(last))
			ana.bytes(0xc0, 1, 0)
			published(t, bob)
		})
		t.Run("takeover", func(t *testing.T) {
			s, _, _, bob := start(t, version, lastWill(last))
			s.dial("ana", version)
			published(t, bob)
		})
	})
	t.Run("DISCONNECT with will", func(t *testing.T) {
		for _, reason := range []byte{0x04, 0x80, 0x96} {
			_, _, ana, bob := start(t, v5, lastWill(last))
			ana.bytes(0xe0, 1, reason)
			published(t, bob)
		}
	})
	t.Run("QoS 2 and retained", func(t *testing.T) {
		w := last
		w.QoS, w.Retain = 2, true
		s, _, ana, bob := start(t, v5, lastWill(w))
		ana.vanish()
		if m := bob.complete(); m.qos != 2 || !m.retain {
			t.Error(m)
		}
		cas := s.dial("cas")
		code(t, cas.subscribe("w/+"), 1)
		if m := cas.next(); m.payload != "gone" || !m.retain {
			t.Error(m)
		}
	})
	t.Run("empty payload", func(t *testing.T) {
		_, _, ana, bob := start(t, v5, lastWill(mqttc.Will{Topic: "w/ana"}))
		ana.vanish()
		bob.expect([2]string{"w/ana", ""})
	})
	t.Run("delayed", func(t *testing.T) {
		s, clk, ana, bob := start(t, v5, lastWill(delayed), expires(1000))
		ana.vanish()
		wake(s)
		bob.quiet()
		clk.forward(101 * time.Second)
		wake(s)
		published(t, bob)
	})
	t.Run("cancelled by coming back", func(t *testing.T) {
		s, clk, ana, bob := start(t, v5, lastWill(delayed), expires(1000))
		ana.vanish()
		s.dial("ana", v5, expires(1000))
		clk.forward(200 * time.Second)
		wake(s)
		bob.quiet()
	})
	t.Run("due at a clean start", func(t *testing.T) {
		s, _, ana, bob := start(t, v5, lastWill(delayed), expires(1000))
		ana.vanish()
		s.dial("ana", v5, clean)
		published(t, bob)
	})
	t.Run("due with the end of the session", func(t *testing.T) {
		s, clk, ana, bob := start(t, v5, lastWill(delayed), expires(10))
		ana.vanish()
		wake(s)
		bob.quiet()
		clk.forward(11 * time.Second)
		wake(s)
		published(t, bob)
	})
	t.Run("session ended by DISCONNECT 0x04", func(t *testing.T) {
		_, _, ana, bob := start(t, v5, lastWill(delayed), expires(1000))
		ana.bytes(unhex(t, "e0 07 04 05 1100000000")...)
		published(t, bob)
	})
}

// TestMQTTPropertiesAreForwarded: what a PUBLISH carries reaches the subscriber unaltered and in order, also one
// that wants no problem information, which is about other packets.
func TestMQTTPropertiesAreForwarded(t *testing.T) {
	s := serve(t)
	props := unhex(t, "01 01 03 0004 74657874 08 0005 722f616e61 09 0003 00ff01")
	for _, kv := range []string{"b", "a", "b"} {
		props = mqttc.AppendUserProperty(props, kv, "v"+kv)
	}
	ana, old := s.dial("ana", v5), s.dial("old")
	bobs := []*client{s.dial("bob", v5), s.connectWith("quiet", []byte{mqttc.PropRequestProblem, 0}), s.dial("away", v5, keep)}
	for _, c := range append(bobs, old) {
		code(t, c.subscribe("x"), 1)
	}
	bobs[2].leave()
	ana.publishWith(mqttc.Publish{Topic: "x", Payload: []byte("hello"), QoS: 1, Props: props})
	bobs[2] = s.dial("away", v5, keep)
	for _, c := range bobs {
		if m := c.next(); string(m.props) != string(props) || m.payload != "hello" {
			t.Errorf("%s got %v with % x\nwant % x", c.name, m, []byte(m.props), props)
		}
	}
	old.expect([2]string{"x", "hello"})
	// Problem information is what is left out for whoever wants none [MQTT-3.1.2-29].
	bobs[1].put(mqttc.Publish{Topic: "c/nobody-here/text", Payload: []byte("x"), QoS: 1, ID: 50})
	if ack := bobs[1].await(mqttc.PUBACK); ack.Code != 0x87 || len(ack.Props) != 0 {
		t.Errorf("PUBACK 0x%02X with % x", ack.Code, []byte(ack.Props))
	}
}

func TestMQTTTopicAliases(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana", v5)
	bob := s.dial("bob", v5, func(o *mqttc.ConnectOptions) { o.TopicAliasMaximum = 2 })
	code(t, bob.subscribe("x/#"), 1)
	if ana.ack.TopicAliasMaximum == 0 {
		t.Fatal("no aliases allowed")
	}
	for i, p := range []mqttc.Publish{
		{Topic: "x/one", Alias: 1}, {Alias: 1}, {Topic: "x/two", Alias: 1}, {Alias: 1}, {Topic: "x/one", Alias: ana.ack.TopicAliasMaximum},
		{Topic: "x/three"}, {Alias: ana.ack.TopicAliasMaximum}, {Topic: "x/one"},
	} {
		p.QoS, p.Payload = 1, fmt.Append(nil, i)
		if ack := ana.publishWith(p); ack.Code >= 0x80 {
			t.Fatalf("%d: PUBACK 0x%02X", i, ack.Code)
		}
	}
	aliased := 0
	for i, topic := range []string{"x/one", "x/one", "x/two", "x/two", "x/one", "x/three", "x/one", "x/one"} {
		m := bob.next() // never an alias above 2, or one not named: mqttc would refuse it
		if m.topic != topic || m.payload != fmt.Sprint(i) {
			t.Fatalf("%d: %v, want topic %s", i, m, topic)
		}
		if _, ok := m.props.Uint(mqttc.PropTopicAlias); ok {
			aliased++
		}
	}
	if aliased == 0 {
		t.Error("no alias was used")
	}
}

// TestMQTTMaximumPacketSize: a client's bound is exact, what exceeds it is as if it had been sent, and is not
// kept for later [MQTT-3.1.2-24], [MQTT-3.1.2-25].
func TestMQTTMaximumPacketSize(t *testing.T) {
	const most = 200
	limited := func(o *mqttc.ConnectOptions) { o.MaximumPacketSize = most }
	fits := strings.Repeat("x", most-2-1-3-2-1) // type and length (2 bytes), topic "x", packet id, no properties
	for _, qos := range []byte{0, 1, 2} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			for _, opts := range [][]opt{{v5, limited}, {v5, limited, keep}, {v5, limited, keep, func(o *mqttc.ConnectOptions) { o.TopicAliasMaximum = 9 }}} {
				s := serve(t)
				ana, bob := s.dial("ana"), s.dial("bob", opts...)
				code(t, bob.subscribeWith([]mqttc.Filter{{Topic: "x", QoS: qos}}), qos)
				long := fits
				if qos == 0 {
					long += "xx" // there is no packet id
				}
				ana.publish2(mqttc.Publish{Topic: "x", Payload: []byte(long + "x")})
				ana.publish2(mqttc.Publish{Topic: "x", Payload: []byte(long)})
				ana.publish2(mqttc.Publish{Topic: "x", Payload: []byte("short")})
				bob.expectAll(long, "short")
				bob.leave()
				if qos > 0 {
					s.dial("bob", v5, keep).quiet() // without a bound now: what was too large is gone
				}
			}
		})
	}
}

// expectAll takes messages of any QoS, and nothing after them.
func (c *client) expectAll(payloads ...string) {
	c.t.Helper()
	for _, want := range payloads {
		if m := c.complete(); m.payload != want {
			c.t.Fatalf("%s got %v, want %q", c.name, m, want)
		}
	}
	c.quiet()
}

// TestMQTTReceiveMaximum: ours is stated where it is bounded, and whoever exceeds it is told, although more is
// on its way.
func TestMQTTReceiveMaximum(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Limits.ReceiveMaximum = 3 })
	ana := s.dial("ana", v5, keep)
	if ana.ack.ReceiveMaximum != 3 {
		t.Fatalf("Receive Maximum %d", ana.ack.ReceiveMaximum)
	}
	for id := range uint16(3) {
		ana.put(mqttc.Publish{Topic: "x", QoS: 2, ID: id + 1})
		ana.await(mqttc.PUBREC)
	}
	ana.put(mqttc.Publish{Topic: "x", QoS: 2, ID: 2, Dup: true}) // counts once
	ana.await(mqttc.PUBREC)
	ana.answer(mqttc.PUBREL, 1)
	ana.await(mqttc.PUBCOMP)
	ana.put(mqttc.Publish{Topic: "x", QoS: 2, ID: 4})
	ana.await(mqttc.PUBREC)
	for range 50 {
		if err := ana.WritePublish(mqttc.Publish{Topic: "x", QoS: 1, ID: 9}); err != nil {
			t.Fatal(err)
		}
	}
	ana.flush()
	ana.closedWith(0x93)
	ana = s.dial("ana", v5, keep) // a new connection counts from nothing, §4.9
	ana.send("x", "hello")
}
