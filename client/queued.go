package client

import (
	"context"
	"errors"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// Cancel takes a message or an act back that waits in the outbox; what waits for it is taken back too. ErrMaybeSent if the server
// may have it, ErrNotQueued if it is not in the outbox (any more).
func (c *Client) Cancel(ctx context.Context, id string) error { return c.remove(ctx, id) }

// Discard removes what was refused. It is Cancel by another name.
func (c *Client) Discard(ctx context.Context, id string) error { return c.remove(ctx, id) }

func (c *Client) remove(ctx context.Context, id string) error {
	return c.update(ctx, func(ch *change) error { return ch.remove(id, 0) })
}

// remove takes an entry out of the outbox, with what is about it: replies, which would have nothing to reply to, and acts.
func (ch *change) remove(id string, depth int) error {
	out, err := ch.tx.Outgoing(id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ErrNotQueued
	case err != nil:
		return err
	case out.State == store.Sending || out.State == store.Sent:
		return ErrMaybeSent
	}
	if depth > 1000 {
		return ErrMaybeSent // a chain that long: not in one piece
	}
	for {
		deps, err := ch.tx.Outbox(store.OutboxQuery{ReID: id, States: []store.OutState{store.Queued, store.Failed}})
		if err != nil {
			return err
		}
		if len(deps) == 0 {
			break
		}
		for i := range deps {
			if err := ch.remove(deps[i].ID, depth+1); err != nil && !errors.Is(err, ErrNotQueued) {
				return err
			}
		}
	}
	ch.touchEnd(out.Conv)
	return ch.arrived(&out)
}

// touchEnd tells that the list of what is queued changed.
func (ch *change) touchEnd(conv string) {
	ch.told = append(ch.told, Update{Kind: UpdateMessages, Conv: conv})
}

// Retry queues what was refused once more, at the end, and behind it what is queued and about it, and returns it as it is queued now. If its
// ID was refused, because it stands for something else, it gets a new one: from then on Message.ID names it. What is on its way
// already is returned as it is.
func (c *Client) Retry(ctx context.Context, id string) (m Message, err error) {
	err = c.update(ctx, func(ch *change) error {
		out, err := ch.tx.Outgoing(id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return ErrNotQueued
		case err != nil:
			return err
		case out.State != store.Failed:
			m = ch.pending(&out)
			return nil // it is on its way
		}
		err = ch.again(&out)
		m = ch.pending(&out)
		return err
	})
	return m, err
}

// again puts an entry at the end of the outbox, and what is about it behind it, where it does not wait in vain.
func (ch *change) again(out *store.Outgoing) error {
	old := out.ID
	if err := ch.arrived(out); err != nil {
		return err
	}
	if out.Code == string(chat.Conflict) && out.Event.Kind == chat.KindPost {
		out.Event.ID = newID() // the old one stands for something else
		out.ID = out.Event.ID
	}
	out.State, out.Attempts, out.Next, out.Code, out.Reason = store.Queued, 0, 0, "", ""
	if err := ch.tx.Enqueue(out); err != nil {
		return err
	}
	ch.queued++
	ch.toldOut(out)
	for after := int64(0); ; {
		deps, err := ch.tx.Outbox(store.OutboxQuery{ReID: old, States: []store.OutState{store.Queued, store.Failed}, After: after, Limit: 500})
		if err != nil {
			return err
		}
		for i := range deps {
			dep := &deps[i]
			if after = dep.N; after > out.N {
				return nil // moved already
			}
			dep.ReID = out.ID
			if dep.State == store.Queued {
				err = ch.again(dep)
			} else {
				err = ch.tx.PutOutgoing(*dep) // refused itself: it waits for a Retry of its own
			}
			if err != nil {
				return err
			}
		}
		if len(deps) < 500 {
			return nil
		}
	}
}

// rewrite changes a message that is only queued. ok is false if it is not, or may have been sent.
func (c *Client) rewrite(ctx context.Context, conv, id, text string) (m Message, ok bool, err error) {
	err = c.update(ctx, func(ch *change) error {
		out, err := ch.tx.Outgoing(id)
		if err != nil || out.Conv != conv || out.Event.Kind != chat.KindPost || out.State != store.Queued && out.State != store.Failed {
			return ignoreNotFound(err)
		}
		ev := out.Event
		ev.Text = text
		if err := checkEvent(ev, Target{ID: out.ReID}, out.Attachments); err != nil {
			return err
		}
		out.Event, ok = ev, true
		if ch.codec != nil { // what was encrypted was the old text
			if err := ch.tx.PutMeta(metaWire+out.ID, nil); err != nil {
				return err
			}
		}
		ch.toldOut(&out)
		m = ch.pending(&out)
		return ch.tx.PutOutgoing(out)
	})
	return m, ok && err == nil, err
}

// Outbox lists what waits and what was refused, acts included, in the order in which it was written. conv "": of all
// conversations. At most 500.
func (c *Client) Outbox(ctx context.Context, conv string) (ms []Message, err error) {
	err = c.read(ctx, func(r store.Reader) error {
		list, err := r.Outbox(store.OutboxQuery{Conv: conv, Limit: 500, States: []store.OutState{store.Queued, store.Sending, store.Failed}})
		for i := range list {
			ms = append(ms, c.pending(&list[i]))
		}
		return err
	})
	return ms, err
}

// Sent waits until m, which was queued here, is stored by the server, and returns it as it is then. If it was refused, the error is a
// *chat.Refusal; if it was taken back, ErrNotQueued.
func (c *Client) Sent(ctx context.Context, m Message) (Message, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	r := c.news.listen()
	defer c.news.leave(r)
	for {
		now, settled, err := c.settled(ctx, m)
		if err != nil || settled {
			return now, err
		}
		if _, ok := c.news.next(ctx, r); !ok {
			if c.ctx.Err() != nil {
				return m, ErrClosed
			}
			return m, ctx.Err()
		}
	}
}

// settled looks at what became of m.
func (c *Client) settled(ctx context.Context, m Message) (now Message, settled bool, err error) {
	now = m
	err = c.read(ctx, func(r store.Reader) error {
		out, err := r.Outgoing(m.ID)
		if err == nil {
			now = c.pending(&out)
			settled = out.State == store.Sent
			if out.State == store.Failed {
				return &chat.Refusal{Code: chat.Code(out.Code), Reason: out.Reason}
			}
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		ev, err := r.EventByID(m.Conv, m.ID)
		switch {
		case errors.Is(err, store.ErrNotFound) && m.Kind == chat.KindPost:
			return ErrNotQueued
		case errors.Is(err, store.ErrNotFound): // a reaction that was there already: nothing was to be done
			now.State, settled = StateSent, true
			return nil
		case err != nil:
			return err
		}
		now, settled = c.message(&ev), true
		return nil
	})
	return now, settled, err
}
