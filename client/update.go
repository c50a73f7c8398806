package client

import "github.com/petrelchat/petrel/chat"

// UpdateKind says what an [Update] is about.
type UpdateKind uint8

// The kinds of updates.
const (
	UpdateStatus       UpdateKind = iota + 1 // ask Client.Status
	UpdateConversation                       // Conv: its row changed: title, unread, settings, left
	UpdateMessages                           // Conv, Seqs: these changed or are new; nil: any may have: read the page again
	UpdateOutbox                             // Conv, ID: a queued message changed its state; ID "": any may have
	UpdateMembers                            // Conv: members, or how far they have come
	UpdateTyping                             // Conv: ask Client.Typing
	UpdatePresence                           // User: ask Client.Presence
	UpdateOwn                                // Event: an entry of the user's own log
	UpdateRefused                            // Conv, ID, Err: a message, or a setting, was refused
)

// Update says that something changed. It says where to look, not what is there: the store has that. So a reader
// that is slow gets fewer updates, not older ones.
type Update struct {
	Kind  UpdateKind
	Conv  string
	Seqs  []uint64 // ascending
	User  string
	ID    string
	Event *chat.Event // UpdateOwn; must not be changed
	Err   error       // UpdateRefused: usually a *chat.Refusal
}
