package crash_test

import (
	"cmp"
	"maps"
	"slices"

	"github.com/petrelchat/petrel/chat"
)

// checkPins: what is pinned is what was pinned last.
func (b *board) checkPins(conv string, r *reader) {
	var list struct{ Pins []struct{ Event shown } }
	from := now()
	r.call("pins", params{"conv": conv, "limit": 100}, &list)
	to := now()
	have := make(map[uint64]bool)
	for _, p := range list.Pins {
		have[p.Event.Seq] = true
	}
	for _, n := range b.notes {
		if n.conv != conv || n.seq == 0 {
			continue
		}
		pinned, lives := have[n.seq], n.stays(from, to)
		switch {
		case lives && !n.pinned.may(pinned), pinned && n.withdrawn.must(true):
			b.w.wrongf("%v is pinned: %v, expected %v", n, pinned, n.pinned)
		case lives:
			n.pinned = certain(pinned)
		}
	}
}

// checkReactions: a summary has those reactions that were put there and not taken away.
func (b *board) checkReactions(r *reader) {
	budget := 150
	for _, n := range slices.Backward(b.notes) {
		if budget--; budget < 0 {
			return
		}
		if n.seq == 0 {
			continue
		}
		x := r.ask("reactions", params{"conv": n.conv, "seq": n.seq})
		alive, over := n.fate(x.from, x.to)
		if x.outcome == turned {
			if !over {
				b.w.wrongf("the reactions to %v: %v", n, &x)
			}
			continue
		}
		if !alive {
			b.w.wrongf("%v has reactions: %s", n, x.body)
			continue
		}
		b.checkSummary(r, n, &x)
	}
}

func (b *board) checkSummary(r *reader, n *note, x *answer) {
	var sum struct {
		Reactions []struct {
			Emoji string
			Count int
			Me    bool
			Users []string
		}
	}
	r.decode(x, &sum)
	have := make(map[reaction]bool)
	for _, row := range sum.Reactions {
		if row.Count != len(row.Users) || row.Me != slices.Contains(row.Users, r.user) || row.Count == 0 {
			b.w.wrongf("%v has the reactions %+v", n, row)
		}
		for _, user := range row.Users {
			have[reaction{row.Emoji, user}] = true
		}
	}
	for of, is := range n.reactions {
		emoji, _ := chat.Emoji(of.emoji)
		k := reaction{emoji, of.user}
		if !is.may(have[k]) {
			b.w.wrongf("the reaction %v to %v is there: %v, expected %v", of, n, have[k], is)
		}
		n.reactions[of] = certain(have[k])
		delete(have, k)
	}
	for of := range have {
		b.w.wrongf("the reaction %v to %v, and nobody made it", of, n)
	}
}

// checkThreads: a thread is its replies, and counts those that are there.
func (b *board) checkThreads(conv string, r *reader) {
	l := r.look(conv)
	replies := make(map[uint64][]shown)
	for _, seq := range slices.Sorted(maps.Keys(l.events)) {
		if e := l.events[seq]; e.Thread != 0 && e.post() {
			replies[e.Thread] = append(replies[e.Thread], e)
		}
	}
	roots := slices.SortedFunc(maps.Keys(replies), func(x, y uint64) int { return cmp.Compare(y, x) })
	for _, root := range roots[:min(len(roots), 12)] {
		b.checkThread(conv, root, replies[root], r)
	}
}

func (b *board) checkThread(conv string, root uint64, want []shown, r *reader) {
	var t struct {
		Count, Participants int
		Users               []string
		Events              []struct {
			Depth int
			Event shown
		}
		Last struct{ Seq uint64 }
		More bool
	}
	x := r.ask("thread", params{"conv": conv, "root": root, "limit": 500})
	if x.outcome != carried {
		b.w.wrongf("the thread %s %d: %v", conv, root, &x)
		return
	}
	r.decode(&x, &t)
	passing := false // something of it disappears about now
	for _, g := range b.gone {
		passing = passing || g.conv == conv && g.since+afterwards > x.from-1000 && g.since-2000 < x.to
	}
	users := make(map[string]bool)
	for _, e := range want {
		users[e.From] = true
	}
	var have []uint64
	for _, row := range t.Events {
		if row.Event.post() && row.Event.Seq != root {
			have = append(have, row.Event.Seq)
			if row.Depth < 1 {
				b.w.wrongf("seq %d is %d deep in the thread %s %d", row.Event.Seq, row.Depth, conv, root)
			}
		}
	}
	same := slices.EqualFunc(have, want, func(seq uint64, e shown) bool { return seq == e.Seq })
	if !passing && (!same || t.Count != len(want) || t.Participants != len(users) || len(t.Users) != len(users) || t.Last.Seq < want[len(want)-1].Seq) {
		b.w.wrongf("the thread %s %d has %d replies by %v: %v, last %d; the log has %+v", conv, root, t.Count, t.Users, have, t.Last.Seq, want)
	}
}

// sample is how many notes of a conversation are looked at where that costs a request for each.
const sample = 8

// checkVersions: the edits of a post are those that were made, in their order.
func (b *board) checkVersions(conv string, r *reader) {
	budget := sample
	for _, n := range slices.Backward(b.notes) {
		if n.conv != conv || n.seq == 0 || len(n.edits) == 0 || budget == 0 {
			continue
		}
		budget--
		var v struct{ Versions []shown }
		x := r.ask("edits", params{"conv": conv, "seq": n.seq})
		if !n.stays(x.from, x.to) {
			continue
		}
		if x.outcome == turned {
			b.w.wrongf("the edits of %v: %v", n, &x)
			continue
		}
		r.decode(&x, &v)
		want := []string{n.text}
		for _, e := range n.edits {
			want = append(want, e.text)
		}
		if !slices.EqualFunc(want, v.Versions, func(text string, e shown) bool { return e.Text == text }) {
			b.w.wrongf("the edits of %v are %+v, expected %v", n, v.Versions, want)
		}
	}
}

// checkSearch: the index comes to know what there is, whatever it lost in the crash, and does not find what is
// gone.
func (b *board) checkSearch(conv string, r *reader) {
	budget := sample / 2
	for _, n := range slices.Backward(b.notes) {
		if n.conv != conv || n.seq == 0 || budget == 0 || !n.withdrawn.must(false) || n.expire != 0 {
			continue
		}
		budget--
		text := n.text
		if len(n.edits) > 0 {
			text = n.edits[len(n.edits)-1].text
		}
		for deadline := now() + patience.Milliseconds(); !b.finds(conv, text, n.seq, r); {
			if now() > deadline {
				b.w.wrongf("a search for %s does not find %v", text, n)
				break
			}
		}
	}
	budget = sample / 2
	for text, g := range b.gone {
		if g.conv != conv || g.seq == 0 || now() <= g.since {
			continue
		}
		if budget--; budget < 0 {
			break
		}
		if b.finds(conv, text, g.seq, r) {
			b.w.wrongf("a search for %s finds it, and it is gone: %+v", text, g)
		}
	}
}

// finds reports whether a search for a text finds an event.
func (b *board) finds(conv, text string, seq uint64, r *reader) bool {
	var page struct{ Hits []struct{ Seq uint64 } }
	r.call("search", params{"q": `"` + text + `"`, "conv": conv, "limit": 100}, &page)
	return slices.ContainsFunc(page.Hits, func(h struct{ Seq uint64 }) bool { return h.Seq == seq })
}

// checkHidden: what somebody deleted for themselves is not shown to them, nor what it was changed to.
func (b *board) checkHidden(user string, r *reader) {
	looks := make(map[string]look)
	for _, n := range b.notes {
		is, some := n.hidden[user]
		if !some || n.seq == 0 {
			continue
		}
		l, ok := looks[n.conv]
		if !ok {
			l = r.look(n.conv)
			looks[n.conv] = l
		}
		if !n.stays(l.from, l.to) {
			continue
		}
		hidden := l.events[n.seq].Text == ""
		if !is.may(hidden) {
			b.w.wrongf("%v is hidden from %s: %v, expected %v", n, user, hidden, is)
		}
		n.hidden[user] = certain(hidden)
		for _, x := range n.edits {
			if e := l.events[x.seq]; hidden && e.Text == x.text {
				b.w.wrongf("%s is hidden from %s, and its edit is shown: %+v", n, user, e)
			}
		}
	}
}

// checkRead: cursors are where they were acknowledged to be, or later.
func (b *board) checkRead(user string, r *reader) {
	var list struct {
		Convs []struct {
			Conv string
			Read uint64
		}
	}
	r.call("conv.list", params{"limit": 500}, &list)
	for _, c := range list.Convs {
		if want := b.read[c.Conv+" "+user]; slices.Contains(b.convs, c.Conv) && c.Read < want {
			b.w.wrongf("%s has read %s up to %d, the server says %d", user, c.Conv, want, c.Read)
		}
	}
}
