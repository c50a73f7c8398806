package rpc

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"
	"sync"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

type syncParams struct {
	Since string `json:"since"` // of the last sync; "": all conversations
	Limit *int64 `json:"limit"` // conversations
}

// syncReply: see [syncSince] for what Reads means.
type syncReply struct {
	Convs  *list              `json:"convs"`
	Reads  *map[string]uint64 `json:"reads,omitempty"`
	Relist bool               `json:"relist,omitempty"` // reads would be too long: conv.list has it
	Since  string             `json:"since"`
	More   bool               `json:"more"`
}

// changedView is a conversation that changed.
type changedView struct {
	Conv      string             `json:"conv"`
	Kind      string             `json:"kind"`
	Info      *protocol.InfoView `json:"info"`
	Head      uint64             `json:"head"`
	Read      uint64             `json:"read"`
	Delivered uint64             `json:"delivered"`
	Unread    uint64             `json:"unread"`
	Events    *list              `json:"events"`        // the newest since the token, ascending
	Gap       bool               `json:"gap,omitempty"` // there are older ones since the token
}

// leftView is a conversation that the caller is no member of any more.
type leftView struct {
	Conv string `json:"conv"`
	Left bool   `json:"left"`
}

const (
	syncEvents    = 20       // events of one conversation
	syncEventsMax = 16 << 10 // bytes of them
	syncLookups   = 8        // conversations that are asked about at a time
)

// syncSince returns what changed since the token of the last sync.
//
// The token is the newest commit that was durable before anything was read, so that nothing is passed over;
// what came during the reading may be told again. Conversations come in the order in which they last
// changed, the longest ago first: one that changes between two pages comes on a later one. Their events are
// those since the commit that the first page started from, which the tokens of the others keep.
//
// Cursors leave no trace in a log. So the last page tells all that is unread in conversations that are not
// on it: reads has their read cursors, and a conversation that is neither there nor in convs has been
// read to its head. The token holds a digest of that too: while it stays the same, nothing of it changed, and
// reads is left out.
func syncSince(c *call, p *syncParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 500)
	if err != nil {
		return nil, err
	}
	durable := c.o.Hub.Durable()
	var since cursorToken
	if p.Since != "" {
		if since, err = parseToken(tokenSync, "since", p.Since, durable); err != nil {
			return nil, err
		}
	}
	all, err := c.standings(true)
	if err != nil {
		return nil, err
	}
	changed, err := c.changed(all, since, durable)
	if err != nil {
		return nil, err
	}
	unread, now, err := c.unread(all)
	if err != nil {
		return nil, err
	}
	reply := syncReply{}
	tail := 96 + maxToken
	tell := p.Since == "" || now != since.digest
	if tell {
		if size := readsSize(unread); size <= c.max/2 {
			tail += size
		} else {
			reply.Relist, tell = true, false
		}
	}
	reply.Convs = c.list(tail)
	page := changed[:min(limit, len(changed))]
	given, err := c.addChanged(reply.Convs, page, since.base)
	if err != nil {
		return nil, err
	}
	if reply.More = given < len(changed); reply.More {
		next := since
		if given > 0 {
			next.place = changed[given-1].place(durable)
		}
		reply.Since, reply.Relist = next.encode(tokenSync), false
		return reply, c.o.Barrier()
	}
	reply.Since = cursorToken{base: durable, place: place{commit: durable}, digest: now}.encode(tokenSync)
	if tell {
		for _, st := range changed[:given] {
			delete(unread, st.conv)
		}
		reply.Reads = &unread
	}
	return reply, c.o.Barrier()
}

// place of a conversation among those that changed. What is newer than the token may move on while the
// rest is looked up, so it all counts as the token's and will be told again.
func (st *standing) place(durable uint64) place {
	return place{min(st.commit, durable), st.conv}
}

// behind reports whether a place comes behind since.
func (p place) behind(since place) bool {
	return p.commit > since.commit || since.conv != "" && p.commit == since.commit && p.conv > since.conv
}

// changed returns the conversations that changed behind a place, the longest ago first. Of those that the
// caller was in, it has those that the caller left since.
func (c *call) changed(all []standing, since cursorToken, durable uint64) ([]standing, error) {
	var changed []standing
	for _, st := range all {
		if st.head == 0 || !st.place(durable).behind(since.place) {
			continue
		}
		if st.m.Role == chat.RoleNone {
			if since.base == 0 {
				continue // never heard of
			}
			var left uint64
			err := c.o.Store.Read(st.conv, st.m.Left, st.m.Left, func(e storage.Entry) bool {
				left = e.Commit
				return false
			})
			if err != nil {
				return nil, err
			}
			if st.commit = left; !st.place(durable).behind(since.place) {
				continue
			}
		}
		changed = append(changed, st)
	}
	slices.SortFunc(changed, func(a, b standing) int {
		p, q := a.place(durable), b.place(durable)
		return cmp.Or(cmp.Compare(p.commit, q.commit), strings.Compare(p.conv, q.conv))
	})
	return changed, nil
}

// addChanged adds as many conversations as there is room for, and returns how many.
func (c *call) addChanged(to *list, page []standing, since uint64) (given int, err error) {
	for len(page) > 0 {
		part := page[:min(len(page), 4*syncLookups)]
		page = page[len(part):]
		rows, err := c.lookUp(part)
		if err != nil {
			return given, err
		}
		for i := range rows {
			if err := c.addNewest(&rows[i], since, min(syncEventsMax, to.max/2)); err != nil {
				return given, err
			}
			if ok, err := to.add(rows[i].view()); err != nil || !ok {
				return given, err
			}
			given++
		}
	}
	return given, nil
}

// row is a changed conversation, and from where on the caller may read it.
type row struct {
	changedView
	left bool
	from uint64
}

func (r *row) view() any {
	if r.left {
		return leftView{r.Conv, true}
	}
	return &r.changedView
}

// lookUp asks the owners about conversations, some at a time: each answer waits for the disk.
func (c *call) lookUp(part []standing) ([]row, error) {
	rows, errs := make([]row, len(part)), make([]error, len(part))
	var wg sync.WaitGroup
	for w := range min(syncLookups, len(part)) {
		wg.Go(func() {
			for i := w; i < len(part); i += syncLookups {
				errs[i] = c.lookUpOne(&rows[i], part[i].conv)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (c *call) lookUpOne(r *row, conv string) error {
	r.Conv = conv
	return c.query(conv, func(v hub.View) error {
		m, ok := v.State.Member(c.User)
		if !ok {
			r.left = true
			return nil
		}
		if r.Kind = "group"; v.State.Direct {
			r.Kind = "direct"
		}
		info := protocol.NewInfoView(&v.State.Info, v.State.Count(), m.Role, 0) // the head stands beside it
		cur := v.Cursors[c.User]
		r.Info, r.Head, r.from = &info, v.State.Head, m.Since
		r.Read, r.Delivered = cur.Read, max(cur.Delivered, cur.Read)
		r.Unread = chat.UnreadAfter(cur, m, v.State.Head)
		return nil
	})
}

// addNewest puts the newest events since a commit into a row, at most so many bytes of them.
func (c *call) addNewest(r *row, since uint64, most int) error {
	if r.left {
		return nil
	}
	r.Events = c.list(0)
	r.Events.max = most
	err := c.events(c.o.Store.ReadBack, r.Conv, max(r.from, 1), r.Head, func(ev *chat.Event, commit uint64) (bool, error) {
		if commit <= since {
			return false, nil
		}
		if r.Gap = len(r.Events.items) == syncEvents; r.Gap {
			return false, nil
		}
		ok, err := r.Events.addEvent(c, ev, maxLast)
		r.Gap = err == nil && !ok
		return ok, err
	})
	r.Events.reverse()
	return err
}

// unread returns the read cursors of the conversations that have something unread, and a digest of them.
func (c *call) unread(all []standing) (reads map[string]uint64, digest uint64, err error) {
	reads = make(map[string]uint64)
	sum := fnv.New64a()
	for i := range all {
		st := &all[i]
		if st.m.Role == chat.RoleNone || st.head == 0 {
			continue
		}
		cur, err := c.cursor(st.conv)
		if err != nil {
			return nil, 0, err
		}
		if chat.UnreadAfter(cur, st.m, st.head) == 0 {
			continue
		}
		reads[st.conv] = cur.Read
		sum.Write(storage.Key(nil).Str(st.conv).U64(cur.Read))
	}
	return reads, sum.Sum64(), nil
}

// readsSize bounds the bytes that reads takes in a reply.
func readsSize(reads map[string]uint64) int {
	n := 16
	for conv := range reads {
		n += len(conv) + 26 // quotes, colon, comma, 20 digits
	}
	return n
}
