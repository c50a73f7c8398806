package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

type codec struct{}

func (codec) EncodeStored(dst []byte, e *chat.Event) []byte { return protocol.EncodeStored(dst, e) }
func (codec) DecodeStored(b []byte) (chat.Event, error)     { return protocol.DecodeStored(b) }

// server is the real store, pipeline, hub, registry and accounts around a Service. Its clock stands unless
// it is moved.
type server struct {
	t        testing.TB
	dir      string
	store    *pebblestore.Store
	pipeline *hub.Pipeline
	hub      *hub.Hub
	registry *delivery.Registry
	accounts *auth.Service
	profiles *profiles
	svc      *rpc.Service
	waits    chan struct{} // gets one when a call waits for the disk and there is room; may be nil

	mu  sync.Mutex
	now int64
	ids int
}

const epoch = 1767225600000 // 2026-01-01

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), now: epoch, profiles: &profiles{m: map[string]storage.Profile{}}}
	s.open()
	t.Cleanup(s.close)
	return s
}

// restart is what a server's end and its next start are to those who ask.
func (s *server) restart() {
	s.t.Helper()
	s.close()
	s.open()
}

func (s *server) close() {
	s.hub.Close()
	s.registry.Close()
	s.pipeline.Close()
	must(s.t, s.store.Close())
}

func (s *server) open() {
	t := s.t
	t.Helper()
	var err error
	s.store, err = pebblestore.Open(s.dir, pebblestore.Options{Create: true, ReserveBytes: -1, MinFreeBytes: -1})
	must(t, err)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s.pipeline = hub.NewPipeline(s.store, func(err error) { t.Errorf("pipeline: %v", err) })
	s.registry, err = delivery.New(delivery.Options{
		Store: s.store, Pipeline: s.pipeline, Log: log, Now: func() time.Time { return time.UnixMilli(s.clock()) },
	})
	must(t, err)
	s.hub = hub.New(hub.Options{
		Store: s.store, Pipeline: s.pipeline, Sink: s.registry, Codec: codec{}, Limits: chat.DefaultLimits(), Now: s.clock, Log: log,
		Hides: s.profiles.HidesReads,
	})
	s.hub.SetAudit(true)
	s.registry.SetHub(s.hub)
	s.pipeline.Start(s.registry.AfterCommits)
	s.accounts, err = auth.New(auth.Options{
		Store: s.store, Commit: s.pipeline.CommitWait, Now: func() time.Time { return time.UnixMilli(s.clock()) },
	})
	must(t, err)
	s.svc = rpc.New(rpc.Options{
		Hub: s.hub, Store: s.store, Barrier: s.barrier, Accounts: s.accounts, Profiles: s.profiles,
		Devices: s.registry, Admin: auth.NewAdmin(s.accounts), Now: s.clock, Log: log,
		NewID: func() string {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ids++
			return fmt.Sprintf("g%025d", s.ids)
		},
	})
}

func (s *server) barrier() error {
	select {
	case s.waits <- struct{}{}:
	default:
	}
	return s.pipeline.Barrier()
}

func (s *server) clock() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *server) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += d.Milliseconds()
}

func (s *server) users(names ...string) {
	s.t.Helper()
	for _, name := range names {
		must(s.t, s.accounts.AddUser(context.Background(), name, nil, false))
	}
}

// post appends an event and returns its seq.
func (s *server) post(user, conv string, ev chat.Event) uint64 {
	s.t.Helper()
	if ev.Kind == 0 {
		ev.Kind = chat.KindPost
	}
	_, _, direct := chat.Parties(conv)
	res := s.hub.Do(&hub.Request{Conv: conv, Direct: direct, Cmd: chat.Command{Op: chat.OpAppend, Actor: user, Event: ev}})
	must(s.t, res.Err)
	return res.Seq
}

func (s *server) cursor(user, conv string, delivered, read uint64) {
	s.t.Helper()
	ch := make(chan hub.Result, 1)
	s.hub.MoveCursor(&hub.Move{Conv: conv, User: user, Delivered: delivered, Read: read, Done: func(r hub.Result) { ch <- r }})
	must(s.t, (<-ch).Err)
}

// raw carries out a request and returns the reply's bytes.
func (s *server) raw(user, method, payload string, limit int) []byte {
	return s.svc.Call(context.Background(), rpc.Caller{User: user, Client: "phone"}, method, []byte(payload), limit)
}

type reply struct {
	OK    json.RawMessage `json:"ok"`
	Error *chat.Refusal   `json:"error"`
}

func (s *server) call(user, method, payload string) reply {
	s.t.Helper()
	var r reply
	must(s.t, json.Unmarshal(s.raw(user, method, payload, 0), &r))
	return r
}

// ok carries out a request that must succeed; into receives its reply.
func (s *server) ok(user, method, payload string, into any) {
	s.t.Helper()
	r := s.call(user, method, payload)
	if r.Error != nil {
		s.t.Fatalf("%s of %s by %s: %v", method, payload, user, r.Error)
	}
	if into != nil {
		must(s.t, json.Unmarshal(r.OK, into))
	}
}

// connect opens a session over a pipe whose other end swallows all. Its connection ends when it is kicked.
func (s *server) connect(user, client string, expiry uint32) (*delivery.Session, chan struct{}) {
	s.t.Helper()
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	opened, ended := make(chan struct{}), make(chan struct{}) // it may be kicked before Open returns
	var session *delivery.Session
	var once sync.Once
	end := func() {
		once.Do(func() {
			go func() {
				defer close(ended)
				<-opened
				_ = here.Close()
				session.Detach(expiry)
			}()
		})
	}
	c := &delivery.Connect{
		Key: delivery.Key{User: user, Client: client}, Conn: here, Expiry: expiry, Addr: "127.0.0.1:1",
		Kick: func(delivery.Why) { end() },
	}
	var err error
	session, _, err = s.registry.Open(c)
	must(s.t, err)
	close(opened)
	must(s.t, session.Start())
	s.t.Cleanup(func() { end(); <-ended })
	return session, ended
}

// profiles keeps profiles in memory; who is in visible is seen by everybody.
type profiles struct {
	mu      sync.Mutex
	m       map[string]storage.Profile
	visible map[string]protocol.Presence
}

func (p *profiles) Profile(user string) (storage.Profile, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[user], nil
}

func (p *profiles) UpdateProfile(user string, change func(*storage.Profile)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.m[user]
	change(&rec)
	p.m[user] = rec
	return nil
}

func (p *profiles) HidesReads(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[user].NoRead
}

func (p *profiles) Seen(_, user string) (protocol.Presence, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, ok := p.visible[user]
	return seen, ok
}

func (p *profiles) Refresh(_, _ string) error { return nil }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func callerOn(user, client string) rpc.Caller { return rpc.Caller{User: user, Client: client} }
