package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

func search(t testing.TB, s store.Store, q store.SearchQuery) (out []store.Hit) {
	t.Helper()
	View(t, s, func(r store.Reader) (err error) {
		out, err = r.Search(q)
		return err
	})
	return out
}

// find wants the posts with these seqs, in this order.
func find(t testing.TB, s store.Store, q store.SearchQuery, want ...uint64) {
	t.Helper()
	var got []uint64
	for _, h := range search(t, s, q) {
		got = append(got, h.Seq)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("search %+v: %v instead of %v", q, got, want)
	}
}

func testSearch(t *testing.T, s store.Store) {
	other := Post(9, "Climbing elsewhere")
	other.Conv, other.From, other.At = "d", "bob.x_y-z", 2500
	react := Act(5, chat.KindReact, 1, "climbing as a reaction is no post")
	Put(t, s, Post(1, "Who comes climbing on Sunday?"), Post(2, "明日は東京で会いましょう"), Post(3, "climbing, climbing!"), Post(4, ""), other, react)
	for _, c := range []struct {
		q    store.SearchQuery
		want []uint64
	}{
		{store.SearchQuery{Text: "climbing"}, []uint64{3, 9, 1}},
		{store.SearchQuery{Text: "CLIMB*"}, []uint64{3, 9, 1}},
		{store.SearchQuery{Text: "climbing", Limit: 2}, []uint64{3, 9}},
		{store.SearchQuery{Text: "climbing", Conv: "c"}, []uint64{3, 1}},
		{store.SearchQuery{Text: "climbing", Conv: "nowhere"}, nil},
		{store.SearchQuery{Text: "climbing", From: "bob.x_y-z"}, []uint64{9}},
		{store.SearchQuery{Text: "climbing", From: "bob"}, nil},
		{store.SearchQuery{Text: `"comes climbing"`}, []uint64{1}},
		{store.SearchQuery{Text: `"climbing comes"`}, nil},
		{store.SearchQuery{Text: "climbing sunday"}, []uint64{1}},
		{store.SearchQuery{Text: "東京"}, []uint64{2}},
		{store.SearchQuery{Text: "京"}, []uint64{2}},
		{store.SearchQuery{Text: "京東"}, nil},
		{store.SearchQuery{Text: ""}, nil},
		{store.SearchQuery{Text: `"'*;--`}, nil},
		{store.SearchQuery{Text: "NOT climbing"}, nil},
	} {
		find(t, s, c.q, c.want...)
	}
	hits := search(t, s, store.SearchQuery{Text: "sunday"})
	same(t, "a hit", hits, []store.Hit{{Event: Post(1, "Who comes climbing on Sunday?"), Text: "Who comes climbing on Sunday?", Marks: []store.Mark{{Start: 22, End: 28}}}})
	View(t, s, func(r store.Reader) error {
		_, err := r.Search(store.SearchQuery{Text: string(make([]byte, 5000))})
		wantErr(t, "a query that is too long", err, store.ErrInvalid)
		return nil
	})
}

func testSearchFollows(t *testing.T, s store.Store) {
	Put(t, s, Post(1, "apples"))
	find(t, s, store.SearchQuery{Text: "apples"}, 1)
	Put(t, s, Act(2, chat.KindEdit, 1, "bananas"))
	find(t, s, store.SearchQuery{Text: "apples"})
	find(t, s, store.SearchQuery{Text: "bananas"}, 1)
	hits := search(t, s, store.SearchQuery{Text: "bananas"})
	same(t, "the newest text", hits[0].Text, "bananas")
	same(t, "of the post", hits[0].Event, Post(1, "apples"))

	Put(t, s, Act(4, chat.KindEdit, 1, "dates"), Act(3, chat.KindEdit, 1, "cherries"))
	find(t, s, store.SearchQuery{Text: "cherries"})
	find(t, s, store.SearchQuery{Text: "dates"}, 1)
	foreign := Act(5, chat.KindEdit, 1, "eggs of somebody else")
	foreign.From = "eve"
	Put(t, s, foreign)
	find(t, s, store.SearchQuery{Text: "eggs"})
	Put(t, s, Act(4, chat.KindEdit, 1, "dates, as the codec found out"))
	find(t, s, store.SearchQuery{Text: "codec"}, 1)

	// The edit goes, and what it changed is the newest again.
	Update(t, s, func(tx store.Tx) error { return tx.DropBodies("c", []uint64{4}) })
	find(t, s, store.SearchQuery{Text: "dates"})
	find(t, s, store.SearchQuery{Text: "cherries"}, 1)
	Put(t, s, Act(6, chat.KindEdit, 1, ""))
	find(t, s, store.SearchQuery{Text: "cherries"})
	Put(t, s, Act(7, chat.KindEdit, 1, "figs"), Act(8, chat.KindDelete, 1, ""))
	find(t, s, store.SearchQuery{Text: "figs"})

	// Edits that came before their post.
	Put(t, s, Act(12, chat.KindEdit, 10, "grapes"), Act(11, chat.KindEdit, 10, "hazelnuts"), Post(10, "ice"))
	find(t, s, store.SearchQuery{Text: "grapes"}, 10)
	find(t, s, store.SearchQuery{Text: "ice"})
	find(t, s, store.SearchQuery{Text: "hazelnuts"})

	// What is put again with another text is found by that.
	Put(t, s, Post(20, "kiwi"))
	Put(t, s, Post(20, "lemon"))
	find(t, s, store.SearchQuery{Text: "kiwi"})
	find(t, s, store.SearchQuery{Text: "lemon"}, 20)
	// An event is one thing for ever. If a server says otherwise the index must not break.
	Put(t, s, Post(21, "mango"), Act(22, chat.KindEdit, 21, "nuts"))
	Put(t, s, Post(22, "oranges"), Act(21, chat.KindEdit, 22, "pears"))
	find(t, s, store.SearchQuery{Text: "nuts"})
	find(t, s, store.SearchQuery{Text: "mango"})
	find(t, s, store.SearchQuery{Text: "pears"}) // an edit comes after its post
	find(t, s, store.SearchQuery{Text: "oranges"}, 22)
}

func testSearchPages(t *testing.T, s store.Store) {
	const n = 500
	var batch []store.Event
	want := map[uint64]bool{}
	for i := range n {
		e := Post(uint64(i+1), fmt.Sprintf("word number %d", i))
		e.At = int64(1000 + i/7) // seven each in one millisecond
		if i%2 == 0 {
			e.Text = "nothing of the kind"
		} else {
			want[e.Seq] = true
		}
		batch = append(batch, e)
	}
	Put(t, s, batch...)
	var after *store.Event
	for last := int64(1 << 62); ; {
		page := search(t, s, store.SearchQuery{Text: "word", Limit: 9, After: after})
		if len(page) == 0 {
			break
		}
		for _, h := range page {
			if h.At > last || !want[h.Seq] {
				t.Fatalf("event %d at %d after %d, or twice", h.Seq, h.At, last)
			}
			last = h.At
			delete(want, h.Seq)
		}
		after = &page[len(page)-1].Event
	}
	if len(want) > 0 {
		t.Errorf("%d posts were not found", len(want))
	}
	// The last hit of a page is deleted before the next one is asked for: nothing comes twice.
	first := search(t, s, store.SearchQuery{Text: "word", Limit: 9})
	seen := map[uint64]bool{}
	for _, h := range first {
		seen[h.Seq] = true
	}
	last := first[len(first)-1].Event
	Update(t, s, func(tx store.Tx) error { return tx.DropBodies("c", []uint64{last.Seq}) })
	for _, h := range search(t, s, store.SearchQuery{Text: "word", Limit: n, After: &last}) {
		if seen[h.Seq] {
			t.Errorf("event %d comes twice", h.Seq)
		}
	}
}
