package hub

import (
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Delivery is one event on its way to those who may see it. It is immutable, and handed out only
// after the sync.
type Delivery struct {
	Log     string      // conversation id, or a user's own log
	Event   *chat.Event // owned by the log: read only
	Members []string    // who gets it: read only
	Former  string      // who gets it too, for it ended their membership; "" for nobody
	Begins  string      // who gets the log from its beginning now, for they accepted it; "" for nobody
	Commit  uint64
	Origin  uint64 // session id of the sender, for No Local; 0: none
}

// Sink is told what became durable. All its methods run on the pipeline's goroutine, in the order of
// the commits: they must not block, and not commit.
type Sink interface {
	Begin()
	Deliver(d *Delivery)
	Moved(m *CursorMoved)
	End(commit uint64)
}

// CursorMoved says that a member has come further.
type CursorMoved struct {
	Conv    string
	User    string
	Old     chat.Cursor // before the move
	Cursor  chat.Cursor
	Large   bool     // the conversation has more than LargeGroup members: nobody looked for the authors
	Wanted  bool     // somebody may want to be told
	Authors []string // whose posts the cursor moved over
	ReadNow bool     // the read cursor moved: the user's other devices want to know
	Hidden  bool     // the user does not tell authors what they have read
}

// Codec turns events into the stored bytes and back. The hub does not know the form.
type Codec interface {
	EncodeStored(dst []byte, e *chat.Event) []byte
	DecodeStored(b []byte) (chat.Event, error)
}

// Options of a hub.
type Options struct {
	Store    storage.Store
	Pipeline *Pipeline
	Sink     Sink
	Codec    Codec
	Limits   chat.Limits
	Now      func() int64 // ms since 1970
	Owners   int          // owner goroutines; 0: one for every four processors
	CacheMax int          // conversations kept in memory by each owner; 0: 10,000
	// Wanted reports whether anybody may be told of cursor moves; nil: always. Without it, nobody looks for
	// the authors of what was moved over. It is asked on the owners' goroutines.
	Wanted func() bool
	// Audit puts into the batch what the audit trail keeps of events: of those that the server makes and of
	// deletions; nothing else is asked about. target is what a deletion is about. nil: nothing is kept. It runs
	// on the owners' goroutines.
	Audit func(b *storage.Batch, conv string, events []chat.Event, target *chat.Event)
	// Addressed returns the bots whose slash command a text begins with; nil: there are none. It is asked on
	// the owners' goroutines, for texts that begin with a slash.
	Addressed func(text string) []string
	// Hides reports whether a user tells no author what they have read; nil: nobody does. It is asked on the
	// owners' goroutines, and may read the store.
	Hides func(user string) bool
	// Messages says from whom users take direct messages who have not said it themselves; nil: from anyone. It
	// is asked on the owners' goroutines.
	Messages func() chat.Messages
	Log      *slog.Logger
}

// Hub hashes conversations onto owners. Its methods may be called from any goroutine but the
// pipeline's, unless they say otherwise.
type Hub struct {
	o       Options
	seed    maphash.Seed
	owners  []*owner
	wg      sync.WaitGroup
	journal atomic.Uint64
	limits  atomic.Pointer[chat.Limits]
	heads   heads
	recent  recent
	audits  atomic.Bool
}

// New starts the owners; Close stops them.
func New(o Options) *Hub {
	if o.Owners <= 0 { // one decides for 100,000 messages a second, and batches of one share their syncs best
		o.Owners = max(1, runtime.GOMAXPROCS(0)/4)
	}
	if o.CacheMax <= 0 {
		o.CacheMax = 10_000
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixMilli() }
	}
	h := &Hub{o: o, seed: maphash.MakeSeed()}
	h.SetLimits(o.Limits)
	h.heads.init(o.Store.LastCommit())
	h.recent.init(o.Store.LastCommit(), recentMax)
	h.journal.Store((o.Store.LastCommit() + 1) << 20)
	for range o.Owners {
		w := newOwner(h)
		h.owners = append(h.owners, w)
		h.wg.Add(1)
		go func() { defer h.wg.Done(); w.run() }()
	}
	return h
}

// SetLimits changes what commands are judged by from now on.
func (h *Hub) SetLimits(l chat.Limits) { h.limits.Store(&l) }

// Close lets the owners finish what they were given, and stops them. Nothing may be submitted after.
func (h *Hub) Close() {
	for _, w := range h.owners {
		close(w.in)
	}
	h.wg.Wait()
}

func (h *Hub) owner(conv string) *owner {
	if len(h.owners) == 1 {
		return h.owners[0]
	}
	return h.owners[maphash.String(h.seed, conv)%uint64(len(h.owners))]
}

// Result answers a request. Err is nil, a *chat.Refusal, or storage.ErrFull.
type Result struct {
	Seq       uint64
	At        int64
	Duplicate bool
	Pending   bool // OpJoin: the request to join waits
	Err       error
}

// Request is a command for one conversation.
type Request struct {
	Conv     string
	Direct   bool
	Cmd      chat.Command
	AutoJoin bool // an actor who is not a member joins first, if the group is open
	Origin   uint64
	Mark     storage.Journal // SID 0: not journalled
	With     storage.Batch   // stored atomically with the command, if it is not refused
	Own      []Own           // and so are these
	// Unless is asked on the owner's goroutine, right before the command is decided and after all that were submitted
	// before it for the conversation were: what it returns refuses the command. nil: nothing is asked.
	Unless func() error
	// Done is called once: for a refusal on the owner's goroutine or the caller's, else on the pipeline's
	// after the sync; not at all if the disk fails between. It must not block.
	Done func(Result)
}

// Submit hands a command to the conversation's owner and returns. It blocks while the owner has as
// much as it can take: that is what slows publishers down to the disk's pace.
func (h *Hub) Submit(r *Request) {
	if !h.give(r.Conv, work{req: r}) {
		r.Done(Result{Err: errStopped()})
	}
}

// give hands work to an owner; false: nothing will become durable any more.
func (h *Hub) give(conv string, x work) bool {
	select {
	case h.owner(conv).in <- x:
		return true
	case <-h.o.Pipeline.Stopped():
		return false
	}
}

func errStopped() error {
	return chat.Refuse(chat.Unavailable, "the server stops, since it can store nothing more; try again when it is back")
}

// await returns what comes over ch, or late when the pipeline ended without it.
func await[T any](h *Hub, ch <-chan T, late T) T {
	select {
	case res := <-ch:
		return res
	case <-h.o.Pipeline.Stopped():
	}
	select {
	case res := <-ch: // it came first
		return res
	default:
		return late
	}
}

// Do submits a command and waits for its result.
func (h *Hub) Do(r *Request) Result {
	ch := make(chan Result, 1)
	r.Done = func(res Result) { ch <- res }
	h.Submit(r)
	return await(h, ch, Result{Err: errStopped()})
}

// Move asks for a member's cursors to be moved. With done it is answered after the sync; without, the
// cursor is stored lazily.
type Move struct {
	Conv      string
	User      string
	Delivered uint64
	Read      uint64
	Done      func(Result)
}

// MoveCursor hands a cursor move to the owner.
func (h *Hub) MoveCursor(m *Move) {
	if !h.give(m.Conv, work{move: m}) && m.Done != nil {
		m.Done(Result{Err: errStopped()})
	}
}

// View is a conversation as its owner sees it. Valid only within the function that received it.
type View struct {
	State   *chat.State
	Cursors map[string]chat.Cursor
}

// Query runs fn on the owner's goroutine and returns when everything that fn saw is durable. fn must
// not block and not keep what it was given. direct says what kind of conversation an id is.
func (h *Hub) Query(conv string, direct bool, fn func(View)) error {
	ch := make(chan error, 1) // answered by a completion, so after the sync of all that fn saw
	q := &query{conv: conv, direct: direct, fn: fn, done: ch}
	if !h.give(conv, work{query: q}) {
		return errStopped()
	}
	err := await(h, ch, errStopped())
	if err != nil {
		q.abandon() // fn writes into what the caller is about to read
	}
	return err
}

type query struct {
	conv   string
	direct bool
	done   chan error

	mu sync.Mutex
	fn func(View) // nil: nobody waits any more
}

func (q *query) run(v View) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fn != nil {
		q.fn(v)
	}
}

// abandon returns when fn has run, or never will.
func (q *query) abandon() {
	q.mu.Lock()
	q.fn = nil
	q.mu.Unlock()
}

// Head returns the durable head of a log and the commit that wrote it.
func (h *Hub) Head(log string) (seq, commit uint64, err error) {
	if seq, commit, ok := h.heads.get(log); ok {
		return seq, commit, nil
	}
	durable := h.o.Pipeline.Durable()
	seq, commit, err = h.o.Store.Head(log)
	if err != nil || commit <= durable {
		return seq, commit, err
	}
	next, err := h.o.Store.After(log, durable)
	return next - 1, durable, err
}

// Unchanged reports cheaply, from memory, that a log got nothing after a commit. False means
// "perhaps it did".
func (h *Hub) Unchanged(log string, since uint64) bool { return h.heads.unchanged(log, since) }

// Durable is the newest durable commit.
func (h *Hub) Durable() uint64 { return h.o.Pipeline.Durable() }

// heads remembers the durable heads of the logs that changed lately: whoever comes back learns from
// it that nothing happened without a look at the disk. What is not in it has not changed since floor.
type heads struct {
	mu    sync.RWMutex
	m     map[string]head
	floor uint64
}

type head struct{ seq, commit uint64 }

// headsMax bounds the memory: about 100 bytes each.
const headsMax = 100_000

func (hs *heads) init(floor uint64) { hs.m, hs.floor = make(map[string]head), floor }

func (hs *heads) get(log string) (seq, commit uint64, ok bool) {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	h, ok := hs.m[log]
	return h.seq, h.commit, ok
}

func (hs *heads) unchanged(log string, since uint64) bool {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	if h, ok := hs.m[log]; ok {
		return h.commit <= since
	}
	return since >= hs.floor
}

func (hs *heads) put(log string, seq, commit uint64) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(hs.m) >= headsMax {
		if _, ok := hs.m[log]; !ok {
			// Start anew: from now on whoever was away before this commit asks the disk.
			clear(hs.m)
			hs.floor = commit
		}
	}
	hs.m[log] = head{seq, commit}
}
