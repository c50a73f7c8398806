package chat

import "fmt"

// Apply moves the state on by one event of its log, which must be the next one: anything else is a
// fault of the caller that would show as lost messages later, so it panics. Events are trusted; that
// they obey the rules was Decide's affair. e is not kept.
func (s *State) Apply(e *Event) Changes {
	if e.Seq != s.Head+1 {
		panic(fmt.Sprintf("chat: event %d applied to %s, which is at %d", e.Seq, s.ID, s.Head))
	}
	s.Head = e.Seq
	s.LastAt = max(s.LastAt, e.At)
	if s.Direct {
		if e.Seq == 1 {
			return s.begin(e)
		}
		return s.applyDirect(e)
	}
	if e.Kind < KindCreate {
		return Changes{}
	}
	return s.applyServer(e)
}

// applyServer applies the kinds that only the server makes.
func (s *State) applyServer(e *Event) Changes {
	switch e.Kind {
	case KindCreate:
		s.Info.Created, s.Info.By = e.At, e.From
		s.Info.set(e.Info)
		ch := s.enter(e)
		ch.Info = true
		return ch
	case KindInfo:
		s.Info.set(e.Info)
		return Changes{Info: true}
	case KindJoin, KindAdd:
		return s.enter(e)
	case KindLeave, KindRemove:
		return s.exit(e)
	case KindRole:
		return s.rank(e)
	case KindBan:
		return s.ban(e)
	case KindUnban:
		return s.unban(e)
	case KindMute:
		return s.mute(e)
	case KindEnd:
		return s.end(e)
	}
	return Changes{}
}

// enter makes e.Member.User a member. Who comes back is a new member: an earlier stay leaves no trace
// in the record, but for a mute, which nobody gets rid of by leaving.
func (s *State) enter(e *Event) Changes {
	if e.Member == nil {
		return Changes{}
	}
	m := Member{Role: e.Member.Role, Since: 1, Joined: e.Seq, Muted: s.members[e.Member.User].Muted}
	if s.Info.History == HistoryJoined {
		m.Since = e.Seq
	}
	s.setMember(e.Member.User, m)
	return Changes{Members: []string{e.Member.User}}
}

func (s *State) exit(e *Event) Changes {
	if e.Member == nil {
		return Changes{}
	}
	m, ok := s.Member(e.Member.User)
	if !ok {
		return Changes{}
	}
	m.Role, m.Left = RoleNone, e.Seq
	s.setMember(e.Member.User, m)
	return Changes{Members: []string{e.Member.User}}
}

func (s *State) rank(e *Event) Changes {
	if e.Member == nil {
		return Changes{}
	}
	m, ok := s.Member(e.Member.User)
	if !ok {
		return Changes{}
	}
	m.Role = e.Member.Role
	if m.Role == RoleOwner {
		m.Muted = 0 // there would be nobody to lift it
	}
	s.setMember(e.Member.User, m)
	return Changes{Members: []string{e.Member.User}}
}

// ban keeps a user out. Whoever never was a member gets a record with Joined 0.
func (s *State) ban(e *Event) Changes {
	if e.Member == nil {
		return Changes{}
	}
	m, ok := s.Member(e.Member.User)
	if ok {
		m.Role, m.Left = RoleNone, e.Seq
	}
	if m.Banned = e.Member.Until; m.Banned == 0 {
		m.Banned = BannedForGood
	}
	s.setMember(e.Member.User, m)
	return Changes{Members: []string{e.Member.User}}
}

func (s *State) unban(e *Event) Changes {
	if e.Member == nil {
		return Changes{}
	}
	m := s.members[e.Member.User]
	m.Banned = 0
	s.setMember(e.Member.User, m)
	return Changes{Members: []string{e.Member.User}}
}

func (s *State) mute(e *Event) Changes {
	if e.Member == nil {
		return Changes{}
	}
	m, ok := s.Member(e.Member.User)
	if !ok {
		return Changes{}
	}
	m.Muted = e.Member.Until
	s.setMember(e.Member.User, m)
	return Changes{Members: []string{e.Member.User}}
}

// end makes everybody a former member. Changes names them all, because they are who the last event is
// still to be delivered to.
func (s *State) end(e *Event) Changes {
	gone := s.MemberList()
	s.list, s.shared = nil, false
	for _, user := range gone {
		m := s.members[user]
		m.Role, m.Left = RoleNone, e.Seq
		s.members[user] = m
	}
	s.Ended = true
	return Changes{Members: gone, Info: true}
}
