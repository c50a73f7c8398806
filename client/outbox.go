package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
)

const (
	sendBatch  = 512 // of one commit
	gatherOver = 256 // with more under way, answers are left to gather: a commit for each few would hold all up
	gatherFor  = 5 * time.Millisecond
	windowMost = 1024 // under way at once
	retryFirst = 500 * time.Millisecond
	retryMost  = time.Minute
	idleFrom   = 2 * time.Second     // who waits for longer does not go out now
	retryKnown = 25 * 24 * time.Hour // for at least so long servers recognise what comes again by its id
)

// sender sends the outbox. An entry is marked on disk before it is sent for the first time, so that a program that is
// killed knows afterwards what the server may have; its id makes sending it again harmless. Within a conversation
// the order is kept: packets leave in order on one connection, none is stored before one that the server wants again later (see flight),
// and a new connection begins with the first that is not settled.
type sender struct {
	*core
	uploader Uploader
	rand     func() float64

	mu      sync.Mutex
	answers []answer
	idlers  []func() // who wants to know when nothing can be sent for now

	// Of the goroutine of run:
	gen     int
	cursor  int64           // N up to which this connection has sent everything
	rescan  bool            // something before the cursor has to be looked at again
	flight  flight          // what is under way
	window  int             // how many may be; shrinks when the server wants less
	hold    time.Time       // not before
	loads   map[string]bool // ids that are being uploaded
	loading sync.WaitGroup
}

func newSender(c *core, u Uploader) *sender {
	return &sender{core: c, uploader: u, rand: rand.Float64, flight: newFlight(), window: windowMost, loads: make(map[string]bool)}
}

// run is the sender's goroutine. It ends with ctx.
func (s *sender) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer s.loading.Wait()
	for {
		wait := time.Hour
		for ctx.Err() == nil {
			if len(s.flight.of) > gatherOver && s.answersNow() < gatherOver/2 && !pause(ctx, gatherFor) {
				return
			}
			did, next, err := s.step(ctx)
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
					s.log.Error("the outbox can't be read or written", "error", err)
				}
				wait, s.rescan = time.Second, true
				break
			}
			if !did {
				wait = next
				break
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-s.wake.outbox:
		case <-timer.C:
			s.rescan = true
		}
	}
}

// answered notes how a publish ended. It is called by the connection.
func (s *sender) answered(a answer) {
	s.mu.Lock()
	s.answers = append(s.answers, a)
	s.mu.Unlock()
	ring(s.wake.outbox)
}

// whenIdle has done called when all is sent that can be: there is a connection, and what is left waits for more than idleFrom.
func (s *sender) whenIdle(done func()) {
	s.mu.Lock()
	s.idlers = append(s.idlers, done)
	s.mu.Unlock()
	ring(s.wake.outbox)
}

// idle tells the first n of those who want to know.
func (s *sender) idle(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight.of) > 0 || len(s.loads) > 0 || len(s.answers) > 0 {
		return
	}
	for _, done := range s.idlers[:n] {
		done()
	}
	s.idlers = s.idlers[n:]
}

func (s *sender) answersNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.answers)
}

// step settles what was answered and sends what can be sent. did: there may be more to do at once; else next says
// when to come again.
func (s *sender) step(ctx context.Context) (did bool, next time.Duration, err error) {
	gen, up, conn := s.sess.now() // first: then what the connection before it left open is among the answers
	s.mu.Lock()
	answers, idlers := s.answers, len(s.idlers)
	s.answers = nil
	s.mu.Unlock()
	s.flight.resume()
	for i := range answers {
		s.flight.land(&answers[i])
		s.rescan = s.rescan || answers[i].err != nil
	}
	if gen != s.gen {
		s.gen, s.cursor, s.rescan, s.window, s.hold = gen, 0, false, windowMost, time.Time{}
	}
	next = time.Hour
	var picks []pick
	if rest := s.hold.Sub(s.now()); up && (rest <= 0 || rest > retryMost) {
		if picks, next, err = s.pick(ctx, conn); err != nil {
			s.giveBack(answers)
			return false, 0, err
		}
	} else if up {
		next = rest
	}
	if len(answers) == 0 && len(picks) == 0 {
		if up && next > idleFrom {
			s.idle(idlers)
		}
		return false, next, nil
	}
	err = s.persist(ctx, func(ch *change) error {
		for _, a := range answers {
			if err := s.settle(ch, a); err != nil {
				return err
			}
		}
		again := make(map[string]bool) // conversations of which one is to be looked at again: what follows it waits
		for i := range picks {
			p := &picks[i]
			if p.send = false; again[p.out.Conv] {
				continue
			}
			if err := ch.mark(p); err != nil {
				return err
			}
			if !p.send && p.no == nil {
				again[p.out.Conv] = true
			}
		}
		return nil
	})
	if err != nil {
		s.giveBack(answers)
		return false, 0, err
	}
	s.learn(answers)
	s.publish(picks)
	return true, 0, nil
}

// giveBack keeps answers that could not be stored.
func (s *sender) giveBack(answers []answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(answers, s.answers...)
}

// settle stores one answer.
func (s *sender) settle(ch *change, a answer) error {
	no := new(chat.Refusal)
	switch {
	case errors.As(a.err, &no):
		return ch.failedAs(a.id, no)
	case errors.Is(a.err, link.ErrTooLarge):
		return ch.failedAs(a.id, chat.Refuse(chat.TooLarge, "the message is longer than the server takes: make it shorter"))
	case a.err != nil:
		return nil // lost: it is sent again on the next connection
	}
	r := a.ack.Refusal()
	switch {
	case r == nil:
		return ch.acknowledged(a.id, seqOf(a.ack))
	case a.later():
		return s.later(ch, a, r)
	}
	return ch.failedAs(a.id, r)
}

// later puts back what the server wants again later. The first of its conversation waits for its time, what was behind it waits
// for that one.
func (s *sender) later(ch *change, a answer, r *chat.Refusal) error {
	out, err := ch.tx.Outgoing(a.id)
	if err != nil || out.State != store.Sending {
		return ignoreNotFound(err)
	}
	if a.fresh {
		out.State = store.Queued // the server does not have it, so it can be changed and taken back
	}
	if s.flight.begins(a.conv, a.id) {
		out.Next = ch.millis() + s.backoff(out.Attempts).Milliseconds()
		out.Attempts, out.Code, out.Reason = out.Attempts+1, string(r.Code), r.Reason
	}
	ch.toldOut(&out)
	return ch.tx.PutOutgoing(out)
}

// learn adapts to what the server takes: who asks for less gets one at a time until it works again. That is for the sake of both
// ends: what is sent in vain costs as much as what is not.
func (s *sender) learn(answers []answer) {
	for _, a := range answers {
		switch {
		case a.err != nil:
		case a.later():
			s.window, s.rescan = 1, true
			s.hold = s.now().Add(s.backoff(0))
		default:
			s.window = min(2*s.window, windowMost)
		}
	}
}

// backoff is how long to wait after so many attempts: twice as long each time, with jitter.
func (s *sender) backoff(attempts int) time.Duration {
	return backoff(attempts, s.rand())
}

// backoff is how long to wait after so many attempts; jitter is within [0, 1).
func backoff(attempts int, jitter float64) time.Duration {
	d := retryMost
	if attempts < 7 {
		d = min(retryFirst<<attempts, retryMost)
	}
	return d/2 + time.Duration(jitter*float64(d/2))
}

// publish hands entries to the connection.
func (s *sender) publish(picks []pick) {
	// On another connection than they were chosen for they would overtake what that one lost.
	s.sess.gate.RLock()
	defer s.sess.gate.RUnlock()
	gen, up, _ := s.sess.now()
	stopped := gen != s.gen || !up
	s.rescan = s.rescan || stopped
	for i := range picks {
		p := &picks[i]
		if !p.send {
			s.rescan = true
			continue
		}
		if stopped {
			continue
		}
		payload, err := s.payload(&p.out, p.wire)
		if err != nil {
			no := chat.Refuse(chat.BadRequest, "the message can't be sent: %v", err)
			errors.As(err, &no)
			s.answered(answer{id: p.out.ID, err: no})
			continue
		}
		switch err = s.hand(p, payload); {
		case err == nil:
		case errors.Is(err, link.ErrTooLarge):
			s.answered(answer{id: p.out.ID, err: err})
		default: // no connection any more, or too much waits: from here on again
			s.rescan, stopped = true, true
			if errors.Is(err, link.ErrFull) {
				s.hold = s.now().Add(50 * time.Millisecond)
			}
		}
	}
}

// thenKey is the user property that has the server store a post only if the one before it was not refused for now.
const thenKey = "then"

// hand gives one entry to the connection.
func (s *sender) hand(p *pick, payload []byte) error {
	id, x := p.out.ID, flying{conv: p.out.Conv, fresh: p.fresh}
	pub := link.Publish{Topic: "c/" + x.conv + "/" + s.view.String(), QoS: 1, Payload: payload}
	if s.flight.under[x.conv] > 0 {
		pub.Properties = []link.Property{{Key: thenKey}}
	}
	s.flight.add(id, x)
	err := s.line.Publish(pub, func(a link.Ack, err error) {
		s.answered(answer{id: id, conv: x.conv, fresh: x.fresh, ack: a, err: err})
	})
	if err != nil {
		s.flight.drop(id)
	}
	return err
}
