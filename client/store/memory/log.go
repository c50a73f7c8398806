package memory

import (
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// log is what is here of one conversation's log.
type log struct {
	seqs    []uint64 // ascending: the keys of events
	events  map[uint64]store.Event
	dropped map[uint64]struct{} // bodies that stay away for good, of events that are here or still to come
	about   map[uint64][]uint64 // seqs of what acts upon an event, ascending; never changed in place
	spans   []store.Span        // never changed in place
}

func newLog() *log {
	return &log{events: make(map[uint64]store.Event), dropped: make(map[uint64]struct{}), about: make(map[uint64][]uint64)}
}

func (t *tx) log(conv string) *log {
	l := t.logs[conv]
	if l == nil {
		l = newLog()
		set(t, t.logs, conv, l)
	}
	return l
}

func (t *tx) PutEvents(events []store.Event) error {
	for i := range events {
		if err := events[i].Check(); err != nil {
			return err
		}
	}
	for i := range events {
		t.putEvent(events[i])
	}
	return nil
}

func (t *tx) putEvent(e store.Event) {
	l := t.log(e.Conv)
	t.addSpan(l, store.Span{First: e.Seq, Last: e.Seq})
	old, known := l.events[e.Seq]
	_, dropped := l.dropped[e.Seq]
	if e.Stub() {
		if !known || old.Stub() {
			e.Event, e.Gone = chat.Event{Seq: e.Seq, Kind: e.Kind}, true
			t.setEvent(l, e)
		}
		return
	}
	if e.Kind == chat.KindEdit {
		_, gone := l.dropped[e.Re]
		dropped = dropped || gone
	}
	if dropped || e.Gone {
		e.Drop()
		set(t, l.dropped, e.Seq, struct{}{})
	}
	t.setEvent(l, e)
	if e.Gone {
		t.drop(e.Conv, l, e.Seq) // its edits
	}
	if e.Kind == chat.KindDelete && e.Re != 0 {
		t.drop(e.Conv, l, e.Re)
	}
}

// setEvent puts an event into its log, in place of the one there.
func (t *tx) setEvent(l *log, e store.Event) {
	old, known := l.events[e.Seq]
	if known && old.Acts() {
		seqs := slices.Clone(l.about[old.Re])
		if i, ok := slices.BinarySearch(seqs, e.Seq); ok {
			set(t, l.about, old.Re, slices.Delete(seqs, i, i+1))
		}
	}
	set(t, l.events, e.Seq, e)
	if !known {
		i, _ := slices.BinarySearch(l.seqs, e.Seq)
		l.seqs = slices.Insert(l.seqs, i, e.Seq)
		t.undo = append(t.undo, func() {
			i, _ := slices.BinarySearch(l.seqs, e.Seq)
			l.seqs = slices.Delete(l.seqs, i, i+1)
		})
	}
	if e.Acts() {
		seqs := slices.Clone(l.about[e.Re])
		i, _ := slices.BinarySearch(seqs, e.Seq)
		set(t, l.about, e.Re, slices.Insert(seqs, i, e.Seq))
	}
	if key := (eventKey{e.Conv, e.Seq}); e.Due() != 0 {
		set(t, t.due, key, e.Due())
	} else {
		unset(t, t.due, key)
	}
}

// drop takes the body of an event and those of its edits, for good.
func (t *tx) drop(conv string, l *log, seq uint64) {
	set(t, l.dropped, seq, struct{}{})
	if e, ok := l.events[seq]; ok && !e.Gone {
		e.Drop()
		t.setEvent(l, e)
	}
	for _, s := range l.about[seq] {
		if e := l.events[s]; e.Kind == chat.KindEdit && !e.Gone {
			t.drop(conv, l, s)
		}
	}
}

func (t *tx) DropBodies(conv string, seqs []uint64) error {
	for _, seq := range seqs {
		if err := (store.Span{First: seq, Last: seq}).Check(); err != nil {
			return err
		}
	}
	for _, seq := range seqs {
		t.drop(conv, t.log(conv), seq)
	}
	return nil
}

// dropMost bounds what DropDue does at once.
const dropMost = 1000

func (t *tx) DropDue(now int64) ([]store.Event, error) {
	var keys []eventKey
	for k, at := range t.due {
		if at <= now {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b eventKey) int {
		return compare(t.due[a] < t.due[b], t.due[a] > t.due[b], a.conv < b.conv, a.conv > b.conv, a.seq < b.seq, a.seq > b.seq)
	})
	var out []store.Event
	for _, k := range keys[:min(len(keys), dropMost)] {
		l := t.logs[k.conv]
		t.drop(k.conv, l, k.seq)
		out = append(out, l.events[k.seq])
	}
	return out, nil
}

// compare takes pairs of "less" and "more", the most important first.
func compare(lessMore ...bool) int {
	for i := 0; i < len(lessMore); i += 2 {
		switch {
		case lessMore[i]:
			return -1
		case lessMore[i+1]:
			return 1
		}
	}
	return 0
}

func (t *tx) PutSpan(conv string, s store.Span) error {
	if err := s.Check(); err != nil {
		return err
	}
	t.addSpan(t.log(conv), s)
	return nil
}

// addSpan joins what it touches.
func (t *tx) addSpan(l *log, s store.Span) {
	old := l.spans
	i, _ := slices.BinarySearchFunc(old, s.First, func(o store.Span, first uint64) int { // the first one that ends at s.First-1 or later
		if o.Last+1 < first {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(old) && old[j].First <= s.Last+1; j++ {
		s = store.Span{First: min(s.First, old[j].First), Last: max(s.Last, old[j].Last)}
	}
	if j == i+1 && old[i] == s {
		return
	}
	l.spans = slices.Concat(old[:i], []store.Span{s}, old[j:])
	t.undo = append(t.undo, func() { l.spans = old })
}
