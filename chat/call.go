package chat

import "slices"

// decideCall is for the event of a call that ended. It happened, so neither a role nor a block nor that the caller has
// left since keeps it out of the log. To have answered a call is to have accepted who called. Approach is looked
// at where the direct conversation begins with the call: that the other did not take it is a request.
func (s *State) decideCall(c *Command, now int64) (Decision, error) {
	if c.Prior != nil && c.Prior.Hash == c.Hash {
		return Decision{Seq: c.Prior.Seq, Duplicate: true}, nil
	}
	switch {
	case s.Direct && !s.isParty(c.Actor), !s.Direct && (s.Head == 0 || s.Ended):
		return Decision{}, NoSuchConversation()
	case c.Event.ID == "":
		return Decision{}, Refuse(BadRequest, "a call has an id")
	}
	d := s.draft(c.Actor, now, 2)
	var asks *MemberChange
	if s.Direct {
		other := s.other(c.Actor)
		took := other == c.Actor || slices.Contains(c.Members, other)
		switch {
		case s.Head == 0 && !took:
			var err error
			if asks, err = s.open(c, other); err != nil {
				return Decision{}, err
			}
		case s.Pending(c.Actor):
			d.add(KindJoin, &MemberChange{User: c.Actor, Role: RoleMember}, nil)
		case s.Pending(other) && took:
			d.add(KindJoin, &MemberChange{User: other, Role: RoleMember}, nil)
			d.events[0].From = other
		}
	}
	e := c.Event
	e.Seq, e.From, e.At, e.Kind, e.Member = d.next, c.Actor, d.at, KindCall, asks
	d.events = append(d.events, e)
	return Decision{Events: d.events, Seq: e.Seq}, nil
}

// MayCall returns nil if the user may start a call in the conversation at this time (ms since 1970), or the refusal
// that says why not. Whom a user may call directly depends on more than the conversation.
func (s *State) MayCall(user string, now int64) error {
	if err := s.May(user, ActCall); err != nil {
		return err
	}
	return s.notMuted(user, now)
}

// Callers says who may call a user directly. The numbers are stored: never renumber.
type Callers uint8

// Who may call. Zero leaves it to the server.
const (
	CallersDefault  Callers = 0
	CallersAnyone   Callers = 1
	CallersAccepted Callers = 2 // with whom they have a direct conversation that both have accepted, and contacts
	CallersNobody   Callers = 3
)

var callersNames = [...]string{CallersAnyone: "anyone", CallersAccepted: "accepted", CallersNobody: "nobody"}

// String returns the word on the wire; "" for CallersDefault.
func (c Callers) String() string { return wordOf(callersNames[:], int(c)) }

// ParseCallers is the reverse of String; "" is none.
func ParseCallers(word string) (Callers, bool) {
	i, ok := numberOf(callersNames[:], word)
	return Callers(i), ok
}

// Relay says when the media of a user's calls go through a relay, so that the others don't learn the user's
// addresses. The numbers are stored: never renumber.
type Relay uint8

// When media are relayed. Zero is RelayNever.
const (
	RelayDefault       Relay = 0
	RelayNever         Relay = 1
	RelayUntilAccepted Relay = 2 // until the user has accepted the call
	RelayAlways        Relay = 3
)

var relayNames = [...]string{RelayNever: "never", RelayUntilAccepted: "until-accepted", RelayAlways: "always"}

// String returns the word on the wire; "" for RelayDefault.
func (r Relay) String() string { return wordOf(relayNames[:], int(r)) }

// ParseRelay is the reverse of String; "" is none.
func ParseRelay(word string) (Relay, bool) {
	i, ok := numberOf(relayNames[:], word)
	return Relay(i), ok
}

func wordOf(names []string, n int) string {
	if n < len(names) {
		return names[n]
	}
	return ""
}

func numberOf(names []string, word string) (int, bool) {
	i := slices.Index(names, word)
	return max(i, 0), i > 0
}
