package notify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/petrelchat/petrel/storage"
)

// Mark is how far a user was told of a conversation (SpaceDerived, notified, user, conversation).
type Mark struct {
	UpTo uint64  `cbor:"1,keyasint"`           // newest event that was told, or did not need to be
	Sent []int64 `cbor:"2,keyasint,omitempty"` // ms, ascending: when, within the last hour
}

// notice is what waits longer than a window (SpaceNotice: due ms, user, conversation).
type notice struct {
	From   uint64            `cbor:"1,keyasint"`
	Last   uint64            `cbor:"2,keyasint"`
	Urgent uint64            `cbor:"3,keyasint,omitempty"`
	Quiet  bool              `cbor:"4,keyasint,omitempty"`
	Since  int64             `cbor:"5,keyasint"`
	Lag    map[string]uint64 `cbor:"6,keyasint,omitempty"`
	Why    byte              `cbor:"7,keyasint,omitempty"`
	Away   uint64            `cbor:"8,keyasint,omitempty"`
}

const (
	positionName = "notify"
	markName     = "notified"
)

func positionKey() storage.Key { return storage.In(storage.SpaceDerived).Str(positionName) }

// markKey is where a Mark is; without a conversation, the prefix of all of a user's.
func markKey(user, conv string) storage.Key {
	k := storage.In(storage.SpaceDerived).Str(markName).Str(user)
	if conv != "" {
		k = k.Str(conv)
	}
	return k
}

func noticeKey(due int64, user, conv string) storage.Key {
	return storage.In(storage.SpaceNotice).U64(uint64(due)).Str(user).Str(conv)
}

func takeNoticeKey(k storage.Key) (due int64, user, conv string, ok bool) {
	ms, rest, ok1 := storage.TakeU64(k[1:])
	user, rest, ok2 := storage.TakeStr(rest)
	conv, rest, ok3 := storage.TakeStr(rest)
	return int64(ms), user, conv, ok1 && ok2 && ok3 && len(rest) == 0
}

// Forget adds to a batch the end of what is kept of a user whose account was deleted: what is gathered for them, and
// how far they were told.
func Forget(r storage.Reader, user string, b *storage.Batch) error {
	b.DeletePrefix(markKey(user, ""))
	return r.Scan(storage.In(storage.SpaceNotice), nil, func(k storage.Key, _ []byte) bool {
		if _, of, _, ok := takeNoticeKey(k); ok && of == user {
			b.Delete(slices.Clone(k))
		}
		return true
	})
}

func appendPosition(commit uint64) []byte { return binary.AppendUvarint(nil, commit) }

// load reads what the last run left.
func (l *loop) load(s *Service) error {
	l.accounts = make(map[string]*account)
	l.volatile, l.unsaved = make(map[*entry]struct{}), make(map[*entry]struct{})
	l.marks, l.audiences = make(map[markOf]*Mark), make(map[string]audience)
	base := s.o.Durable()
	s.inbox.ended.Store(max(base, s.inbox.ended.Load()))
	l.ended, l.position, l.stored = base, base, base
	v, ok, err := s.o.Store.Get(positionKey())
	if err != nil {
		return err
	}
	if ok && s.subs.count.Load() > 0 {
		n, k := binary.Uvarint(v)
		if k != len(v) {
			return fmt.Errorf("%w: position of notifications", storage.ErrRecord)
		}
		if n < base {
			l.sweep, l.position, l.stored = &sweep{since: n, upTo: base}, n, n
		}
	}
	var bad error
	err = s.o.Store.Scan(storage.In(storage.SpaceNotice), nil, func(k storage.Key, v []byte) bool {
		due, user, conv, ok := takeNoticeKey(k)
		var n notice
		if bad = storage.Unmarshal(v, &n); bad != nil {
			return false
		}
		if !ok {
			return true
		}
		a := l.account(user)
		a.entries[conv] = &entry{
			conv: conv, from: n.From, last: n.Last, urgent: n.Urgent, quiet: n.Quiet, since: n.Since, lag: n.Lag, why: n.Why, away: n.Away,
			due: due, key: append(storage.Key(nil), k...),
		}
		l.arrange(a)
		return true
	})
	s.Stats.Waiting.Store(l.waiting())
	return errors.Join(err, bad)
}

// save has an entry stored, or what is stored of it removed, with the next flush.
func (l *loop) save(e *entry) { l.unsaved[e] = struct{}{} }

// positionEvery is how often the position is stored, ms, while it moves.
const positionEvery = 1000

// flush stores what changed, if nothing is being stored already. last: all of it, now.
func (s *Service) flush(now int64, last bool) {
	l := &s.loop
	if l.flushing && !last {
		return
	}
	moved := false
	if last || now-l.flushed >= positionEvery {
		l.flushed = now
		moved = l.advance() && s.subs.count.Load() > 0
	}
	if len(l.unsaved) == 0 && len(l.marks) == 0 && !moved {
		return
	}
	b := storage.Batch{Vital: true}
	saved := l.saved(&b)
	for k, m := range l.marks {
		b.Set(markKey(k.user, k.conv), storage.Marshal(m))
	}
	position := l.stored
	if moved {
		position = l.position
		b.Set(positionKey(), appendPosition(position))
	}
	l.flushing = true
	err := s.o.Commit(&b, func() {
		select {
		case s.flushed <- struct{}{}:
		default: // Close does not wait for it
		}
	})
	if err != nil {
		l.flushing = false
		l.retry = now + positionEvery
		s.o.Log.Warn("storing what is to be notified failed; it is tried again", "error", err)
		return
	}
	l.stored, l.retry = position, 0
	clear(l.marks)
	for _, x := range saved {
		x.e.key = x.key
		delete(l.volatile, x.e)
	}
	clear(l.unsaved)
}

type savedEntry struct {
	e   *entry
	key storage.Key
}

func (l *loop) saved(b *storage.Batch) []savedEntry {
	var saved []savedEntry
	for e := range l.unsaved {
		if e.key != nil {
			b.Delete(e.key)
		}
		if e.gone {
			saved = append(saved, savedEntry{e, nil})
			continue
		}
		k := noticeKey(e.due, e.account.name, e.conv)
		b.Set(k, storage.Marshal(&notice{From: e.from, Last: e.last, Urgent: e.urgent, Quiet: e.quiet, Since: e.since, Lag: e.lag, Why: e.why, Away: e.away}))
		saved = append(saved, savedEntry{e, k})
	}
	return saved
}

// advance moves the position before the oldest event that only memory knows of, and reports whether it differs from
// the stored one.
func (l *loop) advance() bool {
	if l.sweep != nil {
		return false // what it has not found yet is before
	}
	p := l.ended
	for e := range l.volatile {
		if _, now := l.unsaved[e]; !now { // else it is stored together with the position
			p = min(p, e.commit-1)
		}
	}
	l.position = max(l.position, p)
	return l.position != l.stored
}
