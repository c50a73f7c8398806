package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/storetest"
	"github.com/petrelchat/petrel/internal/words"
	"github.com/petrelchat/petrel/protocol"
)

func TestFileIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new folder", "deeper")
	path := filepath.Join(dir, "what? 100% #1.db")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil { // as somebody else may have made it
		t.Fatal(err)
	}
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, s, storetest.Post(1, "one"))
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 4 {
		t.Errorf("files %q, %v", names, err)
	}
	for _, name := range names {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close everything is in the one file: %v", err)
	}
}

func TestOpenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, Options{})
	if !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) || !strings.Contains(err.Error(), path) {
		t.Fatalf("a second time: %v", err)
	}
	storetest.Put(t, s, storetest.Post(1, "one")) // the first one is not disturbed
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatalf("when the first one is closed: %v", err)
	}
	storetest.View(t, s, func(r store.Reader) error {
		_, err := r.Event("c", 1)
		return err
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMigrate opens a store with a version of the program that has one more step, and then with the old one again.
func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, s, storetest.Post(1, "one"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	errBroken := errors.New("broken step")
	calls := 0
	broken := append(steps[:len(steps):len(steps)], func(c *conn) error {
		if err := c.plain("DROP TABLE events"); err != nil {
			return err
		}
		return errBroken
	})
	if _, err := open(path, Options{}, broken); !errors.Is(err, errBroken) {
		t.Fatalf("a step that fails: %v", err)
	}
	next := append(steps[:len(steps):len(steps)], func(c *conn) error {
		calls++
		return c.plain("ALTER TABLE convs ADD COLUMN colour TEXT")
	})
	for range 2 {
		if s, err = open(path, Options{}, next); err != nil {
			t.Fatal(err)
		}
		storetest.View(t, s, func(r store.Reader) error {
			_, err := r.Event("c", 1)
			return err
		})
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("the step was made %d times", calls)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "update") {
		t.Fatalf("a store of a newer version: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it was changed: %v", err)
	}
}

// TestRewords opens a store whose index of words was filled by the first version, which took other things for words.
func TestRewords(t *testing.T) {
	if words.Version != wordsVersion {
		t.Fatalf("words have version %d: put rewords behind the last step once more, and say so in wordsVersion", words.Version)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	s, err := open(path, Options{}, steps[:1])
	if err != nil {
		t.Fatal(err)
	}
	voiced := storetest.Post(4, "voiced") // to become a text without words
	storetest.Put(t, s, storetest.Post(1, "㍿ zanzibar"), storetest.Post(2, "quokka"), storetest.Act(3, chat.KindEdit, 2, "①②"), voiced, storetest.Post(5, "kumquat"))
	post := func(seq uint64) (event, doc int64) {
		t.Helper()
		if _, err := s.w.row(`SELECT id, doc FROM events WHERE id & 1099511627775 = ? AND doc IS NOT NULL`, []any{int64(seq)}, &event, &doc); err != nil || doc == 0 {
			t.Fatalf("post %d is not in the index: %v", seq, err)
		}
		return event, doc
	}
	one, doc1 := post(1)
	two, doc2 := post(2)
	four, doc4 := post(4)
	_, doc5 := post(5)
	num := one >> seqBits
	voiced.Text = "゛"
	old := func(words string) string {
		return words + string(appendFromToken(append(appendConvToken([]byte(" "), num), ' '), voiced.From))
	}
	for _, change := range []struct {
		query string
		args  []any
	}{
		{`INSERT INTO words (words) VALUES ('delete-all')`, nil},
		{`INSERT INTO words (rowid, t) VALUES (?, ?)`, []any{doc1, old("zanzibar")}},
		{`DELETE FROM docs WHERE id = ?`, []any{doc2}},
		{`UPDATE events SET doc = NULL WHERE id = ?`, []any{two}},
		{`UPDATE events SET body = ? WHERE id = ?`, []any{protocol.EncodeStored(nil, &voiced.Event), four}},
		{`INSERT INTO words (rowid, t) VALUES (?, ?)`, []any{doc4, old("\u3099")}},
		{`INSERT INTO words (rowid, t) VALUES (?, ?)`, []any{doc5, old("kumquat")}},
	} {
		if n, err := s.w.exec(change.query, change.args...); err != nil {
			t.Fatalf("%s: %d, %v", change.query, n, err)
		}
	}
	finds := func(text string, want ...uint64) {
		t.Helper()
		var seqs []uint64
		storetest.View(t, s, func(r store.Reader) error {
			hits, err := r.Search(store.SearchQuery{Text: text})
			for _, h := range hits {
				seqs = append(seqs, h.Seq)
			}
			return err
		})
		if !slices.Equal(seqs, want) {
			t.Errorf("%q is in %v, want %v", text, seqs, want)
		}
	}
	finds("株式会社")
	finds("12")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(path, Options{MaxBytes: 1}); err != nil { // there is no room for more than is there
			t.Fatal(err)
		}
		finds("株式会社", 1)
		finds("zanzibar", 1)
		finds("12", 2)
		finds("quokka")
		finds("kumquat", 5)
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		var docs int
		if _, err := s.w.row(`SELECT count(*) FROM docs`, nil, &docs); err != nil || docs != 3 {
			t.Errorf("%d posts are in the index, %v", docs, err)
		}
	}
	// What is deleted now leaves it entirely.
	storetest.Update(t, s, func(tx store.Tx) error { return tx.DropBodies("c", []uint64{1}) })
	finds("zanzibar")
	if found := look(t, dir, []string{"zanzibar", "株", "kumquat"}); !slices.Equal(found, []string{"kumquat"}) {
		t.Errorf("in the file is %v", found)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNotAStore(t *testing.T) {
	for name, content := range map[string][]byte{
		"text":  []byte(strings.Repeat("this is no database\n", 500)),
		"other": otherDatabase(t),
	} {
		path := filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(content, after) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	if _, err := Open("", Options{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no path: %v", err)
	}
}

// otherDatabase is a database of another program.
func otherDatabase(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.db")
	s, err := open(path, Options{}, []func(*conn) error{func(c *conn) error { return c.plain("CREATE TABLE notes (text)") }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDamaged overwrites the middle of a store: it says so, in words, and does not crash.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, 1, 1, 2000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 16 * pageSize; i < len(b)-pageSize; i++ {
		b[i] = 0xa5
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, Options{}); err == nil {
		err = s.View(context.Background(), func(r store.Reader) error {
			_, err := r.Events(store.EventQuery{Conv: "conv-1", Limit: 2000})
			return err
		})
		if e := s.Check(context.Background()); !errors.Is(e, store.ErrDamaged) {
			t.Errorf("check: %v", e)
		}
		if e := s.Close(); e != nil {
			t.Logf("close: %v", e)
		}
	}
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("reading: %v", err)
	}
}

// TestNothingRemains looks for what was dropped in the files themselves.
func TestNothingRemains(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "store.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, 1, 1, 300)
	secrets := []string{"zanzibar", "quokka", "xylophone", "kumquat", "wombat"}
	doomed := storetest.Post(3, "the wombat disappears")
	doomed.Expire = 60
	storetest.Put(t, s, storetest.Post(1, "we meet in zanzibar"), storetest.Act(2, chat.KindEdit, 1, "we meet at the quokka"), doomed)
	storetest.Update(t, s, func(tx store.Tx) error {
		e := storetest.Post(1, "a xylophone")
		e.Conv = "d"
		if err := tx.PutEvents([]store.Event{e}); err != nil {
			return err
		}
		return tx.Enqueue(&store.Outgoing{ID: "x", Event: chat.Event{Kind: chat.KindPost, Text: "kumquat"}})
	})
	if found := look(t, dir, secrets); len(found) != len(secrets) {
		t.Fatalf("before: only %v", found)
	}
	storetest.Update(t, s, func(tx store.Tx) error { return tx.PutEvents([]store.Event{storetest.Act(9, chat.KindDelete, 1, "")}) })
	if found := look(t, dir, secrets[:2]); len(found) > 0 {
		t.Errorf("after the deletion: %v", found)
	}
	storetest.Update(t, s, func(tx store.Tx) error {
		_, err := tx.DropDue(1 << 50)
		return errors.Join(err, tx.DeleteConversation("d"), tx.DeleteOutgoing("x"))
	})
	if found := look(t, dir, secrets); len(found) > 0 {
		t.Errorf("after all: %v", found)
	}

	// A reader keeps the write-ahead log as it is; the next commit after it empties it.
	storetest.Put(t, s, storetest.Post(20, "zanzibar again"))
	inside, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		storetest.View(t, s, func(r store.Reader) error {
			_, err := r.Event("c", 20)
			close(inside)
			<-leave
			return err
		})
	})
	<-inside
	storetest.Update(t, s, func(tx store.Tx) error { return tx.DropBodies("c", []uint64{20}) })
	close(leave)
	wg.Wait()
	storetest.Update(t, s, func(tx store.Tx) error { return tx.PutMeta("k", []byte("v")) })
	if found := look(t, dir, secrets); len(found) > 0 {
		t.Errorf("after the reader: %v", found)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// look returns which of the words are in a file of dir.
func look(t *testing.T, dir string, words []string) (found []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range words {
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte(w)) {
				found = append(found, w)
				break
			}
		}
	}
	return found
}

// TestShare shows that Updates that come together are one transaction.
func TestShare(t *testing.T) {
	s := fresh(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	var shared *commit
	var wg sync.WaitGroup
	wg.Go(func() {
		storetest.Update(t, s, func(tx store.Tx) error {
			shared = s.shared
			close(inside)
			<-leave
			return nil
		})
	})
	<-inside
	const crowd = 20
	for i := range crowd {
		wg.Go(func() {
			err := s.Update(context.Background(), func(tx store.Tx) error {
				if s.shared != shared {
					t.Error("another transaction")
				}
				if err := tx.PutMeta(fmt.Sprint(i), []byte("v")); err != nil || i%4 > 0 {
					return err
				}
				return errors.New("this one fails")
			})
			if (err != nil) != (i%4 == 0) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	for waiting := 0; waiting < crowd; {
		s.mu.Lock()
		waiting = len(s.queue)
		s.mu.Unlock()
	}
	close(leave)
	wg.Wait()
	storetest.View(t, s, func(r store.Reader) error {
		keys, err := r.MetaKeys("")
		if len(keys) != crowd*3/4 {
			t.Errorf("%d keys", len(keys))
		}
		return err
	})
}

// TestSearchGivenUp ends a search in the middle, and the connection is good for the next one.
func TestSearchGivenUp(t *testing.T) {
	s := fresh(t)
	write(t, s, 1, 1, 2000)
	for range 3 * readers {
		ctx, cancel := context.WithCancel(context.Background())
		err := s.View(ctx, func(r store.Reader) error {
			cancel()
			_, err := r.Search(store.SearchQuery{Text: "ok"})
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("a search that nobody waits for: %v", err)
		}
	}
	storetest.View(t, s, func(r store.Reader) error {
		hits, err := r.Search(store.SearchQuery{Text: "ok", Limit: 1000})
		if len(hits) != 200 {
			t.Errorf("%d hits", len(hits))
		}
		return err
	})
}
