package search

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/words"
)

// batch is what one transaction changes. Of several changes of a post only the last one counts.
type batch struct {
	docs   map[docKey]*doc
	next   map[string]uint64   // logs that were read, and where they go on
	groups map[string]struct{} // whose settings or members changed
	last   map[string]int64    // time of the last event of groups
	text   int                 // bytes
}

type docKey struct {
	log string
	seq uint64
}

type doc struct {
	docKey
	id     int64
	at     int64 // of the post
	from   string
	fresh  bool // the post itself was read with the batch: no row has its text yet
	src    uint64
	gone   int64
	tokens []byte // nil: the post is to be forgotten
}

func newBatch() *batch {
	return &batch{docs: make(map[docKey]*doc), next: make(map[string]uint64), groups: make(map[string]struct{}), last: make(map[string]int64)}
}

func (b *batch) full() bool { return len(b.docs) >= batchDocs || b.text >= batchText }

// set gives a post the text of src, which is the post itself or an edit of it.
func (b *batch) set(log string, post, src *chat.Event, fresh bool) {
	d := b.doc(log, post)
	d.fresh = d.fresh || fresh
	d.src, d.gone = src.Seq, src.Due()
	if g := post.Due(); g > 0 && (d.gone == 0 || g < d.gone) {
		d.gone = g
	}
	d.tokens = words.AppendTokens(nil, src.Text)
	b.text += len(src.Text)
}

// drop forgets a post.
func (b *batch) drop(log string, post *chat.Event) { b.doc(log, post).tokens = nil }

func (b *batch) doc(log string, post *chat.Event) *doc {
	k := docKey{log, post.Seq}
	d := b.docs[k]
	if d == nil {
		d = &doc{docKey: k, at: post.At, from: post.From}
		b.docs[k] = d
	}
	return d
}

// chunk is how many rows are written between two rests.
const chunk = 64

// apply stores a batch, with rests between. It returns errStopped, and has stored nothing, when the index is being closed.
func (x *Index) apply(b *batch, began time.Time) error {
	if len(b.next) == 0 {
		return nil
	}
	w, err := x.begin()
	if err != nil {
		return err
	}
	if err := w.store(b, began); err != nil {
		return errors.Join(err, w.rollback())
	}
	if err := w.tx.Commit(); err != nil {
		clear(x.feed.convs)
		clear(x.feed.users)
		return err
	}
	x.stats.docs.Add(w.added)
	x.public.apply(w.public)
	return nil
}

// writer is one transaction.
type writer struct {
	x      *Index
	tx     *sql.Tx
	stmts  map[string]*sql.Stmt
	added  int64 // rows, less those that went
	public []publicChange
}

func (x *Index) begin() (*writer, error) {
	tx, err := x.db.w.Begin()
	return &writer{x: x, tx: tx, stmts: make(map[string]*sql.Stmt)}, err
}

func (w *writer) rollback() error {
	clear(w.x.feed.convs) // numbers that were given and are not stored
	clear(w.x.feed.users)
	return w.tx.Rollback()
}

func (w *writer) stmt(q string) (*sql.Stmt, error) {
	if s, ok := w.stmts[q]; ok {
		return s, nil
	}
	s, err := w.tx.Prepare(q)
	if err == nil {
		w.stmts[q] = s
	}
	return s, err
}

func (w *writer) exec(q string, args ...any) (rows int64, err error) {
	s, err := w.stmt(q)
	if err != nil {
		return 0, err
	}
	res, err := s.Exec(args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// number returns the result of a query; ok is false if there is none.
func (w *writer) number(q string, args ...any) (n int64, ok bool, err error) {
	s, err := w.stmt(q)
	if err != nil {
		return 0, false, err
	}
	err = s.QueryRow(args...).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return n, err == nil, err
}

func (w *writer) store(b *batch, began time.Time) error {
	all := make([]*doc, 0, len(b.docs))
	for _, d := range b.docs {
		conv, err := w.conv(d.log)
		if err != nil {
			return err
		}
		d.id = rowID(d.at, conv, d.seq)
		all = append(all, d)
	}
	// FTS5 gathers rows in memory for as long as their numbers ascend.
	slices.SortFunc(all, func(a, b *doc) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.seq, b.seq)) })
	for i, d := range all {
		if i%chunk == chunk-1 {
			if !w.x.rest(time.Since(began)) {
				return errStopped
			}
			began = time.Now()
		}
		if err := w.put(d); err != nil {
			return err
		}
	}
	for log, next := range b.next {
		conv, err := w.conv(log)
		if err != nil {
			return err
		}
		if _, err := w.exec(`UPDATE convs SET next = ? WHERE num = ?`, next, conv); err != nil {
			return err
		}
	}
	if err := w.storeGroups(b); err != nil {
		return err
	}
	if !w.x.rest(time.Since(began)) {
		return errStopped
	}
	return nil
}

// put makes the rows of a post what they should be.
func (w *writer) put(d *doc) error {
	conv, err := w.conv(d.log)
	if err != nil {
		return err
	}
	if !d.fresh {
		id, found, err := w.number(`SELECT id FROM docs WHERE id BETWEEN ? AND ? AND conv = ? AND seq = ?`, d.id, d.id+drift<<timeShift, conv, int64(d.seq))
		if err != nil {
			return err
		}
		if found {
			if err := w.forget(id); err != nil {
				return err
			}
		}
	}
	if len(d.tokens) == 0 {
		return nil
	}
	user, err := w.user(d.from)
	if err != nil {
		return err
	}
	for try := range int64(drift) {
		id := d.id + try<<timeShift
		n, err := w.exec(`INSERT OR IGNORE INTO docs VALUES (?, ?, ?, ?, ?)`, id, conv, int64(d.seq), int64(d.src), d.gone)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		t := append(appendNumber(nil, baseConv, conv), ' ')
		t = append(appendNumber(t, baseSender, user), d.tokens...) // which begin with a space
		w.added++
		_, err = w.exec(`INSERT INTO words(rowid, t) VALUES (?, ?)`, id, string(t))
		return err
	}
	w.x.o.Log.Warn("a message is not searchable: too many came in the same millisecond", "conv", d.log, "seq", d.seq)
	return nil
}

// forget removes a row. Its tokens leave the file when the segments of the index that hold them are merged: see tidy.
func (w *writer) forget(id int64) error {
	n, err := w.exec(`DELETE FROM docs WHERE id = ?`, id)
	if err != nil || n == 0 {
		return err
	}
	w.added--
	if _, err := w.exec(`DELETE FROM words WHERE rowid = ?`, id); err != nil {
		return err
	}
	_, err = w.exec(`INSERT INTO meta VALUES ('deleted', 1) ON CONFLICT (k) DO UPDATE SET v = v + 1`)
	return err
}

// numbersMax bounds the numbers that are remembered.
const numbersMax = 20_000

func (w *writer) conv(name string) (int64, error) {
	return w.named(w.x.feed.convs, name, `SELECT num FROM convs WHERE name = ?`, `INSERT INTO convs(name) VALUES (?)`)
}

func (w *writer) user(name string) (int64, error) {
	return w.named(w.x.feed.users, name, `SELECT num FROM users WHERE name = ?`, `INSERT INTO users(name) VALUES (?)`)
}

// named returns the number of a name, a new one if it has none.
func (w *writer) named(known map[string]int64, name, find, add string) (int64, error) {
	if n, ok := known[name]; ok {
		return n, nil
	}
	n, ok, err := w.number(find, name)
	if err != nil {
		return 0, err
	}
	if !ok {
		s, err := w.stmt(add)
		if err != nil {
			return 0, err
		}
		res, err := s.Exec(name)
		if err != nil {
			return 0, err
		}
		if n, err = res.LastInsertId(); err != nil {
			return 0, err
		}
	}
	if n >= baseSize*baseSize {
		return 0, fmt.Errorf("search: %q would be number %d, and tokens end before", name, n)
	}
	if len(known) >= numbersMax {
		clear(known)
	}
	known[name] = n
	return n, nil
}
