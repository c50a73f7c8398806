package signaling_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// yard is a service on a real store, with a world of its own.
type yard struct {
	t     testing.TB
	disk  *pebblestore.MemDisk
	store storage.Store
	pipe  *hub.Pipeline
	calls *signaling.Service
	w     *world
	sfu   *sfu
	now   *atomic.Int64
	wrap  func(storage.Store) storage.Store
	lim   signaling.Limits
}

func newYard(t testing.TB, change ...func(*yard)) *yard {
	y := &yard{t: t, disk: pebblestore.NewMemDisk(), w: newWorld(), now: &atomic.Int64{}, wrap: func(s storage.Store) storage.Store { return s }}
	y.now.Store(1_800_000_000_000)
	for _, c := range change {
		c(y)
	}
	y.open()
	return y
}

func (y *yard) open() {
	y.t.Helper()
	st, err := y.disk.Open(pebblestore.Options{})
	if err != nil {
		y.t.Fatal(err)
	}
	y.store = y.wrap(st)
	y.pipe = hub.NewPipeline(y.store, func(err error) { y.t.Errorf("the store failed: %v", err) })
	y.pipe.Start(nil)
	o := signaling.Options{Store: y.store, Commit: y.pipe, World: y.w, Now: func() time.Time { return time.UnixMilli(y.now.Load()) }, Limits: y.lim}
	if y.sfu != nil {
		o.Forwarder = y.sfu
	}
	if y.calls, err = signaling.New(o); err != nil {
		y.t.Fatal(err)
	}
	if err := y.calls.Open(); err != nil {
		y.t.Fatal(err)
	}
	calls, pipe := y.calls, y.pipe
	y.t.Cleanup(func() {
		calls.Close()
		pipe.Close()
		_ = st.Close()
	})
}

// crashed is another yard on what the disk holds if the power goes now. Nobody is connected there.
func (y *yard) crashed(t testing.TB) *yard {
	c := &yard{t: t, disk: y.disk.PowerLoss(0, 1), w: newWorld(), now: &atomic.Int64{}, wrap: func(s storage.Store) storage.Store { return s }, lim: y.lim}
	c.now.Store(y.now.Load())
	c.w.members = y.w.members
	if y.sfu != nil {
		c.sfu = &sfu{}
	}
	c.open()
	return c
}

// settle returns when all that is due is done, durable and told.
func (y *yard) settle() {
	y.t.Helper()
	for range 4 {
		y.calls.Tick()
		if err := y.pipe.Barrier(); err != nil {
			y.t.Fatal(err)
		}
	}
}

func (y *yard) passes(d time.Duration) {
	y.t.Helper()
	y.now.Add(d.Milliseconds())
	y.settle()
}

// start publishes to c/{conv}/call.
func (y *yard) start(x *device, conv, payload string) signaling.Answer {
	y.t.Helper()
	ch := make(chan signaling.Answer, 2)
	y.calls.Start(x, conv, signaling.Packet{}, []byte(payload), func(a signaling.Answer) { ch <- a })
	return y.once(ch)
}

// do publishes to k/{call}/{verb}.
func (y *yard) do(x *device, call, verb, payload string) signaling.Answer {
	y.t.Helper()
	ch := make(chan signaling.Answer, 2)
	y.calls.Do(x, call, signaling.Verb(verb), []byte(payload), func(a signaling.Answer) { ch <- a })
	return y.once(ch)
}

// once takes the answer, which must come exactly once.
func (y *yard) once(ch chan signaling.Answer) signaling.Answer {
	y.t.Helper()
	a := <-ch
	if err := y.pipe.Barrier(); err != nil {
		y.t.Fatal(err)
	}
	select {
	case b := <-ch:
		y.t.Fatalf("answered twice: %+v and %+v", a, b)
	default:
	}
	return a
}

func (y *yard) ok(a signaling.Answer) signaling.Answer {
	y.t.Helper()
	if a.Err != nil {
		y.t.Fatal(a.Err)
	}
	return a
}

func (y *yard) refused(a signaling.Answer, code chat.Code) {
	y.t.Helper()
	if r, ok := a.Err.(*chat.Refusal); !ok || r.Code != code {
		y.t.Fatalf("%+v, want a refusal %s", a, code)
	}
}

// empty fails if the store has anything of calls.
func (y *yard) empty() {
	y.t.Helper()
	for _, space := range []storage.Space{storage.SpaceCall, storage.SpaceSignal} {
		err := y.store.Scan(storage.In(space), nil, func(k storage.Key, _ []byte) bool {
			y.t.Errorf("%q is left", k)
			return true
		})
		if err != nil {
			y.t.Fatal(err)
		}
	}
}

// device is a session of a test.
type device struct {
	d   signaling.Device
	mu  sync.Mutex
	got []told
}

type told struct {
	topic string // the party, or nothing
	raw   string
	m     map[string]any
}

func (d *device) Device() signaling.Device { return d.d }

func (d *device) Tell(party string, payload []byte) {
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		panic(fmt.Sprintf("%q: %v", payload, err))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, told{party, string(payload), m})
}

// take returns what the device was told since it was asked last.
func (d *device) take() []told {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.got
	d.got = nil
	return got
}

// kinds are the kinds of what it was told: of states the state, of signals the type.
func (d *device) kinds() []string {
	out := []string{}
	for _, m := range d.take() {
		switch m.m["kind"] {
		case "state":
			out = append(out, m.m["state"].(string))
		case "signal":
			out = append(out, m.m["type"].(string))
		default:
			out = append(out, m.m["kind"].(string))
		}
	}
	return out
}

func (y *yard) hears(d *device, want ...string) {
	y.t.Helper()
	if got := d.kinds(); !slices.Equal(got, want) {
		y.t.Fatalf("%s/%s was told %v, want %v", d.d.User, d.d.Client, got, want)
	}
}

// world is what is around the service.
type world struct {
	mu      sync.Mutex
	here    map[string][]signaling.Session
	members map[string][]string // of groups
	stop    map[string]bool     // "user conv": may not start
	mute    map[string]bool     // users whom nothing rings
	relay   map[string]chat.Relay
	rang    []string
	roster  map[string]string
	log     map[string]chat.Event // by conversation and id: once, as the hub does it
	tries   int
	refuse  error
}

func newWorld() *world {
	return &world{
		here: map[string][]signaling.Session{}, members: map[string][]string{}, stop: map[string]bool{}, mute: map[string]bool{}, roster: map[string]string{},
		relay: map[string]chat.Relay{"shy": chat.RelayUntilAccepted}, log: map[string]chat.Event{},
	}
}

// device connects a device.
func (y *yard) device(user, client string) *device {
	d := &device{d: signaling.Device{User: user, Client: client}}
	y.connect(d)
	return d
}

func (y *yard) connect(d *device) {
	y.w.mu.Lock()
	y.w.here[d.d.User] = append(slices.Clone(y.w.here[d.d.User]), d)
	y.w.mu.Unlock()
	y.calls.Came(d)
	y.settle()
}

func (y *yard) disconnect(d *device) {
	y.w.mu.Lock()
	y.w.here[d.d.User] = slices.DeleteFunc(slices.Clone(y.w.here[d.d.User]), func(x signaling.Session) bool { return x == d })
	y.w.mu.Unlock()
	y.calls.Went(d)
	y.settle()
}

func (w *world) MayStart(user, conv string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop[user+" "+conv] {
		return chat.Refuse(chat.NotAuthorized, "they take no calls from you")
	}
	if !chat.IsDirect(conv) && !slices.Contains(w.members[conv], user) {
		return chat.NoSuchConversation()
	}
	return nil
}

func (w *world) Member(user, conv string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.members[conv], user)
}

func (w *world) Members(caller, conv string, limit int) (users []string, more bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.members[conv]
	if a, b, ok := chat.Parties(conv); ok {
		all = []string{a, b}
	}
	for _, u := range all {
		if u != caller && !w.mute[u] {
			users = append(users, u)
		}
	}
	if len(users) > limit {
		return users[:limit], true, nil
	}
	return users, false, nil
}

func (w *world) Relayed(user string, accepted bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.relay[user] == chat.RelayAlways || w.relay[user] == chat.RelayUntilAccepted && !accepted
}

func (w *world) Sessions(user string) []signaling.Session {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.here[user]
}

func (w *world) Rang(user string, r signaling.Rung) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rang = append(w.rang, user)
}

func (w *world) Roster(conv string, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.roster[conv] = string(payload)
}

func (w *world) Append(conv, from string, ev chat.Event, done func(error)) {
	w.mu.Lock()
	w.tries++
	err := w.refuse
	if err == nil {
		if old, ok := w.log[conv+" "+ev.ID]; ok && string(old.Ext) != string(ev.Ext) {
			err = chat.Refuse(chat.Conflict, "another event with this id")
		}
		w.log[conv+" "+ev.ID] = ev
	}
	w.mu.Unlock()
	done(err)
}

// event is the only one in the log.
func (y *yard) event() map[string]any {
	y.t.Helper()
	y.w.mu.Lock()
	defer y.w.mu.Unlock()
	if len(y.w.log) != 1 {
		y.t.Fatalf("%d events, want one: %v", len(y.w.log), slices.Collect(maps.Keys(y.w.log)))
	}
	for _, ev := range y.w.log {
		var ext map[string]any
		if err := storage.Unmarshal(ev.Ext, &ext); err != nil || ev.Kind != chat.KindCall || ev.From == "" {
			y.t.Fatalf("%+v %v", ev, err)
		}
		return ext
	}
	return nil
}

// sfu is a forwarder that notes what it is told.
type sfu struct {
	mu  sync.Mutex
	got []string
}

func (f *sfu) Signal(call, party, user, kind string, body []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, kind+" of "+user)
	return nil
}

func (f *sfu) Gone(call, party string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, "gone "+party)
}

func (f *sfu) Available() error { return nil }

func (f *sfu) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.got
	f.got = nil
	return got
}

const description = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 12:34:56\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n"

// sig is the payload of a signal with a description.
func sig(to, kind string) string {
	b, err := json.Marshal(map[string]any{"to": to, "type": kind, "body": description})
	if err != nil {
		panic(err)
	}
	return string(b)
}
