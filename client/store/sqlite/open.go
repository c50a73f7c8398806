package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/petrelchat/petrel/client/store"
	_ "modernc.org/sqlite" // the driver
)

// Options tune a store. The zero value is right.
type Options struct {
	// MaxBytes is how large the file may become, not counting its write-ahead log; what exceeds it gets store.ErrFull. 0: as
	// large as the disk.
	MaxBytes int64
}

// Open opens the store in the file path, or makes it, with the directories that lead to it. It returns within
// milliseconds however large the store is, but for the first time after an update that changes what it holds (the index of words takes
// a second or two for 100,000 messages). The errors, each with what to do: store.ErrBusy, store.ErrNewer,
// store.ErrDamaged, store.ErrFull.
func Open(path string, o Options) (*Store, error) { return open(path, o, steps) }

func open(path string, o Options, steps []func(*conn) error) (_ *Store, err error) {
	if path == "" {
		return nil, fmt.Errorf("%w: a store needs a path", store.ErrInvalid)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	s := newStore(path)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("opening %s: %w", path, err), s.shut())
		}
	}()
	if s.lock, err = acquire(LockFile(path)); err != nil {
		return nil, err
	}
	if err := private(path); err != nil {
		return nil, err
	}
	if s.db, err = sql.Open("sqlite", dsn(path, "busy_timeout(5000)", "synchronous(full)", "secure_delete(1)", "temp_store(memory)",
		"cache_size(-4096)", "wal_autocheckpoint(1000)", "journal_size_limit(8388608)")); err != nil {
		return nil, err
	}
	s.db.SetMaxOpenConns(1 + readers)
	s.db.SetMaxIdleConns(1 + readers)
	if s.w, err = s.connect(); err != nil {
		return nil, err
	}
	version, err := inspect(s.w, len(steps))
	if err != nil {
		return nil, err
	}
	// Not before it is known that the file is ours: the mode is kept in the file. The writer waits for nobody: no other
	// one writes, and readers must not hold up what empties the write-ahead log.
	for _, pragma := range []string{"journal_mode = wal", "busy_timeout = 0"} {
		if err := s.w.plain("PRAGMA " + pragma); err != nil {
			return nil, err
		}
	}
	if err := migrate(s.w, version, steps); err != nil {
		return nil, err
	}
	// Not before the file is what this version needs: a store that is full can be opened by a newer one.
	if err := s.w.plain("PRAGMA " + limit(o)); err != nil {
		return nil, err
	}
	return s, nil
}

const pageSize = 4096

func limit(o Options) string {
	if o.MaxBytes <= 0 {
		return "page_size" // only asks
	}
	return fmt.Sprintf("max_page_count = %d", max(1, o.MaxBytes/pageSize))
}

// private makes a file that only its owner may read, or makes an existing one so. SQLite gives the files
// beside it the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	return errors.Join(err, f.Close())
}

func dsn(path string, pragmas ...string) string {
	path = filepath.ToSlash(path)
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + url.Values{"_pragma": pragmas}.Encode()
}

// connect opens one more connection.
func (s *Store) connect() (*conn, error) {
	c, err := s.db.Conn(context.Background())
	if err != nil {
		return nil, mapped(err)
	}
	return &conn{c: c, stmts: make(map[string]*sql.Stmt), ctx: context.Background()}, nil
}
