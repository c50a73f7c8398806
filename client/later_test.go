package client_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

// porter is a hook of an embedder that turns posts away for now, and notes which of them were sent as following others.
type porter struct {
	mqtt.HookBase
	mu      sync.Mutex
	refuse  func(topic string) bool // asked with mu held; nil: nothing is refused
	refused int
	posts   []string // topics, with a + for those that follow
}

func (p *porter) ID() string           { return "porter" }
func (p *porter) Provides(b byte) bool { return b == mqtt.OnPublish }
func (p *porter) tune(o *broker.Options) {
	o.Hooks = []mqtt.Hook{p}
}

func (p *porter) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pk.TopicName[0] != 'c' || pk.FixedHeader.Qos != 1 {
		return pk, nil
	}
	post := pk.TopicName
	if slices.ContainsFunc(pk.Properties.User, func(u packets.UserProperty) bool { return u.Key == "then" }) {
		post += "+"
	}
	p.posts = append(p.posts, post)
	if p.refuse != nil && p.refuse(pk.TopicName) {
		p.refused++
		return pk, packets.ErrQuotaExceeded
	}
	return pk, nil
}

func (p *porter) set(refuse func(topic string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// tell returns what was posted since it was asked last.
func (p *porter) tell() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	posts := p.posts
	p.posts = nil
	return posts
}

// letters are what a device writes into several conversations, in turns, and what is to be read there in the end.
type letters struct {
	d     *device
	convs []string
	want  map[string][]string
}

func (l *letters) write(n int) {
	l.d.t.Helper()
	for i := range n {
		conv := l.convs[i%len(l.convs)]
		text := num(len(l.want[conv]))
		l.d.send(conv, text)
		l.want[conv] = append(l.want[conv], text)
	}
}

// arrived asserts that all is on the server, once and in order, as a device sees that asks for everything.
func (l *letters) arrived(reader *device) {
	l.d.t.Helper()
	l.d.upToDate()
	for _, conv := range l.convs {
		want := l.want[conv]
		reader.until("the last of "+conv, func() bool {
			row, err := reader.Conversation(soon(reader.t), conv)
			return err == nil && row.Head >= uint64(len(want))
		})
		for more := true; more; {
			var err error
			more, err = reader.Earlier(soon(reader.t), conv, 500)
			must(reader.t, err)
		}
		if got := reader.posts(conv); !slices.Equal(got, want) {
			l.d.t.Errorf("%s has\n%v\nshould be\n%v", conv, got, want)
		}
	}
}

// tight is a store whose disk is full for every other commit of what clients send, so many times.
type tight struct {
	storage.Store
	mu   sync.Mutex
	n    int
	left int
}

func (s *tight) Commit(b *storage.Batch) (storage.Pending, error) {
	s.mu.Lock()
	if !b.Vital {
		s.n++
	}
	full := !b.Vital && s.left > 0 && s.n%2 == 1
	if full {
		s.left--
	}
	s.mu.Unlock()
	if full {
		return nil, storage.ErrFull
	}
	return s.Store.Commit(b)
}

func (s *tight) fill(times int) (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left, s.n, s.left = s.left, 0, times
	return left
}

// TestOrderOnAFullDisk: again and again the server's disk is full for a moment, while hundreds of messages are on their way to
// several conversations.
func TestOrderOnAFullDisk(t *testing.T) {
	disk := &tight{}
	s := serveTuned(t, func(o *broker.Options) {
		st, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
		must(t, err)
		disk.Store = st
		o.Store = disk
	})
	s.known("bob", "cas")
	ann := s.device("ann", "a", inMemory(t)).open()
	ann.upToDate()
	l := &letters{d: ann, convs: []string{ann.Direct("ann"), ann.Direct("bob"), ann.Direct("cas")}, want: make(map[string][]string)}
	s.proxy.Refuse(true)
	s.proxy.Cut()
	l.write(600)
	disk.fill(6)
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	for range 5 {
		l.write(30)
		ann.upToDateOr(300 * time.Millisecond)
	}
	l.arrived(s.device("ann", "other", inMemory(t)).open())
	if left := disk.fill(0); left == 6 {
		t.Error("the disk was never full")
	}
}

// TestOrderUnderRefusals: posts are turned away at random before they reach the disk, and the connection ends at times.
func TestOrderUnderRefusals(t *testing.T) {
	r := seed(t)
	p := &porter{}
	s := serveTuned(t, p.tune)
	s.known("bob", "cas")
	ann := s.device("ann", "a", inFile(t)).open()
	ann.upToDate()
	l := &letters{d: ann, convs: []string{ann.Direct("ann"), ann.Direct("bob"), ann.Direct("cas")}, want: make(map[string][]string)}
	s.proxy.Refuse(true)
	s.proxy.Cut()
	l.write(300)
	dice := rand.New(rand.NewPCG(r.Uint64(), 1))
	left := 10
	p.set(func(string) bool {
		if left > 0 && dice.IntN(20) == 0 {
			left--
			return true
		}
		return false
	})
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	for range 6 {
		l.write(30)
		ann.upToDateOr(time.Duration(r.IntN(400)) * time.Millisecond)
		if r.IntN(2) == 0 {
			s.proxy.Cut()
			ann.NetworkChanged()
		}
	}
	l.arrived(s.device("ann", "other", inMemory(t)).open())
	if p.refused == 0 {
		t.Error("nothing was refused")
	}
}

// rows are what waits for a conversation, in order.
func (d *device) rows(conv string) (out []store.Outgoing) {
	d.t.Helper()
	must(d.t, d.store.View(soon(d.t), func(r store.Reader) (err error) {
		out, err = r.Outbox(store.OutboxQuery{Conv: conv, States: []store.OutState{store.Queued, store.Sending, store.Failed}})
		return err
	}))
	return out
}

// A user's rate ends in the middle of what is sent at once. The first that it does not let through waits for its time, with the reason;
// those behind it wait for that one and for nothing else, can be taken back, and go on in order.
func TestOrderBehindARate(t *testing.T) {
	began := time.Now() // the clock of the rates stands
	s := serveTuned(t, func(o *broker.Options) { o.Now = func() time.Time { return began } }, accounts(t),
		func(c *config.Config) {
			c.Limits.EventsPerSecond, c.Limits.Burst = 1, 100
			c.People.Messages = "anyone"
		})
	for _, user := range []string{"ann", "bob", "cas"} {
		s.addUser(user)
	}
	as := func(o *client.Options) { o.Credentials = client.Password("right of " + o.User) }
	ann := s.device("ann", "a", inFile(t), as)
	s.proxy.Refuse(true)
	ann.open()
	l := &letters{d: ann, convs: []string{ann.Direct("ann"), ann.Direct("bob"), ann.Direct("cas")}, want: make(map[string][]string)}
	l.write(300)
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	for _, conv := range l.convs {
		ann.until("the rate to end in "+conv, func() bool {
			rows := ann.rows(conv)
			for i, out := range rows {
				first := i == 0
				if out.State == store.Failed || !first && out.Reason != "" || !first && out.Attempts > 0 {
					t.Fatalf("the %dth in %s: %+v", i, conv, out)
				}
				if first != (out.Code == string(chat.RateLimited)) || first != (out.Attempts > 0) || !first && out.State != store.Queued {
					return false // not all of it has come back
				}
			}
			return len(rows) > 0
		})
	}
	conv := l.convs[1]
	rows := ann.rows(conv)
	gone := rows[len(rows)/2]
	must(t, ann.Cancel(soon(t), gone.ID))
	l.want[conv] = slices.DeleteFunc(l.want[conv], func(text string) bool { return text == gone.Event.Text })
	cfg := s.Config
	cfg.Limits.EventsPerSecond = 0
	_, _, err := s.Reload(cfg)
	must(t, err)
	l.arrived(s.device("ann", "other", inMemory(t), as).open())
}

// What is refused for now is surely not on the server, unless it was sent before and the answer was lost.
func TestRefusedIsNotSent(t *testing.T) {
	p := &porter{}
	s := serveTuned(t, p.tune)
	s.known("bob", "cas")
	ann := s.device("ann", "a", inMemory(t)).open()
	ann.upToDate()
	p.set(func(string) bool { return true })
	sure, unsure := ann.send(ann.Direct("bob"), "sure"), client.Message{}
	ann.until("the refusal", func() bool { rows := ann.rows(sure.Conv); return rows[0].Attempts > 0 && rows[0].State == store.Queued })
	s.proxy.Refuse(true)
	s.proxy.Cut()
	ann.await("to be offline", func(s client.Status) bool { return s.State == client.Offline || s.State == client.Connecting })
	unsure = ann.send(ann.Direct("cas"), "unsure")
	must(t, ann.store.Update(soon(t), func(tx store.Tx) error {
		out, err := tx.Outgoing(unsure.ID)
		out.State = store.Sending
		return errors.Join(err, tx.PutOutgoing(out))
	}))
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	ann.until("the other refusal", func() bool { return ann.rows(unsure.Conv)[0].Attempts > 0 })
	if err := ann.Cancel(soon(t), unsure.ID); !errors.Is(err, client.ErrMaybeSent) {
		t.Errorf("taking back what may be there: %v", err)
	}
	edited, err := ann.Edit(soon(t), sure.Conv, sure.Target(), "very sure")
	must(t, err)
	p.set(nil)
	_, err = ann.Sent(soon(t), unsure)
	must(t, err)
	_, err = ann.Sent(soon(t), edited)
	must(t, err)
	ann.has(sure.Conv, "very sure")
	ann.has(unsure.Conv, "unsure")
}

// Only what follows something that is under way says so: one message at a time costs no byte more.
func TestThenOnlyInARow(t *testing.T) {
	p := &porter{}
	s := serveTuned(t, p.tune)
	s.known("bob", "cas")
	ann := s.device("ann", "a", inMemory(t)).open()
	ann.upToDate()
	bob, cas := ann.Direct("bob"), ann.Direct("cas")
	post := func(conv string) string { return "c/" + conv + "/cbor" }
	p.tell()
	var alone int
	for range 20 {
		_, err := ann.Sent(soon(t), ann.send(bob, "one at a time"))
		must(t, err)
		switch got := p.tell(); {
		case slices.Equal(got, []string{post(bob)}):
			alone++
		case !slices.Equal(got, []string{post(bob) + "+"}): // the message before it came back before its PUBACK
			t.Errorf("one message: %v", got)
		}
	}
	if alone < 10 {
		t.Errorf("%d of 20 messages, one at a time, did not say that they follow another", alone)
	}
	s.proxy.Refuse(true)
	s.proxy.Cut()
	ann.await("to be offline", func(s client.Status) bool { return s.State == client.Offline })
	for _, conv := range []string{bob, bob, cas, bob, cas} {
		ann.send(conv, "at once")
	}
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	ann.upToDate()
	want := []string{post(bob), post(bob) + "+", post(cas), post(bob) + "+", post(cas) + "+"}
	if got := p.tell(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("at once:\n%v, should be\n%v", got, want)
	}
}
