package broker_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// complete takes a message through its handshake, whatever its QoS.
func (c *client) complete() message {
	c.t.Helper()
	m := c.next()
	if m.qos == 2 {
		c.answer(mqttc.PUBREC, m.id)
		if rel := c.await(mqttc.PUBREL); rel.ID != m.id {
			c.t.Fatalf("PUBREL %d after PUBREC %d", rel.ID, m.id)
		}
		c.answer(mqttc.PUBCOMP, m.id)
	}
	return m
}

// publish2 publishes at QoS 2 to the end.
func (c *client) publish2(p mqttc.Publish) {
	c.t.Helper()
	c.pid++
	p.QoS, p.ID = 2, c.pid
	c.put(p)
	if rec := c.await(mqttc.PUBREC); rec.Code >= 0x80 {
		c.t.Fatalf("PUBREC 0x%02X", rec.Code)
	}
	c.answer(mqttc.PUBREL, p.ID)
	c.await(mqttc.PUBCOMP)
}

// retain makes payload the retained message of a topic.
func (c *client) retain(topic, payload string, props ...byte) {
	c.t.Helper()
	ack := c.publishWith(mqttc.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true, Props: props})
	if ack.Code >= 0x80 {
		c.t.Fatalf("PUBACK 0x%02X", ack.Code)
	}
}

// subscribeID subscribes with a subscription identifier below 128, at QoS 1.
func (c *client) subscribeID(filter string, id byte) {
	c.t.Helper()
	c.pid++
	body := append(binary.BigEndian.AppendUint16(nil, c.pid), 2, mqttc.PropSubscriptionID, id)
	c.bytes(frame(mqttc.SUBSCRIBE<<4|2, append(str(body, filter), 1))...)
	code(c.t, c.await(mqttc.SUBACK).Codes, 1)
}

func at2(filter string) []mqttc.Filter { return []mqttc.Filter{{Topic: filter, QoS: 2}} }

// expiry is the property Message Expiry Interval.
func expiry(seconds uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{mqttc.PropMessageExpiry}, seconds)
}

func TestMQTTQoS2Inbound(t *testing.T) {
	versions(t, func(t *testing.T, version opt) {
		s := serve(t)
		ana, bob := s.dial("ana"), s.dial("bob", version, keep)
		code(t, ana.subscribe("x"), 1)
		p := mqttc.Publish{Topic: "x", Payload: []byte("once"), QoS: 2, ID: 7}
		bob.put(p)
		bob.await(mqttc.PUBREC)
		for range 2 { // again, over another connection, over another run of the server
			bob.vanish()
			bob = s.dial("bob", version, keep)
			p.Dup = true
			bob.put(p)
			if rec := bob.await(mqttc.PUBREC); rec.Code != 0 || rec.ID != 7 {
				t.Fatalf("PUBREC %d 0x%02X", rec.ID, rec.Code)
			}
			ana.expect([2]string{"x", "once"})
			ana.quiet()
			s.Restart()
			ana, bob = s.dial("ana"), s.dial("bob", version, keep)
			code(t, ana.subscribe("x"), 1)
			bob.answer(mqttc.PUBREL, 7)
			if comp := bob.await(mqttc.PUBCOMP); comp.Code != 0 {
				t.Fatalf("PUBCOMP 0x%02X", comp.Code)
			}
			p.Dup = false // the id is free: this is another message
			bob.put(p)
			bob.await(mqttc.PUBREC)
		}
		ana.expect([2]string{"x", "once"})
		ana.quiet()
		bob.answer(mqttc.PUBREL, 99)
		want := byte(0)
		if bob.Version() == 5 {
			want = 0x92
		}
		if comp := bob.await(mqttc.PUBCOMP); comp.Code != want || comp.ID != 99 {
			t.Errorf("PUBCOMP %d 0x%02X for an id that was never used", comp.ID, comp.Code)
		}
	})
}

func TestMQTTQoS2Outbound(t *testing.T) {
	versions(t, func(t *testing.T, version opt) {
		s := serve(t)
		ana, bob := s.dial("ana"), s.dial("bob", version, keep)
		code(t, bob.subscribeWith(at2("x")), 2)
		ana.publish2(mqttc.Publish{Topic: "x", Payload: []byte("once")})
		m := bob.peek()
		if m.qos != 2 || m.dup {
			t.Fatal(m)
		}
		bob.vanish()
		bob = s.dial("bob", version, keep)
		if again := bob.peek(); again.id != m.id || !again.dup || again.payload != "once" {
			t.Fatal(again)
		}
		bob.answer(mqttc.PUBREC, m.id)
		bob.await(mqttc.PUBREL)
		s.Restart()
		bob = s.dial("bob", version, keep)
		if rel := bob.await(mqttc.PUBREL); rel.ID != m.id { // and no PUBLISH before it
			t.Fatal(rel)
		}
		bob.answer(mqttc.PUBCOMP, m.id)
		bob.quiet()
		bob.leave()
		s.dial("bob", version, keep).quiet()
	})
}

func TestMQTTReceiveMaximumAtQoS2(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana")
	bob := s.dial("bob", v5, keep, func(o *mqttc.ConnectOptions) { o.ReceiveMaximum = 2 })
	code(t, bob.subscribeWith(at2("x")), 2)
	for i := range 10 {
		ana.publish2(mqttc.Publish{Topic: "x", Payload: fmt.Append(nil, i)})
	}
	for i := 0; i < 10; i += 2 {
		one, two := bob.peek(), bob.peek()
		if one.payload != fmt.Sprint(i) || two.payload != fmt.Sprint(i+1) {
			t.Fatalf("got %v, %v at %d", one, two, i)
		}
		for _, m := range []message{one, two} {
			bob.answer(mqttc.PUBREC, m.id)
			bob.await(mqttc.PUBREL)
		}
		bob.quiet() // PUBREC makes no room: PUBCOMP does, §4.9
		bob.answer(mqttc.PUBCOMP, one.id)
		bob.answer(mqttc.PUBCOMP, two.id)
	}
	bob.quiet()
}

func TestMQTTRetained(t *testing.T) {
	t.Run("handling", func(t *testing.T) {
		s := serve(t)
		ana, bob := s.dial("ana"), s.dial("bob", v5)
		ana.retain("r/x", "kept")
		for _, tc := range []struct {
			handling byte
			times    int // of two equal SUBSCRIBEs
		}{{0, 2}, {1, 1}, {2, 0}} {
			if err := bob.WriteUnsubscribe(500, "r/+"); err != nil {
				t.Fatal(err)
			}
			bob.flush()
			bob.await(mqttc.UNSUBACK)
			for i := range 2 {
				code(t, bob.subscribeWith([]mqttc.Filter{{Topic: "r/+", QoS: 1, RetainHandling: tc.handling}}), 1)
				if i < tc.times {
					if m := bob.next(); m.payload != "kept" || !m.retain || m.qos != 1 {
						t.Errorf("handling %d, SUBSCRIBE %d: %v", tc.handling, i+1, m)
					}
				}
				bob.quiet()
			}
		}
	})
	t.Run("as published", func(t *testing.T) {
		s := serve(t)
		ana, bob, cas := s.dial("ana"), s.dial("bob", v5), s.dial("cas")
		code(t, bob.subscribeWith([]mqttc.Filter{{Topic: "r/x", QoS: 1, RetainAsPublished: true}}), 1)
		code(t, cas.subscribe("r/x"), 1)
		ana.retain("r/x", "kept")
		ana.send("r/x", "passing")
		for c, want := range map[*client]bool{bob: true, cas: false} {
			if m := c.next(); m.payload != "kept" || m.retain != want {
				t.Error(c.name, m)
			}
			if m := c.next(); m.payload != "passing" || m.retain {
				t.Error(c.name, m)
			}
		}
	})
	t.Run("cleared", func(t *testing.T) {
		s := serve(t)
		ana, bob := s.dial("ana"), s.dial("bob")
		code(t, bob.subscribe("r/x"), 1)
		ana.retain("r/x", "kept")
		ana.retain("r/x", "")
		bob.expect([2]string{"r/x", "kept"}, [2]string{"r/x", ""}) // an ordinary message too, §3.3.1.3
		s.Restart()
		bob = s.dial("bob")
		code(t, bob.subscribe("r/#"), 1)
		bob.quiet()
	})
	t.Run("expired", func(t *testing.T) {
		clk := new(clock)
		s := serveTuned(t, clk.options)
		ana := s.dial("ana", v5)
		ana.retain("r/x", "kept", expiry(100)...)
		clk.forward(40 * time.Second)
		bob := s.dial("bob", v5)
		code(t, bob.subscribe("r/x"), 1)
		if left, _ := bob.next().props.Uint(mqttc.PropMessageExpiry); left < 50 || left > 60 {
			t.Errorf("%d seconds are left", left)
		}
		clk.forward(61 * time.Second)
		bob = s.dial("bob", v5)
		code(t, bob.subscribe("r/x"), 1)
		bob.quiet()
	})
}

func TestMQTTMessageExpiry(t *testing.T) {
	clk := new(clock)
	s := serveTuned(t, clk.options)
	ana, bob := s.dial("ana", v5), s.dial("bob", v5, keep)
	code(t, bob.subscribe("x"), 1)
	bob.leave()
	for payload, seconds := range map[string]uint32{"short": 30, "long": 100} {
		ana.publishWith(mqttc.Publish{Topic: "x", Payload: []byte(payload), QoS: 1, Props: expiry(seconds)})
	}
	clk.forward(40 * time.Second)
	bob = s.dial("bob", v5, keep)
	m := bob.peek()
	if left, _ := m.props.Uint(mqttc.PropMessageExpiry); m.payload != "long" || left < 50 || left > 60 {
		t.Errorf("%v, %d seconds left", m, left)
	}
	bob.vanish()
	clk.forward(100 * time.Second) // expired on its way: it is owed all the same [MQTT-4.4.0-1]
	bob = s.dial("bob", v5, keep)
	if again := bob.next(); again.id != m.id || !again.dup {
		t.Error(again)
	}
	bob.quiet()
}

func TestMQTTSubscriptions(t *testing.T) {
	t.Run("No Local", func(t *testing.T) {
		s := serve(t)
		ana, bob := s.dial("ana", v5), s.dial("bob", v5)
		for _, c := range []*client{ana, bob} {
			code(t, c.subscribeWith([]mqttc.Filter{{Topic: "x", QoS: 1, NoLocal: true}}), 1)
		}
		ana.send("x", "hello")
		if err := ana.WritePublish(mqttc.Publish{Topic: "x", Payload: []byte("at QoS 0")}); err != nil {
			t.Fatal(err)
		}
		ana.quiet()
		bob.expect([2]string{"x", "hello"}, [2]string{"x", "at QoS 0"})
	})
	t.Run("identifiers", func(t *testing.T) {
		s := serve(t)
		bob := s.dial("bob", v5, keep)
		bob.subscribeID("x/+", 5)
		bob.subscribeID("x/#", 6)
		s.dial("ana").send("x/y", "hello")
		m := bob.next()
		ids := string(m.props)
		if len(ids) != 4 || !strings.Contains(ids, "\x0b\x05") || !strings.Contains(ids, "\x0b\x06") {
			t.Errorf("properties % x", ids)
		}
		bob.quiet() // one copy for both
		bob.leave()
		s.dial("ana").send("x", "for # alone")
		bob = s.dial("bob", v5, keep)
		if id, _ := bob.next().props.Uint(mqttc.PropSubscriptionID); id != 6 {
			t.Errorf("identifier %d", id)
		}
	})
	t.Run("overlapping", func(t *testing.T) {
		s := serve(t)
		ana, bob := s.dial("ana"), s.dial("bob")
		code(t, bob.subscribeWith([]mqttc.Filter{{Topic: "x/#"}, {Topic: "x/y", QoS: 2}, {Topic: "+/y", QoS: 1}}), 0, 2, 1)
		ana.publish2(mqttc.Publish{Topic: "x/y", Payload: []byte("once")})
		if m := bob.complete(); m.qos != 2 {
			t.Error(m)
		}
		bob.quiet()
	})
	t.Run("shared", func(t *testing.T) {
		s := serve(t)
		ana, bob, cas, dan := s.dial("ana"), s.dial("bob", v5), s.dial("cas", v5), s.dial("dan")
		for _, c := range []*client{bob, cas} {
			code(t, c.subscribe("$share/g/x/+"), 1)
		}
		code(t, dan.subscribe("x/y", "$share/other/x/y"), 1, 1)
		for i := range 20 {
			ana.send("x/y", fmt.Sprint(i))
		}
		got := map[string]int{}
		for _, c := range []*client{bob, cas} {
			for range 10 { // in turns
				got[c.next().payload]++
			}
			c.quiet()
		}
		if len(got) != 20 {
			t.Errorf("%d of 20 messages", len(got))
		}
		for range 40 { // one for each of its subscriptions
			dan.next()
		}
		dan.quiet()
	})
}
