package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/listen"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/broker/presence"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/broker/search"
	"github.com/petrelchat/petrel/broker/upkeep"
	"github.com/petrelchat/petrel/broker/webhook"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/hooks"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/signaling/relay"
	"github.com/petrelchat/petrel/signaling/sfu"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// General is the public group that everybody joins by using it, in dev mode.
const General = "general"

// Options of a server.
type Options struct {
	Config config.Config
	Log    *slog.Logger
	// Hooks are the embedder's: they see what the library's hooks see, before petrel decides.
	Hooks []mqtt.Hook
	// Store is used instead of the one in the data directory; the server closes it.
	Store   storage.Store
	Now     func() time.Time // nil: time.Now
	OnReady func()           // called by Run when all listeners are open
	// OnFatal is called when the store can no longer keep its promise. Run returns the error as well.
	OnFatal func(error)
}

// Server is a petrel server.
type Server struct {
	log *slog.Logger
	now func() time.Time
	cfg atomic.Pointer[config.Config]

	store    storage.Store
	pipeline *hub.Pipeline
	hub      *hub.Hub
	registry *delivery.Registry
	auth     *auth.Service
	admin    *auth.Admin
	presence *presence.Presence
	rpc      *rpc.Service
	mochi    *mqtt.Server
	adapter  *hooks.Adapter
	wills    *hooks.Wills
	trail    *auth.Trail
	webhooks *webhook.Hooks
	search   *search.Index // nil: there is none
	notify   *notify.Service
	calls    *calls      // nil: there are none
	sfu      *sfu.Server // nil: there is none
	views    *views
	readers  *readers
	runs     storage.Runs
	times    *rpcTimes
	upkeep   *upkeep.Upkeep
	eraser   *eraser
	relay    *relay.Relay // of Run

	control *control.Server
	tickets *listen.Tickets
	certs   []*listen.Certificates
	http    []*listen.HTTP

	listeners map[string]listeners.Listener
	fatal     chan error
	ready     atomic.Bool
	started   time.Time
	onFatal   func(error)
	onReady   func()
	closers   []func()
	wg        sync.WaitGroup

	ran  atomic.Bool // Run or Close was called
	end  sync.RWMutex
	over bool // everything is closed: guarded by end, which who uses the parts holds for reading
}

// New opens the store and builds the server; nothing listens before Run. An error leaves nothing open.
func New(o Options) (*Server, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{log: o.Log, now: o.Now, listeners: make(map[string]listeners.Listener), fatal: make(chan error, 1), onFatal: o.OnFatal, onReady: o.OnReady}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.started = s.now()
	s.cfg.Store(&o.Config)
	err := s.openStore(&o)
	if err == nil {
		err = s.build(&o)
	}
	if err != nil {
		s.closeAll()
		return nil, err
	}
	return s, nil
}

// StoreDir is where a server keeps its store below its data directory.
func StoreDir(data string) string { return filepath.Join(data, "store") }

// SocketPath is where a server's control socket is.
func SocketPath(data string) string { return filepath.Join(data, "petrel.sock") }

func (s *Server) openStore(o *Options) error {
	c := &o.Config
	if o.Store != nil {
		s.store = o.Store
		s.later(func() { s.closeStore() })
		return nil
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("the data directory cannot be made: %w", err)
	}
	if err := checkDevMark(c.Data, c.Dev); err != nil {
		return err
	}
	st, err := pebblestore.Open(StoreDir(c.Data), pebblestore.Options{
		Create: true, CacheBytes: int64(c.Storage.Cache), MemTableBytes: int64(c.Storage.Memtable),
		ReserveBytes: orNone(int64(c.Storage.Reserve)), MinFreeBytes: orNone(int64(c.Storage.MinFree)),
		Logger: s.log, OnFatal: s.fail,
	})
	if err != nil {
		return err
	}
	s.store = st
	s.later(func() { s.closeStore() })
	return nil
}

func orNone(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

func (s *Server) closeStore() {
	if err := s.store.Close(); err != nil {
		s.log.Error("closing the store failed", "error", err)
	}
}

// checkDevMark keeps a directory in which anybody was let in from being served as if only known users had been.
func checkDevMark(data string, dev bool) error {
	mark := filepath.Join(data, "dev")
	_, err := os.Stat(mark)
	switch {
	case err == nil && !dev:
		return fmt.Errorf("%s was made by serve --dev, where any password is accepted: serve it with --dev, or choose another --data directory", data)
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	case !dev:
		return nil
	}
	if _, err := os.Stat(StoreDir(data)); err == nil {
		return fmt.Errorf("%s belongs to a server with accounts: serve it without --dev, or choose another --data directory", data)
	}
	return os.WriteFile(mark, []byte("made by petrel serve --dev\n"), 0o600)
}

// codec is the stored form of events.
type codec struct{}

func (codec) EncodeStored(dst []byte, e *chat.Event) []byte { return protocol.EncodeStored(dst, e) }
func (codec) DecodeStored(b []byte) (chat.Event, error)     { return protocol.DecodeStored(b) }

// build makes the parts and ties them together, from the store upwards.
func (s *Server) build(o *Options) error {
	c := &o.Config
	s.pipeline = hub.NewPipeline(s.store, s.fail)
	if err := s.openTrail(); err != nil {
		return err
	}
	handed, err := s.openHanded(o)
	if err != nil {
		return err
	}
	s.registry, err = delivery.New(delivery.Options{
		Handed: handed,
		Store:  s.store, Pipeline: s.pipeline, Now: s.now, Limits: deliveryLimits(c), Log: s.log,
	})
	if err != nil {
		return err
	}
	if s.readers, err = loadReaders(s.store); err != nil {
		return err
	}
	s.views = newViews(s.registry, s.store, s.readers, s.log)
	s.hub = hub.New(hub.Options{
		Store: s.store, Pipeline: s.pipeline, Sink: s.views, Codec: codec{}, Limits: chatLimits(c),
		Now: func() int64 { return s.now().UnixMilli() }, Wanted: s.views.wanted, Messages: s.messages, Hides: s.readers.hides, Log: s.log,
		Audit: auditEvents, Addressed: func(text string) []string { return s.auth.Addressed(text) },
	})
	s.hub.SetAudit(c.Retention.Reads > 0)
	s.registry.SetHub(s.hub)
	s.pipeline.Start(s.registry.AfterCommits)
	s.later(func() { s.registry.Close(); s.hub.Close(); s.pipeline.Close() })
	if err := hub.BuildViews(s.store, codec{}, s.commitWait, s.log); err != nil {
		return err
	}
	if s.runs, err = s.openRuns(); err != nil {
		return err
	}
	if err := s.buildPeople(c); err != nil {
		return err
	}
	s.mochi = mqtt.New(mochiOptions(c, s.log))
	s.later(func() {
		if err := s.mochi.Close(); err != nil {
			s.log.Error("closing the MQTT library failed", "error", err)
		}
	})
	if s.wills, err = hooks.LoadWills(s.store, s.pipeline, s.now, s.log); err != nil {
		return err
	}
	s.adapter, err = hooks.New(hooks.Options{
		Server: s.mochi, Hub: s.hub, Registry: s.registry, Pipeline: s.pipeline, Store: s.store, Auth: s.auth,
		Presence: s.presence, RPC: requests{s.rpc, s.times}, Wills: s.wills, Hooks: o.Hooks, Now: s.now, Log: s.log, Settings: settings(c),
		Calls: s.calls.port(),
	})
	if err != nil {
		return err
	}
	s.wills.Start(s.adapter.PublishWill)
	s.later(s.wills.Close)
	if c.Dev {
		if err := s.makeGeneral(); err != nil {
			return err
		}
	}
	s.upkeep = upkeep.New(upkeep.Options{
		Store: s.store, Owners: s.hub, Commit: s.commitWait, Settings: upkeepSettings(c), Now: s.now, Log: s.log,
		Extra: []func(){s.flushAuth, s.registry.SweepRetained},
	})
	s.upkeep.Start()
	s.later(s.upkeep.Close)
	if err := s.startPeople(); err != nil {
		return err
	}
	s.webhooks.Start()
	s.later(s.webhooks.Close)
	return s.startCalls()
}

// flushAuth stores when tokens were last used.
func (s *Server) flushAuth() {
	if err := s.auth.Flush(); err != nil {
		s.log.Error("storing when tokens were used failed", "error", err)
	}
}

// openHanded opens the file that tells which acknowledgements may have left before a crash. It belongs to
// the store in the data directory.
func (s *Server) openHanded(o *Options) (*delivery.Handed, error) {
	if o.Store != nil {
		return nil, nil
	}
	h, err := delivery.OpenHanded(filepath.Join(o.Config.Data, "handed"), s.log)
	if err != nil {
		return nil, fmt.Errorf("the file of acknowledgements cannot be opened: %w", err)
	}
	s.later(func() {
		if err := h.Close(); err != nil {
			s.log.Warn("closing the file of acknowledgements failed", "error", err)
		}
	})
	return h, nil
}

func (s *Server) commitWait(b *storage.Batch) error { return s.pipeline.CommitWait(b) }

// buildPeople makes accounts, presence and requests.
func (s *Server) buildPeople(c *config.Config) error {
	var err error
	s.auth, err = auth.New(auth.Options{
		Store: s.store, Commit: s.commitWait, Record: s.recordLater, Trail: s.trail, Now: s.now, Dev: c.Dev, JWT: jwtOptions(c), ACL: acl(c),
		Argon2:       auth.Params{MemoryKiB: uint32(c.Auth.Argon2.Memory / config.KiB), Time: uint32(c.Auth.Argon2.Time), Threads: uint8(c.Auth.Argon2.Threads)},
		Throttle:     auth.Throttle{Failures: c.Auth.Throttle.Failures, Window: c.Auth.Throttle.Window, Base: c.Auth.Throttle.Delay, Max: c.Auth.Throttle.Max},
		CertNoCreate: !c.Auth.Certificates.Create, Log: s.log,
		OnRevoke: s.revoked, Erases: true,
	})
	if err != nil {
		return err
	}
	s.admin = auth.NewAdmin(s.auth)
	s.presence = s.newPresence(c)
	s.views.met = s.met
	s.eraser = s.newEraser()
	s.registry.SetWatcher(s.presence)
	if err := s.presence.Start(); err != nil {
		return err
	}
	s.later(s.presence.Close)
	if err := s.presence.Recover(); err != nil { // whoever was online when the last run ended is not
		return err
	}
	if s.webhooks, err = s.newHooks(c); err != nil {
		return err
	}
	s.views.webhooks = s.webhooks
	if err := s.buildNotify(c); err != nil {
		return err
	}
	s.openSearch(c)
	if err := s.buildCalls(c); err != nil {
		return err
	}
	s.rpc = s.newRPC()
	s.times = newRPCTimes(s.rpc.Methods())
	s.views.start(s.hub, s.rpc)
	s.later(s.views.close)
	return nil
}

// makeGeneral creates the public group of dev mode, once.
func (s *Server) makeGeneral() error {
	title, public, open := "General", chat.Public, chat.JoinOpen
	res := s.hub.Do(&hub.Request{Conv: General, Cmd: chat.Command{
		Op: chat.OpCreate, Actor: "petrel",
		Info: &chat.InfoChange{Title: &title, Visibility: &public, Join: &open},
	}})
	if res.Err != nil && !errors.Is(res.Err, &chat.Refusal{Code: chat.Conflict}) {
		return fmt.Errorf("the group %s cannot be made: %w", General, res.Err)
	}
	return nil
}
