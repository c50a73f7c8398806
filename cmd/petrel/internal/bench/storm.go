package bench

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// storm measures a steady load of pairs while every device of a crowd vanishes and reconnects as
// fast as it can.
func (r *runner) storm(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	crowd, err := r.crowd(cr, s, r.opt.Conns, true)
	if err != nil {
		return res, err
	}
	var ignored window
	ps, err := r.connectPairs(cr, s, pairLoad{size: 64}, &ignored)
	if err != nil {
		return res, err
	}
	// Phases are told apart by the time a message was sent: before from calm on, during from hit to over.
	calm := r.clock.now() + int64(r.opt.Warmup)
	var hit, over atomic.Int64
	hit.Store(math.MaxInt64)
	over.Store(math.MaxInt64)
	before, during := make([]histogram, len(ps.receivers)), make([]histogram, len(ps.receivers))
	for i, rcv := range ps.receivers {
		rcv.got = func(st stamp, now int64) {
			switch {
			case st.sent < calm || st.sent >= over.Load():
			case st.sent < hit.Load():
				before[i].add(now - st.sent)
			default:
				during[i].add(now - st.sent)
			}
		}
	}
	var stop atomic.Bool
	load := newCrew(cr.ctx)
	defer load.close()
	ps.start(load, r, r.opt.Rate, func(int64) bool { return !stop.Load() })
	if err := load.sleep(r.opt.Warmup + r.opt.Duration); err != nil {
		return res, err
	}
	hit.Store(r.clock.now())
	cpu := usageOf(s.pid)
	for _, c := range crowd {
		c.drop()
	}
	if err := r.comeBack(cr, s); err != nil {
		return res, err
	}
	over.Store(r.clock.now())
	took := time.Duration(over.Load() - hit.Load())
	used := usageOf(s.pid).cpu - cpu.cpu
	stop.Store(true)
	ps.deadline(0)
	if err := load.wait(); err != nil {
		return res, err
	}
	var b, d histogram
	for i := range before {
		b.merge(&before[i])
		d.merge(&during[i])
	}
	if d.n == 0 {
		return res, fmt.Errorf("the storm was over in %s, before any message came: use more --conns", took)
	}
	res.add("reconnects/s", "", float64(r.opt.Conns)/took.Seconds())
	res.latency("before", &b)
	res.latency("during", &d)
	res.add("p50 during ÷ before", "", float64(d.quantile(0.5))/float64(b.quantile(0.5)))
	res.add("p99 during ÷ before", "", float64(d.quantile(0.99))/float64(b.quantile(0.99)))
	if s.pid > 0 {
		res.add("server CPU", "cores", used.Seconds()/took.Seconds())
	}
	return res, nil
}

// comeBack reconnects the whole crowd, as many at a time as keep the server busy without queueing in this
// process in front of the load that is measured.
func (r *runner) comeBack(cr *crew, s *server) error {
	return cr.each(r.opt.Conns, 32, func(i int) error {
		o := s.persistent(s.options(deviceName(i), deviceName(i)))
		o.LocalAddr, o.ReadBuffer = s.source(i), 64
		c, err := cr.dial(s, o)
		if err != nil {
			return fmt.Errorf("device %d: %w", i, err)
		}
		if !c.ack.SessionPresent {
			return fmt.Errorf("device %d: its session is gone", i)
		}
		return nil
	})
}
