package crash_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// bridge is a group whose members call each other over and over: they join, leave and send each other signals. One goroutine drives all of
// them, each step after the answer to the one before, as in [exchange]. Beside that who is in the call must be who was acknowledged, a
// party must find all signals again that were acknowledged, in order and without a gap, and nobody else's.
type bridge struct {
	w     *world
	host  *actor
	all   []*actor // host is the first
	lives map[*actor]int32

	is    belief[string] // who is in the call, sorted, with + between; "": there is none
	call  string
	parts map[string]*part // by user: of those who are in

	log     callsLog
	signals int
}

// part is somebody's part in the running call.
type part struct {
	party string   // "": not known yet
	sent  []string // bodies of the signals to it; the first has seq 1
	doubt string   // one more may have been stored
	when  []int64  // ms, when each of sent was sent
	got   uint64   // the last seq that arrived on this connection
}

// bridged is the group; its members are those who call.
const bridged = "bridge"

// keptFor is a little less than the server keeps signals, ms.
const keptFor = 45_000

func newBridge(w *world) *bridge {
	b := &bridge{w: w, is: certain(""), log: newCallsLog(w, bridged), parts: make(map[string]*part), lives: make(map[*actor]int32)}
	for _, user := range []string{"kim", "lea", "max"} {
		b.all = append(b.all, w.actor(user, "bridge", nil))
	}
	b.host = b.all[0]
	b.host.play = b.play
	return b
}

// open makes the group.
func (b *bridge) open() {
	for _, a := range b.all {
		b.w.reader(a.user).close()
	}
	r := b.w.reader(b.host.user)
	defer r.close()
	var made struct{ Conv string }
	r.call("group.create", params{"id": bridged, "title": "Bridge", "members": []string{b.all[1].user, b.all[2].user}}, &made)
}

func with(who, user string) string {
	all := strings.FieldsFunc(who, func(r rune) bool { return r == '+' })
	if !slices.Contains(all, user) {
		all = append(all, user)
	}
	slices.Sort(all)
	return strings.Join(all, "+")
}

func without(who, user string) string {
	all := slices.DeleteFunc(strings.Split(who, "+"), func(u string) bool { return u == user })
	return strings.Join(all, "+")
}

func takesPart(who, user string) bool { return slices.Contains(strings.Split(who, "+"), user) }

// gather connects everybody to this life of the server, and looks how things stand. false: the server is dead.
func (b *bridge) gather() bool {
	life := b.w.lives.Load()
	looked := false
	for _, a := range b.all {
		if a.conn != nil && b.lives[a] == life {
			continue
		}
		a.hangUp()
		if !a.connect() || !b.listen(a) {
			return false
		}
		b.lives[a] = life
		looked = true
	}
	return !looked && len(b.is) == 1 || b.look()
}

// listen subscribes to what devices are told of calls.
func (b *bridge) listen(a *actor) bool {
	if p := b.parts[a.user]; p != nil {
		p.got = 0
	}
	if err := a.conn.WriteSubscribe(2, []mqttc.Filter{{Topic: "u/" + a.user + "/calls"}, {Topic: "u/" + a.user + "/calls/+"}}); err != nil {
		return a.lost(err)
	}
	p, err := a.await(mqttc.SUBACK, b.heard(a))
	if err != nil {
		return a.lost(err)
	}
	if slices.ContainsFunc(p.Codes, func(c byte) bool { return c >= 0x80 }) {
		a.failf("subscribing to calls: %v", p.Codes)
	}
	return true
}

// witness is somebody who sees the call in all states that it may be in, if there is one: it is no business of those who left it.
func (b *bridge) witness() *actor {
	for _, a := range b.all {
		if !slices.ContainsFunc(b.is, func(who string) bool { return who != "" && !takesPart(who, a.user) }) {
			return a
		}
	}
	b.host.failf("nobody is in all of %q", b.is)
	return nil
}

// look compares what the server says with what is believed, and has everybody's signals sent again.
func (b *bridge) look() bool {
	var st struct {
		Calls []struct {
			Call    string
			Parties []struct{ Party, User string }
		}
	}
	a := b.witness()
	ans := a.call("call.state", params{})
	if ans.outcome == doubtful {
		return false
	}
	if err := json.Unmarshal(ans.body, &st); ans.outcome == turned || err != nil || len(st.Calls) > 1 {
		a.failf("call.state: %v", &ans)
	}
	who, parties := "", make(map[string]string)
	if len(st.Calls) == 1 {
		for _, p := range st.Calls[0].Parties {
			who = with(who, p.User)
			parties[p.User] = p.Party
		}
		if b.call != "" && b.call != st.Calls[0].Call {
			a.failf("the call %s is %s now", b.call, st.Calls[0].Call)
		}
	}
	if !b.is.may(who) {
		a.failf("in the call %s are %q, believed was %q", b.call, who, b.is)
	}
	if who == "" {
		b.end()
		return true
	}
	b.is, b.call = certain(who), st.Calls[0].Call
	for user, party := range parties {
		switch p := b.parts[user]; {
		case p == nil:
			a.failf("%s takes part in %s, and was not known to", user, b.call)
		case p.party == "":
			p.party = party
		case p.party != party:
			a.failf("the party of %s is %s, it was %s", user, party, p.party)
		}
	}
	for user := range b.parts {
		if !takesPart(who, user) {
			delete(b.parts, user)
		}
	}
	return b.again()
}

// again has everybody resume from the beginning, which brings what is kept for them.
func (b *bridge) again() bool {
	for _, a := range b.all {
		p := b.parts[a.user]
		if p == nil {
			continue
		}
		p.got = 0
		ans, _, _ := b.publish(a, "k/"+b.call+"/resume", fmt.Sprintf(`{"party":%q}`, p.party))
		switch {
		case ans.outcome == doubtful:
			return false
		case ans.outcome == turned:
			a.failf("resume with %s in %s: %v", p.party, b.call, &ans)
		}
		b.complete(a, p)
	}
	return true
}

// complete checks that what arrived of a party's signals is all that is kept.
func (b *bridge) complete(a *actor, p *part) {
	last := uint64(len(p.sent))
	if p.doubt != "" && p.got == last+1 {
		last++
		p.sent, p.when = append(p.sent, p.doubt), append(p.when, now())
	}
	p.doubt = ""
	if p.got != last && (last == 0 || p.when[last-1] > now()-keptFor) {
		a.failf("of the %d signals to %s the last that came is %d", last, p.party, p.got)
	}
}

// heard takes signals.
func (b *bridge) heard(a *actor) func(*mqttc.Packet) {
	return func(m *mqttc.Packet) {
		to, ok := strings.CutPrefix(string(m.Topic), "u/"+a.user+"/calls/")
		if !ok {
			return
		}
		var s struct {
			Call, Party, From, User string
			Seq                     uint64
			Body                    json.RawMessage
		}
		if err := json.Unmarshal(m.Payload, &s); err != nil || s.Party != to {
			a.failf("on %s came %s: %v", m.Topic, m.Payload, err)
		}
		p := b.parts[a.user]
		if p == nil || p.party != to || s.Call != b.call || s.User == a.user {
			a.failf("a signal for %s came, who has %+v in %s: %s", to, p, b.call, m.Payload)
		}
		if s.Seq <= p.got { // again
			return
		}
		first := p.got + 1
		if p.got == 0 { // only so many are kept, for so long
			for n := int(s.Seq) - 1; n > 0; n-- {
				if n <= len(p.when) && p.when[n-1] > now()-keptFor && len(p.sent)-n < 60 {
					a.failf("the first signal to %s is %d, %d was sent %d ms ago", to, s.Seq, n, now()-p.when[n-1])
				}
			}
			first = s.Seq
		}
		want := p.doubt
		if int(s.Seq) <= len(p.sent) {
			want = p.sent[s.Seq-1]
		}
		if s.Seq != first || want == "" || !strings.Contains(string(s.Body), want) {
			a.failf("signal %d to %s after %d is %s, sent was %q", s.Seq, to, p.got, s.Body, want)
		}
		p.got = s.Seq
	}
}

// publish says something about a call.
func (b *bridge) publish(a *actor, topic, payload string) (ans answer, call, party string) {
	ans = answer{outcome: doubtful, from: now()}
	a.pid = a.pid%60000 + 1
	a.n++
	err := a.conn.WritePublish(mqttc.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, ID: a.pid})
	var p mqttc.Packet
	if err == nil {
		p, err = a.await(mqttc.PUBACK, b.heard(a))
	}
	ans.to = now()
	if err != nil {
		a.lost(err)
		return ans, "", ""
	}
	a.judge(&ans, &p)
	call, _ = p.Props.User("call")
	party, _ = p.Props.User("party")
	return ans, call, party
}

// play does the next thing.
func (b *bridge) play(host *actor) {
	if !b.gather() {
		host.hangUp()
		return
	}
	who := b.is[0]
	a := b.all[host.rng.IntN(len(b.all))]
	switch r := host.rng.IntN(10); {
	case who == "" || !takesPart(who, a.user):
		b.join(a, who)
	case r < 2:
		b.leave(a, who)
	case r < 3:
		b.publish(a, "k/"+b.call+"/resume", fmt.Sprintf(`{"party":%q}`, b.parts[a.user].party))
	default:
		b.signal(a, who)
	}
}

func (b *bridge) join(a *actor, who string) {
	topic, payload := "c/"+bridged+"/call", fmt.Sprintf(`{"media":["audio"],"id":"%d-%d"}`, b.w.round, a.n)
	if who != "" && a.rng.IntN(2) == 0 {
		topic = "k/" + b.call + "/" + []string{"join", "accept"}[a.rng.IntN(2)]
	}
	ans, call, party := b.publish(a, topic, payload)
	switch {
	case ans.outcome == turned && ans.code == "rate-limited":
		time.Sleep(10 * time.Millisecond) // a server that has just been started knows nothing of those before
	case ans.outcome == turned:
		a.failf("%s with %q in %s: %v", topic, who, b.call, &ans)
	case ans.outcome == doubtful:
		b.is = b.is.or(with(who, a.user))
		b.parts[a.user] = &part{}
	case party == "" || call == "" || b.call != "" && call != b.call:
		a.failf("the PUBACK of %s names call %q and party %q; the call was %q", topic, call, party, b.call)
	default:
		b.is, b.call = certain(with(who, a.user)), call
		b.parts[a.user] = &part{party: party}
	}
}

func (b *bridge) leave(a *actor, who string) {
	verb := []string{"leave", "hangup"}[a.rng.IntN(2)]
	ans, _, _ := b.publish(a, "k/"+b.call+"/"+verb, "")
	switch ans.outcome {
	case turned:
		a.failf("%s: %v", verb, &ans)
	case doubtful:
		b.is = b.is.or(without(who, a.user))
		return
	}
	delete(b.parts, a.user)
	if b.is = certain(without(who, a.user)); b.is[0] == "" {
		b.end()
	}
}

// signal sends a signal to another party, and sees that it arrives.
func (b *bridge) signal(a *actor, who string) {
	others := strings.Split(without(who, a.user), "+")
	to := others[a.rng.IntN(len(others))]
	if to == "" {
		return
	}
	p := b.parts[to]
	b.signals++
	mark := fmt.Sprintf("7%08d7", b.signals)
	payload := fmt.Sprintf(`{"to":%q,"type":"candidates","body":["candidate:%s 1 udp 1 192.0.2.17 5000 typ host"]}`, p.party, mark)
	if kind := a.rng.IntN(3); kind > 0 {
		sdp := "v=0\r\no=- " + mark + " 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 12:34:56\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
			"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n"
		body, err := json.Marshal(sdp)
		if err != nil {
			a.failf("%v", err)
		}
		payload = fmt.Sprintf(`{"to":%q,"type":%q,"body":%s}`, p.party, []string{"offer", "answer"}[kind-1], body)
	}
	p.doubt = mark
	ans, _, _ := b.publish(a, "k/"+b.call+"/signal", payload)
	switch {
	case ans.outcome == doubtful:
		return
	case ans.outcome == turned:
		p.doubt = ""
		if ans.code != "rate-limited" {
			a.failf("a signal to %s in %s: %v", p.party, b.call, &ans)
		}
		return
	}
	p.doubt = ""
	p.sent, p.when = append(p.sent, mark), append(p.when, now())
	i := slices.IndexFunc(b.all, func(o *actor) bool { return o.user == to })
	r := b.all[i] // what was told before the answer is on its way to them
	err := r.conn.WritePing()
	if err == nil {
		_, err = r.await(mqttc.PINGRESP, b.heard(r))
	}
	if err != nil {
		r.lost(err)
		return
	}
	if p.got != uint64(len(p.sent)) {
		r.failf("signal %d to %s was acknowledged, and %d was the last to arrive", len(p.sent), p.party, p.got)
	}
}

// end notes that the call is over.
func (b *bridge) end() {
	if b.call != "" {
		b.log.end(b.call)
	}
	b.is, b.call = certain(""), ""
	clear(b.parts)
}

// check reads the log, and that retained tells of no call when there is none.
func (b *bridge) check() {
	r := b.w.reader(b.host.user)
	defer r.close()
	b.log.check(r)
	r.subscribe("c/" + bridged + "/call")
	if got := r.live["c/"+bridged+"/call"]; b.is.must("") && got != "" {
		b.w.t.Errorf("%v: nobody calls, and retained is %s", b.w, got)
	}
}
