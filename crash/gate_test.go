package crash_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// gate is a group that people come into and go from: by invitations, by requests, by the hand of those who
// keep it; where some are muted, some banned, for good or for seconds. What each of the visitors may be is
// believed one by one: whoever does something about a visitor holds them meanwhile.
type gate struct {
	w      *world
	conv   string
	begun  bool
	actors []*actor
	guests map[string]*guest

	mu    sync.Mutex
	codes []*code
	posts map[string]belief[bool] // by text: whether it is stored
	ended []string                // groups that were deleted, and had that acknowledged
}

const (
	keeper = "olga" // owns the group
	deputy = "max"  // is its admin
)

var visitors = []string{"pat", "quin", "rob", "sue"}

// guest is one of the visitors in this group.
type guest struct {
	sync.Mutex
	is belief[place]
}

// place is what somebody is in the group.
type place struct {
	in, pending bool
	closed      string // who closed the last request: "self", "other"; "" nobody
	role        string
	banned      int64 // until, ms since 1970; -1: for good; 0: not
	muted       int64 // until
}

// code is an invitation.
type code struct {
	code              string
	uses              int   // 0: any number
	expires           int64 // ms since 1970; 0: never
	used, maybe, open int   // acceptances: acknowledged, in doubt, under way
	revoked           belief[bool]
}

func newGate(w *world) *gate {
	g := &gate{w: w, posts: make(map[string]belief[bool])}
	g.actors = []*actor{w.actor(keeper, "gate", g.keep), w.actor(deputy, "gate", g.keep)}
	for _, v := range visitors {
		g.actors = append(g.actors, w.actor(v, "gate", g.visit))
	}
	return g
}

// open begins a new group.
func (g *gate) open(n int) {
	r := g.w.reader(keeper)
	defer r.close()
	if g.begun && n%2 == 0 {
		var gone struct{ Ended bool }
		r.call("group.delete", params{"conv": g.conv}, &gone)
		g.ended = append(g.ended, g.conv)
	}
	g.conv, g.begun, g.codes, g.guests = fmt.Sprintf("gate-%d", n), true, nil, make(map[string]*guest)
	clear(g.posts)
	var made struct{ Conv string }
	r.call("group.create", params{"id": g.conv, "title": "Gate", "visibility": "public", "join": "request", "history": "all", "members": []string{deputy}}, &made)
	var m struct{ Role string }
	r.call("member.role", params{"conv": g.conv, "user": deputy, "role": "admin"}, &m)
	for _, v := range visitors {
		g.guests[v] = &guest{is: certain(place{})}
	}
}

// effect is something that is asked for about a guest: what it does to a place, and whether it may be refused
// there. The answer says when it was carried out.
type effect func(p place, x *answer) (to []place, refused bool)

// do carries out a request about a guest, whom the caller holds.
func (g *gate) do(a *actor, v *guest, method string, p params, c effect) answer {
	x := a.call(method, p)
	g.settle(a, v, method, p, &x, c)
	return x
}

func (g *gate) settle(a *actor, v *guest, method string, p params, x *answer, c effect) {
	is := v.is.after(x.outcome, func(s place) ([]place, bool) { return c(s, x) })
	if len(is) == 0 {
		a.failf("%s %v: %v; what they were: %+v", method, p, x, v.is)
	}
	v.is = is
}

// holds says whether a time until was still to come when an answer was decided: surely, and possibly.
func holds(until int64, x *answer) (surely, possibly bool) {
	return until < 0 || x.to < until, until < 0 || x.from < until
}

// enter makes somebody a member who is none: of what they were before only a mute stays.
func (p place) enter(role string) place {
	p.in, p.pending, p.closed, p.role, p.banned = true, false, "", role, 0
	return p
}

func (p place) leave() place {
	p.in, p.role = false, ""
	return p
}

// visit is what a visitor does.
func (g *gate) visit(a *actor) {
	v := g.guests[a.user]
	if !v.TryLock() { // the keepers are busy with them
		g.post(a, nil)
		return
	}
	defer v.Unlock()
	switch r := a.rng.IntN(10); {
	case r < 2:
		g.do(a, v, "group.join", params{"conv": g.conv, "text": "let me in"}, func(p place, x *answer) ([]place, bool) {
			banned, maybe := holds(p.banned, x)
			switch {
			case p.in || p.pending && !maybe:
				return []place{p}, false
			case banned || p.closed != "":
				return nil, true
			}
			next := p
			next.pending = true
			return []place{next}, maybe
		})
	case r < 3:
		g.do(a, v, "group.leave", params{"conv": g.conv}, func(p place, _ *answer) ([]place, bool) {
			switch {
			case p.in:
				return []place{p.leave()}, false
			case p.pending:
				p.pending, p.closed = false, "self"
				return []place{p}, false
			}
			return nil, true
		})
	case r < 6:
		g.accept(a, v)
	default:
		g.post(a, v)
	}
}

// post says something in the group. Of one who is not held it is not known whether they may.
func (g *gate) post(a *actor, v *guest) {
	text := marker(a)
	x := a.append(g.conv, fmt.Sprintf(`{"text":%q}`, text))
	stored := map[outcome]belief[bool]{carried: {true}, turned: {false}, doubtful: {true, false}}[x.outcome]
	g.mu.Lock()
	g.posts[text] = stored
	g.mu.Unlock()
	if v == nil {
		return
	}
	g.settle(a, v, "post", nil, &x, func(p place, x *answer) ([]place, bool) {
		muted, maybe := holds(p.muted, x)
		if !p.in || muted {
			return nil, true
		}
		return []place{p}, maybe
	})
}

// accept comes by an invitation, more than one visitor at a time by the same.
func (g *gate) accept(a *actor, v *guest) {
	g.mu.Lock()
	if len(g.codes) == 0 {
		g.mu.Unlock()
		return
	}
	c := g.codes[max(0, len(g.codes)-1-a.rng.IntN(4))]
	before := *c
	c.open++
	g.mu.Unlock()
	x := a.call("invite.accept", params{"code": c.code})
	g.mu.Lock()
	defer g.mu.Unlock()
	c.open--
	expired, maybeExpired := c.expires != 0 && x.from > c.expires, c.expires != 0 && x.to >= c.expires
	full := c.uses != 0 && before.used >= c.uses
	mayBeFull := c.uses != 0 && c.used+c.maybe+c.open >= c.uses
	was := v.is
	g.settle(a, v, "invite.accept", params{"code": fmt.Sprintf("%+v", *c)}, &x, func(p place, x *answer) ([]place, bool) {
		banned, maybe := holds(p.banned, x)
		gone := before.revoked.must(true)
		switch {
		case p.in: // it costs nothing; a code that is taken out of the store with others may be unknown already
			return []place{p}, gone || mayBeFull || maybeExpired || c.revoked.may(true)
		case gone || expired || full || banned:
			return nil, true
		}
		return []place{p.enter("member")}, maybe || mayBeFull || maybeExpired || c.revoked.may(true)
	})
	outside := len(was.seen(func(p place) bool { return !p.in }))
	switch {
	case outside == 0 || x.outcome == turned:
	case x.outcome == carried && outside == len(was):
		c.used++
	default:
		c.maybe++
	}
	if c.uses != 0 && c.used > c.uses {
		a.failf("%d have come by an invitation for %d", c.used, c.uses)
	}
}

// keep is what the owner and the admin do.
func (g *gate) keep(a *actor) {
	switch r := a.rng.IntN(20); {
	case r < 2:
		g.invite(a)
		return
	case r < 4:
		g.revoke(a)
		return
	}
	user := visitors[a.rng.IntN(len(visitors))]
	v := g.guests[user]
	if !v.TryLock() {
		return
	}
	defer v.Unlock()
	about := params{"conv": g.conv, "user": user}
	was := v.is
	var x answer
	what := ""
	switch a.rng.IntN(9) {
	case 0, 1:
		x = g.do(a, v, "request.approve", about, func(p place, _ *answer) ([]place, bool) {
			switch {
			case p.in:
				return []place{p}, false
			case !p.pending:
				return nil, true
			}
			return []place{p.enter("member")}, false
		})
	case 2:
		x = g.do(a, v, "request.deny", about, func(p place, _ *answer) ([]place, bool) {
			switch {
			case p.pending:
				p.pending, p.closed = false, "other"
				return []place{p}, false
			case p.closed == "other":
				return []place{p}, false
			}
			return nil, true
		})
	case 3:
		what = "member.remove"
		x = g.do(a, v, what, about, func(p place, _ *answer) ([]place, bool) {
			if !p.in {
				return nil, true
			}
			return []place{p.leave()}, false
		})
	case 4:
		what = "member.ban"
		x = g.ban(a, v, about)
	case 5:
		what = "member.unban"
		x = g.do(a, v, what, about, func(p place, _ *answer) ([]place, bool) {
			p.banned = 0
			return []place{p}, false
		})
	case 6:
		what = "member.mute"
		until := now() + int64(100+a.rng.IntN(2500))
		about["until"] = until
		x = g.do(a, v, what, about, func(p place, x *answer) ([]place, bool) {
			if !p.in {
				return nil, true
			}
			p.muted = until
			return []place{p}, x.to >= until
		})
	case 7:
		what = "member.role"
		role := []string{"member", "moderator"}[a.rng.IntN(2)]
		about["role"] = role
		x = g.do(a, v, what, about, func(p place, _ *answer) ([]place, bool) {
			if !p.in {
				return nil, true
			}
			p.role = role
			return []place{p}, false
		})
	default:
		x = g.do(a, v, "member.add", about, func(p place, x *answer) ([]place, bool) {
			banned, maybe := holds(p.banned, x)
			switch {
			case p.in:
				return []place{p}, false
			case banned:
				return nil, true
			}
			return []place{p.enter("member")}, maybe
		})
	}
	if changed := len(was) == 1 && len(v.is) == 1 && was[0] != v.is[0]; changed && what != "" && x.outcome == carried {
		g.w.trail.add(trailed{g.conv, a.user, what, user, x.from, x.to})
	}
}

// ban keeps a guest out: for good, or for a while that the server may not live to see the end of.
func (g *gate) ban(a *actor, v *guest, about params) answer {
	until := int64(-1)
	if a.rng.IntN(4) > 0 {
		until = now() + int64(100+a.rng.IntN(2500))
		about["until"] = until
	}
	return g.do(a, v, "member.ban", about, func(p place, x *answer) ([]place, bool) {
		p = p.leave()
		if p.banned = until; p.pending {
			p.pending, p.closed = false, "other"
		}
		return []place{p}, until >= 0 && x.to >= until
	})
}

func (g *gate) invite(a *actor) {
	c := &code{uses: a.rng.IntN(4), revoked: certain(false)}
	p := params{"conv": g.conv, "uses": c.uses}
	if c.uses == 0 || a.rng.IntN(2) == 0 {
		c.expires = now() + int64(200+a.rng.IntN(2500))
		p["expires"] = c.expires
	}
	x := a.call("invite.create", p)
	if x.outcome == turned && x.code != "conflict" && (c.expires == 0 || x.to < c.expires) { // there may be too many
		a.failf("an invitation: %v", &x)
	}
	if x.outcome != carried { // nobody knows the code
		return
	}
	var made struct{ Code string }
	if err := json.Unmarshal(x.body, &made); err != nil || made.Code == "" {
		a.failf("an invitation: %s: %v", x.body, err)
	}
	c.code = made.Code
	g.mu.Lock()
	g.codes = append(g.codes, c)
	g.mu.Unlock()
}

func (g *gate) revoke(a *actor) {
	g.mu.Lock()
	i := slices.IndexFunc(g.codes, func(c *code) bool { return c.revoked.must(false) })
	if i < 0 || a.user != keeper { // who revokes what is the permission table's affair
		g.mu.Unlock()
		return
	}
	c := g.codes[i]
	c.revoked = belief[bool]{false, true}
	g.mu.Unlock()
	x := a.call("invite.revoke", params{"conv": g.conv, "code": c.code})
	g.mu.Lock()
	defer g.mu.Unlock()
	switch x.outcome {
	case carried:
		c.revoked = certain(true)
	case turned: // it was over anyway, and taken away
		if c.expires == 0 && c.uses == 0 {
			a.failf("revoking %+v: %v", *c, &x)
		}
	}
}
