package hooks

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/storage"
)

// Options of an adapter. The parts are the server's; the adapter joins them to connections.
type Options struct {
	Server   *mqtt.Server
	Hub      *hub.Hub
	Registry *delivery.Registry
	Pipeline *hub.Pipeline
	Store    storage.Reader
	Auth     *auth.Service
	Presence Presence
	RPC      Requests
	Calls    Calls // nil: the server carries none
	Wills    *Wills
	Hooks    []mqtt.Hook // the embedder's: called where the library does not call them any more
	Now      func() time.Time
	Log      *slog.Logger
	Settings
}

// Presence is what connections ask of presence.
type Presence interface {
	SetStatus(user string, payload []byte, done func(error))
	MaySee(viewer, subject string) (bool, error)
	SendCurrent(viewer, subject string, send func(subject string, payload []byte)) error
}

// Caller is who makes a request.
type Caller struct {
	User, Client string
	Admin        bool
}

// Requests carries out rpc/{method}.
type Requests interface {
	Call(ctx context.Context, c Caller, method string, payload []byte, maxReply int) []byte
	InfoPayload(user, conv string) (payload []byte, ok bool, err error)
}

// Settings are what can change while the server runs.
type Settings struct {
	Dev               bool
	ConnectTimeout    time.Duration
	WriteTimeout      time.Duration
	Packet            uint32 // longest packet of a known client, bytes
	PacketBeforeAuth  uint32
	Event             int // longest event, bytes
	EventsPerSecond   int
	RequestsPerSecond int
	Burst             int
	Connections       int
	PerAddress        int
	Subscriptions     int
	TopicLevels       int
	UserProperties    int
	SessionsPerUser   int
	SessionExpiryV3   time.Duration
	SessionExpiryMax  time.Duration
	KeepAlive         time.Duration // the server's; 0: the client's own
	KeepAliveMax      time.Duration
	Aliases           uint16 // inbound topic aliases of a connection
	ReceiveMaximum    uint16 // unacknowledged publishes of an MQTT 5 client
	DenyFilters       []string
	Admins            []string // users that may call rpc/admin.* and read $SYS
	General           string   // the group that everybody joins by using it; dev mode
}

// Adapter takes connections from listeners to their sessions.
type Adapter struct {
	o        Options
	settings atomic.Pointer[Settings]
	hooks    *mqtt.Hooks
	nextID   atomic.Uint64
	gate     *gate // of those who come
	exits    *gate // of those whose connection ended: another one, since who comes may wait for them

	mu       sync.Mutex
	limits   map[string]*limits
	perAddr  map[netip.Addr]int
	conns    map[*conn]struct{}
	count    int // connections that were taken in
	admitted int // and those that still shake hands
	stopping bool
	wg       sync.WaitGroup

	typing typingPace
	stats  Stats
}

// Stats counts what passed. All fields may be read at any time.
type Stats struct {
	Connections, Refused, Published, Denied, Requests, Malformed atomic.Int64
}

// New returns an adapter and adds the deciding hook to the library's server.
func New(o Options) (*Adapter, error) {
	a := &Adapter{o: o, limits: make(map[string]*limits), perAddr: make(map[netip.Addr]int), conns: make(map[*conn]struct{})}
	a.gate, a.exits = newGate(1, &a.stats.Published), newGate(3, &a.stats.Published)
	a.Set(o.Settings)
	a.hooks = &mqtt.Hooks{Log: o.Server.Log}
	for _, h := range o.Hooks {
		if err := o.Server.AddHook(h, nil); err != nil {
			return nil, err
		}
		if err := a.hooks.Add(h, nil); err != nil {
			return nil, err
		}
	}
	return a, o.Server.AddHook(&Deciding{a: a}, nil)
}

// Set changes the settings; connections that exist keep their packet limits.
func (a *Adapter) Set(s Settings) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.settings.Swap(&s)
	if old != nil && old.EventsPerSecond == s.EventsPerSecond && old.RequestsPerSecond == s.RequestsPerSecond && old.Burst == s.Burst {
		return // a reload for another reason fills no bucket
	}
	for _, l := range a.limits {
		l.set(&s)
	}
}

func (a *Adapter) set() *Settings { return a.settings.Load() }

// Stats returns the counters.
func (a *Adapter) Stats() *Stats { return &a.stats }

// Count is the number of connections.
func (a *Adapter) Count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

// Admit counts a connection against the limits in all and per address. Listeners ask before the TLS
// handshake; release is to be called when the connection is closed.
func (a *Adapter) Admit(addr netip.Addr) (release func(), ok bool) {
	s := a.set()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping || s.Connections > 0 && a.admitted >= s.Connections ||
		addr.IsValid() && !s.Dev && s.PerAddress > 0 && a.perAddr[addr] >= s.PerAddress {
		a.stats.Refused.Add(1)
		return func() {}, false
	}
	a.admitted++
	if addr.IsValid() {
		a.perAddr[addr]++
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.admitted--
		if addr.IsValid() {
			if a.perAddr[addr]--; a.perAddr[addr] <= 0 {
				delete(a.perAddr, addr)
			}
		}
	}, true
}

// Connected reports whether a connection from the address stands, which shows that the address is not forged.
func (a *Adapter) Connected(addr netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.perAddr[addr] > 0
}

// take takes a connection in; false: the server is stopping.
func (a *Adapter) take(c *conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping {
		return false
	}
	a.count++
	a.conns[c] = struct{}{}
	a.wg.Add(1)
	return true
}

func (a *Adapter) release(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count--
	delete(a.conns, c)
	if c.limit != nil {
		if c.limit.users--; c.limit.users == 0 {
			delete(a.limits, c.limitKey())
		}
	}
	a.wg.Done()
}

func (c *conn) limitKey() string {
	if c.id.Guest {
		return "\x00" + c.addr.String()
	}
	return c.id.User
}

// share gives the connection its user's limits.
func (a *Adapter) share(c *conn) {
	if a.set().Dev {
		c.limit = nil
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.set()
	l := a.limits[c.limitKey()]
	if l == nil {
		l = new(limits)
		l.set(s)
		a.limits[c.limitKey()] = l
	}
	l.users++
	c.limit = l
}

// Cut ends the live sessions of a user, or only those that came with a token.
func (a *Adapter) Cut(user, tokenID string) {
	a.mu.Lock()
	var cut []*conn
	for c := range a.conns {
		if c.phase.Load() >= opening && c.id.User == user && (tokenID == "" || c.id.TokenID == tokenID) {
			cut = append(cut, c)
		}
	}
	a.mu.Unlock()
	for _, c := range cut {
		c.kick(delivery.Revoked)
	}
}

// Drain sends everybody away and waits until their sessions are put away. New connections are refused.
func (a *Adapter) Drain() {
	a.mu.Lock()
	a.stopping = true
	all := make([]*conn, 0, len(a.conns))
	for c := range a.conns {
		all = append(all, c)
	}
	a.mu.Unlock()
	for _, c := range all {
		c.kick(delivery.ServerStops)
	}
	a.wg.Wait()
}
