package crash_test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// check is the reckoning of a round. All devices are connected, and nothing that they sent is without an
// answer.
func (w *world) check() {
	for _, d := range w.devices {
		for _, o := range d.settled {
			if o.kind != tick {
				w.ops[o.token] = o
			}
			if o.state == acked {
				w.total.acked++
			}
			w.total.resent += o.resent
		}
		d.settled = nil
	}
	count := w.readLogs()
	w.each(func(d *device) { d.waitForAll(); d.sync() }, nil)
	w.checkPosts(count)
	w.checkOrder()
	w.checkDeliveries()
	w.checkTexts(count)
	w.checkPlain()
	w.checkVolatile()
	w.checkReaders()
	for tok, o := range w.ops {
		switch {
		case o.state == abandoned:
			w.known[tok] = "given up"
		case o.kind == plain1 && o.resent > 0: // stored twice, its second copy may come late
			w.known[tok] = "sent again"
		default:
			w.known[tok] = ""
		}
	}
	clear(w.ops)
}

// wrongf reports a broken promise.
func (w *world) wrongf(format string, args ...any) {
	w.t.Errorf("seed %d, round %d: %s", *seed, w.round, fmt.Sprintf(format, args...))
}

// memberOf is somebody who may read the conversation.
func memberOf(conv string) string {
	if a, _, ok := strings.Cut(conv, "~"); ok {
		return a
	}
	return "ann"
}

// readLogs reads with fresh readers what is new in the conversations, and counts how often each token is
// there. Every 25th round it reads everything again.
func (w *world) readLogs() map[string]int {
	count := make(map[string]int)
	for id, c := range w.convs {
		r := w.reader(memberOf(id))
		if w.round%25 == 0 || w.round == *rounds {
			if old := c.log; !slices.Equal(old, r.history(id, nil)[:len(old)]) {
				w.wrongf("%s has changed", id)
			}
		}
		if c.log != nil || id == group || w.begun(id) {
			c.log = r.history(id, c.log)
		}
		r.close()
		for _, e := range c.log[c.verified:] {
			if e.text != "" {
				count[e.text]++
			}
		}
	}
	return count
}

// begun reports whether a direct conversation was written to.
func (w *world) begun(conv string) bool {
	for _, o := range w.ops {
		if o.conv == conv && o.kind == post && o.state == acked {
			return true
		}
	}
	return false
}

// checkPosts: acknowledged ⇒ there exactly once; refused ⇒ absent; given up ⇒ at most once; never
// dropped, and with an id never twice (PROTOCOL: delivery 1 and 4).
func (w *world) checkPosts(count map[string]int) {
	for tok, o := range w.ops {
		n := count[tok]
		least, most := 0, 0
		switch {
		case o.kind == post && o.state == acked:
			least, most = 1, 1
		case o.kind == post && o.state == abandoned:
			most = 1
			w.total.abandoned++
		case o.kind == wrong:
			w.total.refused++
		}
		if n > most && o.kind == post && o.id == "" && o.resent > 0 {
			if o.cut {
				w.total.doublesCut += n - most
			} else {
				w.total.doubles += n - most
				w.t.Logf("%v: stored %d times: %v", w, n, o)
			}
			most = n
		}
		if n < least || n > most {
			w.wrongf("stored %d times: %v", n, o)
		}
	}
	for tok := range count {
		if w.ops[tok] == nil && tok != "tick" && !isWill(tok) {
			if how, ok := w.known[tok]; !ok || how != "given up" {
				w.wrongf("%s is stored, and nobody sent it in this round", tok)
			}
		}
	}
	w.checkTicks()
	for _, a := range w.armed {
		n := count[a.token]
		if !strings.HasPrefix(a.topic, "c/") {
			continue
		}
		w.total.wills += n
		if n < a.least || n > a.most {
			w.wrongf("the will %s of %s was posted %d times", a.token, a.user, n)
		}
	}
}

// checkTicks: messages that say the same under the same packet id can't be told apart, but none of them
// may be taken for the repetition of another and dropped.
func (w *world) checkTicks() {
	stored, sent := 0, 0
	for _, e := range w.convs[group].log {
		if e.text == "tick" {
			stored++
		}
	}
	for _, d := range w.devices {
		sent += d.ticked
	}
	if stored < sent {
		w.wrongf("%d equal messages were acknowledged, %d are stored", sent, stored)
	}
	w.total.ticks, w.total.doubleTicks = sent, stored-sent
}

// checkOrder: what one device sends to one conversation is there in the order of sending.
func (w *world) checkOrder() {
	for id, c := range w.convs {
		newest := make(map[*device]*op)
		seen := make(map[string]bool)
		for _, e := range c.log[c.verified:] {
			o := w.ops[e.text]
			if o == nil || seen[e.text] {
				continue
			}
			seen[e.text] = true
			if o.by.user != e.from {
				w.wrongf("%s: %v is from %s", id, o, e.from)
			}
			if prev := newest[o.by]; prev != nil && prev.n > o.n {
				w.wrongf("%s: %v comes after %v", id, o, prev)
			}
			newest[o.by] = o
		}
		c.verified = len(c.log)
	}
}

// views returns the conversations that a device sees every event of.
func (d *device) views() (convs []string) {
	for id := range d.w.convs {
		if _, _, direct := strings.Cut(id, "~"); direct && !slices.Contains(strings.Split(id, "~"), d.user) {
			continue
		}
		for _, s := range d.base {
			if s.filter == "c/+/json" || s.filter == "c/+/cbor" || s.filter == "c/"+id+"/json" {
				convs = append(convs, id)
			}
		}
	}
	return convs
}

// waitForAll takes what comes until everything is there that must come.
func (d *device) waitForAll() {
	missing := func() string {
		for _, id := range d.views() {
			if head := uint64(len(d.w.convs[id].log)); d.last[id] < head {
				return fmt.Sprintf("%s after seq %d, which ends with %d", id, d.last[id], head)
			}
		}
		for _, o := range d.w.ops {
			if o.state == acked && d.gets(o) && d.plain[o.token] == nil {
				return o.String()
			}
			if o.state == acked && d.getsText(o) && !d.hasText(o.token) {
				return o.String()
			}
		}
		for _, a := range d.w.armed {
			if a.least > 0 && d.getsWill(a) && d.plain[a.token] == nil {
				return "the will " + a.token
			}
		}
		return ""
	}
	deadline := time.Now().Add(patience)
	for what := missing(); what != ""; what = missing() {
		if time.Now().After(deadline) {
			d.failf("does not get %s", what)
		}
		d.sync()
	}
}

// gets reports whether a device subscribes to a plain message.
func (d *device) gets(o *op) bool {
	if o.kind != plain1 && o.kind != plain2 {
		return false
	}
	for _, s := range d.base {
		prefix := strings.TrimRight(s.filter, "#+")
		if s.filter == o.topic || prefix != s.filter && strings.HasPrefix(o.topic, prefix) {
			return true
		}
	}
	return false
}

func (d *device) getsText(o *op) bool {
	return o.kind == post && d.client == "radio" && (o.conv == group || slices.Contains(strings.Split(o.conv, "~"), d.user))
}

func (d *device) hasText(token string) bool { _, ok := d.seen[token]; return ok }

func (d *device) getsWill(a *armed) bool {
	return d.client == "phone" && strings.HasPrefix(a.topic, "will/")
}

// checkDeliveries: what the devices received is what the log has. That nothing is missing, and that
// redeliveries carry DUP, was checked on arrival.
func (w *world) checkDeliveries() {
	for _, d := range w.devices {
		for id, evs := range d.got {
			c := w.convs[id]
			for _, ev := range evs {
				if c == nil {
					continue // the user's own log
				}
				if e := c.log[ev.seq-1]; e.text != ev.text || e.from != ev.from {
					w.wrongf("%s received %+v in %s, the log has %+v", d, ev, id, e)
				}
			}
		}
		clear(d.got)
	}
}

// checkTexts: the text view shows the posts in the order of the log, each once but for redeliveries.
func (w *world) checkTexts(count map[string]int) {
	for _, d := range w.devices {
		for id, evs := range d.texts {
			at := 0
			log := w.convs[id].log
			for _, ev := range evs {
				if _, old := w.known[ev.text]; (old || isWill(ev.text)) && d.seen[ev.text] == 0 {
					continue // a redelivery from an earlier round
				}
				next := slices.IndexFunc(log[at:], func(e entry) bool { return e.text == ev.text })
				if next < 0 {
					w.wrongf("%s received %s in %s out of order, or it is not there", d, ev.text, id)
					break
				}
				at += next
			}
		}
		for tok, fresh := range d.seen {
			if fresh > 1 && tok != "tick" && fresh > count[tok] {
				w.wrongf("%s received %s %d times without DUP, it is stored %d times", d, tok, fresh, count[tok])
			}
		}
		clear(d.texts)
		clear(d.seen)
	}
}

// checkPlain: QoS 1 at least once, again with DUP only; QoS 2 exactly once, whoever crashed; in the order
// of sending.
func (w *world) checkPlain() {
	for _, d := range w.devices {
		newest := make(map[string]*op)
		toks := make([]string, 0, len(d.plain))
		for tok := range d.plain {
			toks = append(toks, tok)
		}
		slices.SortFunc(toks, func(a, b string) int { return d.plain[a].order - d.plain[b].order })
		for _, tok := range toks {
			g, o := d.plain[tok], w.ops[tok]
			if o == nil {
				if !isWill(tok) && w.known[tok] == "" && g.fresh > 0 {
					w.wrongf("%s received %s, which is not of this round and is no second copy, %d times, %d without DUP", d, tok, g.total, g.fresh)
				}
				continue
			}
			if prev := newest[o.topic]; prev != nil && prev.n > o.n {
				w.wrongf("%s received %v after %v", d, o, prev)
			}
			newest[o.topic] = o
			switch {
			case o.kind == plain2 && d.exactly(o) && g.total != 1:
				w.wrongf("%s received %d times at QoS 2: %v", d, g.total, o)
			case o.kind == plain1 && g.fresh > 1 && o.resent > 0 && o.cut:
				w.total.doublesCut++
			case o.kind == plain1 && g.fresh > 1 && o.resent > 0:
				w.total.doubles++
				w.t.Logf("%v: %s received %d times without DUP: %v", w, d, g.fresh, o)
			case g.fresh > 1:
				w.wrongf("%s received %d times without DUP: %v", d, g.fresh, o)
			}
		}
		for _, a := range w.armed {
			if !d.getsWill(a) {
				continue
			}
			n := 0
			if g := d.plain[a.token]; g != nil {
				n = g.total
			}
			w.total.wills += n
			if n < a.least || n > a.most {
				w.wrongf("the will %s of %s came %d times", a.token, a.user, n)
			}
		}
		clear(d.plain)
	}
}

// exactly reports whether a device gets a message at QoS 2.
func (d *device) exactly(o *op) bool {
	for _, s := range d.base {
		if s.qos == 2 && strings.HasPrefix(o.topic, strings.TrimRight(s.filter, "#+")) {
			return true
		}
	}
	return false
}

// checkVolatile: subscriptions that were acknowledged are there, and those given up are not.
func (w *world) checkVolatile() {
	r := w.reader("ann")
	defer r.close()
	probe := fmt.Sprintf("probe %d", w.round)
	for _, d := range w.devices {
		for k := range volatiles {
			r.publish(d.volatile(k), probe)
		}
	}
	w.each(func(d *device) {
		for k, want := range d.vol {
			deadline := time.Now().Add(patience)
			d.sync()
			for want == in && d.probed[d.volatile(k)] != probe {
				if time.Now().After(deadline) {
					d.failf("the subscription %s was acknowledged, and is gone", d.volatile(k))
				}
				d.sync()
			}
			here := d.probed[d.volatile(k)] == probe
			if want == out && here {
				d.failf("the subscription %s was given up, and is there", d.volatile(k))
			}
			if want == unsure {
				d.vol[k] = out
				if here {
					d.vol[k] = in
				}
			}
		}
	}, nil)
}

// checkReaders: retained messages and cursors are as acknowledged, and who did not come back is offline.
func (w *world) checkReaders() {
	for _, user := range people {
		r := w.reader(user)
		if user == "ann" {
			w.checkRetained(r)
			r.subscribe("u/+/presence")
			for _, g := range ghosts {
				if p := r.live["u/"+g+"/presence"]; !strings.Contains(p, `"offline"`) {
					w.wrongf("%s did not come back, and is %q", g, p)
				}
			}
		}
		var list struct {
			Convs []struct {
				Conv string
				Read uint64
			}
		}
		r.call("conv.list", map[string]any{}, &list)
		have := make(map[string]uint64)
		for _, c := range list.Convs {
			have[c.Conv] = c.Read
		}
		for _, d := range w.devices {
			for conv, seq := range d.floor {
				if d.user == user && have[conv] < seq {
					w.wrongf("%s has read %s up to %d, the server says %d", d, conv, seq, have[conv])
				}
			}
		}
		r.close()
	}
}

func (w *world) checkRetained(r *reader) {
	r.subscribe("ret/#")
	for _, d := range w.devices {
		for topic, want := range d.kept {
			if got := r.live[topic]; got != want {
				w.wrongf("retained %s is %q, acknowledged was %q", topic, got, want)
			}
			delete(r.live, topic)
		}
	}
	for topic, got := range r.live {
		if strings.HasPrefix(topic, "ret/") {
			w.wrongf("retained %s is %q, and nobody set it", topic, got)
		}
	}
}
