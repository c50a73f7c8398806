package webhook

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Hub is what webhooks ask of the hub.
type Hub interface {
	Do(r *hub.Request) hub.Result
	Query(conv string, direct bool, fn func(hub.View)) error
	Head(log string) (seq, commit uint64, err error)
	Tell(n *hub.Note) error
}

// Accounts knows who there is, and makes bots.
type Accounts interface {
	// Account returns when the account of exactly that spelling was made, ms since 1970; ok is false if
	// there is none, or it is locked out.
	Account(user string) (created int64, ok bool)
	// IsBot says whether there is such a bot, and whose.
	IsBot(user string) (owner string, ok bool)
	// AddBot makes the bot of a webhook; its owner is who made the webhook.
	AddBot(ctx context.Context, owner, bot, hook string) error
	// DeleteUser removes an account.
	DeleteUser(ctx context.Context, user string) error
}

// Audit is something that the audit trail keeps.
type Audit struct{ Who, What, Target, Conv, Note string }

// Settings are what can change while the server runs.
type Settings struct {
	BaseURL       string        // of the links that are given out: https://chat.example.org; "": they are paths
	AllowPrivate  bool          // outgoing ones may go anywhere, by http too
	AllowLoopback bool          // they may go to this machine, by http too: for trying things
	Timeout       time.Duration // of one delivery; 0: 10 s
	PerSecond     int           // posts to an incoming one, and twice that from one address; 0: unlimited
}

// Options is what Hooks are made of. TLS, Admit, Address and Log may be nil.
type Options struct {
	Store    storage.Reader
	Hub      Hub
	Accounts Accounts
	Commit   func(b *storage.Batch) error // returns after the sync
	Audit    func(a Audit) storage.Op     // what a batch takes for it
	Now      func() time.Time
	Settings Settings

	TLS     *tls.Config                                     // of connections to endpoints; nil: the system's authorities
	Admit   func(addr netip.Addr) (release func(), ok bool) // counts a request like a connection
	Address func(r *http.Request) netip.Addr                // where a request came from, behind proxies; nil: the connection's
	Use     func() (release func(), err error)              // keeps what Hub needs open while a request is carried out
	Backoff struct {
		First, Most, Age time.Duration
		Times            int
	} // of retries; zero values: 1 s, 1 h, and off after 3 days or 100 times
	Log *slog.Logger
}

// Hooks are all webhooks of a server. Its methods may be called from any goroutine that may wait for the
// disk; Wake from any.
type Hooks struct {
	o        Options
	settings atomic.Pointer[Settings]
	client   atomic.Pointer[http.Client]
	rates    rates
	stats    Stats
	watched  atomic.Pointer[map[string][]*out] // outgoing ones by log; replaced, never changed

	making sync.Mutex // one is made, changed or removed after the other
	mu     sync.Mutex
	hooks  map[string]*hook
	sched  scheduler
	left   []*record // that a crash left half made
}

// New reads the webhooks. Nothing is sent before Start.
func New(o Options) (*Hooks, error) {
	def := func(d *time.Duration, v time.Duration) { *d = cmp.Or(*d, v) }
	def(&o.Backoff.First, time.Second)
	def(&o.Backoff.Most, time.Hour)
	def(&o.Backoff.Age, 72*time.Hour)
	o.Backoff.Times = cmp.Or(o.Backoff.Times, 100)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Admit == nil {
		o.Admit = func(netip.Addr) (func(), bool) { return func() {}, true }
	}
	if o.Use == nil {
		o.Use = func() (func(), error) { return func() {}, nil }
	}
	if o.Address == nil {
		o.Address = remoteAddr
	}
	h := &Hooks{o: o, hooks: map[string]*hook{}}
	h.sched.init()
	h.Set(o.Settings)
	if err := h.load(); err != nil {
		return nil, fmt.Errorf("reading the webhooks: %w", err)
	}
	return h, nil
}

// Set changes the settings. Deliveries under way end by the old ones.
func (h *Hooks) Set(s Settings) {
	s.Timeout = cmp.Or(s.Timeout, 10*time.Second)
	h.settings.Store(&s)
	if old := h.client.Swap(h.o.client(s)); old != nil {
		old.CloseIdleConnections()
	}
}

func (h *Hooks) load() error {
	var bad error
	err := h.o.Store.Scan(storage.In(storage.SpaceWebhook), nil, func(k storage.Key, v []byte) bool {
		var r *record
		if r, bad = decodeRecord(k, v); bad == nil {
			h.hooks[r.ID] = &hook{record: r}
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	for id, k := range h.hooks {
		if k.Making {
			h.left = append(h.left, k.record)
		}
		if k.Kind != Out {
			continue
		}
		v, ok, err := h.o.Store.Get(nextKey(id, k.Conv))
		if err == nil && !ok {
			err = storage.ErrRecord
		}
		var p position
		if err == nil {
			err = storage.Unmarshal(v, &p)
		}
		if err != nil {
			return fmt.Errorf("position of %s: %w", id, err)
		}
		k.out = &out{id: id, log: k.Conv, pos: p}
	}
	h.watch()
	return nil
}

// watch renews what Wake looks at. It is called with mu held, or by load.
func (h *Hooks) watch() {
	m := make(map[string][]*out)
	for _, k := range h.hooks {
		if k.out != nil && k.Off == 0 {
			m[k.Conv] = append(m[k.Conv], k.out)
		}
	}
	h.watched.Store(&m)
}

// get returns a webhook as it is now.
func (h *Hooks) get(id string) (hook, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok := h.hooks[id]
	if !ok || k.Making {
		return hook{}, false
	}
	return *k, true
}

// put stores a record and takes it over.
func (h *Hooks) put(r *record, pos *position, op storage.Op) error {
	b := new(storage.Batch)
	b.Set(hookKey(r.ID), storage.Marshal(r))
	if pos != nil {
		b.Set(nextKey(r.ID, r.Conv), storage.Marshal(pos))
	}
	if op.Kind != 0 {
		b.Ops = append(b.Ops, op)
	}
	if err := h.commit(b); err != nil {
		return err
	}
	h.take(r, pos)
	return nil
}

// take puts a record that was stored into memory.
func (h *Hooks) take(r *record, pos *position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.hooks[r.ID]
	if k == nil {
		k = &hook{}
		h.hooks[r.ID] = k
	}
	k.record = r
	if pos != nil && k.out == nil {
		k.out = &out{id: r.ID, log: r.Conv, pos: *pos}
	}
	h.watch()
}

func (h *Hooks) commit(b *storage.Batch) error {
	if err := h.o.Commit(b); err != nil {
		if errors.Is(err, storage.ErrFull) {
			return chat.Refuse(chat.Unavailable, "the server's disk is full; try again later")
		}
		return err
	}
	return nil
}

// noHook is the refusal of what does not exist, and of what is none of the caller's business.
func noHook() error {
	return chat.Refuse(chat.NotFound, "there is no such webhook for you: see webhook.list")
}

// right is what the creator of a webhook must have.
type right struct {
	since uint64 // the first seq that they may read
	head  uint64
}

// entitled asks whether a user may have webhooks of a conversation now. What it saw is durable.
func (h *Hooks) entitled(conv, user string) (g right, err error) {
	_, _, direct := chat.Parties(conv)
	if !direct && !chat.ValidGroup(conv) {
		return g, chat.Refuse(chat.BadRequest, "conv is missing, or no conversation: name a group, or the direct conversation with a bot of yours")
	}
	var refused error
	err = h.o.Hub.Query(conv, direct, func(v hub.View) {
		st := v.State
		if refused = st.May(user, chat.ActInfo); refused == nil && (st.Head == 0 && !direct || st.Ended) {
			refused = chat.NoSuchConversation()
		}
		g.since, _, _ = st.Visible(user)
		g.head = st.Head
	})
	if err == nil {
		err = refused
	}
	if err != nil || !direct {
		return g, err
	}
	a, b, _ := chat.Parties(conv)
	for _, bot := range []string{a, b} {
		if owner, ok := h.o.Accounts.IsBot(bot); ok && owner == user {
			return g, nil
		}
	}
	return g, chat.Refuse(chat.NotAuthorized, "a direct conversation has webhooks only with a bot of yours: create a group for that")
}

// List returns the webhooks of a conversation, oldest first, to those who may change its settings.
func (h *Hooks) List(user, conv string) ([]View, error) {
	if _, err := h.entitled(conv, user); err != nil {
		return nil, err
	}
	var list []View
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range h.hooks {
		if k.Conv != conv || k.Making {
			continue
		}
		v := View{ID: k.ID, Kind: k.Kind, Conv: k.Conv, Name: k.Name, By: k.By, Created: k.Created, Bot: k.Bot, URL: k.URL,
			Events: k.Events, Off: k.Off, Why: k.Why}
		if k.out != nil {
			v.Next, v.Failed, v.Last = k.out.pos.Next, k.out.pos.Failed, k.out.last
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b View) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// Stats counts what passed. All fields may be read at any time.
type Stats struct {
	Posted    atomic.Int64 // posts to incoming webhooks that were stored
	Refused   atomic.Int64 // and those that were not
	Delivered atomic.Int64 // deliveries that endpoints took
	Failed    atomic.Int64 // and those that they did not
}

// Stats returns the counters.
func (h *Hooks) Stats() *Stats { return &h.stats }

// Count returns how many webhooks there are, and how many of them are off.
func (h *Hooks) Count() (all, off int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range h.hooks {
		if k.Off != 0 {
			off++
		}
	}
	return len(h.hooks), off
}
