package client

import (
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	inmemory "github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/protocol"
)

// TestActsThatWereDone: an act whose result was there already is acknowledged with the seq of another event, which may be on its way still. It leaves the
// outbox with that one, not with the next sync.
func TestActsThatWereDone(t *testing.T) {
	st := inmemory.New()
	defer st.Close()
	c, err := assemble(t.Context(), Options{User: "ann", Server: "mqtt://127.0.0.1", Store: st})
	if err != nil {
		t.Fatal(err)
	}
	defer c.cancel()
	c.greet = func() {}
	do := func(fn func(*change) error) {
		t.Helper()
		if err := c.update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	comes := func(ev chat.Event) {
		t.Helper()
		do(func(ch *change) error { return ch.take("crew", []protocol.Delivery{{Event: ev}}, fromLive) })
	}
	waits := func(want ...string) {
		t.Helper()
		var got []store.Outgoing
		err := st.View(t.Context(), func(r store.Reader) (err error) {
			got, err = r.Outbox(store.OutboxQuery{})
			return err
		})
		if err != nil || len(got) != len(want) {
			t.Fatalf("in the outbox is %v, want %v: %v", got, want, err)
		}
		for i, o := range got {
			if o.ID != want[i] {
				t.Errorf("in the outbox is %s, want %s", o.ID, want[i])
			}
		}
	}
	act := func(id string, kind chat.Kind, seq uint64) {
		do(func(ch *change) error {
			return ch.tx.Enqueue(&store.Outgoing{ID: id, Conv: "crew", Event: chat.Event{ID: id, Kind: kind, Re: 1, Text: "👍"}})
		})
		do(func(ch *change) error { return ch.acknowledged(id, seq) })
	}

	comes(chat.Event{Seq: 1, From: "bob", Kind: chat.KindPost, Text: "hello"})
	act("first", chat.KindReact, 2)
	act("again", chat.KindReact, 2)     // by a program that was killed, and did not know
	act("nothing", chat.KindUnreact, 3) // of what was not there: the head of the log
	act("known", chat.KindReact, 1)
	waits("first", "again", "nothing")
	comes(chat.Event{Seq: 2, From: "ann", ID: "first", Kind: chat.KindReact, Re: 1, Text: "👍"})
	waits("nothing")
	comes(chat.Event{Seq: 3, From: "bob", Kind: chat.KindPost, Text: "bye"})
	waits()
	if n := c.late.in("crew"); n != 0 {
		t.Error("acts are still looked for")
	}
}
