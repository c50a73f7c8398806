package hub

import (
	"errors"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// tellDeciders bounds how many own logs learn of one request to join.
const tellDeciders = 50

// gate carries out what a decision changes at a group's gate, after its events: in memory, in the batch, and
// for those who are to learn of it.
func (w *owner) gate(id string, c *conv, changes []chat.GateChange) {
	if len(changes) == 0 {
		return
	}
	w.convs[id] = c
	w.posted = true
	w.touched[id] = struct{}{}
	for i := range changes {
		switch g := &changes[i]; {
		case g.End:
			w.closeGate(id, c)
		case g.User != "":
			w.recordRequest(id, c, g)
		case g.Code != "" && g.Invite == nil:
			w.batch.Delete(storage.InviteKey(id, g.Code))
			w.batch.Delete(storage.CodeKey(g.Code))
		case g.Code != "":
			w.batch.Set(storage.InviteKey(id, g.Code), storage.EncodeInvite(*g.Invite))
			w.batch.Set(storage.CodeKey(g.Code), []byte(id))
		}
	}
	c.st.ApplyGate(changes)
}

// recordRequest stores a request that came, was closed or is gone. Who decides learns of a new one, who asked
// of a denial; the rest knows from the log, or did it themselves.
func (w *owner) recordRequest(id string, c *conv, g *chat.GateChange) {
	key := storage.RequestKey(id, g.User)
	if g.Request == nil {
		w.batch.Delete(key)
		return
	}
	w.batch.Set(key, storage.EncodeRequest(*g.Request))
	switch r := g.Request; {
	case r.Closed == 0:
		ev := chat.Event{
			From: g.User, At: r.At, Kind: chat.KindRequested, Conv: id, Text: r.Text, Member: &chat.MemberChange{User: g.User},
		}
		var tell []Own
		for _, user := range c.st.Deciders(tellDeciders) {
			tell = append(tell, Own{User: user, Event: ev})
		}
		w.tell(tell)
	case r.By != g.User:
		w.tell([]Own{denied(id, g.User, r.Closed)})
	}
}

// denied does not say who denied it.
func denied(conv, user string, at int64) Own {
	return Own{User: user, Event: chat.Event{At: at, Kind: chat.KindDenied, Conv: conv}}
}

// closeGate removes all that stands at the gate of a group that has ended.
func (w *owner) closeGate(id string, c *conv) {
	var tell []Own
	for _, user := range c.st.Requesters() {
		tell = append(tell, denied(id, user, c.st.LastAt))
	}
	w.tell(tell)
	gone := c.st.Snapshot()
	for code := range gone.Invites {
		w.batch.Delete(storage.CodeKey(code))
	}
	w.batch.DeletePrefix(storage.In(storage.SpaceInvite).Str(id))
	w.batch.DeletePrefix(storage.In(storage.SpaceRequest).Str(id))
}

// recordOutsider stores the record of somebody who is banned from a group without ever having been a member,
// or removes it; false for everybody else. Only the group knows of it: such a one was never in it, so nothing
// that goes through a user's conversations may come across it.
func (w *owner) recordOutsider(conv, user string, m chat.Member) bool {
	if m.Joined != 0 || m.Flags != 0 {
		return false
	}
	key := storage.In(storage.SpaceMember).Str(conv).Str(user)
	if m != (chat.Member{}) {
		w.batch.Set(key, storage.AppendMember(nil, m))
		return true
	}
	w.batch.Delete(key)
	w.batch.Delete(storage.In(storage.SpaceMembership).Str(user).Str(conv))
	return true
}

// endsStay returns whose membership an event ended; "": nobody's, or everybody's (KindEnd).
func endsStay(ev *chat.Event) string {
	if ev.Member == nil {
		return ""
	}
	switch ev.Kind {
	case chat.KindLeave, chat.KindRemove:
		return ev.Member.User
	case chat.KindBan:
		if ev.Member.Role != chat.RoleNone {
			return ev.Member.User
		}
	}
	return ""
}

// loadGate reads what stands at a group's gate.
func loadGate(r storage.Reader, st *chat.State) error {
	requests := make(map[string]chat.Request)
	invites := make(map[string]chat.Invite)
	err := eachRecord(r, storage.In(storage.SpaceRequest).Str(st.ID), func(user string, v []byte) (err error) {
		requests[user], err = storage.DecodeRequest(v)
		return err
	})
	if err == nil {
		err = eachRecord(r, storage.In(storage.SpaceInvite).Str(st.ID), func(code string, v []byte) (err error) {
			invites[code], err = storage.DecodeInvite(v)
			return err
		})
	}
	if err == nil {
		st.RestoreGate(requests, invites)
	}
	return err
}

// eachRecord calls fn with the string part behind a prefix and the value of each record.
func eachRecord(r storage.Reader, prefix storage.Key, fn func(name string, v []byte) error) error {
	var bad error
	err := r.Scan(slices.Clip(prefix), nil, func(k storage.Key, v []byte) bool {
		name, _, ok := storage.TakeStr(k[len(prefix):])
		if bad = storage.ErrRecord; ok {
			bad = fn(name, v)
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}
