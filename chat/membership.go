package chat

// String returns the role's name on the wire (PROTOCOL: Roles); "none" for RoleNone.
func (r Role) String() string {
	switch r {
	case RoleMember:
		return "member"
	case RoleModerator:
		return "moderator"
	case RoleAdmin:
		return "admin"
	case RoleOwner:
		return "owner"
	}
	return "none"
}

// decideJoin is for who is no member yet. A private group that is open, or takes requests, can be joined
// by whoever knows its id; otherwise it does not exist for outsiders.
func (s *State) decideJoin(c *Command, now int64, lim *Limits) (Decision, error) {
	if s.Head == 0 || s.Ended {
		return Decision{}, NoSuchConversation()
	}
	if _, ok := s.Member(c.Actor); ok {
		return s.unchanged()
	}
	if s.Info.Join != JoinOpen && s.Info.Join != JoinRequest {
		return Decision{}, s.refuseOutsider()
	}
	if !ValidUser(c.Actor) {
		return Decision{}, Refuse(BadRequest, "only a user can join a group")
	}
	if err := s.notBanned(c.Actor, now); err != nil {
		return Decision{}, err
	}
	if s.Info.Join == JoinRequest {
		return s.request(c, now)
	}
	if err := s.checkRoom(lim); err != nil {
		return Decision{}, err
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindJoin, &MemberChange{User: c.Actor, Role: RoleMember}, nil)
	return d.decision()
}

// decideLeave keeps the promise that a group always has an owner: a successor gets the role before the
// last owner is gone, and a group that nobody is left in ends.
func (s *State) decideLeave(c *Command, role Role, now int64) (Decision, error) {
	d := s.draft(c.Actor, now, 2)
	if role == RoleOwner {
		if heir := s.heir(c.Actor); heir != "" {
			d.add(KindRole, &MemberChange{User: heir, Role: RoleOwner, By: c.Actor}, nil)
		}
	}
	d.add(KindLeave, &MemberChange{User: c.Actor}, nil)
	if s.Count() == 1 {
		d.add(KindEnd, nil, nil)
	}
	return d.decision()
}

// heir returns who becomes the owner when this one leaves: the highest role, then the longest
// membership, then the name decides. Empty if another owner stays, or nobody does.
func (s *State) heir(owner string) string {
	var heir string
	var best Member
	for _, user := range s.list { // in the order of names: the first of equals wins
		if user == owner {
			continue
		}
		m := s.members[user]
		if m.Role == RoleOwner {
			return ""
		}
		if heir == "" || m.Role > best.Role || m.Role == best.Role && m.Joined < best.Joined {
			heir, best = user, m
		}
	}
	return heir
}

func (s *State) decideAdd(c *Command, role Role, now int64, lim *Limits) (Decision, error) {
	grant := c.Role
	if grant == RoleNone {
		grant = RoleMember
	}
	if grant > RoleOwner {
		return Decision{}, refuseUnknownRole()
	}
	if err := s.may(c.Actor, ActAdd); err != nil {
		return Decision{}, err
	}
	switch {
	case grant >= role && grant != RoleMember:
		return Decision{}, Refuse(NotAuthorized, "as %s you can add members with a lower role only", role)
	case !ValidUser(c.User):
		return Decision{}, Refuse(BadRequest, "user names whom to add, and what it has is no user id")
	}
	if _, ok := s.Member(c.User); ok {
		return s.unchanged()
	}
	if s.bannedAt(c.User, now) {
		return Decision{}, Refuse(Conflict, "that user is banned from this group: unban them first")
	}
	if err := s.checkRoom(lim); err != nil {
		return Decision{}, err
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindAdd, &MemberChange{User: c.User, Role: grant, By: c.Actor}, nil)
	return d.decision()
}

func (s *State) decideRemove(c *Command, role Role, now int64) (Decision, error) {
	if c.User == c.Actor {
		return s.decideLeave(c, role, now)
	}
	if role < RoleModerator {
		return Decision{}, Refuse(NotAuthorized, "only a moderator or above removes members: ask one of them")
	}
	target, ok := s.Member(c.User)
	if !ok {
		return Decision{}, refuseNoMember()
	}
	if target.Role >= role {
		return Decision{}, refuseRank(role, target.Role)
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindRemove, &MemberChange{User: c.User, By: c.Actor}, nil)
	return d.decision()
}

// decideRole also hands the group over: granting owner makes the owner an admin. The new owner comes
// first, so that there is one after each event.
func (s *State) decideRole(c *Command, role Role, now int64) (Decision, error) {
	switch {
	case c.Role == RoleNone:
		return Decision{}, Refuse(BadRequest, "role names the new role; to take somebody out of the group remove them")
	case c.Role > RoleOwner:
		return Decision{}, refuseUnknownRole()
	case role < RoleAdmin:
		return Decision{}, Refuse(NotAuthorized, "only an admin or the owner changes roles: ask one of them")
	}
	target, ok := s.Member(c.User)
	switch {
	case !ok:
		return Decision{}, refuseNoMember()
	case target.Role >= role:
		return Decision{}, refuseRank(role, target.Role)
	case c.Role >= role && role != RoleOwner:
		return Decision{}, Refuse(NotAuthorized, "as %s you can give lower roles only", role)
	case c.Role == target.Role:
		return s.unchanged()
	}
	d := s.draft(c.Actor, now, 2)
	d.add(KindRole, &MemberChange{User: c.User, Role: c.Role, By: c.Actor}, nil)
	if c.Role == RoleOwner {
		d.add(KindRole, &MemberChange{User: c.Actor, Role: RoleAdmin, By: c.Actor}, nil)
	}
	return d.decision()
}

func (s *State) checkRoom(lim *Limits) error {
	if room := s.room(lim); s.Count() >= room {
		return Refuse(Conflict, "the group is full with %d members: try again when somebody has left", s.Count())
	}
	return nil
}

func refuseUnknownRole() error {
	return Refuse(BadRequest, "role is member, moderator, admin or owner")
}

func refuseNoMember() error {
	return Refuse(NotFound, "that user is not a member of this group: add them first")
}

func refuseRank(role, target Role) error {
	return Refuse(NotAuthorized, "as %s you cannot act upon one who is %s: ask somebody of a higher role", role, target)
}
