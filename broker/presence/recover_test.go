package presence_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petrelchat/petrel/broker/presence"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
	"github.com/petrelchat/petrel/storage/storagetest"
)

func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewModel()
		r := newRig(t, store)
		all := names(2500)
		r.setWanted(false) // the model is slow to tell who is a peer
		for _, u := range all {
			r.p.Came(u)
		}
		time.Sleep(10 * time.Minute)
		r.p.Went(all[7])
		left := time.Now().UnixMilli()
		time.Sleep(49 * time.Second)
		crashed := time.Now()
		synctest.Wait()
		r.p.Kill()
		time.Sleep(time.Hour)

		r = newRig(t, store)
		near := func(what string, seen int64) {
			t.Helper()
			if d := crashed.Sub(time.UnixMilli(seen)); d < 0 || d > 30*time.Second {
				t.Errorf("%s: last seen %v before the crash", what, d)
			}
		}
		pr, err := r.p.Current("", all[0])
		if err != nil || pr.State != "offline" {
			t.Errorf("before Recover: %+v, %v", pr, err)
		}
		near("before Recover", pr.Seen)
		r.p.Came(all[1]) // back before Recover
		r.p.Came(all[2]) // back, and gone again
		time.Sleep(time.Second)
		r.p.Went(all[2])
		back := time.Now().UnixMilli()
		if err := r.status(all[3], `{"text":"x"}`); err != nil { // a device that does not count
			t.Fatal(err)
		}
		if err := r.p.Recover(); err != nil {
			t.Fatal(err)
		}
		for i, u := range all {
			p := r.record(u)
			if p.Online != (i == 1) {
				t.Fatalf("%s: %+v", u, p)
			}
			switch i {
			case 1:
			case 2:
				if p.Seen != back {
					t.Errorf("came and went: %+v", p)
				}
			case 7:
				if p.Seen != left {
					t.Errorf("offline at the time of the crash: %+v, want %d", p, left)
				}
			default:
				near(u, p.Seen)
			}
		}
		time.Sleep(time.Minute)
		if n := r.p.Tracked(); n != 1 {
			t.Errorf("%d in memory", n)
		}
	})
}

func TestCleanClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewModel()
		r := newRig(t, store)
		all := names(2500)
		r.setWanted(false) // the model is slow to tell who is a peer
		for _, u := range all {
			r.p.Came(u)
		}
		time.Sleep(9 * time.Minute)
		r.p.Came("late") // not yet seen by the goroutine, perhaps
		r.p.Went(all[0])
		r.p.Close()
		now := time.Now().UnixMilli()
		for _, u := range append(all, "late") {
			if p := r.record(u); p.Online || p.Seen != now {
				t.Fatalf("%s: %+v, want offline and seen %d", u, p, now)
			}
		}
		r.p.Came("ann")
		r.p.Close()
		r = newRig(t, store)
		before := r.store.LastCommit()
		if err := r.p.Recover(); err != nil || r.store.LastCommit() != before {
			t.Errorf("Recover had something to do: %v", err)
		}
	})
}

func TestWhoMaySee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewModel()
		r := newRig(t, store)
		group(t, store, chat.DirectID("ann", "ben"), chat.RoleMember, "ann", "ben")
		group(t, store, "gsmall", chat.RoleMember, append(names(198), "ann", "ben")...)
		group(t, store, "gsmall", chat.RoleNone, "former")
		group(t, store, "glarge", chat.RoleMember, append(names(199), "ann", "carl")...)
		group(t, store, "gold", chat.RoleNone, "ann", "dora")
		group(t, store, "gother", chat.RoleMember, "carl", "dora")

		peers, err := presence.Peers(store, "ann", presence.MaxGroup)
		want := append([]string{"ann", "ben"}, names(198)...)
		if err != nil || peers[0] != "ann" || !sameSet(peers, want) {
			t.Errorf("ann's peers: %d %v, %v", len(peers), peers[:2], err)
		}
		everybody := append(names(199), "ann", "ben", "carl", "dora", "former", "nobody")
		for _, subject := range []string{"ann", "ben", "carl", "dora", "former", "user00198"} {
			peers, err := presence.Peers(store, subject, presence.MaxGroup)
			if err != nil {
				t.Fatal(err)
			}
			for _, viewer := range everybody {
				may, err := r.p.MaySee(viewer, subject)
				if err != nil || may != slices.Contains(peers, viewer) {
					t.Errorf("%s sees %s: %v, %v; peers say otherwise", viewer, subject, may, err)
				}
			}
		}

		r.p.Came("ann")
		r.p.Came("dora")
		time.Sleep(time.Second)
		told := r.told()
		if len(told) != 2 {
			t.Fatalf("%d publications, want ann's and dora's", len(told))
		}
		for _, x := range told {
			if x.subject == "ann" && !sameSet(x.users, want) || x.subject == "dora" && !sameSet(x.users, []string{"carl", "dora"}) {
				t.Errorf("told %v of %s", x.users, x.subject)
			}
		}

		got := map[string]string{}
		send := func(subject string, payload []byte) { got[subject] = string(payload) }
		if err := r.p.SendCurrent("carl", "ann", send); err != nil || len(got) != 0 {
			t.Errorf("carl was sent %v, %v", got, err)
		}
		if err := r.p.SendCurrent("ben", "ann", send); err != nil || len(got) != 1 || got["ann"] != `{"state":"online"}` {
			t.Errorf("ben was sent %v, %v", got, err)
		}
		clear(got)
		if err := r.p.SendCurrent("carl", "", send); err != nil || len(got) != 2 || got["carl"] != `{"state":"offline"}` || got["dora"] != `{"state":"online"}` {
			t.Errorf("carl was sent %v, %v", got, err)
		}
	})
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

func TestNoSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		r.p.Came("ann")
		r.p.UpdateProfile("ann", func(p *storage.Profile) { p.NoSeen = true }, func(error) {})
		time.Sleep(time.Minute)
		r.told()
		r.p.Went("ann")
		if told := r.told(); len(told) != 1 || told[0].payload != `{"state":"offline"}` {
			t.Errorf("%+v", told)
		}
		for range 2 { // within the window, and after it
			if pr, err := r.p.Current("", "ann"); err != nil || pr.State != "offline" || pr.Seen != 0 {
				t.Errorf("%+v, %v", pr, err)
			}
			time.Sleep(time.Minute)
		}
		if r.record("ann").Seen == 0 {
			t.Error("the record must know")
		}
	})
}

// A subscriber is shown what was published last, not what is about to be: else a window that ends
// where it began would leave them with the state between.
func TestCurrentIsWhatWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		r.p.Came("ann")
		time.Sleep(time.Second)
		r.p.Went("ann")
		synctest.Wait()
		if pr, _ := r.p.Current("", "ann"); pr.State != "online" {
			t.Errorf("within the window: %+v", pr)
		}
		r.p.Came("ann")
		time.Sleep(time.Minute)
		r.expect("ann online")
	})
}

// TestConcurrent has everybody do everything at once on the real engine, and compares what the last
// publications say with the truth.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	store, err := pebblestore.Open(dir, pebblestore.Options{Create: true, ReserveBytes: -1, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	all := names(40)
	group(t, store, "g", chat.RoleMember, all...)

	waits := make(chan func(), 64)
	var disk sync.WaitGroup
	disk.Go(func() {
		for wait := range waits {
			wait()
		}
	})
	var mu sync.Mutex
	last := map[string]string{}
	see := func(subject string, payload []byte) {
		mu.Lock()
		defer mu.Unlock()
		last[subject] = string(payload)
	}
	p := presence.New(presence.Options{
		Store: store, Coalesce: time.Millisecond,
		Commit: func(b *storage.Batch, done func()) error {
			pending, err := store.Commit(b)
			if err != nil {
				return err
			}
			waits <- func() {
				if err := pending.Wait(); err != nil {
					t.Error(err)
				}
				done()
			}
			return nil
		},
		Tell: func(_ []string, subject string, payload []byte) { see(subject, payload) },
	})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range 300 {
				u := all[rnd.IntN(len(all))]
				p.Came(u)
				done := make(chan error, 1)
				p.SetStatus(u, fmt.Appendf(nil, `{"text":"%d"}`, i), func(err error) { done <- err })
				if err := p.SendCurrent(all[w], u, see); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					if err := p.SendCurrent(all[w], "", see); err != nil {
						t.Error(err)
					}
					p.SetCoalesce(time.Duration(rnd.IntN(3)) * time.Millisecond)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				p.Went(u)
			}
			p.Came(all[w])
		})
	}
	workers.Wait()
	settled := func(u string, online bool) bool {
		mu.Lock()
		defer mu.Unlock()
		pr, err := p.Current("", u)
		if err != nil {
			t.Fatal(err)
		}
		if (pr.State != "offline") != online || last[u] == "" {
			return (pr.State != "offline") == online
		}
		var seen protocol.Presence
		if err := json.Unmarshal([]byte(last[u]), &seen); err != nil {
			t.Fatal(err)
		}
		return seen.State == pr.State && seen.Text == pr.Text // when it was may have been coalesced
	}
	deadline := time.Now().Add(20 * time.Second)
	for i, u := range all {
		for !settled(u, i < 8) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the last publication is %s", u, last[u])
			}
			done := make(chan struct{})
			p.UpdateProfile(all[0], func(*storage.Profile) {}, func(error) { close(done) })
			<-done
		}
	}
	p.Close()
	close(waits)
	disk.Wait()
	for _, u := range all {
		if r, err := p.Profile(u); err != nil || r.Online {
			t.Errorf("%s after Close: %+v, %v", u, r, err)
		}
	}
}
