package storetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

func about(t testing.TB, s store.Store, q store.AboutQuery) (out map[uint64]store.Acts) {
	t.Helper()
	View(t, s, func(r store.Reader) (err error) {
		out, err = r.About(q)
		return err
	})
	return out
}

// by is an act of somebody's, with an emoji.
func by(user string, seq uint64, kind chat.Kind, re uint64, emoji string) store.Event {
	e := Act(seq, kind, re, "")
	e.From, e.Emoji = user, emoji
	return e
}

func testAbout(t *testing.T, s store.Store) {
	fades := Act(13, chat.KindEdit, 2, "for five seconds")
	fades.Expire = 5
	foreign := Act(14, chat.KindEdit, 2, "not the author's")
	foreign.From = "eve"
	reply := Act(3, chat.KindPost, 2, "a reply is nothing that acts upon it")
	pin, unpin, edit, gone := Act(8, chat.KindPin, 2, ""), Act(20, chat.KindUnpin, 2, ""), Act(12, chat.KindEdit, 2, "second"), Act(21, chat.KindDelete, 4, "")
	Put(t, s, fades, foreign, unpin, pin, Post(2, "mine"), reply, Post(4, "four"), Act(11, chat.KindEdit, 2, "first"), edit, gone,
		by("bob", 5, chat.KindReact, 2, "👍"), by("ana", 6, chat.KindReact, 2, "❤️"), by("ana", 7, chat.KindReact, 2, "👍"),
		by("ana", 9, chat.KindUnreact, 2, "❤️"), by("bob", 10, chat.KindReact, 2, "🎉"), by("bob", 15, chat.KindUnreact, 2, "👍"),
		by("bob", 16, chat.KindReact, 2, "👍"), by("eve", 17, chat.KindReact, 3, "👍"), by("eve", 18, chat.KindReact, 99, "👍"), Act(19, chat.KindEdit, 98, "of what is not here"))

	all := map[uint64]store.Acts{
		2: {Edit: &fades, Pin: &unpin, Reactions: []store.Reaction{
			{Emoji: "👍", Count: 2, Users: []string{"ana", "bob"}, Mine: true}, {Emoji: "🎉", Count: 1, Users: []string{"bob"}, Mine: true}}},
		3:  {Reactions: []store.Reaction{{Emoji: "👍", Count: 1, Users: []string{"eve"}}}},
		4:  {Delete: &gone},
		99: {Reactions: []store.Reaction{{Emoji: "👍", Count: 1, Users: []string{"eve"}}}},
	}
	seqs := []uint64{4, 99, 3, 2, 98, 3, 50, 1<<64 - 1}
	same(t, "about", about(t, s, store.AboutQuery{Conv: "c", Seqs: seqs, Me: "bob"}), all)
	same(t, "as long as the edit is there", about(t, s, store.AboutQuery{Conv: "c", Seqs: seqs, Me: "bob", Now: fades.Due() - 1}), all)
	later := all[2]
	later.Edit = &edit
	all[2] = later
	same(t, "when it has disappeared", about(t, s, store.AboutQuery{Conv: "c", Seqs: seqs, Me: "bob", Now: fades.Due()}), all)
	same(t, "only what is asked for", about(t, s, store.AboutQuery{Conv: "c", Seqs: []uint64{4}}), map[uint64]store.Acts{4: all[4]})
	for _, q := range []store.AboutQuery{{Conv: "c", Seqs: []uint64{50}}, {Conv: "c"}, {Conv: "nowhere", Seqs: seqs}} {
		same(t, "nothing", about(t, s, q), map[uint64]store.Acts{})
	}

	Update(t, s, func(tx store.Tx) error { return tx.DropBodies("c", []uint64{12, 13}) })
	if a := about(t, s, store.AboutQuery{Conv: "c", Seqs: []uint64{2}})[2]; a.Edit == nil || a.Edit.Text != "first" {
		t.Errorf("after the bodies of the later ones were dropped: %+v", a.Edit)
	}
}

// testMuchAbout: what is told of a post is small, whatever was done to it.
func testMuchAbout(t *testing.T, s store.Store) {
	events := []store.Event{Post(1, "one")}
	next := func() uint64 { return uint64(len(events) + 1) }
	for i := range 300 {
		events = append(events, Act(next(), chat.KindEdit, 1, fmt.Sprint(i, strings.Repeat("x", 10<<10))))
	}
	for i := range store.ReactionUsers + 20 {
		events = append(events, by(fmt.Sprintf("u%03d", i), next(), chat.KindReact, 1, "👍"))
	}
	for i := range store.ReactionEmoji + 20 {
		events = append(events, by("ana", next(), chat.KindReact, 1, fmt.Sprint("emoji", i)))
	}
	Put(t, s, events...)
	a := about(t, s, store.AboutQuery{Conv: "c", Seqs: []uint64{1}, Me: "u000"})[1]
	if a.Edit == nil || !strings.HasPrefix(a.Edit.Text, "299x") || len(a.Reactions) != store.ReactionEmoji {
		t.Fatalf("%v, %d emoji", a.Edit, len(a.Reactions))
	}
	thumbs := a.Reactions[0]
	if n := store.ReactionUsers + 20; thumbs.Count != n || !thumbs.Mine || len(thumbs.Users) != store.ReactionUsers || thumbs.Users[0] != "u020" {
		t.Errorf("%d reactions instead of %d, %v", thumbs.Count, n, thumbs.Users)
	}
}
