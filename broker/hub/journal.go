package hub

import (
	"sync"

	"github.com/petrelchat/petrel/storage"
)

// Journal remembers which inbound packets of durable sessions are stored but not yet acknowledged, so
// that a retry with DUP is recognised across a crash (PROTOCOL: delivery 4). A batch writes the packet
// ids of its publishes in one record, and a batch soon after they were answered removes it. Not the very
// next one: that may be synced before an acknowledgement that waits for others has left. Which of them
// left meanwhile, delivery.Handed knows.
type Journal struct {
	next  func() uint64
	marks []storage.Journal
	gone  []storage.Key // what the batch under way removes

	mu       sync.Mutex
	released []storage.Key // since the last Tick
	aged     []storage.Key // released before it
	due      []storage.Key // released a whole tick ago: the next batch removes them
}

// NewJournal returns a journal whose records are numbered by next.
func NewJournal(next func() uint64) *Journal { return &Journal{next: next} }

// Add notes a stored publish for the batch that is being filled. SID 0 is not noted.
func (j *Journal) Add(m storage.Journal) {
	if m.SID != 0 {
		j.marks = append(j.marks, m)
	}
}

// Into puts the record of the noted publishes into the batch, and removes those that are due. It
// returns the key to release, nil if nothing was noted. Committed must follow.
func (j *Journal) Into(b *storage.Batch) storage.Key {
	j.mu.Lock()
	j.gone, j.due = append(j.gone[:0], j.due...), j.due[:0]
	j.mu.Unlock()
	for _, k := range j.gone {
		b.Delete(k)
	}
	if len(j.marks) == 0 {
		return nil
	}
	key := storage.In(storage.SpaceJournal).U64(j.next())
	b.Set(key, storage.Marshal(j.marks))
	j.marks = j.marks[:0]
	return key
}

// Committed tells whether the batch of the last Into was applied: if not, its removals are still due.
func (j *Journal) Committed(ok bool) {
	if !ok && len(j.gone) > 0 {
		j.mu.Lock()
		j.due = append(j.due, j.gone...)
		j.mu.Unlock()
	}
	j.gone = j.gone[:0]
}

// Release says that the publishes of a record were answered. Any goroutine may call it.
func (j *Journal) Release(key storage.Key) {
	if key == nil {
		return
	}
	j.mu.Lock()
	j.released = append(j.released, key)
	j.mu.Unlock()
}

// Tick lets what was released grow older. It reports whether a batch is due to remove records. The owner
// of the journal calls it about every 50 ms.
func (j *Journal) Tick() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.due = append(j.due, j.aged...)
	j.aged, j.released = j.released, j.aged[:0]
	return len(j.due) > 0
}
