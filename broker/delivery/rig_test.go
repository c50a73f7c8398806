package delivery_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

const patience = 10 * time.Second

// rig is a registry with its hub on a store in memory.
type rig struct {
	t        *testing.T
	store    *faultyStore
	pipeline *hub.Pipeline
	reg      *delivery.Registry
	hub      *heldHub
	log      *logBuffer
}

// faultyStore fails on request.
type faultyStore struct {
	storage.Store
	scan, read, sync atomic.Bool
}

var errDisk = errors.New("the disk does not answer")

func (s *faultyStore) Scan(prefix, after storage.Key, fn func(storage.Key, []byte) bool) error {
	if s.scan.Load() {
		return errDisk
	}
	return s.Store.Scan(prefix, after, fn)
}

func (s *faultyStore) Read(log string, from, to uint64, fn func(storage.Entry) bool) error {
	if s.read.Load() {
		return errDisk
	}
	return s.Store.Read(log, from, to, fn)
}

func (s *faultyStore) Commit(b *storage.Batch) (storage.Pending, error) {
	p, err := s.Store.Commit(b)
	if err == nil && s.sync.Load() {
		return failedSync{p}, nil
	}
	return p, err
}

type failedSync struct{ storage.Pending }

func (f failedSync) Wait() error { return errors.Join(errDisk, f.Pending.Wait()) }

// heldHub lets a test do something, or fail, while somebody asks for the head of a log.
type heldHub struct {
	*hub.Hub
	mu     sync.Mutex
	before func() error
}

func (h *heldHub) Head(log string) (seq, commit uint64, err error) {
	h.mu.Lock()
	before := h.before
	h.before = nil
	h.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return 0, 0, err
		}
	}
	return h.Hub.Head(log)
}

func (h *heldHub) once(fn func() error) {
	h.mu.Lock()
	h.before = fn
	h.mu.Unlock()
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig starts one. prepare may put something into the store first. fatal is called when the disk failed;
// nil: that fails the test.
func newRig(t *testing.T, prepare func(storage.Store), fatal func(error)) *rig {
	t.Helper()
	under, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(under)
	}
	if fatal == nil {
		fatal = func(err error) { t.Errorf("the store failed: %v", err) }
	}
	r := &rig{t: t, store: &faultyStore{Store: under}, log: new(logBuffer)}
	r.pipeline = hub.NewPipeline(r.store, fatal)
	r.reg, err = delivery.New(delivery.Options{Store: r.store, Pipeline: r.pipeline, Log: slog.New(slog.NewTextHandler(r.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	h := hub.New(hub.Options{Store: r.store, Pipeline: r.pipeline, Sink: r.reg, Codec: storedForm{}, Limits: chat.DefaultLimits()})
	r.hub = &heldHub{Hub: h}
	r.reg.SetHub(r.hub)
	r.pipeline.Start(r.reg.AfterCommits)
	t.Cleanup(func() {
		r.reg.Close()
		h.Close()
		r.pipeline.Close()
		if err := under.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// device is a session and what it was sent.
type device struct {
	*delivery.Session
	kicked chan delivery.Why
	mu     sync.Mutex
	got    []byte
	more   chan struct{}
}

func (r *rig) open(user string) *device {
	r.t.Helper()
	d := r.connect(user)
	if err := d.Start(); err != nil {
		r.t.Fatal(err)
	}
	return d
}

// connect opens a session without starting it.
func (r *rig) connect(user string) *device {
	r.t.Helper()
	here, there := net.Pipe()
	d := &device{kicked: make(chan delivery.Why, 10), more: make(chan struct{}, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := there.Read(buf)
			if err != nil {
				return
			}
			d.mu.Lock()
			d.got = append(d.got, buf[:n]...)
			d.mu.Unlock()
			select {
			case d.more <- struct{}{}:
			default:
			}
		}
	}()
	s, _, err := r.reg.Open(&delivery.Connect{
		Key: delivery.Key{User: user, Client: "x"}, Conn: here, V5: true, Expiry: 3600,
		Kick: func(why delivery.Why) { d.kicked <- why },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	d.Session = s
	r.t.Cleanup(func() {
		_ = here.Close()
		_ = there.Close()
	})
	return d
}

// subscription asks for a filter at QoS 1; from: where it starts, if it is not 0.
func (r *rig) subscription(user, filter string, from int64) delivery.Subscribe {
	r.t.Helper()
	f, err := protocol.ParseFilter(filter, user)
	if err != nil {
		r.t.Fatal(err)
	}
	return delivery.Subscribe{Sub: storage.Sub{Filter: filter, Options: 1}, Filter: f, From: from, HasFrom: from != 0}
}

func (r *rig) post(from, to string) {
	r.t.Helper()
	res := r.hub.Do(&hub.Request{Conv: chat.DirectID(from, to), Direct: true, Cmd: chat.Command{Op: chat.OpAppend, Actor: from, Event: chat.Event{Text: "hi"}}})
	if res.Err != nil {
		r.t.Fatal(res.Err)
	}
	if err := r.pipeline.Barrier(); err != nil {
		r.t.Fatal(err)
	}
}

var seqField = regexp.MustCompile(`"seq":(\d+)`)

// seqs waits for n events and returns their numbers in the order in which they came.
func (d *device) seqs(t *testing.T, n int) (list []string) {
	t.Helper()
	for late := time.After(patience); ; {
		d.mu.Lock()
		list = list[:0]
		for _, m := range seqField.FindAllSubmatch(d.got, -1) {
			list = append(list, string(m[1]))
		}
		d.mu.Unlock()
		if len(list) >= n {
			return list
		}
		select {
		case <-d.more:
		case <-late:
			t.Fatalf("%d of %d events came: %v", len(list), n, list)
		}
	}
}
