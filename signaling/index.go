package signaling

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling/call"
)

// live is a call that lives, or ended lately.
type live struct {
	id, conv string
	mu       sync.Mutex                 // held while something is decided and committed; order: Service.gates, live.mu, then leaves
	state    atomic.Pointer[call.State] // as decided; changed with mu held
	durable  atomic.Pointer[call.State] // as on disk and told
	boxes    map[string]box             // with mu held: signals that are kept, by party
	again    []call.Command             // with mu held: what happened while the store took nothing

	late int64 // with mu held: ms when a crowd is told how the call stands; 0: it has been

	due int64 // of timers: ms; 0: none
	pos int   // of timers: place in the heap, from 1 on; 0: none
}

// box says which signals are kept for a party: from first to last. None are if first is behind last.
type box struct{ first, last uint64 }

// spent is the key of a start whose call is over for the user: when it comes again it comes late.
type spent struct {
	user, key string
	at        int64 // ms
}

// maxSpent bounds what is remembered of one conversation.
const maxSpent = 256

// maxKept is how many signals are kept for a party.
const maxKept = 64

func newLive(st *call.State) *live {
	l := &live{id: st.ID, conv: st.Conv, boxes: make(map[string]box)}
	l.state.Store(st)
	l.durable.Store(st)
	for i := range st.Parties {
		p := &st.Parties[i]
		l.boxes[p.ID] = box{first: p.Seq + 1, last: p.Seq}
	}
	return l
}

// found notes a signal that the store has; they come in ascending order.
func (l *live) found(party string, seq uint64) {
	b, ok := l.boxes[party]
	if !ok || b.first > b.last {
		b.first = seq
	}
	b.last = max(b.last, seq)
	l.boxes[party] = b
}

// index finds calls without looking at others.
type index struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu    sync.Mutex // a leaf
	calls map[string]*live
	convs map[string]*live   // the one that lives
	spent map[string][]spent // by conversation, the oldest first
	users map[string][]place // calls that concern a user
}

// place is a user's place in a call.
type place struct {
	l      *live
	party  bool   // else the user is called
	device string // of the party
}

func (x *index) open(seed maphash.Seed) {
	x.seed = seed
	for i := range x.shards {
		h := &x.shards[i]
		h.calls, h.convs, h.spent, h.users = make(map[string]*live), make(map[string]*live), make(map[string][]spent), make(map[string][]place)
	}
}

func (x *index) slot(key string) int { return int(maphash.String(x.seed, key) % uint64(len(x.shards))) }

func (x *index) lock(key string) *shard {
	h := &x.shards[x.slot(key)]
	h.mu.Lock()
	return h
}

// call returns a call that lives, or ended lately; nil if there is none.
func (x *index) call(id string) *live {
	h := x.lock(id)
	defer h.mu.Unlock()
	return h.calls[id]
}

// conv returns the call that lives in a conversation; nil if there is none.
func (x *index) conv(conv string) *live {
	h := x.lock(conv)
	defer h.mu.Unlock()
	return h.convs[conv]
}

// spend notes that the call that a start began or entered is over for the user.
func (x *index) spend(conv string, s spent) {
	h := x.lock(conv)
	defer h.mu.Unlock()
	all := append(h.spent[conv], s)
	h.spent[conv] = slices.Delete(all, 0, max(0, len(all)-maxSpent))
}

// isSpent reports whether a start comes late.
func (x *index) isSpent(conv, user, key string, now int64) bool {
	h := x.lock(conv)
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.spent[conv], func(s spent) bool { return s.user == user && s.key == key && s.at+remember > now })
}

// add makes a call findable; false if its id is taken.
func (x *index) add(l *live) bool {
	h := x.lock(l.id)
	_, taken := h.calls[l.id]
	if !taken {
		h.calls[l.id] = l
	}
	h.mu.Unlock()
	if taken {
		return false
	}
	if l.state.Load().Phase != call.Ended {
		h = x.lock(l.conv)
		h.convs[l.conv] = l
		h.mu.Unlock()
	}
	return true
}

// end makes room for the next call of the conversation. The call itself is found until it is forgotten.
func (x *index) end(l *live) {
	h := x.lock(l.conv)
	defer h.mu.Unlock()
	if h.convs[l.conv] == l {
		delete(h.convs, l.conv)
	}
}

// forget takes a call out of memory, and with it what was spent in its conversation up to a time in ms.
func (x *index) forget(l *live, upTo int64) {
	h := x.lock(l.id)
	delete(h.calls, l.id)
	h.mu.Unlock()
	h = x.lock(l.conv)
	defer h.mu.Unlock()
	if h.convs[l.conv] == l {
		delete(h.convs, l.conv)
	}
	left := slices.DeleteFunc(h.spent[l.conv], func(s spent) bool { return s.at <= upTo })
	if len(left) > 0 {
		h.spent[l.conv] = left
	} else {
		delete(h.spent, l.conv)
	}
}

// of returns the calls that concern a user.
func (x *index) of(user string) []place {
	h := x.lock(user)
	defer h.mu.Unlock()
	return slices.Clone(h.users[user])
}

// reserve gives a user a party's place in a call, if the limits let them. settle takes it back or confirms it.
func (x *index) reserve(user, device string, l *live, perUser int, starts bool) error {
	h := x.lock(user)
	defer h.mu.Unlock()
	n := 0
	for _, p := range h.users[user] {
		if p.l == l || !p.party {
			continue
		}
		n++
		if st := p.l.state.Load(); starts && p.device == device && st.From == user && (st.Phase == 0 || st.Early()) {
			return chat.Refuse(chat.Conflict, "this device is calling already: cancel that call first")
		}
	}
	if n >= perUser {
		return chat.Refuse(chat.RateLimited, "you take part in %d calls: hang up one of them first", n)
	}
	h.put(user, place{l, true, device})
	return nil
}

// ring gives a user the place of somebody who is called. waiting: there is another call; busy: and one that waits already,
// so no place was given.
func (x *index) ring(user string, l *live) (waiting, busy bool) {
	h := x.lock(user)
	defer h.mu.Unlock()
	in, rung := 0, 0
	for _, p := range h.users[user] {
		switch {
		case p.l == l:
			return false, false // there already
		case p.party:
			in++
		default:
			if r := p.l.state.Load().RingOf(user); r == nil || !r.Silent { // what they do not hear keeps nobody else out
				rung++
			}
		}
	}
	if rung > 1 || rung == 1 && in > 0 {
		return false, true
	}
	h.put(user, place{l: l})
	return in+rung > 0, false
}

func (h *shard) put(user string, p place) {
	all := h.users[user]
	if i := slices.IndexFunc(all, func(o place) bool { return o.l == p.l }); i >= 0 {
		all[i] = p
		return
	}
	h.users[user] = append(all, p)
}

// place makes a user's place in a call what the state says.
func (x *index) place(user string, l *live, st *call.State) {
	h := x.lock(user)
	defer h.mu.Unlock()
	if p := st.PartyOf(user); p != nil {
		h.put(user, place{l, true, p.Device})
		return
	}
	if st.RingOf(user) != nil {
		h.put(user, place{l: l})
		return
	}
	if all := slices.DeleteFunc(h.users[user], func(p place) bool { return p.l == l }); len(all) > 0 {
		h.users[user] = all
	} else {
		delete(h.users, user)
	}
}

// settle makes the places of all whom a change may concern what the next state says; also are further users.
func (x *index) settle(l *live, prev, next *call.State, also ...string) {
	if len(also) == 0 && samePlaces(prev, next) {
		return
	}
	seen := make(map[string]bool, len(prev.Parties)+len(prev.Rings)+2)
	for _, u := range also {
		seen[u] = true
	}
	for _, st := range []*call.State{prev, next} {
		for i := range st.Parties {
			seen[st.Parties[i].User] = true
		}
		for i := range st.Rings {
			seen[st.Rings[i].User] = true
		}
	}
	for u := range seen {
		x.place(u, l, next)
	}
}

func samePlaces(a, b *call.State) bool {
	return slices.EqualFunc(a.Parties, b.Parties, func(p, q call.Party) bool { return p.User == q.User && p.Device == q.Device }) &&
		slices.EqualFunc(a.Rings, b.Rings, func(p, q call.Ring) bool { return p.User == q.User })
}
