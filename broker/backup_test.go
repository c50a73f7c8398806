package broker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

const me = "anna~anna"

// dataDir makes a data directory with a store in use and the small files beside it.
func dataDir(t *testing.T) (dir string, st *pebblestore.Store) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"dev": 0o644, "tickets": 0o600, "petrel.sock": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("content of "+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	st, err := pebblestore.Open(StoreDir(dir), pebblestore.Options{Create: true, ReserveBytes: -1, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	return dir, st
}

// note posts a note to oneself, as the hub would store it.
func note(t *testing.T, st storage.Store, seq uint64, wait bool) {
	t.Helper()
	var b storage.Batch
	b.Append(me, seq, protocol.EncodeStored(nil, &chat.Event{Seq: seq, From: "anna", At: int64(seq), Kind: chat.KindPost, Text: "n"}))
	if seq == 1 {
		rec := storage.AppendMember(nil, chat.Member{Role: chat.RoleMember, Since: 1, Joined: 1})
		b.Set(storage.In(storage.SpaceConv).Str(me), storage.Marshal(storage.Conv{}))
		b.Set(storage.In(storage.SpaceMember).Str(me).Str("anna"), rec)
		b.Set(storage.In(storage.SpaceMembership).Str("anna").Str(me), rec)
	}
	p, err := st.Commit(&b)
	if err == nil && wait {
		err = p.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func head(t *testing.T, dir string) uint64 {
	t.Helper()
	st, err := pebblestore.Open(StoreDir(dir), pebblestore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	seq, _, err := st.Head(me)
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	return seq
}

func mustVerify(t *testing.T, dir string) {
	t.Helper()
	sum, err := Verify(dir, func(p verify.Problem) { t.Error(p) })
	if err != nil || sum.Logs != 1 || sum.Members != 1 {
		t.Fatalf("%s: %v, %+v", dir, err, sum)
	}
}

func checkSmallFiles(t *testing.T, dir string) {
	t.Helper()
	for name, mode := range map[string]fs.FileMode{"dev": 0o644, "tickets": 0o600} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		info, err2 := os.Stat(path)
		if err = errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if string(text) != "content of "+name || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v and says %q", path, info.Mode(), text)
		}
	}
	if _, err := os.Lstat(SocketPath(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the control socket was copied: %v", err)
	}
}

// names lists a directory, for what a failure may have left.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// TestBackupOfRunning: a backup of a store in use is a data directory of its own, which a restore makes
// a server's again; what comes later is in the original only.
func TestBackupOfRunning(t *testing.T) {
	dir, st := dataDir(t)
	for seq := uint64(1); seq <= 50; seq++ {
		note(t, st, seq, true)
	}
	copies := t.TempDir()
	backup := filepath.Join(copies, "backup")
	if err := BackupStore(st, dir, backup); err != nil {
		t.Fatal(err)
	}
	note(t, st, 51, true)
	if err := BackupStore(st, dir, backup); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a second backup to the same place: %v", err)
	}
	if _, err := Verify(dir, nil); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("verifying a store in use: %v", err)
	}
	if got := names(t, copies); got != "backup" {
		t.Errorf("beside the backup there is %q", got)
	}
	mustVerify(t, backup)
	checkSmallFiles(t, backup)

	again := filepath.Join(t.TempDir(), "again")
	if err := Restore(backup, again); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, again)
	checkSmallFiles(t, again)
	if a, b := head(t, again), head(t, dir); a != 50 || b != 51 {
		t.Errorf("the restored log ends at %d, the original at %d", a, b)
	}
	if got := names(t, again); got != "dev store tickets" {
		t.Errorf("the restored directory has %q", got)
	}
	// What is done to the copy does not reach the backup.
	st, err := pebblestore.Open(StoreDir(again), pebblestore.Options{ReserveBytes: -1, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	note(t, st, 51, true)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if got := head(t, backup); got != 50 {
		t.Errorf("the backup changed: its log ends at %d", got)
	}
}

func TestBackupOfStopped(t *testing.T) {
	dir, st := dataDir(t)
	note(t, st, 1, true)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := BackupStopped(dir, backup); !errors.Is(err, storage.ErrLocked) {
		t.Fatalf("backup of a stopped server that runs: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := BackupStopped(dir, backup); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, backup)
	mustVerify(t, dir)
	if err := BackupStopped(t.TempDir(), backup+"2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("backup of nothing: %v", err)
	}
}

// TestRestoreRefuses: a restore that can't succeed changes nothing.
func TestRestoreRefuses(t *testing.T) {
	dir, st := dataDir(t)
	for seq := uint64(1); seq <= 300; seq++ {
		note(t, st, seq, true)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Restore(dir, t.TempDir()); err != nil { // an empty directory, as of a mounted volume, will do
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Restore(dir, full); err == nil || !strings.Contains(err.Error(), "not empty (there is mine)") {
		t.Errorf("into a directory that is not empty: %v", err)
	}
	if err := Restore(t.TempDir(), filepath.Join(full, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("from nothing: %v", err)
	}

	target := filepath.Join(t.TempDir(), "target")
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := Restore(dir, wrong); err != nil {
		t.Fatal(err)
	}
	bad, err := pebblestore.Open(StoreDir(wrong), pebblestore.Options{ReserveBytes: -1, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := bad.Commit(&storage.Batch{Ops: []storage.Op{{Kind: storage.OpDelete, Key: storage.In(storage.SpaceConv).Str(me)}}})
	if err == nil {
		err = errors.Join(p.Wait(), bad.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Restore(wrong, target); !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), "has no record") {
		t.Errorf("from a backup that is wrong: %v", err)
	}

	hurt(t, StoreDir(dir))
	if err := Restore(dir, target); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("from a damaged backup: %v", err)
	}
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused restore left something: %v", err)
	}
	var found []verify.Problem
	if sum, err := Verify(dir, func(p verify.Problem) { found = append(found, p) }); err != nil || sum.OK() || len(found) != 1 {
		t.Errorf("verifying damaged files: %v, %+v, %v", err, sum, found)
	}
}

// hurt changes a byte in the middle of each table.
func hurt(t *testing.T, store string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(store, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, name := range tables {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/3] ^= 0x55
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBackupLeavesNothing: a backup that fails leaves no half of one.
func TestBackupLeavesNothing(t *testing.T) {
	dir, st := dataDir(t)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	if err := BackupStore(st, dir, filepath.Join(parent, "backup")); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("backup of a closed store: %v", err)
	}
	if got := names(t, parent); got != "" {
		t.Errorf("a failed backup left %q", got)
	}
}
