package rpc

import (
	"bytes"
	"errors"
	"slices"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

type receiptsParams struct {
	Conv  string `json:"conv"`
	Seq   uint64 `json:"seq"`
	After string `json:"after"` // the last user of the page before
	Limit *int64 `json:"limit"`
}

type receiptsReply struct {
	Delivered int   `json:"delivered"`
	Read      *int  `json:"read,omitempty"` // who hides it is not counted; left out: the caller hides it too
	Of        int   `json:"of"`
	Who       *list `json:"who"`
	More      bool  `json:"more"`
}

type receiptView struct {
	User      string `json:"user"`
	Delivered bool   `json:"delivered"`
	Read      *bool  `json:"read,omitempty"`
}

// receipts says how far an event has come: with the members of now who may see it, its sender aside.
func receipts(c *call, p *receiptsParams) (any, error) {
	limit, err := pageOf(p.Limit, 100, 1000)
	if err != nil {
		return nil, err
	}
	sender, err := c.senderOf(p.Conv, p.Seq)
	if err != nil {
		return nil, err
	}
	reply, read := receiptsReply{Who: c.list(96)}, 0
	page := make([]receiptView, 0, limit)
	err = c.query(p.Conv, func(v hub.View) error {
		if err := v.State.MayRead(c.User); err != nil {
			return err
		}
		for _, user := range v.State.MemberList() {
			if user == sender || !v.State.CanRead(user, p.Seq) {
				continue
			}
			cur := v.Cursors[user]
			if user != c.User && v.State.Silent() { // no receipts: one has not accepted the other, or blocks them
				cur = chat.Cursor{}
			}
			got := max(cur.Delivered, cur.Read) >= p.Seq
			has := cur.Read >= p.Seq && (user == c.User || !c.o.Profiles.HidesReads(user))
			reply.Of++
			reply.Delivered += count(got)
			read += count(has)
			switch {
			case user <= p.After:
			case len(page) < limit:
				page = append(page, receiptView{user, got, &has})
			default:
				reply.More = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	blind := c.o.Profiles.HidesReads(c.User)
	if !blind {
		reply.Read = &read
	}
	for i := range page {
		if blind && page[i].User != c.User {
			page[i].Read = nil
		}
		ok, err := reply.Who.add(&page[i])
		if err != nil {
			return nil, err
		}
		if !ok {
			reply.More = true
			break
		}
	}
	return reply, nil
}

// senderOf returns who wrote an event that the caller may read.
func (c *call) senderOf(conv string, seq uint64) (string, error) {
	var head uint64
	from, err := c.readable(conv, &head)
	if err != nil {
		return "", err
	}
	if seq < from || seq > head {
		return "", chat.Refuse(chat.NotFound, "the conversation has no such event for you: seq is %d to %d", from, head)
	}
	var sender string
	err = c.events(c.o.Store.Read, conv, seq, seq, func(ev *chat.Event, _ uint64) (bool, error) {
		sender = ev.From
		return false, nil
	})
	return sender, err
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

type receiptsSinceParams struct {
	Since string `json:"since"` // of the last reply; "": as far back as the server keeps it
	Limit *int64 `json:"limit"` // conversations
}

type receiptsSinceReply struct {
	Convs *list  `json:"convs"`
	Since string `json:"since"`
	More  bool   `json:"more"`
}

const (
	receiptsLooked = 1000             // conversations that one request looks at
	receiptsOwn    = 256              // events of a conversation, the newest, among which one must be the caller's
	receiptsMoves  = 4096             // entries of the read audit that are looked at for one conversation
	receiptsSlack  = int64(30 * 1000) // ms: a move that was decided before the last time may have been stored after it
)

// receiptsSince tells how far members have come meanwhile in the conversations that the caller wrote to, in
// the order of their ids.
func receiptsSince(c *call, p *receiptsSinceParams) (any, error) {
	limit, err := pageOf(p.Limit, 50, 200)
	if err != nil {
		return nil, err
	}
	since := cursorToken{base: uint64(c.now)} // of the first page
	if p.Since != "" {
		if since, err = parseToken(tokenReceipts, "since", p.Since, ^uint64(0)); err != nil {
			return nil, err
		}
		if since.place.conv == "" {
			since.base = uint64(c.now)
		}
	}
	r, err := c.roster()
	if err != nil {
		return nil, err
	}
	reply := receiptsSinceReply{Convs: c.list(maxToken + 64)}
	convs := after(r.convs, since.place.conv)
	if since.place.conv == "" {
		convs = r.convs
	}
	for i, conv := range convs {
		if reply.More = i == receiptsLooked || len(reply.Convs.items) == limit; reply.More {
			break
		}
		ok := true
		if row, found, err := c.meanwhile(r, conv, since.at); err != nil {
			return nil, err
		} else if found {
			if ok, err = reply.Convs.add(row); err != nil {
				return nil, err
			}
		}
		if reply.More = !ok; reply.More {
			break
		}
		since.place.conv = conv
	}
	if !reply.More {
		since = cursorToken{at: int64(since.base)}
	}
	reply.Since = since.encode(tokenReceipts)
	return reply, c.o.Barrier()
}

// receiptsOf collects the same for a sync, at most so many bytes. more: receipts.since has them all.
func (c *call) receiptsOf(n *news, since int64, most int) (found *list, more bool, err error) {
	found = c.list(0)
	found.max = most
	looked := 0
	for _, conv := range n.moved {
		if more = looked == receiptsLooked; more {
			break
		}
		looked++
		row, ok, err := c.meanwhile(n.roster, conv, since)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			continue
		}
		b, err := found.encode(row)
		if err != nil {
			return nil, false, err
		}
		if more = found.size+len(b)+1 > found.max; more {
			break
		}
		if _, err := found.addRaw(b); err != nil {
			return nil, false, err
		}
	}
	return found, more, nil
}

// meantime is how far members of a conversation have come.
type meantime struct {
	Conv  string    `json:"conv"`
	Users []reached `json:"users,omitempty"`
	*protocol.Tally
}

// reached is a member's cursors.
type reached struct {
	User      string  `json:"user"`
	Delivered uint64  `json:"delivered"`
	Read      *uint64 `json:"read,omitempty"` // left out: the member hides it, or the caller does
}

// meanwhile returns whose cursors moved after a time in a conversation that the caller wrote to lately; in a
// large one how many have the newest post of theirs. ok is false when there is nothing to tell.
func (c *call) meanwhile(r *roster, conv string, since int64) (row *meantime, ok bool, err error) {
	m, _ := r.of(conv)
	if m.Role == chat.RoleNone || m.Unheard() {
		return nil, false, nil
	}
	movers, err := c.movers(conv, since-receiptsSlack)
	if err != nil || len(movers) == 0 {
		return nil, false, err
	}
	seq, err := c.newestOwn(conv, m)
	if err != nil || seq == 0 {
		return nil, false, err
	}
	row = &meantime{Conv: conv}
	err = c.query(conv, func(v hub.View) error {
		if m, ok = v.State.Member(c.User); !ok || m.Unheard() {
			ok = false
			return nil
		}
		if v.State.Count() > hub.LargeGroup {
			row.Tally = c.tallyOf(v, seq)
			return nil
		}
		for _, user := range movers {
			if _, in := v.State.Member(user); !in {
				continue
			}
			cur := v.Cursors[user]
			row.Users = append(row.Users, reached{User: user, Delivered: max(cur.Delivered, cur.Read), Read: &cur.Read})
		}
		ok = len(row.Users) > 0
		return nil
	})
	for i := range row.Users {
		if hides, _ := c.hidesReads(row.Users[i].User); hides {
			row.Users[i].Read = nil
		}
	}
	return row, ok, err
}

// movers returns the members whose cursors moved after a time, the caller aside, in byte order.
func (c *call) movers(conv string, since int64) (users []string, err error) {
	looked := 0
	seen := make(map[string]struct{})
	err = c.o.Store.Scan(storage.ReadsOf(conv), storage.ReadsAfter(conv, since), func(k storage.Key, _ []byte) bool {
		if _, _, user, ok := storage.TakeRead(k); ok && user != c.User {
			if _, known := seen[user]; !known {
				seen[user] = struct{}{}
				users = append(users, user)
			}
		}
		looked++
		return looked < receiptsMoves && len(users) <= hub.LargeGroup // more are counted, not named
	})
	slices.Sort(users)
	return users, err
}

// newestOwn returns the seq of the caller's newest event among the newest of a conversation, 0 for none.
func (c *call) newestOwn(conv string, m chat.Member) (seq uint64, err error) {
	head, _, err := c.o.Hub.Head(conv)
	if err != nil {
		return 0, err
	}
	me := []byte(c.User)
	var bad error
	err = c.o.Store.ReadBack(conv, max(m.Since, head-min(head, receiptsOwn)+1), head, func(e storage.Entry) bool {
		if !bytes.Contains(e.Data, me) {
			return true // not decoded
		}
		var ev chat.Event
		if ev, bad = protocol.DecodeStored(e.Data); bad == nil && ev.From == c.User {
			seq = e.Seq
		}
		return seq == 0 && bad == nil
	})
	return seq, errors.Join(err, bad)
}

// tallyOf counts how many of a large group have an event of the caller's.
func (c *call) tallyOf(v hub.View, seq uint64) *protocol.Tally {
	t := &protocol.Tally{Seq: seq}
	var read uint64
	for _, user := range v.State.MemberList() {
		if user == c.User || !v.State.CanRead(user, seq) {
			continue
		}
		cur := v.Cursors[user]
		t.Of++
		t.Delivered += uint64(count(max(cur.Delivered, cur.Read) >= seq))
		read += uint64(count(cur.Read >= seq && !c.o.Profiles.HidesReads(user)))
	}
	if !c.o.Profiles.HidesReads(c.User) {
		t.Read = &read
	}
	return t
}
