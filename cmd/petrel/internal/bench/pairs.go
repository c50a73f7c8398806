package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// pairLoad is N senders, each to a receiver of its own, QoS 1 in and out.
type pairLoad struct {
	size  int
	rate  int  // messages per second in all; 0: closed loop with the window of the options
	plain bool // plain topics on petrel too
}

// window is the measured part of a load, in the run's clock.
type window struct{ from, to int64 }

func (w window) has(t int64) bool { return t >= w.from && t < w.to }

func (w window) seconds() float64 { return time.Duration(w.to - w.from).Seconds() }

// measuring begins after the warm-up.
func (r *runner) measuring() window {
	from := r.clock.now() + int64(r.opt.Warmup)
	return window{from, from + int64(r.opt.Duration)}
}

// pairSet is the connected pairs with their measurements, one of each per goroutine.
type pairSet struct {
	senders   []*sender
	receivers []*receiver
	topics    []string
	latency   []histogram // to the receiver
	puback    []histogram
	received  []uint64 // in the window
}

// connectPairs connects and subscribes; nothing is sent yet. win may be filled in later, before the
// load starts.
func (r *runner) connectPairs(cr *crew, s *server, l pairLoad, win *window) (*pairSet, error) {
	n := r.opt.Pairs
	ps := &pairSet{latency: make([]histogram, n), puback: make([]histogram, n), received: make([]uint64, n)}
	for i := range n {
		topic, filter := s.pair(i, l.plain)
		o := s.options(receiverName(i), receiverName(i))
		o.CleanStart = true
		in, err := cr.dial(s, o)
		if err != nil {
			return nil, fmt.Errorf("receiver %d: %w", i, err)
		}
		if err := in.subscribe(mqttc.Filter{Topic: filter, QoS: 1}); err != nil {
			return nil, fmt.Errorf("receiver %d: %w", i, err)
		}
		out, err := r.dialSender(cr, s, i)
		if err != nil {
			return nil, err
		}
		ps.topics = append(ps.topics, topic)
		ps.senders = append(ps.senders, newSender(out, r.clock, i, l.size, func(sent, now int64) {
			if win.has(sent) {
				ps.puback[i].add(now - sent)
			}
		}))
		ps.receivers = append(ps.receivers, newReceiver(in, r.clock, []int{i}, func(st stamp, now int64) {
			if win.has(st.sent) {
				ps.latency[i].add(now - st.sent)
			}
			if win.has(now) {
				ps.received[i]++
			}
		}))
	}
	return ps, nil
}

// start sets the pairs going until more reports false.
func (ps *pairSet) start(cr *crew, r *runner, rate int, more func(now int64) bool) {
	first := r.clock.now()
	for i, snd := range ps.senders {
		rcv, topic := ps.receivers[i], ps.topics[i]
		cr.run(func() error { return rcv.receive(func(st stamp) bool { return st.last }) })
		if rate == 0 {
			cr.run(func() error {
				return snd.closed(r.opt.Window, func() (string, uint64) { return topic, snd.count }, more)
			})
			continue
		}
		interval := int64(time.Second) * int64(len(ps.senders)) / int64(rate)
		begin := first + interval*int64(i)/int64(len(ps.senders)) // spread evenly
		cr.run(func() error { return snd.open(cr, topic, begin, interval, more) })
		cr.run(snd.openAcks)
	}
}

// deadline makes receivers give up when the last message doesn't come.
func (ps *pairSet) deadline(after time.Duration) {
	for _, rcv := range ps.receivers {
		rcv.c.SetReadDeadline(time.Now().Add(after + settle))
	}
}

func (r *runner) pairs(ctx context.Context, s *server, l pairLoad) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var win window
	ps, err := r.connectPairs(cr, s, l, &win)
	if err != nil {
		return Result{}, err
	}
	win = r.measuring()
	ps.deadline(r.opt.Warmup + r.opt.Duration)
	load := watch(cr, r.clock, s, win)
	ps.start(cr, r, l.rate, func(now int64) bool { return now < win.to })
	if err := cr.wait(); err != nil {
		return Result{}, err
	}
	var res Result
	var lat, ack histogram
	var n uint64
	for i := range ps.senders {
		lat.merge(&ps.latency[i])
		ack.merge(&ps.puback[i])
		n += ps.received[i]
	}
	res.add("msg/s", "", float64(n)/win.seconds())
	res.latency("receiver", &lat)
	res.latency("PUBACK", &ack)
	load.report(&res)
	return res, nil
}

// serverLoad is what a server used within a window.
type serverLoad struct {
	before, after, self0, self1 usage
	busy0, busy1                time.Duration
	window                      window
	known                       bool
}

// watch samples the server, and this process, at both ends of the window; read it after the crew's wait.
func watch(cr *crew, clk clock, s *server, win window) *serverLoad {
	l := &serverLoad{window: win, known: s.pid > 0}
	cr.run(func() error {
		if err := cr.sleep(clk.until(win.from)); err != nil {
			return err
		}
		l.before, l.self0 = usageOf(s.pid), usageOf(selfPID())
		l.busy0 = busy()
		if err := cr.sleep(clk.until(win.to)); err != nil {
			return err
		}
		l.after, l.self1 = usageOf(s.pid), usageOf(selfPID())
		l.busy1 = busy()
		return nil
	})
	return l
}

func (l *serverLoad) report(res *Result) {
	server, self := l.after.cpu-l.before.cpu, l.self1.cpu-l.self0.cpu
	cores := func(d time.Duration) float64 { return d.Seconds() / l.window.seconds() }
	if l.known {
		res.add("server CPU", "cores", cores(server))
		res.add("server RSS", "MB", float64(l.after.rss)/1e6)
	}
	res.add("bench CPU", "cores", cores(self))
	// What neither of the two used: softirqs of the loopback, and whoever else disturbs the run.
	res.add("other CPU", "cores", cores(max(0, l.busy1-l.busy0-server-self)))
}
