package crash_test

import (
	"maps"
	"slices"
)

// check looks with the eyes of each of the audience. All actors are idle.
func (c *curtain) check() {
	r := c.w.reader(host)
	k := r.look(c.conv)
	r.close()
	for _, user := range audience {
		v := c.view(user, k)
		c.w.total.stays += len(v.stays) - c.counted[user]
		c.counted[user] = len(v.stays)
		c.checkHeard(v)
		c.checkReader(v)
		c.shades[user].visit(c, v)
		c.checkFrom(v, []string{"1", "-100000"}[c.w.rng.IntN(2)])
	}
}

// checkHeard: nothing came live that was not for them then, or that is not in the log.
func (c *curtain) checkHeard(v *view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, seq := range c.heard[v.user] {
		if !v.ever(seq) || v.log.events[seq].Seq == 0 {
			c.w.wrongf("%s hears seq %d of %s, where there are %d; they were there %+v", v.user, seq, c.conv, len(v.log.events), v.stays)
		}
	}
	delete(c.heard, v.user)
}

// checkReader: whatever is asked, the replies have all that is for them, and nothing else.
func (c *curtain) checkReader(v *view) {
	r := c.w.reader(v.user)
	defer r.close()
	r.seen = c.mustNotShow(v)
	r.ask("conv.list", params{"limit": 500})
	c.checkSync(v, r, "")
	c.checkSync(v, r, c.since[v.user])
	if v.now == nil {
		for _, method := range []string{"history", "pins", "member.list"} {
			if x := r.ask(method, params{"conv": c.conv}); x.outcome != turned {
				c.w.wrongf("%s asks for %s of %s, where they are not: %v", v.user, method, c.conv, &x)
			}
		}
		r.ask("search", params{"q": "", "conv": c.conv, "from": host})
		return
	}
	c.checkHistory(v, r)
	c.checkSearching(v, r)
	c.checkThreads(v, r)
	c.checkOld(v, r)
	var list struct{ Pins []struct{ Event shown } }
	r.call("pins", params{"conv": c.conv, "limit": 100}, &list)
	for _, p := range list.Pins {
		if !v.shows(p.Event.Seq) {
			c.w.wrongf("the pins of %s show %s seq %d; they were there %+v", c.conv, v.user, p.Event.Seq, v.stays)
		}
	}
}

// checkSync: what is new begins where their time begins.
func (c *curtain) checkSync(v *view, r *reader, since string) {
	p := params{"limit": 500}
	if since != "" {
		p["since"] = since
	}
	var page struct {
		Since string
		More  bool
		Convs []struct {
			Conv   string
			Left   bool
			Head   uint64
			Events []shown
		}
	}
	r.call("sync", p, &page)
	there := since != "" // then it may be no news
	for _, row := range page.Convs {
		if row.Conv != c.conv {
			continue
		}
		there = true
		if row.Left != (v.now == nil) || !row.Left && row.Head != uint64(len(v.log.events)) {
			c.w.wrongf("sync tells %s of %s: %+v; they were there %+v", v.user, c.conv, row, v.stays)
		}
		for _, e := range row.Events {
			if !v.shows(e.Seq) {
				c.w.wrongf("sync shows %s seq %d of %s; they were there %+v", v.user, e.Seq, c.conv, v.stays)
			}
		}
	}
	if c.since[v.user] = page.Since; v.now != nil && !there || page.More {
		c.w.wrongf("sync does not tell %s of %s: %+v", v.user, c.conv, page)
	}
}

// checkHistory: the log begins where their time begins.
func (c *curtain) checkHistory(v *view, r *reader) {
	next := v.now.since
	for after, more := uint64(0), true; more; {
		var page struct {
			Events []shown
			More   bool
		}
		r.call("history", params{"conv": c.conv, "after": after, "limit": 500}, &page)
		for _, e := range page.Events {
			if e.Seq != next || e.Text != v.log.events[e.Seq].Text {
				c.w.wrongf("the history of %s shows %s %+v where seq %d is expected; they were there %+v", c.conv, v.user, e, next, v.stays)
				return
			}
			next++
			after = e.Seq
		}
		more = page.More
	}
	if next != uint64(len(v.log.events))+1 {
		c.w.wrongf("the history of %s ends before seq %d for %s", c.conv, next, v.user)
	}
	var before struct{ Events []shown }
	if r.call("history", params{"conv": c.conv, "before": v.now.since}, &before); len(before.Events) > 0 {
		c.w.wrongf("the history of %s shows %s what was before seq %d: %+v", c.conv, v.user, v.now.since, before.Events)
	}
}

// some returns a few of the host's posts, from before their time, or of it.
func (v *view) some(c *curtain, of bool, n int) (list []shown) {
	edited := make(map[uint64]bool)
	for _, e := range v.log.events {
		edited[e.Re] = edited[e.Re] || e.Kind == "edit"
	}
	all := slices.Sorted(maps.Keys(v.log.events))
	for range 40 {
		e := v.log.events[all[c.w.rng.IntN(len(all))]]
		if len(list) < n && e.post() && e.From == host && !edited[e.Seq] && v.shows(e.Seq) == of {
			list = append(list, e)
		}
	}
	return list
}

// checkSearching: what is for them is found, as soon as the index has it, and nothing else is.
func (c *curtain) checkSearching(v *view, r *reader) {
	find := c.w.board.finds
	for _, e := range v.some(c, true, 2) {
		for deadline := now() + patience.Milliseconds(); !find(c.conv, e.Text, e.Seq, r); {
			if now() > deadline {
				c.w.wrongf("%s does not find %+v in %s; they were there %+v", v.user, e, c.conv, v.stays)
				return
			}
		}
	}
	for _, e := range v.some(c, false, 3) {
		if find(c.conv, e.Text, e.Seq, r) {
			c.w.wrongf("%s finds %+v in %s; they were there %+v", v.user, e, c.conv, v.stays)
		}
	}
}

// checkThreads: of a thread they see the replies of their time. Of one that was over before there is nothing.
func (c *curtain) checkThreads(v *view, r *reader) {
	replies := make(map[uint64][]uint64)
	for _, seq := range slices.Sorted(maps.Keys(v.log.events)) {
		if e := v.log.events[seq]; e.Thread != 0 && e.post() {
			replies[e.Thread] = append(replies[e.Thread], seq)
		}
	}
	roots := slices.Sorted(maps.Keys(replies))
	for range min(6, len(roots)) {
		c.checkThread(v, r, roots[c.w.rng.IntN(len(roots))], replies)
	}
}

func (c *curtain) checkThread(v *view, r *reader, root uint64, replies map[uint64][]uint64) {
	var want, have []uint64
	for _, seq := range replies[root] {
		if v.shows(seq) {
			want = append(want, seq)
		}
	}
	x := r.ask("thread", params{"conv": c.conv, "root": root, "limit": 500})
	if nothing := len(want) == 0 && !v.shows(root); nothing || x.outcome == turned {
		if !nothing || x.outcome != turned {
			c.w.wrongf("the thread %s %d for %s: %v; they were there %+v", c.conv, root, v.user, &x, v.stays)
		}
		return
	}
	var t struct {
		Count  int
		Events []struct{ Event shown }
	}
	r.decode(&x, &t)
	for _, row := range t.Events {
		switch e := row.Event; {
		case e.Seq != root:
			have = append(have, e.Seq)
		case (e.Kind == "gone") == v.shows(root):
			c.w.wrongf("the thread %s %d begins for %s with %+v; they were there %+v", c.conv, root, v.user, e, v.stays)
		}
	}
	if !slices.Equal(have, want) || t.Count != len(want) {
		c.w.wrongf("the thread %s %d has %d replies for %s: %v instead of %v; they were there %+v", c.conv, root, t.Count, v.user, have, want, v.stays)
	}
}

// checkOld: with a post from before nothing can be done.
func (c *curtain) checkOld(v *view, r *reader) {
	for _, e := range v.some(c, false, 2) {
		at := params{"conv": c.conv, "seq": e.Seq}
		for _, try := range []struct {
			method string
			params params
		}{
			{"edits", at}, {"reactions", at}, {"hide", at}, {"receipts", at},
			{"forward", params{"from": c.conv, "seq": e.Seq, "conv": c.conv}},
			{"report", params{"conv": c.conv, "seq": e.Seq, "reason": "?"}},
		} {
			if x := r.ask(try.method, try.params); x.outcome != turned {
				c.w.wrongf("%s of %s, which was before %s: %v; they were there %+v", try.method, e.Text, v.user, &x, v.stays)
			}
		}
	}
}
