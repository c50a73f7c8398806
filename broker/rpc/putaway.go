package rpc

import (
	"bytes"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// putAway is how the caller has put a conversation away, as rows of lists have it.
type putAway struct {
	Mute     int64 `json:"mute,omitempty"` // ms since 1970; -1: until it is unmuted
	Archived bool  `json:"archived,omitempty"`
	Pinned   bool  `json:"pinned,omitempty"`
}

func (c *call) putAway(conv string) (putAway, error) {
	s, err := storage.ConvSettings(c.o.Store, c.User, conv)
	if s.Mute != 0 && !s.Muted(c.now) {
		s.Mute = 0 // it is over
	}
	return putAway{Mute: s.Mute, Archived: s.Archived, Pinned: s.Pinned}, err
}

// mentionsMax bounds how many unread events are looked at for mentions, the newest first.
const mentionsMax = 100

// mentions counts the unread events that mention the caller.
func (c *call) mentions(conv string, cur chat.Cursor, m chat.Member, head uint64) (n int, err error) {
	unread := chat.UnreadAfter(cur, m, head)
	if unread == 0 || chat.IsDirect(conv) {
		return 0, nil
	}
	me := []byte(c.User)
	var bad error
	err = c.o.Store.ReadBack(conv, head-min(unread, mentionsMax)+1, head, func(e storage.Entry) bool {
		if !bytes.Contains(e.Data, me) {
			return true // nearly always: not decoded
		}
		var ev chat.Event
		if ev, bad = protocol.DecodeStored(e.Data); bad == nil && slices.Contains(ev.Mentions, c.User) {
			n += count(!c.gone(&ev))
		}
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	return n, err
}

// gone reports whether an event has disappeared.
func (c *call) gone(ev *chat.Event) bool {
	return ev.Kind == chat.KindGone || ev.Expired(c.now)
}
