package delivery

import (
	"encoding/binary"
	"math"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// NeverExpires is the Session Expiry Interval of a session without end, §3.1.2.11.2.
const NeverExpires = math.MaxUint32

// Open makes the connection's session the only one with its key: an older connection is ended and
// waited for, and what the disk has of the session is loaded, or deleted with a clean start. present is
// what CONNACK says [MQTT-3.2.2-2]. Nothing is sent before Start. If Open returned no error, Detach
// must be called in the end.
func (r *Registry) Open(c *Connect) (s *Session, present bool, err error) {
	s = &Session{
		r: r, key: c.Key, c: c, ended: make(chan struct{}), subs: make(map[string]*subscription),
		durable: c.Expiry > 0, expiry: c.Expiry, resuming: true,
	}
	limits := r.limits.Load()
	s.win.max = limits.Window3
	if c.V5 {
		s.win.max = limits.Window
		if c.Window > 0 {
			s.win.max = min(s.win.max, c.Window)
		}
	}
	s.link = &link{c: c, max: c.MaxPacket}
	s.link.aliases.max = min(c.Aliases, aliasesMax)
	s.link.out = newOutbox(c.Conn, limits.Timeout, func(error) { c.Kick(Broken) })
	s.link.out.handed = r.o.Handed
	r.claim(s)
	present, err = s.load()
	if err != nil {
		r.forget(s)
		return nil, false, err
	}
	return s, present, nil
}

// claim takes the key over from whoever has it.
func (r *Registry) claim(s *Session) {
	for {
		r.mu.Lock()
		old := r.keys[s.key]
		if old == nil {
			r.keys[s.key] = s
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		old.Kick(TakenOver) // [MQTT-3.1.4-3]
		<-old.ended
	}
}

// forget gives the key free for the next connection.
func (r *Registry) forget(s *Session) {
	r.mu.Lock()
	if r.keys[s.key] == s {
		delete(r.keys, s.key)
	}
	r.mu.Unlock()
	close(s.ended)
}

func sessionKey(k Key) storage.Key {
	return storage.In(storage.SpaceSession).Str(k.User).Str(k.Client)
}

// load reads the session from the disk and writes what a connection changes about it. The writes are
// ordered before everything that the connection will store, so nothing waits for them here.
func (s *Session) load() (present bool, err error) {
	r := s.r
	rec, ok, err := r.record(s.key)
	if err != nil {
		return false, err
	}
	now := r.o.Now().UnixMilli()
	if !ok || expired(&rec, now) {
		if err := s.hasRoom(now); err != nil {
			return false, err
		}
	}
	if ok && (s.c.Clean || expired(&rec, now)) {
		if err := r.EndSession(s.key, &rec); err != nil {
			return false, err
		}
		ok = false
	}
	if !ok {
		r.mu.Lock()
		r.lastSID++
		s.SID = r.lastSID
		s.commit = r.dispatched
		r.mu.Unlock()
		s.created = now
		if !s.durable {
			s.SID |= ephemeral
			return false, nil
		}
		return false, s.writeRecord(nil)
	}
	s.SID, s.created, s.name = rec.SID, rec.Created, rec.Name
	s.link.textMax = rec.MaxSize
	if s.c.Catchup == 0 {
		s.c.Catchup = uint64(rec.Catchup)
	}
	var lost []string
	for _, sub := range rec.Subs {
		x, err := s.parse(sub)
		if err != nil { // a filter that the rules no longer allow
			r.o.Log.Warn("a stored subscription is no longer valid and is dropped", "user", s.key.User, "client", s.key.Client, "filter", sub.Filter, "error", err)
			lost = append(lost, sub.Filter)
			continue
		}
		if s.c.MayResume != nil && !s.c.MayResume(&x.f) {
			return false, chat.Refuse(chat.NotAuthorized, "this client id has a session that your token may not resume: take another id")
		}
		s.subs[sub.Filter] = x
		s.index.add(x)
	}
	if rec.Ended == 0 {
		rec.Crashed = r.crashed
	}
	if err := s.loadPosition(rec.Crashed); err != nil {
		return false, err
	}
	s.durable = true // also one that now ends with its connection: it has records
	return true, s.writeRecord(lost)
}

// parse turns a stored subscription into a live one.
func (s *Session) parse(sub storage.Sub) (*subscription, error) {
	f, err := protocol.ParseFilter(sub.Filter, s.key.User)
	if err != nil {
		return nil, err
	}
	x := &subscription{filter: sub.Filter, f: f, options: sub.Options, id: sub.ID, meta: sub.Meta, qos: sub.Options & 3}
	if f.Kind != protocol.FilterPlain {
		x.qos = min(x.qos, 1)
	}
	return x, nil
}

func (r *Registry) record(k Key) (rec storage.Session, ok bool, err error) {
	v, ok, err := r.o.Store.Get(sessionKey(k))
	if err != nil || !ok {
		return rec, false, err
	}
	return rec, true, storage.Unmarshal(v, &rec)
}

func expired(rec *storage.Session, now int64) bool {
	return rec.Ended != 0 && rec.Expiry != NeverExpires && now >= rec.Ended+int64(rec.Expiry)*1000
}

// loadPosition reads how far the session had come. crashed is not 0 if the server ended while it was
// connected: everything of commits up to it may have been sent.
func (s *Session) loadPosition(crashed uint64) error {
	r := s.r
	var pos storage.Position
	v, ok, err := r.o.Store.Get(storage.In(storage.SpacePosition).U64(s.SID))
	if err != nil {
		return err
	}
	if ok {
		if err := storage.Unmarshal(v, &pos); err != nil {
			return err
		}
	}
	s.commit, s.dup, s.win.alloc = pos.Commit, pos.Again, pos.Alloc
	if crashed != 0 {
		s.dup = crashed
		s.win.alloc += uint64(2 * s.win.max) // and these ids used
	}
	for _, l := range pos.Lag {
		x := s.lags(source{l.Log, l.View}, l.Next, l.Next)
		x.dup = s.dup
		for runs := l.Skip; len(runs) >= 2; runs = runs[2:] {
			x.own = append(x.own, run{runs[0], runs[1]})
		}
	}
	for _, x := range pos.Inflight {
		s.resend = append(s.resend, sent{alloc: x.Alloc, src: source{x.Log, x.View}, seq: x.Seq, qos: x.QoS})
	}
	s.unseen = make(map[uint16]unseen)
	for _, m := range pos.Unseen {
		s.unseen[m.PID] = unseen{m.Hash, m.Seq}
	}
	return s.loadQoS2()
}

// loadQoS2 reads the packet ids of the QoS 2 flows that were under way.
func (s *Session) loadQoS2() error {
	store := s.r.o.Store
	prefix := storage.In(storage.SpaceReceived).U64(s.SID)
	err := store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		if pid, _, ok := storage.TakeU16(k[len(prefix):]); ok {
			if s.received == nil {
				s.received = make(map[uint16]bool)
			}
			s.received[pid] = false
		}
		return true
	})
	if err != nil {
		return err
	}
	prefix = storage.In(storage.SpaceReleased).U64(s.SID)
	err = store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		if pid, _, ok := storage.TakeU16(k[len(prefix):]); ok {
			if s.released == nil {
				s.released = make(map[uint16]struct{})
			}
			s.released[pid] = struct{}{}
		}
		return true
	})
	if err != nil {
		return err
	}
	prefix = storage.In(storage.SpaceInflight).U64(s.SID)
	return store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		alloc, _, ok := storage.TakeU64(k[len(prefix):])
		if ok && len(v) == 8 {
			s.resend = append(s.resend, sent{alloc: alloc, src: source{"", viewPlain}, seq: binary.BigEndian.Uint64(v), qos: 2})
			s.win.alloc = max(s.win.alloc, alloc+1)
		}
		return true
	})
}

// writeRecord stores that the session is connected, and for a new one where it begins. lost are filters
// that it does not have any more.
func (s *Session) writeRecord(lost []string) error {
	var b storage.Batch
	b.Vital = true
	s.recordInto(&b, 0)
	for _, f := range lost {
		share, bare := splitShare(f)
		s.r.plain.index.Remove(bare, s.SID, share)
		b.Delete(storage.In(storage.SpaceFilter).U64(s.SID).Str(f))
	}
	if len(s.subs) == 0 {
		s.positionInto(&b)
	}
	return s.r.o.Pipeline.Commit(&b, nil)
}

// recordInto adds the record, and when the session expires, to a batch. ended is when its connection
// ended, 0 while it lasts.
func (s *Session) recordInto(b *storage.Batch, ended int64) {
	rec := storage.Session{
		SID: s.SID, Created: s.created, Ended: ended, Expiry: s.expiry, Catchup: uint32(s.c.Catchup),
		MaxSize: s.link.textMax, Name: s.name, Addr: s.c.Addr,
	}
	for _, x := range s.subs {
		rec.Subs = append(rec.Subs, storage.Sub{Filter: x.filter, Options: x.options, ID: x.id, Meta: x.meta})
	}
	b.Set(sessionKey(s.key), storage.Marshal(&rec))
	if ended != 0 && s.expiry != NeverExpires {
		b.Set(endKey(ended+int64(s.expiry)*1000, s.key), nil)
	}
}

func endKey(ms int64, k Key) storage.Key {
	return storage.In(storage.SpaceSessionEnd).U64(uint64(ms)).Str(k.User).Str(k.Client)
}

// EndSession deletes a session that is not connected, with all that waits for it.
func (r *Registry) EndSession(k Key, rec *storage.Session) error {
	var b storage.Batch
	b.Vital = true
	b.Delete(sessionKey(k))
	b.Set(ending(rec.SID), nil)
	if rec.Ended != 0 && rec.Expiry != NeverExpires {
		b.Delete(endKey(rec.Ended+int64(rec.Expiry)*1000, k))
	}
	for _, sub := range rec.Subs {
		share, bare := splitShare(sub.Filter)
		r.plain.index.Remove(bare, rec.SID, share)
	}
	if _, err := r.leaveShares(k.User, rec.SID, rec.Subs, &b, func() error { return r.o.Pipeline.Commit(&b, nil) }); err != nil {
		return err
	}
	r.plain.give(plainWork{end: true, sid: rec.SID}) // else the next start finds it
	return nil
}
