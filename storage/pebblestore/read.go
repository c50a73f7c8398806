package pebblestore

import (
	"bytes"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/petrelchat/petrel/storage"
)

// Head implements storage.Reader.
func (s *Store) Head(log string) (seq, commit uint64, err error) {
	if err := s.enter(); err != nil {
		return 0, 0, err
	}
	defer s.leave()
	return s.loadHead(log)
}

// seekHead reads a log's head from the store.
func (s *Store) seekHead(log string) (seq, commit uint64, err error) {
	err = s.withEntries(log, 0, ^uint64(0), func(it *pebble.Iterator) error {
		if !it.Last() {
			return nil
		}
		e, err := entryAt(it)
		seq, commit = e.Seq, e.Commit
		return err
	})
	return seq, commit, err
}

// Read implements storage.Reader.
func (s *Store) Read(log string, from, to uint64, fn func(storage.Entry) bool) error {
	return s.read(log, from, to, fn, (*pebble.Iterator).First, (*pebble.Iterator).Next)
}

// ReadBack implements storage.Reader.
func (s *Store) ReadBack(log string, from, to uint64, fn func(storage.Entry) bool) error {
	return s.read(log, from, to, fn, (*pebble.Iterator).Last, (*pebble.Iterator).Prev)
}

func (s *Store) read(log string, from, to uint64, fn func(storage.Entry) bool,
	start, step func(*pebble.Iterator) bool,
) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := checkLogName(log); err != nil {
		return err
	}
	switch {
	case from > to:
		return nil
	case from == to:
		// The usual case of a session that is almost up to date; a filter spares most of the tables.
		_, err := s.getEntry(log, from, func(e storage.Entry) { fn(e) })
		return err
	}
	return s.withEntries(log, from, to, func(it *pebble.Iterator) error {
		for ok := start(it); ok; ok = step(it) {
			e, err := entryAt(it)
			if err != nil {
				return err
			}
			if !fn(e) {
				return nil
			}
		}
		return nil
	})
}

// After implements storage.Reader. Most callers are close to the head, so it steps back from there in
// doubling strides before it halves.
func (s *Store) After(log string, commit uint64) (uint64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	seq, newest, err := s.loadHead(log)
	if err != nil || newest <= commit {
		return seq + 1, err
	}
	high := seq    // the first entry known to be newer
	exact := false // the entry before it is there, and older
	err = s.withEntries(log, 0, seq, func(it *pebble.Iterator) error {
		low := uint64(0) // no entry up to here is newer
		for stride := uint64(1); low+1 < high; {
			probe := low + (high-low)/2
			if low == 0 && stride < high {
				probe = max(high-stride, probe)
				stride *= 2
			}
			e, ok, err := firstFrom(it, log, probe)
			switch {
			case err != nil:
				return err
			case !ok:
				return nil // truncated meanwhile; high is the head
			case e.Commit > commit:
				if e.Seq > probe {
					low = e.Seq - 1 // nothing is left before it
				}
				high = min(high, e.Seq)
			default:
				low, exact = e.Seq, true
			}
		}
		return nil
	})
	if err != nil || exact || high == 1 {
		return high, err
	}
	marks, err := s.marks(log)
	return goesOn(marks, commit, high), err
}

// firstFrom moves to the first entry that is not before seq.
func firstFrom(it *pebble.Iterator, log string, seq uint64) (e storage.Entry, ok bool, err error) {
	var buf [96]byte
	if !it.SeekGE(appendEntryKey(buf[:0], log, seq)) {
		return e, false, nil
	}
	e, err = entryAt(it)
	return e, true, err
}

// Logs implements storage.Reader.
func (s *Store) Logs(fn func(log string) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	bounds := pebble.IterOptions{LowerBound: []byte{spaceLog}, UpperBound: []byte{spaceLog + 1}}
	return s.withIter(&bounds, func(it *pebble.Iterator) error {
		var next []byte
		for ok := it.First(); ok; ok = it.SeekGE(next) {
			name, _, found := bytes.Cut(it.Key()[1:], []byte{0})
			if !found {
				return errEntry
			}
			log := string(name)
			if !fn(log) {
				return nil
			}
			next = appendLogEnd(next[:0], log)
		}
		return nil
	})
}

// Get implements storage.Reader.
func (s *Store) Get(k storage.Key) (v []byte, ok bool, err error) {
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.leave()
	if err := checkKey(k); err != nil {
		return nil, false, err
	}
	raw, closer, err := s.db.Get(k)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, false, nil
	case err != nil:
		return nil, false, s.classify(err)
	}
	v = append(make([]byte, 0, len(raw)), raw...)
	return v, true, s.classify(closer.Close())
}

// Scan implements storage.Reader. An empty prefix stands for all records.
func (s *Store) Scan(prefix, after storage.Key, fn func(k storage.Key, v []byte) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if len(prefix) > 0 {
		if err := checkKey(prefix); err != nil {
			return err
		}
		return s.scan(prefix, prefixEnd(nil, prefix), after, fn)
	}
	// The records before and behind the engine's own entries.
	more := true
	visit := func(k storage.Key, v []byte) bool {
		more = fn(k, v)
		return more
	}
	if err := s.scan([]byte{spaceMarks + 1}, []byte{spaceLog}, after, visit); err != nil || !more {
		return err
	}
	return s.scan([]byte{spaceLog + 1}, nil, after, visit)
}

func (s *Store) scan(lower, upper, after []byte, fn func(k storage.Key, v []byte) bool) error {
	if after != nil && bytes.Compare(after, lower) >= 0 {
		lower = append(slices.Clip(after), 0)
	}
	if upper != nil && bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	bounds := pebble.IterOptions{LowerBound: lower, UpperBound: upper}
	return s.withIter(&bounds, func(it *pebble.Iterator) error {
		for ok := it.First(); ok; ok = it.Next() {
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			if !fn(it.Key(), v) {
				return nil
			}
		}
		return nil
	})
}

// withEntries calls fn with an iterator that sees the entries from..to of a log and nothing else.
func (s *Store) withEntries(log string, from, to uint64, fn func(*pebble.Iterator) error) error {
	var buf [192]byte
	lower := appendEntryKey(buf[:0], log, from)
	upper := appendEntryAfter(lower[len(lower):], log, to)
	return s.withIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper}, fn)
}

// withIter calls fn with an iterator, closes it, and returns the first error.
func (s *Store) withIter(o *pebble.IterOptions, fn func(*pebble.Iterator) error) (err error) {
	it, err := s.db.NewIter(o)
	if err != nil {
		return s.classify(err)
	}
	defer func() {
		// Close also returns what an iterator that ended early met.
		if cerr := it.Close(); err == nil {
			err = cerr
		}
		err = s.classify(err)
	}()
	return fn(it)
}

// entryAt decodes the entry that the iterator is at; its data is valid until the iterator moves.
func entryAt(it *pebble.Iterator) (e storage.Entry, err error) {
	v, err := it.ValueAndErr()
	if err != nil {
		return e, err
	}
	if e.Seq, err = keySeq(it.Key()); err != nil {
		return e, err
	}
	e.Commit, e.Data, err = splitValue(v)
	return e, err
}

// getEntry calls fn with one entry if it is there.
func (s *Store) getEntry(log string, seq uint64, fn func(storage.Entry)) (found bool, err error) {
	var buf [96]byte
	v, closer, err := s.db.Get(appendEntryKey(buf[:0], log, seq))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return false, nil
	case err != nil:
		return false, s.classify(err)
	}
	defer func() {
		if cerr := closer.Close(); err == nil {
			err = s.classify(cerr)
		}
	}()
	e := storage.Entry{Seq: seq}
	if e.Commit, e.Data, err = splitValue(v); err != nil {
		return true, s.classify(err)
	}
	fn(e)
	return true, nil
}
