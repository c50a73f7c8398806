package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// narrow is a store whose disk says "full" to one batch of publishers, as late as a test wants.
type narrow struct {
	storage.Store
	next atomic.Pointer[gateway]
}

// gateway is where that batch waits.
type gateway struct{ came, open chan struct{} }

func (n *narrow) arm() *gateway {
	g := &gateway{came: make(chan struct{}), open: make(chan struct{})}
	n.next.Store(g)
	return g
}

func (n *narrow) Commit(b *storage.Batch) (storage.Pending, error) {
	if !b.Vital {
		if g := n.next.Swap(nil); g != nil {
			close(g.came)
			<-g.open
			return nil, storage.ErrFull
		}
	}
	return n.Store.Commit(b)
}

// then makes the properties of a post that is to be stored only behind the one before it.
func then() []byte { return mqttc.AppendUserProperty(nil, "then", "") }

// line is one publish of many, and how it is to be answered.
type line struct {
	topic, payload string
	then           bool
	code           byte
}

// talk sends publishes at QoS 1 without waiting in between; its return value asserts the answers.
func (c *client) talk(lines ...line) (answers func()) {
	c.t.Helper()
	first := c.pid + 1
	for _, l := range lines {
		c.pid++
		p := mqttc.Publish{Topic: l.topic, Payload: []byte(l.payload), QoS: 1, ID: c.pid}
		if l.then {
			p.Props = then()
		}
		if err := c.WritePublish(p); err != nil {
			c.t.Fatal(err)
		}
	}
	c.flush()
	return func() {
		c.t.Helper()
		for i, l := range lines {
			ack := c.await(mqttc.PUBACK)
			if ack.ID != first+uint16(i) || ack.Code != l.code {
				c.t.Errorf("%q on %s is answered 0x%02X (packet %d), want 0x%02X", l.payload, l.topic, ack.Code, ack.ID-first, l.code)
			}
		}
	}
}

// heard are the texts of so many messages.
func (c *client) heard(n int) (texts []string) {
	c.t.Helper()
	for range n {
		texts = append(texts, c.next().payload)
	}
	c.quiet()
	return texts
}

// What is on its way behind a post that the disk does not take is not taken either, although there is room by then: it
// passed the reader before anybody knew. What stands for itself is stored, and what belongs to another conversation.
func TestThenOnAFullDisk(t *testing.T) {
	disk := &narrow{}
	s := serveTuned(t, func(o *broker.Options) {
		st, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		disk.Store = st
		o.Store = disk
	})
	s.know("ana", "bob", "cas")
	ana, bob := s.dial("ana", v5), s.dial("bob")
	ok(t, bob.subscribe("c/+/text/+"))
	gate := disk.arm()
	first := ana.talk(line{"u/bob/text", "1", false, 0x97})
	<-gate.came
	rest := ana.talk(
		line{"c/ana~bob/text", "2", true, 0x97},
		line{"u/bob/json", `{"text":"3","id":"three"}`, true, 0x97},
		line{"u/cas/text", "elsewhere", true, 0},
		line{"u/bob/json", `{"kind":"nonsense"}`, true, 0x99},
		line{"c/ana~bob/json", `{"text":"4"}`, true, 0x97},
	)
	ana.ping() // the server has read all of them
	close(gate.open)
	first()
	rest()
	// The disk has room again, and still nothing follows what is missing.
	ana.talk(line{"u/bob/text", "5", true, 0x97})()
	again := ana.talk(
		line{"u/bob/text", "1", false, 0},
		line{"u/bob/text", "2", true, 0},
		line{"u/bob/json", `{"text":"3","id":"three"}`, true, 0},
		line{"u/bob/json", `{"text":"3","id":"three"}`, true, 0}, // stored already
		line{"u/bob/json", `{"text":"other","id":"three"}`, true, 0x83},
		line{"u/bob/text", "4", true, 0},
	)
	again()
	if got := bob.heard(4); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("bob got %q", got)
	}
}

// A user's rate refuses in the reader, long before the disk: what follows is refused too, also when the rate is free again, and
// on a new connection nothing is held against anybody.
func TestThenBehindARate(t *testing.T) {
	var still atomic.Int64 // the clock of the rates stands
	still.Store(time.Now().UnixNano())
	s := serveTuned(t, func(o *broker.Options) { o.Now = func() time.Time { return time.Unix(0, still.Load()) } },
		accounts, openly, func(c *config.Config) { c.Limits.EventsPerSecond, c.Limits.Burst = 1, 1 })
	s.addUsers("ana", "bob")
	bob := s.signIn("bob")
	ok(t, bob.subscribe("c/+/text/+"))
	// Three take what there is, two of them by waiting for it; the others are told to come back.
	var crowd []*client
	for i := range 5 {
		c := s.signIn("ana", v5, device(fmt.Sprint("crowd ", i)))
		c.put(mqttc.Publish{Topic: "ana/x", QoS: 1, ID: 1})
		crowd = append(crowd, c)
	}
	codes := make(map[byte]int)
	for _, c := range crowd {
		codes[c.await(mqttc.PUBACK).Code]++
	}
	if codes[0x97] != 2 {
		t.Fatalf("the crowd is answered %v", codes)
	}
	ana := s.signIn("ana", v5, keep)
	ana.talk(
		line{"u/bob/text", "1", false, 0x97}, line{"u/bob/text", "2", true, 0x97}, line{"u/bob/text", "3", true, 0x97},
	)()
	cfg := s.Config
	cfg.Limits.EventsPerSecond = 0
	if _, _, err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	p := mqttc.Publish{Topic: "u/bob/text", Payload: []byte("2"), QoS: 1, Props: then()}
	ack := ana.publishWith(p)
	if reason, _ := ack.Props.String(mqttc.PropReason); ack.Code != 0x97 || !strings.HasPrefix(reason, "rate-limited: a message before it") {
		t.Errorf("what follows is answered 0x%02X %q", ack.Code, reason)
	}
	ana.talk(line{"u/bob/text", "1", false, 0}, line{"u/bob/text", "2", true, 0})()
	ana.talk(line{"u/bob/text", "3", true, 0})()
	ana.leave()
	ana = s.signIn("ana", v5, keep)
	ana.talk(line{"u/bob/text", "4", true, 0})()
	if got := bob.heard(4); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("bob got %q", got)
	}
}

// moody is an embedder's hook that refuses what it is told to.
type moody struct{ mqtt.HookBase }

func (*moody) ID() string           { return "moody" }
func (*moody) Provides(b byte) bool { return b == mqtt.OnPublish }
func (*moody) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	switch string(pk.Payload) {
	case "later":
		return pk, packets.ErrQuotaExceeded
	case "never":
		return pk, packets.ErrNotAuthorized
	case "mine":
		return pk, packets.CodeSuccessIgnore
	}
	return pk, nil
}

// Who decides about a post before petrel does takes part too. What is refused for good is passed over, in both directions.
func TestThenBehindAHook(t *testing.T) {
	s := serveTuned(t, func(o *broker.Options) { o.Hooks = []mqtt.Hook{&moody{}} })
	s.know("bob", "cas")
	ana, bob := s.dial("ana", v5), s.dial("bob")
	ok(t, bob.subscribe("c/+/text/+"))
	const to = "u/bob/text"
	ana.talk(
		line{to, "1", true, 0}, // nothing is before it
		line{to, "never", true, 0x87},
		line{to, "2", true, 0},
		line{to, "mine", true, 0},
		line{to, "later", true, 0x97},
		line{"u/cas/text", "elsewhere", true, 0},
		line{to, "x", true, 0x97},
		line{to, "never", true, 0x87},
		line{to, "x", true, 0x97},
		line{"public/x", "plain", true, 0},
		line{"c/ana~bob/read", "1", true, 0}, // no post: none of it
		line{to, "x", true, 0x97},
		line{to, "3", false, 0},
		line{to, "4", true, 0},
		line{to, "later", false, 0x97},
		line{to, "never", false, 0x87}, // stands for itself, whatever becomes of it
		line{to, "5", true, 0},
	)()
	if got := bob.heard(5); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
		t.Errorf("bob got %q", got)
	}
}

// At QoS 2 it is the same, at QoS 0 the property says nothing: nobody could send it again. A value is refused.
func TestThenAtEveryQoS(t *testing.T) {
	s := serveTuned(t, func(o *broker.Options) { o.Hooks = []mqtt.Hook{&moody{}} })
	s.know("bob")
	ana, bob := s.dial("ana", v5), s.dial("bob")
	ok(t, bob.subscribe("c/+/text/+"))
	const to = "u/bob/text"
	ana.refused(0x97, to, "later")
	ana.put(mqttc.Publish{Topic: to, Payload: []byte("x"), QoS: 2, ID: 100, Props: then()})
	if rec := ana.await(mqttc.PUBREC); rec.Code != 0x97 {
		t.Errorf("PUBREC 0x%02X behind a post that was refused", rec.Code)
	}
	ana.put(mqttc.Publish{Topic: to, Payload: []byte("1"), Props: then()})
	ana.talk(line{to, "x", true, 0x97})() // the one at QoS 0 is none of the chain
	ana.put(mqttc.Publish{Topic: to, Payload: []byte("2"), QoS: 2, ID: 101})
	if rec := ana.await(mqttc.PUBREC); rec.Code != 0 {
		t.Errorf("PUBREC 0x%02X", rec.Code)
	}
	ana.answer(mqttc.PUBREL, 101)
	ana.await(mqttc.PUBCOMP)
	ana.talk(line{to, "3", true, 0})()
	p := mqttc.Publish{Topic: to, Payload: []byte("x"), QoS: 1, Props: mqttc.AppendUserProperty(nil, "then", "maybe")}
	if ack := ana.publishWith(p); ack.Code != 0x99 {
		t.Errorf("a value is answered 0x%02X", ack.Code)
	}
	if got := bob.heard(3); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("bob got %q", got)
	}
}
