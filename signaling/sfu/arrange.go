package sfu

import (
	"encoding/json"
	"slices"
	"time"
)

const (
	speakLevel = 40               // of 127: louder than that is speech
	speakHold  = 2 * time.Second  // a speaker who pauses stays one
	speakMost  = 5                // speakers that are announced
	headroom   = 0.9              // of the estimate that is used
	climbFirst = 5 * time.Second  // after a layer was taken back, until it is tried again,
	climbMost  = 60 * time.Second // doubled each time up to this
	dareEvery  = time.Second      // between two cameras that are shown although the estimate has no room for them
)

// arrange decides who is shown to whom, and at which layer. Whoever is shown already stays if there is room, so that pictures
// don't change places.
func (r *room) arrange(now time.Time) {
	subs := map[*track][]*slot{}
	for _, p := range r.order {
		for _, k := range []kind{audio, video} {
			p.fill(k, now)
		}
		for _, o := range p.slots {
			if o.source != nil {
				subs[o.source] = append(subs[o.source], o)
			}
		}
	}
	for _, p := range r.order {
		for _, t := range p.tracks {
			if s := subs[t]; len(s) > 0 {
				t.subs.Store(&s)
			} else {
				t.subs.Store(nil)
			}
		}
	}
	for _, p := range r.order {
		p.play(now)
		p.pick(now)
		r.show(p)
	}
}

// fill gives the slots of a kind to those who matter most: pinned ones, then those who spoke last, then as they came.
func (p *party) fill(k kind, now time.Time) {
	var slots []*slot
	for _, o := range p.slots {
		if o.kind == k {
			slots = append(slots, o)
		}
	}
	var wanted []*track
	for _, q := range p.ranked() {
		for _, t := range q.tracks {
			if t.kind == k {
				wanted = append(wanted, t)
			}
		}
	}
	wanted = wanted[:min(len(wanted), len(slots))]
	var free []*slot
	for _, o := range slots {
		if i := slices.Index(wanted, o.source); i >= 0 && o.source != nil {
			wanted = slices.Delete(wanted, i, i+1)
			continue
		}
		free = append(free, o)
	}
	for i, o := range free {
		o.source = nil
		if i < len(wanted) {
			o.source = wanted[i]
		}
		if o.source == nil || k == video {
			o.aim(nil, now)
		}
	}
}

// play has the party hear whom its slots are for.
func (p *party) play(now time.Time) {
	for _, o := range p.slots {
		if o.source != nil && o.kind == audio {
			o.aim(o.source.layers[0], now)
		}
	}
}

// ranked are the others of the call in the order in which the party wants to see them.
func (p *party) ranked() []*party {
	others := slices.DeleteFunc(slices.Clone(p.room.order), func(q *party) bool { return q == p })
	pinned := func(q *party) int {
		if slices.Contains(p.pins, q.id) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(others, func(a, b *party) int {
		if d := pinned(b) - pinned(a); d != 0 {
			return d
		}
		return b.spoke.Compare(a.spoke)
	})
	return others
}

// climb paces how a party's video grows: a step that turned out too high is tried again later and later.
type climb struct {
	budget float64 // bits per second that were shared out last
	until  time.Time
	pause  time.Duration
}

// budget returns what the party's video may take now.
func (p *party) budget(now time.Time) float64 {
	est := float64(p.out.bwe.now()) * headroom
	c := &p.rungs
	switch {
	case c.budget == 0 || est < c.budget:
		if c.budget != 0 && est < c.budget*0.8 {
			c.pause = min(climbMost, max(climbFirst, 2*c.pause))
			c.until = now.Add(c.pause)
		}
		c.budget = est
	case now.After(c.until):
		c.budget = est
		if now.Sub(c.until) > climbMost {
			c.pause = 0
		}
	}
	if p.limit > 0 {
		return min(c.budget, float64(p.limit))
	}
	return c.budget
}

// dare lets a party see more than the estimate has room for, one step after the other, as long as what it is sent arrives: the lowest layers of
// cameras that are dark, and then better layers. Without that a camera could stay dark or small for good: an estimate grows only with what is
// sent, and after a strain with little no further than half of that beyond it.
type dare struct {
	beyond int // steps beyond the estimate that are allowed
	until  time.Time
	back   time.Time // when they were taken back
	pause  time.Duration
}

// check takes them back when the path is strained, and tries them again later and later.
func (d *dare) check(strained bool, now time.Time) {
	switch {
	case strained && d.beyond > 0:
		d.pause = min(climbMost, max(climbFirst, 2*d.pause))
		d.beyond, d.back, d.until = 0, now, now.Add(d.pause)
	case now.Sub(d.back) > d.pause+climbMost:
		d.pause = 0
	}
}

// more allows another one, as the last one was some time ago.
func (d *dare) more(strained bool, now time.Time, every time.Duration) {
	if !strained && !now.Before(d.until) {
		d.beyond++
		d.until = now.Add(every)
	}
}

// wait has the next one come no sooner than after a while.
func (d *dare) wait(now time.Time, least time.Duration) {
	if t := now.Add(least); t.After(d.until) {
		d.until = t
	}
}

// pick chooses the layers of the party's video: the lowest of each first, in the order of who matters, then better ones.
func (p *party) pick(now time.Time) {
	shown := p.shownVideo()
	if len(shown) == 0 {
		return
	}
	left := p.budget(now)
	strained := p.out.bwe.strained()
	p.dares.check(strained, now)
	p.steps.check(strained, now)
	used, dared, dark := 0.0, 0, false
	chosen := make([]int, len(shown)) // index into alternatives; -1: nothing
	alts := make([][]*layer, len(shown))
	for i, o := range shown {
		alts[i] = o.source.alternatives(now)
		chosen[i] = -1
		if len(alts[i]) == 0 {
			continue
		}
		cost, known := alts[i][0].cost(now)
		switch wanted := p.limit == 0 || known && used+cost <= float64(p.limit); {
		case i == 0 || wanted && cost <= left:
			left -= cost
		case wanted && dared < p.dares.beyond:
			dared++
			left = 0
		default:
			dark = dark || wanted
			continue
		}
		chosen[i] = 0
		used += cost
	}
	if dark {
		p.dares.more(strained, now, dareEvery)
	}
	stepped, higher := 0, false
	for i := range shown {
		for chosen[i] >= 0 && chosen[i]+1 < len(alts[i]) {
			if alts[i][chosen[i]].rate.Load() == 0 || alts[i][chosen[i]+1].rate.Load() == 0 {
				break // not measured yet
			}
			more := float64(alts[i][chosen[i]+1].rate.Load() - alts[i][chosen[i]].rate.Load())
			if p.limit > 0 && used+more > float64(p.limit) {
				break
			}
			if more > left {
				if higher = dark || stepped >= p.steps.beyond; higher {
					break
				}
				stepped++
			}
			left = max(0, left-more)
			used += more
			chosen[i]++
		}
	}
	p.steps.beyond = stepped // the estimate has followed the others
	if dark || !higher || p.steps.until.IsZero() {
		p.steps.wait(now, climbFirst)
	} else {
		p.steps.more(strained, now, climbFirst)
	}
	for i, o := range shown {
		if chosen[i] < 0 {
			o.aim(nil, now)
			continue
		}
		o.aim(alts[i][chosen[i]], now)
	}
}

// shownVideo are the slots that show video, those who matter most first.
func (p *party) shownVideo() []*slot {
	var out []*slot
	for _, q := range p.ranked() {
		for _, o := range p.slots {
			if o.kind == video && o.source != nil && o.source.p == q {
				out = append(out, o)
			}
		}
	}
	return out
}

// alternatives are a track's layers that flow, the smallest first; before any flows, the first one is waited for. One that has just
// begun, or ended, has no rate, and nobody is led to it while there are others.
func (t *track) alternatives(now time.Time) []*layer {
	var out, still []*layer
	for _, l := range t.layers {
		switch {
		case !l.alive(now):
		case l.rate.Load() == 0:
			still = append(still, l)
		default:
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		out = still
	}
	if len(out) == 0 {
		return t.layers[:1]
	}
	slices.SortStableFunc(out, func(a, b *layer) int { return int(a.rate.Load() - b.rate.Load()) })
	return out
}

// shownSlot is one entry of the message about slots.
type shownSlot struct {
	Mid    string `json:"mid"`
	Media  string `json:"media"`
	Party  string `json:"party,omitempty"`
	Source string `json:"source,omitempty"`
}

// show tells a party what its slots show, if that is news.
func (r *room) show(p *party) {
	if p.control == nil {
		return
	}
	list := make([]shownSlot, 0, len(p.slots))
	for _, o := range p.slots {
		e := shownSlot{Mid: o.mid, Media: o.kind.String()}
		if o.source != nil {
			e.Party, e.Source = o.source.p.id, o.source.mid
		}
		list = append(list, e)
	}
	b, _ := json.Marshal(map[string]any{"kind": "slots", "slots": list}) // strings always encode
	if string(b) != p.shown {
		p.shown = string(b)
		r.s.write(p.control, b, true)
	}
}

// listen finds out who speaks, announces it, and shows them.
func (r *room) listen(now time.Time) {
	type voice struct {
		p     *party
		level int
	}
	var voices []voice
	for _, p := range r.order {
		level := 0
		for _, t := range p.tracks {
			if t.kind == audio {
				level = max(level, t.loud.now(now))
			}
		}
		if level >= speakLevel {
			p.spoke = now
		}
		if !p.spoke.IsZero() && now.Sub(p.spoke) < speakHold {
			// Who was announced is a little louder, so that two of the same level don't take turns.
			if slices.Contains(r.louder, p.id) {
				level += 6
			}
			voices = append(voices, voice{p, level})
		}
	}
	slices.SortStableFunc(voices, func(a, b voice) int { return b.level - a.level })
	ids := []string{}
	for _, v := range voices[:min(len(voices), speakMost)] {
		ids = append(ids, v.p.id)
	}
	if slices.Equal(ids, r.louder) {
		return
	}
	r.louder = ids
	b := r.speakers()
	for _, p := range r.order {
		if p.control != nil {
			r.s.write(p.control, b, true)
		}
	}
	r.arrange(now)
}

// speakers is the message about who speaks.
func (r *room) speakers() []byte {
	b, _ := json.Marshal(map[string]any{"kind": "speakers", "parties": r.louder}) // strings always encode
	return b
}
