package delivery

import (
	"slices"

	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Subscribe is one filter of a SUBSCRIBE, parsed and allowed.
type Subscribe struct {
	Sub    storage.Sub
	Filter protocol.Filter
	// From is where a subscription starts that is new to the session: 0 at the head, n at seq n, -n with
	// the last n events. Seek moves an existing one.
	From    int64
	HasFrom bool
	Seek    bool
	// Start is the first seq that the user may see in the conversation.
	Start uint64
}

// Granted is the answer to one filter.
type Granted struct {
	QoS  byte
	New  bool   // the session did not have the filter before
	mark uint64 // of the retained messages: what is set later comes as it is published
}

// Subscribe adds filters to the session. It returns after the sync: a SUBACK means stored. Only the
// connection's goroutine may call it.
func (s *Session) Subscribe(list []Subscribe) ([]Granted, error) {
	if err := s.checkShares(list); err != nil {
		return nil, err
	}
	granted := make([]Granted, len(list))
	added := make([]*subscription, len(list))
	var b storage.Batch
	b.Vital = true // who reads goes on when the disk is full
	changed := false
	s.mu.Lock()
	for i, w := range list {
		x := &subscription{filter: w.Sub.Filter, f: w.Filter, options: w.Sub.Options, id: w.Sub.ID, meta: w.Sub.Meta, qos: w.Sub.Options & 3}
		if x.f.Kind != protocol.FilterPlain {
			x.qos = min(x.qos, 1) // PROTOCOL: delivery 6
		}
		old := s.subs[x.filter]
		granted[i] = Granted{QoS: x.qos, New: old == nil}
		if old == nil || old.options != x.options || old.id != x.id || old.meta != x.meta {
			changed = true
			added[i] = x
			if s.durable && x.f.Kind == protocol.FilterPlain {
				b.Set(storage.In(storage.SpaceFilter).U64(s.SID).Str(x.filter), filterRecord(x.options, x.id, s.key.User))
			}
		}
	}
	s.mu.Unlock()
	seeks := make([]bool, len(list))
	for i, w := range list {
		seeks[i] = w.Seek || granted[i].New && w.HasFrom
		changed = changed || seeks[i]
	}
	s.activate(added, slices.Contains(seeks, true))
	mark := s.r.marks.mark()
	for i := range granted {
		granted[i].mark = mark
	}
	if err := s.begin(list, added, seeks); err != nil {
		s.r.o.Log.Error("looking up where a subscription starts failed", "user", s.key.User, "client", s.key.Client, "error", err)
		s.Kick(Broken) // it takes effect already, and is not stored: the client begins anew
		return nil, chat.Refuse(chat.Unavailable, "the server cannot read where the subscription starts; try again later")
	}
	if !changed || !s.durable {
		return granted, nil
	}
	// The position goes with the subscriptions: what came before them is not owed.
	s.storing.Lock()
	defer s.storing.Unlock()
	s.advance()
	s.mu.Lock()
	s.recordInto(&b, 0)
	s.mu.Unlock()
	s.positionInto(&b)
	if err := s.commitWithShares(&b, added); err != nil {
		s.Kick(Broken) // what is in memory is not what is stored: the client begins anew
		return nil, chat.Refuse(chat.Unavailable, "the server cannot store the subscription now; try again later")
	}
	return granted, nil
}

// begin finds where subscriptions start that have just been activated.
func (s *Session) begin(list []Subscribe, added []*subscription, seeks []bool) error {
	defer func() {
		s.mu.Lock()
		s.seeking = false
		s.mu.Unlock()
	}()
	for i, w := range list {
		if x := s.subs[w.Sub.Filter]; x.shared() {
			if added[i] != nil || w.Seek {
				if err := s.r.joinShare(s, x, &w); err != nil {
					return err
				}
			}
			continue
		}
		if seeks[i] {
			if err := s.seek(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// activate makes subscriptions take effect: from this moment on the session is offered what matches.
// seeking says that it is to be looked up next where some of them start: what is offered until then lags.
func (s *Session) activate(added []*subscription, seeking bool) {
	r := s.r
	r.mu.Lock()
	s.mu.Lock()
	s.seeking = seeking
	for _, x := range added {
		if x == nil {
			continue
		}
		s.plainEver = s.plainEver || x.f.Kind == protocol.FilterPlain && x.qos > 0
		if old := s.subs[x.filter]; old != nil {
			s.index.remove(old)
			if isLive(old.f.Kind) && s.live {
				r.views[old.f.Kind]--
			}
		}
		s.subs[x.filter] = x
		s.index.add(x)
		if isLive(x.f.Kind) && s.live {
			r.views[x.f.Kind]++
		}
	}
	s.mu.Unlock()
	r.mu.Unlock()
	for _, x := range added {
		if x != nil && x.f.Kind == protocol.FilterPlain {
			r.plain.index.Add(x.f.Filter, indexSub(s.SID, x.options, x.id, x.f.Share))
		}
	}
}

func isLive(k protocol.FilterKind) bool {
	return k != protocol.FilterEvents && k != protocol.FilterOwnEvents && k != protocol.FilterPlain
}

// seek moves a subscription to where it is to start.
func (s *Session) seek(w Subscribe) error {
	r := s.r
	convs := []string{w.Filter.Conv}
	starts := []uint64{w.Start}
	switch {
	case w.Filter.Kind == protocol.FilterOwnEvents:
		convs[0] = storage.OwnLog(s.key.User)
	case w.Filter.Kind != protocol.FilterEvents:
		return nil
	case w.Filter.All:
		convs, starts = convs[:0], starts[:0]
		err := r.visible(s.key.User, func(conv string, lowest uint64) {
			if s.allows(conv) {
				convs, starts = append(convs, conv), append(starts, lowest)
			}
		})
		if err != nil {
			return err
		}
	}
	view := byte(w.Filter.View)
	if w.Filter.Kind == protocol.FilterOwnEvents {
		view = viewOwn
	}
	for i, conv := range convs {
		head, err := r.headAt(conv, r.done())
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.readFrom(source{conv, view}, min(w.first(head, starts[i]), head+1), head)
		s.mu.Unlock()
	}
	return nil
}

// readFrom makes a source go on at next, with all up to head and what has been offered since. s.mu is held.
func (s *Session) readFrom(src source, next, head uint64) {
	old := s.lag[src]
	if old != nil {
		s.caughtUp(src)
		head = max(head, old.head)
	}
	if next > head {
		return
	}
	var stays []stay
	if old != nil {
		stays = old.staysFrom(next)
		if len(stays) == 0 {
			return
		}
		next = stays[0].from
	}
	l := s.lags(src, next, head)
	if old != nil { // whether the membership has ended, and what of it No Local leaves out
		l.to, l.then, l.own = stays[0].to, stays[1:], old.own
	}
}

// visible calls fn with the conversations that a user is in and the first seq that they may see there.
func (r *Registry) visible(user string, fn func(conv string, lowest uint64)) error {
	return r.memberships(user, func(conv string, m chat.Member) error {
		if m.Role != chat.RoleNone {
			fn(conv, m.Since)
		}
		return nil
	})
}

// first is where the subscription starts in a log that ends at head and that the user may see from
// lowest on.
func (w *Subscribe) first(head, lowest uint64) uint64 {
	next := uint64(w.From)
	if w.From < 0 {
		next = 1
		if n := uint64(-w.From); n <= head {
			next = head - n + 1
		}
	}
	return max(next, lowest, 1)
}

// ReadOn sends what a new subscription has to send: call it after SUBACK was written.
func (s *Session) ReadOn() {
	s.pump()
	s.pumpShares()
}

// Unsubscribe removes filters and returns after the sync: for each, whether the session had it.
func (s *Session) Unsubscribe(filters []string) ([]bool, error) {
	had := make([]bool, len(filters))
	r := s.r
	var b storage.Batch
	var gone []storage.Sub
	b.Vital = true
	r.mu.Lock()
	s.mu.Lock()
	for i, f := range filters {
		x := s.subs[f]
		if x == nil {
			continue
		}
		had[i] = true
		gone = append(gone, storage.Sub{Filter: f})
		delete(s.subs, f)
		s.index.remove(x)
		if isLive(x.f.Kind) && s.live {
			r.views[x.f.Kind]--
		}
		s.forgetLogs()
		if x.f.Kind == protocol.FilterPlain {
			r.plain.index.Remove(x.f.Filter, s.SID, x.f.Share)
			b.Delete(storage.In(storage.SpaceFilter).U64(s.SID).Str(f))
		}
	}
	s.mu.Unlock()
	r.mu.Unlock()
	s.storing.Lock()
	defer s.storing.Unlock()
	left, err := r.leaveShares(s.key.User, s.SID, gone, &b, func() error {
		if !s.durable {
			return nil
		}
		s.mu.Lock()
		s.recordInto(&b, 0)
		s.mu.Unlock()
		return r.o.Pipeline.Commit(&b, nil)
	})
	if err == nil && s.durable {
		err = r.o.Pipeline.Barrier()
	}
	for _, sh := range left {
		sh.pump()
	}
	if err != nil {
		return nil, chat.Refuse(chat.Unavailable, "the server cannot store the change now; try again later")
	}
	return had, nil
}

// forgetLogs gives up the positions in logs that nothing subscribes to any more. s.mu is held.
func (s *Session) forgetLogs() {
	for src := range s.lag {
		if src.view == viewPlain {
			continue
		}
		if m, ok := s.matchOf(src); !ok || m.qos == 0 {
			s.caughtUp(src)
		}
	}
}

// Retained sends the retained messages that match a new plain subscription.
func (s *Session) Retained(w Subscribe, g Granted) error {
	x := plain.Sub{QoS: w.Sub.Options & 3, RetainHandling: w.Sub.Options >> 4 & 3}
	if w.Filter.Share != "" || x.RetainHandling == 2 || x.RetainHandling == 1 && !g.New { // [MQTT-3.3.1-9..11]
		return nil
	}
	var ids []uint32
	if w.Sub.ID != 0 {
		ids = []uint32{w.Sub.ID}
	}
	if err := s.r.o.Pipeline.Barrier(); err != nil { // what Match shows must be durable
		return err
	}
	for after := ""; ; {
		var queued []retainedFor
		next, err := s.r.plain.retained.Match(w.Filter.Filter, after, 256, s.r.o.Now().UnixMilli(), func(topic string, m *plain.Message) bool {
			if s.r.marks.since(topic, g.mark) || s.c.Denied != nil && s.c.Denied(topic) { // it came by itself, or may not
				return true
			}
			if min(m.QoS, x.QoS) > 0 {
				queued = append(queued, retainedFor{m, plain.Target{SID: s.SID, QoS: x.QoS, SubIDs: ids}})
				return true
			}
			left, _ := m.Left(s.r.o.Now().UnixMilli())
			s.mu.Lock()
			s.putLive(&publish{topic: []byte(m.Topic), payload: m.Payload, props: plainProps(m), subIDs: ids, retain: true, expiry: left})
			s.mu.Unlock()
			return true
		})
		if err != nil {
			return err
		}
		if len(queued) > 0 {
			s.toPlain(plainWork{retain: queued})
		}
		s.link.out.flush()
		if next == "" {
			return nil
		}
		if !s.WaitRoom() { // a huge retained set goes out at the client's pace
			return nil
		}
		after = next
	}
}

// Subscriptions is how many filters the session has.
func (s *Session) Subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs)
}

// Hears reports whether the session subscribes to a topic of a kind of live view. name as in Live.
func (s *Session) Hears(kind protocol.FilterKind, name, topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.index.liveMatch(kind, name, topic)
	return ok && !s.gone
}

// Has reports whether the session has a filter.
func (s *Session) Has(filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs[filter] != nil
}
