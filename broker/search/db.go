package search

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/petrelchat/petrel/internal/words"
	_ "modernc.org/sqlite" // the driver
	lib "modernc.org/sqlite/lib"
)

// version of the file: what a row means, and what a token is. Another one is replaced: whatever changes the former raises layout.
const (
	layout  = 1
	version = layout<<8 | words.Version
)

const fileName = "index.db"

// db is the open file: one connection that writes, a few that read. SQLite's write-ahead log lets them work side by
// side.
type db struct {
	w, r *sql.DB
	path string

	mu   sync.Mutex
	nums map[string]int64 // of conversations that were searched lately; a number stays
}

// readers bounds the searches that run at once: each is one processor's work.
const readers = 2

var schema = []string{
	`CREATE TABLE meta (k TEXT PRIMARY KEY, v) WITHOUT ROWID`,
	`CREATE TABLE convs (num INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, next INTEGER NOT NULL DEFAULT 1)`,
	`CREATE TABLE users (num INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)`,
	// src: the event that has the text, the post itself or its newest edit. gone: ms when it disappears, 0: never.
	`CREATE TABLE docs (id INTEGER PRIMARY KEY, conv INTEGER NOT NULL, seq INTEGER NOT NULL, src INTEGER NOT NULL, gone INTEGER NOT NULL)`,
	`CREATE INDEX docs_gone ON docs (gone) WHERE gone > 0`,
	// Tokens alone, no text: what was said can't be read from it in its order of words but for phrases that are guessed.
	`CREATE VIRTUAL TABLE words USING fts5(t, content='', contentless_delete=1, tokenize='ascii', prefix='3')`,
	`CREATE TABLE groups (num INTEGER PRIMARY KEY, title TEXT NOT NULL, about TEXT NOT NULL, members INTEGER NOT NULL, last INTEGER NOT NULL)`,
	`CREATE VIRTUAL TABLE topics USING fts5(title, about, content='', contentless_delete=1, tokenize='ascii', prefix='3')`,
	// A merge of the whole index begins in a segment as soon as so many percent of it are deleted.
	`INSERT INTO words(words, rank) VALUES ('deletemerge', 5)`,
}

// openDB opens the file in dir, or makes a new one; cache is bytes for each connection. An error that damaged accepts
// means that the file is of no use.
func openDB(dir string, cache int64) (_ *db, fresh bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, err
	}
	d := &db{path: filepath.Join(dir, fileName), nums: make(map[string]int64)}
	if f, err := os.OpenFile(d.path, os.O_CREATE|os.O_RDWR, 0o600); err != nil { // SQLite would make it readable for others
		return nil, false, err
	} else if err := f.Close(); err != nil {
		return nil, false, err
	}
	d.w, err = sql.Open("sqlite", d.dsn(cache))
	if err == nil {
		d.r, err = sql.Open("sqlite", d.dsn(cache)+"&_pragma=query_only(1)")
	}
	if err == nil {
		d.w.SetMaxOpenConns(1)
		d.r.SetMaxOpenConns(readers)
		d.r.SetMaxIdleConns(readers)
		fresh, err = d.prepare()
	}
	if err != nil {
		return nil, false, errors.Join(err, d.close())
	}
	return d, fresh, nil
}

func (d *db) dsn(cache int64) string {
	v := url.Values{"_pragma": {
		"busy_timeout(10000)", "journal_mode(wal)",
		// In WAL mode a power loss may cost the newest transactions, never the file: they are read again.
		"synchronous(normal)", "wal_autocheckpoint(2000)", "journal_size_limit(8388608)",
		"secure_delete(1)", "temp_store(memory)", "cache_size(-" + strconv.FormatInt(max(1, cache>>10), 10) + ")",
	}}
	return "file:" + (&url.URL{Path: d.path}).EscapedPath() + "?" + v.Encode()
}

// prepare makes the tables of a new file, or checks that they are what this version writes.
func (d *db) prepare() (fresh bool, err error) {
	var tables int
	if err := d.w.QueryRow(`SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil {
		return false, err
	}
	if tables == 0 {
		return true, d.create()
	}
	var v int
	err = d.w.QueryRow(`SELECT v FROM meta WHERE k = 'version'`).Scan(&v)
	if err == nil && v != version {
		err = fmt.Errorf("%w: version %d instead of %d", errOther, v, version)
	}
	return false, err
}

// errOther is wrapped when a file is not one of ours for this store.
var errOther = errors.New("search: the index is of another version or another store")

func (d *db) create() error {
	tx, err := d.w.Begin()
	if err != nil {
		return err
	}
	for _, stmt := range schema {
		if _, err := tx.Exec(stmt); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if _, err := tx.Exec(`INSERT INTO meta VALUES ('version', ?)`, version); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (d *db) close() error {
	var err error
	for _, h := range []*sql.DB{d.r, d.w} { // the last one to close empties the write-ahead log
		if h != nil {
			err = errors.Join(err, h.Close())
		}
	}
	return err
}

// known splits names into those whose numbers are remembered, which it adds to found, and the others.
func (d *db) known(names []string, found map[int64]string) (others []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		if num, ok := d.nums[name]; ok {
			found[num] = name
		} else {
			others = append(others, name)
		}
	}
	return others
}

func (d *db) remember(name string, num int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.nums) >= numbersMax {
		clear(d.nums)
	}
	d.nums[name] = num
}

// bytes is the size of the file with its write-ahead log.
func (d *db) bytes() (n int64) {
	for _, name := range []string{d.path, d.path + "-wal"} {
		if st, err := os.Stat(name); err == nil {
			n += st.Size()
		}
	}
	return n
}

// remove deletes the index in dir. It is not kept aside: what it holds can be made again, and a copy would keep tokens of texts
// that are deleted later.
func remove(dir string) error {
	var err error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if e := os.Remove(filepath.Join(dir, fileName+suffix)); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// damaged reports whether an error says that the file is no good any more.
func damaged(err error) bool {
	if errors.Is(err, errOther) {
		return true
	}
	switch codeOf(err) {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_FORMAT:
		return true
	}
	return false
}

// unusable is damaged at the opening of a file, where a table that is missing or strange says so too.
func unusable(err error) bool {
	if damaged(err) || errors.Is(err, sql.ErrNoRows) {
		return true
	}
	switch codeOf(err) {
	case lib.SQLITE_ERROR, lib.SQLITE_SCHEMA, lib.SQLITE_MISMATCH:
		return true
	}
	return false
}

// codeOf is SQLite's primary result code, or 0 for errors of others.
func codeOf(err error) int {
	var e interface{ Code() int }
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

// interrupted reports whether a search ended because its time was over.
func interrupted(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || codeOf(err) == lib.SQLITE_INTERRUPT
}
