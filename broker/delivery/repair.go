package delivery

import (
	"bytes"

	"github.com/petrelchat/petrel/storage"
)

// A crash leaves two things behind that no session takes care of: sessions that seem to be connected, and
// plain messages that wait for sessions which ended with it. repair finds them while the server runs, in
// the background, since it reads all sessions.

// ephemeral marks the ids of sessions that end with their connection: after a start, whatever waits for
// such an id waits for nobody.
const ephemeral = 1 << 63

// repairChunk is how many sessions are looked at in one go.
const repairChunk = 500

func (r *Registry) repair() {
	for after := storage.Key(nil); ; {
		select {
		case <-r.stop:
			return
		default:
		}
		next, more, err := r.endCrashed(after)
		if err != nil {
			r.o.Log.Error("looking for sessions that a crash left connected failed", "error", err)
			return
		}
		if !more {
			return
		}
		after = next
	}
}

// endCrashed notes for the sessions after a key that are not connected that they are not: from now on
// their expiry counts.
func (r *Registry) endCrashed(after storage.Key) (next storage.Key, more bool, err error) {
	var found []Key
	n := 0
	prefix := storage.In(storage.SpaceSession)
	err = r.o.Store.Scan(prefix, after, func(k storage.Key, v []byte) bool {
		next = append(next[:0], k...)
		var rec storage.Session
		user, rest, ok := storage.TakeStr(k[len(prefix):])
		client, _, ok2 := storage.TakeStr(rest)
		if ok && ok2 && storage.Unmarshal(v, &rec) == nil && rec.Ended == 0 {
			found = append(found, Key{user, client})
		}
		n++
		return n < repairChunk
	})
	for _, k := range found {
		release, err := r.holdIdle(k)
		if err != nil {
			continue // it came back
		}
		r.endNow(k)
		release()
	}
	return next, n == repairChunk, err
}

func (r *Registry) endNow(k Key) {
	rec, ok, err := r.record(k)
	if err != nil || !ok || rec.Ended != 0 {
		return
	}
	rec.Ended, rec.Crashed = r.o.Now().UnixMilli(), r.crashed
	b := storage.Batch{Vital: true}
	b.Set(sessionKey(k), storage.Marshal(&rec))
	if rec.Expiry != NeverExpires {
		b.Set(endKey(rec.Ended+int64(rec.Expiry)*1000, k), nil)
	}
	if err := r.o.Pipeline.Commit(&b, nil); err != nil {
		r.o.Log.Error("noting that a session is not connected failed", "user", k.User, "client", k.Client, "error", err)
	}
}

// orphans returns the ids of the sessions that ended with the last run and for which messages wait.
func orphans(r storage.Reader) (sids []uint64, err error) {
	prefix := storage.In(storage.SpaceRef)
	after := storage.In(storage.SpaceRef).U64(ephemeral)
	for {
		var sid uint64
		err := r.Scan(prefix, after, func(k storage.Key, _ []byte) bool {
			sid, _, _ = storage.TakeU64(k[len(prefix):])
			return false
		})
		if err != nil || sid == 0 {
			return sids, err
		}
		sids = append(sids, sid)
		after = append(storage.In(storage.SpaceRef).U64(sid), bytes.Repeat([]byte{0xFF}, 9)...)
	}
}
