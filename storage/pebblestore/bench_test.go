package pebblestore

import (
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/storage"
)

// benchStore opens a store on the real disk with logs of entries each, written out and compacted by
// chance only, as in service.
func benchStore(b *testing.B, logs, entries int) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Options{Create: true, ReserveBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	data := make([]byte, 100)
	var batch storage.Batch
	for range entries {
		batch.Reset()
		for l := range logs {
			batch.AppendNext(benchLog(l), data, nil)
		}
		p, err := s.Commit(&batch)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func benchLog(i int) string { return fmt.Sprintf("conversation-%06d", i) }

// BenchmarkCommit measures what a commit costs its caller; one operation is one append. A second
// goroutine waits for the syncs, as the pipeline does.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := benchStore(b, 1, 1)
			data := make([]byte, 100)
			logs := make([]string, 100)
			for i := range logs {
				logs[i] = benchLog(i)
			}
			pendings := make(chan storage.Pending, 1000)
			done := make(chan error, 1)
			go func() {
				var first error
				for p := range pendings {
					if err := p.Wait(); err != nil && first == nil {
						first = err
					}
				}
				done <- first
			}()
			var batch storage.Batch
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += size {
				batch.Reset()
				for k := range size {
					batch.AppendNext(logs[(i+k)%len(logs)], data, nil)
				}
				p, err := s.Commit(&batch)
				if err != nil {
					b.Fatal(err)
				}
				pendings <- p
			}
			b.StopTimer()
			close(pendings)
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkSynced measures a commit of 100 appends with its sync.
func BenchmarkSynced(b *testing.B) {
	s := benchStore(b, 1, 1)
	data := make([]byte, 100)
	var batch storage.Batch
	for b.Loop() {
		batch.Reset()
		for i := range 100 {
			batch.AppendNext(benchLog(i), data, nil)
		}
		p, err := s.Commit(&batch)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead measures small reads out of 200,000 entries in 1,000 logs, most of them in tables.
func BenchmarkRead(b *testing.B) {
	s := benchStore(b, 1000, 200)
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	logs := make([]string, 1000)
	for i := range logs {
		logs[i] = benchLog(i)
	}
	for _, n := range []uint64{1, 2, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				var got uint64
				err := s.Read(logs[i%len(logs)], 51, 50+n, func(storage.Entry) bool { got++; return true })
				if err != nil || got != n {
					b.Fatal(got, err)
				}
				i += 7
			}
		})
	}
	b.Run("after", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if seq, err := s.After(logs[i%len(logs)], 197); err != nil || seq != 198 {
				b.Fatal(seq, err)
			}
			i += 7
		}
	})
	b.Run("head", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if seq, _, err := s.Head(logs[i%len(logs)]); err != nil || seq != 200 {
				b.Fatal(seq, err)
			}
			i += 7
		}
	})
	b.Run("get missing", func(b *testing.B) {
		b.ReportAllocs()
		k := storage.In(storage.SpaceRetry).Str("conversation-000001").Str("alice").Str("no such id")
		for b.Loop() {
			if _, ok, err := s.Get(k); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}
