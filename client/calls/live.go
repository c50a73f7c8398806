package calls

import (
	"errors"
	"slices"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

func asRefusal(err error, r **chat.Refusal) bool { return errors.As(err, r) }

func notFound(err error) bool {
	var r *chat.Refusal
	return asRefusal(err, &r) && r.Code == chat.NotFound
}

func conflict(err error) bool {
	var r *chat.Refusal
	return asRefusal(err, &r) && r.Code == chat.Conflict
}

// connected is called when there is signalling again.
func (c *Call) connected(gen int) {
	again := c.gen != 0
	c.online, c.gen, c.onlyAt = true, gen, time.Now()
	c.board.set(func(s *Status) { s.Online = true })
	for _, v := range c.pending {
		v.flying = false
	}
	if again && !c.ended {
		c.backAt = time.Now()
		c.measure(c.backAt) // what is heard now needs no repair
		c.resume()
		for _, p := range c.peers {
			p.lookAround()
		}
	}
	c.flush()
}

func (c *Call) disconnected() {
	c.online = false
	c.board.set(func(s *Status) { s.Online = false })
}

// resume says that this device is here, asks how the call stands, and vouches for those whose media arrive. It names no party: that would be
// taking it back from another device to which it has moved meanwhile.
func (c *Call) resume() {
	r := request{Seq: c.seq, Hears: c.hears(time.Now())}
	gen := c.gen
	c.sayWhile(func() bool { return c.gen == gen && !c.ended }, "resume", r, func(_ client.CallAck, err error) {
		switch {
		case c.ended:
		case notFound(err):
			c.vanished("")
		case conflict(err):
			c.over(Taken, "")
		}
	})
}

// moved is called when the device is in another network.
func (c *Call) moved() {
	for _, p := range c.peers {
		p.tries = 0
		if p.here != c.m.here() {
			p.restarted = time.Time{} // that was in another network
		}
		p.restart()
	}
}

// joined is called when this device has a part in the call. l is what it brings in, nil if that is known.
func (c *Call) joined(party string, l *Local) {
	if c.ended || party == "" {
		return
	}
	if l != nil && c.party == "" {
		c.local, c.watch = *l, l.Watch
	}
	if c.party != party {
		c.party, c.seq, c.gap, c.listed = party, 0, 0, false
		c.ice.stale = c.ice.relay // it may have been relay only until now
		for _, p := range c.peers {
			p.polite = c.party > p.party // see ahead
		}
	}
	c.board.set(func(s *Status) { s.Party = party })
	c.fetchICE()
	c.reconcile()
}

// heard takes what all devices of the user are told.
func (c *Call) heard(t *told) {
	c.onlyAt = time.Now()
	if c.ended || t.Seq < c.state.Seq {
		return
	}
	switch t.Kind {
	case "taken":
		if c.party == "" || t.Party != c.party {
			c.state.Seq = t.Seq
			c.over(Taken, "")
		}
		return
	case "missed":
		c.state.Seq = t.Seq
		c.over(Missed, t.Reason)
		return
	case "ring", "state":
	default:
		return // of a newer server
	}
	if t.State == "ended" {
		c.state = *t
		c.over(t.Outcome, t.Reason)
		return
	}
	if t.Kind == "state" && t.Party != "" && c.party == "" && !c.incoming {
		c.party = t.Party // ahead of the answer to the start
	}
	if c.party == "" && t.Party != "" && c.forsaken {
		c.party = t.Party
		c.say("hangup", request{}, nil)
		c.over(Failed, "hangup")
		return
	}
	listed := c.party != "" && slices.ContainsFunc(t.Parties, func(p client.CallParty) bool { return p.Party == c.party })
	switch {
	case c.party == "" || t.Kind == "ring":
	case listed && t.Party == c.party:
		c.listed = true
	case !c.listed: // from before this device had a part: answers and deliveries come on different ways
	case !listed:
		c.state = *t
		c.over(c.outcome(""), "lost") // it was given up
		return
	default:
		c.over(Taken, "")
		return
	}
	c.state = *t
	if t.Kind == "ring" {
		c.rings(t)
	}
	c.show()
	if c.party == "" && t.Kind == "ring" || c.party != "" {
		c.fetchICE()
	}
	c.reconcile()
}

// rings says that it rings here, once.
func (c *Call) rings(t *told) {
	if t.Exp > 0 {
		left := min(time.Duration(t.Exp-t.At)*time.Millisecond, 2*time.Minute)
		c.until = time.Now().Add(left)
	}
	if !c.ringing {
		c.ringing = true
		c.sayWhile(func() bool { return c.party == "" && !c.ended }, "ringing", request{}, func(_ client.CallAck, err error) {
			switch {
			case c.ended || c.party != "":
			case notFound(err):
				c.vanished(Missed)
			}
			// A conflict: another device has it, and this one is told that it was taken; or this one has, by a Start whose answer
			// is on its way to another goroutine.
		})
	}
}

// show writes the status.
func (c *Call) show() {
	t, now := &c.state, time.Now()
	c.listen(now)
	shown := c.shown()
	c.board.set(func(s *Status) {
		s.From, s.Media, s.Waiting, s.Party, s.SFU, s.Expires = t.From, t.Media, t.Waiting, c.party, t.Mode == "sfu", c.until
		if t.State != "" { // it was told
			s.State = stateOf(t.State)
		}
		if t.Kind == "ring" && c.party == "" {
			s.State = StateRinging
		}
		s.Roster = s.Roster[:0:0]
		for _, p := range t.Parties {
			s.Roster = append(s.Roster, Member{
				Party: p.Party, User: p.User, Media: p.Media, Hold: p.Hold, Reconnecting: p.State == "reconnecting",
				Me: p.Party == c.party, Connected: c.reaches(p.Party), Speaking: c.speaks(p.Party, now),
				Shown: slices.Contains(shown, p.Party) && c.reaches(p.Party), Quality: c.quality[p.Party],
			})
		}
		if s.Began.IsZero() && slices.ContainsFunc(s.Roster, func(m Member) bool { return m.Connected }) {
			s.Began = time.Now()
		}
	})
}

// reaches reports whether media can flow between this device and a party.
func (c *Call) reaches(party string) bool {
	if p := c.peers[party]; p != nil && p.up {
		return true
	}
	p := c.peers[sfuParty]
	return p != nil && p.up && c.party != "" && party != c.party
}

// outcome is what a call that ends now without the server's word comes to.
func (c *Call) outcome(want string) string {
	switch s := stateOf(c.state.State); {
	case want != "":
		return want
	case s == StateActive || s == StateReconnecting:
		if c.state.Conv != "" && !chat.IsDirect(c.conv) {
			return Left
		}
		return Answered
	case c.party == "" && c.incoming:
		return Missed
	case s <= StateRinging:
		return Cancelled
	}
	return Failed
}

// quit is hanging up without anybody waiting for it.
func (c *Call) quit(name, outcome string) {
	if c.ended {
		return
	}
	if c.party == "" && c.incoming {
		c.over(c.outcome(outcome), "") // it rings on elsewhere
		return
	}
	c.say(name, request{}, nil)
	c.over(c.outcome(outcome), verbReason(name))
}

// over ends the call here. What is still to be said of its end is said.
func (c *Call) over(outcome, reason string) {
	if c.ended {
		return
	}
	c.ended = true
	for _, p := range c.peers {
		p.close()
	}
	clear(c.peers)
	c.early = nil
	c.ice.stop()
	for _, v := range slices.Clone(c.pending) {
		switch v.name {
		case "hangup", "cancel", "decline", "leave":
		default:
			c.settle(v, client.CallAck{}, ErrEnded)
		}
	}
	c.board.set(func(s *Status) {
		s.State, s.Outcome, s.Reason = StateEnded, outcome, reason
		s.Roster, s.Quality = nil, Quality{}
	})
	c.m.log.Info("a call has ended here", "call", c.id, "outcome", outcome, "reason", reason)
}
