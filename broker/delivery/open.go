package delivery

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/petrelchat/petrel/broker/plain"
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
			return false, nil
		}
		return false, s.writeRecord()
	}
	s.SID, s.created, s.name = rec.SID, rec.Created, rec.Name
	s.link.textMax = rec.MaxSize
	if s.c.Catchup == 0 {
		s.c.Catchup = uint64(rec.Catchup)
	}
	for _, sub := range rec.Subs {
		x, err := s.parse(sub)
		if err != nil {
			continue // a filter that the rules no longer allow
		}
		if s.c.MayResume != nil && !s.c.MayResume(&x.f) {
			return false, chat.Refuse(chat.NotAuthorized, "this client id has a session that your token may not resume: take another id")
		}
		s.subs[sub.Filter] = x
		s.index.add(x)
	}
	if err := s.loadPosition(rec.Ended == 0); err != nil {
		return false, err
	}
	s.durable = true // also one that now ends with its connection: it has records
	return true, s.writeRecord()
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

// loadPosition reads how far the session had come. crashed: the server ended while it was connected.
func (s *Session) loadPosition(crashed bool) error {
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
	if crashed {
		s.dup = r.crashed                    // all of it may have been sent before
		s.win.alloc += uint64(2 * s.win.max) // and these ids used
	}
	for _, l := range pos.Lag {
		s.lags(source{l.Log, l.View}, l.Next, l.Next).dup = s.dup
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

// writeRecord stores that the session is connected, and for a new one where it begins.
func (s *Session) writeRecord() error {
	var b storage.Batch
	b.Vital = true
	s.recordInto(&b, 0)
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
	r.plain.in <- plainWork{end: true, sid: rec.SID}
	return nil
}

// Start lets the session take part: from now on it is offered events, and what it missed is sent.
// CONNACK must have been written.
func (s *Session) Start() error {
	r := s.r
	r.mu.Lock()
	r.sids[s.SID] = s
	r.users[s.key.User] = append(r.users[s.key.User], s)
	for _, x := range s.index.live {
		r.views[x.f.Kind]++
	}
	upTo := r.dispatched
	s.mu.Lock()
	s.live = true
	since := s.commit
	s.mu.Unlock()
	if r.o.Watcher != nil && !s.c.Quiet && s.key.User != "" {
		r.o.Watcher.Came(s.key.User)
	}
	r.mu.Unlock()

	if err := s.missed(since, upTo); err != nil {
		return err
	}
	if s.durable && len(s.subs) > 0 {
		// That the session is connected must be on disk before anything is sent: after a crash, what is sent
		// again would else look as if it had never been.
		if err := r.o.Pipeline.Barrier(); err != nil {
			return err
		}
	}
	s.sendAgain()
	s.mu.Lock()
	s.resuming = false
	s.commit = upTo
	s.mu.Unlock()
	s.pump()
	s.link.out.flush()
	return s.attachShares()
}

// missed finds the logs that got something between two commits, and where the session goes on in them.
func (s *Session) missed(since, upTo uint64) error {
	if err := s.missedPlain(); err != nil {
		return err
	}
	if since >= upTo || !s.index.any() {
		return s.clip()
	}
	if s.index.own != nil && s.index.own.qos > 0 {
		if err := s.missedLog(storage.OwnLog(s.key.User), []byte{viewOwn}, since, 0, 0); err != nil {
			return err
		}
	}
	err := s.r.memberships(s.key.User, func(conv string, m membership) error {
		if !s.allows(conv) {
			return nil
		}
		vs := s.index.views(conv)
		if len(vs) == 0 || s.r.o.Hub.Unchanged(conv, since) {
			return nil
		}
		return s.missedLog(conv, vs, since, m.Joined, m.Left)
	})
	if err != nil {
		return err
	}
	return s.clip()
}

// missedLog notes that a log goes on after a commit, if it does. joined and left bound what a member
// sees; 0: no bound.
func (s *Session) missedLog(log string, views []byte, since, joined, left uint64) error {
	_, commit, err := s.r.o.Hub.Head(log)
	if err != nil || commit <= since {
		return err
	}
	next, err := s.r.o.Store.After(log, since)
	if err != nil {
		return err
	}
	next = max(next, joined)
	if left != 0 && next > left {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range views {
		src := source{log, v}
		if l, ok := s.lag[src]; ok && l.next <= next {
			l.to = left
			continue
		}
		l := s.lags(src, next, next)
		l.to = left
		l.dup = s.dup
	}
	return nil
}

// clip carries out "catchup": at most the last N events of each conversation.
func (s *Session) clip() error {
	n := s.c.Catchup
	if n == 0 {
		return nil
	}
	s.mu.Lock()
	srcs := make([]source, 0, len(s.lag))
	for src := range s.lag {
		if src.view != viewPlain && src.view != viewOwn {
			srcs = append(srcs, src)
		}
	}
	s.mu.Unlock()
	for _, src := range srcs {
		head, _, err := s.r.o.Hub.Head(src.log)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if l, ok := s.lag[src]; ok && head >= n && l.next < head-n+1 {
			l.from = head - n + 1
		}
		s.mu.Unlock()
	}
	return nil
}

// missedPlain notes that plain messages wait.
func (s *Session) missedPlain() error {
	if !s.durable {
		return nil
	}
	var again []uint64 // these go out with their old packet ids
	for _, x := range s.resend {
		if x.src.view == viewPlain {
			again = append(again, x.seq)
		}
	}
	prefix := storage.In(storage.SpaceRef).U64(s.SID)
	return s.r.o.Store.Scan(prefix, prefix, func(k storage.Key, _ []byte) bool {
		n, _, ok := storage.TakeU64(k[len(prefix):])
		if !ok || slices.Contains(again, n) {
			return true
		}
		s.mu.Lock()
		l := s.lags(source{"", viewPlain}, n, n)
		l.skip = again
		if s.dup > 0 {
			l.dup = firstMessage(s.dup) - 1
		}
		s.mu.Unlock()
		return false
	})
}

type membership struct{ Joined, Left uint64 }

// memberships calls fn with the conversations that a user is or was in.
func (r *Registry) memberships(user string, fn func(conv string, m membership) error) error {
	prefix := storage.In(storage.SpaceMembership).Str(user)
	var bad error
	err := r.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		conv, _, ok := storage.TakeStr(k[len(prefix):])
		m, err := storage.DecodeMember(v)
		if !ok || err != nil {
			bad = errors.Join(err, storage.ErrRecord)
			return false
		}
		bad = fn(conv, membership{m.Joined, m.Left})
		return bad == nil
	})
	return errors.Join(err, bad)
}

// sendAgain sends what was in flight when the session was put away, with its old packet ids and DUP
// [MQTT-4.4.0-1], [MQTT-4.4.0-2].
func (s *Session) sendAgain() {
	for _, x := range s.resend {
		it, ok, err := s.reread(x)
		if err != nil {
			s.r.o.Log.Error("reading a packet in flight failed", "user", s.key.User, "error", err)
			s.Kick(Broken)
			return
		}
		s.mu.Lock()
		if it.empty && x.src.view == viewPlain { // it expired on its way: that counts as sent in time, §3.3.2.3.3
			it.empty, it.expiry = false, 1
		}
		switch {
		case !ok || it.empty:
		case s.win.n >= s.win.max && x.qos == 1: // the client takes fewer at a time than before
			l := s.lags(x.src, x.seq, x.seq)
			l.skip = slices.DeleteFunc(slices.Clone(l.skip), func(n uint64) bool { return n == x.seq })
			l.dup = math.MaxUint64
		default:
			s.again(x, it)
		}
		s.mu.Unlock()
	}
	s.resend = nil
	for pid := range s.released {
		s.link.out.append(func(b []byte) []byte { return appendAck(b, typePubrel, pid, s.c.V5, 0, nil) })
	}
}

// again puts one packet back into the window and on the wire. s.mu is held.
func (s *Session) again(x sent, it item) {
	p := publish{topic: it.topic, payload: it.payload, props: it.props, subIDs: it.ids, retain: it.retain,
		expiry: it.expiry, qos: x.qos, dup: true, pid: pidOf(x.alloc)}
	if (s.link.max > 0 || s.link.textMax > 0) && !s.fit(&p, x.src, x.seq) {
		return
	}
	x.size = int32(publishSize(&p))
	s.win.restore(x)
	s.link.out.append(func(b []byte) []byte { return s.link.encode(b, &p) })
}

// reread reads a packet that was in flight.
func (s *Session) reread(x sent) (it item, ok bool, err error) {
	now := s.r.o.Now().UnixMilli()
	if x.src.view == viewPlain {
		err = plain.ReadQueue(s.r.o.Store, s.SID, x.seq-1, x.seq, func(n uint64, ref plain.Ref, m *plain.Message) bool {
			it, ok = plainItem(n, ref, m, now), true
			return false
		})
		return it, ok, err
	}
	m, subscribed := s.matchOf(x.src)
	if !subscribed {
		return it, false, nil
	}
	var bad error
	err = s.r.o.Store.Read(x.src.log, x.seq, x.seq, func(e storage.Entry) bool {
		it, bad = s.eventItem(x.src, e, m, now)
		ok = true
		return false
	})
	if err == nil {
		err = bad
	}
	return it, ok, err
}

// Detach ends the connection's part of the session: it is put away on disk, or ended. drop: the client
// asked with its DISCONNECT for the session to end. It returns when everything is handed to the store.
func (s *Session) Detach(expiry uint32) {
	r := s.r
	r.mu.Lock()
	delete(r.sids, s.SID)
	s.mu.Lock()
	wasLive := s.live
	s.gone = true
	if s.inRoom != nil {
		s.inRoom.Broadcast()
	}
	s.mu.Unlock()
	if wasLive {
		all := r.users[s.key.User]
		for i, x := range all {
			if x == s {
				all = append(all[:i:i], all[i+1:]...)
				break
			}
		}
		if len(all) == 0 {
			delete(r.users, s.key.User)
		} else {
			r.users[s.key.User] = all
		}
		for _, x := range s.index.live {
			r.views[x.f.Kind]--
		}
		if r.o.Watcher != nil && !s.c.Quiet && s.key.User != "" {
			r.o.Watcher.Went(s.key.User)
		}
	}
	if !s.resuming {
		s.commit = r.dispatched
	}
	parted := s.partShares()
	r.mu.Unlock()
	for _, sh := range parted {
		sh.pump() // what this one had not acknowledged is for the others
	}

	// What the client sent is on its way to the disk: the next connection must know how it ended.
	if s.rest() {
		s.expiry = expiry
		r.storeShares(parted)
		s.putAway()
	}
	r.clean(s)
	r.forget(s)
}

// rest returns when nothing is under way for a session that is gone: what its client sent is stored or
// refused, and what was to be noted about its packets is on disk. false: the pipeline has ended.
func (s *Session) rest() bool {
	for {
		s.mu.Lock()
		if !s.pumping && s.undone == 0 {
			s.mu.Unlock()
			break
		}
		if s.quiet == nil {
			s.quiet = make(chan struct{})
		}
		quiet := s.quiet
		s.mu.Unlock()
		select {
		case <-quiet:
		case <-s.r.o.Pipeline.Stopped():
			return false
		}
	}
	if s.plainUsed.Load() {
		done := make(chan struct{})
		s.r.plain.in <- plainWork{run: func() { close(done) }}
		select {
		case <-done:
		case <-s.r.o.Pipeline.Stopped():
			return false
		}
	}
	return s.r.o.Pipeline.Barrier() == nil
}

// rested tells who waits in rest to look again. s.mu is held.
func (s *Session) rested() {
	if s.quiet != nil {
		close(s.quiet)
		s.quiet = nil
	}
}

// putAway writes the session to the disk, or removes it from there.
func (s *Session) putAway() {
	r := s.r
	r.flushCursors(s)
	now := r.o.Now().UnixMilli()
	if s.expiry == 0 {
		s.remove()
		return
	}
	var b storage.Batch
	b.Vital = true
	if s.durable {
		s.recordInto(&b, now)
		s.positionInto(&b)
	}
	if err := r.o.Pipeline.Commit(&b, nil); err != nil {
		r.o.Log.Error("putting a session away failed", "user", s.key.User, "client", s.key.Client, "error", err)
	}
}

// remove ends the session for good.
func (s *Session) remove() {
	rec := storage.Session{SID: s.SID}
	for _, x := range s.subs {
		rec.Subs = append(rec.Subs, storage.Sub{Filter: x.filter})
	}
	if !s.durable && s.index.plain == 0 {
		// Nothing of it is on disk.
		_, _ = s.r.leaveShares(s.key.User, s.SID, rec.Subs, new(storage.Batch), func() error { return nil })
		return
	}
	if err := s.r.EndSession(s.key, &rec); err != nil {
		s.r.o.Log.Error("ending a session failed", "user", s.key.User, "client", s.key.Client, "error", err)
	}
}

// positionInto adds the session's position to a batch. Acknowledged events are not in it: they are
// before Commit, or before where a lagging log goes on.
func (s *Session) positionInto(b *storage.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pos := storage.Position{Commit: s.commit, Alloc: s.win.alloc}
	for src, l := range s.lag {
		pos.Again = s.dup
		if src.view != viewPlain { // that queue is on disk itself
			pos.Lag = append(pos.Lag, storage.Lag{Log: src.log, View: src.view, Next: l.next})
		}
	}
	s.win.unacked(func(x *sent) {
		if x.qos == 1 && x.src.view < viewShared { // what came of a share is the share's
			pos.Inflight = append(pos.Inflight, storage.Inflight{Alloc: x.alloc, Log: x.src.log, View: x.src.view, Seq: x.seq, QoS: 1})
		}
	})
	if s.resuming {
		pos.Again = s.dup
		for _, x := range s.resend {
			if x.qos == 1 {
				pos.Inflight = append(pos.Inflight, storage.Inflight{Alloc: x.alloc, Log: x.src.log, View: x.src.view, Seq: x.seq, QoS: 1})
			}
		}
	}
	for pid, u := range s.unseen {
		pos.Unseen = append(pos.Unseen, storage.Journal{PID: pid, Hash: u.hash, Seq: u.seq})
	}
	if s.gone { // until then the journal has what follows
		s.unseenInto(&pos)
	}
	s.touched = false
	b.Set(storage.In(storage.SpacePosition).U64(s.SID), storage.Marshal(&pos))
}

// unseenInto adds the stored publishes whose acknowledgements the connection has not taken. s.mu is held.
func (s *Session) unseenInto(pos *storage.Position) {
	s.trimAcked()
	for _, a := range s.acked {
		pos.Unseen = append(pos.Unseen, storage.Journal{PID: a.pid, Hash: a.hash, Seq: a.seq})
	}
	for _, in := range s.in { // stored, but an earlier one is not answered yet
		if in.done && in.err == nil && in.qos == 1 {
			pos.Unseen = append(pos.Unseen, storage.Journal{PID: in.PID, Hash: in.hash, Seq: in.seq})
		}
	}
}
