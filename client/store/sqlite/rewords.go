package sqlite

import (
	"context"
	"fmt"

	"github.com/petrelchat/petrel/client/store"
)

// wordsVersion is the version of the words (words.Version) that the steps lead to.
const wordsVersion = 2

// rewords is a step for when texts have other words than before: it makes the index of words anew. Not only would it not find what it
// should: to delete a text the index must be told the words that it has of it.
func rewords(c *conn) error {
	if _, err := c.exec(`INSERT INTO words (words) VALUES ('delete-all')`); err != nil {
		return err
	}
	t := &tx{reader: reader{c: c, ctx: context.Background()}}
	if err := t.refill(); err != nil {
		return err
	}
	return t.fill()
}

// refillAtOnce is how many rows are read before they are written: the connection does one of both at a time.
const refillAtOnce = 512

// refill puts into the index what is to be in it by its rows, in their order, which is the cheapest.
func (t *tx) refill() error {
	type row struct{ id, event, src int64 }
	for last := int64(-1); ; {
		var docs []row
		err := t.c.rows(`SELECT id, event, src FROM docs WHERE id > ? ORDER BY id LIMIT ?`, []any{last, refillAtOnce}, func(scan func(...any) error) error {
			var d row
			err := scan(&d.id, &d.event, &d.src)
			docs = append(docs, d)
			return err
		})
		if err != nil || len(docs) == 0 {
			return err
		}
		for _, d := range docs {
			num := d.event >> seqBits
			post, newest, err := t.texts("", num, seqOf(d.event), uint64(d.src))
			if err == nil && (post == nil || newest == nil) {
				err = fmt.Errorf("%w: the index of words names an event that is not there", store.ErrDamaged)
			}
			if err != nil {
				return err
			}
			if text := tokens(num, post, newest); text != "" {
				_, err = t.c.exec(`INSERT INTO words (rowid, t) VALUES (?, ?)`, d.id, text)
			} else if _, err = t.c.exec(`DELETE FROM docs WHERE id = ?`, d.id); err == nil {
				_, err = t.c.exec(`UPDATE events SET doc = NULL WHERE id = ?`, d.event)
			}
			if err != nil {
				return err
			}
			last = d.id
		}
	}
}

// fill adds the posts that had no words.
func (t *tx) fill() error {
	for last := int64(-1); ; {
		var posts []int64
		err := t.c.rows(`SELECT id FROM events WHERE id > ? AND kind = 1 AND state = 0 AND doc IS NULL ORDER BY id LIMIT ?`, []any{last, refillAtOnce}, func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			posts = append(posts, id)
			return err
		})
		if err != nil || len(posts) == 0 {
			return err
		}
		for _, id := range posts {
			if err := t.reindex(id>>seqBits, seqOf(id)); err != nil {
				return err
			}
			last = id
		}
	}
}
