package call

import "slices"

// restart is the beginning of a run of the server: nobody is connected yet. What rings has the time it had; who was about
// to connect has all of it again, for nothing could be passed on meanwhile.
func (t *turn) restart() {
	if !t.s.Live() {
		return
	}
	n := t.edit()
	for i := range n.Parties {
		n.Parties[i].Away, n.Parties[i].Heard = t.now, 0
	}
	n.Nobody, n.Back = t.now, 0
	if n.Phase == Connecting {
		n.Accepted = t.now
	}
	if n.Alone != 0 {
		n.Alone = t.now
	}
	if n.SFU != 0 {
		n.SFU++
	}
	t.tell()
}

// pass lets time pass up to now, one deadline after the other, each at its own time: so it does not matter how often
// and how late somebody looks.
func (t *turn) pass(now int64) {
	for {
		d := t.s.Deadline()
		if d == 0 || d > now {
			break
		}
		t.now = d
		t.due()
	}
	t.now = now
}

// due carries out what is due at t.now.
func (t *turn) due() {
	s := t.s
	switch {
	case slices.ContainsFunc(s.Rings, func(r Ring) bool { return r.Exp() <= t.now }):
		t.missed()
	case s.Phase == Connecting && s.Accepted+ConnectIn <= t.now:
		t.end(Failed, ByFailure)
	case s.Alone != 0 && len(s.Rings) == 0 && s.Alone+AloneFor <= t.now:
		t.end(s.outcome(ByTimeout), ByTimeout)
	default:
		for i := range s.Parties {
			p := &s.Parties[i]
			if p.Away == 0 || s.until(p) > t.now {
				continue
			}
			if s.Early() || s.Nobody != 0 {
				t.end(s.outcome(ByLoss), ByLoss)
			} else {
				t.part(p.ID, ByLoss)
			}
			return
		}
	}
}

func (t *turn) missed() {
	if t.s.Direct {
		t.end(Missed, ByTimeout)
		return
	}
	for i := range t.s.Rings {
		if r := &t.s.Rings[i]; r.Exp() <= t.now && !r.Silent {
			t.add(Effect{Kind: TellMissed, User: r.User})
		}
	}
	t.unring(func(r *Ring) bool { return r.Exp() <= t.now })
}
