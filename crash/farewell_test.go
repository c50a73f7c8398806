package crash_test

import (
	"errors"
	"fmt"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// farewell is somebody who has their account erased while the server dies: what they wrote must go, whoever
// finishes it.
type farewell struct {
	w      *world
	actor  *actor
	conv   string
	texts  []string
	erased belief[bool]
	over   bool // all of it has been seen to be gone
}

const (
	staying  = "yan"
	remarks  = 60 // posts of the one who goes
	leavers  = "zoe-%d"
	goneFrom = "farewell-%d"
)

func newFarewell(w *world) *farewell {
	f := &farewell{w: w}
	f.actor = w.actor(staying, "farewell", f.leave)
	return f
}

// open lets a new user write something.
func (f *farewell) open(n int) {
	f.actor.user, f.conv = fmt.Sprintf(leavers, n), fmt.Sprintf(goneFrom, n)
	f.texts, f.erased, f.over, f.actor.rest = nil, certain(false), false, false
	who := f.w.reader(f.actor.user)
	defer who.close()
	r := f.w.reader(staying)
	defer r.close()
	var made struct{ Conv string }
	r.call("group.create", params{"id": f.conv, "title": "Farewell", "visibility": "private", "join": "invite", "history": "all", "members": []string{f.actor.user}}, &made)
	for range remarks {
		f.texts = append(f.texts, marker(f.actor))
		who.publish("c/"+f.conv+"/text", f.texts[len(f.texts)-1])
	}
}

// leave ends the account, at some time in the epoch.
func (f *farewell) leave(a *actor) {
	if a.rng.IntN(3) > 0 {
		a.rest = true // not in this phase
		return
	}
	a.goes = true // with the account go its sessions, be it before the reply has left
	x := a.call("user.erase", params{"confirm": a.user})
	a.goes = false
	if x.outcome == turned {
		a.failf("erasing the account: %v", &x)
	}
	f.erased, a.rest = f.erased.after(x.outcome, func(bool) ([]bool, bool) { return []bool{true}, false }), true
	a.hangUp() // or the server does
}

// check: whose account is gone does not come back, and nothing that they wrote stays.
func (f *farewell) check() {
	if f.over {
		return
	}
	f.actor.hangUp()
	ctx, cancel := within()
	defer cancel()
	conn, _, err := mqttc.Dial(ctx, f.w.server.addr, mqttc.ConnectOptions{ClientID: "check", Username: f.actor.user, CleanStart: true})
	if err == nil {
		_ = conn.Close()
	}
	var refused *mqttc.RefusedError
	erased := errors.As(err, &refused)
	if err != nil && !erased {
		f.w.t.Fatalf("%v: %s cannot connect: %v", f.w, f.actor.user, err)
	}
	if !f.erased.may(erased) {
		f.w.wrongf("the account of %s is erased: %v, expected %v", f.actor.user, erased, f.erased)
		return
	}
	f.erased, f.actor.rest = certain(erased), erased
	if erased {
		f.awaitEnd()
	}
}

// awaitEnd waits until nothing is left of what they wrote.
func (f *farewell) awaitEnd() {
	r := f.w.reader(staying)
	defer r.close()
	for deadline := now() + patience.Milliseconds(); ; {
		left := 0
		for _, e := range r.events(f.conv) {
			if e.Text != "" {
				left++
			}
		}
		if left == 0 {
			break
		}
		if now() > deadline {
			f.w.wrongf("%s has gone, and %d posts are still there", f.actor.user, left)
			return
		}
	}
	f.over = true
	for _, text := range f.texts {
		f.w.board.bury(text, gone{since: now(), deleted: true, conv: f.conv})
	}
}
