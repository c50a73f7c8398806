package crash_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// relay is where posts are passed on, and reported. A copy is there once, whatever becomes of the post, and
// tells of where it comes from what it may; a report keeps what it is about, also when that is deleted.
type relay struct {
	w                 *world
	actors            []*actor
	square, den, wall string

	mu      sync.Mutex
	leaves  []*leaf
	passed  []*passed
	charges []*charge
	spent   map[string]int    // reports that each has made, or may have
	said    map[string]string // by conversation and seq: every text that was seen in the square

	first string             // the last report before the groups of now
	ever  map[string]*charge // by reason: what was acknowledged
}

const (
	usher       = "mia" // owns the groups, and is told of reports
	reportsADay = 20    // of one user
	reportedTo  = 4     // events before the one that is reported go with it
)

var carriers = []string{"lea", "len", "lou"}

// leaf is a post that can be passed on: one of the square, which is public, or of the den, which is private and
// where posts disappear, or a copy.
type leaf struct {
	sync.Mutex
	conv, by, first string // text at first
	seq             uint64
	at              int64          // 0: not seen yet
	text            belief[string] // the newest
	withdrawn       belief[bool]
	ends            span  // when it disappears; zero: never
	root            *leaf // what it is a copy of; nil: of nothing
}

// span is some time between two, ms since 1970, both included.
type span struct{ least, most int64 }

// passed is one request to pass a post on, with all its repetitions.
type passed struct {
	by, id, to string
	of         *leaf
	is         belief[string] // the text of the copy; "": there is none
	seq        uint64         // 0: not known
	copy       *leaf          // once it is known to be there
	ends       span
	seen       bool
}

// charge is a report.
type charge struct {
	by, reason, conv, author, text string // of the post at first
	seq                            uint64
	id                             string // "": not known
	made                           belief[bool]
	settled                        bool
}

func newRelay(w *world) *relay {
	r := &relay{w: w, said: make(map[string]string), spent: make(map[string]int), ever: make(map[string]*charge)}
	for _, user := range carriers {
		a := w.actor(user, "relay", r.act)
		a.again = r.retry
		r.actors = append(r.actors, a)
	}
	return r
}

// open begins new groups with new people: nobody may report too often in a day.
func (r *relay) open(n int) {
	users := make([]string, len(carriers))
	for i, a := range r.actors {
		a.hangUp()
		a.user = fmt.Sprintf("%s-%d", carriers[i], n)
		users[i] = a.user
		r.w.reader(a.user).close()
	}
	r.leaves, r.passed, r.charges = nil, nil, nil
	clear(r.spent)
	clear(r.said)
	r.square, r.den, r.wall = fmt.Sprintf("square-%d", n), fmt.Sprintf("den-%d", n), fmt.Sprintf("wall-%d", n)
	m := r.w.reader(usher)
	defer m.close()
	for conv, more := range map[string]params{
		r.square: {"visibility": "public"}, r.den: {"visibility": "private", "expire": linger}, r.wall: {"visibility": "private", "forward": "origin"},
	} {
		more["id"], more["title"], more["join"], more["history"], more["members"] = conv, "Relay", "invite", "all", users
		var made struct{ Conv string }
		m.call("group.create", more, &made)
	}
	for _, rep := range r.reports(r.first) {
		r.first = rep.ID
	}
}

// fate says whether somebody may have met the post alive, and whether they may have met it gone.
func (l *leaf) fate(from, to int64) (alive, over bool) {
	alive, over = l.withdrawn.may(false), l.withdrawn.may(true)
	if l.ends != (span{}) {
		alive, over = alive && from <= l.ends.most, over || to >= l.ends.least
	}
	return alive, over
}

// act does one random thing.
func (r *relay) act(a *actor) {
	mine := func(l *leaf) bool { return l.by == a.user && l.ends == span{} && l.withdrawn.must(false) }
	switch n := a.rng.IntN(100); {
	case n < 30:
		r.post(a)
	case n < 42:
		r.with(a, mine, func(l *leaf) { r.edit(a, l) })
	case n < 50:
		r.with(a, mine, func(l *leaf) { r.withdraw(a, l) })
	case n < 82:
		r.with(a, nil, func(l *leaf) { r.forward(a, l) })
	case n < 96:
		r.repeat(a, func(p *passed) bool { return a.rng.IntN(4) == 0 })
	default:
		r.with(a, func(l *leaf) bool { return l.conv == r.square && l.withdrawn.must(false) }, func(l *leaf) { r.report(a, l) })
	}
}

// with holds one of the newest posts while fn does something about it.
func (r *relay) with(a *actor, want func(*leaf) bool, fn func(*leaf)) {
	r.mu.Lock()
	var l *leaf
	for range min(8, len(r.leaves)) {
		if l = r.leaves[max(0, len(r.leaves)-1-a.rng.IntN(40))]; l.TryLock() {
			if want == nil || want(l) {
				break
			}
			l.Unlock()
		}
		l = nil
	}
	r.mu.Unlock()
	if l != nil {
		defer l.Unlock()
		fn(l)
	}
}

// post says something. Of what is in doubt nothing is passed on; the board looks at such posts.
func (r *relay) post(a *actor) {
	l := &leaf{conv: r.square, by: a.user, first: marker(a), withdrawn: certain(false)}
	if a.rng.IntN(4) == 0 {
		l.conv = r.den
	}
	x := a.append(l.conv, fmt.Sprintf(`{"text":%q}`, l.first))
	if x.outcome == turned {
		a.failf("a post in %s: %v", l.conv, &x)
	}
	if x.outcome != carried {
		return
	}
	if l.seq, l.text = x.seq, certain(l.first); l.conv == r.den {
		l.ends = span{x.from + linger*1000, x.to + linger*1000}
	}
	r.add(l)
}

func (r *relay) add(l *leaf) {
	r.mu.Lock()
	r.leaves = append(r.leaves, l)
	r.mu.Unlock()
}

// edit changes one's post: from then on the new text is what is passed on.
func (r *relay) edit(a *actor, l *leaf) {
	text := marker(a)
	x := a.append(l.conv, fmt.Sprintf(`{"kind":"edit","re":%d,"text":%q}`, l.seq, text))
	if l.text = l.text.after(x.outcome, func(string) ([]string, bool) { return []string{text}, false }); len(l.text) == 0 {
		a.failf("an edit of %v: %v", l, &x)
	}
}

// withdraw deletes one's post for everyone. Its copies stay.
func (r *relay) withdraw(a *actor, l *leaf) {
	x := a.append(l.conv, fmt.Sprintf(`{"kind":"delete","re":%d}`, l.seq))
	if l.withdrawn = l.withdrawn.after(x.outcome, func(bool) ([]bool, bool) { return []bool{true}, false }); len(l.withdrawn) == 0 {
		a.failf("deleting %v: %v", l, &x)
	}
}

// forward passes a post on, sometimes twice.
func (r *relay) forward(a *actor, l *leaf) {
	p := &passed{by: a.user, id: fmt.Sprintf("f %d.%s.%d", r.w.round, a.user, a.n), to: r.wall, of: l, is: certain("")}
	switch {
	case l.ends != span{} && l.conv != r.den:
		return // each copy may end a little later than what it is one of
	case l.conv != r.den && a.rng.IntN(3) == 0:
		p.to = r.square
	}
	r.mu.Lock()
	r.passed = append(r.passed, p)
	r.mu.Unlock()
	for range 1 + a.rng.IntN(2) {
		if a.conn != nil {
			r.ask(a, p)
		}
	}
}

// ask asks to pass a post on, which the caller holds. A repetition is known by its id for as long as the post is
// there and says the same.
func (r *relay) ask(a *actor, p *passed) {
	x := a.call("forward", params{"from": p.of.conv, "seq": p.of.seq, "conv": p.to, "id": p.id})
	alive, over := p.of.fate(x.from, x.to)
	is := p.is.after(x.outcome, func(is string) (to []string, refused bool) {
		if refused = over; !alive {
			return nil, true
		}
		for _, text := range p.of.text {
			if is == "" || is == text {
				to = append(to, text)
			} else {
				refused = true // another post has the id
			}
		}
		return to, refused
	})
	if len(is) == 0 {
		a.failf("passing on %v, as %v: %v", p.of, p, &x)
	}
	if p.is = is; p.of.ends != (span{}) {
		// The copy has what was left of the time, in full seconds, and one at least.
		p.ends = span{p.of.ends.least - 1000, max(p.ends.most, p.of.ends.most+1000, x.to+1000)}
	}
	if x.outcome != carried {
		return
	}
	var made struct {
		Conv string
		Seq  uint64
	}
	if err := json.Unmarshal(x.body, &made); err != nil || made.Conv != p.to || made.Seq == 0 || p.seq != 0 && p.seq != made.Seq {
		a.failf("passing on %v, as %v: %s, before as %d: %v", p.of, p, x.body, p.seq, err)
	}
	if p.seq = made.Seq; p.copy == nil && len(p.is) == 1 {
		r.grow(p)
	}
}

// grow makes a copy something that can be passed on itself.
func (r *relay) grow(p *passed) {
	p.copy = &leaf{conv: p.to, by: p.by, first: p.is[0], seq: p.seq, text: certain(p.is[0]), withdrawn: certain(false), ends: p.ends, root: p.of.origin()}
	r.add(p.copy)
}

func (l *leaf) origin() *leaf {
	if l.root != nil {
		return l.root
	}
	return l
}

// repeat sends some requests again that were made before.
func (r *relay) repeat(a *actor, which func(*passed) bool) {
	r.mu.Lock()
	var list []*passed
	for _, p := range r.passed[max(0, len(r.passed)-60):] {
		if p.by == a.user && which(p) {
			list = append(list, p)
		}
	}
	r.mu.Unlock()
	for _, p := range list[:min(3, len(list))] {
		if a.conn != nil && p.of.TryLock() {
			r.ask(a, p)
			p.of.Unlock()
		}
	}
}

// retry looks after what the server's death left without an answer.
func (r *relay) retry(a *actor) {
	r.repeat(a, func(p *passed) bool { return len(p.is) > 1 && a.rng.IntN(2) == 0 })
}

// report reports a post, which the caller holds; one's own is deleted right after that.
func (r *relay) report(a *actor, l *leaf) {
	c := &charge{by: a.user, reason: fmt.Sprintf("report %d.%s.%d", r.w.round, a.user, a.n), conv: l.conv, author: l.by, text: l.first, seq: l.seq, made: certain(false)}
	r.mu.Lock()
	spent := r.spent[a.user]
	r.charges = append(r.charges, c)
	r.mu.Unlock()
	x := a.call("report", params{"conv": l.conv, "seq": l.seq, "reason": c.reason})
	c.made = c.made.after(x.outcome, func(bool) ([]bool, bool) { return []bool{true}, spent >= reportsADay })
	if len(c.made) == 0 {
		a.failf("the %dth report, of %v: %v", spent+1, l, &x)
	}
	if x.outcome == turned {
		return
	}
	r.mu.Lock()
	r.spent[a.user]++
	r.mu.Unlock()
	if x.outcome == carried {
		var made struct{ ID string }
		if err := json.Unmarshal(x.body, &made); err != nil || made.ID == "" {
			a.failf("a report: %s: %v", x.body, err)
		}
		c.id = made.ID
		r.w.trail.add(trailed{c.conv, a.user, "report", l.by, x.from, x.to})
		if l.by == a.user {
			r.withdraw(a, l)
		}
	}
}

func (l *leaf) String() string {
	return fmt.Sprintf("%s %d of %s, %v, ends %v, withdrawn %v, from %v", l.conv, l.seq, l.by, l.text, l.ends, l.withdrawn, l.origin().conv)
}

func (p *passed) String() string {
	return fmt.Sprintf("%q in %s (seq %d) by %s: %q, ends %v", p.id, p.to, p.seq, p.by, strings.Join(p.is, " or "), p.ends)
}

// reports lists all reports that come after one.
func (r *relay) reports(after string) (list []accusation) {
	admin := r.w.reader(admin)
	defer admin.close()
	for {
		var page struct {
			Reports []accusation
			After   string
			More    bool
		}
		admin.call("admin.reports", params{"all": true, "limit": 100, "after": after}, &page)
		list = append(list, page.Reports...)
		if after = page.After; !page.More {
			return slices.Clip(list)
		}
	}
}

// accusation is a report as administrators see it.
type accusation struct {
	ID, By, User, Conv, Reason string
	Seq                        uint64
	Done                       int64
	Events                     []shown
}
