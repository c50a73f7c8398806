package rpc

import (
	"math"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// eventMethods are the methods about single events and what hangs on them.
func eventMethods() map[string]method {
	return map[string]method{
		"thread":      with(thread),
		"reactions":   with(reactions),
		"edits":       with(edits),
		"pins":        with(pins),
		"hide":        with(hide),
		"hidden":      with(hidden),
		"forward":     with(forward),
		"conv.update": with(convUpdate),
	}
}

// sight is what a caller may see of a conversation, as of a moment.
type sight struct {
	from, head uint64 // seqs, both included; the head is durable
	unread     uint64 // first seq that the caller has not read
}

func (c *call) see(conv string) (s sight, err error) {
	err = c.query(conv, func(v hub.View) error {
		if err := v.State.MayRead(c.User); err != nil {
			return err
		}
		from, _, _ := v.State.Visible(c.User)
		m, _ := v.State.Member(c.User)
		s = sight{from: max(from, 1), head: v.State.Head, unread: max(v.Cursors[c.User].Read+1, m.Joined)}
		return nil
	})
	return s, err
}

func errNoEvent() error {
	return chat.Refuse(chat.NotFound, "the conversation has no such event for you: check seq")
}

// eventAt returns an event of those that the caller may see, in the form in which history shows it: a stub if
// it is there no more, or not for the caller.
func (c *call) eventAt(conv string, seq uint64, s sight) (ev chat.Event, err error) {
	if seq < s.from || seq > s.head {
		return ev, errNoEvent()
	}
	ev = chat.Event{Seq: seq, Kind: chat.KindGone} // cut off
	err = c.events(c.o.Store.Read, conv, seq, seq, func(e *chat.Event, _ uint64) (bool, error) {
		ev = *e
		return false, nil
	})
	return ev, err
}

// postAt returns an event that the caller may see and that is there. The seq of an edit stands for its post.
func (c *call) postAt(conv string, seq uint64, s sight) (ev chat.Event, err error) {
	ev, err = c.eventAt(conv, seq, s)
	if err == nil && ev.Kind == chat.KindEdit {
		ev, err = c.eventAt(conv, ev.Re, s)
	}
	if err == nil && ev.Kind == chat.KindGone {
		err = errNoEvent()
	}
	return ev, err
}

// editsOf returns the seqs of the edits of an event that are not later than the head, ascending.
func (c *call) editsOf(conv string, seq, head uint64) (seqs []uint64, err error) {
	prefix := storage.ActsOf(conv, seq)
	err = c.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		act, _, ok := storage.TakeU64(k[len(prefix):])
		if !ok || act > head {
			return false
		}
		if len(v) == 1 && chat.Kind(v[0]) == chat.KindEdit {
			seqs = append(seqs, act)
		}
		return true
	})
	return seqs, err
}

// latest gives a post the text of its newest edit, and returns when that was made, in ms; 0: never edited.
func (c *call) latest(conv string, ev *chat.Event, s sight) (edited int64, err error) {
	e, ok, err := c.lastEdit(conv, ev, s)
	if err != nil || !ok {
		return 0, err
	}
	ev.Text, ev.Enc, ev.Mentions = e.Text, e.Enc, e.Mentions
	if len(e.Media) > 0 {
		ev.Media = e.Media
	}
	if len(e.Ext) > 0 {
		ev.Ext = e.Ext
	}
	return e.At, nil
}

// lastEdit returns the newest edit of a post that is there; ok is false if there is none.
func (c *call) lastEdit(conv string, ev *chat.Event, s sight) (edit chat.Event, ok bool, err error) {
	if ev.Kind != chat.KindPost {
		return edit, false, nil
	}
	seqs, err := c.editsOf(conv, ev.Seq, s.head)
	for i := len(seqs) - 1; i >= 0 && err == nil; i-- {
		if edit, err = c.eventAt(conv, seqs[i], s); err == nil && edit.Kind == chat.KindEdit {
			return edit, true, nil
		}
	}
	return edit, false, err
}

// shown is an event in a row of a reply; one that takes more than half of the reply is a stub.
func (c *call) shown(ev *chat.Event) protocol.EventReply {
	if len(c.encodeEvent(ev)) > c.max/2 {
		ev = &chat.Event{Seq: ev.Seq, Kind: chat.KindLarge}
	}
	return protocol.EventReply{Me: c.User, Event: ev}
}

// hides returns a function that tells which events of a conversation the caller deleted for themselves, a post
// with its edits; nil when it is none.
func (c *call) hides(conv string) (func(ev *chat.Event) (bool, error), error) {
	some := false
	err := c.o.Store.Scan(storage.HiddenOf(c.User, conv), nil, func(storage.Key, []byte) bool { some = true; return false })
	if err != nil || !some {
		return nil, err
	}
	return func(ev *chat.Event) (bool, error) {
		_, hidden, err := c.o.Store.Get(storage.HiddenKey(c.User, conv, ev.Seq))
		if err == nil && !hidden && ev.Kind == chat.KindEdit {
			_, hidden, err = c.o.Store.Get(storage.HiddenKey(c.User, conv, ev.Re))
		}
		return hidden, err
	}, nil
}

type hideParams struct {
	Conv string `json:"conv"`
	Seq  uint64 `json:"seq"`
}

type hideReply struct {
	Conv string `json:"conv"`
	Seq  uint64 `json:"seq"`
}

// hide deletes an event for the caller alone, on all their devices: whatever they ask for shows a stub. Of a
// post the edits go too. Nobody else learns of it.
func hide(c *call, p *hideParams) (any, error) {
	s, err := c.see(p.Conv)
	if err != nil {
		return nil, err
	}
	if p.Seq < s.from || p.Seq > s.head {
		return nil, errNoEvent()
	}
	reply := hideReply{p.Conv, p.Seq}
	defer c.people.lock(c.User)()
	ev, err := c.eventAt(p.Conv, p.Seq, s)
	if err != nil || ev.Kind == chat.KindGone {
		return reply, err
	}
	if ev.Kind == chat.KindEdit && ev.Re >= s.from {
		reply.Seq = ev.Re
	}
	var b storage.Batch
	b.Set(storage.HiddenKey(c.User, p.Conv, reply.Seq), nil)
	own := hub.Own{User: c.User, Event: chat.Event{Kind: chat.KindHidden, Conv: p.Conv, Re: reply.Seq}}
	return reply, c.tell(storage.OwnLog(c.User), b, own)
}

type editsParams struct {
	Conv  string `json:"conv"`
	Seq   uint64 `json:"seq"`
	After uint64 `json:"after"` // seq of the last version of the page before
	Limit *int64 `json:"limit"`
}

type editsReply struct {
	Seq      uint64 `json:"seq"` // of the post
	Versions *list  `json:"versions"`
	More     bool   `json:"more"`
}

// edits shows how a post read before and after each edit: the post itself, then its edits.
func edits(c *call, p *editsParams) (any, error) {
	limit, err := pageOf(p.Limit, 50, 500)
	if err != nil {
		return nil, err
	}
	s, err := c.see(p.Conv)
	if err != nil {
		return nil, err
	}
	post, err := c.postAt(p.Conv, p.Seq, s)
	if err != nil {
		return nil, err
	}
	seqs, err := c.editsOf(p.Conv, post.Seq, s.head)
	if err != nil {
		return nil, err
	}
	reply := editsReply{Seq: post.Seq, Versions: c.list(64)}
	for _, seq := range append([]uint64{post.Seq}, seqs...) {
		if seq <= p.After {
			continue
		}
		if reply.More = len(reply.Versions.items) == limit; reply.More {
			break
		}
		ev, err := c.eventAt(p.Conv, seq, s)
		if err != nil {
			return nil, err
		}
		ok, err := reply.Versions.addEvent(c, &ev, math.MaxInt)
		if err != nil {
			return nil, err
		}
		if reply.More = !ok; !ok {
			break
		}
	}
	return reply, nil
}
