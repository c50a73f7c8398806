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
