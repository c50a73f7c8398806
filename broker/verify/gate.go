package verify

import (
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// outsider checks the record of somebody who was banned without ever having been a member, of which the
// user's side knows nothing; false for everybody else.
func (c *checker) outsider(k storage.Key, conv, user string, m chat.Member) bool {
	if m.Joined != 0 || m.Flags != 0 || m.Banned == 0 {
		return false
	}
	if m.Role != chat.RoleNone || m.Since != 0 || m.Left != 0 {
		c.wrong(k, "the user is banned and never was a member, but has role %d since %d, left %d", m.Role, m.Since, m.Left)
	}
	if _, ok := c.get(storage.In(storage.SpaceMembership).Str(user).Str(conv)); ok {
		c.wrong(k, "the user never was a member, but has the conversation among theirs")
	}
	return true
}

// gate checks requests to join and invitations, from both sides.
func (c *checker) gate() {
	c.scan(storage.SpaceRequest, func(k, rest storage.Key, v []byte) {
		c.sum.Requests++
		conv, user, ok := two(rest)
		r, err := storage.DecodeRequest(v)
		if !ok || err != nil || !chat.ValidUser(user) {
			c.wrong(k, "the request to join can't be read")
			return
		}
		c.hasGate(k, conv)
		if m, ok := c.memberOf(conv, user); ok && m.Role != chat.RoleNone {
			c.wrong(k, "the user asks to join and is a member already")
		}
		if r.Closed == 0 && r.By != "" || r.Closed != 0 && !chat.ValidUser(r.By) {
			c.wrong(k, "the request does not say rightly whether it waits: closed at %d by %q", r.Closed, r.By)
		}
	})
	c.scan(storage.SpaceInvite, func(k, rest storage.Key, v []byte) {
		c.sum.Invites++
		conv, code, ok := two(rest)
		inv, err := storage.DecodeInvite(v)
		if !ok || err != nil {
			c.wrong(k, "the invitation can't be read")
			return
		}
		c.hasGate(k, conv)
		if inv.Uses != 0 && inv.Used > inv.Uses {
			c.wrong(k, "%d have come by an invitation for %d", inv.Used, inv.Uses)
		}
		if m, ok := c.memberOf(conv, inv.By); !ok || m.Joined == 0 {
			c.wrong(k, "who made the invitation never was a member")
		}
		if to, ok := c.get(storage.CodeKey(code)); !ok || string(to) != conv {
			c.wrong(k, "its code leads elsewhere, or nowhere")
		}
	})
	c.scan(storage.SpaceCode, func(k, rest storage.Key, v []byte) {
		code, rest, ok := storage.TakeStr(rest)
		if !ok || len(rest) > 0 {
			c.wrong(k, "the code of an invitation can't be read")
			return
		}
		if _, ok := c.get(storage.InviteKey(string(v), code)); !ok {
			c.wrong(k, "the code leads to a group that has no such invitation")
		}
	})
}

// hasGate checks that a conversation can have requests and invitations: a group that has not ended.
func (c *checker) hasGate(k storage.Key, conv string) {
	v, ok := c.get(storage.In(storage.SpaceConv).Str(conv))
	if !ok || !chat.ValidGroup(conv) {
		c.wrong(k, "there is no such group")
		return
	}
	var rec storage.Conv
	if storage.Unmarshal(v, &rec) == nil && rec.Ended { // conversations reports what can't be read
		c.wrong(k, "the group has ended")
	}
}

func (c *checker) memberOf(conv, user string) (m chat.Member, ok bool) {
	v, ok := c.get(storage.In(storage.SpaceMember).Str(conv).Str(user))
	if ok {
		var err error
		m, err = storage.DecodeMember(v)
		ok = err == nil // members reports it
	}
	return m, ok
}
