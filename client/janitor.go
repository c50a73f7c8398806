package client

import (
	"context"
	"errors"
	"time"

	"github.com/petrelchat/petrel/client/store"
)

// sweepMost is how long the janitor sleeps at most: clocks jump, and devices sleep.
const sweepMost = time.Minute

// janitor takes away what has disappeared, and keeps what the connection remembers.
type janitor struct {
	*core
	memory *memory
}

// run is the janitor's goroutine. It ends with ctx.
func (j *janitor) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.wake.janitor:
		case <-timer.C:
		}
		wait, err := j.sweep(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			j.log.Debug("what has disappeared could not be taken away; it is not shown all the same", "error", err)
			wait = 5 * time.Second
		}
		timer.Reset(wait)
	}
}

// sweep does what is due and returns when to come again.
func (j *janitor) sweep(ctx context.Context) (wait time.Duration, err error) {
	wait = sweepMost
	if next := j.live.sweep(); !next.IsZero() {
		wait = min(wait, max(next.Sub(j.now()), 10*time.Millisecond))
	}
	if err := j.memory.flush(ctx, j.core); err != nil {
		return wait, err
	}
	for {
		var at int64
		var due bool
		err := j.read(ctx, func(r store.Reader) (err error) {
			at, due, err = r.NextDue()
			return err
		})
		if err != nil || !due {
			return wait, err
		}
		if rest := time.UnixMilli(at).Sub(j.now()); rest > 0 {
			return min(wait, rest), nil
		}
		if err := j.dropDue(ctx); err != nil {
			return wait, err
		}
	}
}

// dropDue takes the bodies away that have disappeared.
func (j *janitor) dropDue(ctx context.Context) error {
	return j.update(ctx, func(ch *change) error {
		gone, err := ch.tx.DropDue(ch.millis())
		if err != nil {
			return err
		}
		for i := range gone {
			l, err := ch.conv(gone[i].Conv)
			if err != nil {
				return err
			}
			l.recount = l.known
			ch.touch(gone[i].Conv, gone[i].Seq)
			if gone[i].Re != 0 {
				ch.touch(gone[i].Conv, gone[i].Re)
			}
		}
		return nil
	})
}
