package client

import (
	"context"
	"errors"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// origin says on which way events came.
type origin uint8

const (
	fromLive    origin = iota // a delivery of the session: every one comes, in order
	fromSync                  // the newest ones; long ones are left out
	fromHistory               // a page, older than what is here
)

// take stores events of a conversation, ascending, and what follows from them. What is here already changes nothing, so the
// same may come any number of times and on several ways at once.
func (ch *change) take(conv string, ds []protocol.Delivery, way origin) error {
	l, err := ch.conv(conv)
	if err != nil {
		return err
	}
	puts := make([]store.Event, 0, len(ds))
	for i := range ds {
		d := &ds[i]
		last := max(d.Seq, d.To)
		if d.Seq == 0 || last > store.MaxSeq {
			ch.log.Warn("the server sent an event with a seq that can't be", "conv", conv)
			continue
		}
		if d.Kind == chat.KindGone || d.Kind == chat.KindLarge {
			if err := ch.stub(l, d, last, way); err != nil {
				return err
			}
			continue
		}
		if l.has(d.Seq) {
			fresh, other, err := ch.compare(l, &d.Event)
			if err != nil {
				return err
			}
			if other {
				if err := ch.diverged(l); err != nil {
					return err
				}
				return ch.take(conv, ds, way) // nothing is here now
			}
			if !fresh {
				continue
			}
		}
		ev := store.Event{Conv: conv, Event: d.Event}
		if err := ch.follow(l, &ev); err != nil {
			return err
		}
		ch.cover(l, d.Seq, d.Seq)
		puts = append(puts, ev)
	}
	if len(puts) == 0 {
		return nil
	}
	ch.ring.janitor = ch.ring.janitor || slices.ContainsFunc(puts, func(e store.Event) bool { return e.Expire != 0 })
	return ch.tx.PutEvents(puts)
}

// cover notes that a part of the log is here, and asks for what is missing.
func (ch *change) cover(l *log, first, last uint64) {
	parts := len(l.spans)
	ch.covered += int(min(l.cover(first, last), 1<<30))
	if len(l.spans) > parts && parts > 0 {
		ch.ring.gaps = true
	}
	if last > l.row.Head {
		l.row.Head, l.changed = last, true
	}
}

// stub takes what stands for events that this device does not get.
func (ch *change) stub(l *log, d *protocol.Delivery, last uint64, way origin) error {
	if d.Kind == chat.KindLarge {
		if way == fromSync || l.has(d.Seq) {
			return nil // sync leaves out what is long: history has it
		}
		ch.unreadMoved(l, d.Seq, last, 0)
		ch.cover(l, d.Seq, last)
		ch.touch(l.row.ID, d.Seq)
		if _, err := ch.settleHere(l.row.ID); err != nil {
			return err
		}
		return ch.tx.PutEvents([]store.Event{{Conv: l.row.ID, Event: chat.Event{Seq: d.Seq, Kind: chat.KindLarge}, Gone: true}})
	}
	if d.Seq == last && l.has(last) {
		ev, err := ch.tx.Event(l.row.ID, last)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil
		case err != nil:
			return err
		case ev.Gone:
			return nil
		}
		return ch.drop(l, last)
	}
	if ch.catchup && way == fromLive && last > d.Seq {
		return nil // left out, not gone: it can be loaded
	}
	ch.unreadMoved(l, d.Seq, last, 0)
	ch.cover(l, d.Seq, last)
	if err := ch.tx.PutSpan(l.row.ID, store.Span{First: d.Seq, Last: last}); err != nil {
		return err
	}
	_, err := ch.settleHere(l.row.ID)
	return err
}

// drop takes the body of an event away, for good.
func (ch *change) drop(l *log, seq uint64) error {
	if err := ch.tx.DropBodies(l.row.ID, []uint64{seq}); err != nil {
		return err
	}
	ch.touch(l.row.ID, seq)
	l.recount = true
	return nil
}

// compare looks at an event whose place in the log is taken here. fresh: it is to be stored nevertheless, because only a
// stub was there. other: a different event is there, so the log is not the one that this device knows: the server
// was restored from a backup, say, lost the end of it, and went on differently.
func (ch *change) compare(l *log, ev *chat.Event) (fresh, other bool, err error) {
	old, err := ch.tx.Event(l.row.ID, ev.Seq)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return true, false, nil
	case err != nil:
		return false, false, err
	case old.Stub():
		return true, false, nil
	}
	return false, old.From != ev.From || old.At != ev.At || old.Kind != ev.Kind, nil
}

// diverged forgets the log of a conversation that became another one. What waits in the outbox stays, and so do drafts; what the user
// wrote and the server lost is sent again.
func (ch *change) diverged(l *log) error {
	ch.log.Warn("the server's log is another one than this device knows: it is read anew", "conv", l.row.ID)
	if err := ch.putAside(l.row.ID); err != nil {
		return err
	}
	if err := ch.tx.DeleteConversation(l.row.ID); err != nil {
		return err
	}
	if err := ch.wish(l.row.ID, wishLost, nil); err != nil {
		return err
	}
	if err := ch.unsettle(l.row.ID); err != nil {
		return err
	}
	row := &l.row
	l.spans, l.changed = nil, true
	row.Head, row.Read, row.Delivered, row.ReadWanted, row.Floor = 0, 0, 0, 0, 0
	row.Unread, row.Mentions, row.Last, row.Tally = 0, 0, 0, store.Tally{}
	if row.DraftDirty {
		if err := ch.wish(row.ID, wishDraft, nil); err != nil {
			return err
		}
	}
	ch.ring.sync = true
	if err := ch.tx.PutMeta(metaToken, nil); err != nil {
		return err
	}
	ch.touchEnd(row.ID) // any of them
	return ch.wish(row.ID, wishMembers, nil)
}

// follow does what follows from an event that was not here: it is called before the event counts as covered.
func (ch *change) follow(l *log, ev *store.Event) error {
	row := &l.row
	newest := ev.Seq > l.last()
	if newest {
		row.At, l.changed = max(ev.At, 0), true
	}
	if ev.From == ch.me && ev.ID != "" {
		if err := ch.echo(ev); err != nil {
			return err
		}
	}
	counts := 0
	switch {
	case ev.Kind == chat.KindPost:
		if ev.Seq > row.Last {
			row.Last, l.changed = ev.Seq, true
		}
		if counts = ch.counts(ev); counts > 0 && ev.Seq > readOf(row) && slices.Contains(ev.Mentions, ch.me) {
			row.Mentions++
		}
		if ev.From == ch.me {
			if err := ch.knowMembers(l); err != nil {
				return err
			}
		} else {
			ch.silent = append(ch.silent, [2]string{row.ID, ev.From})
		}
	case ev.Kind >= chat.KindCreate && ev.Kind < chat.KindGone:
		if err := ch.regulate(l, ev, newest); err != nil {
			return err
		}
	}
	ch.unreadMoved(l, ev.Seq, ev.Seq, counts)
	if ev.From == ch.me {
		ch.wroteAt(l, ev.Seq)
	}
	ch.touch(row.ID, ev.Seq)
	if ev.Re != 0 {
		ch.touch(row.ID, ev.Re)
	}
	if ev.Thread != 0 {
		ch.touch(row.ID, ev.Thread)
	}
	return nil
}

// counts is 1 for what counts as unread: a post of somebody else.
func (ch *change) counts(ev *store.Event) int {
	if ev.Kind == chat.KindPost && ev.From != ch.me && !ev.Gone && !ev.Expired(ch.millis()) {
		return 1
	}
	return 0
}

// decode passes events through the codec. What is here already is left out: a ratchet turns once. It is called outside of
// changes, because a codec may take its time.
func (c *core) decode(ctx context.Context, conv string, ds []protocol.Delivery) []protocol.Delivery {
	if c.codec == nil {
		return ds
	}
	c.inMu.Lock()
	defer c.inMu.Unlock()
	known := make(map[uint64]bool)
	err := c.read(ctx, func(r store.Reader) error {
		for i := range ds {
			ev, err := r.Event(conv, ds[i].Seq)
			switch {
			case err == nil && !ev.Stub():
				known[ev.Seq] = true
			case err != nil && !errors.Is(err, store.ErrNotFound):
				return err
			}
			if ds[i].From == c.me && ds[i].ID != "" {
				if _, err := r.Outgoing(ds[i].ID); err == nil {
					known[ds[i].Seq] = true // what was written is in the outbox
				}
			}
		}
		return nil
	})
	if err != nil {
		return ds
	}
	for i := range ds {
		if d := &ds[i]; d.Kind != chat.KindGone && d.Kind != chat.KindLarge && !known[d.Seq] {
			ev := d.Event
			if err := c.codec.In(ctx, conv, &ev); err != nil {
				c.log.Warn("an event could not be decoded", "conv", conv, "seq", d.Seq, "error", err)
				continue
			}
			ev.Seq, ev.From, ev.At, ev.ID, ev.Kind, ev.Re = d.Seq, d.From, d.At, d.ID, d.Kind, d.Re
			d.Event = ev
		}
	}
	return ds
}
