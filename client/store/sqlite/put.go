package sqlite

import (
	"fmt"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// log is what the writer remembers of a log.
type log struct {
	num int64
	top uint64 // no row of events has a higher seq
	// There are no rows from..to either, nor edits of such: a page of history is put there without asking for each event.
	from, to uint64
}

// unseen reports whether there is neither a row with that seq nor an edit of it.
func (l *log) unseen(seq uint64) bool { return seq > l.top || l.from <= seq && seq <= l.to }

// wrote notes that there is a row now, and which one it acts upon.
func (l *log) wrote(seq, target uint64) {
	l.top = max(l.top, seq)
	if l.from <= seq && seq <= l.to {
		l.from = seq + 1 // batches ascend; what was passed over is asked for
	}
	if l.from <= target && target <= l.to {
		l.to = 0
	}
}

// reserved notes that there is a row of an event that is still to come.
func (l *log) reserved(seq uint64) {
	l.top = max(l.top, seq)
	if l.from <= seq && seq <= l.to {
		l.to = 0
	}
}

// survey finds out whether a batch that begins with events[0] falls into a gap of the log.
func (t *tx) survey(l *log, events []store.Event) error {
	n := 1
	for n < len(events) && events[n].Conv == events[0].Conv && events[n].Seq > events[n-1].Seq {
		n++
	}
	if n < surveyFrom || l.unseen(events[0].Seq) {
		return nil
	}
	from, to := events[0].Seq, events[n-1].Seq
	var something bool
	if _, err := t.c.row(`SELECT EXISTS (SELECT 1 FROM events WHERE id BETWEEN ?1 AND ?2) OR EXISTS (SELECT 1 FROM events WHERE target BETWEEN ?1 AND ?2 AND kind = 2)`,
		[]any{eventID(l.num, from), eventID(l.num, to)}, &something); err != nil {
		return err
	}
	if !something {
		l.from, l.to = from, to
	}
	return nil
}

// surveyFrom is from how many events on that is worth the asking.
const surveyFrom = 2

// log finds the number of a log, or gives it one.
func (t *tx) log(conv string) (*log, error) {
	if l := t.s.logs[conv]; l != nil {
		return l, nil
	}
	if conv == "" {
		return nil, fmt.Errorf("%w: a log has an id", store.ErrInvalid)
	}
	num, err := t.logNum(conv)
	if err != nil {
		return nil, err
	}
	l := &log{num: num}
	if num == 0 {
		if _, err := t.c.exec(`INSERT INTO logs (id) VALUES (?)`, conv); err != nil {
			return nil, err
		}
		if _, err := t.c.row(`SELECT last_insert_rowid()`, nil, &l.num); err != nil {
			return nil, err
		}
		if l.num > maxLog {
			return nil, fmt.Errorf("%w: this store has had too many conversations: begin a new one", store.ErrFull)
		}
	} else {
		var id int64
		if _, err := t.c.row(`SELECT coalesce(max(id), 0) FROM events WHERE id BETWEEN ? AND ?`, []any{eventID(num, 0), eventID(num, store.MaxSeq)}, &id); err != nil {
			return nil, err
		}
		l.top = seqOf(id)
	}
	if len(t.s.logs) >= rememberMost {
		clear(t.s.logs)
	}
	t.s.logs[conv] = l
	return l, nil
}

// rememberMost bounds the logs that the writer remembers.
const rememberMost = 4096

func (t *tx) PutEvents(events []store.Event) error {
	for i := range events {
		if err := events[i].Check(); err != nil {
			return err
		}
	}
	var run spanRun
	for i := range events {
		e := events[i]
		l, err := t.log(e.Conv)
		if err != nil {
			return err
		}
		if err := run.add(t, l.num, e.Seq); err != nil {
			return err
		}
		if i == 0 || events[i-1].Conv != e.Conv || events[i-1].Seq >= e.Seq {
			l.from, l.to = 0, 0
			if err := t.survey(l, events[i:]); err != nil {
				return err
			}
		}
		if err := t.putEvent(l, &e); err != nil {
			return err
		}
	}
	return run.end(t)
}

// putEvent stores one event by the rules of package store.
func (t *tx) putEvent(l *log, e *store.Event) error {
	id := eventID(l.num, e.Seq)
	state, known := -1, false
	if !l.unseen(e.Seq) {
		var err error
		if known, err = t.c.row(`SELECT state FROM events WHERE id = ?`, []any{id}, &state); err != nil {
			return err
		}
	}
	if e.Stub() {
		return t.putStub(l, e, known, state)
	}
	full := known && state == stateFull
	drop := e.Gone || known && state >= stateDropped
	if e.Kind == chat.KindEdit && !drop {
		target := -1
		if _, err := t.c.row(`SELECT state FROM events WHERE id = ?`, []any{eventID(l.num, min(e.Re, store.MaxSeq))}, &target); err != nil {
			return err
		}
		drop = target >= stateDropped
	}
	if err := t.putKnown(l, e, full, drop); err != nil {
		return err
	}
	if drop && (!known || state < stateDropped) {
		if err := t.dropEdits(l, e.Seq); err != nil {
			return err
		}
	}
	if e.Kind == chat.KindDelete && e.Re != 0 {
		return t.drop(l, e.Re)
	}
	return nil
}

// putKnown stores an event of which it is known whether it takes the place of one with a body (full), and whether it comes
// without its own (drop).
func (t *tx) putKnown(l *log, e *store.Event, full, drop bool) error {
	state := stateFull
	if drop {
		e.Drop()
		state = stateDropped
		t.dropped = t.dropped || full
	}
	switch {
	case full || e.Kind == chat.KindEdit && !drop:
		return t.replace(l, e, state)
	case e.Kind == chat.KindPost && !drop:
		newest := e
		if !l.unseen(e.Seq) {
			var err error
			if newest, err = t.newest(l.num, e, 0); err != nil {
				return err
			}
		}
		doc, err := t.index(l.num, e, newest)
		if err != nil {
			return err
		}
		return t.write(l, e, state, doc)
	}
	return t.write(l, e, state, nil)
}

// replace stores an event that changes what some post's text is: the index of words is told before and after.
func (t *tx) replace(l *log, e *store.Event, state int) error {
	posts := []uint64{e.Seq}
	if e.Kind == chat.KindEdit {
		posts = append(posts, e.Re)
	}
	var target *int64 // of the edit that it takes the place of
	if _, err := t.c.row(`SELECT target FROM events WHERE id = ? AND kind = 2`, []any{eventID(l.num, e.Seq)}, &target); err != nil {
		return err
	}
	if target != nil && !slices.Contains(posts, seqOf(*target)) {
		posts = append(posts, seqOf(*target))
	}
	for _, seq := range posts {
		if err := t.unindex(l.num, seq); err != nil {
			return err
		}
	}
	if err := t.write(l, e, state, nil); err != nil {
		return err
	}
	for _, seq := range posts {
		if err := t.reindex(l.num, seq); err != nil {
			return err
		}
	}
	return nil
}

// putStub notes that there is an event, unless more is known of it.
func (t *tx) putStub(l *log, e *store.Event, known bool, state int) error {
	stub := store.Event{Conv: e.Conv, Event: chat.Event{Seq: e.Seq, Kind: e.Kind}, Gone: true}
	switch {
	case !known || state == stateStub:
		return t.write(l, &stub, stateStub, nil)
	case state == stateAwaited:
		return t.write(l, &stub, stateDropped, nil)
	case state == stateDropped: // a stub of before has no body
		_, err := t.c.exec(`UPDATE events SET kind = ? WHERE id = ? AND body IS NULL`, int(e.Kind), eventID(l.num, e.Seq))
		return err
	}
	return nil
}

// write stores a row; doc is its number in the index of words, or nil.
func (t *tx) write(l *log, e *store.Event, state int, doc any) error {
	var target, root, sid, due any
	var body []byte
	if !e.Stub() {
		if e.Re != 0 && e.Re <= store.MaxSeq && e.Kind >= chat.KindEdit && e.Kind <= chat.KindUnpin {
			target = eventID(l.num, e.Re)
		}
		if e.Thread != 0 && e.Thread <= store.MaxSeq {
			root = eventID(l.num, e.Thread)
		}
		if d := e.Due(); d != 0 {
			due = d
		}
		sid = null(e.ID)
		body = protocol.EncodeStored(nil, &e.Event)
	}
	insert := `INSERT`
	if !l.unseen(e.Seq) {
		insert = `REPLACE`
	}
	_, err := t.c.exec(insert+` INTO events (id, kind, state, target, root, sid, due, doc, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		eventID(l.num, e.Seq), int(e.Kind), state, target, root, sid, due, doc, body)
	l.wrote(e.Seq, e.Re)
	return err
}

// spanRun gathers seqs that follow each other, so that a batch is one span.
type spanRun struct {
	log  int64
	span store.Span
}

func (r *spanRun) add(t *tx, num int64, seq uint64) error {
	switch {
	case r.log == num && seq == r.span.Last+1:
		r.span.Last = seq
		return nil
	case r.log == num && seq+1 == r.span.First:
		r.span.First = seq
		return nil
	}
	err := r.end(t)
	*r = spanRun{num, store.Span{First: seq, Last: seq}}
	return err
}

func (r *spanRun) end(t *tx) error {
	if r.log == 0 {
		return nil
	}
	return t.addSpan(r.log, r.span)
}

func (t *tx) PutSpan(conv string, s store.Span) error {
	if err := s.Check(); err != nil {
		return err
	}
	l, err := t.log(conv)
	if err != nil {
		return err
	}
	return t.addSpan(l.num, s)
}

// addSpan joins what it touches.
func (t *tx) addSpan(num int64, s store.Span) error {
	// Spans neither overlap nor touch: their ends ascend with their beginnings. So those that s touches are the last ones that
	// begin no later than behind it, down to the first that ends before it.
	joined, n := s, 0
	err := t.c.rows(`SELECT first, last FROM spans WHERE log = ?1 AND first <= ?3 + 1 AND
			first >= coalesce((SELECT max(first) FROM spans WHERE log = ?1 AND first <= ?2), 0) AND last >= ?2 - 1`,
		[]any{num, int64(s.First), int64(s.Last)}, func(scan func(...any) error) error {
			var old store.Span
			err := scan(bits{&old.First}, bits{&old.Last})
			joined = store.Span{First: min(joined.First, old.First), Last: max(joined.Last, old.Last)}
			n++
			return err
		})
	if err != nil {
		return err
	}
	if n > 0 {
		if _, err := t.c.exec(`DELETE FROM spans WHERE log = ? AND first BETWEEN ? AND ? AND first <> ?`, num, int64(joined.First), int64(joined.Last), int64(joined.First)); err != nil {
			return err
		}
	}
	_, err = t.c.exec(`INSERT INTO spans (log, first, last) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last = excluded.last WHERE last <> excluded.last`,
		num, int64(joined.First), int64(joined.Last))
	return err
}
