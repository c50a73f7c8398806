package call

import (
	"cmp"
	"slices"

	"github.com/petrelchat/petrel/chat"
)

// Verb is what a Command is about.
type Verb uint8

// The verbs. Those from Came on are what happens, not what somebody asks for.
const (
	Start Verb = iota + 1
	Rings      // a device rings
	Accept
	Decline
	Cancel
	Hangup
	Join
	Leave
	Resume
	Signal
	FromSFU // the SFU has a signal for a party
	Came    // a party's device is connected
	Went    // a party's device is gone
	Removed // the user may no longer; "": nobody may
	Restart // the server has no connections yet
	Tick
)

// Callee is somebody who is to be rung.
type Callee struct {
	User    string
	Waiting bool // has a call
	Busy    bool // and another one that waits
	Silent  bool // wants no device to ring
}

// Command is what somebody wants, or what happened. Fields that a verb doesn't have are ignored.
type Command struct {
	Verb         Verb
	User, Device string // who; Device is the client id
	Here         bool   // Device is connected and hears what it is told
	Member       bool   // the user may take part in calls of the conversation

	NewParty string   // the id of the party that comes into being, if one does
	Media    Media    // Start, Accept, Join, Resume; of Signal the party's new media
	HasMedia bool     // Media was said
	Ring     []Callee // Start, Join
	SFU      bool     // there is one

	Call, Conv string // Start
	Direct     bool   // Start
	Key        string // Start: idempotency key
	Retry      string // Start: what a retry is known by if there is no Key

	ForDevice bool   // Decline: for this device only
	Reason    string // Decline: "busy"; Hangup: "failed"
	Party     string // Resume: the party that is to be on this device
	Hears     []string
	Fresh     bool

	To   string // Signal, FromSFU
	Of   uint32 // Signal: epoch of To that the sender knows; 0: it does not say
	Type string // Signal: offer, answer, candidates or negotiate
	Hold *bool  // Signal, negotiate
	Void bool   // Signal: nothing of it is to be passed on
}

// SFUParty is the party that the SFU has in every call that goes through it.
const SFUParty = "sfu"

// EffectKind is what follows from a decision.
type EffectKind uint8

// The effects, in the order in which they are carried out.
const (
	TellRing   EffectKind = iota + 1 // User's devices but those of Ring.Deaf ring
	TellState                        // all whom the call concerned before or concerns now hear how it stands, and of a group's call its members
	TellTaken                        // User's devices but Device ring no more
	TellMissed                       // User's devices ring no more, and nobody answered
	PassOn                           // the signal goes from party From to Party
	Forget                           // what is kept for Party goes; the SFU ends what it has of it
	Finish                           // the call has ended
)

// Effect is something that follows once the next State is durable.
type Effect struct {
	Kind                      EffectKind
	User, Device, Party, From string
}

// Limits of a call.
type Limits struct {
	Parties  int // at most
	Mesh     int // that connect to each other; with one more the call goes through the SFU
	MeshOnly int // the same where there is none
}

// Decide says what becomes of a call. It changes nothing that it was given. The next State is s itself if nothing
// changes; if only what needs not survive a crash does, its Version is that of s. With a refusal too the time may
// have changed the call, so the next State and the effects count in any case. now is in ms since 1970 UTC.
func Decide(s *State, c *Command, now int64, lim *Limits) (next *State, effects []Effect, err error) {
	if s == nil {
		s = &State{}
	}
	t := turn{was: s, s: s, now: now, lim: lim}
	if c.Verb == Restart {
		t.restart()
	}
	t.pass(now)
	err = t.carry(c)
	slices.SortStableFunc(t.eff, func(a, b Effect) int { return int(a.Kind) - int(b.Kind) })
	return t.s, t.eff, err
}

// turn is one decision.
type turn struct {
	was, s *State // the same until something changes
	now    int64
	lim    *Limits
	eff    []Effect
}

func (t *turn) carry(c *Command) error {
	if c.Verb >= Came && c.Verb <= Tick {
		if t.s.Live() {
			t.happened(c)
		}
		return nil
	}
	if t.s.Phase == Ended {
		switch c.Verb {
		case Decline, Cancel, Hangup, Leave:
			return nil // it is as they want it
		}
		return RefuseOver()
	}
	if c.Verb == Start {
		return t.start(c)
	}
	if t.s.Phase == 0 || !c.Member && c.Verb != FromSFU {
		return RefuseUnknown()
	}
	switch c.Verb {
	case Rings:
		return t.rings(c)
	case Accept, Join:
		return t.enter(c)
	case Decline:
		return t.decline(c)
	case Cancel, Hangup, Leave:
		return t.hangup(c)
	case Resume:
		return t.resume(c)
	case Signal:
		return t.signal(c)
	case FromSFU:
		return t.fromSFU(c)
	}
	return chat.Refuse(chat.BadRequest, "there is no such verb")
}

// RefuseOver is the refusal of what comes after a call's end.
func RefuseOver() error { return chat.Refuse(chat.NotFound, "the call is over") }

// RefuseUnknown is the refusal for whom a call is none of their business, or that does not exist.
func RefuseUnknown() error {
	return chat.Refuse(chat.NotFound, "there is no such call for you: rpc/call.state lists those that are")
}

func refuseTaken() error {
	return chat.Refuse(chat.Conflict, "taken on another device: publish resume with its party to take it over")
}

// edit returns the next State to change what is seen or must survive, soft what needs not.
func (t *turn) edit() *State {
	n := t.soft()
	if n.Version == t.was.Version {
		n.Version++
	}
	return n
}

func (t *turn) soft() *State {
	if t.s == t.was {
		t.s = t.was.clone()
	}
	return t.s
}

// tell has everybody hear of a change, once.
func (t *turn) tell() {
	if !slices.ContainsFunc(t.eff, func(e Effect) bool { return e.Kind == TellState }) {
		t.add(Effect{Kind: TellState})
	}
}

func (t *turn) add(e Effect) { t.eff = append(t.eff, e) }

func (t *turn) start(c *Command) error {
	if !c.Member {
		return RefuseUnknown()
	}
	if t.s.Live() {
		return t.startAgain(c)
	}
	n := t.edit()
	*n = State{
		ID: c.Call, Conv: c.Conv, Direct: c.Direct, From: c.User, Phase: New, Version: 1, Media: c.Media, Started: t.now,
		Parties: []Party{t.party(c)},
	}
	t.presence()
	t.tell()
	for _, r := range c.Ring {
		if c.Direct && r.Busy {
			n.Rings = append(n.Rings, Ring{User: r.User, At: t.now})
			t.end(Busy, Reason(Busy))
			return nil
		}
		t.ring(r)
	}
	if !n.Direct {
		n.Alone = t.now
	}
	return nil
}

// startAgain is a start where a call lives already: a retry, the other one's call, or a group's that is joined.
func (t *turn) startAgain(c *Command) error {
	p := t.s.PartyOf(c.User)
	switch {
	case !t.s.Direct || p == nil:
		return t.enter(c) // glare: who starts a call to somebody who calls them accepts that call
	case p.Device != c.Device:
		return chat.Refuse(chat.Conflict, "there is a call on another device of yours: publish resume with its party to take it over")
	case c.Key != "" && c.Key != p.Key:
		return chat.Refuse(chat.Conflict, "this device has a call there already: hang up first")
	}
	return nil
}

// party is the party of whom the command is from. Its device is away if it does not hear what it is told.
func (t *turn) party(c *Command) Party {
	p := Party{ID: c.NewParty, User: c.User, Device: c.Device, Key: cmp.Or(c.Key, c.Retry), Media: c.Media, Epoch: 1}
	if !c.HasMedia && c.Verb != Start {
		p.Media = t.s.Media
	}
	if !c.Here {
		p.Away = t.now
	}
	return p
}

// ring calls somebody who is neither there nor called.
func (t *turn) ring(r Callee) {
	if t.s.Concerns(r.User) || r.Busy || len(t.s.Rings) >= t.lim.Parties {
		return
	}
	n := t.edit()
	n.Rings = append(n.Rings, Ring{User: r.User, At: t.now, Waiting: r.Waiting, Silent: r.Silent})
	if !r.Silent {
		// Who missed it a moment ago, in the same decision, is called again: the last word counts.
		t.eff = slices.DeleteFunc(t.eff, func(e Effect) bool { return e.Kind == TellMissed && e.User == r.User })
		t.add(Effect{Kind: TellRing, User: r.User})
	}
	t.tell()
}

// rings starts the clock of a user's ringing. Only the first device changes something.
func (t *turn) rings(c *Command) error {
	r := t.s.RingOf(c.User)
	if r == nil {
		if t.s.PartyOf(c.User) != nil {
			return refuseTaken() // it must fall silent
		}
		return RefuseUnknown()
	}
	if r.First != 0 || slices.Contains(r.Deaf, c.Device) {
		return nil
	}
	n := t.edit()
	n.RingOf(c.User).First = t.now
	if n.Phase == New {
		n.Phase = Ringing
	}
	t.tell()
	return nil
}

// enter is accept, join, and a start where there is a call.
func (t *turn) enter(c *Command) error {
	if p := t.s.PartyOf(c.User); p != nil {
		switch {
		case p.Device != c.Device:
			return refuseTaken()
		case c.Verb == Accept && t.s.From == c.User && t.s.Early():
			return chat.Refuse(chat.Conflict, "it is for who was called to accept")
		}
		t.summon(c)
		return nil // again
	}
	if t.s.Direct && t.s.RingOf(c.User) == nil {
		return RefuseUnknown()
	}
	if err := t.room(c); err != nil {
		return err
	}
	n := t.edit()
	n.Parties = append(n.Parties, t.party(c))
	n.Media |= c.Media
	rung := n.RingOf(c.User) != nil
	n.Rings = slices.DeleteFunc(n.Rings, func(r Ring) bool { return r.User == c.User })
	if rung {
		t.add(Effect{Kind: TellTaken, User: c.User, Device: c.Device})
	}
	if n.Direct {
		n.Phase, n.Accepted = Connecting, t.now
	} else {
		n.Alone = 0
		t.begin()
	}
	t.presence()
	t.summon(c)
	t.tell()
	return nil
}

// room refuses whom a call has no room for, and makes a mesh that grows too large go through the SFU.
func (t *turn) room(c *Command) error {
	there := len(t.s.Parties)
	switch {
	case there >= t.lim.Parties:
		return chat.Refuse(chat.Unavailable, "the call is full: %d take part", there)
	case t.s.Direct || t.s.SFU != 0 || there < t.lim.Mesh:
		return nil
	case c.SFU:
		t.edit().SFU = 1
		return nil
	case there >= t.lim.MeshOnly:
		return chat.Refuse(chat.Unavailable, "the call is full: this server has no SFU, so that at most %d take part", t.lim.MeshOnly)
	}
	return nil
}

// summon rings further members of a group.
func (t *turn) summon(c *Command) {
	if !t.s.Direct {
		for _, r := range c.Ring {
			t.ring(r)
		}
	}
}

// begin makes a call active, and notes who takes part.
func (t *turn) begin() {
	n := t.edit()
	n.Phase, n.Offer = Active, ""
	if n.Began == 0 {
		n.Began = t.now
	}
	size := 0
	for _, u := range n.With {
		size += len(u) + 2
	}
	for i := range n.Parties {
		if u := n.Parties[i].User; !slices.Contains(n.With, u) {
			if size += len(u) + 2; size > maxWith {
				n.More = true
				return
			}
			n.With = append(n.With, u)
		}
	}
}
