package pebblestore

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
)

// TestPowerLoss cuts the power again and again in the middle of a random history. What comes back must
// be the state after one of the commits: not before the last one that was waited for, and whole.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 2))
		h := storagetest.NewHistory(seed)
		h.Keep()
		disk := NewMemDisk()
		for range 12 {
			disk = untilPowerLoss(t, rng, h, disk)
		}
	}
}

// untilPowerLoss opens the store, checks it against the history, goes on with that for a while, and
// returns the disk after the power went.
func untilPowerLoss(t *testing.T, rng *rand.Rand, h *storagetest.History, disk *MemDisk) *MemDisk {
	t.Helper()
	s := mustOpen(t, disk, Options{MemTableBytes: 1 << 20})
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := storagetest.Same(s, h.Model); err != nil {
		t.Fatal(err)
	}
	durable := s.LastCommit()
	for range 1 + rng.IntN(60) {
		var b storage.Batch // not reused: it belongs to the store until it is waited for
		h.Next(&b)
		p, err := h.Commit(s, &b)
		if err != nil {
			t.Fatal(err)
		}
		if p != nil && rng.IntN(3) == 0 {
			if err := p.Wait(); err != nil {
				t.Fatal(err)
			}
			durable = p.Number()
		}
		if rng.IntN(20) == 0 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := s.LastCommit()
	after := disk.PowerLoss([]int{0, 0, 30, 70, 100}[rng.IntN(5)], rng.Uint64())

	found := mustOpen(t, after, Options{})
	n := found.LastCommit()
	if n < durable || n > last {
		t.Errorf("after power loss the last commit is %d; %d was durable, %d applied", n, durable, last)
	}
	if err := storagetest.Same(found, h.At(n)); err != nil {
		t.Errorf("after power loss at commit %d: %v", n, err)
	}
	if err := found.Close(); err != nil {
		t.Error(err)
	}
	h.Back(n)
	return after
}

// TestPowerLossUnderLoad cuts the power while many goroutines commit, wait and note what was
// acknowledged to them. Each goroutine has a log of its own, and all share one.
func TestPowerLossUnderLoad(t *testing.T) {
	disk := NewMemDisk()
	s := mustOpen(t, disk, Options{MemTableBytes: 1 << 20})
	const writers, each = 6, 150
	var mu sync.Mutex
	acknowledged := map[string]uint64{}
	type loss struct {
		disk  *MemDisk
		acked map[string]uint64
	}
	var losses []loss
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			log := string(rune('a' + w))
			for i := range uint64(each) {
				var b storage.Batch
				b.Append(log, i+1, make([]byte, 2000))
				b.AppendNext("shared", []byte(log), nil)
				b.Set(storage.In(storage.SpaceRetry).Str(log), storage.Key{}.U64(i+1))
				p, err := s.Commit(&b)
				if err == nil {
					err = p.Wait()
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged[log] = i + 1
				if i%50 == 25 && w%2 == 0 {
					acked := map[string]uint64{}
					for k, v := range acknowledged {
						acked[k] = v
					}
					// Others are in the middle of their commits.
					losses = append(losses, loss{disk.PowerLoss(int(i)%60, i), acked})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, l := range losses {
		checkLoss(t, l.disk, l.acked)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkLoss(t *testing.T, disk *MemDisk, acked map[string]uint64) {
	t.Helper()
	s := mustOpen(t, disk, Options{})
	defer s.Close()
	var shared uint64
	err := s.Logs(func(log string) bool {
		seq, _, err := s.Head(log)
		if err != nil || seq < acked[log] {
			t.Errorf("log %s ends with %d (%v), acknowledged was %d", log, seq, err, acked[log])
		}
		var n uint64
		if err := s.Read(log, 0, 1<<40, func(e storage.Entry) bool { n++; return e.Seq == n }); err != nil || n != seq {
			t.Errorf("log %s has a hole after %d (%v), head %d", log, n, err, seq)
		}
		if log == "shared" {
			shared += seq
			return true
		}
		shared -= seq
		v, _, err := s.Get(storage.In(storage.SpaceRetry).Str(log))
		if n, _, _ := storage.TakeU64(v); n != seq {
			t.Errorf("log %s ends with %d, but its record says %d (%v)", log, seq, n, err)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if shared != 0 {
		t.Errorf("the shared log differs from the sum of the others by %d", int64(shared))
	}
}
