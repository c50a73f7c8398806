package search

import (
	"errors"
	"time"

	"github.com/petrelchat/petrel/chat"
)

const (
	dueStep    = 256
	auditStep  = 512
	purgeEvery = time.Hour
	purgePages = 64 // that a step of a merge writes
)

// tidy forgets what has disappeared, compares a few rows with the logs, and now and then rewrites the index without what
// was deleted. It is called when there is nothing to read.
func (x *Index) tidy() error {
	if err := x.expire(); err != nil {
		return err
	}
	if err := x.check(); err != nil {
		return err
	}
	if x.o.Now().Sub(x.feed.purged) < purgeEvery {
		return nil
	}
	x.feed.purged = x.o.Now()
	return x.purge()
}

// expire forgets texts whose time is over.
func (x *Index) expire() error {
	for {
		now := x.o.Now().UnixMilli()
		ids, err := x.ids(`SELECT id FROM docs WHERE gone > 0 AND gone <= ? LIMIT ?`, now, dueStep)
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := x.forgetAll(ids); err != nil {
			return err
		}
	}
}

func (x *Index) ids(q string, args ...any) (ids []int64, err error) {
	rows, err := x.db.w.Query(q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func (x *Index) forgetAll(ids []int64) error {
	began := time.Now()
	w, err := x.begin()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := w.forget(id); err != nil {
			return errors.Join(err, w.rollback())
		}
	}
	if err := w.tx.Commit(); err != nil {
		return err
	}
	x.stats.docs.Add(w.added)
	if !x.rest(time.Since(began)) {
		return errStopped
	}
	return nil
}

// row is what the index knows of a text.
type row struct {
	id       int64
	log      string
	seq, src uint64
}

// check compares some rows with the logs, round and round: what was cut off or erased without an event leaves the index so,
// whatever happened meanwhile. Searches don't show it in any case.
func (x *Index) check() error {
	began := time.Now()
	rows, err := x.db.w.Query(`SELECT d.id, c.name, d.seq, d.src FROM docs d JOIN convs c ON c.num = d.conv WHERE d.id > ? ORDER BY d.id LIMIT ?`,
		x.feed.audit, auditStep)
	if err != nil {
		return err
	}
	var all []row
	for rows.Next() {
		var r row
		var seq, src int64
		if err := rows.Scan(&r.id, &r.log, &seq, &src); err != nil {
			return errors.Join(err, rows.Close())
		}
		r.seq, r.src = uint64(seq), uint64(src)
		all = append(all, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if len(all) == 0 {
		x.feed.audit = 0
		return nil
	}
	var gone []int64
	for _, r := range all {
		ok, err := x.stands(&r)
		if err != nil {
			return err
		}
		if !ok {
			gone = append(gone, r.id)
		}
	}
	x.feed.audit = all[len(all)-1].id
	if !x.rest(time.Since(began)) {
		return errStopped
	}
	if len(gone) == 0 {
		return nil
	}
	return x.forgetAll(gone)
}

// stands reports whether the text that a row stands for is in the log.
func (x *Index) stands(r *row) (bool, error) {
	ev, ok, err := x.event(r.log, r.seq)
	if err != nil || !ok || ev.Kind != chat.KindPost {
		return false, err
	}
	if r.src != r.seq {
		ev, ok, err = x.event(r.log, r.src)
	}
	return ok && ev.Kind != chat.KindGone && ev.Text != "", err
}

// purge merges all segments of the index into one, which leaves out what was deleted, in small steps.
func (x *Index) purge() error {
	var deleted int64
	if err := x.db.w.QueryRow(`SELECT coalesce(max(v), 0) FROM meta WHERE k = 'deleted'`).Scan(&deleted); err != nil || deleted == 0 {
		return err
	}
	pages := -purgePages // negative: begin to merge everything (SQLite FTS5 §6.9)
	for {
		began := time.Now()
		var before, after int64
		if err := x.db.w.QueryRow(`SELECT total_changes()`).Scan(&before); err != nil {
			return err
		}
		if _, err := x.db.w.Exec(`INSERT INTO words(words, rank) VALUES ('merge', ?)`, pages); err != nil {
			return err
		}
		if err := x.db.w.QueryRow(`SELECT total_changes()`).Scan(&after); err != nil {
			return err
		}
		if after-before < 2 {
			break // SQLite FTS5 §6.9: there was no work to do
		}
		if !x.rest(time.Since(began)) {
			return errStopped
		}
		pages = purgePages
	}
	if _, err := x.db.w.Exec(`UPDATE meta SET v = 0 WHERE k = 'deleted'`); err != nil {
		return err
	}
	// Pages of before are in the write-ahead log still. One that is being read stays until the next time.
	_, err := x.db.w.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}
