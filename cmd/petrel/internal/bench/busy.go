package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

const (
	busyInterval  = 500 * time.Millisecond // between two posts
	busyReactions = 5                      // for each post
	busyTyping    = 4                      // every so many members type after a post
)

// busy is one sender to a large group that is online: first its members only read, then they also tell what they
// have read, type and react.
func (r *runner) busy(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	if !s.petrel {
		return conversationsOnly(), nil
	}
	g := &busyGroup{latency: make([]*busyLatency, r.opt.Busy-1)}
	for i := range g.latency {
		g.latency[i] = new(busyLatency)
	}
	filters := []mqttc.Filter{{Topic: "c/busy/json", QoS: 1}, {Topic: "c/busy/typing/+"}, {Topic: "c/busy/receipts"}}
	err := r.gather(cr, s, "busy", len(g.latency), filters, func(c *client, i int) error { return g.member(r.clock, c, i) })
	if err != nil {
		return res, err
	}
	out, err := r.dialSender(cr, s, 0)
	if err != nil {
		return res, err
	}
	var ack [2]histogram
	phase := 0
	snd := newSender(out, r.clock, 0, 64, func(sent, now int64) {
		if g.measured.Load() {
			ack[phase].add(now - sent)
		}
	})
	for phase = range ack {
		g.active.Store(phase == 1)
		for _, part := range []struct {
			d        time.Duration
			measured bool
		}{{r.opt.Warmup, false}, {r.opt.Duration, true}} {
			g.phase.Store(int32(phase))
			g.measured.Store(part.measured)
			if err := g.post(cr, r.clock, snd, part.d); err != nil {
				return res, err
			}
		}
	}
	g.measured.Store(false)
	cr.cancel(errDone)
	cr.wg.Wait() // the members' numbers are theirs until they have ended
	var got [2]histogram
	for _, l := range g.latency {
		got[0].merge(&l[0])
		got[1].merge(&l[1])
	}
	if got[0].n == 0 || got[1].n == 0 || g.heard.Load() == 0 {
		return res, errors.New("nobody got a post, or nobody a reaction: the bench measured nothing")
	}
	res.add("members", "", float64(r.opt.Busy))
	res.add("other events heard", "", float64(g.heard.Load()))
	for i, name := range []string{"quiet", "busy"} {
		res.latency(name+" receiver", &got[i])
		res.latency(name+" PUBACK", &ack[i])
	}
	res.add("receiver p50, busy ÷ quiet", "", float64(got[1].quantile(.5))/float64(got[0].quantile(.5)))
	res.add("PUBACK p50, busy ÷ quiet", "", float64(ack[1].quantile(.5))/float64(ack[0].quantile(.5)))
	return res, nil
}

// gather makes a group of the first sender's and n others, who are online and subscribed before anything is said.
func (r *runner) gather(cr *crew, s *server, id string, n int, filters []mqttc.Filter, member func(c *client, i int) error) error {
	clients, names := make([]*client, n), make([]string, n)
	err := cr.each(n, 64, func(i int) (err error) {
		names[i] = deviceName(i)
		o := s.options(names[i], names[i])
		o.CleanStart, o.LocalAddr, o.ReadBuffer = true, s.source(i), 1024
		if clients[i], err = cr.dial(s, o); err != nil {
			err = fmt.Errorf("member %d: %w", i, err)
		}
		return err
	})
	if err != nil {
		return err
	}
	a, err := cr.asking(s, senderName(0), "founder")
	if err != nil {
		return err
	}
	if _, err := a.ask("group.create", createParams(id, names), nil); err != nil {
		return err
	}
	a.c.drop()
	return cr.each(n, 64, func(i int) error {
		err := clients[i].subscribe(filters...)
		if err == nil {
			cr.run(func() error { return member(clients[i], i) })
		}
		return err
	})
}

// busyLatency is what one member measured in both phases.
type busyLatency [2]histogram

// busyGroup is what the members know in common.
type busyGroup struct {
	active, measured atomic.Bool
	phase            atomic.Int32
	heard            atomic.Int64 // reactions, signs of typing and receipts
	latency          []*busyLatency
}

// post sends at an even pace and waits for each PUBACK.
func (g *busyGroup) post(cr *crew, clk clock, snd *sender, d time.Duration) error {
	for end := clk.now() + int64(d); clk.now() < end; {
		began := clk.now()
		if err := snd.publish("c/busy/text", snd.count, began, false); err != nil {
			return err
		}
		if err := snd.c.Flush(); err != nil {
			return err
		}
		for snd.inFlight.Load() > 0 {
			if err := snd.acks(); err != nil {
				return err
			}
		}
		if err := cr.sleep(time.Duration(began + int64(busyInterval) - clk.now())); err != nil {
			return err
		}
	}
	return nil
}

// member reads, and does what members do when a post comes.
func (g *busyGroup) member(clk clock, c *client, i int) error {
	me := g.latency[i]
	n := 0
	var reacted bool
	for {
		p, err := c.ReadPacket()
		if err != nil {
			return err
		}
		if p.Type == mqttc.PUBLISH {
			if p.QoS == 1 {
				if err := c.WriteAck(mqttc.PUBACK, p.ID, 0); err != nil {
					return err
				}
			}
			if st, seq, ok := postOf(p.Payload); !ok {
				g.heard.Add(1)
			} else {
				if g.measured.Load() {
					me[g.phase.Load()].add(clk.now() - st.sent)
				}
				n++
				if g.active.Load() {
					if err := g.act(c, i, n, seq, &reacted); err != nil {
						return err
					}
				}
			}
		}
		if !c.Ready() {
			if err := c.Flush(); err != nil {
				return err
			}
		}
	}
}

// act is what member i does about their n-th post: all read it, some type, a few react.
func (g *busyGroup) act(c *client, i, n int, seq string, reacted *bool) error {
	if err := c.WritePublish(mqttc.Publish{Topic: "c/busy/read", Payload: []byte(seq)}); err != nil {
		return err
	}
	if (i+n)%busyTyping == 0 {
		if err := c.WritePublish(mqttc.Publish{Topic: "c/busy/typing", Payload: []byte("1")}); err != nil {
			return err
		}
	}
	if turns := max(1, len(g.latency)/busyReactions); i%turns != n%turns {
		return nil
	}
	return c.WritePublish(mqttc.Publish{Topic: "c/busy/json", Payload: []byte(`{"kind":"react","emoji":"👍","re":` + seq + `}`)})
}

// postOf finds the stamp and the seq in a post of the bench's sender, as JSON; ok is false for other events.
func postOf(payload []byte) (st stamp, seq string, ok bool) {
	_, text, ok := bytes.Cut(payload, []byte(`"text":"`))
	if !ok {
		return st, "", false
	}
	if st, ok = readStamp(text); !ok {
		return st, "", false
	}
	_, rest, _ := bytes.Cut(payload, []byte(`"seq":`))
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseUint(string(rest[:digits]), 10, 64)
	return st, strconv.FormatUint(n, 10), err == nil
}

// receipts is a group that is online and reads every post at once: what that costs its sender.
func (r *runner) receipts(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	if !s.petrel {
		return conversationsOnly(), nil
	}
	n := r.opt.Group - 1 // and the sender
	g := new(busyGroup)
	err := r.gather(cr, s, "busy", n, []mqttc.Filter{{Topic: "c/busy/json", QoS: 1}}, func(c *client, _ int) error { return g.reader(c) })
	if err != nil {
		return res, err
	}
	o := s.options(senderName(0), "receipts")
	o.CleanStart = true
	ear, err := cr.dial(s, o)
	if err != nil {
		return res, err
	}
	if err := ear.subscribe(mqttc.Filter{Topic: "c/busy/receipts"}); err != nil {
		return res, err
	}
	var told, size, read atomic.Int64
	cr.run(func() error {
		for {
			p, err := ear.ReadPacket()
			if err != nil {
				return err
			}
			if p.Type != mqttc.PUBLISH {
				continue
			}
			if g.measured.Load() {
				told.Add(1)
				size.Add(int64(p.Size))
			}
			if _, rest, ok := bytes.Cut(p.Payload, []byte(`"read":`)); ok {
				digits, _, _ := bytes.Cut(rest, []byte(","))
				k, _ := strconv.ParseInt(string(digits), 10, 64)
				read.Store(max(read.Load(), k))
			}
		}
	})
	out, err := r.dialSender(cr, s, 0)
	if err != nil {
		return res, err
	}
	var ack histogram
	snd := newSender(out, r.clock, 0, 64, func(sent, now int64) { ack.add(now - sent) })
	g.measured.Store(true)
	began := r.clock.now()
	if err := g.post(cr, r.clock, snd, r.opt.Duration); err != nil {
		return res, err
	}
	if err := cr.sleep(r.opt.Warmup + 3*time.Second); err != nil { // the last readers' counts
		return res, err
	}
	g.measured.Store(false)
	seconds := time.Duration(r.clock.now() - began).Seconds()
	if read.Load() < int64(n)*9/10 {
		return res, fmt.Errorf("the sender learnt of %d readers of %d", read.Load(), n)
	}
	res.add("members", "", float64(n))
	res.add("posts", "", float64(snd.count))
	res.add("receipts/s at the sender", "", float64(told.Load())/seconds)
	res.add("bytes/s of receipts", "B", float64(size.Load())/seconds)
	res.latency("PUBACK", &ack)
	return res, nil
}

// reader acknowledges and reads all posts.
func (g *busyGroup) reader(c *client) error {
	for {
		p, err := c.ReadPacket()
		if err != nil {
			return err
		}
		if p.Type == mqttc.PUBLISH {
			if err := c.WriteAck(mqttc.PUBACK, p.ID, 0); err != nil {
				return err
			}
			if _, seq, ok := postOf(p.Payload); ok {
				if err := c.WritePublish(mqttc.Publish{Topic: "c/busy/read", Payload: []byte(seq)}); err != nil {
					return err
				}
			}
		}
		if !c.Ready() {
			if err := c.Flush(); err != nil {
				return err
			}
		}
	}
}
