package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

func will(topic, payload string) opt {
	return func(o *mqttc.ConnectOptions) { o.Will = &mqttc.Will{Topic: topic, Payload: []byte(payload), QoS: 1} }
}

// "Wills: may be published where the owner may not write; OnWill can't suppress; will properties dropped;
// empty will payload and empty password refused 0x82; nothing after a crash; a client kicked inside a hook
// loses its will"
func TestMochiWills(t *testing.T) {
	t.Run("where the owner may not write", func(t *testing.T) {
		s := serve(t, accounts)
		s.addUsers("ana", "bob")
		if _, err := s.try("ana", password(passwordOf("ana")), will("secret", "x")); err == nil {
			t.Error("a will to a topic that ana may not publish to is accepted")
		}
		s.signIn("ana", will("ana/gone", "x"))
	})
	t.Run("carried out as the user", func(t *testing.T) {
		versions(t, func(t *testing.T, version opt) {
			s := serve(t)
			s.know("ana", "bob", "eve")
			s.group("ana", "crew", "bob")
			ana := s.dial("ana")
			code(t, ana.subscribe("c/+/text/+", "plain/#"), 1, 1)
			s.dial("bob", version, will("c/crew/text", "I am cut off")).vanish()
			ana.expect([2]string{"c/crew/text/bob", "I am cut off"})
			s.dial("eve", version, will("c/crew/text", "I am no member")).vanish()
			s.dial("bob", version, will("plain/gone", "")).vanish() // may be empty
			ana.expect([2]string{"plain/gone", ""})
			bob := s.dial("bob", version, will("plain/gone", "not with a goodbye"))
			bob.leave()
			ana.quiet()
		})
	})
	t.Run("properties", func(t *testing.T) {
		s := serve(t)
		ana := s.dial("ana", v5)
		code(t, ana.subscribe("plain/#"), 1)
		c := s.open(v5)
		props := mqttc.AppendUserProperty(str([]byte{mqttc.PropContentType}, "text/plain"), "k", "v")
		body := append(str(nil, "MQTT"), 5, 0x80|4|2|8, 0, 0, 0)
		body = str(body, "bob")
		body = append(append(body, byte(len(props))), props...)
		body = str(str(str(body, "plain/will"), "gone"), "bob")
		if err := c.Raw(frame(mqttc.CONNECT<<4, body)); err != nil {
			t.Fatal(err)
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		if p, err := c.ReadPacket(); err != nil || p.Type != mqttc.CONNACK || p.Code != 0 {
			t.Fatal(p, err)
		}
		_ = c.Close()
		m := ana.next()
		v, _ := m.props.User("k")
		kind, _ := m.props.String(mqttc.PropContentType)
		if m.payload != "gone" || v != "v" || kind != "text/plain" {
			t.Errorf("%v with %q %q", m, v, kind)
		}
	})
	t.Run("empty password", func(t *testing.T) {
		versions(t, func(t *testing.T, version opt) { serve(t).dial("ana", version, password("")) })
	})
	t.Run("after a restart", func(t *testing.T) {
		s := serve(t)
		ana := s.dial("ana", keep)
		code(t, ana.subscribe("plain/#"), 1)
		s.dial("bob", keep, will("plain/gone", "it never came back"))
		s.Restart()
		ana = s.dial("ana", keep)
		ana.expect([2]string{"plain/gone", "it never came back"})
	})
	t.Run("sent away", func(t *testing.T) {
		s := serve(t)
		ana := s.dial("ana")
		code(t, ana.subscribe("plain/#"), 1)
		bob := s.dial("bob", v5, will("plain/gone", "revoked"))
		s.call("bob", "device.revoke", `{"device":"bob"}`)
		ana.expect([2]string{"plain/gone", "revoked"})
		bob.closedWith(0x98)
	})
	t.Run("taken over", func(t *testing.T) {
		s := serve(t)
		ana := s.dial("ana")
		code(t, ana.subscribe("plain/#"), 1)
		first := s.dial("bob", v5, will("plain/gone", "another took its place"))
		s.dial("bob", v5)
		ana.expect([2]string{"plain/gone", "another took its place"})
		first.closedWith(0x8E)
	})
	t.Run("delay", func(t *testing.T) {
		s := serve(t)
		ana := s.dial("ana")
		code(t, ana.subscribe("plain/#"), 1)
		delayed := func(o *mqttc.ConnectOptions) { o.Will.Delay = 3600 }
		s.dial("bob", v5, keep, will("plain/gone", "too early"), delayed).vanish()
		bob := s.dial("bob", v5, keep) // back in time
		bob.leave()
		ana.quiet()
	})
}

// "Retained: clearExpiredRetainedMessages copies all of them each second; sent through mochi's inflight;
// default 24 h expiry deletes them" and "RetainHandling=2"
func TestMochiRetained(t *testing.T) {
	c := new(clock)
	s := serveTuned(t, c.options)
	ana := s.dial("ana", v5)
	for i := range 300 {
		ana.publishWith(mqttc.Publish{Topic: fmt.Sprintf("house/%03d", i), Payload: fmt.Append(nil, i), QoS: 1, Retain: true})
	}
	c.forward(48 * time.Hour)
	for name, tc := range map[string]struct {
		filter mqttc.Filter
		twice  bool
		want   int
	}{
		"send": {mqttc.Filter{Topic: "house/+", QoS: 1}, true, 600}, "new only": {mqttc.Filter{Topic: "house/+", QoS: 1, RetainHandling: 1}, true, 300},
		"none": {mqttc.Filter{Topic: "house/+", QoS: 1, RetainHandling: 2}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bob := s.dial("bob", v5, func(o *mqttc.ConnectOptions) { o.ReceiveMaximum = 3 }) // more than a window
			code(t, bob.subscribeWith([]mqttc.Filter{tc.filter}), 1)
			code(t, bob.subscribeWith([]mqttc.Filter{tc.filter}), 1)
			for i := range tc.want {
				if m := bob.next(); m.payload != fmt.Sprint(i%300) || !m.retain || m.qos != 1 {
					t.Fatalf("%v at %d", m, i)
				}
			}
			bob.quiet()
		})
	}
}

// "One subscriber that stops reading stalls the publisher and the other subscribers: the lock is held
// while the socket is written; a full queue drops QoS 1 silently"
func TestMochiStuckSubscriber(t *testing.T) {
	for _, where := range []struct{ name, topic, filter string }{
		{"group", "c/general/text", "c/general/text/+"}, {"plain", "plain/x", "plain/#"},
	} {
		t.Run(where.name, func(t *testing.T) {
			s := serve(t)
			stuck, well, ana := s.dial("stuck", v5), s.dial("well", v5), s.dial("ana")
			code(t, stuck.subscribe(where.filter), 1)
			code(t, well.subscribe(where.filter), 1)
			body := strings.Repeat("x", 4<<10)
			const n = 2000
			for i := range n {
				ana.send(where.topic, fmt.Sprintf("%d %s", i, body))
				if m := well.next(); m.payload[:len(fmt.Sprint(i))] != fmt.Sprint(i) {
					t.Fatalf("%.20v at %d", m, i)
				}
			}
			well.quiet()
			for i := range n { // nothing is lost to who was stuck
				if m := stuck.next(); !strings.HasPrefix(m.payload, fmt.Sprint(i)+" ") {
					t.Fatalf("%.40v at %d", m.payload, i)
				}
			}
			stuck.quiet()
		})
	}
}

// "refreshDeadline sets the write deadline too: blocking a reader to slow a sender down makes writes fail
// after 1.5 keep-alives"
func TestMochiKeepAliveOfWhoIsSlowedDown(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) { c.Limits.EventsPerSecond, c.Limits.Burst = 1, 1 })
	s.addUsers("ana")
	busy := s.signIn("ana", device("busy"))
	for i := range 2 { // takes what the user may send in this second and in the next
		busy.put(mqttc.Publish{Topic: "ana/x", QoS: 1, ID: uint16(i + 1)})
	}
	busy.await(mqttc.PUBACK)
	ana := s.signIn("ana", v5, func(o *mqttc.ConnectOptions) { o.KeepAlive = 1 })
	ana.send("ana/x", "it takes two seconds until this one is read")
	ana.quiet()
}
