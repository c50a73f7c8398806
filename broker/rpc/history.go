package rpc

import (
	"math"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

type historyParams struct {
	Conv   string  `json:"conv"`
	Before *uint64 `json:"before"`
	After  *uint64 `json:"after"`
	Limit  *int64  `json:"limit"`
}

type historyReply struct {
	Events *list  `json:"events"`
	Head   uint64 `json:"head"`
	More   bool   `json:"more"`
}

// history reads a log, ascending. With after it goes on from there towards the head, otherwise it is the
// end of the log, or what stands before a seq; more tells whether there is more in that direction.
func history(c *call, p *historyParams) (any, error) {
	limit, err := pageOf(p.Limit, 50, 500)
	if err != nil {
		return nil, err
	}
	reply := historyReply{Events: c.list(64)}
	from, err := c.readable(p.Conv, &reply.Head)
	if err != nil {
		return nil, err
	}
	to := reply.Head // durable, and of the caller's time in the group
	if p.Before != nil {
		to = min(to, max(*p.Before, 1)-1)
	}
	if p.After != nil {
		from = max(from, min(*p.After, math.MaxUint64-1)+1)
	}
	if from > to {
		return reply, nil
	}
	read := c.o.Store.ReadBack
	if p.After != nil {
		read = c.o.Store.Read
	}
	err = c.events(read, p.Conv, from, to, func(ev *chat.Event, _ uint64) (bool, error) {
		if reply.More = len(reply.Events.items) == limit; reply.More {
			return false, nil
		}
		ok, err := reply.Events.addEvent(c, ev, math.MaxInt)
		reply.More = err == nil && !ok
		return ok, err
	})
	if p.After == nil {
		reply.Events.reverse()
	}
	return reply, err
}

// readable returns the first seq that the caller may read, and the durable head.
func (c *call) readable(conv string, head *uint64) (from uint64, err error) {
	err = c.query(conv, func(v hub.View) error {
		if err := v.State.MayRead(c.User); err != nil {
			return err
		}
		from, _, _ = v.State.Visible(c.User)
		*head = v.State.Head
		return nil
	})
	return max(from, 1), err
}

// events calls fn with events from..to in the order of read, until it returns false. An event that was deleted,
// for everyone or for the caller, or has disappeared, is a stub.
func (c *call) events(
	read func(log string, from, to uint64, fn func(storage.Entry) bool) error,
	log string, from, to uint64, fn func(ev *chat.Event, commit uint64) (bool, error),
) error {
	hides, err := c.hides(log)
	if err != nil {
		return err
	}
	var bad error
	err = read(log, from, to, func(e storage.Entry) bool {
		var ev chat.Event
		if ev, bad = protocol.DecodeStored(e.Data); bad != nil {
			return false
		}
		hidden := false
		if ev.Seq = e.Seq; hides != nil {
			if hidden, bad = hides(&ev); bad != nil {
				return false
			}
		}
		if hidden || c.gone(&ev) {
			ev = chat.Event{Kind: chat.KindGone, At: ev.At}
		}
		ev.Seq = e.Seq
		var more bool
		more, bad = fn(&ev, e.Commit)
		return more && bad == nil
	})
	if err != nil {
		return err
	}
	return bad
}

// addEvent appends an event as a delivery shows it; one that exceeds most bytes, or the whole reply, is a
// stub.
func (l *list) addEvent(c *call, ev *chat.Event, most int) (ok bool, err error) {
	b := c.encodeEvent(ev)
	if len(b) > most || len(b) >= l.max {
		b = c.encodeEvent(&chat.Event{Seq: ev.Seq, Kind: chat.KindLarge})
	}
	return l.addRaw(b)
}

func (c *call) encodeEvent(ev *chat.Event) []byte {
	view := protocol.ViewJSON
	if c.req.CBOR {
		view = protocol.ViewCBOR
	}
	return protocol.AppendEvent(nil, view, ev, ev.From == c.User)
}
