package client

import (
	"encoding/json"
	"errors"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/protocol"
)

// regulate takes an event of the server about members and settings. Only the newest says how things are; of older ones, which
// fill a gap, it is only known that something happened, and the server is asked.
func (ch *change) regulate(l *log, ev *store.Event, newest bool) error {
	row := &l.row
	if !newest {
		return ch.outOfDate(l, ev)
	}
	if ev.Info != nil {
		if err := ch.applyInfo(l, ev.Info); err != nil {
			return err
		}
	}
	if ev.Kind == chat.KindEnd {
		row.Left, row.Role, l.changed = true, "", true
		return nil
	}
	if ev.Member == nil || ev.Member.User == "" {
		return nil
	}
	ch.tellAbout(UpdateMembers, row.ID)
	if ev.Member.User == ch.me {
		if err := ch.mine(l, ev); err != nil {
			return err
		}
	}
	return ch.applyMember(l, ev)
}

// outOfDate asks for what an older event may have changed. What is older than all that is here was known before.
func (ch *change) outOfDate(l *log, ev *store.Event) error {
	if l.row.Kind == "direct" || len(l.spans) == 0 || ev.Seq < l.spans[0].First {
		return nil
	}
	if ev.Info != nil {
		if err := ch.wish(l.row.ID, wishInfo, nil); err != nil {
			return err
		}
	}
	if ev.Member == nil {
		return nil
	}
	_, err := ch.tx.Member(l.row.ID, ch.me)
	if errors.Is(err, store.ErrNotFound) {
		return nil // not known yet
	}
	if err != nil {
		return err
	}
	return ch.wish(l.row.ID, wishMembers, nil)
}

// mine takes what happened to the user's own membership.
func (ch *change) mine(l *log, ev *store.Event) error {
	row := &l.row
	l.changed = true
	switch ev.Kind {
	case chat.KindCreate, chat.KindJoin, chat.KindAdd:
		row.Left, row.Pending = false, false
		if row.Kind == "direct" {
			l.recount = true // a message request was accepted: what it said is unread
			return nil
		}
		row.Role = protocol.RoleName(ev.Member.Role)
		if row.Read < ev.Seq-1 { // what was before is there to be read, nobody owes it a look
			row.Read, l.recount = ev.Seq-1, true
		}
		if row.Info == nil && ev.Kind != chat.KindCreate {
			if err := ch.wish(row.ID, wishInfo, nil); err != nil {
				return err
			}
		}
		return ch.wish(row.ID, wishMembers, nil)
	case chat.KindLeave, chat.KindRemove:
		row.Left, row.Role = true, ""
	case chat.KindBan:
		if ev.Member.Role != chat.RoleNone {
			row.Left, row.Role = true, ""
		}
	case chat.KindRole:
		row.Role = protocol.RoleName(ev.Member.Role)
	}
	return nil
}

// applyMember keeps the table of members, and how many there are.
func (ch *change) applyMember(l *log, ev *store.Event) error {
	row := &l.row
	if row.Kind == "direct" {
		return nil
	}
	m, err := ch.tx.Member(row.ID, ev.Member.User)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	was := known && !m.Left
	m.User = ev.Member.User
	switch ev.Kind {
	case chat.KindCreate, chat.KindJoin, chat.KindAdd:
		m.Left, m.Role, m.Joined = false, protocol.RoleName(ev.Member.Role), ev.At
		if !was {
			err = ch.countMembers(l, +1)
		}
	case chat.KindRole:
		m.Role = protocol.RoleName(ev.Member.Role)
	case chat.KindLeave, chat.KindRemove, chat.KindBan:
		if ev.Kind == chat.KindBan && ev.Member.Role == chat.RoleNone {
			return nil // who was no member
		}
		m.Left, m.Role = true, ""
		err = ch.countMembers(l, -1)
	default:
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return ch.tx.PutMembers(row.ID, []store.Member{m})
}

// info is what is known of a group's settings.
func (l *log) info() (v protocol.InfoView) {
	if l.row.Info != nil {
		_ = json.Unmarshal(l.row.Info, &v) // written here
	}
	return v
}

func (l *log) setInfo(v protocol.InfoView) {
	l.row.Info, l.row.Title, l.changed = v.Append(nil), v.Title, true
}

func (ch *change) countMembers(l *log, by int) error {
	if l.row.Info == nil {
		return nil
	}
	v := l.info()
	v.Members = max(v.Members+by, 0)
	l.setInfo(v)
	return nil
}

// applyInfo takes changed settings. Without the others they are not enough: the group is asked for.
func (ch *change) applyInfo(l *log, c *chat.InfoChange) error {
	if l.row.Info == nil && c.Title == nil {
		return ch.wish(l.row.ID, wishInfo, nil)
	}
	v := l.info()
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&v.Title, c.Title)
	set(&v.About, c.About)
	set(&v.Visibility, c.Visibility)
	set(&v.Join, c.Join)
	set(&v.History, c.History)
	set(&v.Forward, c.Forward)
	for _, n := range []struct{ to, from *uint32 }{{&v.Limit, c.Limit}, {&v.Expire, c.Expire}, {&v.Withdraw, c.Withdraw}} {
		if n.from != nil {
			*n.to = *n.from
		}
	}
	l.setInfo(v)
	return nil
}

// knowMembers asks for the members of a conversation in which the user wrote something, if they are not known: how far they
// have come is of interest now.
func (ch *change) knowMembers(l *log) error {
	if l.asked {
		return nil
	}
	l.asked = true
	user := ch.me // who is in the list of members, too
	if l.row.Kind == "direct" {
		user = peerOf(l.row.ID, ch.me)
	}
	if _, err := ch.tx.Member(l.row.ID, user); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if l.row.Kind == "direct" && l.row.Head == 0 {
		return nil // it begins: nobody has read anything yet
	}
	return ch.wish(l.row.ID, wishMembers, nil)
}

// peerOf is the other user of a direct conversation: oneself in that with oneself.
func peerOf(conv, me string) string {
	a, b, _ := chat.Parties(conv)
	if a == me {
		return b
	}
	return a
}

// regulations are the kinds of events that change members or settings.
func regulations() []chat.Kind {
	return []chat.Kind{
		chat.KindCreate, chat.KindInfo, chat.KindJoin, chat.KindAdd, chat.KindLeave, chat.KindRemove, chat.KindRole, chat.KindEnd,
		chat.KindBan, chat.KindUnban, chat.KindMute,
	}
}
