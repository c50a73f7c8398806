package notify_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

const window = 5 * time.Second

func TestWhatComesWithinAWindowIsOne(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("climbing", "Climbing", "ana", "bo", "cy")
		r.register("bo")
		r.post("climbing", from("ana", "one"))
		r.expect(window - time.Millisecond)
		r.post("climbing", from("ana", "two"), from("ana", "three"))
		notes := r.expect(2*time.Millisecond, "bo/phone Climbing | Ana: 3 messages in Climbing")
		n := notes[0]
		if n.Text != "Ana: three" || n.Count != 3 || n.Badge != 3 || n.Seq != 3 || n.Conv != "climbing" || n.About != notify.AboutMessages || n.Urgent || len(n.Topic) != 32 {
			t.Errorf("%+v", n)
		}
		r.expect(time.Hour)
		r.post("climbing", from("bo", "mine"), from("cy", "four"))
		r.expect(window, "bo/phone Climbing | Cy: 1 message in Climbing")
	})
}

func TestSeveralSendersAndDirect(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("climbing", "Climbing", "ana", "bo", "cy", "di", "ed")
		r.group("ana~bo", "", "ana", "bo")
		r.register("bo")
		var all []chat.Event
		for _, u := range []string{"ana", "cy", "di", "ed", "ana", "ana", "cy"} {
			all = append(all, from(u, "x"))
		}
		r.post("climbing", all...)
		r.post("ana~bo", from("ana", "psst"))
		r.expect(window,
			"bo/phone Climbing | Ana, Cy and 2 others: 7 messages in Climbing",
			"bo/phone Ana | Ana: 1 message")
	})
}

func TestWhoIsOnlineHasIt(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		r.here("bo", true)
		r.post("g", from("ana", "one"))
		r.read("bo", "g", 1, 0)
		r.expect(time.Hour)
		r.here("bo", false)
		r.post("g", from("ana", "two"))
		r.here("bo", true) // in time
		r.read("bo", "g", 2, 0)
		r.expect(time.Hour)
		r.expectDropped(map[string]int64{"online": 2})
		// Whoever was there and got it, and left before the window was over, has it too; but not what came then.
		r.here("bo", true)
		r.post("g", from("ana", "three"))
		r.read("bo", "g", 3, 0)
		r.here("bo", false)
		r.expect(time.Hour)
		r.here("bo", true)
		r.post("g", from("ana", "four"))
		r.read("bo", "g", 4, 0)
		r.here("bo", false)
		r.post("g", from("ana", "five"))
		r.read("bo", "g", 5, 0) // by a device that does not count
		r.expect(window, "bo/phone G | Ana: 1 message in G")
		r.here("bo", true)
		// A connection that is dead without anybody knowing: nothing was acknowledged when it is found out.
		r.post("g", from("ana", "six"))
		r.expect(window + time.Second)
		r.here("bo", false)
		r.expect(30*time.Second, "bo/phone G | Ana: 1 message in G")
	})
}

func TestMentionsAndCallsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo", "cy")
		r.register("bo", "cy")
		r.post("g", from("ana", "hello"))
		r.post("g", chat.Event{From: "ana", Text: "bo?", Mentions: []string{"bo"}})
		notes := r.expect(0, "bo/phone G | Ana: 2 messages in G")
		if n := notes[0]; n.About != notify.AboutMention || !n.Urgent || n.Text != "Ana: bo?" {
			t.Errorf("%+v", n)
		}
		r.expect(window, "cy/phone G | Ana: 2 messages in G")
		r.post("g", chat.Event{From: "ana", Text: "again", Mentions: []string{"bo"}})
		r.expect(0, "bo/phone G | Ana mentioned you in G")
		r.take(window)
		r.post("g", chat.Event{From: "ana", Kind: chat.KindCall})
		r.expect(0, "bo/phone G | Ana: call in G", "cy/phone G | Ana: call in G")
	})
}

func TestPerHour(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.s.Set(notify.Settings{PerHour: 3})
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		for range 3 {
			r.post("g", from("ana", "x"))
			r.expect(time.Minute, "bo/phone G | Ana: 1 message in G")
		}
		for range 5 { // merged into the next that may be
			r.post("g", from("ana", "x"))
			r.expect(time.Minute)
		}
		r.post("g", chat.Event{From: "ana", Text: "bo!", Mentions: []string{"bo"}})
		r.expect(0, "bo/phone G | Ana: 6 messages in G")
		r.post("g", from("ana", "x"))
		r.expect(50 * time.Minute) // the first of four within an hour is not an hour old
		r.expect(4*time.Minute+2*window, "bo/phone G | Ana: 1 message in G")
		// Mentions may be as many again, and no more.
		time.Sleep(2 * time.Hour)
		for i := range 8 {
			r.post("g", chat.Event{From: "ana", Text: "bo!", Mentions: []string{"bo"}})
			if got, _ := r.take(time.Second); len(got) != 1 && i < 6 || len(got) != 0 && i >= 6 {
				t.Errorf("mention %d: %q", i, got)
			}
		}
		r.expect(time.Hour, "bo/phone G | Ana: 2 messages in G")
	})
}

func TestQuietHours(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) { // a bubble begins at midnight UTC, which is nine in Tokyo
		r.group("g", "G", "ana", "bo", "cy")
		r.group("h", "H", "ana", "bo", "cy")
		r.register("bo", "cy")
		quiet := notify.Quiet{From: 22 * 60, To: 9*60 + 30, Zone: "Asia/Tokyo"}
		_, err := r.s.UpdateSettings("bo", func(u *notify.UserSettings) { u.Quiet = &quiet })
		must(t, err)
		r.post("g", from("ana", "x"), from("ana", "x"))
		r.expect(window, "cy/phone G | Ana: 2 messages in G")
		r.post("h", chat.Event{From: "cy", Text: "bo!", Mentions: []string{"bo"}})
		r.expect(29 * time.Minute)
		r.die() // what was held back is not forgotten
		r.start()
		notes := r.expect(time.Minute, "bo/phone  | Ana and Cy: 3 messages in 2 conversations")
		if n := notes[0]; n.About != notify.AboutDigest || n.Conv != "" || n.Badge != 3 {
			t.Errorf("%+v", n)
		}
		r.expect(time.Hour)
		r.post("g", from("cy", "x"))
		r.expect(window, "bo/phone G | Cy: 1 message in G")
		time.Sleep(12 * time.Hour) // 22:30 in Tokyo
		r.post("g", from("cy", "x"))
		r.expect(10 * time.Hour)
		r.expect(time.Hour, "bo/phone G | Cy: 1 message in G")
		if r.stored() != 0 {
			t.Error("something is stored still")
		}
	})
}

func TestQuietUntil(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		must(t, err)
		return v
	}
	for _, c := range []struct {
		q         notify.Quiet
		now, want string
	}{
		{notify.Quiet{From: 60, To: 120, Zone: "UTC"}, "2026-01-01T00:59:59Z", ""},
		{notify.Quiet{From: 60, To: 120, Zone: "UTC"}, "2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"},
		{notify.Quiet{From: 60, To: 120, Zone: "UTC"}, "2026-01-01T02:00:00Z", ""},
		{notify.Quiet{From: 22 * 60, To: 7 * 60, Zone: "Europe/Berlin"}, "2026-01-01T21:00:00Z", "2026-01-02T06:00:00Z"},
		{notify.Quiet{From: 22 * 60, To: 7 * 60, Zone: "Europe/Berlin"}, "2026-01-01T20:59:00Z", ""},
		{notify.Quiet{From: 22 * 60, To: 7 * 60, Zone: "Europe/Berlin"}, "2026-03-28T22:00:00Z", "2026-03-29T05:00:00Z"}, // the clock is put forward
		{notify.Quiet{From: 22 * 60, To: 7 * 60, Zone: "Asia/Kolkata"}, "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"},
	} {
		end, ok := c.q.Until(at(c.now))
		if ok != (c.want != "") || ok && !end.Equal(at(c.want)) {
			t.Errorf("%+v at %s: %v, %v; want %s", c.q, c.now, end.UTC(), ok, c.want)
		}
	}
	for _, q := range []notify.Quiet{{From: 1, To: 1, Zone: "UTC"}, {From: -1, To: 5, Zone: "UTC"}, {From: 0, To: 1440, Zone: "UTC"}, {From: 1, To: 2},
		{From: 1, To: 2, Zone: "Local"}, {From: 1, To: 2, Zone: "../../etc/passwd"}, {From: 1, To: 2, Zone: "Atlantis/City"}} {
		if q.Check() == nil {
			t.Errorf("%+v was accepted", q)
		}
	}
}

func TestMutedArchivedBlocked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo", "cy")
		r.group("h", "H", "ana", "bo")
		r.register("bo")
		put := func(c storage.ConvSetting) {
			r.write(func(b *storage.Batch) { b.Set(storage.ConvSettingKey("bo", "g"), storage.Marshal(c)) })
		}
		mention := chat.Event{From: "ana", Text: "bo!", Mentions: []string{"bo"}}
		put(storage.ConvSetting{Mute: time.Now().Add(time.Hour).UnixMilli()})
		r.post("g", from("ana", "x"))
		r.expect(time.Minute)
		r.post("g", mention) // breaks through, alone
		r.expect(0, "bo/phone G | Ana mentioned you in G")
		_, err := r.s.UpdateSettings("bo", func(u *notify.UserSettings) { u.Mentions = notify.MentionsMuted })
		must(t, err)
		r.post("g", mention)
		r.expect(time.Minute)
		r.post("h", from("ana", "x")) // the badge counts what is not muted
		if n := r.expect(window, "bo/phone H | Ana: 1 message in H"); n[0].Badge != 1 {
			t.Errorf("badge %d", n[0].Badge)
		}
		put(storage.ConvSetting{Archived: true})
		r.post("g", mention)
		r.expect(time.Minute)
		put(storage.ConvSetting{})
		r.write(func(b *storage.Batch) { b.Set(storage.BlockKey("bo", "ana"), storage.Marshal(storage.Block{At: 1})) })
		r.post("g", mention)
		r.expect(time.Minute)
		r.post("g", from("ana", "x"), from("cy", "x"))
		r.expect(window, "bo/phone G | Cy: 1 message in G")
	})
}

func TestOnlyWhatIsStillThere(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		erase := func(seq uint64) {
			r.write(func(b *storage.Batch) {
				b.Erase("g", seq, protocol.EncodeStored(nil, &chat.Event{Seq: seq, From: "ana", Kind: chat.KindGone}))
			})
		}
		r.post("g", from("ana", "read"), from("ana", "typo"), from("ana", "deleted"), from("ana", "gone"), chat.Event{From: "ana", Text: "brief", Expire: 2})
		r.read("bo", "g", 1, 1)
		r.post("g", chat.Event{From: "ana", Kind: chat.KindEdit, Re: 2, Text: "type"}, chat.Event{From: "ana", Kind: chat.KindDelete, Re: 3})
		erase(3)
		erase(4)
		n := r.expect(window, "bo/phone G | Ana: 1 message in G")
		if n[0].Text != "Ana: type" {
			t.Errorf("%+v", n[0])
		}
		r.post("g", from("ana", "x"))
		r.write(func(b *storage.Batch) {
			b.Set(storage.In(storage.SpaceHidden).Str("bo").Str("g").U64(8), nil)
		})
		r.expect(time.Minute)
		r.expectDropped(map[string]int64{"nothing": 1})
	})
}

func TestPrivate(t *testing.T) {
	secret := func(t *testing.T, n notify.Notification) {
		t.Helper()
		if !n.Private || n.Conv != "" || n.Title != "" || n.Text != "" || n.Seq != 0 || strings.Contains(n.Body, "Ana") || n.Body != "2 messages" || n.Badge == 0 {
			t.Errorf("%+v", n)
		}
	}
	two := texts("ana", 2)
	t.Run("encrypted", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.group("g", "G", "ana", "bo")
			r.register("bo")
			r.post("g", chat.Event{From: "ana", Enc: []byte{1}}, from("ana", "x"))
			secret(t, r.expect(window, "bo/phone  | 2 messages")[0])
		})
	})
	t.Run("server", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.s.Set(notify.Settings{Private: true})
			r.group("g", "G", "ana", "bo")
			r.register("bo")
			r.post("g", two...)
			secret(t, r.expect(window, "bo/phone  | 2 messages")[0])
		})
	})
	t.Run("user", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.group("g", "G", "ana", "bo")
			r.register("bo")
			_, err := r.s.UpdateSettings("bo", func(u *notify.UserSettings) { u.Private = true })
			must(t, err)
			r.post("g", two...)
			secret(t, r.expect(window, "bo/phone  | 2 messages")[0])
		})
	})
	t.Run("device", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.group("g", "G", "ana", "bo")
			r.device("bo", "tablet")
			_, err := r.s.Register(notify.Registration{User: "bo", Name: "work", Kind: notify.UnifiedPush, Endpoint: "https://x.example", Private: true, Lang: "de-AT"})
			must(t, err)
			r.post("g", two...)
			r.expect(window, "bo/tablet G | Ana: 2 messages in G", "bo/work  | 2 Nachrichten")
		})
	})
}

func TestOverflowIsReadFromTheLog(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.group("h", "H", "ana", "bo", "cy")
		r.register("bo")
		news := append(r.append("g", texts("ana", 9000)...), r.append("h", from("ana", "x"), from("cy", "x"), chat.Event{From: "bo", Text: "mine"})...)
		r.mu.Lock() // the goroutine gets to whether bo is online, and no further: it takes over once at most
		for i := range news {
			r.s.Took(&news[i])
		}
		r.s.End(news[len(news)-1].Commit)
		r.mu.Unlock()
		r.expect(window, "bo/phone G | Ana: 1000+ messages in G", "bo/phone H | Ana and Cy: 2 messages in H")
	})
}

// What can't be read is tried again, and there is an end to it when nobody is left to be told.
func TestUnreadableMembers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		flood := func() {
			news := r.append("g", texts("ana", 9000)...)
			r.mu.Lock()
			for i := range news {
				r.s.Took(&news[i])
			}
			r.s.End(news[len(news)-1].Commit)
			r.blind = true
			r.mu.Unlock()
		}
		sees := func() {
			r.mu.Lock()
			r.blind = false
			r.mu.Unlock()
		}
		flood()
		time.Sleep(time.Minute)
		sees()
		r.expect(time.Minute, "bo/phone G | Ana: 1000+ messages in G")
		flood()
		time.Sleep(3 * time.Second)
		if _, err := r.s.Remove("bo", "phone"); err != nil {
			t.Fatal(err)
		}
		sees()
		r.expect(time.Hour)
	})
}

// A clock that was wrong and is put back holds nobody's notifications up.
func TestClockIsPutBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		put := func(d time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.shift += d
		}
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		for range 10 { // as many as there may be in an hour
			r.post("g", from("ana", "before"))
			r.expect(window+time.Second, "bo/phone G | Ana: 1 message in G")
		}
		r.post("g", from("ana", "while it happens"))
		time.Sleep(time.Second)
		put(-48 * time.Hour)
		r.post("g", from("ana", "after"))
		r.expect(window, "bo/phone G | Ana: 2 messages in G")
		r.failing("phone", errDown)
		r.post("g", from("ana", "to be tried again"))
		time.Sleep(2 * window)
		put(-time.Hour)
		r.failing("phone", nil)
		r.expect(time.Minute, "bo/phone G | Ana: 1 message in G")
	})
}

func TestTryAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.device("bo", "phone")
		r.device("bo", "tablet")
		r.failing("phone", errDown)
		r.post("g", from("ana", "one"))
		first := r.expect(window, "bo/tablet G | Ana: 1 message in G")
		r.post("g", from("ana", "two"))
		r.failing("phone", nil)
		// The phone has missed one more than the tablet.
		later := r.expect(time.Minute, "bo/phone G | Ana: 2 messages in G", "bo/tablet G | Ana: 1 message in G")
		for _, n := range later {
			if n.Topic != first[0].Topic || n.ID == first[0].ID {
				t.Errorf("%+v", n)
			}
		}
		r.failing("phone", &notify.Later{After: 20 * time.Minute, Err: errDown})
		r.post("g", from("ana", "three"))
		r.expect(window, "bo/tablet G | Ana: 1 message in G")
		r.failing("phone", nil)
		r.expect(20*time.Minute - 2*window)
		r.expect(3*window, "bo/phone G | Ana: 1 message in G")
		if s := &r.s.Stats; s.Sent[1].Load() != 5 || s.Retried[1].Load() < 2 || s.Waiting.Load() != 0 {
			t.Errorf("sent %d, retried %d, waiting %d", s.Sent[1].Load(), s.Retried[1].Load(), s.Waiting.Load())
		}
	})
}

func TestGivesUpAfterTTL(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		r.failing("phone", errDown)
		r.post("g", from("ana", "one"))
		r.expect(30 * time.Hour)
		r.expectDropped(map[string]int64{"expired": 1})
		tries := r.s.Stats.Retried[1].Load()
		if tries < 20 || tries > 40 { // doubled up to an hour, for a day
			t.Errorf("%d tries", tries)
		}
		r.failing("phone", nil)
		r.expect(24 * time.Hour)
		if r.stored() != 0 || r.s.Stats.Waiting.Load() != 0 {
			t.Error("it waits still")
		}
	})
}

func TestGoneIsRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.device("bo", "old")
		r.device("bo", "phone")
		r.failing("old", notify.ErrGone)
		r.post("g", from("ana", "one"))
		r.expect(window, "bo/phone G | Ana: 1 message in G")
		all, err := r.s.Registrations("bo")
		if must(t, err); len(all) != 1 || all[0].Name != "phone" || r.s.Stats.Removed.Load() != 1 {
			t.Errorf("%+v", all)
		}
		if found, err := r.s.Remove("bo", "phone"); !found || err != nil {
			t.Error(found, err)
		}
		r.post("g", from("ana", "two"))
		r.expect(time.Hour)
	})
}

func TestKilledForgetsNothingAndRepeatsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo", "cy")
		r.group("h", "H", "ana", "bo", "cy")
		r.register("bo", "cy")
		r.post("g", from("ana", "one"))
		r.expect(window, "bo/phone G | Ana: 1 message in G", "cy/phone G | Ana: 1 message in G")
		r.expect(2 * time.Second)
		r.failing("phone", errDown)
		r.post("g", from("ana", "two"))
		r.take(window) // it is to be tried again
		r.post("h", from("ana", "three"))
		r.append("h", from("ana", "four")) // the sink never came to report it
		r.die()
		r.failing("phone", nil)
		r.start()
		r.expect(time.Minute,
			"bo/phone G | Ana: 1 message in G", "cy/phone G | Ana: 1 message in G",
			"bo/phone H | Ana: 2 messages in H", "cy/phone H | Ana: 2 messages in H")
		r.die()
		r.start()
		r.expect(24 * time.Hour)
		if r.stored() != 0 {
			t.Error("something is stored still")
		}
	})
}

func TestKilledBetweenSendingAndStoring(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		time.Sleep(5 * time.Second)
		r.mu.Lock()
		r.full = true // nothing is stored from here on
		r.mu.Unlock()
		r.post("g", from("ana", "one"))
		first := r.expect(window, "bo/phone G | Ana: 1 message in G")
		r.die()
		r.start()
		again := r.expect(2*window, "bo/phone G | Ana: 1 message in G") // the one repeat
		if first[0].ID != again[0].ID {
			t.Errorf("the repeat has another id: %s, %s", first[0].ID, again[0].ID)
		}
		r.die()
		r.start()
		r.expect(time.Hour)
	})
}

func TestClosedGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		r.post("g", from("ana", "one"))
		r.s.Close()
		if r.stored() != 1 {
			t.Error("what waited is not stored")
		}
		r.start()
		r.expect(window, "bo/phone G | Ana: 1 message in G")
	})
}

func TestLeavesAndRemovals(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo", "cy")
		r.register("bo", "cy")
		r.post("g", from("ana", "one"))
		r.write(func(b *storage.Batch) { // bo is removed from the group, cy's account ends
			b.Set(storage.In(storage.SpaceMembership).Str("bo").Str("g"), storage.AppendMember(nil, chat.Member{Since: 1, Joined: 1, Left: 2}))
			b.DeletePrefix(storage.In(storage.SpacePush).Str("cy"))
		})
		r.expect(time.Hour)
		r.expectDropped(map[string]int64{"nothing": 1, "unregistered": 1})
	})
}

func TestManyMembers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var users []string
		for c := 'a'; c <= 'z'; c++ {
			users = append(users, string(c)+"x")
		}
		r.group("g", "G", users...)
		r.register("bx", "yx")
		r.post("g", from("ax", "one"))
		r.expect(window, "bx/phone G | Ax: 1 message in G", "yx/phone G | Ax: 1 message in G")
		r.register("cx") // who was looked up before is looked up anew
		r.post("g", from("bx", "two"))
		r.expect(window, "cx/phone G | Bx: 1 message in G", "yx/phone G | Bx: 1 message in G")
	})
}

func TestWorkersAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.s.Set(notify.Settings{Workers: 2})
		r.takes = time.Second
		var users []string
		for c := 'b'; c <= 'k'; c++ {
			users = append(users, string(c)+"x")
		}
		r.group("g", "G", append(users, "ax")...)
		r.register(users...)
		r.post("g", from("ax", "one"))
		got, _ := r.take(window + 4500*time.Millisecond) // in no order: all are due at the same time
		last, _ := r.take(time.Second)
		if all := append(got, last...); len(got) != 8 || len(all) != len(users) {
			t.Errorf("sent %d, then %q", len(got), last)
		}
		if r.most != 2 {
			t.Errorf("%d at a time", r.most)
		}
	})
}

// A push service that never answers holds up nobody but its user, and not the end of the server.
func TestTarpit(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		r.takes = time.Hour
		r.post("g", from("ana", "one"))
		r.expect(window + 20*time.Second) // one attempt is over
		if n := r.s.Stats.Retried[1].Load(); n != 1 {
			t.Errorf("%d attempts failed", n)
		}
		time.Sleep(2 * time.Second) // within the next
		before := time.Now()
		r.s.Close()
		if d := time.Since(before); d > 3*time.Second {
			t.Errorf("closing took %v", d)
		}
		r.takes = 0
		r.start()
		r.expect(time.Minute, "bo/phone G | Ana: 1 message in G")
	})
}

// What comes while somebody is being told is told next.
func TestWhileTelling(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		r.takes = time.Second
		r.post("g", from("ana", "one"))
		r.expect(window)
		r.post("g", from("ana", "two"))
		r.expect(window, "bo/phone G | Ana: 1 message in G")
		r.expect(2*time.Second, "bo/phone G | Ana: 1 message in G")
		r.post("g", from("ana", "three"))
		r.expect(window)
		r.post("g", chat.Event{From: "ana", Text: "bo!", Mentions: []string{"bo"}})
		r.expect(time.Second, "bo/phone G | Ana: 1 message in G")
		r.expect(time.Second, "bo/phone G | Ana mentioned you in G")
		r.expect(time.Hour)
	})
}

// A push service that is down is not called for every message that comes.
func TestNewsDoNotHurryWhatFails(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.s.Set(notify.Settings{PerHour: 1000})
		r.group("g", "G", "ana", "bo")
		r.register("bo")
		r.failing("phone", errDown)
		for range 120 {
			r.post("g", from("ana", "x"))
			r.expect(30 * time.Second)
		}
		if n := r.s.Stats.Retried[1].Load(); n < 5 || n > 12 { // doubled from two seconds to an hour
			t.Errorf("%d attempts within an hour", n)
		}
		r.failing("phone", nil)
		r.expect(time.Hour, "bo/phone G | Ana: 120 messages in G")
	})
}

// A ring is told at once to devices that are away, only while it rings, whatever the hour has had; quiet hours hold for it.
func TestRing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.set.PerHour = 1
		r.s.Set(r.set)
		r.group("g", "G", "ana", "bo")
		r.group("ana~bo", "", "ana", "bo")
		r.register("bo")
		r.device("bo", "desk")
		now := time.Now().UnixMilli()
		ring := notify.Ring{User: "bo", Call: "aaaaaaaaaaaaa", Conv: "ana~bo", From: "ana", At: now, Exp: now + 60_000,
			Here: func(client string) bool { return client == "desk" }}
		for range 3 {
			r.s.Ring(ring)
			notes := r.expect(0, "bo/phone Ana | Ana: Incoming call")
			if n := notes[0]; n.About != notify.AboutCall || !n.Urgent || n.Call != ring.Call || n.Exp != ring.Exp || n.TTL != time.Minute || n.Conv != "ana~bo" || len(n.Topic) != 32 {
				t.Errorf("%+v", n)
			}
		}
		group := ring
		group.Conv, group.Here = "g", nil
		r.s.Ring(group)
		r.expect(0, "bo/desk G | Ana: Incoming call (G)", "bo/phone G | Ana: Incoming call (G)")
		nobody := ring
		nobody.User = "ana"
		r.s.Ring(nobody)
		r.expect(0)
		// A service that is busy is asked again as long as it rings.
		r.failing("phone", &notify.Later{Err: errors.New("busy")})
		r.s.Ring(ring)
		r.expect(0)
		r.failing("phone", nil)
		r.expect(10*time.Second, "bo/phone Ana | Ana: Incoming call")
		r.failing("phone", &notify.Later{Err: errors.New("busy"), After: time.Hour})
		r.s.Ring(ring)
		r.expect(2 * time.Hour)
		r.failing("phone", nil)
		r.s.Ring(ring) // it is over
		r.expect(time.Hour)
		_, err := r.s.UpdateSettings("bo", func(u *notify.UserSettings) {
			u.Private = true
		})
		must(t, err)
		ring.Exp = time.Now().UnixMilli() + 60_000
		r.s.Ring(ring)
		if n := r.expect(0, "bo/phone  | Incoming call")[0]; n.Conv != "" || n.Call != ring.Call {
			t.Errorf("%+v", n)
		}
		h, m, _ := time.Now().UTC().Clock()
		_, err = r.s.UpdateSettings("bo", func(u *notify.UserSettings) {
			u.Quiet = &notify.Quiet{From: h*60 + m, To: (h*60 + m + 30) % 1440, Zone: "UTC"}
		})
		must(t, err)
		ring.Exp = time.Now().UnixMilli() + 60_000
		r.s.Ring(ring)
		r.expect(time.Hour)
		if r.stored() != 0 {
			t.Error("something of a ring is stored")
		}
	})
}

// Who took part in a call, or turned it down, has not missed it.
func TestWhoMissedACall(t *testing.T) {
	ext := func(outcome string, with ...string) []byte {
		b, err := cbor.Marshal(map[string]any{"call": "aaaaaaaaaaaaa", "outcome": outcome, "with": with})
		must(t, err)
		return b
	}
	bubble(t, func(t *testing.T, r *rig) {
		r.group("g", "G", "ana", "bo", "cy")
		r.group("ana~bo", "", "ana", "bo")
		r.register("bo", "cy")
		r.post("g", chat.Event{From: "ana", Kind: chat.KindCall, Ext: ext("answered", "ana", "bo")})
		r.expect(0, "cy/phone G | Ana: call in G")
		r.post("ana~bo", chat.Event{From: "ana", Kind: chat.KindCall, Ext: ext("declined")})
		r.expect(time.Hour)
		r.post("ana~bo", chat.Event{From: "ana", Kind: chat.KindCall, Ext: ext("missed")})
		r.expect(0, "bo/phone Ana | Ana: call")
	})
}
