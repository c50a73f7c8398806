package client

import (
	"strconv"
	"time"

	"github.com/petrelchat/petrel/chat"
)

// State is how far a message of one's own has come.
type State uint8

// The states, in the order in which a message goes through them. A message of others has none.
const (
	StateNone      State = iota // not one's own
	StateQueued                 // on this device's disk; it can still be cancelled
	StateSending                // handed to the connection at least once: the server may have it
	StateSent                   // stored by the server
	StateDelivered              // every other member's devices have it
	StateRead                   // every other member has read it
	StateFailed                 // refused, see Message.Reason: Retry or Discard it
)

// String returns the state's name: "queued", "sending", "sent", "delivered", "read", "failed"; "" for none.
func (s State) String() string {
	names := [...]string{"", "queued", "sending", "sent", "delivered", "read", "failed"}
	if int(s) < len(names) {
		return names[s]
	}
	return "state " + strconv.Itoa(int(s))
}

// Target names a message: by its seq, or, while it is only queued on this device, by its id. The zero Target
// names none.
type Target struct {
	Seq uint64
	ID  string // used when Seq is 0
}

// At names the message with a seq.
func At(seq uint64) Target { return Target{Seq: seq} }

// Zero reports whether the target names nothing.
func (t Target) Zero() bool { return t == Target{} }

// Message is one entry of a conversation as a person sees it: a post with its edits and reactions folded in, a
// change of members or settings, or a post that waits in the outbox.
type Message struct {
	Conv string
	Seq  uint64 // 0: not stored by the server yet, as far as is known
	ID   string // one's own messages: the idempotency key, which also names it for Cancel and Retry
	From string
	Mine bool
	At   time.Time // when the server stored it; of a queued one when it was typed
	Kind chat.Kind // KindPost; KindCreate, KindJoin … for what happened to the conversation

	Text      string
	Re        uint64   // seq that this replies to; 0: no reply, or to one that is queued (ReID)
	ReID      string   // id of the queued message that this replies to or acts upon
	Thread    uint64   // seq of the first post of the thread; 0: in none
	Replies   int      // to the first post of a thread: how many replies are stored here
	Mentions  []string // user ids
	Media     []byte   // CBOR array of attachments; nil: none
	Forward   *chat.Forward
	Reactions []Reaction
	Edited    time.Time // when the newest edit was made; zero: never
	Expires   time.Time // when it disappears; zero: never
	Pinned    bool
	Deleted   bool // its body is gone: deleted, hidden, disappeared
	Large     bool // the body exceeds what this device takes
	Unread    bool // by others, and behind one's own read cursor

	State               State
	Delivered, Read, Of int    // of one's own: how many of the others have it, have read it, and how many there are
	Changing            bool   // an edit, deletion, reaction or pin of this device's is on its way
	Reason              string // StateFailed: what was wrong, for a person
	Code                chat.Code

	// Event is the post with its newest content, as the codec left it. Its slices must not be changed.
	Event chat.Event
}

// Target names the message for a reply, an edit, a reaction.
func (m *Message) Target() Target {
	if m.Seq != 0 {
		return Target{Seq: m.Seq}
	}
	return Target{ID: m.ID}
}

// Reaction is one emoji on a message.
type Reaction struct {
	Emoji string
	Count int      // how many users put it there
	Users []string // the last of them, at most store.ReactionUsers, in the order in which they did; History().Reactions knows all
	Mine  bool
}

// Conversation is a row of the list of conversations.
type Conversation struct {
	ID       string
	Direct   bool
	Peer     string // direct: the other user (or oneself)
	Title    string // of a group; of a direct conversation the peer's id
	About    string
	Role     string // one's own; "" of who has left
	Members  int    // 0: unknown
	Head     uint64 // seq of the newest event, as far as known
	Read     uint64 // one's own read cursor, what was read here and not yet told included
	Unread   int
	Mentions int       // unread mentions
	At       time.Time // of the newest event
	Last     *Message  // the newest post, queued ones included; nil: none is stored
	Muted    bool
	MuteEnd  time.Time // zero: not muted, or for good
	Archived bool
	Pinned   bool
	Pending  bool // a message request: accept or decline it
	Left     bool // no longer a member: history up to then is here
	Draft    string
	Queued   int  // messages and acts that wait in the outbox
	Earlier  bool // the server may have older events than this device
}

// List is one of the lists in which conversations are shown.
type List uint8

// The lists. Each conversation is in one of them, and in ListAll.
const (
	ListInbox    List = iota // what is in none of the others
	ListArchive              // archived
	ListRequests             // message requests that wait
	ListFormer               // left
	ListAll
)

// ConversationsQuery chooses conversations. The zero value means the first 50 of the inbox.
type ConversationsQuery struct {
	List  List
	After string // the id of the last row of the page before; "": the first page
	Limit int    // 0: 50
}

// Page chooses a part of a conversation. The zero value means its newest 50 messages.
type Page struct {
	Before uint64 // what stands before this seq; 0: the end
	After  uint64 // what follows this seq, ascending; takes precedence over Before
	Limit  int    // 0: 50
}

// Member is a member of a conversation, as far as this device knows.
type Member struct {
	User      string
	Role      string
	Left      bool
	Delivered uint64 // seq
	Read      uint64 // seq; 0 also when the member does not tell
}

// Presence is whether somebody is there. The zero value is that nothing is known.
type Presence struct {
	State string    // "online", "away", "offline"; "": not known
	Seen  time.Time // zero: not told
	Text  string
}
