package notify

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// tell sends to the registrations that have something to be told; it reports whether any took it, and notes in o who
// is to be tried again. Each is sent to at the same time: a slow one must not hold up the others.
func (w *worker) tell(o *outcome, each map[string]*facts, render func(*facts, *Registration) *Notification) (sent bool) {
	errs := make([]error, len(w.regs))
	var wg sync.WaitGroup
	for i := range w.regs {
		r := &w.regs[i]
		f := each[r.Name]
		if f == nil {
			continue
		}
		if c := w.circuits[r.Name]; c.until > w.job.now {
			errs[i] = errWaits
			continue
		}
		n := render(f, r)
		wg.Go(func() { errs[i] = w.send(r, n) })
	}
	wg.Wait()
	for i := range w.regs {
		r := &w.regs[i]
		if f := each[r.Name]; f != nil && w.judge(o, r, errs[i], f.low) {
			sent = true
		}
	}
	return sent
}

// errWaits says that a registration's turn to be tried again has not come.
var errWaits = errors.New("notify: not its turn")

// sendTimeout bounds one attempt.
const sendTimeout = 15 * time.Second

func (s *Service) send(r *Registration, n *Notification) error {
	sender := s.o.Senders[r.Kind]
	if sender == nil {
		return errors.New("notify: this server is not set up for " + r.Kind + " any more")
	}
	ctx, cancel := context.WithTimeout(s.ctx, sendTimeout)
	defer cancel()
	return sender.Send(ctx, r, n)
}

// judge takes over what became of one registration, and reports whether its service took the notification.
func (w *worker) judge(o *outcome, r *Registration, err error, low uint64) (taken bool) {
	kind := KindIndex(r.Kind)
	var later *Later
	switch {
	case err == nil:
		w.Stats.Sent[kind].Add(1)
		delete(w.circuits, r.Name)
		return true
	case errors.Is(err, ErrGone):
		w.Stats.Removed.Add(1)
		if _, err := w.remove(r.User, r.Name, r.Created); err != nil {
			w.o.Log.Error("removing a registration failed", "user", r.User, "kind", r.Kind, "error", err)
		}
		return false
	case err != errWaits && !errors.As(err, &later):
		w.Stats.Failed[kind].Add(1)
		w.o.Log.Warn("a notification was refused", "user", r.User, "kind", r.Kind, "error", err)
		return false
	}
	if w.job.now-o.task.since >= w.settings.TTL.Milliseconds() {
		w.Stats.Failed[kind].Add(1)
		o.drop = droppedExpired
		return false
	}
	c := w.circuits[r.Name]
	if later != nil {
		w.Stats.Retried[kind].Add(1)
		c = circuit{fails: c.fails + 1, until: w.job.now + backOff(c.fails, later.After).Milliseconds()}
		w.circuits[r.Name] = c
		w.o.Log.Debug("a notification was not taken; it is tried again", "user", r.User, "kind", r.Kind, "error", err)
	}
	if o.lag == nil {
		o.lag = make(map[string]uint64)
	}
	o.lag[r.Name] = low
	if o.until == 0 || c.until < o.until {
		o.until = c.until
	}
	return false
}

const (
	backOffMin = 2 * time.Second
	backOffMax = time.Hour
)

// backOff is how long to leave a registration alone after so many failures before: twice as long each time, with up to
// half of that in addition so that not all come back at once, and no less than its service asked for.
func backOff(fails int, asked time.Duration) time.Duration {
	d := backOffMax
	if fails < 11 {
		d = min(d, backOffMin<<fails)
	}
	d += rand.N(d/2 + 1)
	return min(max(d, asked), 24*time.Hour)
}
