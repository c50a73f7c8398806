package rpc

import (
	"math"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// ownNews is what came into the caller's own log: changed settings, contacts, requests, what they deleted for
// themselves.
type ownNews struct {
	Head   uint64 `json:"head"`
	Events *list  `json:"events"`        // the newest since the token, ascending
	Gap    bool   `json:"gap,omitempty"` // there are older ones since the token
}

const (
	ownEvents    = 50
	ownEventsMax = 8 << 10 // bytes
	ownLooked    = 2000    // events that are looked at for conversations
)

// ownSince returns what came into the caller's own log since the token was given, nil for nothing, and notes with
// which commit it was about a conversation. The first sync gets no events: everything that they are about is new
// to it, but for what changes from one page to the next.
func (c *call) ownSince(token cursorToken, about map[string]uint64) (*ownNews, error) {
	since := token.base
	if since == 0 {
		since = token.place.commit
	}
	log := storage.OwnLog(c.User)
	head, commit, err := c.o.Hub.Head(log)
	if err != nil || head == 0 || commit <= token.base {
		return nil, err
	}
	n := &ownNews{Head: head, Events: c.list(0)}
	n.Events.max = min(ownEventsMax, c.max/4)
	if n.Gap = token.base == 0; since == 0 {
		return n, nil
	}
	from, err := c.o.Store.After(log, since)
	if err != nil {
		return nil, err
	}
	looked, lowest := 0, head+1
	err = c.events(c.o.Store.ReadBack, log, from, head, func(ev *chat.Event, commit uint64) (bool, error) {
		if lowest = ev.Seq; ev.Conv != "" {
			about[ev.Conv] = max(about[ev.Conv], commit)
		}
		if !n.Gap {
			ok := len(n.Events.items) < ownEvents
			if ok {
				var err error
				if ok, err = n.Events.addEvent(c, ev, math.MaxInt); err != nil {
					return false, err
				}
			}
			n.Gap = !ok
		}
		looked++
		return looked < ownLooked, nil
	})
	n.Events.reverse()
	if err == nil && lowest > from { // not all was looked at, or there any more
		n.Gap = true
		err = c.allPutAway(about, commit)
	}
	return n, err
}

// allPutAway notes a commit for each conversation that the caller has settings of.
func (c *call) allPutAway(about map[string]uint64, commit uint64) error {
	prefix := storage.ConvSettingKey(c.User, "")
	prefix = prefix[:len(prefix)-1] // of all: without the end of the name
	return c.o.Store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		conv, _, _ := storage.TakeStr(k[len(prefix):])
		about[conv] = max(about[conv], commit)
		return true
	})
}
