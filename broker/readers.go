package broker

import (
	"bytes"
	"errors"
	"sync"

	"github.com/petrelchat/petrel/storage"
)

// readers knows who hides what they have read: few, so that they are kept in memory and nobody reads a
// profile for each member of a group. Who hides it does not see it of others either.
type readers struct {
	mu   sync.RWMutex
	hide map[string]struct{}
}

func loadReaders(r storage.Reader) (*readers, error) {
	known := &readers{hide: make(map[string]struct{})}
	prefix := storage.In(storage.SpaceProfile)
	mark := []byte{0x07, 0xF5} // field 7 is true (RFC 8949 §3.3): in the record of everybody who hides
	var bad error
	err := r.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		if !bytes.Contains(v, mark) {
			return true // nearly everybody: not decoded
		}
		user, _, _ := storage.TakeStr(k[len(prefix):])
		var p storage.Profile
		if bad = storage.Unmarshal(v, &p); bad == nil {
			known.set(user, p.NoRead)
		}
		return bad == nil
	})
	return known, errors.Join(err, bad)
}

// hides reports whether a user hides what they have read.
func (r *readers) hides(user string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.hide[user]
	return ok
}

func (r *readers) set(user string, hide bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if hide {
		r.hide[user] = struct{}{}
	} else {
		delete(r.hide, user)
	}
}
