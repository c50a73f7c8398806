package delivery

import (
	"errors"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

func shareRecord(k shareKey) storage.Key {
	return storage.In(storage.SpaceShare).Str(k.user).Str(k.filter)
}

func sharerRecord(k shareKey, sid uint64) storage.Key {
	return storage.In(storage.SpaceSharer).Str(k.user).Str(k.filter).U64(sid)
}

// loadShares reads the shared subscriptions of durable sessions: like plain filters, they are in memory
// also while their sessions are away.
func (r *Registry) loadShares() error {
	prefix := storage.In(storage.SpaceSharer)
	var bad error
	err := r.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		user, rest, ok := storage.TakeStr(k[len(prefix):])
		filter, rest, ok2 := storage.TakeStr(rest)
		sid, _, ok3 := storage.TakeU64(rest)
		f, err := protocol.ParseFilter(filter, user)
		if !ok || !ok2 || !ok3 || err != nil || len(v) != 1 {
			bad = errors.Join(storage.ErrRecord, err)
			return false
		}
		key := shareKey{user, filter}
		sh := r.shares.all[key]
		if sh == nil {
			sh = &share{r: r, key: key, f: f, subs: make(map[uint64]sharer)}
			r.shares.all[key] = sh
		}
		sh.subs[sid] = sharer{qos: v[0] > 0, durable: true}
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	for _, sh := range r.shares.all {
		sh.count()
		if err := sh.load(); err != nil {
			return err
		}
	}
	return nil
}

// load reads how far the share had come.
func (sh *share) load() error {
	v, ok, err := sh.r.o.Store.Get(shareRecord(sh.key))
	if err != nil || !ok {
		return err
	}
	var rec storage.Share
	if err := storage.Unmarshal(v, &rec); err != nil {
		return err
	}
	sh.commit, sh.dup = rec.Commit, rec.Dup
	if rec.Online { // the server ended while it was: all of it may have been sent before
		sh.dup = sh.r.crashed
	}
	for _, x := range rec.Lag {
		sh.owe(x.Log, span{x.First, x.Last, x.Sent})
	}
	return nil
}

// recordInto adds the share's record to a batch. Acknowledged events are not in it. r.shares.write is
// held.
func (sh *share) recordInto(b *storage.Batch) {
	sh.r.mu.Lock()
	defer sh.r.mu.Unlock()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.touched = false
	if sh.stored == 0 {
		return
	}
	if sh.serving > 0 && !sh.resuming {
		sh.commit = sh.r.dispatched
	}
	rec := storage.Share{Commit: sh.commit, Dup: sh.dup, Online: sh.serving > 0}
	add := func(conv string) func(span) {
		return func(x span) {
			rec.Lag = append(rec.Lag, storage.ShareSpan{Log: conv, First: x.first, Last: x.last, Sent: x.sent})
		}
	}
	for conv, f := range sh.flows {
		var l owed
		f.back(l.add)
		for _, x := range l.spans {
			add(conv)(x)
		}
	}
	for conv, l := range sh.lag {
		for _, x := range l.spans {
			add(conv)(x)
		}
	}
	b.Set(shareRecord(sh.key), storage.Marshal(&rec))
}

// storeShares hands the records of shares to the store.
func (r *Registry) storeShares(list []*share) {
	if len(list) == 0 {
		return
	}
	r.shares.write.Lock()
	defer r.shares.write.Unlock()
	var b storage.Batch
	b.Vital = true
	for _, sh := range list {
		sh.recordInto(&b)
	}
	if b.Len() == 0 {
		return
	}
	if err := r.o.Pipeline.Commit(&b, nil); err != nil {
		r.o.Log.Error("storing the positions of shared subscriptions failed", "error", err)
	}
}

// storeDirtyShares stores what changed since the last time.
func (r *Registry) storeDirtyShares() {
	r.dirtyMu.Lock()
	list := make([]*share, 0, len(r.shares.dirty))
	for sh := range r.shares.dirty {
		list = append(list, sh)
	}
	clear(r.shares.dirty)
	r.dirtyMu.Unlock()
	r.storeShares(list)
}

// commitWithShares stores a batch with the subscriptions of a durable session, and returns after the
// sync. Shares that are among them go with it.
func (s *Session) commitWithShares(b *storage.Batch, added []*subscription) error {
	if err := s.handOver(b, added); err != nil {
		return err
	}
	return s.r.o.Pipeline.Barrier()
}

// handOver gives the store a batch with the subscriptions of a session, and the shares among them. The lock
// that orders the records of shares is not held while the disk is waited for.
func (s *Session) handOver(b *storage.Batch, added []*subscription) error {
	r := s.r
	locked := false
	for _, x := range added {
		if x == nil || !x.shared() {
			continue
		}
		if !locked {
			locked = true
			r.shares.write.Lock()
			defer r.shares.write.Unlock()
		}
		key := shareKey{s.key.User, x.filter}
		b.Set(sharerRecord(key, s.SID), []byte{x.qos})
		r.mu.Lock()
		sh := r.shares.all[key]
		r.mu.Unlock()
		if sh != nil {
			sh.recordInto(b)
		}
	}
	return r.o.Pipeline.Commit(b, nil)
}

// leaveShares ends a session's part in the shared subscriptions among subs, in memory and in the batch,
// and has the batch committed; commit must not wait for the disk. What was on its way to the session goes to the others: those shares are
// returned, to be pumped.
func (r *Registry) leaveShares(user string, sid uint64, subs []storage.Sub, b *storage.Batch, commit func() error) (left []*share, err error) {
	locked := false
	for _, sub := range subs {
		if name, _ := splitShare(sub.Filter); name == "" {
			continue
		}
		key := shareKey{user, sub.Filter}
		r.mu.Lock()
		known := r.shares.all[key] != nil
		r.mu.Unlock()
		if !known {
			continue // a plain one
		}
		if !locked {
			locked = true
			r.shares.write.Lock()
			defer r.shares.write.Unlock()
		}
		if sh := r.leaveShare(key, sid, b); sh != nil {
			left = append(left, sh)
		}
	}
	return left, commit()
}

func (r *Registry) leaveShare(key shareKey, sid uint64, b *storage.Batch) *share {
	r.mu.Lock()
	defer r.mu.Unlock()
	sh := r.shares.all[key]
	if sh == nil {
		return nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	x, ok := sh.subs[sid]
	if !ok {
		return nil
	}
	if s := r.sids[sid]; s != nil {
		sh.part(s)
	}
	sh.forget(sid)
	if x.durable {
		b.Delete(sharerRecord(key, sid))
		if sh.stored == 0 {
			b.Delete(shareRecord(key))
		}
	}
	if len(sh.subs) == 0 {
		delete(r.shares.all, key)
	}
	sh.touch()
	return sh
}

// attachShares makes a session that comes back a member of its shared subscriptions again.
func (s *Session) attachShares() error {
	for _, x := range s.subs {
		if x.shared() {
			if err := s.r.joinShare(s, x, nil); err != nil {
				return err
			}
		}
	}
	s.pumpShares()
	return nil
}

// partShares ends a session's part in its shares because its connection ended. r.mu is held.
func (s *Session) partShares() (parted []*share) {
	for _, sh := range s.myShares() {
		sh.mu.Lock()
		sh.part(s)
		sh.mu.Unlock()
		parted = append(parted, sh)
	}
	return parted
}

// myShares are the shares that the session is a member of.
func (s *Session) myShares() (list []*share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.shares {
		if sh != nil {
			list = append(list, sh)
		}
	}
	return list
}

func (s *Session) pumpShares() {
	for _, sh := range s.myShares() {
		sh.pump()
	}
}

// ackShared settles a packet of a share.
func (s *Session) ackShared(src source, alloc uint64) {
	s.mu.Lock()
	var sh *share
	if i := int(src.view - viewShared); i < len(s.shares) {
		sh = s.shares[i]
	}
	s.mu.Unlock()
	if sh != nil {
		sh.acked(s, src.log, alloc)
	}
}

// pumpSharesAside sends what waits for a member of shares, on another goroutine: of its own logs and of
// the shares in turns, so that neither keeps the other from going on.
func (s *Session) pumpSharesAside() {
	s.mu.Lock()
	wanted, n, room := len(s.lag) > 0, s.win.n, s.win.room()
	ready := n == 0 || room >= s.win.max/2
	s.mu.Unlock()
	if !ready {
		return
	}
	list := s.myShares()
	for _, sh := range list {
		sh.mu.Lock()
		wanted = wanted || len(sh.lag) > 0 && !sh.pumping
		sh.mu.Unlock()
	}
	if !wanted {
		return
	}
	s.r.shares.pumps.Add(1)
	go func() {
		defer s.r.shares.pumps.Done()
		s.pumpInTurns()
	}()
}

func (s *Session) pumpInTurns() {
	s.mu.Lock()
	before, sharesFirst := s.win.alloc, s.sharesFirst
	s.mu.Unlock()
	first, second := s.pump, s.pumpShares
	if sharesFirst {
		first, second = second, first
	}
	first()
	s.mu.Lock()
	if s.win.alloc != before {
		s.sharesFirst = !sharesFirst
	}
	s.mu.Unlock()
	second()
}

// checkShares refuses more shared subscriptions than a session can have.
func (s *Session) checkShares(list []Subscribe) error {
	shared := make(map[string]bool)
	for _, w := range list {
		if w.Filter.Share != "" && w.Filter.Kind == protocol.FilterEvents {
			shared[w.Sub.Filter] = true
		}
	}
	if len(shared) == 0 {
		return nil
	}
	for filter, x := range s.subs {
		if x.shared() {
			shared[filter] = true
		}
	}
	if len(shared) > sharesMax {
		return chat.Refuse(chat.TooLarge, "a session has at most %d shared subscriptions to conversations", sharesMax)
	}
	return nil
}
