package storage

import (
	"errors"
	"io"
)

// Errors that an engine returns. They are wrapped; use errors.Is.
var (
	ErrLocked    = errors.New("storage: another process has this data directory open")
	ErrDamaged   = errors.New("storage: the store is damaged")
	ErrNewer     = errors.New("storage: the store was written by a newer version of petrel")
	ErrFull      = errors.New("storage: the disk is full")
	ErrClosed    = errors.New("storage: closed")
	ErrHeadMoved = errors.New("storage: the log does not end where the append expected")
)

// Store is one open store. All methods may be called from any goroutine.
type Store interface {
	Reader

	// Commit applies the batch atomically and gives it the next commit number. Commits are applied,
	// become visible and become durable in the order of their numbers. The batch belongs to the store
	// until Wait returned. ErrFull: nothing was applied, and the store works on. Any other error means
	// that the store can no longer keep its promise.
	Commit(b *Batch) (Pending, error)

	// Checkpoint writes a consistent copy of everything durable to dir, which must not exist. The
	// store stays in use.
	Checkpoint(dir string) error

	// LastCommit is the number of the newest commit, durable or not. At open it is that of the newest
	// entry or commit that survived.
	LastCommit() uint64

	// Stats returns the engine's figures for metrics: name to value.
	Stats() map[string]float64

	io.Closer
}

// Pending is an applied commit on its way to the disk.
type Pending interface {
	Number() uint64
	// Wait returns after the commit and all before it are synced to disk. Call it exactly once.
	Wait() error
}

// Reader is what can be asked of a store. Slices passed to callbacks are valid only during the call.
type Reader interface {
	// Head returns the last entry's seq and commit number of a log: 0, 0 for a log without entries.
	Head(log string) (seq, commit uint64, err error)

	// Read calls fn with the entries from..to (both included) in ascending order until fn returns
	// false. Entries may be missing at the beginning of a log that was truncated.
	Read(log string, from, to uint64, fn func(Entry) bool) error

	// ReadBack does the same in descending order.
	ReadBack(log string, from, to uint64, fn func(Entry) bool) error

	// After returns the seq of the first entry whose commit number is > commit, or head+1. It counts
	// entries that were truncated too: of each truncation the last entry is remembered, so the answer
	// may be too low by what one truncation removed, and never too high. Of more than MaxMarks
	// truncations of a log every second is forgotten, from the newest back.
	After(log string, commit uint64) (uint64, error)

	// Logs calls fn with the name of every log that has entries, in byte order.
	Logs(fn func(log string) bool) error

	// Get returns a copy of the value under k; ok is false when there is none.
	Get(k Key) (v []byte, ok bool, err error)

	// Scan calls fn in key order with all records whose key starts with prefix and is > after (nil:
	// from the start) until fn returns false.
	Scan(prefix, after Key, fn func(k Key, v []byte) bool) error
}

// MaxMarks is how many truncations of one log an engine remembers for After.
const MaxMarks = 32

// Entry is one entry of a log. Data is valid only during the callback that received it.
type Entry struct {
	Seq    uint64
	Commit uint64
	Data   []byte
}

// Batch gathers changes that happen together or not at all. The zero value is ready. It is not safe
// for concurrent use. Slices given to it must not be changed until the commit is durable.
type Batch struct {
	Ops []Op

	// Vital lets the batch through when the disk is almost full. For housekeeping that readers need or
	// that frees space: cursors, positions, acknowledgements, deletes. Never for what a publisher sends.
	Vital bool
}

// OpKind says what an Op does.
type OpKind uint8

// Operations of a batch.
const (
	OpAppend OpKind = iota + 1
	OpAppendNext
	OpSet
	OpDelete
	OpDeletePrefix
	OpTruncate
	OpErase
)

// Op is one change in a batch, for engines to carry out.
type Op struct {
	Kind     OpKind
	Log      string  // OpAppend, OpAppendNext, OpTruncate, OpErase
	Seq      uint64  // OpAppend: the seq; OpTruncate: the first seq that stays; OpErase: which entry
	Assigned *uint64 // OpAppendNext: where the engine writes the seq, before Commit returns; may be nil
	Key      Key     // OpSet, OpDelete, OpDeletePrefix
	Value    []byte  // OpAppend, OpAppendNext, OpSet, OpErase (what stands there instead; the commit number stays)
}

// Append adds entry seq to the log. The log must end at seq-1 (within the batch too), or the engine
// refuses the whole batch with ErrHeadMoved. A log has one writer that knows its head.
func (b *Batch) Append(log string, seq uint64, data []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpAppend, Log: log, Seq: seq, Value: data})
}

// AppendNext adds an entry after whatever the log ends with: for logs with several writers (a user's
// own log). The engine stores the seq in *assigned (if not nil) before Commit returns.
func (b *Batch) AppendNext(log string, data []byte, assigned *uint64) {
	b.Ops = append(b.Ops, Op{Kind: OpAppendNext, Log: log, Assigned: assigned, Value: data})
}

// Set puts a record.
func (b *Batch) Set(k Key, v []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpSet, Key: k, Value: v})
}

// Delete removes a record; removing what is not there is fine.
func (b *Batch) Delete(k Key) {
	b.Ops = append(b.Ops, Op{Kind: OpDelete, Key: k})
}

// DeletePrefix removes all records whose key starts with k.
func (b *Batch) DeletePrefix(k Key) {
	b.Ops = append(b.Ops, Op{Kind: OpDeletePrefix, Key: k})
}

// Truncate removes the entries before seq from a log. The last entry always stays, so that the head
// is never forgotten.
func (b *Batch) Truncate(log string, seq uint64) {
	b.Ops = append(b.Ops, Op{Kind: OpTruncate, Log: log, Seq: seq})
}

// Erase replaces the data of one entry; its seq and commit number stay. For what must disappear.
func (b *Batch) Erase(log string, seq uint64, data []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpErase, Log: log, Seq: seq, Value: data})
}

// Len returns the number of changes.
func (b *Batch) Len() int { return len(b.Ops) }

// Reset empties the batch and keeps its memory. Only after the commit is durable.
func (b *Batch) Reset() {
	clear(b.Ops)
	b.Ops = b.Ops[:0]
	b.Vital = false
}
