package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/client/calls"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// ringSoon is within which time of its connection a device is to ring.
const ringSoon = time.Second

const ghostRings = "rang for a call that was over or answered"

func rangSoon(away time.Duration) string {
	return fmt.Sprintf("%% that rang within %v, %v away", ringSoon, away)
}

// comingBack has devices go away, all of them called meanwhile, and all come back at once: they are to ring. And so do others whose call was
// given up, or answered on another device, before they came back: they must not.
func (r *runner) comingBack(ctx context.Context, s *server) (res Result, err error) {
	if !s.petrel {
		return conversationsOnly(), nil
	}
	for i, away := range r.opt.CallAway {
		if err := r.comeBackTo(ctx, s, &res, fmt.Sprint("r", i), away); err != nil {
			return res, fmt.Errorf("%v away: %w", away, err)
		}
	}
	ghosts, err := r.comeBackLate(ctx, s, r.opt.CallAway[0])
	res.add(ghostRings, "", float64(ghosts))
	return res, err
}

// flock is devices that go away together, and for each somebody who calls.
type flock struct {
	r       *runner
	cr      *crew
	way     *faultproxy.Proxy
	devices []*handset
	callers []*line
	calls   []string
	cut     time.Time
}

// flock makes one; it must be closed.
func (r *runner) flock(ctx context.Context, s *server, name string) (f *flock, err error) {
	f = &flock{r: r, cr: newCrew(ctx)}
	n := r.opt.CallDevices
	f.devices, f.callers, f.calls = make([]*handset, n), make([]*line, n), make([]string, n)
	if f.way, err = faultproxy.New(s.addr); err == nil {
		err = f.cr.each(n, 8, func(i int) (err error) {
			if f.callers[i], err = f.cr.line(s, i, fmt.Sprintf("%sann%d", name, i), "ann"); err == nil {
				f.devices[i], err = r.handset(f.cr.ctx, f.way, fmt.Sprintf("%sben%d", name, i), "ben", calls.Options{})
			}
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, f.close(ctx))
	}
	return f, nil
}

func (f *flock) close(ctx context.Context) (err error) {
	for _, h := range f.devices {
		if h != nil {
			err = errors.Join(err, h.off(ctx))
		}
	}
	f.cr.close()
	if f.way != nil {
		f.way.Close()
	}
	return err
}

// leave takes the network from the devices.
func (f *flock) leave() {
	f.way.Refuse(true)
	f.way.Cut()
	f.cut = time.Now()
}

// call has all callers call.
func (f *flock) call() error {
	return f.cr.each(len(f.callers), 8, func(i int) error {
		a, err := f.callers[i].start(f.r.clock, f.devices[i].Me())
		f.calls[i] = a.call
		return err
	})
}

// back gives them the network again, when they were away for so long, and returns the time.
func (f *flock) back(away time.Duration) (int64, error) {
	if err := f.cr.sleep(away - time.Since(f.cut)); err != nil {
		return 0, err
	}
	at := f.r.clock.now()
	f.way.Refuse(false)
	for _, h := range f.devices {
		h.NetworkChanged()
	}
	return at, nil
}

// comeBackTo measures from the connection to the ring.
func (r *runner) comeBackTo(ctx context.Context, s *server, res *Result, name string, away time.Duration) (err error) {
	f, err := r.flock(ctx, s, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	f.leave()
	if err := f.call(); err != nil {
		return err
	}
	began, err := f.back(away)
	if err != nil {
		return err
	}
	var soon atomic.Int64
	n := len(f.devices)
	rang, whole := make([]int64, n), make([]int64, n)
	err = f.cr.each(n, n, func(i int) error {
		ctx, cancel := context.WithTimeout(f.cr.ctx, callPatience)
		defer cancel()
		c, err := f.devices[i].rings(ctx)
		if err != nil {
			return err
		}
		now, up := r.clock.now(), f.devices[i].up.Load()
		if c.ID() != f.calls[i] || up < began {
			return fmt.Errorf("%s rings for another call, or without a connection", f.devices[i].Me())
		}
		rang[i], whole[i] = now-up, now-began
		if rang[i] <= int64(ringSoon) {
			soon.Add(1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var ring, all histogram
	for i := range rang {
		ring.add(rang[i])
		all.add(whole[i])
	}
	res.add(rangSoon(away), "", 100*float64(soon.Load())/float64(n))
	res.add(fmt.Sprintf("from CONNACK to the ring p50, %v away", away), "ms", float64(ring.quantile(0.5))/1e6)
	res.add(fmt.Sprintf("from CONNACK to the ring max, %v away", away), "ms", float64(ring.top)/1e6)
	res.add(fmt.Sprintf("from the network's return to the ring max, %v away", away), "ms", float64(all.top)/1e6)
	return nil
}

// comeBackLate counts the devices that ring for a call which one half of the callers gave up, and which the other half's was answered elsewhere.
// That none rings shows when all are called once more: that call must be the first they hear of.
func (r *runner) comeBackLate(ctx context.Context, s *server, away time.Duration) (ghosts int64, err error) {
	f, err := r.flock(ctx, s, "late")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	n := len(f.devices)
	elsewhere := make([]*line, n)
	err = f.cr.each(n, 8, func(i int) (err error) {
		if i%2 == 1 {
			elsewhere[i], err = f.cr.line(s, i, f.devices[i].Me(), "ben-elsewhere")
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	f.leave()
	if err := f.call(); err != nil {
		return 0, err
	}
	err = f.cr.each(n, 8, func(i int) (err error) {
		if i%2 == 1 {
			_, err = elsewhere[i].verb(r.clock, f.calls[i], "accept", "{}")
		} else {
			_, err = f.callers[i].verb(r.clock, f.calls[i], "cancel", "{}")
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if _, err := f.back(away); err != nil {
		return 0, err
	}
	var rang atomic.Int64
	err = f.cr.each(n, n, func(i int) error {
		ctx, cancel := context.WithTimeout(f.cr.ctx, callPatience)
		defer cancel()
		h := f.devices[i]
		if err := (&phone{Client: h.Client}).settled(ctx); err != nil {
			return err
		}
		if i%2 == 1 {
			if _, err := f.callers[i].verb(r.clock, f.calls[i], "hangup", "{}"); err != nil {
				return err
			}
		}
		again, err := f.callers[i].start(r.clock, h.Me())
		if err != nil {
			return err
		}
		for {
			c, err := h.rings(ctx)
			if err != nil {
				return err
			}
			if c.ID() == again.call {
				return nil
			}
			rang.Add(1)
		}
	})
	return rang.Load(), err
}
