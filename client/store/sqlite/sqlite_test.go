package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/client/store/storetest"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fresh(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return fresh(t) })
}

func TestLikeMemory(t *testing.T) {
	s := fresh(t)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		storetest.Compare(r, s, memory.New())
		if n++; n%8 != 0 { // it costs more than the history
			return
		}
		if err := s.Check(t.Context()); err != nil {
			r.Fatal(err)
		}
	})
}
