package chat

// Op is what a command asks for.
type Op uint8

// Operations on a conversation.
const (
	OpAppend Op = 1 // append Command.Event (post, edit, ...)
	OpCreate Op = 2 // create the group: Info, Members, Actor becomes owner
	OpUpdate Op = 3 // change Info
	OpEnd    Op = 4 // delete the group
	OpJoin   Op = 5 // Actor joins an open group
	OpLeave  Op = 6
	OpAdd    Op = 7 // Actor adds User with Role
	OpRemove Op = 8
	OpRole   Op = 9
)

// Command is a request of Actor to change one conversation.
type Command struct {
	Op      Op
	Actor   string
	Event   Event       // OpAppend: the fields that a sender may set
	User    string      // OpAdd, OpRemove, OpRole
	Role    Role        // OpAdd, OpRole
	Info    *InfoChange // OpCreate, OpUpdate
	Members []string    // OpCreate: who else is a member from the start

	// What the owner looked up for the decision.
	Target *Event // the event that Event.Re names, nil if there is none
	Prior  *Prior // what is stored under (Actor, conversation, Event.ID), nil if nothing is
	Hash   uint64 // of the event's content, as Prior.Hash was
}

// Prior is the earlier event with the same idempotency key.
type Prior struct {
	Seq  uint64
	Hash uint64
}

// Decision is what a command leads to.
type Decision struct {
	Events    []Event // to append, in order; Seq and At are set. Empty when nothing changes.
	Seq       uint64  // the seq that answers the sender: the first new event, or the prior one
	Duplicate bool    // the command was carried out before: no Events, answer once Seq is durable
}

// Changes names what Apply changed beside the head, so that the owner can store it in the same batch.
type Changes struct {
	Members []string // these members' records
	Info    bool
}

// Decide says which events the command leads to, or refuses it with a [*Refusal]. It changes nothing:
// the caller appends the events, then hands each of them to [State.Apply]. now is the server's clock
// in ms since 1970; the events' At never goes back within a log, even where that clock does.
//
// The slices and pointers of c.Event belong to the log from here on. Decide must not run at the same
// time as Apply or MemberList.
func (s *State) Decide(c Command, now int64, lim Limits) (Decision, error) {
	if c.Op == OpAppend {
		return s.decideAppend(&c, now, &lim)
	}
	if s.Direct {
		if !s.isParty(c.Actor) {
			return Decision{}, NoSuchConversation()
		}
		return Decision{}, Refuse(BadRequest,
			"a direct conversation has no settings and always the same two members: create a group for that")
	}
	switch c.Op {
	case OpCreate:
		return s.decideCreate(&c, now, &lim)
	case OpJoin:
		return s.decideJoin(&c, now, &lim)
	}
	actor, ok := s.Member(c.Actor)
	if !ok {
		return Decision{}, s.refuseOutsider()
	}
	switch c.Op {
	case OpUpdate:
		return s.decideUpdate(&c, actor.Role, now, &lim)
	case OpEnd:
		return s.decideEnd(&c, actor.Role, now)
	case OpLeave:
		return s.decideLeave(&c, actor.Role, now)
	case OpAdd:
		return s.decideAdd(&c, actor.Role, now, &lim)
	case OpRemove:
		return s.decideRemove(&c, actor.Role, now)
	case OpRole:
		return s.decideRole(&c, actor.Role, now)
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
