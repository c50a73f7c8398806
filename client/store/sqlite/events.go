package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/internal/find"
	"github.com/petrelchat/petrel/protocol"
)

// logNum returns the number of a log; 0: there is none.
func (r *reader) logNum(conv string) (num int64, err error) {
	_, err = r.c.row(`SELECT num FROM logs WHERE id = ?`, []any{conv}, &num)
	return num, err
}

// eventColumns go with scanEvent.
const eventColumns = `id, kind, state, body`

// scanEvent reads a row. A stub has no body.
func scanEvent(conv string, scan func(...any) error) (e store.Event, err error) {
	var id int64
	var kind chat.Kind
	var state int
	var body []byte
	if err := scan(&id, &kind, &state, &body); err != nil {
		return e, err
	}
	e.Conv, e.Gone = conv, state != stateFull
	if body == nil {
		e.Event = chat.Event{Seq: seqOf(id), Kind: kind}
		return e, nil
	}
	if e.Event, err = protocol.DecodeStored(body); err != nil {
		return e, fmt.Errorf("%w: event %d of %q: %w", store.ErrDamaged, seqOf(id), conv, err)
	}
	return e, nil
}

// events runs a query for eventColumns.
func (r *reader) events(conv, query string, args ...any) (out []store.Event, err error) {
	err = r.c.rows(query, args, func(scan func(...any) error) error {
		e, err := scanEvent(conv, scan)
		out = append(out, e)
		return err
	})
	return out, err
}

func (r *reader) Event(conv string, seq uint64) (store.Event, error) {
	if num, err := r.logNum(conv); err != nil {
		return store.Event{}, err
	} else if num != 0 && seq <= store.MaxSeq {
		all, err := r.events(conv, `SELECT `+eventColumns+` FROM events WHERE id = ? AND state < 3`, eventID(num, seq))
		if err != nil || len(all) > 0 {
			return first(all), err
		}
	}
	return store.Event{}, fmt.Errorf("%w: event %d of %q", store.ErrNotFound, seq, conv)
}

func first(all []store.Event) (e store.Event) {
	if len(all) > 0 {
		e = all[0]
	}
	return e
}

func (r *reader) Events(q store.EventQuery) ([]store.Event, error) {
	num, err := r.logNum(q.Conv)
	if err != nil || num == 0 || q.Thread > store.MaxSeq {
		return nil, err
	}
	hi := uint64(store.MaxSeq + 1)
	if q.Before > 0 {
		hi = min(hi, q.Before)
	}
	where := "state < 3 AND id > ? AND id < ?"
	args := []any{eventID(num, min(q.After, store.MaxSeq)), num<<seqBits + int64(hi)}
	if q.Kinds != nil {
		if !slices.ContainsFunc(q.Kinds, func(k chat.Kind) bool { return k != chat.KindPin && k != chat.KindUnpin }) {
			where += " AND kind IN (6, 7)" // these words find the index of pins
		}
		in, numbers := oneOf(q.Kinds)
		where, args = where+" AND kind IN "+in, append(args, numbers...)
	}
	if q.Thread != 0 {
		where, args = where+" AND root = ?", append(args, eventID(num, q.Thread))
	}
	order := "id DESC"
	if q.After > 0 {
		order = "id"
	}
	out, err := r.events(q.Conv, `SELECT `+eventColumns+` FROM events WHERE `+where+` ORDER BY `+order+` LIMIT ?`, append(args, store.LimitOf(q.Limit))...)
	if q.After == 0 {
		slices.Reverse(out)
	}
	return out, err
}

// ids is a JSON array of numbers of events.
func ids(num int64, seqs []uint64) string {
	var b strings.Builder
	b.WriteByte('[')
	for _, seq := range seqs {
		if seq > store.MaxSeq {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(eventID(num, seq), 10))
	}
	b.WriteByte(']')
	return b.String()
}

func (r *reader) Replies(conv string, roots []uint64) (map[uint64]int, error) {
	out := make(map[uint64]int)
	num, err := r.logNum(conv)
	if err != nil || num == 0 {
		return out, err
	}
	err = r.c.rows(`SELECT root, count(*) FROM events WHERE root IN (SELECT value FROM json_each(?)) AND kind = 1 AND state = 0 GROUP BY root`,
		[]any{ids(num, roots)}, func(scan func(...any) error) error {
			var root int64
			var n int
			err := scan(&root, &n)
			out[seqOf(root)] = n
			return err
		})
	return out, err
}

func (r *reader) EventByID(conv, id string) (store.Event, error) {
	if num, err := r.logNum(conv); err != nil {
		return store.Event{}, err
	} else if num != 0 && id != "" {
		all, err := r.events(conv, `SELECT `+eventColumns+` FROM events WHERE sid = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT 1`,
			id, eventID(num, 0), eventID(num, store.MaxSeq))
		if err != nil || len(all) > 0 {
			return first(all), err
		}
	}
	return store.Event{}, fmt.Errorf("%w: event with id %q of %q", store.ErrNotFound, id, conv)
}

func (r *reader) Spans(conv string) (out []store.Span, err error) {
	err = r.c.rows(`SELECT first, last FROM spans WHERE log = (SELECT num FROM logs WHERE id = ?) ORDER BY first`, []any{conv},
		func(scan func(...any) error) error {
			var s store.Span
			err := scan(bits{&s.First}, bits{&s.Last})
			out = append(out, s)
			return err
		})
	return out, err
}

func (r *reader) NextDue() (at int64, ok bool, err error) {
	ok, err = r.c.row(`SELECT due FROM events WHERE due IS NOT NULL ORDER BY due LIMIT 1`, nil, &at)
	return at, ok, err
}

// proposals is how many rows of the index of words are looked at at once.
const proposals = 128

func (r *reader) Search(q store.SearchQuery) (out []store.Hit, err error) {
	query, err := find.Parse(q.Text)
	if err != nil || query.Empty() {
		return nil, err
	}
	match, below, err := r.aim(&q, query.FTS())
	if err != nil || match == "" {
		return nil, err
	}
	r.c.ctx = r.ctx
	defer func() { r.c.ctx = context.Background() }()
	for limit := store.LimitOf(q.Limit); ; {
		var docs []int64
		err := r.c.rows(`SELECT rowid FROM words WHERE words MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?`, []any{match, below, proposals},
			func(scan func(...any) error) error {
				var doc int64
				err := scan(&doc)
				docs = append(docs, doc)
				return err
			})
		if err := r.ctx.Err(); err != nil {
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		for _, doc := range docs {
			hit, ok, err := r.judge(doc, &q, query)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, hit)
			}
			if len(out) == limit {
				return out, nil
			}
		}
		if len(docs) < proposals {
			return out, nil
		}
		below = docs[len(docs)-1]
	}
}

// aim adds to a query for the index in which conversation and from whom, and finds where the page begins. An empty
// query finds nothing.
func (r *reader) aim(q *store.SearchQuery, fts string) (match string, below int64, err error) {
	if fts == "" {
		return "", 0, nil
	}
	match, below = fts, 1<<63-1
	if q.Conv != "" {
		num, err := r.logNum(q.Conv)
		if err != nil || num == 0 {
			return "", 0, err
		}
		match += ` AND "` + string(appendConvToken(nil, num)) + `"`
	}
	if q.From != "" {
		match += ` AND "` + string(appendFromToken(nil, q.From)) + `"`
	}
	if q.After == nil {
		return match, below, nil
	}
	below = docOf(q.After.At, 0)
	num, err := r.logNum(q.After.Conv)
	if err != nil {
		return "", 0, err
	}
	// The place of the last hit, if it is still there.
	_, err = r.c.row(`SELECT doc FROM events WHERE id = ? AND doc IS NOT NULL`, []any{eventID(num, min(q.After.Seq, store.MaxSeq))}, &below)
	return match, below, err
}

// judge reads what a row that the index proposes stands for, and decides.
func (r *reader) judge(doc int64, q *store.SearchQuery, query find.Query) (hit store.Hit, ok bool, err error) {
	var conv string
	var event, src int64
	found, err := r.c.row(`SELECT logs.id, docs.event, docs.src FROM docs JOIN logs ON logs.num = docs.event >> 40 WHERE docs.id = ?`, []any{doc}, &conv, &event, &src)
	if err != nil || !found {
		return hit, false, err
	}
	post, newest, err := r.texts(conv, event>>seqBits, seqOf(event), uint64(src))
	if err != nil || post == nil || newest == nil {
		return hit, false, err
	}
	if q.From != "" && post.From != q.From || q.Now > 0 && (post.Expired(q.Now) || newest.Expired(q.Now)) {
		return hit, false, nil
	}
	marks, ok := query.Match(newest.Text)
	return store.Hit{Event: *post, Text: newest.Text, Marks: marks}, ok, nil
}
