package crash_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// hatch is a group that programs post to and listen to over HTTP: by incoming webhooks, with keys that make
// repetitions known, and by outgoing ones, whose endpoint is the [sink].
type hatch struct {
	w      *world
	conv   string
	actors []*actor
	stalls map[*actor]*stall
	sink   *sink
	client *http.Client

	mu     sync.Mutex
	knocks map[string]*knock // by text
}

const porter = "otto" // owns the group and all webhooks

// stall is what one of the porter's devices has.
type stall struct {
	flap  *flap  // nil: to be made
	spout *spout // nil: to be made
	mine  []uint64
	stray int // incoming webhooks that may have been made, and nobody knows
}

// flap is an incoming webhook.
type flap struct {
	id, path, bot string
	is            belief[door]
	knocks        []*knock
}

// door is the state of an incoming webhook.
type door struct {
	state string // "open"; "broken": its bot is gone, or on its way; "gone"
	known bool   // the secret is the one that we know
}

const open, broken, walled = "open", "broken", "gone"

// knock is a post to an incoming webhook.
type knock struct {
	text, key string
	form      int // how it is said
	by        *flap
	seq       uint64
	stored    belief[bool]
	seen      bool
}

func newHatch(w *world) *hatch {
	h := &hatch{w: w, sink: newSink(w), stalls: make(map[*actor]*stall), knocks: make(map[string]*knock), client: &http.Client{Timeout: patience}}
	for _, device := range []string{"left", "right"} {
		a := w.actor(porter, device, h.act)
		h.actors = append(h.actors, a)
		h.stalls[a] = &stall{}
	}
	return h
}

// open begins a new group. The webhooks of the old one go.
func (h *hatch) open(n int) {
	r := h.w.reader(porter)
	defer r.close()
	if h.conv != "" {
		for _, hook := range h.list(r) {
			h.remove(r, hook.ID)
		}
	}
	clear(h.knocks)
	h.conv = fmt.Sprintf("hatch-%d", n)
	for _, s := range h.stalls {
		*s = stall{}
	}
	var made struct{ Conv string }
	r.call("group.create", params{"id": h.conv, "title": "Hatch", "visibility": "private", "join": "invite", "history": "all"}, &made)
}

// act does one random thing. What is in doubt comes first.
func (h *hatch) act(a *actor) {
	s := h.stalls[a]
	switch r := a.rng.IntN(100); {
	case s.flap == nil:
		h.make(a, s)
	case !s.flap.is.must(door{open, true}):
		h.mend(a, s)
	case s.spout == nil:
		h.listen(a, s)
	case r < 45:
		k := &knock{text: marker(a), by: s.flap, stored: certain(false), form: a.rng.IntN(4)}
		if k.form > 0 {
			k.key = fmt.Sprintf("key %d.%s.%d", h.w.round, a.name, a.texts)
		}
		h.mu.Lock()
		h.knocks[k.text] = k
		h.mu.Unlock()
		s.flap.knocks = append(s.flap.knocks, k)
		h.knock(a, k)
	case r < 60:
		h.again(a, s)
	case r < 64:
		h.rotate(a, s.flap)
	case r < 69:
		h.wallUp(a, s)
	case r < 71:
		h.hush(a, s)
	default:
		h.talk(a, s)
	}
}

// made is what tells the secret of a webhook.
type made struct{ ID, URL, Secret, Bot string }

func (h *hatch) made(a *actor, x *answer) (m made) {
	if err := json.Unmarshal(x.body, &m); err != nil || m.URL == "" && m.Secret == "" {
		a.failf("a webhook: %s: %v", x.body, err)
	}
	return m
}

// make makes an incoming webhook.
func (h *hatch) make(a *actor, s *stall) {
	x := a.call("webhook.create", params{"conv": h.conv, "kind": "in", "name": "Program"})
	switch x.outcome {
	case turned:
		a.failf("making a webhook: %v", &x)
	case doubtful:
		s.stray++
	case carried:
		m := h.made(a, &x)
		s.flap = &flap{id: m.ID, path: m.URL, bot: m.Bot, is: certain(door{open, true})}
		h.w.trail.add(trailed{h.conv, porter, "webhook.add", m.ID, x.from, x.to})
	}
}

// mend makes a webhook certain again: by a new secret, or by ending it.
func (h *hatch) mend(a *actor, s *stall) {
	if s.flap.is.may(door{open, false}) && !s.flap.is.may(door{walled, true}) && !s.flap.is.may(door{broken, true}) {
		h.rotate(a, s.flap)
		return
	}
	h.wallUp(a, s)
}

// rotate gives a webhook a new secret.
func (h *hatch) rotate(a *actor, f *flap) {
	x := a.call("webhook.rotate", params{"id": f.id})
	is := f.is.after(x.outcome, func(d door) ([]door, bool) {
		if d.state == walled {
			return nil, true
		}
		return []door{{d.state, x.outcome == carried}}, false
	})
	if len(is) == 0 {
		a.failf("a new secret for %+v: %v", *f, &x)
	}
	if f.is = is; x.outcome == carried {
		f.path = h.made(a, &x).URL
		h.w.trail.add(trailed{h.conv, porter, "webhook.rotate", f.id, x.from, x.to})
	}
}

// wallUp removes a webhook, with its bot. A server that dies in the middle leaves it without one.
func (h *hatch) wallUp(a *actor, s *stall) {
	f := s.flap
	x := a.call("webhook.delete", params{"id": f.id})
	switch {
	case x.outcome == doubtful:
		for _, d := range f.is {
			f.is = f.is.or(door{broken, d.known}, door{walled, true})
		}
	case x.outcome == turned && !f.is.may(door{walled, true}):
		a.failf("deleting %+v: %v", *f, &x)
	default:
		f.is, s.flap = certain(door{walled, true}), nil
		if x.outcome == carried {
			h.w.trail.add(trailed{h.conv, porter, "webhook.del", f.id, x.from, x.to})
		}
		if x := h.call(a, f.path, knock{text: "nobody hears this", form: 1}); x.outcome == carried || x.outcome == turned && x.code != "not-found" {
			a.failf("a post to %+v, which was deleted: %v", *f, &x)
		}
	}
}

// again posts something again, or something else with the same key, or with a wrong secret.
func (h *hatch) again(a *actor, s *stall) {
	list := s.flap.knocks
	if len(list) == 0 {
		return
	}
	k := list[max(0, len(list)-1-a.rng.IntN(10))]
	switch {
	case a.rng.IntN(6) == 0:
		if x := h.call(a, s.flap.path+"x", *k); x.outcome == carried || x.outcome == turned && x.code != "not-found" {
			a.failf("a post with a wrong secret: %v", &x)
		}
	case k.key == "": // nobody would know it again
	case k.stored.must(true) && a.rng.IntN(4) == 0:
		other := *k
		other.text = "something else"
		if x := h.call(a, s.flap.path, other); x.outcome == carried || x.outcome == turned && x.code != "conflict" {
			a.failf("something else with the key %q: %v", k.key, &x)
		}
	default:
		h.knock(a, k)
	}
}

// knock posts something to a webhook, for the first time or again.
func (h *hatch) knock(a *actor, k *knock) {
	x := h.call(a, k.by.path, *k)
	f := k.by
	is := f.is.after(x.outcome, func(d door) ([]door, bool) {
		ok := d == door{open, true}
		if ok && k.form != wrongForm {
			return []door{d}, false
		}
		return nil, !ok && (x.code == "not-found" || x.code == "not-authorized") || ok && x.code == "bad-request"
	})
	if x.outcome != doubtful && len(is) == 0 {
		a.failf("the post %q to %+v: %v", k.key, *f, &x)
	}
	if x.outcome != doubtful {
		f.is = is
	}
	switch {
	case x.outcome == carried && k.seq != 0 && k.seq != x.seq:
		a.failf("the post %q is acknowledged as %d, and was as %d", k.key, x.seq, k.seq)
	case x.outcome == carried:
		k.stored, k.seq = certain(true), x.seq
	case x.outcome == doubtful && k.form != wrongForm:
		k.stored = k.stored.or(true)
	}
}

// wrongForm is a knock that must be refused.
const wrongForm = 3

// call makes a request to a webhook.
func (h *hatch) call(a *actor, path string, k knock) (x answer) {
	x = answer{outcome: doubtful, from: now()}
	defer func() { x.to = now() }()
	a.n++
	kind, body := "application/json", fmt.Sprintf(`{"text":%q}`, k.text)
	switch k.form {
	case 0:
		kind, body = "text/plain", k.text
	case 2:
		body = fmt.Sprintf(`{"text":%q,"id":%q}`, k.text, k.key)
	case wrongForm:
		body = fmt.Sprintf(`{"text":%q,"seq":1}`, k.text)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+h.w.server.http+path, strings.NewReader(body))
	if err != nil {
		a.failf("%v", err)
	}
	req.Header.Set("Content-Type", kind)
	if k.key != "" && k.form != 2 {
		req.Header.Set("Idempotency-Key", k.key)
	}
	resp, err := h.client.Do(req)
	var said []byte
	if err == nil {
		said, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	if err != nil {
		a.lost(err)
		return x
	}
	var reply struct {
		Seq   uint64
		Error struct{ Code, Reason string }
	}
	if err := json.Unmarshal(said, &reply); err != nil || (resp.StatusCode == http.StatusOK) != (reply.Seq != 0) || (reply.Seq != 0) == (reply.Error.Code != "") {
		a.failf("a webhook answers %d %s: %v", resp.StatusCode, said, err)
	}
	if x.outcome, x.seq = carried, reply.Seq; reply.Seq == 0 {
		x.outcome, x.code, x.reason = turned, reply.Error.Code, reply.Error.Reason
	}
	return x
}

// listen makes an outgoing webhook: for posts, or for all that happens.
func (h *hatch) listen(a *actor, s *stall) {
	var kinds []string
	p := params{"conv": h.conv, "kind": "out"}
	if a.rng.IntN(2) == 0 {
		kinds = []string{"post", "edit", "delete", "add", "leave"}
		p["events"] = kinds
	}
	o := h.sink.add(h.conv, kinds)
	p["url"] = h.sink.srv.URL + o.path
	x := a.call("webhook.create", p)
	h.sink.mu.Lock()
	defer h.sink.mu.Unlock()
	o.made = x.to
	switch x.outcome {
	case turned:
		a.failf("making a webhook: %v", &x)
	case carried:
		m := h.made(a, &x)
		o.id, o.secret, o.there = m.ID, m.Secret, certain(true)
		h.w.trail.add(trailed{h.conv, porter, "webhook.add", m.ID, x.from, x.to})
	}
	s.spout = o
}

// hush removes an outgoing webhook, if it is known.
func (h *hatch) hush(a *actor, s *stall) {
	o := s.spout
	if !o.there.must(true) {
		return
	}
	x := a.call("webhook.delete", params{"id": o.id})
	h.sink.mu.Lock()
	defer h.sink.mu.Unlock()
	switch x.outcome {
	case turned:
		a.failf("deleting %v: %v", o, &x)
	case doubtful:
		o.there = belief[bool]{true, false}
	case carried:
		o.there, o.gone, s.spout = certain(false), h.w.lives.Load(), nil
		h.w.trail.add(trailed{h.conv, porter, "webhook.del", o.id, x.from, x.to})
	}
}

// talk does what outgoing webhooks tell of: posts, edits, deletions.
func (h *hatch) talk(a *actor, s *stall) {
	n := len(s.mine)
	body := fmt.Sprintf(`{"text":%q}`, marker(a))
	act := a.rng.IntN(8)
	switch {
	case n == 0:
	case act < 2:
		body = fmt.Sprintf(`{"kind":"edit","re":%d,"text":%q}`, s.mine[a.rng.IntN(n)], marker(a))
	case act < 3:
		body = fmt.Sprintf(`{"kind":"delete","re":%d}`, s.mine[n-1])
		s.mine = s.mine[:n-1]
	}
	x := a.append(h.conv, body)
	if x.outcome == turned {
		a.failf("%s: %v", body, &x)
	}
	if x.outcome == carried && strings.HasPrefix(body, `{"text"`) {
		s.mine = append(s.mine, x.seq)
	}
}
