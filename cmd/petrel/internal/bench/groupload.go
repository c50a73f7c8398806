package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// groupOnline is how many members of either group of group-cost are online.
const groupOnline = 50

// accounts makes users by connecting each once, and returns their names.
func (r *runner) accounts(cr *crew, s *server, n int) ([]string, error) {
	names := make([]string, n)
	err := cr.each(n, 64, func(i int) error {
		names[i] = deviceName(i)
		o := s.options(names[i], names[i])
		o.CleanStart, o.LocalAddr, o.ReadBuffer = true, s.source(i), 64
		c, err := cr.dial(s, o)
		if err != nil {
			return fmt.Errorf("user %d: %w", i, err)
		}
		return c.leave()
	})
	return names, err
}

// groupCost compares posting to a large group, most of whom are away, with posting to a small one in which
// everybody is online. They take turns.
func (r *runner) groupCost(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	if !s.petrel {
		return conversationsOnly(), nil
	}
	a, err := cr.asking(s, senderName(0), "founder")
	if err != nil {
		return res, err
	}
	names, err := r.accounts(cr, s, r.opt.Group-1)
	if err != nil {
		return res, err
	}
	online := min(groupOnline, len(names)+1) - 1 // and the sender
	for id, members := range map[string][]string{"large": names, "small": names[:online]} {
		if _, err := a.ask("group.create", createParams(id, members), nil); err != nil {
			return res, err
		}
	}
	c, err := r.dialSender(cr, s, 0)
	if err != nil {
		return res, err
	}
	if err := r.acknowledging(cr, s, names[:online]); err != nil {
		return res, err
	}
	snd := newSender(c, r.clock, 0, 64, func(_, _ int64) {})
	cost := map[string]*groupTurns{"large": {}, "small": {}}
	turn := r.opt.Duration / 8
	for i := range 10 { // the first of each warm up
		id := []string{"small", "large"}[i%2]
		if err := cost[id].turn(r, cr, s, snd, "c/"+id+"/text", turn, i >= 2); err != nil {
			return res, err
		}
	}
	large, small := cost["large"], cost["small"]
	res.add("posts/s, large", "", large.rate())
	res.add("posts/s, small", "", small.rate())
	res.add("time, large ÷ small", "", small.rate()/large.rate())
	if s.pid > 0 {
		res.add("CPU, large ÷ small", "", large.cpuEach()/small.cpuEach())
	}
	return res, nil
}

// groupTurns is what the turns of one group came to.
type groupTurns struct {
	posts   uint64
	seconds float64
	cpu     time.Duration
}

func (g *groupTurns) rate() float64    { return float64(g.posts) / g.seconds }
func (g *groupTurns) cpuEach() float64 { return g.cpu.Seconds() / float64(max(g.posts, 1)) }

// turn posts for a while in a closed loop.
func (g *groupTurns) turn(r *runner, cr *crew, s *server, snd *sender, topic string, d time.Duration, counts bool) error {
	before, began, count := usageOf(s.pid), r.clock.now(), snd.count
	end := began + int64(d)
	err := snd.closed(r.opt.Window, func() (string, uint64) { return topic, snd.count }, func(now int64) bool { return now < end })
	if err != nil {
		return err
	}
	if err := snd.c.SetReadDeadline(time.Time{}); err != nil { // closed has set one for its end
		return err
	}
	snd.sentAll.Store(false)
	if counts {
		g.posts += snd.count - count
		g.seconds += time.Duration(r.clock.now() - began).Seconds()
		g.cpu += usageOf(s.pid).cpu - before.cpu
	}
	return cr.sleep(d / 8) // what is still on its way is not the next turn's
}

// acknowledging connects members who acknowledge all that they get.
func (r *runner) acknowledging(cr *crew, s *server, users []string) error {
	return cr.each(len(users), 64, func(i int) error {
		o := s.options(users[i], users[i])
		o.CleanStart, o.LocalAddr = true, s.source(i)
		c, err := cr.dial(s, o)
		if err == nil {
			err = c.subscribe(mqttc.Filter{Topic: "c/+/text/+", QoS: 1})
		}
		if err == nil {
			cr.run(c.acknowledge)
		}
		return err
	})
}

// acknowledge reads and acknowledges until the connection ends.
func (c *client) acknowledge() error {
	for {
		p, err := c.ReadPacket()
		if err != nil {
			return err
		}
		if p.Type == mqttc.PUBLISH && p.QoS == 1 {
			if err := c.WriteAck(mqttc.PUBACK, p.ID, 0); err != nil {
				return err
			}
		}
		if !c.Ready() {
			if err := c.Flush(); err != nil {
				return err
			}
		}
	}
}
