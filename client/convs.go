package client

import (
	"context"
	"errors"
	"time"

	"github.com/petrelchat/petrel/client/store"
)

// Conversations returns a page of the list: pinned ones first, then by the newest event.
func (c *Client) Conversations(ctx context.Context, q ConversationsQuery) (rows []Conversation, err error) {
	lists := map[List]store.List{
		ListInbox: store.ListInbox, ListArchive: store.ListArchive, ListRequests: store.ListRequests, ListFormer: store.ListFormer, ListAll: store.ListAll,
	}
	err = c.read(ctx, func(r store.Reader) error {
		sq := store.ConversationQuery{List: lists[q.List], Limit: q.Limit}
		if q.After != "" {
			after, err := r.Conversation(q.After)
			if err != nil {
				return err
			}
			sq.After = &after
		}
		list, err := r.Conversations(sq)
		if err != nil {
			return err
		}
		queued, err := r.OutboxCounts()
		if err != nil {
			return err
		}
		for i := range list {
			row, err := c.row(r, &list[i], queued[list[i].ID])
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

// Conversation returns one row of the list; ErrNotFound if this device knows of no such conversation.
func (c *Client) Conversation(ctx context.Context, conv string) (row Conversation, err error) {
	err = c.read(ctx, func(r store.Reader) error {
		l, err := r.Conversation(conv)
		if err != nil {
			return err
		}
		queued, err := r.OutboxCounts()
		if err != nil {
			return err
		}
		row, err = c.row(r, &l, queued[conv])
		return err
	})
	return row, err
}

// row makes a row of the list.
func (c *core) row(r store.Reader, s *store.Conversation, queued int) (row Conversation, err error) {
	info := (&log{row: *s}).info()
	row = Conversation{
		ID: s.ID, Direct: s.Kind == "direct", Title: s.Title, About: info.About, Role: s.Role, Members: info.Members,
		Head: s.Head, Read: readOf(s), Unread: s.Unread, Mentions: s.Mentions, At: time.UnixMilli(s.At),
		Muted: s.Mute < 0 || s.Mute > c.millis(), Archived: s.Archived, Pinned: s.Pinned, Pending: s.Pending, Left: s.Left,
		Draft: s.Draft, Queued: queued,
	}
	if s.Mute > c.millis() {
		row.MuteEnd = time.UnixMilli(s.Mute)
	}
	if row.Direct {
		row.Peer = peerOf(s.ID, c.me)
		row.Title, row.Members = row.Peer, 2
	} else if row.Title == "" {
		row.Title = s.ID
	}
	if row.Last, err = c.lastOf(r, s, queued); err != nil {
		return row, err
	}
	row.Earlier, err = c.hasEarlier(r, s)
	return row, err
}

// lastOf is the newest post, or what was queued after it.
func (c *core) lastOf(r store.Reader, s *store.Conversation, queued int) (*Message, error) {
	if queued > 0 {
		ms, err := c.waiting(r, s.ID)
		if err != nil {
			return nil, err
		}
		if n := len(ms); n > 0 {
			return &ms[n-1], nil
		}
	}
	if s.Last == 0 {
		return nil, nil
	}
	m, err := c.one(r, s.ID, At(s.Last))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return &m, err
}

func (c *core) hasEarlier(r store.Reader, s *store.Conversation) (bool, error) {
	spans, err := r.Spans(s.ID)
	if err != nil || s.Left {
		return false, err
	}
	if len(spans) == 0 {
		return s.Head > 0, nil
	}
	first := spans[len(spans)-1].First
	return first > max(s.Floor, 1), nil
}

// Earlier loads at least n events (or all there are) from the server into the store that are older than the newest part of a conversation that is
// here. more: there are older ones still. It waits for a connection until ctx ends.
func (c *Client) Earlier(ctx context.Context, conv string, n int) (more bool, err error) {
	if err := c.alive(); err != nil {
		return false, err
	}
	if n <= 0 {
		n = pageLimit
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	for n > 0 {
		var s store.Conversation
		var spans []store.Span
		err = c.read(ctx, func(r store.Reader) error {
			if s, err = r.Conversation(conv); err != nil {
				return err
			}
			more, err = c.hasEarlier(r, &s)
			if err != nil {
				return err
			}
			spans, err = r.Spans(conv)
			return err
		})
		if err != nil || !more {
			return false, err
		}
		first, last := uint64(1), s.Head
		if k := len(spans); k > 0 {
			last = spans[k-1].First - 1
			if k > 1 {
				first = spans[k-2].Last + 1
			}
		}
		if err := c.sess.await(ctx); err != nil {
			return more, c.offline(ctx)
		}
		low, err := c.page(ctx, conv, first, last, min(n, historyLimit))
		if err != nil {
			if retriable(err) && ctx.Err() == nil {
				continue // the connection ended: on the next one
			}
			return more, err
		}
		n -= int(min(last-low+1, 1<<30))
	}
	err = c.read(ctx, func(r store.Reader) error {
		s, err := r.Conversation(conv)
		if err != nil {
			return err
		}
		more, err = c.hasEarlier(r, &s)
		return err
	})
	return more, err
}

// Members returns who is in a conversation, as far as this device knows: of a group that it has not asked about yet it asks now, and an
// UpdateMembers tells when the answer is there. Former members are marked.
func (c *Client) Members(ctx context.Context, conv string) (ms []Member, err error) {
	known := false
	var row store.Conversation
	err = c.read(ctx, func(r store.Reader) error {
		if row, err = r.Conversation(conv); err != nil {
			return err
		}
		list, err := r.Members(conv)
		for _, m := range list {
			known = known || m.User == c.me
			ms = append(ms, Member{User: m.User, Role: m.Role, Left: m.Left, Delivered: max(m.Delivered, m.Read), Read: m.Read})
		}
		return err
	})
	if err != nil || known || row.Left {
		return ms, err
	}
	return ms, c.update(ctx, func(ch *change) error { return ch.wish(conv, wishMembers, nil) })
}
