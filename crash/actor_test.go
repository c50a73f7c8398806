package crash_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// actor is a client that waits for the answer to each thing that it does before it does the next. So what it
// knows is certain, but for what was under way when the server died. One goroutine at a time drives it.
type actor struct {
	w     *world
	user  string
	name  string // client id
	rng   *rand.Rand
	play  func(*actor)        // does one random thing
	again func(*actor)        // looks after what is in doubt, with a new connection; may be nil
	token string              // what a bot comes in with
	heard func(*mqttc.Packet) // is shown what is delivered of conversations, at QoS 0; may be nil
	conn  *mqttc.Conn         // nil while the server is dead
	pid   uint16
	n     int  // things done so far
	texts int  // markers so far
	rest  bool // there is nothing to do for now
	goes  bool // the server may end the connection
	fault error
}

// answer is what became of one request or event. It was carried out, if at all, at some time from..to, in ms
// since 1970.
type answer struct {
	outcome
	seq          uint64          // of an event
	body         json.RawMessage // what a request was answered with
	code, reason string          // of a refusal
	from, to     int64
}

func (a *answer) String() string {
	switch a.outcome {
	case carried:
		return fmt.Sprintf("acknowledged as %d %s", a.seq, a.body)
	case turned:
		return "refused: " + a.code + ": " + a.reason
	}
	return "in doubt"
}

func (w *world) actor(user, name string, play func(*actor)) *actor {
	return &actor{w: w, user: user, name: name, play: play, rng: rand.New(rand.NewPCG(w.rng.Uint64(), w.rng.Uint64()))}
}

// failf ends the actor's phase with a fault.
func (a *actor) failf(format string, args ...any) {
	panic(faultError{fmt.Errorf("%s: %w", a.user, fmt.Errorf(format, args...))})
}

func now() int64 { return time.Now().UnixMilli() }

// connect connects with a new session. It returns false when the server is dead.
func (a *actor) connect() bool {
	if a.conn != nil {
		return true
	}
	if err := a.dial(); err != nil {
		return a.lost(err)
	}
	if a.again != nil {
		a.again(a)
	}
	return a.conn != nil
}

// dial makes the connection, and may leave half of one behind when it fails.
func (a *actor) dial() error {
	ctx, cancel := within()
	defer cancel()
	o := mqttc.ConnectOptions{
		Version: 5, ClientID: a.name, Username: a.user, CleanStart: true, MaxPacket: 4 << 20,
		UserProperties: []mqttc.UserProperty{{Key: "meta", Value: "seq"}},
	}
	if a.token != "" {
		o.Password = []byte(a.token)
	}
	conn, _, err := mqttc.Dial(ctx, a.w.server.addr, o)
	if err != nil {
		return err
	}
	a.conn, a.pid = conn, 1
	filters := []mqttc.Filter{{Topic: a.replies()}}
	if a.heard != nil {
		filters = append(filters, mqttc.Filter{Topic: "c/+/json"})
	}
	if err := conn.WriteSubscribe(1, filters); err != nil {
		return err
	}
	_, err = a.await(mqttc.SUBACK, nil)
	return err
}

// hangUp ends the connection, if there is one.
func (a *actor) hangUp() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

func (a *actor) replies() string { return "u/" + a.user + "/rpc" }

// lost notes that the connection is gone, which as a rule only the server's death excuses.
func (a *actor) lost(err error) bool {
	if !a.w.server.dying.Load() && !a.goes {
		a.failf("the connection: %v", err)
	}
	a.hangUp()
	return false
}

// await reads up to a packet of that type; got is shown the messages meanwhile.
func (a *actor) await(kind byte, got func(*mqttc.Packet)) (mqttc.Packet, error) {
	if err := a.conn.Flush(); err != nil {
		return mqttc.Packet{}, err
	}
	if err := a.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return mqttc.Packet{}, err
	}
	for {
		p, err := a.conn.ReadPacket()
		switch {
		case err != nil:
			return p, err
		case p.Type == kind:
			return p, nil
		case p.Type == mqttc.PUBLISH && a.heard != nil && strings.HasPrefix(string(p.Topic), "c/"):
			a.heard(&p)
		case p.Type == mqttc.PUBLISH && got != nil:
			got(&p)
		case p.Type == mqttc.DISCONNECT:
			return p, fmt.Errorf("the server says goodbye: 0x%02X", p.Code)
		}
	}
}

// message is something to publish at QoS 1.
type message struct{ topic, payload string }

// send publishes messages one right after the other, and waits for all answers.
func (a *actor) send(list ...message) []answer {
	out := make([]answer, len(list))
	from := now()
	for i := range out {
		out[i] = answer{outcome: doubtful, from: from}
	}
	defer func() {
		for i := range out {
			if out[i].to == 0 {
				out[i].to = now()
			}
		}
	}()
	for _, m := range list {
		a.pid = a.pid%60000 + 1
		a.n++
		if err := a.conn.WritePublish(mqttc.Publish{Topic: m.topic, Payload: []byte(m.payload), QoS: 1, ID: a.pid}); err != nil {
			a.lost(err)
			return out
		}
	}
	for i := range out {
		p, err := a.await(mqttc.PUBACK, nil)
		if err != nil {
			a.lost(err)
			return out
		}
		out[i].to = now()
		a.judge(&out[i], &p)
	}
	return out
}

// judge reads a PUBACK.
func (a *actor) judge(x *answer, p *mqttc.Packet) {
	x.outcome = carried
	if seq, ok := p.Props.User("seq"); ok {
		if _, err := fmt.Sscan(seq, &x.seq); err != nil {
			a.failf("seq %q: %v", seq, err)
		}
	}
	if p.Code < 0x80 {
		return
	}
	x.outcome = turned
	x.reason, _ = p.Props.String(mqttc.PropReason)
	for i := range x.reason {
		if x.reason[i] == ':' {
			x.code, x.reason = x.reason[:i], x.reason[i+1:]
			break
		}
	}
}

// append sends an event to a conversation.
func (a *actor) append(conv, event string) answer {
	return a.send(message{"c/" + conv + "/json", event})[0]
}

// params are those of a request.
type params map[string]any

// call makes a request.
func (a *actor) call(method string, p params) (x answer) {
	x = answer{outcome: doubtful, from: now()}
	defer func() { x.to = now() }()
	a.pid = a.pid%60000 + 1
	a.n++
	tag := fmt.Sprint(a.n)
	p["tag"] = tag
	body, err := json.Marshal(p)
	if err != nil {
		a.failf("%s: %v", method, err)
	}
	to := a.replies()
	props := append([]byte{mqttc.PropResponseTopic, 0, byte(len(to))}, to...)
	err = a.conn.WritePublish(mqttc.Publish{Topic: "rpc/" + method, Payload: body, QoS: 1, ID: a.pid, Props: props})
	var reply struct {
		Tag   string
		OK    json.RawMessage
		Error *struct{ Code, Reason string }
	}
	var ack mqttc.Packet
	if err == nil {
		ack, err = a.await(mqttc.PUBACK, func(p *mqttc.Packet) {
			if err := json.Unmarshal(p.Payload, &reply); err != nil {
				a.failf("%s: the reply %s: %v", method, p.Payload, err)
			}
		})
	}
	if err != nil {
		a.lost(err)
	}
	switch {
	case reply.Error != nil:
		x.outcome, x.code, x.reason = turned, reply.Error.Code, reply.Error.Reason
	case reply.OK != nil && reply.Tag == tag:
		x.outcome, x.body = carried, reply.OK
	case err == nil:
		a.failf("%s is acknowledged with 0x%02X before its reply, which is %+v", method, ack.Code, reply)
	}
	return x
}

// load plays up to n times, until the server dies.
func (a *actor) load(n int) {
	for range n {
		if a.rest || !a.connect() {
			return
		}
		a.play(a)
	}
}

// What surrounds the texts of notes, so that they are found wherever they are.
const markerBegin, markerEnd = "mk.", ".km"

// marker is a text that nothing else has.
func marker(a *actor) string {
	a.texts++
	return fmt.Sprintf("%sr%d.%s.%s.%d%s", markerBegin, a.w.round, a.user, a.name, a.texts, markerEnd)
}
