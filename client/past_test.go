package client_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
)

// A server that was restored from a backup goes on differently. Devices follow it: what others wrote and it lost they let go, what the user
// wrote they send again, and nothing is mixed.
func TestRestoredServer(t *testing.T) {
	for _, expire := range []time.Duration{0, time.Second} {
		t.Run(fmt.Sprint("expiry ", expire), func(t *testing.T) {
			s := serve(t)
			ann := s.device("ann", "a", inFile(t), func(o *client.Options) { o.SessionExpiry = expire }).open()
			bob := s.device("bob", "b", inMemory(t)).open()
			ann.upToDate()
			bob.upToDate()
			conv := ann.Direct("bob")
			for i := range 10 {
				ann.send(conv, num(i))
			}
			ann.upToDate()
			bob.until("ten", func() bool { return len(bob.texts(conv)) == 10 })
			s.Stop()
			backup := filepath.Join(t.TempDir(), "backup")
			must(t, os.CopyFS(backup, os.DirFS(s.Config.Data)))
			s.Start()
			var last client.Message
			for i := range 5 {
				var err error
				last, err = ann.Post(soon(t), conv, client.Post{Text: fmt.Sprint("lost ", i), Re: last.Target()})
				must(t, err)
			}
			ann.upToDate()
			bob.until("fifteen", func() bool { return len(bob.texts(conv)) == 15 })
			_, err := ann.Delete(soon(t), conv, ann.messages(conv)[12].Target())
			must(t, err)
			ann.upToDate()
			bob.until("one deleted", func() bool { return bob.messages(conv)[12].Deleted })
			ann.close()
			s.Stop()
			must(t, os.RemoveAll(s.Config.Data))
			must(t, os.CopyFS(s.Config.Data, os.DirFS(backup)))
			s.Start()
			for i := range 3 {
				bob.send(conv, fmt.Sprint("new ", i))
			}
			bob.upToDate()
			must(t, ann.store.Update(soon(t), func(tx store.Tx) error { // it came no further than to its acknowledgement
				return tx.Enqueue(&store.Outgoing{ID: "acked", Conv: conv, State: store.Sent, Seq: 17, Event: chat.Event{Kind: chat.KindPost, ID: "acked", Text: "acknowledged"}})
			}))
			ann.open()
			ends := append([]string{num(9)}, "new 0", "new 1", "new 2", "acknowledged", "lost 0", "lost 1", "lost 3", "lost 4")
			for _, d := range []*device{ann, bob} {
				d.until("the new end", func() bool {
					got := d.texts(conv)
					return len(got) >= len(ends) && fmt.Sprint(got[len(got)-len(ends):]) == fmt.Sprint(ends)
				})
				d.upToDate()
				for more := true; more; {
					var err error
					more, err = d.Earlier(soon(t), conv, 100)
					must(t, err)
				}
				d.has(conv, append(nums(9), ends...)...)
				d.intact(conv)
				ms := d.messages(conv)
				for i, re := range map[int]uint64{14: 0, 15: 15, 16: 0, 17: 17} { // what it replied to was deleted before: none
					if m := ms[i]; m.Re != re {
						t.Errorf("%s: %q replies to %d instead of %d", d.Me(), m.Text, m.Re, re)
					}
				}
			}
		})
	}
}

func nums(n int) (out []string) {
	for i := range n {
		out = append(out, num(i))
	}
	return out
}

// Whose session has expired begins a new one: nothing is delivered of what was missed, so it is asked for, and gaps are filled.
func TestExpiredSession(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inFile(t), func(o *client.Options) { o.SessionExpiry = time.Second }).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	bob.send(conv, num(0))
	ann.has(conv, num(0))
	must(t, ann.MarkRead(soon(t), conv, 1))
	ann.close()
	must(t, bob.Call(soon(t), "user.get", map[string]any{"user": "ann"}, nil))
	for i := 1; i < 700; i++ {
		bob.send(conv, num(i))
	}
	bob.upToDate()
	s.revoke("ann", "a")
	ann.open()
	ann.until("everything", func() bool { return len(ann.texts(conv)) == 700 })
	ann.upToDate()
	ann.intact(conv)
	if row, err := ann.Conversation(soon(t), conv); err != nil || row.Unread != 699 {
		t.Errorf("%+v %v", row, err)
	}
}

// What another device deleted for the user while this one's session expired is gone here too, also where more happened since than a sync
// tells of the own log.
func TestHiddenMeanwhile(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inFile(t), func(o *client.Options) { o.SessionExpiry = time.Second }).open()
	other := s.device("ann", "other", inMemory(t)).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	for _, d := range []*device{ann, other, bob} {
		d.upToDate()
	}
	conv := ann.Direct("bob")
	for i := range 40 { // more than a sync brings by itself
		bob.send(conv, num(i))
	}
	for _, d := range []*device{ann, other} {
		d.until("forty", func() bool { return len(d.texts(conv)) == 40 })
	}
	ann.close()
	for _, seq := range []uint64{2, 4} {
		_, err := client.ConvCalls{Via: other.Client}.Hide(soon(t), conv, seq)
		must(t, err)
	}
	for i := range 60 {
		must(t, other.Call(soon(t), "setting.set", map[string]any{"name": "theme", "value": i}, nil))
	}
	s.revoke("ann", "a")
	ann.open()
	left := nums(40)
	left[1], left[3] = "", ""
	for _, d := range []*device{ann, other} {
		d.has(conv, left...)
	}
	ann.upToDate()
	if a, b := ann.show(conv), other.show(conv); a != b {
		t.Errorf("one device shows\n%s\nthe other\n%s", a, b)
	}
}

// revoke ends a session for good, as its expiry does.
func (s *server) revoke(user, device string) {
	s.t.Helper()
	s.Call(soon(s.t), user, "device.revoke", []byte(fmt.Sprintf(`{"device":%q}`, device)))
}

// Who was removed and comes back may not see what was said meanwhile: the gap is accounted for, not asked for again and again.
func TestRejoin(t *testing.T) {
	for _, history := range []string{"all", "joined"} {
		t.Run(history, func(t *testing.T) {
			s := serve(t)
			ann := s.device("ann", "a", inMemory(t)).open()
			bob := s.device("bob", "b", inFile(t)).open()
			ann.upToDate()
			bob.upToDate()
			must(t, ann.Call(soon(t), "group.create", map[string]any{
				"id": "crew", "title": "Crew", "visibility": "private", "join": "invite", "history": history, "members": []string{"bob"},
			}, nil))
			ann.send("crew", "one")
			bob.has("crew", "one")
			bob.until("the title", func() bool {
				row, err := bob.Conversation(soon(t), "crew")
				return err == nil && row.Title == "Crew" && row.Role == "member" && row.Members == 2
			})
			must(t, ann.Call(soon(t), "member.remove", map[string]any{"conv": "crew", "user": "bob"}, nil))
			bob.until("removed", func() bool { row, err := bob.Conversation(soon(t), "crew"); return err == nil && row.Left })
			for i := range 30 {
				ann.send("crew", num(i))
			}
			ann.upToDate()
			must(t, ann.Call(soon(t), "member.add", map[string]any{"conv": "crew", "user": "bob"}, nil))
			ann.send("crew", "two")
			want := []string{"one", "two"}
			if history == "all" {
				want = append(append([]string{"one"}, nums(30)...), "two")
			}
			bob.has("crew", want...)
			bob.upToDate()
			row, err := bob.Conversation(soon(t), "crew")
			must(t, err)
			if row.Left || row.Role != "member" {
				t.Errorf("%+v", row)
			}
			ms, err := bob.Members(soon(t), "crew")
			must(t, err)
			if len(ms) == 0 {
				t.Error("no members")
			}
		})
	}
}

// What disappears is not shown from that moment on, and leaves the disk.
func TestDisappearing(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inFile(t)).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	_, err := ann.Post(soon(t), conv, client.Post{Text: "mayfly", Expire: time.Second})
	must(t, err)
	ann.send(conv, "stays")
	bob.until("it is here", func() bool { return len(bob.messages(conv)) == 2 })
	for _, d := range []*device{ann, bob} {
		d.until("it is gone", func() bool {
			ms := d.messages(conv)
			return len(ms) == 2 && ms[0].Deleted && ms[0].Text == ""
		})
		d.until("its body has left the store", func() bool { return len(d.posts(conv)) == 1 })
	}
}

// What one device changes the others learn, also what was changed without a connection.
func TestSettingsFollow(t *testing.T) {
	s := serve(t)
	phone := s.device("ann", "phone", inFile(t)).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	phone.upToDate()
	bob.upToDate()
	conv := chat.DirectID("ann", "bob")
	for i := range 5 {
		bob.send(conv, num(i))
	}
	phone.until("all", func() bool { return len(phone.texts(conv)) == 5 })
	s.proxy.Refuse(true)
	s.proxy.Cut()
	phone.await("no connection", func(s client.Status) bool { return s.State != client.UpToDate })
	must(t, phone.MarkRead(soon(t), conv, 3))
	must(t, phone.SetDraft(soon(t), conv, "I was thin"))
	must(t, phone.PinConversation(soon(t), conv, true))
	must(t, phone.Mute(soon(t), conv, true, time.Time{}))
	if row, _ := phone.Conversation(soon(t), conv); row.Unread != 2 || row.Draft == "" || !row.Pinned || !row.Muted {
		t.Errorf("here at once: %+v", row)
	}
	phone.kill()
	s.proxy.Refuse(false)
	laptop := s.device("ann", "laptop", inMemory(t)).open()
	laptop.upToDate()
	phone.open()
	settled := func(d *device) func() bool {
		return func() bool {
			row, err := d.Conversation(soon(t), conv)
			return err == nil && row.Unread == 2 && row.Draft == "I was thin" && row.Pinned && row.Muted
		}
	}
	phone.until("what was set", settled(phone))
	laptop.until("what was set", settled(laptop))
	third := s.device("ann", "third", inMemory(t)).open()
	third.until("what was set", settled(third))
	must(t, laptop.Mute(soon(t), conv, false, time.Time{}))
	phone.until("unmuted", func() bool { row, _ := phone.Conversation(soon(t), conv); return !row.Muted })
}

// Who wants only the newest after being away gets only these; the rest is loaded on demand, and joins what was here before.
func TestCatchup(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inMemory(t)).open()
	bob := s.device("bob", "b", inFile(t), func(o *client.Options) { o.Catchup = 10 }).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	for i := range 5 {
		ann.send(conv, num(i))
	}
	bob.has(conv, nums(5)...)
	bob.upToDate()
	bob.close()
	for i := 5; i < 300; i++ {
		ann.send(conv, num(i))
	}
	ann.upToDate()
	bob.open()
	bob.until("the newest", func() bool { got := bob.texts(conv); return len(got) > 0 && got[len(got)-1] == num(299) })
	bob.upToDate()
	if got := bob.texts(conv); len(got) < 10 || len(got) > 60 {
		t.Errorf("%d messages at once", len(got))
	}
	row, err := bob.Conversation(soon(t), conv)
	must(t, err)
	if !row.Earlier || row.Unread != 300 {
		t.Errorf("%+v", row)
	}
	for more := true; more; {
		more, err = bob.Earlier(soon(t), conv, 100)
		must(t, err)
	}
	bob.has(conv, nums(300)...)
	bob.intact(conv)
}
