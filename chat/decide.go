package chat

// Op is what a command asks for.
type Op uint8

// Operations on a conversation.
const (
	OpAppend Op = 1 // append Command.Event (post, edit, ...)
	OpCreate Op = 2 // create the group: Info, Members, Actor becomes owner
	OpUpdate Op = 3 // change Info
	OpEnd    Op = 4 // delete the group
	OpJoin   Op = 5 // Actor joins an open group, or asks to join one that takes requests
	OpLeave  Op = 6
	OpAdd    Op = 7 // Actor adds User with Role
	OpRemove Op = 8
	OpRole   Op = 9

	OpBan     Op = 10 // Actor keeps User out until Until, a member or not
	OpUnban   Op = 11
	OpMute    Op = 12 // User may not post before Until; 0: may again
	OpApprove Op = 13 // User's request to join is granted
	OpDeny    Op = 14
	OpInvite  Op = 15 // Invite, under Code
	OpRevoke  Op = 16 // the invitation Code ends
	OpAccept  Op = 17 // Actor joins by the invitation Code

	OpCall Op = 30 // a call of Actor's ended: Event, in which Members took part. Of the server, for nobody asks for it
)

// Command is a request of Actor to change one conversation.
type Command struct {
	Op      Op
	Actor   string
	Event   Event       // OpAppend: the fields that a sender may set
	User    string      // OpAdd, OpRemove, OpRole, OpBan, OpUnban, OpMute, OpApprove, OpDeny
	Role    Role        // OpAdd, OpRole
	Info    *InfoChange // OpCreate, OpUpdate
	Members []string    // OpCreate: who else is a member from the start; OpCall: who took part
	Until   int64       // OpBan, OpMute: ms since 1970; a ban until 0 is for good
	Text    string      // OpJoin: words for those who decide about a request
	Code    string      // OpInvite, OpRevoke, OpAccept
	Invite  Invite      // OpInvite: Uses and Expires
	Fwd     *Forward    // OpAppend: the post is forwarded; what it may tell of its origin. Set by the server only.

	// What the owner looked up for the decision. Approach is what the two of a direct conversation are to each
	// other, when its first message comes; nil: nothing stands in its way.
	Approach *Approach
	Target   *Event // the event that Event.Re names, nil if there is none
	Subject  *Event // the post that Target edits, if it is an edit and the post is there
	Acts     Acts   // what has been done to that event before
	Prior    *Prior // what is stored under (Actor, conversation, Event.ID), nil if nothing is
	Hash     uint64 // of the event's content, as Prior.Hash was
}

// Prior is the earlier event with the same idempotency key.
type Prior struct {
	Seq  uint64
	Hash uint64
}

// Decision is what a command leads to.
type Decision struct {
	Events    []Event      // to append, in order; Seq and At are set. Empty when nothing changes.
	Seq       uint64       // the seq that answers the sender: the first new event, or the prior one
	Duplicate bool         // the command was carried out before: no Events, answer once Seq is durable
	Marks     []Mark       // to be handed to [State.Mark] after the events: changes that leave no event
	Gate      []GateChange // requests and invitations that come, change or go with the Events
	Pending   bool         // OpJoin: the actor is no member yet, their request waits
}

// Changes names what Apply changed beside the head, so that the owner can store it in the same batch.
type Changes struct {
	Members []string // these members' records; of whoever has an empty one now, the record goes
	Info    bool
}

// Decide says which events the command leads to, or refuses it with a [*Refusal]. It changes nothing:
// the caller appends the events, then hands each of them to [State.Apply], and after them Gate to
// [State.ApplyGate]. now is the server's clock
// in ms since 1970; the events' At never goes back within a log, even where that clock does.
//
// The slices and pointers of c.Event belong to the log from here on. Decide must not run at the same
// time as Apply or MemberList.
func (s *State) Decide(c Command, now int64, lim Limits) (Decision, error) {
	if c.Op == OpAppend {
		return s.decideAppend(&c, now, &lim)
	}
	if c.Op == OpCall {
		return s.decideCall(&c, now)
	}
	if s.Direct {
		return s.decideDirect(&c, now, &lim)
	}
	switch c.Op {
	case OpCreate:
		return s.decideCreate(&c, now, &lim)
	case OpJoin:
		return s.withGate(s.decideJoin(&c, now, &lim))
	case OpAccept:
		return s.withGate(s.decideAccept(&c, now, &lim))
	}
	actor, ok := s.Member(c.Actor)
	switch {
	case !ok && c.Op == OpLeave && s.Requested(c.Actor):
		return s.withdraw(c.Actor, now)
	case !ok:
		return Decision{}, s.refuseOutsider()
	}
	return s.withGate(s.decideAsMember(&c, actor.Role, now, &lim))
}

// decideAsMember is for what only a member of the group may ask for.
func (s *State) decideAsMember(c *Command, role Role, now int64, lim *Limits) (Decision, error) {
	switch c.Op {
	case OpUpdate:
		return s.decideUpdate(c, role, now, lim)
	case OpEnd:
		return s.decideEnd(c, role, now)
	case OpLeave:
		return s.decideLeave(c, role, now)
	case OpAdd:
		return s.decideAdd(c, role, now, lim)
	case OpRemove:
		return s.decideRemove(c, role, now)
	case OpRole:
		return s.decideRole(c, role, now)
	case OpBan:
		return s.decideBan(c, role, now)
	case OpUnban:
		return s.decideUnban(c, role, now)
	case OpMute:
		return s.decideMute(c, role, now)
	case OpApprove:
		return s.decideApprove(c, now, lim)
	case OpDeny:
		return s.decideDeny(c, now)
	case OpInvite:
		return s.decideInvite(c, now)
	case OpRevoke:
		return s.decideRevoke(c, role)
	}
	return Decision{}, Refuse(BadRequest, "operation %d is unknown to this server", c.Op)
}

// unchanged answers a command whose result is there already. Its Seq is the head, because the event
// that brought the result about is at or before it.
func (s *State) unchanged() (Decision, error) {
	return Decision{Seq: s.Head, Duplicate: true}, nil
}

// draft gathers the events of one decision.
type draft struct {
	from   string
	at     int64
	next   uint64
	events []Event
}

func (s *State) draft(from string, now int64, room int) draft {
	return draft{from: from, at: s.clock(now), next: s.Head + 1, events: make([]Event, 0, room)}
}

func (d *draft) add(k Kind, m *MemberChange, i *InfoChange) {
	d.events = append(d.events, Event{Seq: d.next, From: d.from, At: d.at, Kind: k, Member: m, Info: i})
	d.next++
}

func (d *draft) decision() (Decision, error) {
	return Decision{Events: d.events, Seq: d.events[0].Seq}, nil
}
