package chat

// Operations on a direct conversation. Their numbers are apart from those on groups.
const (
	OpTake    Op = 40 // Actor takes what the other wrote, and is a member from now on
	OpDismiss Op = 41 // Actor does not want what the other wrote
	OpBlock   Op = 42 // Actor takes nothing from the other any more
	OpUnblock Op = 43
)

// Messages says from whom a user takes direct messages. The numbers are stored: never renumber.
type Messages uint8

// From whom direct messages are taken. Zero leaves it to the server.
const (
	MessagesDefault  Messages = 0
	MessagesAnyone   Messages = 1 // from anyone, at once
	MessagesRequests Messages = 2 // of strangers as a request that waits until it is accepted
	MessagesShared   Messages = 3 // not from strangers: from contacts, and from who shares a conversation
)

var messagesNames = [...]string{MessagesAnyone: "anyone", MessagesRequests: "requests", MessagesShared: "shared"}

// String returns the word on the wire; "" for MessagesDefault.
func (m Messages) String() string {
	if int(m) < len(messagesNames) {
		return messagesNames[m]
	}
	return ""
}

// ParseMessages is the reverse of String; "" is none.
func ParseMessages(word string) (Messages, bool) {
	for m, name := range messagesNames {
		if name == word && name != "" {
			return Messages(m), true
		}
	}
	return MessagesDefault, false
}

// Approach is what the owner of a direct conversation looks up when its first message comes. Later the
// conversation itself knows.
type Approach struct {
	Blocked  bool     // one of the two takes nothing from the other
	Blocking bool     // and that is the sender
	Known    bool     // they are contacts, or share a conversation
	Messages Messages // what the recipient takes from others; MessagesDefault: everything
}

// maxPending is how many events somebody may write before the other accepts.
const maxPending = 10

// Mark is a change of a member's flags that leaves no event: the other one is not told.
type Mark struct {
	User  string
	Flags MemberFlags
}

// Mark carries out one of Decision.Marks.
func (s *State) Mark(m Mark) Changes {
	rec, ok := s.members[m.User]
	if !ok || rec.Flags == m.Flags {
		return Changes{}
	}
	rec.Flags = m.Flags
	s.setMember(m.User, rec)
	return Changes{Members: []string{m.User}}
}

// Pending reports whether what was written to this user waits for them to accept it, declined or not. Such
// a user is no member: nothing is delivered to them. They may read what waits.
func (m Member) Pending() bool { return m.Role == RoleNone && m.Flags&FlagPending != 0 }

// Asked reports whether a pending request is to be shown: the user has neither declined it nor blocked who made
// it.
func (m Member) Asked() bool { return m.Pending() && m.Flags&(FlagDeclined|FlagBlocks) == 0 }

// Accepted reports whether the member came by accepting a request: then all that was written before is
// theirs too, although they joined later.
func (m Member) Accepted() bool { return m.Flags&FlagAccepted != 0 }

// Unheard reports whether nothing of this user's part goes to the other one but what is written: the other
// has not accepted yet, or one of them blocks the other. Presence, typing and receipts follow it.
func (m Member) Unheard() bool { return m.Flags&(FlagWaiting|FlagBlocks|FlagBlocked) != 0 }

// Pending reports whether the conversation waits for the user to accept it, see [Member.Pending].
func (s *State) Pending(user string) bool { return s.members[user].Pending() }

// Silent reports whether presence, typing and receipts stay away from a direct conversation: one has not
// accepted the other, or blocks them.
func (s *State) Silent() bool {
	if !s.Direct {
		return false
	}
	for _, m := range s.members {
		if m.Pending() || m.Unheard() {
			return true
		}
	}
	return false
}

// other returns the other party of a direct conversation; the user themselves in their notes.
func (s *State) other(user string) string {
	a, b, _ := Parties(s.ID)
	if user == a {
		return b
	}
	return a
}

// approach decides about an event that somebody writes into a direct conversation, before anything else
// of it is looked at: it is refused, or it makes events that come first, or it begins a request.
func (s *State) approach(c *Command, kind Kind, d *draft) (*MemberChange, error) {
	other := s.other(c.Actor)
	if other == c.Actor {
		return nil, nil
	}
	if s.Head == 0 {
		return s.open(c, other)
	}
	me, they := s.members[c.Actor], s.members[other]
	if kind == KindDelete && me.Role != RoleNone {
		return nil, nil // nobody needs leave to withdraw what they said
	}
	switch {
	case me.Flags&FlagBlocks != 0:
		return nil, refuseBlocking()
	case they.Flags&FlagBlocks != 0:
		return nil, refuseUnwanted()
	case me.Pending(): // to answer is to accept
		d.add(KindJoin, &MemberChange{User: c.Actor, Role: RoleMember}, nil)
	case they.Pending() && they.Flags&FlagDeclined != 0:
		return nil, refuseUnwanted()
	case they.Pending() && s.Head >= maxPending:
		return nil, refuseMore()
	}
	return nil, nil
}

// open decides about the first message of a direct conversation.
func (s *State) open(c *Command, other string) (*MemberChange, error) {
	a := c.Approach
	switch {
	case a == nil:
		return nil, nil
	case a.Blocking:
		return nil, refuseBlocking()
	case a.Blocked:
		return nil, refuseUnwanted()
	case a.Known:
		return nil, nil
	case a.Messages == MessagesShared:
		return nil, refuseUnwanted()
	case a.Messages == MessagesRequests:
		return &MemberChange{User: other, By: c.Actor}, nil
	}
	return nil, nil
}

// decideDirect is for the commands of direct conversations that write no message.
func (s *State) decideDirect(c *Command, now int64, lim *Limits) (Decision, error) {
	if !s.isParty(c.Actor) {
		return Decision{}, NoSuchConversation()
	}
	me := s.members[c.Actor]
	switch c.Op {
	case OpBlock, OpUnblock:
		return s.decideBlock(c)
	case OpUpdate:
		return s.decideTune(c, now, lim)
	case OpTake, OpDismiss:
		if s.Head == 0 {
			return Decision{}, Refuse(NotFound, "there is no message request of that user")
		}
	default:
		return Decision{}, Refuse(BadRequest,
			"a direct conversation has no settings and always the same two members: create a group for that")
	}
	switch {
	case c.Op == OpDismiss && me.Role != RoleNone:
		return Decision{}, Refuse(Conflict, "you have accepted their messages already: block the user to get no more")
	case c.Op == OpDismiss && me.Flags&FlagDeclined != 0, c.Op == OpTake && me.Role != RoleNone:
		return s.unchanged()
	case c.Op == OpDismiss:
		return Decision{Seq: s.Head, Marks: []Mark{{c.Actor, me.Flags | FlagDeclined}}}, nil
	case me.Flags&FlagBlocks != 0:
		return Decision{}, refuseBlocking()
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindJoin, &MemberChange{User: c.Actor, Role: RoleMember}, nil)
	return d.decision()
}

// decideBlock notes at both sides whether the actor takes nothing from the other. Before the conversation
// begins there is nothing to note it at: [Approach] tells then.
func (s *State) decideBlock(c *Command) (Decision, error) {
	other := s.other(c.Actor)
	if other == c.Actor {
		return Decision{}, Refuse(BadRequest, "nobody can block themselves")
	}
	me, they := s.members[c.Actor].Flags, s.members[other].Flags
	if c.Op == OpBlock {
		me, they = me|FlagBlocks, they|FlagBlocked
	} else {
		me, they = me&^FlagBlocks, they&^FlagBlocked
	}
	if s.Head == 0 || me == s.members[c.Actor].Flags && they == s.members[other].Flags {
		return s.unchanged()
	}
	return Decision{Seq: s.Head, Marks: []Mark{{c.Actor, me}, {other, they}}}, nil
}

// begin makes the two users of a direct conversation its members; one who is asked first waits.
func (s *State) begin(e *Event) Changes {
	a, b, ok := Parties(s.ID)
	if !ok {
		return Changes{}
	}
	m := Member{Role: RoleMember, Since: 1, Joined: 1}
	asks := e.Member != nil && e.Member.Role == RoleNone
	for _, user := range [...]string{a, b} {
		m := m
		switch {
		case asks && user == e.Member.User:
			m.Role, m.Flags = RoleNone, FlagPending
		case asks:
			m.Flags = FlagWaiting
		}
		s.setMember(user, m)
	}
	if a == b {
		return Changes{Members: []string{a}}
	}
	return Changes{Members: []string{a, b}}
}

// applyDirect applies an event of a direct conversation that has begun.
func (s *State) applyDirect(e *Event) Changes {
	if e.Kind == KindInfo {
		return s.tune(e)
	}
	if e.Kind != KindJoin || e.Member == nil || !s.Pending(e.Member.User) {
		return Changes{}
	}
	user, other := e.Member.User, s.other(e.Member.User)
	m, o := s.members[user], s.members[other]
	m.Role, m.Joined = RoleMember, e.Seq
	m.Flags = m.Flags&^(FlagPending|FlagDeclined) | FlagAccepted
	o.Flags &^= FlagWaiting
	s.setMember(user, m)
	s.setMember(other, o)
	return Changes{Members: []string{user, other}}
}

// OfLog returns the member as the conversation's log leads to it, without the marks beside it.
func (m Member) OfLog() Member {
	m.Flags &= FlagPending | FlagWaiting | FlagAccepted
	return m
}

// refuseUnwanted is the one answer to whoever is blocked, was declined or is a stranger to somebody who
// takes nothing from strangers: nobody learns which it is.
func refuseUnwanted() error {
	return Refuse(NotAuthorized, "this user takes no direct messages from you: ask to become their contact, or meet in a group")
}

func refuseMore() error {
	return Refuse(RateLimited, "they have not accepted your messages yet, and %d events wait already: write on when they have", maxPending)
}

func refuseBlocking() error {
	return Refuse(NotAuthorized, "you have blocked this user: unblock them first")
}
