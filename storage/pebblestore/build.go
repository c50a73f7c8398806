package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/petrelchat/petrel/storage"
)

// errHeadsMissing asks tryCommit's caller to load heads without Store.mu.
var errHeadsMissing = errors.New("heads missing")

// fewKeys is up to how many keys are deleted one by one. A range deletion costs every reader until it
// is compacted away, and each one in memory makes all of them dearer: it is for bulk only.
const fewKeys = 64

// builder encodes one storage.Batch under Store.mu. The operations take effect one after the other:
// each sees what those before it did.
type builder struct {
	*Store
	pb     *pebble.Batch
	ops    []storage.Op
	number uint64
	load   bool

	log  string // of the last lookup: batches have runs of one log
	head *head
	cut  map[string][]mark // of the logs that this batch truncates
}

func (b *builder) run() error {
	b.assigned = b.assigned[:0]
	for i := range b.ops {
		if err := b.op(i); err != nil {
			return err
		}
	}
	d := b.pb.SetDeferred(1, 8)
	d.Key[0] = spaceCommit
	binary.BigEndian.PutUint64(d.Value, b.number)
	return d.Finish()
}

func (b *builder) op(i int) error {
	op := &b.ops[i]
	switch op.Kind {
	case storage.OpAppend, storage.OpAppendNext:
		return b.append(op)
	case storage.OpTruncate:
		return b.truncate(op)
	case storage.OpErase:
		return b.erase(op)
	}
	if err := checkKey(op.Key); err != nil {
		return err
	}
	switch op.Kind {
	case storage.OpSet:
		return b.pb.Set(op.Key, op.Value, nil)
	case storage.OpDelete:
		return b.pb.Delete(op.Key, nil)
	case storage.OpDeletePrefix:
		return b.deletePrefix(i)
	}
	return fmt.Errorf("storage: unknown operation %d", op.Kind)
}

// stage returns the head of a log for this batch to move.
func (b *builder) stage(log string) (*head, error) {
	if b.head != nil && b.log == log {
		return b.head, nil
	}
	h, _ := b.heads.get(log)
	if h == nil {
		if err := checkLogName(log); err != nil {
			return nil, err
		}
		if !b.load {
			return nil, errHeadsMissing
		}
		seq, commit, err := b.seekHead(log)
		if err != nil {
			return nil, err
		}
		h = b.heads.put(log, seq, commit)
	}
	if !h.staged {
		h.staged, h.tail, h.floor = true, h.seq, 0
		b.touched = append(b.touched, h)
	}
	b.log, b.head = log, h
	return h, nil
}

func (b *builder) append(op *storage.Op) error {
	h, err := b.stage(op.Log)
	if err != nil {
		return err
	}
	seq := h.tail + 1
	if op.Kind == storage.OpAppend {
		if op.Seq != seq {
			return fmt.Errorf("%w: append of %d to a log that ends with %d", storage.ErrHeadMoved, op.Seq, h.tail)
		}
	} else if op.Assigned != nil {
		b.assigned = append(b.assigned, seq)
	}
	h.tail = seq
	return b.setEntry(op.Log, seq, b.number, op.Value)
}

// setEntry encodes an entry straight into the batch.
func (b *builder) setEntry(log string, seq, commit uint64, data []byte) error {
	d := b.pb.SetDeferred(entryKeyLen(log), uvarintLen(commit)+len(data))
	appendEntryKey(d.Key[:0], log, seq)
	copy(d.Value[binary.PutUvarint(d.Value, commit):], data)
	return d.Finish()
}

func (b *builder) truncate(op *storage.Op) error {
	h, err := b.stage(op.Log)
	if err != nil {
		return err
	}
	keep := min(op.Seq, h.tail)
	if keep <= max(h.floor, 1) {
		return nil
	}
	if removes, err := b.mark(h, op.Log, keep-1); err != nil || !removes {
		return err
	}
	lower := appendEntryKey(nil, op.Log, 0)
	upper := appendEntryKey(nil, op.Log, keep)
	bulk, err := b.deleteFew(lower, upper)
	if err != nil {
		return err
	}
	if bulk || keep > h.seq+fewKeys {
		err = b.pb.DeleteRange(lower, upper, nil)
	} else {
		// What this batch appended is not in the store yet.
		for seq := h.seq + 1; seq < keep && err == nil; seq++ {
			b.scratch = appendEntryKey(b.scratch[:0], op.Log, seq)
			err = b.pb.Delete(b.scratch, nil)
		}
	}
	h.floor = keep
	return err
}

// erase overwrites an entry that is there; one that is not needs nothing.
func (b *builder) erase(op *storage.Op) error {
	h, err := b.stage(op.Log)
	if err != nil {
		return err
	}
	if op.Seq < h.floor || op.Seq > h.tail {
		return nil
	}
	if op.Seq > h.seq {
		return b.setEntry(op.Log, op.Seq, b.number, op.Value)
	}
	var commit uint64
	found, err := b.getEntry(op.Log, op.Seq, func(e storage.Entry) { commit = e.Commit })
	if err != nil || !found {
		return err
	}
	return b.setEntry(op.Log, op.Seq, commit, op.Value)
}

func (b *builder) deletePrefix(i int) error {
	prefix := []byte(b.ops[i].Key)
	upper := prefixEnd(nil, prefix)
	bulk, err := b.deleteFew(prefix, upper)
	if err != nil {
		return err
	}
	if !bulk {
		// What this batch set is not in the store yet.
		for k := range b.ops[:i] {
			op := &b.ops[k]
			if op.Kind == storage.OpSet && bytes.HasPrefix(op.Key, prefix) {
				if err := b.pb.Delete(op.Key, nil); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return b.pb.DeleteRange(prefix, upper, nil)
}

// deleteFew deletes what the store has between the bounds if that is little; bulk says that it is not,
// and that the range must be deleted instead.
func (b *builder) deleteFew(lower, upper []byte) (bulk bool, err error) {
	it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return false, b.classify(err)
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = b.classify(cerr)
		}
	}()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n > fewKeys {
			return true, nil
		}
		if err := b.pb.Delete(it.Key(), nil); err != nil {
			return false, err
		}
	}
	return false, nil
}

// loadHeads puts the heads that the batch needs into the cache, without Store.mu.
func (s *Store) loadHeads(b *storage.Batch) error {
	for i := range b.Ops {
		op := &b.Ops[i]
		switch op.Kind {
		case storage.OpAppend, storage.OpAppendNext, storage.OpTruncate, storage.OpErase:
			if _, _, err := s.loadHead(op.Log); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadHead returns a log's head from the cache or the store.
func (s *Store) loadHead(log string) (seq, commit uint64, err error) {
	seq, commit, ok, turns := s.heads.peek(log)
	if ok {
		return seq, commit, nil
	}
	if err := checkLogName(log); err != nil {
		return 0, 0, err
	}
	if seq, commit, err = s.seekHead(log); err == nil {
		s.heads.add(log, seq, commit, turns)
	}
	return seq, commit, err
}
