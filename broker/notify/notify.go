package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Settings say how calm notifications are. The zero value of a field is its default.
type Settings struct {
	Window  time.Duration // what comes within it is one notification; 0: 5 s
	PerHour int           // notifications for a conversation; mentions and calls may be as many again; 0: 10
	TTL     time.Duration // how long one is tried, and kept by a push service; 0: 24 h
	Workers int           // users that are carried out at a time; 0: 32
	Private bool          // no text and no names in any of them
}

func (s Settings) withDefaults() *Settings {
	if s.Window <= 0 {
		s.Window = 5 * time.Second
	}
	if s.PerHour <= 0 {
		s.PerHour = 10
	}
	if s.TTL <= 0 {
		s.TTL = 24 * time.Hour
	}
	if s.Workers <= 0 {
		s.Workers = 32
	}
	return &s
}

// Options of a Service. Only Now, Check, Log and Settings may be left out.
type Options struct {
	Store storage.Reader

	// Commit applies a batch, whose changes are then visible in Store, and calls done after the sync, on a
	// goroutine of its own choice. An error means that nothing was stored and done will not be called.
	Commit func(b *storage.Batch, done func()) error
	// CommitWait stores a batch and returns after the sync.
	CommitWait func(b *storage.Batch) error

	Decode  func(b []byte) (chat.Event, error)               // the stored form of an event
	Head    func(log string) (seq, commit uint64, err error) // the durable head
	Durable func() uint64                                    // newest durable commit
	Online  func(user string) bool                           // a session that counts for presence is connected
	Name    func(user string) (name string, err error)       // display name; "" for none
	Senders map[string]Sender                                // by kind
	Check   func(endpoint string) error                      // refuses endpoints that may not be called; nil: none

	Settings Settings
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger     // nil: nothing is logged
}

// Service gathers and sends. Its methods may be called from any goroutine unless they say otherwise.
type Service struct {
	o        Options
	settings atomic.Pointer[Settings]
	keys     Keys
	Stats    Stats

	wake    chan struct{} // holds one token: the loop has something to look at
	results chan result
	flushed chan struct{}
	stop    chan struct{}
	once    sync.Once
	stopped chan struct{} // nil before Start
	ctx     context.Context
	cancel  context.CancelFunc

	inbox inbox
	subs  subscribers
	rings ringing
	loop  loop // the goroutine's own
}

// Stats count since the start; the arrays are by [KindIndex].
type Stats struct {
	Sent, Failed, Retried [kinds]atomic.Int64
	Removed               atomic.Int64          // registrations that their push service no longer knows
	Dropped               [reasons]atomic.Int64 // by why nobody was told; see [Reasons]
	Waiting               atomic.Int64          // users' conversations of which somebody is to be told
	Busy                  atomic.Int64          // users that are being told
}

// New makes a Service that does nothing yet; the keys are generated and stored when there are none. Errors:
// what the store returns.
func New(o Options) (*Service, error) {
	if o.Store == nil || o.Commit == nil || o.CommitWait == nil || o.Decode == nil || o.Head == nil || o.Durable == nil || o.Online == nil || o.Name == nil {
		return nil, errors.New("notify: Options lacks something that must be there")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	keys, err := LoadKeys(o.Store, o.CommitWait)
	if err != nil {
		return nil, err
	}
	s := &Service{o: o, keys: keys, wake: make(chan struct{}, 1), flushed: make(chan struct{}, 1), stop: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.inbox.dirty = make(map[string]span)
	s.Set(o.Settings)
	return s, nil
}

// Set replaces the settings: for what is sent from now on.
func (s *Service) Set(c Settings) {
	s.settings.Store(c.withDefaults())
	s.poke()
}

// Start reads what the last run left and starts the goroutine. Call it once, before the hub has anything to
// report; Close stops it. Errors: what the store returns.
func (s *Service) Start() error {
	if err := s.loadSubscribers(); err != nil {
		return err
	}
	if err := s.loop.load(s); err != nil {
		return err
	}
	s.results = make(chan result, 1)
	s.stopped = make(chan struct{})
	go func() {
		defer close(s.stopped)
		s.run()
	}()
	return nil
}

// closeWait is how long Close lets what is being sent come to its end.
const closeWait = 2 * time.Second

// Close waits a moment for what is being sent, hands what waits to Commit and stops the goroutine: the next run goes
// on from there. Close the pipeline after it.
func (s *Service) Close() {
	s.once.Do(func() { close(s.stop) })
	if s.stopped != nil {
		<-s.stopped
	}
	s.cancel()
	s.rings.wg.Wait()
}

func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) now() int64 { return s.o.Now().UnixMilli() }
