package hub

import (
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// auditEvery is how fine the read audit is: of the moves of one member in one conversation within it, the last
// is kept.
const auditEvery = int64(10 * time.Second / time.Millisecond)

// audit notes in the batch who moved which cursors when. The key has the end of the time in which further
// moves take its place, so that whoever reads from some time on misses none after it. Of those who hide what
// they read, reading leaves no entry: that somebody read something shows in there being one.
func (w *owner) audit(conv, user string, old, cur chat.Cursor) {
	if !w.h.audits.Load() || cur.Delivered == old.Delivered && w.h.o.Hides != nil && w.h.o.Hides(user) {
		return
	}
	now := w.h.o.Now()
	rec := storage.Read{Cursor: cur, At: now}
	w.batch.Set(storage.ReadKey(conv, (now/auditEvery+1)*auditEvery, user), storage.AppendRead(nil, rec))
}

// SetAudit switches the read audit on or off: from the next cursor move on.
func (h *Hub) SetAudit(on bool) { h.audits.Store(on) }
