package search

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Bounds of the goroutine's steps.
const (
	linger    = 100 * time.Millisecond // what comes within it is indexed together
	tick      = 5 * time.Second        // between two looks at what disappears
	retry     = time.Minute            // after a failure
	nameStep  = 256                    // conversations that are looked at together
	readStep  = 1024                   // events of one log that are read together
	batchDocs = 1024                   // texts of a transaction
	batchText = 512 << 10              // bytes of them
)

// feeder is what the goroutine alone touches.
type feeder struct {
	bound  bool        // the file is known to belong to the store
	round  bool        // a look at all logs is under way
	after  storage.Key // where it goes on
	convs  map[string]int64
	users  map[string]int64
	pace   pace
	audit  int64 // row that was checked last
	purged time.Time
}

func (f *feeder) reset() {
	f.bound, f.round, f.after, f.audit = false, false, nil, 0
	f.convs, f.users = make(map[string]int64), make(map[string]int64)
}

// run reads what was noted, until Close.
func (x *Index) run() {
	x.feed.purged = x.o.Now()
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for {
		select {
		case <-x.stop:
			return
		case <-x.wake:
			if !x.urgent() && !x.sleep(linger) {
				return
			}
		case <-timer.C:
		}
		err := x.work()
		switch {
		case errors.Is(err, errStopped):
			return
		case err != nil && (damaged(err) || x.broken.Load()):
			x.o.Log.Warn("the search index is damaged; a new one is made from the logs", "error", err)
			err = x.replace()
		}
		if err == nil {
			timer.Reset(tick)
			continue
		}
		x.o.Log.Error("indexing failed; it is tried again", "error", err)
		if !x.sleep(retry) {
			return
		}
		x.poke()
	}
}

var errStopped = errors.New("search: the index is closed")

// errBroken is what a search that found damage makes the goroutine find.
var errBroken = fmt.Errorf("%w: a search found damage", errOther)

// replace puts an empty index in the place of a damaged one.
func (x *Index) replace() error {
	x.file.Lock()
	defer x.file.Unlock()
	x.behind.Store(true)
	if err := x.renew(); err != nil {
		return err
	}
	x.broken.Store(false)
	x.mu.Lock()
	x.all = true
	x.mu.Unlock()
	x.poke()
	return nil
}

// work goes on until all that was noted is in the index, then tidies up a little.
func (x *Index) work() error {
	for {
		if x.stopping() {
			return errStopped
		}
		if x.broken.Load() || x.db == nil { // a replacement that failed is tried again
			return errBroken
		}
		if !x.feed.bound {
			if err := x.bind(); err != nil {
				return err
			}
		}
		x.mu.Lock()
		asked := x.asked
		x.asked = nil
		x.mu.Unlock()
		began := time.Now()
		b, idle, err := x.gather()
		if err == nil {
			err = x.apply(b, began)
		}
		if err != nil || !idle { // not caught up yet: they wait on
			x.mu.Lock()
			x.asked = append(asked, x.asked...)
			x.mu.Unlock()
			if err != nil {
				x.again(b)
				return err
			}
			continue
		}
		x.behind.Store(false)
		err = x.tidy()
		for _, done := range asked {
			close(done)
		}
		return err
	}
}

// markKey is where the store says which index is its own.
func markKey() storage.Key { return storage.In(storage.SpaceDerived).Str("search") }

// bind makes sure that the file was filled from this store, and not from the one that was in its place before. Both
// hold the same random mark.
func (x *Index) bind() error {
	var mine string
	err := x.db.w.QueryRow(`SELECT v FROM meta WHERE k = 'store'`).Scan(&mine)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	theirs, _, err := x.o.Store.Get(markKey())
	if err != nil {
		return err
	}
	switch {
	case mine != "" && mine != string(theirs):
		return fmt.Errorf("%w: it was made from another store", errOther)
	case mine == "":
		mine = rand.Text()
		var b storage.Batch
		b.Vital = true
		b.Set(markKey(), []byte(mine))
		if err := x.o.Commit(&b); err != nil {
			return err
		}
		if _, err := x.db.w.Exec(`INSERT INTO meta VALUES ('store', ?)`, mine); err != nil {
			return err
		}
	}
	x.feed.bound = true
	return nil
}

// again puts back what could not be stored.
func (x *Index) again(b *batch) {
	if b == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for log := range b.next {
		x.note(noted{log, x.o.Now()})
	}
}

// gather reads what is new in some logs. idle says that there was nothing.
func (x *Index) gather() (b *batch, idle bool, err error) {
	b = newBatch()
	names, err := x.names()
	if err != nil || len(names) == 0 {
		return b, true, err
	}
	for i := range names {
		more, err := x.read(b, names[i].log)
		if err != nil {
			x.renote(names[i:])
			return b, false, err
		}
		if more {
			x.renote(names[i:])
			break
		}
	}
	return b, false, nil
}

func (x *Index) renote(names []noted) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, n := range names {
		x.note(n)
	}
}

// names returns logs to look at: what was noted comes before what a look at all finds.
func (x *Index) names() ([]noted, error) {
	x.mu.Lock()
	if x.all {
		x.all = false // what is noted from here on is not lost on a look that has passed it
		x.feed.round, x.feed.after = true, nil
	}
	n := min(nameStep, len(x.queue))
	names := append([]noted(nil), x.queue[:n]...)
	if x.queue = x.queue[n:]; len(x.queue) == 0 {
		x.queue = nil
	}
	for i := range names {
		delete(x.dirty, names[i].log)
	}
	x.mu.Unlock()
	if len(names) > 0 || !x.feed.round {
		return names, nil
	}
	return x.next()
}

// next goes on with the look at all logs: every conversation has a record.
func (x *Index) next() (names []noted, err error) {
	f, now := &x.feed, x.o.Now()
	err = x.o.Store.Scan(storage.In(storage.SpaceConv), f.after, func(k storage.Key, _ []byte) bool {
		f.after = append(f.after[:0], k...)
		if name, _, ok := storage.TakeStr(k[1:]); ok {
			names = append(names, noted{name, now})
		}
		return len(names) < nameStep
	})
	if err == nil && len(names) < nameStep {
		f.round, f.after = false, nil
	}
	return names, err
}

// read adds to the batch what a log got since it was last read. more says that there is more, or that the batch is full.
func (x *Index) read(b *batch, log string) (more bool, err error) {
	if b.full() {
		return true, nil
	}
	next, ok := b.next[log]
	if !ok {
		err := x.db.w.QueryRow(`SELECT next FROM convs WHERE name = ?`, log).Scan(&next)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return false, err
		}
		next = max(next, 1)
	}
	head, _, err := x.o.Head(log)
	if err != nil || head+1 == next || head == 0 {
		return false, err
	}
	if head < next { // these are not the logs that were read
		return false, fmt.Errorf("%w: %s ends at %d and was read to %d", errOther, log, head, next-1)
	}
	var bad error
	n := 0
	to := head
	err = x.o.Store.Read(log, next, head, func(e storage.Entry) bool {
		if n == readStep || b.full() {
			to, more = e.Seq-1, true
			return false
		}
		n++
		ev, err := x.o.Decode(e.Data)
		if err != nil { // the others are searchable all the same
			x.o.Log.Error("an event cannot be indexed", "conv", log, "seq", e.Seq, "error", err)
			return true
		}
		ev.Seq = e.Seq
		bad = x.take(b, log, &ev)
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return false, err
	}
	b.next[log] = to + 1
	return more, nil
}

// take adds what an event changes.
func (x *Index) take(b *batch, log string, ev *chat.Event) error {
	if _, _, direct := chat.Parties(log); !direct {
		b.last[log] = ev.At
		if ev.Kind >= chat.KindCreate && ev.Kind < chat.KindGone {
			b.groups[log] = struct{}{}
		}
	}
	switch ev.Kind {
	case chat.KindPost:
		b.set(log, ev, ev, true)
	case chat.KindEdit:
		target, ok, err := x.event(log, ev.Re)
		if err != nil || !ok || target.Kind != chat.KindPost || target.From != ev.From {
			return err
		}
		b.set(log, &target, ev, false)
	case chat.KindDelete:
		target, ok, err := x.event(log, ev.Re)
		if err != nil || !ok {
			return err
		}
		b.drop(log, &target)
	}
	return nil
}

// event reads an event of a log. One that cannot be decoded is none: it must not keep all others from being searched.
func (x *Index) event(log string, seq uint64) (ev chat.Event, ok bool, err error) {
	err = x.o.Store.Read(log, seq, seq, func(e storage.Entry) bool {
		var bad error
		ev, bad = x.o.Decode(e.Data)
		ev.Seq, ok = e.Seq, bad == nil
		return false
	})
	return ev, ok, err
}

// pace keeps the goroutine from taking more of a processor than it should.
type pace struct {
	noted uint64 // at the last look
	at    time.Time
	busy  bool
	owed  time.Duration // rest
}

// busyRate is how many messages a second are no quiet.
const busyRate = 50

// rest makes the goroutine rest for work that it did. false: the index is being closed.
func (x *Index) rest(worked time.Duration) bool {
	p := &x.feed.pace
	now := time.Now()
	if d := now.Sub(p.at); d > 200*time.Millisecond {
		noted := x.noted.Load()
		p.busy = float64(noted-p.noted) > busyRate*d.Seconds()
		p.noted, p.at = noted, now
	}
	share := 0.5
	if p.busy {
		share = min(share, x.o.Share)
	}
	p.owed += time.Duration(float64(worked) * (1/share - 1))
	if x.urgent() {
		p.owed = 0
	}
	if p.owed < 2*time.Millisecond {
		return !x.stopping()
	}
	owed := min(p.owed, time.Second)
	p.owed = 0
	return x.sleep(owed)
}

// urgent: somebody waits until the index is up to date.
func (x *Index) urgent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.asked) > 0
}

func (x *Index) stopping() bool {
	select {
	case <-x.stop:
		return true
	default:
		return false
	}
}

func (x *Index) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-x.stop:
		return false
	case <-t.C:
		return true
	}
}
