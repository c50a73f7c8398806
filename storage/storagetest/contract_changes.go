package storagetest

import (
	"fmt"
	"math"
	"testing"

	"github.com/petrelchat/petrel/storage"
)

func testRecords(t *testing.T, s storage.Store) {
	k := storage.In(storage.SpaceCursor).Str("c").Str("u")
	if _, ok, err := s.Get(k); ok || err != nil {
		t.Errorf("get of nothing: %v, %v", ok, err)
	}
	commit(t, s, func(b *storage.Batch) { b.Set(k, []byte("v")) })
	if v, ok, err := s.Get(k); !ok || string(v) != "v" || err != nil {
		t.Errorf("get: %q, %v, %v", v, ok, err)
	}
	commit(t, s, func(b *storage.Batch) { b.Set(k, nil) })
	if v, ok, err := s.Get(k); !ok || len(v) != 0 || err != nil {
		t.Errorf("get of an empty value: %q, %v, %v", v, ok, err)
	}
	commit(t, s, func(b *storage.Batch) { b.Delete(k); b.Delete(storage.In(storage.SpaceCursor).Str("none")) })
	if _, ok, err := s.Get(k); ok || err != nil {
		t.Errorf("get after delete: %v, %v", ok, err)
	}
}

func testScanBounds(t *testing.T, s storage.Store) {
	commit(t, s, func(b *storage.Batch) {
		for _, k := range []string{"Cb", "Ca\x00", "Ca\x00\xff", "Ca\x00\xff\xff", "Ca\x01", "D", "B\xff", "k", "m"} {
			b.Set(storage.Key(k), []byte("."))
		}
		b.Append("log", 1, []byte("an entry is no record"))
	})
	cases := []struct {
		prefix, after string
		want          []string
	}{
		{"Ca\x00", "", []string{"Ca\x00=.", "Ca\x00\xff=.", "Ca\x00\xff\xff=."}},
		{"Ca\x00\xff", "", []string{"Ca\x00\xff=.", "Ca\x00\xff\xff=."}},
		{"C", "Ca\x00\xff\xff", []string{"Ca\x01=.", "Cb=."}},
		{"C", "B", []string{"Ca\x00=.", "Ca\x00\xff=.", "Ca\x00\xff\xff=.", "Ca\x01=.", "Cb=."}},
		{"C", "Cb", nil},
		{"C", "D", nil},
		{"E", "", nil},
		{"", "Cb", []string{"D=.", "k=.", "m=."}},
		{"", "l", []string{"m=."}},
	}
	for _, c := range cases {
		var after storage.Key
		if c.after != "" {
			after = storage.Key(c.after)
		}
		got, err := records(s, storage.Key(c.prefix), after)
		wantText(t, fmt.Sprintf("scan of %q after %q", c.prefix, c.after), got, err, c.want...)
	}
	seen := 0
	if err := s.Scan(nil, nil, func(storage.Key, []byte) bool { seen++; return false }); err != nil || seen != 1 {
		t.Errorf("scan went on after false: %d records, %v", seen, err)
	}
}

func testDeletePrefix(t *testing.T, s storage.Store) {
	commit(t, s, func(b *storage.Batch) {
		for _, k := range []string{"P1", "P1\x00", "P1\xff", "P2", "P", "O\xff"} {
			b.Set(storage.Key(k), nil)
		}
	})
	commit(t, s, func(b *storage.Batch) {
		b.Set(storage.Key("P1new"), nil) // goes too: changes happen in order
		b.DeletePrefix(storage.Key("P1"))
		b.Set(storage.Key("P1later"), nil)
	})
	got, err := records(s, nil, nil)
	wantText(t, "records", got, err, "O\xff=", "P=", "P1later=", "P2=")
}

func testAfter(t *testing.T, s storage.Store) {
	// Three entries in each second commit; the commits between go elsewhere.
	for i := range 40 {
		commit(t, s, func(b *storage.Batch) {
			if i%2 == 1 {
				b.AppendNext("other", nil, nil)
				return
			}
			for range 3 {
				b.AppendNext("a", nil, nil)
			}
		})
	}
	cuts := []uint64{1}
	check := func(first uint64) {
		t.Helper()
		for c := range uint64(45) {
			// Entries 3k+1..3k+3 have commit 2k+1.
			want := min((c+1)/2*3+1, 61)
			for i, cut := range cuts[1:] {
				// Somewhere in what this truncation removed: only its end is known.
				if want >= cuts[i] && want < cut {
					want = cuts[i]
				}
			}
			if got, err := s.After("a", c); got != want || err != nil {
				t.Errorf("after commit %d with entries from %d: %d, %v; want %d", c, first, got, err, want)
			}
		}
	}
	check(1)
	for _, first := range []uint64{2, 30, 31, 59, 60} {
		commit(t, s, func(b *storage.Batch) { b.Truncate("a", first) })
		cuts = append(cuts, first)
		check(first)
	}
}

// testAfterMany truncates more often than an engine remembers.
func testAfterMany(t *testing.T, s storage.Store) {
	for range 200 {
		commit(t, s, func(b *storage.Batch) { b.AppendNext("a", nil, nil) })
	}
	commit(t, s, func(b *storage.Batch) {
		for cut := uint64(2); cut <= 150; cut++ {
			b.Truncate("a", cut)
		}
	})
	last := uint64(0)
	for c := range uint64(200) { // entry n has commit n
		got, err := s.After("a", c)
		if err != nil || got > c+1 || got < last || c >= 149 && got != c+1 || c >= 120 && got+4 < c {
			t.Errorf("after commit %d of 200 with entries from 150: %d, %v", c, got, err)
		}
		last = got
	}
}

func testTruncate(t *testing.T, s storage.Store) {
	appendAll(t, s, "a", "1", "2", "3", "4")
	appendAll(t, s, "aa", "1")
	commit(t, s, func(b *storage.Batch) { b.Truncate("a", 3) })
	got, err := entries(s, "a", 0, 9)
	wantText(t, "truncated at 3", got, err, "3@3=3", "4@4=4")
	wantHead(t, s, "a", 4, 4)
	commit(t, s, func(b *storage.Batch) { b.Truncate("a", math.MaxUint64); b.Truncate("none", 7); b.Truncate("a", 0) })
	got, err = entries(s, "a", 0, 9)
	wantText(t, "truncated behind the end", got, err, "4@4=4")
	wantHead(t, s, "a", 4, 4)
	wantHead(t, s, "none", 0, 0)
	got, err = logNames(s)
	wantText(t, "logs", got, err, "a", "aa")
	commit(t, s, func(b *storage.Batch) { b.Append("a", 5, nil) })
	got, err = entriesBack(s, "a", 0, 9)
	wantText(t, "appended after", got, err, "5@8=", "4@4=4")
}

// testBulk makes ranges so large that an engine may treat them differently.
func testBulk(t *testing.T, s storage.Store) {
	const n = 500
	fill := func(b *storage.Batch) {
		for i := range uint64(n) {
			b.AppendNext("a", nil, nil)
			b.Set(storage.In(storage.SpaceInflight).Str("s").U64(i), nil)
		}
	}
	commit(t, s, func(b *storage.Batch) { fill(b); b.AppendNext("b", nil, nil) })
	commit(t, s, func(b *storage.Batch) {
		b.Truncate("a", n-1)
		b.DeletePrefix(storage.In(storage.SpaceInflight).Str("s"))
	})
	got, err := entries(s, "a", 0, 2*n)
	wantText(t, "truncated", got, err, "499@1=", "500@1=")
	got, err = records(s, storage.In(storage.SpaceInflight), nil)
	wantText(t, "deleted", got, err)
	// And when all of it comes and goes within one batch.
	commit(t, s, func(b *storage.Batch) {
		fill(b)
		b.Truncate("a", 2*n)
		b.DeletePrefix(storage.In(storage.SpaceInflight).Str("s"))
	})
	got, err = entries(s, "a", 0, 2*n)
	wantText(t, "truncated within a batch", got, err, "1000@3=")
	got, err = records(s, storage.In(storage.SpaceInflight), nil)
	wantText(t, "deleted within a batch", got, err)
	wantHead(t, s, "b", 1, 1)
}

func testErase(t *testing.T, s storage.Store) {
	appendAll(t, s, "a", "1", "2", "3")
	commit(t, s, func(b *storage.Batch) {
		b.Erase("a", 2, []byte("gone"))
		b.Erase("a", 3, nil)
		b.Erase("a", 9, []byte("never was"))
		b.Erase("none", 1, []byte("never was"))
	})
	got, err := entries(s, "a", 0, 9)
	wantText(t, "erased", got, err, "1@1=1", "2@2=gone", "3@3=")
	wantHead(t, s, "a", 3, 3)
	wantHead(t, s, "none", 0, 0)
	commit(t, s, func(b *storage.Batch) { b.Truncate("a", 3); b.Erase("a", 2, []byte("truncated")) })
	got, err = entries(s, "a", 0, 9)
	wantText(t, "erased what was truncated", got, err, "3@3=")
}

func testWithinBatch(t *testing.T, s storage.Store) {
	k := storage.In(storage.SpaceMeta).Str("k")
	appendAll(t, s, "a", "1")
	commit(t, s, func(b *storage.Batch) {
		b.AppendNext("a", []byte("2"), nil)
		b.Erase("a", 2, []byte("two"))
		b.AppendNext("a", []byte("3"), nil)
		b.Truncate("a", 3)
		b.Erase("a", 2, []byte("truncated"))
		b.AppendNext("a", []byte("4"), nil)
		b.Erase("a", 4, []byte("four"))
		b.Delete(k)
		b.Set(k, []byte("1"))
		b.Set(k, []byte("2"))
	})
	got, err := entries(s, "a", 0, 9)
	wantText(t, "entries", got, err, "3@2=3", "4@2=four")
	got, err = records(s, k, nil)
	wantText(t, "records", got, err, string(k)+"=2")
}

func testBadNames(t *testing.T, s storage.Store) {
	for _, log := range []string{"", "a\x00", "\x00"} {
		var b storage.Batch
		b.AppendNext(log, nil, nil)
		if _, err := s.Commit(&b); err == nil {
			t.Errorf("log %q was accepted", log)
		}
		if err := s.Read(log, 1, 1, func(storage.Entry) bool { return true }); err == nil {
			t.Errorf("log %q could be read", log)
		}
	}
	for _, fill := range []func(*storage.Batch){
		func(b *storage.Batch) { b.Set(nil, nil) },
		func(b *storage.Batch) { b.Delete(nil) },
		func(b *storage.Batch) { b.DeletePrefix(nil) },
		func(b *storage.Batch) { b.Ops = append(b.Ops, storage.Op{Kind: 99, Key: storage.Key("m")}) },
	} {
		var b storage.Batch
		fill(&b)
		if _, err := s.Commit(&b); err == nil {
			t.Errorf("%+v was accepted", b.Ops)
		}
	}
	if s.LastCommit() != 0 {
		t.Errorf("last commit %d", s.LastCommit())
	}
}

func testOwnership(t *testing.T, s storage.Store) {
	data, key := []byte("data"), storage.In(storage.SpaceMeta).Str("k")
	var b storage.Batch
	b.Append("a", 1, data)
	b.Set(key, data)
	p, err := s.Commit(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	// From here on the batch and its slices are ours again.
	b.Reset()
	copy(data, "XXXX")
	v, _, err := s.Get(key)
	if string(v) != "data" || err != nil {
		t.Errorf("the store kept our slice: %q, %v", v, err)
	}
	copy(v, "YYYY") // what Get returned is ours too
	if again, _, err := s.Get(key); string(again) != "data" || err != nil {
		t.Errorf("get returned the store's own slice: %q, %v", again, err)
	}
	got, err := entries(s, "a", 1, 1)
	wantText(t, "entry", got, err, "1@1=data")
}
