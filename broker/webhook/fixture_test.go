package webhook_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/webhook"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// patience bounds how long a test waits for what must come; it is no part of any assertion.
const patience = 10 * time.Second

type codec struct{}

func (codec) EncodeStored(dst []byte, e *chat.Event) []byte { return protocol.EncodeStored(dst, e) }
func (codec) DecodeStored(b []byte) (chat.Event, error)     { return protocol.DecodeStored(b) }

type accounts struct{ *auth.Service }

func (a accounts) Account(user string) (int64, bool) {
	acc, ok := a.GetUser(user)
	return acc.Created.UnixMilli(), ok && acc.User == user && !acc.Disabled
}

// house is the part of a server that webhooks stand on: the real store, hub and accounts. ann owns the
// group birds, with bob as a member.
type house struct {
	t     *testing.T
	store storage.Store
	pipe  *hub.Pipeline
	hub   *hub.Hub
	auth  *auth.Service
	opts  webhook.Options
	hooks *webhook.Hooks
	front *httptest.Server // where incoming webhooks are
	wake  atomic.Pointer[webhook.Hooks]
	own   chan chat.Event // what comes to users' own logs about webhooks

	mu  sync.Mutex
	now time.Time
}

func (h *house) Begin()                 {}
func (h *house) Moved(*hub.CursorMoved) {}
func (h *house) End(uint64)             {}
func (h *house) Deliver(d *hub.Delivery) {
	if d.Event.Kind == chat.KindHook {
		h.own <- *d.Event
	}
	if k := h.wake.Load(); k != nil && d.Log[0] != '@' {
		k.Wake(d.Log)
	}
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func build(t *testing.T, change ...func(*webhook.Options)) *house {
	t.Helper()
	st, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
	must(t, err)
	h := &house{t: t, store: st, now: time.UnixMilli(1_767_225_600_000), own: make(chan chat.Event, 100)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	h.pipe = hub.NewPipeline(st, func(err error) { t.Errorf("the store failed: %v", err) })
	trail, err := auth.OpenTrail(st, h.clock)
	must(t, err)
	h.pipe.Seal(trail.Seal)
	h.hub = hub.New(hub.Options{Store: st, Pipeline: h.pipe, Sink: h, Codec: codec{}, Limits: chat.DefaultLimits(),
		Now: func() int64 { return h.clock().UnixMilli() }, Log: log})
	h.pipe.Start(nil)
	h.auth, err = auth.New(auth.Options{Store: st, Commit: h.pipe.CommitWait, Trail: trail, Now: h.clock})
	must(t, err)
	h.opts = webhook.Options{
		Store: st, Hub: h.hub, Accounts: accounts{h.auth}, Commit: h.pipe.CommitWait, Now: h.clock, Log: log,
		Settings: webhook.Settings{AllowLoopback: true, Timeout: patience, BaseURL: "https://chat.example.org"},
		Audit: func(a webhook.Audit) storage.Op {
			return auth.AuditOp(auth.AuditEntry{Who: a.Who, What: a.What, Target: a.Target, Conv: a.Conv, Note: a.Note})
		},
	}
	h.opts.Backoff.First, h.opts.Backoff.Most = time.Millisecond, 2*time.Millisecond
	for _, fn := range change {
		fn(&h.opts)
	}
	h.start()
	h.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux := http.NewServeMux()
		mux.Handle(webhook.Pattern, h.hooks)
		mux.ServeHTTP(w, r)
	}))
	for _, u := range []string{"ann", "bob", "eve"} {
		must(t, h.auth.AddUser(context.Background(), u, nil, false))
	}
	title := "Birds"
	h.do("birds", chat.Command{Op: chat.OpCreate, Actor: "ann", Members: []string{"bob"}, Info: &chat.InfoChange{Title: &title}})
	t.Cleanup(func() {
		h.front.Close()
		h.stop()
		h.hub.Close()
		h.pipe.Close()
		must(t, st.Close())
	})
	return h
}

func (h *house) start() {
	h.t.Helper()
	var err error
	h.hooks, err = webhook.New(h.opts)
	must(h.t, err)
	h.wake.Store(h.hooks)
	h.hooks.Start()
}

func (h *house) stop() {
	h.wake.Store(nil)
	h.hooks.Close()
}

func (h *house) do(conv string, cmd chat.Command) uint64 {
	h.t.Helper()
	_, _, direct := chat.Parties(conv)
	res := h.hub.Do(&hub.Request{Conv: conv, Direct: direct, Cmd: cmd})
	must(h.t, res.Err)
	return res.Seq
}

func (h *house) post(user, text string) uint64 {
	h.t.Helper()
	return h.do("birds", chat.Command{Op: chat.OpAppend, Actor: user, Event: chat.Event{Text: text}})
}

func (h *house) create(by string, s webhook.Spec) webhook.Made {
	h.t.Helper()
	if s.Conv == "" {
		s.Conv = "birds"
	}
	made, err := h.hooks.Create(context.Background(), by, s)
	must(h.t, err)
	return made
}

func (h *house) view(id string) webhook.View {
	h.t.Helper()
	list, err := h.hooks.List("ann", "birds")
	must(h.t, err)
	for _, v := range list {
		if v.ID == id {
			return v
		}
	}
	h.t.Fatalf("there is no webhook %s", id)
	return webhook.View{}
}

// notice waits until ann is told that a webhook is off.
func (h *house) notice() chat.Event {
	h.t.Helper()
	select {
	case ev := <-h.own:
		return ev
	case <-time.After(patience):
		h.t.Fatal("nobody was told")
		return chat.Event{}
	}
}

// delivery is what an endpoint got.
type delivery struct {
	header http.Header
	body   []byte
	texts  []string
	seqs   []uint64
}

// endpoint is a receiver of outgoing webhooks. answer is asked for each delivery; nil: 204.
type endpoint struct {
	*httptest.Server
	t      *testing.T
	got    chan delivery
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool] // false: answered
}

func newEndpoint(t *testing.T, h *house) *endpoint {
	t.Helper()
	e := &endpoint{t: t, got: make(chan delivery, 10_000)}
	e.Server = httptest.NewTLSServer(e)
	t.Cleanup(e.Close)
	return e
}

// trusting lets webhooks trust the certificates of test servers.
func trusting(o *webhook.Options) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	o.TLS = &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if fn := e.answer.Load(); fn != nil && !(*fn)(w, r) {
		return
	}
	var d struct {
		Events []struct {
			Seq  uint64 `json:"seq"`
			Text string `json:"text"`
			Kind string `json:"kind"`
		} `json:"events"`
	}
	if err := json.Unmarshal(body, &d); err != nil {
		e.t.Errorf("the body is no JSON: %v", err)
	}
	got := delivery{header: r.Header, body: body}
	for _, ev := range d.Events {
		text := ev.Text
		if text == "" {
			text = ev.Kind
		}
		got.texts, got.seqs = append(got.texts, text), append(got.seqs, ev.Seq)
	}
	e.got <- got
	w.WriteHeader(http.StatusNoContent)
}

func (e *endpoint) answers(fn func(w http.ResponseWriter, r *http.Request) bool) { e.answer.Store(&fn) }

// down has the endpoint fail until up is set; tried gets each attempt.
func (e *endpoint) down() (up *atomic.Bool, tried <-chan struct{}) {
	up = new(atomic.Bool)
	tries := make(chan struct{}, 10_000)
	e.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		if up.Load() { // once: it changes meanwhile
			return true
		}
		w.WriteHeader(http.StatusBadGateway)
		tries <- struct{}{}
		return false
	})
	return up, tries
}

func (e *endpoint) next() delivery {
	e.t.Helper()
	select {
	case d := <-e.got:
		return d
	case <-time.After(patience):
		e.t.Fatal("nothing was delivered")
		return delivery{}
	}
}

// texts returns what comes until n events are there.
func (e *endpoint) texts(n int) (all []string) {
	e.t.Helper()
	for len(all) < n {
		all = append(all, e.next().texts...)
	}
	return all
}

// send posts to an incoming webhook.
func (h *house) send(url, contentType, body string, header ...string) (status int, reply string, head http.Header) {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodPost, h.front.URL+strings.TrimPrefix(url, "https://chat.example.org"), strings.NewReader(body))
	must(h.t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := h.front.Client().Do(req)
	must(h.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(h.t, err)
	return resp.StatusCode, strings.TrimSpace(string(b)), resp.Header
}

// events returns the log of a conversation.
func (h *house) events(conv string) (all []chat.Event) {
	h.t.Helper()
	must(h.t, h.pipe.Barrier())
	head, _, err := h.hub.Head(conv)
	must(h.t, err)
	must(h.t, h.store.Read(conv, 1, head, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		if err != nil {
			h.t.Error(err)
		}
		ev.Seq = e.Seq
		all = append(all, ev)
		return true
	}))
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
