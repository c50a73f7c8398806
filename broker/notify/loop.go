package notify

import (
	"container/heap"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// loop is what the goroutine alone touches.
type loop struct {
	accounts map[string]*account
	due      dueHeap
	busy     int // accounts that a worker has

	volatile map[*entry]struct{} // known from events after the position only
	unsaved  map[*entry]struct{} // to be stored or removed
	marks    map[markOf]*Mark    // not stored yet
	ended    uint64              // commit up to which everything was taken over
	position uint64
	stored   uint64 // position on disk
	flushing bool
	flushed  int64 // ms, when the position was stored
	retry    int64 // ms, when to try again what the store did not do; 0: it did
	seen     int64 // ms, the time of the last turn

	sweep     *sweep // nil: nothing is left to find
	audiences map[string]audience
	news      []News // to be used again
}

type markOf struct{ user, conv string }

// account is a user of whom something waits.
type account struct {
	name     string
	entries  map[string]*entry // by conversation
	due      int64             // ms, the earliest of the entries
	index    int               // in dueHeap; -1: a worker has it
	circuits map[string]circuit
}

// circuit keeps a registration that fails from being tried all the time. While a worker has the account, it is the worker's.
type circuit struct {
	fails int
	until int64 // ms
}

// Why an entry is not due yet.
const (
	whyWindow  = 0 // what belongs to it is being gathered
	whyRetry   = 1
	whyOnline  = 2 // the user is online and has not got it yet
	whyQuiet   = 3
	whyPerHour = 4
)

// entry is what somebody has to be told of a conversation.
type entry struct {
	account *account
	conv    string
	from    uint64 // first event to tell
	last    uint64 // newest event known to be among them
	urgent  uint64 // newest mention or call among them
	away    uint64 // first event that came while the user was away; 0: none. Of those before, a device has what was delivered
	commit  uint64 // of the first event, or before it; while the entry is volatile
	due     int64  // ms
	since   int64  // ms
	why     byte
	quiet   bool              // quiet hours held it back
	lag     map[string]uint64 // registrations that are to be told from an earlier event on
	key     storage.Key       // where it is stored; nil: not
	gone    bool
}

func (l *loop) account(user string) *account {
	a := l.accounts[user]
	if a == nil {
		a = &account{name: user, entries: make(map[string]*entry), index: -1, circuits: make(map[string]circuit)}
		l.accounts[user] = a
	}
	return a
}

func (l *loop) waiting() (n int64) {
	for _, a := range l.accounts {
		n += int64(len(a.entries))
	}
	return n
}

// arrange puts an account where its earliest entry belongs, unless a worker has it.
func (l *loop) arrange(a *account) {
	a.due = 0
	for _, e := range a.entries {
		e.account = a
		if a.due == 0 || e.due < a.due {
			a.due = e.due
		}
	}
	switch {
	case len(a.entries) == 0:
		if a.index >= 0 {
			heap.Remove(&l.due, a.index)
		}
		delete(l.accounts, a.name)
	case a.index >= 0:
		heap.Fix(&l.due, a.index)
	default:
		heap.Push(&l.due, a)
	}
}

// note has a user told of an event, in time.
func (s *Service) note(user, conv string, seq, commit uint64, urgent bool, now int64) {
	l := &s.loop
	a := l.account(user)
	e := a.entries[conv]
	soon := now + s.settings.Load().Window.Milliseconds()
	if urgent {
		soon = now
	}
	if e == nil {
		e = &entry{account: a, conv: conv, from: seq, last: seq, commit: commit, due: soon, since: now}
		a.entries[conv] = e
		l.volatile[e] = struct{}{}
		s.Stats.Waiting.Add(1)
	}
	e.from, e.last = min(e.from, seq), max(e.last, seq)
	if urgent {
		e.urgent = max(e.urgent, seq)
	}
	if (e.away == 0 || seq < e.away) && !s.o.Online(user) {
		e.away = seq
	}
	if e.due > soon && (urgent || e.why == whyRetry || e.why == whyOnline) {
		e.due = soon
		if e.key != nil {
			l.save(e)
		}
	}
	if a.index >= 0 {
		if e.due < a.due {
			a.due = e.due
			heap.Fix(&l.due, a.index)
		}
	} else if !a.taken() {
		l.arrange(a)
	}
}

// taken reports whether a worker has the account: then its result puts it back.
func (a *account) taken() bool { return a.index == withWorker }

// withWorker is the index of an account that a worker has; -1 that of a new one.
const withWorker = -2

// forget ends an entry.
func (s *Service) forget(e *entry) {
	l := &s.loop
	delete(e.account.entries, e.conv)
	delete(l.volatile, e)
	e.gone = true
	if e.key != nil {
		l.save(e)
	} else {
		delete(l.unsaved, e)
	}
	s.Stats.Waiting.Add(-1)
}

func (s *Service) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		more := s.turn()
		wait := s.idle()
		if more {
			wait = rest
		}
		timer.Reset(wait)
		select {
		case <-s.stop:
			s.finish()
			return
		case <-s.wake:
		case r := <-s.results:
			s.settle(r)
		case <-s.flushed:
			s.loop.flushing = false
		case <-timer.C:
		}
	}
}

// rest is between the steps of a sweep, so that messages keep the machine.
const rest = 5 * time.Millisecond

// turn does what there is to do, and reports whether there is more right away.
func (s *Service) turn() (more bool) {
	l := &s.loop
	s.followClock()
	if l.retry <= s.now() {
		l.retry = 0 // now is when; whatever fails again says so
	}
	s.takeOver()
	if l.sweep != nil {
		s.sweepOn()
	}
	if l.sweep != nil && s.now() < l.sweep.pause {
		l.retry = l.sweep.pause
	}
	now := s.now()
	for l.busy < s.settings.Load().Workers && len(l.due) > 0 && l.due[0].due <= now {
		s.carryOut(heap.Pop(&l.due).(*account), now)
	}
	s.flush(now, false)
	return l.sweep != nil && now >= l.sweep.pause
}

// clockSlack is how far the clock may go back without anybody caring, ms.
const clockSlack = 1000

// followClock keeps a clock that was put back from holding up what waits: all that was to be done at a time is to be done
// as much earlier.
func (s *Service) followClock() {
	l := &s.loop
	now := s.now()
	back := l.seen - now
	l.seen = now
	if back <= clockSlack {
		return
	}
	for _, a := range l.accounts {
		for _, e := range a.entries {
			e.due, e.since = e.due-back, e.since-back
			if e.key != nil {
				l.save(e)
			}
		}
		if a.due -= back; a.taken() {
			continue // circuits are the worker's
		}
		for name, c := range a.circuits {
			a.circuits[name] = circuit{c.fails, c.until - back}
		}
	}
	l.flushed -= back
	if l.retry > 0 {
		l.retry -= back
	}
	if l.sweep != nil {
		l.sweep.pause -= back
	}
}

// idle is for how long there is nothing to do if nobody calls.
func (s *Service) idle() time.Duration {
	l := &s.loop
	now := s.now()
	wait := int64(time.Hour / time.Millisecond)
	if len(l.due) > 0 && l.busy < s.settings.Load().Workers {
		wait = min(wait, l.due[0].due-now)
	}
	if l.retry > 0 {
		wait = min(wait, l.retry-now)
	}
	if s.subs.count.Load() > 0 && !l.flushing && (l.ended != l.stored) {
		wait = min(wait, max(l.flushed+positionEvery-now, 10))
	}
	return time.Duration(max(wait, 0)) * time.Millisecond
}

// takeOver notes what the pipeline's goroutine handed over.
func (s *Service) takeOver() {
	l := &s.loop
	news, dirty, ended := s.inbox.take(l.news)
	now := s.now()
	for i := range news {
		n := &news[i]
		for _, u := range s.audience(n.Conv, n.Members) {
			if u != n.From {
				s.note(u, n.Conv, n.Seq, n.Commit, urgentFor(u, n.Kind, n.Mentions), now)
			}
		}
	}
	for conv, r := range dirty {
		if err := s.readOver(conv, r.from, r.to, r.commit, now); err != nil {
			s.o.Log.Error("reading what is to be notified failed; it is tried again", "conv", conv, "error", err)
			s.inbox.giveBack(conv, r)
			l.retry = now + positionEvery
			ended = min(ended, r.commit-1)
		}
	}
	l.news, l.ended = news[:0], ended
}

func urgentFor(user string, kind chat.Kind, mentions []string) bool {
	if kind == chat.KindCall {
		return true
	}
	for _, m := range mentions {
		if m == user {
			return true
		}
	}
	return false
}

// audience is who of a conversation's members has a registration.
type audience struct {
	first *string // of the members' slice: another slice, other members
	n     int
	gen   uint64
	users []string
}

const (
	audienceMin = 16     // members, below which looking is as cheap as remembering
	audienceMax = 10_000 // conversations
)

func (s *Service) audience(conv string, members []string) []string {
	if len(members) < audienceMin {
		users, _ := s.subs.among(nil, members)
		return users
	}
	l := &s.loop
	a, ok := l.audiences[conv]
	if s.subs.mu.RLock(); ok && a.first == &members[0] && a.n == len(members) && a.gen == s.subs.gen {
		s.subs.mu.RUnlock()
		return a.users
	}
	s.subs.mu.RUnlock()
	if len(l.audiences) >= audienceMax {
		clear(l.audiences)
	}
	a = audience{first: &members[0], n: len(members)}
	a.users, a.gen = s.subs.among(nil, members)
	l.audiences[conv] = a
	return a.users
}

// finish lets the workers come to an end and stores what waits.
func (s *Service) finish() {
	l := &s.loop
	end := time.NewTimer(closeWait)
	defer end.Stop()
	for l.busy > 0 {
		select {
		case r := <-s.results:
			s.settle(r)
		case <-end.C:
			s.cancel()
		case <-s.flushed:
		}
	}
	s.takeOver()
	for _, a := range l.accounts { // what waits is known from now on
		for _, e := range a.entries {
			if e.key == nil {
				l.save(e)
			}
		}
	}
	s.flush(s.now(), true)
}

// dueHeap has the accounts that no worker has, the earliest first.
type dueHeap []*account

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *dueHeap) Push(x any)        { a := x.(*account); a.index = len(*h); *h = append(*h, a) }
func (h *dueHeap) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	a.index = -1
	return a
}
