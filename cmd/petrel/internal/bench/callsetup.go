package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/client/calls"
)

// sides of a call, as metrics name them.
var sides = [...]string{"caller", "callee"}

func roundTrips(until string, delay time.Duration) string {
	return fmt.Sprintf("round trips until %s, %v each way", until, delay)
}

// setupEnds are what is waited for after accept. Each call is in all of them.
const firstPacket = "the first media packet"

var setupEnds = [...]string{firstPacket, "the caller hears", "the callee hears"}

// setup measures from accept to the first packet of media, of all and at either side: how much longer that takes with a delay, in round trips.
func (r *runner) setup(ctx context.Context, s *server) (Result, error) {
	return r.apart(ctx, s, r.setups)
}

func (r *runner) setups(cr *crew, s *server) (res Result, err error) {
	number := 0
	var base [len(setupEnds)]int64
	for _, delay := range append([]time.Duration{0}, r.opt.CallDelays...) {
		var took [len(setupEnds)][]int64
		for range r.opt.CallTimes {
			number++
			at, err := r.setupOnce(cr, s, number, delay)
			if err != nil {
				return res, fmt.Errorf("with %v each way: %w", delay, err)
			}
			for i, t := range []int64{min(at[0], at[1]), at[0], at[1]} {
				took[i] = append(took[i], t)
			}
		}
		for i, end := range setupEnds {
			t := median(took[i])
			if delay == 0 {
				base[i] = t
			}
			res.add(fmt.Sprintf("until %s, %v each way", end, delay), "ms", float64(t)/1e6)
			if delay > 0 {
				res.add(roundTrips(end, delay), "", float64(t-base[i])/float64(2*delay))
			}
		}
	}
	return res, nil
}

// setupOnce is one call of two who have never talked. It returns how long after accept the caller and the callee heard the other.
func (r *runner) setupOnce(cr *crew, s *server, number int, delay time.Duration) (took [len(sides)]int64, err error) {
	ctx, cancel := context.WithTimeout(cr.ctx, callPatience)
	defer cancel()
	c, err := r.couple(ctx, s, number, delay)
	if err != nil {
		return took, err
	}
	defer func() { err = errors.Join(err, c.off(cr.ctx)) }()
	talk := newCrew(ctx)
	defer talk.close()
	began, call, err := r.talk(ctx, talk, c)
	if err != nil {
		return took, err
	}
	for i := range took {
		at, err := c.hear[i].wait(ctx)
		if err != nil {
			return took, fmt.Errorf("the %s: %w", sides[i], err)
		}
		took[i] = at - began
	}
	return took, call.Hangup(ctx)
}

// talk has ann call ben, who takes his time to answer; his device is ready then. It returns when he accepted, and his call.
func (r *runner) talk(ctx context.Context, talk *crew, c *couple) (accepted int64, call *calls.Call, err error) {
	var mine [len(sides)]calls.Local
	for i, name := range sides {
		v, err := r.voice(talk, name)
		if err != nil {
			return 0, nil, err
		}
		c.hear[i].listen(0)
		mine[i] = calls.Local{Tracks: []webrtc.TrackLocal{v}, OnTrack: c.hear[i].take}
	}
	if _, err := c.ann.m.Start(ctx, c.ann.Direct(c.ben.Me()), mine[0]); err != nil {
		return 0, nil, err
	}
	if call, err = c.ben.rings(ctx); err != nil {
		return 0, nil, err
	}
	if err := talk.sleep(r.opt.CallPickup); err != nil {
		return 0, nil, err
	}
	accepted = r.clock.now()
	return accepted, call, call.Accept(ctx, mine[1])
}
