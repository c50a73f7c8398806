package rpc

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

type syncParams struct {
	Since string `json:"since"` // of the last sync; "": all conversations
	Limit *int64 `json:"limit"` // conversations
}

// syncReply: see [syncSince] for what Reads means.
type syncReply struct {
	Convs    *list              `json:"convs"`
	Reads    *map[string]uint64 `json:"reads,omitempty"`
	Relist   bool               `json:"relist,omitempty"` // reads would be too long: conv.list has it
	Own      *ownNews           `json:"own,omitempty"`
	Receipts *list              `json:"receipts,omitempty"`
	Unsaid   bool               `json:"receipts_more,omitempty"` // there are more: receipts.since has them
	Since    string             `json:"since"`
	More     bool               `json:"more"`
}

// syncSince returns what changed since the token of the last sync.
//
// The token is the newest commit whose consequences were all known before anything was read, so that nothing
// is passed over; what came during the reading may be told again. Conversations come in the order in which
// they last changed, the longest ago first: one that changes between two pages comes on a later one. Their
// events are those since the commit that the first page started from, which the tokens of the others keep.
//
// What changed is known from memory: which of the caller's logs got something, and in which conversations their
// cursors, their membership or their settings changed. So the work follows the changes; a conversation in which
// nothing happened costs two looks into a map. A server that was started after the token was given does not
// know about cursors, which leave no trace in a log. Then the last page tells all that is unread in
// conversations that are not on it: reads has their read cursors, and a conversation that is neither there nor
// in convs has been read to its head.
func syncSince(c *call, p *syncParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 500)
	if err != nil {
		return nil, err
	}
	settled, err := c.settled()
	if err != nil {
		return nil, err
	}
	var since cursorToken
	if p.Since != "" {
		if since, err = parseToken(tokenSync, "since", p.Since, c.o.Hub.Durable()); err != nil {
			return nil, err
		}
		if since.run != 0 && c.o.Runs != nil && !c.o.Runs.Has(since.run, max(since.base, since.place.commit)) {
			return nil, errFuture("since") // its numbers stand for other commits here
		}
	}
	n, err := c.news(since, settled)
	if err != nil {
		return nil, err
	}
	reply := syncReply{}
	tail := 96 + maxToken
	if n.last = len(n.changed) <= limit; n.last {
		if err := c.finish(&reply, n, since, &tail); err != nil {
			return nil, err
		}
	}
	reply.Convs = c.list(tail)
	page := n.changed[:min(limit, len(n.changed))]
	given, err := c.addChanged(reply.Convs, page, since.base)
	if err != nil {
		return nil, err
	}
	if reply.More = given < len(n.changed); reply.More {
		next := since
		next.run = c.o.Runs.Now()
		if given > 0 {
			next.place = n.changed[given-1].place(settled)
		}
		return syncReply{Convs: reply.Convs, Since: next.encode(tokenSync), More: true}, c.o.Barrier()
	}
	if reply.Reads != nil {
		for _, st := range page {
			delete(*reply.Reads, st.conv)
		}
	}
	reply.Since = cursorToken{base: settled, place: place{commit: settled}, at: c.now, run: c.o.Runs.Now()}.encode(tokenSync)
	return reply, c.o.Barrier()
}

// settled returns a commit whose consequences are all known, not older than what was acknowledged before the
// call: somebody who posts, and then asks, is not told the same again the next time.
func (c *call) settled() (uint64, error) {
	if settled := c.o.Hub.Settled(); settled >= c.o.Hub.Durable() {
		return settled, nil
	}
	err := c.o.Barrier()
	return c.o.Hub.Settled(), err
}

// finish puts what the last page has beside conversations into a reply, and adds the bytes that it may take.
func (c *call) finish(reply *syncReply, n *news, since cursorToken, tail *int) error {
	if n.cold {
		unread, err := c.unread(n.roster)
		if err != nil {
			return err
		}
		if size := readsSize(unread); size <= c.max/2 {
			reply.Reads, *tail = &unread, *tail+size
		} else {
			reply.Relist = true
		}
	}
	if reply.Own = n.own; n.own != nil {
		*tail += n.own.Events.size + 64
	}
	if since.at == 0 {
		return nil // there was no last time
	}
	found, more, err := c.receiptsOf(n, since.at, c.max/4)
	if err != nil || len(found.items) == 0 && !more {
		return err
	}
	reply.Receipts, reply.Unsaid = found, more
	*tail += found.size + 48
	return nil
}

// news is what changed for the caller.
type news struct {
	roster  *roster
	changed []standing // the longest ago first
	cold    bool       // memory does not reach back: read cursors may have moved anywhere
	moved   []string   // conversations in which somebody's cursors may have moved
	own     *ownNews   // nil: nothing new
	last    bool
}

// news collects what changed behind the place of a token.
func (c *call) news(since cursorToken, settled uint64) (*news, error) {
	r, err := c.roster()
	if err != nil {
		return nil, err
	}
	n := &news{roster: r}
	behind := since.place.commit
	if since.place.conv != "" {
		behind-- // there may be others with the same commit
	}
	ch, warm := c.o.Hub.Changes(c.User, r.convs, behind)
	base := ch
	if warm && behind != since.base {
		base, warm = c.o.Hub.Changes(c.User, r.convs, since.base)
	}
	if n.cold, n.moved = !warm, base.Moved; n.cold {
		n.moved = r.convs
	}
	part := ch.Own // the commit of the last change that is not the log's
	if part == nil {
		part = make(map[string]uint64)
	}
	if n.own, err = c.ownSince(since, part); err != nil {
		return nil, err
	}
	candidates := r.convs
	if !n.cold {
		for _, conv := range ch.Events {
			part[conv] += 0
		}
		candidates = slices.Collect(maps.Keys(part))
	}
	for _, conv := range candidates {
		st, ok, err := c.changedSince(r, conv, part[conv], since, settled)
		if err != nil {
			return nil, err
		}
		if ok {
			n.changed = append(n.changed, st)
		}
	}
	slices.SortFunc(n.changed, func(a, b standing) int {
		p, q := a.place(settled), b.place(settled)
		return cmp.Or(cmp.Compare(p.commit, q.commit), strings.Compare(p.conv, q.conv))
	})
	return n, nil
}

// changedSince returns where a conversation stands if it changed behind the token's place; part is when the
// caller's part in it changed. One that the caller was in changed when they left.
func (c *call) changedSince(r *roster, conv string, part uint64, since cursorToken, settled uint64) (st standing, ok bool, err error) {
	m, known := r.of(conv)
	if !known {
		return st, false, nil
	}
	if st, err = c.stands(conv, m); err != nil || st.head == 0 {
		return st, false, err
	}
	if shown(m) {
		// The log first: its place is the same after a restart, which forgets parts. So a conversation of which
		// both changed may come twice, on two pages, and none is left out.
		if !st.behind(since.place, settled) {
			st.commit = max(st.commit, part)
		}
	} else {
		if since == (cursorToken{}) || !st.behind(since.place, settled) {
			return st, false, nil // never heard of, or nothing happened there
		}
		err = c.o.Store.Read(conv, m.Left, m.Left, func(e storage.Entry) bool {
			st.commit = e.Commit
			return false
		})
	}
	return st, err == nil && st.behind(since.place, settled), err
}

// place of a conversation among those that changed. What is newer than the token may move on while the
// rest is looked up, so it all counts as the token's and will be told again.
func (st *standing) place(settled uint64) place {
	return place{min(st.commit, settled), st.conv}
}

// behind reports whether a conversation changed behind a place.
func (st *standing) behind(since place, settled uint64) bool {
	p := place{st.commit, st.conv} // what was acknowledged meanwhile is told, although it is not settled
	if since.conv != "" {
		p = st.place(settled) // within the pages of one sync: each once
	}
	return p.commit > since.commit || since.conv != "" && p.commit == since.commit && p.conv > since.conv
}

// unread returns the read cursors of the conversations that have something unread.
func (c *call) unread(r *roster) (reads map[string]uint64, err error) {
	reads = make(map[string]uint64)
	for i, conv := range r.convs {
		if !shown(r.members[i]) {
			continue
		}
		st, err := c.stands(conv, r.members[i])
		if err != nil {
			return nil, err
		}
		cur, err := c.cursor(conv)
		if err != nil {
			return nil, err
		}
		if chat.UnreadAfter(cur, st.m, st.head) > 0 {
			reads[conv] = cur.Read
		}
	}
	return reads, nil
}

// readsSize bounds the bytes that reads takes in a reply.
func readsSize(reads map[string]uint64) int {
	n := 16
	for conv := range reads {
		n += len(conv) + 26 // quotes, colon, comma, 20 digits
	}
	return n
}
