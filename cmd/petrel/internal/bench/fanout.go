package bench

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// fanout is one sender to a group of online members at QoS 1. A message leaves the window when
// the last member has it: that bounds the server's backlog and makes the number a rate that can be kept
// up.
func (r *runner) fanout(ctx context.Context, s *server, size int) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	n := r.opt.Members
	topic, filter := s.group()
	members := make([]*client, n)
	err := cr.each(n, 16, func(i int) error {
		o := s.options(deviceName(i), deviceName(i))
		o.CleanStart = true
		c, err := cr.dial(s, o)
		if err == nil {
			members[i] = c
			err = c.subscribe(mqttc.Filter{Topic: filter, QoS: 1})
		}
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("members: %w", err)
	}
	out, err := r.dialSender(cr, s, 0)
	if err != nil {
		return Result{}, err
	}

	win := r.measuring()
	load := watch(cr, r.clock, s, win)
	latency, received := make([]histogram, n), make([]uint64, n)
	credits := make(chan struct{}, r.opt.FanoutWindow)
	pending := make([]atomic.Int64, r.opt.FanoutWindow*4) // members that do not have message k yet, by k
	delivered := func(k uint64) {
		if pending[k%uint64(len(pending))].Add(-1) == 0 {
			credits <- struct{}{}
		}
	}
	deadline := r.opt.Warmup + r.opt.Duration
	ps := pairSet{}
	for i, c := range members {
		rcv := newReceiver(c, r.clock, []int{0}, func(st stamp, now int64) {
			if win.has(st.sent) {
				latency[i].add(now - st.sent)
			}
			if win.has(now) {
				received[i]++
			}
			delivered(st.count)
		})
		ps.receivers = append(ps.receivers, rcv)
		cr.run(func() error { return rcv.receive(func(st stamp) bool { return st.last }) })
	}
	ps.deadline(deadline)
	var ack histogram
	snd := newSender(out, r.clock, 0, size, func(sent, now int64) {
		if win.has(sent) {
			ack.add(now - sent)
		}
	})
	for range r.opt.FanoutWindow {
		credits <- struct{}{}
	}
	cr.run(snd.openAcks)
	cr.run(func() error { return r.fan(cr, snd, topic, credits, pending, n, win.to) })
	if err := cr.wait(); err != nil {
		return Result{}, err
	}
	var lat histogram
	var total uint64
	for i := range members {
		lat.merge(&latency[i])
		total += received[i]
	}
	var res Result
	res.add("deliveries/s", "", float64(total)/win.seconds())
	res.latency("receiver", &lat)
	res.latency("PUBACK", &ack)
	load.report(&res)
	return res, nil
}

// fan sends a message for each credit until the end.
func (r *runner) fan(cr *crew, snd *sender, topic string, credits chan struct{}, pending []atomic.Int64, members int, end int64) error {
	for k := uint64(0); ; k++ {
		select {
		case <-credits:
		default:
			if err := snd.c.Flush(); err != nil {
				return err
			}
			select {
			case <-credits:
			case <-cr.ctx.Done():
				return context.Cause(cr.ctx)
			}
		}
		now := r.clock.now()
		last := now >= end
		pending[k%uint64(len(pending))].Store(int64(members))
		if err := snd.publish(topic, k, now, last); err != nil {
			return err
		}
		if last {
			return snd.c.Flush()
		}
	}
}
