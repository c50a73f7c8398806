package sqlite

import (
	"encoding/json"
	"fmt"

	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// tx writes. It is good for one Update, on its goroutine.
type tx struct {
	reader
	s       *Store
	dropped bool // something was taken that is to be gone from the write-ahead log too
}

var _ store.Tx = (*tx)(nil)

func (t *tx) PutConversation(c store.Conversation) error {
	if c.ID == "" {
		return fmt.Errorf("%w: a conversation has an id", store.ErrInvalid)
	}
	_, err := t.c.exec(`REPLACE INTO convs (`+convColumns+`, list, dirty) VALUES (?, ?, ?, ?, ?,  ?, ?, ?, ?, ?,  ?, ?, ?, ?,  ?, ?, ?, ?, ?,  ?, ?, ?,  ?, ?, ?, ?,  ?, ?)`,
		c.ID, c.Kind, c.Title, c.Role, c.Info,
		int64(c.Head), int64(c.Read), int64(c.Delivered), int64(c.ReadWanted), int64(c.Floor),
		c.Unread, c.Mentions, c.At, int64(c.Last),
		c.Mute, c.Archived, c.Pinned, c.Pending, c.Left,
		c.Draft, c.DraftAt, c.DraftDirty,
		int64(c.Tally.Seq), c.Tally.Delivered, c.Tally.Read, c.Tally.Of,
		int(c.List()), c.Dirty())
	return err
}

func (t *tx) DeleteConversation(id string) error {
	for _, query := range []string{
		`DELETE FROM convs WHERE id = ?`, `DELETE FROM members WHERE conv = ?`, `DELETE FROM wishes WHERE conv = ?`,
	} {
		if _, err := t.c.exec(query, id); err != nil {
			return err
		}
	}
	t.dropped = true
	return t.deleteLog(id)
}

func (t *tx) PutMembers(conv string, members []store.Member) error {
	if conv == "" {
		return fmt.Errorf("%w: a member has a conversation", store.ErrInvalid)
	}
	for _, m := range members {
		if m.User == "" {
			return fmt.Errorf("%w: a member has a user id", store.ErrInvalid)
		}
		_, err := t.c.exec(`INSERT INTO members (conv, user, role, joined, former, delivered, read) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET role = excluded.role, joined = excluded.joined, former = excluded.former,
				delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)`,
			conv, m.User, m.Role, m.Joined, m.Left, int64(m.Delivered), int64(m.Read))
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) DeleteMember(conv, user string) error {
	_, err := t.c.exec(`DELETE FROM members WHERE conv = ? AND user = ?`, conv, user)
	return err
}

func (t *tx) Enqueue(o *store.Outgoing) error {
	if o.ID == "" {
		return fmt.Errorf("%w: an outgoing message has an id", store.ErrInvalid)
	}
	event, files, err := encodeOutgoing(o)
	if err != nil {
		return err
	}
	n, err := t.c.exec(`INSERT INTO outbox (id, conv, dest, reid, state, attempts, next, code, reason, at, seq, event, files)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		o.ID, o.Conv, o.To, null(o.ReID), int(o.State), o.Attempts, o.Next, o.Code, o.Reason, o.At, int64(o.Seq), event, files)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%w: %s", store.ErrExists, o.ID)
	}
	_, err = t.c.row(`SELECT last_insert_rowid()`, nil, &o.N)
	return err
}

func (t *tx) PutOutgoing(o store.Outgoing) error {
	event, files, err := encodeOutgoing(&o)
	if err != nil {
		return err
	}
	// Nearly always only the state changes, and no index needs to be touched.
	n, err := t.c.exec(`UPDATE outbox SET dest = ?, state = ?, attempts = ?, next = ?, code = ?, reason = ?,
		at = ?, seq = ?, event = ?, files = ? WHERE id = ? AND conv = ? AND reid IS ?`,
		o.To, int(o.State), o.Attempts, o.Next, o.Code, o.Reason, o.At, int64(o.Seq), event, files, o.ID, o.Conv, null(o.ReID))
	if err != nil || n > 0 {
		return err
	}
	n, err = t.c.exec(`UPDATE outbox SET conv = ?, dest = ?, reid = ?, state = ?, attempts = ?, next = ?, code = ?, reason = ?,
		at = ?, seq = ?, event = ?, files = ? WHERE id = ?`,
		o.Conv, o.To, null(o.ReID), int(o.State), o.Attempts, o.Next, o.Code, o.Reason, o.At, int64(o.Seq), event, files, o.ID)
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: %s is not in the outbox", store.ErrNotFound, o.ID)
	}
	return err
}

func (t *tx) DeleteOutgoing(id string) error {
	var state int
	found, err := t.c.row(`SELECT state FROM outbox WHERE id = ?`, []any{id}, &state)
	if err != nil || !found {
		return err
	}
	if s := store.OutState(state); s == store.Queued || s == store.Failed {
		t.dropped = true // cancelled: it is nowhere else
	}
	_, err = t.c.exec(`DELETE FROM outbox WHERE id = ?`, id)
	return err
}

// encodeOutgoing returns the parts of a record that are not columns; files is nil without attachments.
func encodeOutgoing(o *store.Outgoing) (event, files []byte, err error) {
	if len(o.Attachments) > 0 {
		if files, err = json.Marshal(o.Attachments); err != nil {
			return nil, nil, fmt.Errorf("%w: the attachments: %w", store.ErrInvalid, err)
		}
	}
	return protocol.EncodeStored(nil, &o.Event), files, nil
}

func (t *tx) PutWish(w store.Wish) error {
	if w.Name == "" {
		return fmt.Errorf("%w: a wish has a name", store.ErrInvalid)
	}
	_, err := t.c.exec(`INSERT INTO wishes (conv, name, value, at) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET value = excluded.value, at = excluded.at WHERE excluded.at >= at`,
		w.Conv, w.Name, w.Value, w.At)
	return err
}

func (t *tx) DeleteWish(conv, name string, at int64) error {
	_, err := t.c.exec(`DELETE FROM wishes WHERE conv = ? AND name = ? AND at <= ?`, conv, name, at)
	return err
}

func (t *tx) PutMeta(key string, value []byte) (err error) {
	switch {
	case key == "":
		return fmt.Errorf("%w: a value has a key", store.ErrInvalid)
	case value == nil:
		_, err = t.c.exec(`DELETE FROM meta WHERE k = ?`, key)
	default:
		_, err = t.c.exec(`REPLACE INTO meta (k, v) VALUES (?, ?)`, key, value)
	}
	return err
}

// null is NULL for "", so that an index need not hold it.
func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}
