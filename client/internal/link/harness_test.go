package link_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/internal/servertest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = servertest.Patience

// server is a running broker.
type server struct {
	*servertest.Server
	t testing.TB
}

// serve starts a dev server on free loopback ports.
func serve(t testing.TB, change ...func(*config.Config)) *server {
	t.Helper()
	return &server{servertest.Serve(t, change...), t}
}

// at returns the address of a listener as a URL.
func (s *server) at(scheme, listener string) *url.URL {
	return parse(s.t, fmt.Sprintf("%s://%s", scheme, s.Addr(listener)))
}

func parse(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// event is a callback of a Handler.
type event struct {
	what    string // connecting, up, down, message
	session link.Session
	err     error
	retry   time.Time
	message *link.Message
}

// device is a Link with a handler that records everything in order.
type device struct {
	*link.Link
	t      testing.TB
	wait   time.Duration // for what must come
	events chan event
	ended  chan error
	cancel context.CancelFunc
	stop   context.CancelFunc

	mu       sync.Mutex
	inside   bool // a callback is running
	overlaps int
}

func (d *device) record(e event) {
	d.mu.Lock()
	if d.inside {
		d.overlaps++
	}
	d.inside = true
	d.mu.Unlock()
	d.events <- e
	d.mu.Lock()
	d.inside = false
	d.mu.Unlock()
}

func (d *device) Connecting()       { d.record(event{what: "connecting"}) }
func (d *device) Up(s link.Session) { d.record(event{what: "up", session: s}) }
func (d *device) Down(err error, retry time.Time) {
	d.record(event{what: "down", err: err, retry: retry})
}
func (d *device) Message(m *link.Message) { d.record(event{what: "message", message: m}) }

// connectFast makes reconnecting quick enough for tests.
func connectFast(o *link.Options) {
	o.Patience.BackoffFirst, o.Patience.BackoffMost = time.Millisecond, 5*time.Millisecond
}

// open starts a Link as user, whose device has the same name.
func open(t testing.TB, u *url.URL, user string, change ...func(*link.Options)) *device {
	t.Helper()
	o := link.Options{Server: u, User: user, ClientID: user, SessionExpiry: time.Hour, Properties: []link.Property{{Key: "meta", Value: "seq"}}}
	connectFast(&o)
	for _, fn := range change {
		fn(&o)
	}
	d := &device{t: t, wait: patience, events: make(chan event, 1<<16), ended: make(chan error, 1)}
	l, err := link.New(o, d)
	if err != nil {
		t.Fatal(err)
	}
	d.Link = l
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() { d.ended <- l.Run(ctx) }()
	t.Cleanup(d.close)
	return d
}

func (d *device) close() {
	if d.cancel == nil {
		return
	}
	d.cancel, d.stop = nil, d.cancel
	defer d.stop()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.Close(ctx); err != nil {
		d.t.Error("Close:", err)
	}
	if err := <-d.ended; err != nil {
		d.t.Error("Run:", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.overlaps > 0 {
		d.t.Error("callbacks ran at once")
	}
}

// next returns the next callback of a kind; those of other kinds before it are dropped.
func (d *device) next(what string) event {
	d.t.Helper()
	deadline := time.NewTimer(d.wait)
	defer deadline.Stop()
	for {
		select {
		case e := <-d.events:
			if e.what == what {
				return e
			}
		case <-deadline.C:
			d.t.Fatalf("no %s came", what)
		}
	}
}

// message returns the next message and acknowledges it.
func (d *device) message() *link.Message {
	d.t.Helper()
	m := d.next("message").message
	m.Ack()
	return m
}

func (d *device) subscribe(filters ...string) {
	d.t.Helper()
	list := make([]link.Filter, len(filters))
	for i, f := range filters {
		list[i] = link.Filter{Topic: f, QoS: 1}
	}
	codes, err := d.Subscribe(servertest.Soon(d.t), list)
	if err != nil {
		d.t.Fatal("Subscribe:", err)
	}
	for i, c := range codes {
		if c >= 0x80 {
			d.t.Fatalf("%s is refused: 0x%02X", filters[i], c)
		}
	}
}

// result is what a publish came to.
type result struct {
	ack link.Ack
	err error
}

// publish publishes at QoS 1 and waits.
func (d *device) publish(topic, payload string) result {
	d.t.Helper()
	ch := make(chan result, 2)
	if err := d.Publish(link.Publish{Topic: topic, Payload: []byte(payload), QoS: 1}, func(a link.Ack, err error) { ch <- result{a, err} }); err != nil {
		return result{err: err}
	}
	select {
	case r := <-ch:
		return r
	case <-time.After(patience):
		d.t.Fatal("a publish comes to no end")
		return result{}
	}
}

func (d *device) send(topic, payload string) link.Ack {
	d.t.Helper()
	r := d.publish(topic, payload)
	if r.err != nil || r.ack.Code >= 0x80 {
		d.t.Fatalf("publish to %s: %v, %v", topic, r.ack.Refusal(), r.err)
	}
	return r.ack
}

// call makes a request that must succeed.
func (d *device) call(method, req string) string {
	d.t.Helper()
	reply, err := d.Call(servertest.Soon(d.t), method, []byte(req))
	if err != nil || !strings.HasPrefix(string(reply), `{"ok"`) {
		d.t.Fatalf("%s: %s, %v", method, reply, err)
	}
	return string(reply)
}
