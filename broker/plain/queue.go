package plain

import (
	"encoding/binary"
	"fmt"

	"github.com/petrelchat/petrel/storage"
)

// Limits bounds what may wait. Zero: no limit.
type Limits struct {
	Messages  int64 // for one session
	Bytes     int64 // for one session, of encoded messages
	UserBytes int64 // for all sessions of a user together; needs Users
}

// Queue writes the plain messages that wait for sessions. On disk, under a message number n that the
// owner counts up from 1:
//
//	SpaceRef sid, n       how the session gets the message; the message itself when no other session does
//	SpaceRef sid          usage of a session with a long queue (usage.go)
//	SpaceMessage n        a message that several sessions get, after the number of sessions
//	SpaceMessage n, 'c'   how many of them have not acknowledged it, once one has
//
// So a message is written once, an acknowledgement writes a few bytes whatever the size of the
// message, and the last one deletes it. The counts are exact across crashes, since they change in the
// batch that deletes the ref.
//
// A session whose queue is full does not get the newest message; the others do, and the publisher is
// not refused. Refusing would let one abandoned session stop everybody who publishes to its topics,
// and dropping the oldest would leave a hole in what was promised first. The owner counts these drops.
//
// Batches of Release and End free space and may be Vital; one with a Put is not.
//
// A Queue belongs to one goroutine. It knows the changes of the batch that is being filled, which must
// be committed before the next one is begun; see the package comment for the order of calls.
type Queue struct {
	r       storage.Reader
	limits  Limits
	counts  recent[uint64, held]  // by message number
	usage   recent[uint64, usage] // by session
	users   Users                 // nil: no limit per user
	totals  recent[string, int64] // bytes by user
	batch   changes
	scratch []Target
	enc     []byte
}

// held is a message that waits.
type held struct {
	left uint32 // sessions that have not acknowledged it
	size uint32 // encoded
	sole uint64 // the only session that gets it; 0: it stands in SpaceMessage
	// touched: the message is in changes.messages; counted: left differs from what is stored.
	touched, counted bool
}

// changes is what the batch being filled changes.
type changes struct {
	messages []uint64 // keys of counts
	sessions []uint64 // keys of usage
	released map[refID]struct{}
	puts     []put
	sids     []uint64 // of puts, one after the other
	sealed   bool
}

type refID struct{ sid, n uint64 }

type put struct {
	n        uint64
	from, to int // in sids
}

// Recently used messages whose counts are kept in memory.
const recentMessages = 1 << 15

// NewQueue returns the queue over what r shows. It remembers the usage of the last sessions used, at
// most sessions of them, at about 50 bytes each.
func NewQueue(r storage.Reader, limits Limits, sessions int) *Queue {
	return &Queue{
		r: r, limits: limits,
		counts: newRecent[uint64, held](recentMessages),
		usage:  newRecent[uint64, usage](sessions),
		totals: newRecent[string, int64](sessions),
		batch:  changes{released: make(map[refID]struct{})},
	}
}

// SetLimits changes the limits; what waits beyond them stays.
func (q *Queue) SetLimits(l Limits) { q.limits = l }

// Put stores message n for the targets that get it at QoS 1 or 2 and have room, and returns these: a
// slice that is valid until the next Put. dropped is the number of those without room. A session may be
// in targets once only: a second copy is put under a number of its own (see Matches.PickShared). On an
// error nothing was added to the batch. m is not kept.
func (q *Queue) Put(b *storage.Batch, n uint64, m *Message, targets []Target) (stored []Target, dropped int, err error) {
	q.open()
	q.enc = AppendMessage(q.enc[:0], m)
	size := int64(len(q.enc))
	stored = q.scratch[:0]
	for _, t := range targets {
		if min(t.QoS, m.QoS) == 0 {
			continue
		}
		u, err := q.use(t.SID)
		if err != nil {
			q.totals = newRecent[string, int64](q.totals.max) // some were charged
			return nil, 0, err
		}
		full := q.limits.Messages > 0 && u.messages >= q.limits.Messages || q.limits.Bytes > 0 && u.bytes+size > q.limits.Bytes
		if !full {
			if full, err = q.userFull(u.user, size); err != nil {
				q.totals = newRecent[string, int64](q.totals.max) // some were charged
				return nil, 0, err
			}
		}
		if full {
			dropped++
			continue
		}
		q.charge(u.user, size)
		stored = append(stored, t)
	}
	q.scratch = stored
	if len(stored) > 0 {
		q.write(b, n, m, stored)
	}
	return stored, dropped, nil
}

// write adds message n, encoded in q.enc, to the batch.
func (q *Queue) write(b *storage.Batch, n uint64, m *Message, targets []Target) {
	h := held{left: uint32(len(targets)), size: uint32(len(q.enc)), touched: true}
	if len(targets) == 1 {
		h.sole = targets[0].SID
	} else {
		v := binary.AppendUvarint(make([]byte, 0, len(q.enc)+binary.MaxVarintLen32), uint64(len(targets)))
		b.Set(messageKey(n), append(v, q.enc...))
	}
	from := len(q.batch.sids)
	for i := range targets {
		t := &targets[i]
		r := Ref{QoS: min(t.QoS, m.QoS), Retain: m.Retain && t.RAP, SubIDs: t.SubIDs, Size: h.size}
		room := 8 + 4*len(t.SubIDs)
		if h.sole != 0 {
			room += len(q.enc)
		}
		v := appendRefHead(make([]byte, 0, room), &r, h.sole != 0)
		if h.sole != 0 {
			v = append(v, q.enc...)
		} else {
			v = binary.AppendUvarint(v, uint64(r.Size))
		}
		b.Set(refKey(t.SID, n), v)
		q.batch.sids = append(q.batch.sids, t.SID)
		q.account(t.SID, 1, int64(h.size))
	}
	q.batch.puts = append(q.batch.puts, put{n: n, from: from, to: len(q.batch.sids)})
	q.batch.messages = append(q.batch.messages, n)
	q.counts.put(n, h)
}

// Release takes message n off the session's queue: when it was acknowledged (QoS 2: when PUBREC came),
// has expired, or is too large for the client. It returns false when it does not wait there, so that
// an acknowledgement that comes twice does no harm. On an error nothing was added to the batch.
func (q *Queue) Release(b *storage.Batch, sid, n uint64) (bool, error) {
	q.open()
	u, err := q.use(sid)
	if err != nil {
		return false, err
	}
	h, ok, err := q.held(sid, n)
	if !ok || err != nil {
		return false, err
	}
	h.left--
	if h.sole == 0 {
		h.counted = true
		q.batch.released[refID{sid, n}] = struct{}{}
	}
	if !h.touched {
		h.touched = true
		q.batch.messages = append(q.batch.messages, n)
	}
	q.counts.put(n, h)
	b.Delete(refKey(sid, n))
	q.account(sid, -1, -int64(h.size))
	q.charge(u.user, -int64(h.size))
	return true, nil
}

// held returns what is known of message n, and whether it waits for the session.
func (q *Queue) held(sid, n uint64) (held, bool, error) {
	h, known := q.counts.get(n)
	if known && h.sole != 0 {
		return h, h.sole == sid && h.left > 0, nil
	}
	if _, gone := q.batch.released[refID{sid, n}]; gone {
		return h, false, nil
	}
	if known && q.batch.has(sid, n) {
		return h, true, nil
	}
	v, ok, err := q.r.Get(refKey(sid, n))
	if !ok || err != nil {
		return h, false, err
	}
	r, _, embedded, err := decodeRefHead(v)
	switch {
	case err != nil:
		return h, false, err
	case embedded:
		return held{left: 1, size: r.Size, sole: sid}, true, nil
	case known:
		return h, h.left > 0, nil
	}
	left, err := q.loadCount(n)
	return held{left: left, size: r.Size}, left > 0, err
}

// loadCount reads how many sessions have not acknowledged message n.
func (q *Queue) loadCount(n uint64) (uint32, error) {
	v, ok, err := q.r.Get(countKey(n))
	if err != nil {
		return 0, err
	}
	if !ok {
		if v, ok, err = q.r.Get(messageKey(n)); err != nil {
			return 0, err
		}
	}
	left, k := binary.Uvarint(v)
	if !ok || k <= 0 || left == 0 || left > 1<<31 {
		return 0, fmt.Errorf("%w: plain message %d has references but no count of them", storage.ErrRecord, n)
	}
	return uint32(left), nil
}

// End releases up to limit messages of a session that ended and gets no more. Call it with one batch
// after the other until done, and remove the session's own record with the last: a crash in between
// then ends the session again. Not twice for the same session in one batch.
func (q *Queue) End(b *storage.Batch, sid uint64, limit int) (done bool, err error) {
	q.open()
	var waiting []uint64
	for _, p := range q.batch.puts {
		if q.batch.has(sid, p.n) {
			waiting = append(waiting, p.n)
		}
	}
	found := 0
	prefix := usageKey(sid)
	err = q.r.Scan(prefix, prefix, func(k storage.Key, _ []byte) bool {
		if n, _, ok := storage.TakeU64(k[len(prefix):]); ok {
			waiting = append(waiting, n)
			found++
		}
		return found < limit
	})
	if err != nil {
		return false, err
	}
	for _, n := range waiting {
		if _, err := q.Release(b, sid, n); err != nil {
			return false, err
		}
	}
	if done = found < limit; done {
		if u, ok := q.usage.get(sid); ok { // what its user has is counted anew, without it
			q.totals.drop(u.user)
		}
	}
	return done, nil
}

// Seal adds the final counts to the batch. Call it once when everything else is in the batch.
func (q *Queue) Seal(b *storage.Batch) {
	q.batch.sealed = true
	for _, n := range q.batch.messages {
		h, _ := q.counts.get(n)
		if h.sole != 0 || !h.counted {
			continue
		}
		if h.left == 0 {
			b.Delete(messageKey(n))
			b.Delete(countKey(n))
		} else {
			b.Set(countKey(n), binary.AppendUvarint(nil, uint64(h.left)))
		}
	}
	for _, sid := range q.batch.sessions {
		q.sealUsage(b, sid)
	}
}

// Committed tells that the sealed batch was applied.
func (q *Queue) Committed() {
	if !q.batch.sealed && len(q.batch.messages) > 0 {
		panic("plain: Queue.Committed without Seal: the batch lacks the counts")
	}
	for _, n := range q.batch.messages {
		h, _ := q.counts.get(n)
		if h.left == 0 {
			q.counts.drop(n)
			continue
		}
		h.touched, h.counted = false, false
		q.counts.put(n, h)
	}
	for _, sid := range q.batch.sessions {
		u, _ := q.usage.get(sid)
		u.touched = false
		q.usage.put(sid, u)
	}
	q.batch.reset()
	q.counts.age()
	if q.usage.age() || q.totals.age() {
		q.totals = newRecent[string, int64](q.totals.max)
	}
}

// Aborted tells that the batch was not and will not be applied.
func (q *Queue) Aborted() {
	for _, n := range q.batch.messages {
		q.counts.drop(n)
	}
	for _, sid := range q.batch.sessions {
		if u, ok := q.usage.get(sid); ok {
			q.totals.drop(u.user)
		}
		q.usage.drop(sid)
	}
	q.batch.reset()
}

// open guards against changes between Seal and the batch's end, whose counts would be lost.
func (q *Queue) open() {
	if q.batch.sealed {
		panic("plain: Queue used between Seal and Committed or Aborted")
	}
}

func (c *changes) reset() {
	clear(c.released)
	*c = changes{released: c.released, messages: c.messages[:0], sessions: c.sessions[:0], puts: c.puts[:0], sids: c.sids[:0]}
}

// has says whether message n was put for the session in this batch. It searches back from the newest:
// hardly anything is released in the batch that put it.
func (c *changes) has(sid, n uint64) bool {
	for i := len(c.puts) - 1; i >= 0; i-- {
		if c.puts[i].n != n {
			continue
		}
		for _, s := range c.sids[c.puts[i].from:c.puts[i].to] {
			if s == sid {
				return true
			}
		}
		return false
	}
	return false
}

func refKey(sid, n uint64) storage.Key { return storage.In(storage.SpaceRef).U64(sid).U64(n) }

func messageKey(n uint64) storage.Key { return storage.In(storage.SpaceMessage).U64(n) }

func countKey(n uint64) storage.Key { return messageKey(n).Raw("c") }
