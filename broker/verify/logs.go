package verify

import (
	"bytes"
	"math"
	"strings"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/upkeep"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// logs checks every log: its entries one after the other, and what they make of the conversation.
func (c *checker) logs() {
	var err error
	_, c.viewed = c.get(hub.ViewsKey())
	if c.cutoff, err = upkeep.RetryCutoff(c.r); err != nil {
		c.wrong(upkeep.RetryCutoffKey(), "it can't be read")
		c.cutoff = math.MaxInt64
	}
	c.fail(c.r.Logs(func(log string) bool {
		c.log(log)
		return c.err == nil
	}))
}

// logCheck is what is known of a log up to some entry.
type logCheck struct {
	c           *checker
	log         string
	own, direct bool
	a, b        string // of a direct conversation
	first, last uint64
	commit      uint64
	at          int64
	ended       bool
	st          *chat.State // nil once the log can't be followed from its beginning
}

func (c *checker) log(log string) {
	l := logCheck{c: c, log: log}
	user, own := strings.CutPrefix(log, "@")
	l.a, l.b, l.direct = chat.Parties(log)
	if l.own = own; own {
		c.sum.OwnLogs++
	} else {
		c.sum.Logs++
		l.st = chat.NewState(log, l.direct)
	}
	if own && !chat.ValidUser(user) || !own && !l.direct && !chat.ValidGroup(log) {
		c.wrongAt(log, 0, "no conversation and no user has this name")
	}
	head, commit, err := c.r.Head(log)
	c.fail(err)
	c.fail(c.r.Read(log, 0, math.MaxUint64, func(e storage.Entry) bool {
		l.entry(e)
		return c.err == nil
	}))
	if c.err != nil {
		return
	}
	if l.last != head || l.commit != commit {
		c.wrongAt(log, 0, "its head is %d of commit %d, but its last entry is %d of commit %d", head, commit, l.last, l.commit)
	}
	if !own {
		l.records()
		c.views(log)
	}
}

// entry checks one entry against those before it.
func (l *logCheck) entry(e storage.Entry) {
	c := l.c
	c.sum.Events++
	switch {
	case l.first == 0:
		if l.first = e.Seq; e.Seq != 1 {
			l.st = nil // cut off below: where it began is not known
		}
	case e.Seq <= l.last:
		c.wrongAt(l.log, e.Seq, "it stands behind entry %d", l.last)
		l.st = nil
	case e.Seq != l.last+1:
		c.wrongAt(l.log, e.Seq, "the entry before it is %d: something is missing", l.last)
		l.st = nil
	}
	if e.Commit < l.commit {
		c.wrongAt(l.log, e.Seq, "it is of commit %d, the entry before it of commit %d", e.Commit, l.commit)
	}
	if c.knowsLast && e.Commit > c.last {
		c.wrongAt(l.log, e.Seq, "it is of commit %d, but the last commit is %d", e.Commit, c.last)
	}
	l.last, l.commit = e.Seq, e.Commit
	ev, err := protocol.DecodeStored(e.Data)
	if err != nil {
		c.wrongAt(l.log, e.Seq, "it can't be read")
		l.st = nil
		return
	}
	if ev.Seq != e.Seq && (!l.own || ev.Seq != 0) {
		c.wrongAt(l.log, e.Seq, "the event in it says that it is %d", ev.Seq)
	}
	if ev.Seq = e.Seq; !l.own {
		l.event(&ev, e.Data)
	}
}

// event checks one event of a conversation.
func (l *logCheck) event(ev *chat.Event, data []byte) {
	c := l.c
	if ev.At < l.at {
		c.wrongAt(l.log, ev.Seq, "its time is before that of the event before it")
	}
	l.at = max(l.at, ev.At)
	if l.ended {
		c.wrongAt(l.log, ev.Seq, "the group ended before it")
	}
	l.ended = l.ended || ev.Kind == chat.KindEnd
	if l.direct && ev.From != l.a && ev.From != l.b {
		c.wrongAt(l.log, ev.Seq, "its sender is no party to the conversation")
	}
	if ev.Seq == 1 && !l.direct && ev.Kind != chat.KindCreate {
		c.wrongAt(l.log, ev.Seq, "a group begins with its creation, and this is another event")
	}
	if l.direct && ev.Seq == 1 && ev.Kind == chat.KindGone {
		l.st = nil // whether it was a request is gone with it
	}
	if l.st != nil {
		l.st.Apply(ev)
	}
	if ev.Kind == chat.KindGone {
		c.sum.Gone++
		if stone := chat.Tombstone(ev); !bytes.Equal(protocol.EncodeStored(nil, &stone), data) {
			c.wrongAt(l.log, ev.Seq, "it has disappeared, but not all of it")
		}
		return
	}
	if ev.Expire > 0 {
		if _, ok := c.get(hub.ExpireKey(l.log, hub.DueOf(ev))); !ok {
			c.wrongAt(l.log, ev.Seq, "it is to disappear, but nothing says when: it will stay")
		}
	}
	if ev.ID != "" && ev.Kind < chat.KindCreate {
		l.retryKey(ev)
	}
}

// retryKey checks that an event's retry is recognised, unless the event is so old that its key may have
// been forgotten, and the id been used again.
func (l *logCheck) retryKey(ev *chat.Event) {
	c := l.c
	old := ev.At < c.cutoff
	v, ok := c.get(hub.RetryKey(l.log, ev.From, ev.ID))
	if !ok {
		if !old && c.err == nil {
			c.wrongAt(l.log, ev.Seq, "it has an id but no retry key: a retry would be stored again")
		}
		return
	}
	p, err := storage.DecodePrior(v)
	if err != nil {
		return // retryKeys reports it
	}
	if p.Seq != ev.Seq && !(old && p.Seq > ev.Seq) {
		c.wrongAt(l.log, ev.Seq, "the retry key of its id names entry %d", p.Seq)
	}
}

// records compares what the log makes of the conversation with what is on record.
func (l *logCheck) records() {
	c := l.c
	key := storage.In(storage.SpaceConv).Str(l.log)
	v, ok := c.get(key)
	if !ok {
		if c.err == nil {
			c.wrongAt(l.log, 0, "the conversation has no record")
		}
		return
	}
	var rec storage.Conv
	if storage.Unmarshal(v, &rec) != nil {
		return // conversations reports it
	}
	if l.st == nil {
		return
	}
	if rec.Info != l.st.Info {
		c.wrong(key, "the settings are not those that the log leads to")
	}
	if rec.Ended != l.st.Ended {
		c.wrong(key, "whether the group has ended is not what the log leads to")
	}
	members := l.st.Snapshot().Members
	c.scanPrefix(storage.In(storage.SpaceMember).Str(l.log), func(k, rest storage.Key, v []byte) {
		user, _, _ := storage.TakeStr(rest)
		m, err := storage.DecodeMember(v)
		if err != nil {
			delete(members, user) // members reports it
			return
		}
		want, ok := members[user]
		delete(members, user)
		switch {
		case !ok:
			c.wrong(k, "by the log this user never was a member")
		case m.OfLog() != want.OfLog():
			c.wrong(k, "the member is not what the log leads to: role %d since %d, joined %d, left %d instead of role %d since %d, joined %d, left %d",
				m.Role, m.Since, m.Joined, m.Left, want.Role, want.Since, want.Joined, want.Left)
		}
	})
	for user := range members {
		c.wrong(storage.In(storage.SpaceMember).Str(l.log).Str(user), "by the log this user is or was a member, but there is no record")
	}
}
