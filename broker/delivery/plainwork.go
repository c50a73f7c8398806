package delivery

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/storage"
)

// Publish hands a message at QoS ≥ 1, or one to be retained, to the owner of the plain queues. It
// blocks while the owner has as much as it can take.
func (r *Registry) Publish(p *PlainPublish) {
	if !r.plain.give(plainWork{publish: p}) {
		p.Done(errNotStored())
	}
}

// Retain makes a message the retained one of its topic, without delivering it: for QoS 0, which is
// delivered at once.
func (r *Registry) Retain(m *plain.Message, done func(error)) {
	r.Publish(&PlainPublish{Message: m, Done: done, retainOnly: true})
}

// publish finds who gets a message, stores it for them, and offers it after the sync.
func (p *plainOwner) publish(w *PlainPublish) {
	m := w.Message
	if m.Retain && !w.retainOnly {
		p.r.marks.set(m.Topic)
	}
	if m.Retain {
		if err := p.retained.Set(p.batch, m); err != nil {
			w.Done(err)
			return
		}
	}
	if !w.retainOnly {
		p.index.Match(m.Topic, m.From, &p.matches)
		p.turns++
		again := p.matches.PickShared(p.r.connected, p.turns)
		err := p.fanOut(m, p.matches.Targets)
		for _, t := range again {
			err = errors.Join(err, p.fanOut(m, []plain.Target{t}))
		}
		if err != nil { // not for everybody: the publisher has to try again
			p.r.o.Log.Error("queueing a plain message failed", "topic", m.Topic, "error", err)
			w.Done(errNotStored())
			return
		}
	}
	p.journal.Add(w.Mark)
	p.batch.Ops = append(p.batch.Ops, w.With.Ops...)
	p.undone = append(p.undone, w.Done)
	p.comps = append(p.comps, func() { w.Done(nil) })
}

// fanOut stores a message for those who get it at QoS ≥ 1, and notes to offer it to all.
func (p *plainOwner) fanOut(m *plain.Message, targets []plain.Target) error {
	if len(targets) == 0 {
		return nil
	}
	n := p.next
	p.next++
	stored, dropped, err := p.queue.Put(p.batch, n, m, targets)
	if err != nil {
		return err
	}
	if dropped > 0 {
		p.r.Dropped.Add(int64(dropped))
	}
	p.last = n
	offers := make([]plain.Target, 0, len(targets))
	for _, t := range stored {
		t.SubIDs = append([]uint32(nil), t.SubIDs...) // the match's memory is used again
		offers = append(offers, t)
	}
	for _, t := range targets {
		if min(t.QoS, m.QoS) == 0 {
			t.QoS, t.SubIDs = 0, append([]uint32(nil), t.SubIDs...)
			offers = append(offers, t)
		}
	}
	p.comps = append(p.comps, func() {
		topic, props := []byte(m.Topic), plainProps(m)
		for _, t := range offers {
			if s := p.r.sids[t.SID]; s != nil && s.offerPlain(n, m, t, topic, props) {
				p.r.flushes = append(p.r.flushes, s.link.out)
			}
		}
	})
	return nil
}

// Publish0 gives a message at QoS 0 to whoever is online. It may be called from any goroutine.
func (r *Registry) Publish0(m *plain.Message) {
	if m.Retain {
		r.marks.set(m.Topic) // Retain follows
	}
	matches := r.matches.Get().(*plain.Matches)
	defer r.matches.Put(matches)
	r.plain.index.Match(m.Topic, m.From, matches)
	if len(matches.Targets) == 0 && len(matches.Shared) == 0 {
		return
	}
	again := matches.PickShared(r.connected, r.turns.Add(1))
	topic, props := []byte(m.Topic), plainProps(m)
	var out []*outbox
	r.mu.Lock()
	for _, ts := range [][]plain.Target{matches.Targets, again} {
		for _, t := range ts {
			t.QoS = 0
			if s := r.sids[t.SID]; s != nil && s.offerPlain(0, m, t, topic, props) {
				out = append(out, s.link.out)
			}
		}
	}
	r.mu.Unlock()
	for _, o := range out {
		o.flush()
	}
}

// connected reports whether a session is online: for shared subscriptions.
func (r *Registry) connected(sid uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sids[sid] != nil
}

// offerPlain gives the session a plain message that has just become durable, or one at QoS 0. r.mu is
// held.
func (s *Session) offerPlain(n uint64, m *plain.Message, t plain.Target, topic, props []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live || s.gone {
		return false
	}
	qos := min(t.QoS, m.QoS)
	left, _ := m.Left(s.r.o.Now().UnixMilli())
	p := publish{topic: topic, payload: m.Payload, subIDs: t.SubIDs, retain: m.Retain && t.RAP, expiry: left, qos: qos}
	if s.c.V5 {
		p.props = props
	}
	src := source{"", viewPlain}
	if s.c.Denied != nil && s.c.Denied(m.Topic) || !s.fits(&p) {
		if qos > 0 && !s.resuming { // the pump passes over it and frees it
			s.lags(src, n, n)
			go s.pump()
		}
		return false
	}
	if qos == 0 {
		if s.resuming || s.link.out.pending() > liveMax {
			return false
		}
		return s.put(&p, src, n, 0)
	}
	if l, ok := s.lag[src]; ok {
		l.head = max(l.head, n)
		return false
	}
	if s.resuming || s.win.room() <= 0 {
		s.lags(src, n, n)
		return false
	}
	if qos == 2 && s.durable {
		s.lags(src, n, n) // the pump reserves the packet id on disk first
		go s.pump()
		return false
	}
	return s.put(&p, src, n, qos)
}

// plainProps encodes the MQTT 5 properties that reach subscribers unaltered.
func plainProps(m *plain.Message) (b []byte) {
	if m.PayloadFormatFlag {
		b = append(b, propFormat, m.PayloadFormat)
	}
	if m.ContentType != "" {
		b = appendStringProp(b, propContentType, m.ContentType)
	}
	if m.ResponseTopic != "" {
		b = appendStringProp(b, propResponse, m.ResponseTopic)
	}
	if m.Correlation != nil {
		b = appendStringProp(b, propCorrelation, string(m.Correlation))
	}
	for _, u := range m.User {
		b = appendUserProp(b, u[0], u[1])
	}
	return b
}

// free releases an acknowledged message.
func (p *plainOwner) free(sid, n uint64) {
	if _, err := p.queue.Release(p.batch, sid, n); err != nil {
		p.r.o.Log.Error("freeing a plain message failed", "error", err)
	}
}

// reserve stores the packet ids of QoS 2 messages before they are sent, so that the client sees the
// same ids after a crash of the server and recognises what it has [MQTT-4.3.3-1], [MQTT-4.4.0-1].
func (p *plainOwner) reserve(s *Session, rs []reservation) {
	for _, x := range rs {
		p.batch.Set(storage.In(storage.SpaceInflight).U64(s.SID).U64(x.alloc),
			binary.BigEndian.AppendUint64(nil, x.item.seq))
	}
	p.comps = append(p.comps, func() {
		if s.sendReserved(rs) {
			p.r.flushes = append(p.r.flushes, s.link.out)
		}
	})
}

func (s *Session) sendReserved(rs []reservation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return false
	}
	for _, x := range rs {
		p := publish{topic: x.item.topic, payload: x.item.payload, subIDs: x.item.ids, qos: 2, pid: pidOf(x.alloc),
			retain: x.item.retain, expiry: x.item.expiry, dup: x.item.dup}
		if s.c.V5 {
			p.props = x.item.props
		}
		s.link.out.append(func(b []byte) []byte { return s.link.encode(b, &p) })
	}
	return true
}

// received stores that the client has a QoS 2 message, and answers PUBREL after the sync: from then on
// the message is never sent again.
func (p *plainOwner) received(s *Session, x *sent) {
	pid := pidOf(x.alloc)
	p.batch.Delete(storage.In(storage.SpaceInflight).U64(s.SID).U64(x.alloc))
	p.batch.Set(storage.In(storage.SpaceReleased).U64(s.SID).U16(pid), nil)
	p.free(s.SID, x.seq)
	p.comps = append(p.comps, func() {
		s.link.out.append(func(b []byte) []byte { return appendAck(b, typePubrel, pid, s.c.V5, 0, nil) })
		p.r.flushes = append(p.r.flushes, s.link.out)
	})
}

// endChunk is how many queued messages of an ended session are freed in one batch.
const endChunk = 1000

// ending marks a session whose leftovers are being freed: a crash in between goes on after the restart.
func ending(sid uint64) storage.Key { return storage.In(storage.SpaceMeta).Str("ending").U64(sid) }

// end frees everything that waits for a session that is no more, a part at a time.
func (p *plainOwner) end(sid uint64) {
	done, err := p.queue.End(p.batch, sid, endChunk)
	if err != nil {
		p.r.o.Log.Error("ending a session failed", "error", err)
		return
	}
	p.batch.Vital = true
	if !done {
		p.batch.Set(ending(sid), nil)
		p.ends = append(p.ends, sid)
		return
	}
	for _, sp := range []storage.Space{storage.SpaceReceived, storage.SpaceReleased, storage.SpaceInflight, storage.SpaceFilter, storage.SpacePosition} {
		p.batch.DeletePrefix(storage.In(sp).U64(sid))
	}
	p.batch.Delete(ending(sid))
}

// enqueue puts retained messages into the queue of a session that subscribed at QoS ≥ 1: they are then
// delivered like everything else, in order and surviving a crash.
func (p *plainOwner) enqueue(s *Session, list []retainedFor) {
	for _, x := range list {
		m := *x.m
		m.Retain = true
		x.target.RAP = true // [MQTT-3.3.1-8]: RETAIN is 1 for a message that a new subscription finds
		if err := p.fanOut(&m, []plain.Target{x.target}); err != nil {
			p.r.o.Log.Error("queueing a retained message failed", "topic", m.Topic, "error", err)
			s.Kick(Broken) // it subscribes again
			return
		}
	}
}

// splitShare separates $share/{name}/ from a filter.
func splitShare(filter string) (share, bare string) {
	rest, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return "", filter
	}
	share, bare, _ = strings.Cut(rest, "/")
	return share, bare
}
