package client

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// core is what the parts of a client have in common: who it is, the store, and whom to tell.
type core struct {
	me     string
	device string
	view   protocol.View
	codec  Codec // nil: none
	// catchup: the server delivers only the newest of what was missed. What it leaves out is loaded on demand.
	catchup bool
	st      store.Store
	log     *slog.Logger
	now     func() time.Time

	board *board   // the status
	news  *fanout  // who listens to updates
	live  *live    // who is there, who types
	sess  *session // the connection of the moment
	wake  wakes    // the goroutines that have work now
	line  *link.Link
	calls callHook
	late  lateActs
	greet func() // asks anew who is there: with new conversations come new people

	inMu sync.Mutex // one call of the codec's at a time
}

// wakes are the bells of the goroutines: full means that one rings already.
type wakes struct {
	outbox, chores, gaps, janitor, sync chan struct{}
}

func newWakes() wakes {
	bell := func() chan struct{} { return make(chan struct{}, 1) }
	return wakes{bell(), bell(), bell(), bell(), bell()}
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// millis is the time of now in ms since 1970.
func (c *core) millis() int64 { return c.now().UnixMilli() }

// update changes the store: all of fn or nothing. What changed is told once it is on disk.
func (c *core) update(ctx context.Context, fn func(*change) error) error {
	var ch *change
	err := c.st.Update(ctx, func(tx store.Tx) error {
		ch = newChange(c, tx)
		if err := fn(ch); err != nil {
			return err
		}
		return ch.finish()
	})
	c.board.stored(storeFault(err))
	if err != nil {
		return c.closedOr(err)
	}
	ch.tell()
	return nil
}

// read looks at one state of the store.
func (c *core) read(ctx context.Context, fn func(store.Reader) error) error {
	return c.closedOr(c.st.View(ctx, fn))
}

// closedOr gives the error of a closed store its name here.
func (c *core) closedOr(err error) error {
	if errors.Is(err, store.ErrClosed) {
		return ErrClosed
	}
	return err
}

// storeFault is err if the disk is to blame, which a status shows; else nil.
func storeFault(err error) error {
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrDamaged) {
		return err
	}
	return nil
}

// persist repeats an update for as long as only the disk is to blame: what came from the network must not be
// acknowledged before it is stored, and the disk may have room again. It gives up when ctx ends.
func (c *core) persist(ctx context.Context, fn func(*change) error) error {
	wait := 250 * time.Millisecond
	for {
		err := c.update(ctx, fn)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return err
		}
		if storeFault(err) == nil {
			return err
		}
		c.log.Warn("nothing can be stored; it is tried again", "error", err)
		if !pause(ctx, wait) {
			return ctx.Err()
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// pauseFor is pause that a ring of the bell ends early.
func pauseFor(ctx context.Context, d time.Duration, bell <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-bell:
	case <-t.C:
	}
	return true
}

// pause waits, and returns false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool { return pauseFor(ctx, d, nil) }
