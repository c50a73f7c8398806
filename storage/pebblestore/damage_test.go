package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/petrelchat/petrel/storage"
)

// filled returns the directory of a closed store with several tables and a MANIFEST of several records.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(dir, Options{Create: true, ReserveBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		commit(t, s, func(b *storage.Batch) {
			for k := range 200 {
				b.AppendNext("a", fmt.Appendf(nil, "entry %d %d", i, k), nil)
			}
		})
		if i == 3 {
			break // the last is written out by Close
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// flip inverts a byte of a file; at counts in parts of a thousand of its size.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[int64(len(data))*at/1000] ^= 0xff
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	return names
}

func wantDamaged(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("%s: %v, want ErrDamaged", what, err)
		return
	}
	if !strings.Contains(err.Error(), "petrel restore") {
		t.Errorf("%s: the error does not say what to do: %v", what, err)
	}
}

func TestDamagedTable(t *testing.T) {
	for _, at := range []int64{0, 100, 500, 900} {
		dir := filled(t)
		if err := CheckPhysical(dir, Options{}); err != nil {
			t.Fatalf("whole store: %v", err)
		}
		flip(t, glob(t, dir, "*.sst")[0], at)
		wantDamaged(t, fmt.Sprintf("table, byte at %d ‰", at), CheckPhysical(dir, Options{}))
	}
}

// TestUnfinishedTable checks that a table which a crash left half-written counts as no damage.
func TestUnfinishedTable(t *testing.T) {
	dir := filled(t)
	tables := glob(t, dir, "*.sst")
	whole, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "000999.sst")
	if err := os.WriteFile(half, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckPhysical(dir, Options{}); err != nil {
		t.Error(err)
	}
	if names := glob(t, dir, "*.sst"); len(names) != len(tables)+1 {
		t.Errorf("checking has changed the store: %v", names)
	}
}

// TestDamageMetWhileReading checks that a reader gets an error instead of a gap, and that the process is
// told to stop.
func TestDamageMetWhileReading(t *testing.T) {
	dir := filled(t)
	for _, name := range glob(t, dir, "*.sst") {
		flip(t, name, 100)
	}
	fatal := make(chan error, 1)
	s, err := Open(dir, Options{ReserveBytes: -1, OnFatal: func(err error) { fatal <- err }})
	if err != nil {
		wantDamaged(t, "open", err) // as good: Pebble may look at the block already
		return
	}
	wantDamaged(t, "read", s.Read("a", 0, 1<<40, func(storage.Entry) bool { return true }))
	wantDamaged(t, "OnFatal", <-fatal)
	if _, err := s.Commit(&storage.Batch{}); err == nil {
		t.Error("a damaged store goes on committing")
	}
	s.Close()
}

func TestDamagedManifest(t *testing.T) {
	size := func(dir string) int64 {
		info, err := os.Stat(slices.Max(glob(t, dir, "MANIFEST-*")))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	n := size(filled(t))
	for at := int64(0); at < n; at += 13 {
		dir := filled(t)
		name := slices.Max(glob(t, dir, "MANIFEST-*"))
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at >= lastRecord(data) {
			break // damage in the last record can't be told from a torn write
		}
		data[at] ^= 0xff
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(dir, Options{ReserveBytes: -1})
		wantDamaged(t, fmt.Sprintf("MANIFEST, byte %d of %d", at, n), err)
	}
}

// lastRecord returns the offset of the last chunk of a whole MANIFEST.
func lastRecord(data []byte) int64 {
	at := 0
	for {
		next, ok := chunkAt(data, at)
		if !ok || next >= len(data) {
			return int64(at)
		}
		at = next
	}
}

func TestDamagedLog(t *testing.T) {
	disk := NewMemDisk()
	s := mustOpen(t, disk, Options{})
	for range 500 {
		commit(t, s, func(b *storage.Batch) { b.AppendNext("a", make([]byte, 2000), nil) })
	}
	after := disk.PowerLoss(100, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := after.fs.List(memDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			f, err := after.fs.OpenReadWrite(memDir+"/"+name, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("damage"), 40000); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	_, err = after.Open(Options{})
	wantDamaged(t, "write-ahead log", err)
}

func TestLostFiles(t *testing.T) {
	for _, pattern := range []string{"*.sst", "MANIFEST-*", "marker.manifest*", "marker.*", "marker.format*"} {
		dir := filled(t)
		for _, name := range glob(t, dir, pattern) {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		before := len(glob(t, dir, "*"))
		_, err := Open(dir, Options{Create: true, ReserveBytes: -1})
		wantDamaged(t, "without "+pattern, err)
		if after := len(glob(t, dir, "*")); after < before {
			t.Errorf("without %s: a refused open removed %d files", pattern, before-after)
		}
	}
}

func TestNoStore(t *testing.T) {
	dir := t.TempDir()
	for _, dir := range []string{dir, filepath.Join(dir, "none")} {
		for _, o := range []Options{{}, {ReadOnly: true}} {
			if _, err := Open(dir, o); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s with %+v: %v, want ErrNotExist", dir, o, err)
			}
		}
	}
}

// TestLocked opens the store of this process from another process and from this one.
func TestLocked(t *testing.T) {
	if dir := os.Getenv("PETREL_TEST_LOCKED_DIR"); dir != "" {
		_, err := Open(dir, Options{})
		fmt.Printf("locked=%v %v\n", errors.Is(err, storage.ErrLocked), err)
		return
	}
	dir := t.TempDir()
	s, err := Open(dir, Options{Create: true, ReserveBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestLocked$")
	cmd.Env = append(os.Environ(), "PETREL_TEST_LOCKED_DIR="+dir)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(pipe)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "locked=true") || !strings.Contains(string(out), "stop the other") {
		t.Errorf("another process: %s", out)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("the same process: %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatalf("after close: %v", err)
	}
	s.Close()
}

func TestFormat(t *testing.T) {
	disk := NewMemDisk()
	k := storage.In(storage.SpaceMeta).Str("k")
	open := func(create bool, l layout) (*Store, error) {
		return openFS(disk.fs, memDir, memOptions(Options{Create: create}), l)
	}
	// A store that version 0 of an artificial layout wrote.
	s, err := open(true, layout{version: 0})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, func(b *storage.Batch) { b.Set(k, []byte("old")) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(false, layout{version: 1}); err == nil {
		t.Fatal("an older store was opened without a migration")
	}
	var ran []int
	step := func(n int, err error) migration {
		return func(db *pebble.DB) error {
			ran = append(ran, n)
			if err != nil {
				return err
			}
			return db.Set(k, fmt.Appendf(nil, "from %d", n), pebble.Sync)
		}
	}
	// The second step fails: the next start goes on there.
	broken := layout{2, map[int]migration{0: step(0, nil), 1: step(1, errors.New("broken"))}}
	if _, err := open(false, broken); err == nil {
		t.Fatal("a failed migration was not noticed")
	}
	s, err = open(false, layout{2, map[int]migration{0: step(0, nil), 1: step(1, nil)}})
	if err != nil {
		t.Fatal(err)
	}
	if v, _, err := s.Get(k); string(v) != "from 1" || err != nil || !slices.Equal(ran, []int{0, 1, 1}) {
		t.Errorf("after migrations %v: %q, %v", ran, v, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(false, layout{version: 1}); !errors.Is(err, storage.ErrNewer) {
		t.Errorf("newer store: %v, want ErrNewer", err)
	}
}
