package hub

import (
	"sync"

	"github.com/petrelchat/petrel/storage"
)

// Journal remembers which inbound packets of durable sessions are stored but not yet acknowledged, so
// that a retry with DUP is recognised across a crash (PROTOCOL: delivery 4). A batch writes the packet
// ids of its publishes in one record; once their acknowledgements were handed to the connections, a
// later batch removes it.
type Journal struct {
	next  func() uint64
	marks []storage.Journal

	mu       sync.Mutex
	released []storage.Key
}

// NewJournal returns a journal whose records are numbered by next.
func NewJournal(next func() uint64) *Journal { return &Journal{next: next} }

// Add notes a stored publish for the batch that is being filled. SID 0 is not noted.
func (j *Journal) Add(m storage.Journal) {
	if m.SID != 0 {
		j.marks = append(j.marks, m)
	}
}

// Into puts the record of the noted publishes into the batch, and removes those that Release named. It
// returns the key to release, nil if nothing was noted.
func (j *Journal) Into(b *storage.Batch) storage.Key {
	j.mu.Lock()
	for _, k := range j.released {
		b.Delete(k)
	}
	j.released = j.released[:0]
	j.mu.Unlock()
	if len(j.marks) == 0 {
		return nil
	}
	key := storage.In(storage.SpaceJournal).U64(j.next())
	b.Set(key, storage.Marshal(j.marks))
	j.marks = j.marks[:0]
	return key
}

// Release says that the acknowledgements of a record went out. Any goroutine may call it.
func (j *Journal) Release(key storage.Key) {
	if key == nil {
		return
	}
	j.mu.Lock()
	j.released = append(j.released, key)
	j.mu.Unlock()
}

// Waiting reports whether a batch is due only to remove records.
func (j *Journal) Waiting() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.released) > 0
}
