package chat

// Action is something that a group lets only some of its members do.
type Action uint8

// The actions of the permission table. The numbers are stored: never renumber.
const (
	ActPost   Action = iota // append posts, replies, reactions
	ActAdd                  // add members, invite, decide about requests
	ActPin                  // pin and unpin
	ActInfo                 // change title, about and the other settings but this table
	ActDelete               // delete posts of others who have a lower role
	ActCall                 // start calls
	actions
)

var actionNames = [actions]string{"post", "add", "pin", "info", "delete", "call"}

// String returns the action's name on the wire.
func (a Action) String() string {
	if a < actions {
		return actionNames[a]
	}
	return ""
}

// Actions returns all actions, in the order of their numbers.
func Actions() []Action {
	all := make([]Action, actions)
	for i := range all {
		all[i] = Action(i)
	}
	return all
}

// Perms is a permission table: the least role for each action. RoleNone stands for the default in a
// group's settings, and for "unchanged" in a change of them.
type Perms [actions]Role

var defaultPerms = Perms{
	ActPost: RoleMember, ActAdd: RoleModerator, ActPin: RoleModerator,
	ActInfo: RoleAdmin, ActDelete: RoleModerator, ActCall: RoleMember,
}

// Least returns the least role that an action takes.
func (p *Perms) Least(a Action) Role {
	if a >= actions {
		return RoleOwner
	}
	if p[a] != RoleNone {
		return p[a]
	}
	return defaultPerms[a]
}

// set takes over what the change names.
func (p *Perms) set(change *Perms) {
	if change == nil {
		return
	}
	for a, r := range change {
		if r != RoleNone {
			p[a] = r
		}
	}
}

// diff returns the part of the change that would change something; nil: nothing.
func (p *Perms) diff(change *Perms) *Perms {
	if change == nil {
		return nil
	}
	var d Perms
	for a, r := range change {
		if r != RoleNone && r != p.Least(Action(a)) {
			d[a] = r
		}
	}
	if d == (Perms{}) {
		return nil
	}
	return &d
}

// whoMay names, for a refusal, those who have at least the role.
func whoMay(least Role) string {
	switch {
	case least >= RoleOwner:
		return "the owner"
	case least == RoleAdmin:
		return "an admin or the owner"
	}
	return "a " + least.String() + " or above"
}

// What each action is called in a refusal.
var actionDoes = [actions]string{
	"posts here", "adds members, invites and decides about requests here", "pins in this group",
	"changes this group's settings", "deletes posts of others here", "starts calls here",
}

// may returns nil if the member's role suffices for the action, or the refusal that says which role it
// takes. A direct conversation has no table: both may everything in it. Mutes are another matter, see
// [State.MayPost].
func (s *State) may(actor string, a Action) error {
	if s.Direct {
		return nil
	}
	least := s.Info.Perms.Least(a)
	if s.members[actor].Role >= least {
		return nil
	}
	does := "does that here"
	if a < actions {
		does = actionDoes[a]
	}
	if least == RoleOwner {
		return Refuse(NotAuthorized, "only the owner %s: ask them", does)
	}
	return Refuse(NotAuthorized, "only %s %s: ask one of them", whoMay(least), does)
}

// mayAppend is the first gate of what members write; what the event acts upon is looked at later. Nobody
// needs a permission to withdraw what they said; but whoever may not write here does it without a word.
func (s *State) mayAppend(user string, e *Event, now int64) error {
	switch kindOf(e) {
	case KindDelete:
		err := s.MayRead(user)
		if err == nil && len(e.Enc)+len(e.Ext)+len(e.Extra) > 0 && (s.MayPost(user, now) != nil || s.members[user].Unheard()) {
			err = Refuse(NotAuthorized, "you cannot write here now: delete with kind and re alone")
		}
		return err
	case KindPin, KindUnpin:
		if err := s.MayRead(user); err != nil {
			return err
		}
		if err := s.may(user, ActPin); err != nil {
			return err
		}
		return s.notMuted(user, now)
	}
	return s.MayPost(user, now)
}

// notMuted refuses a member who is muted now.
func (s *State) notMuted(user string, now int64) error {
	if until := s.members[user].Muted; until > s.clock(now) {
		return Refuse(NotAuthorized, "a moderator has muted you in this group for %s more: you can read, and write again then", span(until-s.clock(now)))
	}
	return nil
}
