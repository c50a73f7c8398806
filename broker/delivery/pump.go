package delivery

import (
	"slices"

	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Events read in one go: of one conversation among several, and when it is the only one.
const (
	turnChunk = 32
	soloChunk = 128
)

// item is one packet read from the store, ready to be put.
type item struct {
	seq, last uint64 // last: the seq that it stands for up to
	topic     []byte
	payload   []byte
	props     []byte
	ids       []uint32
	expiry    uint32
	qos       byte
	retain    bool
	dup       bool
	empty     bool // nothing to send: passed over
}

// pump sends what lags while there is room. Any goroutine may call it but the dispatcher; one runs at
// a time for a session.
func (s *Session) pump() {
	s.mu.Lock()
	if s.pumping || s.resuming || s.seeking || s.gone || !s.live || len(s.lag) == 0 {
		s.mu.Unlock()
		return
	}
	s.pumping = true
	wrote := false
	for !s.gone && !s.seeking {
		room := s.win.room()
		if room <= 0 || (s.win.n > 0 && room < s.win.max/2) {
			break // the next acknowledgements bring us back
		}
		src, l, ok := s.turn()
		if !ok {
			break
		}
		chunk := soloChunk
		if len(s.lag) > 1 {
			chunk = turnChunk
		}
		if src.view == viewPlain {
			if !s.pumpPlain(l, min(room, chunk)) {
				break
			}
			wrote = true
			continue
		}
		if s.pumpLog(src, l, min(room, chunk)) {
			wrote = true
		}
	}
	s.pumping = false
	s.rested()
	out := s.link.out
	s.mu.Unlock()
	if wrote {
		out.flush()
	}
}

// pumpLog reads on in a log. s.mu is held, and released while the store is read.
func (s *Session) pumpLog(src source, l *lagging, room int) (wrote bool) {
	if l.next < l.from { // what is left out stands as a stub
		m, _ := s.matchOf(src)
		it := s.stubItem(src, l.next, l.from-1, m.ids)
		l.next = l.from
		if !it.empty {
			s.putItem(src, it)
		}
		return !it.empty
	}
	m, ok := s.matchOf(src)
	if !ok || m.qos == 0 || l.to != 0 && l.next > l.to && !l.nextStay() {
		s.caughtUp(src)
		return false
	}
	next, to, dup := l.next, l.to, l.dup
	s.mu.Unlock()
	limit := s.r.done()
	items, more, err := s.readLog(src, next, to, limit, dup, m, room)
	s.mu.Lock()
	if s.gone || s.lag[src] != l || l.next != next {
		return false
	}
	if err != nil {
		s.r.o.Log.Error("reading a log for delivery failed", "log", src.log, "user", s.key.User, "error", err)
		s.gone = true
		s.Kick(Broken) // it comes back and reads again: nothing is passed over
		return false
	}
	for i := range items {
		if l.leavesOut(items[i].seq) {
			items[i].empty = true
		}
		if !items[i].empty {
			s.putItem(src, items[i])
			wrote = true
		}
		l.next = items[i].last + 1
	}
	if more {
		return wrote
	}
	// Everything that is durable and dispatched was read. An event that was offered meanwhile is
	// being dispatched just now: wait for that, and read again.
	if l.waited && len(items) == 0 { // it was dispatched and is not there: the log was shortened from below
		l.next = max(l.next, l.head+1, l.to+1)
	}
	l.waited = false
	if l.to != 0 && l.next > l.to {
		if !l.nextStay() {
			s.caughtUp(src)
		}
		return wrote
	}
	if l.next > l.head {
		s.caughtUp(src)
		return wrote
	}
	l.waited = len(items) == 0
	s.mu.Unlock()
	s.r.barrier()
	s.mu.Lock()
	return wrote
}

// matchOf returns what a source's events are sent with.
func (s *Session) matchOf(src source) (match, bool) {
	if src.view == viewOwn {
		if s.index.own == nil {
			return match{}, false
		}
		return match{qos: s.index.own.qos, ids: s.index.own.ids()}, true
	}
	return s.index.match(src.log, protocol.View(src.view))
}

func (s *Session) putItem(src source, it item) {
	p := publish{topic: it.topic, payload: it.payload, props: it.props, subIDs: it.ids, dup: it.dup,
		retain: it.retain, expiry: it.expiry}
	s.put(&p, src, it.seq, it.qos)
}

// stubItem stands for events that the member does not get. In the text view nothing is sent.
func (s *Session) stubItem(src source, from, to uint64, ids []uint32) item {
	e := encoding{log: src.log}
	topic, payload, ok := e.stub(src.view, s.key.User, from, to, chat.KindGone)
	return item{seq: from, last: to, topic: topic, payload: payload, ids: ids, qos: 1, empty: !ok}
}

// scanMax bounds how many events one read passes over without sending any.
const scanMax = 1024

// readLog reads up to max events after next that are durable. more says that it stopped before the
// end. It is called without locks.
func (s *Session) readLog(src source, next, to, limit, dup uint64, m match, most int) (items []item, more bool, err error) {
	last := uint64(1<<63 - 1)
	if to != 0 {
		last = to
	}
	now := s.r.o.Now().UnixMilli()
	var bad error
	bytes, scanned := 0, 0
	items = make([]item, 0, most)
	err = s.r.o.Store.Read(src.log, next, last, func(e storage.Entry) bool {
		if e.Commit > limit {
			return false
		}
		if scanned++; len(items) >= most || bytes >= windowBytes || scanned > scanMax {
			more = true
			return false
		}
		if e.Seq > next { // the log was shortened from below
			if it := s.stubItem(src, next, e.Seq-1, m.ids); !it.empty {
				items = append(items, it)
			}
		}
		next = e.Seq + 1
		var it item
		if it, bad = s.eventItem(src, e, m, now); bad != nil {
			return false
		}
		it.dup = e.Commit <= dup
		if it.empty && len(items) > 0 && items[len(items)-1].empty {
			items[len(items)-1].last = it.last // nothing to send in a row counts once
			return true
		}
		items = append(items, it)
		bytes += len(it.payload)
		return true
	})
	if err == nil {
		err = bad
	}
	return items, more, err
}

// eventItem encodes one entry for the session.
func (s *Session) eventItem(src source, e storage.Entry, m match, now int64) (item, error) {
	ev, err := protocol.DecodeStored(e.Data)
	if err != nil {
		return item{}, err
	}
	ev.Seq = e.Seq
	it := item{seq: e.Seq, last: e.Seq, qos: 1, ids: m.ids}
	enc := encoding{log: src.log, ev: &ev}
	var ok bool
	if gone(&ev, now) {
		it.topic, it.payload, ok = enc.stub(src.view, s.key.User, e.Seq, e.Seq, chat.KindGone)
	} else {
		it.topic, it.payload, ok = enc.in(src.view, s.key.User)
		it.props = m.props(s, src.view, &ev)
	}
	it.empty = !ok
	return it, nil
}

// gone reports whether an event has disappeared by now.
func gone(ev *chat.Event, now int64) bool {
	return ev.Kind == chat.KindGone || ev.Expired(now)
}

// pumpPlain reads on in the queue of plain messages. s.mu is held, and released meanwhile. It returns
// false when the pump must stop for now.
func (s *Session) pumpPlain(l *lagging, room int) bool {
	src, next := source{"", viewPlain}, l.next
	s.mu.Unlock()
	limit, dup := s.r.plain.doneNumber(), l.dup
	items, more, err := s.readPlain(next, limit, dup, room)
	s.mu.Lock()
	if s.gone || s.lag[src] != l || l.next != next {
		return false
	}
	if err != nil {
		s.r.o.Log.Error("reading the queue failed", "user", s.key.User, "client", s.key.Client, "error", err)
		s.gone = true
		s.Kick(Broken)
		return false
	}
	var reserve []reservation
	var expired []uint64
	for i := range items {
		it := &items[i]
		switch {
		case slices.Contains(l.skip, it.seq): // is in the window already
		case it.empty:
			expired = append(expired, it.seq)
		case it.qos == 2 && s.durable: // its packet id goes to the disk first
			a := s.win.alloc
			s.win.add(src, it.seq, len(it.topic)+len(it.payload)+len(it.props), 2)
			reserve = append(reserve, reservation{a, *it})
		default:
			s.putItem(src, *it)
		}
		l.next = it.last + 1
	}
	if len(reserve)+len(expired) > 0 { // never wait for the owner with the lock held
		s.mu.Unlock()
		if len(reserve) > 0 {
			s.toPlain(plainWork{reserve: reserve})
		}
		if len(expired) > 0 {
			s.toPlain(plainWork{release: expired})
		}
		s.mu.Lock()
		if s.gone || s.lag[src] != l {
			return false
		}
	}
	if !more && l.next > l.head {
		s.caughtUp(src)
	} else if !more {
		s.mu.Unlock()
		s.r.barrier()
		s.mu.Lock()
	}
	return true
}

func (s *Session) readPlain(next, limit, dup uint64, most int) (items []item, more bool, err error) {
	now := s.r.o.Now().UnixMilli()
	bytes := 0
	err = plain.ReadQueue(s.r.o.Store, s.SID, next-1, limit, func(n uint64, ref plain.Ref, m *plain.Message) bool {
		if len(items) >= most || bytes >= windowBytes {
			more = true
			return false
		}
		it := plainItem(n, ref, m, now)
		it.dup = it.qos == 1 && n <= dup // at QoS 2 what was sent is in the window
		p := publish{topic: it.topic, payload: it.payload, props: it.props, subIDs: it.ids, expiry: it.expiry, qos: it.qos}
		it.empty = it.empty || s.c.Denied != nil && s.c.Denied(m.Topic) || !s.fits(&p)
		items = append(items, it)
		bytes += len(it.payload)
		return true
	})
	return items, more, err
}

// plainItem turns a queued message into a packet.
func plainItem(n uint64, ref plain.Ref, m *plain.Message, now int64) item {
	it := item{seq: n, last: n, topic: []byte(m.Topic), payload: m.Payload, props: plainProps(m),
		ids: ref.SubIDs, qos: min(ref.QoS, m.QoS), retain: ref.Retain}
	it.expiry, _ = m.Left(now)
	it.empty = m.Expired(now) // [MQTT-3.3.2-5]
	return it
}
