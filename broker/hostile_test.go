package broker_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/internal/mqttc"
	"go.uber.org/goleak"
)

// watched starts a server that must leave no goroutine behind, with two people who talk; the function
// asserts that they have noticed nothing of what a test did.
func watched(t *testing.T) (s *testServer, unharmed func()) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the server has stopped
	s = serve(t)
	ana, bob := s.dial("ana"), s.dial("bob", v5)
	code(t, bob.subscribe("c/+/text/+", "plain/#"), 1, 1)
	return s, func() {
		t.Helper()
		for _, topic := range []string{"u/bob/text", "plain/x"} {
			ana.send(topic, "still here")
			if m := bob.next(); m.payload != "still here" {
				t.Error(m)
			}
		}
		ana.quiet()
		bob.quiet()
	}
}

// Malformed packets after CONNECT: the connection ends with the right reason.
func TestHostilePackets(t *testing.T) {
	s, unharmed := watched(t)
	props := func(n int, rest ...byte) []byte { return append(varint(nil, n), rest...) }
	pub := func(topic string, rest ...byte) []byte { return append(str(nil, topic), rest...) }
	for _, tc := range []struct {
		name string
		raw  []byte
		want byte
		only byte // protocol version; 0: both
	}{
		{"length of five bytes", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, 0x81, 0},
		{"length of zeros", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x00}, 0x81, 0},
		{"type 0", []byte{0x00, 0}, 0x81, 0},
		{"flags of PINGREQ", []byte{0xC1, 0}, 0x81, 0},
		{"flags of SUBSCRIBE", frame(0x80, []byte{0, 1, 0, 1, 'x', 0}), 0x81, 0},
		{"a server's packet", []byte{0x20, 2, 0, 0}, 0x82, 0},
		{"QoS 3", frame(0x36, pub("x", 0, 1, 0)), 0x81, 0},
		{"DUP at QoS 0", frame(0x38, pub("x", 0)), 0x82, 0},
		{"PUBLISH without topic length", frame(0x30, []byte{0}), 0x81, 0},
		{"PUBLISH with a longer topic than it has", frame(0x30, []byte{0, 9, 'x'}), 0x81, 0},
		{"PUBLISH without packet id", frame(0x32, str(nil, "x")), 0x81, 0},
		{"packet id 0", frame(0x32, pub("x", 0, 0, 0)), 0x82, 0},
		{"empty topic", frame(0x30, pub("", 0)), 0x82, 0},
		{"wildcard topic", frame(0x30, pub("a/+", 0)), 0x82, 0},
		{"topic not UTF-8", frame(0x30, pub("a\xff", 0)), 0x81, 0},
		{"topic with U+0000", frame(0x30, pub("a\x00b", 0)), 0x81, 0},
		{"topic with a surrogate", frame(0x30, pub("a\xed\xa0\x80", 0)), 0x81, 0},
		{"property length beyond the end", frame(0x30, append(pub("x"), props(9)...)), 0x81, 5},
		{"unknown property", frame(0x30, append(pub("x"), props(2, 0x7F, 0)...)), 0x81, 5},
		{"property of another packet", frame(0x30, append(pub("x"), props(2, mqttc.PropMaximumQoS, 0)...)), 0x81, 5},
		{"topic alias 0", frame(0x30, append(pub("x"), props(3, mqttc.PropTopicAlias, 0, 0)...)), 0x94, 5},
		{"topic alias above the maximum", frame(0x30, append(pub("x"), props(3, mqttc.PropTopicAlias, 0xFF, 0xFF)...)), 0x94, 5},
		{"topic alias never given", frame(0x30, append(pub(""), props(3, mqttc.PropTopicAlias, 0, 7)...)), 0x82, 5},
		{"subscription id from a client", frame(0x30, append(pub("x"), props(2, mqttc.PropSubscriptionID, 1)...)), 0x82, 5},
		{"SUBSCRIBE without filter", frame(0x82, []byte{0, 1, 0}[:2]), 0x82, 4},
		{"SUBSCRIBE without filter", frame(0x82, []byte{0, 1, 0}), 0x82, 5},
		{"SUBSCRIBE cut before the options", frame(0x82, append([]byte{0, 1}, str(nil, "x")...)), 0x81, 4},
		{"SUBSCRIBE cut before the options", frame(0x82, append([]byte{0, 1, 0}, str(nil, "x")...)), 0x81, 5},
		{"SUBSCRIBE cut in the filter", frame(0x82, []byte{0, 1, 0, 0, 9, 'x'}), 0x81, 0},
		{"SUBSCRIBE with packet id 0", frame(0x82, append(append([]byte{0, 0, 0}, str(nil, "x")...), 0)), 0x82, 5},
		{"SUBSCRIBE with QoS 3", frame(0x82, append(append([]byte{0, 1, 0}, str(nil, "x")...), 3)), 0x82, 5},
		{"UNSUBSCRIBE without filter", frame(0xA2, []byte{0, 1, 0}), 0x82, 5},
		{"UNSUBSCRIBE cut", frame(0xA2, []byte{0, 1, 0, 0, 5, 'x'}), 0x81, 5},
		{"PUBACK cut", frame(0x40, []byte{0}), 0x81, 0},
		{"DISCONNECT with expiry though there was none", []byte{0xE0, 7, 0, 5, mqttc.PropSessionExpiry, 0, 0, 0, 9}, 0x82, 5},
		{"second CONNECT", mqttc.AppendConnect(nil, mqttc.ConnectOptions{ClientID: "x", CleanStart: true}), 0x82, 0},
		{"longer than allowed", varint([]byte{0x30}, 2<<20), 0x95, 0},
	} {
		for _, v := range []byte{4, 5} {
			if tc.only != 0 && tc.only != v {
				continue
			}
			t.Run(fmt.Sprint(tc.name, " v", v), func(t *testing.T) {
				eve := s.dial("eve", func(o *mqttc.ConnectOptions) { o.Version = v })
				eve.t = t
				eve.bytes(tc.raw...)
				eve.closedWith(tc.want)
			})
		}
	}
	unharmed()
}

// Bad CONNECTs are answered where the standard has an answer, and closed.
func TestHostileConnect(t *testing.T) {
	s, unharmed := watched(t)
	connect := func(name string, version, flags byte, rest ...byte) []byte {
		return frame(0x10, append(append(str(nil, name), version, flags, 0, 0), rest...))
	}
	id := str(nil, "x")
	for _, tc := range []struct {
		name string
		raw  []byte
	}{
		{"another packet first", []byte{0xC0, 0}},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"TLS", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}},
		{"protocol name", connect("MQTX", 4, 2, id...)},
		{"protocol version", connect("MQTT", 9, 2, id...)},
		{"reserved flag", connect("MQTT", 4, 3, id...)},
		{"will QoS without will", connect("MQTT", 4, 2|8, id...)},
		{"will QoS 3", connect("MQTT", 4, 2|4|0x18, append(bytes.Clone(id), 0, 1, 'w', 0, 1, 'p')...)},
		{"will cut", connect("MQTT", 4, 2|4, append(bytes.Clone(id), 0, 9, 'w')...)},
		{"will to a wildcard", connect("MQTT", 4, 2|4, append(bytes.Clone(id), 0, 1, '#', 0, 1, 'p')...)},
		{"no user name", connect("MQTT", 4, 2|0x80, id...)},
		{"user name not UTF-8", connect("MQTT", 4, 2|0x80, append(bytes.Clone(id), 0, 1, 0xFF)...)},
		{"user name that is none", connect("MQTT", 4, 2|0x80, append(bytes.Clone(id), 0, 3, 'a', '/', 'b')...)},
		{"password without user name", connect("MQTT", 4, 2|0x40, append(bytes.Clone(id), 0, 1, 'p')...)},
		{"client id not UTF-8", connect("MQTT", 4, 2, 0, 1, 0xFF)},
		{"no client id for a session that stays", connect("MQTT", 4, 0, 0, 0)},
		{"property length", connect("MQTT", 5, 2, 0xFF, 0xFF, 0xFF, 0x7F)},
		{"property twice", connect("MQTT", 5, 2, append([]byte{10, mqttc.PropSessionExpiry, 0, 0, 0, 1, mqttc.PropSessionExpiry, 0, 0, 0, 2}, id...)...)},
		{"Receive Maximum 0", connect("MQTT", 5, 2, append([]byte{3, mqttc.PropReceiveMaximum, 0, 0}, id...)...)},
		{"authentication method", connect("MQTT", 5, 2, append(append([]byte{8, mqttc.PropAuthMethod}, str(nil, "SCRAM")...), id...)...)},
		{"too long", varint([]byte{0x10}, 65<<10)},
		{"trailing bytes", connect("MQTT", 4, 2, append(bytes.Clone(id), 1, 2, 3)...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := s.open(func(o *mqttc.ConnectOptions) { o.Version = 5 })
			if err := c.Raw(tc.raw); err != nil {
				t.Fatal(err)
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			for {
				p, err := c.ReadPacket()
				if err != nil {
					break
				}
				if p.Type == mqttc.CONNACK && p.Code == 0 {
					t.Fatal("it is let in")
				}
			}
		})
	}
	unharmed()
}

// Too much of something.
func TestHostileExcess(t *testing.T) {
	s, unharmed := watched(t)
	t.Run("user properties", func(t *testing.T) {
		var props []byte
		for range 10_000 {
			props = mqttc.AppendUserProperty(props, "k", "v")
		}
		eve := s.dial("eve", v5)
		eve.put(mqttc.Publish{Topic: "plain/x", QoS: 1, ID: 1, Props: props})
		eve.closedWith(0x97)
		if _, err := s.try("eve", v5, func(o *mqttc.ConnectOptions) {
			for range 1000 {
				o.UserProperties = append(o.UserProperties, mqttc.UserProperty{Key: "k", Value: "v"})
			}
		}); err == nil {
			t.Error("1,000 user properties at CONNECT")
		}
	})
	t.Run("topic levels", func(t *testing.T) {
		eve := s.dial("eve", v5)
		deep := strings.Repeat("a/", 20_000) + "a"
		eve.refused(0x99, deep, "x")
		code(t, eve.subscribe(deep), 0x8F)
		eve.quiet()
		if _, err := s.try("eve", will(deep, "x")); err == nil {
			t.Error("a will to a deep topic")
		}
	})
	t.Run("subscriptions", func(t *testing.T) {
		eve := s.dial("eve", v5)
		var list []mqttc.Filter
		for i := range 1500 {
			list = append(list, mqttc.Filter{Topic: fmt.Sprint("plain/x/", i), QoS: 1})
		}
		got := eve.subscribeWith(list)
		if n := bytes.Count(got, []byte{1}); n != 1000 || len(got) != 1500 {
			t.Errorf("%d of %d filters granted, want 1000", n, len(got))
		}
		got = eve.subscribeWith(list[:1])
		code(t, got, 1) // it is there already
		code(t, eve.subscribe("plain/another"), 0x83)
	})
	t.Run("a client that takes next to nothing", func(t *testing.T) {
		eve := s.dial("eve", v5, func(o *mqttc.ConnectOptions) { o.MaximumPacketSize = 24; o.MaxPacket = 24 })
		eve.refused(0x87, "c/nowhere/text", "x") // without the reason, which would be too long [MQTT-3.4.2-2]
		code(t, eve.subscribe("c/nowhere/json"), 0x87)
		code(t, eve.subscribe("c/+/json", "other/#", "u/eve/rpc"), 1, 1, 1)
		eve.send("u/eve/text", strings.Repeat("x", 50))
		eve.send("other/x", strings.Repeat("x", 50))
		eve.send("rpc/sync", "{}")
		eve.quiet()
	})
	t.Run("aliases", func(t *testing.T) {
		eve := s.dial("eve", v5)
		for i := range 1000 { // the same few, with ever other names
			eve.put(mqttc.Publish{Topic: fmt.Sprint("other/", i), Alias: uint16(i%int(eve.ack.TopicAliasMaximum)) + 1})
		}
		eve.quiet()
	})
	t.Run("requests", func(t *testing.T) {
		eve := s.dial("eve", v5, keep)
		for i := range 500 {
			eve.put(mqttc.Publish{Topic: "rpc/sync", Payload: []byte("{}"), QoS: 1, ID: uint16(i + 1)})
		}
		eve.vanish()
		s.dial("eve", v5, keep).quiet()
	})
	unharmed()
}

// Random bytes, and valid packets with a few bytes changed: nothing but connections ends.
func TestHostileNoise(t *testing.T) {
	s, unharmed := watched(t)
	r := rand.New(rand.NewPCG(1, 2))
	valid := func(v byte) []byte {
		b := mqttc.AppendSubscribe(nil, v, 1, []mqttc.Filter{{Topic: "c/+/json", QoS: 1}, {Topic: "noise/#", QoS: 2}})
		b = mqttc.AppendPublish(b, v, mqttc.Publish{Topic: "noise/x", Payload: []byte("hello"), QoS: 2, ID: 2})
		b = mqttc.AppendPublish(b, v, mqttc.Publish{Topic: "u/eve/json", Payload: []byte(`{"text":"x","id":"i"}`), QoS: 1, ID: 3})
		b = mqttc.AppendAck(b, v, mqttc.PUBREL, 2, 0)
		b = mqttc.AppendUnsubscribe(b, v, 4, "c/+/json")
		return append(b, mqttc.PINGREQ<<4, 0)
	}
	for i := range 300 {
		v := byte(4 + i%2)
		eve := s.dial("eve", func(o *mqttc.ConnectOptions) { o.Version = v })
		b := valid(v)
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		eve.bytes(b...)
		_ = eve.WriteDisconnect(0) // the server may be gone already
		_ = eve.Flush()
		_ = eve.Close()
	}
	unharmed()
}
