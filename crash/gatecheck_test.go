package crash_test

import "slices"

// check compares the gate with what is believed of it. All actors are idle.
func (g *gate) check() {
	r := g.w.reader(keeper)
	defer r.close()
	g.checkGuests(r)
	g.checkCodes(r)
	g.checkPosts(r)
	for _, conv := range g.ended {
		if x := r.ask("group.get", params{"conv": conv}); x.outcome != turned || x.code != "not-found" {
			g.w.wrongf("%s was deleted, and: %v", conv, &x)
		}
	}
	g.ended = nil
}

// member is what lists of members, of bans and of requests have.
type member struct {
	User, Role   string
	Muted, Until int64
}

// checkGuests: an acknowledged change of a membership, a request, a ban or a mute holds; whatever was in doubt
// is known now.
func (g *gate) checkGuests(r *reader) {
	var in struct{ Members []member }
	var out struct{ Bans []member }
	var asking struct{ Requests []member }
	from := now()
	conv := func() params { return params{"conv": g.conv, "limit": 1000} }
	r.call("member.list", conv(), &in)
	r.call("member.bans", conv(), &out)
	r.call("request.list", conv(), &asking)
	when := answer{from: from, to: now()}
	at := func(list []member, user string) (m member, there bool) {
		i := slices.IndexFunc(list, func(m member) bool { return m.User == user })
		if i < 0 {
			return m, false
		}
		return list[i], true
	}
	for user, v := range g.guests {
		m, isIn := at(in.Members, user)
		ban, banned := at(out.Bans, user)
		_, pending := at(asking.Requests, user)
		is := v.is.seen(func(p place) bool {
			if p.in != isIn || p.role != m.Role || p.pending != pending {
				return false
			}
			surely, possibly := holds(p.muted, &when)
			if isIn && (m.Muted == 0 && surely || m.Muted != 0 && !(possibly && m.Muted == p.muted)) {
				return false
			}
			surely, possibly = holds(p.banned, &when)
			if p.banned == 0 {
				surely, possibly = false, false
			}
			return banned == surely || banned == possibly && (!banned || max(p.banned, 0) == ban.Until)
		})
		if len(is) == 0 {
			g.w.wrongf("%s in %s is %+v (a member: %v, banned: %v until %d, asking: %v), and was believed to be %+v",
				user, g.conv, m, isIn, banned, ban.Until, pending, v.is)
			is = v.is
		}
		v.is = is
	}
	for user, role := range map[string]string{keeper: "owner", deputy: "admin"} {
		if m, _ := at(in.Members, user); m.Role != role {
			g.w.wrongf("%s is %q in %s", user, m.Role, g.conv)
		}
	}
}

// checkCodes: an invitation was used by as many as came by it, and holds until it is over.
func (g *gate) checkCodes(r *reader) {
	var list struct {
		Invites []struct {
			Code       string
			Uses, Used int
		}
	}
	from := now()
	r.call("invite.list", params{"conv": g.conv}, &list)
	to := now()
	there := make(map[string]int)
	for _, i := range list.Invites {
		if there[i.Code] = i.Used; i.Uses != 0 && i.Used > i.Uses {
			g.w.wrongf("%d have come by an invitation for %d", i.Used, i.Uses)
		}
	}
	left := g.codes[:0]
	for _, c := range g.codes {
		used, ok := there[c.code]
		over := c.expires != 0 && to >= c.expires || c.uses != 0 && c.used+c.maybe >= c.uses
		surelyOver := c.expires != 0 && from > c.expires || c.uses != 0 && c.used >= c.uses
		switch {
		case ok && (c.revoked.must(true) || surelyOver):
			g.w.wrongf("the invitation %+v holds", *c)
		case !ok && !c.revoked.may(true) && !over:
			g.w.wrongf("the invitation %+v is gone", *c)
		case ok && (used < c.used || used > c.used+c.maybe):
			g.w.wrongf("the invitation %+v was used %d times", *c, used)
		case ok:
			c.used, c.maybe, c.revoked = used, 0, certain(false)
		}
		if ok || len(g.codes) < 8 { // some that are over are tried again
			left = append(left, c)
		}
	}
	g.codes = left
}

// checkPosts: what was acknowledged is there once, what was refused is not.
func (g *gate) checkPosts(r *reader) {
	count := make(map[string]int)
	for _, ev := range r.events(g.conv) {
		if ev.Text != "" {
			count[ev.Text]++
		}
	}
	for text, stored := range g.posts {
		if n := count[text]; n > 1 || !stored.may(n == 1) {
			g.w.wrongf("%s is stored %d times in %s, expected %v", text, n, g.conv, stored)
		} else {
			g.posts[text] = certain(n == 1)
		}
		delete(count, text)
	}
	for text := range count {
		g.w.wrongf("%s is in %s, and nobody sent it", text, g.conv)
	}
}
