package hub

import (
	"errors"
	"fmt"
	"math"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Whatever takes something out of a conversation's log goes through its owner, who alone knows what else its
// open batch does to the records beside it.

// Due says that an event disappears at a time.
type Due struct {
	Seq uint64
	At  uint64 // ms since 1970
}

// ExpireKey is where it stands that an event disappears.
func ExpireKey(conv string, d Due) storage.Key {
	return storage.In(storage.SpaceExpire).U64(d.At).Str(conv).U64(d.Seq)
}

// DueOf returns when an event disappears that has Expire.
func DueOf(ev *chat.Event) Due { return Due{Seq: ev.Seq, At: uint64(ev.Due())} }

// TakeExpireKey is the inverse of ExpireKey.
func TakeExpireKey(k storage.Key) (conv string, d Due, ok bool) {
	if len(k) == 0 || k[0] != byte(storage.SpaceExpire) {
		return "", Due{}, false
	}
	at, rest, ok1 := storage.TakeU64(k[1:])
	conv, rest, ok2 := storage.TakeStr(rest)
	seq, rest, ok3 := storage.TakeU64(rest)
	return conv, Due{Seq: seq, At: at}, ok1 && ok2 && ok3 && len(rest) == 0
}

// chore is work on a log that no user asked for. It runs on the owner's goroutine.
type chore struct {
	fn   func() error
	done chan error
}

// chore hands work to the owner of a conversation. wait returns when it is durable: nil, what failed, or a
// *chat.Refusal. What failed in part is stored as far as it went well.
func (h *Hub) chore(conv string, fn func(w *owner) error) (wait func() error) {
	w := h.owner(conv)
	x := &chore{fn: func() error { return fn(w) }, done: make(chan error, 1)}
	if !h.give(conv, work{chore: x}) {
		return errStopped
	}
	return func() error { return await(h, x.done, errStopped()) }
}

func (w *owner) tend(x *chore) {
	err := x.fn()
	w.comps = append(w.comps, completion{done: func(res Result) { x.done <- errors.Join(err, res.Err) }})
}

// Disappear has events end whose time is over: their bodies go, and those of their edits, with their
// reactions and pins. An event that does not say that it disappears then, or is not there any more, is left
// alone: only the record of its time goes. One that can't be read stays, and is in the error that wait
// returns, which it does when all is durable. A few hundred at a time keep nobody waiting.
func (h *Hub) Disappear(conv string, due []Due) (wait func() error) {
	return h.chore(conv, func(w *owner) error {
		var errs []error
		for _, d := range due {
			if err := w.disappear(conv, d); err != nil {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

func (w *owner) disappear(conv string, d Due) error {
	ev, err := w.event(conv, d.Seq)
	if err != nil {
		return err
	}
	if ev != nil && ev.Expire > 0 && DueOf(ev) == d {
		return w.erase(conv, ev)
	}
	w.batch.Delete(ExpireKey(conv, d))
	return nil
}

// Erase makes tombstones of posts, edits and reactions, as if each had been deleted: for what a whole account
// leaves behind. What is not there, or something else, is passed over. wait as in Disappear.
func (h *Hub) Erase(conv string, seqs []uint64) (wait func() error) {
	return h.chore(conv, func(w *owner) error {
		var errs []error
		for _, seq := range seqs {
			ev, err := w.event(conv, seq)
			if err == nil && ev != nil && (ev.Kind == chat.KindPost || ev.Kind == chat.KindEdit || ev.Kind == chat.KindReact) {
				err = w.erase(conv, ev)
			}
			if err != nil {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

// Cut removes what a log has before a seq, with all that stands beside those events. The last event always
// stays. wait as in Disappear.
func (h *Hub) Cut(conv string, below uint64) (wait func() error) {
	return h.chore(conv, func(w *owner) error { return w.cut(conv, below) })
}

func (w *owner) cut(conv string, below uint64) error {
	defer w.views.drop()
	head, _, err := w.h.o.Store.Head(conv)
	if below = min(below, max(head, 1)); err != nil || below <= 1 {
		return err
	}
	b := &storage.Batch{}
	var bad error
	err = w.h.o.Store.Read(conv, w.cuts[conv], below-1, func(e storage.Entry) bool {
		var ev chat.Event
		if ev, bad = w.h.o.Codec.DecodeStored(e.Data); bad != nil {
			bad = nil // nothing is known of what stands beside it, and it goes
			return true
		}
		ev.Seq = e.Seq
		if t, ok := w.erased[eventKey{conv, e.Seq}]; ok {
			ev = t
		}
		if bad = w.cutRecords(b, conv, &ev); bad == nil {
			bad = cutFromViews(w.views, conv, &ev)
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err == nil {
		err = cutActs(w.views, conv, below)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", conv, err)
	}
	b.Truncate(conv, below)
	w.cuts[conv] = max(w.cuts[conv], below)
	w.batch.Ops = append(w.batch.Ops, b.Ops...)
	w.views.keep(w.batch)
	return nil
}

// cutRecords adds the end of what stands beside an event to a batch. The retry key goes too, whatever its
// age: what it answers with would name an event that nobody can get. The id may have been used again after
// its key had grown old: then the key is another event's.
func (w *owner) cutRecords(b *storage.Batch, conv string, ev *chat.Event) error {
	if ev.Expire > 0 {
		b.Delete(ExpireKey(conv, DueOf(ev)))
	}
	if ev.ID == "" || ev.From == "" {
		return nil
	}
	p, err := w.prior(conv, ev.From, ev.ID)
	if err == nil && p != nil && p.Seq == ev.Seq {
		b.Delete(RetryKey(conv, ev.From, ev.ID))
	}
	return err
}

// eventKey names an event.
type eventKey struct {
	conv string
	seq  uint64
}

// event returns an event as it will be after the batch at hand: nil if there is none. It is read only.
func (w *owner) event(conv string, seq uint64) (*chat.Event, error) {
	if seq == 0 || seq > math.MaxInt64 || seq < w.cuts[conv] {
		return nil, nil
	}
	if t, ok := w.erased[eventKey{conv, seq}]; ok {
		return &t, nil
	}
	for i := range w.comps { // not committed yet
		if d := w.comps[i].deliver; d != nil && d.Log == conv && d.Event.Seq == seq {
			return d.Event, nil
		}
	}
	var found *chat.Event
	var bad error
	err := w.h.o.Store.Read(conv, seq, seq, func(e storage.Entry) bool {
		var ev chat.Event
		if ev, bad = w.h.o.Codec.DecodeStored(e.Data); bad == nil {
			ev.Seq, found = e.Seq, &ev
		}
		return false
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("%s %d: %w", conv, seq, err)
	}
	return found, nil
}

// erase adds the end of an event to the batch: a tombstone takes the place of its body and of those of its
// edits, the records of when they disappear go, and the views follow. With an error nothing was added. The
// retry keys stay: who never saw the PUBACK must not bring the text back.
func (w *owner) erase(conv string, ev *chat.Event) error {
	defer w.views.drop()
	edits, err := takeFromViews(w.views, conv, ev)
	if err != nil {
		return fmt.Errorf("%s %d: %w", conv, ev.Seq, err)
	}
	gone := []*chat.Event{ev}
	for _, seq := range edits {
		edit, err := w.event(conv, seq)
		if err != nil {
			return err
		}
		if edit != nil && edit.Kind == chat.KindEdit {
			gone = append(gone, edit)
		}
	}
	w.views.keep(w.batch)
	for _, ev := range gone {
		t := chat.Tombstone(ev)
		w.erased[eventKey{conv, ev.Seq}] = t
		w.batch.Erase(conv, ev.Seq, w.h.o.Codec.EncodeStored(nil, &t))
		if ev.Expire > 0 {
			w.batch.Delete(ExpireKey(conv, DueOf(ev)))
		}
	}
	return nil
}
