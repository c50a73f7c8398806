package delivery

import (
	"cmp"
	"context"
	"slices"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Device is a session as its user sees it, connected or not. Times are ms since 1970.
type Device struct {
	Client  string
	Name    string
	Online  bool
	Created int64
	Ended   int64 // when the connection ended; 0: it is online, or a crash ended it
	Addr    string
	Expiry  uint32 // seconds after Ended; NeverExpires
	Subs    int
	MaxSize uint32
	Catchup uint32
}

// Devices lists a user's sessions in the order of their client ids: those on disk that have not expired,
// and those that are online without being on disk.
func (r *Registry) Devices(user string) ([]Device, error) {
	found := make(map[string]Device)
	now := r.o.Now().UnixMilli()
	prefix := storage.In(storage.SpaceSession).Str(user)
	var bad error
	err := r.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		var rec storage.Session
		if bad = storage.Unmarshal(v, &rec); bad != nil {
			return false
		}
		client, _, ok := storage.TakeStr(k[len(prefix):])
		if ok && !expired(&rec, now) {
			found[client] = Device{
				Client: client, Name: rec.Name, Created: rec.Created, Ended: rec.Ended, Addr: rec.Addr,
				Expiry: rec.Expiry, Subs: len(rec.Subs), MaxSize: rec.MaxSize, Catchup: rec.Catchup,
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if bad != nil {
		return nil, bad
	}
	for _, s := range r.Sessions(user) {
		if d, ok := s.device(); ok {
			found[d.Client] = d
		}
	}
	list := make([]Device, 0, len(found))
	for _, d := range found {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Device) int { return cmp.Compare(a.Client, b.Client) })
	return list, nil
}

// device describes a session that is online; ok is false when its connection has just ended.
func (s *Session) device() (d Device, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return Device{}, false
	}
	return Device{
		Client: s.key.Client, Name: s.name, Online: true, Created: s.created, Addr: s.c.Addr, Expiry: s.expiry,
		Subs: len(s.subs), MaxSize: s.link.textMax, Catchup: uint32(s.c.Catchup),
	}, true
}

// Revoke ends a session for good: its connection is ended, it is waited until the session has been put
// away, and then it is deleted with all that waits for it. found is false when there was none. It returns
// when that is durable, or with the error of ctx; the connection may then still be about to end. Not for
// the goroutine of the session's own connection.
func (r *Registry) Revoke(ctx context.Context, k Key) (found bool, err error) {
	release, kicked, err := r.holdAfterKick(ctx, k)
	if err != nil {
		return kicked, err
	}
	defer release()
	rec, ok, err := r.record(k)
	if err != nil {
		return kicked, err
	}
	if ok {
		if err := r.EndSession(k, &rec); err != nil {
			return true, err
		}
	}
	return kicked || ok, r.o.Pipeline.Barrier()
}

// holdAfterKick claims a key so that no connection can open the session until release is called. Who has
// the key is kicked and waited for. was tells whether there was a connection.
func (r *Registry) holdAfterKick(ctx context.Context, k Key) (release func(), was bool, err error) {
	mine := r.placeholder(k)
	for {
		r.mu.Lock()
		old := r.keys[k]
		if old == nil {
			r.keys[k] = mine
		}
		r.mu.Unlock()
		if old == nil {
			return func() { r.forget(mine) }, was, nil
		}
		was = was || !old.stand
		old.Kick(Revoked)
		select {
		case <-old.ended:
		case <-ctx.Done():
			return nil, was, ctx.Err()
		}
	}
}

// holdIdle claims a key that no connection has.
func (r *Registry) holdIdle(k Key) (release func(), err error) {
	mine := r.placeholder(k)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys[k] != nil {
		return nil, errConnecting()
	}
	r.keys[k] = mine
	return func() { r.forget(mine) }, nil
}

// placeholder has a key for a moment in the name of no connection.
func (r *Registry) placeholder(k Key) *Session {
	return &Session{ended: make(chan struct{}), stand: true, c: &Connect{Kick: func(Why) {}}, r: r, key: k}
}

// UpdateDevice changes settings of a session; nil leaves one as it is. found is false when there is no such
// session. maxSize holds from the next packet on, catchup from the next connection. The record is durable on
// return.
func (r *Registry) UpdateDevice(ctx context.Context, k Key, maxSize, catchup *uint32) (found bool, err error) {
	for {
		online := false
		for _, s := range r.Sessions(k.User) {
			if s.key != k {
				continue
			}
			online = true
			if changed, err := s.update(maxSize, catchup); changed || err != nil {
				return true, err
			}
			select { // it is being put away
			case <-s.ended:
			case <-ctx.Done():
				return true, ctx.Err()
			}
		}
		if !online {
			return r.updateStored(k, maxSize, catchup)
		}
	}
}

// update changes the settings of a session that is online. changed is false when it has just gone.
func (s *Session) update(maxSize, catchup *uint32) (changed bool, err error) {
	s.storing.Lock()
	defer s.storing.Unlock()
	b := storage.Batch{Vital: true}
	s.mu.Lock()
	switch {
	case s.gone:
		s.mu.Unlock()
		return false, nil
	case s.resuming: // it reads its settings just now
		s.mu.Unlock()
		return false, errConnecting()
	}
	set(&s.link.textMax, maxSize)
	if catchup != nil {
		s.c.Catchup = uint64(*catchup)
	}
	if s.durable {
		s.recordInto(&b, 0)
	}
	s.mu.Unlock()
	return true, s.r.o.Pipeline.CommitWait(&b)
}

func errConnecting() error {
	return chat.Refuse(chat.Unavailable, "the device is just connecting; try again later")
}

// updateStored changes the record of a session that is not connected.
func (r *Registry) updateStored(k Key, maxSize, catchup *uint32) (found bool, err error) {
	release, err := r.holdIdle(k)
	if err != nil {
		return true, err
	}
	defer release()
	rec, ok, err := r.record(k)
	if err != nil || !ok || expired(&rec, r.o.Now().UnixMilli()) {
		return false, err
	}
	set(&rec.MaxSize, maxSize)
	set(&rec.Catchup, catchup)
	var b storage.Batch
	b.Vital = true
	b.Set(sessionKey(k), storage.Marshal(&rec))
	return true, r.o.Pipeline.CommitWait(&b)
}

func set(field *uint32, v *uint32) {
	if v != nil {
		*field = *v
	}
}
