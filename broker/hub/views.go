package hub

import (
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Views are records that the events of a log lead to: what acts upon an event, its reactions, threads, pins.
// They are written in the batch of the event, so they never lag, and can be made from the log anew
// ([Rebuild]). A post that acts upon nothing has none of them and costs nothing.

// records is where views are kept: a store under an owner's open batch, or memory.
type records interface {
	get(k storage.Key) (v []byte, ok bool, err error)
	set(k storage.Key, v []byte)
	del(k storage.Key)
}

// scanner is what taking an event away needs beside.
type scanner interface {
	records
	delPrefix(k storage.Key)
	// scan calls fn with all records whose key starts with prefix, in order, until it returns false.
	scan(prefix storage.Key, fn func(k storage.Key, v []byte) bool) error
}

// addToViews takes an event into the views of its log. What it acts upon is there.
func addToViews(r records, conv string, ev *chat.Event) error {
	if ev.Re == 0 {
		return nil
	}
	switch ev.Kind {
	case chat.KindPost:
		return addToThread(r, conv, ev, false)
	case chat.KindEdit:
		r.set(storage.ActKey(conv, ev.Re, ev.Seq), []byte{byte(ev.Kind)})
	case chat.KindReact:
		return react(r, conv, ev)
	case chat.KindUnreact:
		return unreact(r, conv, ev)
	case chat.KindPin:
		r.set(storage.PinKey(conv, ev.Re), storage.AppendPin(nil, storage.Pin{Seq: ev.Seq, At: ev.At, By: ev.From}))
	case chat.KindUnpin:
		r.del(storage.PinKey(conv, ev.Re))
	}
	return nil
}

// addToThread adds a post to its thread, or what is left of one.
func addToThread(r records, conv string, ev *chat.Event, gone bool) error {
	if ev.Thread == 0 {
		return nil
	}
	p := storage.ThreadPost{Depth: 1, Gone: gone, From: ev.From}
	if ev.Re != ev.Thread {
		above, ok, err := threadPost(r, storage.ThreadKey(conv, ev.Thread, ev.Re))
		if err != nil {
			return err
		}
		if p.Depth = above.Depth + 1; !ok { // it was cut off: it was a reply itself
			p.Depth = 2
		}
	}
	sum, err := threadSum(r, conv, ev.Thread)
	if err != nil {
		return err
	}
	sum.Last, sum.At = ev.Seq, ev.At
	if !gone {
		if err := writes(r, conv, ev.Thread, ev.From, &sum, +1); err != nil {
			return err
		}
	}
	r.set(storage.ThreadKey(conv, ev.Thread, ev.Seq), storage.AppendThreadPost(nil, p))
	r.set(storage.ThreadSumKey(conv, ev.Thread), storage.AppendThread(nil, sum))
	return nil
}

// writes counts a post of a user's in a thread, or one that has gone.
func writes(r records, conv string, root uint64, user string, sum *storage.Thread, by int64) error {
	had, has, err := add(r, storage.ThreadSumKey(conv, root).Str(user), by)
	sum.Count = uint64(int64(sum.Count) + by)
	switch {
	case had == 0 && has > 0:
		sum.Users++
	case had > 0 && has == 0:
		sum.Users--
	}
	return err
}

func threadPost(r records, k storage.Key) (p storage.ThreadPost, ok bool, err error) {
	v, ok, err := r.get(k)
	if err == nil && ok {
		p, err = storage.DecodeThreadPost(v)
	}
	return p, ok, err
}

func threadSum(r records, conv string, root uint64) (t storage.Thread, err error) {
	v, ok, err := r.get(storage.ThreadSumKey(conv, root))
	if err == nil && ok {
		t, err = storage.DecodeThread(v)
	}
	return t, err
}

// react puts an emoji on an event, with the counts that this changes.
func react(r records, conv string, ev *chat.Event) error {
	at := storage.ReactionsOf(conv, ev.Re)
	one := key(at).Str(ev.Emoji).Str(ev.From)
	if had, err := count(r, one); err != nil || had != 0 {
		return err
	}
	r.set(one, storage.AppendCount(nil, ev.Seq))
	return countReaction(r, at, ev, +1)
}

func unreact(r records, conv string, ev *chat.Event) error {
	at := storage.ReactionsOf(conv, ev.Re)
	one := key(at).Str(ev.Emoji).Str(ev.From)
	if had, err := count(r, one); err != nil || had == 0 {
		return err
	}
	r.del(one)
	return countReaction(r, at, ev, -1)
}

// countReaction keeps the three counts of the reactions to an event.
func countReaction(r records, at storage.Key, ev *chat.Event, by int64) error {
	if _, _, err := add(r, key(at).Str("").Str(ev.From), by); err != nil {
		return err
	}
	had, has, err := add(r, key(at).Str(ev.Emoji), by)
	if err != nil || had > 0 && has > 0 {
		return err
	}
	_, _, err = add(r, key(at).Str(""), by)
	return err
}

// count reads a number; one that is not there is zero.
func count(r records, k storage.Key) (n uint64, err error) {
	v, ok, err := r.get(k)
	if err == nil && ok {
		n, err = storage.DecodeCount(v)
	}
	return n, err
}

// add changes a number by one. At zero its record goes.
func add(r records, k storage.Key, by int64) (had, has uint64, err error) {
	if had, err = count(r, k); err != nil {
		return 0, 0, err
	}
	if has = had + 1; by < 0 {
		has = max(had, 1) - 1
	}
	if has == 0 {
		r.del(k)
	} else {
		r.set(k, storage.AppendCount(nil, has))
	}
	return had, has, nil
}

// key copies a key with room for more, so that two can be made from one beginning.
func key(k storage.Key) storage.Key { return append(make(storage.Key, 0, len(k)+80), k...) }

// takeFromViews takes an event that becomes a tombstone out of the views of its log: its edits, reactions and
// pin go, in its thread it is marked. It returns the seqs of the edits, whose bodies must go too.
func takeFromViews(r scanner, conv string, ev *chat.Event) (edits []uint64, err error) {
	switch ev.Kind {
	case chat.KindEdit:
		r.del(storage.ActKey(conv, ev.Re, ev.Seq))
		return nil, nil
	case chat.KindReact:
		had, err := count(r, storage.ReactionsOf(conv, ev.Re).Str(ev.Emoji).Str(ev.From))
		if err == nil && had == ev.Seq {
			err = unreact(r, conv, ev)
		}
		return nil, err
	case chat.KindPin:
		v, ok, err := r.get(storage.PinKey(conv, ev.Re))
		if err != nil || !ok {
			return nil, err
		}
		if p, err := storage.DecodePin(v); err != nil || p.Seq != ev.Seq {
			return nil, err
		}
		r.del(storage.PinKey(conv, ev.Re))
		return nil, nil
	case chat.KindUnreact, chat.KindUnpin, chat.KindDelete, chat.KindGone:
		return nil, nil
	}
	acts := storage.ActsOf(conv, ev.Seq)
	err = r.scan(acts, func(k storage.Key, _ []byte) bool {
		if seq, _, ok := storage.TakeU64(k[len(acts):]); ok {
			edits = append(edits, seq)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, seq := range edits {
		r.del(storage.ActKey(conv, ev.Seq, seq))
	}
	r.delPrefix(storage.ReactionsOf(conv, ev.Seq))
	r.del(storage.PinKey(conv, ev.Seq))
	if ev.Thread == 0 {
		return edits, nil
	}
	return edits, goneFromThread(r, conv, ev)
}

// goneFromThread marks a post in its thread. When the thread was last written in stays.
func goneFromThread(r records, conv string, ev *chat.Event) error {
	k := storage.ThreadKey(conv, ev.Thread, ev.Seq)
	p, ok, err := threadPost(r, k)
	if err != nil || !ok || p.Gone {
		return err
	}
	sum, err := threadSum(r, conv, ev.Thread)
	if err != nil {
		return err
	}
	if err := writes(r, conv, ev.Thread, ev.From, &sum, -1); err != nil {
		return err
	}
	p.Gone = true
	r.set(k, storage.AppendThreadPost(nil, p))
	r.set(storage.ThreadSumKey(conv, ev.Thread), storage.AppendThread(nil, sum))
	return nil
}

// cutFromViews takes an event out of the views that is cut off with all before it. What acted upon it names
// an event that is no more; what it acted upon was cut off before.
func cutFromViews(r scanner, conv string, ev *chat.Event) error {
	if ev.Thread == 0 || ev.Kind != chat.KindPost && ev.Kind != chat.KindGone {
		return nil
	}
	if err := goneFromThread(r, conv, ev); err != nil {
		return err
	}
	r.del(storage.ThreadKey(conv, ev.Thread, ev.Seq))
	sum, err := threadSum(r, conv, ev.Thread)
	if err == nil && sum.Last == ev.Seq { // nothing of the thread is left
		r.delPrefix(storage.ThreadSumKey(conv, ev.Thread))
	}
	return err
}

// cutActs takes away what is known of acts upon events before a seq.
func cutActs(r scanner, conv string, below uint64) error {
	for _, space := range [...]storage.Space{storage.SpaceAct, storage.SpaceReaction, storage.SpacePin} {
		prefix := storage.In(space).Str(conv)
		var last uint64
		var seqs []uint64
		err := r.scan(prefix, func(k storage.Key, _ []byte) bool {
			seq, _, ok := storage.TakeU64(k[len(prefix):])
			if !ok || seq >= below {
				return false
			}
			if seq != last {
				seqs, last = append(seqs, seq), seq
			}
			return true
		})
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			r.delPrefix(key(prefix).U64(seq))
		}
	}
	return nil
}
