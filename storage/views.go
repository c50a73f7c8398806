package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/petrelchat/petrel/chat"
)

// The records of what events make of one another: threads, reactions, edits, pins. They follow from the
// log alone and are written in the batch of the event that changes them (package broker/hub, views.go).

// ActKey is where it stands that the event act changes the event seq: an edit. Its value is the kind, one byte.
func ActKey(conv string, seq, act uint64) Key { return ActsOf(conv, seq).U64(act) }

// ActsOf is the prefix of the ActKeys of an event.
func ActsOf(conv string, seq uint64) Key { return In(SpaceAct).Str(conv).U64(seq) }

// ReactionsOf is the prefix of all that is known of the reactions to an event. Behind it are four kinds of
// records; no emoji is empty, so an empty part stands for all emoji together:
//
//	""           how many different emoji there are
//	"" user      how many of them are the user's
//	emoji        how many users put it there
//	emoji user   the seq of the event that did
//
// Each value is one uvarint, see [AppendCount]; a record of zero is deleted.
func ReactionsOf(conv string, seq uint64) Key { return In(SpaceReaction).Str(conv).U64(seq) }

// ThreadKey is where a post of a thread stands, as a ThreadPost.
func ThreadKey(conv string, root, seq uint64) Key { return ThreadOf(conv, root).U64(seq) }

// ThreadOf is the prefix of the ThreadKeys of a thread.
func ThreadOf(conv string, root uint64) Key { return In(SpaceThread).Str(conv).U64(root) }

// ThreadSumKey is where a Thread is. Keys with a user behind it have how many posts there are of that user.
func ThreadSumKey(conv string, root uint64) Key { return In(SpaceThreadSum).Str(conv).U64(root) }

// PinKey is where a Pin is.
func PinKey(conv string, seq uint64) Key { return PinsOf(conv).U64(seq) }

// PinsOf is the prefix of the PinKeys of a conversation.
func PinsOf(conv string) Key { return In(SpacePin).Str(conv) }

// HiddenKey is where it stands that a user deleted an event for themselves.
func HiddenKey(user, conv string, seq uint64) Key { return HiddenOf(user, conv).U64(seq) }

// HiddenOf is the prefix of a user's HiddenKeys in a conversation.
func HiddenOf(user, conv string) Key { return In(SpaceHidden).Str(user).Str(conv) }

// ThreadPost is one post of a thread, its first one aside.
type ThreadPost struct {
	Depth uint64 // 1: a reply to the thread's first post
	Gone  bool   // it was deleted, or disappeared
	From  string
}

// AppendThreadPost encodes a post of a thread.
func AppendThreadPost(dst []byte, p ThreadPost) []byte {
	n := p.Depth << 1
	if p.Gone {
		n |= 1
	}
	return append(binary.AppendUvarint(dst, n), p.From...)
}

// DecodeThreadPost is the inverse of AppendThreadPost.
func DecodeThreadPost(b []byte) (p ThreadPost, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || !chat.ValidUser(string(b[k:])) {
		return p, fmt.Errorf("%w: post of a thread", ErrRecord)
	}
	return ThreadPost{Depth: n >> 1, Gone: n&1 != 0, From: string(b[k:])}, nil
}

// Thread is what a thread amounts to, its first post aside.
type Thread struct {
	Count uint64 // posts that are there
	Users uint64 // who wrote them
	Last  uint64 // seq of the newest, gone or not
	At    int64  // ms, of the newest
}

// AppendThread encodes what a thread amounts to.
func AppendThread(dst []byte, t Thread) []byte {
	dst = binary.AppendUvarint(dst, t.Count)
	dst = binary.AppendUvarint(dst, t.Users)
	dst = binary.AppendUvarint(dst, t.Last)
	return binary.AppendUvarint(dst, uint64(t.At))
}

// DecodeThread is the inverse of AppendThread.
func DecodeThread(b []byte) (t Thread, err error) {
	var at uint64
	err = uvarints(b, "thread", &t.Count, &t.Users, &t.Last, &at)
	t.At = int64(at)
	return t, err
}

// Pin says who pinned an event, when, and with which event.
type Pin struct {
	Seq uint64
	At  int64 // ms
	By  string
}

// AppendPin encodes a pin.
func AppendPin(dst []byte, p Pin) []byte {
	dst = binary.AppendUvarint(dst, p.Seq)
	dst = binary.AppendUvarint(dst, uint64(p.At))
	return append(dst, p.By...)
}

// DecodePin is the inverse of AppendPin.
func DecodePin(b []byte) (p Pin, err error) {
	var at uint64
	rest, err := takeUvarints(b, "pin", &p.Seq, &at)
	if err != nil {
		return p, err
	}
	if p.At, p.By = int64(at), string(rest); !chat.ValidUser(p.By) {
		return p, fmt.Errorf("%w: pin", ErrRecord)
	}
	return p, nil
}

// AppendCount encodes a number.
func AppendCount(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

// DecodeCount is the inverse of AppendCount.
func DecodeCount(b []byte) (n uint64, err error) {
	err = uvarints(b, "count", &n)
	return n, err
}

// Hidden returns which of a user's events from..to (both included) the user deleted for themselves, ascending.
func Hidden(r Reader, user, conv string, from, to uint64) ([]uint64, error) {
	var seqs []uint64
	prefix := HiddenOf(user, conv)
	var after Key
	if from > 0 {
		after = HiddenKey(user, conv, from-1)
	}
	err := r.Scan(prefix, after, func(k Key, _ []byte) bool {
		seq, _, ok := TakeU64(k[len(prefix):])
		if !ok || seq > to {
			return false
		}
		seqs = append(seqs, seq)
		return true
	})
	return seqs, err
}
