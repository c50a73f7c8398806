package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/petrelchat/petrel/storage"
)

// Model is the naive store: maps under one mutex, every question answered by looking at everything.
// The zero value is not ready; use NewModel. All methods may be called from any goroutine; callbacks
// may call the model.
type Model struct {
	mu      sync.Mutex
	closed  bool
	commits uint64
	logs    map[string][]entry // without the truncated ones
	cuts    map[string][]entry // the last entry of each truncation
	records map[string]string
}

type entry struct {
	seq, commit uint64
	data        string
}

var _ storage.Store = (*Model)(nil)

// NewModel returns an empty model.
func NewModel() *Model {
	return &Model{logs: map[string][]entry{}, cuts: map[string][]entry{}, records: map[string]string{}}
}

var errKey = errors.New("storagetest: a key must begin with a space byte, a log's name must not be empty or contain a zero byte")

// modelPending is durable at once.
type modelPending uint64

func (p modelPending) Number() uint64 { return uint64(p) }
func (p modelPending) Wait() error    { return nil }

// Commit implements storage.Store.
func (m *Model) Commit(b *storage.Batch) (storage.Pending, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, storage.ErrClosed
	}
	next := m.clone()
	next.commits++
	var assigned []func()
	for i := range b.Ops {
		op := &b.Ops[i]
		seq, err := next.apply(op)
		if err != nil {
			return nil, err
		}
		if op.Kind == storage.OpAppendNext && op.Assigned != nil {
			assigned = append(assigned, func() { *op.Assigned = seq })
		}
	}
	for _, f := range assigned {
		f()
	}
	m.commits, m.logs, m.cuts, m.records = next.commits, next.logs, next.cuts, next.records
	return modelPending(m.commits), nil
}

func (m *Model) apply(op *storage.Op) (seq uint64, err error) {
	switch op.Kind {
	case storage.OpSet, storage.OpDelete, storage.OpDeletePrefix:
		return 0, m.applyRecord(op)
	case storage.OpAppend, storage.OpAppendNext, storage.OpTruncate, storage.OpErase:
		return m.applyLog(op)
	}
	return 0, fmt.Errorf("storagetest: unknown operation %d", op.Kind)
}

func (m *Model) applyLog(op *storage.Op) (seq uint64, err error) {
	if op.Log == "" || strings.Contains(op.Log, "\x00") {
		return 0, errKey
	}
	log := m.logs[op.Log]
	head := uint64(0)
	if len(log) > 0 {
		head = log[len(log)-1].seq
	}
	switch op.Kind {
	case storage.OpAppend, storage.OpAppendNext:
		if op.Kind == storage.OpAppend && op.Seq != head+1 {
			return 0, storage.ErrHeadMoved
		}
		m.logs[op.Log] = append(log, entry{head + 1, m.commits, string(op.Value)})
	case storage.OpTruncate:
		m.truncate(op.Log, log, op.Seq)
	case storage.OpErase:
		for i := range log {
			if log[i].seq == op.Seq {
				log[i].data = string(op.Value)
			}
		}
	}
	return head + 1, nil
}

func (m *Model) truncate(name string, log []entry, seq uint64) {
	var last *entry
	for len(log) > 1 && log[0].seq < seq {
		last, log = &log[0], log[1:]
	}
	if last == nil {
		return
	}
	m.logs[name] = log
	cuts := append(m.cuts[name], *last)
	if len(cuts) > storage.MaxMarks {
		var half []entry
		for i := len(cuts) - 1; i >= 0; i -= 2 {
			half = append(half, cuts[i])
		}
		slices.Reverse(half)
		cuts = half
	}
	m.cuts[name] = cuts
}

// clone returns a copy. m.mu is held.
func (m *Model) clone() *Model {
	c := &Model{commits: m.commits, logs: map[string][]entry{}, cuts: map[string][]entry{}, records: maps.Clone(m.records)}
	for log, entries := range m.logs {
		c.logs[log] = slices.Clone(entries)
	}
	for log, entries := range m.cuts {
		c.cuts[log] = slices.Clone(entries)
	}
	return c
}

func (m *Model) applyRecord(op *storage.Op) error {
	if len(op.Key) == 0 {
		return errKey
	}
	k := string(op.Key)
	switch op.Kind {
	case storage.OpSet:
		m.records[k] = string(op.Value)
	case storage.OpDelete:
		delete(m.records, k)
	case storage.OpDeletePrefix:
		maps.DeleteFunc(m.records, func(have, _ string) bool { return strings.HasPrefix(have, k) })
	}
	return nil
}

// entries returns a copy of a log.
func (m *Model) entries(log string) ([]entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, storage.ErrClosed
	}
	if log == "" || strings.Contains(log, "\x00") {
		return nil, errKey
	}
	return slices.Clone(m.logs[log]), nil
}

// Head implements storage.Reader.
func (m *Model) Head(log string) (seq, commit uint64, err error) {
	all, err := m.entries(log)
	if len(all) > 0 {
		seq, commit = all[len(all)-1].seq, all[len(all)-1].commit
	}
	return seq, commit, err
}

// Read implements storage.Reader.
func (m *Model) Read(log string, from, to uint64, fn func(storage.Entry) bool) error {
	all, err := m.entries(log)
	visit(all, from, to, fn)
	return err
}

// ReadBack implements storage.Reader.
func (m *Model) ReadBack(log string, from, to uint64, fn func(storage.Entry) bool) error {
	all, err := m.entries(log)
	slices.Reverse(all)
	visit(all, from, to, fn)
	return err
}

func visit(all []entry, from, to uint64, fn func(storage.Entry) bool) {
	for _, e := range all {
		if e.seq >= from && e.seq <= to && !fn(storage.Entry{Seq: e.seq, Commit: e.commit, Data: []byte(e.data)}) {
			return
		}
	}
}

// After implements storage.Reader.
func (m *Model) After(log string, commit uint64) (uint64, error) {
	all, err := m.entries(log)
	m.mu.Lock()
	known := append(slices.Clone(m.cuts[log]), all...)
	m.mu.Unlock()
	next := uint64(1)
	for _, e := range known {
		if e.commit > commit {
			break
		}
		next = e.seq + 1
	}
	return next, err
}

// Logs implements storage.Reader.
func (m *Model) Logs(fn func(log string) bool) error {
	m.mu.Lock()
	names := slices.Sorted(maps.Keys(m.logs))
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return storage.ErrClosed
	}
	for _, name := range names {
		if !fn(name) {
			break
		}
	}
	return nil
}

// Get implements storage.Reader.
func (m *Model) Get(k storage.Key) (v []byte, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, false, storage.ErrClosed
	}
	if len(k) == 0 {
		return nil, false, errKey
	}
	s, ok := m.records[string(k)]
	if ok {
		v = []byte(s)
	}
	return v, ok, nil
}

// Scan implements storage.Reader.
func (m *Model) Scan(prefix, after storage.Key, fn func(k storage.Key, v []byte) bool) error {
	m.mu.Lock()
	records, closed := maps.Clone(m.records), m.closed
	m.mu.Unlock()
	if closed {
		return storage.ErrClosed
	}
	keys := slices.Collect(maps.Keys(records))
	sort.Strings(keys)
	for _, k := range keys {
		if strings.HasPrefix(k, string(prefix)) && (after == nil || k > string(after)) {
			if !fn(storage.Key(k), []byte(records[k])) {
				break
			}
		}
	}
	return nil
}

// LastCommit implements storage.Store.
func (m *Model) LastCommit() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// Stats implements storage.Store.
func (m *Model) Stats() map[string]float64 {
	return map[string]float64{"commits": float64(m.LastCommit())}
}

// ErrNoCheckpoint is what a Model answers to Checkpoint: it has no files.
var ErrNoCheckpoint = errors.New("storagetest: the model has no files")

// Checkpoint implements storage.Store.
func (m *Model) Checkpoint(string) error { return ErrNoCheckpoint }

// Close implements storage.Store.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return storage.ErrClosed
	}
	m.closed = true
	return nil
}

// snapshot returns a copy of the model as it is.
func (m *Model) snapshot() *Model {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clone()
}
