package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/petrelchat/petrel/storage"
)

// Open opens the store in dir. Errors: storage.ErrLocked, storage.ErrDamaged, storage.ErrNewer,
// fs.ErrNotExist (there is no store and o.Create is not set); each says what to do.
func Open(dir string, o Options) (*Store, error) {
	return openFS(vfs.Default, dir, o, currentLayout())
}

// openFS is Open on any file system and with any format and migrations.
func openFS(base vfs.FS, dir string, o Options, l layout) (s *Store, err error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("storage: options: %w", err)
	}
	o = o.withDefaults()
	lock, err := lockDir(base, dir, o.Create)
	if err != nil {
		return nil, err
	}
	defer func() {
		if s == nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := checkFiles(base, dir, o.Create); err != nil {
		return nil, err
	}
	s = &Store{
		dir:      dir,
		lock:     lock,
		watch:    newWatcher(o),
		heads:    newHeadCache(headCacheSize),
		readOnly: o.ReadOnly,
		idle:     make(chan struct{}),
	}
	s.users.Store(1)
	if err := s.start(base, o, l); err != nil {
		s = nil
		return nil, err
	}
	return s, nil
}

// start opens Pebble and brings the store to the current format.
func (s *Store) start(base vfs.FS, o Options, l layout) (err error) {
	watched, health := vfs.WithDiskHealthChecks(base, slowDisk, nil, s.watch.slow)
	s.health = health
	if !o.ReadOnly {
		s.space = newSpace(base, s.dir, o)
		if err := s.space.adopt(); err != nil {
			return errors.Join(fmt.Errorf("storage: ballast: %w", err), health.Close())
		}
		watched = vfs.OnDiskFull(watched, s.space.release)
	}
	if s.db, err = s.openPebble(watched, o); err != nil {
		return errors.Join(err, health.Close())
	}
	s.watch.opened.Store(true)
	err = l.bring(s.db, s.dir, o.ReadOnly)
	if err == nil {
		err = s.loadLast()
	}
	if err != nil {
		return errors.Join(s.classify(err), s.db.Close(), health.Close())
	}
	if s.space != nil {
		s.space.full() // the first question, which also makes the ballast
	}
	return nil
}

func (s *Store) openPebble(watched vfs.FS, o Options) (db *pebble.DB, err error) {
	defer func() {
		if f, ok := recoverFatal(recover()); ok {
			db, err = nil, fmt.Errorf("storage: open %s: %w", s.dir, f)
		}
	}()
	db, err = pebble.Open(s.dir, tune(o, watched, s.lock, s.watch))
	if err != nil {
		return nil, openError(s.dir, err)
	}
	return db, nil
}

// recoverFatal returns what Fatalf panicked with and passes every other panic on.
func recoverFatal(r any) (error, bool) {
	if r == nil {
		return nil, false
	}
	if f, ok := r.(fatalPanic); ok {
		return f.err, true
	}
	panic(r)
}

// lockDir makes sure that no other process has the directory open, before anything in it is read.
func lockDir(base vfs.FS, dir string, create bool) (*pebble.Lock, error) {
	if create {
		if err := base.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("storage: %w", err)
		}
	}
	if _, err := base.Stat(dir); err != nil {
		return nil, noStore(dir, err)
	}
	lock, err := pebble.LockDirectory(dir, base)
	var file *os.PathError
	switch {
	case err == nil:
		return lock, nil
	case errors.As(err, &file):
		return nil, fmt.Errorf("storage: the lock file can't be opened: %w", err)
	}
	// What remains is the refusal of the lock itself, which systems report with different errors.
	return nil, fmt.Errorf("%w: %s: stop the other petrel (or the command that reads this directory), or use "+
		"another data directory (%v)", storage.ErrLocked, dir, err)
}

func noStore(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("storage: there is no store in %s: %w", dir, fs.ErrNotExist)
	}
	return fmt.Errorf("storage: %w", err)
}

// openError says what an error of pebble.Open means.
func openError(dir string, err error) error {
	var file *os.PathError
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return noStore(dir, fs.ErrNotExist)
	case strings.Contains(err.Error(), "unknown format major version"):
		return fmt.Errorf("%w: %s: %w", storage.ErrNewer, dir, err)
	case pebble.IsCorruptionError(err), errors.Is(err, fs.ErrNotExist):
		return damaged(dir, err)
	case errors.As(err, &file), fromSystem(err):
		// The system refused something: that says nothing about the store.
		return fmt.Errorf("storage: open %s: %w", dir, err)
	}
	return damaged(dir, err)
}

// damaged wraps an error of a store whose files are not what they should be.
func damaged(where string, err error) error {
	return fmt.Errorf("%w: %s: restore it from a backup with \"petrel restore\"; \"petrel verify\" shows what is hurt (%w)",
		storage.ErrDamaged, where, err)
}

// classify wraps errors of reading that mean damage.
func (s *Store) classify(err error) error {
	if err == nil || errors.Is(err, storage.ErrDamaged) {
		return err
	}
	if pebble.IsCorruptionError(err) || errors.Is(err, errEntry) {
		return damaged(s.dir, err)
	}
	return err
}

// loadLast reads the number of the last commit.
func (s *Store) loadLast() error {
	v, closer, err := s.db.Get([]byte{spaceCommit})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(v) != 8 {
		return errors.Join(fmt.Errorf("%w: commit number of %d bytes", errEntry, len(v)), closer.Close())
	}
	s.last.Store(binary.BigEndian.Uint64(v))
	return closer.Close()
}
