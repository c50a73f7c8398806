// Package memory is a store that keeps everything in memory: for tests, and for programs that need nothing of the
// last run. It holds the contract of package store in the plainest way, so that it also says what the right
// answer is where engines are compared.
//
// Start with [New].
package memory

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/petrelchat/petrel/client/store"
)

// New returns an empty store.
func New() *Store {
	return &Store{
		turn: make(chan struct{}, 1),
		data: data{
			convs:   make(map[string]store.Conversation),
			logs:    make(map[string]*log),
			members: make(map[memberKey]store.Member),
			out:     make(map[string]store.Outgoing),
			wishes:  make(map[wishKey]store.Wish),
			meta:    make(map[string][]byte),
			due:     make(map[eventKey]int64),
		},
	}
}

// Store is a store in memory.
type Store struct {
	turn chan struct{} // holds the one that writes, so that others can give up waiting

	mu     sync.RWMutex // Views share it
	closed bool
	data   data
}

var _ store.Store = (*Store)(nil)

type data struct {
	convs   map[string]store.Conversation
	logs    map[string]*log
	members map[memberKey]store.Member
	out     map[string]store.Outgoing
	lastN   int64
	wishes  map[wishKey]store.Wish
	meta    map[string][]byte
	due     map[eventKey]int64 // bodies that disappear
}

type (
	memberKey struct{ conv, user string }
	wishKey   struct{ conv, name string }
	eventKey  struct {
		conv string
		seq  uint64
	}
)

// View runs fn upon the state; Updates wait until it is done.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.ErrClosed
	}
	return fn(&reader{&s.data})
}

// Update runs fn alone, and undoes what it did if it fails.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	t := &tx{reader: reader{&s.data}}
	done := false
	defer func() {
		if !done {
			t.rollback()
		}
	}()
	if err := fn(t); err != nil {
		return err
	}
	done = true
	return nil
}

// Forget removes the events of a log up to a seq, what acts upon them and is behind it not included; the spans stay, so that they count as
// being here. It is for programs that show what comes and need it no more: the store keeps its size however long they run. What
// is told of conversations (unread, the last message) is less than the truth from then on.
func (s *Store) Forget(conv string, upTo uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.data.logs[conv]
	if l == nil {
		return
	}
	n, _ := slices.BinarySearchFunc(l.seqs, upTo, func(seq, upTo uint64) int {
		if seq <= upTo {
			return -1
		}
		return 1
	})
	for _, seq := range l.seqs[:n] {
		e := l.events[seq]
		delete(l.events, seq)
		delete(s.data.due, eventKey{conv, seq})
		if e.Acts() {
			left := slices.DeleteFunc(slices.Clone(l.about[e.Re]), func(act uint64) bool { return act == seq })
			if l.about[e.Re] = left; len(left) == 0 {
				delete(l.about, e.Re)
			}
		}
	}
	l.seqs = slices.Clone(l.seqs[n:])
	maps.DeleteFunc(l.dropped, func(seq uint64, _ struct{}) bool { return seq <= upTo })
}

// Close waits for what is under way.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.data = data{}
	return nil
}

// tx writes, and remembers how to undo it.
type tx struct {
	reader
	undo []func()
}

func (t *tx) rollback() {
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
}

// set puts a value into one of the maps.
func set[K comparable, V any](t *tx, m map[K]V, k K, v V) {
	remember(t, m, k)
	m[k] = v
}

// unset takes it out.
func unset[K comparable, V any](t *tx, m map[K]V, k K) {
	remember(t, m, k)
	delete(m, k)
}

func remember[K comparable, V any](t *tx, m map[K]V, k K) {
	if old, ok := m[k]; ok {
		t.undo = append(t.undo, func() { m[k] = old })
	} else {
		t.undo = append(t.undo, func() { delete(m, k) })
	}
}
