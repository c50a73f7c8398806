package plain

import (
	"encoding/binary"
	"fmt"

	"github.com/petrelchat/petrel/storage"
)

// usage is what waits for a session. It is kept in memory for the sessions used lately. For others it
// is counted again when they are touched, which must not take long; so a queue that is long has a
// record of its usage, written once for each batch that changes it.
type usage struct {
	messages, bytes int64
	touched         bool   // in changes.sessions
	recorded        bool   // a record of it is stored
	user            string // whose session it is; "": nobody's, or nobody asks
}

// From either of these on, the usage of a session is recorded.
const (
	longMessages = 1024
	longBytes    = 1 << 20
)

func (u usage) long() bool { return u.messages >= longMessages || u.bytes >= longBytes }

// Usage returns how many messages wait for a session and their encoded size, the batch being filled
// included.
func (q *Queue) Usage(sid uint64) (messages, bytes int64, err error) {
	u, err := q.use(sid)
	return u.messages, u.bytes, err
}

// use returns the usage of a session. It is called before the first change of the session in a batch,
// so that what the store shows is complete.
func (q *Queue) use(sid uint64) (usage, error) {
	if u, ok := q.usage.get(sid); ok {
		return u, nil
	}
	u, err := q.loadUsage(sid)
	if err == nil && q.users != nil {
		u.user, err = q.users.UserOf(sid)
	}
	if err == nil {
		q.usage.put(sid, u)
	}
	return u, err
}

func (q *Queue) loadUsage(sid uint64) (u usage, err error) {
	prefix := usageKey(sid)
	var bad error
	err = q.r.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		if len(k) == len(prefix) { // the first key, if there is a record
			u, bad = decodeUsage(v)
			return false
		}
		r, _, _, e := decodeRefHead(v)
		if e != nil {
			bad = e
			return false
		}
		u.messages++
		u.bytes += int64(r.Size)
		return true
	})
	if err == nil {
		err = bad
	}
	return u, err
}

// account changes the usage of a session that use has returned in this batch.
func (q *Queue) account(sid uint64, messages, bytes int64) {
	u, _ := q.usage.get(sid)
	u.messages += messages
	u.bytes += bytes
	if !u.touched {
		u.touched = true
		q.batch.sessions = append(q.batch.sessions, sid)
	}
	q.usage.put(sid, u)
}

func (q *Queue) sealUsage(b *storage.Batch, sid uint64) {
	u, _ := q.usage.get(sid)
	switch {
	case u.long():
		v := binary.AppendUvarint(nil, uint64(u.messages))
		b.Set(usageKey(sid), binary.AppendUvarint(v, uint64(u.bytes)))
		u.recorded = true
	case u.recorded:
		b.Delete(usageKey(sid))
		u.recorded = false
	default:
		return
	}
	q.usage.put(sid, u)
}

func decodeUsage(v []byte) (usage, error) {
	d := decoder{b: v, what: "queue usage"}
	u := usage{messages: int64(d.uvarint()), bytes: int64(d.uvarint()), recorded: true}
	if len(d.b) > 0 {
		d.fail("bytes after the end")
	}
	return u, d.err
}

func usageKey(sid uint64) storage.Key { return storage.In(storage.SpaceRef).U64(sid) }

// ReadQueue calls fn with the messages that wait for a session, in the order of their numbers, those
// after afterN and up to maxN, until fn returns false. maxN is the last number whose commit is durable:
// what a client gets must survive. Expired messages are shown too, for the owner to release. m belongs
// to fn; r.Message is nil. Any goroutine may call it, beside the Queue too; messages that are released
// meanwhile may be shown or not.
func ReadQueue(r storage.Reader, sid, afterN, maxN uint64, fn func(n uint64, ref Ref, m *Message) bool) error {
	prefix := usageKey(sid)
	for size := 16; ; size = min(2*size, 128) {
		part, more, err := readRefs(r, prefix, afterN, maxN, size)
		if err != nil {
			return err
		}
		for _, w := range part {
			afterN = w.n
			m := w.ref.Message
			if m == nil {
				if m, err = readMessage(r, sid, w.n); err != nil {
					return err
				}
				if m == nil {
					continue
				}
			}
			w.ref.Message = nil
			if !fn(w.n, w.ref, m) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}

type waiting struct {
	n   uint64
	ref Ref
}

// readAhead bounds the bytes of embedded messages that ReadQueue takes at a time.
const readAhead = 256 << 10

// readRefs reads up to size refs, so that no iterator stays open while messages are fetched and used.
func readRefs(r storage.Reader, prefix storage.Key, afterN, maxN uint64, size int) (part []waiting, more bool, err error) {
	var bad error
	bytes := 0
	after := append(storage.Key(nil), prefix...).U64(afterN)
	err = r.Scan(prefix, after, func(k storage.Key, v []byte) bool {
		n, rest, ok := storage.TakeU64(k[len(prefix):])
		if !ok || len(rest) != 0 {
			bad = fmt.Errorf("%w: key of a plain reference", storage.ErrRecord)
			return false
		}
		if n > maxN {
			return false
		}
		if len(part) == size || bytes > readAhead {
			more = true
			return false
		}
		ref, err := DecodeRef(append([]byte(nil), v...))
		if err != nil {
			bad = err
			return false
		}
		bytes += len(v)
		part = append(part, waiting{n: n, ref: ref})
		return true
	})
	if err == nil {
		err = bad
	}
	return part, more, err
}

// readMessage returns the message n that a ref of the session points to; nil when it was released
// since the ref was read.
func readMessage(r storage.Reader, sid, n uint64) (*Message, error) {
	v, ok, err := r.Get(messageKey(n))
	if err != nil {
		return nil, err
	}
	if !ok {
		if _, still, err := r.Get(refKey(sid, n)); err != nil || !still {
			return nil, err
		}
		return nil, fmt.Errorf("%w: plain message %d is missing", storage.ErrRecord, n)
	}
	_, k := binary.Uvarint(v)
	if k <= 0 {
		return nil, fmt.Errorf("%w: plain message %d has no count", storage.ErrRecord, n)
	}
	return DecodeMessage(v[k:])
}
