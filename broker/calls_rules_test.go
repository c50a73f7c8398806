package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// why is what a refused publish says.
func (c *client) why(topic, payload string) (code byte, reason string) {
	c.t.Helper()
	p := c.publishWith(mqttc.Publish{Topic: topic, Payload: []byte(payload), QoS: 1})
	reason, _ = p.Props.String(0x1F)
	return p.Code, reason
}

// Strangers, those who are blocked, and everybody where somebody takes no calls get one answer.
func TestWhoMayCallWhom(t *testing.T) {
	s := serve(t, accounts)
	s.addUsers("ana", "bob", "cas", "eve")
	in := func(user string) *client {
		c := s.signIn(user, v5, keep)
		c.hear()
		return c
	}
	ana, bob, cas, eve := in("ana"), in("bob"), in("cas"), in("eve")
	const uncalled = "this user takes no calls from you"
	refused := func(c *client, to, why string) {
		t.Helper()
		if code, reason := c.why("u/"+to+"/call", ""); code != 0x87 || !strings.Contains(reason, why) {
			t.Errorf("%s calls %s: 0x%02X %q", c.name, to, code, reason)
		}
	}
	refused(eve, "bob", uncalled) // a stranger
	// What waits as a request is not accepted, by neither.
	ana.publish("u/bob/text", "hello")
	refused(ana, "bob", uncalled)
	refused(bob, "ana", uncalled)
	bob.publish("u/ana/text", "hello yourself")
	call, _ := ana.starts("u/bob/call", "")
	bob.reaches("ring new")
	ana.does(call, "cancel", "")
	bob.reaches("missed ended")
	// Contacts may without having written.
	cas.want("contact.request", `{"user":"bob"}`)
	bob.want("contact.accept", `{"user":"cas"}`)
	call, _ = cas.starts("u/bob/call", "")
	bob.reaches("ring new")
	cas.does(call, "cancel", "")
	bob.reaches("missed ended")
	// The setting.
	bob.want("user.update", `{"calls":"nobody"}`)
	refused(ana, "bob", uncalled)
	refused(cas, "bob", uncalled)
	bob.want("user.update", `{"calls":"anyone"}`)
	call, _ = eve.starts("u/bob/call", "")
	bob.reaches("ring new")
	eve.does(call, "cancel", "")
	bob.reaches("missed ended")
	bob.want("user.update", `{"calls":""}`)
	refused(eve, "bob", uncalled)
	bob.denied("user.update", `{"calls":"everybody"}`, "bad-request")
	bob.denied("user.update", `{"relay":"yes"}`, "bad-request")
	if p := bob.want("user.update", `{"calls":"accepted","relay":"until-accepted"}`); p["calls"] != "accepted" || p["relay"] != "until-accepted" {
		t.Errorf("%v", p)
	}
	if p := ana.want("user.get", `{"user":"bob"}`); p["calls"] != nil || p["relay"] != nil {
		t.Errorf("others see %v", p)
	}
	// To block somebody ends the call with them, and lets nobody call.
	call, _ = ana.starts("u/bob/call", "")
	if m := bob.reaches("ring new"); !m.Relay {
		t.Errorf("bob's device is not told to relay: %+v", m)
	}
	if _, _, code := bob.call("k/"+call+"/accept", ""); code != 0 {
		t.Fatal(code)
	}
	ana.reaches("state connecting")
	bob.want("block", `{"user":"ana"}`)
	ana.reaches("state ended")
	refused(ana, "bob", uncalled)
	refused(bob, "ana", "you have blocked this user")
	// Whom there is not, oneself, others' conversations.
	for topic, want := range map[string]byte{
		"u/nobody/call": 0x87, "u/ana/call": 0x99, "c/bob~cas/call": 0x87, "c/nogroup/call": 0x87,
		"k/2222222222222/accept": 0x87, "k/x/accept": 0x90, "k/2222222222222/offer": 0x90, "u/ana/calls": 0x87,
	} {
		if code, reason := ana.why(topic, ""); code != want {
			t.Errorf("%s: 0x%02X %q", topic, code, reason)
		}
	}
	ana.barred(0x99, "u/bob/call", "no JSON")
	ana.barred(0x83, "u/bob/call", `{"id":"`+strings.Repeat("x", 16<<10)+`"}`)
	s.verify()
}

// A forged verb, and one of somebody whom the call does not concern, touches nothing.
func TestCallsOfOthers(t *testing.T) {
	s := serve(t)
	ana, bob, eve := s.phone("ana", "a"), s.phone("bob", "b"), s.phone("eve", "e")
	call, pa, pb := established(t, ana, bob, "u/bob/call")
	for _, verb := range []string{"ringing", "accept", "decline", "cancel", "hangup", "join", "leave", "resume"} {
		eve.barred(0x87, "k/"+call+"/"+verb, "")
	}
	forged := func(c *client, to string) {
		t.Helper()
		body, _ := json.Marshal(map[string]any{"to": to, "type": "offer", "body": offer})
		if _, _, code := c.call("k/"+call+"/signal", string(body)); code < 0x80 {
			t.Errorf("%s signals to %s: 0x%02X", c.name, to, code)
		}
	}
	forged(eve, pa)
	forged(ana, "aaaaaaaa")
	forged(ana, pa)
	ana.barred(0x99, "k/"+call+"/signal", `{"to":"`+pb+`","type":"offer","body":"v=0"}`)
	// Of a party that is somebody else's device.
	other := s.phone("bob", "other")
	other.reaches("state active")
	forged(other, pa)
	eve.barred(0x87, "k/"+call+"/resume", `{"party":"`+pb+`"}`)
	for _, c := range []*client{ana, bob, eve} {
		c.quiet()
	}
	ok(t, eve.subscribe("u/eve/calls/"+pa)) // hers is no party: nothing arrives there
	if codes := eve.subscribe("u/ana/calls", "u/ana/calls/"+pa, "c/ana~bob/call", "k/"+call+"/accept", "c/nogroup/call"); codes[0] < 0x80 || codes[1] < 0x80 || codes[2] < 0x80 || codes[3] < 0x80 || codes[4] < 0x80 {
		t.Fatalf("% x", codes)
	}
	if st := eve.want("call.state", "{}"); len(st["calls"].([]any)) != 0 {
		t.Errorf("%v", st)
	}
	eve.denied("call.state", `{"call":"`+call+`"}`, "not-found")
	eve.denied("call.ice", `{"call":"`+call+`"}`, "not-found")
	st := ana.want("call.state", `{"call":"`+call+`"}`)["calls"].([]any)
	if c := st[0].(map[string]any); len(st) != 1 || c["call"] != call || c["state"] != "active" || c["party"] != nil && c["party"] != pa {
		t.Errorf("%v", st)
	}
	if r := ana.want("call.ice", `{"call":"`+call+`"}`); r["relay"] != false {
		t.Errorf("%v", r)
	}
}

// A group's running call is retained, grows, and is not there any more for who leaves.
func TestTheCallOfAGroup(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob", "cas", "eve")
	s.group("ana", "crew", "bob", "cas")
	ana, bob, cas, eve := s.phone("ana", "a"), s.phone("bob", "b"), s.phone("cas", "c"), s.phone("eve", "e")
	ok(t, eve.subscribe("c/+/call"))
	ok(t, bob.subscribe("c/+/call"))
	ok(t, cas.subscribe("c/+/json"))
	eve.barred(0x87, "c/crew/call", "")
	roster := func(c *client, retain bool, users ...string) (version uint64) {
		t.Helper()
		for {
			m := c.pick("c/crew/call")
			if m.payload == "" && len(users) == 0 {
				return 0
			}
			var r struct {
				Version uint64
				Call    string
				Parties []struct{ User string }
			}
			if err := json.Unmarshal([]byte(m.payload), &r); err != nil {
				t.Fatal(m, err)
			}
			var got []string
			for _, p := range r.Parties {
				got = append(got, p.User)
			}
			if fmt.Sprint(got) == fmt.Sprint(users) && m.retain == retain {
				return r.Version
			}
		}
	}
	call, _ := ana.starts("c/crew/call", `{"media":["audio"]}`)
	first := roster(bob, false, "ana")
	bob.reaches("ring new")
	cas.reaches("ring new")
	eve.quiet()
	if got, party, code := bob.call("c/crew/call", ""); code != 0 || got != call || party == "" { // a start joins
		t.Fatalf("0x%02X %s %s", code, got, party)
	}
	if v := roster(bob, false, "ana", "bob"); v <= first {
		t.Errorf("version %d after %d", v, first)
	}
	if _, _, code := cas.call("k/"+call+"/join", ""); code != 0 {
		t.Fatal(code)
	}
	roster(bob, false, "ana", "bob", "cas")
	ok(t, cas.subscribe("c/crew/call"))
	roster(cas, true, "ana", "bob", "cas")
	// A session that has the subscription is told when it comes back.
	bob.leave()
	bob = s.phone("bob", "b")
	roster(bob, false, "ana", "bob", "cas")
	s.Restart()
	ana, bob, cas, eve = s.phone("ana", "a"), s.phone("bob", "b"), s.phone("cas", "c"), s.phone("eve", "e")
	ok(t, ana.subscribe("c/crew/call"))
	roster(ana, true, "ana", "bob", "cas")
	// Who is removed is out of the call, and sees it no more.
	s.call("ana", "member.remove", `{"conv":"crew","user":"bob"}`)
	roster(ana, false, "ana", "cas")
	for bob.skip("c/crew/call").payload != "" {
	}
	bob.barred(0x87, "k/"+call+"/join", "")
	cas.does(call, "leave", "")
	ana.does(call, "leave", "")
	roster(ana, false)
	for {
		if m := cas.skip("c/crew/json"); strings.Contains(m.payload, `"kind":"call"`) {
			m.qos = 0
			cas.pending = append([]message{m}, cas.pending...)
			break
		}
	}
	cas.ended("crew", call, "ana", "answered", "ana", "bob", "cas")
	ok(t, cas.subscribe("c/+/call"))
	eve.quiet()
	// The group goes, and its call with it.
	call, _ = ana.starts("c/crew/call", "")
	cas.reaches("ring new")
	s.call("ana", "group.delete", `{"conv":"crew"}`)
	ana.reaches("state ended")
	cas.barred(0x87, "k/"+call+"/join", "")
	s.verify()
}

// A token limited to a conversation calls only there, and only with the right to write.
func TestCallsOfSmallDevices(t *testing.T) {
	s := serve(t, accounts)
	s.addUsers("ana", "bob", "cas")
	s.group("ana", "door", "bob")
	s.group("ana", "crew", "bob")
	bell := s.addToken("bob", map[string]any{"convs": []string{"door"}, "read": true, "write": true})
	lamp := s.addToken("bob", map[string]any{"convs": []string{"door"}, "read": true})
	ana := s.signIn("ana", v5)
	ana.hear()
	device := func(id, token string) *client {
		c := s.dial("bob", v5, device(id), password(token))
		ok(t, c.subscribe("u/bob/calls", "u/bob/calls/+"))
		return c
	}
	button, light := device("button", bell), device("light", lamp)
	button.barred(0x87, "c/crew/call", "")
	button.barred(0x87, "u/ana/call", "")
	light.barred(0x87, "c/door/call", "")
	call, _ := button.starts("c/door/call", "")
	ana.reaches("ring new")
	light.reaches("state new")
	light.barred(0x87, "k/"+call+"/hangup", "")
	button.does(call, "leave", "")
	ana.reaches("missed ended")
	button.pending, light.pending = nil, nil
	// They don't hear of calls elsewhere, nor can they touch them.
	call, _ = ana.starts("c/crew/call", "")
	button.barred(0x87, "k/"+call+"/join", "")
	ana.settle()
	for _, c := range []*client{button, light} {
		c.ping()
		for _, m := range c.pending {
			if !strings.Contains(m.payload, `"conv":"door"`) {
				t.Errorf("a token for another conversation hears %v", m)
			}
		}
	}
	s.verify()
}

func TestNoCalls(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Calls.Enabled = false })
	ana := s.dial("ana", v5)
	s.know("bob")
	for _, topic := range []string{"u/bob/call", "k/2222222222222/accept"} {
		if code, why := ana.why(topic, ""); code != 0x97 || !strings.Contains(why, "does not carry calls") {
			t.Errorf("%s: 0x%02X %q", topic, code, why)
		}
	}
	if codes := ana.subscribe("u/ana/calls"); codes[0] < 0x80 {
		t.Errorf("% x", codes)
	}
	ana.denied("call.ice", "{}", "not-found")
	ana.publish("u/bob/text", "hello")
	s.call("ana", "block", `{"user":"bob"}`)
}

// Who is away is told at once that somebody calls, and then that they missed it; so is their own log.
func TestWhoIsAwayIsTold(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Notify.PerHour = 1 })
	h := newHook(t)
	s.know("bob")
	reader := s.dial("bob", device("reader"), v5, keep)
	ok(t, reader.subscribe("u/bob/events"))
	reader.leave()
	h.register(t, s, "bob")
	ana := s.phone("ana", "a")
	for range 3 { // no limit of notifications holds a ring back
		call, _ := ana.starts("u/bob/call", "")
		ring := h.next(t)
		for ring.Call == "" { // of the missed one before
			ring = h.next(t)
		}
		if ring.About != notify.AboutCall || ring.Call != call || ring.Conv != "ana~bob" || ring.Exp == 0 || ring.Title != "ana" {
			t.Fatalf("%+v", ring.Payload)
		}
		ana.does(call, "cancel", "")
		ana.reaches("state ended")
	}
	reader = s.dial("bob", device("reader"), v5, keep)
	for range 3 {
		for {
			m := reader.next()
			if !strings.Contains(m.payload, `"kind":"ring"`) {
				continue
			}
			if m.topic != "u/bob/events" || !strings.Contains(m.payload, `"from":"ana"`) || !strings.Contains(m.payload, `"conv":"ana~bob"`) || !strings.Contains(m.payload, `"exp":`) {
				t.Fatal(m)
			}
			break
		}
	}
	s.verify()
}

// Who erases their account is out of all calls.
func TestAnErasedUserLeavesTheirCalls(t *testing.T) {
	s := serve(t)
	ana, bob := s.phone("ana", "a"), s.phone("bob", "b")
	call, _, _ := established(t, ana, bob, "u/bob/call")
	ok(t, bob.subscribe("c/+/json"))
	s.call("ana", "user.erase", `{"confirm":"ana"}`)
	if m := bob.reaches("state ended"); m.Call != call || m.Reason != "removed" {
		t.Fatalf("%+v", m)
	}
	m := bob.pick("c/ana~bob/json")
	if !strings.Contains(m.payload, `"kind":"call"`) || !strings.Contains(m.payload, `"answered"`) {
		t.Fatal(m)
	}
	s.verify()
}
