package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// reader reads what its connection's transaction sees.
type reader struct {
	c   *conn
	ctx context.Context // of the View; ends a search
}

const convColumns = `id, kind, title, role, info, head, read, delivered, wanted, floor, unread, mentions, at, last,
	mute, archived, pinned, pending, former, draft, draft_at, draft_dirty, tally_seq, tally_delivered, tally_read, tally_of`

func convFields(c *store.Conversation) []any {
	return []any{
		&c.ID, &c.Kind, &c.Title, &c.Role, &c.Info, bits{&c.Head}, bits{&c.Read}, bits{&c.Delivered}, bits{&c.ReadWanted}, bits{&c.Floor},
		&c.Unread, &c.Mentions, &c.At, bits{&c.Last}, &c.Mute, &c.Archived, &c.Pinned, &c.Pending, &c.Left,
		&c.Draft, &c.DraftAt, &c.DraftDirty, bits{&c.Tally.Seq}, &c.Tally.Delivered, &c.Tally.Read, &c.Tally.Of,
	}
}

// bits scans an integer of SQLite's into an unsigned one with the same bits.
type bits struct{ to *uint64 }

// Scan implements sql.Scanner.
func (b bits) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("%w: %T where a number belongs", store.ErrDamaged, src)
	}
	*b.to = uint64(n)
	return nil
}

func (r *reader) Conversation(id string) (c store.Conversation, err error) {
	found, err := r.c.row(`SELECT `+convColumns+` FROM convs WHERE id = ?`, []any{id}, convFields(&c)...)
	if err == nil && !found {
		err = fmt.Errorf("%w: conversation %q", store.ErrNotFound, id)
	}
	return c, err
}

func (r *reader) Conversations(q store.ConversationQuery) (out []store.Conversation, err error) {
	where, args := []string{"true"}, []any{}
	if q.List != store.ListAll {
		where, args = append(where, "list = ?"), append(args, int(q.List))
	}
	if q.Dirty {
		where = append(where, "dirty = 1")
	}
	if a := q.After; a != nil {
		where = append(where, "(-pinned, -at, id) > (?, ?, ?)")
		args = append(args, -number(a.Pinned), -a.At, a.ID)
	}
	err = r.c.rows(`SELECT `+convColumns+` FROM convs WHERE `+strings.Join(where, " AND ")+` ORDER BY pinned DESC, at DESC, id LIMIT ?`,
		append(args, store.LimitOf(q.Limit)), func(scan func(...any) error) error {
			var c store.Conversation
			err := scan(convFields(&c)...)
			out = append(out, c)
			return err
		})
	return out, err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (r *reader) Members(conv string) (out []store.Member, err error) {
	err = r.c.rows(`SELECT `+memberColumns+` FROM members WHERE conv = ? ORDER BY user`, []any{conv}, func(scan func(...any) error) error {
		var m store.Member
		err := scan(memberFields(&m)...)
		out = append(out, m)
		return err
	})
	return out, err
}

func (r *reader) Member(conv, user string) (m store.Member, err error) {
	found, err := r.c.row(`SELECT `+memberColumns+` FROM members WHERE conv = ? AND user = ?`, []any{conv, user}, memberFields(&m)...)
	if err == nil && !found {
		err = fmt.Errorf("%w: member %q of %q", store.ErrNotFound, user, conv)
	}
	return m, err
}

const memberColumns = `user, role, joined, former, delivered, read`

func memberFields(m *store.Member) []any {
	return []any{&m.User, &m.Role, &m.Joined, &m.Left, bits{&m.Delivered}, bits{&m.Read}}
}

const outColumns = `n, id, conv, dest, coalesce(reid, ''), state, attempts, next, code, reason, at, seq, event, files`

func scanOutgoing(scan func(...any) error) (o store.Outgoing, err error) {
	var event, files []byte
	if err := scan(&o.N, &o.ID, &o.Conv, &o.To, &o.ReID, &o.State, &o.Attempts, &o.Next, &o.Code, &o.Reason, &o.At, bits{&o.Seq}, &event, &files); err != nil {
		return o, err
	}
	if o.Event, err = protocol.DecodeStored(event); err != nil {
		return o, fmt.Errorf("%w: outgoing message %s: %w", store.ErrDamaged, o.ID, err)
	}
	if files != nil {
		if err := json.Unmarshal(files, &o.Attachments); err != nil {
			return o, fmt.Errorf("%w: attachments of %s: %w", store.ErrDamaged, o.ID, err)
		}
	}
	return o, nil
}

func (r *reader) Outbox(q store.OutboxQuery) (out []store.Outgoing, err error) {
	where, args := "n > ?", []any{q.After}
	if q.Conv != "" {
		where, args = where+" AND conv = ?", append(args, q.Conv)
	}
	if q.ReID != "" {
		where, args = where+" AND reid = ?", append(args, q.ReID)
	}
	if q.States != nil {
		in, numbers := oneOf(q.States)
		where, args = where+" AND state IN "+in, append(args, numbers...)
	}
	err = r.c.rows(`SELECT `+outColumns+` FROM outbox WHERE `+where+` ORDER BY n LIMIT ?`, append(args, store.LimitOf(q.Limit)),
		func(scan func(...any) error) error {
			o, err := scanOutgoing(scan)
			out = append(out, o)
			return err
		})
	return out, err
}

// oneOf is the right side of an IN.
func oneOf[N ~uint8](all []N) (in string, args []any) {
	for _, n := range all {
		args = append(args, int64(n))
	}
	return "(" + strings.TrimSuffix(strings.Repeat("?, ", len(all)), ", ") + ")", args
}

func (r *reader) Outgoing(id string) (o store.Outgoing, err error) {
	found := false
	err = r.c.rows(`SELECT `+outColumns+` FROM outbox WHERE id = ?`, []any{id}, func(scan func(...any) error) error {
		found = true
		o, err = scanOutgoing(scan)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: %s is not in the outbox", store.ErrNotFound, id)
	}
	return o, err
}

func (r *reader) OutboxCounts() (map[string]int, error) {
	out := make(map[string]int)
	err := r.c.rows(`SELECT conv, count(*) FROM outbox GROUP BY conv`, nil, func(scan func(...any) error) error {
		var conv string
		var n int
		err := scan(&conv, &n)
		out[conv] = n
		return err
	})
	return out, err
}

func (r *reader) Wishes() (out []store.Wish, err error) {
	err = r.c.rows(`SELECT conv, name, value, at FROM wishes ORDER BY at, conv, name`, nil, func(scan func(...any) error) error {
		var w store.Wish
		err := scan(&w.Conv, &w.Name, &w.Value, &w.At)
		out = append(out, w)
		return err
	})
	return out, err
}

func (r *reader) Meta(key string) (value []byte, err error) {
	found, err := r.c.row(`SELECT v FROM meta WHERE k = ?`, []any{key}, &value)
	if found && value == nil {
		value = []byte{}
	}
	return value, err
}

func (r *reader) MetaKeys(prefix string) (out []string, err error) {
	err = r.c.rows(`SELECT k FROM meta WHERE k >= ? ORDER BY k`, []any{prefix}, func(scan func(...any) error) error {
		var k string
		err := scan(&k)
		out = append(out, k)
		return err
	})
	if i := slices.IndexFunc(out, func(k string) bool { return !strings.HasPrefix(k, prefix) }); i >= 0 {
		out = out[:i]
	}
	return out, err
}
