package pebblestore

import (
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
)

func TestContract(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store {
		return mustOpen(t, NewMemDisk(), Options{})
	})
}

// TestContractOnFiles runs the contract on the real file system, with a head cache that is always too
// small.
func TestContractOnFiles(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store {
		s, err := Open(t.TempDir(), Options{Create: true, ReserveBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		s.heads.limit = 1
		return s
	})
}

func mustOpen(t testing.TB, d *MemDisk, o Options) *Store {
	t.Helper()
	s, err := d.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// commit commits and waits.
func commit(t testing.TB, s *Store, fill func(b *storage.Batch)) {
	t.Helper()
	var b storage.Batch
	fill(&b)
	p, err := s.Commit(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
}
