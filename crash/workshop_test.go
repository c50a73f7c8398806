package crash_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// workshop is somebody who makes programs that take part: accounts that only a token lets in, and what such
// programs do.
type workshop struct {
	w      *world
	conv   string
	owner  string
	actors []*actor
	past   *retirement

	mu     sync.Mutex
	robots []*robot
	posts  map[string]*robotPost // by text
}

const (
	engineer   = "ida"
	robotsMost = 4  // at a time
	botsMost   = 60 // in an epoch
)

// robot is a bot. Whoever does something about it holds it meanwhile.
type robot struct {
	sync.Mutex
	user, token string
	void        string // the token before
	scoped      bool   // the token is for the group only
	is          belief[machine]
	command     belief[string] // that it listens to; "": to none
	seen, over  bool           // it was there; it is known to be gone
	buried      bool           // and that nobody gets its name
}

// machine is the state of a bot.
type machine struct {
	there  bool
	known  bool // the token that we know lets it in
	member bool
}

type robotPost struct {
	from   string
	stored belief[bool]
	calls  map[string]belief[bool] // bots that are mentioned by its slash command
}

func newWorkshop(w *world) *workshop {
	s := &workshop{w: w, posts: make(map[string]*robotPost), past: newRetirement(w)}
	s.actors = []*actor{w.actor(engineer, "bench", s.build), w.actor(engineer, "robot", s.run), s.past.actor}
	return s
}

// open begins a new group with a new engineer.
func (s *workshop) open(n int) {
	s.past.open(s)
	s.owner, s.conv, s.robots = fmt.Sprintf("%s-%d", engineer, n), fmt.Sprintf("workshop-%d", n), nil
	s.posts = make(map[string]*robotPost) // the old ones are the retirement's
	for _, a := range s.actors[:2] {
		a.hangUp()
		a.user, a.token = s.owner, ""
	}
	r := s.w.reader(s.owner)
	defer r.close()
	var made struct{ Conv string }
	r.call("group.create", params{"id": s.conv, "title": "Workshop", "visibility": "private", "join": "invite", "history": "all", "members": []string{caretaker}}, &made)
}

// pick holds a bot that may be there.
func (s *workshop) pick(a *actor) *robot {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 4 {
		if len(s.robots) == 0 {
			return nil
		}
		b := s.robots[len(s.robots)-1-a.rng.IntN(min(robotsMost, len(s.robots)))]
		if !b.TryLock() {
			continue
		}
		if !b.over {
			return b
		}
		b.Unlock()
	}
	return nil
}

// build does something about bots, as their owner.
func (s *workshop) build(a *actor) {
	b := s.pick(a)
	if b == nil || a.rng.IntN(12) == 0 {
		if b != nil {
			b.Unlock()
		}
		s.make(a)
		return
	}
	defer b.Unlock()
	switch r := a.rng.IntN(10); {
	case r < 1:
		s.do(a, b, "bot.delete", params{}, func(m machine) (machine, bool) { return machine{}, !m.there })
		if b.is.must(machine{}) {
			b.over = true
		}
	case r < 3:
		s.renew(a, b)
	case r < 5:
		s.teach(a, b)
	case r < 8:
		s.order(a)
	default:
		s.do(a, b, "member.add", params{"conv": s.conv}, func(m machine) (machine, bool) {
			m.member = m.there
			return m, !m.there
		})
	}
}

// do makes a request about a bot. next says what it makes of it, and whether it must be refused.
func (s *workshop) do(a *actor, b *robot, method string, p params, next func(machine) (machine, bool)) (x answer) {
	p["user"] = b.user
	x = a.call(method, p)
	is := b.is.after(x.outcome, func(m machine) ([]machine, bool) {
		to, refused := next(m)
		if refused {
			return nil, true
		}
		return []machine{to}, false
	})
	if len(is) == 0 {
		a.failf("%s %s: %v; it was %+v", method, b.user, &x, b.is)
	}
	if b.is = is; method == "bot.delete" && x.outcome == doubtful { // it leaves its groups first
		for _, m := range is {
			m.member = false
			b.is = b.is.or(m)
		}
	}
	return x
}

// make makes a bot.
func (s *workshop) make(a *actor) {
	s.mu.Lock()
	n, live := len(s.robots), 0
	for _, b := range s.robots {
		if b.TryLock() {
			if !b.over {
				live++
			}
			b.Unlock()
		} else {
			live++
		}
	}
	if n == botsMost || live >= robotsMost {
		s.mu.Unlock()
		s.order(a)
		return
	}
	b := &robot{user: fmt.Sprintf("bot-%d-%d", s.w.round, n), is: certain(machine{}), command: certain("")}
	b.Lock()
	defer b.Unlock()
	s.robots = append(s.robots, b)
	s.mu.Unlock()
	scoped, p := s.scope(a)
	p["name"] = "Robot"
	x := s.do(a, b, "bot.create", p, func(machine) (machine, bool) { return machine{there: true, known: true}, false })
	if s.take(a, b, &x, scoped); x.outcome == doubtful { // its token nobody knows
		b.is = belief[machine]{{}, {there: true}}
	}
}

// renew gives a bot another token. The old one is void then; of a request that nobody answered it may be.
func (s *workshop) renew(a *actor, b *robot) {
	scoped, p := s.scope(a)
	x := s.do(a, b, "bot.token", p, func(m machine) (machine, bool) { m.known = true; return m, !m.there })
	if s.take(a, b, &x, scoped); x.outcome == doubtful {
		for _, m := range b.is {
			m.known = false
			b.is = b.is.or(m)
		}
		b.is = b.is.seen(func(m machine) bool { return m.there || !m.known })
	}
}

// scope says whether a token is to be limited to the group.
func (s *workshop) scope(a *actor) (scoped bool, p params) {
	if scoped = a.rng.IntN(3) == 0; !scoped {
		return false, params{}
	}
	return true, params{"convs": []string{s.conv}, "read": true, "write": true}
}

func (s *workshop) take(a *actor, b *robot, x *answer, scoped bool) {
	if x.outcome != carried {
		return
	}
	var made struct{ User, Token string }
	if err := json.Unmarshal(x.body, &made); err != nil || made.User != b.user || made.Token == "" {
		a.failf("the token of %s: %s: %v", b.user, x.body, err)
	}
	b.void, b.token, b.scoped = b.token, made.Token, scoped
}

// teach has a bot listen to a slash command.
func (s *workshop) teach(a *actor, b *robot) {
	command := fmt.Sprintf("do-%d", a.rng.IntN(3))
	x := s.do(a, b, "bot.commands", params{"commands": []params{{"name": command}}}, func(m machine) (machine, bool) { return m, !m.there })
	b.command = b.command.after(x.outcome, func(string) ([]string, bool) { return []string{command}, true })
}

// order gives a slash command. Whoever listens to it is mentioned; of those who are being changed meanwhile it is
// not known whether they do.
func (s *workshop) order(a *actor) {
	command := fmt.Sprintf("do-%d", a.rng.IntN(3))
	text := "/" + command + " " + marker(a)
	p := &robotPost{from: s.owner, calls: make(map[string]belief[bool])}
	before := s.listeners(command)
	x := a.append(s.conv, fmt.Sprintf(`{"text":%q}`, text))
	for user, is := range s.listeners(command) {
		if was := before[user]; len(was) == 1 && slices.Equal(was, is) {
			p.calls[user] = is
		}
	}
	if p.stored = certain(false).after(x.outcome, func(bool) ([]bool, bool) { return []bool{true}, false }); len(p.stored) == 0 {
		a.failf("%s: %v", text, &x)
	}
	s.mu.Lock()
	s.posts[text] = p
	s.mu.Unlock()
}

// listeners says of all bots that nobody else holds whether they listen to a command. The caller may hold one.
func (s *workshop) listeners(command string) map[string]belief[bool] {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make(map[string]belief[bool])
	for _, b := range s.robots {
		if !b.TryLock() {
			continue
		}
		var is belief[bool]
		for _, m := range b.is {
			for _, c := range b.command {
				is = is.or(m.there && m.member && c == command)
			}
		}
		list[b.user] = is
		b.Unlock()
	}
	return list
}

// run is what a bot does: it comes in with its token, says something, and goes.
func (s *workshop) run(a *actor) {
	b := s.pick(a)
	if b == nil || b.token == "" {
		if b != nil {
			b.Unlock()
		}
		a.call("bot.list", params{}) // whoever only waits never learns that the server is dead
		return
	}
	defer b.Unlock()
	defer func() {
		if a.conn != nil { // then the server is there
			a.hangUp()
		}
		a.user, a.token = s.owner, ""
	}()
	a.hangUp()
	in, err := s.enter(a, b)
	if err != nil {
		a.lost(err)
		return
	}
	is := b.is.seen(func(m machine) bool { return in == (m.there && m.known) })
	if len(is) == 0 {
		a.failf("%s comes in with its token: %v; it was %+v", b.user, in, b.is)
	}
	b.is = is
	for range a.rng.IntN(4) {
		if a.conn == nil || !in {
			return
		}
		s.say(a, b)
	}
}

// enter tries to come in as a bot.
func (s *workshop) enter(a *actor, b *robot) (in bool, err error) {
	a.user, a.token = b.user, b.token
	err = a.dial()
	var refused *mqttc.RefusedError
	if errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

// say posts in the group, or elsewhere, where a token may not reach.
func (s *workshop) say(a *actor, b *robot) {
	if a.rng.IntN(5) == 0 {
		x := a.send(message{"u/" + s.owner + "/text", "beep"})[0]
		if x.outcome == turned != b.scoped && x.outcome != doubtful {
			a.failf("writing to somebody, limited to the group: %v: %v", b.scoped, &x)
		}
		return
	}
	text := marker(a)
	p := &robotPost{from: b.user}
	x := a.append(s.conv, fmt.Sprintf(`{"text":%q}`, text))
	is := b.is.after(x.outcome, func(m machine) ([]machine, bool) {
		if m.there && m.known && m.member {
			return []machine{m}, false
		}
		return nil, true
	})
	if len(is) == 0 {
		a.failf("a post of %s: %v; it was %+v", b.user, &x, b.is)
	}
	b.is = is
	p.stored = map[outcome]belief[bool]{carried: {true}, turned: {false}, doubtful: {true, false}}[x.outcome]
	s.mu.Lock()
	s.posts[text] = p
	s.mu.Unlock()
}
