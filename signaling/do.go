package signaling

import (
	"context"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/call"
)

// The verbs.
const (
	VerbRinging Verb = "ringing"
	VerbAccept  Verb = "accept"
	VerbDecline Verb = "decline"
	VerbCancel  Verb = "cancel"
	VerbHangup  Verb = "hangup"
	VerbJoin    Verb = "join"
	VerbLeave   Verb = "leave"
	VerbResume  Verb = "resume"
	VerbSignal  Verb = "signal"
)

func (v Verb) command() call.Verb {
	switch v {
	case VerbRinging:
		return call.Rings
	case VerbAccept:
		return call.Accept
	case VerbDecline:
		return call.Decline
	case VerbCancel:
		return call.Cancel
	case VerbHangup:
		return call.Hangup
	case VerbJoin:
		return call.Join
	case VerbLeave:
		return call.Leave
	case VerbResume:
		return call.Resume
	case VerbSignal:
		return call.Signal
	}
	return 0
}

// Valid reports whether there is such a verb.
func (v Verb) Valid() bool { return v.command() != 0 }

// Do implements Calls. It may wait until the disk has caught up.
func (s *Service) Do(x Session, id string, verb Verb, payload []byte, done func(Answer)) {
	if !verb.Valid() {
		s.refuse(done, chat.Refuse(chat.BadRequest, "the verbs of a call are ringing, accept, decline, cancel, hangup, join, leave, resume and signal"))
		return
	}
	limit := MaxPayload
	if verb == VerbSignal {
		limit = MaxSignal
	}
	a := s.asked(x, done)
	if err := a.read(payload, limit); err != nil {
		s.refuse(done, err)
		return
	}
	l := s.index.call(id)
	if l == nil || !s.member(a.d.User, l) {
		s.refuse(done, call.RefuseUnknown())
		return
	}
	switch verb {
	case VerbSignal:
		s.pass(a, l)
	case VerbAccept, VerbJoin:
		s.join(a, l, verb)
	default:
		s.verb(a, l, verb)
	}
}

// member reports whether a call is any of the user's business.
func (s *Service) member(user string, l *live) bool {
	if a, b, direct := chat.Parties(l.conv); direct {
		return user == a || user == b
	}
	return l.state.Load().PartyOf(user) != nil || s.o.World.Member(user, l.conv)
}

func (s *Service) join(a *asked, l *live, verb Verb) {
	var ring []string
	if verb == VerbJoin && len(a.f.Ring) > 0 && !chat.IsDirect(l.conv) {
		var err error
		if ring, err = s.callees(a, l.conv); err != nil {
			s.refuse(a.done, err)
			return
		}
		if !s.rates.start(s.now(), a.d.User, l.conv, a.lim.StartsPerPair, a.lim.StartsPerUser) {
			s.refuse(a.done, chat.Refuse(chat.RateLimited, "too much ringing: wait for a minute"))
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.enter(a, l, a.command(verb.command()), ring)
}

func (s *Service) verb(a *asked, l *live, verb Verb) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &turn{cmd: a.command(verb.command()), done: a.answer(l.id)}
	switch verb {
	case VerbDecline, VerbCancel, VerbHangup, VerbLeave:
		t.vital = true
	case VerbResume:
		t.cmd.Here = s.here(a.d)
		t.stand, t.after = a.x, a.f.Seq
	}
	if err := s.carry(l, t); err != nil {
		s.refuse(a.done, err)
	}
}

// pass passes a signal on.
func (s *Service) pass(a *asked, l *live) {
	if !s.rates.signal(s.now(), a.d.User, a.lim.SignalsPerUser) {
		s.refuse(a.done, chat.Refuse(chat.RateLimited, "at most %d signals a minute: gather candidates in one", a.lim.SignalsPerUser))
		return
	}
	// Who has a party in a call has accepted it; nobody else has anything passed on.
	sig, err := readSignal(a.f, s.o.World.Relayed(a.d.User, true))
	if err != nil {
		s.refuse(a.done, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := a.command(call.Signal)
	c.To, c.Of, c.Type, c.Media, c.HasMedia, c.Hold, c.Void = a.f.To, a.f.Of, sig.kind, sig.media, sig.said, sig.hold, sig.void
	if err := s.carry(l, &turn{cmd: c, sig: sig, done: a.answer(l.id)}); err != nil {
		s.refuse(a.done, err)
	}
}

// FromForwarder takes what the SFU has for a party of a call: kind is offer or answer with plain SDP, or candidates or negotiate
// with JSON as parties send them; re names the offer that an answer is for. What is for a party that has left is dropped. Not for the pipeline's goroutine: it may
// wait until the disk has caught up.
func (s *Service) FromForwarder(id, party, kind, re string, body []byte) {
	l := s.index.call(id)
	if l == nil {
		return
	}
	sig := &signal{kind: kind, re: re, body: body}
	if kind == "offer" || kind == "answer" {
		sig.body = description(body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := s.carry(l, &turn{cmd: &call.Command{Verb: call.FromSFU, To: party, Type: kind}, sig: sig}); err != nil {
		s.log.Warn("a signal of the SFU was not kept", "call", id, "party", party, "type", kind, "error", err)
	}
}

// Takes implements Calls.
func (s *Service) Takes(user, id string) bool {
	l := s.index.call(id)
	return l != nil && l.durable.Load().Concerns(user)
}

// ConvOf implements Calls.
func (s *Service) ConvOf(id string) string {
	if l := s.index.call(id); l != nil && l.state.Load().Live() {
		return l.conv
	}
	return ""
}

// State implements Calls. What it tells is on disk.
func (s *Service) State(_ context.Context, user, id string) ([]byte, error) {
	var all []*live
	if id == "" {
		for _, p := range s.index.of(user) {
			all = append(all, p.l)
		}
	} else if l := s.index.call(id); l == nil || !l.durable.Load().Concerns(user) {
		return nil, call.RefuseUnknown()
	} else {
		all = []*live{l}
	}
	return s.states(user, all), nil
}
