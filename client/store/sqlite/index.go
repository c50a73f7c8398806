package sqlite

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/internal/words"
)

// The index of words. A row's number begins with its time, so that the newest hits are the highest rows. The index keeps no
// texts (it is contentless): to delete a row it must be told the tokens that were put in, so a text leaves the index
// before it leaves its event.

const docBits = 20

// docOf is the lowest number of a row of that time; n tells rows of one millisecond apart.
func docOf(at int64, n uint32) int64 {
	return min(max(at, 0), 1<<(63-docBits)-1)<<docBits | int64(n&(1<<docBits-1))
}

// Tokens that no text has, since they begin with a character for private use.
func appendConvToken(dst []byte, num int64) []byte {
	return strconv.AppendInt(append(dst, "\uf8fe"...), num, 36)
}

func appendFromToken(dst []byte, from string) []byte {
	h := fnv.New32a()
	_, _ = h.Write([]byte(from)) // never fails
	return strconv.AppendUint(append(dst, "\uf8ff"...), uint64(h.Sum32()), 36)
}

// tokens is what the index holds of a post with the text of src; "": it cannot be found.
func tokens(num int64, post, src *store.Event) string {
	out := words.AppendTokens(make([]byte, 0, 2*len(src.Text)+32), src.Text)
	if len(out) == 0 {
		return ""
	}
	out = appendConvToken(append(out, ' '), num)
	return string(appendFromToken(append(out, ' '), post.From))
}

// index adds a post by the text of src, and returns the number of its row; nil: it has no words.
func (t *tx) index(num int64, post, src *store.Event) (doc any, err error) {
	text := tokens(num, post, src)
	if text == "" {
		return nil, nil
	}
	for n := uint32(num)*2654435761 + uint32(post.Seq); ; n++ { // spread, so that a free one is found at once
		id := docOf(post.At, n)
		added, err := t.c.exec(`INSERT INTO docs (id, event, src) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, id, eventID(num, post.Seq), int64(src.Seq))
		if err != nil {
			return nil, err
		}
		if added > 0 {
			_, err := t.c.exec(`INSERT INTO words (rowid, t) VALUES (?, ?)`, id, text)
			return id, err
		}
	}
}

// unindex takes a post out, if it is there.
func (t *tx) unindex(num int64, seq uint64) error {
	if seq > store.MaxSeq {
		return nil
	}
	var doc, src int64
	found, err := t.c.row(`SELECT docs.id, docs.src FROM events JOIN docs ON docs.id = events.doc WHERE events.id = ?`, []any{eventID(num, seq)}, &doc, &src)
	if err != nil || !found {
		return err
	}
	post, newest, err := t.texts("", num, seq, uint64(src))
	if err == nil && (post == nil || newest == nil) {
		err = fmt.Errorf("%w: the index of words names an event that is not there", store.ErrDamaged)
	}
	if err != nil {
		return err
	}
	if _, err := t.c.exec(`INSERT INTO words (words, rowid, t) VALUES ('delete', ?, ?)`, doc, tokens(num, post, newest)); err != nil {
		return err
	}
	if _, err := t.c.exec(`DELETE FROM docs WHERE id = ?`, doc); err != nil {
		return err
	}
	_, err = t.c.exec(`UPDATE events SET doc = NULL WHERE id = ?`, eventID(num, seq))
	return err
}

// texts reads a post and the event that has its text; nil if they are not there.
func (r *reader) texts(conv string, num int64, seq, src uint64) (post, newest *store.Event, err error) {
	all, err := r.events(conv, `SELECT `+eventColumns+` FROM events WHERE id IN (?, ?)`, eventID(num, seq), eventID(num, src))
	for i := range all {
		if all[i].Seq == seq {
			post = &all[i]
		}
		if all[i].Seq == src {
			newest = &all[i]
		}
	}
	return post, newest, err
}

// reindex adds a post that is not in the index, by its newest text.
func (t *tx) reindex(num int64, seq uint64) error {
	if seq > store.MaxSeq {
		return nil
	}
	all, err := t.events("", `SELECT `+eventColumns+` FROM events WHERE id = ? AND kind = 1 AND state = 0 AND doc IS NULL`, eventID(num, seq))
	if err != nil || len(all) == 0 {
		return err
	}
	post := &all[0]
	newest, err := t.newest(num, post, 0)
	if err != nil {
		return err
	}
	doc, err := t.index(num, post, newest)
	if err != nil || doc == nil {
		return err
	}
	_, err = t.c.exec(`UPDATE events SET doc = ? WHERE id = ?`, doc, eventID(num, seq))
	return err
}
