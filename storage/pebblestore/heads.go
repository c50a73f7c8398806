package pebblestore

import (
	"strings"
	"sync"
)

// headCacheSize is how many logs a generation of the cache holds. Two generations of 32 Ki logs are
// some 8 MB, however many logs there are.
const headCacheSize = 32 << 10

// head is where a log ends. seq and commit change under both Store.mu and headCache.mu, so either
// suffices to read them. The other fields belong to the batch being built, under Store.mu.
type head struct {
	seq, commit uint64

	staged bool   // in Store.touched
	tail   uint64 // seq after the batch so far
	floor  uint64 // first seq that the batch so far leaves
}

// headCache remembers heads in two generations: what is used moves to the young one, and when that is
// full the old one is forgotten. Only Commit turns the generations, so that no head disappears while a
// batch refers to it. A head that an append moved is always in the cache from before the append until
// the next turn; that makes loading from the outside safe (see add).
type headCache struct {
	limit int

	mu         sync.Mutex
	young, old map[string]*head
	turns      uint64
}

func newHeadCache(limit int) *headCache {
	return &headCache{limit: limit, young: map[string]*head{}, old: map[string]*head{}}
}

// get returns the head, or nil and the number of turns to give to add.
func (c *headCache) get(log string) (h *head, turns uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(log), c.turns
}

// peek is get for readers: it returns copies.
func (c *headCache) peek(log string) (seq, commit uint64, ok bool, turns uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.find(log); h != nil {
		return h.seq, h.commit, true, c.turns
	}
	return 0, 0, false, c.turns
}

func (c *headCache) find(log string) *head {
	if h := c.young[log]; h != nil {
		return h
	}
	h := c.old[log]
	if h != nil && len(c.young) < c.limit {
		delete(c.old, log)
		c.young[log] = h
	}
	return h
}

// add remembers a head that was read from the store without Store.mu, unless it may be stale: when
// another goroutine has put it here meanwhile, or a turn may have forgotten a newer one.
func (c *headCache) add(log string, seq, commit, turns uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if turns != c.turns || len(c.young) >= c.limit || c.find(log) != nil {
		return
	}
	c.young[strings.Clone(log)] = &head{seq: seq, commit: commit}
}

// put remembers a head that was read from the store under Store.mu and returns what is cached.
func (c *headCache) put(log string, seq, commit uint64) *head {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.find(log); h != nil {
		return h
	}
	h := &head{seq: seq, commit: commit}
	c.young[strings.Clone(log)] = h
	return h
}

// turn forgets the old generation if the young one is full. Under Store.mu, between batches.
func (c *headCache) turn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[string]*head, c.limit/4)
		c.turns++
	}
}

// publish moves the heads to where the batch with that commit number left them.
func (c *headCache) publish(touched []*head, commit uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range touched {
		if h.tail != h.seq {
			h.seq, h.commit = h.tail, commit
		}
		h.staged = false
	}
}
