// Package upkeep keeps a store tidy while a server uses it: events disappear when their time is over,
// logs are held to the configured length and age, and retry keys and audit entries grow old.
//
// Start with [New] and [Upkeep.Start]; [Upkeep.Set] takes over changed settings, [Upkeep.Close] stops
// it. Close it before the registry, the hub and the pipeline: what it commits goes through them. What it takes
// out of a conversation is done by the conversation's owner, who knows what hangs on it.
//
// One goroutine does everything, in steps of at most a few hundred records, and rests after a step for as
// long as it took at least, so that messages keep the machine. All batches are Vital unless an owner puts
// messages into the same one: a full disk is when tidying up is wanted most. A step that fails is logged and tried again
// later; the jobs do not wait for one another.
//
// A retry key outlives the text of an event that was deleted or has disappeared, with the 64 bits of hash that it holds:
// without it, a device that never saw its PUBACK would bring the text back. Whoever has the disk could
// test guesses of a short text against that hash until the key is as old as Settings.RetryKeys.
package upkeep

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/storage"
)

// What the zero values of Options mean.
const (
	DefaultDisappear = time.Second
	DefaultSweep     = 10 * time.Minute
	DefaultExtra     = time.Minute
	DefaultRest      = 20 * time.Millisecond
)

// What a server keeps of its audit trail unless told otherwise.
const (
	DefaultAuditAge = 90 * 24 * time.Hour
	DefaultAuditMax = 100_000
)

// Settings say how long things are kept. A zero value is no bound, of Reads it keeps nothing.
type Settings struct {
	LogLength int           // newest events of a log, a user's own log included
	LogAge    time.Duration // of events; the newest one of a log always stays
	RetryKeys time.Duration // age of the event that an idempotency key stands for
	AuditAge  time.Duration // of audit entries
	AuditMax  int           // newest audit entries
	Reads     time.Duration // age of entries of the read audit; 0: none are kept
}

// Owners decide about conversations, and alone take something out of them. Each method hands its work over;
// wait returns when that is durable.
type Owners interface {
	// Disappear has events end whose time is over.
	Disappear(conv string, due []hub.Due) (wait func() error)
	// Cut removes the events before a seq.
	Cut(conv string, below uint64) (wait func() error)
}

var _ Owners = (*hub.Hub)(nil)

// Options of an Upkeep. Store, Commit and Owners are required.
type Options struct {
	Store  storage.Reader
	Owners Owners

	// Commit stores a batch and returns after the sync.
	Commit func(b *storage.Batch) error

	Settings Settings

	// Extra is called in turn, once every ExtraEvery, on the goroutine of the Upkeep: for parts that
	// have something to do now and then. None may take long.
	Extra []func()

	// Now is the clock; nil: time.Now. Ages are judged by it, pauses are measured by timers.
	Now func() time.Time

	Disappear  time.Duration // between looks at what is due to disappear; 0: DefaultDisappear
	Sweep      time.Duration // between two rounds through logs, retry keys, audit entries; 0: DefaultSweep
	ExtraEvery time.Duration // 0: DefaultExtra
	Rest       time.Duration // the least pause between two steps; 0: DefaultRest

	Log *slog.Logger // nil: nothing is logged
}

// Upkeep is the goroutine that keeps a store tidy. Its methods may be called from any goroutine.
type Upkeep struct {
	o       Options
	jobs    []*job
	stop    chan struct{}
	stopped chan struct{} // nil before Start
	changed chan struct{}
	once    sync.Once

	mu       sync.Mutex
	settings Settings

	// The goroutine's own: where the jobs go on.
	due    storage.Key
	logs   logSweep
	retry  retrySweep
	trail  auditSweep
	hidden hiddenSweep
	reads  readSweep
	extras int
}

// job is one kind of work. step does a part of it and says whether there is more right away.
type job struct {
	name  string
	every time.Duration
	step  func(s Settings, now time.Time) (more bool, err error)
	next  time.Time
}

// New returns an Upkeep that does nothing yet. It panics without Store, Commit or Owners.
func New(o Options) *Upkeep {
	if o.Store == nil || o.Commit == nil || o.Owners == nil {
		panic("upkeep: Options needs Store, Commit and Owners")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Disappear, DefaultDisappear)
	def(&o.Sweep, DefaultSweep)
	def(&o.ExtraEvery, DefaultExtra)
	def(&o.Rest, DefaultRest)
	u := &Upkeep{o: o, settings: o.Settings, stop: make(chan struct{}), changed: make(chan struct{}, 1)}
	u.jobs = []*job{
		{name: "disappearing events", every: o.Disappear, step: u.disappear},
		{name: "extra work", every: o.ExtraEvery, step: u.extra},
		{name: "retention of logs", every: o.Sweep, step: u.shorten},
		{name: "retry keys", every: o.Sweep, step: u.forgetRetries},
		{name: "audit entries", every: o.Sweep, step: u.pruneAudit},
		{name: "hidden events", every: o.Sweep, step: u.forgetHidden},
		{name: "read audit", every: o.Sweep, step: u.forgetReads},
	}
	return u
}

// settle is how long after the start everything but disappearing waits: clients come back first.
const settle = time.Minute

// Start starts the goroutine. Call it once.
func (u *Upkeep) Start() {
	now := time.Now()
	for _, j := range u.jobs {
		j.next = now.Add(min(j.every, settle))
	}
	u.stopped = make(chan struct{})
	go func() {
		defer close(u.stopped)
		u.run()
	}()
}

// Close stops the goroutine and returns when the step that it was in is done.
func (u *Upkeep) Close() {
	u.once.Do(func() { close(u.stop) })
	if u.stopped != nil {
		<-u.stopped
	}
}

// Set replaces the settings. They are in force from the next step on, and a round begins at once.
func (u *Upkeep) Set(s Settings) {
	u.mu.Lock()
	u.settings = s
	u.mu.Unlock()
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

func (u *Upkeep) current() Settings {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.settings
}

// run takes the job that has waited longest, step by step. Its schedule is by timers and their clock,
// which no setting of the system's clock can hold up.
func (u *Upkeep) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	rest := u.o.Rest
	for {
		j := u.first()
		timer.Reset(max(rest, time.Until(j.next)))
		select {
		case <-u.stop:
			return
		case <-u.changed:
			u.beginAnew()
			continue
		case <-timer.C:
		}
		began := time.Now()
		more, err := j.step(u.current(), u.o.Now())
		rest = max(u.o.Rest, time.Since(began))
		if err != nil {
			u.o.Log.Error("keeping the store tidy failed; it is tried again", "job", j.name, "error", err)
		}
		j.next = time.Now()
		switch {
		case more: // also past what failed
		case err != nil:
			j.next = j.next.Add(max(j.every, settle))
		default:
			j.next = j.next.Add(j.every)
		}
	}
}

func (u *Upkeep) first() *job {
	first := u.jobs[0]
	for _, j := range u.jobs[1:] {
		if j.next.Before(first.next) {
			first = j
		}
	}
	return first
}

// beginAnew starts new rounds of what the settings are about.
func (u *Upkeep) beginAnew() {
	u.logs, u.retry, u.trail, u.reads = logSweep{}, retrySweep{}, auditSweep{}, readSweep{}
	u.hidden = hiddenSweep{}
	now := time.Now()
	for _, j := range u.jobs[2:] {
		j.next = now
	}
}

// extra calls one of the functions that others want to be called.
func (u *Upkeep) extra(Settings, time.Time) (more bool, err error) {
	if u.extras < len(u.o.Extra) {
		u.o.Extra[u.extras]()
		u.extras++
	}
	if u.extras < len(u.o.Extra) {
		return true, nil
	}
	u.extras = 0
	return false, nil
}

// commit stores a batch that has something in it.
func (u *Upkeep) commit(b *storage.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	b.Vital = true
	return u.o.Commit(b)
}

// scan collects copies of up to limit records after a key. more says that there may be others.
func (u *Upkeep) scan(prefix, after storage.Key, limit int, fn func(k storage.Key, v []byte)) (last storage.Key, more bool, err error) {
	n := 0
	err = u.o.Store.Scan(prefix, after, func(k storage.Key, v []byte) bool {
		k = append(storage.Key(nil), k...)
		fn(k, append([]byte(nil), v...))
		last = k
		n++
		return n < limit
	})
	return last, n == limit, err
}

var errKey = errors.New("key of another form")
