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
	tokenList byte = 1 // conv.list: snapshot, commit, conv
	tokenSync byte = 2 // sync: commit, digest, conv
)

// place is a place in the order of commits: behind conversation Conv of those whose last event has commit
// Commit; behind all of them if Conv is empty.
type place struct {
	commit uint64
	conv   string
}

// token encodes a number and a place so that clients can only hand it back.
func token(kind byte, n uint64, p place) string {
	b := binary.AppendUvarint([]byte{kind}, n)
	b = binary.AppendUvarint(b, p.commit)
	return base64.RawURLEncoding.EncodeToString(append(b, p.conv...))
}

// parseToken is the reverse of token. field names the parameter in the refusal.
func parseToken(kind byte, field, s string) (n uint64, p place, err error) {
	bad := chat.Refuse(chat.BadRequest, "%s is not what a reply of this method held: leave it out to begin anew", field)
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(s) > maxToken || len(b) == 0 || b[0] != kind {
		return 0, p, bad
	}
	n, i := binary.Uvarint(b[1:])
	if i <= 0 {
		return 0, p, bad
	}
	b = b[1+i:]
	var j int
	if p.commit, j = binary.Uvarint(b); j <= 0 {
		return 0, p, bad
	}
	if p.conv = string(b[j:]); p.conv != "" {
		if _, err := kindOf(p.conv); err != nil {
			return 0, p, bad
		}
	}
	return n, p, nil
}

// errFuture refuses a token that names a commit which this server has not made: it was restored from a backup.
func errFuture(field string) error {
	return chat.Refuse(chat.Conflict, "%s is from a later time than what this server has: leave it out to begin anew", field)
}
