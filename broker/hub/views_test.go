package hub_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/pebblestore"
)

type codec struct{}

func (codec) EncodeStored(dst []byte, e *chat.Event) []byte { return protocol.EncodeStored(dst, e) }
func (codec) DecodeStored(b []byte) (chat.Event, error)     { return protocol.DecodeStored(b) }

// nobody is who is told of events.
type nobody struct{}

func (nobody) Begin()                 {}
func (nobody) Deliver(*hub.Delivery)  {}
func (nobody) Moved(*hub.CursorMoved) {}
func (nobody) End(uint64)             {}

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// yard is a hub over a store in memory, with a clock that stands still until it is moved.
type yard struct {
	t     fataler
	store storage.Store
	pipe  *hub.Pipeline
	hub   *hub.Hub
	now   atomic.Int64
}

const conv = "birds"

func newYard(t fataler) *yard {
	t.Helper()
	store, err := pebblestore.NewMemDisk().Open(pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	y := &yard{t: t, store: store}
	y.now.Store(1_000_000)
	y.pipe = hub.NewPipeline(store, func(error) {})
	y.pipe.Start(nil)
	y.hub = hub.New(hub.Options{
		Store: store, Pipeline: y.pipe, Sink: nobody{}, Codec: codec{}, Limits: chat.DefaultLimits(), Now: y.now.Load, Owners: 1,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	title := "Birds"
	y.must(y.hub.Do(&hub.Request{Conv: conv, Cmd: chat.Command{
		Op: chat.OpCreate, Actor: "ann", Members: []string{"ben", "cat"}, Info: &chat.InfoChange{Title: &title},
	}}).Err)
	return y
}

func (y *yard) close() {
	y.hub.Close()
	y.pipe.Close()
	y.must(y.store.Close())
}

func (y *yard) must(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) post(user string, ev chat.Event) hub.Result {
	return y.hub.Do(&hub.Request{Conv: conv, Cmd: chat.Command{
		Op: chat.OpAppend, Actor: user, Event: ev, Hash: protocol.ContentHash(&ev),
	}})
}

// together calls fn while the owner is kept busy, so that what fn hands over without waiting is decided and
// stored in one batch.
func (y *yard) together(fn func()) {
	y.t.Helper()
	busy, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- y.hub.Query(conv, false, func(hub.View) { close(busy); <-release })
	}()
	<-busy
	fn()
	close(release)
	y.must(<-done)
	y.must(y.hub.Query(conv, false, func(hub.View) {}))
}

func (y *yard) log() (events []chat.Event) {
	y.t.Helper()
	y.must(y.store.Read(conv, 0, math.MaxInt64, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		y.must(err)
		ev.Seq = e.Seq
		events = append(events, ev)
		return true
	}))
	return events
}

// holds reports where the store has some bytes; "" for nowhere.
func (y *yard) holds(text string) (where string) {
	y.t.Helper()
	y.must(y.store.Logs(func(log string) bool {
		y.must(y.store.Read(log, 0, math.MaxInt64, func(e storage.Entry) bool {
			if bytes.Contains(e.Data, []byte(text)) {
				where = fmt.Sprintf("entry %d of %s", e.Seq, log)
			}
			return where == ""
		}))
		return where == ""
	}))
	for s := 1; s < 256; s++ {
		err := y.store.Scan(storage.In(storage.Space(s)), nil, func(k storage.Key, v []byte) bool {
			if bytes.Contains(v, []byte(text)) || bytes.Contains(k, []byte(text)) {
				where = fmt.Sprintf("record %q", []byte(k))
			}
			return where == ""
		})
		_ = err // the engine has some spaces for itself: the logs, which were read above
	}
	return where
}

// checkViews compares the views that are stored with those that the log alone leads to.
func (y *yard) checkViews() {
	y.t.Helper()
	stored := map[string][]byte{}
	for _, space := range hub.ViewSpaces() {
		y.must(y.store.Scan(storage.In(space).Str(conv), nil, func(k storage.Key, v []byte) bool {
			stored[string(k)] = slices.Clone(v)
			return true
		}))
	}
	rebuilt, err := hub.Rebuild(y.store, codec{}, conv, func(k storage.Key) (storage.ThreadPost, bool) {
		p, err := storage.DecodeThreadPost(stored[string(k)])
		return p, err == nil
	})
	y.must(err)
	for k, v := range stored {
		if w, ok := rebuilt[k]; !ok || !bytes.Equal(v, w) {
			y.t.Fatalf("%q is %x, and by the log %x (%v)\n%s", k, v, w, ok, y.story())
		}
	}
	for k := range rebuilt {
		if _, ok := stored[k]; !ok {
			y.t.Fatalf("%q is missing\n%s", k, y.story())
		}
	}
}

func (y *yard) story() string {
	var b strings.Builder
	for _, ev := range y.log() {
		fmt.Fprintf(&b, "%d %s kind %d re %d thread %d %s %s expire %d\n", ev.Seq, ev.From, ev.Kind, ev.Re, ev.Thread, ev.Text, ev.Emoji, ev.Expire)
	}
	return b.String()
}

// TestViewsFollowTheLog has members do anything in any order, many things in one batch, while messages
// disappear, accounts are erased and the log is cut: the views are always those that the log leads to, and what
// has been deleted is nowhere.
func TestViewsFollowTheLog(t *testing.T) {
	seen := map[chat.Kind]int{}
	for range 10 { // until there was all: that a property holds of what did not happen says nothing
		viewsFollow(t, seen)
		if !slices.ContainsFunc(viewKinds(), func(k chat.Kind) bool { return seen[k] == 0 }) {
			return
		}
	}
	for _, k := range viewKinds() {
		if seen[k] == 0 {
			t.Errorf("no event of kind %d came about", k)
		}
	}
}

func viewKinds() []chat.Kind {
	return []chat.Kind{chat.KindPost, chat.KindEdit, chat.KindDelete, chat.KindReact, chat.KindUnreact, chat.KindPin, chat.KindUnpin, chat.KindGone}
}

func viewsFollow(t *testing.T, seen map[chat.Kind]int) {
	rapid.Check(t, func(rt *rapid.T) {
		y := newYard(rt)
		defer y.close()
		texts := map[uint64]string{} // of what was accepted, by seq
		n := 0
		for range rapid.IntRange(1, 6).Draw(rt, "batches") {
			y.now.Add(rapid.Int64Range(0, 3000).Draw(rt, "passed"))
			type answer struct {
				text string
				res  chan hub.Result
			}
			var answers []answer
			var waits []func() error
			y.together(func() {
				head := uint64(n + 1)
				for range rapid.IntRange(1, 25).Draw(rt, "commands") {
					switch rapid.IntRange(0, 19).Draw(rt, "chore") {
					case 17:
						waits = append(waits, y.hub.Erase(conv, []uint64{rapid.Uint64Range(0, head).Draw(rt, "erase")}))
						continue
					case 18:
						waits = append(waits, y.hub.Cut(conv, rapid.Uint64Range(0, head/2).Draw(rt, "below")))
						continue
					case 19:
						waits = append(waits, y.hub.Disappear(conv, y.due()))
						continue
					}
					n++
					ev := drawEvent(rt, n, head)
					a := answer{ev.Text, make(chan hub.Result, 1)}
					answers = append(answers, a)
					y.hub.Submit(&hub.Request{Conv: conv, Done: func(r hub.Result) { a.res <- r }, Cmd: chat.Command{
						Op: chat.OpAppend, Actor: rapid.SampledFrom([]string{"ann", "ben", "cat"}).Draw(rt, "who"), Event: ev,
					}})
				}
			})
			for _, a := range answers {
				if res := <-a.res; res.Err == nil && a.text != "" {
					texts[res.Seq] = a.text
				}
			}
			for _, wait := range waits {
				y.must(wait())
			}
			y.checkViews()
		}
		there := map[uint64]bool{}
		for _, ev := range y.log() {
			seen[ev.Kind]++
			there[ev.Seq] = ev.Kind != chat.KindGone
			if ev.Kind == chat.KindGone && len(protocol.EncodeStored(nil, &ev)) > 64 {
				rt.Fatalf("a large tombstone: %+v", ev)
			}
			if ev.Kind == chat.KindDelete && there[ev.Re] {
				rt.Fatalf("%d was deleted by %d and is there\n%s", ev.Re, ev.Seq, y.story())
			}
			if ev.Kind == chat.KindEdit && ev.Re >= y.log()[0].Seq && !there[ev.Re] {
				rt.Fatalf("the edit %d of %d, which has gone, is there\n%s", ev.Seq, ev.Re, y.story())
			}
		}
		for seq, text := range texts {
			if where := y.holds(text); (where != "") != there[seq] {
				rt.Fatalf("the text of %d, which is there: %v, is in %s", seq, there[seq], where)
			}
		}
	})
}

// due lists what is to disappear by now.
func (y *yard) due() (list []hub.Due) {
	y.must(y.store.Scan(storage.In(storage.SpaceExpire), nil, func(k storage.Key, _ []byte) bool {
		if _, d, ok := hub.TakeExpireKey(k); ok && d.At <= uint64(y.now.Load()) {
			list = append(list, d)
		}
		return true
	}))
	return list
}

func drawEvent(t *rapid.T, n int, head uint64) chat.Event {
	ev := chat.Event{Kind: rapid.SampledFrom([]chat.Kind{1, 1, 1, 2, 4, 3, 6, 5, 7}).Draw(t, "kind")}
	if ev.Kind != chat.KindPost || rapid.IntRange(0, 2).Draw(t, "reply") > 0 {
		ev.Re = rapid.Uint64Range(1, head+4).Draw(t, "re")
	}
	if ev.Kind == chat.KindUnreact || ev.Kind == chat.KindPin || ev.Kind == chat.KindUnpin || rapid.IntRange(0, 3).Draw(t, "favourite") == 0 {
		ev.Re = 4 + ev.Re%3 // on what others act upon too, so that there is something to take back
	}
	switch ev.Kind {
	case chat.KindPost, chat.KindEdit:
		ev.Text = fmt.Sprintf("<body %d>", n)
		ev.Expire = rapid.SampledFrom([]uint64{0, 0, 0, 1, 2}).Draw(t, "expire")
	case chat.KindReact, chat.KindUnreact:
		ev.Emoji = rapid.SampledFrom([]string{"👍", "👍", "👍", "❤️", "❤"}).Draw(t, "emoji")
	}
	return ev
}

// TestViewsOfAnOlderStore: a store from before there were views gets those that it would have by now.
func TestViewsOfAnOlderStore(t *testing.T) {
	y := newYard(t)
	defer y.close()
	root := y.post("ann", chat.Event{Text: "root"}).Seq
	y.post("ben", chat.Event{Text: "reply", Re: root})
	y.post("cat", chat.Event{Kind: chat.KindReact, Re: root, Emoji: "👍"})
	y.post("ann", chat.Event{Kind: chat.KindEdit, Re: root, Text: "roots"})
	y.post("ann", chat.Event{Kind: chat.KindPin, Re: root})
	var b storage.Batch
	for _, space := range hub.ViewSpaces() {
		b.DeletePrefix(storage.In(space))
	}
	b.Set(storage.PinKey(conv, 77), storage.AppendPin(nil, storage.Pin{Seq: 1, By: "ann"})) // of a first try
	y.must(y.pipe.CommitWait(&b))
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	commits := 0
	commit := func(b *storage.Batch) error { commits++; return y.pipe.CommitWait(b) }
	y.must(hub.BuildViews(y.store, codec{}, commit, log))
	y.checkViews()
	was := commits
	y.must(hub.BuildViews(y.store, codec{}, commit, log))
	if was == 0 || commits != was {
		t.Errorf("%d commits the first time, %d the second", was, commits-was)
	}
}

// TestActsAreIdempotent: what is there already makes no second event, in one batch or later.
func TestActsAreIdempotent(t *testing.T) {
	y := newYard(t)
	defer y.close()
	seq := y.post("ann", chat.Event{Text: "hello"}).Seq
	want := func(what string, res hub.Result, seq uint64, dup bool) {
		t.Helper()
		if res.Err != nil || res.Seq != seq || res.Duplicate != dup {
			t.Errorf("%s: %+v, want seq %d duplicate %v", what, res, seq, dup)
		}
	}
	act := func(user string, k chat.Kind, emoji string) hub.Result {
		return y.post(user, chat.Event{Kind: k, Re: seq, Emoji: emoji})
	}
	want("unreact what is not there", act("ben", chat.KindUnreact, "👍"), seq, true)
	want("unpin what is not pinned", act("ann", chat.KindUnpin, ""), seq, true)
	want("react", act("ben", chat.KindReact, "❤"), seq+1, false)
	want("react in the other form", act("ben", chat.KindReact, "❤️"), seq+1, true)
	want("another emoji", act("ben", chat.KindReact, "👍"), seq+2, false)
	want("another user", act("cat", chat.KindReact, "👍"), seq+3, false)
	want("unreact", act("ben", chat.KindUnreact, "❤"), seq+4, false)
	want("react anew", act("ben", chat.KindReact, "❤"), seq+5, false)
	want("pin", act("ann", chat.KindPin, ""), seq+6, false)
	want("pin twice", act("ann", chat.KindPin, ""), seq+6, true)
	var res [3]hub.Result
	y.together(func() {
		for i := range res {
			y.hub.Submit(&hub.Request{Conv: conv, Done: func(r hub.Result) { res[i] = r }, Cmd: chat.Command{
				Op: chat.OpAppend, Actor: "cat", Event: chat.Event{Kind: chat.KindReact, Re: seq, Emoji: "🎉"},
			}})
		}
	})
	want("first of three", res[0], seq+7, false)
	want("second of three", res[1], seq+7, true)
	want("third of three", res[2], seq+7, true)
	y.checkViews()
}

// TestLimitsOfActs: nobody can hang things on a message without end.
func TestLimitsOfActs(t *testing.T) {
	y := newYard(t)
	defer y.close()
	seq := y.post("ann", chat.Event{Text: "hello"}).Seq
	flags := func(n int) (list []string) {
		for i := range n {
			list = append(list, string([]rune{rune(0x1F1E6 + i/26), rune(0x1F1E6 + i%26)}))
		}
		return list
	}
	for i, emoji := range flags(chat.MaxEmojiEach + 1) {
		res := y.post("ben", chat.Event{Kind: chat.KindReact, Re: seq, Emoji: emoji})
		if (res.Err == nil) != (i < chat.MaxEmojiEach) {
			t.Fatalf("emoji %d: %v", i, res.Err)
		}
	}
	for i := range chat.MaxEdits + 1 {
		if res := y.post("ann", chat.Event{Kind: chat.KindEdit, Re: seq, Text: "hello"}); (res.Err == nil) != (i < chat.MaxEdits) {
			t.Fatalf("edit %d: %v", i, res.Err)
		}
	}
	for i := range chat.MaxPins + 1 {
		p := y.post("ann", chat.Event{Text: "pin me"})
		res := y.post("ann", chat.Event{Kind: chat.KindPin, Re: p.Seq})
		if (res.Err == nil) != (i < chat.MaxPins) {
			t.Fatalf("pin %d: %v", i, res.Err)
		}
	}
	y.checkViews()
}

// TestDeletedRetry: the retry of a post that was deleted meanwhile is recognised, and brings nothing back.
func TestDeletedRetry(t *testing.T) {
	y := newYard(t)
	defer y.close()
	ev := chat.Event{ID: "a", Text: "never mind this"}
	first := y.post("ben", ev)
	y.post("ben", chat.Event{Kind: chat.KindEdit, Re: first.Seq, Text: "nor this"})
	y.must(y.post("ben", chat.Event{Kind: chat.KindDelete, Re: first.Seq}).Err)
	if again := y.post("ben", ev); again.Err != nil || !again.Duplicate || again.Seq != first.Seq {
		t.Errorf("the retry: %+v", again)
	}
	for _, text := range []string{"never mind", "nor this"} {
		if where := y.holds(text); where != "" {
			t.Errorf("%q is in %s", text, where)
		}
	}
	if res := y.post("ben", chat.Event{Kind: chat.KindReact, Re: first.Seq, Emoji: "👍"}); res.Err == nil {
		t.Error("a reaction to what was deleted")
	}
}
