package chat

import "slices"

// BannedForGood is the Member.Banned of whoever may never come back.
const BannedForGood = -1

// BannedAt reports whether the ban of a record holds at now (ms since 1970).
func (m *Member) BannedAt(now int64) bool { return m.Banned == BannedForGood || m.Banned > now }

// Banned returns who is banned at now, in byte order.
func (s *State) Banned(now int64) []string {
	var users []string
	for user, m := range s.members {
		if m.BannedAt(s.clock(now)) {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

func (s *State) bannedAt(user string, now int64) bool {
	m := s.members[user]
	return m.BannedAt(s.clock(now))
}

// notBanned refuses somebody who wants to come in and may not.
func (s *State) notBanned(user string, now int64) error {
	switch m := s.members[user]; {
	case m.Banned == BannedForGood:
		return Refuse(NotAuthorized, "you are banned from this group: ask one of its moderators")
	case m.Banned > s.clock(now):
		return Refuse(NotAuthorized, "you are banned from this group for %s more: come back then", span(m.Banned-s.clock(now)))
	}
	return nil
}

// decideBan keeps a user out, whether a member or not. A longer or a shorter ban takes the place of one that
// holds.
func (s *State) decideBan(c *Command, role Role, now int64) (Decision, error) {
	if err := s.mayKeep(c, role, "bans"); err != nil {
		return Decision{}, err
	}
	target, _ := s.Member(c.User)
	switch {
	case target.Role >= role:
		return Decision{}, refuseRank(role, target.Role)
	case c.Until != 0 && (c.Until <= s.clock(now) || c.Until > maxTime):
		return Decision{}, Refuse(BadRequest, "until is a time to come, in ms since 1970; without it a ban is for good")
	case target.Role == RoleNone && (target.Banned == c.Until && c.Until != 0 || target.Banned == BannedForGood && c.Until == 0):
		return s.unchanged()
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindBan, &MemberChange{User: c.User, Role: target.Role, By: c.Actor, Until: c.Until}, nil)
	return d.decision()
}

func (s *State) decideUnban(c *Command, role Role, now int64) (Decision, error) {
	if err := s.mayKeep(c, role, "lifts bans"); err != nil {
		return Decision{}, err
	}
	if s.members[c.User].Banned == 0 {
		return s.unchanged()
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindUnban, &MemberChange{User: c.User, By: c.Actor}, nil)
	return d.decision()
}

func (s *State) decideMute(c *Command, role Role, now int64) (Decision, error) {
	if err := s.mayKeep(c, role, "mutes members"); err != nil {
		return Decision{}, err
	}
	target, ok := s.Member(c.User)
	switch {
	case !ok:
		return Decision{}, refuseNoMember()
	case target.Role >= role:
		return Decision{}, refuseRank(role, target.Role)
	case c.Until != 0 && (c.Until <= s.clock(now) || c.Until > maxTime):
		return Decision{}, Refuse(BadRequest, "until is a time to come, in ms since 1970; 0 lets the member write again")
	case target.Muted == c.Until, c.Until == 0 && target.Muted <= s.clock(now):
		return s.unchanged()
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindMute, &MemberChange{User: c.User, By: c.Actor, Until: c.Until}, nil)
	return d.decision()
}

// mayKeep is what bans and mutes have in common: moderators and above, not upon oneself.
func (s *State) mayKeep(c *Command, role Role, does string) error {
	switch {
	case role < RoleModerator:
		return Refuse(NotAuthorized, "only %s %s here: ask one of them", whoMay(RoleModerator), does)
	case !ValidUser(c.User):
		return Refuse(BadRequest, "user names whom this is about, and what it has is no user id")
	case c.User == c.Actor:
		return Refuse(BadRequest, "nobody does this to themselves: to go, leave the group")
	}
	return nil
}
