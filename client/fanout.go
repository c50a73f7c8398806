package client

import (
	"context"
	"iter"
	"slices"
	"sync"
)

const (
	seqsMost = 256  // seqs that an update names; more are any
	ownMost  = 1024 // entries of the own log, and refusals, that wait for one reader
	outMost  = 1024 // entries of the outbox that wait for one reader one by one; more are any of their conversation
)

// fanout passes updates on to whoever listens. It never waits: what a reader has not fetched yet is merged.
type fanout struct {
	mu      sync.Mutex
	readers map[*reader]struct{}
	closed  bool
}

// reader is one stream of updates.
type reader struct {
	waiting []Update
	at      map[updateKey]int // index in waiting
	single  int               // of waiting those that are never merged
	out     int               // of waiting those about entries of the outbox
	bell    chan struct{}
}

type updateKey struct {
	kind           UpdateKind
	conv, user, id string
}

func newFanout() *fanout { return &fanout{readers: make(map[*reader]struct{})} }

func (f *fanout) tell(us ...Update) {
	if len(us) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers {
		for _, u := range us {
			r.add(u)
		}
		ring(r.bell)
	}
}

// add merges an update with what waits. The fanout's lock is held.
func (r *reader) add(u Update) {
	if u.Kind == UpdateOwn || u.Kind == UpdateRefused {
		if r.single < ownMost {
			r.waiting = append(r.waiting, u)
			r.single++
		}
		return
	}
	k := updateKey{u.Kind, u.Conv, u.User, u.ID}
	i, known := r.at[k]
	if !known && u.Kind == UpdateOutbox {
		if r.out++; r.out > outMost {
			u.ID, k.id = "", ""
			i, known = r.at[k]
		}
	}
	if !known {
		r.at[k] = len(r.waiting)
		u.Seqs = slices.Clone(u.Seqs)
		if len(u.Seqs) > seqsMost {
			u.Seqs = nil
		}
		r.waiting = append(r.waiting, u)
		return
	}
	if u.Kind != UpdateMessages {
		return
	}
	old := &r.waiting[i]
	if len(u.Seqs) == 0 || len(old.Seqs) == 0 {
		old.Seqs = nil
		return
	}
	old.Seqs = append(old.Seqs, u.Seqs...)
	slices.Sort(old.Seqs)
	if old.Seqs = slices.Compact(old.Seqs); len(old.Seqs) > seqsMost {
		old.Seqs = nil
	}
}

func (f *fanout) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for r := range f.readers {
		ring(r.bell)
	}
}

// listen begins a stream. What happens from now on is in it.
func (f *fanout) listen() *reader {
	r := &reader{at: make(map[updateKey]int), bell: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers[r] = struct{}{}
	return r
}

func (f *fanout) leave(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, r)
}

// next takes what waits, or waits for it; ok is false when ctx ended or the client was closed.
func (f *fanout) next(ctx context.Context, r *reader) (us []Update, ok bool) {
	for {
		f.mu.Lock()
		us, r.waiting, r.single, r.out = r.waiting, nil, 0, 0
		clear(r.at)
		closed := f.closed
		f.mu.Unlock()
		if len(us) > 0 {
			return us, true
		}
		if closed {
			return nil, false
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-r.bell:
		}
	}
}

// Updates returns a stream of what changes from the call on, until ctx ends or the client is closed. It can be ranged over once,
// on one goroutine. Who reads slowly holds nothing up: updates about the same thing become one.
func (c *Client) Updates(ctx context.Context) iter.Seq[Update] {
	r := c.news.listen()
	stop := context.AfterFunc(ctx, func() { c.news.leave(r) })
	return func(yield func(Update) bool) {
		defer func() { stop(); c.news.leave(r) }()
		for {
			us, ok := c.news.next(ctx, r)
			if !ok {
				return
			}
			for _, u := range us {
				if ctx.Err() != nil || !yield(u) {
					return
				}
			}
		}
	}
}
