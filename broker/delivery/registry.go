package delivery

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// Key is the session key: never the client id alone.
type Key struct{ User, Client string }

// Log is what delivery asks of the hub.
type Log interface {
	Head(log string) (seq, commit uint64, err error)
	Unchanged(log string, since uint64) bool
	MoveCursor(m *hub.Move)
	NextJournal() uint64
}

// Watcher is told when users' sessions come and go, with the lock of the registry held: it must
// return at once.
type Watcher interface {
	Came(user string)
	Went(user string)
}

// Options of a registry.
type Options struct {
	Store    storage.Store
	Pipeline *hub.Pipeline
	Hub      Log
	Watcher  Watcher // may be nil
	Handed   *Handed // nil: no retry without id is recognised after a crash
	Now      func() time.Time
	Limits
	Log *slog.Logger
}

// Limits bound what may be on its way to a session and wait for it on disk.
type Limits struct {
	Timeout  time.Duration // of one write to a connection; 0: 30 s
	Window   int           // packets on their way to an MQTT 5 client; 0: 256
	Window3  int           // the same for MQTT 3.1.1; 0: 20
	Queue    plain.Limits  // plain messages that wait
	Retained int64         // retained messages; 0: no limit
}

func (l Limits) withDefaults() *Limits {
	if l.Window <= 0 {
		l.Window = 256
	}
	if l.Window3 <= 0 {
		l.Window3 = 20
	}
	if l.Timeout <= 0 {
		l.Timeout = 30 * time.Second
	}
	return &l
}

// Registry knows the sessions that are online. It is the hub's sink.
type Registry struct {
	o      Options
	limits atomic.Pointer[Limits]
	plain  *plainOwner

	mu         sync.Mutex
	dispatched uint64 // all events of commits up to here were offered to the sessions that are online
	users      map[string][]*Session
	sids       map[uint64]*Session
	keys       map[Key]*Session            // online, opening, or being put away
	views      map[protocol.FilterKind]int // sessions that subscribe to a kind of live view
	lastSID    uint64
	crashed    uint64 // newest commit that the previous run may have sent

	shares shareTable
	crowds crowds

	flushes []*outbox // only the dispatcher's goroutine
	marks   retainMarks
	matches sync.Pool // of *plain.Matches, for QoS 0
	turns   atomic.Uint64

	Sent    atomic.Int64 // messages handed to connections
	Dropped atomic.Int64 // plain messages that did not fit into a session's queue

	dirtyMu sync.Mutex
	dirty   map[*Session]struct{} // sessions with positions or cursors to store

	stop    chan struct{}
	owning  sync.WaitGroup // the owner of plain messages
	storing sync.WaitGroup // the store loop
}

// New loads what the last run left (unacknowledged inbound packets, plain filters) and starts the
// registry's goroutines: the owner of plain messages and the one that stores positions.
func New(o Options) (*Registry, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Registry{
		o: o, users: make(map[string][]*Session), sids: make(map[uint64]*Session),
		keys: make(map[Key]*Session), views: make(map[protocol.FilterKind]int),
		dirty:      make(map[*Session]struct{}),
		dispatched: o.Store.LastCommit(), crashed: o.Store.LastCommit(), stop: make(chan struct{}),
	}
	r.limits.Store(o.Limits.withDefaults())
	r.matches.New = func() any { return new(plain.Matches) }
	r.shares.all, r.shares.dirty = make(map[shareKey]*share), make(map[*share]struct{})
	r.lastSID = (o.Store.LastCommit() + 1) << 20
	if err := r.recover(); err != nil {
		return nil, err
	}
	if err := r.loadShares(); err != nil {
		return nil, err
	}
	var err error
	if r.plain, err = newPlainOwner(r); err != nil {
		return nil, err
	}
	r.owning.Go(r.plain.run)
	r.storing.Go(r.storeLoop)
	return r, nil
}

// SetHub completes the knot between the hub, whose sink the registry is, and the registry, which asks
// the hub for heads. Call it before the first session.
func (r *Registry) SetHub(l Log) { r.o.Hub = l }

// SetWatcher sets who is told of users' coming and going. Call it before the first session.
func (r *Registry) SetWatcher(w Watcher) { r.o.Watcher = w }

// Close stores what is dirty and stops the goroutines. All sessions must have been detached.
func (r *Registry) Close() {
	r.shares.pumps.Wait()
	close(r.stop)
	r.storing.Wait() // it gives the owner the sessions that have expired
	r.plain.close()
	r.owning.Wait()
}

// recover takes over what the last run stored and certainly did not acknowledge: it becomes part of the
// sessions' positions. The journal begins anew.
func (r *Registry) recover() error {
	marks := make(map[uint64][]storage.Journal)
	b := storage.Batch{Vital: true}
	var bad error
	err := r.o.Store.Scan(storage.In(storage.SpaceJournal), nil, func(k storage.Key, v []byte) bool {
		var list []storage.Journal
		if bad = storage.Unmarshal(v, &list); bad != nil {
			return false
		}
		for _, m := range list {
			if r.o.Handed.kept(m.N) {
				marks[m.SID] = append(marks[m.SID], m)
			}
		}
		b.Delete(append(storage.Key(nil), k...))
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	for sid, list := range marks {
		key := storage.In(storage.SpacePosition).U64(sid)
		v, ok, err := r.o.Store.Get(key)
		if err != nil {
			return err
		}
		if !ok {
			continue // the session has ended
		}
		var pos storage.Position
		if err := storage.Unmarshal(v, &pos); err != nil {
			return err
		}
		pos.Unseen = append(pos.Unseen, list...) // the last of a packet id counts
		b.Set(key, storage.Marshal(&pos))
	}
	if b.Len() > 0 {
		p, err := r.o.Store.Commit(&b) // the pipeline does not run yet
		if err == nil {
			err = p.Wait()
		}
		if err != nil {
			return err
		}
	}
	return r.o.Handed.reset((r.o.Store.LastCommit() + 1) << 20) // where the hub begins to number
}

// Begin, Deliver, Moved and End make the registry the hub's sink. They run on the pipeline's goroutine.
func (r *Registry) Begin() { r.mu.Lock() }

// End ends a commit: whoever attaches from now on finds its events in the log.
func (r *Registry) End(commit uint64) {
	r.dispatched = commit
	r.mu.Unlock()
}

// AfterCommits starts the writers of the connections that got something. The pipeline calls it.
func (r *Registry) AfterCommits() {
	for i, o := range r.flushes {
		o.flush()
		r.flushes[i] = nil
	}
	r.flushes = r.flushes[:0]
}

// Deliver offers an event to the sessions of all who may see it.
func (r *Registry) Deliver(d *hub.Delivery) {
	enc := encoding{log: d.Log, ev: d.Event}
	for _, u := range r.audience(d.Log, d.Members) {
		r.offer(u, d, &enc)
	}
	if d.Former != "" {
		r.offer(d.Former, d, &enc)
	}
	if r.shares.online != nil {
		r.offerShares(d, &enc)
	}
	if d.Begins != "" {
		r.begun(d.Begins)
	}
}

func (r *Registry) offer(user string, d *hub.Delivery, enc *encoding) {
	for _, s := range r.users[user] {
		if s.offer(d, enc) {
			r.flushes = append(r.flushes, s.link.out)
		}
	}
}

// Moved tells a cursor's move to those who wrote what it moved over, and to the mover's other devices.
func (r *Registry) Moved(m *hub.CursorMoved) {
	if r.views[protocol.FilterReceipts] == 0 {
		return
	}
	payload := protocol.Receipt{User: m.User, Delivered: m.Cursor.Delivered, Read: m.Cursor.Read}.Append(nil)
	topic := []byte(protocol.ReceiptsTopic(m.Conv))
	for _, a := range m.Authors {
		r.live(a, protocol.FilterReceipts, m.Conv, topic, payload)
	}
	if m.ReadNow {
		r.live(m.User, protocol.FilterReceipts, m.Conv, topic, payload)
	}
}

// live sends a live view's payload at QoS 0 to a user's sessions that subscribe to it. r.mu is held, and
// the caller is the dispatcher.
func (r *Registry) live(user string, kind protocol.FilterKind, conv string, topic, payload []byte) {
	for _, s := range r.users[user] {
		if s.sendLive(kind, conv, topic, payload, false) {
			r.flushes = append(r.flushes, s.link.out)
		}
	}
}

// Tell sends a live view's payload to the sessions of the users that subscribe to it, at QoS 0, from
// any goroutine. Conv or user is what the filter names, for kinds that name one.
func (r *Registry) Tell(users []string, kind protocol.FilterKind, name string, topic, payload []byte, retain bool) {
	r.mu.Lock()
	var out []*outbox
	if r.views[kind] > 0 {
		for _, u := range users {
			for _, s := range r.users[u] {
				if s.sendLive(kind, name, topic, payload, retain) {
					out = append(out, s.link.out)
				}
			}
		}
	}
	r.mu.Unlock()
	for _, o := range out {
		o.flush()
	}
}

// Wanted reports whether any session that is online subscribes to a kind of live view.
func (r *Registry) Wanted(kind protocol.FilterKind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.views[kind] > 0
}

// Online reports how many sessions of a user are connected.
func (r *Registry) Online(user string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.users[user])
}

// Sessions returns the connected sessions of a user ("" for the guests).
func (r *Registry) Sessions(user string) []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Session(nil), r.users[user]...)
}

// Count is the number of sessions that are connected.
func (r *Registry) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

// barrier returns when no dispatch is under way that was when it was called.
func (r *Registry) barrier() { _ = r.done() }

func (r *Registry) done() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dispatched
}

var _ hub.Sink = (*Registry)(nil)
