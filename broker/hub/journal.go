package hub

import (
	"sync"

	"github.com/petrelchat/petrel/storage"
)

// Journal remembers which inbound packets of durable sessions are stored but not yet acknowledged, so
// that a retry with DUP is recognised across a crash (PROTOCOL: delivery 4). A batch writes the packet
// ids of its publishes in one record; before their acknowledgements leave this is noted in Handed, and a
// later batch removes the record.
type Journal struct {
	next   func() uint64
	handed *Handed
	marks  []storage.Journal
	gone   []storage.Key // what the batch under way removes

	mu       sync.Mutex
	released []storage.Key
}

// Record is a journal record of one batch. The zero value is none.
type Record struct {
	n   uint64
	key storage.Key
}

// NewJournal returns a journal whose records are numbered by next. handed may be nil: then nothing is
// recognised after a crash.
func NewJournal(next func() uint64, handed *Handed) *Journal {
	return &Journal{next: next, handed: handed}
}

// Add notes a stored publish for the batch that is being filled. SID 0 is not noted.
func (j *Journal) Add(m storage.Journal) {
	if m.SID != 0 {
		j.marks = append(j.marks, m)
	}
}

// Into puts the record of the noted publishes into the batch, and removes those that Release named. It
// returns the record to release, the zero one if nothing was noted. Committed must follow.
func (j *Journal) Into(b *storage.Batch) (r Record) {
	j.mu.Lock()
	j.gone, j.released = append(j.gone[:0], j.released...), j.released[:0]
	j.mu.Unlock()
	for _, k := range j.gone {
		b.Delete(k)
	}
	if len(j.marks) == 0 {
		return r
	}
	r.n = j.next()
	r.key = storage.In(storage.SpaceJournal).U64(r.n)
	b.Set(r.key, storage.Marshal(j.marks))
	j.marks = j.marks[:0]
	return r
}

// Committed tells whether the batch of the last Into was applied: if not, its removals are still due.
func (j *Journal) Committed(ok bool) {
	if !ok && len(j.gone) > 0 {
		j.mu.Lock()
		j.released = append(j.released, j.gone...)
		j.mu.Unlock()
	}
	j.gone = j.gone[:0]
}

// Release says that the acknowledgements of a record are about to leave: call it first thing after the
// sync. Any goroutine may.
func (j *Journal) Release(r Record) {
	if r.key == nil {
		return
	}
	j.handed.Note(r.n)
	j.mu.Lock()
	j.released = append(j.released, r.key)
	j.mu.Unlock()
}

// Waiting reports whether a batch is due only to remove records.
func (j *Journal) Waiting() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.released) > 0
}
