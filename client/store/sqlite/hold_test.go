package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/petrelchat/petrel/client/store"
)

// TestHold: who holds a store keeps others from opening it, and the other way round.
func TestHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Hold(path); !errors.Is(err, store.ErrBusy) {
		t.Errorf("a store that is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	release, err := Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, store.ErrBusy) {
		t.Errorf("a store that is held: %v", err)
	}
	for _, file := range []string{path, LockFile(path)} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatalf("where a store was removed: %v", err)
	}
	if err := errors.Join(release(), s.Close()); err != nil {
		t.Error(err)
	}
}
