package crash_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// drawers is what people keep beside the conversations: private settings, which two devices of one user change
// at the same time, and what people are to each other.
type drawers struct {
	w      *world
	actors []*actor
	who    []string         // the friends of now
	pairs  map[string]*pair // by both names

	mu    sync.Mutex
	kept  map[string]*kept // by method and name or conversation
	asked int              // counts settings, which makes their values different
	said  map[string]bool  // values that were acknowledged, by their setting, and must be in the own log; drafts aside
}

const owner = "tess" // of the settings

var friends = []string{"uma", "vic", "wes"}

// kept is what is known of one setting. The server says of each change when it was made, and these times only
// grow: the latest one is what the setting is.
type kept struct {
	at       int64
	value    string
	doubtful []string // values that may have become it since
}

// pair is two users; mine is the side of the one whose name comes first.
type pair struct {
	sync.Mutex
	is belief[bond]
}

// bond is what two users are to each other.
type bond struct {
	a, b   side
	ab, ba bool // a blocks b, b blocks a
}

type side string

// The states of a contact that one of the two sees, and declined, which looks like none.
const (
	none, asking, asked, friend, declined side = "none", "requested", "incoming", "accepted", "declined"
)

// turn is the bond as the other one sees it.
func (b bond) turn() bond { return bond{b.b, b.a, b.ba, b.ab} }

func newDrawers(w *world) *drawers {
	d := &drawers{w: w, pairs: make(map[string]*pair), kept: make(map[string]*kept), said: make(map[string]bool)}
	for _, device := range []string{"desk", "bed"} {
		d.actors = append(d.actors, w.actor(owner, device, d.keep))
	}
	for _, f := range friends {
		d.actors = append(d.actors, w.actor(f, "friend", d.befriend))
	}
	return d
}

// generation is for how many rounds the friends are the same: nobody may ask too often in a day.
const generation = 40

// open brings new friends.
func (d *drawers) open(n int) {
	d.who = nil
	clear(d.pairs)
	for i, f := range friends {
		d.who = append(d.who, fmt.Sprintf("%s-%d", f, n))
		a := d.actors[len(d.actors)-len(friends)+i]
		a.hangUp()
		a.user = d.who[i]
		d.w.reader(a.user).close() // whoever comes exists
	}
	for i, a := range d.who {
		for _, b := range d.who[i+1:] {
			d.pairs[a+" "+b] = &pair{is: certain(bond{a: none, b: none})}
		}
	}
}

// keep changes a setting.
func (d *drawers) keep(a *actor) {
	d.mu.Lock()
	d.asked++
	n := d.asked
	d.mu.Unlock()
	var method, of, value string
	p := params{}
	switch a.rng.IntN(3) {
	case 0:
		method, of, value = "setting.set", []string{"theme", "sound"}[a.rng.IntN(2)], fmt.Sprintf("v%d", n)
		p["name"], p["value"] = of, value
	case 1:
		method, of, value = "draft.set", "tess~uma", fmt.Sprintf("draft %d", n)
		p["conv"], p["text"] = of, value
	default:
		until := now() + int64(3_600_000+n)
		method, of, value = "conv.mute", "tess~uma", fmt.Sprint(until)
		p["conv"], p["until"] = of, until
	}
	d.mu.Lock()
	k := d.kept[method+" "+of]
	if k == nil {
		k = &kept{}
		d.kept[method+" "+of] = k
	}
	k.doubtful = append(k.doubtful, value) // it may be there before its answer is
	d.mu.Unlock()
	x := a.call(method, p)
	if x.outcome == turned {
		a.failf("%s %v: %v", method, p, &x)
	}
	if x.outcome != carried {
		return
	}
	var now struct{ At int64 }
	if err := json.Unmarshal(x.body, &now); err != nil || now.At == 0 {
		a.failf("%s: %s: %v", method, x.body, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if method != "draft.set" {
		d.said[value] = true
	}
	k.doubtful = slices.DeleteFunc(k.doubtful, func(v string) bool { return v == value })
	if now.At == k.at {
		a.failf("%s: two changes are of the same time: %s and %s at %d", method, value, k.value, k.at)
	}
	if now.At > k.at {
		k.at, k.value = now.At, value
	}
}

// befriend does something about another one.
func (d *drawers) befriend(a *actor) {
	other := d.who[a.rng.IntN(len(d.who))]
	if other == a.user {
		return
	}
	p, ordered := d.pair(a.user, other)
	if !p.TryLock() {
		return
	}
	defer p.Unlock()
	method := []string{
		"contact.request", "contact.request", "contact.accept", "contact.accept", "contact.decline", "contact.remove", "block", "unblock", "unblock",
	}[a.rng.IntN(9)]
	x := a.call(method, params{"user": other})
	if x.outcome == turned && x.code == "rate-limited" {
		return
	}
	is := p.is.after(x.outcome, func(b bond) ([]bond, bool) {
		if !ordered {
			b = b.turn()
		}
		next, refused := b.then(method)
		if refused {
			return nil, true
		}
		if !ordered {
			next = next.turn()
		}
		return []bond{next}, false
	})
	if len(is) == 0 {
		a.failf("%s %s: %v; they were %+v (turned: %v)", method, other, &x, p.is, !ordered)
	}
	p.is = is
}

func (d *drawers) pair(a, b string) (p *pair, ordered bool) {
	if a < b {
		return d.pairs[a+" "+b], true
	}
	return d.pairs[b+" "+a], false
}

// then is what becomes of two when the first does something.
func (b bond) then(method string) (next bond, refused bool) {
	apart := b.ab || b.ba
	part := func() {
		if b.a == declined { // the other one goes on waiting
			return
		}
		if b.a = none; b.b != declined {
			b.b = none
		}
	}
	switch method {
	case "contact.request":
		switch {
		case apart:
			return b, true
		case b.a == friend || b.a == asking:
		case b.b == asking:
			b.a, b.b = friend, friend
		default:
			if b.a = asking; b.b != declined {
				b.b = asked
			}
		}
	case "contact.accept":
		switch {
		case apart:
			return b, true
		case b.a == friend:
		case b.b != asking:
			return b, true
		default:
			b.a, b.b = friend, friend
		}
	case "contact.decline":
		if b.a != declined && b.a != asked {
			return b, true
		}
		b.a = declined
	case "contact.remove":
		part()
	case "block":
		if !b.ab {
			part()
		}
		b.ab = true
	case "unblock":
		b.ab = false
	}
	return b, false
}

// check compares settings, contacts and blocks with what is believed of them.
func (d *drawers) check() {
	d.checkSettings()
	for _, user := range d.who {
		d.checkFriends(user)
	}
}

// checkSettings: of two writers the later one wins, and what was acknowledged is not lost.
func (d *drawers) checkSettings() {
	r := d.w.reader(owner)
	defer r.close()
	for name, k := range d.kept {
		method, of, _ := strings.Cut(name, " ")
		p := params{"name": of}
		switch method {
		case "draft.set":
			p = params{"conv": of, "name": "draft"}
		case "conv.mute":
			p = params{"conv": of, "name": "conv"}
		}
		var have struct {
			At    int64
			Value json.RawMessage
		}
		r.call("setting.get", p, &have)
		value := strings.Trim(string(have.Value), `"`)
		if method == "conv.mute" {
			var mute struct{ Mute int64 }
			if err := json.Unmarshal(have.Value, &mute); err != nil {
				d.w.wrongf("%s: %s: %v", name, have.Value, err)
			}
			value = fmt.Sprint(mute.Mute)
		}
		switch {
		case have.At == k.at && (value == k.value || k.at == 0):
		case have.At > k.at && slices.Contains(k.doubtful, value):
		default:
			d.w.wrongf("%s is %s of %d, the last that was acknowledged is %s of %d, in doubt were %v", name, value, have.At, k.value, k.at, k.doubtful)
		}
		k.at, k.value, k.doubtful = have.At, value, nil
	}
}

func (d *drawers) checkFriends(user string) {
	r := d.w.reader(user)
	defer r.close()
	var list struct {
		Contacts []struct {
			User  string
			State side
		}
	}
	r.call("contact.list", params{}, &list)
	var blocks struct{ Users []struct{ User string } }
	r.call("block.list", params{}, &blocks)
	for _, other := range d.who {
		if other == user {
			continue
		}
		state := none
		for _, c := range list.Contacts {
			if c.User == other {
				state = c.State
			}
		}
		blocked := slices.ContainsFunc(blocks.Users, func(b struct{ User string }) bool { return b.User == other })
		p, ordered := d.pair(user, other)
		is := p.is.seen(func(b bond) bool {
			if !ordered {
				b = b.turn()
			}
			return b.ab == blocked && (b.a == state || b.a == declined && state == none)
		})
		if len(is) == 0 {
			d.w.wrongf("%s is %s to %s (blocked: %v), and was believed to be %+v (turned: %v)", other, state, user, blocked, p.is, !ordered)
			continue
		}
		p.is = is
	}
}

// checkTold: the user's own log, from which all devices learn of changes, has each that was acknowledged, and
// the last draft.
func (d *drawers) checkTold(st storage.Reader) {
	count, draft := make(map[string]int), ""
	err := st.Read(storage.OwnLog(owner), 0, 1<<62, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		if err != nil || ev.Kind != chat.KindSetting {
			return err == nil
		}
		var ext struct {
			Name  string `cbor:"name"`
			Value any    `cbor:"value"`
		}
		if err := cbor.Unmarshal(ev.Ext, &ext); err != nil {
			d.w.t.Errorf("%v: a setting in the own log: %v", d.w, err)
		}
		if count[fmt.Sprint(ext.Value)]++; ext.Name == "draft" {
			draft = fmt.Sprint(ext.Value)
		}
		return true
	})
	if err != nil {
		d.w.t.Errorf("%v: %v", d.w, err)
	}
	for value := range d.said {
		if count[value] != 1 {
			d.w.wrongf("the change of a setting to %s is %d times in the own log", value, count[value])
		}
	}
	if k := d.kept["draft.set tess~uma"]; k != nil && draft != k.value {
		d.w.wrongf("the last draft in the own log is %q, it is %q", draft, k.value)
	}
}
