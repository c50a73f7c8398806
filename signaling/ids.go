package signaling

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// alphabet is in byte order, so that ids are in the order of time.
const alphabet = "234567abcdefghijklmnopqrstuvwxyz"

// NewCallID returns a new id of a call: 13 characters, 42 bits of time in ms and 23 random ones, so that the ids of calls are in
// the order of their starts.
func NewCallID(now time.Time) string {
	var r [4]byte
	_, _ = rand.Read(r[:]) // it never fails
	hi := uint64(now.UnixMilli()) & (1<<42 - 1)
	lo := uint64(binary.BigEndian.Uint32(r[:])) >> 9
	var out [13]byte
	for i := range out { // 65 bits, five at a time, from the end
		k := len(out) - 1 - i
		out[k] = alphabet[lo&31]
		lo = lo>>5 | hi&31<<18 // lo keeps 23 bits
		hi >>= 5
	}
	return string(out[:])
}

// NewPartyID returns a new id of a party: 8 random characters.
func NewPartyID() string {
	var r [8]byte
	_, _ = rand.Read(r[:]) // it never fails
	for i := range r {
		r[i] = alphabet[r[i]&31]
	}
	return string(r[:])
}

// ValidCall reports whether s has the form of a call's id.
func ValidCall(s string) bool { return letters(s, 13) }

func validParty(s string) bool { return letters(s, 8) }

func letters(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '2' && c <= '7') {
			return false
		}
	}
	return true
}
