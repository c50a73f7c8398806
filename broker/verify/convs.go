package verify

import (
	"bytes"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

func (c *checker) conversations() {
	c.scan(storage.SpaceConv, func(k, rest storage.Key, v []byte) {
		c.sum.Conversations++
		conv, rest, ok := storage.TakeStr(rest)
		var rec storage.Conv
		if !ok || len(rest) > 0 || storage.Unmarshal(v, &rec) != nil {
			c.wrong(k, "the record of a conversation can't be read")
			return
		}
		if c.spanOf(conv).head == 0 {
			c.wrong(k, "the conversation has no log")
		}
	})
}

func (c *checker) members() {
	c.scan(storage.SpaceMember, func(k, rest storage.Key, v []byte) {
		c.sum.Members++
		conv, user, ok := two(rest)
		m, err := storage.DecodeMember(v)
		if !ok || err != nil {
			c.wrong(k, "the record of a member can't be read")
			return
		}
		if c.outsider(k, conv, user, m) {
			return
		}
		head := c.spanOf(conv).head
		switch {
		case m.Joined == 0 || m.Since == 0 || m.Since > m.Joined:
			c.wrong(k, "the member joined at %d and sees what is from %d on", m.Joined, m.Since)
		case m.Joined > head || m.Left > head:
			c.wrong(k, "the member joined at %d and left at %d, but the log ends at %d", m.Joined, m.Left, head)
		case (m.Role == chat.RoleNone && !m.Pending()) != (m.Left != 0) || m.Left != 0 && m.Left <= m.Joined:
			c.wrong(k, "role %d, joined at %d and left at %d don't go together", m.Role, m.Joined, m.Left)
		}
		if w, ok := c.get(storage.In(storage.SpaceMembership).Str(user).Str(conv)); !ok || !bytes.Equal(v, w) {
			c.wrong(k, "the user's side of the membership is missing or says something else")
		}
	})
}

func (c *checker) memberships() {
	c.scan(storage.SpaceMembership, func(k, rest storage.Key, v []byte) {
		user, conv, ok := two(rest)
		if !ok {
			c.wrong(k, "the record of a membership can't be read")
			return
		}
		if _, ok := c.get(storage.In(storage.SpaceMember).Str(conv).Str(user)); !ok {
			c.wrong(k, "the conversation's side of the membership is missing")
		}
	})
}

func (c *checker) cursors() {
	c.scan(storage.SpaceCursor, func(k, rest storage.Key, v []byte) {
		c.sum.Cursors++
		conv, user, ok := two(rest)
		cur, err := storage.DecodeCursor(v)
		if !ok || err != nil {
			c.wrong(k, "the record of a cursor can't be read")
			return
		}
		head := c.spanOf(conv).head
		if cur.Delivered > head || cur.Read > head {
			c.wrong(k, "delivered up to %d and read up to %d, but the log ends at %d", cur.Delivered, cur.Read, head)
		} else if cur.Read > cur.Delivered {
			c.wrong(k, "read up to %d, but delivered only up to %d", cur.Read, cur.Delivered)
		}
		if _, ok := c.get(storage.In(storage.SpaceMember).Str(conv).Str(user)); !ok {
			c.wrong(k, "its user never was a member")
		}
	})
}

// eventAt reads an event that is there; ok is false for one that can't be read, which logs reports.
func (c *checker) eventAt(conv string, seq uint64) (ev chat.Event, ok bool) {
	c.fail(c.r.Read(conv, seq, seq, func(e storage.Entry) bool {
		var err error
		ev, err = protocol.DecodeStored(e.Data)
		ev.Seq, ok = e.Seq, err == nil
		return false
	}))
	return ev, ok
}

func (c *checker) retryKeys() {
	c.scan(storage.SpaceRetry, func(k, rest storage.Key, v []byte) {
		c.sum.RetryKeys++
		conv, rest, ok := storage.TakeStr(rest)
		user, id, ok2 := two(rest)
		p, err := storage.DecodePrior(v)
		if !ok || !ok2 || err != nil {
			c.wrong(k, "a retry key can't be read")
			return
		}
		s := c.spanOf(conv)
		switch {
		case p.Seq == 0 || p.Seq > s.head:
			c.wrong(k, "it names entry %d, but the log ends at %d: a retry would be acknowledged and not stored", p.Seq, s.head)
			return
		case p.Seq < s.first:
			return // cut off; the key goes with the next round
		}
		if ev, ok := c.eventAt(conv, p.Seq); ok && ev.Kind != chat.KindGone && (ev.From != user || ev.ID != id) {
			c.wrong(k, "it names entry %d, which is another event: a retry would be acknowledged and not stored", p.Seq)
		}
	})
}

func (c *checker) expiring() {
	c.scan(storage.SpaceExpire, func(k, _ storage.Key, _ []byte) {
		c.sum.Expiring++
		conv, due, ok := hub.TakeExpireKey(k)
		if !ok {
			c.wrong(k, "the time of an event to disappear can't be read")
			return
		}
		s := c.spanOf(conv)
		if due.Seq < s.first || due.Seq > s.head || s.head == 0 {
			c.wrong(k, "entry %d of %s is to disappear, but is not there", due.Seq, conv)
			return
		}
		ev, ok := c.eventAt(conv, due.Seq)
		if ok && (ev.Expire == 0 || hub.DueOf(&ev) != due) {
			c.wrong(k, "entry %d of %s does not disappear then", due.Seq, conv)
		}
	})
}
