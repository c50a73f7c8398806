package rpc

import (
	"errors"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

type threadParams struct {
	Conv  string `json:"conv"`
	Root  uint64 `json:"root"`
	After uint64 `json:"after"` // seq of the last event of the page before
	Limit *int64 `json:"limit"`
}

type threadReply struct {
	Root   uint64     `json:"root"`
	Events *list      `json:"events"`
	Count  uint64     `json:"count"`        // replies that are there
	Users  []string   `json:"users"`        // who wrote them: at most threadUsers, in byte order
	Of     uint64     `json:"participants"` // how many wrote them
	Last   threadLast `json:"last"`
	Unread uint64     `json:"unread"` // replies of others: at most threadUnread
	More   bool       `json:"more"`
}

// threadLast is the newest event of a thread, whether or not it has been deleted since.
type threadLast struct {
	Seq uint64 `json:"seq"`
	At  int64  `json:"at"`
}

// threadRow is an event with its place in the thread.
type threadRow struct {
	Depth  uint64              `json:"depth"`
	Edited int64               `json:"edited,omitempty"` // ms, when the text became this
	Event  protocol.EventReply `json:"event"`
}

const (
	threadUsers  = 50
	threadUnread = 1000
)

// thread shows a post and all that was written below it, in the order in which it came: the post first, with
// depth 0, and each reply one deeper than what it replies to. Texts are the newest. What was deleted is a stub;
// a thread is there without its first post. Pages go by seq, so what comes meanwhile comes on a later page.
func thread(c *call, p *threadParams) (any, error) {
	limit, err := pageOf(p.Limit, 50, 500)
	if err != nil {
		return nil, err
	}
	s, err := c.see(p.Conv)
	if err != nil {
		return nil, err
	}
	root, err := c.rootOf(p.Conv, p.Root, s)
	if err != nil {
		return nil, err
	}
	reply := threadReply{Root: root, Events: c.list(256 + threadUsers*67), Users: []string{}}
	if err := c.threadMeta(p.Conv, root, s, &reply); err != nil {
		return nil, err
	}
	if root < s.from && reply.Last.Seq == 0 {
		return nil, errNoEvent() // nothing of it is for the caller
	}
	if p.After < root {
		if ok, err := c.addToThread(p.Conv, reply.Events, root, 0, s); err != nil || !ok {
			return nil, err
		}
	}
	type place struct{ seq, depth uint64 }
	var page []place
	err = c.threadPosts(p.Conv, root, max(p.After, s.from-1), s, func(seq uint64, tp storage.ThreadPost) bool {
		if reply.More = len(page)+len(reply.Events.items) >= limit; !reply.More {
			page = append(page, place{seq, tp.Depth})
		}
		return !reply.More
	})
	for _, at := range page {
		if err != nil {
			return nil, err
		}
		var ok bool
		if ok, err = c.addToThread(p.Conv, reply.Events, at.seq, at.depth, s); err == nil && !ok {
			reply.More = true
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return reply, c.o.Barrier()
}

// rootOf returns the first post of the thread that an event belongs to. An event that nobody replied to
// begins one of its own.
func (c *call) rootOf(conv string, seq uint64, s sight) (uint64, error) {
	if seq == 0 || seq > s.head {
		return 0, errNoEvent()
	}
	root := seq
	var bad error
	err := c.o.Store.Read(conv, seq, seq, func(e storage.Entry) bool {
		var ev chat.Event
		if ev, bad = protocol.DecodeStored(e.Data); bad != nil {
			return false
		}
		switch ev.Kind {
		case chat.KindReact, chat.KindUnreact, chat.KindPin, chat.KindUnpin, chat.KindDelete:
			bad = chat.Refuse(chat.BadRequest, "seq %d acts upon another event: name that one as root", seq)
		case chat.KindEdit:
			root = ev.Re
		}
		if ev.Thread != 0 {
			root = ev.Thread
		}
		return false
	})
	if root != seq && seq < s.from {
		return 0, errNoEvent() // it is not for the caller to know what it belongs to
	}
	return root, errors.Join(err, bad)
}

// threadPosts calls fn with the posts of a thread after a seq that the caller may see, until it returns false.
func (c *call) threadPosts(conv string, root, after uint64, s sight, fn func(seq uint64, p storage.ThreadPost) bool) error {
	prefix := storage.ThreadOf(conv, root)
	var bad error
	err := c.o.Store.Scan(prefix, storage.ThreadKey(conv, root, after), func(k storage.Key, v []byte) bool {
		seq, _, ok := storage.TakeU64(k[len(prefix):])
		if !ok || seq > s.head {
			return false
		}
		var p storage.ThreadPost
		if p, bad = storage.DecodeThreadPost(v); bad != nil {
			return false
		}
		return fn(seq, p)
	})
	return errors.Join(err, bad)
}

// threadMeta tells what the thread amounts to for the caller. Whoever may not see its beginning is told of
// what they see.
func (c *call) threadMeta(conv string, root uint64, s sight, reply *threadReply) error {
	var err error
	if root >= s.from {
		err = c.threadSum(conv, root, reply)
	} else {
		err = c.threadPart(conv, root, s, reply)
	}
	if err != nil {
		return err
	}
	return c.threadPosts(conv, root, max(s.unread, s.from)-1, s, func(_ uint64, p storage.ThreadPost) bool {
		if !p.Gone && p.From != c.User {
			reply.Unread++
		}
		return reply.Unread < threadUnread
	})
}

func (c *call) threadSum(conv string, root uint64, reply *threadReply) error {
	k := storage.ThreadSumKey(conv, root)
	err := c.record(k, func(v []byte) error {
		sum, err := storage.DecodeThread(v)
		reply.Count, reply.Of, reply.Last = sum.Count, sum.Users, threadLast{sum.Last, sum.At}
		return err
	})
	if err != nil {
		return err
	}
	return c.o.Store.Scan(k, k, func(u storage.Key, _ []byte) bool {
		if user, _, ok := storage.TakeStr(u[len(k):]); ok {
			reply.Users = append(reply.Users, user)
		}
		return len(reply.Users) < threadUsers
	})
}

func (c *call) threadPart(conv string, root uint64, s sight, reply *threadReply) error {
	users := make(map[string]bool)
	err := c.threadPosts(conv, root, s.from-1, s, func(seq uint64, p storage.ThreadPost) bool {
		reply.Last.Seq = seq
		if !p.Gone {
			reply.Count++
			users[p.From] = true
		}
		return true
	})
	if err != nil || reply.Last.Seq == 0 {
		return err
	}
	reply.Of = uint64(len(users))
	for user := range users {
		reply.Users = append(reply.Users, user)
	}
	reply.Users = firstOf(reply.Users, threadUsers)
	return c.events(c.o.Store.Read, conv, reply.Last.Seq, reply.Last.Seq, func(ev *chat.Event, _ uint64) (bool, error) {
		reply.Last.At = ev.At
		return false, nil
	})
}

// addToThread adds a row; a root that is not for the caller, or is there no more, is a stub.
func (c *call) addToThread(conv string, to *list, seq, depth uint64, s sight) (ok bool, err error) {
	row := threadRow{Depth: depth}
	ev := chat.Event{Seq: seq, Kind: chat.KindGone}
	if seq >= s.from {
		if ev, err = c.eventAt(conv, seq, s); err != nil {
			return false, err
		}
		if row.Edited, err = c.latest(conv, &ev, s); err != nil {
			return false, err
		}
	}
	row.Event = c.shown(&ev)
	return to.add(&row)
}

// firstOf returns the first of some names in byte order.
func firstOf(names []string, n int) []string {
	slices.Sort(names)
	return names[:min(n, len(names))]
}
