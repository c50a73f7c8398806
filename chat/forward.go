package chat

// Origin returns what a post of this conversation may tell, once it is forwarded to another, of where it comes
// from. It is never nil: that a post was forwarded is always told.
//
// Author and time are told if the conversation's setting is ForwardOrigin, or, where nothing is set, if it is
// a public group, which everybody can read. The conversation itself and the seq are told only of a public
// group, and within the same conversation: nobody learns of a private one by a forwarded post. A post that was
// forwarded here tells what it told here, if at all.
func (s *State) Origin(post *Event, target string) *Forward {
	public := s.isPublic()
	switch {
	case s.Info.Forward == ForwardHidden, s.Info.Forward == "" && !public:
		return &Forward{}
	case post.Fwd != nil:
		f := *post.Fwd
		return &f
	}
	f := &Forward{From: post.From, At: post.At}
	if public || target == s.ID {
		f.Conv, f.Seq = s.ID, post.Seq
	}
	return f
}

// decideTune changes the settings of a direct conversation, which either of the two may: when messages
// disappear, and what a forwarded one tells.
func (s *State) decideTune(c *Command, now int64, lim *Limits) (Decision, error) {
	if i := c.Info; i == nil || i.Expire == nil && i.Forward == nil || *i != (InfoChange{Expire: i.Expire, Forward: i.Forward}) {
		return Decision{}, Refuse(BadRequest, "a direct conversation has the settings expire and forward, and always the same two members: create a group for more")
	}
	me, they := s.members[c.Actor], s.members[s.other(c.Actor)]
	switch {
	case s.Head == 0:
		return Decision{}, Refuse(Conflict, "the conversation begins with its first message: write one, then change its settings")
	case me.Flags&FlagBlocks != 0:
		return Decision{}, refuseBlocking()
	case they.Flags&FlagBlocks != 0, they.Flags&FlagDeclined != 0:
		return Decision{}, refuseUnwanted()
	case me.Role == RoleNone:
		return Decision{}, Refuse(Conflict, "this is a message request: accept it first")
	case they.Pending() && s.Head >= maxPending:
		return Decision{}, refuseMore()
	}
	if err := c.Info.check(lim); err != nil {
		return Decision{}, err
	}
	change, differs := s.Info.diff(c.Info)
	if !differs {
		return s.unchanged()
	}
	d := s.draft(c.Actor, now, 1)
	d.add(KindInfo, nil, change)
	return d.decision()
}

// tune applies a change of the settings of a direct conversation.
func (s *State) tune(e *Event) Changes {
	s.Info.set(e.Info)
	return Changes{Info: true}
}
