package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"pgregory.net/rapid"
)

// Compare plays one random history to two stores, and wants the same from both at every step. Both are emptied first, so
// that they can be used again; what a store never takes back (the numbers of the outbox) is not compared.
func Compare(t *rapid.T, a, b store.Store) {
	for _, s := range []store.Store{a, b} {
		if err := s.Update(context.Background(), clean); err != nil {
			t.Fatalf("emptying: %v", err)
		}
	}
	ids := 0
	for range rapid.IntRange(1, 12).Draw(t, "updates") {
		var steps []step
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			steps = append(steps, drawStep(t, &ids))
		}
		fails := rapid.IntRange(0, 5).Draw(t, "fails") == 0
		play := func(s store.Store) (results []string) {
			err := s.Update(context.Background(), func(tx store.Tx) error {
				for _, st := range steps {
					results = append(results, st(tx))
				}
				if fails {
					return errNo
				}
				return nil
			})
			if fails != errors.Is(err, errNo) || !fails && err != nil {
				t.Fatalf("update: %v", err)
			}
			return results
		}
		if d := gocmp.Diff(play(b), play(a)); d != "" {
			t.Fatalf("what the methods returned (-second +first):\n%s", d)
		}
		if d := gocmp.Diff(answers(t, b), answers(t, a), alike); d != "" {
			t.Fatalf("what is there (-second +first):\n%s", d)
		}
	}
}

// clean removes what Compare may have put.
func clean(tx store.Tx) error {
	for _, conv := range convs {
		if err := tx.DeleteConversation(conv); err != nil {
			return err
		}
	}
	out, err := tx.Outbox(store.OutboxQuery{Limit: 1_000_000})
	if err != nil {
		return err
	}
	for _, o := range out {
		if err := tx.DeleteOutgoing(o.ID); err != nil {
			return err
		}
	}
	wishes, err := tx.Wishes()
	if err != nil {
		return err
	}
	for _, w := range wishes {
		if err := tx.DeleteWish(w.Conv, w.Name, w.At); err != nil {
			return err
		}
	}
	keys, err := tx.MetaKeys("")
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := tx.PutMeta(k, nil); err != nil {
			return err
		}
	}
	return nil
}

// reply is what a store holds, and what its queries say. N is counted from the first one.
type reply struct {
	State state
	Found []string
}

func answers(t *rapid.T, s store.Store) (out reply) {
	err := s.View(context.Background(), func(r store.Reader) (err error) {
		if out.State, err = read(r); err != nil {
			return err
		}
		for i := range out.State.Outbox {
			out.State.Outbox[i].N = int64(i)
		}
		for _, q := range queries {
			hits, err := r.Search(q)
			if err != nil {
				return err
			}
			slices.SortStableFunc(hits, func(a, b store.Hit) int { // those of one millisecond have no order
				return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Conv, b.Conv), cmp.Compare(a.Seq, b.Seq))
			})
			for _, h := range hits {
				out.Found = append(out.Found, fmt.Sprintf("%q: %s %d %q %v", q.Text, h.Conv, h.Seq, h.Text, h.Marks))
			}
		}
		for _, q := range []store.EventQuery{{Conv: "c", Limit: 2}, {Conv: "c", After: 3, Limit: 2}, {Conv: "c", Before: 7, Limit: 3}, {Conv: "c", Thread: 2}, {Conv: "d", Kinds: []chat.Kind{chat.KindPost}}} {
			events, err := r.Events(q)
			if err != nil {
				return err
			}
			out.Found = append(out.Found, fmt.Sprint(q, seqsOf(events)))
		}
		for _, l := range []store.List{store.ListInbox, store.ListArchive, store.ListRequests, store.ListFormer} {
			all, err := r.Conversations(store.ConversationQuery{List: l, Dirty: l == store.ListArchive})
			if err != nil {
				return err
			}
			for _, c := range all {
				out.Found = append(out.Found, fmt.Sprint(l, c.ID))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	return out
}

var (
	convs   = []string{"c", "d"}
	users   = []string{"ana", "bob"}
	texts   = []string{"", "apple", "apple pie", "Apfel über alles", "東京で", "京都", "pie, apple!"}
	queries = []store.SearchQuery{{Text: "apple"}, {Text: `"apple pie"`}, {Text: "uber"}, {Text: "京"}, {Text: "東京", Conv: "c"}, {Text: "pie", From: "ana"}, {Text: "ap*", Now: 9000}}
	kinds   = []chat.Kind{
		chat.KindPost, chat.KindPost, chat.KindPost, chat.KindEdit, chat.KindEdit, chat.KindDelete, chat.KindReact, chat.KindReact,
		chat.KindUnreact, chat.KindPin, chat.KindUnpin, chat.KindJoin, chat.KindGone, chat.KindLarge,
	}
)

// step changes a store, and returns what it was told, as text.
type step func(tx store.Tx) string

func drawStep(t *rapid.T, ids *int) step {
	conv := rapid.SampledFrom(convs).Draw(t, "conv")
	switch rapid.IntRange(0, 14).Draw(t, "method") {
	case 0, 1, 2, 3, 4:
		events := rapid.SliceOfN(rapid.Custom(drawEvent), 1, 6).Draw(t, "events")
		if rapid.Bool().Draw(t, "sorted") { // as pages are
			slices.SortStableFunc(events, func(a, b store.Event) int { return cmp.Or(cmp.Compare(a.Conv, b.Conv), cmp.Compare(a.Seq, b.Seq)) })
		}
		return func(tx store.Tx) string { return fmt.Sprint(tx.PutEvents(slices.Clone(events))) }
	case 5:
		seqs := rapid.SliceOfN(rapid.Uint64Range(1, 9), 1, 2).Draw(t, "drop")
		return func(tx store.Tx) string { return fmt.Sprint(tx.DropBodies(conv, seqs)) }
	case 6:
		now := rapid.Int64Range(0, 20_000).Draw(t, "now")
		return func(tx store.Tx) string {
			events, err := tx.DropDue(now)
			for i := range events { // pointers would be printed
				events[i].Member, events[i].Info = nil, nil
			}
			return fmt.Sprint(events, err)
		}
	case 7:
		first := rapid.Uint64Range(1, 15).Draw(t, "first")
		s := store.Span{First: first, Last: first + rapid.Uint64Range(0, 4).Draw(t, "more")}
		return func(tx store.Tx) string { return fmt.Sprint(tx.PutSpan(conv, s)) }
	case 8:
		c := drawConversation(t, conv)
		return func(tx store.Tx) string { return fmt.Sprint(tx.PutConversation(c)) }
	case 9:
		if rapid.IntRange(0, 3).Draw(t, "really") > 0 {
			return func(store.Tx) string { return "" }
		}
		return func(tx store.Tx) string { return fmt.Sprint(tx.DeleteConversation(conv)) }
	default:
		return drawRecord(t, conv, ids)
	}
}

func drawRecord(t *rapid.T, conv string, ids *int) step {
	at := rapid.Int64Range(0, 3).Draw(t, "at")
	word := rapid.SampledFrom(users).Draw(t, "word")
	switch rapid.IntRange(0, 6).Draw(t, "record") {
	case 0:
		m := store.Member{User: word, Delivered: rapid.Uint64Range(0, 5).Draw(t, "delivered"), Read: rapid.Uint64Range(0, 5).Draw(t, "read"), Joined: at}
		return func(tx store.Tx) string { return fmt.Sprint(tx.PutMembers(conv, []store.Member{m})) }
	case 1:
		return func(tx store.Tx) string { return fmt.Sprint(tx.DeleteMember(conv, word)) }
	case 2:
		*ids++
		o := store.Outgoing{ID: fmt.Sprint("id", *ids), Conv: conv, At: at, Event: chat.Event{Kind: chat.KindPost, Text: word}}
		if *ids > 1 && rapid.Bool().Draw(t, "again") {
			o.ID = fmt.Sprint("id", rapid.IntRange(1, *ids).Draw(t, "id"))
		}
		return func(tx store.Tx) string {
			o := o
			return fmt.Sprint(tx.Enqueue(&o))
		}
	case 3:
		o := store.Outgoing{ID: fmt.Sprint("id", rapid.IntRange(1, *ids+1).Draw(t, "id")), Conv: conv, State: store.OutState(at), ReID: word}
		if rapid.Bool().Draw(t, "delete") {
			return func(tx store.Tx) string { return fmt.Sprint(tx.DeleteOutgoing(o.ID)) }
		}
		return func(tx store.Tx) string { return fmt.Sprint(tx.PutOutgoing(o)) }
	case 4:
		w := store.Wish{Conv: conv, Name: word, Value: []byte(word), At: at}
		return func(tx store.Tx) string { return fmt.Sprint(tx.PutWish(w)) }
	case 5:
		return func(tx store.Tx) string { return fmt.Sprint(tx.DeleteWish(conv, word, at)) }
	default:
		var value []byte
		if at > 0 {
			value = []byte(word)
		}
		return func(tx store.Tx) string { return fmt.Sprint(tx.PutMeta(word, value)) }
	}
}

func drawConversation(t *rapid.T, id string) store.Conversation {
	return store.Conversation{
		ID: id, At: rapid.Int64Range(0, 3).Draw(t, "at"), Pinned: rapid.Bool().Draw(t, "pinned"), Archived: rapid.Bool().Draw(t, "archived"),
		Left: rapid.Bool().Draw(t, "left"), Read: rapid.Uint64Range(0, 3).Draw(t, "read"), ReadWanted: rapid.Uint64Range(0, 3).Draw(t, "wanted"),
		Draft: rapid.SampledFrom(texts).Draw(t, "draft"),
	}
}

// drawEvent draws any event at all, also such as no server would send.
func drawEvent(t *rapid.T) store.Event {
	e := store.Event{Conv: rapid.SampledFrom(convs).Draw(t, "conv"), Gone: rapid.IntRange(0, 9).Draw(t, "gone") == 0}
	e.Seq = rapid.Uint64Range(1, 9).Draw(t, "seq")
	e.From = rapid.SampledFrom(users).Draw(t, "from")
	e.At = rapid.Int64Range(0, 9).Draw(t, "at") * 1000
	e.Kind = rapid.SampledFrom(kinds).Draw(t, "kind")
	e.Text = rapid.SampledFrom(texts).Draw(t, "text")
	if e.Kind != chat.KindPost || rapid.Bool().Draw(t, "replies") {
		e.Re = rapid.Uint64Range(0, 9).Draw(t, "re")
		e.Thread = rapid.Uint64Range(0, 3).Draw(t, "thread")
	}
	if e.Kind == chat.KindReact || e.Kind == chat.KindUnreact {
		e.Emoji = rapid.SampledFrom([]string{"👍", "❤️"}).Draw(t, "emoji")
	}
	if rapid.IntRange(0, 3).Draw(t, "fades") == 0 {
		e.Expire = rapid.Uint64Range(1, 9).Draw(t, "expire")
	}
	return e
}
