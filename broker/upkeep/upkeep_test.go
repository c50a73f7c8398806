package upkeep_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/upkeep"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

const conv = "anna~bob"

// bench is a store with an Upkeep over it, in a bubble of testing/synctest.
type bench struct {
	*testing.T
	store *pebblestore.Store
	u     *upkeep.Upkeep

	mu      sync.Mutex
	ahead   time.Duration // of the clock that ages are judged by
	commits int
	largest int
	fail    error
}

// run calls fn in a bubble, with an Upkeep that has been started.
func run(t *testing.T, o upkeep.Options, before, fn func(b *bench)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := pebblestore.Open(dir, pebblestore.Options{Create: true, ReserveBytes: -1, MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, store: st}
		if o.Log == nil {
			o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
		}
		// No owner puts messages beside what upkeep wants: its batches can be judged like upkeep's own.
		pipe := hub.NewPipeline(observed{st, b}, func(error) {})
		pipe.Start(nil)
		owners := hub.New(hub.Options{Store: observed{st, b}, Pipeline: pipe, Sink: nobody{}, Codec: codec{}, Limits: chat.DefaultLimits(), Log: o.Log})
		o.Store, o.Owners, o.Commit, o.Now = st, owners, b.commit, b.now
		b.u = upkeep.New(o)
		before(b)
		b.u.Start()
		fn(b)
		b.u.Close()
		owners.Close()
		pipe.Close()
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func (b *bench) commit(batch *storage.Batch) error {
	p, err := observed{b.store, b}.Commit(batch)
	if err != nil {
		return err
	}
	return p.Wait()
}

// observed is the store with an eye on what is committed.
type observed struct {
	storage.Store
	b *bench
}

func (o observed) Commit(batch *storage.Batch) (storage.Pending, error) {
	b := o.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, b.fail
	}
	if !batch.Vital {
		b.Error("a batch is not vital")
	}
	b.commits++
	b.largest = max(b.largest, batch.Len())
	return o.Store.Commit(batch)
}

// nobody is who is told of events.
type nobody struct{}

func (nobody) Begin()                 {}
func (nobody) Deliver(*hub.Delivery)  {}
func (nobody) Moved(*hub.CursorMoved) {}
func (nobody) End(uint64)             {}

type codec struct{}

func (codec) EncodeStored(dst []byte, e *chat.Event) []byte { return protocol.EncodeStored(dst, e) }
func (codec) DecodeStored(b []byte) (chat.Event, error)     { return protocol.DecodeStored(b) }

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.ahead).Round(0)
}

// later moves the clock and has a new round of everything made.
func (b *bench) later(d time.Duration, s upkeep.Settings) {
	b.mu.Lock()
	b.ahead += d
	b.mu.Unlock()
	b.u.Set(s)
	wait(10 * time.Second)
}

func (b *bench) failing(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

// done returns how many commits there were, and how many changes the largest had.
func (b *bench) done() (commits, largest int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.commits, b.largest
}

func (b *bench) put(fill func(*storage.Batch)) {
	b.Helper()
	var batch storage.Batch
	fill(&batch)
	p, err := b.store.Commit(&batch)
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		b.Fatal(err)
	}
}

// post appends as the hub does: the event, its retry key, when it expires, the record of its log.
func (b *bench) post(log string, n int, fill func(i int, ev *chat.Event)) {
	b.Helper()
	head, _, err := b.store.Head(log)
	if err != nil {
		b.Fatal(err)
	}
	b.put(func(batch *storage.Batch) {
		for i := range n {
			seq := head + 1 + uint64(i)
			ev := chat.Event{Seq: seq, From: "anna", At: b.now().UnixMilli(), Kind: chat.KindPost, ID: fmt.Sprint("id", seq), Text: "secret"}
			if fill != nil {
				fill(i, &ev)
			}
			batch.Append(log, seq, protocol.EncodeStored(nil, &ev))
			if ev.ID != "" {
				batch.Set(hub.RetryKey(log, ev.From, ev.ID), storage.AppendPrior(nil, chat.Prior{Seq: seq, Hash: 1}))
			}
			if ev.Expire > 0 {
				batch.Set(hub.ExpireKey(log, hub.DueOf(&ev)), nil)
			}
		}
		batch.Set(storage.In(storage.SpaceConv).Str(log), storage.Marshal(storage.Conv{}))
	})
}

func (b *bench) events(log string) (list []chat.Event) {
	b.Helper()
	err := b.store.Read(log, 0, 1<<62, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		if err != nil || ev.Seq != e.Seq {
			b.Errorf("%s %d: %v, says %d", log, e.Seq, err, ev.Seq)
		}
		list = append(list, ev)
		return true
	})
	if err != nil {
		b.Fatal(err)
	}
	return list
}

func (b *bench) count(s storage.Space) (n int) {
	b.Helper()
	if err := b.store.Scan(storage.In(s), nil, func(storage.Key, []byte) bool { n++; return true }); err != nil {
		b.Fatal(err)
	}
	return n
}

func (b *bench) span(log string) string {
	b.Helper()
	evs := b.events(log)
	if len(evs) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d-%d", evs[0].Seq, evs[len(evs)-1].Seq)
}

func (b *bench) want(what string, got, want any) {
	b.Helper()
	if got != want {
		b.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// wait lets a time pass, and what is due then be done.
func wait(d time.Duration) {
	time.Sleep(d) // the bubble's clock
	synctest.Wait()
}

// TestDisappear: nothing goes before its time; what goes leaves a stub, and the retry key stays.
func TestDisappear(t *testing.T) {
	run(t, upkeep.Options{}, func(b *bench) {
		b.post(conv, 3, func(i int, ev *chat.Event) { ev.Expire = uint64(10 * i) })
	}, func(b *bench) {
		wait(9 * time.Second)
		commits, _ := b.done()
		b.want("commits before anything is due", commits, 0)
		wait(3 * time.Second)
		evs := b.events(conv)
		b.want("first", evs[0].Text, "secret")
		b.want("second", fmt.Sprintf("%+v", evs[1]), fmt.Sprintf("%+v", chat.Event{Seq: 2, From: "anna", At: evs[0].At, Kind: chat.KindGone}))
		b.want("third", evs[2].Text, "secret")
		b.want("times to come", b.count(storage.SpaceExpire), 1)
		wait(10 * time.Second)
		b.want("third", b.events(conv)[2].Kind, chat.KindGone)
		b.want("times to come", b.count(storage.SpaceExpire), 0)
		b.want("retry keys", b.count(storage.SpaceRetry), 3)
		commits, _ = b.done()
		wait(11 * time.Minute)
		after, _ := b.done()
		b.want("commits with nothing to do", after, commits)
	})
}

// TestDisappearMany: a long list is worked off in steps with pauses, past an event that can't be read.
func TestDisappearMany(t *testing.T) {
	const n = 1500
	run(t, upkeep.Options{Rest: 100 * time.Millisecond}, func(b *bench) {
		b.post(conv, n, func(_ int, ev *chat.Event) { ev.Expire = 1 })
		b.put(func(batch *storage.Batch) { batch.Erase(conv, 10, []byte("?")) })
	}, func(b *bench) {
		wait(1250 * time.Millisecond) // the first step, and two pauses
		if left := b.count(storage.SpaceExpire); left == n || left < n-3*256 {
			t.Errorf("%d of %d are left: not done in steps", left, n)
		}
		wait(10 * time.Second)
		b.want("left", b.count(storage.SpaceExpire), 1)
		if _, largest := b.done(); largest > 2*256 {
			t.Errorf("a batch has %d changes", largest)
		}
		b.put(func(batch *storage.Batch) { batch.Truncate(conv, 11) })
		wait(2 * time.Minute) // an error makes it wait
		b.want("left once the event is cut off", b.count(storage.SpaceExpire), 0)
	})
}

// TestStrayTime: a record that an event does not agree with takes nothing away.
func TestStrayTime(t *testing.T) {
	run(t, upkeep.Options{}, func(b *bench) {
		b.post(conv, 2, func(i int, ev *chat.Event) { ev.Expire = uint64(3600 * i) })
		b.put(func(batch *storage.Batch) {
			for seq := range uint64(4) {
				batch.Set(storage.In(storage.SpaceExpire).U64(uint64(b.now().UnixMilli())).Str(conv).U64(seq), nil)
			}
		})
	}, func(b *bench) {
		wait(5 * time.Second)
		for _, ev := range b.events(conv) {
			b.want("text", ev.Text, "secret")
		}
		b.want("times", b.count(storage.SpaceExpire), 1)
	})
}

// TestLength: logs are held to their newest events, own logs too, with the records beside them; a setting
// that changes is taken over at once.
func TestLength(t *testing.T) {
	run(t, upkeep.Options{Settings: upkeep.Settings{LogLength: 1200}}, func(b *bench) {
		b.post(conv, 2000, func(_ int, ev *chat.Event) { ev.Expire = 1 << 30 })
		b.post("small", 5, nil)
		b.put(func(batch *storage.Batch) {
			for range 1300 {
				batch.AppendNext("@anna", protocol.EncodeStored(nil, &chat.Event{Kind: chat.KindAdded}), nil)
				batch.AppendNext("@bob", protocol.EncodeStored(nil, &chat.Event{Kind: chat.KindAdded}), nil)
			}
			batch.Set(storage.In(storage.SpaceMembership).Str("anna").Str(conv), storage.AppendMember(nil, chat.Member{}))
			batch.Set(storage.In(storage.SpaceProfile).Str("bob"), storage.Marshal(storage.Profile{}))
		})
		// The first event's id was used again after its key had grown old.
		b.put(func(batch *storage.Batch) {
			batch.Set(hub.RetryKey(conv, "anna", "id1"), storage.AppendPrior(nil, chat.Prior{Seq: 1999}))
		})
	}, func(b *bench) {
		wait(2 * time.Minute)
		b.want("conversation", b.span(conv), "801-2000")
		b.want("small", b.span("small"), "1-5")
		var own [2]int
		for i, log := range []string{"@anna", "@bob"} {
			err := b.store.Read(log, 0, 1<<62, func(storage.Entry) bool { own[i]++; return true })
			b.want("reading", err, nil)
		}
		b.want("own logs", own, [2]int{1200, 1200})
		b.want("times", b.count(storage.SpaceExpire), 1200)
		b.want("retry keys", b.count(storage.SpaceRetry), 1200+5+1)
		if _, ok, _ := b.store.Get(hub.RetryKey(conv, "anna", "id1")); !ok {
			t.Error("the key of a newer event was deleted")
		}
		if _, largest := b.done(); largest > 3*512+1 {
			t.Errorf("a batch has %d changes", largest)
		}
		b.u.Set(upkeep.Settings{LogLength: 1})
		wait(5 * time.Second)
		b.want("conversation", b.span(conv), "2000-2000")
		b.want("small", b.span("small"), "5-5")
	})
}

// TestAge: what is older goes, but for the last event of a log, and without settings nothing.
func TestAge(t *testing.T) {
	run(t, upkeep.Options{}, func(b *bench) {
		b.post(conv, 700, nil)
	}, func(b *bench) {
		b.later(48*time.Hour, upkeep.Settings{})
		b.want("all", b.span(conv), "1-700")
		b.post(conv, 10, nil)
		b.later(10*time.Hour, upkeep.Settings{LogAge: 24 * time.Hour})
		b.want("the younger", b.span(conv), "701-710")
		b.later(100*time.Hour, upkeep.Settings{LogAge: 24 * time.Hour})
		b.want("the last", b.span(conv), "710-710")
		b.want("retry keys", b.count(storage.SpaceRetry), 1)
	})
}

// TestHidden: what a user deleted for themselves is noted for as long as it is there.
func TestHidden(t *testing.T) {
	run(t, upkeep.Options{}, func(b *bench) {
		b.post(conv, 100, nil)
		b.put(func(batch *storage.Batch) {
			for _, seq := range []uint64{1, 49, 50, 51, 100} {
				batch.Set(storage.HiddenKey("anna", conv, seq), nil)
				batch.Set(storage.HiddenKey("bob", conv, seq), nil)
			}
		})
	}, func(b *bench) {
		wait(2 * time.Minute)
		b.want("before a cut", b.count(storage.SpaceHidden), 10)
		b.later(time.Second, upkeep.Settings{LogLength: 51})
		b.later(time.Second, upkeep.Settings{LogLength: 51})
		b.want("conversation", b.span(conv), "50-100")
		b.want("after a cut", b.count(storage.SpaceHidden), 6)
	})
}

// TestRetryKeys: keys go with the age of their events, and those of events that were cut off always.
func TestRetryKeys(t *testing.T) {
	const day = 24 * time.Hour
	month := upkeep.Settings{RetryKeys: 30 * day}
	run(t, upkeep.Options{Settings: month}, func(b *bench) {
		b.post(conv, 1000, func(_ int, ev *chat.Event) { ev.Expire = 60 })
		b.post("birds", 3, nil)
		b.put(func(batch *storage.Batch) {
			batch.Set(hub.RetryKey("nowhere", "anna", "x"), storage.AppendPrior(nil, chat.Prior{Seq: 1}))
		})
	}, func(b *bench) {
		b.later(20*day, month)
		b.post(conv, 500, nil)
		b.later(day, month)
		b.want("keys", b.count(storage.SpaceRetry), 1504)
		_, noted, err := b.store.Get(upkeep.RetryCutoffKey())
		if err != nil || noted {
			t.Errorf("a time is noted before anything was forgotten: %v", err)
		}
		b.later(10*day, month)
		// Those of the first thousand (stubs by now) and of the three; the one of no log is not ours to judge.
		b.want("keys", b.count(storage.SpaceRetry), 501)
		evs := b.events(conv)
		cutoff, err := upkeep.RetryCutoff(b.store)
		if err != nil || cutoff <= evs[0].At || cutoff > evs[1000].At {
			t.Errorf("keys of before %d may be gone: not between %d and %d (%v)", cutoff, evs[0].At, evs[1000].At, err)
		}
		b.put(func(batch *storage.Batch) { batch.Truncate(conv, 1401) })
		wait(11 * time.Minute)
		b.want("keys after a cut", b.count(storage.SpaceRetry), 101)
	})
}

// TestAudit: the oldest entries go by age, then by number.
func TestAudit(t *testing.T) {
	entries := func(b *bench, n int) {
		b.put(func(batch *storage.Batch) {
			for i := range n {
				batch.Set(storage.In(storage.SpaceAudit).U64(uint64(b.now().UnixMilli())).U64(uint64(i)), []byte("{}"))
			}
		})
	}
	settings := upkeep.Settings{AuditAge: 24 * time.Hour, AuditMax: 5000}
	run(t, upkeep.Options{Settings: settings}, func(b *bench) {
		entries(b, 1100)
	}, func(b *bench) {
		wait(2 * time.Minute)
		b.want("entries", b.count(storage.SpaceAudit), 1100)
		b.later(25*time.Hour, settings)
		b.want("entries after a day", b.count(storage.SpaceAudit), 0)
		entries(b, 6000)
		b.later(time.Hour, settings)
		b.want("entries of too many", b.count(storage.SpaceAudit), 5000)
		var first uint64
		err := b.store.Scan(storage.In(storage.SpaceAudit), nil, func(k storage.Key, _ []byte) bool {
			first = binary.BigEndian.Uint64(k[9:])
			return false
		})
		b.want("reading", err, nil)
		b.want("the first that is left", first, uint64(1000))
		if _, largest := b.done(); largest > 512 {
			t.Errorf("a batch has %d changes", largest)
		}
	})
}

// TestExtra: the others' work is called in turn, once in its time.
func TestExtra(t *testing.T) {
	calls := make(chan string, 100)
	call := func(name string) func() { return func() { calls <- name } }
	got := func() (all string) {
		for len(calls) > 0 {
			all += <-calls
		}
		return all
	}
	run(t, upkeep.Options{Extra: []func(){call("a"), call("b")}}, func(*bench) {}, func(b *bench) {
		wait(59 * time.Second)
		b.want("before", got(), "")
		wait(2 * time.Second)
		b.want("once", got(), "ab")
		wait(time.Minute)
		b.want("twice", got(), "ab")
	})
}

// TestFailure: a store that refuses is asked again later, the other work goes on, and nothing is lost.
func TestFailure(t *testing.T) {
	var extra atomic.Int64
	run(t, upkeep.Options{Extra: []func(){func() { extra.Add(1) }}, Settings: upkeep.Settings{LogLength: 10}}, func(b *bench) {
		b.post(conv, 100, func(_ int, ev *chat.Event) { ev.Expire = 1 })
		b.failing(errors.New("no"))
	}, func(b *bench) {
		wait(10 * time.Minute)
		b.want("log", b.span(conv), "1-100")
		b.want("times", b.count(storage.SpaceExpire), 100)
		if n := extra.Load(); n < 9 {
			t.Errorf("other work ran %d times in ten minutes", n)
		}
		b.failing(nil)
		wait(11 * time.Minute)
		b.want("log", b.span(conv), "91-100")
		b.want("times", b.count(storage.SpaceExpire), 0)
	})
}

// TestClockBack: a clock that was set back stops nothing but what it makes too young.
func TestClockBack(t *testing.T) {
	run(t, upkeep.Options{}, func(b *bench) {
		b.post(conv, 1, func(_ int, ev *chat.Event) { ev.Expire = 60 })
	}, func(b *bench) {
		wait(10 * time.Second)
		b.later(-time.Hour, upkeep.Settings{})
		b.post("other~other", 1, func(_ int, ev *chat.Event) { ev.Expire = 1 })
		wait(5 * time.Second)
		b.want("due by the clock", b.events("other~other")[0].Kind, chat.KindGone)
		wait(2 * time.Minute)
		b.want("not due by the clock", b.events(conv)[0].Kind, chat.KindPost)
		b.later(time.Hour, upkeep.Settings{})
		b.want("due at last", b.events(conv)[0].Kind, chat.KindGone)
	})
}

// TestClose ends it in the middle of its work, before its start, and twice.
func TestClose(t *testing.T) {
	run(t, upkeep.Options{}, func(b *bench) {
		b.post(conv, 1000, func(_ int, ev *chat.Event) { ev.Expire = 1 })
	}, func(b *bench) {
		wait(1010 * time.Millisecond)
		b.u.Close()
		left := b.count(storage.SpaceExpire)
		if left == 0 {
			t.Error("everything was done at once")
		}
		wait(10 * time.Minute)
		b.want("left after Close", b.count(storage.SpaceExpire), left)
	})
	u := upkeep.New(upkeep.Options{Store: &pebblestore.Store{}, Owners: &hub.Hub{}, Commit: func(*storage.Batch) error { return nil }})
	u.Close()
}
