package search

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Options of an Index. Dir, Store, Commit, Head and Decode are required.
type Options struct {
	Dir   string // the index is here, and nothing else
	Store storage.Reader
	// Commit stores a batch and returns after the sync: once for each new file, the mark that it belongs to the store.
	Commit func(b *storage.Batch) error
	// Head returns the durable head of a log.
	Head   func(log string) (seq, commit uint64, err error)
	Decode func(b []byte) (chat.Event, error)

	// Share is the part of one processor that indexing takes while messages flow, 0 to 1; 0: DefaultShare. It takes up to
	// half of one when there is quiet.
	Share float64
	// Cache is bytes of memory for each of the connections to the file; 0: DefaultCache.
	Cache int64

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: nothing is logged
}

// What the zero values of Options mean.
const (
	DefaultShare = 0.15
	DefaultCache = 8 << 20
)

// Index is the open index. Its methods may be called from any goroutine; Note never waits.
type Index struct {
	o Options

	mu    sync.Mutex
	dirty map[string]struct{} // logs that may have something new
	queue []noted             // the same, in order
	all   bool                // too many to name: all logs
	asked []chan struct{}     // who waits for the index to be up to date
	noted atomic.Uint64       // how often something was noted

	file   sync.RWMutex // guards db: the goroutine replaces a damaged one
	db     *db
	broken atomic.Bool // a search found damage
	behind atomic.Bool // logs are read from before the start

	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{} // nil before Start
	once    sync.Once

	public publicGroups
	stats  counters
	feed   feeder // the goroutine's own
}

// Stats are figures for metrics.
type Stats struct {
	Docs    int64         // texts in the index
	Bytes   int64         // of the files
	Waiting int           // logs that are to be read
	Lag     time.Duration // since the oldest of them got something
	Behind  bool          // the index is being filled
	Queries int64
	Time    time.Duration // of all queries
}

type counters struct {
	docs, queries, nanos atomic.Int64
}

// maxDirty bounds the logs that are named; beyond that all are looked at.
const maxDirty = 50_000

// Open opens the index, and makes a new one where there is none that can be used. It is filled once Start was called. An error
// means that the directory cannot be used at all.
func Open(o Options) (*Index, error) {
	if o.Dir == "" || o.Store == nil || o.Commit == nil || o.Head == nil || o.Decode == nil {
		panic("search: Options needs Dir, Store, Commit, Head and Decode")
	}
	if o.Share <= 0 || o.Share > 1 {
		o.Share = DefaultShare
	}
	if o.Cache <= 0 {
		o.Cache = DefaultCache
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	x := &Index{o: o, dirty: make(map[string]struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	x.behind.Store(true)
	x.all = true // whatever came while nobody looked
	err := x.open()
	if err != nil && unusable(err) {
		o.Log.Warn("the search index cannot be used; a new one is made from the logs", "error", err)
		err = x.renew()
	}
	if err != nil {
		return nil, fmt.Errorf("opening the search index: %w", err)
	}
	return x, nil
}

func (x *Index) open() error {
	d, _, err := openDB(x.o.Dir, x.o.Cache)
	if err != nil {
		return err
	}
	var docs int64
	err = d.r.QueryRow(`SELECT count(*) FROM docs`).Scan(&docs)
	if err == nil {
		err = x.public.load(d)
	}
	if err != nil {
		return errors.Join(err, d.close())
	}
	x.stats.docs.Store(docs)
	x.feed.reset()
	x.db = d
	return nil
}

// renew throws the file away and opens an empty one. The caller holds file, or is alone.
func (x *Index) renew() error {
	if x.db != nil {
		if err := x.db.close(); err != nil {
			x.o.Log.Warn("closing the damaged search index failed", "error", err)
		}
		x.db = nil
	}
	if err := remove(x.o.Dir); err != nil {
		return err
	}
	return x.open()
}

// Start starts the goroutine that keeps the index. Call it once, when Note is being called already.
func (x *Index) Start() {
	x.stopped = make(chan struct{})
	go func() {
		defer close(x.stopped)
		x.run()
	}()
	x.poke()
}

// Close stops the goroutine, which leaves what it is at, and closes the file. Nothing may be asked after.
func (x *Index) Close() {
	x.once.Do(func() { close(x.stop) })
	if x.stopped != nil {
		<-x.stopped
	}
	x.file.Lock()
	defer x.file.Unlock()
	if x.db != nil {
		if err := x.db.close(); err != nil {
			x.o.Log.Warn("closing the search index failed", "error", err)
		}
		x.db = nil
	}
}

// Note says that a log got something that is durable. It never waits: the pipeline's goroutine calls it.
func (x *Index) Note(log string) {
	if log == "" || log[0] == '@' { // a user's own log: nothing in it is said by anybody
		return
	}
	x.noted.Add(1)
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.dirty[log]; !ok { // asking for the time costs more than that
		x.note(noted{log, x.o.Now()})
	}
}

// noted is a log that got something, and when it was named.
type noted struct {
	log string
	at  time.Time
}

func (x *Index) note(n noted) {
	if x.all {
		return
	}
	if _, ok := x.dirty[n.log]; ok {
		return
	}
	if len(x.dirty) == maxDirty {
		x.all = true
		clear(x.dirty)
		x.queue = nil
	} else {
		x.dirty[n.log] = struct{}{}
		x.queue = append(x.queue, n)
	}
	x.poke()
}

func (x *Index) poke() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// CatchUp returns when everything that was noted before is in the index, or ctx ends.
func (x *Index) CatchUp(ctx context.Context) error {
	done := make(chan struct{})
	x.mu.Lock()
	x.asked = append(x.asked, done)
	x.mu.Unlock()
	x.poke()
	select {
	case <-done:
		return nil
	case <-x.stop:
		return errors.New("search: the index is closed")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lagging is how old something must be that is not in the index yet, for a search to say so.
const lagging = 5 * time.Second

// Behind reports whether the index may lack messages that are older than a few seconds.
func (x *Index) Behind() bool {
	if x.behind.Load() || x.broken.Load() {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all || len(x.queue) > 0 && x.o.Now().Sub(x.queue[0].at) > lagging
}

// Stats returns the figures of now.
func (x *Index) Stats() Stats {
	s := Stats{Docs: x.stats.docs.Load(), Queries: x.stats.queries.Load(), Time: time.Duration(x.stats.nanos.Load()), Behind: x.Behind()}
	x.mu.Lock()
	s.Waiting = len(x.queue)
	if s.Waiting > 0 {
		s.Lag = max(0, x.o.Now().Sub(x.queue[0].at))
	}
	x.mu.Unlock()
	x.file.RLock()
	defer x.file.RUnlock()
	if x.db != nil {
		s.Bytes = x.db.bytes()
	}
	return s
}
