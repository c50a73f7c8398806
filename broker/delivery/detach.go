package delivery

import (
	"github.com/petrelchat/petrel/storage"
)

// Detach ends the connection's part of the session: it is put away on disk, or ended. drop: the client
// asked with its DISCONNECT for the session to end. It returns when everything is handed to the store.
func (s *Session) Detach(expiry uint32) {
	r := s.r
	r.mu.Lock()
	delete(r.sids, s.SID)
	s.mu.Lock()
	wasLive := s.live
	s.gone = true
	if !s.resuming {
		s.commit = r.dispatched
	}
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
			r.crowds.went(s.key.User)
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
	if s.c.Parted != nil {
		s.c.Parted()
	}
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
		if !s.r.plain.give(plainWork{run: func() { close(done) }}) {
			return false
		}
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
	s.storing.Lock()
	defer s.storing.Unlock()
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
	if !s.durable && s.index.plain == 0 && !s.plainEver {
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
			pos.Lag = append(pos.Lag, storage.Lag{Log: src.log, View: src.view, Next: l.next, Skip: l.leftOut()})
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
