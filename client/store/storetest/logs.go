package storetest

import (
	"slices"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

func events(t testing.TB, s store.Store, q store.EventQuery) (out []store.Event) {
	t.Helper()
	if q.Conv == "" {
		q.Conv = "c"
	}
	View(t, s, func(r store.Reader) (err error) {
		out, err = r.Events(q)
		return err
	})
	return out
}

func event(t testing.TB, s store.Store, seq uint64) (out store.Event) {
	t.Helper()
	View(t, s, func(r store.Reader) (err error) {
		out, err = r.Event("c", seq)
		return err
	})
	return out
}

func testEvents(t *testing.T, s store.Store) {
	full := Post(7, "hello")
	title, limit := "Crew", uint32(0)
	full.Event = chat.Event{
		Seq: 7, From: "bob", At: 1767225600000, Kind: chat.KindPost, ID: "9f3c-17", Text: "see you at 8", Re: 3, Thread: 2,
		Mentions: []string{"ana", "eve"}, Expire: 86400, Media: []byte{0x80}, Enc: []byte{1, 2}, Ext: []byte{0xa0}, Extra: []byte{0xa0},
		Fwd: &chat.Forward{Conv: "birds", Seq: 7, From: "anna", At: 5}, Conv: "other",
		Member: &chat.MemberChange{User: "eve", Role: chat.RoleAdmin, By: "ana", Until: 9},
		Info:   &chat.InfoChange{Title: &title, Limit: &limit},
	}
	elsewhere := Post(9, "elsewhere")
	elsewhere.Conv = "d"
	Put(t, s, Post(3, "three"), full, elsewhere, Post(4, "four"), Act(9, chat.KindReact, 3, ""), Post(store.MaxSeq, "the last"))
	same(t, "an event with everything", event(t, s, 7), full)

	all := []uint64{3, 4, 7, 9, store.MaxSeq}
	for _, c := range []struct {
		q    store.EventQuery
		want []uint64
	}{
		{store.EventQuery{}, all},
		{store.EventQuery{Limit: 2}, all[3:]},
		{store.EventQuery{Before: 9}, all[:3]},
		{store.EventQuery{Before: 9, Limit: 1}, []uint64{7}},
		{store.EventQuery{Before: 3}, nil},
		{store.EventQuery{After: 3}, all[1:]},
		{store.EventQuery{After: 3, Limit: 2}, []uint64{4, 7}},
		{store.EventQuery{After: 3, Before: 9, Limit: 10}, []uint64{4, 7}},
		{store.EventQuery{After: 9, Before: 4}, nil},
		{store.EventQuery{After: store.MaxSeq}, nil},
		{store.EventQuery{After: 1<<64 - 1}, nil},
		{store.EventQuery{Before: 1<<64 - 1, Limit: 1}, all[4:]},
		{store.EventQuery{Kinds: []chat.Kind{chat.KindReact, chat.KindPin}}, []uint64{9}},
		{store.EventQuery{Kinds: []chat.Kind{chat.KindPin, chat.KindUnpin}}, nil},
		{store.EventQuery{Kinds: []chat.Kind{chat.KindPost}, Limit: 2}, []uint64{7, store.MaxSeq}},
		{store.EventQuery{Kinds: []chat.Kind{}}, nil},
		{store.EventQuery{Thread: 2}, []uint64{7}},
		{store.EventQuery{Thread: 3}, nil},
		{store.EventQuery{Conv: "nowhere"}, nil},
		{store.EventQuery{Conv: "d"}, []uint64{9}},
	} {
		if got := seqsOf(events(t, s, c.q)); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v instead of %v", c.q, got, c.want)
		}
	}

	again := full
	again.Text = "decrypted meanwhile"
	Put(t, s, again, again)
	same(t, "put again", event(t, s, 7), again)
	Put(t, s, Act(11, chat.KindPin, 3, ""))
	if got := seqsOf(events(t, s, store.EventQuery{Kinds: []chat.Kind{chat.KindPin, chat.KindUnpin}})); !slices.Equal(got, []uint64{11}) {
		t.Errorf("pins: %v", got)
	}
}

func testReplies(t *testing.T, s store.Store) {
	mine := Post(2, "mine")
	mine.ID = "id-2"
	reply := Act(3, chat.KindPost, 2, "a reply")
	reply.Thread = 2
	reply2 := reply
	reply2.Seq = 9
	Put(t, s, mine, reply, reply2)
	View(t, s, func(r store.Reader) error {
		n, err := r.Replies("c", []uint64{2, 3, 1<<64 - 1})
		if err != nil || len(n) != 1 || n[2] != 2 {
			t.Errorf("replies: %v, %v", n, err)
		}
		if n, err := r.Replies("nowhere", []uint64{2}); err != nil || len(n) != 0 {
			t.Errorf("replies in a log that is not known: %v, %v", n, err)
		}
		got, err := r.EventByID("c", "id-2")
		same(t, "by id", got, mine)
		if err != nil {
			return err
		}
		_, err = r.EventByID("d", "id-2")
		wantErr(t, "by id in another log", err, store.ErrNotFound)
		return nil
	})
}

func stub(seq uint64, kind chat.Kind) store.Event {
	return store.Event{Conv: "c", Event: chat.Event{Seq: seq, Kind: kind}, Gone: true}
}

func testStubs(t *testing.T, s store.Store) {
	noisy := Post(4, "what a stub says is not kept")
	noisy.Kind = chat.KindLarge
	Put(t, s, Post(1, "one"), stub(1, chat.KindGone), stub(2, chat.KindGone), stub(3, chat.KindLarge), noisy)
	same(t, "a stub does not replace", event(t, s, 1), Post(1, "one"))
	same(t, "a stub", event(t, s, 3), stub(3, chat.KindLarge))
	same(t, "a stub with more", event(t, s, 4), stub(4, chat.KindLarge))
	Put(t, s, stub(2, chat.KindLarge), Post(3, "three after all"))
	same(t, "a stub replaces a stub", event(t, s, 2), stub(2, chat.KindLarge))
	same(t, "an event replaces its stub", event(t, s, 3), Post(3, "three after all"))
	find(t, s, store.SearchQuery{Text: "three"}, 3)
}

func dropped(e store.Event) store.Event {
	e.Drop()
	return e
}

func testDrop(t *testing.T, s store.Store) {
	one := Post(1, "one")
	one.ID, one.Thread, one.Mentions = "id-1", 9, []string{"bob"}
	edit := Act(2, chat.KindEdit, 1, "uno")
	Put(t, s, one, edit, stub(3, chat.KindGone))
	drop := func(seqs ...uint64) {
		Update(t, s, func(tx store.Tx) error { return tx.DropBodies("c", seqs) })
	}
	drop(1, 3, 5)
	want := store.Event{Conv: "c", Gone: true, Event: chat.Event{Seq: 1, From: "ana", At: 1000, Kind: chat.KindPost, ID: "id-1", Thread: 9}}
	same(t, "what remains", event(t, s, 1), want)
	same(t, "its edit", event(t, s, 2), dropped(edit))
	same(t, "a stub stays", event(t, s, 3), stub(3, chat.KindGone))
	if got := seqsOf(events(t, s, store.EventQuery{})); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("events: %v: what is still to come is not here", got)
	}
	View(t, s, func(r store.Reader) error {
		spans, err := r.Spans("c")
		same(t, "spans", spans, []store.Span{{First: 1, Last: 3}})
		return err
	})

	// Whatever comes now comes without its body.
	Put(t, s, one, edit, Post(3, "three"), Act(4, chat.KindEdit, 1, "ein"), Post(5, "five"), stub(5, chat.KindLarge), Act(6, chat.KindEdit, 5, "cinq"))
	for _, e := range []store.Event{one, edit, Post(3, "three"), Act(4, chat.KindEdit, 1, "ein"), Post(5, "five"), Act(6, chat.KindEdit, 5, "cinq")} {
		same(t, "without its body", event(t, s, e.Seq), dropped(e))
	}

	// A stub in the place of what was dropped before it came.
	drop(7)
	Put(t, s, stub(7, chat.KindLarge))
	same(t, "a stub", event(t, s, 7), stub(7, chat.KindLarge))
	Put(t, s, Post(7, "seven"))
	same(t, "without its body", event(t, s, 7), dropped(Post(7, "seven")))

	// What comes as dropped is dropped, with its edits.
	Put(t, s, Post(8, "eight"), Act(9, chat.KindEdit, 8, "acht"))
	Put(t, s, dropped(Post(8, "eight")))
	same(t, "its edit", event(t, s, 9), dropped(Act(9, chat.KindEdit, 8, "acht")))
	Put(t, s, Post(8, "eight"))
	same(t, "and stays so", event(t, s, 8), dropped(Post(8, "eight")))
	find(t, s, store.SearchQuery{Text: "eight"})
}

func testDelete(t *testing.T, s store.Store) {
	all := []store.Event{Post(1, "secret"), Act(2, chat.KindEdit, 1, "more secret"), Act(3, chat.KindDelete, 1, "")}
	orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	for i, order := range orders {
		var batch []store.Event
		for _, k := range order {
			e := all[k]
			e.Seq += uint64(i) * 10
			if e.Re != 0 {
				e.Re += uint64(i) * 10
			}
			batch = append(batch, e)
		}
		if i%2 == 0 {
			Put(t, s, batch...)
		} else {
			for _, e := range batch {
				Put(t, s, e)
			}
		}
		for _, e := range batch {
			got := event(t, s, e.Seq)
			if got.Text != "" || got.Gone != (e.Kind != chat.KindDelete) || got.Kind != e.Kind {
				t.Errorf("order %v: %+v", order, got)
			}
		}
	}
	find(t, s, store.SearchQuery{Text: "secret"})
	for _, e := range events(t, s, store.EventQuery{}) {
		if e.Text != "" {
			t.Errorf("a body is still there: %d", e.Seq)
		}
	}
}

func testDue(t *testing.T, s store.Store) {
	fading := func(seq uint64, expire uint64) store.Event {
		e := Post(seq, "fading")
		e.Expire = expire
		return e
	}
	edit := Act(3, chat.KindEdit, 2, "fading edit")
	edit.Expire = 5
	Put(t, s, Post(1, "stays"), fading(2, 60), edit, fading(4, 1<<32-1))
	due := func(now int64, want ...uint64) {
		t.Helper()
		var got []store.Event
		Update(t, s, func(tx store.Tx) (err error) {
			got, err = tx.DropDue(now)
			return err
		})
		if !slices.Equal(seqsOf(got), want) {
			t.Fatalf("due at %d: %v instead of %v", now, seqsOf(got), want)
		}
		for _, e := range got {
			if !e.Gone || e.Text != "" || e.Conv != "c" {
				t.Errorf("what remains: %+v", e)
			}
		}
	}
	next := func(want int64) {
		t.Helper()
		View(t, s, func(r store.Reader) error {
			at, ok, err := r.NextDue()
			if at != want || ok != (want != 0) {
				t.Fatalf("next due %d, %v instead of %d", at, ok, want)
			}
			return err
		})
	}
	next(3000 + 5000)
	due(7999)
	due(8000, 3)
	find(t, s, store.SearchQuery{Text: "edit"})
	find(t, s, store.SearchQuery{Text: "fading"}, 4, 2)
	find(t, s, store.SearchQuery{Text: "fading", Now: 62000}, 4)
	next(62000)
	due(70000, 2)
	due(70000)
	next(4000 + (1<<32-1)*1000)
	find(t, s, store.SearchQuery{Text: "fading"}, 4)
	Put(t, s, fading(2, 60))
	same(t, "it does not come back", event(t, s, 2), dropped(fading(2, 60)))
	Put(t, s, dropped(fading(4, 1<<32-1)))
	next(0)
}

func testSpans(t *testing.T, s store.Store) {
	want := func(want ...store.Span) {
		t.Helper()
		View(t, s, func(r store.Reader) error {
			got, err := r.Spans("c")
			same(t, "spans", got, want)
			return err
		})
	}
	put := func(first, last uint64) {
		t.Helper()
		Update(t, s, func(tx store.Tx) error { return tx.PutSpan("c", store.Span{First: first, Last: last}) })
	}
	put(10, 20)
	put(30, 40)
	put(5, 8)
	want(store.Span{First: 5, Last: 8}, store.Span{First: 10, Last: 20}, store.Span{First: 30, Last: 40})
	Put(t, s, Post(9, "joins two"), Post(21, "goes on"), Post(29, "begins"))
	want(store.Span{First: 5, Last: 21}, store.Span{First: 29, Last: 40})
	put(7, 12)
	want(store.Span{First: 5, Last: 21}, store.Span{First: 29, Last: 40})
	put(1, 1)
	put(3, 3)
	want(store.Span{First: 1, Last: 1}, store.Span{First: 3, Last: 3}, store.Span{First: 5, Last: 21}, store.Span{First: 29, Last: 40})
	put(2, 35)
	want(store.Span{First: 1, Last: 40})
	put(store.MaxSeq, store.MaxSeq)
	Put(t, s, Post(52, "down"), Post(51, "wards"), Post(50, "!"), Post(60, "and"), Post(61, "up"))
	want(store.Span{First: 1, Last: 40}, store.Span{First: 50, Last: 52}, store.Span{First: 60, Last: 61}, store.Span{First: store.MaxSeq, Last: store.MaxSeq})
	if got := events(t, s, store.EventQuery{Before: 9}); len(got) != 0 {
		t.Errorf("a span makes no events: %v", seqsOf(got))
	}
}
