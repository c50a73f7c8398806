package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

const pageLimit = 50

// Messages returns a part of a conversation as it is on this device, ascending: posts with what was done to them folded in, and
// what happened to members and settings. The newest page ends with what waits in the outbox. A page never
// reaches over a part of the log that is not here yet: see [Client.Earlier] for what is older.
func (c *Client) Messages(ctx context.Context, conv string, p Page) (ms []Message, err error) {
	err = c.read(ctx, func(r store.Reader) error {
		ms, err = c.messages(r, conv, p)
		return err
	})
	return ms, err
}

func (c *core) messages(r store.Reader, conv string, p Page) ([]Message, error) {
	limit := p.Limit
	if limit <= 0 {
		limit = pageLimit
	}
	spans, err := r.Spans(conv)
	if err != nil {
		return nil, err
	}
	q := store.EventQuery{Conv: conv, Before: p.Before, After: p.After, Kinds: shownKinds(), Limit: limit}
	if p.After > 0 {
		q.Before = 0
	}
	evs, err := r.Events(q)
	if err != nil {
		return nil, err
	}
	piece, full := pieceOf(spans, p), len(evs) == limit
	evs = within(evs, piece)
	ms, err := c.fold(r, conv, evs)
	if err != nil {
		return nil, err
	}
	last := uint64(0)
	if len(spans) > 0 {
		last = spans[len(spans)-1].Last
	}
	if p.Before > 0 && p.Before <= last || p.After > 0 && (full || piece.Last < last) {
		return ms, nil // not the end
	}
	pending, err := c.waiting(r, conv)
	if err != nil {
		return nil, err
	}
	ms = append(ms, pending...)
	if p.After == 0 && len(ms) > limit && len(pending) < limit {
		ms = ms[len(ms)-limit:]
	}
	return ms, nil
}

// pieceOf is the piece of the log that a page is taken from.
func pieceOf(spans []store.Span, p Page) store.Span {
	whole := store.Span{First: 1, Last: store.MaxSeq}
	if len(spans) == 0 {
		return whole
	}
	if p.After > 0 {
		for _, s := range spans {
			if s.Last > p.After {
				return s
			}
		}
		return spans[len(spans)-1]
	}
	for _, s := range slices.Backward(spans) {
		if p.Before == 0 || s.First < p.Before {
			return s
		}
	}
	return spans[0]
}

func within(evs []store.Event, s store.Span) []store.Event {
	return slices.DeleteFunc(evs, func(e store.Event) bool { return e.Seq < s.First || e.Seq > s.Last })
}

// fold makes messages of events: what was done to them, and how far they have come.
func (c *core) fold(r store.Reader, conv string, evs []store.Event) ([]Message, error) {
	row, err := r.Conversation(conv)
	if err = ignoreNotFound(err); err != nil {
		return nil, err
	}
	var who reached
	if slices.ContainsFunc(evs, func(e store.Event) bool { return e.From == c.me && e.Kind == chat.KindPost }) { // of a large group that takes long
		if who, err = reachedBy(r, &row, c.me); err != nil {
			return nil, err
		}
	}
	ms := make([]Message, len(evs))
	at := make(map[uint64]int, len(evs))
	seqs := make([]uint64, 0, len(evs))
	read := readOf(&row)
	for i := range evs {
		ms[i] = c.message(&evs[i])
		m := &ms[i]
		at[m.Seq] = i
		if m.Kind == chat.KindPost {
			seqs = append(seqs, m.Seq)
			m.Unread = !m.Mine && m.Seq > read && !row.Pending
			if m.Mine {
				m.Delivered, m.Read, m.Of = who.counts(m.Seq)
				m.State = who.state(m.Seq)
			}
		}
	}
	if len(seqs) == 0 {
		return ms, nil
	}
	acts, err := r.About(store.AboutQuery{Conv: conv, Seqs: seqs, Me: c.me, Now: c.millis()})
	if err != nil {
		return nil, err
	}
	for seq, a := range acts {
		c.applyAll(&ms[at[seq]], &a)
	}
	replies, err := r.Replies(conv, seqs)
	if err != nil {
		return nil, err
	}
	for seq, n := range replies {
		ms[at[seq]].Replies = n
	}
	return ms, c.foldWaiting(r, conv, ms, at)
}

// foldWaiting shows what is done to messages and still on its way.
func (c *core) foldWaiting(r store.Reader, conv string, ms []Message, at map[uint64]int) error {
	out, err := r.Outbox(store.OutboxQuery{Conv: conv, States: []store.OutState{store.Queued, store.Sending, store.Sent}, Limit: 1000})
	if err != nil {
		return err
	}
	for i := range out {
		o := &out[i]
		j, ok := at[o.Event.Re]
		if !ok || o.Event.Kind == chat.KindPost {
			continue
		}
		ev := o.Event
		ev.From, ev.At = c.me, o.At
		c.apply(&ms[j], &store.Event{Conv: conv, Event: ev})
		ms[j].Changing = true
	}
	return nil
}

// message is an event without what was done to it.
func (c *core) message(ev *store.Event) Message {
	m := Message{
		Conv: ev.Conv, Seq: ev.Seq, ID: ev.ID, From: ev.From, Mine: ev.From == c.me && ev.From != "", At: time.UnixMilli(ev.At),
		Kind: ev.Kind, Re: ev.Re, Thread: ev.Thread, Forward: ev.Fwd, Event: ev.Event,
	}
	if m.Kind == chat.KindLarge {
		m.Kind, m.Large = chat.KindPost, true
		return m
	}
	if ev.Gone || ev.Expired(c.millis()) {
		gone := *ev
		gone.Drop()
		m.Deleted, m.Event = true, gone.Event
		return m
	}
	if m.Mine {
		m.State = StateSent
	}
	m.Text, m.Mentions, m.Media = ev.Text, ev.Mentions, ev.Media
	if due := ev.Due(); due != 0 {
		m.Expires = time.UnixMilli(due)
	}
	return m
}

// applyAll folds what the log says was done to a message into it.
func (c *core) applyAll(m *Message, a *store.Acts) {
	if m.Deleted || m.Large {
		return
	}
	for _, act := range []*store.Event{a.Edit, a.Pin} {
		if act != nil {
			c.apply(m, act)
		}
	}
	for _, r := range a.Reactions {
		m.Reactions = append(m.Reactions, Reaction(r))
	}
	if a.Delete != nil {
		c.apply(m, a.Delete)
	}
}

// apply folds an edit, a deletion, a reaction or a pin into its message. They come in order.
func (c *core) apply(m *Message, act *store.Event) {
	if m.Deleted || m.Large {
		return
	}
	switch act.Kind {
	case chat.KindEdit:
		if act.Gone || act.Expired(c.millis()) {
			return
		}
		m.Text, m.Mentions, m.Edited = act.Text, act.Mentions, time.UnixMilli(act.At)
		m.Event.Text, m.Event.Mentions, m.Event.Enc = act.Text, act.Mentions, act.Enc
		if len(act.Media) > 0 {
			m.Media, m.Event.Media = act.Media, act.Media
		}
		if len(act.Ext) > 0 {
			m.Event.Ext = act.Ext
		}
		if due := act.Due(); due != 0 && (m.Expires.IsZero() || time.UnixMilli(due).Before(m.Expires)) {
			m.Expires = time.UnixMilli(due)
		}
	case chat.KindDelete:
		ev := store.Event{Event: m.Event}
		ev.Drop()
		m.Deleted, m.Text, m.Mentions, m.Media, m.Reactions, m.Pinned, m.Event = true, "", nil, nil, nil, false, ev.Event
	case chat.KindReact:
		m.react(act.Emoji, act.From, act.From == c.me)
	case chat.KindUnreact:
		m.unreact(act.Emoji, act.From, act.From == c.me)
	case chat.KindPin, chat.KindUnpin:
		m.Pinned = act.Kind == chat.KindPin
	}
}

func (m *Message) react(emoji, user string, mine bool) {
	i := slices.IndexFunc(m.Reactions, func(r Reaction) bool { return r.Emoji == emoji })
	if i < 0 {
		m.Reactions = append(m.Reactions, Reaction{Emoji: emoji})
		i = len(m.Reactions) - 1
	}
	r := &m.Reactions[i]
	if mine && r.Mine || slices.Contains(r.Users, user) {
		return
	}
	r.Users = append(r.Users, user)
	r.Count++
	r.Mine = r.Mine || mine
}

func (m *Message) unreact(emoji, user string, mine bool) {
	i := slices.IndexFunc(m.Reactions, func(r Reaction) bool { return r.Emoji == emoji })
	if i < 0 {
		return
	}
	r := &m.Reactions[i]
	if !slices.Contains(r.Users, user) && !(mine && r.Mine) {
		return
	}
	r.Users = slices.DeleteFunc(r.Users, func(u string) bool { return u == user })
	r.Count--
	r.Mine = r.Mine && !mine
	if r.Count == 0 {
		m.Reactions = slices.Delete(m.Reactions, i, i+1)
	}
}

// pending is an entry of the outbox as a message.
func (c *core) pending(o *store.Outgoing) Message {
	ev := o.Event
	m := Message{
		Conv: o.Conv, ID: o.ID, From: c.me, Mine: true, At: time.UnixMilli(o.At), Kind: ev.Kind, Text: ev.Text, Re: ev.Re, ReID: o.ReID,
		Mentions: ev.Mentions, Media: ev.Media, Event: ev, State: StateQueued, Reason: o.Reason, Code: chat.Code(o.Code),
	}
	switch o.State {
	case store.Sending:
		m.State = StateSending
	case store.Sent:
		m.State, m.Seq = StateSent, o.Seq
	case store.Failed:
		m.State = StateFailed
	}
	return m
}

// waiting are the posts of a conversation that are in the outbox, with what is done to them.
func (c *core) waiting(r store.Reader, conv string) ([]Message, error) {
	out, err := r.Outbox(store.OutboxQuery{Conv: conv, Limit: 1000})
	if err != nil {
		return nil, err
	}
	var ms []Message
	at := make(map[string]int)
	for i := range out {
		o := &out[i]
		if o.Event.Kind == chat.KindPost {
			at[o.ID] = len(ms)
			ms = append(ms, c.pending(o))
			continue
		}
		j, ok := at[o.ReID]
		if !ok || o.State == store.Failed {
			continue
		}
		ev := o.Event
		ev.From, ev.At = c.me, o.At
		c.apply(&ms[j], &store.Event{Conv: conv, Event: ev})
		ms[j].Changing = true
	}
	return ms, nil
}

// Message returns one message; ErrNotFound if it is not on this device.
func (c *Client) Message(ctx context.Context, conv string, t Target) (m Message, err error) {
	err = c.read(ctx, func(r store.Reader) error {
		m, err = c.one(r, conv, t)
		return err
	})
	return m, err
}

func (c *core) one(r store.Reader, conv string, t Target) (m Message, err error) {
	var ev store.Event
	if t.Seq != 0 {
		ev, err = r.Event(conv, t.Seq)
	} else if ev, err = r.EventByID(conv, t.ID); errors.Is(err, store.ErrNotFound) {
		ms, err := c.waiting(r, conv)
		if err != nil {
			return m, err
		}
		if i := slices.IndexFunc(ms, func(m Message) bool { return m.ID == t.ID }); i >= 0 {
			return ms[i], nil
		}
		return m, ErrNotFound
	}
	if err != nil {
		return m, err
	}
	ms, err := c.fold(r, conv, []store.Event{ev})
	if err != nil {
		return m, err
	}
	return ms[0], nil
}

// ThreadOf returns a thread as far as it is on this device: its first post, if that is here, and the replies, at most 1,000 of them.
func (c *Client) ThreadOf(ctx context.Context, conv string, root uint64) (ms []Message, err error) {
	err = c.read(ctx, func(r store.Reader) error {
		var evs []store.Event
		first, err := r.Event(conv, root)
		if err == nil {
			evs = append(evs, first)
		} else if err = ignoreNotFound(err); err != nil {
			return err
		}
		replies, err := r.Events(store.EventQuery{Conv: conv, Thread: root, Kinds: []chat.Kind{chat.KindPost}, Limit: 1000})
		if err != nil {
			return err
		}
		ms, err = c.fold(r, conv, append(evs, replies...))
		return err
	})
	return ms, err
}

// Events returns a part of the log as it is on this device, ascending: every event, edits and reactions too, bodies that are gone
// left out. It reaches over parts that are not here.
func (c *Client) Events(ctx context.Context, conv string, p Page) (evs []chat.Event, err error) {
	err = c.read(ctx, func(r store.Reader) error {
		q := store.EventQuery{Conv: conv, Before: p.Before, After: p.After, Limit: p.Limit}
		if p.After > 0 {
			q.Before = 0
		}
		list, err := r.Events(q)
		for i := range list {
			if list[i].Expired(c.millis()) {
				list[i].Drop()
			}
			evs = append(evs, list[i].Event)
		}
		return err
	})
	return evs, err
}

// Find searches the texts that are on this device, newest first. The server's search, c.History().Search, knows what is not.
func (c *Client) Find(ctx context.Context, q, conv string, limit int) (ms []Message, err error) {
	err = c.read(ctx, func(r store.Reader) error {
		hits, err := r.Search(store.SearchQuery{Text: q, Conv: conv, Limit: limit, Now: c.millis()})
		if err != nil {
			return err
		}
		for i := range hits {
			m, err := c.one(r, hits[i].Conv, At(hits[i].Seq))
			if err != nil {
				return err
			}
			ms = append(ms, m)
		}
		return nil
	})
	return ms, err
}
