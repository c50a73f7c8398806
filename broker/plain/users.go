package plain

// Users tells whose the sessions are, so that what waits for all sessions of a user can be bounded. The
// Queue asks on its owner's goroutine, once for a session or a user that it does not remember.
type Users interface {
	// UserOf returns whose a session is; "" for nobody's, which no limit per user applies to.
	UserOf(sid uint64) (string, error)
	// SessionsOf returns the sessions of a user that something may wait for.
	SessionsOf(user string) ([]uint64, error)
}

// LimitUsers makes Limits.UserBytes effective. Call it before anything else.
func (q *Queue) LimitUsers(u Users) { q.users = u }

// userFull says whether size more bytes are too much for a user.
func (q *Queue) userFull(user string, size int64) (bool, error) {
	if q.users == nil || q.limits.UserBytes <= 0 || user == "" {
		return false, nil
	}
	total, ok := q.totals.get(user)
	if !ok {
		var err error
		if total, err = q.count(user); err != nil {
			return false, err
		}
		q.totals.put(user, total)
	}
	return total+size > q.limits.UserBytes, nil
}

// count adds up what waits for a user, the batch being filled included.
func (q *Queue) count(user string) (total int64, err error) {
	sids, err := q.users.SessionsOf(user)
	if err != nil {
		return 0, err
	}
	for _, sid := range sids {
		u, err := q.use(sid)
		if err != nil {
			return 0, err
		}
		total += u.bytes
	}
	return total, nil
}

// charge changes what a user has, if that is remembered: else it will be counted.
func (q *Queue) charge(user string, bytes int64) {
	if total, ok := q.totals.get(user); ok {
		q.totals.put(user, total+bytes)
	}
}
