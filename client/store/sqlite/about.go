package sqlite

import (
	"math"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

func (r *reader) About(q store.AboutQuery) (map[uint64]store.Acts, error) {
	out := make(map[uint64]store.Acts)
	num, err := r.logNum(q.Conv)
	if err != nil || num == 0 || len(q.Seqs) == 0 {
		return out, err
	}
	var seqs []uint64
	err = r.c.rows(`SELECT DISTINCT target FROM events WHERE target IN (SELECT value FROM json_each(?))`, []any{ids(num, q.Seqs)},
		func(scan func(...any) error) error {
			var target int64
			err := scan(&target)
			seqs = append(seqs, seqOf(target))
			return err
		})
	for i := 0; err == nil && i < len(seqs); i++ {
		var a store.Acts
		if a, err = r.acts(&q, num, seqs[i]); !a.Empty() {
			out[seqs[i]] = a
		}
	}
	return out, err
}

// acts folds what acts upon an event. Only what counts is read: bodies of edits that others followed stay on the disk.
func (r *reader) acts(q *store.AboutQuery, num int64, seq uint64) (a store.Acts, err error) {
	target := eventID(num, seq)
	posts, err := r.events(q.Conv, `SELECT `+eventColumns+` FROM events WHERE id = ? AND state < 3`, target)
	if err != nil {
		return a, err
	}
	f := store.NewFold(q.Me)
	if len(posts) > 0 {
		newest, err := r.newest(num, &posts[0], q.Now)
		if err != nil {
			return a, err
		}
		if newest != &posts[0] {
			newest.Conv = q.Conv
			f.Act(newest)
		}
	}
	for _, kinds := range []string{"(3)", "(6, 7)"} {
		// The sign keeps the index of all pins out of it.
		last, err := r.events(q.Conv, `SELECT `+eventColumns+` FROM events WHERE target = ? AND +kind IN `+kinds+` ORDER BY id DESC LIMIT 1`, target)
		if err != nil {
			return a, err
		}
		if len(last) > 0 {
			f.Act(&last[0])
		}
	}
	err = r.c.rows(`SELECT `+eventColumns+` FROM events WHERE target = ? AND kind IN (4, 5) AND state = 0 ORDER BY id DESC LIMIT ?`,
		[]any{target, store.ReactionsMost}, func(scan func(...any) error) error {
			e, err := scanEvent(q.Conv, scan)
			f.React(&e)
			return err
		})
	return f.Acts(), err
}

// newest returns the event whose text a post has at that time (0: whatever is stored counts): its author's newest edit, or the
// post itself.
func (r *reader) newest(num int64, post *store.Event, now int64) (*store.Event, error) {
	// One after the other: the first is it, as a rule, and nothing bounds how many there are.
	target := eventID(num, post.Seq)
	for below := int64(math.MaxInt64); ; {
		edits, err := r.events("", `SELECT `+eventColumns+` FROM events WHERE target = ?1 AND id > ?1 AND id < ?2 AND kind = 2 AND state = 0
			AND (due IS NULL OR ?3 = 0 OR due > ?3) ORDER BY id DESC LIMIT 1`, target, below, now)
		if err != nil {
			return nil, err
		}
		if len(edits) == 0 {
			return post, nil
		}
		if e := &edits[0]; e.Kind == chat.KindEdit && e.From == post.From {
			return e, nil
		}
		below = eventID(num, edits[0].Seq)
	}
}
