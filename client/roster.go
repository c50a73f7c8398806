package client

import (
	"context"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

const membersMost = 10_000 // members of a conversation that are kept

// askMembers reads the members of a conversation, and how far they have come.
func (w *chores) askMembers(ctx context.Context, wish store.Wish) error {
	row, err := w.conversation(ctx, wish.Conv)
	if err != nil {
		return err
	}
	var all []store.Member
	after := ""
	for row.ID != "" && !row.Left && len(all) < membersMost {
		var p struct {
			Members []struct {
				User      string  `json:"user"`
				Role      string  `json:"role"`
				Delivered uint64  `json:"delivered"`
				Read      *uint64 `json:"read"`
			} `json:"members"`
			More bool `json:"more"`
		}
		req := map[string]any{"conv": wish.Conv, "limit": 1000}
		if after != "" {
			req["after"] = after
		}
		if err := w.call(ctx, "member.list", req, &p); err != nil {
			return err
		}
		for _, m := range p.Members {
			after = m.User
			if !protocol.ValidUser(m.User) || m.Delivered > store.MaxSeq || m.Read != nil && *m.Read > store.MaxSeq {
				continue
			}
			one := store.Member{User: m.User, Role: m.Role, Delivered: m.Delivered}
			if m.Read != nil {
				one.Read = *m.Read
			}
			all = append(all, one)
		}
		if !p.More || len(p.Members) == 0 {
			break
		}
	}
	return w.persist(ctx, func(ch *change) error { return ch.roster(wish, row.Head, all) })
}

// roster takes the list of members as of a head; if members changed since, it is asked for again.
func (ch *change) roster(wish store.Wish, head uint64, all []store.Member) error {
	l, err := ch.conv(wish.Conv)
	if err != nil {
		return err
	}
	if l.known && len(all) > 0 {
		changes, err := ch.tx.Events(store.EventQuery{Conv: wish.Conv, After: max(head, 1), Kinds: regulations(), Limit: 1})
		if err != nil {
			return err
		}
		if len(changes) > 0 {
			ch.ring.chores = true
			return nil
		}
		if err := ch.replaceMembers(l, all); err != nil {
			return err
		}
		ch.tellAbout(UpdateMembers, wish.Conv)
	}
	return ch.tx.DeleteWish(wish.Conv, wish.Name, wish.At)
}

func (ch *change) replaceMembers(l *log, all []store.Member) error {
	now := make(map[string]bool, len(all))
	for _, m := range all {
		now[m.User] = true
		if m.User == ch.me {
			l.row.Role, l.changed = m.Role, true
		}
	}
	old, err := ch.tx.Members(l.row.ID)
	if err != nil {
		return err
	}
	for _, m := range old {
		if !now[m.User] && !m.Left {
			m.Left, m.Role = true, ""
			all = append(all, m)
		}
	}
	return ch.tx.PutMembers(l.row.ID, all)
}

// reached is how far a message has come: who of the others has it, and who has read it.
type reached struct {
	members []store.Member // the others who are in the conversation
	direct  bool
	tally   store.Tally
	of      int
}

// reachedBy looks up who counts.
func reachedBy(r store.Reader, row *store.Conversation, me string) (c reached, err error) {
	c.tally, c.direct = row.Tally, row.Kind == "direct"
	if c.direct {
		peer := peerOf(row.ID, me)
		if peer == me {
			return c, nil
		}
		m, err := r.Member(row.ID, peer)
		c.members, c.of = []store.Member{m}, 1
		return c, ignoreNotFound(err)
	}
	all, err := r.Members(row.ID)
	known := row.Left
	for _, m := range all {
		known = known || m.User == me
		if m.User != me && !m.Left {
			c.members = append(c.members, m)
		}
	}
	if c.of = len(c.members); !known { // only those are here whose receipts came before the list of members
		if c.of = (&log{row: *row}).info().Members - 1; c.of < len(c.members) {
			c.members, c.of = nil, 0
		}
	}
	return c, err
}

// counts returns how many of the others have the event seq, and have read it.
func (c *reached) counts(seq uint64) (delivered, read, of int) {
	for _, m := range c.members {
		if max(m.Delivered, m.Read) >= seq {
			delivered++
		}
		if m.Read >= seq {
			read++
		}
	}
	of = c.of
	if c.tally.Seq >= seq { // who has a later one has this one
		delivered, read, of = max(delivered, c.tally.Delivered), max(read, c.tally.Read), max(of, c.tally.Of)
	}
	return delivered, read, of
}

// state sums it up.
func (c *reached) state(seq uint64) State {
	delivered, read, of := c.counts(seq)
	switch {
	case of == 0:
		return StateSent
	case read >= of:
		return StateRead
	case delivered >= of:
		return StateDelivered
	}
	return StateSent
}

// others are the kinds that a conversation shows besides posts.
func shownKinds() []chat.Kind {
	return append(regulations(), chat.KindPost, chat.KindCall, chat.KindLarge)
}
