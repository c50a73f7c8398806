package broker_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/protocol"
)

const (
	hostCandidate  = "candidate:1 1 udp 2122260223 192.0.2.17 51472 typ host"
	relayCandidate = "candidate:3 1 udp 41885439 198.51.100.1 50001 typ relay raddr 192.0.2.17 rport 51472"
)

// Who wants media to go through a relay is not given away by a device that forgets it; to change the setting changes what is passed on
// from then on. Until a call is accepted nothing is passed on at all, and the device is told to gather nothing else.
func TestRelayIsEnforced(t *testing.T) {
	s := serve(t)
	ana, bob := s.phone("ana", "a"), s.phone("bob", "b")
	bob.want("user.update", `{"relay":"until-accepted"}`)
	call, pa := ana.starts("u/bob/call", `{"media":["audio"]}`)
	if m := bob.reaches("ring new"); !m.Relay {
		t.Fatalf("%+v", m)
	}
	relays := func(c *client, want bool) {
		t.Helper()
		if r := c.want("call.ice", `{"call":"`+call+`"}`); r["relay"] != want {
			t.Errorf("%s is to relay: %v", c.name, r["relay"])
		}
	}
	relays(bob, true)
	relays(ana, false)
	bob.barred(0x87, "k/"+call+"/signal", `{"to":"`+pa+`","type":"candidates","body":["`+hostCandidate+`"]}`)
	_, pb, _ := bob.call("k/"+call+"/accept", "")
	relays(bob, false)
	ana.settle()
	body := strings.Replace(offer, "127.0.0.1", "192.0.2.17", 1) + "a=" + hostCandidate + "\r\na=" + relayCandidate + "\r\n"
	hears := func(kind string) string {
		t.Helper()
		var x told
		if err := json.Unmarshal([]byte(ana.pick("u/ana/calls/"+pa).payload), &x); err != nil || x.Type != kind {
			t.Fatalf("%+v %v", x, err)
		}
		return string(x.Body)
	}
	bob.signals(call, pa, "offer", body)
	if got := hears("offer"); !strings.Contains(got, hostCandidate) {
		t.Errorf("he has accepted: %s", got)
	}
	bob.want("user.update", `{"relay":"always"}`)
	relays(bob, true)
	bob.signals(call, pa, "offer", body)
	if got := hears("offer"); strings.Contains(got, "192.0.2.17") || !strings.Contains(got, "198.51.100.1 50001 typ relay raddr 0.0.0.0 rport 9") {
		t.Errorf("ana gets %s", got)
	}
	bob.signals(call, pa, "candidates", []string{hostCandidate})
	bob.signals(call, pa, "candidates", []string{hostCandidate, relayCandidate})
	if got := hears("candidates"); strings.Contains(got, "192.0.2.17") || strings.Count(got, "candidate:") != 1 {
		t.Errorf("ana gets %s", got)
	}
	ana.signals(call, pb, "answer", strings.Replace(body, "actpass", "active", 1))
	var x told
	if err := json.Unmarshal([]byte(bob.pick("u/bob/calls/"+pb).payload), &x); err != nil || !strings.Contains(string(x.Body), hostCandidate) {
		t.Errorf("bob gets %s %v", x.Body, err)
	}
	bob.want("user.update", `{"relay":"never"}`)
	bob.signals(call, pa, "candidates", []string{hostCandidate})
	if got := hears("candidates"); !strings.Contains(got, hostCandidate) {
		t.Errorf("ana gets %s", got)
	}
}

// Who is called in a conversation that they have muted is told of nothing but the missed call, and the caller sees no difference.
func TestAMutedConversationDoesNotRing(t *testing.T) {
	clk := new(clock)
	s := serveTuned(t, clk.options)
	ana, bob, log := s.phone("ana", "a"), s.phone("bob", "b"), s.dial("bob", v5, device("log"))
	ana.publish("u/bob/text", "hello")
	bob.publish("u/ana/text", "hello yourself")
	ok(t, log.subscribe("u/bob/events", "c/+/json"))
	call, _ := ana.starts("u/bob/call", "")
	bob.reaches("ring new")
	open := ana.reaches("state new")
	log.pick("u/bob/events")
	ana.does(call, "cancel", "")
	ana.reaches("state ended")
	log.ended("ana~bob", call, "ana", "cancelled")
	bob.want("conv.mute", `{"conv":"ana~bob"}`)
	bob.settle()
	log.settle()
	call, _ = ana.starts("u/bob/call", "")
	muted := ana.reaches("state new")
	if muted.Exp-muted.At != open.Exp-open.At || len(muted.Parties) != len(open.Parties) || muted.Relay != open.Relay {
		t.Errorf("ana is told %+v, and without mute %+v", muted, open)
	}
	late := s.phone("bob", "late")
	late.quiet()
	bob.quiet()
	log.quiet()
	if st := bob.want("call.state", "{}"); len(st["calls"].([]any)) != 0 {
		t.Errorf("%v", st)
	}
	clk.forward(2 * time.Minute)
	s.TickCalls()
	if m := ana.reaches("state ended"); m.Call != call || m.Reason != "timeout" {
		t.Fatalf("%+v", m)
	}
	log.ended("ana~bob", call, "ana", "missed")
	bob.quiet()
	log.quiet()
	bob.want("conv.mute", `{"conv":"ana~bob","until":0}`)
	ana.starts("u/bob/call", "")
	bob.reaches("ring new")
	s.verify()
}

// A client that wants no problem information gets no properties in PUBACK [MQTT-3.1.2-29], and learns from the state what others read there.
func TestCallsWithoutProblemInformation(t *testing.T) {
	s := serve(t)
	bob := s.phone("bob", "b")
	for _, props := range [][]byte{
		{mqttc.PropRequestProblem, 0},
		append([]byte{mqttc.PropRequestProblem, 0, mqttc.PropUser}, str(str(nil, "meta"), "seq")...),
	} {
		ana := s.connectWith("ana", props)
		ana.hear()
		p := ana.publishWith(mqttc.Publish{Topic: "u/bob/call", QoS: 1})
		if p.Code != 0 || len(p.Props) != 0 {
			t.Fatalf("0x%02X % x", p.Code, p.Props)
		}
		ring, mine := bob.reaches("ring new"), ana.hears("state new")
		if mine.Call != ring.Call || !protocol.ValidParty(mine.Party) {
			t.Fatalf("%+v", mine)
		}
		if p = ana.publishWith(mqttc.Publish{Topic: "k/" + mine.Call + "/signal", QoS: 1}); p.Code < 0x80 || len(p.Props) != 0 {
			t.Fatalf("0x%02X % x", p.Code, p.Props)
		}
		ana.does(mine.Call, "cancel", "")
		bob.reaches("missed ended")
		ana.leave()
	}
}

// A start without an id whose PUBACK was lost comes again when its call is over: it rings nobody.
func TestALateStartRingsNobody(t *testing.T) {
	s := serve(t)
	bob, ana := s.phone("bob", "b"), s.phone("ana", "a")
	for i, qos := range []byte{1, 2} {
		start := mqttc.Publish{Topic: "u/bob/call", Payload: []byte(`{"media":["audio"]}`), QoS: qos, ID: 100 + uint16(i)}
		if err := ana.WritePublish(start); err != nil {
			t.Fatal(err)
		}
		ana.flush()
		call := bob.reaches("ring new").Call
		_ = ana.Close()
		bob.does(call, "decline", "")
		bob.reaches("state ended")
		ana = s.phone("ana", "a")
		start.Dup = true
		if err := ana.WritePublish(start); err != nil {
			t.Fatal(err)
		}
		ana.flush()
		if qos == 1 {
			if p := ana.await(mqttc.PUBACK); p.Code != 0x87 {
				t.Errorf("0x%02X", p.Code)
			}
		} else if p := ana.await(mqttc.PUBREC); p.Code < 0x80 {
			if err := ana.WriteAck(mqttc.PUBREL, start.ID, 0); err != nil {
				t.Fatal(err)
			}
			ana.flush()
			ana.await(mqttc.PUBCOMP)
		}
		bob.quiet()
		ana.settle()
		start.ID, start.Dup = 0, false // which is no retry
		start.QoS = 1
		p := ana.publishWith(start)
		if again, _ := p.Props.User("call"); p.Code != 0 || again == call {
			t.Fatalf("0x%02X %s", p.Code, again)
		} else {
			bob.reaches("ring new")
			ana.does(again, "cancel", "")
			bob.reaches("missed ended")
		}
	}
	s.verify()
}

// What bounds calls is taken over while calls go on; what the SFU made room for at its start waits for the next one.
func TestLimitsOfCallsAreReloaded(t *testing.T) {
	s := serve(t)
	s.know("cas")
	ana, bob := s.phone("ana", "a"), s.phone("bob", "b")
	call, _, _ := established(t, ana, bob, "u/bob/call")
	name, pass := s.turnCredentials("ana")
	if _, err := s.allocates(s.udp(), name, pass); err != nil {
		t.Fatal(err)
	}
	cfg := s.Config
	cfg.Calls = config.Calls{Enabled: false, PerUser: 1, Parties: 7, Rung: 1, StartsPerPair: 2, StartsPerUser: 2, Signals: 5}
	cfg.TURN.Limits.AllocationsPerUser, cfg.TURN.Realm = 1, "elsewhere"
	changed, restart, err := s.Reload(cfg)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(changed)
	if want := []string{"calls.per_user", "calls.rung", "calls.signals", "calls.starts_per_pair", "calls.starts_per_user", "turn.limits.allocations_per_user"}; !slices.Equal(changed, want) {
		t.Errorf("taken over: %v", changed)
	}
	if want := []string{"calls.enabled", "calls.parties", "turn.realm"}; !slices.Equal(restart, want) {
		t.Errorf("waiting: %v", restart)
	}
	if code, why := ana.why("u/cas/call", ""); code != 0x97 || !strings.Contains(why, "hang up one") {
		t.Errorf("0x%02X %q", code, why)
	}
	ana.does(call, "hangup", "")
	if code, why := ana.why("u/cas/call", ""); code != 0x97 || !strings.Contains(why, "at most 2 calls a minute") {
		t.Errorf("0x%02X %q", code, why)
	}
	if err := s.relaysAs(s.udp(), name, pass); err == nil {
		t.Error("more than one allocation")
	}
	if _, _, err := s.Reload(s.Config); err != nil {
		t.Fatal(err)
	}
	if err := s.relaysAs(s.udp(), name, pass); err != nil {
		t.Error(err)
	}
	ana.starts("u/cas/call", "")
}
