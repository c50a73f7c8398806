package call

import (
	"slices"

	"github.com/petrelchat/petrel/chat"
)

func (t *turn) decline(c *Command) error {
	r := t.s.RingOf(c.User)
	if r == nil {
		if t.s.Direct && t.s.PartyOf(c.User) == nil {
			return RefuseUnknown()
		}
		return nil // it does not ring any more
	}
	if c.ForDevice {
		if slices.Contains(r.Deaf, c.Device) {
			return nil
		}
		r = t.edit().RingOf(c.User)
		r.Deaf = append(slices.Clone(r.Deaf[max(0, len(r.Deaf)-maxDeaf+1):]), c.Device)
		return nil
	}
	if t.s.Direct {
		t.edit().Rings = nil
		if c.Reason == "busy" {
			t.end(Busy, Reason(Busy))
		} else {
			t.end(Declined, Reason(Declined))
		}
		return nil
	}
	t.unring(func(r *Ring) bool { return r.User == c.User })
	t.add(Effect{Kind: TellTaken, User: c.User, Device: c.Device})
	return nil
}

// unring ends rings.
func (t *turn) unring(which func(*Ring) bool) {
	n := t.edit()
	n.Rings = slices.DeleteFunc(n.Rings, func(r Ring) bool { return which(&r) })
	if len(n.Rings) == 0 && n.Phase == Ringing {
		n.Phase = New
	}
	if len(n.Rings) == 0 && n.Alone != 0 {
		n.Alone = t.now
	}
	t.tell()
}

// hangup is cancel, hangup and leave: who takes part wants to no longer.
func (t *turn) hangup(c *Command) error {
	p := t.s.PartyOf(c.User)
	switch {
	case p == nil && t.s.RingOf(c.User) != nil && c.Verb != Cancel:
		return t.decline(&Command{Verb: Decline, User: c.User, Device: c.Device})
	case p == nil && !t.s.Direct:
		return nil // out already
	case p == nil:
		return RefuseUnknown()
	case p.Device != c.Device:
		return chat.Refuse(chat.NotAuthorized, "the call is on another device of yours: publish resume with its party to take it over")
	case c.Verb == Cancel && t.s.From != c.User:
		return chat.Refuse(chat.NotAuthorized, "it is for the caller to cancel: publish hangup")
	}
	reason := ByHangup
	if c.Reason == "failed" {
		reason = ByFailure
	}
	t.part(p.ID, reason)
	return nil
}

// part takes a party out, which ends a direct call and a call that nobody is left in.
func (t *turn) part(id string, why Reason) {
	n := t.edit()
	if n.Direct || len(n.Parties) == 1 {
		t.end(n.outcome(why), why)
		return
	}
	n.Parties = slices.DeleteFunc(n.Parties, func(p Party) bool { return p.ID == id })
	t.add(Effect{Kind: Forget, Party: id})
	if len(n.Parties) == 1 {
		n.Alone = t.now
	}
	t.presence()
	t.tell()
}

// outcome is what a call comes to that ends now.
func (s *State) outcome(why Reason) Outcome {
	switch {
	case s.Began != 0:
		return Answered
	case !s.Early():
		return Failed
	case why == ByHangup || why == ByFailure:
		return Cancelled
	}
	return Missed
}

// end ends the call. Who is still called missed it.
func (t *turn) end(o Outcome, why Reason) {
	n := t.edit()
	for i := range n.Rings {
		if !n.Rings[i].Silent {
			t.add(Effect{Kind: TellMissed, User: n.Rings[i].User})
		}
	}
	n.Phase, n.Outcome, n.Reason, n.Over = Ended, o, why, t.now
	n.Parties, n.Rings, n.Offer = nil, nil, ""
	n.Nobody, n.Back, n.Alone = 0, 0, 0
	t.tell()
	t.add(Effect{Kind: Finish})
}

// presence keeps since when nobody is connected, or somebody is again.
func (t *turn) presence() {
	here := slices.ContainsFunc(t.s.Parties, func(p Party) bool { return p.Away == 0 })
	switch {
	case here && t.s.Nobody != 0:
		n := t.edit()
		n.Nobody, n.Back = 0, t.now
	case !here && t.s.Nobody == 0:
		t.edit().Nobody = t.now
	}
}
