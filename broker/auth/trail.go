package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Trail gives audit entries their place in the chain. Each entry holds the hash of the one before, so
// that nobody changes or removes one without everything after it telling (petrel verify looks).
//
// An entry is put into a batch by [AuditOp], together with what it is about; which place it gets is
// decided by Seal when the batch is committed, for only then it is known which one is before it.
type Trail struct {
	now  func() time.Time
	head storage.AuditHead
}

// OpenTrail finds where the chain goes on.
func OpenTrail(store storage.Reader, now func() time.Time) (*Trail, error) {
	t := &Trail{now: now}
	v, ok, err := store.Get(storage.AuditHeadKey())
	if err != nil {
		return nil, fmt.Errorf("auth: reading the head of the audit trail: %w", err)
	}
	if ok {
		if err := storage.Unmarshal(v, &t.head); err != nil {
			return nil, fmt.Errorf("auth: the head of the audit trail: %w", err)
		}
		return t, nil
	}
	// A trail that was written before there was a chain: its last entry is the first link.
	err = store.Scan(storage.In(storage.SpaceAudit), nil, func(k storage.Key, v []byte) bool {
		if ms, n, ok := takeAuditKey(k); ok {
			t.head = storage.AuditHead{Millis: ms, Number: n, Hash: storage.AuditHash(k, v)}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("auth: reading the audit trail: %w", err)
	}
	return t, nil
}

func takeAuditKey(k storage.Key) (ms, n uint64, ok bool) {
	ms, rest, ok1 := storage.TakeU64(k[1:])
	n, rest, ok2 := storage.TakeU64(rest)
	return ms, n, ok1 && ok2 && len(rest) == 0
}

// Seal chains the entries of a batch. Whoever commits calls it for every batch, immediately before, and
// undo if the commit failed; one batch after the other. undo is never nil.
func (t *Trail) Seal(b *storage.Batch) (undo func()) {
	before, ops := t.head, len(b.Ops)
	var sealed []int
	for i := range b.Ops {
		if op := &b.Ops[i]; op.Kind == storage.OpSet && len(op.Key) == 1 && op.Key[0] == byte(storage.SpaceAudit) {
			sealed = append(sealed, i)
			t.seal(op)
		}
	}
	if sealed == nil {
		return func() {}
	}
	b.Set(storage.AuditHeadKey(), storage.Marshal(&t.head))
	return func() {
		for _, i := range sealed {
			op := &b.Ops[i]
			op.Key, op.Value = storage.In(storage.SpaceAudit), unlinked(op.Value)
		}
		b.Ops = b.Ops[:ops]
		t.head = before
	}
}

func (t *Trail) seal(op *storage.Op) {
	t.head.Millis = max(t.head.Millis, uint64(max(0, t.now().UnixMilli()))) // never goes back
	t.head.Number++
	op.Key = storage.AuditKey(t.head.Millis, t.head.Number)
	v := op.Value[: len(op.Value)-1 : len(op.Value)-1]
	v = append(append(v, linkMark...), base64.StdEncoding.EncodeToString(t.head.Hash)...)
	op.Value = append(v, '"', '}')
	t.head.Hash = storage.AuditHash(op.Key, op.Value)
}

// linkMark is what stands before the hash of the entry before, at the end of a record.
const linkMark = `,"prev":"`

// unlinked is a record as it was before it was sealed.
func unlinked(v []byte) []byte {
	var r auditRecord
	if json.Unmarshal(v, &r) != nil {
		return v // sealed by us a moment ago: it decodes
	}
	r.Prev = nil
	return encode(r)
}

// AuditEntry says that somebody did something that matters to security. It holds no bodies and no
// secrets. ID orders entries and continues a list.
type AuditEntry struct {
	ID     string
	At     time.Time
	Who    string // user id, or a word like "control socket" or "server"
	What   string // login, login.fail, user.add, token.revoke, member.role …: see the list in docs/operations.md
	Target string // user id, or user id and token id, or what else it was done to
	Conv   string // in which conversation
	Seq    uint64 // which event of it says the same
	Addr   string // from where
	Note   string // what became of it, in a word: the new role, the cause of a failure
	Count  int    // so many of the same kind were left out before it
	Prev   []byte // hash of the entry before; nil for one of an older version
	Hash   []byte // of this entry
}

type auditRecord struct {
	Version int    `json:"v"`
	Who     string `json:"who"`
	What    string `json:"what"`
	Target  string `json:"target"`
	Conv    string `json:"conv,omitempty"`
	Seq     uint64 `json:"seq,omitempty"`
	Addr    string `json:"addr,omitempty"`
	Note    string `json:"note,omitempty"`
	Count   int    `json:"count,omitempty"`
	Prev    []byte `json:"prev,omitempty"` // last: see Trail.seal
}

// AuditOp makes of an entry what a batch takes. ID, At, Prev and Hash are given to it when the batch is
// committed; it is stored together with the rest of the batch, or not at all.
func AuditOp(e AuditEntry) storage.Op {
	return storage.Op{Kind: storage.OpSet, Key: storage.In(storage.SpaceAudit), Value: encode(auditRecord{
		Version: recordVersion, Who: e.Who, What: e.What, Target: e.Target,
		Conv: e.Conv, Seq: e.Seq, Addr: e.Addr, Note: e.Note, Count: e.Count,
	})}
}

func decodeAudit(k storage.Key, v []byte) (AuditEntry, error) {
	var r auditRecord
	ms, n, ok := takeAuditKey(k)
	if !ok || json.Unmarshal(v, &r) != nil || r.Version != recordVersion {
		return AuditEntry{}, fmt.Errorf("auth: an audit record can't be read: %w", storage.ErrDamaged)
	}
	return AuditEntry{
		ID: fmt.Sprintf("%d-%d", ms, n), At: time.UnixMilli(int64(ms)), Who: r.Who, What: r.What, Target: r.Target,
		Conv: r.Conv, Seq: r.Seq, Addr: r.Addr, Note: r.Note, Count: r.Count, Prev: r.Prev, Hash: storage.AuditHash(k, v),
	}, nil
}

// AuditQuery selects audit entries. Zero values select all.
type AuditQuery struct {
	After  string // behind the entry with this ID, or from this time on, in ms since 1970
	Before string // before the entry with this ID, or earlier than this time
	User   string // who did it, or to whom it was done
	Kind   string // What, or the beginning of it up to a dot: token is token.add and token.revoke
	Conv   string
	Limit  int // 100, at most 1,000
}

// Audit returns entries, oldest first, and whether there are more behind them.
func (s *Service) Audit(q AuditQuery) (list []AuditEntry, more bool, err error) {
	limit := pageSize(q.Limit)
	var after, before storage.Key
	if q.After != "" {
		if after, err = parseAuditID("after", q.After, true); err != nil {
			return nil, false, err
		}
	}
	if q.Before != "" {
		if before, err = parseAuditID("before", q.Before, false); err != nil {
			return nil, false, err
		}
	}
	scanErr := s.o.Store.Scan(storage.In(storage.SpaceAudit), after, func(k storage.Key, v []byte) bool {
		if before != nil && string(k) >= string(before) {
			return false
		}
		var e AuditEntry
		if e, err = decodeAudit(k, v); err != nil {
			return false
		}
		if !q.matches(&e) {
			return true
		}
		if more = len(list) == limit; more {
			return false
		}
		list = append(list, e)
		return true
	})
	if err = errors.Join(err, scanErr); err != nil {
		return nil, false, err
	}
	return list, more, nil
}

func (q *AuditQuery) matches(e *AuditEntry) bool {
	return (q.User == "" || e.Who == q.User || firstWord(e.Target) == q.User) &&
		(q.Kind == "" || e.What == q.Kind || len(e.What) > len(q.Kind) && e.What[:len(q.Kind)] == q.Kind && e.What[len(q.Kind)] == '.') &&
		(q.Conv == "" || e.Conv == q.Conv)
}

// refuseAuditID names the parameter that is wrong.
func refuseAuditID(field string) error {
	return chat.Refuse(chat.BadRequest, "%s must be the id of an audit entry, or a time in ms since 1970.", field)
}
