package delivery

import (
	"math"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/storage"
)

const (
	cursorsEvery   = 250 * time.Millisecond // delivered cursors reach the hub
	positionsEvery = time.Second            // positions reach the disk; losing them costs redeliveries
	expireEvery    = 10 * time.Second       // sessions that have expired are removed
)

func (r *Registry) markDirty(s *Session) {
	r.dirtyMu.Lock()
	r.dirty[s] = struct{}{}
	r.dirtyMu.Unlock()
}

func (r *Registry) clean(s *Session) {
	r.dirtyMu.Lock()
	delete(r.dirty, s)
	r.dirtyMu.Unlock()
}

// storeLoop brings positions and delivered cursors to the disk, lazily, and removes what has expired.
func (r *Registry) storeLoop() {
	r.repair()
	tick := time.NewTicker(cursorsEvery)
	defer tick.Stop()
	lastPos, lastExp := r.o.Now(), r.o.Now()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		now := r.o.Now()
		positions := now.Sub(lastPos) >= positionsEvery
		if positions {
			lastPos = now
		}
		r.flushDirty(positions)
		if positions {
			r.storeDirtyShares()
		}
		if now.Sub(lastExp) >= expireEvery {
			lastExp = now
			r.expireSessions(now.UnixMilli())
		}
	}
}

// flushDirty hands over what changed since the last time.
func (r *Registry) flushDirty(positions bool) {
	r.dirtyMu.Lock()
	all := make([]*Session, 0, len(r.dirty))
	for s := range r.dirty {
		all = append(all, s)
	}
	if positions {
		clear(r.dirty)
	}
	r.dirtyMu.Unlock()
	var b storage.Batch
	b.Vital = true
	for _, s := range all {
		if positions { // whatever comes from now on is for the next round
			s.mu.Lock()
			s.touched = false
			s.mu.Unlock()
		}
		r.flushCursors(s)
		if !positions || !s.durable {
			continue
		}
		s.storing.Lock()
		defer s.storing.Unlock()
		if s.advance() {
			s.positionInto(&b)
		}
	}
	if b.Len() == 0 {
		return
	}
	if err := r.o.Pipeline.Commit(&b, nil); err != nil {
		r.o.Log.Error("storing positions failed", "error", err)
	}
}

// advance moves the session's commit number up to what has been dispatched. It returns false for a
// session that is being put away, which stores itself.
func (s *Session) advance() bool {
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.resuming && !s.gone {
		s.commit = r.dispatched
	}
	return !s.gone
}

// flushCursors tells the hub what the session's client has acknowledged.
func (r *Registry) flushCursors(s *Session) {
	s.mu.Lock()
	moved := s.delivered
	s.delivered = nil
	if moved != nil {
		s.delivered = make(map[string]uint64, len(moved))
	}
	s.mu.Unlock()
	for conv, seq := range moved {
		r.o.Hub.MoveCursor(&hub.Move{Conv: conv, User: s.key.User, Delivered: seq})
	}
}

// expireSessions removes the sessions whose time is over.
func (r *Registry) expireSessions(now int64) {
	var due []Key
	var keys []storage.Key
	prefix := storage.In(storage.SpaceSessionEnd)
	err := r.o.Store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		ms, rest, ok := storage.TakeU64(k[len(prefix):])
		if !ok || ms > uint64(min(now, math.MaxInt64)) {
			return false
		}
		user, rest, ok := storage.TakeStr(rest)
		client, _, ok2 := storage.TakeStr(rest)
		if ok && ok2 {
			due = append(due, Key{user, client})
			keys = append(keys, append(storage.Key(nil), k...))
		}
		return len(due) < 1000
	})
	if err != nil {
		r.o.Log.Error("looking for expired sessions failed", "error", err)
		return
	}
	var b storage.Batch
	b.Vital = true
	for i, k := range due {
		b.Delete(keys[i])
		r.expire(k, now)
	}
	if b.Len() > 0 {
		if err := r.o.Pipeline.Commit(&b, nil); err != nil {
			r.o.Log.Error("removing expired sessions failed", "error", err)
		}
	}
}

// expire removes one session, unless it came back.
func (r *Registry) expire(k Key, now int64) {
	release, err := r.holdIdle(k)
	if err != nil {
		return // it came back
	}
	defer release()
	rec, ok, err := r.record(k)
	if err != nil || !ok || !expired(&rec, now) {
		return
	}
	if err := r.EndSession(k, &rec); err != nil {
		r.o.Log.Error("ending an expired session failed", "user", k.User, "client", k.Client, "error", err)
	}
}
