package upkeep

import (
	"errors"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// dueStep is how many events disappear in one commit.
const dueStep = 256

// Tombstone is what stays of an event that disappeared: that it was there, whose it was and when.
func Tombstone(ev *chat.Event) chat.Event {
	return chat.Event{Seq: ev.Seq, From: ev.From, At: ev.At, Kind: chat.KindGone}
}

// ExpireKey is where it stands that an event disappears.
func ExpireKey(conv string, ev *chat.Event) storage.Key {
	due := uint64(ev.At) + ev.Expire*1000
	return storage.In(storage.SpaceExpire).U64(due).Str(conv).U64(ev.Seq)
}

// TakeExpireKey is the inverse of ExpireKey. due is in ms.
func TakeExpireKey(k storage.Key) (due uint64, conv string, seq uint64, ok bool) {
	if len(k) == 0 || k[0] != byte(storage.SpaceExpire) {
		return 0, "", 0, false
	}
	due, rest, ok1 := storage.TakeU64(k[1:])
	conv, rest, ok2 := storage.TakeStr(rest)
	seq, rest, ok3 := storage.TakeU64(rest)
	return due, conv, seq, ok1 && ok2 && ok3 && len(rest) == 0
}

// disappear erases events whose time is over. One that can't be read stays, and is passed over until
// the next round.
func (u *Upkeep) disappear(_ Settings, now time.Time) (more bool, err error) {
	ms := uint64(max(0, now.UnixMilli()))
	var b storage.Batch
	var errs []error
	last, more, err := u.scanDue(ms, func(k storage.Key, _ []byte) {
		due, conv, seq, ok := TakeExpireKey(k)
		if !ok {
			errs = append(errs, fmt.Errorf("%w: time of an event to disappear: %w", storage.ErrRecord, errKey))
			return
		}
		if err := u.eraseDue(&b, k, due, conv, seq); err != nil {
			errs = append(errs, err)
		}
	})
	if err != nil {
		return false, err
	}
	if err := u.commit(&b); err != nil {
		return false, err
	}
	if u.due = nil; more {
		u.due = last
	}
	return more, errors.Join(errs...)
}

// scanDue is scan over the keys up to a time.
func (u *Upkeep) scanDue(ms uint64, fn func(k storage.Key, v []byte)) (last storage.Key, more bool, err error) {
	n := 0
	err = u.o.Store.Scan(storage.In(storage.SpaceExpire), u.due, func(k storage.Key, v []byte) bool {
		if due, _, ok := storage.TakeU64(k[1:]); ok && due > ms {
			return false
		}
		last = append(storage.Key(nil), k...)
		fn(last, v)
		n++
		return n < dueStep
	})
	return last, n == dueStep, err
}

// eraseDue adds the end of one event to the batch. An event that does not say that it ends then, or is
// not there any more, is left alone: only the key goes.
func (u *Upkeep) eraseDue(b *storage.Batch, k storage.Key, due uint64, conv string, seq uint64) error {
	var stone []byte
	var bad error
	err := u.o.Store.Read(conv, seq, seq, func(e storage.Entry) bool {
		var ev chat.Event
		if ev, bad = protocol.DecodeStored(e.Data); bad != nil {
			bad = fmt.Errorf("%s %d: %w", conv, seq, bad)
			return false
		}
		ev.Seq = e.Seq
		if ev.Expire > 0 && uint64(ev.At)+ev.Expire*1000 == due {
			t := Tombstone(&ev)
			stone = protocol.EncodeStored(nil, &t)
		}
		return false
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	if stone != nil {
		b.Erase(conv, seq, stone)
	}
	b.Delete(k)
	return nil
}
