package broker

import (
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling"
	"github.com/petrelchat/petrel/storage"
)

// callGate says who may call whom.
type callGate struct{ s *Server }

var _ signaling.Gate = callGate{}

// callers is who may call users directly who have not said it themselves.
func (g callGate) callers(user string) (chat.Callers, error) {
	p, err := g.s.presence.Profile(user)
	switch {
	case err != nil:
		return 0, err
	case p.Calls != chat.CallersDefault:
		return p.Calls, nil
	case g.s.cfg.Load().Dev:
		return chat.CallersAnyone, nil
	}
	return chat.CallersAccepted, nil
}

// MayStart implements signaling.Gate.
func (g callGate) MayStart(user, conv string) error {
	a, b, direct := chat.Parties(conv)
	if !direct {
		var refusal error
		if err := g.s.hub.Query(conv, false, func(v hub.View) { refusal = v.State.MayCall(user, g.s.now().UnixMilli()) }); err != nil {
			return err
		}
		return refusal
	}
	other := b
	switch {
	case user != a && user != b || !g.s.auth.Exists(a) || !g.s.auth.Exists(b):
		return chat.NoSuchConversation()
	case a == b:
		return chat.Refuse(chat.BadRequest, "nobody calls themselves: name somebody else")
	case user == b:
		other = a
	}
	return g.mayCall(user, other, conv)
}

// mayCall decides about a direct call. Whoever is blocked, a stranger, or calls somebody who takes no calls gets one
// answer: nobody learns which it is.
func (g callGate) mayCall(user, other, conv string) error {
	block, err := storage.BlockOf(g.s.store, user, other)
	switch {
	case err != nil:
		return err
	case block.At != 0:
		return chat.Refuse(chat.NotAuthorized, "you have blocked this user: unblock them first")
	case block.By != 0:
		return errUncalled
	}
	callers, err := g.callers(other)
	switch {
	case err != nil:
		return err
	case callers == chat.CallersAnyone:
		return nil
	case callers == chat.CallersNobody:
		return errUncalled
	}
	known, err := g.accepted(user, other, conv)
	if err == nil && !known {
		err = errUncalled
	}
	return err
}

var errUncalled error = chat.Refuse(chat.NotAuthorized, "this user takes no calls from you: write to them, and call when they have answered")

// accepted reports whether two users have accepted each other: in their conversation, or as contacts.
func (g callGate) accepted(user, other, conv string) (bool, error) {
	for _, u := range []string{user, other} {
		v, ok, err := g.s.store.Get(storage.In(storage.SpaceMembership).Str(u).Str(conv))
		if err != nil {
			return false, err
		}
		var m chat.Member
		if ok {
			if m, err = storage.DecodeMember(v); err != nil {
				return false, err
			}
		}
		if m.Role == chat.RoleNone || m.Unheard() {
			return storage.IsContact(g.s.store, other, user)
		}
	}
	return true, nil
}

// Member implements signaling.Gate.
func (g callGate) Member(user, conv string) bool {
	if a, b, direct := chat.Parties(conv); direct { // also before it begins
		blocked, err := storage.Blocked(g.s.store, a, b)
		return (user == a || user == b) && err == nil && !blocked
	}
	member, err := storage.IsMember(g.s.store, user, conv)
	if err != nil {
		g.s.log.Error("reading a membership failed", "user", user, "conv", conv, "error", err)
	}
	return err == nil && member
}

// Members implements signaling.Gate. In a conversation that somebody has muted nothing rings for them.
func (g callGate) Members(caller, conv string, most int) (users []string, more bool, err error) {
	var members []string
	var apart map[string]bool
	if a, b, direct := chat.Parties(conv); direct { // who is blocked does not come so far
		members = []string{a, b}
	} else {
		if err = g.s.hub.Query(conv, false, func(v hub.View) { members = v.State.MemberList() }); err != nil {
			return nil, false, err
		}
		if apart, err = g.apart(caller); err != nil {
			return nil, false, err
		}
	}
	now := g.s.now().UnixMilli()
	for _, user := range members {
		if user == caller || apart[user] {
			continue
		}
		away, err := storage.ConvSettings(g.s.store, user, conv)
		if err != nil {
			return nil, false, err
		}
		if away.Muted(now) {
			continue
		}
		if len(users) == most {
			return users, true, nil
		}
		users = append(users, user)
	}
	return users, false, nil
}

// apart returns who blocks a user or is blocked by them.
func (g callGate) apart(user string) (map[string]bool, error) {
	all := make(map[string]bool)
	prefix := storage.In(storage.SpaceBlock).Str(user)
	err := g.s.store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		if other, _, ok := storage.TakeStr(k[len(prefix):]); ok {
			all[other] = true
		}
		return true
	})
	return all, err
}

// Relayed implements signaling.Gate.
func (g callGate) Relayed(user string, accepted bool) bool {
	p, err := g.s.presence.Profile(user)
	if err != nil {
		g.s.log.Error("reading a profile failed; addresses are kept back", "user", user, "error", err)
		return true
	}
	return p.Relay == chat.RelayAlways || p.Relay == chat.RelayUntilAccepted && !accepted
}
