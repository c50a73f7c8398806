package hub

import (
	"slices"
	"sync"
)

// LargeGroup is the number of members above which cursor moves are not told one by one: the hub names no
// authors for them, and whoever shows receipts counts instead.
const LargeGroup = 32

// recent remembers at which commit a user's part in a conversation changed last (cursors, membership), and
// in which conversations anybody's cursors did. These changes leave no trace in a log: without this, who
// synchronises would have to look at every conversation. What is older than floor has been forgotten.
//
// It keeps two generations and drops the elder as a whole, so that it is bounded and never empty.
type recent struct {
	mu         sync.RWMutex
	now, elder map[string]map[string]uint64 // user ("": anybody) → conversation ("": memberships) → commit
	n, max     int                          // entries of now, and how many there may be
	began      uint64                       // now has everything after this commit
	floor      uint64                       // elder and now together have
}

// recentMax bounds the entries of one generation: about 100 bytes each.
const recentMax = 200_000

func (r *recent) init(floor uint64, limit int) {
	r.max = limit
	r.now, r.elder = make(map[string]map[string]uint64), nil
	r.began, r.floor = floor, floor
}

// moved notes that a user's cursors in a conversation moved.
func (r *recent) moved(user, conv string, commit uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(user, conv, commit)
	r.put("", conv, commit)
}

// changed notes that users' membership of a conversation changed.
func (r *recent) changed(users []string, conv string, commit uint64) {
	if len(users) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range users {
		r.put(u, conv, commit)
		r.put(u, "", commit)
	}
}

func (r *recent) put(user, conv string, commit uint64) {
	of := r.now[user]
	if of == nil {
		of = make(map[string]uint64, 1)
		r.now[user] = of
	}
	if _, ok := of[conv]; !ok {
		if r.n >= r.max {
			// This commit's changes may be spread over both generations: the new one is complete behind it.
			r.elder, r.floor = r.now, r.began
			r.now, r.n, r.began = make(map[string]map[string]uint64), 0, commit
			of = make(map[string]uint64, 1)
			r.now[user] = of
		}
		r.n++
	}
	of[conv] = commit
}

func (r *recent) get(user, conv string) uint64 { return max(r.now[user][conv], r.elder[user][conv]) }

// Changes is what happened after a commit, as far as a user is concerned.
type Changes struct {
	Events []string          // conversations that got events, of those that were asked about
	Moved  []string          // in which anybody's cursors moved, of those that were asked about
	Own    map[string]uint64 // in which the user's own cursors or membership changed, and with which commit
}

// Changes tells from memory what happened after a commit to a user and to the conversations that they
// name. ok is false when that is too long ago to be known: then each has to be looked at. What is newer
// than Settled may be missing.
func (h *Hub) Changes(user string, convs []string, since uint64) (c Changes, ok bool) {
	if c.Events, ok = h.heads.changed(convs, since); !ok {
		return Changes{}, false
	}
	r := &h.recent
	r.mu.RLock()
	defer r.mu.RUnlock()
	if since < r.floor {
		return Changes{}, false
	}
	c.Own = make(map[string]uint64)
	for _, of := range []map[string]uint64{r.elder[user], r.now[user]} {
		for conv, commit := range of {
			if conv != "" && commit > since {
				c.Own[conv] = commit
			}
		}
	}
	if of := r.now[""]; len(of)+len(r.elder[""]) > 0 {
		for _, conv := range convs {
			if r.get("", conv) > since {
				c.Moved = append(c.Moved, conv)
			}
		}
	}
	return c, true
}

// MembershipsChanged reports whether any membership of a user may have changed after a commit.
func (h *Hub) MembershipsChanged(user string, since uint64) bool {
	r := &h.recent
	r.mu.RLock()
	defer r.mu.RUnlock()
	return since < r.floor || r.get(user, "") > since
}

// Settled is the newest commit that is durable and whose completions have run: all that Head, Changes and
// MembershipsChanged know is complete up to there.
func (h *Hub) Settled() uint64 { return h.o.Pipeline.Settled() }

// changed returns those of the logs that got something after a commit; ok is false when one of them may
// have and the memory does not reach back so far.
func (hs *heads) changed(logs []string, since uint64) (list []string, ok bool) {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	if since < hs.floor {
		return nil, false
	}
	for _, log := range logs {
		if h, found := hs.m[log]; found && h.commit > since {
			list = append(list, log)
		}
	}
	return slices.Clip(list), true
}
