package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// change changes something of each kind.
func change(tx store.Tx) error {
	return errorsOf(
		tx.PutConversation(store.Conversation{ID: "c", Title: "changed", At: 77}),
		tx.PutConversation(store.Conversation{ID: "new"}),
		tx.PutEvents([]store.Event{Post(1, "changed"), Act(3, chat.KindEdit, 2, "changed"), Post(9, "new"), Act(10, chat.KindDelete, 4, "")}),
		tx.PutEvents([]store.Event{{Conv: "new", Event: Post(1, "new log").Event}}),
		tx.DropBodies("c", []uint64{20}),
		tx.PutSpan("c", store.Span{First: 5, Last: 8}),
		tx.PutMembers("c", []store.Member{{User: "ana", Read: 9}, {User: "new"}}),
		tx.DeleteMember("c", "bob"),
		tx.Enqueue(&store.Outgoing{ID: "new"}),
		tx.PutOutgoing(store.Outgoing{ID: "a", Conv: "changed"}),
		tx.DeleteOutgoing("b"),
		tx.PutWish(store.Wish{Conv: "c", Name: "mute", At: 9}),
		tx.DeleteWish("c", "pin", 9),
		tx.PutMeta("k", []byte("changed")),
		tx.PutMeta("k2", nil),
		tx.DeleteConversation("d"),
	)
}

func fill(t testing.TB, s store.Store) {
	t.Helper()
	other := Post(1, "elsewhere")
	other.Conv = "d"
	fading := Post(4, "fading")
	fading.Expire = 60
	Update(t, s, func(tx store.Tx) error {
		return errorsOf(
			tx.PutConversation(store.Conversation{ID: "c", At: 1}), tx.PutConversation(store.Conversation{ID: "d", At: 2}),
			tx.PutEvents([]store.Event{Post(1, "one"), Post(2, "two"), fading, other}),
			tx.PutMembers("c", []store.Member{{User: "ana", Read: 3}, {User: "bob"}}), tx.PutMembers("d", []store.Member{{User: "eve"}}),
			tx.Enqueue(&store.Outgoing{ID: "a"}), tx.Enqueue(&store.Outgoing{ID: "b"}),
			tx.PutWish(store.Wish{Conv: "c", Name: "mute"}), tx.PutWish(store.Wish{Conv: "c", Name: "pin"}), tx.PutWish(store.Wish{Conv: "d", Name: "pin"}),
			tx.PutMeta("k", []byte("v")), tx.PutMeta("k2", []byte("v")),
		)
	})
}

var errNo = errors.New("no")

func testWhole(t *testing.T, s store.Store) {
	fill(t, s)
	before := dump(t, s)
	err := s.Update(context.Background(), func(tx store.Tx) error {
		if err := change(tx); err != nil {
			t.Errorf("change: %v", err)
		}
		if e, err := tx.Event("c", 9); err != nil || e.Text != "new" {
			t.Errorf("it sees what it wrote: %+v, %v", e, err)
		}
		if hits, err := tx.Search(store.SearchQuery{Text: "changed"}); err != nil || len(hits) != 2 {
			t.Errorf("in the search too: %v, %v", hits, err)
		}
		return errNo
	})
	wantErr(t, "update", err, errNo)
	same(t, "nothing of it is kept", dump(t, s), before)
	Put(t, s, Post(20, "twenty")) // nothing is remembered of it either
	same(t, "twenty", event(t, s, 20), Post(20, "twenty"))
	find(t, s, store.SearchQuery{Text: "changed"})

	// A method that refuses leaves the rest.
	Update(t, s, func(tx store.Tx) error {
		wantErr(t, "a missing record", tx.PutOutgoing(store.Outgoing{ID: "x"}), store.ErrNotFound)
		wantErr(t, "an id that is taken", tx.Enqueue(&store.Outgoing{ID: "a"}), store.ErrExists)
		wantErr(t, "one of them is none", tx.PutEvents([]store.Event{Post(30, "a"), Post(0, "b")}), store.ErrInvalid)
		return tx.PutMeta("k", []byte("kept"))
	})
	View(t, s, func(r store.Reader) error {
		_, err := r.Event("c", 30)
		wantErr(t, "none of them", err, store.ErrNotFound)
		v, err := r.Meta("k")
		if string(v) != "kept" {
			t.Errorf("%q", v)
		}
		return err
	})
	Update(t, s, change)
}

func testPanic(t *testing.T, s store.Store) {
	fill(t, s)
	before := dump(t, s)
	func() {
		defer func() {
			if recover() != errNo {
				t.Error("the panic did not come through")
			}
		}()
		_ = s.Update(context.Background(), func(tx store.Tx) error {
			if err := change(tx); err != nil {
				t.Errorf("change: %v", err)
			}
			panic(errNo)
		})
	}()
	same(t, "nothing of it is kept", dump(t, s), before)
	func() {
		defer func() {
			if recover() != errNo {
				t.Error("the panic did not come through")
			}
		}()
		_ = s.View(context.Background(), func(store.Reader) error { panic(errNo) })
	}()
	wantErr(t, "a View that fails", s.View(context.Background(), func(store.Reader) error { return errNo }), errNo)
	Put(t, s, Post(9, "nine")) // it goes on
	same(t, "nine", event(t, s, 9), Post(9, "nine"))
}

// testSnapshot reads while others write: the sum of what is read together never changes.
func testSnapshot(t *testing.T, s store.Store) {
	move := func(read uint64) {
		Update(t, s, func(tx store.Tx) error {
			return tx.PutMembers("c", []store.Member{{User: "a", Read: read}, {User: "b", Joined: -int64(read)}})
		})
	}
	move(1)
	const rounds = 100
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for last := uint64(0); ; {
				err := s.View(context.Background(), func(r store.Reader) error {
					a, err := r.Member("c", "a")
					if err != nil {
						return err
					}
					b, err := r.Member("c", "b")
					if err == nil && int64(a.Read)+b.Joined != 0 || a.Read < last {
						err = fmt.Errorf("%d and %d after %d", a.Read, b.Joined, last)
					}
					last = a.Read
					return err
				})
				if err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range rounds {
		move(uint64(i + 2))
	}
	close(done)
	wg.Wait()
}

// testTogether has many write at once; some fail, and none of the others suffers.
func testTogether(t *testing.T, s store.Store) {
	const crowd, each = 16, 25
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() {
			for k := range each {
				id := fmt.Sprintf("%d-%d", i, k)
				fails := k%5 == 4
				err := s.Update(context.Background(), func(tx store.Tx) error {
					o := store.Outgoing{ID: id, Conv: fmt.Sprint(i)}
					if err := tx.Enqueue(&o); err != nil {
						return err
					}
					if fails {
						return errNo
					}
					return nil
				})
				if fails != errors.Is(err, errNo) || !fails && err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
	wg.Wait()
	for i := range crowd {
		got := outbox(t, s, store.OutboxQuery{Conv: fmt.Sprint(i)})
		if len(got) != each*4/5 {
			t.Errorf("%d of %d has %d", i, each*4/5, len(got))
		}
		var last store.Outgoing
		for _, o := range got {
			if o.N <= last.N {
				t.Errorf("%s before %s", last.ID, o.ID)
			}
			last = o
		}
	}
}

// testTurn gives up waiting, and the turn goes on to the next.
func testTurn(t *testing.T, s store.Store) {
	inside, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		Update(t, s, func(tx store.Tx) error {
			close(inside)
			<-leave
			return tx.PutMeta("first", []byte("1"))
		})
	})
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	for range 10 {
		wg.Go(func() {
			err := s.Update(ctx, func(tx store.Tx) error { return tx.PutMeta("given up", []byte("1")) })
			if err != nil { // or it got the turn before
				wantErr(t, "given up", err, context.Canceled)
			}
		})
	}
	cancel()
	close(leave)
	Update(t, s, func(tx store.Tx) error { return tx.PutMeta("last", []byte("1")) })
	wg.Wait()
	wantErr(t, "before it begins", s.Update(ctx, func(store.Tx) error { return nil }), context.Canceled)
	wantErr(t, "before it begins", s.View(ctx, func(store.Reader) error { return nil }), context.Canceled)
	View(t, s, func(r store.Reader) error {
		keys, err := r.MetaKeys("")
		if len(keys) < 2 {
			t.Errorf("keys %v", keys)
		}
		return err
	})
}

func testClose(t *testing.T, s store.Store) {
	fill(t, s)
	inside, leave := make(chan struct{}, 2), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		Update(t, s, func(tx store.Tx) error {
			inside <- struct{}{}
			<-leave
			return tx.PutMeta("k", []byte("1"))
		})
	})
	<-inside
	closed := make(chan struct{})
	wg.Go(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		close(closed)
	})
	select {
	case <-closed:
		t.Error("it did not wait for the Update")
	default:
	}
	close(leave)
	wg.Wait()
	ctx := context.Background()
	wantErr(t, "update", s.Update(ctx, func(store.Tx) error { return nil }), store.ErrClosed)
	wantErr(t, "view", s.View(ctx, func(store.Reader) error { return nil }), store.ErrClosed)
}
