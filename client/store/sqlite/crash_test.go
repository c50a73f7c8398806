package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// crashPath makes this test program the one that is killed: it writes to the store of that name, and tells what it was promised.
const crashPath = "PETREL_STORE_CRASH"

const writers = 6

// TestKilled kills a process in the middle of its Updates, again and again. What Update had returned for is there, in full, and
// of the rest everything or nothing. While it lives nobody else gets in.
func TestKilled(t *testing.T) {
	if path := os.Getenv(crashPath); path != "" {
		writeUntilKilled(path)
		return
	}
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	path := filepath.Join(t.TempDir(), "store.db")
	promised := make([]uint64, writers)
	for round := range rounds {
		runAndKill(t, path, promised, 40+round*37)
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("after a crash: %v", err)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		for w := range writers {
			promised[w] = verify(t, s, w, promised[w])
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// runAndKill lets a child write, and kills it after so many promises.
func runAndKill(t *testing.T, path string, promised []uint64, after int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), crashPath+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	n := 0
	for ; lines.Scan(); n++ { // what it said before it died counts, also behind the kill
		w, seq, ok := strings.Cut(lines.Text(), " ")
		writer, err1 := strconv.Atoi(w)
		number, err2 := strconv.ParseUint(seq, 10, 64)
		if !ok || err1 != nil || err2 != nil {
			continue // the kill cut a line off
		}
		promised[writer] = max(promised[writer], number)
		if n == after/2 {
			if _, err := Open(path, Options{}); !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", cmd.Process.Pid)) {
				t.Errorf("while it lives: %v", err)
			}
		}
		if n == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || n < after {
		t.Fatalf("it ended by itself after %d promises: %v", n, err)
	}
}

// verify wants all Updates of a writer up to a seq at least, none half, and returns the last one.
func verify(t *testing.T, s *Store, writer int, promised uint64) (last uint64) {
	t.Helper()
	conv := fmt.Sprint("conv-", writer)
	err := s.View(context.Background(), func(r store.Reader) error {
		spans, err := r.Spans(conv)
		if err != nil {
			return err
		}
		if len(spans) != 1 || spans[0].First != 1 || spans[0].Last < promised {
			return fmt.Errorf("%s has %v, promised was %d", conv, spans, promised)
		}
		last = spans[0].Last
		c, err := r.Conversation(conv)
		if err != nil || c.Head != last {
			return fmt.Errorf("%s: the head is %d with %d events, %w", conv, c.Head, last, err)
		}
		events, err := r.Events(store.EventQuery{Conv: conv, Limit: int(last) + 1})
		if err != nil || uint64(len(events)) != last {
			return fmt.Errorf("%s: %d events of %d, %w", conv, len(events), last, err)
		}
		out, err := r.Outbox(store.OutboxQuery{Conv: conv, Limit: int(last) + 1})
		if err != nil || uint64(len(out)) != last {
			return fmt.Errorf("%s: %d outgoing of %d, %w", conv, len(out), last, err)
		}
		hits, err := r.Search(store.SearchQuery{Text: fmt.Sprint("number", last), Conv: conv})
		if err != nil || len(hits) != 1 {
			return fmt.Errorf("%s: %d hits, %w", conv, len(hits), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// writeUntilKilled writes from several goroutines, and prints each promise after it was made.
func writeUntilKilled(path string) {
	s, err := Open(path, Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			conv := fmt.Sprint("conv-", w)
			for {
				var seq uint64
				err := s.Update(context.Background(), func(tx store.Tx) error {
					c, err := tx.Conversation(conv)
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					seq = c.Head + 1
					e := store.Event{Conv: conv, Event: chat.Event{Seq: seq, Kind: chat.KindPost, At: int64(seq), Text: fmt.Sprint("number", seq)}}
					if err := tx.PutEvents([]store.Event{e}); err != nil {
						return err
					}
					if err := tx.Enqueue(&store.Outgoing{ID: fmt.Sprint(conv, "-", seq), Conv: conv}); err != nil {
						return err
					}
					return tx.PutConversation(store.Conversation{ID: conv, Head: seq})
				})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				_, _ = os.Stdout.WriteString(fmt.Sprintln(w, seq)) // in one write; the parent may be done with listening
			}
		})
	}
	wg.Wait()
}
