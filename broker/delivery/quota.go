package delivery

import (
	"errors"
	"slices"

	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// SessionQuota is Open's refusal of one more session for a user who has as many as may be.
type SessionQuota struct{ refusal *chat.Refusal }

func (q *SessionQuota) Error() string { return q.refusal.Error() }

// Unwrap returns the refusal.
func (q *SessionQuota) Unwrap() error { return q.refusal }

// hasRoom refuses a new session that would outlive its connection beyond what its user may have. Only a
// new one is counted, so that nobody is locked out of a session that exists when the limit is lowered.
// Two that are new at the same moment may both be let in.
func (s *Session) hasRoom(now int64) error {
	most := s.c.MaxSessions
	if !s.durable || most <= 0 || s.key.User == "" {
		return nil
	}
	n := 0
	err := s.r.records(s.key.User, func(rec *storage.Session) bool {
		if !expired(rec, now) { // else the sweep is on its way to it
			n++
		}
		return n < most
	})
	if err != nil {
		return err
	}
	if n >= most {
		return &SessionQuota{chat.Refuse(chat.RateLimited, "%d devices of yours have sessions here, which is the limit: end one with device.revoke, or connect with a session that ends with the connection", n)}
	}
	return nil
}

// sessionUsers tells the queues of plain messages whose they are.
type sessionUsers struct{ r *Registry }

var _ plain.Users = sessionUsers{}

// UserOf knows who is online; for the others it stands beside their filters.
func (u sessionUsers) UserOf(sid uint64) (user string, err error) {
	u.r.mu.Lock()
	s := u.r.sids[sid]
	u.r.mu.Unlock()
	if s != nil {
		return s.key.User, nil
	}
	prefix := storage.In(storage.SpaceFilter).U64(sid)
	err = u.r.o.Store.Scan(prefix, nil, func(_ storage.Key, v []byte) bool {
		if len(v) > filterHead {
			user = string(v[filterHead:])
		}
		return false
	})
	return user, err
}

// SessionsOf returns the sessions on disk and those that are online.
func (u sessionUsers) SessionsOf(user string) (sids []uint64, err error) {
	for _, s := range u.r.Sessions(user) {
		sids = append(sids, s.SID)
	}
	err = u.r.records(user, func(rec *storage.Session) bool {
		if !slices.Contains(sids, rec.SID) {
			sids = append(sids, rec.SID)
		}
		return true
	})
	return sids, err
}

// SetLimits changes the bounds of the queues of plain messages, the windows of sessions that begin from
// now on, and how many retained messages there may be. It may be called from any goroutine.
func (r *Registry) SetLimits(l Limits) { r.limits.Store(l.withDefaults()) }

// records calls fn with the sessions that a user has on disk, until it returns false.
func (r *Registry) records(user string, fn func(*storage.Session) bool) error {
	var bad error
	err := r.o.Store.Scan(storage.In(storage.SpaceSession).Str(user), nil, func(_ storage.Key, v []byte) bool {
		var rec storage.Session
		if bad = storage.Unmarshal(v, &rec); bad != nil {
			return false
		}
		return fn(&rec)
	})
	return errors.Join(err, bad)
}
