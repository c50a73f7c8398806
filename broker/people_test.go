package broker_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// requesting serves people who take strangers' messages as requests.
func requesting(c *config.Config) { c.People.Messages = "requests" }

// openly serves people who know nobody, and take messages all the same.
func openly(c *config.Config) { c.People.Messages = "anyone" }

// reply makes a request and returns the reply; what comes before it is kept.
func (c *client) reply(method, request string) map[string]any {
	c.t.Helper()
	topic := "u/" + c.name + "/rpc"
	if !c.asks {
		ok(c.t, c.subscribe(topic))
		c.asks = true
	}
	c.publish("rpc/"+method, request)
	var kept []message
	for {
		m := c.next()
		if m.topic == topic {
			c.pending = append(kept, c.pending...)
			var r map[string]any
			if err := json.Unmarshal([]byte(m.payload), &r); err != nil {
				c.t.Fatal(err, m)
			}
			return r
		}
		m.qos = 0 // it was acknowledged
		kept = append(kept, m)
	}
}

// want carries out a request that must succeed.
func (c *client) want(method, request string) map[string]any {
	c.t.Helper()
	r := c.reply(method, request)
	if r["error"] != nil {
		c.t.Fatalf("%s of %s by %s: %v", method, request, c.name, r["error"])
	}
	ok, _ := r["ok"].(map[string]any)
	return ok
}

// denied carries out a request that must be refused with that code.
func (c *client) denied(method, request, code string) {
	c.t.Helper()
	r := c.reply(method, request)
	e, _ := r["error"].(map[string]any)
	if e == nil || e["code"] != code {
		c.t.Fatalf("%s of %s by %s: %v, want a refusal %s", method, request, c.name, r, code)
	}
}

// skip reads up to the next message on a topic.
func (c *client) skip(topic string) message {
	c.t.Helper()
	for {
		if m := c.next(); m.topic == topic {
			return m
		}
	}
}

func seqOf(t *testing.T, payload string) uint64 {
	t.Helper()
	var ev struct{ Seq uint64 }
	if err := json.Unmarshal([]byte(payload), &ev); err != nil {
		t.Fatal(err, payload)
	}
	return ev.Seq
}

// What a stranger writes reaches nobody before it is accepted; then every device gets it from the beginning:
// those that were connected all the time, those that were while it waited, and those that come back later.
func TestAcceptedRequestIsDelivered(t *testing.T) {
	for _, how := range []string{"request", "answer"} {
		t.Run(how, func(t *testing.T) {
			s := serve(t, requesting)
			phone := s.dial("bob", v5, device("phone"))
			ok(t, phone.subscribe("c/+/json", "c/+/typing/+"))
			tablet := s.dial("bob", v5, keep, device("tablet"))
			ok(t, tablet.subscribe("c/+/json"))
			pool := s.dial("bob", v5, keep, device("pool"))
			ok(t, pool.subscribe("$share/pool/c/+/json"))
			away := s.dial("bob", v5, keep, device("away"))
			ok(t, away.subscribe("c/+/text/+"))
			away.leave()
			ana := s.dial("ana", v5)
			ok(t, ana.subscribe("c/+/receipts", "u/+/presence"))
			for m := ana.skip("u/ana/presence"); !strings.Contains(m.payload, "online"); m = ana.skip("u/ana/presence") {
			}
			for _, text := range []string{"hello", "it is me", "from the train"} {
				if code := ana.publish("u/bob/text", text); code != 0 {
					t.Fatalf("PUBACK 0x%02X", code)
				}
			}
			ana.publish("c/ana~bob/typing", "1")
			tablet.leave() // it was there while the messages waited
			phone.quiet()
			pool.quiet()
			ana.quiet() // no delivered cursor, no presence of bob's

			if how == "request" {
				phone.want("message.accept", `{"user":"ana"}`)
			} else {
				phone.publish("c/ana~bob/text", "oh hello")
			}
			n := uint64(4)
			if how == "answer" {
				n = 5
			}
			for _, c := range []*client{phone, pool} {
				for seq := uint64(1); seq <= n; seq++ {
					if m := c.next(); m.topic != "c/ana~bob/json" || seqOf(t, m.payload) != seq {
						t.Fatalf("%s: %v instead of seq %d", c.name, m, seq)
					}
				}
			}
			tablet = s.dial("bob", v5, keep, device("tablet"))
			for seq := uint64(1); seq <= n; seq++ {
				if m := tablet.next(); seqOf(t, m.payload) != seq {
					t.Fatalf("%v instead of seq %d", m, seq)
				}
			}
			tablet.quiet()
			away = s.dial("bob", v5, keep, device("away"))
			away.expect([2]string{"c/ana~bob/text/ana", "hello"}, [2]string{"c/ana~bob/text/ana", "it is me"},
				[2]string{"c/ana~bob/text/ana", "from the train"})
			ana.skip("u/bob/presence")
			s.Restart() // nothing comes twice
			tablet = s.dial("bob", v5, keep, device("tablet"))
			tablet.quiet()
			s.verify()
		})
	}
}

func TestMessageRequests(t *testing.T) {
	s := serve(t, requesting)
	bob, ana := s.dial("bob", v5), s.dial("ana", v5)
	ok(t, bob.subscribe("u/bob/events", "c/ana~bob/json"))
	for range 10 {
		if code := ana.publish("u/bob/text", "please"); code != 0 {
			t.Fatalf("PUBACK 0x%02X", code)
		}
	}
	if code := ana.publish("u/bob/text", "please"); code != 0x97 {
		t.Fatalf("PUBACK 0x%02X of one too many", code)
	}
	m := bob.next()
	if m.topic != "u/bob/events" || !strings.Contains(m.payload, `"requested"`) || strings.Contains(m.payload, "please") {
		t.Fatal(m)
	}
	bob.quiet() // one notice, whatever they write
	list := bob.want("message.requests", `{}`)["requests"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["user"] != "ana" {
		t.Fatal(list)
	}
	if events := bob.want("history", `{"conv":"ana~bob"}`)["events"].([]any); len(events) != 10 {
		t.Fatal("bob cannot look at what waits:", events)
	}
	if convs := bob.want("conv.list", `{}`)["convs"].([]any); len(convs) != 1 || convs[0].(map[string]any)["pending"] != true {
		t.Fatal("a request is no conversation like others:", convs)
	}
	bob.want("message.decline", `{"user":"ana"}`)
	if code := ana.publish("u/bob/text", "why"); code != 0x87 {
		t.Fatalf("PUBACK 0x%02X after it was declined", code)
	}
	if list := bob.want("message.requests", `{}`)["requests"].([]any); len(list) != 0 {
		t.Fatal(list)
	}
	if convs := bob.want("conv.list", `{}`)["convs"].([]any); len(convs) != 0 {
		t.Fatal("it is listed although it was declined:", convs)
	}
	s.Restart()
	bob = s.dial("bob", v5)
	bob.want("message.accept", `{"user":"ana"}`)
	ana = s.dial("ana", v5)
	if code := ana.publish("u/bob/text", "thank you"); code != 0 {
		t.Fatalf("PUBACK 0x%02X after it was accepted", code)
	}
	bob.denied("message.decline", `{"user":"ana"}`, "conflict")
	bob.denied("message.accept", `{"user":"nobody"}`, "not-found")
	s.verify()
}

// Who is known needs no leave: contacts, and members of a shared group.
func TestWhoIsKnownWritesAtOnce(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.People.Messages = "shared" })
	bob, ana, cas, dan := s.dial("bob", v5), s.dial("ana", v5), s.dial("cas", v5), s.dial("dan", v5)
	ok(t, bob.subscribe("c/+/text/+"))
	if code := ana.publish("u/bob/text", "hi"); code != 0x87 {
		t.Fatalf("PUBACK 0x%02X of a stranger", code)
	}
	ana.want("contact.request", `{"user":"bob","text":"from school"}`)
	bob.want("contact.accept", `{"user":"ana"}`)
	bob.want("group.create", `{"id":"crew","title":"Crew","members":["cas"]}`)
	bob.want("user.update", `{"messages":"anyone"}`)
	for _, c := range []*client{ana, cas, dan} {
		if code := c.publish("u/bob/text", "hi"); code != 0 {
			t.Fatalf("%s: PUBACK 0x%02X", c.name, code)
		}
		bob.skip("c/" + pair("bob", c.name) + "/text/" + c.name)
	}
}

// until repeats requests until they show what has to come.
func until(t *testing.T, what string, fn func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !fn(); {
		if time.Now().After(deadline) {
			t.Fatal("it never came that", what)
		}
	}
}

func pair(a, b string) string {
	if a > b {
		a, b = b, a
	}
	return a + "~" + b
}

// A block takes effect at once, in both directions, and survives a restart; what was said stays to be read.
func TestBlock(t *testing.T) {
	s := serve(t)
	bob, ana := s.dial("bob", v5), s.dial("ana", v5)
	ok(t, bob.subscribe("c/+/text/+", "c/+/typing/+"))
	ana.publish("u/bob/text", "hi")
	bob.expect([2]string{"c/ana~bob/text/ana", "hi"})
	ok(t, ana.subscribe("u/bob/presence", "c/+/receipts"))
	if m := ana.skip("u/bob/presence"); !strings.Contains(m.payload, "online") {
		t.Fatal(m)
	}
	bob.want("block", `{"user":"ana"}`)
	for {
		if m := ana.skip("u/bob/presence"); m.payload == "" {
			break
		}
	}
	if code := ana.publish("u/bob/text", "are you there"); code != 0x87 {
		t.Fatalf("PUBACK 0x%02X of the blocked one", code)
	}
	if code := bob.publish("u/ana/text", "no"); code != 0x87 {
		t.Fatalf("PUBACK 0x%02X of the one who blocks", code)
	}
	ana.publish("c/ana~bob/typing", "1")
	bob.quiet()
	ana.denied("contact.request", `{"user":"bob"}`, "not-authorized")
	ana.denied("group.create", `{"id":"trap","title":"Trap","members":["bob"]}`, "not-authorized")
	ana.want("group.create", `{"id":"trap","title":"Trap"}`)
	ana.denied("member.add", `{"conv":"trap","user":"bob"}`, "not-authorized")
	if codes := ana.subscribe("u/bob/presence"); codes[0] < 0x80 {
		t.Fatal("the blocked one may subscribe to presence")
	}
	if blocked, err := s.Blocked("ana", "bob"); err != nil || !blocked {
		t.Fatal(blocked, err)
	}
	s.Restart()
	ana, bob = s.dial("ana", v5), s.dial("bob", v5)
	if code := ana.publish("u/bob/text", "are you there"); code != 0x87 {
		t.Fatalf("PUBACK 0x%02X after the restart", code)
	}
	if events := ana.want("history", `{"conv":"ana~bob"}`)["events"].([]any); len(events) != 1 {
		t.Fatal(events)
	}
	bob.want("unblock", `{"user":"ana"}`)
	if code := ana.publish("u/bob/text", "again"); code != 0 {
		t.Fatalf("PUBACK 0x%02X after the block was lifted", code)
	}
	// Before there is a conversation, the first message meets the block.
	cas := s.dial("cas", v5)
	bob.want("block", `{"user":"cas"}`)
	if code := cas.publish("u/bob/text", "hi"); code != 0x87 {
		t.Fatalf("PUBACK 0x%02X of a first message", code)
	}
	bob.want("unblock", `{"user":"cas"}`)
	if code := cas.publish("u/bob/text", "hi"); code != 0 {
		t.Fatalf("PUBACK 0x%02X of a first message after the block was lifted", code)
	}
	bob.want("block", `{"user":"cas"}`)
	s.verify()
}

// Contacts see each other's presence without a word between them, from the moment on that they are.
func TestContactsSeePresence(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana", v5), s.dial("bob", v5)
	ok(t, ana.subscribe("u/+/presence"))
	ok(t, bob.subscribe("u/bob/events"))
	ana.want("contact.request", `{"user":"bob"}`)
	if m := bob.skip("u/bob/events"); !strings.Contains(m.payload, `"text":"incoming"`) || !strings.Contains(m.payload, `"user":"ana"`) {
		t.Fatal(m)
	}
	bob.want("contact.accept", `{"user":"ana"}`)
	for {
		if m := ana.skip("u/bob/presence"); strings.Contains(m.payload, "online") {
			break
		}
	}
	list := ana.want("contact.list", `{}`)["contacts"].([]any)[0].(map[string]any)
	if list["state"] != "accepted" || list["conv"] != "ana~bob" || list["presence"] == nil {
		t.Fatal(list)
	}
	bob.want("contact.remove", `{"user":"ana"}`)
	for {
		if m := ana.skip("u/bob/presence"); m.payload == "" {
			break
		}
	}
}

// Whoever hides when they were last seen does not learn it of others.
func TestLastSeenIsMutual(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Presence.Coalesce = time.Millisecond })
	ana, bob, cas := s.dial("ana", v5), s.dial("bob", v5), s.dial("cas", v5)
	for _, c := range []*client{ana, cas} {
		c.publish("u/bob/text", "hi")
	}
	cas.want("user.update", `{"lastseen":false}`)
	for _, c := range []*client{ana, cas} {
		ok(t, c.subscribe("u/bob/presence"))
		for m := c.skip("u/bob/presence"); !strings.Contains(m.payload, "online"); m = c.skip("u/bob/presence") {
		}
	}
	bob.leave()
	for _, c := range []*client{ana, cas} {
		for {
			m := c.skip("u/bob/presence")
			if !strings.Contains(m.payload, "offline") {
				continue
			}
			if seen := strings.Contains(m.payload, `"seen"`); seen != (c == ana) {
				t.Fatalf("%s: %v", c.name, m)
			}
			break
		}
		presence, _ := c.want("user.get", `{"user":"bob"}`)["presence"].(map[string]any)
		if _, seen := presence["seen"]; seen != (c == ana) {
			t.Fatalf("%s: %v", c.name, presence)
		}
	}
}

// An account that is erased leaves nothing of what it said, at a restart in the middle of it either; the group
// goes on with another owner, and nobody gets the name again.
func TestErasure(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana", v5), s.dial("bob", v5)
	ok(t, bob.subscribe("c/+/json", "u/bob/events"))
	ana.want("group.create", `{"id":"crew","title":"Crew","members":["bob"]}`)
	bob.publish("c/crew/text", "of bob")
	for range 40 {
		ana.publish("c/crew/text", "secret of ana")
	}
	ana.publish("c/crew/json", `{"kind":"react","re":3,"emoji":"👍"}`)
	ana.publish("u/bob/text", "secret of ana")
	ana.want("contact.request", `{"user":"bob"}`)
	bob.want("contact.accept", `{"user":"ana"}`)
	bob.want("block", `{"user":"ana"}`)
	bob.want("unblock", `{"user":"ana"}`)
	ana.want("contact.request", `{"user":"bob"}`)
	ana.want("setting.set", `{"name":"theme","value":"secret of ana"}`)
	ana.want("draft.set", `{"conv":"crew","text":"secret of ana"}`)
	ana.want("user.update", `{"name":"Ana","avatar":"x"}`)
	ana.denied("user.erase", `{"confirm":"bob"}`, "bad-request")
	ana.pid++
	if err := ana.WritePublish(mqttc.Publish{Topic: "rpc/user.erase", Payload: []byte(`{"confirm":"ana"}`), QoS: 1, ID: ana.pid}); err != nil {
		t.Fatal(err)
	}
	ana.flush()
	if err := ana.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, _ = ana.Await(mqttc.DISCONNECT, func(mqttc.Packet) error { return nil }) // or the connection just ends
	s.Restart()                                                                 // which goes on with it
	bob = s.dial("bob", v5)
	until(t, "ana is erased", func() bool {
		page, err := json.Marshal(bob.want("history", `{"conv":"crew","limit":500}`))
		if err != nil {
			t.Fatal(err)
		}
		text := string(page)
		return !strings.Contains(text, "secret") && strings.Contains(text, "of bob") && strings.Contains(text, `"leave"`)
	})
	until(t, "ana's records are gone", func() bool {
		contacts := bob.want("contact.list", `{}`)["contacts"].([]any)
		return len(contacts) == 0
	})
	if page, err := json.Marshal(bob.want("history", `{"conv":"ana~bob"}`)); err != nil || strings.Contains(string(page), "secret") {
		t.Fatalf("%s %v", page, err)
	}
	members := bob.want("member.list", `{"conv":"crew"}`)["members"].([]any)
	if len(members) != 1 || members[0].(map[string]any)["role"] != "owner" {
		t.Fatal(members)
	}
	if reactions, err := json.Marshal(bob.want("reactions", `{"conv":"crew","seq":3}`)); err != nil || strings.Contains(string(reactions), "ana") {
		t.Fatalf("%s %v", reactions, err)
	}
	if c, err := s.try("ana", v5); err == nil && c.ack.Code == 0 {
		t.Fatal("the name is given again")
	}
	if code := bob.publish("u/ana/text", "hello?"); code < 0x80 {
		t.Fatalf("PUBACK 0x%02X: somebody who is gone is written to", code)
	}
	s.verify()
}
