package crash_test

import (
	"slices"
	"strings"
	"time"

	"github.com/petrelchat/petrel/storage"
)

// hook is a webhook in a list.
type hook struct {
	ID, Kind, Bot, URL, Why string
	Off                     int64
}

func (h *hatch) list(r *reader) []hook {
	var list struct {
		Webhooks []hook
		More     bool
	}
	r.call("webhook.list", params{"conv": h.conv}, &list)
	if list.More {
		h.w.wrongf("%s has more webhooks than fit on a page", h.conv)
	}
	return list.Webhooks
}

// remove ends a webhook for good, of which nothing more may come from the next life of the server on.
func (h *hatch) remove(r *reader, id string) {
	var gone struct{ ID string }
	r.call("webhook.delete", params{"id": id}, &gone)
	h.sink.mu.Lock()
	defer h.sink.mu.Unlock()
	for _, o := range h.sink.spouts {
		if o.id == id {
			o.there, o.gone = certain(false), h.w.lives.Load()
		}
	}
}

// check compares webhooks, what came in by them and what went out with what is believed of them. All actors are
// idle.
func (h *hatch) check() {
	r := h.w.reader(porter)
	defer r.close()
	h.sink.roughen(false)
	h.checkHooks(r)
	h.checkBots(r)
	k := r.look(h.conv)
	h.checkKnocks(k)
	h.await(r, k)
	h.sink.settle(k, h.conv)
}

// checkHooks: what was made is there, what was deleted is not; what was in doubt is known now, or removed.
func (h *hatch) checkHooks(r *reader) {
	there := make(map[string]hook)
	for _, k := range h.list(r) {
		there[k.ID] = k
	}
	strays := 0
	for a, s := range h.stalls {
		strays += s.stray
		s.stray = 0
		if f := s.flap; f != nil {
			k, listed := there[f.id]
			delete(there, f.id)
			is := f.is.seen(func(d door) bool {
				return listed == (d.state != walled) && (!listed || k.Off == 0 || d.state == broken)
			})
			if len(is) == 0 {
				h.w.wrongf("the webhook %+v is listed: %v, as %+v", *f, listed, k)
			}
			if f.is = is; slices.ContainsFunc(is, func(d door) bool { return d.state != open }) {
				if listed {
					h.remove(r, f.id)
				}
				s.flap = nil
			}
		}
		if o := s.spout; o != nil && h.checkSpout(o, there, a) {
			s.spout = nil
		}
	}
	for id, k := range there { // somebody's whose answer was lost
		if strays--; k.Kind != "in" || strays < 0 {
			h.w.wrongf("there is a webhook that nobody made: %+v", k)
		}
		h.remove(r, id)
	}
}

// checkSpout takes an outgoing webhook out of those that are there. It returns true for one that is over.
func (h *hatch) checkSpout(o *spout, there map[string]hook, a *actor) bool {
	h.sink.mu.Lock()
	defer h.sink.mu.Unlock()
	listed := false
	for id, k := range there {
		if k.URL == h.sink.srv.URL+o.path {
			listed = true
			if o.id == "" {
				o.id = id
			}
			delete(there, id)
			if k.Off != 0 && o.over == 0 {
				h.w.wrongf("the webhook %v is off: %s", o, k.Why)
			}
		}
	}
	if !o.there.may(listed) {
		h.w.wrongf("the webhook %v of %s is there: %v, expected %v", o, a.name, listed, o.there)
	}
	if o.there = certain(listed); !listed {
		o.gone = h.w.lives.Load()
	}
	return !listed
}

// checkBots: the bots of webhooks are those of webhooks that are there. What a crash left half made, the server
// takes away after its start.
func (h *hatch) checkBots(r *reader) {
	for deadline := now() + patience.Milliseconds(); ; {
		want, have := []string{}, []string{}
		for _, k := range h.list(r) {
			if k.Kind == "in" {
				want = append(want, k.Bot)
			}
		}
		var members struct{ Members []member }
		r.call("member.list", params{"conv": h.conv, "limit": 1000}, &members)
		for _, m := range members.Members {
			if strings.HasPrefix(m.User, "hook-") {
				have = append(have, m.User)
			}
		}
		slices.Sort(want)
		slices.Sort(have)
		if slices.Equal(want, have) {
			return
		}
		if now() > deadline {
			h.w.wrongf("the webhooks of %s post as %v, its members are %v", h.conv, want, have)
			return
		}
	}
}

// checkLeft: in the store nothing is left of a webhook that is not in the list, and no bot without its webhook.
func (h *hatch) checkLeft(st storage.Reader) {
	known := make(map[string]bool)
	for _, s := range h.stalls {
		if s.flap != nil {
			known[s.flap.id] = true
		}
		if s.spout != nil {
			known[s.spout.id] = true
		}
	}
	look := func(space storage.Space, prefix string) {
		err := st.Scan(storage.In(space), nil, func(k storage.Key, _ []byte) bool {
			name, _, _ := storage.TakeStr(k[1:])
			if id, ok := strings.CutPrefix(name, prefix); ok && !known[id] {
				h.w.wrongf("the store has %q, and there is no such webhook", []byte(k))
			}
			return true
		})
		if err != nil {
			h.w.t.Errorf("%v: %v", h.w, err)
		}
	}
	look(storage.SpaceWebhook, "")
	look(storage.SpaceHookNext, "")
	look(storage.SpaceAccount, "hook-")
}

// checkKnocks: what was answered with 200 is there once, what was refused is not.
func (h *hatch) checkKnocks(k look) {
	at := make(map[string][]shown)
	for _, e := range k.events {
		if e.post() && strings.HasPrefix(e.From, "hook-") {
			at[e.Text] = append(at[e.Text], e)
		}
	}
	for text, n := range h.knocks {
		found := at[text]
		switch {
		case len(found) > 1 || !n.stored.may(len(found) == 1):
			h.w.wrongf("the post %q (%s) is there %d times, expected %v", n.key, text, len(found), n.stored)
		case len(found) == 1 && (found[0].From != n.by.bot || n.seq != 0 && n.seq != found[0].Seq):
			h.w.wrongf("the post %q, acknowledged as %d, is %+v", n.key, n.seq, found[0])
		default:
			if n.stored = certain(len(found) == 1); len(found) == 1 {
				n.seq = found[0].Seq
				if !n.seen {
					n.seen = true
					h.w.total.knocks++
				}
			}
		}
		delete(at, text)
	}
	for text, found := range at {
		h.w.wrongf("%q came by a webhook, and nobody sent it: %+v", text, found)
	}
}

// await waits until the outgoing webhooks have delivered everything. Those that were told to stop, and were
// switched off, are switched on again: they go on where they were.
func (h *hatch) await(r *reader, k look) {
	late := time.After(patience)
	for over := false; ; {
		var behind []*spout
		off := make(map[string]hook)
		for _, hook := range h.list(r) {
			off[hook.ID] = hook
		}
		for _, s := range h.stalls {
			o := s.spout
			if o == nil || !h.sink.behind(o, k) {
				continue
			}
			behind = append(behind, o)
			if off[o.id].Off != 0 {
				h.sink.mu.Lock()
				o.over = 0
				h.sink.mu.Unlock()
				var on struct{ ID string }
				r.call("webhook.enable", params{"id": o.id}, &on)
			}
		}
		if len(behind) == 0 {
			return
		}
		if over {
			h.w.wrongf("the webhooks %v do not deliver all: %+v", behind, off)
			return
		}
		select {
		case <-h.sink.rang:
		case <-time.After(100 * time.Millisecond): // one may have been switched off without another word
		case <-late:
			over = true
		}
	}
}
