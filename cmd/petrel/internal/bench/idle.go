package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// crowd connects n devices, each with one subscription at QoS 1.
func (r *runner) crowd(cr *crew, s *server, n int, persistent bool) ([]*client, error) {
	devices := make([]*client, n)
	err := cr.each(n, 64, func(i int) error {
		o := s.options(deviceName(i), deviceName(i))
		o.CleanStart, o.LocalAddr, o.ReadBuffer = true, s.source(i), 64
		if persistent {
			o = s.persistent(o)
			o.CleanStart = false
		}
		c, err := cr.dial(s, o)
		if err != nil {
			return fmt.Errorf("device %d: %w", i, err)
		}
		devices[i] = c
		_, filter := s.inbox(i)
		return c.subscribe(mqttc.Filter{Topic: filter, QoS: 1})
	})
	return devices, err
}

// idle measures what a connection costs that does nothing.
func (r *runner) idle(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	if s.pid == 0 {
		return res, errors.New("idle measures a process: name it with --pid")
	}
	n := r.opt.Conns
	before := usageOf(s.pid)
	start := time.Now()
	if _, err := r.crowd(cr, s, n, false); err != nil {
		return res, err
	}
	took := time.Since(start)
	if err := cr.sleep(r.opt.Warmup); err != nil {
		return res, err
	}
	after := usageOf(s.pid)
	res.add("per connection", "KB", float64(after.rss-before.rss)/1e3/float64(n))
	res.add("RSS", "MB", float64(after.rss)/1e6)
	res.add("connects/s", "", float64(n)/took.Seconds())
	if err := cr.sleep(r.opt.Duration); err != nil {
		return res, err
	}
	res.add("CPU at rest", "cores", (usageOf(s.pid).cpu-after.cpu).Seconds()/r.opt.Duration.Seconds())
	return res, nil
}

// settling is how long a server in Go may take to give back what making the sessions left behind: without it
// the figure says whether its collector ran in the last two seconds.
const settling = 10 * time.Second

// sessions measures what a session costs that is away, and a restart with all of them.
func (r *runner) sessions(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	before := usageOf(s.pid)
	limit := r.clock.now() + int64(r.opt.Limit)
	start := time.Now()
	made := make([]int, 64) // by worker: each makes made[w] sessions w, w+64, …
	err := cr.each(len(made), len(made), func(w int) error {
		for i := w; i < r.opt.Sessions && r.clock.now() < limit; i += len(made) {
			if err := r.leaveSession(cr, s, i); err != nil {
				return fmt.Errorf("session %d: %w", i, err)
			}
			made[w]++
		}
		return nil
	})
	if err != nil {
		return res, err
	}
	n := 0
	for _, m := range made {
		n += m
	}
	if n < r.opt.Sessions {
		res.note("%s: --limit %s ended the setup at %d of %d sessions", s.name, r.opt.Limit, n, r.opt.Sessions)
	}
	res.add("sessions", "", float64(n))
	res.add("sessions made/s", "", float64(n)/time.Since(start).Seconds())
	if err := cr.sleep(max(r.opt.Warmup, settling)); err != nil {
		return res, err
	}
	if s.pid > 0 {
		after := usageOf(s.pid)
		res.add("RSS", "MB", float64(after.rss)/1e6)
		res.add("RSS for them", "MB", float64(after.rss-before.rss)/1e6)
		res.add("per session", "KB", float64(after.rss-before.rss)/1e3/float64(n))
	}
	if s.cmd == nil {
		res.note("a server at --addr is not restarted")
		return res, nil
	}
	if err := s.stop(); err != nil {
		return res, err
	}
	took, err := s.launch(ctx)
	if err != nil {
		return res, fmt.Errorf("restart: %w", err)
	}
	res.add("ready after restart", "s", took.Seconds())
	res.add("RSS after restart", "MB", float64(usageOf(s.pid).rss)/1e6)
	c, err := cr.dial(s, s.persistent(s.options(deviceName(0), deviceName(0))))
	if err != nil {
		return res, err
	}
	if !c.ack.SessionPresent {
		return res, errors.New("the restart lost session 0: CONNACK says that none is present")
	}
	return res, nil
}

// leaveSession creates one persistent session with a subscription and disconnects it.
func (r *runner) leaveSession(cr *crew, s *server, i int) error {
	o := s.persistent(s.options(deviceName(i), deviceName(i)))
	o.LocalAddr, o.ReadBuffer = s.source(i), 64
	c, err := cr.dial(s, o)
	if err != nil {
		return err
	}
	_, filter := s.inbox(i)
	if err := c.subscribe(mqttc.Filter{Topic: filter, QoS: 1}); err != nil {
		return err
	}
	return c.leave()
}
