package delivery

import (
	"slices"
	"sync"

	"github.com/petrelchat/petrel/protocol"
)

// viewShared is the view of the packets that a session got as member of its first shared subscription;
// the second's have the next, and so on. An acknowledgement finds the share by it.
const viewShared byte = 128

// sharesMax is how many shared subscriptions to conversations one session may have.
const sharesMax = 256 - int(viewShared)

// shareKey names a shared subscription. The filter is the whole one, with $share/{name}/.
type shareKey struct{ user, filter string }

// share is a shared subscription to conversations (PROTOCOL: delivery 11). It belongs to sessions of one
// user. Each event goes to one of those that are online, and as long as a conversation has packets on
// their way to one of them, what follows goes there too. While none has room or none is online, the logs
// are the queue.
//
// Locks are taken in the order Registry.mu, share.mu, Session.mu, outbox. None is held while the store
// is read.
type share struct {
	r   *Registry
	key shareKey
	f   protocol.Filter

	mu     sync.Mutex
	subs   map[uint64]sharer // every session that has the subscription, by SID, also those that are away
	strong int               // how many of them have it at QoS 1: 0 means that nothing is kept for the share
	stored int               // how many of them are durable: 0 means that nothing of the share is on disk

	members []*member // those online
	serving int       // how many of them have it at QoS 1
	turn    int

	resuming bool   // where it goes on is being looked up: nothing may be sent yet
	epoch    uint64 // counts the look-ups, so that one that was overtaken changes nothing
	failed   bool   // a look-up failed: the next to join repeats it
	pumping  bool
	touched  bool // the record on disk is behind

	commit uint64 // everything up to here was offered, or is named in lag
	dup    uint64 // events of commits up to this one may have been sent before a crash
	flows  map[string]*flow
	lag    map[string]*owed
	order  [2][]string // conversations that lag, in turns: direct ones, then groups
}

// sharer is a session that has the subscription, online or not.
type sharer struct{ qos, durable bool }

// member is a session that is online and has the subscription.
type member struct {
	s      *Session
	sub    *subscription
	view   byte // of its packets in the session's window
	room   int  // scratch: how much it takes in this round of the pump
	failed bool // it is being disconnected
}

func (m *member) match() match {
	return match{qos: m.sub.qos, meta: m.sub.meta, ids: m.sub.ids()}
}

func (s *subscription) shared() bool { return s.f.Share != "" && s.f.Kind == protocol.FilterEvents }

// shareTable is what the registry knows of shared subscriptions to conversations.
type shareTable struct {
	all    map[shareKey]*share // under Registry.mu
	online map[string][]*share // by user: those with a member online; under Registry.mu, nil if there are none

	// write orders the records of shares on their way to the store. It is taken before every other lock
	// and held while a batch is handed over; the dispatcher never takes it.
	write sync.Mutex
	dirty map[*share]struct{} // under Registry.dirtyMu

	pumps sync.WaitGroup // those that acknowledgements started
}

// joinShare makes a session a member of a share that x subscribes to. w is nil when the session comes
// back with its subscription. Nothing is sent by it: pump follows. Only the goroutine of the session's
// connection calls it.
func (r *Registry) joinShare(s *Session, x *subscription, w *Subscribe) error {
	key := shareKey{s.key.User, x.filter}
	r.mu.Lock()
	sh := r.shares.all[key]
	if sh == nil {
		sh = &share{r: r, key: key, f: x.f, subs: make(map[uint64]sharer)}
		r.shares.all[key] = sh
	}
	sh.mu.Lock()
	fresh, served := sh.strong == 0, sh.serving > 0
	sh.admit(s, x)
	if x.qos == 0 {
		sh.mu.Unlock()
		r.mu.Unlock()
		return nil
	}
	upTo := r.dispatched
	if fresh { // what came before the first of them is not owed
		sh.reset()
		sh.dup, sh.commit = 0, upTo
	} else if served && !sh.resuming {
		sh.commit = upTo
	}
	seek := w != nil && w.HasFrom && (w.Seek || fresh)
	if !seek && served && !sh.failed {
		sh.mu.Unlock()
		r.mu.Unlock()
		return nil
	}
	sh.epoch++
	sh.resuming, sh.failed = true, false
	epoch, since := sh.epoch, sh.commit
	sh.mu.Unlock()
	r.mu.Unlock()

	err := sh.missed(epoch, since, upTo)
	if err == nil && seek {
		err = sh.seek(epoch, w, s, upTo)
	}
	sh.resumed(epoch, upTo, err)
	return err
}

// admit adds a session. r.mu and sh.mu are held.
func (sh *share) admit(s *Session, x *subscription) {
	sh.subs[s.SID] = sharer{qos: x.qos > 0, durable: s.durable}
	sh.count()
	if i := sh.index(s); i >= 0 {
		if m := sh.members[i]; m.sub.qos == x.qos {
			m.sub = x
			return
		}
		sh.part(s)
	}
	if sh.strong == 0 {
		sh.reset()
	}
	m := &member{s: s, sub: x}
	s.mu.Lock()
	i := slices.Index(s.shares, nil)
	if i < 0 {
		i = len(s.shares)
		s.shares = append(s.shares, nil)
	}
	s.shares[i] = sh
	m.view = viewShared + byte(i)
	s.mu.Unlock()
	if len(sh.members) == 0 {
		t := &sh.r.shares
		if t.online == nil {
			t.online = make(map[string][]*share)
		}
		t.online[sh.key.user] = append(t.online[sh.key.user], sh)
	}
	sh.members = append(sh.members, m)
	if x.qos > 0 {
		sh.serving++
	}
	sh.touch()
}

// part takes a session out of those online: what is on its way to it goes back to the share. r.mu and
// sh.mu are held.
func (sh *share) part(s *Session) {
	i := sh.index(s)
	if i < 0 {
		return
	}
	m := sh.members[i]
	sh.members = slices.Delete(sh.members, i, i+1)
	s.mu.Lock()
	s.shares[m.view-viewShared] = nil
	s.mu.Unlock()
	for conv, f := range sh.flows {
		if f.m == m {
			delete(sh.flows, conv)
			f.back(func(sp span) { sh.owe(conv, sp) })
		}
	}
	if m.sub.qos > 0 {
		if sh.serving--; sh.serving == 0 {
			if !sh.resuming {
				sh.commit = sh.r.dispatched
			}
			sh.resuming, sh.failed = false, false
			sh.epoch++
		}
	}
	sh.touch()
	if len(sh.members) > 0 {
		return
	}
	t := &sh.r.shares
	rest := slices.DeleteFunc(t.online[sh.key.user], func(x *share) bool { return x == sh })
	if len(rest) > 0 {
		t.online[sh.key.user] = rest
		return
	}
	if delete(t.online, sh.key.user); len(t.online) == 0 {
		t.online = nil
	}
}

// forget removes a session from those that have the subscription. sh.mu is held.
func (sh *share) forget(sid uint64) {
	delete(sh.subs, sid)
	sh.count()
	if sh.strong == 0 {
		sh.reset()
	}
}

func (sh *share) count() {
	sh.strong, sh.stored = 0, 0
	for _, x := range sh.subs {
		if x.qos {
			sh.strong++
		}
		if x.durable {
			sh.stored++
		}
	}
}

// reset gives up everything that is owed. sh.mu is held.
func (sh *share) reset() {
	sh.flows, sh.lag, sh.order = nil, nil, [2][]string{}
}

// index finds a session among those online, -1 if it is not there. sh.mu is held.
func (sh *share) index(s *Session) int {
	return slices.IndexFunc(sh.members, func(m *member) bool { return m.s == s })
}

// touch marks the record as changed. sh.mu is held.
func (sh *share) touch() {
	if sh.touched {
		return
	}
	sh.touched = true
	sh.r.dirtyMu.Lock()
	sh.r.shares.dirty[sh] = struct{}{}
	sh.r.dirtyMu.Unlock()
}

// owe notes that events of a conversation are to be read from its log. sh.mu is held.
func (sh *share) owe(conv string, sp span) {
	l := sh.lag[conv]
	if l == nil {
		if sh.lag == nil {
			sh.lag = make(map[string]*owed)
		}
		l = new(owed)
		sh.lag[conv] = l
		sh.queue(conv)
	}
	l.add(sp)
	sh.touch()
}

func (sh *share) queue(conv string) {
	c := 1
	if isDirect(conv) {
		c = 0
	}
	sh.order[c] = append(sh.order[c], conv)
}

// settled forgets that a conversation lags. sh.mu is held.
func (sh *share) settled(conv string) {
	delete(sh.lag, conv)
	for c := range sh.order {
		if i := slices.Index(sh.order[c], conv); i >= 0 {
			sh.order[c] = slices.Delete(sh.order[c], i, i+1)
		}
	}
	sh.touch()
}
