package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

func putConvs(t testing.TB, s store.Store, all ...store.Conversation) {
	t.Helper()
	Update(t, s, func(tx store.Tx) error {
		for _, c := range all {
			if err := tx.PutConversation(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func wantConvs(t testing.TB, s store.Store, q store.ConversationQuery, want ...string) {
	t.Helper()
	var got []string
	View(t, s, func(r store.Reader) error {
		all, err := r.Conversations(q)
		for _, c := range all {
			got = append(got, c.ID)
		}
		return err
	})
	if !slices.Equal(got, want) {
		t.Fatalf("%+v: %v instead of %v", q, got, want)
	}
}

func testConversations(t *testing.T, s store.Store) {
	full := store.Conversation{
		ID: "crew", Kind: "group", Title: "Crew", Role: "owner", Info: []byte(`{"title":"Crew"}`),
		Head: 9, Read: 7, Delivered: 8, ReadWanted: 9, Floor: 2, Unread: 3, Mentions: 1, At: 1767225600000, Last: 9,
		Mute: -1, Archived: true, Pinned: true, Pending: true, Left: true, Draft: "wait", DraftAt: 5, DraftDirty: true,
		Tally: store.Tally{Seq: 9, Delivered: 3, Read: 2, Of: 4},
	}
	putConvs(t, s, full)
	get := func() (c store.Conversation) {
		View(t, s, func(r store.Reader) (err error) {
			c, err = r.Conversation("crew")
			return err
		})
		return c
	}
	same(t, "a conversation with everything", get(), full)
	putConvs(t, s, store.Conversation{ID: "crew"})
	same(t, "replaced by one with nothing", get(), store.Conversation{ID: "crew"})
}

func testConversationPages(t *testing.T, s store.Store) {
	putConvs(t, s,
		store.Conversation{ID: "old", At: 1}, store.Conversation{ID: "b", At: 5}, store.Conversation{ID: "a", At: 5},
		store.Conversation{ID: "new", At: 9, DraftDirty: true}, store.Conversation{ID: "top", At: 2, Pinned: true},
		store.Conversation{ID: "away", At: 8, Archived: true}, store.Conversation{ID: "ask", At: 7, Pending: true, Archived: true},
		store.Conversation{ID: "gone", At: 6, Left: true, Pending: true, Read: 3, ReadWanted: 4},
		store.Conversation{ID: "read", At: 3, Read: 5, ReadWanted: 4},
	)
	wantConvs(t, s, store.ConversationQuery{}, "top", "new", "away", "ask", "gone", "a", "b", "read", "old")
	wantConvs(t, s, store.ConversationQuery{List: store.ListInbox}, "top", "new", "a", "b", "read", "old")
	wantConvs(t, s, store.ConversationQuery{List: store.ListArchive}, "away")
	wantConvs(t, s, store.ConversationQuery{List: store.ListRequests}, "ask")
	wantConvs(t, s, store.ConversationQuery{List: store.ListFormer}, "gone")
	wantConvs(t, s, store.ConversationQuery{Dirty: true}, "new", "gone")
	wantConvs(t, s, store.ConversationQuery{Dirty: true, List: store.ListInbox}, "new")
	wantConvs(t, s, store.ConversationQuery{After: &store.Conversation{ID: "top", At: 2, Pinned: true}, Limit: 1}, "new")
	wantConvs(t, s, store.ConversationQuery{List: store.ListInbox, After: &store.Conversation{ID: "a", At: 5}, Limit: 2}, "b", "read")
	wantConvs(t, s, store.ConversationQuery{After: &store.Conversation{ID: "old", At: 1}})
	putConvs(t, s, store.Conversation{ID: "old", At: 10})
	wantConvs(t, s, store.ConversationQuery{Limit: 2}, "top", "old")
}

func testDeleteConversation(t *testing.T, s store.Store) {
	other := Post(1, "elsewhere")
	other.Conv = "d"
	fill := func() {
		Update(t, s, func(tx store.Tx) error {
			for _, err := range []error{
				tx.PutConversation(store.Conversation{ID: "c", At: 3}),
				tx.PutEvents([]store.Event{Post(1, "one"), Act(2, chat.KindEdit, 1, "uno"), other}),
				tx.PutMembers("c", []store.Member{{User: "ana"}}),
				tx.PutMembers("d", []store.Member{{User: "ana"}}),
				tx.PutWish(store.Wish{Conv: "c", Name: "mute", Value: []byte("1")}),
				tx.PutWish(store.Wish{Conv: "d", Name: "mute", Value: []byte("1")}),
			} {
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	fill()
	Update(t, s, func(tx store.Tx) error { return tx.Enqueue(&store.Outgoing{ID: "x", Conv: "c"}) })
	remove := func() {
		Update(t, s, func(tx store.Tx) error {
			if err := tx.DropBodies("c", []uint64{9}); err != nil {
				return err
			}
			return tx.DeleteConversation("c")
		})
	}
	remove()
	want := &state{
		Events: []store.Event{other}, Spans: []string{"d 1-1"}, Members: []string{"d ana"},
		Wishes: []store.Wish{{Conv: "d", Name: "mute", Value: []byte("1")}}, Outbox: []store.Outgoing{{N: 1, ID: "x", Conv: "c"}}, Out: map[string]int{"c": 1},
	}
	same(t, "what is left", dump(t, s), want)
	find(t, s, store.SearchQuery{Text: "uno"})
	remove() // again
	same(t, "what is left", dump(t, s), want)
	fill()
	Put(t, s, Post(9, "nine"))
	find(t, s, store.SearchQuery{Text: "nine", Conv: "c"}, 9) // it begins anew
	find(t, s, store.SearchQuery{Text: "uno"}, 1)
}

func testMembers(t *testing.T, s store.Store) {
	put := func(all ...store.Member) {
		Update(t, s, func(tx store.Tx) error { return tx.PutMembers("c", all) })
	}
	put(store.Member{User: "bob", Role: "member", Joined: 5, Delivered: 7, Read: 3}, store.Member{User: "ana", Role: "owner"})
	put(store.Member{User: "bob", Role: "admin", Left: true, Delivered: 6, Read: 4})
	bob := store.Member{User: "bob", Role: "admin", Left: true, Delivered: 7, Read: 4}
	View(t, s, func(r store.Reader) error {
		all, err := r.Members("c")
		same(t, "members", all, []store.Member{{User: "ana", Role: "owner"}, bob})
		if err != nil {
			return err
		}
		m, err := r.Member("c", "bob")
		same(t, "one of them", m, bob)
		if err != nil {
			return err
		}
		_, err = r.Member("d", "bob")
		wantErr(t, "elsewhere", err, store.ErrNotFound)
		return nil
	})
	Update(t, s, func(tx store.Tx) error {
		if err := tx.DeleteMember("c", "nobody"); err != nil {
			return err
		}
		return tx.DeleteMember("c", "bob")
	})
	put(store.Member{User: "bob"})
	View(t, s, func(r store.Reader) error {
		m, err := r.Member("c", "bob")
		same(t, "who was deleted begins anew", m, store.Member{User: "bob"})
		return err
	})
}

func outbox(t testing.TB, s store.Store, q store.OutboxQuery) (out []store.Outgoing) {
	t.Helper()
	View(t, s, func(r store.Reader) (err error) {
		out, err = r.Outbox(q)
		return err
	})
	return out
}

func testOutbox(t *testing.T, s store.Store) {
	full := store.Outgoing{
		ID: "a", Conv: "c", To: "bob", Event: chat.Event{Kind: chat.KindPost, ID: "a", Text: "hello", Mentions: []string{"bob"}}, ReID: "z",
		Attachments: []store.Attachment{{Name: "a.jpg", Type: "image/jpeg", Path: "/a.jpg", Size: 9}, {Data: []byte{1}, Media: []byte{2}}},
		State:       store.Sending, Attempts: 3, Next: 99, Code: "rate-limited", Reason: "too much", At: 5, Seq: 7,
	}
	b, c := store.Outgoing{ID: "b", Conv: "d"}, store.Outgoing{ID: "c", Conv: "c", State: store.Failed, ReID: "a"}
	Update(t, s, func(tx store.Tx) error {
		for _, o := range []*store.Outgoing{&full, &b, &c} {
			if err := tx.Enqueue(o); err != nil {
				return err
			}
		}
		return nil
	})
	if full.N <= 0 || b.N <= full.N || c.N <= b.N {
		t.Fatalf("N is %d, %d, %d", full.N, b.N, c.N)
	}
	same(t, "all", outbox(t, s, store.OutboxQuery{}), []store.Outgoing{full, b, c})
	same(t, "after one", outbox(t, s, store.OutboxQuery{After: full.N, Limit: 1}), []store.Outgoing{b})
	same(t, "of a conversation", outbox(t, s, store.OutboxQuery{Conv: "c"}), []store.Outgoing{full, c})
	same(t, "by state", outbox(t, s, store.OutboxQuery{States: []store.OutState{store.Queued, store.Failed}}), []store.Outgoing{b, c})
	same(t, "of no state", outbox(t, s, store.OutboxQuery{States: []store.OutState{}}), []store.Outgoing(nil))
	same(t, "that wait for it", outbox(t, s, store.OutboxQuery{ReID: "a"}), []store.Outgoing{c})

	wantErr(t, "the same id", s.Update(context.Background(), func(tx store.Tx) error { return tx.Enqueue(&store.Outgoing{ID: "b"}) }), store.ErrExists)
	wantErr(t, "putting what is not there", s.Update(context.Background(), func(tx store.Tx) error { return tx.PutOutgoing(store.Outgoing{ID: "x"}) }), store.ErrNotFound)

	b2 := b
	b2.N, b2.Conv, b2.State = 77, "c", store.Sent
	Update(t, s, func(tx store.Tx) error { return tx.PutOutgoing(b2) })
	b2.N = b.N
	View(t, s, func(r store.Reader) error {
		got, err := r.Outgoing("b")
		same(t, "it keeps its place", got, b2)
		if err != nil {
			return err
		}
		counts, err := r.OutboxCounts()
		same(t, "counts", counts, map[string]int{"c": 3})
		return err
	})
	next := store.Outgoing{ID: "d"}
	Update(t, s, func(tx store.Tx) error {
		for _, id := range []string{"a", "b", "c", "x"} {
			if err := tx.DeleteOutgoing(id); err != nil {
				return err
			}
		}
		return tx.Enqueue(&next)
	})
	if next.N <= c.N {
		t.Errorf("N %d was used before", next.N)
	}
	same(t, "all", outbox(t, s, store.OutboxQuery{}), []store.Outgoing{next})
}

func testWishes(t *testing.T, s store.Store) {
	put := func(w store.Wish) { Update(t, s, func(tx store.Tx) error { return tx.PutWish(w) }) }
	want := func(want ...store.Wish) {
		t.Helper()
		View(t, s, func(r store.Reader) error {
			got, err := r.Wishes()
			same(t, "wishes", got, want)
			return err
		})
	}
	mute, pin := store.Wish{Conv: "c", Name: "mute", Value: []byte("1"), At: 5}, store.Wish{Conv: "c", Name: "pin", At: 3}
	all := store.Wish{Name: "theme", Value: []byte("dark"), At: 9}
	put(mute)
	put(all)
	put(pin)
	want(pin, mute, all)
	put(store.Wish{Conv: "c", Name: "mute", Value: []byte("older"), At: 4})
	want(pin, mute, all)
	mute.Value = []byte("2")
	put(mute)
	mute.At = 6
	put(mute)
	want(pin, mute, all)
	remove := func(conv, name string, at int64) {
		Update(t, s, func(tx store.Tx) error { return tx.DeleteWish(conv, name, at) })
	}
	remove("c", "mute", 5) // what was told has been overtaken
	want(pin, mute, all)
	remove("c", "mute", 6)
	remove("", "theme", 9)
	remove("c", "unknown", 9)
	want(pin)
}

func testMeta(t *testing.T, s store.Store) {
	Update(t, s, func(tx store.Tx) error {
		for _, k := range []string{"sync", "setting/b", "setting/a", "setting", "settinh", "setting/\u00fc"} {
			if err := tx.PutMeta(k, []byte(k)); err != nil {
				return err
			}
		}
		if err := tx.PutMeta("empty", []byte{}); err != nil {
			return err
		}
		return tx.PutMeta("sync", []byte("newer"))
	})
	View(t, s, func(r store.Reader) error {
		for key, want := range map[string]string{"sync": "newer", "setting/a": "setting/a", "empty": ""} {
			if got, err := r.Meta(key); err != nil || string(got) != want || got == nil {
				t.Errorf("%s: %q, %v", key, got, err)
			}
		}
		if got, err := r.Meta("nothing"); err != nil || got != nil {
			t.Errorf("what is not there: %q, %v", got, err)
		}
		keys, err := r.MetaKeys("setting/")
		same(t, "keys", keys, []string{"setting/a", "setting/b", "setting/\u00fc"})
		return err
	})
	Update(t, s, func(tx store.Tx) error { return tx.PutMeta("sync", nil) })
	View(t, s, func(r store.Reader) error {
		got, err := r.Meta("sync")
		if got != nil {
			t.Errorf("it was removed: %q", got)
		}
		return err
	})
}

// testOwnership changes what was put, and what was got: neither reaches what is kept.
func testOwnership(t *testing.T, s store.Store) {
	info, value, data := []byte("info"), []byte("value"), []byte("data")
	out := store.Outgoing{ID: "x", Attachments: []store.Attachment{{Data: data}}}
	Update(t, s, func(tx store.Tx) error {
		for _, err := range []error{
			tx.PutConversation(store.Conversation{ID: "c", Info: info}), tx.PutMeta("k", value),
			tx.PutWish(store.Wish{Name: "w", Value: value}), tx.Enqueue(&out),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, b := range [][]byte{info, value, data} {
		clear(b)
	}
	for range 2 {
		View(t, s, func(r store.Reader) error {
			c, err1 := r.Conversation("c")
			all, err2 := r.Conversations(store.ConversationQuery{})
			k, err3 := r.Meta("k")
			w, err4 := r.Wishes()
			o, err5 := r.Outgoing("x")
			for i, b := range [][]byte{c.Info, all[0].Info, k, w[0].Value, o.Attachments[0].Data} {
				if want := []string{"info", "info", "value", "value", "data"}[i]; string(b) != want {
					t.Errorf("%d: %q", i, b)
				}
				clear(b)
			}
			return errorsOf(err1, err2, err3, err4, err5)
		})
	}
}

func errorsOf(all ...error) error {
	for i, err := range all {
		if err != nil {
			return fmt.Errorf("call %d: %w", i, err)
		}
	}
	return nil
}
