package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/petrelchat/petrel/client/store"
)

// lock keeps other programs away: a transaction that is never committed, in a small file of its own. SQLite's locks
// end with the process, on every system and however it ends; those of the store's file itself would keep its own readers
// out. The version of the small file is the process that has it, for the message.
type lock struct {
	db *sql.DB
	c  *sql.Conn
}

// Hold keeps all programs from opening the store in a file, which need not be there, as Open does while the store is open: so it can be removed.
// release ends it. The error is store.ErrBusy if a program has the store open.
func Hold(path string) (release func() error, err error) {
	l, err := acquire(LockFile(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l.release, nil
}

// LockFile is the small file beside the store in the file path that keeps other programs away. It may be removed by who holds it.
func LockFile(path string) string { return path + ".lock" }

func acquire(path string) (*lock, error) {
	for {
		if err := private(path); err != nil {
			return nil, err
		}
		before, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l, err := lockFile(path)
		if err != nil {
			return nil, err
		}
		// Whoever held it may have removed it meanwhile: a lock without its name keeps nobody away.
		if now, err := os.Stat(path); err == nil && os.SameFile(before, now) {
			return l, nil
		}
		if err := l.release(); err != nil {
			return nil, err
		}
	}
}

func lockFile(path string) (*lock, error) {
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(0)", "synchronous(off)"))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	l := &lock{db: db}
	if l.c, err = db.Conn(ctx); err == nil {
		for _, stmt := range []string{"BEGIN IMMEDIATE", fmt.Sprintf("PRAGMA user_version = %d", os.Getpid()), "COMMIT", "BEGIN IMMEDIATE"} {
			if _, err = l.c.ExecContext(ctx, stmt); err != nil {
				break
			}
		}
	}
	if err == nil {
		return l, nil
	}
	if err = mapped(err); errors.Is(err, store.ErrBusy) {
		err = fmt.Errorf("%w%s: end it, or use another file", store.ErrBusy, l.holder())
	}
	return nil, errors.Join(err, l.release())
}

// holder names the process that has the lock, if it can be told.
func (l *lock) holder() string {
	var pid int
	if err := l.c.QueryRowContext(context.Background(), "PRAGMA user_version").Scan(&pid); err != nil || pid == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}

func (l *lock) release() error {
	var err error
	if l.c != nil {
		err = l.c.Close()
	}
	return errors.Join(err, l.db.Close())
}
