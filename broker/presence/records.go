package presence

import (
	"encoding/binary"
	"fmt"

	"github.com/petrelchat/petrel/storage"
)

// op is a change of a profile, a list of users that a crash left online, or two users of whom each is to be
// told anew what they see of the other.
type op struct {
	user string
	fn   func(r *storage.Profile)
	lost []string // instead of user and fn
	pair [2]string
	done func(error)
}

func profileKey(user string) storage.Key { return storage.In(storage.SpaceProfile).Str(user) }

// aliveKey is the record of when the server was last known to be alive while somebody was online:
// ms as 8 bytes big-endian. It stands for the last-seen times of all who were online in a crash.
func aliveKey() storage.Key { return storage.In(storage.SpaceMeta).Str("alive") }

func readAlive(r storage.Reader) (int64, error) {
	v, ok, err := r.Get(aliveKey())
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: alive", storage.ErrRecord)
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

func (p *Presence) read(user string) (r storage.Profile, err error) {
	v, ok, err := p.o.Store.Get(profileKey(user))
	if err != nil || !ok {
		return r, err
	}
	return r, storage.Unmarshal(v, &r)
}

// asOffline is the record of a user who is not online: one that says otherwise is of before a crash.
func (p *Presence) asOffline(r storage.Profile) storage.Profile {
	if r.Online {
		r.Online = false
		r.Seen = max(r.Seen, p.died)
	}
	return r
}

// enter returns the user, who is put into memory as what the record has told so far.
func (p *Presence) enter(name string, r storage.Profile) *user {
	if u := p.users[name]; u != nil {
		return u
	}
	r = p.asOffline(r)
	u := &user{name: name, seen: r.Seen, shown: offline(r), hide: r.NoSeen}
	u.take(r)
	p.view.Lock()
	p.users[name] = u
	p.view.Unlock()
	return u
}

// update carries out changes of profiles in one commit. The users are in memory before it, so that
// nobody is shown what was not published.
func (p *Presence) update(ops []op) {
	var b storage.Batch
	var dones []func(error)
	changed := make(map[string]*storage.Profile)
	now := p.o.Now().UnixMilli()
	for _, o := range ops {
		if o.fn == nil {
			continue
		}
		r := changed[o.user]
		if r == nil {
			rec, err := p.read(o.user)
			if err != nil {
				o.done(err)
				continue
			}
			p.queue(p.enter(o.user, rec))
			r = &rec
			changed[o.user] = r
		}
		online, seen := r.Online, r.Seen
		o.fn(r)
		r.Online, r.Seen, r.Modified = online, seen, now
		dones = append(dones, o.done)
	}
	if len(dones) == 0 {
		return
	}
	for name, r := range changed {
		b.Set(profileKey(name), storage.Marshal(*r))
	}
	if err := p.o.Commit(&b, func() { answer(dones, nil) }); err != nil {
		answer(dones, err)
		return
	}
	for name, r := range changed {
		u := p.users[name]
		u.take(*r)
		p.view.Lock()
		u.hide = r.NoSeen
		p.view.Unlock()
	}
}

func answer(dones []func(error), err error) {
	for _, done := range dones {
		done(err)
	}
}

// change is a user who came or went.
type change struct {
	user   string
	online bool
	at     int64 // ms
}

// note writes who came and went into the records. Nobody waits for the sync; a commit that fails is
// tried again when the server next says that it is alive.
func (p *Presence) note(changes []change) {
	b := storage.Batch{Vital: true}
	var written []*user
	for _, c := range changes {
		r, err := p.read(c.user)
		u := p.enter(c.user, r)
		p.setOnline(u, c)
		p.queue(u)
		if err != nil {
			p.o.Log.Error("reading a profile failed", "user", c.user, "error", err)
			p.unsaved(u)
			continue
		}
		if r.Online && c.online {
			continue
		}
		r.Online, r.Seen = c.online, c.at
		b.Set(profileKey(c.user), storage.Marshal(r))
		written = append(written, u)
	}
	if p.loop.online > 0 && !p.o.Now().Before(p.loop.tick) {
		p.loop.tick = p.o.Now().Add(aliveEvery)
		b.Set(aliveKey(), binary.BigEndian.AppendUint64(nil, uint64(p.o.Now().UnixMilli())))
	}
	if b.Len() == 0 {
		return
	}
	if err := p.o.Commit(&b, func() {}); err != nil {
		p.o.Log.Error("storing who is online failed", "users", len(written), "error", err)
		for _, u := range written {
			p.unsaved(u)
		}
	}
}

func (p *Presence) setOnline(u *user, c change) {
	if u.online != c.online {
		if u.online = c.online; u.online {
			p.loop.online++
		} else {
			p.loop.online--
		}
	}
	u.seen = c.at
	if u.unsaved {
		u.unsaved = false
		delete(p.loop.unsaved, u.name)
	}
}

func (p *Presence) unsaved(u *user) {
	u.unsaved = true
	p.loop.unsaved[u.name] = struct{}{}
	if !p.loop.tick.After(p.o.Now()) {
		p.loop.tick = p.o.Now().Add(aliveEvery)
	}
}

// recoverMax is how many users one commit of Recover puts right.
const recoverMax = 1000

// Recover makes everybody offline who was online when the previous run ended without Close, with the
// time when the server was last known to be alive (right to the minute), except for who came back
// meanwhile. It returns after the sync. Until then such users are shown as offline all the same. Call
// it after Start and, best, before the first connection is accepted: if the server is killed again
// before Recover returned, the rest of the users get the time of that.
func (p *Presence) Recover() error {
	prefix := storage.In(storage.SpaceProfile)
	for after := storage.Key(nil); ; {
		var lost []string
		var bad error
		err := p.o.Store.Scan(prefix, after, func(k storage.Key, v []byte) bool {
			var r storage.Profile
			if bad = storage.Unmarshal(v, &r); bad != nil {
				return false
			}
			if r.Online {
				name, _, _ := storage.TakeStr(k[len(prefix):])
				lost = append(lost, name)
				after = append(after[:0], k...)
			}
			return len(lost) < recoverMax
		})
		if err == nil {
			err = bad
		}
		if err != nil || len(lost) == 0 {
			return err
		}
		done := make(chan error, 1)
		if err := p.submit(op{lost: lost, done: func(err error) { done <- err }}); err != nil {
			return err
		}
		select {
		case err = <-done:
		case <-p.stopped:
			err = storage.ErrClosed // or it was stored, which nobody asks any more
		}
		if err != nil {
			return err
		}
	}
}

// bury carries out one batch of Recover.
func (p *Presence) bury(o op) {
	b := storage.Batch{Vital: true}
	for _, name := range o.lost {
		if u := p.users[name]; u != nil && u.online {
			continue // came back, and the record is of now
		}
		r, err := p.read(name)
		if err != nil {
			o.done(err)
			return
		}
		if r.Online {
			b.Set(profileKey(name), storage.Marshal(p.asOffline(r)))
		}
	}
	if b.Len() == 0 {
		o.done(nil)
		return
	}
	if err := p.o.Commit(&b, func() { o.done(nil) }); err != nil {
		o.done(err)
	}
}

// farewell writes everybody offline, for Close.
func (p *Presence) farewell() {
	changes := make([]change, 0, batchMax)
	flush := func() {
		p.note(changes)
		changes = changes[:0]
	}
	now := p.o.Now().UnixMilli()
	for name, u := range p.users {
		switch {
		case u.online:
			changes = append(changes, change{user: name, at: now})
		case u.unsaved:
			changes = append(changes, change{user: name, at: u.seen})
		}
		if len(changes) == batchMax {
			flush()
		}
	}
	if len(changes) > 0 {
		flush()
	}
	p.view.Lock()
	p.users = make(map[string]*user) // from now on the records tell
	p.view.Unlock()
}
