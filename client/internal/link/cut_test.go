package link_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/internal/faultproxy"
	"github.com/petrelchat/petrel/internal/servertest"
)

// talker sends what has to be sent until all of it is answered, over however many connections it takes, and
// collects what it gets: the least that a client with an outbox does.
type talker struct {
	*device
	user     string
	outbox   []string // JSON events with an id, in order
	texts    []string
	acked    int
	answers  int // of publishes in all
	accepted int
}

// converse runs until the outbox is empty and all of it has come back.
func (k *talker) converse() error {
	subscribed := false
	answer := make(chan result, 1)
	codes := make(chan error, 1)
	busy, up := false, false
	var last uint64
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for k.acked < len(k.outbox) || len(k.texts) < len(k.outbox) {
		if up && !busy && !subscribed {
			err := k.SubscribeFunc([]link.Filter{{Topic: "c/+/json", QoS: 1}}, nil, func(_ []byte, err error) { codes <- err })
			busy = err == nil
		} else if up && !busy && k.acked < len(k.outbox) {
			err := k.Publish(link.Publish{Topic: "u/bob/json", Payload: []byte(k.outbox[k.acked]), QoS: 1}, func(a link.Ack, err error) { answer <- result{a, err} })
			if busy = err == nil; busy {
				k.accepted++
			}
		}
		select {
		case err := <-codes:
			busy = false
			subscribed = err == nil
		case r := <-answer:
			busy = false
			k.answers++
			if r.err == nil {
				if r.ack.Code >= 0x80 {
					return r.ack.Refusal()
				}
				k.acked++
			} else if !errors.Is(r.err, link.ErrLost) && !errors.Is(r.err, link.ErrDown) {
				return r.err
			}
		case e := <-k.events:
			switch e.what {
			case "up":
				up = true
				subscribed = subscribed && e.session.Present
			case "down":
				up = false
			case "message":
				var m struct {
					Seq  uint64
					Text string
				}
				if err := json.Unmarshal(e.message.Payload, &m); err != nil {
					return err
				}
				e.message.Ack()
				if m.Seq > last { // else it comes again: its PUBACK was lost
					last = m.Seq
					k.texts = append(k.texts, m.Text)
				}
			}
		case <-deadline.C:
			return fmt.Errorf("no end: %d of %d acknowledged, %d came back", k.acked, len(k.outbox), len(k.texts))
		}
	}
	return nil
}

// meet makes an account: on a dev server whoever logs in has one.
func (s *server) meet(user string) {
	s.t.Helper()
	d := open(s.t, s.at("mqtt", "mqtt"), user)
	d.next("up")
	d.close()
}

// talk lets a user post some messages to bob through a proxy.
func talk(t *testing.T, user string, d *device, n int) *talker {
	t.Helper()
	k := &talker{device: d, user: user}
	for i := range n {
		k.outbox = append(k.outbox, fmt.Sprintf(`{"id":"%d","text":"%s %d"}`, i, user, i))
	}
	if err := k.converse(); err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	if k.answers != k.accepted {
		t.Fatalf("%s: %d answers to %d publishes", user, k.answers, k.accepted)
	}
	for i, text := range k.texts {
		if text != fmt.Sprint(user, " ", i) {
			t.Fatalf("%s got %q", user, k.texts)
		}
	}
	return k
}

// check asserts that the log has each message once.
func (k *talker) check() {
	k.t.Helper()
	reply := k.server(`{"limit":500,"conv":"bob~` + k.user + `"}`)
	if got := strings.Count(reply, `"text"`); got != len(k.outbox) || !strings.Contains(reply, fmt.Sprintf(`"head":%d,`, got)) {
		k.t.Fatalf("%s: %d events of %d: %.400s", k.user, got, len(k.outbox), reply)
	}
}

// server asks for a history over the connection that there is.
func (k *talker) server(req string) string {
	k.t.Helper()
	for {
		if _, err := k.Subscribe(servertest.Soon(k.t), []link.Filter{{Topic: "u/" + k.user + "/rpc"}}); err == nil {
			if reply, err := k.Call(servertest.Soon(k.t), "history", []byte(req)); err == nil {
				return string(reply)
			}
		}
		k.next("up") // was it cut?
	}
}

// TestCutAtEveryByte cuts a short conversation after each byte of either direction. Everything arrives once and in
// order all the same.
func TestCutAtEveryByte(t *testing.T) {
	s := serve(t)
	s.meet("bob")
	step := int64(7) // short form
	if os.Getenv("PETREL_LONG") != "" {
		step = 1
	}
	for _, up := range []bool{true, false} {
		var workers sync.WaitGroup
		for w := range int64(4) {
			workers.Go(func() {
				for n := w * step; ; n += 4 * step {
					p, at := s.between()
					f := faultproxy.Faults{CutUp: faultproxy.After(n)}
					if !up {
						f = faultproxy.Faults{CutDown: faultproxy.After(n)}
					}
					p.Next(f)
					user := fmt.Sprintf("d%05d", n)
					if up {
						user = fmt.Sprintf("u%05d", n)
					}
					d := open(t, at, user)
					talk(t, user, d, 2).check()
					d.close()
					stats := p.Stats()
					p.Close()
					if stats.Accepted == 1 {
						if n < 150 {
							t.Errorf("byte %d of a conversation was never reached", n)
						}
						return // the conversation is shorter than that
					}
					if t.Failed() {
						return
					}
				}
			})
		}
		workers.Wait()
	}
}

// TestManyReconnects: connections are reset at random while messages go both ways.
func TestManyReconnects(t *testing.T) {
	s := serve(t)
	s.meet("bob")
	p, at := s.between()
	ctx, stop := context.WithCancel(t.Context())
	var cutter sync.WaitGroup
	cutter.Go(func() {
		dice := rand.New(rand.NewPCG(1, 2))
		for seen := int64(0); ; {
			seen += 300 + dice.Int64N(4000)
			if p.Wait(ctx, func(s faultproxy.Stats) bool { return s.Up+s.Down >= seen }) != nil {
				return
			}
			switch dice.IntN(4) {
			case 0:
				p.Next(faultproxy.Faults{Refuse: true})
			case 1:
				p.Next(faultproxy.Faults{CutDown: faultproxy.After(dice.Int64N(200))})
			case 2:
				p.Next(faultproxy.Faults{HoleUp: faultproxy.After(60 + dice.Int64N(200))})
			}
			p.Cut()
		}
	})
	quick := func(o *link.Options) {
		o.Patience.Answer, o.Patience.Probe, o.Patience.Connect = 100*time.Millisecond, 100*time.Millisecond, time.Second
	}
	var talkers sync.WaitGroup
	var all [3]*talker
	for i := range all {
		user := fmt.Sprintf("user%d", i)
		d := open(t, at, user, quick)
		talkers.Go(func() { all[i] = talk(t, user, d, 400) })
	}
	talkers.Wait()
	stop()
	cutter.Wait()
	for _, k := range all {
		if k != nil {
			k.check()
		}
	}
	t.Logf("%+v", p.Stats())
}

// TestHole: a connection that swallows everything is noticed as soon as something is to be sent.
func TestHole(t *testing.T) {
	s := serve(t)
	s.meet("bob")
	p, at := s.between()
	ana := open(t, at, "ana", func(o *link.Options) {
		o.Patience.Answer, o.Patience.Probe = 40*time.Millisecond, 40*time.Millisecond
	})
	ana.next("up")
	p.Hole()
	if r := ana.publish("u/bob/text", "hello"); !errors.Is(r.err, link.ErrLost) {
		t.Fatalf("%+v", r)
	}
	ana.next("up")
	ana.send("u/bob/text", "hello")
}

// TestTakenOver: two programs with one device take turns slowly instead of fighting.
func TestTakenOver(t *testing.T) {
	s := serve(t)
	s.meet("bob")
	p, at := s.between()
	ana := open(t, at, "ana", func(o *link.Options) { o.Patience.BackoffMost = time.Hour })
	ana.next("up")
	if err := p.Duplicate(servertest.Soon(t)); err != nil {
		t.Fatal(err)
	}
	down := ana.next("down")
	var r *link.Refused
	if !errors.As(down.err, &r) || r.Code != 0x8E || time.Until(down.retry) < 10*time.Second {
		t.Fatalf("%v, next attempt %v", down.err, down.retry)
	}
	ana.Poke() // the user wants it here
	ana.next("up")
}

// TestServerRestarts: the session outlives the server.
func TestServerRestarts(t *testing.T) {
	s := serve(t)
	s.meet("bob")
	p, at := s.between()
	ana := open(t, at, "ana")
	ana.next("up")
	ana.subscribe("c/+/json")
	s.Stop()
	ana.next("down")
	s.Start()
	p.Target(s.Addr("mqtt"))
	if up := ana.next("up").session; !up.Present {
		t.Fatal("the session is gone")
	}
	ana.send("u/bob/text", "hello")
	if m := ana.message(); !strings.Contains(string(m.Payload), "hello") {
		t.Fatalf("%s", m.Payload)
	}
}
