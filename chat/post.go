package chat

import "unicode/utf8"

// decideAppend is for the events that members write. A retry is answered before anything else is looked
// at: what was stored stays stored, also for a sender who has left since, and a PUBACK that got lost must
// be repeated (PROTOCOL: Delivery 4).
func (s *State) decideAppend(c *Command, now int64, lim *Limits) (Decision, error) {
	if c.Prior != nil && c.Prior.Hash == c.Hash {
		return Decision{Seq: c.Prior.Seq, Duplicate: true}, nil
	}
	if err := s.mayAppend(c.Actor, &c.Event, now); err != nil {
		return Decision{}, err
	}
	if c.Prior != nil {
		return Decision{}, Refuse(Conflict, "an event with this id and other content is stored as seq %d: use a new id", c.Prior.Seq)
	}
	if err := checkServerFields(&c.Event); err != nil {
		return Decision{}, err
	}
	if err := checkSizes(&c.Event, lim); err != nil {
		return Decision{}, err
	}
	if err := checkContent(&c.Event); err != nil {
		return Decision{}, err
	}
	if err := s.checkMentions(&c.Event); err != nil {
		return Decision{}, err
	}
	at := s.clock(now)
	var subject, thread uint64
	if c.Event.Re != 0 {
		var err error
		if subject, thread, err = s.aim(c, at); err != nil {
			return Decision{}, err
		}
		if d, done, err := s.repeated(c); done || err != nil {
			return d, err
		}
	}
	var d draft
	var asks *MemberChange
	if s.Direct {
		var err error
		d = draft{from: c.Actor, at: at, next: s.Head + 1}
		if asks, err = s.approach(c, kindOf(&c.Event), &d); err != nil {
			return Decision{}, err
		}
	}
	events := append(d.events, c.Event)
	e := &events[len(events)-1]
	e.Seq, e.From, e.At, e.Member = s.Head+uint64(len(events)), c.Actor, at, asks
	e.Kind, e.Re, e.Thread, e.Fwd = kindOf(e), subject, thread, c.Fwd
	e.Expire = s.expiry(e, c.Target, at)
	switch e.Kind {
	case KindReact, KindUnreact:
		e.Emoji, _ = Emoji(e.Emoji)
	}
	return Decision{Events: events, Seq: e.Seq}, nil
}

// expiry is when an event disappears, in seconds after at: when its sender said, or when the conversation says
// of posts whose sender said nothing. What is forwarded out of a disappearing message stays no longer than
// either says. An act upon a post has no time of its own: it goes with the post.
func (s *State) expiry(e *Event, target *Event, at int64) uint64 {
	own, usual := e.Expire, uint64(s.Info.Expire)
	switch {
	case e.Kind == KindEdit:
		return editExpire(own, target, at)
	case e.Kind != KindPost:
		return 0
	case own == 0:
		return usual
	case e.Fwd != nil && usual > 0:
		return min(own, usual)
	}
	return own
}

// editExpire makes the new text of a post disappear with the post, not later.
func editExpire(own uint64, t *Event, at int64) uint64 {
	if t.Expire == 0 {
		return own
	}
	left := uint64(max(1, (t.Due()-at+999)/1000))
	if own == 0 {
		return left
	}
	return min(own, left)
}

func kindOf(e *Event) Kind {
	if e.Kind == 0 {
		return KindPost
	}
	return e.Kind
}

// checkServerFields refuses what only the server may set; ignoring it would hide a client's mistake.
func checkServerFields(e *Event) error {
	switch {
	case e.Seq != 0 || e.From != "" || e.At != 0 || e.Thread != 0:
		return Refuse(BadRequest, "seq, from, at and thread are set by the server: leave them out")
	case e.Member != nil || e.Info != nil || e.Conv != "" || e.Fwd != nil:
		return Refuse(BadRequest, "member, info, conv and fwd are set by the server: leave them out and send a request instead")
	case e.Kind >= KindCreate:
		return Refuse(BadRequest, "events of this kind are made by the server: send a request instead")
	case e.Kind > KindUnpin:
		return Refuse(BadRequest, "the kind of an event is post, edit, delete, react, unreact, pin or unpin")
	}
	return nil
}

func checkSizes(e *Event, lim *Limits) error {
	if len(e.Text) > lim.TextBytes {
		return Refuse(TooLarge, "text is at most %d bytes: send it as several posts", lim.TextBytes)
	}
	if len(e.Ext) > lim.ExtBytes {
		return Refuse(TooLarge, "ext is at most %d bytes", lim.ExtBytes)
	}
	size := len(e.ID) + len(e.Text) + len(e.Emoji) + len(e.Media) + len(e.Enc) + len(e.Ext) + len(e.Extra)
	for _, user := range e.Mentions {
		size += len(user) + 1
	}
	if size > lim.EventBytes {
		return Refuse(TooLarge, "an event is at most %d bytes: send it as several", lim.EventBytes)
	}
	return nil
}

// checkContent holds each field to its form and each kind to the fields that it needs.
func checkContent(e *Event) error {
	if len(e.ID) > maxIDBytes || !isLine(e.ID) { // the store's keys end strings with a zero byte
		return Refuse(BadRequest, "id is at most %d bytes of UTF-8 without control characters", maxIDBytes)
	}
	if !utf8.ValidString(e.Text) {
		return Refuse(BadRequest, "text is UTF-8")
	}
	if e.Expire > maxExpire {
		return Refuse(BadRequest, "expire is at most %d seconds; without it an event stays", uint64(maxExpire))
	}
	for _, user := range e.Mentions {
		if !ValidUser(user) {
			return Refuse(BadRequest, "mentions has something that is no user id")
		}
	}
	kind := kindOf(e)
	if kind != KindPost && e.Re == 0 {
		return Refuse(BadRequest, "an event that acts upon another names its seq in re")
	}
	switch kind {
	case KindReact, KindUnreact:
		if _, ok := Emoji(e.Emoji); !ok {
			return Refuse(BadRequest, "a reaction has one emoji, and nothing else in emoji: for words write a reply")
		}
		return bare(e)
	case KindDelete, KindPin, KindUnpin:
		if err := bare(e); err != nil {
			return err
		}
	case KindPost:
		if e.Text == "" && len(e.Enc) == 0 && len(e.Media) == 0 && len(e.Ext) == 0 && len(e.Extra) == 0 {
			return Refuse(BadRequest, "a post has text, media, enc or ext")
		}
	case KindEdit:
		if e.Text == "" && len(e.Enc) == 0 {
			return Refuse(BadRequest, "an edit has the new text or enc; to withdraw a post delete it")
		}
	}
	if e.Emoji != "" {
		return Refuse(BadRequest, "emoji is for reactions: set kind to react or unreact, or leave it out")
	}
	return nil
}

// bare refuses what has no place in an event that only names another.
func bare(e *Event) error {
	if e.Text != "" || len(e.Media) > 0 || len(e.Mentions) > 0 {
		return Refuse(BadRequest, "text, media and mentions are for posts and edits: to say something write a reply")
	}
	return nil
}

// checkMentions: a mention is a promise that its user is told, so it must be somebody who reads here.
func (s *State) checkMentions(e *Event) error {
	for _, user := range e.Mentions {
		if m, _ := s.Member(user); m.Role == RoleNone && !s.isParty(user) {
			return Refuse(BadRequest, "mentions has somebody who is no member here: mention members, or write the name as text")
		}
	}
	return nil
}

// aim finds out what the event Re is about: the seq that the new event is to name, and its thread.
// An edit stands for the post that it changed, so that all that happens to a post names one seq; edits
// carry the thread of their post for the same reason.
func (s *State) aim(c *Command, at int64) (subject, thread uint64, err error) {
	t := c.Target
	if t == nil || t.Seq != c.Event.Re || isGone(t, at) || !s.CanRead(c.Actor, t.Seq) {
		return 0, 0, refuseNoEvent(c.Event.Re)
	}
	subject = t.Seq
	post := t
	switch t.Kind {
	case KindEdit:
		subject, post = t.Re, c.Subject
		if post == nil || isGone(post, at) || !s.CanRead(c.Actor, subject) {
			return 0, 0, refuseNoEvent(c.Event.Re)
		}
	case KindDelete, KindReact, KindUnreact, KindPin, KindUnpin:
		return 0, 0, Refuse(BadRequest, "seq %d acts upon another event itself: name that one in re", t.Seq)
	}
	switch kindOf(&c.Event) {
	case KindPost:
		thread = t.Thread
		if thread == 0 {
			thread = subject
		}
	case KindEdit:
		thread = t.Thread
		err = mayEdit(c.Actor, t)
	case KindDelete:
		err = s.mayDelete(c.Actor, post, at)
	}
	return subject, thread, err
}

// isGone reports whether t is a stub, or has expired without having been taken away yet.
func isGone(t *Event, at int64) bool {
	return t.Kind >= KindGone || t.Expired(at)
}

func mayEdit(actor string, t *Event) error {
	if t.Kind != KindPost && t.Kind != KindEdit {
		return Refuse(BadRequest, "only posts can be edited")
	}
	if t.From != actor {
		return Refuse(NotAuthorized, "only its author edits a post: write a reply")
	}
	return nil
}

// mayDelete: the author, and moderators upwards; but nobody acts upon an equal or higher role, so a
// moderator cannot withdraw what an admin said (PROTOCOL: Roles). Who has left has no role any more.
func (s *State) mayDelete(actor string, t *Event, at int64) error {
	if t.Kind != KindPost && t.Kind != KindEdit {
		return Refuse(BadRequest, "only posts can be deleted")
	}
	if t.From == actor {
		return s.mayWithdraw(actor, t, at)
	}
	if s.Direct {
		return Refuse(NotAuthorized, "only its author deletes a post: ask them")
	}
	if err := s.may(actor, ActDelete); err != nil {
		return err
	}
	if a, author := s.members[actor].Role, s.members[t.From].Role; author >= a {
		return refuseRank(a, author)
	}
	return nil
}

// mayWithdraw holds authors to the time that the group gives them for deleting a post for everyone. It does
// not bind who may delete the posts of others, nor those who write to each other directly.
func (s *State) mayWithdraw(actor string, t *Event, at int64) error {
	within := int64(s.Info.Withdraw) * 1000
	if s.Direct || within == 0 || at <= t.At+within {
		return nil
	}
	if s.members[actor].Role >= RoleModerator && s.may(actor, ActDelete) == nil {
		return nil
	}
	return Refuse(NotAuthorized, "posts are deleted for everyone within %s here: hide it for yourself, or ask a moderator", span(within))
}

func refuseNoEvent(seq uint64) error {
	return Refuse(NotFound, "there is no event %d here that you can see: check re", seq)
}
