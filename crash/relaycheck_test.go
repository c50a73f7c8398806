package crash_test

import (
	"fmt"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// origin is what a copy tells of where it comes from.
type origin struct {
	Conv, From string
	Seq        uint64
	At         int64
}

// check compares posts, copies and reports with what is believed of them. All actors are idle.
func (r *relay) check() {
	m := r.w.reader(usher)
	m.seen = r.w.board.mustNotSee
	looks := make(map[string]look)
	for _, conv := range []string{r.square, r.den, r.wall} {
		looks[conv] = m.look(conv)
	}
	m.close()
	for seq, e := range looks[r.square].events {
		if e.Text != "" {
			r.said[fmt.Sprint(r.square, seq)] = e.Text
		}
	}
	for _, l := range r.leaves {
		if l.root == nil {
			r.checkLeaf(l, looks[l.conv])
		}
	}
	for _, a := range r.actors {
		r.checkCopies(a.user)
	}
	for _, p := range r.passed {
		if p.copy != nil {
			r.checkLeaf(p.copy, looks[p.to])
		}
	}
	r.bury()
	r.checkReports()
}

// checkLeaf: a post is there for as long as nothing ended it.
func (r *relay) checkLeaf(l *leaf, k look) {
	e := k.events[l.seq]
	here := e.Text == l.first
	alive, over := l.fate(k.from, k.to)
	switch {
	case here && !alive || !here && !over:
		r.w.wrongf("%v is %+v in a look from %d to %d", l, e, k.from, k.to)
		return
	case !here && e.Kind != "gone" && e.Seq != 0:
		r.w.wrongf("in the place of %v is %+v", l, e)
	}
	if here {
		l.at = e.At
	}
	if l.ends == (span{}) {
		l.withdrawn = certain(!here)
	}
	if len(l.text) < 2 {
		return
	}
	newest := uint64(0)
	for _, e := range k.events { // an edit that was in doubt is there, or is not
		if e.Seq >= newest && l.text.may(e.Text) && (e.Seq == l.seq || e.Re == l.seq) {
			newest = e.Seq
		}
	}
	if newest != 0 {
		l.text = certain(k.events[newest].Text)
	}
}

// checkCopies: what somebody passed on is there once if it was acknowledged, and not if it was refused. That a
// copy has an id only its sender is shown.
func (r *relay) checkCopies(user string) {
	me := r.w.reader(user)
	defer me.close()
	me.seen = r.w.board.mustNotSee
	have := make(map[string][]shown)
	looks := make(map[string]look)
	for _, conv := range []string{r.square, r.wall} {
		k := me.look(conv)
		looks[conv] = k
		for _, e := range k.events {
			if e.ID != "" {
				have[conv+" "+e.ID] = append(have[conv+" "+e.ID], e)
			}
		}
	}
	left := r.passed[:0]
	for _, p := range r.passed {
		if p.by != user || r.checkCopy(p, have[p.to+" "+p.id], looks[p.to]) {
			left = append(left, p)
		}
		if p.by == user {
			delete(have, p.to+" "+p.id)
		}
	}
	r.passed = left
	for id, list := range have {
		r.w.wrongf("%s is there, and nobody passed it on: %+v", id, list)
	}
}

// checkCopy returns false for a request of which nothing is left to be known.
func (r *relay) checkCopy(p *passed, found []shown, k look) bool {
	if len(found) > 1 {
		r.w.wrongf("%v is there %d times: %+v", p, len(found), found)
		return false
	}
	if len(found) == 0 {
		ended := p.ends != (span{}) && k.to >= p.ends.least
		if p.copy != nil {
			_, over := p.copy.fate(k.from, k.to)
			ended = ended || over
		}
		if !ended && !p.is.may("") {
			r.w.wrongf("%v is not there", p)
		}
		if !ended {
			p.is = certain("")
		}
		return p.copy != nil
	}
	e := found[0]
	if e.Text == "" || !p.is.may(e.Text) || p.seq != 0 && p.seq != e.Seq || !e.post() || e.From != p.by || e.Fwd == nil || !p.of.origin().tells(*e.Fwd, r) {
		r.w.wrongf("%v, a copy of %v, is %+v, from %+v", p, p.of.origin(), e, e.Fwd)
		return false
	}
	if p.is, p.seq = certain(e.Text), e.Seq; p.copy == nil {
		r.grow(p)
	}
	if !p.seen {
		p.seen = true
		r.w.total.copies++
	}
	return true
}

// tells reports whether a copy of a post tells of it what it may: of a private group nothing.
func (l *leaf) tells(o origin, r *relay) bool {
	if l.conv != r.square {
		return o == origin{}
	}
	return o == origin{Conv: l.conv, From: l.by, Seq: l.seq, At: o.At} && o.At != 0 && (l.at == 0 || l.at == o.At)
}

// bury notes when what is gone, and can be passed on no more, must have disappeared with all its copies.
func (r *relay) bury() {
	last := make(map[*leaf]int64)
	for _, p := range r.passed {
		last[p.of.origin()] = max(last[p.of.origin()], p.ends.most)
	}
	for _, l := range r.leaves {
		if l.conv == r.den && l.ends.most < now() {
			r.w.board.bury(l.first, gone{since: max(l.ends.most, last[l]), conv: r.den})
		}
	}
}

// checkReports: a report that was acknowledged is there once with what it is about, whatever became of that;
// and what was settled is.
func (r *relay) checkReports() {
	have := make(map[string][]accusation)
	for _, rep := range r.reports(r.first) {
		have[rep.Reason] = append(have[rep.Reason], rep)
	}
	var open []*charge
	for _, c := range r.charges {
		n := len(have[c.reason])
		if n > 1 || !c.made.may(n == 1) {
			r.w.wrongf("the report %+v is there %d times", *c, n)
			continue
		}
		if c.made = certain(n == 1); n == 1 {
			r.checkReport(c, have[c.reason][0])
			r.ever[c.reason] = c
			r.w.total.reports = len(r.ever)
			if !c.settled {
				open = append(open, c)
			}
		}
		delete(have, c.reason)
	}
	for reason := range have {
		r.w.wrongf("there is a report %q, and nobody made it", reason)
	}
	if len(open) > 0 {
		m := r.w.reader(admin)
		defer m.close()
		c := open[r.w.rng.IntN(len(open))]
		var done accusation
		m.call("admin.report.resolve", params{"id": c.id, "note": "seen"}, &done)
		c.settled = true
	}
}

func (r *relay) checkReport(c *charge, rep accusation) {
	if c.id == "" {
		c.id = rep.ID
	}
	n := len(rep.Events)
	if rep.ID != c.id || rep.By != c.by || rep.Conv != c.conv || rep.Seq != c.seq || rep.User != c.author || (rep.Done != 0) != c.settled ||
		uint64(n) != min(c.seq, reportedTo+1) {
		r.w.wrongf("the report %+v is %+v", *c, rep)
		return
	}
	for i, e := range rep.Events {
		text := r.said[fmt.Sprint(c.conv, e.Seq)]
		switch {
		case e.Seq != c.seq-uint64(n-1-i):
			r.w.wrongf("the report %+v has as event %d: %+v", *c, i, e)
		case e.Seq == c.seq && (e.Text != c.text || e.From != c.author || !e.post()):
			r.w.wrongf("the report %+v is about %+v", *c, e)
		case e.Kind != "gone" && text != "" && e.Text != text: // some were gone already
			r.w.wrongf("the report %+v has %q as seq %d, which was %q", *c, e.Text, e.Seq, text)
		}
	}
}

// checkAll: no report of the whole run is lost, and each was told to the moderator once.
func (r *relay) checkAll() {
	have := make(map[string][]accusation)
	for _, rep := range r.reports("") {
		have[rep.Reason] = append(have[rep.Reason], rep)
	}
	for reason, c := range r.ever {
		if n := len(have[reason]); n != 1 {
			r.w.wrongf("the report %+v is there %d times", *c, n)
		} else if rep := have[reason][0]; len(rep.Events) == 0 || rep.Events[len(rep.Events)-1].Text != c.text {
			r.w.wrongf("the report %+v is %+v", *c, rep)
		}
	}
}

// checkTold: the moderator's own log has each report once.
func (r *relay) checkTold(st storage.Reader) {
	told := make(map[string]int)
	err := st.Read(storage.OwnLog(usher), 0, 1<<62, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		if err == nil && ev.Kind == chat.KindReport {
			told[ev.Text]++
		}
		return err == nil
	})
	if err != nil {
		r.w.t.Errorf("%v: %v", r.w, err)
	}
	for reason, c := range r.ever {
		if told[reason] != 1 {
			r.w.wrongf("the moderator was told %d times of the report %+v", told[reason], *c)
		}
	}
}
