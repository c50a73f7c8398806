package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// The tests of contract*_test.go follow the numbers of "Delivery" in the wire contract.

// heldStore lets a test hold back the disk: commits are applied, and not yet synced.
type heldStore struct {
	storage.Store
	mu   sync.Mutex
	gate chan struct{} // nil: open
}

type heldPending struct {
	storage.Pending
	gate chan struct{}
}

func (p heldPending) Wait() error {
	if p.gate != nil {
		<-p.gate
	}
	return p.Pending.Wait()
}

func (h *heldStore) Commit(b *storage.Batch) (storage.Pending, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, err := h.Store.Commit(b)
	return heldPending{p, h.gate}, err
}

func (h *heldStore) hold() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gate := make(chan struct{})
	h.gate = gate
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.gate = nil
		close(gate)
	}
}

// 1. PUBACK means stored, and nobody sees what is not synced.
func TestPubackMeansStored(t *testing.T) {
	held := new(heldStore)
	s := serveTuned(t, func(o *broker.Options) {
		st, err := pebblestore.Open(broker.StoreDir(o.Config.Data), pebblestore.Options{Create: true, ReserveBytes: -1, MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		held.Store, o.Store = st, held
	})
	ana, bob, cas := s.dial("ana"), s.dial("bob"), s.dial("cas")
	code(t, bob.subscribe("c/+/text/+", "plain"), 1, 1)
	ana.send("u/bob/text", "synced")
	bob.expect([2]string{"c/ana~bob/text/ana", "synced"})
	for i, topic := range []string{"u/bob/text", "plain"} {
		release := held.hold()
		ana.put(mqttc.Publish{Topic: topic, Payload: []byte("not yet"), QoS: 1, ID: 50})
		cas.put(mqttc.Publish{Topic: topic, Payload: []byte("nor this"), QoS: 2, ID: uint16(60 + i)})
		for range 3 { // whatever is on its way within the server
			for _, c := range []*client{ana, bob, cas} {
				if err := c.WritePing(); err != nil {
					t.Fatal(err)
				}
				c.flush()
				p, err := c.ReadPacket()
				if err != nil || p.Type != mqttc.PINGRESP {
					t.Fatalf("%s got packet type %d before the sync, %v", c.name, p.Type, err)
				}
			}
		}
		release()
		ana.await(mqttc.PUBACK)
		cas.await(mqttc.PUBREC)
		bob.next()
		bob.next()
	}
}

// 1. What is refused is never acknowledged as success; MQTT 3.1.1 is told on u/{me}/errors.
func TestRefusals(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	s.group("ana", "crew", "bob")
	s.call("ana", "group.create", `{"id":"closed","title":"Closed"}`)
	for _, tc := range []struct {
		name, topic, payload string
		reason               byte
		code                 string
	}{
		{"foreign group", "c/closed/text", "x", 0x87, "not-found"},
		{"no such group", "c/nowhere/text", "x", 0x87, "not-found"},
		{"foreign direct", "c/ana~cas/text", "x", 0x87, "not-found"},
		{"no such user", "u/nobody/text", "x", 0x87, "not-found"},
		{"order of names", "c/bob~ana/text", "x", 0x90, "bad-request"},
		{"empty text", "c/crew/text", "", 0x99, "bad-request"},
		{"not UTF-8", "c/crew/text", "\xff\xfe", 0x99, "bad-request"},
		{"broken JSON", "c/crew/json", `{"text":`, 0x99, "bad-request"},
		{"server field", "c/crew/json", `{"text":"x","seq":3,"id":"e1"}`, 0x99, "bad-request"},
		{"server kind", "c/crew/json", `{"kind":"join"}`, 0x99, "bad-request"},
		{"unknown kind", "c/crew/json", `{"kind":"dance","text":"x"}`, 0x99, "bad-request"},
		{"broken CBOR", "c/crew/cbor", "\xa1\x06", 0x99, "bad-request"},
		{"text too long", "c/crew/text", strings.Repeat("x", 64<<10+1), 0x83, "too-large"},
		{"event too long", "c/crew/json", `{"text":"` + strings.Repeat("x", 128<<10) + `"}`, 0x83, "too-large"},
		{"ext too long", "c/crew/json", `{"text":"x","ext":{"a":"` + strings.Repeat("x", 4<<10) + `"}}`, 0x83, "too-large"},
		{"another's post", "c/crew/json", `{"kind":"edit","re":99,"text":"x"}`, 0x87, "not-found"},
		{"sender in the topic", "c/crew/text/bob", "x", 0x90, "bad-request"},
		{"no view", "c/crew", "x", 0x90, "bad-request"},
		{"another view", "c/crew/xml", "x", 0x90, "bad-request"},
		{"receipts", "c/crew/receipts", "{}", 0x87, "not-authorized"},
		{"info", "c/crew/info", "{}", 0x87, "not-authorized"},
		{"another's status", "u/ana/status", "", 0x87, "not-authorized"},
		{"own events", "u/bob/events", "{}", 0x87, "not-authorized"},
		{"presence", "u/bob/presence", "{}", 0x87, "not-authorized"},
		{"read beyond the end", "c/crew/read", "99", 0x99, "bad-request"},
		{"read what", "c/crew/read", "x", 0x99, "bad-request"},
		{"read foreign", "c/closed/read", "1", 0x87, "not-found"},
		{"typing foreign", "c/closed/typing", "", 0x87, "not-found"},
		{"method's form", "rpc/No-Such", "{}", 0x90, "bad-request"},
		{"status of what", "u/bob/status", `{"state":"offline"}`, 0x99, "bad-request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			five := s.dial("bob", v5, device("five"))
			code(t, five.subscribe("c/+/json"), 1)
			ack := five.publishWith(mqttc.Publish{Topic: tc.topic, Payload: []byte(tc.payload), QoS: 1})
			if reason, _ := ack.Props.String(mqttc.PropReason); ack.Code != tc.reason || !strings.HasPrefix(reason, tc.code+": ") {
				t.Errorf("PUBACK 0x%02X %q, want 0x%02X", ack.Code, reason, tc.reason)
			}
			three := s.dial("bob", device("three"))
			code(t, three.subscribe("u/bob/errors"), 1)
			for _, qos := range []byte{1, 0} {
				three.put(mqttc.Publish{Topic: tc.topic, Payload: []byte(tc.payload), QoS: qos, ID: 77})
				m := three.next()
				if m.topic != "u/bob/errors" || m.field(t, "code") != tc.code || m.field(t, "topic") != tc.topic || m.field(t, "reason") == "" {
					t.Errorf("QoS %d: %v", qos, m)
				}
				if want := map[byte]string{1: "77"}[qos]; m.field(t, "pid") != want {
					t.Errorf("QoS %d: pid %q", qos, m.field(t, "pid"))
				}
			}
			three.quiet()
			five.quiet() // refused is not stored
		})
	}
}

// 1. A post at QoS 0 is stored; one at QoS 2 exactly once.
func TestPostAtOtherQoS(t *testing.T) {
	s := serve(t)
	bob := s.dial("bob", keep)
	code(t, bob.subscribe("c/+/text/+"), 1)
	bob.leave()
	ana := s.dial("ana", keep)
	ana.put(mqttc.Publish{Topic: "u/bob/text", Payload: []byte("QoS 0")})
	p := mqttc.Publish{Topic: "u/bob/text", Payload: []byte("QoS 2"), QoS: 2, ID: 9}
	ana.put(p)
	ana.await(mqttc.PUBREC)
	p.Dup = true
	ana.put(p)
	ana.await(mqttc.PUBREC)
	ana.vanish()
	ana = s.dial("ana", keep)
	ana.put(p)
	ana.await(mqttc.PUBREC)
	ana.leave()
	s.Restart()
	ana = s.dial("ana", keep)
	ana.put(p)
	ana.await(mqttc.PUBREC)
	for range 2 { // PUBREL may come again too
		ana.answer(mqttc.PUBREL, 9)
		ana.await(mqttc.PUBCOMP)
	}
	p.Dup, p.Payload = false, []byte("the id is free")
	ana.put(p)
	ana.await(mqttc.PUBREC)
	bob = s.dial("bob", keep)
	for _, text := range []string{"QoS 0", "QoS 2", "the id is free"} {
		bob.expect([2]string{"c/ana~bob/text/ana", text})
	}
	bob.quiet()
}

// 4. An event with an id is stored once; the retry gets the seq of the first; other content is a conflict.
func TestRetryWithID(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana", v5, userProp("meta", "seq"))
	bob := s.dial("bob")
	code(t, bob.subscribe("c/+/json"), 1)
	post := func(c *client, text string) (string, byte) {
		ack := c.publishWith(mqttc.Publish{Topic: "c/ana~bob/json", Payload: fmt.Appendf(nil, `{"id":"i1","text":%q}`, text), QoS: 1})
		seq, _ := ack.Props.User("seq")
		return seq, ack.Code
	}
	if seq, code := post(ana, "one"); seq != "1" || code != 0 {
		t.Fatalf("seq %q, 0x%02X", seq, code)
	}
	if m := bob.next(); m.field(t, "text") != "one" || m.field(t, "id") != "" {
		t.Fatal(m)
	}
	for range 2 {
		if seq, code := post(ana, "one"); seq != "1" || code != 0 {
			t.Errorf("seq %q, 0x%02X", seq, code)
		}
		if _, code := post(ana, "two"); code != 0x83 {
			t.Errorf("other content: 0x%02X", code)
		}
		s.Restart()
		ana = s.dial("ana", v5, userProp("meta", "seq"))
	}
	bob = s.dial("bob")
	code(t, bob.subscribe("c/+/json"), 1)
	if code := bob.publish("c/ana~bob/json", `{"id":"i1","text":"of another sender"}`); code != 0 {
		t.Errorf("0x%02X", code)
	}
	if m := bob.next(); m.field(t, "seq") != "2" || m.field(t, "id") != "i1" {
		t.Error(m)
	}
	ana.publish("u/cas/text", "x")
	bob.quiet()
}

// 4. A PUBLISH with DUP whose PUBACK the client cannot have seen is recognised without an id; one whose
// PUBACK it has seen is a new message.
func TestRetryWithoutID(t *testing.T) {
	for _, topic := range []string{"u/bob/text", "plain"} {
		t.Run(topic, func(t *testing.T) {
			held, hook := new(heldStore), &embedded{gone: make(chan struct{}, 10)}
			s := serveTuned(t, func(o *broker.Options) {
				hook.tune(o)
				st, err := pebblestore.Open(broker.StoreDir(o.Config.Data), pebblestore.Options{Create: true, ReserveBytes: -1, MinFreeBytes: -1})
				if err != nil {
					t.Fatal(err)
				}
				held.Store, o.Store = st, held
			})
			ana, bob := s.dial("ana", keep), s.dial("bob")
			code(t, bob.subscribe("c/+/text/+", "plain"), 1, 1)
			p := mqttc.Publish{Topic: topic, Payload: []byte("once"), QoS: 1, ID: 5}
			release := held.hold()
			ana.put(p)
			ana.ping()
			ana.vanish() // between the store and PUBACK
			<-hook.gone
			release()
			ana = s.dial("ana", keep)
			p.Dup = true
			ana.put(p)
			ana.await(mqttc.PUBACK)
			if m := bob.next(); m.payload != "once" {
				t.Fatal(m)
			}
			bob.quiet()
			// Now the client has the PUBACK: the same bytes are another message.
			ana.put(p)
			ana.await(mqttc.PUBACK)
			bob.next()
			ana.vanish()
			ana = s.dial("ana", keep)
			ana.put(p)
			ana.await(mqttc.PUBACK)
			p.Payload = []byte("other content")
			ana.put(p)
			ana.await(mqttc.PUBACK)
			for range 2 {
				bob.next()
			}
			bob.quiet()
		})
	}
}

// ping waits until the server has read everything that was sent before.
func (c *client) ping() {
	c.t.Helper()
	if err := c.WritePing(); err != nil {
		c.t.Fatal(err)
	}
	c.flush()
	c.await(mqttc.PINGRESP)
}

// 9. Message Expiry on a post makes it disappear then.
func TestPostDisappears(t *testing.T) {
	c := new(clock)
	s := serveTuned(t, c.options)
	bob, tex := s.dial("bob", keep), s.dial("bob", keep, device("text"))
	code(t, bob.subscribe("c/+/json"), 1)
	code(t, tex.subscribe("c/+/text/+"), 1)
	bob.leave()
	tex.leave()
	ana := s.dial("ana", v5)
	expiry := []byte{mqttc.PropMessageExpiry, 0, 0, 0, 60}
	ana.publishWith(mqttc.Publish{Topic: "u/bob/text", Payload: []byte("for a minute"), QoS: 1, Props: expiry})
	ana.publishWith(mqttc.Publish{Topic: "u/bob/json", Payload: []byte(`{"text":"for less","expire":5}`), QoS: 1, Props: expiry})
	ana.send("u/bob/text", "for ever")
	c.forward(59 * time.Second)
	bob = s.dial("bob", keep)
	if m := bob.peek(); m.field(t, "text") != "for a minute" || m.field(t, "expire") != "60" {
		t.Error(m)
	}
	bob.peek()
	bob.peek()
	bob.vanish()
	c.forward(2 * time.Second)
	bob, tex = s.dial("bob", keep), s.dial("bob", keep, device("text"))
	for i, want := range []string{`{"seq":1,"to":1,"kind":"gone"}`, `{"seq":2,"to":2,"kind":"gone"}`} {
		if m := bob.next(); m.payload != want || !m.dup {
			t.Errorf("%v at %d, want %s", m, i, want)
		}
	}
	if m := bob.next(); m.field(t, "text") != "for ever" {
		t.Error(m)
	}
	tex.expect([2]string{"c/ana~bob/text/ana", "for ever"})
	tex.quiet()
	history := s.call("bob", "history", `{"conv":"ana~bob"}`)
	if got := fmt.Sprint(history); strings.Contains(got, "for a minute") || strings.Contains(got, "for less") {
		t.Error(got)
	}
}
