// Package storetest holds the contract that every engine of a client's store must pass.
//
// Start with [Run] in a test of the engine: it opens fresh stores and tries every method. [Compare] then plays
// random histories to two engines and wants the same answers from both.
package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// Run tries the whole contract. open returns a fresh, empty store each time; Run closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"empty", testEmpty},
		{"what cannot be kept", testInvalid},
		{"conversations", testConversations},
		{"pages of conversations", testConversationPages},
		{"deleting a conversation", testDeleteConversation},
		{"events", testEvents},
		{"about", testAbout},
		{"much about one post", testMuchAbout},
		{"replies, ids", testReplies},
		{"stubs", testStubs},
		{"dropping bodies", testDrop},
		{"deletions in any order", testDelete},
		{"disappearing", testDue},
		{"spans", testSpans},
		{"search", testSearch},
		{"search follows", testSearchFollows},
		{"pages of a search", testSearchPages},
		{"members", testMembers},
		{"outbox", testOutbox},
		{"wishes", testWishes},
		{"meta", testMeta},
		{"an Update is whole", testWhole},
		{"an Update that panics", testPanic},
		{"a View is one state", testSnapshot},
		{"Updates together", testTogether},
		{"waiting for a turn", testTurn},
		{"closing", testClose},
		{"ownership", testOwnership},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			tt.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// Update and View are short for tests in which nothing may fail.
func Update(t testing.TB, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// View reads, and fails the test on an error.
func View(t testing.TB, s store.Store, fn func(store.Reader) error) {
	t.Helper()
	if err := s.View(context.Background(), fn); err != nil {
		t.Fatalf("view: %v", err)
	}
}

// Put stores events.
func Put(t testing.TB, s store.Store, events ...store.Event) {
	t.Helper()
	Update(t, s, func(tx store.Tx) error { return tx.PutEvents(events) })
}

// Post is an event of conversation c.
func Post(seq uint64, text string) store.Event {
	return store.Event{Conv: "c", Event: chat.Event{Seq: seq, From: "ana", At: int64(seq) * 1000, Kind: chat.KindPost, Text: text}}
}

// Act is an event that acts upon another one of conversation c.
func Act(seq uint64, kind chat.Kind, re uint64, text string) store.Event {
	e := Post(seq, text)
	e.Kind, e.Re = kind, re
	return e
}

// alike compares what two stores return: nothing is the same as an empty list.
var alike = cmp.Options{cmpopts.EquateEmpty()}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, alike); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v instead of %v", what, err, want)
	}
}

func seqsOf(events []store.Event) []uint64 {
	var out []uint64
	for _, e := range events {
		out = append(out, e.Seq)
	}
	return out
}

func testEmpty(t *testing.T, s store.Store) {
	View(t, s, func(r store.Reader) error {
		_, err := r.Conversation("c")
		wantErr(t, "conversation", err, store.ErrNotFound)
		_, err = r.Event("c", 1)
		wantErr(t, "event", err, store.ErrNotFound)
		_, err = r.EventByID("c", "")
		wantErr(t, "event by id", err, store.ErrNotFound)
		_, err = r.Member("c", "ana")
		wantErr(t, "member", err, store.ErrNotFound)
		_, err = r.Outgoing("x")
		wantErr(t, "outgoing", err, store.ErrNotFound)
		return nil
	})
	same(t, "all", dump(t, s), &state{Out: map[string]int{}})
}

func testInvalid(t *testing.T, s store.Store) {
	for name, fn := range map[string]func(store.Tx) error{
		"conversation without id": func(tx store.Tx) error { return tx.PutConversation(store.Conversation{}) },
		"event without log":       func(tx store.Tx) error { return tx.PutEvents([]store.Event{{Event: chat.Event{Seq: 1}}}) },
		"event without seq":       func(tx store.Tx) error { return tx.PutEvents([]store.Event{Post(1, "a"), Post(0, "b")}) },
		"event beyond the bounds": func(tx store.Tx) error { return tx.PutEvents([]store.Event{Post(store.MaxSeq+1, "b")}) },
		"span backwards":          func(tx store.Tx) error { return tx.PutSpan("c", store.Span{First: 3, Last: 2}) },
		"span from zero":          func(tx store.Tx) error { return tx.PutSpan("c", store.Span{First: 0, Last: 2}) },
		"body of no seq":          func(tx store.Tx) error { return tx.DropBodies("c", []uint64{1, 0}) },
		"member without id":       func(tx store.Tx) error { return tx.PutMembers("c", []store.Member{{User: "a"}, {}}) },
		"member of nothing":       func(tx store.Tx) error { return tx.PutMembers("", []store.Member{{User: "a"}}) },
		"message without id":      func(tx store.Tx) error { return tx.Enqueue(&store.Outgoing{}) },
		"wish without name":       func(tx store.Tx) error { return tx.PutWish(store.Wish{Conv: "c"}) },
		"value without key":       func(tx store.Tx) error { return tx.PutMeta("", []byte("x")) },
	} {
		wantErr(t, name, s.Update(context.Background(), fn), store.ErrInvalid)
	}
	same(t, "all", dump(t, s), &state{Out: map[string]int{}})
}
