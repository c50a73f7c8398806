package rpc

import (
	"sync"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// changedView is a conversation that changed.
type changedView struct {
	Conv      string             `json:"conv"`
	Kind      string             `json:"kind"`
	Info      *protocol.InfoView `json:"info,omitempty"` // if it is new or changed
	Head      uint64             `json:"head"`
	Read      uint64             `json:"read"`
	Delivered uint64             `json:"delivered"`
	Unread    uint64             `json:"unread"`
	Mentions  int                `json:"mentions,omitempty"` // unread
	Pending   bool               `json:"pending,omitempty"`  // a message request that waits
	putAway
	Events *list `json:"events"`        // the newest since the token, ascending
	Gap    bool  `json:"gap,omitempty"` // there are older ones since the token
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
			if err := c.complete(&rows[i], since, min(syncEventsMax, to.max/2)); err != nil {
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

// row is a changed conversation, and how the caller stands there.
type row struct {
	changedView
	left bool
	m    chat.Member
	info protocol.InfoView
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
		r.m, _ = v.State.Member(c.User)
		if r.left = !shown(r.m); r.left {
			return nil
		}
		if r.Kind = "group"; v.State.Direct {
			r.Kind = "direct"
		}
		r.info = protocol.NewInfoView(&v.State.Info, v.State.Count(), r.m.Role, 0) // the head stands beside it
		cur := v.Cursors[c.User]
		r.Head, r.Pending = v.State.Head, r.m.Pending()
		r.Read, r.Delivered = cur.Read, max(cur.Delivered, cur.Read)
		r.Unread = chat.UnreadAfter(cur, r.m, v.State.Head)
		return nil
	})
}

// complete adds what the store has of a row: settings, mentions, the newest events since a commit, at most so
// many bytes of them.
func (c *call) complete(r *row, since uint64, most int) (err error) {
	if r.left {
		return nil
	}
	if r.putAway, err = c.putAway(r.Conv); err != nil {
		return err
	}
	if r.Mentions, err = c.mentions(r.Conv, chat.Cursor{Read: r.Read}, r.m, r.Head); err != nil {
		return err
	}
	r.Events = c.list(0)
	r.Events.max = most
	newInfo := since == 0
	err = c.events(c.o.Store.ReadBack, r.Conv, max(r.m.Since, 1), r.Head, func(ev *chat.Event, commit uint64) (bool, error) {
		if commit <= since {
			return false, nil
		}
		newInfo = newInfo || ev.Seq == 1 || ev.Kind >= chat.KindCreate && ev.Kind != chat.KindCall
		if r.Gap = len(r.Events.items) == syncEvents; r.Gap {
			return false, nil
		}
		ok, err := r.Events.addEvent(c, ev, maxLast)
		r.Gap = err == nil && !ok
		return ok, err
	})
	r.Events.reverse()
	if newInfo || r.Gap {
		r.Info = &r.info
	}
	return err
}
