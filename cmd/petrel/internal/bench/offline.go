package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// offlineLoad is messages for sessions that are away.
type offlineLoad struct {
	sessions int
	messages int  // in all, sent by the options' pairs of senders
	group    bool // each message is for every session instead of for one
}

// shared tells that a session hears every sender, not only its own.
func (l offlineLoad) shared() bool { return l.group || l.sessions == 1 }

// offline lets sessions go away, fills them, and lets all come back at once.
func (r *runner) offline(ctx context.Context, s *server, l offlineLoad) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	if err := r.park(cr, s, l); err != nil {
		return Result{}, fmt.Errorf("setting up sessions: %w", err)
	}
	if err := cr.sleep(r.opt.Warmup); err != nil {
		return Result{}, err
	}
	var res Result
	before := usageOf(s.pid)
	fill, err := r.fill(ctx, s, l)
	if err != nil {
		return res, fmt.Errorf("fill: %w", err)
	}
	if err := cr.sleep(r.opt.Warmup); err != nil {
		return res, err
	}
	after := usageOf(s.pid)
	if fill.sent < uint64(l.messages) {
		res.note("%s: --limit %s ended the fill at %d of %d messages", s.name, r.opt.Limit, fill.sent, l.messages)
	}
	res.add("fill msg/s", "", float64(fill.sent)/fill.took.Seconds())
	res.latency("PUBACK", &fill.puback)
	if s.pid > 0 {
		res.add("RSS growth", "MB", float64(after.rss-before.rss)/1e6)
		res.add("RSS growth per message", "bytes", float64(after.rss-before.rss)/float64(fill.sent))
	}
	d, err := r.drain(ctx, s, l, fill)
	if err != nil {
		return res, fmt.Errorf("drain: %w", err)
	}
	res.add("drain msg/s", "", float64(d.messages)/d.took.Seconds())
	res.add("first message p50", "ms", float64(d.first.quantile(0.5))/1e6)
	res.add("first message max", "ms", float64(d.first.top)/1e6)
	if s.pid > 0 {
		res.add("drain CPU", "cores", (usageOf(s.pid).cpu-after.cpu).Seconds()/d.took.Seconds())
		res.add("RSS after drain", "MB", float64(usageOf(s.pid).rss)/1e6)
	}
	return res, nil
}

// park creates the sessions, each with its subscription, and disconnects them.
func (r *runner) park(cr *crew, s *server, l offlineLoad) error {
	return cr.each(l.sessions, 16, func(i int) error {
		c, err := cr.dial(s, s.persistent(s.options(deviceName(i), deviceName(i))))
		if err != nil {
			return err
		}
		if err := c.subscribe(mqttc.Filter{Topic: l.filter(s, i), QoS: 1}); err != nil {
			return err
		}
		return c.leave()
	})
}

func (l offlineLoad) filter(s *server, i int) string {
	if l.group {
		_, f := s.group()
		return f
	}
	_, f := s.inbox(i)
	return f
}

// filled is what a fill has done.
type filled struct {
	sent     uint64
	perSess  []uint64 // messages that wait for each session
	bySender []uint64
	took     time.Duration
	puback   histogram
}

// fill sends with all senders, window by window. Sender k serves the sessions k, k+senders, …, so
// that each session's messages have one order; a shared load has one order for each sender.
func (r *runner) fill(ctx context.Context, s *server, l offlineLoad) (*filled, error) {
	cr := newCrew(ctx)
	defer cr.close()
	senders := r.senders(l)
	f := &filled{perSess: make([]uint64, l.sessions), bySender: make([]uint64, senders)}
	acks := make([]histogram, senders)
	all := make([]*sender, senders)
	for k := range all {
		c, err := r.dialSender(cr, s, k)
		if err != nil {
			return nil, err
		}
		all[k] = newSender(c, r.clock, k, 64, func(sent, now int64) { acks[k].add(now - sent) })
	}
	start := r.clock.now()
	limit := start + int64(r.opt.Limit)
	for k, snd := range all {
		quota := uint64(l.messages / senders)
		if k < l.messages%senders {
			quota++
		}
		next := r.router(s, l, f, snd, k, senders)
		cr.run(func() error {
			return snd.closed(r.opt.Window, next, func(now int64) bool { return snd.count+1 < quota && now < limit })
		})
	}
	if err := cr.wait(); err != nil {
		return nil, err
	}
	f.took = time.Duration(r.clock.now() - start)
	for k, snd := range all {
		f.sent += snd.count
		f.bySender[k] = snd.count
		f.puback.merge(&acks[k])
	}
	return f, nil
}

// senders is how many fill: never more than there are messages, or sessions to serve.
func (r *runner) senders(l offlineLoad) int {
	n := min(r.opt.Pairs, l.messages)
	if !l.shared() {
		n = min(n, l.sessions)
	}
	return n
}

// router returns where sender k's next message goes, and its counter there.
func (r *runner) router(s *server, l offlineLoad, f *filled, snd *sender, k, senders int) func() (string, uint64) {
	if l.shared() {
		topic, _ := s.inbox(0)
		if l.group {
			topic, _ = s.group()
		}
		return func() (string, uint64) { return topic, snd.count }
	}
	var topics []string
	for j := k; j < l.sessions; j += senders {
		topic, _ := s.inbox(j)
		topics = append(topics, topic)
	}
	turn := 0
	return func() (string, uint64) {
		i := turn % len(topics)
		turn++
		session := k + i*senders
		n := f.perSess[session]
		f.perSess[session]++
		return topics[i], n
	}
}

// drained is what a drain has done.
type drained struct {
	messages uint64
	took     time.Duration
	first    histogram // from dialling to the first message, per session
}

// drain reconnects every session at once and reads until each has all that waits for it.
func (r *runner) drain(ctx context.Context, s *server, l offlineLoad, f *filled) (*drained, error) {
	cr := newCrew(ctx)
	defer cr.close()
	d := &drained{}
	senders := len(f.bySender)
	firsts := make([]int64, l.sessions)
	start := r.clock.now()
	for j := range l.sessions {
		expect, streams := f.perSess[j], []int{j % senders}
		if l.shared() {
			expect, streams = f.sent, streams[:0]
			for k := range senders {
				streams = append(streams, k)
			}
		}
		d.messages += expect
		if expect > 0 {
			cr.run(func() error { return r.drainOne(cr, s, j, expect, streams, &firsts[j]) })
		}
	}
	if err := cr.wait(); err != nil {
		return nil, err
	}
	d.took = time.Duration(r.clock.now() - start)
	for _, t := range firsts {
		if t > 0 {
			d.first.add(t)
		}
	}
	return d, nil
}

func (r *runner) drainOne(cr *crew, s *server, j int, expect uint64, streams []int, first *int64) error {
	begin := r.clock.now()
	c, err := cr.dial(s, s.persistent(s.options(deviceName(j), deviceName(j))))
	if err != nil {
		return err
	}
	if !c.ack.SessionPresent {
		return fmt.Errorf("session %d is gone: CONNACK says that none is present", j)
	}
	var n uint64
	rcv := newReceiver(c, r.clock, streams, func(_ stamp, now int64) {
		if n++; n == 1 {
			*first = now - begin
		}
		if n%1024 == 1 {
			c.SetReadDeadline(time.Now().Add(settle)) // progress buys time
		}
	})
	c.SetReadDeadline(time.Now().Add(settle))
	if err := rcv.receive(func(stamp) bool { return n == expect }); err != nil {
		return fmt.Errorf("session %d, %d of %d messages: %w", j, n, expect, err)
	}
	return c.leave()
}
