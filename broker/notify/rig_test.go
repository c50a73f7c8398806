package notify_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a Service in a synctest bubble, over a store that the test writes as the hub would, and with a push
// service that notes what it is given.
type rig struct {
	t     *testing.T
	s     *notify.Service
	store *storagetest.Model
	set   notify.Settings

	mu     sync.Mutex
	online map[string]bool
	sent   []string
	notes  []notify.Notification
	fail   map[string]error // by device
	full   bool             // commits are refused
	slow   time.Duration    // the disk
	takes  time.Duration    // a push service
	shift  time.Duration    // the system's clock is wrong by so much
	blind  bool             // no members can be read
	busy   int
	most   int // that were busy at a time
}

func bubble(t *testing.T, fn func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, store: storagetest.NewModel(), online: map[string]bool{}, fail: map[string]error{}, slow: 5 * time.Millisecond}
		r.start()
		fn(t, r)
		r.s.Close()
		time.Sleep(time.Second) // the last commits' syncs end within the bubble
	})
}

// start starts a service over the store, as after a restart.
func (r *rig) start() {
	r.t.Helper()
	senders := map[string]notify.Sender{}
	for _, kind := range notify.Kinds() {
		senders[kind] = sender{r}
	}
	s, err := notify.New(notify.Options{
		Now: func() time.Time {
			r.mu.Lock()
			defer r.mu.Unlock()
			return time.Now().Add(r.shift)
		},
		Store: reader{r.store, r}, Commit: r.commit, CommitWait: func(b *storage.Batch) error { return r.commit(b, func() {}) },
		Decode:  protocol.DecodeStored,
		Head:    r.store.Head,
		Durable: r.store.LastCommit,
		Online: func(user string) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.online[user]
		},
		Name:    func(user string) (string, error) { return strings.ToUpper(user[:1]) + user[1:], nil },
		Senders: senders, Settings: r.set,
	})
	must(r.t, err)
	r.s = s
	must(r.t, s.Start())
}

// reader is a store that can't always be read.
type reader struct {
	*storagetest.Model
	rig *rig
}

func (d reader) Scan(prefix, after storage.Key, fn func(storage.Key, []byte) bool) error {
	d.rig.mu.Lock()
	blind := d.rig.blind
	d.rig.mu.Unlock()
	if blind && prefix[0] == byte(storage.SpaceMember) {
		return storage.ErrDamaged
	}
	return d.Model.Scan(prefix, after, fn)
}

// die is what SIGKILL does: nothing more is stored, and nobody says goodbye.
func (r *rig) die() {
	synctest.Wait()
	r.mu.Lock()
	r.full = true
	r.mu.Unlock()
	r.s.Close()
	r.mu.Lock()
	r.full = false
	r.mu.Unlock()
}

func (r *rig) commit(b *storage.Batch, done func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return storage.ErrFull
	}
	if _, err := r.store.Commit(b); err != nil {
		return err
	}
	time.AfterFunc(r.slow, done)
	return nil
}

// sender is every push service there is.
type sender struct{ *rig }

func (s sender) Send(ctx context.Context, r *notify.Registration, n *notify.Notification) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy++
	s.most = max(s.most, s.busy)
	if s.takes > 0 {
		s.mu.Unlock()
		select {
		case <-time.After(s.takes):
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	s.busy--
	if ctx.Err() != nil {
		return &notify.Later{Err: ctx.Err()}
	}
	if err := s.fail[r.Name]; err != nil {
		return err
	}
	s.sent = append(s.sent, r.User+"/"+r.Name+" "+n.Title+" | "+n.Body)
	s.notes = append(s.notes, *n)
	return nil
}

func (r *rig) failing(device string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail[device] = err; err == nil {
		delete(r.fail, device)
	}
}

func (r *rig) here(user string, online bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.online[user] = online
}

// register gives users a device each: a phone.
func (r *rig) register(users ...string) {
	r.t.Helper()
	for _, u := range users {
		r.device(u, "phone")
	}
}

func (r *rig) device(user, name string) {
	r.t.Helper()
	_, err := r.s.Register(notify.Registration{User: user, Name: name, Kind: notify.UnifiedPush, Endpoint: "https://push.example.org/" + user})
	must(r.t, err)
}

// group makes a conversation with a title.
func (r *rig) group(conv, title string, users ...string) {
	r.t.Helper()
	var b storage.Batch
	b.Set(storage.In(storage.SpaceConv).Str(conv), storage.Marshal(storage.Conv{Info: chat.Info{Title: title}}))
	for _, u := range users {
		rec := storage.AppendMember(nil, chat.Member{Role: chat.RoleMember, Since: 1, Joined: 1})
		b.Set(storage.In(storage.SpaceMember).Str(conv).Str(u), rec)
		b.Set(storage.In(storage.SpaceMembership).Str(u).Str(conv), rec)
	}
	_, err := r.store.Commit(&b)
	must(r.t, err)
}

// append puts events into a log as one commit, without telling the service.
func (r *rig) append(conv string, events ...chat.Event) []notify.News {
	r.t.Helper()
	var b storage.Batch
	var news []notify.News
	head, _, err := r.store.Head(conv)
	must(r.t, err)
	members := r.members(conv)
	for i, ev := range events {
		ev.Seq, ev.At = head+uint64(i)+1, time.Now().UnixMilli()
		if ev.Kind == 0 {
			ev.Kind = chat.KindPost
		}
		b.Append(conv, ev.Seq, protocol.EncodeStored(nil, &ev))
		news = append(news, notify.News{Conv: conv, Seq: ev.Seq, Kind: ev.Kind, From: ev.From, Members: members, Mentions: ev.Mentions})
	}
	_, err = r.store.Commit(&b)
	must(r.t, err)
	for i := range news {
		news[i].Commit = r.store.LastCommit()
	}
	return news
}

// post appends events and reports them as the hub's sink does.
func (r *rig) post(conv string, events ...chat.Event) {
	r.t.Helper()
	news := r.append(conv, events...)
	for i := range news {
		r.s.Took(&news[i])
	}
	r.s.End(news[len(news)-1].Commit)
	synctest.Wait() // it is taken over
}

func (r *rig) members(conv string) []string {
	var users []string
	prefix := storage.In(storage.SpaceMember).Str(conv)
	must(r.t, r.store.Scan(prefix, nil, func(k storage.Key, _ []byte) bool {
		u, _, _ := storage.TakeStr(k[len(prefix):])
		users = append(users, u)
		return true
	}))
	return users
}

func (r *rig) write(fn func(b *storage.Batch)) {
	r.t.Helper()
	var b storage.Batch
	fn(&b)
	_, err := r.store.Commit(&b)
	must(r.t, err)
}

func (r *rig) read(user, conv string, delivered, read uint64) {
	r.write(func(b *storage.Batch) {
		b.Set(storage.In(storage.SpaceCursor).Str(conv).Str(user), storage.AppendCursor(nil, chat.Cursor{Delivered: delivered, Read: read}))
	})
}

// take returns what was sent since the last look, after d.
func (r *rig) take(d time.Duration) (sent []string, notes []notify.Notification) {
	time.Sleep(d)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	sent, notes, r.sent, r.notes = r.sent, r.notes, nil, nil
	slices.Sort(sent)
	return sent, notes
}

// expect lets time pass and compares what was sent meanwhile, in any order.
func (r *rig) expect(d time.Duration, want ...string) []notify.Notification {
	r.t.Helper()
	got, notes := r.take(d)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Errorf("after %v: sent %q, want %q", d, got, want)
	}
	return notes
}

// stored returns how many notices there are in the store.
func (r *rig) stored() (n int) {
	must(r.t, r.store.Scan(storage.In(storage.SpaceNotice), nil, func(storage.Key, []byte) bool { n++; return true }))
	return n
}

func (r *rig) dropped() map[string]int64 {
	m := map[string]int64{}
	for i, reason := range notify.Reasons() {
		if n := r.s.Stats.Dropped[i].Load(); n > 0 {
			m[reason] = n
		}
	}
	return m
}

func (r *rig) expectDropped(want map[string]int64) {
	r.t.Helper()
	if got := r.dropped(); !maps.Equal(got, want) {
		r.t.Errorf("dropped %v, want %v", got, want)
	}
}

func from(user, text string) chat.Event { return chat.Event{From: user, Text: text} }

func texts(user string, n int) (events []chat.Event) {
	for i := range n {
		events = append(events, from(user, fmt.Sprintf("text %d", i)))
	}
	return events
}

var errDown = &notify.Later{Err: errors.New("down")}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
