package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/petrelchat/petrel/storage"
)

// The engine's own key spaces, beside those of storage/keys.go:
//
//	0x00             the last commit number, 8 bytes big-endian; set by every commit
//	0x01 log         the ends of what was truncated from a log: see marks.go
//	'l' log 0 seq    an entry: its commit number (uvarint), then its data
//
// The commit number stands in no space that is scanned: in memory every commit leaves a version of it.
const (
	spaceCommit byte = 0
	spaceMarks  byte = 1
	spaceLog    byte = 'l'
)

var (
	errLogName = errors.New("storage: a log's name must not be empty or contain a zero byte")
	errKey     = errors.New("storage: a record's key must start with a space of storage/keys.go")
	errEntry   = errors.New("malformed log entry")
)

func checkLogName(log string) error {
	if log == "" || strings.IndexByte(log, 0) >= 0 {
		return errLogName
	}
	return nil
}

func checkKey(k storage.Key) error {
	if len(k) == 0 || k[0] <= spaceMarks || k[0] == spaceLog {
		return errKey
	}
	return nil
}

// entryKeyLen is the length of an entry's key.
func entryKeyLen(log string) int { return 1 + len(log) + 1 + 8 }

// appendEntryKey appends the key of an entry.
func appendEntryKey(dst []byte, log string, seq uint64) []byte {
	dst = append(dst, spaceLog)
	dst = append(dst, log...)
	dst = append(dst, 0)
	return binary.BigEndian.AppendUint64(dst, seq)
}

// appendLogEnd appends a key behind all entries of a log and before those of the next.
func appendLogEnd(dst []byte, log string) []byte {
	dst = append(dst, spaceLog)
	dst = append(dst, log...)
	return append(dst, 1)
}

// appendEntryAfter appends a key that is behind entry seq and not behind entry seq+1, also for the last seq.
func appendEntryAfter(dst []byte, log string, seq uint64) []byte {
	return append(appendEntryKey(dst, log, seq), 0)
}

// keySeq takes the seq off the end of an entry's key.
func keySeq(k []byte) (uint64, error) {
	if len(k) < entryKeyLen("x") || k[len(k)-9] != 0 {
		return 0, fmt.Errorf("%w: key of %d bytes", errEntry, len(k))
	}
	return binary.BigEndian.Uint64(k[len(k)-8:]), nil
}

// splitValue splits an entry's value.
func splitValue(v []byte) (commit uint64, data []byte, err error) {
	commit, n := binary.Uvarint(v)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%w: value of %d bytes", errEntry, len(v))
	}
	return commit, v[n:], nil
}

// uvarintLen is the length of n as a uvarint.
func uvarintLen(n uint64) int {
	l := 1
	for n >= 0x80 {
		n >>= 7
		l++
	}
	return l
}

// prefixEnd appends the first key behind all keys that start with prefix.
func prefixEnd(dst, prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			dst = append(dst, prefix[:i+1]...)
			dst[len(dst)-1]++
			return dst
		}
	}
	// Only for a prefix of 0xff bytes; no space has that byte.
	return append(append(dst, prefix...), 0xff)
}
