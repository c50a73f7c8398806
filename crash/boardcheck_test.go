package crash_test

import (
	"slices"
	"strings"
)

// shown is an event as a reader sees it.
type shown struct {
	Seq, To, Re, Thread uint64
	At                  int64
	From, Kind, Text    string
	ID                  string // of the reader's own
	Fwd                 *origin
	Mentions            []string
	Member              struct{ User string }
	Info                struct{ History string }
}

func (e *shown) post() bool { return e.Kind == "" || e.Kind == "post" }

// look is a conversation as one reader saw it at some time from..to.
type look struct {
	events   map[uint64]shown
	from, to int64
}

func (r *reader) look(conv string) look {
	l := look{events: make(map[uint64]shown), from: now()}
	for _, e := range r.events(conv) {
		l.events[e.Seq] = e
	}
	l.to = now()
	return l
}

// check compares the conversations with what is believed of them, and learns what was in doubt. All actors are
// idle, but time goes on: some messages disappear meanwhile.
func (b *board) check() {
	readers := make(map[string]*reader)
	for _, user := range chatters {
		r := b.w.reader(user)
		r.seen = b.mustNotSee
		readers[user] = r
		defer r.close()
	}
	for _, conv := range b.convs {
		r := readers[looker]
		b.checkLog(conv, r.look(conv))
		b.checkPins(conv, r)
		b.checkThreads(conv, r)
		b.checkVersions(conv, r)
		b.checkSearch(conv, r)
	}
	b.checkReactions(readers[looker])
	for _, user := range chatters {
		b.checkHidden(user, readers[user])
		b.checkRead(user, readers[user])
		readers[user].ask("sync", params{"limit": 100}) // which may show nothing that is gone
		readers[user].ask("conv.list", params{})
	}
	b.witness.catchUp(b)
	b.notes = slices.DeleteFunc(b.notes, func(n *note) bool { return n.withdrawn.must(true) || n.expire != 0 && now() > n.told+n.expire+5000 })
}

// mustNotSee is shown whatever a reader gets.
func (b *board) mustNotSee(what string, from int64, payload string) {
	for _, text := range markers(payload) {
		if g, ok := b.gone[text]; ok && from > g.since {
			b.w.wrongf("%s shows %s, which was gone %d ms before: %+v", what, text, from-g.since, g)
		}
	}
}

// checkLog: what was acknowledged is there once, as it was sent; what was withdrawn or has disappeared is a
// stub, and so are its edits; and nothing else is there.
func (b *board) checkLog(conv string, l look) {
	at := make(map[string]uint64)
	for seq, e := range l.events {
		if e.Text == "" {
			continue
		}
		if other, twice := at[e.Text]; twice {
			b.w.wrongf("%s is in %s as seq %d and %d", e.Text, conv, other, seq)
		}
		at[e.Text] = seq
	}
	left := b.notes[:0]
	for _, n := range b.notes {
		if n.conv != conv || b.checkNote(n, &l, at) {
			left = append(left, n)
		}
	}
	b.notes = left
	if conv != private { // of the private one's past is forgotten
		for text, seq := range at {
			b.w.wrongf("%s is in %s as seq %d, and is not expected there", text, conv, seq)
		}
	}
}

// checkNote takes a note's texts out of those that were found. It returns false for a note of which nothing is
// left to be known.
func (b *board) checkNote(n *note, l *look, at map[string]uint64) bool {
	if n.seq == 0 && !b.find(n, l, at) {
		return false
	}
	e := l.events[n.seq]
	alive, over := n.fate(l.from, l.to)
	here := e.Text == n.text
	delete(at, n.text)
	switch {
	case here && !alive || !here && !over:
		b.w.wrongf("%v is %+v in a look from %d to %d", n, e, l.from, l.to)
		return false
	case here && (!e.post() || e.From != n.by || n.re != nil && e.Re != n.re.seq || (n.re != nil) != (e.Thread != 0)):
		b.w.wrongf("%v, a reply to %v, is %+v", n, n.re, e)
	case !here && e.Kind != "gone":
		b.w.wrongf("in the place of %v is %+v", n, e)
	}
	if len(n.withdrawn) == 2 && (here || n.expire == 0 || l.to < n.sent+n.expire) { // not in doubt any more
		n.withdrawn = certain(!here)
	}
	b.checkEdits(n, l, at, here)
	switch {
	case n.withdrawn.must(true):
		b.buryAll(n, gone{since: l.to, deleted: true, conv: n.conv, seq: n.seq})
	case n.expire != 0:
		if here {
			n.sent, n.told = e.At, e.At
		}
		b.buryAll(n, gone{since: n.told + n.expire, conv: n.conv, seq: n.seq})
	}
	return true
}

// find looks for a post that was in doubt.
func (b *board) find(n *note, l *look, at map[string]uint64) bool {
	seq, ok := at[n.text]
	switch {
	case ok && n.stored.may(true):
		n.seq, n.stored = seq, certain(true)
		return true
	case n.stored.may(true) && n.expire != 0 && l.to >= n.sent+n.expire: // it may have disappeared
		b.bury(n.text, gone{since: max(l.to, n.told+n.expire), conv: n.conv})
	default:
		b.bury(n.text, gone{since: l.to, deleted: true, conv: n.conv})
	}
	return false
}

func (b *board) checkEdits(n *note, l *look, at map[string]uint64, here bool) {
	left := n.edits[:0]
	for _, x := range n.edits {
		if x.seq == 0 {
			x.seq = at[x.text]
		}
		e, found := l.events[x.seq]
		there := found && e.Text == x.text
		delete(at, x.text)
		switch {
		case there && (e.Kind != "edit" || e.Re != n.seq || e.From != n.by):
			b.w.wrongf("the edit %s of %v is %+v", x.text, n, e)
		case there != here && !(here && x.stored.may(false)) && n.expire == 0:
			b.w.wrongf("the edit %+v of %v is %+v, and the post is there: %v", *x, n, e, here)
		case there:
			x.stored = certain(true)
		case here && x.stored.may(false): // it did not come
			b.bury(x.text, gone{since: l.to, deleted: true, conv: n.conv})
			continue
		}
		left = append(left, x)
	}
	n.edits = left
}

func (b *board) buryAll(n *note, g gone) {
	if old, ok := b.gone[n.text]; !ok || g.since < old.since || g.deleted && !old.deleted {
		b.bury(n.text, g)
	}
	if !g.deleted {
		g.since += 1000 // what is left for an edit is counted in full seconds
	}
	for _, x := range n.edits {
		g.seq = x.seq
		if old, ok := b.gone[x.text]; !ok || g.deleted && !old.deleted {
			b.bury(x.text, g)
		}
	}
}

// markers returns the texts of notes that are in a payload.
func markers(payload string) (texts []string) {
	for {
		i := strings.Index(payload, markerBegin)
		if i < 0 {
			return texts
		}
		payload = payload[i:]
		end := strings.Index(payload, markerEnd)
		if end < 0 {
			return texts
		}
		texts = append(texts, payload[:end+len(markerEnd)])
		payload = payload[end+len(markerEnd):]
	}
}
