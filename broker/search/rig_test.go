package search

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

const start = 1767225600000 // 2026-01-01

// rig is an index over a real store whose logs are written by hand.
type rig struct {
	t     testing.TB
	dir   string
	store *pebblestore.Store
	x     *Index

	mu  sync.Mutex
	now int64
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), now: start}
	var err error
	r.store, err = pebblestore.Open(t.TempDir(), pebblestore.Options{Create: true, ReserveBytes: -1, MinFreeBytes: -1})
	must(t, err)
	t.Cleanup(func() { must(t, r.store.Close()) })
	r.open()
	t.Cleanup(func() { r.x.Close() })
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.UnixMilli(r.now)
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now += d.Milliseconds()
}

func (r *rig) options() Options {
	return Options{Dir: r.dir, Store: r.store, Commit: r.commit, Head: r.store.Head, Decode: protocol.DecodeStored, Now: r.clock}
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	r.x, err = Open(r.options())
	must(r.t, err)
	r.x.Start()
}

func (r *rig) restart() {
	r.t.Helper()
	r.x.Close()
	r.open()
}

func (r *rig) commit(b *storage.Batch) error {
	p, err := r.store.Commit(b)
	if err != nil {
		return err
	}
	return p.Wait()
}

// add appends an event.
func (r *rig) add(conv string, ev chat.Event) uint64 {
	r.t.Helper()
	head, _, err := r.store.Head(conv)
	must(r.t, err)
	ev.Seq, ev.At = head+1, r.clock().UnixMilli()
	var b storage.Batch
	if head == 0 {
		b.Set(storage.In(storage.SpaceConv).Str(conv), storage.Marshal(storage.Conv{}))
	}
	b.Append(conv, ev.Seq, protocol.EncodeStored(nil, &ev))
	must(r.t, r.commit(&b))
	r.x.Note(conv)
	return ev.Seq
}

func (r *rig) post(conv, from, text string) uint64 {
	r.t.Helper()
	return r.add(conv, chat.Event{From: from, Kind: chat.KindPost, Text: text})
}

// erase makes tombstones, as a deletion and upkeep do.
func (r *rig) erase(conv string, seqs ...uint64) {
	r.t.Helper()
	var b storage.Batch
	for _, seq := range seqs {
		must(r.t, r.store.Read(conv, seq, seq, func(e storage.Entry) bool {
			ev, err := protocol.DecodeStored(e.Data)
			must(r.t, err)
			ev.Seq = seq
			stone := chat.Tombstone(&ev)
			b.Erase(conv, seq, protocol.EncodeStored(nil, &stone))
			return false
		}))
	}
	must(r.t, r.commit(&b))
}

func (r *rig) caughtUp() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(r.t, r.x.CatchUp(ctx))
}

// rows returns what the index itself says, newest first, as conv:seq.
func (r *rig) rows(q string, change func(*Request), convs ...string) []string {
	r.t.Helper()
	query, err := Parse(q)
	must(r.t, err)
	req := &Request{Query: query, Convs: convs}
	if change != nil {
		change(req)
	}
	var out []string
	must(r.t, r.x.Find(context.Background(), req, func(h Hit) (bool, error) {
		out = append(out, fmt.Sprintf("%s:%d", h.Conv, h.Seq))
		return true, nil
	}))
	return out
}

func (r *rig) want(q string, want string, convs ...string) {
	r.t.Helper()
	if got := strings.Join(r.rows(q, nil, convs...), " "); got != want {
		r.t.Errorf("%s finds %q, want %q", q, got, want)
	}
}

func sorted(s []string) string {
	slices.Sort(s)
	return strings.Join(s, " ")
}

func (r *rig) encode(ev *chat.Event) []byte { return protocol.EncodeStored(nil, ev) }
