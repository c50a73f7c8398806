package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/petrelchat/petrel/storage"
)

var errReadOnly = errors.New("storage: the store was opened read-only")

// Store is an open store. All methods may be called from any goroutine.
type Store struct {
	dir      string
	db       *pebble.DB
	lock     *pebble.Lock
	watch    *watcher
	space    *space // nil when read-only
	health   io.Closer
	heads    *headCache
	readOnly bool

	last   atomic.Uint64 // newest commit number; written under mu
	wedged atomic.Bool   // Pebble panicked in a commit and holds its own locks for good

	// mu makes checking heads, numbering and applying one step.
	mu       sync.Mutex
	touched  []*head  // heads that the batch being built moved or truncated
	assigned []uint64 // seqs that the batch being built assigned
	scratch  []byte

	// users counts calls in progress, plus one for the open store.
	users   atomic.Int64
	closing atomic.Bool
	idle    chan struct{} // closed when users reaches 0
}

var _ storage.Store = (*Store)(nil)

// enter announces a call; leave ends it. A method that is called from a callback of another one enters
// for itself.
func (s *Store) enter() error {
	for {
		n := s.users.Load()
		if n == 0 || s.closing.Load() {
			return storage.ErrClosed
		}
		if s.users.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (s *Store) leave() {
	if s.users.Add(-1) == 0 {
		close(s.idle)
	}
}

// Commit implements storage.Store.
func (s *Store) Commit(b *storage.Batch) (storage.Pending, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if s.readOnly {
		return nil, errReadOnly
	}
	if !b.Vital && s.space.full() {
		return nil, storage.ErrFull
	}
	// Also under mu, but that may be held for good when the engine could not go on.
	if err := s.stopped(); err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		p, err := s.tryCommit(b, attempt > 0)
		switch {
		case err == nil:
			return p, nil
		case !errors.Is(err, errHeadsMissing):
			return nil, err
		}
		// Reading from disk holds nobody up here; only what is gone again by then is read under mu.
		if err := s.loadHeads(b); err != nil {
			return nil, err
		}
	}
}

// tryCommit builds the batch and applies it. Unless load is set it gives up with errHeadsMissing when
// it needs a head that is not cached.
func (s *Store) tryCommit(b *storage.Batch, load bool) (p *pending, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stopped(); err != nil {
		return nil, err
	}
	s.heads.turn()
	number := s.last.Load() + 1
	pb := s.db.NewBatch()
	build := builder{Store: s, pb: pb, ops: b.Ops, number: number, load: load}
	if err := build.run(); err != nil {
		s.unstage()
		if cerr := pb.Close(); cerr != nil {
			err = errors.Join(err, cerr)
		}
		return nil, err
	}
	if err := s.apply(pb); err != nil {
		s.unstage()
		return nil, err
	}
	s.last.Store(number)
	if len(s.touched) > 0 {
		s.heads.publish(s.touched, number)
		s.forgetTouched()
	}
	s.tellAssigned(b.Ops)
	return &pending{store: s, batch: pb, number: number}, nil
}

// apply hands the batch to Pebble, which panics where it can't go on.
func (s *Store) apply(pb *pebble.Batch) (err error) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		s.wedged.Store(true)
		cause, ok := r.(error)
		if f, fatal := r.(fatalPanic); fatal {
			cause = f.err
		} else if !ok {
			cause = fmt.Errorf("%v", r)
		}
		err = fmt.Errorf("storage: the commit could not be written: %w", cause)
		s.watch.fail(err)
	}()
	if err := s.db.ApplyNoSyncWait(pb, pebble.Sync); err != nil {
		err = fmt.Errorf("storage: the commit could not be applied: %w", err)
		s.watch.fail(err)
		return err
	}
	return nil
}

// stopped returns an error if an earlier one ended the store's work.
func (s *Store) stopped() error {
	if err := s.watch.failure(); err != nil {
		return fmt.Errorf("storage: stopped after an earlier failure: %w", err)
	}
	return nil
}

func (s *Store) unstage() {
	for _, h := range s.touched {
		h.staged = false
	}
	s.forgetTouched()
}

func (s *Store) forgetTouched() {
	clear(s.touched)
	s.touched = s.touched[:0]
}

// tellAssigned stores the seqs that the batch assigned where its owner wants them.
func (s *Store) tellAssigned(ops []storage.Op) {
	if len(s.assigned) == 0 {
		return
	}
	i := 0
	for k := range ops {
		if op := &ops[k]; op.Kind == storage.OpAppendNext && op.Assigned != nil {
			*op.Assigned = s.assigned[i]
			i++
		}
	}
}

// LastCommit implements storage.Store.
func (s *Store) LastCommit() uint64 { return s.last.Load() }

// Full reports whether Commit refuses batches that are not Vital because the disk is almost full. It is
// cheap: the file system is asked at most once a second.
func (s *Store) Full() bool { return s.space != nil && s.space.full() }

// Err returns the error that ended the store's work, or nil while it can keep its promise.
func (s *Store) Err() error { return s.watch.failure() }

// Checkpoint implements storage.Store. What is in use is linked, not copied, when dir is on the same
// file system.
func (s *Store) Checkpoint(dir string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.stopped(); err != nil {
		return err
	}
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("storage: checkpoint: %w", s.classify(err))
	}
	return nil
}

// Close waits for the calls in progress, writes out what is in memory, so that the next start is quick,
// and gives the lock back. Commits that were not waited for are durable after it returned nil.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return storage.ErrClosed
	}
	s.leave()
	select {
	case <-s.idle:
	case <-s.watch.parked:
	}
	if s.stuck() {
		return s.abandon()
	}
	closed := make(chan error, 1)
	go func() { // it waits for locks
		if !s.readOnly && s.watch.failure() == nil && !s.space.low.Load() {
			s.flush()
		}
		closed <- s.db.Close()
	}()
	var err error
	select {
	case err = <-closed:
	case <-s.watch.parked: // meanwhile
		return s.abandon()
	}
	if err = errors.Join(err, s.lock.Close(), s.health.Close()); err != nil {
		return fmt.Errorf("storage: close: %w", err)
	}
	return nil
}

// abandon closes what can be: closing Pebble would wait for its locks for ever, and the lock on the directory ends with the process.
func (s *Store) abandon() error { return errors.Join(s.watch.failure(), s.health.Close()) }

// stuck reports whether a part of Pebble stopped with its locks held.
func (s *Store) stuck() bool {
	select {
	case <-s.watch.parked:
		return true
	default:
		return s.wedged.Load()
	}
}

// flush writes out the memory tables. Its failure loses nothing: the write-ahead log has it all.
func (s *Store) flush() {
	select {
	case <-s.watch.troubled: // of earlier
	default:
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return
	}
	select {
	case <-done:
	case <-s.watch.troubled:
	}
}

// pending is an applied commit.
type pending struct {
	store  *Store
	batch  *pebble.Batch
	number uint64
}

var _ storage.Pending = (*pending)(nil)

func (p *pending) Number() uint64 { return p.number }

func (p *pending) Wait() error {
	b := p.batch
	p.batch = nil
	if err := b.SyncWait(); err != nil {
		err = fmt.Errorf("storage: the write-ahead log could not be synced: %w", err)
		p.store.watch.fail(err)
		return err
	}
	return b.Close()
}
