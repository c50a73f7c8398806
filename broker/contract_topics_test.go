package broker_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// The tests of this file follow the table "Topics" of the wire contract.

func quickPresence(c *config.Config) { c.Presence.Coalesce = time.Millisecond }

// c/{conv}/text, json, cbor and u/{user}/…: every way in arrives in every view.
func TestViews(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana"), s.dial("bob")
	code(t, bob.subscribe("c/+/text/+"), 1)
	views := s.dial("bob", device("views"))
	code(t, views.subscribe("c/+/json"), 1)
	binary := s.dial("bob", device("binary"))
	code(t, binary.subscribe("c/ana~bob/cbor"), 1)
	const asCBOR = "\xa1\x06\x62hi" // {6: "hi"}
	for i, p := range [][2]string{
		{"u/bob/text", "hi"}, {"u/bob/json", `{"text":"hi"}`}, {"u/bob/cbor", asCBOR},
		{"c/ana~bob/text", "hi"}, {"c/ana~bob/json", `{"kind":"post","text":"hi"}`}, {"c/ana~bob/cbor", asCBOR},
	} {
		ana.send(p[0], p[1])
		bob.expect([2]string{"c/ana~bob/text/ana", "hi"})
		m := views.next()
		if at := m.field(t, "at"); m.topic != "c/ana~bob/json" || m.payload != fmt.Sprintf(`{"seq":%d,"from":"ana","at":%s,"text":"hi"}`, i+1, at) {
			t.Error(m)
		}
		m = binary.next()
		want := fmt.Sprintf("a401%02x0263616e6103", i+1) // 1: seq, 2: "ana", 3: …
		if got := hex.EncodeToString([]byte(m.payload)); m.topic != "c/ana~bob/cbor" || !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "06626869") {
			t.Errorf("%s on %s, want %s…", got, m.topic, want)
		}
	}
	ana.send("u/bob/json", `{"text":"x","ext":{"a":[1,true,null]},"colour":"red","id":"e1"}`)
	bob.next()
	if m := views.next(); !strings.Contains(m.payload, `"ext":{"a":[1,true,null]}`) || !strings.Contains(m.payload, `"colour":"red"`) || strings.Contains(m.payload, "e1") {
		t.Error(m)
	}
	binary.next()
	ana.send("u/bob/json", `{"kind":"edit","re":1,"text":"not in the text view"}`)
	views.next()
	bob.quiet()
}

// Retain on what is published to c/ and u/ makes nothing retained.
func TestRetainOnAPost(t *testing.T) {
	s := serve(t)
	s.know("bob")
	ana := s.dial("ana")
	ana.publishWith(mqttc.Publish{Topic: "u/bob/text", Payload: []byte("x"), QoS: 1, Retain: true})
	bob := s.dial("bob")
	code(t, bob.subscribe("c/+/text/+"), 1)
	bob.quiet()
	ana.publishWith(mqttc.Publish{Topic: "u/bob/text", Payload: []byte("y"), QoS: 1, Retain: true})
	if m := bob.next(); m.retain {
		t.Error(m)
	}
}

// c/{conv}/typing: QoS 0, to the others, at most one per 2 s per member; empty stops.
func TestTyping(t *testing.T) {
	c := new(clock)
	s := serveTuned(t, c.options)
	s.know("ana", "bob", "eve")
	ana, bob, eve := s.dial("ana"), s.dial("bob"), s.dial("eve")
	ana.send("u/bob/text", "x")
	for _, c := range []*client{ana, bob, eve} {
		code(t, c.subscribe("c/+/typing/+"), 1)
	}
	for range 3 {
		ana.send("c/ana~bob/typing", "1")
	}
	if m := bob.next(); m.topic != "c/ana~bob/typing/ana" || m.payload == "" || m.qos != 0 || m.retain {
		t.Error(m)
	}
	bob.quiet()
	ana.send("c/ana~bob/typing", "")
	if m := bob.next(); m.payload != "" {
		t.Error(m)
	}
	c.forward(2 * time.Second)
	ana.put(mqttc.Publish{Topic: "c/ana~bob/typing", Payload: []byte("1")})
	ana.ping()
	bob.next()
	bob.quiet()
	ana.quiet()
	eve.quiet()
}

// c/{conv}/info: retained, with the caller's own role; told again when settings change.
func TestInfo(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob", "eve")
	bob := s.dial("bob")
	code(t, bob.subscribe("c/+/info"), 1)
	bob.quiet()
	s.group("ana", "crew", "bob")
	m := bob.next()
	if m.topic != "c/crew/info" || m.field(t, "role") != "member" || m.field(t, "members") != "2" || m.field(t, "title") != "A group" || m.retain {
		t.Error(m)
	}
	s.call("ana", "group.update", `{"conv":"crew","title":"New"}`)
	if m := bob.next(); m.field(t, "title") != "New" || m.retain { // [MQTT-3.3.1-12]: it is news
		t.Error(m)
	}
	s.call("ana", "member.role", `{"conv":"crew","user":"bob","role":"admin"}`)
	if m := bob.next(); m.field(t, "role") != "admin" {
		t.Error(m)
	}
	one := s.dial("bob", device("one"))
	code(t, one.subscribe("c/crew/info"), 1)
	if m := one.next(); !m.retain || m.field(t, "role") != "admin" {
		t.Error(m)
	}
	code(t, s.dial("eve").subscribe("c/crew/info"), 0x80)
}

// u/{user}/presence and u/{me}/status.
func TestPresence(t *testing.T) {
	s := serve(t, quickPresence)
	s.know("ana", "bob", "eve")
	ana := s.dial("ana")
	ana.send("u/bob/text", "we know each other")
	code(t, ana.subscribe("u/bob/presence"), 1)
	if m := ana.next(); m.topic != "u/bob/presence" || m.field(t, "state") != "offline" || !m.retain {
		t.Error(m)
	}
	bob := s.dial("bob")
	if m := ana.next(); m.field(t, "state") != "online" {
		t.Error(m)
	}
	bob.send("u/bob/status", `{"state":"away","text":"in a meeting"}`)
	if m := ana.next(); m.field(t, "state") != "away" || m.field(t, "text") != "in a meeting" {
		t.Error(m)
	}
	bob.send("u/bob/status", "")
	if m := ana.next(); m.field(t, "state") != "online" || m.field(t, "text") != "" {
		t.Error(m)
	}
	bob.leave()
	if m := ana.next(); m.field(t, "state") != "offline" || len(m.field(t, "seen")) != 13 {
		t.Error(m)
	}
	all := s.dial("ana", device("all"))
	code(t, all.subscribe("u/+/presence"), 1)
	seen := map[string]string{}
	for range 2 {
		m := all.next()
		seen[m.topic] = m.field(t, "state")
	}
	if seen["u/bob/presence"] != "offline" || seen["u/ana/presence"] != "online" {
		t.Error(seen)
	}
	all.quiet()
	eve := s.dial("eve", v5)
	code(t, eve.subscribe("u/bob/presence", "u/nobody/presence"), 0x87, 0x87)
}

// u/{me}/events: the user's own log, QoS 1, with the promise of a conversation.
func TestOwnEvents(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	bob := s.dial("bob", keep)
	code(t, bob.subscribe("u/bob/events"), 1)
	s.group("ana", "crew", "bob")
	m := bob.peek()
	if m.topic != "u/bob/events" || m.qos != 1 || m.field(t, "kind") != "added" || m.field(t, "conv") != "crew" || m.field(t, "seq") != "1" {
		t.Error(m)
	}
	bob.vanish()
	s.call("ana", "member.remove", `{"conv":"crew","user":"bob"}`)
	bob = s.dial("bob", keep)
	if m := bob.next(); !m.dup || m.field(t, "seq") != "1" {
		t.Error(m)
	}
	if m := bob.next(); m.field(t, "kind") != "removed" || m.field(t, "conv") != "crew" || m.field(t, "seq") != "2" {
		t.Error(m)
	}
	bob.quiet()
	code(t, bob.subscribe("u/ana/events", "u/+/events", "u/ana/rpc", "u/ana/errors"), 0x80, 0x80, 0x80, 0x80)
}

// rpc/{method} and u/{me}/rpc.
func TestRequests(t *testing.T) {
	s := serve(t)
	s.know("bob")
	other := s.dial("ana", device("other"))
	code(t, other.subscribe("u/ana/rpc", "u/ana/rpc/+"), 1, 1)
	three := s.dial("ana")
	code(t, three.subscribe("u/ana/rpc"), 1)
	three.send("rpc/user.get", `{"user":"bob","tag":"t1"}`)
	if m := three.next(); m.topic != "u/ana/rpc" || m.field(t, "tag") != "t1" || object(t, m.payload)["ok"] == nil {
		t.Error(m)
	}
	three.send("rpc/no.such", `{"tag":"t2"}`)
	if m := three.next(); m.field(t, "tag") != "t2" || !strings.Contains(m.payload, `"not-found"`) {
		t.Error(m)
	}
	three.send("rpc/history", `{"conv":`)
	if m := three.next(); !strings.Contains(m.payload, `"bad-request"`) {
		t.Error(m)
	}
	three.send("rpc/admin.user.list", `{}`)
	if m := three.next(); !strings.Contains(m.payload, `"not-authorized"`) {
		t.Error(m)
	}
	five := s.dial("ana", v5, device("five"))
	code(t, five.subscribe("u/ana/rpc/+"), 1)
	respond := func(topic string) mqttc.Packet {
		props := str([]byte{mqttc.PropResponseTopic}, topic)
		props = str(append(props, mqttc.PropCorrelationData), "\x00\x01c")
		return five.publishWith(mqttc.Publish{Topic: "rpc/user.get", Payload: []byte("\xa1\x64user\x63bob"), QoS: 1, Props: props})
	}
	if ack := respond("u/ana/rpc/7"); ack.Code != 0 {
		t.Errorf("PUBACK 0x%02X", ack.Code)
	}
	m := five.next()
	if data, _ := m.props.String(mqttc.PropCorrelationData); m.topic != "u/ana/rpc/7" || data != "\x00\x01c" || m.payload[0]>>5 != 5 {
		t.Errorf("%v with %q", m, data) // CBOR answers CBOR
	}
	for _, topic := range []string{"u/bob/rpc", "plain", "u/ana/rpc/a/b", "u/ana/events", "c/ana~bob/text"} {
		if ack := respond(topic); ack.Code != 0x87 {
			t.Errorf("Response Topic %s: PUBACK 0x%02X", topic, ack.Code)
		}
	}
	five.quiet()
	three.quiet()
	other.quiet() // replies go to the session that asked
}

// What can't be subscribed to.
func TestRefusedFilters(t *testing.T) {
	s := serve(t)
	s.know("bob")
	s.group("bob", "closed")
	for filter, want := range map[string]byte{
		"c/#": 0x8F, "c/+/#": 0x8F, "c/general/#": 0x8F, "c/general/text": 0x8F, "c/general/text/#": 0x8F, "c/general/text/bob": 0x8F,
		"c/+/xml": 0x8F, "c/general": 0x8F, "u/#": 0x8F, "u/ana/#": 0x8F, "u/ana/+": 0x8F, "u/+/events": 0x8F, "k/#": 0x8F, "rpc/#": 0x8F, "rpc/+": 0x8F,
		"$share/g/c/+/info": 0x8F, "$share/g": 0x8F, "$share//x": 0x8F, "$other/x": 0x87, "$SYS/#": 0x87,
		"c/closed/json": 0x87, "c/nowhere/json": 0x87, "c/bob~cas/json": 0x87, "u/bob/events": 0x87, "u/bob/rpc": 0x87,
	} {
		five, three := s.dial("ana", v5), s.dial("ana", device("three"))
		code(t, five.subscribe(filter), want)
		code(t, three.subscribe(filter), 0x80)
		if t.Failed() {
			t.Fatal(filter)
		}
	}
	// A bare # means plain topics only.
	ana, bob := s.dial("ana"), s.dial("bob")
	code(t, ana.subscribe("#", "+/+/+"), 1, 1)
	bob.send("u/ana/text", "x")
	bob.send("plain/a/b", "y")
	if m := ana.next(); m.topic != "plain/a/b" {
		t.Error(m)
	}
	ana.quiet()
}

// Guests use plain topics only.
func TestGuest(t *testing.T) {
	s := serve(t)
	guest := s.dial("", v5, device("guest"))
	code(t, guest.subscribe("c/+/json", "u/guest/events", "plain/#"), 0x87, 0x87, 1)
	guest.refused(0x87, "c/general/text", "x")
	guest.refused(0x87, "rpc/user.get", "{}")
	guest.send("plain/x", "y")
	guest.expect([2]string{"plain/x", "y"})
	if _, err := serve(t, accounts).try("", device("guest")); err == nil {
		t.Error("a guest is let in outside dev mode, where no rule allows anything")
	}
}
