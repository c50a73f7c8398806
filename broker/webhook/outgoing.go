package webhook

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// sendsMax bounds the deliveries under way.
const sendsMax = 16

// out is an outgoing webhook on its way through its log. All but id and log is guarded by Hooks.mu; while
// busy, one goroutine has it, and alone changes pos.
type out struct {
	id, log string
	pos     position
	due     time.Duration // by the scheduler's clock; 0: at once
	last    string        // what the last failure was
	fresh   bool          // there may be something new
	queued  bool          // it is in ready or later
	busy    bool
}

// scheduler decides whose turn it is. Its clock is the process's, which no setting of the system's clock
// can hold up.
type scheduler struct {
	ready  []*out
	later  map[*out]struct{} // they wait for their time
	busy   int
	began  time.Time
	wake   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // the loop and the deliveries
	closed bool
}

func (s *scheduler) init() {
	s.later, s.wake, s.began = make(map[*out]struct{}), make(chan struct{}, 1), time.Now()
	s.ctx, s.cancel = context.WithCancel(context.Background())
}

func (s *scheduler) now() time.Duration { return time.Since(s.began) }

func (s *scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Start begins to send. Everything is looked at once: what came while the server was away waits in the logs.
func (h *Hooks) Start() {
	h.sched.wg.Add(1)
	go func() { defer h.sched.wg.Done(); h.run() }()
	for _, list := range *h.watched.Load() {
		for _, o := range list {
			h.mark(o)
		}
	}
}

// Close cuts off what is being sent, and returns when nothing is. It is delivered again later.
func (h *Hooks) Close() {
	h.mu.Lock()
	h.sched.closed = true
	h.mu.Unlock()
	h.sched.cancel()
	h.sched.wg.Wait()
	h.client.Load().CloseIdleConnections()
}

// Wake says that a log has got something that is durable. It never blocks.
func (h *Hooks) Wake(log string) {
	for _, o := range (*h.watched.Load())[log] {
		h.mark(o)
	}
}

// mark queues a webhook, unless it is queued, or under way and sees for itself.
func (h *Hooks) mark(o *out) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.fresh = true
	h.queue(o)
}

// queue is called with mu held.
func (h *Hooks) queue(o *out) {
	s := &h.sched
	if o.queued || o.busy {
		return
	}
	o.queued = true
	if o.due > s.now() {
		s.later[o] = struct{}{}
	} else {
		s.ready = append(s.ready, o)
	}
	s.poke()
}

func (h *Hooks) run() {
	h.clean(h.sched.ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if wait, ok := h.begin(); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-h.sched.ctx.Done():
			return
		case <-h.sched.wake:
		case <-timer.C:
		}
	}
}

// begin starts what is due, and returns how long it is until something else is.
func (h *Hooks) begin() (wait time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.sched
	now := s.now()
	for o := range s.later {
		if o.due <= now {
			delete(s.later, o)
			s.ready = append(s.ready, o)
		} else if !ok || o.due-now < wait {
			wait, ok = o.due-now, true
		}
	}
	for len(s.ready) > 0 && s.busy < sendsMax && !s.closed {
		o := s.ready[0]
		s.ready = s.ready[1:]
		o.queued, o.fresh, o.busy = false, false, true
		s.busy++
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			h.done(o, h.step(o))
		}()
	}
	return wait, ok
}

// outcome is what one step of a webhook came to.
type outcome struct {
	more bool          // there is more to send right away
	wait time.Duration // until it is tried again; 0: it is not, before something new comes
}

func (h *Hooks) done(o *out, r outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sched.busy--
	o.busy, o.due = false, 0
	if r.wait > 0 {
		o.due = h.sched.now() + r.wait
	}
	if k, ok := h.hooks[o.id]; ok && k.Off == 0 && (r.more || r.wait > 0 || o.fresh) {
		h.queue(o)
	}
	h.sched.poke()
}

// backoff is how long to wait after so many failures in a row: twice as long each time, half of it by
// chance, so that those who failed together don't come back together.
func (h *Hooks) backoff(failed int, asked time.Duration) time.Duration {
	b := h.o.Backoff
	d := b.First << min(failed-1, 30)
	if d <= 0 || d > b.Most {
		d = b.Most
	}
	d = d/2 + rand.N(d/2+1)
	return max(d, min(asked, b.Most))
}
