package signaling

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/signaling/call"
)

// Times of the service in ms.
const (
	tryAgain = 1_000   // after a store that takes nothing
	remember = 600_000 // how long a call is found that has ended: late verbs get an answer, a late start starts nothing
)

// remembered bounds the calls that ended and are still found.
const remembered = 1 << 14

// work is what the service's goroutine is to do: what must not be done where it comes up, on the goroutine of
// the pipeline or of a connection.
type work struct {
	mu      sync.Mutex // a leaf
	jobs    []job
	old     []retired // calls that ended, the longest ago first
	wake    chan struct{}
	quit    chan struct{}
	done    chan struct{}
	once    sync.Once
	running atomic.Bool
	turn    sync.Mutex // one round at a time
}

type job struct {
	at   int64 // ms, not before
	came Session
	went Session
	left *departure
	sfu  func() // tells the SFU something
	over *live  // its event is to be written
	kept *live  // its event is written: the record goes
}

type departure struct{ conv, user string }

type retired struct {
	l  *live
	at int64
}

func (w *work) open() {
	w.wake, w.quit, w.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
}

func (w *work) stop() { w.once.Do(func() { close(w.quit) }) }

func (w *work) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *work) add(j job) {
	w.mu.Lock()
	w.jobs = append(w.jobs, j)
	w.mu.Unlock()
	w.poke()
}

// finish has the event of a call written that has ended.
func (w *work) finish(l *live) { w.add(job{over: l}) }

// take returns the jobs whose time has come.
func (w *work) take(now int64) []job {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ready, later []job
	for _, j := range w.jobs {
		if j.at <= now {
			ready = append(ready, j)
		} else {
			later = append(later, j)
		}
	}
	w.jobs = later
	return ready
}

// next is the ms of the next job, 0 if there is none.
func (w *work) next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var at int64
	for i, j := range w.jobs {
		if i == 0 || j.at < at {
			at = max(j.at, 1)
		}
	}
	return at
}

// loop is the service's goroutine.
func (s *Service) loop() {
	defer close(s.work.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.Tick()
		wait, now := time.Minute, s.now()
		for _, at := range [...]int64{s.timers.next(), s.work.next()} {
			if at != 0 {
				wait = min(wait, max(time.Duration(at-now)*time.Millisecond, time.Millisecond))
			}
		}
		timer.Reset(wait)
		select {
		case <-s.work.quit:
			s.Tick() // nobody who waits for an answer is left without
			return
		case <-s.work.wake:
		case <-timer.C:
		}
	}
}

// Tick does what is due by the clock of Options.Now. The service's goroutine does that by itself; it is for
// tests that move the clock.
func (s *Service) Tick() {
	s.work.turn.Lock()
	defer s.work.turn.Unlock()
	now := s.now()
	var written []*live
	for _, j := range s.work.take(now) {
		switch {
		case j.came != nil:
			s.arrived(j.came)
		case j.went != nil:
			s.gone(j.went)
		case j.left != nil:
			s.departed(*j.left)
		case j.sfu != nil:
			j.sfu()
		case j.over != nil:
			s.write(j.over)
		case j.kept != nil:
			written = append(written, j.kept)
		}
	}
	if len(written) > 0 {
		s.unload(written, now)
	}
	for l := s.timers.pop(now); l != nil; l = s.timers.pop(now) {
		s.due(l, now)
	}
	s.prune(now)
}

// due lets time pass in a call, after what happened in it while the store took nothing.
func (s *Service) due(l *live, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.again) > 0 {
		if err := s.carry(l, &turn{cmd: &l.again[0], vital: true}); err != nil {
			s.timers.set(l, now+tryAgain, s.work.poke)
			return
		}
		l.again = l.again[1:]
	}
	crowd := l.late != 0 && l.late <= now
	if err := s.carry(l, &turn{cmd: &call.Command{Verb: call.Tick}, vital: true, crowd: crowd}); err != nil {
		s.timers.set(l, now+tryAgain, s.work.poke)
		return
	}
	s.timers.set(l, l.deadline(), func() {})
}

// maxAgain bounds what is done again in a call once the store works.
const maxAgain = 512

// happened carries out what nobody asked for, so that nobody can be refused it: if the store takes nothing, it is done later.
func (s *Service) happened(l *live, c call.Command, stand Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := error(nil)
	if len(l.again) == 0 {
		err = s.carry(l, &turn{cmd: &c, vital: true, stand: stand})
	}
	if (err != nil || len(l.again) > 0) && len(l.again) < maxAgain {
		l.again = append(l.again, c)
		s.timers.set(l, s.now()+tryAgain, s.work.poke)
	}
}

// Came implements Calls. It never blocks.
func (s *Service) Came(x Session) {
	if len(s.index.of(x.Device().User)) > 0 {
		s.work.add(job{came: x})
	}
}

// Went implements Calls. It never blocks.
func (s *Service) Went(x Session) {
	if len(s.index.of(x.Device().User)) > 0 {
		s.work.add(job{went: x})
	}
}

// Left implements Calls. It never blocks.
func (s *Service) Left(conv, user string) {
	if l := s.index.conv(conv); l != nil {
		s.work.add(job{left: &departure{conv, user}})
	}
}

func (s *Service) arrived(x Session) {
	d := x.Device()
	for _, p := range s.index.of(d.User) {
		c := call.Command{Verb: call.Came, User: d.User, Device: d.Client}
		if !s.here(d) {
			c.Device = "" // gone again: it is told in vain, and changes nothing
		}
		s.happened(p.l, c, x)
	}
}

func (s *Service) gone(x Session) {
	d := x.Device()
	if s.here(d) {
		return // another connection of the device has taken its place
	}
	for _, p := range s.index.of(d.User) {
		if p.party && p.device == d.Client {
			s.happened(p.l, call.Command{Verb: call.Went, User: d.User, Device: d.Client}, nil)
		}
	}
}

func (s *Service) departed(d departure) {
	if l := s.index.conv(d.conv); l != nil {
		s.happened(l, call.Command{Verb: call.Removed, User: d.user}, nil)
	}
}

// retire has a call remembered that has ended.
func (s *Service) retire(l *live) {
	s.work.mu.Lock()
	defer s.work.mu.Unlock()
	s.work.old = append(s.work.old, retired{l, s.now()})
}

func (s *Service) prune(now int64) {
	w := &s.work
	w.mu.Lock()
	n := 0
	for n < len(w.old) && (w.old[n].at+remember <= now || len(w.old)-n > remembered) {
		n++
	}
	gone := slices.Clone(w.old[:n])
	w.old = slices.Delete(w.old, 0, n)
	w.mu.Unlock()
	for _, r := range gone {
		s.index.forget(r.l, r.at)
	}
}
