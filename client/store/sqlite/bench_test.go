package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// words of usual messages.
var phrases = []string{
	"see you at eight then", "ok", "did anybody feed the cat?", "I'll be ten minutes late, sorry", "👍", "明日は東京で会いましょう",
	"the build is green again, please pull before you go on", "who comes climbing on sunday?", "happy birthday!!!", "look at this one",
}

func message(conv int, seq uint64) store.Event {
	return store.Event{Conv: fmt.Sprintf("conv-%d", conv), Event: chat.Event{
		Seq: seq, From: fmt.Sprintf("user-%d", seq%7), At: 1_767_225_600_000 + int64(seq)*60_000 + int64(conv), Kind: chat.KindPost,
		Text: phrases[(int(seq)+conv)%len(phrases)],
	}}
}

// write stores events of conv from first on, in batches of 256.
func write(tb testing.TB, s *Store, conv int, first, n uint64) {
	tb.Helper()
	for n > 0 {
		batch := make([]store.Event, min(n, 256))
		for i := range batch {
			batch[i] = message(conv, first+uint64(i))
		}
		first, n = first+uint64(len(batch)), n-uint64(len(batch))
		if err := s.Update(context.Background(), func(tx store.Tx) error { return tx.PutEvents(batch) }); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkPutEvents(b *testing.B) {
	for _, order := range []string{"new", "history"} {
		b.Run(order, func(b *testing.B) {
			s := fresh(b)
			const batch = 256
			b.ResetTimer()
			for i := range b.N {
				first := uint64(i*batch + 1)
				if order == "history" {
					first = uint64((1_000_000 - i) * batch)
				}
				write(b, s, 1, first, batch)
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkEnqueue is what many Sends at once cost: each is on disk when it returns.
func BenchmarkEnqueue(b *testing.B) {
	s := fresh(b)
	var ids atomic.Int64
	b.SetParallelism(64)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := fmt.Sprintf("id-%d", ids.Add(1))
			o := store.Outgoing{ID: id, Conv: "conv-1", Event: chat.Event{Kind: chat.KindPost, ID: id, Text: phrases[0]}, At: 1_767_225_600_000}
			if err := s.Update(context.Background(), func(tx store.Tx) error { return tx.Enqueue(&o) }); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
}

// BenchmarkSettle takes 10,000 messages out of the outbox and puts their events into the log, up to 256 in an Update.
func BenchmarkSettle(b *testing.B) {
	const n, batch = 10_000, 256
	s := fresh(b)
	base := uint64(0)
	for range b.N {
		b.StopTimer()
		id := func(i uint64) string { return fmt.Sprintf("id-%d", base+i) }
		err := s.Update(context.Background(), func(tx store.Tx) error {
			for i := range uint64(n) {
				o := store.Outgoing{ID: id(i), Conv: "conv-1", Event: chat.Event{Kind: chat.KindPost, ID: id(i), Text: phrases[0]}, State: store.Sending}
				if err := tx.Enqueue(&o); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for from := uint64(0); from < n; from += batch {
			err := s.Update(context.Background(), func(tx store.Tx) error {
				for i := from; i < min(n, from+batch); i++ {
					o, err := tx.Outgoing(id(i))
					if err != nil {
						return err
					}
					e := message(1, base+i+1)
					e.Text, e.ID = o.Event.Text, o.ID
					if err := tx.PutEvents([]store.Event{e}); err != nil {
						return err
					}
					if err := tx.DeleteOutgoing(o.ID); err != nil {
						return err
					}
				}
				return tx.PutConversation(store.Conversation{ID: "conv-1", Head: base + from + batch})
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		base += n
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "settled/s")
}

// million makes a store of 1,000,000 events in 500 conversations, or uses the one of PETREL_BENCH_STORE.
func million(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "store.db")
	if kept := os.Getenv("PETREL_BENCH_STORE"); kept != "" {
		path = kept
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	s, err := Open(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	const convs, each = 500, 2000
	for c := range convs {
		write(b, s, c, 1, each)
		err := s.Update(context.Background(), func(tx store.Tx) error {
			return tx.PutConversation(store.Conversation{ID: fmt.Sprintf("conv-%d", c), Kind: "group", Title: "Crew", Head: each, Last: each, Unread: c % 9, At: message(c, each).At})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.Logf("1,000,000 events written in %v", time.Since(start).Round(time.Millisecond))
	return path
}

// BenchmarkFirstScreen opens a store of 1,000,000 events and reads what a program shows first: 30 conversations with unread
// counts and last messages.
func BenchmarkFirstScreen(b *testing.B) {
	if testing.Short() {
		b.Skip("the store takes a minute to make")
	}
	path := million(b)
	b.ResetTimer()
	for range b.N {
		s, err := Open(path, Options{})
		if err != nil {
			b.Fatal(err)
		}
		err = s.View(context.Background(), func(r store.Reader) error {
			all, err := r.Conversations(store.ConversationQuery{List: store.ListInbox, Limit: 30})
			if err == nil && len(all) != 30 {
				err = fmt.Errorf("%d conversations", len(all))
			}
			for _, c := range all {
				if _, e := r.Event(c.ID, c.Last); e != nil {
					err = e
				}
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkSearch looks for words of a tenth of 1,000,000 messages.
func BenchmarkSearch(b *testing.B) {
	if testing.Short() {
		b.Skip("the store takes a minute to make")
	}
	s, err := Open(million(b), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, q := range []store.SearchQuery{{Text: "climbing"}, {Text: "climbing sunday", Conv: "conv-7"}, {Text: "clim*"}, {Text: "東京"}, {Text: "cat", From: "user-3"}} {
		b.Run(q.Text+q.Conv+q.From, func(b *testing.B) {
			for range b.N {
				err := s.View(context.Background(), func(r store.Reader) error {
					hits, err := r.Search(q)
					if err == nil && len(hits) == 0 {
						err = fmt.Errorf("nothing found")
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCatchUp puts 10,000 missed events of 50 conversations into a store that has 1,000,000.
func BenchmarkCatchUp(b *testing.B) {
	if testing.Short() {
		b.Skip("the store takes a minute to make")
	}
	whole, err := os.ReadFile(million(b))
	if err != nil {
		b.Fatal(err)
	}
	const n = 10_000
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		path := filepath.Join(b.TempDir(), "store.db")
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			b.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for c := range 50 {
			write(b, s, c, 2001, n/50)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "events/s")
}
