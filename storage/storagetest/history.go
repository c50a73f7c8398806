package storagetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/petrelchat/petrel/storage"
)

// History makes random batches over a few logs and keys, together with a Model that has applied them.
// It is for one goroutine.
type History struct {
	Model *Model
	rng   *rand.Rand
	logs  []string
	keys  []storage.Key

	// past holds the model after each commit, by number, if Keep was called.
	past []*Model
}

// NewHistory starts a history; equal seeds make equal histories.
func NewHistory(seed uint64) *History {
	return &History{
		Model: NewModel(),
		rng:   rand.New(rand.NewPCG(seed, 1)),
		// One name is a prefix of another, one sorts around the engine's separators.
		logs: []string{"a", "ab", "a\x01", "b", "@a", "\xff"},
		keys: []storage.Key{
			storage.In(storage.SpaceCursor).Str("a").Str("u"),
			storage.In(storage.SpaceCursor).Str("a").Str("v"),
			storage.In(storage.SpaceCursor).Str("ab").Str("u"),
			storage.In(storage.SpaceRetry).Str("a"),
			storage.In(storage.SpaceRetry).U64(1 << 63),
			storage.In(storage.SpaceExpire).U64(0xff),
			storage.In(storage.SpaceExpire).U64(0xff).Str("\xff"),
			storage.In(storage.SpaceAudit).Str("z"),
		},
	}
}

// Keep makes the history remember the model after each commit, for At.
func (h *History) Keep() { h.past = []*Model{h.Model.snapshot()} }

// At returns the model after the commit with that number.
func (h *History) At(commit uint64) *Model { return h.past[commit] }

// Next fills b with 1 to 12 random changes. About one batch in ten must be refused.
func (h *History) Next(b *storage.Batch) {
	b.Reset()
	heads := map[string]uint64{}
	for range 1 + h.rng.IntN(12) {
		log := h.logs[h.rng.IntN(len(h.logs))]
		if _, ok := heads[log]; !ok {
			heads[log], _, _ = h.Model.Head(log)
		}
		head := heads[log]
		key := slices.Clone(h.keys[h.rng.IntN(len(h.keys))])
		data := []byte(fmt.Sprintf("%s %d %d", log, head, h.rng.IntN(1000)))
		switch h.rng.IntN(12) {
		case 0, 1, 2:
			seq := head + 1
			if h.rng.IntN(50) == 0 {
				seq += uint64(h.rng.IntN(3)) // sometimes wrong
			}
			b.Append(log, seq, data)
			heads[log]++
		case 3, 4:
			b.AppendNext(log, data, new(uint64))
			heads[log]++
		case 5, 6, 7:
			b.Set(key, data)
		case 8:
			b.Delete(key)
		case 9:
			b.DeletePrefix(key[:1+h.rng.IntN(len(key))])
		case 10:
			b.Truncate(log, h.rng.Uint64N(head+3))
		case 11:
			b.Erase(log, h.rng.Uint64N(head+3), []byte("gone"))
		}
	}
}

// Commit commits the batch to the store and to the model and compares what they say. p is nil if both
// refused it.
func (h *History) Commit(s storage.Store, b *storage.Batch) (p storage.Pending, err error) {
	p, got := s.Commit(b)
	seqs := assigned(b)
	_, want := h.Model.Commit(b)
	if !errors.Is(got, want) {
		return nil, fmt.Errorf("commit returned %v, want %v", got, want)
	}
	if got != nil {
		return nil, nil
	}
	if wantSeqs := assigned(b); !slices.Equal(seqs, wantSeqs) {
		return nil, fmt.Errorf("assigned seqs %v, want %v", seqs, wantSeqs)
	}
	if p.Number() != h.Model.LastCommit() {
		return nil, fmt.Errorf("commit number %d, want %d", p.Number(), h.Model.LastCommit())
	}
	if h.past != nil {
		h.past = append(h.past, h.Model.snapshot())
	}
	return p, nil
}

func assigned(b *storage.Batch) (seqs []uint64) {
	for _, op := range b.Ops {
		if op.Assigned != nil {
			seqs = append(seqs, *op.Assigned)
		}
	}
	return seqs
}

// Back makes an earlier commit the newest again, as after the loss of those behind it. It needs Keep.
func (h *History) Back(commit uint64) {
	h.past = h.past[:commit+1]
	h.Model = h.past[commit].snapshot()
}
