package client

import (
	"context"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	inmemory "github.com/petrelchat/petrel/client/store/memory"
)

// A reader who stopped reading costs a bounded amount of memory, however much is sent meanwhile, and is told that there was more.
func TestFanoutBoundsOutbox(t *testing.T) {
	f := newFanout()
	r := f.listen()
	for range 10 * outMost {
		f.tell(Update{Kind: UpdateOutbox, Conv: "a", ID: newID()})
	}
	us, _ := f.next(context.Background(), r)
	if len(us) != outMost+1 || us[outMost].ID != "" || us[outMost].Conv != "a" {
		t.Fatalf("%d updates, the last %+v", len(us), us[len(us)-1])
	}
	f.tell(Update{Kind: UpdateOutbox, Conv: "a", ID: "x"})
	if us, _ = f.next(context.Background(), r); len(us) != 1 || us[0].ID != "x" {
		t.Errorf("after reading: %+v", us)
	}
}

// One reader of a group whose members are not known yet is not all of them.
func TestReachedByUnknown(t *testing.T) {
	st := inmemory.New()
	defer st.Close()
	row := store.Conversation{ID: "crew", Kind: "group"}
	put := func(ms ...store.Member) {
		t.Helper()
		if err := st.Update(context.Background(), func(tx store.Tx) error { return tx.PutMembers("crew", ms) }); err != nil {
			t.Fatal(err)
		}
	}
	state := func() (s State) {
		t.Helper()
		if err := st.View(context.Background(), func(r store.Reader) error {
			c, err := reachedBy(r, &row, "ann")
			s = c.state(5)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	put(store.Member{User: "bob", Delivered: 9, Read: 9})
	if got := state(); got != StateSent {
		t.Errorf("of a group of which nothing else is known: %v", got)
	}
	row.Info = []byte(`{"members":3}`)
	if got := state(); got != StateSent {
		t.Errorf("of a group of three: %v", got)
	}
	put(store.Member{User: "ann"})
	if got := state(); got != StateRead {
		t.Errorf("of a group of two: %v", got)
	}
}

// What waits in the outbox stands at the end of a conversation, not before a part of the log that is not here.
func TestPagesBeforeGap(t *testing.T) {
	st := inmemory.New()
	defer st.Close()
	c := &core{me: "ann", st: st, now: time.Now}
	ev := func(seq uint64) store.Event {
		return store.Event{Conv: "crew", Event: chat.Event{Seq: seq, From: "bob", Kind: chat.KindPost, Text: "x"}}
	}
	err := st.Update(context.Background(), func(tx store.Tx) error {
		if err := tx.PutEvents([]store.Event{ev(1), ev(2), ev(8), ev(9)}); err != nil {
			return err
		}
		return tx.Enqueue(&store.Outgoing{ID: "x", Conv: "crew", Event: chat.Event{ID: "x", Kind: chat.KindPost, Text: "y"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[uint64]int{1: 1, 7: 3} {
		err := st.View(context.Background(), func(r store.Reader) error {
			ms, err := c.messages(r, "crew", Page{After: after})
			if len(ms) != want {
				t.Errorf("after %d: %d messages, want %d", after, len(ms), want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
