package verify

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// neverExpires is the Session Expiry Interval of a session without end, MQTT 5 §3.1.2.11.2.
const neverExpires = math.MaxUint32

// sessionIDs gathers the ids of the sessions, and of those that are being removed.
func (c *checker) sessionIDs() {
	c.scan(storage.SpaceSession, func(_, _ storage.Key, v []byte) {
		var rec storage.Session
		if storage.Unmarshal(v, &rec) == nil {
			c.sids = append(c.sids, rec.SID)
		}
	})
	slices.Sort(c.sids)
	c.scanPrefix(storage.In(storage.SpaceMeta).Str("ending"), func(k, rest storage.Key, _ []byte) {
		sid, rest, ok := storage.TakeU64(rest)
		if !ok || len(rest) > 0 {
			c.wrong(k, "the mark of a session that is being removed can't be read")
			return
		}
		c.ending = append(c.ending, sid)
	})
}

// known reports whether a session is on record, or is being removed.
func (c *checker) known(sid uint64) bool {
	if _, ok := slices.BinarySearch(c.sids, sid); ok {
		return true
	}
	_, ok := slices.BinarySearch(c.ending, sid)
	return ok
}

// taken reports whether two sessions have the same id.
func (c *checker) taken(sid uint64) bool {
	i, ok := slices.BinarySearch(c.sids, sid)
	return ok && i+1 < len(c.sids) && c.sids[i+1] == sid
}

func (c *checker) sessions() {
	c.scan(storage.SpaceSession, func(k, rest storage.Key, v []byte) {
		c.sum.Sessions++
		user, client, ok := two(rest)
		var rec storage.Session
		if !ok || storage.Unmarshal(v, &rec) != nil {
			c.wrong(k, "the record of a session can't be read")
			return
		}
		switch {
		case user != "" && !chat.ValidUser(user):
			c.wrong(k, "no user has this id")
		case rec.SID == 0:
			c.wrong(k, "the session has no id")
		case c.taken(rec.SID):
			c.wrong(k, "another session has the id %d too", rec.SID)
		}
		if rec.Ended != 0 && rec.Expiry != neverExpires {
			end := storage.In(storage.SpaceSessionEnd).U64(uint64(rec.Ended + int64(rec.Expiry)*1000)).Str(user).Str(client)
			if _, ok := c.get(end); !ok {
				c.odd(k, "the session is to expire, but nothing says when: it stays until its client comes back")
			}
		}
		c.sessionFilters(k, user, &rec)
	})
}

// sessionFilters compares a session's plain subscriptions with the filters that find messages for it
// while it is away.
func (c *checker) sessionFilters(k storage.Key, user string, rec *storage.Session) {
	want := make(map[string]storage.Sub)
	for _, sub := range rec.Subs {
		f, err := protocol.ParseFilter(sub.Filter, user)
		switch {
		case err != nil:
			c.odd(k, "it subscribes to %q, which is allowed no more", sub.Filter)
		case f.Kind == protocol.FilterPlain:
			want[sub.Filter] = sub
		}
	}
	c.scanPrefix(storage.In(storage.SpaceFilter).U64(rec.SID), func(k, rest storage.Key, v []byte) {
		filter, _, ok := storage.TakeStr(rest)
		sub, subscribed := want[filter]
		delete(want, filter)
		switch {
		case !ok || len(v) < 5: // filters reports it
		case !subscribed:
			c.odd(k, "the session does not subscribe to it any more")
		case !bytes.Equal(v, append(binary.BigEndian.AppendUint32([]byte{sub.Options}, sub.ID), user...)):
			c.wrong(k, "its options are not those of the session's subscription")
		}
	})
	for filter := range want {
		c.wrong(k, "it subscribes to %q, but gets nothing of it while it is away: the filter is not on record", filter)
	}
}

func (c *checker) sessionEnds() {
	c.scan(storage.SpaceSessionEnd, func(k, rest storage.Key, _ []byte) {
		_, rest, ok := storage.TakeU64(rest)
		if _, _, ok2 := two(rest); !ok || !ok2 {
			c.wrong(k, "the end of a session can't be read")
		}
	})
}

// belongs reports leftovers: records of a session that is not there. They cost room only.
func (c *checker) belongs(k storage.Key, sid uint64) {
	if !c.known(sid) {
		c.odd(k, "it belongs to session %d, which is not on record", sid)
	}
}

func (c *checker) positions() {
	c.scan(storage.SpacePosition, func(k, rest storage.Key, v []byte) {
		c.sum.Positions++
		sid, rest, ok := storage.TakeU64(rest)
		var pos storage.Position
		if !ok || len(rest) > 0 || storage.Unmarshal(v, &pos) != nil {
			c.wrong(k, "the position of a session can't be read")
			return
		}
		c.belongs(k, sid)
		if c.knowsLast && pos.Commit > c.last {
			c.wrong(k, "the session has come to commit %d, but the last commit is %d: it would miss what comes", pos.Commit, c.last)
		}
		for _, l := range pos.Lag {
			if head := c.spanOf(l.Log).head; l.Next > head+1 {
				c.wrong(k, "it goes on in %s at %d, but the log ends at %d: it would miss what comes", l.Log, l.Next, head)
			}
		}
		for _, x := range pos.Inflight {
			if x.Alloc >= pos.Alloc {
				c.wrong(k, "packet %d is in flight, but only %d were sent", x.Alloc, pos.Alloc)
			}
			if x.Log == "" { // a plain message; it may have been freed since
				continue
			}
			if head := c.spanOf(x.Log).head; x.Seq == 0 || x.Seq > head {
				c.wrong(k, "entry %d of %s is in flight, but the log ends at %d", x.Seq, x.Log, head)
			}
		}
	})
}

func (c *checker) filters() {
	c.scan(storage.SpaceFilter, func(k, rest storage.Key, v []byte) {
		c.sum.Filters++
		sid, rest, ok := storage.TakeU64(rest)
		filter, rest, ok2 := storage.TakeStr(rest)
		if !ok || !ok2 || len(rest) > 0 || len(v) < 5 || protocol.ValidFilter(filter) != nil {
			c.wrong(k, "the filter of a session can't be read")
			return
		}
		c.belongs(k, sid)
	})
}

// packetIDs checks the packet ids of QoS 2 flows.
func (c *checker) packetIDs() {
	for _, space := range []storage.Space{storage.SpaceReceived, storage.SpaceReleased} {
		c.scan(space, func(k, rest storage.Key, _ []byte) {
			sid, rest, ok := storage.TakeU64(rest)
			pid, rest, ok2 := storage.TakeU16(rest)
			if !ok || !ok2 || len(rest) > 0 || pid == 0 {
				c.wrong(k, "the packet id of a session can't be read")
				return
			}
			c.belongs(k, sid)
		})
	}
}

// reserved checks the packet ids that messages at QoS 2 were given.
func (c *checker) reserved() {
	c.scan(storage.SpaceInflight, func(k, rest storage.Key, v []byte) {
		sid, rest, ok := storage.TakeU64(rest)
		_, rest, ok2 := storage.TakeU64(rest)
		if !ok || !ok2 || len(rest) > 0 || len(v) != 8 {
			c.wrong(k, "a packet in flight can't be read")
			return
		}
		c.belongs(k, sid)
		n := binary.BigEndian.Uint64(v)
		if _, ok := c.get(storage.In(storage.SpaceRef).U64(sid).U64(n)); !ok {
			c.odd(k, "it stands for message %d, which waits no more", n)
		}
	})
}

func (c *checker) journal() {
	c.scan(storage.SpaceJournal, func(k, rest storage.Key, v []byte) {
		_, rest, ok := storage.TakeU64(rest)
		var marks []storage.Journal
		if !ok || len(rest) > 0 || storage.Unmarshal(v, &marks) != nil {
			c.wrong(k, "the journal can't be read")
			return
		}
		c.sum.Journal += int64(len(marks))
		for _, m := range marks {
			if m.SID == 0 || m.PID == 0 {
				c.wrong(k, "it has packet id %d of session %d", m.PID, m.SID)
			}
		}
	})
}
