package delivery

import (
	"slices"

	"github.com/petrelchat/petrel/chat"
)

// lagging is a log that a session has to read on from the store.
type lagging struct {
	next   uint64   // the first seq that was not sent
	from   uint64   // events before it are not sent; a stub stands for them
	head   uint64   // the highest seq that was offered while it lagged
	to     uint64   // the last seq of this stay in the conversation; 0: it lasts
	then   []stay   // when the user was a member after that
	waited bool     // nothing was there to read, and since then what was offered has been dispatched
	fresh  bool     // noted while the session was resuming, from what was just offered
	dup    uint64   // events of commits, plain messages of numbers, up to this one may have been sent before
	skip   []uint64 // plain messages that are in the window
	own    []run    // own events that No Local leaves out, ascending
}

// run is the events first..last.
type run struct{ first, last uint64 }

// ownMax bounds the runs of own events that a lagging log remembers. Whoever has more comes to get some of
// their own events back.
const ownMax = 2048

// leaveOut notes an event of the session's own. s.mu is held.
func (l *lagging) leaveOut(seq uint64) {
	if n := len(l.own); n > 0 && l.own[n-1].last+1 >= seq {
		l.own[n-1].last = max(l.own[n-1].last, seq)
		return
	}
	if len(l.own) >= ownMax {
		l.own = l.own[1:]
	}
	l.own = append(l.own, run{seq, seq})
}

// leavesOut reports whether an event was noted by leaveOut; what is before it is forgotten. s.mu is held.
func (l *lagging) leavesOut(seq uint64) bool {
	for len(l.own) > 0 && l.own[0].last < seq {
		l.own = l.own[1:]
	}
	return len(l.own) > 0 && l.own[0].first <= seq
}

// leftOut is what leaveOut has noted, as storage.Lag has it. s.mu is held.
func (l *lagging) leftOut() (list []uint64) {
	for _, x := range l.own {
		if x.last >= l.next {
			list = append(list, x.first, x.last)
		}
	}
	return list
}

// setStays bounds what is read to the times of membership that the store knows. What was offered since
// they were read stays noted. s.mu is held.
func (l *lagging) setStays(list []stay) {
	if len(list) == 0 {
		l.to, l.then = l.next-1, nil // nothing any more
		return
	}
	end, later := l.to, l.then
	l.next = max(l.next, list[0].from)
	l.to, l.then = list[0].to, list[1:]
	last := list[len(list)-1]
	if last.to == 0 && end >= last.from {
		l.ends(end)
	}
	for _, x := range later {
		if x.from > last.from {
			l.then = append(l.then, x)
		}
	}
}

// ends notes that the user's membership ended with an event that is offered. s.mu is held.
func (l *lagging) ends(seq uint64) {
	if n := len(l.then); n > 0 {
		l.then[n-1].to = seq
	} else {
		l.to = seq
	}
}

// end is the last seq that is to be read; 0: membership lasts. s.mu is held.
func (l *lagging) end() uint64 {
	if n := len(l.then); n > 0 {
		return l.then[n-1].to
	}
	return l.to
}

// offered notes an event that is read later. One after the end of a membership begins another.
func (l *lagging) offered(seq uint64) {
	l.head = max(l.head, seq)
	if last := l.end(); last != 0 && seq > last {
		l.then = append(l.then, stay{from: seq})
	}
}

// staysFrom returns the times of membership that are known, as far as they reach from next on.
func (l *lagging) staysFrom(next uint64) []stay {
	list := append([]stay{{from: next, to: l.to}}, l.then...)
	for len(list) > 0 && list[0].to != 0 && list[0].to < next {
		list = list[1:]
	}
	if len(list) > 0 {
		list[0].from = max(list[0].from, next)
	}
	return list
}

// nextStay goes on with the next time of membership; false: there is none.
func (l *lagging) nextStay() bool {
	if len(l.then) == 0 {
		return false
	}
	l.next, l.to, l.then = max(l.next, l.then[0].from), l.then[0].to, l.then[1:]
	return true
}

// The order of what waits (PROTOCOL: delivery 2): the user's own log and calls, then direct
// conversations, then groups in turn, then plain messages.
const (
	classOwn = iota
	classDirect
	classGroup
	classPlain
	classes
)

func classOf(src source) int {
	switch {
	case src.view == viewOwn:
		return classOwn
	case src.view == viewPlain:
		return classPlain
	case isDirect(src.log):
		return classDirect
	}
	return classGroup
}

func isDirect(conv string) bool {
	_, _, ok := chat.Parties(conv)
	return ok
}

// lags notes that a source is to be read on from next. s.mu is held.
func (s *Session) lags(src source, next, head uint64) *lagging {
	l, ok := s.lag[src]
	if !ok {
		if s.lag == nil {
			s.lag = make(map[source]*lagging)
		}
		l = &lagging{next: next, head: head}
		s.lag[src] = l
		c := classOf(src)
		s.order[c] = append(s.order[c], src)
	} else {
		l.next = min(l.next, next)
		l.head = max(l.head, head)
	}
	s.touch()
	return l
}

// caughtUp forgets a source. s.mu is held.
func (s *Session) caughtUp(src source) {
	delete(s.lag, src)
	c := classOf(src)
	if i := slices.Index(s.order[c], src); i >= 0 {
		s.order[c] = slices.Delete(s.order[c], i, i+1)
	}
	if len(s.lag) == 0 {
		s.lag = nil
		s.order = [classes][]source{}
	}
	s.touch()
}

// turn returns the next source to read from, and puts it at the end of its class. s.mu is held.
func (s *Session) turn() (source, *lagging, bool) {
	for c := range s.order {
		if q := s.order[c]; len(q) > 0 {
			src := q[0]
			copy(q, q[1:])
			q[len(q)-1] = src
			return src, s.lag[src], true
		}
	}
	return source{}, nil, false
}
