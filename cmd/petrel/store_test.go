package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// withStore opens the store of a data directory for the time of fn.
func withStore(t *testing.T, data string, create bool, fn func(storage.Store)) {
	t.Helper()
	s, err := pebblestore.Open(storeIn(data), pebblestore.Options{Create: create})
	if err != nil {
		t.Fatal(err)
	}
	fn(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBackupOfAStoppedServerIsRestored(t *testing.T) {
	dir := t.TempDir()
	data, backup, restored := filepath.Join(dir, "data"), filepath.Join(dir, "backup"), filepath.Join(dir, "restored")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "dev"), []byte("mark"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := storage.In(storage.SpaceMeta).Str("test")
	withStore(t, data, true, func(s storage.Store) {
		var b storage.Batch
		b.Set(key, []byte("value"))
		p, err := s.Commit(&b)
		if err == nil {
			err = p.Wait()
		}
		if err != nil {
			t.Fatal(err)
		}
		if code, _, errs := petrel(context.Background(), "", "backup", backup, "--data", data); code != exitFailed || !strings.Contains(errs, "no server runs") {
			t.Errorf("a store in use: %d, %s", code, errs)
		}
	})
	for _, args := range [][]string{{"backup", backup, "--data", data}, {"restore", backup, "--data", restored}} {
		if code, _, errs := petrel(context.Background(), "", args...); code != exitOK {
			t.Fatalf("%v: %d, %s", args, code, errs)
		}
	}
	withStore(t, restored, false, func(s storage.Store) {
		if v, ok, err := s.Get(key); err != nil || !ok || string(v) != "value" {
			t.Errorf("%q, %v, %v", v, ok, err)
		}
	})
	if text, err := os.ReadFile(filepath.Join(restored, "dev")); err != nil || string(text) != "mark" {
		t.Errorf("development data lost its mark: %q, %v", text, err)
	}
	if code, _, errs := petrel(context.Background(), "", "restore", backup, "--data", restored); code != exitUsage || !strings.Contains(errs, "already") {
		t.Errorf("restoring over a store: %d, %s", code, errs)
	}
}
