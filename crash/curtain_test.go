package crash_test

import (
	"fmt"
	"sync"

	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/protocol"
)

// curtain is a group whose members see nothing of what was before them. People come and go while something is
// said; the log tells what each may see, and nothing else may come to them on any path.
type curtain struct {
	w      *world
	conv   string
	actors []*actor
	shades map[string]*shade // by user

	mu    sync.Mutex
	heard map[string][]uint64 // by user: what came live, since the last check
	seqs  []uint64            // posts of the host
	since map[string]string   // by user: where the last sync ended

	counted map[string]int // stays by user
}

const host = "vera" // owns the group

var audience = []string{"abe", "bea", "cyd"}

func newCurtain(w *world) *curtain {
	c := &curtain{w: w, shades: make(map[string]*shade), heard: make(map[string][]uint64), since: make(map[string]string)}
	c.actors = []*actor{w.actor(host, "curtain", c.lead)}
	for _, user := range audience {
		a := w.actor(user, "curtain", c.attend)
		a.heard = func(p *mqttc.Packet) { c.hear(a, p) }
		c.actors = append(c.actors, a)
		c.shades[user] = newShade(w, user)
	}
	return c
}

// open begins a new group, in place of the old one.
func (c *curtain) open(n int) {
	for _, d := range c.shades {
		d.settle()
	}
	r := c.w.reader(host)
	defer r.close()
	if c.conv != "" {
		var gone struct{ Ended bool }
		r.call("group.delete", params{"conv": c.conv}, &gone)
	}
	c.counted = make(map[string]int)
	c.conv, c.seqs = fmt.Sprintf("curtain-%d", n), nil
	var made struct{ Conv string }
	r.call("group.create", params{"id": c.conv, "title": "Curtain", "visibility": "public", "join": "open", "history": "joined"}, &made)
}

// arm has the shades listen.
func (c *curtain) arm() {
	for _, user := range audience {
		c.shades[user].listen()
	}
}

// lead is what the host does: talk, mostly, and pin; send people out, or bring them in; and draw the curtain back
// for those who come from then on.
func (c *curtain) lead(a *actor) {
	about := params{"conv": c.conv, "user": audience[a.rng.IntN(len(audience))]}
	n := len(c.seqs)
	switch r := a.rng.IntN(40); {
	case r < 1:
		a.call("group.update", params{"conv": c.conv, "history": []string{"joined", "joined", "joined", "all"}[a.rng.IntN(4)]})
	case r < 3:
		a.call("member.remove", about)
	case r < 5:
		a.call("member.add", about)
	case r < 8 && n > 0:
		a.append(c.conv, fmt.Sprintf(`{"kind":%q,"re":%d}`, []string{"pin", "pin", "unpin"}[a.rng.IntN(3)], c.any(a)))
	case r < 11 && n > 0:
		a.append(c.conv, fmt.Sprintf(`{"kind":"edit","re":%d,"text":%q}`, c.any(a), marker(a)))
	case r < 14 && n > 0:
		a.append(c.conv, fmt.Sprintf(`{"kind":"react","re":%d,"emoji":"🎉"}`, c.any(a)))
	case r < 22 && n > 0:
		c.say(a, fmt.Sprintf(`{"text":%q,"re":%d}`, marker(a), c.any(a)))
	default:
		c.say(a, fmt.Sprintf(`{"text":%q}`, marker(a)))
	}
}

// any is a post of the host, seldom an old one.
func (c *curtain) any(a *actor) uint64 {
	n := len(c.seqs)
	if a.rng.IntN(3) > 0 {
		return c.seqs[max(0, n-1-a.rng.IntN(20))]
	}
	return c.seqs[a.rng.IntN(n)]
}

func (c *curtain) say(a *actor, event string) {
	x := a.append(c.conv, event)
	if x.outcome == turned {
		a.failf("%s in %s: %v", event, c.conv, &x)
	}
	if x.outcome == carried {
		c.seqs = append(c.seqs, x.seq)
	}
}

// attend is what the others do: come, say something, go.
func (c *curtain) attend(a *actor) {
	switch r := a.rng.IntN(20); {
	case r < 4:
		a.call("group.join", params{"conv": c.conv})
	case r < 6:
		a.call("group.leave", params{"conv": c.conv})
	default:
		a.append(c.conv, fmt.Sprintf(`{"text":%q}`, marker(a))) // whether they may at this moment is the gate's affair
	}
}

// hear takes what comes live.
func (c *curtain) hear(a *actor, p *mqttc.Packet) {
	if string(p.Topic) != "c/"+c.conv+"/json" {
		return
	}
	ev, err := protocol.ParseDelivery(protocol.ViewJSON, p.Payload)
	if err != nil {
		a.failf("%s: %v", p.Topic, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ev.To == 0 { // a stub shows nothing
		c.heard[a.user] = append(c.heard[a.user], ev.Seq)
	}
}

// stay is a time that somebody was a member: they see events since..last, and their sessions get those from
// joined on.
type stay struct{ since, joined, last uint64 }

// stays reads from the log who was there when. Who comes sees what was before them if the group says so at that
// moment.
func (c *curtain) stays(k look) map[string][]stay {
	list := make(map[string][]stay)
	history := ""
	for seq := uint64(1); seq <= uint64(len(k.events)); seq++ {
		e := k.events[seq]
		user := e.Member.User
		switch e.Kind {
		case "create", "info":
			if e.Info.History != "" {
				history = e.Info.History
			}
		case "join", "add":
			s := stay{since: seq, joined: seq, last: 1 << 62}
			if history == "all" {
				s.since = 1
			}
			list[user] = append(list[user], s)
		case "leave", "remove":
			if n := len(list[user]); n > 0 {
				list[user][n-1].last = seq
			}
		}
	}
	if history == "" {
		c.w.wrongf("%s does not tell what its newcomers see: %+v", c.conv, k.events[1])
	}
	return list
}

// view is what somebody may see, by the log.
type view struct {
	user  string
	stays []stay
	now   *stay             // nil: they are no member
	texts map[string]uint64 // of all that was said
	log   look
}

func (c *curtain) view(user string, k look) *view {
	v := &view{user: user, stays: c.stays(k)[user], texts: make(map[string]uint64), log: k}
	if n := len(v.stays); n > 0 && v.stays[n-1].last > uint64(len(k.events)) {
		v.now = &v.stays[n-1]
	}
	for seq, e := range k.events {
		if e.Text != "" {
			v.texts[e.Text] = seq
		}
	}
	return v
}

// ever reports whether an event may have come to them at some time.
func (v *view) ever(seq uint64) bool {
	for _, s := range v.stays {
		if s.since <= seq && seq <= s.last {
			return true
		}
	}
	return false
}

// shows reports whether they may be shown an event now.
func (v *view) shows(seq uint64) bool { return v.now != nil && v.now.since <= seq }

// mustNotShow returns what looks at replies: nothing in them may be of before.
func (c *curtain) mustNotShow(v *view) func(what string, from int64, payload string) {
	return func(what string, _ int64, payload string) {
		for _, text := range markers(payload) {
			if seq, ok := v.texts[text]; ok && !v.shows(seq) {
				c.w.wrongf("%s shows %s seq %d of %s, which is not for them: %+v", what, v.user, seq, c.conv, v.stays)
			}
		}
	}
}
