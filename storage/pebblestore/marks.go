package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/petrelchat/petrel/storage"
)

// mark is the last entry of what one truncation removed. With marks, After knows that entries are
// missing which a session that stands at a commit has never seen. The record of a log's marks is pairs
// of uvarints, rising.
type mark struct{ seq, commit uint64 }

func appendMarksKey(dst []byte, log string) []byte {
	return append(append(dst, spaceMarks), log...)
}

// marks reads what a log's truncations left.
func (s *Store) marks(log string) ([]mark, error) {
	v, closer, err := s.db.Get(appendMarksKey(nil, log))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, s.classify(err)
	}
	marks, err := decodeMarks(v)
	if cerr := closer.Close(); err == nil {
		err = cerr
	}
	return marks, s.classify(err)
}

func decodeMarks(v []byte) (marks []mark, err error) {
	for len(v) > 0 {
		seq, n := binary.Uvarint(v)
		commit, m := binary.Uvarint(v[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, fmt.Errorf("%w: marks that end early", errEntry)
		}
		marks = append(marks, mark{seq, commit})
		v = v[n+m:]
	}
	return marks, nil
}

func appendMarks(dst []byte, marks []mark) []byte {
	for _, m := range marks {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, m.seq), m.commit)
	}
	return dst
}

// goesOn is where whoever has seen everything up to a commit goes on, when first is the oldest entry
// that is left.
func goesOn(marks []mark, commit, first uint64) uint64 {
	if len(marks) == 0 {
		return first // truncated before there were marks
	}
	next := uint64(1)
	for _, m := range marks {
		if m.commit <= commit {
			next = m.seq + 1
		}
	}
	return min(next, first)
}

// mark notes in the batch that a log ends at the front with seq; removes is false when that entry is
// gone already.
func (b *builder) mark(h *head, log string, seq uint64) (removes bool, err error) {
	commit := b.number
	if seq <= h.seq {
		found, err := b.getEntry(log, seq, func(e storage.Entry) { commit = e.Commit })
		if err != nil || !found {
			return false, err
		}
	}
	marks, ok := b.cut[log]
	if !ok {
		if marks, err = b.marks(log); err != nil {
			return false, err
		}
	}
	marks = append(marks, mark{seq, commit})
	if len(marks) > storage.MaxMarks {
		marks = thin(marks)
	}
	if b.cut == nil {
		b.cut = map[string][]mark{}
	}
	b.cut[log] = marks
	return true, b.pb.Set(appendMarksKey(nil, log), appendMarks(nil, marks), nil)
}

// thin drops every second mark, and keeps the newest.
func thin(marks []mark) []mark {
	n := 0
	for i, m := range marks {
		if (len(marks)-1-i)%2 == 0 {
			marks[n] = m
			n++
		}
	}
	return marks[:n]
}
