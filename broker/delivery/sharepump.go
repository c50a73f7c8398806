package delivery

import (
	"slices"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// offerShares offers an event to the shared subscriptions of all who may see it. r.mu is held, and the
// caller is the dispatcher.
func (r *Registry) offerShares(d *hub.Delivery, enc *encoding) {
	if d.Log[0] == '@' {
		return
	}
	for _, u := range d.Members {
		r.offerShared(u, d, enc)
	}
	if d.Former != "" {
		r.offerShared(d.Former, d, enc)
	}
}

func (r *Registry) offerShared(user string, d *hub.Delivery, enc *encoding) {
	for _, sh := range r.shares.online[user] {
		if out := sh.offer(d, enc); out != nil {
			r.flushes = append(r.flushes, out)
		}
	}
}

// offer gives an event that has just become durable to one member, or notes that it is owed. It returns
// what is to be flushed, nil if nothing was sent.
func (sh *share) offer(d *hub.Delivery, enc *encoding) *outbox {
	if !sh.f.All && sh.f.Conv != d.Log {
		return nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.strong > 0 && sh.serving == 0 {
		return nil // the log is the queue
	}
	topic, payload, shown := enc.in(byte(sh.f.View), sh.key.user)
	if sh.strong == 0 {
		if shown {
			return sh.offerLive(d, topic, payload)
		}
		return nil
	}
	seq := d.Event.Seq
	if d.Begins == sh.key.user {
		sh.owe(d.Log, span{first: 1, last: seq})
		return nil
	}
	if sh.resuming || sh.lag[d.Log] != nil {
		sh.owe(d.Log, span{first: seq, last: seq})
		return nil
	}
	if !shown {
		return nil
	}
	if f := sh.flows[d.Log]; f != nil {
		if out, ok := sh.offerTo(f.m, d, topic, payload); ok {
			return out
		}
	} else {
		for i := range sh.members {
			at := (sh.turn + i) % len(sh.members)
			if out, ok := sh.offerTo(sh.members[at], d, topic, payload); ok {
				sh.turn = at + 1
				return out
			}
		}
	}
	sh.owe(d.Log, span{first: seq, last: seq})
	return nil
}

// offerTo sends an event to a member that has room. sh.mu is held.
func (sh *share) offerTo(m *member, d *hub.Delivery, topic, payload []byte) (out *outbox, ok bool) {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !m.takes(d.Log) || m.sub.qos == 0 || s.win.room() <= 0 {
		return nil, false
	}
	mt := m.match()
	it := item{seq: d.Event.Seq, last: d.Event.Seq, topic: topic, payload: payload, ids: mt.ids,
		props: mt.props(s, byte(sh.f.View), d.Event)}
	if sh.give(m, d.Log, &it) {
		out = s.link.out
	}
	return out, true
}

// offerLive gives an event to one member when all have the subscription at QoS 0. sh.mu is held.
func (sh *share) offerLive(d *hub.Delivery, topic, payload []byte) *outbox {
	for i := range sh.members {
		at := (sh.turn + i) % len(sh.members)
		m := sh.members[at]
		s := m.s
		s.mu.Lock()
		if !m.takes(d.Log) || s.link.out.pending() > liveMax {
			s.mu.Unlock()
			continue
		}
		mt, view := m.match(), byte(sh.f.View)
		p := publish{topic: topic, payload: payload, subIDs: mt.ids, props: mt.props(s, view, d.Event)}
		sent := s.put(&p, source{d.Log, view}, d.Event.Seq, 0)
		s.mu.Unlock()
		sh.turn = at + 1
		if !sent {
			return nil
		}
		return s.link.out
	}
	return nil
}

// takes reports whether a member can be given an event of a conversation. sh.mu and m.s.mu are held.
func (m *member) takes(conv string) bool {
	s := m.s
	return !m.failed && s.live && !s.gone && !s.resuming && s.allows(conv)
}

// give sends a packet to a member at QoS 1. What the client cannot take is left out, and counts as
// settled: give returns false. sh.mu and m.s.mu are held.
func (sh *share) give(m *member, conv string, it *item) bool {
	s := m.s
	p := publish{topic: it.topic, payload: it.payload, props: it.props, subIDs: it.ids, dup: it.dup, qos: 1}
	if (s.link.max > 0 || s.link.textMax > 0) && !s.fit(&p, source{conv, byte(sh.f.View)}, it.seq) {
		return false
	}
	s.r.Sent.Add(1)
	p.pid = s.win.add(source{conv, m.view}, it.seq, publishSize(&p), 1)
	s.touch()
	s.link.out.append(func(b []byte) []byte { return s.link.encode(b, &p) })
	f := sh.flows[conv]
	if f == nil {
		if sh.flows == nil {
			sh.flows = make(map[string]*flow)
		}
		f = &flow{m: m}
		sh.flows[conv] = f
	}
	f.sent = append(f.sent, flying{alloc: s.win.alloc - 1, first: it.seq, last: it.last})
	sh.touch()
	return true
}

// acked takes a member's acknowledgement. One for a packet that went back to the share meanwhile
// changes nothing.
func (sh *share) acked(s *Session, conv string, alloc uint64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f := sh.flows[conv]
	if f == nil || f.m.s != s {
		return
	}
	found, done := f.ack(alloc)
	if done {
		delete(sh.flows, conv)
	}
	if found {
		sh.touch()
	}
}

// pump sends what the share owes to members that have room. Any goroutine may call it but the
// dispatcher; one runs at a time for a share.
func (sh *share) pump() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.pumping || len(sh.lag) == 0 {
		return
	}
	sh.pumping = true
	defer func() { sh.pumping = false }()
	for !sh.resuming {
		conv, m := sh.assign()
		if m == nil {
			return // the next acknowledgement, or the next to join, brings us back
		}
		sh.pumpConv(conv, m)
	}
}

// assign takes a conversation that lags out of the queue, and says which member gets what follows in
// it. m is nil when nothing can be sent. sh.mu is held.
func (sh *share) assign() (conv string, m *member) {
	open := false
	for _, x := range sh.members {
		x.s.mu.Lock()
		x.room = x.s.win.room()
		if x.sub.qos == 0 || x.s.win.n > 0 && x.room < x.s.win.max/2 {
			x.room = 0 // a few at a time are not worth a read
		}
		x.s.mu.Unlock()
		open = open || x.room > 0
	}
	if !open {
		return "", nil
	}
	for c, q := range sh.order {
		for i, conv := range q {
			if m := sh.memberFor(conv); m != nil {
				sh.order[c] = slices.Delete(q, i, i+1)
				return conv, m
			}
		}
	}
	return "", nil
}

// memberFor chooses a member with room for a conversation. sh.mu is held.
func (sh *share) memberFor(conv string) *member {
	ready := func(m *member) bool {
		if m.room <= 0 {
			return false
		}
		m.s.mu.Lock()
		defer m.s.mu.Unlock()
		return m.takes(conv)
	}
	if f := sh.flows[conv]; f != nil {
		if ready(f.m) {
			return f.m
		}
		return nil
	}
	for i := range sh.members {
		at := (sh.turn + i) % len(sh.members)
		if m := sh.members[at]; ready(m) {
			sh.turn = at + 1
			return m
		}
	}
	return nil
}

// pumpConv reads on in a conversation for a member. sh.mu is held, and released while the store is read.
func (sh *share) pumpConv(conv string, m *member) {
	l := sh.lag[conv]
	sp, mt, dup := l.spans[0], m.match(), sh.dup
	most := min(m.room, turnChunk)
	if len(sh.lag) == 1 {
		most = min(m.room, soloChunk)
	}
	sh.mu.Unlock()
	items, err := sh.read(conv, sp, m.s, mt, dup, most)
	sh.mu.Lock()
	if sh.lag[conv] != l {
		return // given up meanwhile
	}
	switch f := sh.flows[conv]; {
	case l.spans[0].first != sp.first, sh.resuming, sh.index(m.s) < 0, f != nil && f.m != m:
		// what was read is not what is to be sent now
	case err != nil:
		sh.r.o.Log.Error("reading a log for delivery failed", "log", conv, "user", sh.key.user, "error", err)
		m.failed = true
		m.s.Kick(Broken) // it comes back and reads again: nothing is passed over
	default:
		if sh.giveAll(m, conv, l, items) {
			m.s.link.out.flush()
		}
	}
	if len(l.spans) > 0 {
		sh.queue(conv)
	} else {
		delete(sh.lag, conv)
	}
	sh.touch()
}

// giveAll sends what was read as far as the member has room. sh.mu is held.
func (sh *share) giveAll(m *member, conv string, l *owed, items []item) (wrote bool) {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !m.takes(conv) {
		return false
	}
	for i := range items {
		it := &items[i]
		if !it.empty {
			if s.win.room() <= 0 {
				return wrote
			}
			if sh.give(m, conv, it) {
				wrote = true
			}
		}
		l.advance(it.last)
	}
	return wrote
}

// read reads up to most packets of a span, as s gets them. What is no more in the log stands as a stub.
// It is called without locks.
func (sh *share) read(conv string, sp span, s *Session, mt match, dup uint64, most int) (items []item, err error) {
	src := source{conv, byte(sh.f.View)}
	now := sh.r.o.Now().UnixMilli()
	next, bytes, packets, scanned, more := sp.first, 0, 0, 0, false
	stub := func(to uint64) {
		e := encoding{log: conv}
		topic, payload, ok := e.stub(src.view, sh.key.user, next, to, chat.KindGone)
		items = append(items, item{seq: next, last: to, topic: topic, payload: payload, ids: mt.ids,
			dup: next <= sp.sent, empty: !ok})
		packets++
	}
	var bad error
	err = sh.r.o.Store.Read(conv, sp.first, sp.last, func(e storage.Entry) bool {
		if scanned++; packets >= most || bytes >= windowBytes || scanned > scanMax {
			more = true
			return false
		}
		if e.Seq > next { // the log was shortened from below
			stub(e.Seq - 1)
		}
		next = e.Seq + 1
		var it item
		if it, bad = s.eventItem(src, e, mt, now); bad != nil {
			return false
		}
		it.dup = e.Commit <= dup || e.Seq <= sp.sent
		if !it.empty {
			packets++
			bytes += len(it.payload)
		}
		items = append(items, it)
		return true
	})
	if err == nil {
		err = bad
	}
	if err == nil && !more && next <= sp.last {
		stub(sp.last)
	}
	return items, err
}
