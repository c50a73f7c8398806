package chat_test

import "github.com/petrelchat/petrel/chat"

// The model's side of what stands at the gate of a group.

type ask struct {
	closed int64
	by     string
}

type ticket struct {
	by         string
	uses, used uint32
	expires    int64
}

// ban returns until when the user was banned, whether that is over or not: 0 never, -1 for good.
func (m *model) ban(user string) (until int64) {
	for _, e := range m.story {
		switch {
		case e.user != user:
		case e.verb == "bans" && e.until == 0:
			until = -1
		case e.verb == "bans":
			until = e.until
		case e.verb == "unbans" || e.role > 0:
			until = 0
		}
	}
	return until
}

func (m *model) kept(user string, now int64) bool { return m.ban(user) == -1 || m.ban(user) > now }

func (m *model) mute(user string) (until int64) {
	for _, e := range m.story {
		if e.user == user && e.verb == "mutes" {
			until = e.until
		}
		if e.user == user && e.role == 4 {
			until = 0
		}
	}
	return until
}

func (m *model) waits(user string) bool {
	a := m.asks[user]
	return a != nil && a.closed == 0
}

// holds: a ticket is good while its maker may invite.
func (m *model) holds(t *ticket, now int64) bool {
	return m.role(t.by) >= m.least("add") && (t.uses == 0 || t.used < t.uses) && (t.expires == 0 || now < t.expires)
}

func (m *model) join(c chat.Command, my int, now int64) (string, []entry) {
	how := m.setting("join")
	a := m.asks[c.Actor]
	switch {
	case my > 0:
		return "", nil
	case how == "invite":
		return m.outside(), nil
	case m.kept(c.Actor, now):
		return "not-authorized", nil
	case how == "request" && a != nil && a.closed == 0:
		return "", nil
	case how == "request" && a != nil && now < a.closed+3_600_000:
		return "rate-limited", nil
	case how == "request" && len(c.Text) > 256:
		return "bad-request", nil
	case how == "request":
		if m.asks == nil {
			m.asks = map[string]*ask{}
		}
		for user, old := range m.asks { // forgotten for good, even if the clock goes back
			if old.closed != 0 && now >= old.closed+3_600_000 {
				delete(m.asks, user)
			}
		}
		m.asks[c.Actor] = &ask{}
		m.did = "asks"
		return "", nil
	case len(m.crowd()) >= m.room():
		return "conflict", nil
	}
	return "", []entry{{verb: "joins", user: c.Actor, role: 1}}
}

func (m *model) accept(c chat.Command, my int, now int64) (string, []entry) {
	t := m.codes[c.Code]
	switch {
	case t == nil || m.over():
		return "not-found", nil
	case my > 0:
		return "", nil
	case !m.holds(t, now):
		return "not-found", nil
	case m.kept(c.Actor, now):
		return "not-authorized", nil
	case len(m.crowd()) >= m.room():
		return "conflict", nil
	}
	t.used++
	m.did = "accepts"
	return "", []entry{{verb: "joins", user: c.Actor, role: 1, by: t.by}}
}

// gate judges what those who may add do with requests and invitations.
func (m *model) gate(c chat.Command, my int, now int64) (string, []entry) {
	a, t := m.asks[c.User], m.codes[c.Code]
	switch c.Op {
	case chat.OpApprove:
		switch {
		case m.role(c.User) > 0:
			return "", nil
		case !m.waits(c.User):
			return "not-found", nil
		case len(m.crowd()) >= m.room():
			return "conflict", nil
		}
		m.did = "approves"
		return "", []entry{{verb: "adds", user: c.User, role: 1}}
	case chat.OpDeny:
		switch {
		case a == nil || a.closed != 0 && a.by == c.User:
			return "not-found", nil
		case a.closed == 0:
			a.closed, a.by = now, c.Actor
			m.did = "denies"
		}
		return "", nil
	case chat.OpInvite:
		if t != nil || c.Invite.Expires != 0 && c.Invite.Expires <= now {
			return "bad-request", nil
		}
		for code, old := range m.codes {
			if !m.holds(old, now) {
				delete(m.codes, code)
			}
		}
		if m.codes == nil {
			m.codes = map[string]*ticket{}
		}
		m.codes[c.Code] = &ticket{by: c.Actor, uses: c.Invite.Uses, expires: c.Invite.Expires}
		m.did = "invites"
		return "", nil
	}
	switch {
	case t == nil:
		return "not-found", nil
	case t.by != c.Actor && m.role(t.by) >= my:
		return "not-authorized", nil
	}
	delete(m.codes, c.Code)
	m.did = "revokes"
	return "", nil
}

// keep judges bans and mutes.
func (m *model) keep(c chat.Command, my, their int, now int64) (string, []entry) {
	switch {
	case my < 2:
		return "not-authorized", nil
	case c.User == c.Actor:
		return "bad-request", nil
	case c.Op == chat.OpUnban && m.ban(c.User) == 0:
		return "", nil
	case c.Op == chat.OpUnban:
		return "", []entry{{verb: "unbans", user: c.User}}
	case c.Op == chat.OpMute && their == 0:
		return "not-found", nil
	case their >= my:
		return "not-authorized", nil
	case c.Until != 0 && c.Until <= now:
		return "bad-request", nil
	case c.Op == chat.OpMute && (m.mute(c.User) == c.Until || c.Until == 0 && m.mute(c.User) <= now):
		return "", nil
	case c.Op == chat.OpMute:
		return "", []entry{{verb: "mutes", user: c.User, until: c.Until}}
	case their == 0 && (c.Until != 0 && m.ban(c.User) == c.Until || c.Until == 0 && m.ban(c.User) == -1):
		return "", nil
	}
	return "", []entry{{verb: "bans", user: c.User, was: their, until: c.Until}}
}
