package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/client/store"
	inmemory "github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/protocol"
)

// Past is a window onto a place in a conversation's log that is far from what is on this device: read from the server, and not
// kept, because the store would have to load all that lies between. [Client.Past] opens one. Its methods may be called from any
// goroutine.
//
// What was done to a message (edits, reactions, pins) is seen if it stands in the window, waits in the outbox, or is among the newest
// events that are on this device; replies are counted as far as they stand in the window. Events pass
// through [Options.Codec] each time they are read.
type Past struct {
	c    *Client
	conv string

	mu           sync.Mutex
	events       []store.Event // ascending
	first, last  uint64        // what the window reaches over
	older, newer bool
}

const (
	pastMost = 2000   // events that a window holds: what is farthest from where it was read on is let go
	pastActs = 10_000 // newest events of this device among which what was done to its messages is looked for
)

// Past reads about n events around a seq (at most 500) from the server. It waits for a connection until ctx ends, as
// [Client.Call] does. What the user may not read is not-found.
func (c *Client) Past(ctx context.Context, conv string, seq uint64, n int) (*Past, error) {
	if seq == 0 || seq > store.MaxSeq {
		return nil, chat.Refuse(chat.BadRequest, "there is no such message: check its seq")
	}
	p := &Past{c: c, conv: conv}
	n = pastLimit(n)
	if err := p.read(ctx, seq+uint64(n/2)+1, n); err != nil {
		return nil, err
	}
	return p, nil
}

func pastLimit(n int) int {
	if n <= 0 {
		n = pageLimit
	}
	return min(n, historyLimit)
}

// More tells whether there is something before and behind what was read.
func (p *Past) More() (older, newer bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.older, p.newer
}

// Older reads n events (at most 500) before the window.
func (p *Past) Older(ctx context.Context, n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.older {
		return nil
	}
	return p.read(ctx, p.first, pastLimit(n))
}

// read reads n events before a seq.
func (p *Past) read(ctx context.Context, before uint64, n int) error {
	page, err := p.ask(ctx, map[string]any{"conv": p.conv, "before": before, "limit": n})
	if err != nil {
		return err
	}
	if p.last == 0 {
		p.last = min(before-1, max(page.Head, 1))
		p.newer = page.Head > p.last
	}
	if len(page.Events) > 0 {
		p.first = min(before, page.Events[0].Seq)
	} else {
		p.first = before
	}
	p.older = page.More && p.first < before
	if err := p.take(ctx, page.Events); err != nil {
		return err
	}
	if n := len(p.events) - pastMost; n > 0 {
		p.last, p.newer = p.events[pastMost].Seq-1, true
		p.events = slices.Delete(p.events, pastMost, len(p.events))
	}
	return nil
}

// Newer reads n events (at most 500) behind the window.
func (p *Past) Newer(ctx context.Context, n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	page, err := p.ask(ctx, map[string]any{"conv": p.conv, "after": p.last, "limit": pastLimit(n)})
	if err != nil {
		return err
	}
	if k := len(page.Events); k > 0 {
		p.last = max(p.last, page.Events[k-1].Seq, page.Events[k-1].To)
	}
	p.newer = page.More && len(page.Events) > 0
	if err := p.take(ctx, page.Events); err != nil {
		return err
	}
	if n := len(p.events) - pastMost; n > 0 {
		p.first, p.older = p.events[n].Seq, true
		p.events = slices.Delete(p.events, 0, n)
	}
	return nil
}

// ask asks for a page of history.
func (p *Past) ask(ctx context.Context, q map[string]any) (page historyPage, err error) {
	err = p.c.Call(ctx, "history", q, &page)
	if errors.Is(err, link.ErrTooLarge) {
		err = chat.Refuse(chat.TooLarge, "a page of the history is longer than this connection takes: read fewer at a time")
	}
	return page, err
}

// take puts events to the window; of those that are on this device, what this device has.
func (p *Past) take(ctx context.Context, ds []protocol.Delivery) error {
	ds = p.c.decode(ctx, p.conv, ds)
	return p.c.read(ctx, func(r store.Reader) error {
		for i := range ds {
			d := &ds[i]
			if d.Seq == 0 || d.Seq > store.MaxSeq || d.Kind == chat.KindGone {
				continue
			}
			at, there := slices.BinarySearchFunc(p.events, d.Seq, func(e store.Event, seq uint64) int { return cmp.Compare(e.Seq, seq) })
			if there {
				continue
			}
			ev, err := r.Event(p.conv, d.Seq)
			switch {
			case errors.Is(err, store.ErrNotFound) || err == nil && ev.Stub():
				ev = store.Event{Conv: p.conv, Event: d.Event, Gone: d.Kind == chat.KindLarge}
			case err != nil:
				return err
			}
			p.events = slices.Insert(p.events, at, ev)
		}
		return nil
	})
}

// Messages returns the messages of the window, ascending, as [Client.Messages] does.
func (p *Past) Messages(ctx context.Context) (ms []Message, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kinds := shownKinds()
	var evs []store.Event
	for i := range p.events {
		if slices.Contains(kinds, p.events[i].Kind) {
			evs = append(evs, p.events[i])
		}
	}
	err = p.c.read(ctx, func(here store.Reader) error {
		acts, err := p.acts(here)
		if err != nil {
			return err
		}
		window := inmemory.New() // what was done to messages is put together by a store
		defer window.Close()
		err = window.Update(ctx, func(tx store.Tx) error { return tx.PutEvents(append(acts, p.events...)) })
		if err != nil {
			return err
		}
		return window.View(ctx, func(r store.Reader) error {
			ms, err = p.c.fold(pastReader{here, r}, p.conv, evs)
			return err
		})
	})
	return ms, err
}

// acts are what was done to messages of the window later on, as far as this device has it at hand.
func (p *Past) acts(here store.Reader) ([]store.Event, error) {
	row, err := here.Conversation(p.conv)
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	acts, err := here.Events(store.EventQuery{
		Conv: p.conv, After: max(p.last, row.Head-min(row.Head, pastActs)), Limit: pastActs,
		Kinds: []chat.Kind{chat.KindEdit, chat.KindDelete, chat.KindReact, chat.KindUnreact, chat.KindPin, chat.KindUnpin},
	})
	return slices.DeleteFunc(acts, func(e store.Event) bool { return e.Re < p.first || e.Re > p.last }), err
}

// pastReader is the store of this device with the log of a window in place of its own.
type pastReader struct {
	store.Reader
	window store.Reader
}

func (r pastReader) About(q store.AboutQuery) (map[uint64]store.Acts, error) {
	return r.window.About(q)
}

func (r pastReader) Replies(conv string, roots []uint64) (map[uint64]int, error) {
	return r.window.Replies(conv, roots)
}
