package delivery

import (
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
)

// Who accepts a message request gets the conversation from its beginning: nothing of it was offered to their
// sessions before, and their positions may be behind it. So with the event that accepts it, the log begins to
// lag from its first seq on, for sessions that are online here and for those that are away when they resume.

// beginLog notes that a log is to be read from its beginning. s.mu is held.
func (s *Session) beginLog(d *hub.Delivery, src source) *lagging {
	l := s.lags(src, 1, d.Event.Seq)
	l.fresh = s.resuming
	return l
}

// begun has the sessions of a user read what beginLog noted, on other goroutines. r.mu is held, and the
// caller is the dispatcher: they wait for it.
func (r *Registry) begun(user string) {
	for _, s := range r.users[user] {
		s.pumpAside()
	}
}

// firstOf is the first event that a member is owed, of those from seq first on: who accepted a request since
// is owed what was written before, too.
func firstOf(m chat.Member, first uint64) uint64 {
	if m.Accepted() && first <= m.Joined {
		return m.Since
	}
	return max(first, m.Joined)
}
