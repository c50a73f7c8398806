package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/petrelchat/petrel/client/store"
	lib "modernc.org/sqlite/lib"
)

// conn is one connection to the file with the statements it has prepared. One goroutine at a time uses it.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt
	ctx   context.Context // ends a long search; otherwise it never ends, which spares a goroutine for each query
	fault error           // the first error of the file since the transaction began
}

func (c *conn) prepare(query string) (*sql.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.c.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, c.failed(err)
	}
	c.stmts[query] = s
	return s, nil
}

// failed makes an error of ours of the file's, and remembers it: what follows in the transaction cannot make up for it.
func (c *conn) failed(err error) error {
	err = mapped(err)
	if c.fault == nil {
		c.fault = err
	}
	return err
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, c.failed(err)
	}
	n, err := r.RowsAffected()
	if err != nil {
		return 0, c.failed(err)
	}
	return n, nil
}

// row scans the one row of a query into dest; found is false if there is none.
func (c *conn) row(query string, args []any, dest ...any) (found bool, err error) {
	s, err := c.prepare(query)
	if err != nil {
		return false, err
	}
	switch err := s.QueryRowContext(c.ctx, args...).Scan(dest...); {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, c.failed(err)
	}
	return true, nil
}

// rows calls each for every row of a query, which it is to scan. each must not use the connection.
func (c *conn) rows(query string, args []any, each func(scan func(dest ...any) error) error) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(c.ctx, args...)
	if err != nil {
		return c.failed(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return c.failed(err)
		}
	}
	if err := rows.Err(); err != nil {
		return c.failed(err)
	}
	return nil
}

// plain runs a statement that is not worth keeping, or cannot be prepared.
func (c *conn) plain(query string) error {
	_, err := c.c.ExecContext(context.Background(), query)
	return mapped(err)
}

func (c *conn) close() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.c.Close())
}

// mapped puts an error of SQLite into our words.
func mapped(err error) error {
	switch code := codeOf(err); {
	case err == nil:
		return nil
	case code&0xff == lib.SQLITE_FULL, code == lib.SQLITE_IOERR_SHMSIZE:
		return fmt.Errorf("%w: make room and try again, nothing that was stored is lost (%w)", store.ErrFull, err)
	case code&0xff == lib.SQLITE_CORRUPT, code&0xff == lib.SQLITE_NOTADB:
		return fmt.Errorf("%w: move it away to begin anew, the server's history is loaded again; what was not sent yet may still be in it (%w)", store.ErrDamaged, err)
	case code&0xff == lib.SQLITE_BUSY:
		return fmt.Errorf("%w: end it, or use another file (%w)", store.ErrBusy, err)
	}
	return err
}

// codeOf is SQLite's extended result code, or 0 for errors of others.
func codeOf(err error) int {
	var e interface{ Code() int }
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code()
}
