package presence_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
)

func TestFirstDeviceAndLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		r.p.Went("ann") // never came: ignored
		r.p.Came("")    // a guest
		r.p.Came("ann")
		told := r.told()
		if len(told) != 1 || told[0].at != 0 || told[0].payload != `{"state":"online"}` || !slices.Equal(told[0].users, []string{"ann"}) {
			t.Fatalf("came: %+v", told)
		}
		time.Sleep(time.Minute)
		r.p.Came("ann")
		r.p.Went("ann")
		r.expect()
		time.Sleep(time.Minute)
		left := time.Now()
		r.p.Went("ann")
		told = r.told()
		want := fmt.Sprintf(`{"state":"offline","seen":%d}`, left.UnixMilli())
		if len(told) != 1 || told[0].at != 2*time.Minute || told[0].payload != want {
			t.Fatalf("went: %+v, want %s at once", told, want)
		}
		time.Sleep(time.Minute)
		if got := r.record("ann"); got.Online || got.Seen != left.UnixMilli() {
			t.Errorf("record: %+v", got)
		}
	})
}

func TestFlappingIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		r.p.Came("ann")
		r.expect("ann online")
		time.Sleep(time.Minute)
		r.told()

		// Twenty turns in two seconds, ending as it was published: first offline at once, then online
		// again when the window ends.
		for range 10 {
			r.p.Went("ann")
			time.Sleep(100 * time.Millisecond)
			r.p.Came("ann")
			time.Sleep(100 * time.Millisecond)
		}
		r.expect("ann offline")
		time.Sleep(999 * time.Millisecond)
		r.expect()
		time.Sleep(time.Millisecond)
		r.expect("ann online")

		// Ends in the state that was published last: nothing.
		time.Sleep(time.Second)
		r.p.Went("ann")
		time.Sleep(time.Second)
		r.p.Came("ann")
		time.Sleep(time.Minute)
		r.expect()

		// Without end: at most one publication for each window.
		for range 600 {
			r.p.Went("ann")
			time.Sleep(70 * time.Millisecond)
			r.p.Came("ann")
			time.Sleep(30 * time.Millisecond)
		}
		told := r.told()
		if len(told) < 2 || len(told) > 21 {
			t.Errorf("%d publications in 60 s", len(told))
		}
		for i := 1; i < len(told); i++ {
			if gap := told[i].at - told[i-1].at; gap < 3*time.Second {
				t.Errorf("publications %v apart", gap)
			}
		}
	})
}

func TestCoalesceIsReloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		r.p.SetCoalesce(10 * time.Second)
		r.p.Came("ann")
		time.Sleep(time.Second)
		r.p.Went("ann")
		time.Sleep(4 * time.Second)
		r.expect("ann online")
		r.p.SetCoalesce(5 * time.Second)
		r.expect("ann offline")
		r.p.SetCoalesce(0)
		time.Sleep(time.Second)
		r.p.Came("ann")
		r.expect("ann online")
		time.Sleep(time.Second)
		r.p.Went("ann")
		r.expect("ann offline")
	})
}

func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The model looks at everything it has for every scan, so the peers are given.
		r := newRigOf(t, storagetest.NewModel(), func(user string) ([]string, error) { return []string{user}, nil })
		all := names(10_000)
		for _, u := range all {
			r.p.Came(u)
		}
		time.Sleep(time.Second)
		told := r.told()
		if len(told) != len(all) {
			t.Errorf("%d publications for %d users", len(told), len(all))
		}
		if n := r.committed(); n > 12 {
			t.Errorf("%d commits", n)
		}
		time.Sleep(time.Minute)
		r.committed()
		// All are thrown out and come back, twice, within a window, not at the same moment.
		for range 2 {
			for i, u := range all {
				r.p.Went(u)
				if i%100 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			for i, u := range all {
				r.p.Came(u)
				if i%100 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}
		time.Sleep(time.Minute)
		if n := len(r.told()); n > 2*len(all) {
			t.Errorf("%d publications for %d users", n, len(all))
		}
		if n := r.committed(); n > 60 {
			t.Errorf("%d commits", n)
		}
		for _, u := range all {
			if !r.record(u).Online {
				t.Fatalf("%s is online, the record says not", u)
			}
		}
		if n := r.p.Tracked(); n != len(all) {
			t.Errorf("%d in memory", n)
		}
		for _, u := range all {
			r.p.Went(u)
		}
		time.Sleep(time.Minute)
		if n := r.p.Tracked(); n != 0 {
			t.Errorf("%d in memory, nobody is online", n)
		}
	})
}

func TestNobodyIsLookedUpForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		r.setWanted(false)
		r.p.Came("ann")
		r.expect()
		// Who subscribes now gets what would have been published.
		if pr, err := r.p.Current("", "ann"); err != nil || pr.State != "online" {
			t.Errorf("%+v, %v", pr, err)
		}
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewModel()
		r := newRig(t, store)
		r.p.Came("ann")
		time.Sleep(time.Minute)
		r.told()
		begin := time.Now()
		if err := r.status("ann", `{"state":"away","text":"in a meeting"}`); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != syncTime {
			t.Errorf("answered after %v, the sync takes %v", d, syncTime)
		}
		r.expect("ann away in a meeting")
		for _, text := range []string{"a", "b", "c"} {
			if err := r.status("ann", `{"state":"away","text":"`+text+`"}`); err != nil {
				t.Fatal(err)
			}
		}
		r.expect()
		time.Sleep(3 * time.Second)
		r.expect("ann away c")

		// It survives a reconnect and a restart.
		time.Sleep(time.Minute)
		r.p.Went("ann")
		time.Sleep(time.Minute)
		r.p.Came("ann")
		r.expect("ann offline c", "ann away c")
		r.p.Close()
		r = newRig(t, store)
		if pr, err := r.p.Current("", "ann"); err != nil || pr.State != "offline" || pr.Text != "c" {
			t.Errorf("after the restart: %+v, %v", pr, err)
		}
		r.p.Came("ann")
		r.expect("ann away c")
		time.Sleep(time.Minute)
		if err := r.status("ann", ""); err != nil {
			t.Fatal(err)
		}
		r.expect("ann online")
		if p := r.record("ann"); p.State != "" || p.Text != "" || !p.Online {
			t.Errorf("cleared: %+v", p)
		}

		var refusal *chat.Refusal
		if err := r.status("ann", `{"state":"offline"}`); !errors.As(err, &refusal) || refusal.Code != chat.BadRequest {
			t.Errorf("offline as a status: %v", err)
		}
		r.p.Close()
		if err := r.status("ann", ""); !errors.As(err, &refusal) || refusal.Code != chat.Unavailable {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestProfilesOfOthersAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		answers := make(chan error, 3)
		note := func(err error) { answers <- err }
		r.p.UpdateProfile("ann", func(p *storage.Profile) { p.Name = "Ann"; p.Online = true; p.Seen = 77 }, note)
		r.p.UpdateProfile("ann", func(p *storage.Profile) { p.Avatar = p.Name + ".png" }, note)
		r.p.Came("ann")
		r.p.SetStatus("ann", []byte(`{"text":"hi"}`), note)
		time.Sleep(time.Minute)
		now := r.start.UnixMilli()
		want := storage.Profile{Name: "Ann", Avatar: "Ann.png", Text: "hi", Online: true, Seen: now, Modified: now}
		if got := r.profile("ann"); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		for range 3 {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		r.p.Went("ann")
		time.Sleep(time.Minute)
		want.Online, want.Seen = false, now+60_000
		if got := r.profile("ann"); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		r.p.Came("ann")
		time.Sleep(time.Minute)
		r.setCommitError(storage.ErrFull)
		if err := r.status("ann", `{"text":"unstored"}`); !errors.Is(err, storage.ErrFull) {
			t.Errorf("status: %v", err)
		}
		r.p.Went("ann")
		r.p.Came("ben")
		time.Sleep(time.Second)
		told := r.told()
		if len(told) != 3 { // ann online, then, in any order, ann offline and ben online
			t.Errorf("published %+v", told)
		}
		for _, x := range told {
			if strings.Contains(x.payload, "unstored") {
				t.Errorf("published %s", x.payload)
			}
		}
		gone := r.start.Add(time.Minute).UnixMilli()
		time.Sleep(5 * time.Minute)
		if p, _ := r.p.Current("", "ann"); p.State != "offline" || p.Seen != gone {
			t.Errorf("current: %+v", p)
		}
		r.setCommitError(nil)
		time.Sleep(time.Minute)
		if p := r.record("ann"); p.Online || p.Seen != gone {
			t.Errorf("ann's record: %+v", p)
		}
		if p := r.record("ben"); !p.Online {
			t.Errorf("ben's record: %+v", p)
		}
		if n := r.p.Tracked(); n != 1 {
			t.Errorf("%d in memory", n)
		}
	})
}

func TestShortVisitOfSomebodyJustGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, storagetest.NewModel())
		r.p.Came("ann")
		time.Sleep(time.Minute)
		r.p.Went("ann")
		r.expect("ann online", "ann offline")
		time.Sleep(time.Second)
		r.p.Came("ann")
		time.Sleep(time.Second)
		r.p.Went("ann")
		left := time.Now().UnixMilli()
		time.Sleep(time.Minute)
		r.expect() // offline is what was published last
		if pr, err := r.p.Current("", "ann"); err != nil || pr.State != "offline" || pr.Seen != left {
			t.Errorf("%+v, %v; want seen %d", pr, err, left)
		}
	})
}

// Half of the time is left to the messages, and who waits for an answer does not wait for the storm.
func TestStormLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOf(t, storagetest.NewModel(), func(user string) ([]string, error) {
			time.Sleep(time.Millisecond) // the work
			return []string{user}, nil
		})
		all := names(1000)
		for _, u := range all {
			r.p.Came(u)
		}
		time.Sleep(100 * time.Millisecond)
		begin := time.Now()
		if err := r.status("ann", `{"text":"hi"}`); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > 2*64*time.Millisecond+syncTime {
			t.Errorf("the status was answered after %v", d)
		}
		time.Sleep(time.Minute)
		told := r.told()
		if last := told[len(told)-1].at; last < 1900*time.Millisecond || last > 2200*time.Millisecond {
			t.Errorf("one second's work was done after %v, want two", last)
		}
	})
}
