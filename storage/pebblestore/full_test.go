package pebblestore

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/petrelchat/petrel/storage"
)

// room is a file system of limited size. Only what is written counts, by file.
type room struct {
	vfs.FS
	mu    sync.Mutex
	limit int64
	used  map[string]int64
}

func newRoom(limit int64) *room {
	return &room{FS: vfs.NewMem(), limit: limit, used: map[string]int64{}}
}

func (r *room) free() (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.limit
	for _, u := range r.used {
		n -= u
	}
	return uint64(max(n, 0)), nil
}

func (r *room) setLimit(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = n
}

// take is asked before a file grows to size.
func (r *room) take(name string, size int64) error {
	free, _ := r.free()
	r.mu.Lock()
	defer r.mu.Unlock()
	if size-r.used[name] > int64(free) {
		return &errNoSpace
	}
	r.used[name] = max(r.used[name], size)
	return nil
}

type noSpace struct{}

func (*noSpace) Error() string { return "no space left" }
func (*noSpace) Unwrap() error { return syscall.ENOSPC }

var errNoSpace noSpace

func (r *room) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := r.take(name, 1); err != nil {
		return nil, err
	}
	f, err := r.FS.Create(name, c)
	return &roomFile{File: f, r: r, name: name}, err
}

func (r *room) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	r.mu.Lock()
	r.used[name] = r.used[old]
	delete(r.used, old)
	r.mu.Unlock()
	f, err := r.FS.ReuseForWrite(old, name, c)
	return &roomFile{File: f, r: r, name: name}, err
}

func (r *room) Rename(old, name string) error {
	r.mu.Lock()
	r.used[name] = r.used[old]
	delete(r.used, old)
	r.mu.Unlock()
	return r.FS.Rename(old, name)
}

func (r *room) Remove(name string) error {
	r.mu.Lock()
	delete(r.used, name)
	r.mu.Unlock()
	return r.FS.Remove(name)
}

type roomFile struct {
	vfs.File
	r    *room
	name string
	at   int64
}

func (f *roomFile) Write(p []byte) (int, error) {
	if err := f.r.take(f.name, f.at+int64(len(p))); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	f.at += int64(n)
	return n, err
}

func (f *roomFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.r.take(f.name, at+int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

// Preallocate counts for the ballast only, so that the log meets the full disk when it writes.
func (f *roomFile) Preallocate(at, n int64) error {
	if f.r.PathBase(f.name) == ballastName {
		return f.r.take(f.name, at+n)
	}
	return nil
}

// fakeClock stands still until it is moved.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

const mib = 1 << 20

// fillUp appends until the store says that the disk is full, and returns how many entries were
// acknowledged. each is called before each commit.
func fillUp(t *testing.T, s *Store, each func()) (acknowledged uint64) {
	t.Helper()
	for acknowledged < 10_000 {
		each()
		var b storage.Batch
		b.AppendNext("a", incompressible(acknowledged), nil)
		p, err := s.Commit(&b)
		if errors.Is(err, storage.ErrFull) {
			return acknowledged
		}
		if err == nil {
			err = p.Wait()
		}
		if err != nil {
			t.Fatalf("after %d entries: %v", acknowledged, err)
		}
		acknowledged++
	}
	t.Fatal("the disk never became full")
	return 0
}

func incompressible(seed uint64) []byte {
	out := make([]byte, 10_000)
	x := seed*2 + 1
	for i := range out {
		x = x*6364136223846793005 + 1442695040888963407
		out[i] = byte(x >> 56)
	}
	return out
}

func checkEntries(t *testing.T, s *Store, n uint64) {
	t.Helper()
	var got uint64
	err := s.Read("a", 0, 1<<40, func(e storage.Entry) bool {
		got++
		return e.Seq == got && string(e.Data) == string(incompressible(got-1))
	})
	if err != nil || got != n {
		t.Errorf("%d entries are there (%v), acknowledged were %d", got, err, n)
	}
}

// TestFull runs into the watermark: publishers are refused, readers and housekeeping go on, and service
// comes back with the room.
func TestFull(t *testing.T) {
	disk, clock := newRoom(24*mib), &fakeClock{t: time.Unix(1_000_000, 0)}
	o := Options{
		Create: true, MemTableBytes: mib, ReserveBytes: 2 * mib, MinFreeBytes: 4 * mib,
		FreeSpace: disk.free, Now: clock.now,
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
	s, err := openFS(disk, memDir, o, currentLayout())
	if err != nil {
		t.Fatal(err)
	}
	if s.Full() {
		t.Fatal("full from the start")
	}
	n := fillUp(t, s, func() { clock.add(time.Second) })
	before := s.LastCommit()
	checkEntries(t, s, n)
	key := storage.In(storage.SpaceCursor).Str("a").Str("u")
	commit(t, s, func(b *storage.Batch) { b.Vital = true; b.Set(key, []byte("1")) })
	if s.LastCommit() != before+1 {
		t.Errorf("last commit %d after one vital batch, was %d", s.LastCommit(), before)
	}
	if !s.Full() || s.Stats()["disk_full"] != 1 {
		t.Error("not reported as full")
	}

	disk.setLimit(48 * mib)
	if !s.Full() {
		t.Error("the free space was asked for twice within a second")
	}
	clock.add(-time.Hour) // a clock that jumps back does not keep publishers out
	commit(t, s, func(b *storage.Batch) { b.AppendNext("a", incompressible(n), nil) })
	checkEntries(t, s, n+1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFullBeforeThePoll fills the disk between two questions for the free space: the write that meets
// the full disk succeeds in the ballast's room.
func TestFullBeforeThePoll(t *testing.T) {
	disk, clock := newRoom(12*mib), &fakeClock{t: time.Unix(1_000_000, 0)}
	o := Options{
		Create: true, MemTableBytes: 64 * mib, ReserveBytes: 2 * mib, MinFreeBytes: mib,
		FreeSpace: disk.free, Now: clock.now,
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
	}
	s, err := openFS(disk, memDir, o, currentLayout())
	if err != nil {
		t.Fatal(err)
	}
	ballast := disk.PathJoin(memDir, ballastName)
	if info, err := disk.Stat(ballast); err != nil || info.Size() != 2*mib {
		t.Fatalf("ballast: %v, %v", info, err)
	}
	n := fillUp(t, s, func() {})
	if _, err := disk.Stat(ballast); err == nil {
		t.Error("the ballast is still there")
	}
	checkEntries(t, s, n)
	commit(t, s, func(b *storage.Batch) { b.Vital = true; b.Delete(storage.In(storage.SpaceMeta).Str("x")) })

	clock.add(2 * time.Second)
	if !s.Full() {
		t.Error("room is reported, but nothing was freed but the ballast")
	}
	disk.setLimit(64 * mib)
	clock.add(2 * time.Second)
	commit(t, s, func(b *storage.Batch) { b.AppendNext("a", incompressible(n), nil) })
	if info, err := disk.Stat(ballast); err != nil || info.Size() != 2*mib {
		t.Errorf("the ballast did not come back: %v, %v", info, err)
	}
	checkEntries(t, s, n+1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = openFS(disk, memDir, o, currentLayout())
	if err != nil {
		t.Fatal(err)
	}
	checkEntries(t, s, n+1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFailedWrite lets the writes of one kind of file fail: the commit is not acknowledged, the store
// stops, whoever runs it is told, and Close returns.
func TestFailedWrite(t *testing.T) {
	for _, c := range []struct {
		name    string
		pattern string
		kinds   []errorfs.OpKind
		flush   bool
	}{
		{"sync of the log", "*.log", []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData}, false},
		{"write of the log", "*.log", []errorfs.OpKind{errorfs.OpFileWrite}, false},
		{"write of the MANIFEST", "MANIFEST-*", []errorfs.OpKind{errorfs.OpFileWrite}, true},
	} {
		t.Run(c.name, func(t *testing.T) { testFailedWrite(t, c.pattern, c.kinds, c.flush) })
	}
}

func testFailedWrite(t *testing.T, pattern string, kinds []errorfs.OpKind, flush bool) {
	broken := errors.New("the disk is broken")
	match := errorfs.PathMatch("*/" + pattern)
	toggle := errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		for _, k := range kinds {
			if op.Kind == k && match.Evaluate(op) {
				return broken
			}
		}
		return nil
	})}
	fatal := make(chan error, 1)
	disk := errorfs.Wrap(vfs.NewMem(), &toggle)
	o := memOptions(Options{Create: true, OnFatal: func(err error) { fatal <- err }})
	s, err := openFS(disk, memDir, o, currentLayout())
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, func(b *storage.Batch) { b.AppendNext("a", nil, nil) })

	toggle.On()
	if flush {
		if _, err := s.db.AsyncFlush(); err != nil {
			t.Fatal(err)
		}
	} else {
		var b storage.Batch
		b.AppendNext("a", nil, nil)
		p, err := s.Commit(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); !errors.Is(err, broken) {
			t.Errorf("wait: %v, want the disk's error", err)
		}
	}
	if err := <-fatal; err == nil {
		t.Error("OnFatal got nil")
	}
	if s.Err() == nil {
		t.Error("Err returns nil")
	}
	for range 3 {
		var b storage.Batch
		b.AppendNext("a", nil, nil)
		if _, err := s.Commit(&b); err == nil || errors.Is(err, storage.ErrFull) {
			t.Errorf("commit after the failure: %v", err)
		}
	}
	s.Close() // its error is the disk's; that it returns is what counts
}

// TestFailedWhileClosing lets the MANIFEST fail when Close has found nothing wrong yet: a part of the engine stops with its locks held then.
func TestFailedWhileClosing(t *testing.T) {
	match := errorfs.PathMatch("*/MANIFEST-*")
	writes, fails := make(chan struct{}, 16), make(chan struct{})
	toggle := errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileWrite || !match.Evaluate(op) {
			return nil
		}
		writes <- struct{}{}
		<-fails
		return errors.New("the disk is broken")
	})}
	o := memOptions(Options{Create: true, OnFatal: func(error) {}})
	s, err := openFS(errorfs.Wrap(vfs.NewMem(), &toggle), memDir, o, currentLayout())
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, func(b *storage.Batch) { b.AppendNext("a", nil, nil) })
	toggle.On()
	if _, err := s.db.AsyncFlush(); err != nil {
		t.Fatal(err)
	}
	<-writes
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	<-s.idle
	close(fails)
	if err := <-closed; err == nil {
		t.Error("Close returns nil")
	}
}

// TestManyFailedCommits lets commits race with the failure of the log, across a change of the log file.
func TestManyFailedCommits(t *testing.T) {
	broken := errors.New("the disk is broken")
	match := errorfs.PathMatch("*/*.log")
	toggle := errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && match.Evaluate(op) {
			return broken
		}
		return nil
	})}
	s, err := openFS(errorfs.Wrap(vfs.NewMem(), &toggle), memDir,
		memOptions(Options{Create: true, MemTableBytes: mib, OnFatal: func(error) {}}), currentLayout())
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, func(b *storage.Batch) { b.AppendNext("a", nil, nil) })
	toggle.On()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				var b storage.Batch
				b.AppendNext(fmt.Sprint(w), make([]byte, 3000), nil)
				p, err := s.Commit(&b)
				if err != nil {
					return
				}
				if i%8 == 0 {
					if err := p.Wait(); err == nil {
						t.Error("a commit was acknowledged")
					}
				}
			}
			t.Error("commits went on")
		})
	}
	wg.Wait()
	s.Close()
}
