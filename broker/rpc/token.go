package rpc

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/petrelchat/petrel/chat"
)

// maxToken bounds the tokens that this package gives out, in characters.
const maxToken = 256

// Every token starts with what it is for. Never reuse a number for another form.
const (
	tokenList     byte = 1 // conv.list: the snapshot of all pages, and the last row's place in it
	tokenSync     byte = 5 // sync: base, the last row's place, time, run
	tokenReceipts byte = 4 // receipts.since: base, the last row's place, time
)

// What older servers gave out as tokenSync: with a digest in place of the time, which stands for a sync of an unknown
// time; and without the run.
const (
	tokenSyncDigest  byte = 2
	tokenSyncRunless byte = 3
)

// place is a place in the order of commits: behind conversation conv of those whose last event has that
// commit; behind all of them if conv is empty.
type place struct {
	commit uint64
	conv   string
}

// cursorToken is what a token holds. Clients can only hand it back.
type cursorToken struct {
	base  uint64 // list: the snapshot; sync: the commit that the first page started from
	place place
	at    int64  // sync: when the last one ended, ms since 1970
	run   uint64 // sync: of the server that gave it out, see storage.Runs
}

func (t cursorToken) encode(kind byte) string {
	b := binary.AppendUvarint([]byte{kind}, t.base)
	b = binary.AppendUvarint(b, t.place.commit)
	b = binary.AppendUvarint(b, uint64(t.at))
	if kind == tokenSync {
		b = binary.AppendUvarint(b, t.run)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, t.place.conv...))
}

// parseToken is the reverse of encode. field names the parameter in the refusal. A token that names a
// commit beyond durable is refused.
func parseToken(kind byte, field, s string, durable uint64) (t cursorToken, err error) {
	bad := chat.Refuse(chat.BadRequest, "%s is not what a reply of this method held: leave it out to begin anew", field)
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(s) > maxToken || len(b) == 0 {
		return t, bad
	}
	digest := kind == tokenSync && b[0] == tokenSyncDigest
	runless := kind == tokenSync && b[0] == tokenSyncRunless
	if b[0] != kind && !digest && !runless {
		return t, bad
	}
	b = b[1:]
	var at uint64
	fields := []*uint64{&t.base, &t.place.commit, &at}
	if kind == tokenSync && !digest && !runless {
		fields = append(fields, &t.run)
	}
	for _, p := range fields {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			return t, bad
		}
		*p, b = n, b[k:]
	}
	if !digest {
		if t.at = int64(at); t.at < 0 {
			return t, bad
		}
	}
	if t.place.conv = string(b); len(b) > 0 {
		if _, err := kindOf(t.place.conv); err != nil {
			return t, bad
		}
	}
	if max(t.base, t.place.commit) > durable {
		return t, errFuture(field)
	}
	return t, nil
}

// errFuture refuses a token that names a commit which this server has not made: it was restored from a backup.
func errFuture(field string) error {
	return chat.Refuse(chat.Conflict, "%s is from a later time than what this server has: leave it out to begin anew", field)
}
