package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/storetest"
)

// TestManyEdits: what one more edit costs does not grow with the edits before it, whose texts are not read again.
func TestManyEdits(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	post := storetest.Post(1, "one")
	events := []store.Event{post}
	for seq := uint64(2); seq < 200; seq++ {
		events = append(events, store.Event{Conv: post.Conv, Event: chat.Event{Seq: seq, From: post.From, At: post.At, Kind: chat.KindEdit, Re: 1,
			Text: strings.Repeat("x", 60<<10)}})
	}
	storetest.Put(t, s, events...)
	edit := events[1]
	bytes := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			edit.Seq++
			storetest.Put(t, s, edit)
		}
	}).AllocedBytesPerOp()
	if bytes > 4<<20 {
		t.Errorf("one edit takes %d bytes", bytes)
	}
	bytes = testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			storetest.View(b, s, func(r store.Reader) error {
				_, err := r.About(store.AboutQuery{Conv: post.Conv, Seqs: []uint64{1}})
				return err
			})
		}
	}).AllocedBytesPerOp()
	if bytes > 1<<20 {
		t.Errorf("to read a post takes %d bytes", bytes)
	}
}
