// Package call is the pure core of calls: begin with Decide, which takes what a call is, what somebody wants
// or what happened, and the time, and returns what the call is then and who is to be told what.
//
// Nothing here reads a clock, does I/O, starts a goroutine or holds a lock; States are values that are not changed
// once Decide returned them. A call is direct (two users, whoever is called accepts or not) or a group's (a
// room that people join and leave). It ends in each case by itself once nobody is there: State.Deadline says when
// Decide wants a Tick.
package call

import (
	"slices"

	"github.com/petrelchat/petrel/chat"
)

// Phase is how far a call has come. The numbers are stored: never renumber.
type Phase uint8

// The phases. That a call is reconnecting is not among them: it is active, and State.Reconnecting says so.
const (
	New        Phase = 1 // nobody's device has said that it rings
	Ringing    Phase = 2
	Connecting Phase = 3 // accepted; offer and answer are under way
	Active     Phase = 4
	Ended      Phase = 5
)

func (p Phase) String() string {
	switch p {
	case New:
		return "new"
	case Ringing:
		return "ringing"
	case Connecting:
		return "connecting"
	case Active:
		return "active"
	case Ended:
		return "ended"
	}
	return ""
}

// Outcome is what became of a call that ended, as it stands in the log of its conversation.
type Outcome string

// The outcomes.
const (
	Answered  Outcome = "answered"  // it was active, however it ended
	Missed    Outcome = "missed"    // nobody answered in time, or the caller was gone
	Declined  Outcome = "declined"  // by who was called
	Busy      Outcome = "busy"      // who was called has a call, and another one that waits
	Cancelled Outcome = "cancelled" // by the caller before anybody answered
	Failed    Outcome = "failed"    // it was accepted, and no connection came to be
)

// Reason is why a call ended, for who is told at once.
type Reason string

// The reasons beside the outcomes.
const (
	ByHangup  Reason = "hangup"
	ByTimeout Reason = "timeout" // nobody answered, or nobody came
	ByLoss    Reason = "lost"    // signalling and media of a party were silent for too long
	ByFailure Reason = "failed"  // no connection in time, or a party says so
	ByRemoval Reason = "removed" // who took part may no longer
	ByClosing Reason = "closed"  // the conversation ended
)

// Times of a call in ms.
const (
	RingFor    int64 = 60_000  // from the first device that said that it rings
	RingAtMost int64 = 120_000 // from the start
	ConnectIn  int64 = 30_000  // from accepting to the answer
	AwayFor    int64 = 30_000  // that a party may be silent
	HeardFor   int64 = 15_000  // that somebody's word counts who hears the media of a silent party
	NobodyFor  int64 = 300_000 // that a call stays that none of its parties is connected to
	AloneFor   int64 = 300_000 // that somebody may be alone in a group's call when nobody is rung
)

// Bounds of a State.
const (
	maxDeaf = 16   // devices of a user that ring no more
	maxWith = 3000 // bytes of the names of those who took part
)

// Party is a user's part in a call, on one device.
type Party struct {
	ID     string `cbor:"1,keyasint"`
	User   string `cbor:"2,keyasint"`
	Device string `cbor:"3,keyasint"`           // client id
	Key    string `cbor:"4,keyasint,omitempty"` // idempotency key of the start that made it
	Media  Media  `cbor:"5,keyasint,omitempty"`
	Hold   bool   `cbor:"6,keyasint,omitempty"`
	Epoch  uint32 `cbor:"7,keyasint"`            // grows when its media begins anew
	Away   int64  `cbor:"8,keyasint,omitempty"`  // ms since 1970 since when its device is gone; 0: it is there
	Heard  int64  `cbor:"9,keyasint,omitempty"`  // ms, when another party that is there said that its media arrives
	Seq    uint64 `cbor:"10,keyasint,omitempty"` // of the last signal to it that was forgotten; for who keeps signals
}

// Ring is a user who is called and has not answered.
type Ring struct {
	User    string   `cbor:"1,keyasint"`
	At      int64    `cbor:"2,keyasint"`           // ms, since when
	First   int64    `cbor:"3,keyasint,omitempty"` // ms, when the first device said that it rings
	Waiting bool     `cbor:"4,keyasint,omitempty"` // the user has another call
	Silent  bool     `cbor:"5,keyasint,omitempty"` // no device is to ring, and the caller is not to know
	Deaf    []string `cbor:"6,keyasint,omitempty"` // devices that declined for themselves
}

// Exp is the ms from when on nothing may ring.
func (r *Ring) Exp() int64 {
	if r.First == 0 {
		return r.At + RingAtMost
	}
	return min(r.First+RingFor, r.At+RingAtMost)
}

// State is a call. The zero State is a call that was not started. It is stored as it is.
type State struct {
	ID       string   `cbor:"1,keyasint"`
	Conv     string   `cbor:"2,keyasint"`
	Direct   bool     `cbor:"3,keyasint,omitempty"`
	From     string   `cbor:"4,keyasint"`
	Phase    Phase    `cbor:"5,keyasint"`
	Version  uint64   `cbor:"6,keyasint"`           // grows with all that must survive or is told
	Media    Media    `cbor:"7,keyasint,omitempty"` // of all that was in it
	Started  int64    `cbor:"8,keyasint"`           // ms since 1970 UTC, as all times here
	Accepted int64    `cbor:"9,keyasint,omitempty"`
	Began    int64    `cbor:"10,keyasint,omitempty"` // since when it was active
	Over     int64    `cbor:"11,keyasint,omitempty"`
	Outcome  Outcome  `cbor:"12,keyasint,omitempty"`
	Reason   Reason   `cbor:"13,keyasint,omitempty"`
	SFU      uint32   `cbor:"14,keyasint,omitempty"` // 0: mesh; else it grows when the SFU begins anew
	Offer    string   `cbor:"15,keyasint,omitempty"` // direct, until active: the party whose offer was passed on
	Parties  []Party  `cbor:"16,keyasint,omitempty"`
	Rings    []Ring   `cbor:"17,keyasint,omitempty"`
	With     []string `cbor:"18,keyasint,omitempty"` // who took part, once it was active
	More     bool     `cbor:"19,keyasint,omitempty"` // more took part than With has room for
	Nobody   int64    `cbor:"20,keyasint,omitempty"` // since when no party is connected
	Back     int64    `cbor:"21,keyasint,omitempty"` // when one was again: others have AwayFor from then on
	Alone    int64    `cbor:"22,keyasint,omitempty"` // since when there has been one party
}

// Live reports whether the call was started and has not ended.
func (s *State) Live() bool { return s.Phase != 0 && s.Phase != Ended }

// Early reports whether nobody has answered yet.
func (s *State) Early() bool { return s.Phase == New || s.Phase == Ringing }

// Reconnecting reports whether one of the two of a direct call that is active is away.
func (s *State) Reconnecting() bool {
	return s.Direct && s.Phase == Active && slices.ContainsFunc(s.Parties, func(p Party) bool { return p.Away != 0 })
}

// Word is the state as it is called on the wire.
func (s *State) Word() string {
	if s.Reconnecting() {
		return "reconnecting"
	}
	return s.Phase.String()
}

// Word is the state of a party of the call as it is called on the wire.
func (p *Party) Word(s *State) string {
	switch {
	case p.Away != 0:
		return "reconnecting"
	case s.Early():
		return "calling"
	}
	return "joined"
}

// Party returns the party with that id, nil if there is none. The State stays the owner.
func (s *State) Party(id string) *Party {
	for i := range s.Parties {
		if s.Parties[i].ID == id {
			return &s.Parties[i]
		}
	}
	return nil
}

// PartyOf returns the user's party, nil if there is none: a user has one at most.
func (s *State) PartyOf(user string) *Party {
	for i := range s.Parties {
		if s.Parties[i].User == user {
			return &s.Parties[i]
		}
	}
	return nil
}

// RingOf returns the ring of a user who is called, nil if there is none.
func (s *State) RingOf(user string) *Ring {
	for i := range s.Rings {
		if s.Rings[i].User == user {
			return &s.Rings[i]
		}
	}
	return nil
}

// Concerns reports whether the user takes part or is called.
func (s *State) Concerns(user string) bool { return s.PartyOf(user) != nil || s.RingOf(user) != nil }

// Duration is how long the call was active, in seconds.
func (s *State) Duration() int64 {
	if s.Began == 0 || s.Over == 0 {
		return 0
	}
	return max(0, s.Over-s.Began) / 1000
}

// Exp is the ms from when on no device of the user may ring for the call: 0 if none may now. For the parties it is the
// latest of those who are called.
func (s *State) Exp(user string) int64 {
	if r := s.RingOf(user); r != nil {
		return r.Exp()
	}
	var exp int64
	for i := range s.Rings {
		exp = max(exp, s.Rings[i].Exp())
	}
	return exp
}

// Deadline is the ms at which Decide wants a Tick; 0: no time ends anything.
func (s *State) Deadline() int64 {
	if !s.Live() {
		return 0
	}
	var d int64
	at := func(ms int64) {
		if d == 0 || ms < d {
			d = ms
		}
	}
	for i := range s.Rings {
		at(s.Rings[i].Exp())
	}
	if s.Phase == Connecting {
		at(s.Accepted + ConnectIn)
	}
	if s.Alone != 0 && len(s.Rings) == 0 {
		at(s.Alone + AloneFor)
	}
	for i := range s.Parties {
		if p := &s.Parties[i]; p.Away != 0 {
			at(s.until(p))
		}
	}
	return d
}

// until is the ms at which a party that is away is given up.
func (s *State) until(p *Party) int64 {
	switch {
	case s.Early():
		return p.Away + AwayFor // there is no media that could go on
	case s.Nobody != 0:
		return s.Nobody + NobodyFor
	}
	return max(p.Away+AwayFor, s.Back+AwayFor, p.Heard+HeardFor)
}

// clone returns a copy that can be changed.
func (s *State) clone() *State {
	n := *s
	n.Parties = slices.Clone(s.Parties)
	n.Rings = slices.Clone(s.Rings)
	n.With = slices.Clone(s.With)
	return &n
}

// Media is a set of kinds of media.
type Media uint8

// The kinds.
const (
	Audio Media = 1 << iota
	Video
	Screen
	Data
)

func mediaNames() [4]string { return [...]string{"audio", "video", "screen", "data"} }

// Names lists the kinds in a fixed order.
func (m Media) Names() []string {
	out := make([]string, 0, 4)
	for i, name := range mediaNames() {
		if m&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// ParseMedia is the inverse of Names.
func ParseMedia(names []string) (Media, error) {
	var m Media
	for _, n := range names {
		all := mediaNames()
		i := slices.Index(all[:], n)
		if i < 0 {
			return 0, chat.Refuse(chat.BadRequest, "media lists kinds of media: audio, video, screen, data")
		}
		m |= 1 << i
	}
	return m, nil
}
