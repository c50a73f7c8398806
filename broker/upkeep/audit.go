package upkeep

import (
	"time"

	"github.com/petrelchat/petrel/storage"
)

// Bounds of one step through the audit entries: deleted, and counted.
const (
	auditStep  = 512
	auditCount = 4096
)

// auditSweep is where a round through the audit entries stands: first what is too old goes, then the
// rest is counted, then what is too much goes.
type auditSweep struct {
	aged    bool
	counted bool
	after   storage.Key
	n       int // entries; once they are counted: how many are too many
}

// pruneAudit deletes audit entries, the oldest first.
func (u *Upkeep) pruneAudit(s Settings, now time.Time) (more bool, err error) {
	w := &u.trail
	switch {
	case !w.aged:
		oldest := uint64(0)
		if s.AuditAge > 0 {
			oldest = uint64(max(0, now.Add(-s.AuditAge).UnixMilli()))
		}
		n, err := u.dropAudit(auditStep, oldest)
		w.aged = n < auditStep
		return err == nil, err
	case s.AuditMax > 0 && !w.counted:
		last, more, err := u.scan(storage.In(storage.SpaceAudit), w.after, auditCount, func(storage.Key, []byte) { w.n++ })
		if w.after = last; err == nil && !more {
			w.counted = true
			w.n -= s.AuditMax
		}
		return err == nil, err
	case s.AuditMax > 0 && w.n > 0:
		n, err := u.dropAudit(min(auditStep, w.n), ^uint64(0))
		if w.n -= n; err == nil && n > 0 && w.n > 0 {
			return true, nil
		}
		*w = auditSweep{}
		return false, err
	}
	*w = auditSweep{}
	return false, nil
}

// dropAudit deletes the oldest entries, at most so many, of before a time in ms. n is how many there
// were.
func (u *Upkeep) dropAudit(most int, before uint64) (n int, err error) {
	var b storage.Batch
	err = u.o.Store.Scan(storage.In(storage.SpaceAudit), nil, func(k storage.Key, _ []byte) bool {
		if ms, _, ok := storage.TakeU64(k[1:]); !ok || ms >= before {
			return false
		}
		b.Delete(append(storage.Key(nil), k...))
		return b.Len() < most
	})
	if err != nil {
		return 0, err
	}
	return b.Len(), u.commit(&b)
}
