package pebblestore

import (
	"path/filepath"
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
)

// TestReopenCheckpointReadOnly follows one history through a restart, a checkpoint of the running
// store, and a read-only look at that.
func TestReopenCheckpointReadOnly(t *testing.T) {
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	h := storagetest.NewHistory(7)
	h.Keep()
	for round := range 3 {
		s, err := Open(dir, Options{Create: round == 0, ReserveBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := storagetest.Same(s, h.Model); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		extend(t, s, h, 50)
		if round == 1 {
			at := s.LastCommit()
			if err := s.Checkpoint(copied); err != nil {
				t.Fatal(err)
			}
			if err := s.Checkpoint(copied); err == nil {
				t.Error("a checkpoint went into a directory that exists")
			}
			extend(t, s, h, 20) // the copy does not follow
			checkCopy(t, copied, h.At(at))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func extend(t *testing.T, s *Store, h *storagetest.History, n int) {
	t.Helper()
	for range n {
		var b storage.Batch
		h.Next(&b)
		p, err := h.Commit(s, &b)
		if err != nil {
			t.Fatal(err)
		}
		if p == nil {
			continue
		}
		if err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkCopy(t *testing.T, dir string, want storage.Store) {
	t.Helper()
	if err := CheckPhysical(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := storagetest.Same(s, want); err != nil {
		t.Errorf("copy: %v", err)
	}
	var b storage.Batch
	b.AppendNext("a", nil, nil)
	if _, err := s.Commit(&b); err == nil {
		t.Error("a read-only store took a commit")
	}
	if s.Full() {
		t.Error("a read-only store is full")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestHeadCacheStays checks that the cache is bounded, and that a head which was forgotten and read
// again is right.
func TestHeadCacheStays(t *testing.T) {
	s := mustOpen(t, NewMemDisk(), Options{})
	defer s.Close()
	s.heads.limit = 100
	for round := range uint64(3) {
		for i := range 1000 {
			commit(t, s, func(b *storage.Batch) { b.Append(benchLog(i), round+1, nil) })
		}
	}
	if n := len(s.heads.young) + len(s.heads.old); n > 2*101 {
		t.Errorf("the cache holds %d heads", n)
	}
}

func TestOptions(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, o := range []Options{{CacheBytes: -1}, {MemTableBytes: 5}, {MemTableBytes: 1 << 40}, {Create: true, ReadOnly: true}} {
		if _, err := Open(t.TempDir(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
