package delivery

import "slices"

// span is a run of events that a share owes, both ends included.
type span struct {
	first, last uint64
	sent        uint64 // those up to it were sent before
}

// continues reports whether b, which begins after a does, can be one with it.
func (a span) continues(b span) bool {
	return b.first <= a.last || b.first == a.last+1 && (b.sent < b.first || a.sent >= a.last)
}

// owed is what a share has to read of one log: runs in ascending order that do not overlap. All that
// is in them is durable, and the user may see it.
type owed struct{ spans []span }

func (l *owed) add(n span) {
	i := 0
	for i < len(l.spans) && l.spans[i].first <= n.first && !l.spans[i].continues(n) {
		i++
	}
	j := i
	for j < len(l.spans) {
		x := l.spans[j]
		if x.first <= n.first && !x.continues(n) || x.first > n.first && !n.continues(x) {
			break
		}
		n = span{min(n.first, x.first), max(n.last, x.last), max(n.sent, x.sent)}
		j++
	}
	l.spans = slices.Replace(l.spans, i, j, n)
}

// advance passes over everything up to seq.
func (l *owed) advance(seq uint64) {
	for len(l.spans) > 0 && l.spans[0].last <= seq {
		l.spans = l.spans[1:]
	}
	if len(l.spans) > 0 {
		x := &l.spans[0]
		if x.first = max(x.first, seq+1); x.sent < x.first {
			x.sent = 0
		}
	}
}

// flow is what a conversation has on its way to one member: until it is acknowledged, nothing of the
// conversation goes to another.
type flow struct {
	m    *member
	sent []flying // in the order of sending; the first is not acknowledged
}

type flying struct {
	alloc       uint64 // of the packet, in the member's window
	first, last uint64 // what it stands for
	acked       bool
}

// ack settles a packet. done says that nothing is on its way any more.
func (f *flow) ack(alloc uint64) (found, done bool) {
	i := slices.IndexFunc(f.sent, func(x flying) bool { return x.alloc == alloc })
	if i < 0 {
		return false, false
	}
	f.sent[i].acked = true
	for len(f.sent) > 0 && f.sent[0].acked {
		f.sent = f.sent[1:]
	}
	return true, len(f.sent) == 0
}

// back calls fn with what was not acknowledged.
func (f *flow) back(fn func(span)) {
	for _, x := range f.sent {
		if !x.acked {
			fn(span{x.first, x.last, x.last})
		}
	}
}
