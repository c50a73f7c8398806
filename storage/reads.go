package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/petrelchat/petrel/chat"
)

// Read is an entry of the read audit (SpaceRead): where a member's cursors came to.
type Read struct {
	chat.Cursor
	At int64 // ms since 1970
}

// ReadKey is where the read audit has a member's cursors that moved last at or before a time, in ms.
func ReadKey(conv string, ms int64, user string) Key {
	return In(SpaceRead).Str(conv).U64(uint64(ms)).Str(user)
}

// ReadsAfter is a key behind those of a conversation's read audit up to a time, in ms, and before all others
// of it. ReadsOf is the prefix of them all.
func ReadsAfter(conv string, ms int64) Key { return ReadsOf(conv).U64(uint64(max(ms, 0)) + 1) }

// ReadsOf is the prefix of a conversation's read audit.
func ReadsOf(conv string) Key { return In(SpaceRead).Str(conv) }

// TakeRead splits a key of the read audit.
func TakeRead(k Key) (conv string, ms int64, user string, ok bool) {
	if len(k) == 0 || Space(k[0]) != SpaceRead {
		return "", 0, "", false
	}
	conv, rest, ok := TakeStr(k[1:])
	if !ok {
		return "", 0, "", false
	}
	n, rest, ok := TakeU64(rest)
	if !ok {
		return "", 0, "", false
	}
	user, rest, ok = TakeStr(rest)
	return conv, int64(n), user, ok && len(rest) == 0
}

// AppendRead encodes an entry of the read audit.
func AppendRead(dst []byte, r Read) []byte {
	dst = AppendCursor(dst, r.Cursor)
	return binary.AppendUvarint(dst, uint64(r.At))
}

// DecodeRead is the inverse of AppendRead.
func DecodeRead(b []byte) (r Read, err error) {
	var at uint64
	if err := uvarints(b, "read audit", &r.Delivered, &r.Read, &at); err != nil {
		return Read{}, err
	}
	if r.Read > r.Delivered {
		return Read{}, fmt.Errorf("%w: read audit: read %d of %d delivered", ErrRecord, r.Read, r.Delivered)
	}
	r.At = int64(at)
	return r, nil
}
