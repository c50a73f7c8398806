package rpc

import (
	"cmp"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

type convListParams struct {
	After string `json:"after"` // of the page before
	Limit *int64 `json:"limit"`
}

type convListReply struct {
	Convs *list  `json:"convs"`
	After string `json:"after,omitempty"` // for the next page
	More  bool   `json:"more"`
}

// convView is a conversation in a list.
type convView struct {
	Conv      string `json:"conv"`
	Kind      string `json:"kind"`
	Title     string `json:"title,omitempty"`
	Role      string `json:"role,omitempty"`
	Head      uint64 `json:"head"`
	Read      uint64 `json:"read"`
	Delivered uint64 `json:"delivered"`
	Unread    uint64 `json:"unread"`
	Mentions  int    `json:"mentions,omitempty"` // unread
	Pending   bool   `json:"pending,omitempty"`  // a message request that waits
	putAway
	At   int64               `json:"at"` // of the last event
	Last protocol.EventReply `json:"last"`
}

// maxLast is how long the last event may be in a list, encoded; a longer one is a stub.
const maxLast = 4 << 10

// convList lists the caller's conversations, the last active first. All pages show the order of the moment
// when the first was asked for, so that what becomes active meanwhile is neither passed over nor shown
// twice; the rows themselves are of now.
func convList(c *call, p *convListParams) (any, error) {
	limit, err := pageOf(p.Limit, 50, 200)
	if err != nil {
		return nil, err
	}
	from := cursorToken{base: c.o.Hub.Durable(), place: place{commit: ^uint64(0)}}
	if p.After != "" {
		if from, err = parseToken(tokenList, "after", p.After, from.base); err != nil {
			return nil, err
		}
	}
	all, err := c.inOrder(from.base, from.place)
	if err != nil {
		return nil, err
	}
	reply := convListReply{Convs: c.list(maxToken + 32)}
	for _, st := range all {
		if reply.More = len(reply.Convs.items) == limit; reply.More {
			break
		}
		ok, err := c.addConv(reply.Convs, st.standing)
		if err != nil {
			return nil, err
		}
		if reply.More = !ok; !ok {
			break
		}
		reply.After = cursorToken{base: from.base, place: place{st.order, st.conv}}.encode(tokenList)
	}
	if !reply.More {
		reply.After = ""
	}
	return reply, c.o.Barrier()
}

// placed is a conversation with the commit of its last event as of a snapshot.
type placed struct {
	standing
	order uint64
}

// inOrder returns the conversations that were there at a snapshot and come behind a place, the last
// active at that time first.
func (c *call) inOrder(snapshot uint64, from place) ([]placed, error) {
	r, err := c.roster()
	if err != nil {
		return nil, err
	}
	all := make([]placed, 0, len(r.convs))
	for i, conv := range r.convs {
		if !shown(r.members[i]) {
			continue
		}
		st, err := c.stands(conv, r.members[i])
		if err != nil {
			return nil, err
		}
		p := placed{st, st.commit}
		if st.commit >= snapshot { // it may have moved since
			if p.order, err = c.lastBefore(st.conv, snapshot); err != nil {
				return nil, err
			}
		}
		if p.order == 0 || p.order > from.commit || p.order == from.commit && p.conv <= from.conv {
			continue
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(b.order, a.order), strings.Compare(a.conv, b.conv))
	})
	return all, nil
}

// lastBefore returns the commit of the last event that a log had at a snapshot, 0 if there was none.
func (c *call) lastBefore(log string, snapshot uint64) (commit uint64, err error) {
	next, err := c.o.Store.After(log, snapshot)
	if err != nil || next <= 1 {
		return 0, err
	}
	err = c.o.Store.Read(log, next-1, next-1, func(e storage.Entry) bool {
		commit = e.Commit
		return false
	})
	return commit, err
}

// addConv adds a row. Who has meanwhile ceased to be a member gets none.
func (c *call) addConv(to *list, st standing) (ok bool, err error) {
	v := convView{Conv: st.conv, Kind: "group", Head: st.head}
	var last chat.Event
	err = c.events(c.o.Store.Read, st.conv, st.head, st.head, func(ev *chat.Event, _ uint64) (bool, error) {
		last = *ev
		return false, nil
	})
	if err != nil {
		return false, err
	}
	if len(c.encodeEvent(&last)) > min(maxLast, to.max/2) {
		last = chat.Event{Seq: last.Seq, At: last.At, Kind: chat.KindLarge}
	}
	v.At, v.Last = last.At, protocol.EventReply{Me: c.User, Event: &last}
	if direct, err := kindOf(st.conv); err != nil {
		return false, err
	} else if direct {
		v.Kind = "direct"
	} else if v.Title, err = c.title(st.conv); err != nil {
		return false, err
	}
	cur, err := c.cursor(st.conv)
	if err != nil {
		return false, err
	}
	if v.putAway, err = c.putAway(st.conv); err != nil {
		return false, err
	}
	if v.Mentions, err = c.mentions(st.conv, cur, st.m, st.head); err != nil {
		return false, err
	}
	// Asked last: who is a member now could see all that was read before.
	m, err := c.member(st.conv)
	if err != nil || !shown(m) || m.Since > st.head {
		return err == nil, err
	}
	v.Role, v.Pending = protocol.RoleName(m.Role), m.Pending()
	v.Read, v.Delivered = cur.Read, max(cur.Delivered, cur.Read)
	v.Unread = chat.UnreadAfter(cur, m, st.head)
	return to.add(&v)
}

func (c *call) title(conv string) (string, error) {
	var rec storage.Conv
	err := c.record(storage.In(storage.SpaceConv).Str(conv), func(v []byte) error { return storage.Unmarshal(v, &rec) })
	return rec.Info.Title, err
}

func (c *call) cursor(conv string) (cur chat.Cursor, err error) {
	err = c.record(storage.In(storage.SpaceCursor).Str(conv).Str(c.User), func(v []byte) (err error) {
		cur, err = storage.DecodeCursor(v)
		return err
	})
	return cur, err
}

func (c *call) member(conv string) (m chat.Member, err error) {
	err = c.record(storage.In(storage.SpaceMembership).Str(c.User).Str(conv), func(v []byte) (err error) {
		m, err = storage.DecodeMember(v)
		return err
	})
	return m, err
}

// record decodes a record, if there is one.
func (c *call) record(k storage.Key, decode func([]byte) error) error {
	v, ok, err := c.o.Store.Get(k)
	if err != nil || !ok {
		return err
	}
	return decode(v)
}
