package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// seqs acknowledges the next n messages of a JSON view and returns their seqs, stubs as from-to.
func (c *client) seqs(n int) (list []string) {
	c.t.Helper()
	for range n {
		m := c.next()
		s := m.field(c.t, "seq")
		if to := m.field(c.t, "to"); to != "" {
			s += "-" + to
		}
		list = append(list, s)
	}
	return list
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// 2. A subscription at QoS 1 attaches the session: every later event once, in order, with DUP when it comes
// again; until the session ends or unsubscribes.
func TestSubscriptionAttaches(t *testing.T) {
	versions(t, func(t *testing.T, version opt) {
		s := serve(t)
		s.know("ana", "bob")
		ana := s.dial("ana")
		ana.send("u/bob/text", "before")
		bob := s.dial("bob", version, keep)
		code(t, bob.subscribe("c/ana~bob/json"), 1)
		bob.quiet() // it starts at the head
		ana.send("u/bob/text", "2")
		ana.send("u/bob/json", `{"kind":"react","re":2,"emoji":"👍"}`)
		equal(t, bob.seqs(1), "2")
		three := bob.peek()
		bob.vanish()
		ana.send("u/bob/json", `{"kind":"edit","re":1,"text":"4"}`)
		s.Restart()
		bob = s.dial("bob", version, keep)
		if m := bob.next(); m.payload != three.payload || !m.dup || m.id != three.id {
			t.Errorf("%v id %d, want %v id %d with DUP", m, m.id, three, three.id)
		}
		equal(t, bob.seqs(1), "4")
		bob.quiet()
		bob.pid++
		if err := bob.WriteUnsubscribe(bob.pid, "c/ana~bob/json"); err != nil {
			t.Fatal(err)
		}
		bob.flush()
		bob.await(mqttc.UNSUBACK)
		ana = s.dial("ana")
		ana.send("u/bob/text", "5")
		bob.quiet()
		bob.leave()
		bob = s.dial("bob", version, keep)
		bob.quiet()
		code(t, bob.subscribe("c/+/json"), 1)
		bob.quiet() // a new subscription starts at the head again
		bob.leave()
		bob = s.dial("bob", version, clean)
		ana.send("u/bob/text", "6")
		bob.quiet()
	})
}

// 2. When much waits: the user's own log first, then direct conversations, then groups in turn.
func TestOrderOfWhatWaits(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob", "cas")
	s.group("ana", "g1", "bob")
	s.group("ana", "g2", "bob")
	bob := s.dial("bob", v5, keep, func(o *mqttc.ConnectOptions) { o.ReceiveMaximum = 8 })
	code(t, bob.subscribe("c/+/text/+", "u/bob/events"), 1, 1)
	bob.leave()
	ana := s.dial("ana")
	const n = 100
	for i := range n {
		ana.send("c/g1/text", fmt.Sprint("g1 ", i))
	}
	for i := range n {
		ana.send("c/g2/text", fmt.Sprint("g2 ", i))
	}
	for i := range n {
		ana.send("u/bob/text", fmt.Sprint("direct ", i))
	}
	s.group("cas", "g3", "bob")
	bob = s.dial("bob", v5, keep, func(o *mqttc.ConnectOptions) { o.ReceiveMaximum = 8 })
	if m := bob.next(); m.topic != "u/bob/events" || m.field(t, "kind") != "added" || m.field(t, "conv") != "g3" {
		t.Error(m)
	}
	for i := range n {
		bob.expect([2]string{"c/ana~bob/text/ana", fmt.Sprint("direct ", i)})
	}
	next := map[string]int{}
	var firstTurn []string
	for i := range 2 * n {
		m := bob.next()
		group, k, _ := strings.Cut(m.payload, " ")
		if k != fmt.Sprint(next[group]) {
			t.Fatalf("%v, want the %dth", m, next[group])
		}
		next[group]++
		if i < n && !slices.Contains(firstTurn, group) {
			firstTurn = append(firstTurn, group)
		}
	}
	if len(firstTurn) != 2 {
		t.Error("one group waits for all of the other")
	}
	bob.quiet()
}

// 3. Where a subscription starts.
func TestWhereItStarts(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	s.group("ana", "crew")
	ana := s.dial("ana")
	for i := range 8 {
		ana.send("c/crew/text", fmt.Sprint(i+2))
	} // seq 1 is the creation
	s.call("ana", "group.create", `{"id":"late","title":"Late","history":"joined"}`)
	for i := range 3 {
		ana.send("c/late/text", fmt.Sprint(i+2))
	}
	s.call("ana", "member.add", `{"conv":"crew","user":"bob"}`) // 10
	s.call("ana", "member.add", `{"conv":"late","user":"bob"}`) // 5
	from := func(c *client, filter, key, value string) []byte {
		return c.subscribeWith([]mqttc.Filter{{Topic: filter, QoS: 1}}, mqttc.UserProperty{Key: key, Value: value})
	}
	bob := s.dial("bob", v5, keep)
	code(t, from(bob, "c/crew/json", "from", "8"), 1)
	equal(t, bob.seqs(3), "8", "9", "10")
	bob.quiet()
	code(t, from(bob, "c/crew/json", "from", "2"), 1) // not new any more: nothing changes
	bob.quiet()
	bob.leave()
	bob = s.dial("bob", v5, keep)
	code(t, from(bob, "c/crew/json", "from", "2"), 1)
	bob.quiet()
	code(t, from(bob, "c/crew/json", "seek", "9"), 1)
	equal(t, bob.seqs(2), "9", "10")
	code(t, from(bob, "c/crew/json", "seek", "-1"), 1)
	equal(t, bob.seqs(1), "10")
	bob.quiet()
	code(t, from(bob, "c/late/json", "from", "-100"), 1)
	equal(t, bob.seqs(1), "5") // clamped to what the member may see
	code(t, from(bob, "c/late/cbor", "from", "1"), 1)
	bob.next()
	bob.quiet()
	code(t, from(bob, "c/+/json", "from", "3"), 0x8F) // a seq belongs to one conversation
	code(t, from(bob, "c/+/json", "from", "0"), 0x8F)
	code(t, from(bob, "c/+/json", "from", "x"), 0x8F)
	all := s.dial("bob", v5, device("all"))
	code(t, from(all, "c/+/text/+", "from", "-3"), 1)
	all.expect([2]string{"c/crew/text/ana", "8"}, [2]string{"c/crew/text/ana", "9"}) // 10 has no text
	all.quiet()
	over := s.dial("bob", v5, device("over"))
	code(t, over.subscribe("c/+/json", "c/crew/json"), 1, 1)
	ana.send("c/crew/text", "once")
	equal(t, over.seqs(1), "11") // overlapping filters deliver once
	over.quiet()
}

// 3. What begins or is joined after a + subscription starts at the event that made the user a member.
func TestPlusCoversWhatComes(t *testing.T) {
	s := serve(t)
	s.know("ana", "bob")
	bob := s.dial("bob", keep)
	code(t, bob.subscribe("c/+/json"), 1)
	away := s.dial("bob", keep, device("away"))
	code(t, away.subscribe("c/+/json"), 1)
	away.leave()
	s.group("ana", "crew")
	ana := s.dial("ana")
	ana.send("c/crew/text", "2")
	s.call("ana", "member.add", `{"conv":"crew","user":"bob"}`)
	ana.send("c/crew/text", "4")
	equal(t, bob.seqs(2), "3", "4")
	bob.quiet()
	away = s.dial("bob", keep, device("away"))
	equal(t, away.seqs(2), "3", "4")
	away.quiet()
}

// 3. catchup: at most the last N events of each conversation, a stub for the rest.
func TestCatchup(t *testing.T) {
	s := serve(t)
	bob, old := s.dial("bob", v5, keep), s.dial("bob", keep, device("old"))
	for _, c := range []*client{bob, old} {
		code(t, c.subscribe("c/+/json"), 1)
		if c == old {
			s.call("bob", "device.update", `{"device":"old","catchup":2}`)
		}
		c.leave()
	}
	ana := s.dial("ana")
	for i := range 300 {
		ana.send("u/bob/text", fmt.Sprint(i+1))
	}
	ana.send("u/ana/text", "of my own")
	bob = s.dial("bob", v5, keep, userProp("catchup", "3"))
	equal(t, bob.seqs(4), "1-297", "298", "299", "300")
	bob.quiet()
	old = s.dial("bob", keep, device("old"))
	equal(t, old.seqs(3), "1-298", "299", "300")
	old.quiet()
	ana.send("u/bob/text", "301")
	equal(t, bob.seqs(1), "301")
	if _, err := s.try("bob", v5, userProp("catchup", "all")); err == nil {
		t.Error("catchup=all is accepted")
	}
}

// 5. Never more unacknowledged than the Receive Maximum, 256 messages or 256 KiB, 20 with MQTT 3.1.1.
func TestWindow(t *testing.T) {
	s := serve(t)
	ana := s.dial("ana")
	for _, tc := range []struct {
		name    string
		body    int
		opts    []opt
		atMost  int
		atLeast int
	}{
		{"3.1.1", 1, nil, 20, 20}, {"5", 1, []opt{v5}, 256, 256},
		{"max", 1, []opt{v5, func(o *mqttc.ConnectOptions) { o.ReceiveMaximum = 7 }}, 7, 7},
		{"bytes", 20 << 10, []opt{v5}, 14, 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bob := s.dial("bob-"+tc.name, append([]opt{keep}, tc.opts...)...)
			code(t, bob.subscribe("c/+/text/+"), 1)
			const n = 300
			for range n {
				ana.send("u/bob-"+tc.name+"/text", strings.Repeat("x", tc.body))
			}
			bob.ping()
			if got := len(bob.pending); got > tc.atMost || got < tc.atLeast {
				t.Errorf("%d messages at once, want %d to %d", got, tc.atLeast, tc.atMost)
			}
			for range n {
				bob.next()
			}
			bob.quiet()
		})
	}
}

// 6. QoS 0 subscriptions get live events only; QoS 2 is granted as QoS 1 on c/ and u/.
func TestGrantedQoS(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana"), s.dial("bob", keep)
	got := bob.subscribeWith([]mqttc.Filter{{Topic: "c/+/json"}, {Topic: "c/+/text/+", QoS: 2}, {Topic: "u/bob/events", QoS: 2}, {Topic: "plain", QoS: 2}})
	code(t, got, 0, 1, 1, 2)
	ana.send("u/bob/text", "live")
	one, two := bob.next(), bob.next()
	if one.qos+two.qos != 1 {
		t.Error(one, two)
	}
	bob.leave()
	ana.send("u/bob/text", "while away")
	bob = s.dial("bob", keep)
	bob.expect([2]string{"c/ana~bob/text/ana", "while away"})
	bob.quiet()
}

// 7. Bytes are spent on request only.
func TestMetadataOnRequest(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana", v5, userProp("meta", "seq")), s.dial("bob", v5)
	sub := func(c *client, meta string) {
		code(t, c.subscribeWith([]mqttc.Filter{{Topic: "c/+/text/+", QoS: 1}}, mqttc.UserProperty{Key: "meta", Value: meta}), 1)
	}
	for _, meta := range []string{"seq", "at", "seq,at"} {
		sub(bob, meta)
		ack := ana.publishWith(mqttc.Publish{Topic: "u/bob/text", Payload: []byte("x"), QoS: 1})
		want, _ := ack.Props.User("seq")
		m := bob.next()
		seq, hasSeq := m.props.User("seq")
		at, hasAt := m.props.User("at")
		if hasSeq != strings.Contains(meta, "seq") || hasAt != strings.Contains(meta, "at") || hasSeq && seq != want || hasAt && len(at) != 13 || want == "" {
			t.Errorf("%s: seq %q at %q, PUBACK %q", meta, seq, at, want)
		}
	}
	if ack := bob.publishWith(mqttc.Publish{Topic: "u/ana/text", Payload: []byte("x"), QoS: 1}); len(ack.Props) != 0 {
		t.Errorf("PUBACK with % x, unasked", ack.Props)
	}
	code(t, bob.subscribeWith([]mqttc.Filter{{Topic: "c/+/text/+", QoS: 1}}, mqttc.UserProperty{Key: "meta", Value: "all"}), 0x8F)
}

// 7. The sender's devices get the event like everyone else, unless they subscribed with No Local.
func TestNoLocal(t *testing.T) {
	s := serve(t)
	phone, tablet := s.dial("ana", v5, keep), s.dial("ana", v5, keep, device("tablet"))
	own := []mqttc.Filter{{Topic: "c/+/text/+", QoS: 1, NoLocal: true}}
	code(t, phone.subscribeWith(own), 1)
	code(t, tablet.subscribeWith(own), 1)
	s.know("bob")
	phone.send("u/bob/text", "from the phone")
	phone.quiet()
	tablet.expect([2]string{"c/ana~bob/text/ana", "from the phone"})
	code(t, tablet.subscribe("c/+/text/+"), 1)
	tablet.send("u/bob/text", "from the tablet")
	tablet.expect([2]string{"c/ana~bob/text/ana", "from the tablet"})
	phone.expect([2]string{"c/ana~bob/text/ana", "from the tablet"})
	phone.quiet()
}

// 8. and Topics: the delivered cursor moves when any device acknowledges; receipts tell the author.
func TestReceipts(t *testing.T) {
	s := serve(t)
	ana, bob := s.dial("ana"), s.dial("bob")
	tablet := s.dial("bob", device("tablet"))
	code(t, bob.subscribe("c/+/text/+"), 1)
	code(t, tablet.subscribe("c/+/receipts"), 1)
	code(t, ana.subscribe("c/+/receipts"), 1)
	ana.send("u/bob/text", "1")
	ana.send("u/bob/text", "2")
	bob.next()
	if m := ana.next(); m.topic != "c/ana~bob/receipts" || m.payload != `{"user":"bob","delivered":1,"read":0}` || m.qos != 0 {
		t.Error(m)
	}
	bob.next()
	if m := ana.next(); m.payload != `{"user":"bob","delivered":2,"read":0}` {
		t.Error(m)
	}
	bob.send("c/ana~bob/read", "1")
	if m := ana.next(); m.payload != `{"user":"bob","delivered":2,"read":1}` {
		t.Error(m)
	}
	if m := tablet.next(); m.payload != `{"user":"bob","delivered":2,"read":1}` { // another device of mine has read
		t.Error(m)
	}
	bob.send("c/ana~bob/read", "") // all that this session has acknowledged
	if m := ana.next(); m.payload != `{"user":"bob","delivered":2,"read":2}` {
		t.Error(m)
	}
	tablet.next()
	bob.send("c/ana~bob/read", "1") // cursors only grow
	ana.quiet()
	tablet.quiet()
	if got := fmt.Sprint(s.call("ana", "receipts", `{"conv":"ana~bob","seq":2}`)); !strings.Contains(got, "bob") {
		t.Error(got)
	}
}
