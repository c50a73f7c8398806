package hub

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/petrelchat/petrel/storage"
)

// Pipeline brings batches to the disk and runs their completions afterwards, in order.
//
// Commit may be called from any goroutine but the pipeline's own: a completion must not commit, for
// it would wait for itself when the queue is full. Completions that have something to store hand it
// to an owner.
type Pipeline struct {
	store   storage.Store
	fatal   func(error)
	after   func() // runs after the completions that were ready together; may be nil
	seal    func(b *storage.Batch) (undo func())
	mu      sync.Mutex
	queue   chan item
	closed  bool
	durable atomic.Uint64
	settled atomic.Uint64
	stopped chan struct{} // no completion will run any more
	done    chan struct{} // the goroutine has ended
}

type item struct {
	pending storage.Pending // nil: a barrier
	run     func(commit uint64)
}

// depth bounds the batches that wait for the disk. It is the pipeline's back-pressure.
const depth = 64

// NewPipeline starts the pipeline's goroutine; Close stops it. fatal is called once, on that
// goroutine, when the disk failed in a way that breaks the promise of what was acknowledged.
func NewPipeline(store storage.Store, fatal func(error)) *Pipeline {
	p := &Pipeline{store: store, fatal: fatal, queue: make(chan item, depth), stopped: make(chan struct{}), done: make(chan struct{})}
	p.durable.Store(store.LastCommit())
	p.settled.Store(store.LastCommit())
	return p
}

// Seal has fn complete every batch just before it is committed, in the order of the commits: for what
// depends on that order. undo is called if the commit failed. Call it before anything is committed.
func (p *Pipeline) Seal(fn func(b *storage.Batch) (undo func())) { p.seal = fn }

// Start begins to run completions. after runs on the pipeline's goroutine whenever the completions
// that were ready together have run: the moment to flush what they gathered.
func (p *Pipeline) Start(after func()) {
	p.after = after
	go p.loop()
}

// Durable is the newest commit number that is on disk and whose completions have been started.
func (p *Pipeline) Durable() uint64 { return p.durable.Load() }

// Settled is the newest commit number whose completions have run.
func (p *Pipeline) Settled() uint64 { return p.settled.Load() }

// Commit stores a batch; run is called on the pipeline's goroutine after the sync, in commit order.
// storage.ErrFull: nothing was stored and run will not be called.
func (p *Pipeline) Commit(b *storage.Batch, run func(commit uint64)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return storage.ErrClosed
	}
	if b == nil || b.Len() == 0 {
		return p.enqueue(item{run: run})
	}
	undo := func() {}
	if p.seal != nil {
		undo = p.seal(b)
	}
	pending, err := p.store.Commit(b)
	if err != nil {
		undo()
		if !errors.Is(err, storage.ErrFull) && !errors.Is(err, storage.ErrHeadMoved) {
			go p.fatal(err)
		}
		return err
	}
	return p.enqueue(item{pending: pending, run: run})
}

// enqueue waits for room, unless nothing leaves the queue any more.
func (p *Pipeline) enqueue(it item) error {
	select {
	case p.queue <- it:
		return nil
	case <-p.stopped:
		return storage.ErrClosed
	}
}

// Stopped is closed when no completion will run any more.
func (p *Pipeline) Stopped() <-chan struct{} { return p.stopped }

// CommitWait stores a batch and returns after the sync. Not for the pipeline's own goroutine.
func (p *Pipeline) CommitWait(b *storage.Batch) error {
	ch := make(chan struct{})
	if err := p.Commit(b, func(uint64) { close(ch) }); err != nil {
		return err
	}
	select {
	case <-ch:
		return nil
	case <-p.stopped:
		select {
		case <-ch:
			return nil
		default:
			return storage.ErrClosed
		}
	}
}

// Barrier returns after everything that was committed before it is durable and completed.
func (p *Pipeline) Barrier() error { return p.CommitWait(nil) }

func (p *Pipeline) loop() {
	defer close(p.done)
	for it := range p.queue {
		if it.pending != nil {
			if err := it.pending.Wait(); err != nil {
				p.fail(err)
				return
			}
			p.durable.Store(it.pending.Number())
		}
		if it.run != nil {
			it.run(p.durable.Load())
		}
		p.settled.Store(p.durable.Load())
		if p.after != nil && len(p.queue) == 0 || it.pending != nil {
			p.runAfter()
		}
	}
	close(p.stopped)
}

func (p *Pipeline) runAfter() {
	if p.after != nil {
		p.after()
	}
}

// fail leaves the waiting completions unrun: nobody may be told what may not be on disk.
func (p *Pipeline) fail(err error) {
	close(p.stopped) // who waits for room in the queue goes on
	p.shut()
	p.fatal(err)
}

func (p *Pipeline) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.queue)
	}
}

// Close waits until everything committed is durable and its completions have run.
func (p *Pipeline) Close() {
	p.shut()
	<-p.done
}
