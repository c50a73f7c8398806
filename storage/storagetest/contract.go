package storagetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/storage"
	"pgregory.net/rapid"
)

// Run tries the whole contract. open returns a fresh, empty store each time; Run closes it.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s storage.Store)
	}{
		{"empty", testEmpty},
		{"append and read", testAppendRead},
		{"refused batch leaves nothing", testRefused},
		{"append next", testAppendNext},
		{"records", testRecords},
		{"scan bounds", testScanBounds},
		{"delete prefix", testDeletePrefix},
		{"after", testAfter},
		{"after many truncations", testAfterMany},
		{"truncate keeps the head", testTruncate},
		{"bulk", testBulk},
		{"erase", testErase},
		{"order within a batch", testWithinBatch},
		{"names that are no names", testBadNames},
		{"ownership of slices", testOwnership},
		{"callbacks may call the store", testReentrant},
		{"concurrent commits", testConcurrent},
		{"close", testClose},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			tt.run(t, s)
			if err := s.Close(); err != nil && !errors.Is(err, storage.ErrClosed) {
				t.Errorf("close: %v", err)
			}
		})
	}
	t.Run("model", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { compareWithModel(r, open(t)) })
	})
}

// commit commits and waits, and returns the commit number.
func commit(t testing.TB, s storage.Store, fill func(b *storage.Batch)) uint64 {
	t.Helper()
	var b storage.Batch
	fill(&b)
	p, err := s.Commit(&b)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	if err := p.Wait(); err != nil {
		t.Fatalf("wait: %v", err)
	}
	return p.Number()
}

// appendAll appends one entry for each text, in one commit each.
func appendAll(t testing.TB, s storage.Store, log string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		commit(t, s, func(b *storage.Batch) { b.AppendNext(log, []byte(text), nil) })
	}
}

func wantText(t testing.TB, what string, got []string, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func wantHead(t testing.TB, s storage.Store, log string, seq, commit uint64) {
	t.Helper()
	gotSeq, gotCommit, err := s.Head(log)
	if err != nil || gotSeq != seq || gotCommit != commit {
		t.Errorf("head of %q: %d, %d, %v; want %d, %d", log, gotSeq, gotCommit, err, seq, commit)
	}
}

func testEmpty(t *testing.T, s storage.Store) {
	wantHead(t, s, "a", 0, 0)
	if got := s.LastCommit(); got != 0 {
		t.Errorf("last commit %d", got)
	}
	got, err := entries(s, "a", 0, math.MaxUint64)
	wantText(t, "read", got, err)
	got, err = logNames(s)
	wantText(t, "logs", got, err)
	if next, err := s.After("a", 0); next != 1 || err != nil {
		t.Errorf("after: %d, %v; want 1", next, err)
	}
	// An empty batch is a barrier with a number of its own.
	if n := commit(t, s, func(*storage.Batch) {}); n != 1 || s.LastCommit() != 1 {
		t.Errorf("empty batch has number %d, last commit %d; want 1", n, s.LastCommit())
	}
}

func testAppendRead(t *testing.T, s storage.Store) {
	n := commit(t, s, func(b *storage.Batch) {
		b.Append("a", 1, []byte("one"))
		b.Append("ab", 1, []byte("other"))
		b.Append("a", 2, []byte("two"))
	})
	if n != 1 {
		t.Errorf("first commit has number %d", n)
	}
	commit(t, s, func(b *storage.Batch) { b.Append("a", 3, nil) })
	wantHead(t, s, "a", 3, 2)
	wantHead(t, s, "ab", 1, 1)

	cases := []struct {
		from, to uint64
		want     []string
	}{
		{0, math.MaxUint64, []string{"1@1=one", "2@1=two", "3@2="}},
		{1, 1, []string{"1@1=one"}},
		{2, 3, []string{"2@1=two", "3@2="}},
		{3, 9, []string{"3@2="}},
		{4, 4, nil},
		{4, 9, nil},
		{3, 2, nil},
		{0, 0, nil},
		{math.MaxUint64, math.MaxUint64, nil},
	}
	for _, c := range cases {
		got, err := entries(s, "a", c.from, c.to)
		wantText(t, fmt.Sprintf("read %d..%d", c.from, c.to), got, err, c.want...)
		slices.Reverse(c.want)
		got, err = entriesBack(s, "a", c.from, c.to)
		wantText(t, fmt.Sprintf("read back %d..%d", c.from, c.to), got, err, c.want...)
	}
	var seen int
	if err := s.Read("a", 1, 3, func(storage.Entry) bool { seen++; return false }); err != nil || seen != 1 {
		t.Errorf("read went on after false: %d entries, %v", seen, err)
	}
	got, err := logNames(s)
	wantText(t, "logs", got, err, "a", "ab")
}

func testRefused(t *testing.T, s storage.Store) {
	appendAll(t, s, "a", "one")
	key := storage.In(storage.SpaceMeta).Str("k")
	for _, seq := range []uint64{0, 1, 3} {
		var b storage.Batch
		next := uint64(77)
		b.Set(key, []byte("v"))
		b.AppendNext("b", []byte("x"), &next)
		b.Truncate("b", 1)
		b.Append("a", seq, []byte("two"))
		if _, err := s.Commit(&b); !errors.Is(err, storage.ErrHeadMoved) {
			t.Fatalf("append of %d to a log that ends with 1: %v", seq, err)
		}
		if next != 77 {
			t.Errorf("a refused batch told a seq: %d", next)
		}
	}
	var b storage.Batch
	b.Append("a", 2, nil)
	b.Append("a", 2, nil)
	if _, err := s.Commit(&b); !errors.Is(err, storage.ErrHeadMoved) {
		t.Fatalf("the same seq twice in one batch: %v", err)
	}
	wantHead(t, s, "a", 1, 1)
	wantHead(t, s, "b", 0, 0)
	if _, ok, err := s.Get(key); ok || err != nil {
		t.Errorf("a refused batch left a record (%v)", err)
	}
	if s.LastCommit() != 1 {
		t.Errorf("a refused batch took number %d", s.LastCommit())
	}
	// And the store works on from where it was.
	commit(t, s, func(b *storage.Batch) { b.Append("a", 2, nil); b.Append("b", 1, nil) })
	wantHead(t, s, "a", 2, 2)
	wantHead(t, s, "b", 1, 2)
}

func testAppendNext(t *testing.T, s storage.Store) {
	var x, y, z uint64
	commit(t, s, func(b *storage.Batch) {
		b.AppendNext("@a", []byte("1"), &x)
		b.AppendNext("@b", []byte("1"), &z)
		b.AppendNext("@a", []byte("2"), nil)
		b.AppendNext("@a", []byte("3"), &y)
		b.Append("@a", 4, []byte("4"))
	})
	if x != 1 || y != 3 || z != 1 {
		t.Errorf("assigned %d, %d, %d; want 1, 3, 1", x, y, z)
	}
	got, err := entries(s, "@a", 0, 9)
	wantText(t, "read", got, err, "1@1=1", "2@1=2", "3@1=3", "4@1=4")
}

func testClose(t *testing.T, s storage.Store) {
	appendAll(t, s, "a", "one")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, commitErr := s.Commit(&storage.Batch{})
	_, _, headErr := s.Head("a")
	_, _, getErr := s.Get(storage.In(storage.SpaceMeta))
	readErr := s.Read("a", 1, 1, func(storage.Entry) bool { t.Error("read after close"); return true })
	for _, err := range []error{commitErr, headErr, getErr, readErr, s.Close()} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("after close: %v, want ErrClosed", err)
		}
	}
}

func testReentrant(t *testing.T, s storage.Store) {
	appendAll(t, s, "a", "one", "two")
	err := s.Read("a", 1, 2, func(e storage.Entry) bool {
		if _, _, err := s.Head("a"); err != nil {
			t.Error(err)
		}
		commit(t, s, func(b *storage.Batch) { b.AppendNext("a", []byte("more"), nil) })
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	wantHead(t, s, "a", 4, 4)
}

// testConcurrent lets writers append to logs of their own and to a shared one, while a reader checks
// that a commit is visible as a whole.
func testConcurrent(t *testing.T, s storage.Store) {
	const writers, each = 8, 40
	var wg sync.WaitGroup
	errs := make(chan error, 2*writers)
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs <- write(s, fmt.Sprintf("own%d", w), each)
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if got := s.LastCommit(); got != writers*each {
		t.Errorf("%d commits, want %d", got, writers*each)
	}
	var seq, last uint64
	err := s.Read("shared", 1, math.MaxUint64, func(e storage.Entry) bool {
		if e.Seq != seq+1 || e.Commit <= last {
			t.Errorf("entry %d of commit %d follows %d of %d", e.Seq, e.Commit, seq, last)
		}
		seq, last = e.Seq, e.Commit
		return true
	})
	if err != nil || seq != writers*each {
		t.Errorf("shared log ends with %d (%v), want %d", seq, err, writers*each)
	}
}

// write commits each pair to its own and the shared log, and checks after each what it sees.
func write(s storage.Store, log string, each int) error {
	var before uint64
	for i := range each {
		var b storage.Batch
		var shared uint64
		b.Append(log, uint64(i+1), []byte("x"))
		b.AppendNext("shared", []byte(log), &shared)
		p, err := s.Commit(&b)
		if err != nil {
			return err
		}
		if p.Number() <= before {
			return fmt.Errorf("commit number %d after %d", p.Number(), before)
		}
		before = p.Number()
		if i%3 != 0 { // some wait late: the order of waiting is free
			defer p.Wait()
		} else if err := p.Wait(); err != nil {
			return err
		}
		var commit uint64
		err = s.Read("shared", shared, shared, func(e storage.Entry) bool {
			commit = e.Commit
			return string(e.Data) == log
		})
		if err != nil || commit != p.Number() {
			return fmt.Errorf("entry %d of the shared log has commit %d (%v), want %d", shared, commit, err, p.Number())
		}
	}
	return nil
}

// compareWithModel applies a random history to the store and a model and asks both the same questions.
func compareWithModel(r *rapid.T, s storage.Store) {
	defer s.Close()
	h := NewHistory(rapid.Uint64().Draw(r, "seed"))
	var b storage.Batch
	for range rapid.IntRange(1, 25).Draw(r, "batches") {
		h.Next(&b)
		p, err := h.Commit(s, &b)
		if err != nil {
			r.Fatalf("%v", err)
		}
		if p != nil {
			if err := p.Wait(); err != nil {
				r.Fatalf("wait: %v", err)
			}
		}
	}
	if err := Same(s, h.Model); err != nil {
		r.Fatal(err)
	}
	last := h.Model.LastCommit()
	for range 10 {
		log := rapid.SampledFrom(h.logs).Draw(r, "log")
		from, to := rapid.Uint64Range(0, 30).Draw(r, "from"), rapid.Uint64Range(0, 30).Draw(r, "to")
		c := rapid.Uint64Range(0, last+1).Draw(r, "commit")
		prefix := rapid.SampledFrom(h.keys).Draw(r, "prefix")
		prefix = prefix[:rapid.IntRange(1, len(prefix)).Draw(r, "cut")]
		after := rapid.SampledFrom(h.keys).Draw(r, "after")
		questions := []func(storage.Store) ([]string, error){
			func(s storage.Store) ([]string, error) { return entries(s, log, from, to) },
			func(s storage.Store) ([]string, error) { return entriesBack(s, log, from, to) },
			func(s storage.Store) ([]string, error) {
				seq, err := s.After(log, c)
				return []string{fmt.Sprint(seq)}, err
			},
			func(s storage.Store) ([]string, error) { return records(s, prefix, after) },
			func(s storage.Store) ([]string, error) {
				v, ok, err := s.Get(after)
				return []string{string(v), fmt.Sprint(ok)}, err
			},
		}
		for i, ask := range questions {
			if err := equal(fmt.Sprint("question ", i), ask, s, h.Model); err != nil {
				r.Fatal(err)
			}
		}
	}
}
