package broker_test

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// The tests of mochi*_test.go hold the table "mochi v2.7.9: what was tried" of the design: each shows at
// the wire that a fault of the library does not reach our clients, whatever version is embedded.

// versions runs a test for both protocol versions.
func versions(t *testing.T, fn func(t *testing.T, version opt)) {
	t.Run("3.1.1", func(t *testing.T) { fn(t, func(*mqttc.ConnectOptions) {}) })
	t.Run("5", func(t *testing.T) { fn(t, v5) })
}

// "One inflight map for both directions: a client's PUBLISH with packet id 5 deletes the server's own
// unacknowledged packet 5; a SUBSCRIBE with such an id is refused 0x91; our PUBACK 5 erases its PUBREC 5"
func TestMochiOneInflightMap(t *testing.T) {
	start := func(t *testing.T, version opt) (s *testServer, ana, bob *client, m message) {
		s = serve(t)
		ana, bob = s.dial("ana"), s.dial("bob", version, keep)
		code(t, bob.subscribe("c/+/text/+"), 1)
		ana.send("u/bob/text", "not acknowledged")
		return s, ana, bob, bob.peek()
	}
	again := func(t *testing.T, s *testServer, version opt, m message) {
		bob := s.dial("bob", version, keep)
		if got := bob.next(); got.payload != m.payload || !got.dup || got.id != m.id {
			t.Fatalf("got %v id %d, want %q with DUP and id %d", got, got.id, m.payload, m.id)
		}
		bob.quiet()
	}
	t.Run("PUBLISH", func(t *testing.T) {
		versions(t, func(t *testing.T, version opt) {
			s, _, bob, m := start(t, version)
			if ack := bob.publishWith(mqttc.Publish{Topic: "own/topic", QoS: 1, ID: m.id}); ack.Code >= 0x80 {
				t.Fatalf("0x%02X", ack.Code)
			}
			bob.vanish()
			again(t, s, version, m)
		})
	})
	t.Run("SUBSCRIBE", func(t *testing.T) {
		versions(t, func(t *testing.T, version opt) {
			s, _, bob, m := start(t, version)
			bob.pid = m.id - 1
			code(t, bob.subscribe("plain/#"), 1)
			bob.vanish()
			again(t, s, version, m)
		})
	})
	t.Run("PUBACK", func(t *testing.T) {
		versions(t, func(t *testing.T, version opt) {
			s, ana, bob, m := start(t, version)
			code(t, ana.subscribe("plain"), 1)
			p := mqttc.Publish{Topic: "plain", Payload: []byte("once"), QoS: 2, ID: m.id}
			bob.put(p)
			bob.await(mqttc.PUBREC)
			bob.answer(mqttc.PUBACK, m.id) // of the message from ana
			p.Dup = true
			bob.put(p)
			bob.await(mqttc.PUBREC)
			bob.answer(mqttc.PUBREL, m.id)
			if comp := bob.await(mqttc.PUBCOMP); comp.Code != 0 {
				t.Errorf("PUBCOMP 0x%02X: the PUBREC is forgotten", comp.Code)
			}
			ana.expect([2]string{"plain", "once"})
			ana.quiet()
			bob.vanish()
			s.dial("bob", version, keep).quiet()
		})
	})
}

// "Receive Maximum 2, ten messages: four arrive, six are stuck; inbound Receive Maximum is not counted
// after ErrRejectPacket"
func TestMochiReceiveMaximum(t *testing.T) {
	for _, topic := range []string{"u/bob/text", "plain/topic"} {
		t.Run(topic, func(t *testing.T) {
			s := serve(t)
			ana := s.dial("ana")
			bob := s.dial("bob", v5, func(o *mqttc.ConnectOptions) { o.ReceiveMaximum = 2 })
			code(t, bob.subscribe("c/+/text/+", "plain/topic"), 1, 1)
			for i := range 10 {
				ana.send(topic, fmt.Sprint(i))
			}
			for i := 0; i < 10; i += 2 {
				one, two := bob.peek(), bob.peek()
				if one.payload != fmt.Sprint(i) || two.payload != fmt.Sprint(i+1) {
					t.Fatalf("got %v, %v at %d", one, two, i)
				}
				bob.quiet() // no third one
				bob.answer(mqttc.PUBACK, one.id)
				bob.answer(mqttc.PUBACK, two.id)
			}
			bob.quiet()
		})
	}
	t.Run("inbound", func(t *testing.T) {
		s := serve(t)
		ana := s.dial("ana", v5)
		n := 3 * 1024 // more than the library's quota
		for i := range n {
			if err := ana.WritePublish(mqttc.Publish{Topic: "plain", QoS: 1, ID: uint16(i + 1)}); err != nil {
				t.Fatal(err)
			}
		}
		ana.flush()
		for i := range n {
			if ack := ana.await(mqttc.PUBACK); ack.ID != uint16(i+1) {
				t.Fatalf("PUBACK %d at place %d", ack.ID, i+1)
			}
		}
	})
}

// "40 messages queued offline come back shuffled (sorted by uint16 of the unix second); the queue is in
// memory, <= 8,192, loaded whole at start"
func TestMochiOfflineQueue(t *testing.T) {
	s := serve(t)
	bob := s.dial("bob", v5, keep)
	code(t, bob.subscribe("plain/+"), 1)
	bob.leave()
	ana := s.dial("ana")
	const n = 8192 + 100
	for i := range n {
		if err := ana.WritePublish(mqttc.Publish{Topic: "plain/x", Payload: fmt.Append(nil, i), QoS: 1, ID: uint16(i + 1)}); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 || i == n-1 {
			ana.flush()
			for ana.await(mqttc.PUBACK).ID != uint16(i+1) {
			}
		}
	}
	s.Restart()
	bob = s.dial("bob", v5, keep)
	for i := range n {
		bob.expect([2]string{"plain/x", fmt.Sprint(i)})
	}
	bob.quiet()
}

// "OnPublish returning an ordinary error still delivers and acknowledges; a packets.Code refuses only
// MQTT 5 QoS 1 and answers QoS 2 with PUBACK; …"
func TestMochiRefusedPublish(t *testing.T) {
	s := serve(t)
	s.group("ana", "private")
	versions(t, func(t *testing.T, version opt) {
		ana, eve := s.dial("ana"), s.dial("eve", version)
		code(t, ana.subscribe("c/private/json"), 1)
		code(t, eve.subscribe("u/eve/errors"), 1)
		want, reason := byte(0), true
		if eve.Version() == 5 {
			want, reason = 0x87, false
		}
		ack := eve.publishWith(mqttc.Publish{Topic: "c/private/text", Payload: []byte("let me in"), QoS: 1, ID: 7})
		if ack.Code != want {
			t.Errorf("PUBACK 0x%02X", ack.Code)
		}
		eve.put(mqttc.Publish{Topic: "c/private/text", Payload: []byte("let me in"), QoS: 2, ID: 8})
		if rec := eve.await(mqttc.PUBREC); rec.Code != want || rec.ID != 8 {
			t.Errorf("PUBREC %d 0x%02X", rec.ID, rec.Code)
		}
		for pid := 7; reason && pid <= 8; pid++ {
			m := eve.next()
			if m.field(t, "code") != "not-found" || m.field(t, "pid") != fmt.Sprint(pid) || m.field(t, "topic") != "c/private/text" {
				t.Errorf("on u/eve/errors: %v", m)
			}
		}
		eve.quiet()
		ana.quiet()
	})
}

// embedded is a hook of somebody who embeds the server.
type embedded struct {
	mqtt.HookBase
	publish error
	connect error
	gone    chan struct{} // receives for each connection that ended, once nothing is sent on it any more
}

func (h *embedded) ID() string { return "embedded" }
func (h *embedded) Provides(b byte) bool {
	return b == mqtt.OnPublish && h.publish != nil || b == mqtt.OnConnect && h.connect != nil || b == mqtt.OnDisconnect && h.gone != nil
}
func (h *embedded) OnDisconnect(*mqtt.Client, error, bool) { h.gone <- struct{}{} }
func (h *embedded) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.TopicName == "forbidden" {
		return pk, h.publish
	}
	return pk, nil
}
func (h *embedded) OnConnect(*mqtt.Client, packets.Packet) error { return h.connect }

func (h *embedded) tune(o *broker.Options) { o.Hooks = []mqtt.Hook{h} }

// The same row, for the hooks of an embedder: an error of theirs refuses, at every QoS.
func TestMochiEmbeddedHookRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want byte
	}{
		"error": {errors.New("no"), 0x87}, "code": {packets.ErrQuotaExceeded, 0x97}, "ignore": {packets.CodeSuccessIgnore, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveTuned(t, (&embedded{publish: tc.err}).tune)
			ana, bob := s.dial("ana", v5), s.dial("bob")
			code(t, bob.subscribe("forbidden", "allowed"), 1, 1)
			ana.refused(tc.want, "forbidden", "1")
			ana.put(mqttc.Publish{Topic: "forbidden", QoS: 2, ID: 100})
			if rec := ana.await(mqttc.PUBREC); rec.Code != tc.want {
				t.Errorf("PUBREC 0x%02X", rec.Code)
			}
			ana.put(mqttc.Publish{Topic: "forbidden", QoS: 0})
			ana.put(mqttc.Publish{Topic: "forbidden", QoS: 0, Retain: true})
			ana.send("allowed", "2")
			bob.expect([2]string{"allowed", "2"})
			bob.quiet()
			cas := s.dial("cas")
			code(t, cas.subscribe("forbidden"), 1)
			cas.quiet()
		})
	}
}

// "OnPacketRead can't swallow a packet: ErrRejectPacket closes the connection, other errors are ignored"
func TestMochiStrayAcknowledgements(t *testing.T) {
	versions(t, func(t *testing.T, version opt) {
		s := serve(t)
		bob := s.dial("bob", version)
		for _, kind := range []byte{mqttc.PUBACK, mqttc.PUBREC, mqttc.PUBREL, mqttc.PUBCOMP} {
			if err := bob.WriteAck(kind, 77, 0); err != nil {
				t.Fatal(err)
			}
		}
		bob.flush()
		want := byte(0)
		if bob.Version() == 5 {
			want = 0x92 // packet identifier not found
		}
		if rel := bob.await(mqttc.PUBREL); rel.ID != 77 || rel.Code != want {
			t.Errorf("PUBREL %d 0x%02X", rel.ID, rel.Code)
		}
		if comp := bob.await(mqttc.PUBCOMP); comp.ID != 77 || comp.Code != want {
			t.Errorf("PUBCOMP %d 0x%02X", comp.ID, comp.Code)
		}
		bob.quiet()
	})
}

// "The ACL is asked before the topic alias is resolved, with an empty topic; …; a refused write
// disconnects MQTT 3.1.1"
func TestMochiACL(t *testing.T) {
	s := serve(t, accounts)
	s.addUsers("ana", "bob")
	bob := s.signIn("bob")
	code(t, bob.subscribe("public/#"), 1)
	code(t, bob.subscribe("secret/#"), 0x80)
	t.Run("alias", func(t *testing.T) {
		ana := s.signIn("ana", v5)
		for i, p := range []mqttc.Publish{
			{Topic: "public/x", Alias: 1}, {Topic: "secret/x", Alias: 2}, {Alias: 1}, {Alias: 2}, {Alias: 1},
		} {
			p.QoS, p.Payload = 1, fmt.Append(nil, i)
			if ack := ana.publishWith(p); (ack.Code == 0x87) != (p.Alias == 2) {
				t.Errorf("alias %d: 0x%02X", p.Alias, ack.Code)
			}
		}
		bob.expect([2]string{"public/x", "0"}, [2]string{"public/x", "2"}, [2]string{"public/x", "4"})
		bob.quiet()
	})
	t.Run("3.1.1 stays connected", func(t *testing.T) {
		ana := s.signIn("ana")
		code(t, ana.subscribe("u/ana/errors"), 1)
		ana.send("secret/x", "no") // acknowledged, as the standard obliges us to
		if m := ana.next(); m.field(t, "code") != "not-authorized" {
			t.Error(m)
		}
		ana.put(mqttc.Publish{Topic: "secret/x"})
		ana.next() // QoS 0 is told too
		ana.send("public/x", "yes")
		bob.expect([2]string{"public/x", "yes"})
	})
}

// "CONNACK never states Topic Alias Maximum or Maximum Packet Size; authentication failure is always
// 0x86; an OnConnect error closes without CONNACK"
func TestMochiConnack(t *testing.T) {
	t.Run("properties", func(t *testing.T) {
		s := serve(t, func(c *config.Config) { c.Limits.Packet = 300 * config.KiB })
		ana := s.dial("ana", v5)
		if ana.ack.TopicAliasMaximum == 0 || ana.ack.MaximumPacketSize != 300<<10 {
			t.Errorf("%+v", ana.ack)
		}
	})
	t.Run("authentication", func(t *testing.T) {
		s := serve(t, accounts, func(c *config.Config) { c.Auth.Throttle.Failures = 2 })
		s.addUsers("ana")
		for i, want := range []byte{0x86, 0x86, 0x9F} { // the third is one too many: it may be tried later
			_, err := s.try("ana", v5, password("wrong"))
			var refused *mqttc.RefusedError
			if !errors.As(err, &refused) || refused.Code != want || refused.Reason == "" {
				t.Errorf("attempt %d: %v, want 0x%02X with a reason", i, err, want)
			}
		}
	})
	t.Run("OnConnect", func(t *testing.T) {
		s := serveTuned(t, (&embedded{connect: errors.New("not today")}).tune)
		for _, version := range []opt{func(*mqttc.ConnectOptions) {}, v5} {
			_, err := s.try("ana", version)
			var refused *mqttc.RefusedError
			if !errors.As(err, &refused) {
				t.Error("no CONNACK:", err)
			}
		}
	})
}

// "No deadline before CONNECT; packet size unlimited and allocated before authentication"
func TestMochiBeforeConnect(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Limits.ConnectTimeout = 200 * time.Millisecond })
	t.Run("silence", func(t *testing.T) { ends(t, s.open()) })
	t.Run("trickle", func(t *testing.T) {
		c := s.dialTCP()
		connect := mqttc.AppendConnect(nil, mqttc.ConnectOptions{ClientID: "slow", Username: "slow", CleanStart: true})
		began := time.Now()
		buf := make([]byte, 1)
		for i := 0; ; i++ { // a byte at a time, and each within the limit
			if time.Since(began) > patience {
				t.Fatal("a CONNECT that trickles in keeps the connection open")
			}
			if i < len(connect)-1 {
				if _, err := c.Write(connect[i : i+1]); err != nil {
					return
				}
			}
			if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(buf); err != nil {
				var timeout net.Error
				if !errors.As(err, &timeout) || !timeout.Timeout() {
					return // closed
				}
			}
		}
	})
	s = serve(t, func(c *config.Config) { c.Limits.ConnectTimeout = time.Minute })
	t.Run("length", func(t *testing.T) { // closed at once, with nothing of it read
		c := s.open()
		if err := c.Raw(varint([]byte{mqttc.CONNECT << 4}, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		ends(t, c)
	})
	t.Run("after it", func(t *testing.T) { // a mebibyte is welcome from whom we know
		ana := s.dial("ana")
		ana.send("big", string(make([]byte, 1<<20-100)))
	})
}
