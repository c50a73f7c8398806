package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/storetest"
)

// TestFull fills a small disk with many writers at once. Who was told that something is kept finds it, who was told
// store.ErrFull finds nothing of it, reading goes on, and so does writing when there is room.
func TestFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(path, Options{MaxBytes: 600 << 10})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("all work and no play ", 20)
	put := func(id string) error {
		return s.Update(context.Background(), func(tx store.Tx) error {
			if err := tx.Enqueue(&store.Outgoing{ID: id, Event: chat.Event{Kind: chat.KindPost, Text: text}}); err != nil {
				return err
			}
			return tx.PutMeta(id, []byte(text))
		})
	}
	var mu sync.Mutex
	told := map[string]error{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k, full := 0, 0; full < 3; k++ {
				id := fmt.Sprintf("%d-%d", i, k)
				err := put(id)
				if err != nil {
					full++
				}
				if err != nil && (!errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "make room")) {
					t.Errorf("%s: %v", id, err)
				}
				mu.Lock()
				told[id] = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	check := func() {
		t.Helper()
		storetest.View(t, s, func(r store.Reader) error {
			for id, err := range told {
				_, got := r.Outgoing(id)
				v, e := r.Meta(id)
				if e != nil {
					return e
				}
				if (err == nil) != (got == nil) || (err == nil) != (v != nil) {
					t.Errorf("%s: told %v, there is %v and %d bytes", id, err, got, len(v))
				}
			}
			return nil
		})
	}
	check()
	if n := len(told); n < 200 {
		t.Fatalf("only %d messages fitted or not", n)
	}
	// What is sent makes room for what comes.
	const sent = 160
	storetest.Update(t, s, func(tx store.Tx) error {
		for i := range sent {
			id := fmt.Sprintf("%d-%d", i%8, i/8)
			delete(told, id)
			if err := errors.Join(tx.DeleteOutgoing(id), tx.PutMeta(id, nil)); err != nil {
				return err
			}
		}
		return nil
	})
	if told["next"] = put("next"); told["next"] != nil {
		t.Errorf("with the room of %d messages: %v", sent, told["next"])
	}
	// A method that fails cannot be ignored: it may have done half of its work.
	err = s.Update(context.Background(), func(tx store.Tx) error {
		for i := range 1000 {
			if err := tx.PutMeta(fmt.Sprintf("big %d", i), []byte(text)); err != nil {
				return nil
			}
		}
		return nil
	})
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("an Update that takes no notice: %v", err)
	}
	check()

	storetest.Update(t, s, func(store.Tx) error { return s.w.plain("PRAGMA max_page_count = 1000000") }) // somebody made room
	for id, err := range told {
		if err != nil {
			if told[id] = put(id); told[id] != nil {
				t.Fatalf("with room again: %v", told[id])
			}
		}
	}
	check()
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
