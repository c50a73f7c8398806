package client

import (
	"context"
	"errors"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
)

const (
	historyLimit = 500 // events of a page
	firstPage    = 50  // events of a conversation of which nothing is here
	liveRest     = time.Second
	restMost     = 10 * time.Second // after which deliveries count as what was missed only if there are restMany a second
	restMany     = 100
)

// filler loads what is missing between parts of logs. What the session delivers by itself it leaves to it.
type filler struct{ *core }

// run is the filler's goroutine. It ends with ctx.
func (f *filler) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake.gaps:
		}
		for f.sess.up() && ctx.Err() == nil {
			rest := f.sess.rest(f.now()) // deliveries come: they may bring what is missing
			more, err := f.round(ctx, rest == 0)
			if err == nil && more && rest > 0 {
				if !pauseFor(ctx, rest, f.wake.gaps) {
					return
				}
				continue
			}
			if err != nil {
				f.log.Debug("history could not be read; it is tried again", "error", err)
				if !f.sess.up() {
					break
				}
				if !pause(ctx, 5*time.Second) {
					return
				}
				continue
			}
			if !more {
				break
			}
		}
	}
}

// round fills one page of each conversation with a gap, or only looks which gaps are there no longer. more: there are
// gaps left.
func (f *filler) round(ctx context.Context, load bool) (more bool, err error) {
	var wishes []store.Wish
	err = f.read(ctx, func(r store.Reader) error {
		wishes, err = r.Wishes()
		return err
	})
	if err != nil {
		return false, err
	}
	var failed error
	for _, w := range wishes {
		if w.Name != wishGap {
			continue
		}
		again, err := f.fill(ctx, w, load)
		switch {
		case retriable(err) || ctx.Err() != nil:
			return false, err
		case err != nil:
			failed = err // the others go on
		}
		more = more || again
	}
	if more {
		return true, nil
	}
	return false, failed
}

// fill loads a page of what is missing, the newest first.
func (f *filler) fill(ctx context.Context, w store.Wish, load bool) (more bool, err error) {
	l := log{lazy: f.catchup}
	err = f.read(ctx, func(r store.Reader) error {
		row, err := r.Conversation(w.Conv)
		if err != nil {
			return err
		}
		l.row = row
		l.spans, err = r.Spans(w.Conv)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	first, last, gap := l.gap()
	if err != nil || !gap || l.row.Left {
		return false, f.done(ctx, w, !l.row.Left)
	}
	if !load {
		return true, nil
	}
	limit := historyLimit
	if first == 0 {
		limit = firstPage
	}
	_, err = f.page(ctx, w.Conv, max(first, 1), last, limit)
	var no *chat.Refusal
	if errors.As(err, &no) && no.Code != chat.Unavailable && no.Code != chat.RateLimited {
		return false, f.done(ctx, w, false) // no member any more
	}
	return err == nil, err
}

// done ends the filling of a conversation. kept: unless something has come to be missing meanwhile.
func (f *filler) done(ctx context.Context, w store.Wish, kept bool) error {
	return f.persist(ctx, func(ch *change) error {
		l, err := ch.conv(w.Conv)
		if err != nil {
			return err
		}
		if _, _, gap := l.gap(); kept && gap {
			return nil
		}
		ch.whole = append(ch.whole, w.Conv)
		ch.ring.sync = true
		return ch.tx.DeleteWish(w.Conv, w.Name, w.At)
	})
}

// page loads events from first to last, as many as limit from the end, and stores them. low is the lowest seq
// that is accounted for afterwards; it is above first if there is more.
func (c *core) page(ctx context.Context, conv string, first, last uint64, limit int) (low uint64, err error) {
	span := last - first + 1
	if span < uint64(limit) {
		limit = int(span)
	}
	before := last + 1
	var head uint64
	err = c.read(ctx, func(r store.Reader) error {
		row, err := r.Conversation(conv)
		if head = row.Head; errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	var p historyPage
	err = c.call(ctx, "history", map[string]any{"conv": conv, "before": before, "limit": limit}, &p)
	if err != nil {
		return 0, err
	}
	ds := c.decode(ctx, conv, p.Events)
	err = c.persist(ctx, func(ch *change) error {
		l, err := ch.conv(conv)
		if err != nil {
			return err
		}
		if p.Head < head { // the server lost the end of the log
			low = first
			return ch.diverged(l)
		}
		if err := ch.take(conv, ds, fromHistory); err != nil {
			return err
		}
		low = before
		if len(ds) > 0 {
			low = ds[0].Seq
		}
		if p.More && len(ds) > 0 {
			return nil
		}
		// What is below is not for this user: it is accounted for.
		if low > first {
			ch.unreadMoved(l, first, low-1, 0)
			ch.cover(l, first, low-1)
			if err := ch.tx.PutSpan(conv, store.Span{First: first, Last: low - 1}); err != nil {
				return err
			}
			if _, err := ch.settleHere(conv); err != nil {
				return err
			}
		}
		if l.row.Floor != low {
			l.row.Floor, l.changed = low, true
		}
		low = first
		return nil
	})
	return low, err
}

// retriable reports whether the connection is to blame.
func retriable(err error) bool {
	return errors.Is(err, link.ErrDown) || errors.Is(err, link.ErrLost)
}
