package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/petrelchat/petrel/client/store"
)

// readers is how many Views run at once; more of them wait.
const readers = 4

// mostShared bounds the Updates of one commit, so that the first of them need not wait for ever.
const mostShared = 512

// Store is a store in a file.
type Store struct {
	path string
	lock *lock
	db   *sql.DB

	free   chan *conn    // one for each View that may run; nil: to be opened when it is needed
	ended  chan struct{} // closed when Close begins
	ending sync.Once
	shutBy error

	// Whose turn it is to write. It goes from one to the next; what is below it belongs to whoever has it.
	mu    sync.Mutex
	taken bool
	queue []chan struct{} // those that wait, the first one first; closed: it is their turn

	w      *conn
	shared *commit         // the open transaction; nil: none
	logs   map[string]*log // what was looked up; empty after anything was undone
	wipe   bool            // the write-ahead log still has what was dropped
}

var _ store.Store = (*Store)(nil)

// commit is one transaction of the file, shared by the Updates that came together.
type commit struct {
	n    int
	done chan struct{}
	err  error // valid once done is closed; before, why it can only fail
}

func newStore(path string) *Store {
	s := &Store{path: path, free: make(chan *conn, readers), ended: make(chan struct{}), logs: make(map[string]*log)}
	for range readers {
		s.free <- nil
	}
	return s
}

// View runs fn upon one state of the file, which Updates do not disturb.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) (err error) {
	if err := s.gone(ctx); err != nil {
		return err
	}
	var c *conn
	select {
	case c = <-s.free:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		return store.ErrClosed
	}
	defer func() { s.free <- c }()
	if c == nil {
		if c, err = s.reader(); err != nil {
			return err
		}
	}
	if err := c.plain("BEGIN"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.plain("ROLLBACK")) }()
	return fn(&reader{c, ctx})
}

func (s *Store) reader() (*conn, error) {
	c, err := s.connect()
	if err != nil {
		return nil, err
	}
	if err := c.plain("PRAGMA query_only = 1"); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (s *Store) gone(ctx context.Context) error {
	select {
	case <-s.ended:
		return store.ErrClosed
	default:
		return ctx.Err()
	}
}

// Update runs fn in a savepoint, and commits together with those that wait.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.gone(ctx); err != nil {
		return err
	}
	if err := s.wait(ctx); err != nil {
		return err
	}
	if err := s.gone(context.Background()); err != nil {
		s.pass()
		return err
	}
	g, err := s.begin()
	if err != nil {
		s.pass()
		return err
	}
	if err := s.run(g, fn); err != nil {
		return err
	}
	<-g.done
	return g.err
}

// wait returns when it is the caller's turn to write. The caller then must call pass.
func (s *Store) wait(ctx context.Context) error {
	s.mu.Lock()
	if !s.taken {
		s.taken = true
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.queue = append(s.queue, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for i, other := range s.queue {
		if other == turn {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			s.mu.Unlock()
			return ctx.Err()
		}
	}
	s.mu.Unlock()
	s.pass() // the turn came at the same moment, and others may rely on what comes with it
	return ctx.Err()
}

// pass gives the turn to the next one. Without a next one, or when enough have shared it, it commits first.
func (s *Store) pass() {
	for {
		s.mu.Lock()
		switch g := s.shared; {
		case g != nil && (g.n >= mostShared || g.err != nil || len(s.queue) == 0):
			s.mu.Unlock()
			s.finish()
			continue // some may have come meanwhile
		case len(s.queue) > 0:
			close(s.queue[0])
			s.queue = s.queue[1:]
		default:
			s.taken = false
		}
		s.mu.Unlock()
		return
	}
}

// begin returns the transaction that is open, or begins one.
func (s *Store) begin() (*commit, error) {
	if s.shared == nil {
		s.w.fault = nil
		if err := s.w.plain("BEGIN IMMEDIATE"); err != nil {
			return nil, err
		}
		s.shared = &commit{done: make(chan struct{})}
	}
	s.shared.n++
	return s.shared, nil
}

// run runs fn in its savepoint, undoes what it did if it fails, and passes the turn on in any case.
func (s *Store) run(g *commit, fn func(store.Tx) error) (err error) {
	defer s.pass()
	if err := s.w.plain("SAVEPOINT one"); err != nil {
		g.err = err
		return err
	}
	t := &tx{reader: reader{s.w, context.Background()}, s: s}
	kept := false
	defer func() { // also if fn panics
		if !kept {
			s.undo(g)
		}
	}()
	if err := fn(t); err != nil {
		return err
	}
	if s.w.fault != nil { // fn took no notice, but half of something may have been written
		return s.w.fault
	}
	if err := s.w.plain("RELEASE one"); err != nil {
		return err
	}
	kept = true
	s.wipe = s.wipe || t.dropped
	return nil
}

// undo goes back to the savepoint. Some failures of the file (a full disk, for one) have undone the whole
// transaction already: then it has failed for all that share it.
func (s *Store) undo(g *commit) {
	fault := s.w.fault
	s.w.fault = nil
	clear(s.logs)
	err := s.w.plain("ROLLBACK TO one")
	if err == nil {
		err = s.w.plain("RELEASE one")
	}
	if err != nil {
		g.err = fault
		if fault == nil {
			g.err = fmt.Errorf("store: what came together with this was undone: %w", err)
		}
	}
}

// finish commits, and tells all that share it.
func (s *Store) finish() {
	g := s.shared
	s.shared = nil
	if g.err == nil {
		g.err = s.w.plain("COMMIT")
	}
	if g.err != nil {
		clear(s.logs)
		_ = s.w.plain("ROLLBACK") // fails if the failure has done that already
	}
	close(g.done)
	// On a full disk the write-ahead log may have room for the next ones once what it holds is in the file.
	if g.err == nil && s.wipe || errors.Is(g.err, store.ErrFull) {
		s.empty()
	}
}

// empty empties the write-ahead log. Readers may be using it: then the next commit tries again.
func (s *Store) empty() {
	var busy, pages, moved int
	ok, err := s.w.row("PRAGMA wal_checkpoint(TRUNCATE)", nil, &busy, &pages, &moved)
	s.wipe = err != nil || !ok || busy != 0
}

// Close waits for what is under way, and closes the file.
func (s *Store) Close() error {
	s.ending.Do(func() {
		close(s.ended)
		_ = s.wait(context.Background()) // for ever, if need be, and for good: what waited behind finds the store closed
		if s.shared != nil {
			s.finish()
		}
		s.shutBy = s.shut()
		s.pass()
	})
	return s.shutBy
}

// shut closes what is open, waiting for Views. The last connection moves the write-ahead log into the file.
func (s *Store) shut() error {
	var err error
	for range readers {
		if c := <-s.free; c != nil {
			err = errors.Join(err, c.close())
		}
	}
	if s.w != nil {
		err = errors.Join(err, s.w.close())
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.release())
	}
	return err
}
