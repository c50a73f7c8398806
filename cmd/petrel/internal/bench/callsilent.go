package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/client/calls"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

const (
	silentDelay   = 50 * time.Millisecond // each way between the devices and the server
	silentDevices = 4                     // of each user
	silentUsers   = 10                    // who are called at the same time
)

const (
	silentP99 = "accept → others silent, beyond the round trip p99"
	silentMax = "accept → others silent, beyond the round trip max"
)

// silencing lets calls ring on several devices, one of which answers, and measures until the last of the others has fallen silent.
func (r *runner) silencing(ctx context.Context, s *server) (res Result, err error) {
	if !s.petrel {
		return conversationsOnly(), nil
	}
	cr := newCrew(ctx)
	defer cr.close()
	way, err := faultproxy.New(s.addr)
	if err != nil {
		return res, err
	}
	defer way.Close()
	way.Always(faultproxy.Faults{DelayUp: silentDelay, DelayDown: silentDelay})
	devices := make([]*handset, silentUsers*silentDevices)
	defer func() {
		for _, h := range devices {
			if h != nil {
				err = errors.Join(err, h.off(ctx))
			}
		}
	}()
	err = cr.each(len(devices), 8, func(i int) (err error) {
		user := i / silentDevices
		devices[i], err = r.handset(cr.ctx, way, fmt.Sprint("ben", user), fmt.Sprintf("ben%d-%d", user, i%silentDevices), calls.Options{})
		return err
	})
	if err != nil {
		return res, err
	}
	took := make([]int64, r.opt.CallDevices)
	err = cr.each(len(took), silentUsers, func(n int) (err error) {
		user := n % silentUsers // the same goroutine for each user, so that the calls of one follow each other
		took[n], err = r.silence(cr, s, n, devices[user*silentDevices:][:silentDevices])
		return err
	})
	if err != nil {
		return res, err
	}
	var h histogram
	for _, t := range took {
		h.add(max(0, t-int64(2*silentDelay)))
	}
	res.add("accept → others silent p50", "ms", float64(median(took))/1e6)
	res.add(silentP99, "ms", float64(h.quantile(0.99))/1e6)
	res.add(silentMax, "ms", float64(h.top)/1e6)
	return res, nil
}

// silence is the n-th call: it rings on all devices, one answers. It returns when all others knew.
func (r *runner) silence(cr *crew, s *server, n int, devices []*handset) (took int64, err error) {
	ctx, cancel := context.WithTimeout(cr.ctx, callPatience)
	defer cancel()
	caller, err := cr.line(s, n, fmt.Sprint("ann", n), "ann")
	if err != nil {
		return 0, err
	}
	defer caller.drop()
	a, err := caller.start(r.clock, devices[0].Me())
	if err != nil {
		return 0, err
	}
	ringing := make([]*calls.Call, len(devices))
	for i, d := range devices {
		if ringing[i], err = d.rings(ctx); err != nil {
			return 0, err
		}
		if ringing[i].ID() != a.call {
			return 0, fmt.Errorf("%s rings for another call", d.Me())
		}
	}
	if err := cr.sleep(r.opt.CallPickup); err != nil {
		return 0, err
	}
	all := newCrew(ctx)
	defer all.close()
	silent := make([]int64, len(devices))
	winner := n / silentUsers % len(devices)
	began := r.clock.now()
	for i, c := range ringing {
		all.run(func() error {
			if i == winner {
				return c.Accept(ctx, calls.Local{})
			}
			outcome, err := ended(ctx, c)
			silent[i] = r.clock.now()
			if err == nil && outcome != calls.Taken {
				err = fmt.Errorf("%s: the call was %s on a device, not taken", devices[i].Me(), outcome)
			}
			return err
		})
	}
	if err := all.wait(); err != nil {
		return 0, err
	}
	for i, at := range silent {
		if i != winner {
			took = max(took, at-began)
		}
	}
	_, err = caller.verb(r.clock, a.call, "hangup", "{}")
	if err == nil {
		_, err = ended(ctx, ringing[winner])
	}
	return took, err
}
