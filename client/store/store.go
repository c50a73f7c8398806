// Package store is what a client keeps on its device, in words: the types, the interface and the errors.
// The engines are beside it: sqlite.Open for a file, memory.New for tests and programs that keep nothing;
// both pass the contract of storetest.
//
// Start with [Store]: View reads one consistent state, Update changes it as a whole or not at all and
// returns when the change is on disk. What is here is the truth that a user interface shows: it is written
// by who talks to the server, and read without asking anybody.
//
// The rules that an engine keeps by itself, whatever order news arrive in:
//
//   - An event is put any number of times and is there once. A stub never takes the place of the event, and
//     an event takes the place of its stub.
//   - A body that was dropped stays away: by [Tx.DropBodies], [Tx.DropDue] or a delete event in the log. What
//     comes later is stored without it, so is every edit of a post that was dropped.
//   - [Reader.Search] follows: it finds posts by the newest text that they have.
//   - Cursors only grow, the newest wish wins.
package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/petrelchat/petrel/chat"
)

// Errors of every engine. They are wrapped with what to do about it.
var (
	ErrNotFound = errors.New("store: there is no such record")
	ErrExists   = errors.New("store: a message with this id is in the outbox already")
	ErrInvalid  = errors.New("store: this cannot be kept")
	ErrFull     = errors.New("store: the disk is full")                          // nothing of the Update was kept; it works again when there is room
	ErrNewer    = errors.New("store: written by a newer version of the program") // untouched
	ErrBusy     = errors.New("store: another program has it open")
	ErrDamaged  = errors.New("store: the file is damaged or not a store")
	ErrClosed   = errors.New("store: closed")
)

// Store keeps what a client knows. All its methods may be called from any goroutine at once.
type Store interface {
	// View runs fn upon one consistent state: what is committed when it begins. The Reader is good until fn
	// returns, on fn's goroutine. fn must not call the store.
	View(ctx context.Context, fn func(Reader) error) error

	// Update runs fn, and returns nil when all that it changed is on disk. Updates run one after another and
	// see each other; those that come together share one sync of the disk. If fn returns an error (or panics)
	// nothing of it is kept, and Update returns that error. Another error means that nothing was kept either.
	// ctx bounds the wait for fn's turn, not what follows. fn must not call the store and should be
	// short: others wait.
	Update(ctx context.Context, fn func(Tx) error) error

	// Close waits for Views and Updates under way. What comes later gets ErrClosed.
	Close() error
}

// Reader reads one state of the store. Lists come with limits of the caller's; a Limit of 0 means 50. What a
// method returns is the caller's, except what the slices and pointers inside an event refer to: that must not
// be changed.
type Reader interface {
	// Conversation returns one record; ErrNotFound.
	Conversation(id string) (Conversation, error)
	// Conversations lists them: pinned ones first, then by At, newest first, then by ID.
	Conversations(q ConversationQuery) ([]Conversation, error)

	// Event returns one event; ErrNotFound also where only a span tells of it.
	Event(conv string, seq uint64) (Event, error)
	// Events returns a part of a log, ascending. A log that is not known is empty.
	Events(q EventQuery) ([]Event, error)
	// About returns what holds of the edits, deletions, reactions and pins whose Re is one of these seqs, by seq. Those
	// to which nothing was done are left out.
	About(q AboutQuery) (map[uint64]Acts, error)
	// Replies counts the posts that are stored of the threads that begin at roots; those with none are left out.
	Replies(conv string, roots []uint64) (map[uint64]int, error)
	// EventByID finds an event by the id that its sender gave it (own ones only have it); ErrNotFound.
	EventByID(conv, id string) (Event, error)
	// Spans returns which ranges of the log are here, ascending; no two of them touch.
	Spans(conv string) ([]Span, error)
	// NextDue returns when the next body disappears, in ms since 1970; ok is false if none does.
	NextDue() (at int64, ok bool, err error)
	// Search finds posts by their newest text, newest first. It is as good as the server's search in what it
	// understands: words, "phrases", beginnings (clim*), and parts of texts in scripts without spaces.
	Search(q SearchQuery) ([]Hit, error)

	// Members lists members and former ones by user id; Member returns one of them, or ErrNotFound.
	Members(conv string) ([]Member, error)
	Member(conv, user string) (Member, error)

	// Outbox lists what waits to be sent, in order of N.
	Outbox(q OutboxQuery) ([]Outgoing, error)
	// Outgoing returns one of them by its id; ErrNotFound.
	Outgoing(id string) (Outgoing, error)
	// OutboxCounts tells how many there are of each conversation, failed ones included.
	OutboxCounts() (map[string]int, error)
	// Wishes lists them all, the oldest first.
	Wishes() ([]Wish, error)

	// Meta returns a value of the client's own (token of the sync, name of the device, settings …); nil if
	// there is none. MetaKeys lists the keys that begin with prefix, ascending.
	Meta(key string) ([]byte, error)
	MetaKeys(prefix string) ([]string, error)
}

// Tx is a Reader that also writes; it sees what it wrote. What is put is copied, except slices and pointers
// inside events, which belong to the store from then on.
type Tx interface {
	Reader

	PutConversation(Conversation) error
	// DeleteConversation removes a conversation and what is kept for it: events, spans, members, wishes. What
	// waits in the outbox stays. One that is not there is no error.
	DeleteConversation(id string) error

	// PutEvents stores events, in any order and of any conversations, and adds their seqs to the spans.
	PutEvents([]Event) error
	// PutSpan says that this part of the log is accounted for, events or not: a stub stands for it.
	PutSpan(conv string, s Span) error
	// DropBodies takes the bodies of these events, and of their edits, for good; also of those that are still
	// to come.
	DropBodies(conv string, seqs []uint64) error
	// DropDue takes the bodies that have disappeared by now, at most 1,000 of them, the longest due first, with
	// their edits, and returns what remains of them: call it until it returns none.
	DropDue(now int64) ([]Event, error)

	// PutMembers adds members or replaces them; the cursors of one who is known only grow.
	PutMembers(conv string, members []Member) error
	DeleteMember(conv, user string) error

	// Enqueue puts a message at the end of the outbox and sets its N; ErrExists.
	Enqueue(*Outgoing) error
	// PutOutgoing replaces the one with the same ID, which keeps its N; ErrNotFound.
	PutOutgoing(Outgoing) error
	// DeleteOutgoing removes one; one that is not there is no error.
	DeleteOutgoing(id string) error

	// PutWish replaces an older wish of the same conversation and name; a newer one stays.
	PutWish(Wish) error
	// DeleteWish removes a wish unless a newer one than at has taken its place.
	DeleteWish(conv, name string, at int64) error

	// PutMeta keeps a value; nil removes the key.
	PutMeta(key string, value []byte) error
}

// List tells in which list a conversation is shown. Each is in one.
type List uint8

// The lists.
const (
	ListAll      List = iota // in a query: every one
	ListInbox                // none of the others
	ListArchive              // archived
	ListRequests             // pending: somebody asks to be let in
	ListFormer               // left
)

// Conversation is what the list of conversations shows, and how far this device has come.
type Conversation struct {
	ID    string
	Kind  string // "direct" or "group"
	Title string
	Role  string // one's own, as on the wire
	Info  []byte // the newest protocol.InfoView as JSON; nil: unknown

	Head       uint64 // seq of the newest event of the log, as far as known
	Read       uint64 // one's own cursors, as the server knows them
	Delivered  uint64
	ReadWanted uint64 // read here; the server is still to be told if it is above Read
	Floor      uint64 // lowest seq that there is to be had; 0: unknown

	Unread   int
	Mentions int    // unread ones
	At       int64  // ms of the newest event; orders the list
	Last     uint64 // seq of the newest event that the list shows; 0: none

	Mute     int64 // ms since 1970 until when; -1: for good
	Archived bool
	Pinned   bool
	Pending  bool // a message request
	Left     bool

	Draft      string
	DraftAt    int64 // ms
	DraftDirty bool  // the server is still to be told

	// Tally is the newest count of receipts of a large conversation, where members are not told one by one.
	Tally Tally
}

// List returns where the conversation is shown.
func (c *Conversation) List() List {
	switch {
	case c.Left:
		return ListFormer
	case c.Pending:
		return ListRequests
	case c.Archived:
		return ListArchive
	}
	return ListInbox
}

// Dirty reports whether the server is still to be told what was read or drafted here.
func (c *Conversation) Dirty() bool { return c.DraftDirty || c.ReadWanted > c.Read }

// Before reports whether c stands before d in a list.
func (c *Conversation) Before(d *Conversation) bool {
	switch {
	case c.Pinned != d.Pinned:
		return c.Pinned
	case c.At != d.At:
		return c.At > d.At
	}
	return c.ID < d.ID
}

// Tally counts who has received and read the event Seq.
type Tally struct {
	Seq                 uint64
	Delivered, Read, Of int
}

// ConversationQuery chooses conversations. The zero value means the first 50 of all.
type ConversationQuery struct {
	List  List
	Dirty bool          // only those of which the server is still to be told something
	After *Conversation // the last one of the page before, as it was there; nil: the first page
	Limit int           // 0: 50
}

// Event is an event of a log as it is kept. Conv is the log: a conversation, or "@" for the user's own. The
// embedded event's own Conv, which only events of the user's own log have, is Event.Event.Conv.
type Event struct {
	Conv string
	chat.Event
	// Gone: there is no body. Either it was dropped, or this is a stub (KindGone, KindLarge) of which nothing
	// but the seq is known.
	Gone bool
}

// OwnLog is the Event.Conv of the user's own log.
const OwnLog = "@"

// Stub reports whether nothing is known but that there is an event.
func (e *Event) Stub() bool { return e.Kind == chat.KindGone || e.Kind == chat.KindLarge }

// Drop takes the body away: what stays is who, when, what kind, and what it was about.
func (e *Event) Drop() {
	e.Event = chat.Event{
		Seq: e.Seq, From: e.From, At: e.At, Kind: e.Kind, ID: e.ID, Re: e.Re, Thread: e.Thread,
		Member: e.Member, Conv: e.Event.Conv,
	}
	e.Gone = true
}

// MaxSeq is the highest seq that can be kept.
const MaxSeq = 1<<40 - 1

// Check returns ErrInvalid for an event that cannot be kept.
func (e *Event) Check() error {
	if e.Conv == "" || e.Seq == 0 || e.Seq > MaxSeq {
		return fmt.Errorf("%w: an event has a conversation and a seq from 1 to 2⁴⁰-1, not %q and %d", ErrInvalid, e.Conv, e.Seq)
	}
	return nil
}

// EventQuery chooses events of one log. With neither bound it means the newest ones. With After reading begins
// there and goes up; otherwise it begins below Before, or at the end, and goes down. The result is ascending
// in any case.
type EventQuery struct {
	Conv   string
	Before uint64      // only what has a lower seq; 0: no bound
	After  uint64      // only what has a higher seq
	Kinds  []chat.Kind // only these; nil: all
	Thread uint64      // only what belongs to the thread that begins with this seq, its first post not included; 0: all
	Limit  int         // 0: 50
}

// Span is a range of seqs, both ends included.
type Span struct{ First, Last uint64 }

// Check returns ErrInvalid for a span that cannot be kept.
func (s Span) Check() error {
	if s.First == 0 || s.Last < s.First || s.Last > MaxSeq {
		return fmt.Errorf("%w: a span goes from a seq ≥ 1 up, not from %d to %d", ErrInvalid, s.First, s.Last)
	}
	return nil
}

// Member is somebody's part in a conversation, as far as known.
type Member struct {
	User, Role string
	Joined     int64 // ms; 0: unknown
	Left       bool
	Delivered  uint64 // seqs; cursors that are not told are 0
	Read       uint64
}

// OutState is how far an outgoing message has come. The numbers are stored: never renumber.
type OutState uint8

// The states.
const (
	Queued  OutState = 0 // waits; it can be cancelled
	Sending OutState = 1 // handed to the connection at least once: the server may have it
	Sent    OutState = 2 // acknowledged with Seq; the event itself is still to come
	Failed  OutState = 3 // refused for good, see Code and Reason
)

// Outgoing is a message, edit or other event on its way to the server.
type Outgoing struct {
	N    int64  // its place in the outbox; set by Enqueue, never used again
	ID   string // the event's idempotency key; names it
	Conv string
	To   string // the user, where the direct conversation did not exist yet; "": none

	Event       chat.Event // as it is to be sent, before the codec
	ReID        string     // Event.Re is to be the seq of the outgoing message with this id
	Attachments []Attachment

	State    OutState
	Attempts int
	Next     int64 // ms since 1970; not to be tried before
	Code     string
	Reason   string // why it failed, for a person
	At       int64  // ms since 1970 when it was written
	Seq      uint64 // Sent: where it is in the log
}

// Attachment is a file that goes with a message: uploaded when the message's turn comes.
type Attachment struct {
	Name  string `json:"name,omitempty"`
	Type  string `json:"type,omitempty"` // media type; "": to be found out
	Path  string `json:"path,omitempty"` // where it is, read at the upload; "": Data is it
	Data  []byte `json:"data,omitempty"`
	Size  int64  `json:"size,omitempty"`  // bytes
	Media []byte `json:"media,omitempty"` // CBOR, its entry in Event.Media; nil: not uploaded yet
}

// OutboxQuery chooses outgoing messages. The zero value means the first 50 of all.
type OutboxQuery struct {
	Conv   string     // "": all
	ReID   string     // only those that wait for this one; "": all
	States []OutState // nil: all
	After  int64      // only those with a higher N
	Limit  int        // 0: 50
}

// Wish is a setting that is to be told to the server: of each conversation and name only the newest counts.
type Wish struct {
	Conv, Name string
	Value      []byte
	At         int64 // ms since 1970; of two wishes the later one counts, of equal ones the one put last
}

// SearchQuery is what to look for.
type SearchQuery struct {
	Text  string // all of it must be there; a text without a word finds nothing
	Conv  string // only there; "": everywhere
	From  string // only what this user wrote
	Now   int64  // what has disappeared by then is not found; 0: whatever is stored
	After *Event // the last hit of the page before; nil: the first page
	Limit int    // 0: 50
}

// Hit is a post that was found.
type Hit struct {
	Event        // the post itself
	Text  string // its newest text, in which it was found
	Marks []Mark // what was found, ascending, not overlapping
}

// Mark is a part of a text, in bytes.
type Mark struct{ Start, End int }

// DefaultLimit is how many rows a list has if its query does not say.
const DefaultLimit = 50

// LimitOf is the limit that a query means.
func LimitOf(n int) int {
	if n <= 0 {
		return DefaultLimit
	}
	return n
}
