package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// A server that was restored from a backup has lost what was acknowledged since. What the user wrote is still here: before a log is
// forgotten that has become another one, the user's own posts in it are put aside. Logs only grow, so up to some seq the old
// one and the new one are the same, and behind it nothing is: a few looks into the history find out which posts are missing. These
// go into the outbox once more, under their ids, so that of several devices that do it one succeeds.

const (
	lostMost  = 1000                // posts of a conversation that are put aside, the newest
	lostBytes = 4 << 20             // what they take at most
	lostLook  = 20_000              // events that are looked at for them
	lostFor   = 30 * 24 * time.Hour // what is older is in every backup that anybody would restore
)

// metaLost and the id of a conversation is where posts are put aside.
const metaLost = "client/lost/"

// putAside keeps the user's own posts of a log that is about to be forgotten.
func (ch *change) putAside(conv string) error {
	kept, err := aside(ch.tx, conv)
	if err != nil {
		return err
	}
	size, since := 0, ch.millis()-lostFor.Milliseconds()
	var own []chat.Event // the newest first
	q := store.EventQuery{Conv: conv, Kinds: []chat.Kind{chat.KindPost}, Limit: 500}
	for looked := 0; looked < lostLook && len(own) < lostMost && size < lostBytes; looked += q.Limit {
		page, err := ch.tx.Events(q)
		if err != nil {
			return err
		}
		for _, ev := range slices.Backward(page) {
			if !ch.mayBeLost(&ev) || slices.ContainsFunc(kept, func(k chat.Event) bool { return k.ID == ev.ID }) {
				continue
			}
			own = append(own, ev.Event)
			size += len(ev.Text) + len(ev.Media) + len(ev.Ext) + len(ev.Enc) + 128
		}
		if len(page) < q.Limit || page[0].At < since {
			break
		}
		q.Before = page[0].Seq
	}
	slices.Reverse(own)
	kept = append(kept, own...) // those that were put aside before are of an older log
	if len(kept) == 0 {
		return nil
	}
	blobs := make([][]byte, len(kept))
	for i := range kept {
		blobs[i] = protocol.EncodeStored(nil, &kept[i])
	}
	b, err := cbor.Marshal(blobs)
	if err != nil {
		return err
	}
	return ch.tx.PutMeta(metaLost+conv, b)
}

// mayBeLost reports whether an event can be sent again: a post of the user's own with its body, which is no copy of another one.
func (ch *change) mayBeLost(ev *store.Event) bool {
	return ev.From == ch.me && ev.ID != "" && !ev.Gone && !ev.Expired(ch.millis()) && ev.Fwd == nil
}

// aside reads what was put aside.
func aside(r store.Reader, conv string) (evs []chat.Event, err error) {
	b, err := r.Meta(metaLost + conv)
	if err != nil || b == nil {
		return nil, err
	}
	var blobs [][]byte
	if err := cbor.Unmarshal(b, &blobs); err != nil {
		return nil, errors.Join(store.ErrDamaged, err)
	}
	for _, b := range blobs {
		ev, err := protocol.DecodeStored(b)
		if err != nil {
			return nil, errors.Join(store.ErrDamaged, err)
		}
		evs = append(evs, ev)
	}
	return evs, nil
}

// askLost finds out what of the posts that were put aside the server has lost, and queues it.
func (w *chores) askLost(ctx context.Context, wish store.Wish) error {
	var own []chat.Event
	err := w.read(ctx, func(r store.Reader) (err error) {
		own, err = aside(r, wish.Conv)
		return err
	})
	if err != nil {
		return err
	}
	lo, hi := 0, len(own) // below lo the server has them, from hi on it has not
	for lo < hi {
		mid := (lo + hi) / 2
		there, err := w.serverHas(ctx, wish.Conv, &own[mid])
		if err != nil {
			return err
		}
		if there {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return w.persist(ctx, func(ch *change) error {
		lost := make(map[uint64]string) // by their old seqs: what replies to them is to find them
		for i := lo; i < len(own); i++ {
			lost[own[i].Seq] = own[i].ID
			if err := ch.sendAgain(wish.Conv, &own[i], own[:lo], lost); err != nil {
				return err
			}
		}
		if err := ch.tx.PutMeta(metaLost+wish.Conv, nil); err != nil {
			return err
		}
		return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
	})
}

// serverHas reports whether a post is where it was.
func (w *chores) serverHas(ctx context.Context, conv string, ev *chat.Event) (bool, error) {
	var p historyPage
	err := w.call(ctx, "history", map[string]any{"conv": conv, "before": ev.Seq + 1, "limit": 1}, &p)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(p.Events, func(d protocol.Delivery) bool {
		return d.Seq == ev.Seq && d.From == ev.From && d.ID == ev.ID
	}), nil
}

// sendAgain queues a post that the server lost, unless it has come back already. there are those that the server has.
func (ch *change) sendAgain(conv string, old *chat.Event, there []chat.Event, lost map[uint64]string) error {
	if _, err := ch.tx.EventByID(conv, old.ID); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if _, err := ch.tx.Outgoing(old.ID); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	ev := chat.Event{
		Kind: chat.KindPost, ID: old.ID, Text: old.Text, Mentions: old.Mentions, Media: old.Media, Expire: old.Expire, Ext: old.Ext, Enc: old.Enc,
	}
	out := store.Outgoing{ID: old.ID, Conv: conv, Event: ev, At: old.At, State: store.Queued}
	// What others wrote since the backup is gone for good, and something else has its seq: who replied to it now only says so.
	if id := lost[old.Re]; id != "" {
		out.ReID = id
	} else if n := len(there); n > 0 && old.Re <= there[n-1].Seq {
		out.Event.Re = old.Re
	}
	if err := ch.tx.Enqueue(&out); err != nil {
		return err
	}
	ch.queued++
	ch.toldOut(&out)
	ch.touchEnd(conv)
	return nil
}

// unsettle queues once more what the server acknowledged and did not deliver before its log became another one: it may have it,
// or not.
func (ch *change) unsettle(conv string) error {
	sent, err := ch.tx.Outbox(store.OutboxQuery{Conv: conv, States: []store.OutState{store.Sent}, Limit: 1000})
	if err != nil {
		return err
	}
	for i := range sent {
		sent[i].Seq = 0
		if err := ch.again(&sent[i]); err != nil {
			return err
		}
	}
	return nil
}
