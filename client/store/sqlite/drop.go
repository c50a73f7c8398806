package sqlite

import (
	"fmt"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

func (t *tx) DropBodies(conv string, seqs []uint64) error {
	for _, seq := range seqs {
		if err := (store.Span{First: seq, Last: seq}).Check(); err != nil {
			return err
		}
	}
	l, err := t.log(conv)
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		if err := t.drop(l, seq); err != nil {
			return err
		}
	}
	return nil
}

// dropMost bounds what DropDue does at once.
const dropMost = 1000

func (t *tx) DropDue(now int64) (out []store.Event, err error) {
	type place struct {
		conv string
		seq  uint64
	}
	var due []place
	err = t.c.rows(`SELECT logs.id, events.id FROM events JOIN logs ON logs.num = events.id >> 40 WHERE due <= ? ORDER BY due, logs.id, events.id LIMIT ?`,
		[]any{now, dropMost}, func(scan func(...any) error) error {
			var p place
			var id int64
			err := scan(&p.conv, &id)
			p.seq = seqOf(id)
			due = append(due, p)
			return err
		})
	if err != nil {
		return nil, err
	}
	for _, p := range due {
		l, err := t.log(p.conv)
		if err != nil {
			return nil, err
		}
		if err := t.drop(l, p.seq); err != nil {
			return nil, err
		}
		e, err := t.Event(p.conv, p.seq)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// drop takes the body of an event and those of its edits, for good, whether it is here or still to come.
func (t *tx) drop(l *log, seq uint64) error {
	if seq > store.MaxSeq {
		return nil // there is no such event
	}
	id := eventID(l.num, seq)
	var state int
	known, err := t.c.row(`SELECT state FROM events WHERE id = ?`, []any{id}, &state)
	if err != nil {
		return err
	}
	switch {
	case !known:
		_, err = t.c.exec(`INSERT INTO events (id, kind, state) VALUES (?, ?, ?)`, id, int(chat.KindGone), stateAwaited)
		l.reserved(seq)
	case state == stateStub:
		_, err = t.c.exec(`UPDATE events SET state = ? WHERE id = ?`, stateDropped, id)
	case state == stateFull:
		err = t.dropFull(l, seq)
	}
	if err != nil {
		return err
	}
	return t.dropEdits(l, seq)
}

func (t *tx) dropEdits(l *log, seq uint64) error {
	var edits []int64
	err := t.c.rows(`SELECT id FROM events WHERE target = ? AND kind = 2 AND state = 0`, []any{eventID(l.num, seq)}, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		edits = append(edits, id)
		return err
	})
	for i := 0; err == nil && i < len(edits); i++ {
		err = t.drop(l, seqOf(edits[i]))
	}
	return err
}

// dropFull takes the body of an event that has one.
func (t *tx) dropFull(l *log, seq uint64) error {
	all, err := t.events("", `SELECT `+eventColumns+` FROM events WHERE id = ?`, eventID(l.num, seq))
	if err != nil || len(all) == 0 {
		return err
	}
	e := all[0]
	e.Drop()
	t.dropped = true
	return t.replace(l, &e, stateDropped)
}

// deleteLog removes all that is kept of a log.
func (t *tx) deleteLog(conv string) error {
	num, err := t.logNum(conv)
	if err != nil || num == 0 {
		return err
	}
	for {
		var posts []uint64
		err := t.c.rows(`SELECT id FROM events WHERE id BETWEEN ? AND ? AND doc IS NOT NULL LIMIT ?`,
			[]any{eventID(num, 0), eventID(num, store.MaxSeq), dropMost}, func(scan func(...any) error) error {
				var id int64
				err := scan(&id)
				posts = append(posts, seqOf(id))
				return err
			})
		if err != nil {
			return err
		}
		if len(posts) == 0 {
			break
		}
		for _, seq := range posts {
			if err := t.unindex(num, seq); err != nil {
				return err
			}
		}
	}
	delete(t.s.logs, conv)
	if _, err := t.c.exec(`DELETE FROM events WHERE id BETWEEN ? AND ?`, eventID(num, 0), eventID(num, store.MaxSeq)); err != nil {
		return fmt.Errorf("removing %q: %w", conv, err)
	}
	for _, query := range []string{`DELETE FROM spans WHERE log = ?`, `DELETE FROM logs WHERE num = ?`} {
		if _, err := t.c.exec(query, num); err != nil {
			return err
		}
	}
	return nil
}
