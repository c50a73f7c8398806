package auth

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// memory keeps records as a storage.Store must, in a map. Logs it has none: their methods are those of
// a nil Store, and panic.
type memory struct {
	storage.Store
	mu      sync.Mutex
	records map[string][]byte
	commits int
	gets    int
	fail    error  // what commits fail with, having changed nothing
	read    func() // called once, between the next reading of a record and its use
}

func (m *memory) Get(k storage.Key) ([]byte, bool, error) {
	m.mu.Lock()
	m.gets++
	v, ok := m.records[string(k)]
	v = slices.Clone(v)
	read := m.read
	m.read = nil
	m.mu.Unlock()
	if read != nil {
		read()
	}
	return v, ok, nil
}

func (m *memory) Scan(prefix, after storage.Key, fn func(storage.Key, []byte) bool) error {
	m.mu.Lock()
	var keys []string
	for k := range m.records {
		if strings.HasPrefix(k, string(prefix)) && (after == nil || k > string(after)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	values := make([][]byte, len(keys))
	for i, k := range keys {
		values[i] = slices.Clone(m.records[k])
	}
	m.mu.Unlock()
	for i, k := range keys {
		goOn := fn(storage.Key(k), values[i])
		clear(values[i]) // valid during the call only
		if !goOn {
			break
		}
	}
	return nil
}

// commit is Options.Commit.
func (m *memory) commit(b *storage.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.commits++
	for _, op := range b.Ops {
		switch op.Kind {
		case storage.OpSet:
			m.records[string(op.Key)] = slices.Clone(op.Value)
		case storage.OpDelete:
			delete(m.records, string(op.Key))
		default:
			return errors.New("memory: not a record's operation")
		}
	}
	return nil
}

func (m *memory) count(s storage.Space) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for k := range m.records {
		if k[0] == byte(s) {
			n++
		}
	}
	return n
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type revocation struct{ user, token string }

// house is a service with all that a test wants to look at.
type house struct {
	*Service
	store *memory
	clock *clock
	logs  *bytes.Buffer

	mu      sync.Mutex
	revoked []revocation
}

func (h *house) revocations() []revocation {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.revoked
	h.revoked = nil
	return r
}

var cheap = Params{MemoryKiB: 8, Time: 1, Threads: 1}

func open(t *testing.T, change func(*Options)) *house {
	t.Helper()
	return reopen(t, &memory{records: map[string][]byte{}}, change)
}

func reopen(t *testing.T, store *memory, change func(*Options)) *house {
	t.Helper()
	h := &house{store: store, clock: &clock{now: time.UnixMilli(1_700_000_000_000)}, logs: new(bytes.Buffer)}
	o := Options{
		Store: store, Commit: store.commit, Now: h.clock.Now, Argon2: cheap,
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: h.logs}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnRevoke: func(user, token string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.revoked = append(h.revoked, revocation{user, token})
		},
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.Service = s
	return h
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

var home = netip.MustParseAddr("192.0.2.1")

func login(user, password string) Attempt {
	return Attempt{User: user, Password: []byte(password), HasPassword: true, ClientID: "phone", Addr: home}
}

func from(addr string, a Attempt) Attempt {
	a.Addr = netip.MustParseAddr(addr)
	return a
}

func (h *house) add(t *testing.T, user, password string) {
	t.Helper()
	if err := h.AddUser(t.Context(), user, []byte(password), false); err != nil {
		t.Fatal(err)
	}
}

func (h *house) in(t *testing.T, a Attempt) Identity {
	t.Helper()
	id, err := h.Authenticate(t.Context(), a)
	if err != nil {
		t.Fatalf("%s is refused: %v\n%s", a.User, err, h.logs)
	}
	return id
}

func (h *house) out(t *testing.T, a Attempt, code chat.Code) *chat.Refusal {
	t.Helper()
	id, err := h.Authenticate(t.Context(), a)
	refusal(t, err, code)
	if id != (Identity{}) {
		t.Fatalf("a refused attempt has an identity: %+v", id)
	}
	return err.(*chat.Refusal)
}

func refusal(t *testing.T, err error, code chat.Code) {
	t.Helper()
	if r, ok := err.(*chat.Refusal); !ok || r.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
