package crash_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// exchange is two people who call each other over and over. One goroutine drives both, each step after the answer to
// the one before: where a call stands is certain, but for the step that was under way when the server died. What was
// acknowledged must be there after the restart, and each call that ended must be in the log, once.
type exchange struct {
	w      *world
	caller *actor
	callee *actor
	life   int32 // of the server that callee is connected to

	is    belief[stage]
	call  string // its id; "": there is none, or it is not known
	acted int64  // ms, when something was last done about it

	log callsLog
}

// stage is how far a call has come.
type stage string

const (
	idle       stage = "none"
	begun      stage = "new"
	rings      stage = "ringing"
	connecting stage = "connecting"
)

const (
	dialler  = "una"
	answerer = "vic"
	line     = "una~vic"
)

// silent is how long a call may be left alone until nobody can be surprised that the server ended it, ms.
const silent = 20_000

func newExchange(w *world) *exchange {
	x := &exchange{w: w, is: certain(idle), log: newCallsLog(w, line)}
	x.caller, x.callee = w.actor(dialler, "switch", x.play), w.actor(answerer, "switch", nil)
	x.caller.again, x.callee.again = x.back, x.listen
	return x
}

// listen has a device hear calls, so that it counts as there.
func (x *exchange) listen(a *actor) {
	if err := a.conn.WriteSubscribe(2, []mqttc.Filter{{Topic: "u/" + a.user + "/calls"}, {Topic: "u/" + a.user + "/calls/+"}}); err != nil {
		a.lost(err)
		return
	}
	if p, err := a.await(mqttc.SUBACK, nil); err != nil {
		a.lost(err)
	} else if p.Codes[0] >= 0x80 {
		a.failf("subscribing to calls: 0x%02X", p.Codes[0])
	}
}

// back compares what the server says with what is believed.
func (x *exchange) back(a *actor) {
	if x.listen(a); a.conn == nil {
		return
	}
	ans := a.call("call.state", params{})
	if ans.outcome != carried {
		if ans.outcome == turned {
			a.failf("call.state: %v", &ans)
		}
		return
	}
	x.look(a, ans.body)
}

func (x *exchange) look(a *actor, body json.RawMessage) {
	var st struct {
		Calls []struct{ Call, Conv, State string }
	}
	if err := json.Unmarshal(body, &st); err != nil || len(st.Calls) > 1 {
		a.failf("call.state: %s %v", body, err)
	}
	got, id := idle, ""
	if len(st.Calls) == 1 {
		got, id = stage(st.Calls[0].State), st.Calls[0].Call
	}
	if !x.is.may(got) && !(got == idle && now()-x.acted > silent) || id != "" && x.call != "" && id != x.call {
		a.failf("the call %s is %s (%s), believed was %v", x.call, got, id, x.is)
	}
	if got == idle && x.call != "" {
		x.end()
	}
	x.is, x.call = certain(got), id
}

func (x *exchange) end() {
	x.log.end(x.call)
	x.call = ""
}

// play does the next thing about the call.
func (x *exchange) play(a *actor) {
	if life := x.w.lives.Load(); x.life != life {
		x.callee.hangUp()
		x.life = life
	}
	if !x.callee.connect() || len(x.is) > 1 {
		a.hangUp() // the server is dead, or back looks how things stand
		return
	}
	type step struct {
		who  *actor
		verb string
		to   stage
	}
	var steps []step
	switch x.is[0] {
	case idle:
		x.start(a)
		return
	case begun:
		steps = []step{{x.callee, "ringing", rings}, {x.callee, "accept", connecting}, {a, "cancel", idle}, {x.callee, "decline", idle}}
	case rings:
		steps = []step{{x.callee, "ringing", rings}, {x.callee, "accept", connecting}, {a, "cancel", idle}, {x.callee, "decline", idle}}
	case connecting:
		steps = []step{{a, "hangup", idle}, {x.callee, "hangup", idle}, {x.callee, "resume", connecting}}
	default:
		a.failf("a call is %s", x.is[0])
	}
	s := steps[a.rng.IntN(len(steps))]
	ans, _ := x.publish(s.who, "k/"+x.call+"/"+s.verb, "")
	x.acted = now()
	switch ans.outcome {
	case turned:
		a.failf("%s of the call %s, which is %v: %v", s.verb, x.call, x.is, &ans)
	case doubtful:
		x.is = x.is.or(s.to)
		a.hangUp()
		return
	}
	x.is = certain(s.to)
	if s.to == idle {
		x.end()
	}
}

func (x *exchange) start(a *actor) {
	ans, id := x.publish(a, "u/"+answerer+"/call", fmt.Sprintf(`{"media":["audio"],"id":"%d-%d"}`, x.w.round, a.n))
	x.acted = now()
	switch {
	case ans.outcome == turned && ans.code == "rate-limited":
		time.Sleep(10 * time.Millisecond) // a server that has just been started knows nothing of those before
	case ans.outcome == turned:
		a.failf("start: %v", &ans)
	case ans.outcome == doubtful:
		x.is = x.is.or(begun)
	case id == "":
		a.failf("the PUBACK of a start names no call")
	default:
		x.is, x.call = certain(begun), id
	}
}

// publish sends something about a call and waits for its answer, which may name the call.
func (x *exchange) publish(a *actor, topic, payload string) (ans answer, call string) {
	ans = answer{outcome: doubtful, from: now()}
	a.pid = a.pid%60000 + 1
	a.n++
	err := a.conn.WritePublish(mqttc.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, ID: a.pid})
	var p mqttc.Packet
	if err == nil {
		p, err = a.await(mqttc.PUBACK, nil)
	}
	ans.to = now()
	if err != nil {
		a.lost(err)
		return ans, ""
	}
	a.judge(&ans, &p)
	call, _ = p.Props.User("call")
	return ans, call
}

// check reads the log. Before the first call has ended there is no conversation.
func (x *exchange) check() {
	if x.log.finals == 0 {
		return
	}
	r := x.w.reader(answerer)
	defer r.close()
	x.log.check(r)
}
