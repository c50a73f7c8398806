package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// 10. A removed member gets everything up to and including the removal, then nothing on any path.
func TestRemovedMember(t *testing.T) {
	versions(t, func(t *testing.T, version opt) {
		s := serve(t)
		s.know("ana", "bob")
		s.group("ana", "crew", "bob") // 1, 2
		s.group("ana", "other", "bob")
		ana := s.dial("ana")
		here, away := s.dial("bob", version), s.dial("bob", version, keep, device("away"))
		everything := []string{"c/+/json", "c/crew/text/+", "c/crew/cbor", "c/crew/typing/+", "c/crew/receipts", "c/crew/info"}
		code(t, here.subscribe(everything...), 1, 1, 1, 1, 1, 1)
		code(t, away.subscribe("c/+/json"), 1)
		here.next() // the info
		away.leave()
		ana.send("c/crew/text", "3")
		s.call("ana", "member.remove", `{"conv":"crew","user":"bob"}`) // 4
		ana.send("c/crew/text", "5")
		ana.send("c/crew/typing", "x")
		got := map[string]int{}
		for range 3 + 2 { // 3 in three views, 4 in two
			m := here.next()
			got[m.topic]++
			if strings.HasSuffix(m.topic, "json") && m.field(t, "seq") == "4" && (m.field(t, "kind") != "remove" || !strings.Contains(m.payload, `"bob"`)) {
				t.Error(m)
			}
		}
		if fmt.Sprint(got) != "map[c/crew/cbor:2 c/crew/json:2 c/crew/text/ana:1]" {
			t.Error(got)
		}
		if m := here.next(); m.topic != "c/crew/info" || m.payload != "" { // cleared
			t.Error(m)
		}
		here.quiet()
		away = s.dial("bob", version, keep, device("away"))
		equal(t, away.seqs(2), "3", "4")
		away.quiet()

		bad := byte(0x80)
		if here.Version() == 5 {
			bad = 0x87
		}
		for _, f := range everything[1:] {
			code(t, s.dial("bob", version, device("again")).subscribe(f), bad)
		}
		fresh := s.dial("bob", v5, device("fresh"))
		code(t, fresh.subscribeWith([]mqttc.Filter{{Topic: "c/+/json", QoS: 1}, {Topic: "c/+/info", QoS: 1}}, mqttc.UserProperty{Key: "from", Value: "-100"}), 1, 1)
		fresh.ping()
		for _, m := range fresh.pending {
			if !strings.HasPrefix(m.topic, "c/other/") {
				t.Error(m)
			}
		}
		if fresh.publish("c/crew/text", "let me in") != 0x87 || fresh.publish("c/crew/read", "3") != 0x87 || fresh.publish("c/crew/typing", "1") != 0x87 {
			t.Error("a former member writes")
		}
		for _, request := range [][2]string{{"history", `{"conv":"crew"}`}, {"member.list", `{"conv":"crew"}`}, {"receipts", `{"conv":"crew","seq":3}`}, {"group.get", `{"conv":"crew"}`}} {
			reply := string(s.Call(t.Context(), "bob", request[0], []byte(request[1])))
			if !strings.Contains(reply, `"not-found"`) {
				t.Errorf("%s: %s", request[0], reply)
			}
		}
		if got := fmt.Sprint(s.call("bob", "sync", `{}`)); strings.Contains(got, "crew") {
			t.Error(got)
		}
	})
}

// 10. Rejoining starts at the new joining.
func TestRejoining(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	s.group("ana", "crew", "bob") // 1, 2
	ana, here := s.dial("ana"), s.dial("bob")
	away, long := s.dial("bob", keep, device("away")), s.dial("bob", keep, device("long"))
	for _, c := range []*client{here, away, long} {
		code(t, c.subscribe("c/+/json"), 1)
	}
	away.leave()
	long.leave()
	ana.send("c/crew/text", "3")
	s.call("ana", "member.remove", `{"conv":"crew","user":"bob"}`) // 4
	ana.send("c/crew/text", "5")
	away = s.dial("bob", keep, device("away"))
	equal(t, away.seqs(2), "3", "4")
	away.leave()
	s.call("ana", "member.add", `{"conv":"crew","user":"bob"}`) // 6
	ana.send("c/crew/text", "7")
	equal(t, here.seqs(4), "3", "4", "6", "7")
	here.quiet()
	away = s.dial("bob", keep, device("away"))
	equal(t, away.seqs(2), "6", "7")
	away.quiet()
	// Who was away all the while gets both times of membership, and nothing of what lay between.
	long = s.dial("bob", keep, device("long"))
	equal(t, long.seqs(4), "3", "4", "6", "7")
	long.quiet()
}

// 10. The end of a group reaches all, and info is cleared.
func TestEndOfAGroup(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	s.group("ana", "crew", "bob")
	bob, away := s.dial("bob"), s.dial("bob", keep, device("away"))
	code(t, bob.subscribe("c/+/json", "c/+/info", "u/bob/events"), 1, 1, 1)
	code(t, away.subscribe("c/+/json"), 1)
	if m := bob.next(); m.topic != "c/crew/info" || !m.retain || m.field(t, "title") != "A group" || m.field(t, "role") != "member" {
		t.Error(m)
	}
	away.leave()
	s.call("ana", "group.delete", `{"conv":"crew"}`)
	for range 3 {
		switch m := bob.next(); m.topic {
		case "c/crew/json":
			if m.field(t, "kind") != "end" {
				t.Error(m)
			}
		case "u/bob/events":
			if m.field(t, "kind") != "ended" || m.field(t, "conv") != "crew" {
				t.Error(m)
			}
		case "c/crew/info":
			if m.payload != "" {
				t.Error(m)
			}
		default:
			t.Error(m)
		}
	}
	away = s.dial("bob", keep, device("away"))
	equal(t, away.seqs(1), "3")
	away.quiet()
}

// 12. Device tokens are limited to conversations and to reading or writing.
func TestDeviceTokens(t *testing.T) {
	s := serve(t, accounts, quickPresence)
	s.addUsers("ana", "bob")
	s.group("ana", "mine", "bob")
	s.group("ana", "sensors", "bob")
	ana := s.signIn("ana")
	code(t, ana.subscribe("c/+/text/+", "c/+/receipts", "u/bob/presence"), 1, 1, 1)
	if m := ana.next(); m.field(t, "state") != "offline" {
		t.Error(m)
	}
	token := s.addToken("bob", map[string]any{"convs": []string{"sensors"}, "read": true, "write": true})
	sensor := s.dial("bob", v5, device("sensor"), password(token))
	code(t, sensor.subscribe("c/+/json", "c/sensors/text/+", "c/sensors/info"), 1, 1, 1)
	if m := sensor.next(); m.topic != "c/sensors/info" {
		t.Error(m)
	}
	code(t, sensor.subscribe("c/mine/json"), 0x87)
	code(t, sensor.subscribe("u/bob/events"), 0x87)
	code(t, sensor.subscribe("u/bob/rpc"), 0x87)
	code(t, sensor.subscribe("u/ana/presence"), 0x87)
	sensor.refused(0x87, "c/mine/text", "x")
	sensor.refused(0x87, "u/ana/text", "x")
	sensor.refused(0x87, "rpc/history", `{"conv":"sensors"}`)
	sensor.refused(0x87, "c/sensors/read", "1")
	sensor.refused(0x87, "u/bob/status", `{"text":"x"}`)
	ana.send("c/mine/text", "not for the sensor")
	sensor.quiet()
	ana.send("c/sensors/text", "for it")
	for range 2 {
		if m := sensor.next(); !strings.HasPrefix(m.topic, "c/sensors/") {
			t.Error(m)
		}
	}
	sensor.send("c/sensors/text", "21 °C")
	for range 2 {
		sensor.next()
	}
	sensor.leave() // its acknowledgements are with the hub now, if they count at all
	var texts []string
	for range 3 {
		texts = append(texts, ana.next().payload)
	}
	equal(t, texts, "not for the sensor", "for it", "21 °C")
	ana.quiet() // no cursor of bob's moved, and bob was never online
	for _, m := range s.call("ana", "member.list", `{"conv":"sensors"}`)["members"].([]any) {
		if m := m.(map[string]any); m["user"] == "bob" && fmt.Sprintf("%v %v", m["delivered"], m["read"]) != "0 0" {
			t.Error(m)
		}
	}

	reader := s.dial("bob", v5, device("reader"), password(s.addToken("bob", map[string]any{"convs": []string{"sensors"}, "read": true})))
	code(t, reader.subscribe("c/+/text/+"), 1)
	reader.refused(0x87, "c/sensors/text", "x")
	reader.refused(0x87, "c/sensors/typing", "x")
	writer := s.dial("bob", v5, device("writer"), password(s.addToken("bob", map[string]any{"convs": []string{"sensors"}, "write": true})))
	code(t, writer.subscribe("c/+/text/+"), 0x87)
	writer.send("c/sensors/text", "22 °C")
	reader.expect([2]string{"c/sensors/text/bob", "22 °C"})
	writer.quiet()
	reader.quiet()
	ana.next()
	s.signIn("bob") // the first that counts
	if m := ana.next(); m.field(t, "state") != "online" {
		t.Error(m)
	}
	ana.quiet()
}

// 12. presence=no: a session that does not count.
func TestPresenceNo(t *testing.T) {
	s := serve(t, quickPresence)
	s.know("ana", "bob")
	ana := s.dial("ana")
	ana.send("u/bob/text", "we know each other")
	code(t, ana.subscribe("u/bob/presence"), 1)
	if m := ana.next(); m.field(t, "state") != "offline" || !m.retain {
		t.Error(m)
	}
	s.dial("bob", v5, device("lamp"), userProp("presence", "no"))
	s.dial("bob", v5, device("phone"))
	if m := ana.next(); m.field(t, "state") != "online" {
		t.Error(m)
	}
	if _, err := s.try("bob", v5, userProp("presence", "maybe")); err == nil {
		t.Error("presence=maybe is accepted")
	}
}
