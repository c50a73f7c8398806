package pebblestore

import (
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ballastName is the file that gives its room back when the disk is full.
const ballastName = "ballast"

// pollEvery is how often the free space is asked for at most.
const pollEvery = time.Second

// space watches the room on the disk. All methods may be called from any goroutine.
type space struct {
	fs      vfs.FS // below the wrapper that calls release
	path    string // of the ballast
	reserve uint64
	minFree uint64
	free    func() (uint64, error)
	now     func() time.Time
	log     *slog.Logger

	low  atomic.Bool  // below the watermark
	next atomic.Int64 // unix ns of the next poll

	mu      sync.Mutex // the ballast file
	ballast bool
}

func newSpace(base vfs.FS, dir string, o Options) *space {
	s := &space{
		fs:      base,
		path:    base.PathJoin(dir, ballastName),
		reserve: uint64(o.ReserveBytes),
		minFree: uint64(o.MinFreeBytes),
		free:    o.FreeSpace,
		now:     o.Now,
		log:     o.Logger,
	}
	if s.free == nil {
		s.free = func() (uint64, error) {
			u, err := base.GetDiskUsage(dir)
			return u.AvailBytes, err
		}
	}
	return s
}

// adopt looks for a ballast of the right size that an earlier run left; any other one gives its room
// back. Call it before the first write.
func (s *space) adopt() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := s.fs.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case uint64(info.Size()) == s.reserve && s.reserve > 0:
		s.ballast = true
		return nil
	}
	return s.fs.Remove(s.path)
}

// full reports whether there is less room than the watermark. It asks the system at most once a second.
func (s *space) full() bool {
	t, next := s.now().UnixNano(), s.next.Load()
	// A clock that jumped back must not stop the questions.
	due := t >= next || next-t > 2*int64(pollEvery)
	if due && s.next.CompareAndSwap(next, t+int64(pollEvery)) {
		s.poll()
	}
	return s.low.Load()
}

// poll asks for the free space, brings the ballast back if there is room for it, and moves the mark.
func (s *space) poll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, err := s.free()
	if err != nil {
		s.log.Warn("free space of the data directory is unknown", "error", err)
		return
	}
	want := s.minFree
	if !s.ballast && s.reserve > 0 {
		want += s.reserve
		if free >= want {
			if err := s.fill(); err != nil {
				s.log.Warn("the ballast file can't be made", "error", err)
			} else {
				s.ballast, free, want = true, free-s.reserve, s.minFree
			}
		}
	}
	low := free < want
	if s.low.Swap(low) != low {
		if low {
			s.log.Warn("disk is almost full: publishers are refused until there is room", "free", free, "needed", want)
		} else {
			s.log.Info("disk has room again", "free", free)
		}
	}
}

// release is called when a write met a full disk; writes wait for it and are tried once more.
func (s *space) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next.Store(s.now().UnixNano() + int64(pollEvery))
	s.low.Store(true)
	if !s.ballast {
		s.log.Warn("disk is full and there is no ballast left")
		return
	}
	if err := s.fs.Remove(s.path); err != nil {
		s.log.Warn("disk is full and the ballast can't be removed", "error", err)
		return
	}
	s.ballast = false
	s.log.Warn("disk is full: the ballast was given up", "bytes", s.reserve)
}

// fill makes the ballast file. s.mu is held.
func (s *space) fill() (err error) {
	f, err := s.fs.Create(s.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, s.fs.Remove(s.path))
		}
	}()
	if !preallocates || f.Preallocate(0, int64(s.reserve)) != nil {
		// No way to reserve blocks: they have to be written.
		if err := writeZeros(f, s.reserve); err != nil {
			return err
		}
	}
	// The last byte gives the file its size, by which the next run recognizes it.
	if _, err := f.WriteAt([]byte{0}, int64(s.reserve)-1); err != nil {
		return err
	}
	return f.Sync()
}

func writeZeros(f vfs.File, n uint64) error {
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		k, err := f.Write(zeros[:min(n, uint64(len(zeros)))])
		if err != nil {
			return err
		}
		n -= uint64(k)
	}
	return nil
}
