package crash_test

import (
	"errors"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// retirement is the end of the account of the engineer before, while the server dies. Their bots go with it,
// whoever finishes that: nobody lets them in, they leave the group, and what they wrote stays.
type retirement struct {
	w      *world
	actor  *actor
	conv   string
	robots []*robot
	posts  map[string]*robotPost
	gone   belief[bool]
	over   bool // all of it was seen
}

// caretaker is in all workshops, and stays.
const caretaker = "kim"

func newRetirement(w *world) *retirement {
	r := &retirement{w: w, over: true}
	r.actor = w.actor(caretaker, "retirement", r.leave)
	r.actor.rest = true
	return r
}

// open begins with what the workshop leaves behind, if the last retirement has come to its end.
func (r *retirement) open(s *workshop) {
	if s.conv == "" || !r.over {
		return
	}
	r.actor.hangUp()
	r.actor.user, r.conv, r.robots, r.posts = s.owner, s.conv, s.robots, s.posts
	r.gone, r.over, r.actor.rest = certain(false), false, false
}

// leave ends the account, at some time in the epoch.
func (r *retirement) leave(a *actor) {
	if a.rng.IntN(3) > 0 {
		a.rest = true // not in this phase
		return
	}
	a.goes = true
	x := a.call("user.erase", params{"confirm": a.user})
	a.goes = false
	if x.outcome == turned {
		a.failf("erasing the account: %v", &x)
	}
	r.gone, a.rest = r.gone.after(x.outcome, func(bool) ([]bool, bool) { return []bool{true}, false }), true
	a.hangUp()
}

func (r *retirement) check() {
	if r.over {
		return
	}
	r.actor.hangUp()
	err := r.actor.dial()
	r.actor.hangUp()
	var refused *mqttc.RefusedError
	gone := errors.As(err, &refused)
	if err != nil && !gone {
		r.w.t.Fatalf("%v: %s cannot connect: %v", r.w, r.actor.user, err)
	}
	if !r.gone.may(gone) {
		r.w.wrongf("the account of %s is erased: %v, expected %v", r.actor.user, gone, r.gone)
	}
	r.gone, r.actor.rest, r.over = certain(gone), gone, gone
	if gone {
		r.checkBots()
	}
}

// checkBots: the caretaker is alone, with what the bots wrote.
func (r *retirement) checkBots() {
	k := r.w.reader(caretaker)
	defer k.close()
	for deadline := now() + patience.Milliseconds(); ; {
		var left struct{ Members []member }
		if k.call("member.list", params{"conv": r.conv}, &left); len(left.Members) == 1 {
			break
		}
		if now() > deadline {
			r.w.wrongf("the account of %s is erased, and %s has the members %+v", r.actor.user, r.conv, left.Members)
			return
		}
	}
	for _, b := range r.robots {
		r.w.workshop.mustNotEnter(b, b.token)
	}
	have := make(map[string]string)
	for _, e := range k.events(r.conv) {
		have[e.Text] = e.From
	}
	for text, p := range r.posts {
		stays := p.from != r.actor.user && p.stored.must(true)
		if from, there := have[text]; there != stays || there && from != p.from {
			r.w.wrongf("the account of %s is erased; %q of %s is there: %v", r.actor.user, text, p.from, there)
		}
	}
}
