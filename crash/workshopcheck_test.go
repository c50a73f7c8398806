package crash_test

import (
	"slices"
	"strings"
)

// check compares bots and what they wrote with what is believed of them. All actors are idle.
func (s *workshop) check() {
	r := s.w.reader(s.owner)
	defer r.close()
	s.checkRobots(r)
	s.checkPosts(r)
	for _, b := range s.robots {
		if !b.over {
			s.checkToken(b, r)
			s.mustNotEnter(b, b.void)
		}
	}
	s.past.check()
}

// listedBot is a bot as its owner sees it.
type listedBot struct {
	User     string
	Commands []struct{ Name string }
}

// checkRobots: a bot that was made is in the list with its commands, one that was deleted is not, nor a member,
// and nobody gets its name.
func (s *workshop) checkRobots(r *reader) {
	var list struct{ Bots []listedBot }
	r.call("bot.list", params{}, &list)
	var members struct{ Members []member }
	r.call("member.list", params{"conv": s.conv, "limit": 1000}, &members)
	for _, b := range s.robots {
		i := slices.IndexFunc(list.Bots, func(x listedBot) bool { return x.User == b.user })
		member := slices.ContainsFunc(members.Members, func(m member) bool { return m.User == b.user })
		is := b.is.seen(func(m machine) bool { return m.there == (i >= 0) && m.member == member })
		if len(is) == 0 {
			s.w.wrongf("%s is listed: %v, a member: %v; believed was %+v", b.user, i >= 0, member, b.is)
			continue
		}
		b.is = is
		if !b.seen && i >= 0 {
			b.seen = true
			s.w.total.robots++
		}
		if i < 0 {
			if b.over = true; b.token != "" && !b.buried { // else it may never have been there
				b.buried = true
				s.mustNotEnter(b, b.token)
				if x := r.ask("bot.create", params{"user": b.user}); x.outcome != turned || x.code != "conflict" {
					s.w.wrongf("%s was deleted, and the name is given again: %v", b.user, &x)
				}
			}
			continue
		}
		var names []string
		for _, c := range list.Bots[i].Commands {
			names = append(names, c.Name)
		}
		if have := strings.Join(names, " "); !b.command.may(have) {
			s.w.wrongf("%s listens to %q, expected %v", b.user, have, b.command)
		} else {
			b.command = certain(have)
		}
	}
	for _, x := range list.Bots {
		if !slices.ContainsFunc(s.robots, func(b *robot) bool { return b.user == x.User }) {
			s.w.wrongf("there is a bot %s, and nobody made it", x.User)
		}
	}
}

// checkToken: the token that was given out last lets a bot in, and no other does. A bot whose token is not known
// gets another one.
func (s *workshop) checkToken(b *robot, r *reader) {
	try := &actor{w: s.w, name: "check"}
	if b.token != "" {
		in, err := s.enter(try, b)
		if err != nil {
			s.w.t.Fatalf("%v: %s cannot connect: %v", s.w, b.user, err)
		}
		try.hangUp()
		is := b.is.seen(func(m machine) bool { return m.known == in })
		if len(is) == 0 {
			s.w.wrongf("%s comes in with its token: %v; believed was %+v", b.user, in, b.is)
			return
		}
		b.is = is
	}
	if b.is[0].known {
		return
	}
	var made struct{ Token string }
	r.call("bot.token", params{"user": b.user}, &made)
	b.void, b.token, b.scoped = b.token, made.Token, false
	b.is[0].known = true
}

// mustNotEnter: a token that is void lets nobody in.
func (s *workshop) mustNotEnter(b *robot, token string) {
	if token == "" {
		return
	}
	try := &actor{w: s.w, name: "check"}
	if in, err := s.enter(try, &robot{user: b.user, token: token}); in || err != nil {
		s.w.wrongf("%s comes in with a token that is void: %v %v", b.user, in, err)
	}
	try.hangUp()
}

// checkPosts: what a bot had acknowledged is there once, what was refused is not, and a command mentions those
// who listen to it.
func (s *workshop) checkPosts(r *reader) {
	at := make(map[string][]shown)
	for _, e := range r.events(s.conv) {
		if e.post() {
			at[e.Text] = append(at[e.Text], e)
		}
	}
	for text, p := range s.posts {
		found := at[text]
		delete(at, text)
		if len(found) > 1 || !p.stored.may(len(found) == 1) {
			s.w.wrongf("%s of %s is there %d times, expected %v", text, p.from, len(found), p.stored)
			continue
		}
		if p.stored = certain(len(found) == 1); len(found) == 0 {
			continue
		}
		if found[0].From != p.from {
			s.w.wrongf("%s of %s is %+v", text, p.from, found[0])
		}
		for user, is := range p.calls {
			if called := slices.Contains(found[0].Mentions, user); !is.may(called) {
				s.w.wrongf("%s calls %s: %v, expected %v", text, user, called, is)
			}
		}
	}
	for text, found := range at {
		s.w.wrongf("%q is in %s, and nobody sent it: %+v", text, s.conv, found)
	}
}
