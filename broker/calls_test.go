package broker_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/protocol"
)

// told is what a device is told on u/{me}/calls.
type told struct {
	Kind, Call, Conv, From, State, Reason, Outcome, Party, Mode, Type string
	Seq, Version                                                      uint64
	At, Exp                                                           int64
	Waiting, Relay                                                    bool
	Media                                                             []string
	Body                                                              json.RawMessage
	Parties                                                           []struct{ Party, User, State string }
}

func (m told) String() string {
	return strings.Trim(fmt.Sprintf("%s %s %s%s", m.Kind, m.State, m.Reason, m.Outcome), " ")
}

// hear subscribes a device to its calls.
func (c *client) hear() {
	c.t.Helper()
	ok(c.t, c.subscribe("u/"+c.name+"/calls", "u/"+c.name+"/calls/+"))
}

// told returns the next thing that the device is told of calls, on that topic below u/{me}.
func (c *client) told(topic string) told {
	c.t.Helper()
	m := c.next()
	if m.topic != "u/"+c.name+"/"+topic || m.qos != 0 || m.retain {
		c.t.Fatalf("%s got %v, not something on %s", c.name, m, topic)
	}
	var x told
	if err := json.Unmarshal([]byte(m.payload), &x); err != nil {
		c.t.Fatal(c.name, m, err)
	}
	return x
}

// hears asserts what the device is told next, in order: the kind, then the state.
func (c *client) hears(want ...string) (last told) {
	c.t.Helper()
	for _, w := range want {
		last = c.told("calls")
		if got := last.Kind + " " + last.State; got != w {
			c.t.Fatalf("%s is told %q, not %q: %+v", c.name, got, w, last)
		}
	}
	return last
}

// reaches reads until the device is told that.
func (c *client) reaches(want string) told {
	c.t.Helper()
	for {
		m := c.next()
		if m.topic != "u/"+c.name+"/calls" {
			continue
		}
		var x told
		if err := json.Unmarshal([]byte(m.payload), &x); err != nil {
			c.t.Fatal(c.name, m, err)
		}
		if x.Kind+" "+x.State == want {
			return x
		}
	}
}

// signals sends a signal to a party.
func (c *client) signals(call, to, kind string, body any) {
	c.t.Helper()
	b, err := json.Marshal(map[string]any{"to": to, "type": kind, "body": body})
	if err != nil {
		c.t.Fatal(err)
	}
	c.does(call, "signal", string(b))
}

// phone connects a device of a user, with MQTT 5 and a session that outlives it, and has it hear calls.
func (s *testServer) phone(user, id string, opts ...opt) *client {
	s.t.Helper()
	c := s.dial(user, append([]opt{v5, keep, device(id)}, opts...)...)
	if !c.ack.SessionPresent {
		c.hear()
	}
	return c
}

// call publishes something about a call; the reply's user properties are the call and the party.
func (c *client) call(topic, payload string) (call, party string, code byte) {
	c.t.Helper()
	p := c.publishWith(mqttc.Publish{Topic: topic, Payload: []byte(payload), QoS: 1})
	call, _ = p.Props.User("call")
	party, _ = p.Props.User("party")
	return call, party, p.Code
}

func (c *client) starts(topic, payload string) (call, party string) {
	c.t.Helper()
	call, party, code := c.call(topic, payload)
	if code != 0 || !protocol.ValidCall(call) || !protocol.ValidParty(party) {
		c.t.Fatalf("%s starts a call: 0x%02X call %q party %q", c.name, code, call, party)
	}
	return call, party
}

func (c *client) does(call, verb, payload string) {
	c.t.Helper()
	if _, _, code := c.call("k/"+call+"/"+verb, payload); code != 0 {
		c.t.Fatalf("%s: %s 0x%02X", c.name, verb, code)
	}
}

func (c *client) barred(code byte, topic, payload string) {
	c.t.Helper()
	if _, _, got := c.call(topic, payload); got != code {
		c.t.Fatalf("%s: %s %s 0x%02X, want 0x%02X", c.name, topic, payload, got, code)
	}
}

// ended reads the next event of a conversation, which is that of a call.
func (c *client) ended(conv, call, from, outcome string, with ...string) {
	c.t.Helper()
	m := c.next()
	var ev struct {
		From, Kind string
		Ext        struct {
			Call, Outcome string
			With          []string
		}
	}
	if err := json.Unmarshal([]byte(m.payload), &ev); err != nil || m.topic != "c/"+conv+"/json" {
		c.t.Fatal(c.name, m, err)
	}
	if ev.Kind != "call" || ev.From != from || ev.Ext.Call != call || ev.Ext.Outcome != outcome || !slices.Equal(ev.Ext.With, with) {
		c.t.Fatalf("%s reads %s, want the call %s of %s, %s with %v", c.name, m.payload, call, from, outcome, with)
	}
}

// What browsers write, cut down.
const (
	offer = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
		"a=fingerprint:sha-256 12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0\r\n" +
		"a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
)

var answer = strings.Replace(offer, "actpass", "active", 1)

func TestACallRingsEverywhereAndOneDeviceTakesIt(t *testing.T) {
	s := serve(t)
	ana, phone, desk := s.phone("ana", "a"), s.phone("bob", "phone"), s.phone("bob", "desk")
	reader := s.dial("bob", device("reader"))
	ok(t, reader.subscribe("c/+/json"))
	call, mine := ana.starts("u/bob/call", `{"media":["audio","video"],"id":"1"}`)
	if m := ana.hears("state new"); m.Call != call || m.Party != mine || m.Conv != "ana~bob" || m.From != "ana" {
		t.Fatalf("%+v", m)
	}
	for _, c := range []*client{phone, desk} {
		if m := c.hears("ring new"); m.Call != call || m.From != "ana" || m.Conv != "ana~bob" || m.Exp <= m.At || m.Party != "" || len(m.Media) != 2 {
			t.Fatalf("%+v", m)
		}
	}
	if again, party := ana.starts("u/bob/call", `{"media":["audio","video"],"id":"1"}`); again != call || party != mine {
		t.Fatalf("the retry is another call: %s %s", again, party)
	}
	phone.does(call, "ringing", "")
	ana.hears("state ringing")
	_, his, code := phone.call("k/"+call+"/accept", `{"media":["audio"]}`)
	if code != 0 || !protocol.ValidParty(his) || his == mine {
		t.Fatalf("accept: 0x%02X %q", code, his)
	}
	desk.reaches("taken connecting")
	desk.barred(0x83, "k/"+call+"/accept", "")
	if m := phone.reaches("state connecting"); m.Party != his || len(m.Parties) != 2 {
		t.Fatalf("%+v", m)
	}
	if m := ana.hears("state connecting"); m.Party != mine {
		t.Fatalf("%+v", m)
	}
	ana.signals(call, his, "offer", offer)
	if m := phone.told("calls/" + his); m.Kind != "signal" || m.Party != his || m.Type != "offer" || m.From != mine || m.Seq != 1 {
		t.Fatalf("%+v", m)
	}
	phone.signals(call, mine, "answer", answer)
	ana.skip("u/ana/calls/" + mine)
	ana.does(call, "resume", `{"seq":1}`) // nothing after it
	if m := ana.reaches("state active"); m.Party != mine {
		t.Fatalf("%+v", m)
	}
	ana.does(call, "hangup", "")
	ana.does(call, "hangup", "") // again: done
	for _, c := range []*client{ana, phone} {
		if m := c.reaches("state ended"); m.Reason != "hangup" {
			t.Fatalf("%+v", m)
		}
	}
	reader.ended("ana~bob", call, "ana", "answered", "ana", "bob")
	reader.quiet()
	desk.barred(0x87, "k/"+call+"/accept", "")
	// Nothing is left of it.
	for _, c := range []*client{ana, phone, desk} {
		c.pending = nil
		c.hear()
		c.quiet()
	}
	s.verify()
}

// established makes an active call of two devices.
func established(t *testing.T, a, b *client, topic string) (call, pa, pb string) {
	t.Helper()
	call, pa = a.starts(topic, `{"media":["audio"]}`)
	b.reaches("ring new")
	_, pb, code := b.call("k/"+call+"/accept", "")
	if code != 0 {
		t.Fatalf("accept 0x%02X", code)
	}
	b.signals(call, pa, "offer", offer)
	a.signals(call, pb, "answer", answer)
	a.reaches("state active")
	b.reaches("state active")
	a.settle()
	b.settle()
	return call, pa, pb
}

// settle drops what is on its way.
func (c *client) settle() {
	c.t.Helper()
	c.ping()
	c.pending = nil
}

// pick returns the next message on a topic, and leaves others where they are.
func (c *client) pick(topic string) message {
	c.t.Helper()
	for i := 0; ; i++ {
		if i == len(c.pending) {
			c.pending = append(c.pending, received(c.await(mqttc.PUBLISH)))
		}
		if m := c.pending[i]; m.topic == topic {
			c.pending = slices.Delete(c.pending, i, i+1)
			return m
		}
	}
}

func TestBothCallEachOther(t *testing.T) {
	s := serve(t)
	ana, bob := s.phone("ana", "a"), s.phone("bob", "b")
	call, _ := ana.starts("u/bob/call", "")
	bob.hears("ring new")
	got, _ := bob.starts("u/ana/call", "")
	if got != call {
		t.Fatalf("bob's start is the call %s, not %s", got, call)
	}
	if m := ana.reaches("state connecting"); m.Call != call {
		t.Fatalf("%+v", m)
	}
	bob.reaches("state connecting")
	bob.quiet()
	ana.quiet()
}

// Whoever comes while it rings is rung; after its end nobody is.
func TestADeviceThatComesLate(t *testing.T) {
	s := serve(t)
	phone := s.phone("bob", "phone")
	phone.leave()
	ana := s.phone("ana", "a")
	call, _ := ana.starts("u/bob/call", "")
	phone = s.phone("bob", "phone") // with its subscriptions of before
	if m := phone.hears("ring new"); m.Call != call {
		t.Fatalf("%+v", m)
	}
	phone.does(call, "ringing", "")
	other := s.dial("bob", device("other"))
	ok(t, other.subscribe("u/bob/events"))
	other.hear()
	other.reaches("ring ringing")
	// Another connection takes the client id over: it is told anew, and the old one's end ends nothing.
	phone = s.phone("bob", "phone")
	if m := phone.hears("ring ringing"); m.Call != call {
		t.Fatalf("%+v", m)
	}
	ana.does(call, "cancel", "")
	phone.reaches("missed ended")
	phone.leave()
	phone = s.phone("bob", "phone")
	phone.quiet()
	late := s.dial("bob", device("late"))
	late.hear()
	late.quiet()
}

// An MQTT 3.1.1 device has no properties in PUBACK: the state tells it which party it is.
func TestCallsOverMQTT311(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana"), s.dial("bob")
	ana.hear()
	bob.hear()
	ok(t, ana.subscribe("u/ana/errors"))
	ana.publish("u/bob/call", "")
	mine := ana.hears("state new")
	if !protocol.ValidParty(mine.Party) {
		t.Fatalf("%+v", mine)
	}
	bob.publish("k/"+bob.hears("ring new").Call+"/accept", "")
	his := bob.reaches("state connecting")
	if !protocol.ValidParty(his.Party) || his.Party == mine.Party || his.Call != mine.Call {
		t.Fatalf("%+v", his)
	}
	ana.reaches("state connecting")
	if code := ana.publish("k/2222222222222/accept", ""); code != 0 { // which the standard obliges us to
		t.Fatalf("PUBACK 0x%02X", code)
	}
	if m := ana.next(); m.topic != "u/ana/errors" || !strings.Contains(m.payload, `"topic":"k/2222222222222/accept"`) {
		t.Fatal(m)
	}
	// QoS 0 and QoS 2 are carried out as well.
	if err := bob.WritePublish(mqttc.Publish{Topic: "k/" + mine.Call + "/hangup"}); err != nil {
		t.Fatal(err)
	}
	bob.flush()
	ana.reaches("state ended")
	bob.reaches("state ended")
	if err := bob.WritePublish(mqttc.Publish{Topic: "u/ana/call", QoS: 2, ID: 77}); err != nil {
		t.Fatal(err)
	}
	bob.flush()
	if p := bob.await(mqttc.PUBREC); p.ID != 77 {
		t.Fatal(p)
	}
	if err := bob.WriteAck(mqttc.PUBREL, 77, 0); err != nil {
		t.Fatal(err)
	}
	bob.flush()
	bob.await(mqttc.PUBCOMP)
	ana.reaches("ring new")
}

// A start that comes again with DUP, since its PUBACK was lost with the connection, is answered the same.
func TestAStartComesAgain(t *testing.T) {
	s := serve(t)
	bob, ana := s.phone("bob", "b"), s.phone("ana", "a")
	start := mqttc.Publish{Topic: "u/bob/call", Payload: []byte(`{"id":"x"}`), QoS: 1, ID: 100}
	if err := ana.WritePublish(start); err != nil {
		t.Fatal(err)
	}
	ana.flush()
	ring := bob.hears("ring new")
	_ = ana.Close()
	ana = s.phone("ana", "a")
	start.Dup = true
	p := ana.publishWith(start)
	if call, _ := p.Props.User("call"); p.Code != 0 || call != ring.Call {
		t.Fatalf("0x%02X, call %s, not %s", p.Code, call, ring.Call)
	}
	if party, _ := p.Props.User("party"); !protocol.ValidParty(party) {
		t.Fatalf("party %q", party)
	}
}

func TestDeclineCancelAndTimeouts(t *testing.T) {
	clk := new(clock)
	s := serveTuned(t, clk.options)
	ana, phone, desk := s.phone("ana", "a"), s.phone("bob", "phone"), s.phone("bob", "desk")
	ok(t, ana.subscribe("c/+/json"))
	log := func(call, outcome string) {
		t.Helper()
		m := ana.skip("c/ana~bob/json")
		m.qos = 0 // it was acknowledged
		ana.pending = append([]message{m}, ana.pending...)
		ana.ended("ana~bob", call, "ana", outcome)
	}
	// For one device: the other rings on.
	call, _ := ana.starts("u/bob/call", "")
	phone.hears("ring new")
	desk.hears("ring new")
	desk.does(call, "decline", `{"device":true}`)
	desk.quiet()
	phone.does(call, "decline", "")
	log(call, "declined")
	phone.reaches("state ended")
	// By the caller.
	call, _ = ana.starts("u/bob/call", "")
	phone.reaches("ring new")
	ana.does(call, "cancel", "")
	phone.reaches("missed ended")
	log(call, "cancelled")
	// Nobody answers: 60 s after the first device rings, 120 s at most.
	for _, rings := range []bool{true, false} {
		call, _ = ana.starts("u/bob/call", "")
		first := phone.reaches("ring new")
		limit := 120 * time.Second
		if rings {
			phone.does(call, "ringing", "")
			limit = 60 * time.Second
		}
		clk.forward(limit - 2*time.Second)
		s.TickCalls()
		late := s.dial("bob", device("late"))
		late.hear()
		if m := late.told("calls"); m.Kind != "ring" || m.Call != call || m.Exp > first.Exp {
			t.Fatalf("%+v", m)
		}
		late.leave()
		clk.forward(2 * time.Second)
		s.TickCalls()
		phone.reaches("missed ended")
		log(call, "missed")
		desk.barred(0x87, "k/"+call+"/accept", "")
		clk.forward(time.Minute) // the pair may call again
	}
	s.verify()
}

// A call survives its connections: only silence of both for 30 s ends it.
func TestACallOutlivesItsConnections(t *testing.T) {
	clk := new(clock)
	s := serveTuned(t, clk.options)
	ana, bob := s.phone("ana", "a"), s.phone("bob", "b")
	call, _, pb := established(t, ana, bob, "u/bob/call")
	_ = bob.Close()
	if m := ana.reaches("state reconnecting"); m.Call != call {
		t.Fatalf("%+v", m)
	}
	ana.signals(call, pb, "candidates", nil) // kept for him
	clk.forward(20 * time.Second)
	s.TickCalls()
	bob = s.phone("bob", "b")
	if m := bob.reaches("state active"); m.Party != pb {
		t.Fatalf("%+v", m)
	}
	bob.skip("u/bob/calls/" + pb)
	ana.reaches("state active")
	_ = bob.Close()
	ana.reaches("state reconnecting")
	clk.forward(31 * time.Second)
	s.TickCalls()
	if m := ana.reaches("state ended"); m.Reason != "lost" || m.Outcome != "answered" {
		t.Fatalf("%+v", m)
	}
}

// The server is stopped in each state of a call, and the call goes on.
func TestRestartsInEachState(t *testing.T) {
	s := serve(t)
	ana, bob := s.phone("ana", "a"), s.phone("bob", "b")
	back := func() {
		t.Helper()
		s.Restart()
		ana, bob = s.phone("ana", "a"), s.phone("bob", "b")
	}
	call, pa := ana.starts("u/bob/call", "")
	back()
	ana.reaches("state new")
	bob.reaches("ring new")
	bob.does(call, "ringing", "")
	back()
	ana.reaches("state ringing")
	bob.reaches("ring ringing")
	_, pb, _ := bob.call("k/"+call+"/accept", "")
	back()
	if m := ana.reaches("state connecting"); m.Party != pa {
		t.Fatalf("%+v", m)
	}
	if m := bob.reaches("state connecting"); m.Party != pb {
		t.Fatalf("%+v", m)
	}
	bob.signals(call, pa, "offer", offer)
	back()
	if m := ana.skip("u/ana/calls/" + pa); !strings.Contains(m.payload, `"type":"offer"`) {
		t.Fatal(m)
	}
	ana.signals(call, pb, "answer", answer)
	back()
	bob.reaches("state active")
	ok(t, bob.subscribe("c/+/json"))
	ana.does(call, "hangup", "")
	bob.skip("c/ana~bob/json")
	back()
	for _, c := range []*client{ana, bob} {
		c.pending = nil
		c.hear()
		c.ping()
		for _, m := range c.pending {
			if strings.Contains(m.topic, "calls") {
				t.Fatalf("%s is told of a call that is over: %v", c.name, m)
			}
		}
	}
	s.verify()
}
