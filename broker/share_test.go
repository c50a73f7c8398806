package broker_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/internal/mqttc"
)

const sharedJSON = "$share/work/c/+/json"

// arrival is an event that a member of a share got.
type arrival struct {
	by   *client
	conv string
	seq  uint64
	text string
	dup  bool
	id   uint16
}

// arrived takes what has reached a client, without acknowledging it: what was sent before a PINGREQ
// comes before its answer.
func (c *client) arrived() (list []arrival) {
	c.t.Helper()
	if err := c.WritePing(); err != nil {
		c.t.Fatal(c.name, err)
	}
	c.flush()
	c.await(mqttc.PINGRESP)
	for _, m := range c.pending {
		var ev struct {
			Seq  uint64
			Text string
		}
		if err := json.Unmarshal([]byte(m.payload), &ev); err != nil {
			c.t.Fatal(m, err)
		}
		conv := strings.TrimSuffix(strings.TrimPrefix(m.topic, "c/"), "/json")
		list = append(list, arrival{c, conv, ev.Seq, ev.Text, m.dup, m.id})
	}
	c.pending = nil
	return list
}

func (a arrival) ack() {
	a.by.t.Helper()
	if err := a.by.WriteAck(mqttc.PUBACK, a.id, 0); err != nil {
		a.by.t.Fatal(err)
	}
	a.by.flush()
}

func ackAll(list []arrival) {
	for _, a := range list {
		a.ack()
	}
}

// gather takes and acknowledges what the members get until there are n, and then that nothing follows.
func gather(t *testing.T, n int, members ...*client) (list []arrival) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(list) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d events came", len(list), n)
		}
		for _, m := range members {
			got := m.arrived()
			ackAll(got)
			list = append(list, got...)
		}
	}
	for _, m := range members {
		m.quiet()
	}
	if len(list) != n {
		t.Fatalf("%d events came, want %d", len(list), n)
	}
	return list
}

// inOrder asserts that the events of each conversation are first..first+n-1 in this order.
func inOrder(t *testing.T, list []arrival, first, n uint64) {
	t.Helper()
	next := make(map[string]uint64)
	for _, a := range list {
		if next[a.conv] == 0 {
			next[a.conv] = first
		}
		if a.seq != next[a.conv] {
			t.Fatalf("%s: seq %d came where %d was due", a.conv, a.seq, next[a.conv])
		}
		next[a.conv]++
	}
	for conv, x := range next {
		if x != first+n {
			t.Errorf("%s: came to %d, want %d", conv, x-1, first+n-1)
		}
	}
}

// workers connects devices of bot that share c/+/json.
func workers(s *testServer, n int, opts ...opt) []*client {
	s.t.Helper()
	var list []*client
	for i := range n {
		c := s.dial("bot", append([]opt{device(fmt.Sprint("w", i))}, opts...)...)
		ok(s.t, c.subscribe(sharedJSON))
		list = append(list, c)
	}
	return list
}

func TestShareGivesEachEventToOne(t *testing.T) {
	s := serve(t)
	ws := workers(s, 3)
	beside := s.dial("bot", device("beside"))
	ok(t, beside.subscribe(sharedJSON, "c/+/json"))
	const people, each = 6, 20
	var senders []*client
	for i := range people {
		senders = append(senders, s.dial(fmt.Sprint("p", i)))
	}
	var shared, ordinary []arrival
	for i := range each {
		for _, p := range senders {
			p.publish("u/bot/text", fmt.Sprint(i))
		}
		for _, w := range ws {
			got := w.arrived()
			ackAll(got)
			shared = append(shared, got...)
		}
		seen := make(map[string]int) // the ordinary subscription's and, for some, the share's too
		got := beside.arrived()
		ackAll(got)
		for _, a := range got {
			if seen[a.conv]++; seen[a.conv] == 1 {
				ordinary = append(ordinary, a)
			} else {
				shared = append(shared, a)
			}
		}
	}
	inOrder(t, shared, 1, each)
	inOrder(t, ordinary, 1, each)
	if len(shared) != people*each || len(ordinary) != people*each {
		t.Fatalf("%d shared, %d ordinary, want %d of each", len(shared), len(ordinary), people*each)
	}
	by := make(map[*client]int)
	for _, a := range shared {
		by[a.by]++
		if a.dup {
			t.Error("DUP on a first delivery")
		}
	}
	if len(by) != 4 {
		t.Errorf("only %d of 4 members got something", len(by))
	}
}

func TestShareKeepsAConversationWithOneMember(t *testing.T) {
	s := serve(t)
	ws := workers(s, 3)
	ana := s.dial("ana")
	const n = 60 // more than the window of an MQTT 3.1.1 client
	for i := range n {
		ana.publish("u/bot/text", fmt.Sprint(i))
	}
	var first []arrival
	for _, w := range ws {
		got := w.arrived()
		if len(got) > 0 && len(first) > 0 {
			t.Fatal("two members have events of one conversation on their way")
		}
		first = append(first, got...)
	}
	if len(first) != 20 {
		t.Fatalf("%d events are on their way, want a full window", len(first))
	}
	s.dial("cas").publish("u/bot/text", "to one that has room")
	var other []arrival
	for _, w := range ws {
		if w != first[0].by {
			other = append(other, w.arrived()...)
		}
	}
	if len(other) != 1 || other[0].conv != "bot~cas" {
		t.Fatal("another conversation waits for the slow member:", other)
	}
	other[0].ack()
	ackAll(first)
	inOrder(t, append(first, gather(t, n-len(first), ws...)...), 1, n)
}

func TestShareRedeliversWhatACutMemberHad(t *testing.T) {
	for _, version := range []struct {
		name string
		opts []opt
	}{{"clean", []opt{v5, clean}}, {"durable", []opt{v5, keep}}} {
		t.Run(version.name, func(t *testing.T) {
			s := serve(t)
			a := workers(s, 1, version.opts...)[0]
			ana := s.dial("ana")
			for i := range 15 {
				ana.publish("u/bot/text", fmt.Sprint(i))
			}
			had := a.arrived()
			inOrder(t, had, 1, 15)
			ackAll(had[:5])
			a.quiet() // the acknowledgements are in
			b := s.dial("bot", v5, device("b"))
			ok(t, b.subscribe(sharedJSON))
			b.quiet()
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			list := gather(t, 10, b)
			inOrder(t, list, 6, 10)
			for _, x := range list {
				if !x.dup {
					t.Fatalf("seq %d came again without DUP", x.seq)
				}
			}
			a = s.dial("bot", append([]opt{device("w0")}, version.opts...)...)
			ana.publish("u/bot/text", "on it goes")
			if x := gather(t, 1, a, b); x[0].seq != 16 || x[0].dup {
				t.Fatal(x)
			}
		})
	}
}

func TestShareWaitsForItsSessions(t *testing.T) {
	s := serve(t)
	ws := workers(s, 2, v5, keep)
	ana := s.dial("ana")
	ana.publish("u/bot/text", "while they are here")
	gather(t, 1, ws...)
	for i := range 3 {
		ana.publish("u/bot/text", fmt.Sprint("never acknowledged ", i))
	}
	for _, w := range ws {
		w.arrived()
		w.leave()
	}
	for i := range 400 {
		ana.publish("u/bot/text", fmt.Sprint("while they are away ", i))
	}
	w := s.dial("bot", v5, keep, device("w1"))
	list := gather(t, 403, w)
	inOrder(t, list, 2, 403)
	for i, x := range list {
		if x.dup != (i < 3) {
			t.Fatalf("seq %d: dup=%v", x.seq, x.dup)
		}
	}
	w.leave()
	ana.publish("u/bot/text", "before the restart")
	s.Restart()
	ana = s.dial("ana")
	ana.publish("u/bot/text", "after the restart")
	w = s.dial("bot", v5, keep, device("w0"))
	inOrder(t, gather(t, 2, w), 405, 2)
}

func TestShareReturnsWhatIsInFlightAtARestart(t *testing.T) {
	s := serve(t)
	w := workers(s, 1, v5, keep)[0]
	ana := s.dial("ana")
	for i := range 8 {
		ana.publish("u/bot/text", fmt.Sprint(i))
	}
	had := w.arrived()
	ackAll(had[:3])
	w.quiet()
	s.Restart()
	w = s.dial("bot", v5, keep, device("w0"))
	list := gather(t, 5, w)
	inOrder(t, list, 4, 5)
	if !list[0].dup || !list[4].dup {
		t.Error("what was sent before the restart came without DUP")
	}
}

// TestShareSurvivesACrash serves what the disk had while members were connected.
func TestShareSurvivesACrash(t *testing.T) {
	s := serve(t)
	ws := workers(s, 2, v5, keep)
	ana := s.dial("ana")
	for i := range 6 {
		ana.publish("u/bot/text", fmt.Sprint(i))
	}
	for _, w := range ws {
		if had := w.arrived(); len(had) > 0 {
			inOrder(t, had, 1, 6)
			ackAll(had[:2])
		}
		w.quiet()
	}
	image := t.TempDir()
	if err := os.CopyFS(filepath.Join(image, "store"), os.DirFS(broker.StoreDir(s.Config.Data))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(image, "dev"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	after := serve(t, in(image))
	w := after.dial("bot", v5, keep, device("w1"))
	if !w.ack.SessionPresent {
		t.Fatal("the session is not there any more")
	}
	after.dial("ana").publish("u/bot/text", "after the crash")
	var list []arrival
	for deadline := time.Now().Add(patience); len(list) == 0 || list[len(list)-1].seq < 7; {
		if time.Now().After(deadline) {
			t.Fatalf("only %d events came", len(list))
		}
		got := w.arrived()
		ackAll(got)
		list = append(list, got...)
	}
	first := list[0].seq
	if first > 3 {
		t.Fatalf("it goes on at %d, but only 1 and 2 were acknowledged", first)
	}
	inOrder(t, list, first, 8-first)
	for _, x := range list {
		if x.dup != (x.seq < 7) {
			t.Errorf("seq %d: dup=%v", x.seq, x.dup)
		}
	}
}

func TestShareEndsWithItsLastSubscription(t *testing.T) {
	s := serve(t)
	ws := workers(s, 2, v5, keep)
	ana := s.dial("ana")
	leave := func(c *client) {
		t.Helper()
		c.pid++
		if err := c.WriteUnsubscribe(c.pid, sharedJSON); err != nil {
			t.Fatal(err)
		}
		c.flush()
		if p := c.await(mqttc.UNSUBACK); !slices.Equal(p.Codes, []byte{0}) {
			t.Fatalf("UNSUBACK % x", p.Codes)
		}
	}
	ana.publish("u/bot/text", "unacknowledged")
	for i, w := range ws {
		if got := w.arrived(); len(got) > 0 { // it goes to the other, which goes away
			leave(w)
			other := ws[1-i]
			if x := other.arrived(); len(x) != 1 || x[0].seq != 1 || !x[0].dup {
				t.Fatal(x)
			}
			other.leave()
			ana.publish("u/bot/text", "the one that is away keeps it")
			w.quiet()
			back := s.dial("bot", v5, keep, device(fmt.Sprint("w", 1-i)))
			inOrder(t, gather(t, 2, back), 1, 2)
			leave(back)
			ana.publish("u/bot/text", "for nobody")
			s.Restart()
			ana = s.dial("ana")
			anew := s.dial("bot", v5, keep, device("anew"))
			ok(t, anew.subscribe(sharedJSON))
			anew.quiet()
			ana.publish("u/bot/text", "anew")
			inOrder(t, gather(t, 1, anew), 4, 1)
			return
		}
	}
	t.Fatal("nobody got it")
}

func TestShareEndsWithItsLastSession(t *testing.T) {
	s := serve(t)
	w := workers(s, 1, v5, keep)[0]
	w.leave()
	ana := s.dial("ana")
	ana.publish("u/bot/text", "nobody comes for it")
	s.dial("bot", v5, clean, device("w0")) // a clean start ends the session, and the share with it
	x := s.dial("bot", v5, device("x"))
	ok(t, x.subscribe(sharedJSON))
	x.quiet()
	ana.publish("u/bot/text", "for the new share")
	inOrder(t, gather(t, 1, x), 2, 1)
}

func TestSharesOfUsersAndNamesAreApart(t *testing.T) {
	s := serve(t)
	bot, cas := s.dial("bot"), s.dial("cas")
	ok(t, bot.subscribe("$share/work/c/general/json", "$share/play/c/general/json"))
	ok(t, cas.subscribe("$share/work/c/general/json"))
	ana := s.dial("ana")
	ana.publish("c/general/text", "hello") // her joining comes before
	ana.publish("u/bot/text", "not in this conversation")
	count := func(c *client) (posts int) {
		for _, a := range c.arrived() {
			if a.conv != "general" {
				t.Errorf("%s got %s", c.name, a.conv)
			}
			if a.text == "hello" {
				posts++
			}
			a.ack()
		}
		return posts
	}
	if b, c := count(bot), count(cas); b != 2 || c != 1 {
		t.Fatalf("bot got it %d times for two shares, cas %d times for one", b, c)
	}
}

func TestShareStartsInThePast(t *testing.T) {
	s := serve(t)
	a, b := s.dial("bot", v5, device("a")), s.dial("bot", v5, device("b"))
	ana := s.dial("ana")
	for i := range 10 {
		ana.publish("u/bot/text", fmt.Sprint(i))
	}
	from := func(c *client, key, value string) {
		t.Helper()
		ok(t, c.subscribeWith([]mqttc.Filter{{Topic: sharedJSON, QoS: 1}}, mqttc.UserProperty{Key: key, Value: value}))
	}
	from(a, "from", "-4")
	inOrder(t, gather(t, 4, a), 7, 4)
	from(b, "from", "-4") // the share is not new
	b.quiet()
	a.quiet()
	from(b, "seek", "-2")
	inOrder(t, gather(t, 2, a, b), 9, 2)
}

func TestShareAtQoS0GoesToOneThatIsOnline(t *testing.T) {
	s := serve(t)
	var ws []*client
	for i := range 2 {
		w := s.dial("bot", device(fmt.Sprint("w", i)))
		ok(t, w.subscribeWith([]mqttc.Filter{{Topic: sharedJSON, QoS: 0}}))
		ws = append(ws, w)
	}
	ana := s.dial("ana")
	var list []arrival
	for i := range 10 {
		ana.publish("u/bot/text", fmt.Sprint(i))
		for _, w := range ws {
			list = append(list, w.arrived()...)
		}
	}
	inOrder(t, list, 1, 10)
	if list[0].by == list[1].by || list[0].id != 0 {
		t.Error("members do not take turns, or not at QoS 0")
	}
}

func TestShareEndsForWhoLeavesTheConversation(t *testing.T) {
	s := serve(t)
	w := workers(s, 1)[0]
	ana := s.dial("ana")
	w.publish("c/general/text", "here I am") // joins
	for i := range 40 {
		ana.publish("c/general/text", fmt.Sprint(i))
	}
	var list []arrival
	list = append(list, w.arrived()...) // a full window; the rest waits in the log
	w.publishWith(mqttc.Publish{Topic: "rpc/group.leave", Payload: []byte(`{"conv":"general","tag":"1"}`), QoS: 1})
	ana.publish("c/general/text", "SECRET")
	ackAll(list)
	last := func(a arrival) bool { return a.text == "39" }
	for deadline := time.Now().Add(patience); !slices.ContainsFunc(list, last); {
		if time.Now().After(deadline) {
			t.Fatalf("only %d events came", len(list))
		}
		got := w.arrived()
		ackAll(got)
		list = append(list, got...)
	}
	list = append(list, w.arrived()...)
	if left := list[len(list)-1]; left.text != "" {
		t.Fatalf("the last event is %q, not that it left", left.text)
	}
	for _, a := range list {
		if a.text == "SECRET" {
			t.Fatal("an event after leaving was delivered")
		}
	}
}

// TestShareSoak has members come and go at random while people write: the first deliveries of each
// conversation are its log in order, and nothing is missing of what is acknowledged in the end.
func TestShareSoak(t *testing.T) {
	const seed, people, rounds = 11, 5, 400
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := serve(t)
	opts := func(i int) []opt {
		o := []opt{v5, keep, device(fmt.Sprint("w", i)), func(o *mqttc.ConnectOptions) { o.ReceiveMaximum = uint16(3 + 4*i) }}
		if i == 3 {
			o = append(o, clean, func(o *mqttc.ConnectOptions) { o.SessionExpiry = 0 })
		}
		return o
	}
	ws := make([]*client, 4)
	held := make(map[*client][]arrival) // arrived, not acknowledged
	first := make(map[string]uint64)    // the highest first delivery
	acked := make(map[string]map[uint64]bool)
	written := make(map[string]uint64)
	take := func(w *client) {
		for _, a := range w.arrived() {
			switch {
			case a.seq == first[a.conv]+1:
				first[a.conv]++
			case a.seq > first[a.conv]:
				t.Fatalf("%s: seq %d came after %d", a.conv, a.seq, first[a.conv])
			case !a.dup:
				t.Fatalf("%s: seq %d came again without DUP", a.conv, a.seq)
			}
			held[w] = append(held[w], a)
		}
	}
	ack := func(w *client, n int) {
		for _, a := range held[w][:n] {
			a.ack()
			if acked[a.conv] == nil {
				acked[a.conv] = make(map[uint64]bool)
			}
			acked[a.conv][a.seq] = true
		}
		held[w] = held[w][n:]
	}
	connect := func(i int) {
		ws[i] = s.dial("bot", opts(i)...)
		if !ws[i].ack.SessionPresent {
			ok(t, ws[i].subscribe(sharedJSON))
		}
	}
	var senders []*client
	dial := func() {
		senders = nil
		for i := range people {
			senders = append(senders, s.dial(fmt.Sprint("p", i)))
		}
	}
	dial()
	for i := range ws {
		connect(i)
	}
	for round := range rounds {
		for range 1 + rnd.IntN(6) {
			i := rnd.IntN(people)
			senders[i].publish("u/bot/text", "x")
			written[fmt.Sprint("bot~p", i)]++
		}
		i := rnd.IntN(len(ws))
		switch w := ws[i]; {
		case w == nil:
			connect(i)
		case rnd.IntN(8) == 0:
			delete(held, w)
			if rnd.IntN(2) == 0 {
				w.leave()
			} else {
				_ = w.Close()
			}
			ws[i] = nil
		default:
			take(w)
			ack(w, rnd.IntN(len(held[w])+1))
		}
		if round == rounds/2 {
			s.Restart()
			clear(held)
			clear(ws)
			dial()
		}
	}
	done := func() bool {
		for conv, n := range written {
			if uint64(len(acked[conv])) < n {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			for conv, n := range written {
				t.Errorf("%s: %d of %d events were acknowledged", conv, len(acked[conv]), n)
			}
			t.FailNow()
		}
		for i := range ws {
			if ws[i] == nil {
				connect(i)
			}
			take(ws[i])
			ack(ws[i], len(held[ws[i]]))
		}
	}
	for conv, n := range written {
		if first[conv] != n {
			t.Errorf("%s: came to %d, want %d", conv, first[conv], n)
		}
	}
}
