package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const switchDelay = 20 * time.Millisecond // each way, of media and of signalling

const (
	switchTold   = "hear each other again, longest"
	switchUntold = "not told of the change, longest"
)

// switching has the devices of a call come into another network by turns: from one moment to the next the address is another, nothing comes or goes over
// the old one, and the MQTT connection is cut. It measures until each hears what the other said after that. Every second time the
// program is not told by the system (Manager.NetworkChanged) and finds out for itself.
func (r *runner) switching(ctx context.Context, s *server) (Result, error) {
	return r.apart(ctx, s, r.switches)
}

func (r *runner) switches(cr *crew, s *server) (res Result, err error) {
	c, err := r.couple(cr.ctx, s, 1, switchDelay)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, c.off(cr.ctx)) }()
	first, cancel := context.WithTimeout(cr.ctx, callPatience)
	defer cancel()
	_, call, err := r.talk(first, cr, c)
	if err != nil {
		return res, err
	}
	for _, e := range c.hear {
		if _, err := e.wait(first); err != nil {
			return res, err
		}
	}
	var took [2][]int64 // told, untold
	for n := range 2 * r.opt.CallTimes {
		if err := cr.sleep(5 * r.opt.CallPickup); err != nil {
			return res, err
		}
		t, err := r.switchOnce(cr, c, n)
		if err != nil {
			return res, fmt.Errorf("change %d: %w", n+1, err)
		}
		took[n%2] = append(took[n%2], t)
	}
	for i, name := range []string{switchTold, switchUntold} {
		var h histogram
		for _, t := range took[i] {
			h.add(t)
		}
		if i == 0 {
			res.add("hear each other again, median", "s", float64(median(took[i]))/1e9)
		}
		res.add(name, "s", float64(h.top)/1e9)
	}
	return res, call.Hangup(cr.ctx)
}

// switchOnce changes the network of ann or of ben, and returns how long they did not hear each other.
func (r *runner) switchOnce(cr *crew, c *couple, n int) (int64, error) {
	ctx, cancel := context.WithTimeout(cr.ctx, callPatience)
	defer cancel()
	who, told := n/2%2, n%2 == 0
	began := r.clock.now()
	if err := c.cards[who].move(fmt.Sprintf("10.7.%d.%d", 1+who, 1+n)); err != nil {
		return 0, err
	}
	c.proxies[who].Cut()
	if told {
		[]*handset{c.ann, c.ben}[who].m.NetworkChanged()
	}
	for _, e := range c.hear {
		e.listen(began)
	}
	var last int64
	for i, e := range c.hear {
		at, err := e.wait(ctx)
		if err != nil {
			return 0, fmt.Errorf("the %s: %w", sides[i], err)
		}
		last = max(last, at)
	}
	return last - began, nil
}
