package signaling

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/signaling/call"
	"github.com/petrelchat/petrel/storage"
)

// Reader is what the service reads of the store.
type Reader interface {
	Scan(prefix, after storage.Key, fn func(k storage.Key, v []byte) bool) error
}

// Limits bound calls. A zero field means its default.
type Limits struct {
	PerUser        int // live calls that a user takes part in
	Parties        int // of a call; also how many may be named to be rung
	Rung           int // members of a group that are rung without being named; in a larger one nobody is
	Mesh           int // parties that connect to each other; with one more the call goes through the SFU
	MeshOnly       int // parties of a call where there is no SFU
	StartsPerPair  int // calls that a user starts in a conversation, a minute
	StartsPerUser  int // calls that a user starts, a minute
	SignalsPerUser int // signals that a user sends, a minute
}

// DefaultLimits returns the limits that stand for zero.
func DefaultLimits() Limits {
	return Limits{PerUser: 4, Parties: 100, Rung: 32, Mesh: 4, MeshOnly: 6, StartsPerPair: 10, StartsPerUser: 30, SignalsPerUser: 1500}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ v, d *int }{
		{&l.PerUser, &d.PerUser}, {&l.Parties, &d.Parties}, {&l.Rung, &d.Rung}, {&l.Mesh, &d.Mesh}, {&l.MeshOnly, &d.MeshOnly},
		{&l.StartsPerPair, &d.StartsPerPair}, {&l.StartsPerUser, &d.StartsPerUser}, {&l.SignalsPerUser, &d.SignalsPerUser},
	} {
		if *f.v <= 0 {
			*f.v = *f.d
		}
	}
	return l
}

// limits are those that hold, and what the core needs of them. They are not changed, but replaced.
type limits struct {
	Limits
	core call.Limits
}

// SetLimits puts other limits in force, for what is published from now on: nobody is put out of a call. Any goroutine may call it.
func (s *Service) SetLimits(l Limits) {
	l = l.withDefaults()
	s.limits.Store(&limits{l, call.Limits{Parties: l.Parties, Mesh: l.Mesh, MeshOnly: max(l.MeshOnly, l.Mesh)}})
}

// Options are what New needs. Store, Commit and World are required.
type Options struct {
	Store     Reader
	Commit    Committer
	World     World
	Forwarder Forwarder        // nil: there is no SFU
	Now       func() time.Time // nil: time.Now
	Limits    Limits
	Log       *slog.Logger               // nil: none
	NewID     func(now time.Time) string // of calls; nil: NewCallID
	NewParty  func() string              // of parties; nil: NewPartyID
}

// Stats are figures of a service. Counters grow from its start on.
type Stats struct {
	Live      int               // calls that live now
	Parties   int               // parties of them
	Started   uint64            // calls
	Ended     map[string]uint64 // calls, by outcome
	Signals   uint64            // that were passed on
	Refused   uint64            // publishes
	Unwritten int               // calls that ended and are not in the log of their conversation yet
}

// Service is the authority on all calls of a server. Its methods may be called from any goroutine.
type Service struct {
	o       Options
	limits  atomic.Pointer[limits]
	log     *slog.Logger
	index   index
	gates   [64]sync.Mutex // of conversations: one start at a time
	timers  timers
	work    work
	rates   rates
	figures figures
}

var _ Calls = (*Service)(nil)

type figures struct {
	live, parties, unwritten  atomic.Int64
	started, signals, refused atomic.Uint64
	mu                        sync.Mutex
	ended                     map[string]uint64
}

// New returns a service that knows no calls yet: Open is next.
func New(o Options) (*Service, error) {
	if o.Store == nil || o.Commit == nil || o.World == nil {
		return nil, errors.New("signaling: Store, Commit and World are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.NewID == nil {
		o.NewID = NewCallID
	}
	if o.NewParty == nil {
		o.NewParty = NewPartyID
	}
	s := &Service{o: o, log: o.Log}
	s.SetLimits(o.Limits)
	s.index.open(maphash.MakeSeed())
	s.work.open()
	s.figures.ended = make(map[string]uint64)
	return s, nil
}

// Open loads the calls of the store and starts the goroutine of the timer. Whoever took part counts as away until
// their device comes. Call it once, before any other method, when the Committer runs completions.
func (s *Service) Open() error {
	calls, err := s.load()
	if err != nil {
		return fmt.Errorf("signaling: loading calls: %w", err)
	}
	for _, l := range calls {
		if err := s.restore(l); err != nil {
			return fmt.Errorf("signaling: taking up call %s: %w", l.id, err)
		}
	}
	s.work.running.Store(true)
	go s.loop()
	return nil
}

// Close stops the timer and waits for its goroutine. Calls stay in the store as they are, for the next Open.
func (s *Service) Close() {
	s.work.stop()
	if s.work.running.Load() {
		<-s.work.done
	}
}

// Stats returns the figures of now.
func (s *Service) Stats() Stats {
	f := &s.figures
	f.mu.Lock()
	defer f.mu.Unlock()
	return Stats{
		Live: int(f.live.Load()), Parties: int(f.parties.Load()), Unwritten: int(f.unwritten.Load()),
		Started: f.started.Load(), Signals: f.signals.Load(), Refused: f.refused.Load(), Ended: maps.Clone(f.ended),
	}
}

func (s *Service) now() int64 { return s.o.Now().UnixMilli() }

func (s *Service) sfu() bool { return s.o.Forwarder != nil && s.o.Forwarder.Available() == nil }

// load reads what the last run left.
func (s *Service) load() ([]*live, error) {
	var all []*live
	var bad error
	err := s.o.Store.Scan(storage.In(storage.SpaceCall), nil, func(_ storage.Key, v []byte) bool {
		st := &call.State{}
		if bad = storage.Unmarshal(v, st); bad != nil {
			return false
		}
		all = append(all, newLive(st))
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	byID := make(map[string]*live, len(all))
	for _, l := range all {
		byID[l.id] = l
	}
	err = s.o.Store.Scan(storage.In(storage.SpaceSignal), nil, func(k storage.Key, _ []byte) bool {
		id, party, seq, ok := storage.TakeSignal(k)
		if l := byID[id]; ok && l != nil {
			l.found(party, seq)
		}
		return true
	})
	return all, err
}

// restore takes up a call of the last run.
func (s *Service) restore(l *live) error {
	st := l.state.Load()
	s.index.add(l)
	if !st.Live() {
		s.figures.unwritten.Add(1)
		s.retire(l)
		s.work.finish(l)
		return nil
	}
	s.figures.live.Add(1)
	s.index.settle(l, &call.State{}, st)
	l.mu.Lock()
	defer l.mu.Unlock()
	s.figures.parties.Add(int64(len(st.Parties)))
	return s.carry(l, &turn{cmd: &call.Command{Verb: call.Restart}, vital: true})
}
