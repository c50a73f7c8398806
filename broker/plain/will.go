package plain

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/petrelchat/petrel/storage"
)

// WillKey names the session that a will belongs to.
type WillKey struct{ User, ClientID string }

// Will is the message that the server publishes for a client whose connection broke (MQTT 5 §3.1.2.5).
// At and Expire of the message are set when it is due: the expiry interval of a will counts from its
// publication [MQTT-3.1.3.2.4].
type Will struct {
	Message
	DelayS       uint32 // Will Delay Interval, seconds
	ExpiryS      uint32 // Message Expiry Interval, seconds, if HasExpiry
	HasExpiry    bool
	User         string
	ClientID     string
	SID          uint64 // the session
	Conn         uint64 // the connection that the will came with
	ID           uint64 // given by Arm; unique in the store
	armed, owing bool   // connected; due and not cancellable
	due          int64  // ms since 1970, once the connection broke
	index        int    // in the heap
}

// Never is the end of a session that does not expire.
const Never = math.MaxInt64

// Key returns the session that the will belongs to.
func (w *Will) Key() WillKey { return WillKey{w.User, w.ClientID} }

// Wills knows the wills of connected clients and those that are waiting for their delay. It is a state
// machine: no clock, no goroutine; now is in ms since 1970, and the records (SpaceWill user, client id,
// will id) go into the caller's batch. It belongs to one goroutine.
//
// Order of calls: Arm when a client connects with a will. Disarm when it says goodbye. Broken when the
// connection ends in any other way. Before the Arm of a client that comes back: Returned when it goes
// on with its session, SessionEnded when it starts a new one. Due gives what is to be published; put
// the deletion of the record (Published) into the batch that stores the message, so that a crash
// neither loses nor repeats it.
//
// A batch that could not be committed is the end of the connection that it was about, but for Due:
// give such wills back with Again.
type Wills struct {
	wills  map[WillKey]*Will // armed or waiting, one for each session
	queue  dueQueue          // waiting and owing
	lastID uint64
}

// NewWills returns an empty state machine, for an empty store.
func NewWills() *Wills { return &Wills{wills: make(map[WillKey]*Will)} }

// LoadWills reads the wills of a store. Those still armed belong to connections that broke when the
// server stopped; ends says when their sessions end or ended (Never: they don't expire; anything up to
// now: there is no session any more). What changes is added to b.
func LoadWills(r storage.Reader, b *storage.Batch, now int64, ends func(WillKey) int64) (*Wills, error) {
	ws := NewWills()
	var all []*Will
	var bad error
	err := r.Scan(storage.In(storage.SpaceWill), nil, func(k storage.Key, v []byte) bool {
		w, err := decodeWillRecord(k, append([]byte(nil), v...))
		if err != nil {
			bad = err
			return false
		}
		all = append(all, w)
		ws.lastID = max(ws.lastID, w.ID)
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		if w.armed {
			ws.put(w)
			ws.Broken(b, w.Key(), w.Conn, now, ends(w.Key()))
			continue
		}
		// A clock that was set back must not stretch the delay.
		w.due = min(w.due, now+int64(w.DelayS)*1000)
		if !w.owing {
			ws.put(w)
		}
		heap.Push(&ws.queue, w)
	}
	return ws, nil
}

// put makes w the will of its session. One that stood there without being cancelled is owed.
func (ws *Wills) put(w *Will) {
	if old := ws.wills[w.Key()]; old != nil && !old.armed {
		old.owing = true
	}
	ws.wills[w.Key()] = w
}

// Arm takes the will of a client that connected, and replaces one of the same session for which
// neither Returned nor SessionEnded was called: as if the connection had been taken over just now.
// The Wills own w from here on.
func (ws *Wills) Arm(b *storage.Batch, w *Will, now int64) {
	if old := ws.wills[w.Key()]; old != nil {
		ws.Broken(b, w.Key(), old.Conn, now, Never)
		ws.Returned(b, w.Key(), now)
	}
	ws.lastID++
	w.ID, w.armed, w.owing, w.due = ws.lastID, true, false, 0
	ws.wills[w.Key()] = w
	store(b, w)
}

// Disarm forgets the will of a connection that ended with DISCONNECT 0x00 [MQTT-3.1.2-10]. It returns
// false when this connection has none.
func (ws *Wills) Disarm(b *storage.Batch, key WillKey, conn uint64) bool {
	w := ws.wills[key]
	if w == nil || !w.armed || w.Conn != conn {
		return false
	}
	delete(ws.wills, key)
	b.Delete(recordKey(w))
	return true
}

// Broken tells that a connection ended without goodbye. Its will is due after the delay or when the
// session ends, whichever comes first [MQTT-3.1.2-8]. sessionEnds is in ms, Never for a session that
// does not expire; now or before for one that ended with the connection. It returns when the will is
// due; ok is false when this connection has none.
func (ws *Wills) Broken(b *storage.Batch, key WillKey, conn uint64, now, sessionEnds int64) (due int64, ok bool) {
	w := ws.wills[key]
	if w == nil || !w.armed || w.Conn != conn {
		return 0, false
	}
	w.armed = false
	w.due = max(now, min(now+int64(w.DelayS)*1000, sessionEnds))
	if w.due <= now {
		// Without a delay the record need not change: should the server stop before the will is
		// published, an armed one is due at the next start just the same.
		ws.owe(w, w.due)
		if w.DelayS > 0 {
			store(b, w)
		}
		return w.due, true
	}
	store(b, w)
	heap.Push(&ws.queue, w)
	return w.due, true
}

// owe makes a will due that nothing can cancel any more.
func (ws *Wills) owe(w *Will, due int64) {
	w.owing, w.due = true, due
	delete(ws.wills, w.Key())
	heap.Push(&ws.queue, w)
}

// Returned tells that a client came back to its session: a will that is still waiting is not sent
// [MQTT-3.1.3-9]. One that is due already is. It returns whether one was cancelled.
func (ws *Wills) Returned(b *storage.Batch, key WillKey, now int64) bool {
	w := ws.wills[key]
	if w == nil || w.armed {
		return false
	}
	if w.due <= now {
		w.owing = true
		delete(ws.wills, key)
		store(b, w)
		return false
	}
	heap.Remove(&ws.queue, w.index)
	delete(ws.wills, key)
	b.Delete(recordKey(w))
	return true
}

// SessionEnded tells that the session ended (expired, or the client came back with Clean Start): a will
// that is still waiting is due now.
func (ws *Wills) SessionEnded(b *storage.Batch, key WillKey, now int64) {
	w := ws.wills[key]
	if w == nil || w.armed {
		return
	}
	heap.Remove(&ws.queue, w.index)
	ws.owe(w, min(w.due, now))
	store(b, w)
}

// Due takes out the wills that are due, the longest overdue first, with At and Expire of their messages
// set. For each: Published in the batch that stores it, or Again.
func (ws *Wills) Due(now int64) []Will {
	var due []Will
	for len(ws.queue) > 0 && ws.queue[0].due <= now {
		w := heap.Pop(&ws.queue).(*Will)
		if ws.wills[w.Key()] == w {
			delete(ws.wills, w.Key())
		}
		w.At = now
		if w.HasExpiry {
			// 0 means that nothing expires: a will that does so at once is one past it.
			w.Expire = max(1, now+int64(w.ExpiryS)*1000)
		}
		due = append(due, *w)
	}
	return due
}

// Next returns when the next will is due, ok is false when none is waiting.
func (ws *Wills) Next() (due int64, ok bool) {
	if len(ws.queue) == 0 {
		return 0, false
	}
	return ws.queue[0].due, true
}

// Published deletes the record of a will that Due gave out, in the batch that stores its message (or
// that refuses it: a will that its owner may not publish is gone too).
func (ws *Wills) Published(b *storage.Batch, w *Will) { b.Delete(recordKey(w)) }

// Again gives a will back that could not be published, to be tried again at the given time, in ms.
func (ws *Wills) Again(w Will, at int64) {
	w.owing, w.due = true, at
	heap.Push(&ws.queue, &w)
}

// Len returns how many wills are armed, waiting, or due and not taken out.
func (ws *Wills) Len() int {
	n := len(ws.queue)
	for _, w := range ws.wills {
		if w.armed {
			n++
		}
	}
	return n
}

// dueQueue is a heap by due time, then id.
type dueQueue []*Will

func (q dueQueue) Len() int { return len(q) }

func (q dueQueue) Less(i, j int) bool {
	return q[i].due < q[j].due || q[i].due == q[j].due && q[i].ID < q[j].ID
}

func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *dueQueue) Push(x any) {
	w := x.(*Will)
	w.index = len(*q)
	*q = append(*q, w)
}

func (q *dueQueue) Pop() any {
	old := *q
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return w
}

func recordKey(w *Will) storage.Key {
	return storage.In(storage.SpaceWill).Str(w.User).Str(w.ClientID).U64(w.ID)
}

func store(b *storage.Batch, w *Will) { b.Set(recordKey(w), AppendWill(nil, w)) }

func decodeWillRecord(k storage.Key, v []byte) (*Will, error) {
	w, err := DecodeWill(v)
	if err != nil {
		return nil, err
	}
	user, rest, ok1 := storage.TakeStr(k[1:])
	client, rest, ok2 := storage.TakeStr(rest)
	id, rest, ok3 := storage.TakeU64(rest)
	if !ok1 || !ok2 || !ok3 || len(rest) != 0 {
		return nil, fmt.Errorf("%w: key of a will", storage.ErrRecord)
	}
	w.User, w.ClientID, w.ID = user, client, id
	return w, nil
}

// A record of a will is a byte of version and state, numbers, and the message. User, client id and will
// id stand in the key.
const (
	willArmed    = 1 << 0
	willOwing    = 1 << 1
	willExpiry   = 1 << 2
	willVersion  = 1 << 5
	willVersions = 7 << 5 // mask
	willKnown    = willArmed | willOwing | willExpiry | willVersions
)

// AppendWill encodes a will and its state, but for what its key has: user, client id and ID.
func AppendWill(dst []byte, w *Will) []byte {
	dst = append(dst, willVersion|flag(w.armed, willArmed)|flag(w.owing, willOwing)|flag(w.HasExpiry, willExpiry))
	dst = binary.AppendUvarint(dst, uint64(w.due))
	dst = binary.AppendUvarint(dst, uint64(w.DelayS))
	if w.HasExpiry {
		dst = binary.AppendUvarint(dst, uint64(w.ExpiryS))
	}
	dst = binary.AppendUvarint(dst, w.SID)
	dst = binary.AppendUvarint(dst, w.Conn)
	return AppendMessage(dst, &w.Message)
}

// DecodeWill is the inverse of AppendWill. The payload and the correlation data are slices of b. The
// error wraps storage.ErrRecord.
func DecodeWill(b []byte) (*Will, error) {
	d := decoder{b: b, what: "will"}
	f := d.byte()
	if f&willVersions != willVersion || f&^willKnown != 0 {
		d.fail("unknown version")
	}
	w := &Will{armed: f&willArmed != 0, owing: f&willOwing != 0, HasExpiry: f&willExpiry != 0}
	w.due = int64(d.uvarint())
	w.DelayS = d.uint32()
	if w.HasExpiry {
		w.ExpiryS = d.uint32()
	}
	w.SID = d.uvarint()
	w.Conn = d.uvarint()
	if d.err != nil {
		return nil, d.err
	}
	m, err := DecodeMessage(d.b)
	if err != nil {
		return nil, err
	}
	w.Message = *m
	return w, nil
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.fail("number too large")
	}
	return uint32(v)
}
