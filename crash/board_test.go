package crash_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// board is where people do everything to messages that can be done to them: replies, edits, reactions, pins,
// deletion for everyone and for oneself, messages that disappear. Whoever acts upon a note holds it
// meanwhile, so that of each it is known what it must look like.
type board struct {
	w       *world
	actors  []*actor
	witness *witness

	mu    sync.Mutex
	convs []string // open, quick, direct
	notes []*note
	gone  map[string]gone // texts that nobody may ever see again
	read  map[string]uint64
}

// gone is when a text ceased to be.
type gone struct {
	since   int64 // ms since 1970: from then on nobody gets it
	deleted bool  // by somebody: it left the store at once, not in the server's time
	conv    string
	seq     uint64
}

const (
	chief   = "eve" // owns the groups, pins
	censor  = "fay" // a moderator, deletes posts of others
	looker  = "hal" // hides nothing: what he sees is what there is
	private = "hal~ivy"
	linger  = 2 // seconds that posts stay in the quick group
)

var chatters = []string{chief, censor, looker, "ivy", "jon"}

// note is a post.
type note struct {
	sync.Mutex
	conv, by, text, id string
	seq                uint64
	re                 *note
	sent, told         int64 // at is between them
	expire             int64 // ms; 0: it stays
	stored             belief[bool]
	withdrawn          belief[bool]
	edits              []*edit
	reactions          map[reaction]belief[bool]
	pinned             belief[bool]
	hidden             map[string]belief[bool] // by whom
}

type edit struct {
	text   string
	seq    uint64
	stored belief[bool]
}

type reaction struct{ emoji, user string }

var emojis = []string{"👍", "❤️", "🏳️‍🌈", "👩🏽‍🚀", "🎉"}

func newBoard(w *world) *board {
	b := &board{w: w, gone: make(map[string]gone), read: make(map[string]uint64)}
	for _, user := range chatters {
		a := w.actor(user, "board", b.act)
		a.again = b.retry
		b.actors = append(b.actors, a)
	}
	b.witness = newWitness(w, "jon", "away")
	return b
}

// open begins new groups. What is known of the notes of the old ones is forgotten, but for what may never be
// seen again.
func (b *board) open(n int) {
	r := b.w.reader(chief)
	defer r.close()
	b.notes = nil
	b.convs = []string{fmt.Sprintf("board-%d", n), fmt.Sprintf("quick-%d", n), private}
	for i, conv := range b.convs[:2] {
		var made struct{ Conv string }
		p := params{"id": conv, "title": "Board", "visibility": "private", "join": "invite", "history": "all", "members": chatters[1:]}
		if i == 1 {
			p["expire"] = linger
		}
		r.call("group.create", p, &made)
		var m struct{ Role string }
		r.call("member.role", params{"conv": conv, "user": censor, "role": "moderator"}, &m)
	}
}

// fate says whether somebody may have met the note alive, and whether they may have met it gone.
func (n *note) fate(from, to int64) (alive, over bool) {
	alive, over = n.withdrawn.may(false), n.withdrawn.may(true)
	if n.expire != 0 {
		alive = alive && from <= n.told+n.expire
		over = over || to >= n.sent+n.expire
	}
	return alive, over
}

// stays reports whether the note was surely there all the time.
func (n *note) stays(from, to int64) bool {
	_, over := n.fate(from, to)
	return !over
}

// pick holds a note that the actor can see, one of the newest.
func (b *board) pick(a *actor, want func(*note) bool) *note {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range 8 {
		if len(b.notes) == 0 {
			return nil
		}
		n := b.notes[max(0, len(b.notes)-1-a.rng.IntN(40))]
		if !n.TryLock() {
			continue
		}
		if n.seq != 0 && (n.conv != private || strings.Contains(private, a.user)) && (want == nil || want(n)) {
			return n
		}
		n.Unlock()
	}
	return nil
}

// act does one random thing.
func (b *board) act(a *actor) {
	switch r := a.rng.IntN(100); {
	case r < 40:
		b.post(a)
	case r < 62:
		b.react(a)
	case r < 72:
		if n := b.pick(a, func(n *note) bool { return n.by == a.user }); n != nil {
			b.do(a, n, "edit")
			n.Unlock()
		}
	case r < 82:
		b.withdraw(a)
	case r < 88:
		if n := b.pick(a, func(*note) bool { return a.user == chief }); n != nil {
			b.do(a, n, []string{"pin", "pin", "unpin"}[a.rng.IntN(3)])
			n.Unlock()
		}
	case r < 93:
		b.hide(a)
	default:
		b.readUpTo(a)
	}
}

// post says something, or replies.
func (b *board) post(a *actor) {
	n := &note{by: a.user, text: marker(a), stored: certain(true), withdrawn: certain(false), pinned: certain(false)}
	if a.rng.IntN(2) == 0 {
		n.re = b.pick(a, nil)
	}
	if n.re != nil {
		defer n.re.Unlock()
		n.conv = n.re.conv
	} else {
		n.conv = b.convs[a.rng.IntN(2)]
		if strings.Contains(private, a.user) && a.rng.IntN(4) == 0 {
			n.conv = private
		}
	}
	if n.conv == b.convs[1] {
		n.expire = linger * 1000
	}
	if a.rng.IntN(4) == 0 {
		n.expire = int64(1+a.rng.IntN(2)) * 1000
	}
	if a.rng.IntN(2) == 0 {
		n.id = fmt.Sprintf("id %d.%s.%d", b.w.round, a.user, a.texts)
	}
	b.say(a, n)
}

// say sends a note, for the first time or again. Its parent is held.
func (b *board) say(a *actor, n *note) {
	fields := []string{fmt.Sprintf(`"text":%q`, n.text)}
	if n.id != "" {
		fields = append(fields, fmt.Sprintf(`"id":%q`, n.id))
	}
	if n.re != nil {
		fields = append(fields, fmt.Sprintf(`"re":%d`, n.re.seq))
	}
	if n.expire != 0 && !(n.conv == b.convs[1] && n.expire == linger*1000) { // else it is the group's
		fields = append(fields, fmt.Sprintf(`"expire":%d`, n.expire/1000))
	}
	x := a.append(n.conv, "{"+strings.Join(fields, ",")+"}")
	if n.sent == 0 {
		n.sent = x.from
	}
	n.told = x.to
	again := len(n.stored) == 2
	alive, over := true, false
	if n.re != nil {
		alive, over = n.re.fate(x.from, x.to)
	}
	n.stored = n.stored.after(x.outcome, func(is bool) ([]bool, bool) {
		switch {
		case is && again:
			return []bool{true}, false // a retry is known, whatever has become of the parent
		case !alive:
			return nil, true
		}
		return []bool{true}, over
	})
	switch {
	case len(n.stored) == 0:
		a.failf("%s in %s, a reply to %v: %v", n.text, n.conv, n.re, &x)
	case x.outcome == turned:
		n.stored = certain(false)
	case x.outcome == doubtful:
		n.stored = belief[bool]{false, true}
	case x.seq == 0:
		a.failf("%s in %s is acknowledged without a seq", n.text, n.conv)
	}
	n.seq = x.seq
	if !again {
		b.mu.Lock()
		b.notes = append(b.notes, n)
		b.mu.Unlock()
	}
}

// retry sends some posts again that the server's death left without an answer.
func (b *board) retry(a *actor) {
	b.mu.Lock()
	mine := slices.DeleteFunc(slices.Clone(b.notes), func(n *note) bool {
		return n.by != a.user || n.id == "" || len(n.stored) != 2
	})
	b.mu.Unlock()
	for _, n := range mine {
		if a.conn == nil || a.rng.IntN(2) == 0 || n.re != nil && !n.re.TryLock() {
			continue
		}
		n.Lock()
		b.say(a, n)
		n.Unlock()
		if n.re != nil {
			n.re.Unlock()
		}
	}
}

// do acts upon a note that the actor holds, several times in a row without waiting in between.
func (b *board) do(a *actor, n *note, acts ...string) {
	var list []message
	edits := make([]*edit, len(acts))
	for i, act := range acts {
		kind, emoji, _ := strings.Cut(act, " ")
		body := fmt.Sprintf(`{"kind":%q,"re":%d}`, kind, n.seq)
		switch kind {
		case "react", "unreact":
			body = fmt.Sprintf(`{"kind":%q,"re":%d,"emoji":%q}`, kind, n.seq, emoji)
		case "edit":
			edits[i] = &edit{text: marker(a), stored: certain(true)}
			body = fmt.Sprintf(`{"kind":"edit","re":%d,"text":%q}`, n.seq, edits[i].text)
		}
		list = append(list, message{"c/" + n.conv + "/json", body})
	}
	for i, x := range a.send(list...) {
		b.settle(a, n, acts[i], edits[i], &x)
	}
}

// settle takes over what became of an act.
func (b *board) settle(a *actor, n *note, act string, e *edit, x *answer) {
	kind, emoji, _ := strings.Cut(act, " ")
	alive, over := n.fate(x.from, x.to)
	if x.outcome == carried && !alive || x.outcome == turned && !over {
		a.failf("%s upon %v: %v", act, n, x)
	}
	set := func(is belief[bool], to bool) belief[bool] {
		switch x.outcome {
		case carried:
			return certain(to)
		case doubtful:
			return is.or(to)
		}
		return is
	}
	switch kind {
	case "react", "unreact":
		if n.reactions == nil {
			n.reactions = make(map[reaction]belief[bool])
		}
		of := reaction{emoji, a.user}
		is := n.reactions[of]
		if is == nil {
			is = certain(false)
		}
		n.reactions[of] = set(is, kind == "react")
	case "pin", "unpin":
		n.pinned = set(n.pinned, kind == "pin")
	case "delete":
		if n.withdrawn = set(n.withdrawn, true); x.outcome == carried && a.user != n.by {
			b.w.trail.add(trailed{n.conv, a.user, "event.delete", n.by, x.from, x.to})
		}
	case "edit":
		if e.seq, e.stored = x.seq, set(certain(false), true); !e.stored.must(false) {
			n.edits = append(n.edits, e)
		} else {
			b.bury(e.text, gone{since: x.to, deleted: true, conv: n.conv})
		}
	}
}

// bury notes a text that nobody may see again.
func (b *board) bury(text string, g gone) {
	b.mu.Lock()
	b.gone[text] = g
	b.mu.Unlock()
}

// react changes one's reactions to a note, sometimes while it goes away.
func (b *board) react(a *actor) {
	n := b.pick(a, nil)
	if n == nil {
		return
	}
	defer n.Unlock()
	var acts []string
	for range 1 + a.rng.IntN(3) {
		acts = append(acts, []string{"react ", "react ", "unreact "}[a.rng.IntN(3)]+emojis[a.rng.IntN(len(emojis))])
	}
	if n.by == a.user && a.rng.IntN(8) == 0 {
		acts = append(acts, "edit", "delete", "react 👍")
	}
	b.do(a, n, acts...)
}

// withdraw deletes a note for everyone: one's own, or as a moderator those of members.
func (b *board) withdraw(a *actor) {
	n := b.pick(a, func(n *note) bool {
		return n.by == a.user || a.user == censor && n.by != chief && n.conv != private
	})
	if n != nil {
		b.do(a, n, "delete")
		n.Unlock()
	}
}

// hide deletes a note for oneself.
func (b *board) hide(a *actor) {
	n := b.pick(a, func(*note) bool { return a.user != looker })
	if n == nil {
		return
	}
	defer n.Unlock()
	x := a.call("hide", params{"conv": n.conv, "seq": n.seq})
	alive, over := n.fate(x.from, x.to)
	_ = alive // what is gone can be hidden, or not: nobody sees a difference
	if x.outcome == turned && !over {
		a.failf("hiding %v: %v", n, &x)
	}
	if n.hidden == nil {
		n.hidden = make(map[string]belief[bool])
	}
	switch {
	case x.outcome == carried:
		n.hidden[a.user] = certain(true)
	case x.outcome == doubtful && !n.hidden[a.user].may(true):
		n.hidden[a.user] = belief[bool]{false, true}
	}
}

// readUpTo moves a read cursor.
func (b *board) readUpTo(a *actor) {
	n := b.pick(a, nil)
	if n == nil {
		return
	}
	defer n.Unlock()
	if x := a.send(message{"c/" + n.conv + "/read", fmt.Sprint(n.seq)})[0]; x.outcome == carried {
		b.mu.Lock()
		b.read[n.conv+" "+a.user] = max(b.read[n.conv+" "+a.user], n.seq)
		b.mu.Unlock()
	} else if x.outcome == turned {
		a.failf("reading %s up to %d: %v", n.conv, n.seq, &x)
	}
}

func (n *note) String() string {
	if n == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s %d %s of %s (id %q, expires after %d ms, sent %d, told %d, withdrawn %v)", n.conv, n.seq, n.text, n.by, n.id, n.expire, n.sent, n.told, n.withdrawn)
}
