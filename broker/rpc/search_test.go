package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/broker/search"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// searchServer is a server with an index. What happens is noted when indexed is called.
type searchServer struct {
	*server
	index *search.Index
}

func newSearchServer(t testing.TB) *searchServer {
	t.Helper()
	s := &searchServer{server: newServer(t)}
	var err error
	s.index, err = search.Open(search.Options{
		Dir: t.TempDir(), Store: s.store, Commit: s.pipeline.CommitWait, Head: s.hub.Head, Decode: protocol.DecodeStored,
		Now: func() time.Time { return time.UnixMilli(s.clock()) },
	})
	must(t, err)
	s.index.Start()
	t.Cleanup(s.index.Close)
	s.svc = rpc.New(rpc.Options{
		Hub: s.hub, Store: s.store, Barrier: s.pipeline.Barrier, Accounts: s.accounts, Profiles: s.profiles,
		Devices: s.registry, Admin: auth.NewAdmin(s.accounts), Now: s.clock, Log: slog.New(slog.DiscardHandler), Search: s.index,
	})
	return s
}

// indexed waits until the index has all there is.
func (s *searchServer) indexed() {
	s.t.Helper()
	must(s.t, s.store.Scan(storage.In(storage.SpaceConv), nil, func(k storage.Key, _ []byte) bool {
		conv, _, _ := storage.TakeStr(k[1:])
		s.index.Note(conv)
		return true
	}))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(s.t, s.index.CatchUp(ctx))
}

type searchHit struct {
	Conv    string   `json:"conv"`
	Seq     uint64   `json:"seq"`
	From    string   `json:"from"`
	At      int64    `json:"at"`
	Thread  uint64   `json:"thread"`
	Snippet []string `json:"snippet"`
}

func (h searchHit) String() string { return fmt.Sprintf("%s:%d", h.Conv, h.Seq) }

type searchPage struct {
	Hits   []searchHit `json:"hits"`
	Next   string      `json:"next"`
	More   bool        `json:"more"`
	Behind bool        `json:"behind"`
}

// find asks for all pages.
func (s *searchServer) find(user string, params map[string]any) (all []searchHit) {
	s.t.Helper()
	for {
		b, err := json.Marshal(params)
		must(s.t, err)
		var page searchPage
		s.ok(user, "search", string(b), &page)
		all = append(all, page.Hits...)
		if page.More != (page.Next != "") {
			s.t.Fatalf("more %v, next %q", page.More, page.Next)
		}
		if !page.More {
			return all
		}
		params["next"] = page.Next
	}
}

func (s *searchServer) finds(user string, params map[string]any, want string) {
	s.t.Helper()
	got := strings.Trim(fmt.Sprint(s.find(user, params)), "[]")
	if got != want {
		s.t.Errorf("%s by %s finds %q, want %q", params, user, got, want)
	}
}

func TestSearchShowsWhatOneMaySee(t *testing.T) {
	s := newSearchServer(t)
	s.users("ana", "bob", "eve")
	s.ok("ana", "group.create", `{"id":"trip","title":"Trip","members":["bob"],"history":"joined"}`, nil)
	s.post("ana", "trip", postOf("Who wants to see Oslo?"))
	s.advance(time.Second)
	s.post("bob", "ana~bob", postOf("Oslo it is"))
	s.advance(time.Second)
	s.ok("ana", "member.add", `{"conv":"trip","user":"eve"}`, nil)
	late := s.post("bob", "trip", postOf("oslo in May"))
	s.indexed()
	early := uint64(0)
	for _, h := range s.find("ana", map[string]any{"q": "who"}) {
		early = h.Seq
	}
	s.finds("ana", map[string]any{"q": "oslo"}, fmt.Sprintf("trip:%d ana~bob:1 trip:%d", late, early))
	s.finds("ana", map[string]any{"q": "oslo", "limit": 1}, fmt.Sprintf("trip:%d ana~bob:1 trip:%d", late, early))
	s.finds("ana", map[string]any{"q": "oslo", "order": "rank", "limit": 1}, fmt.Sprintf("ana~bob:1 trip:%d trip:%d", late, early))
	s.finds("ana", map[string]any{"q": "oslo", "from": "ana"}, fmt.Sprintf("trip:%d", early))
	s.finds("ana", map[string]any{"q": "oslo", "conv": "ana~bob"}, "ana~bob:1")
	s.finds("ana", map[string]any{"q": "oslo", "before": epoch + 2000}, fmt.Sprintf("ana~bob:1 trip:%d", early))
	s.finds("ana", map[string]any{"q": "oslo", "after": epoch + 1000}, fmt.Sprintf("trip:%d", late))
	s.finds("eve", map[string]any{"q": "oslo"}, fmt.Sprintf("trip:%d", late))
	// Deleted for oneself: for nobody else.
	var b storage.Batch
	b.Set(storage.In(storage.SpaceHidden).Str("bob").Str("trip").U64(late), nil)
	must(t, s.pipeline.CommitWait(&b))
	s.finds("bob", map[string]any{"q": "oslo may"}, "")
	s.finds("eve", map[string]any{"q": "oslo may"}, fmt.Sprintf("trip:%d", late))
	// The index need not have heard of an edit or a deletion.
	s.post("bob", "trip", chat.Event{Kind: chat.KindEdit, Re: late, Text: "Bergen in May"})
	s.finds("eve", map[string]any{"q": "oslo"}, "")
	s.indexed()
	s.finds("eve", map[string]any{"q": "bergen"}, fmt.Sprintf("trip:%d", late))
	s.post("bob", "trip", chat.Event{Kind: chat.KindDelete, Re: late})
	s.finds("eve", map[string]any{"q": "bergen"}, "")
	s.ok("eve", "group.leave", `{"conv":"trip"}`, nil)
	s.finds("eve", map[string]any{"q": "who"}, "")
	for _, r := range []struct{ user, params string }{
		{"eve", `{"q":"oslo","conv":"trip"}`}, {"eve", `{"q":"oslo","conv":"ana~bob"}`}, {"eve", `{"q":"oslo","conv":"nothing"}`},
	} {
		if got := s.call(r.user, "search", r.params); got.Error == nil || got.Error.Code != chat.NotFound {
			t.Errorf("%s: %v", r.params, got)
		}
	}
}

// watched is an index that knows how many searches run at a time.
type watched struct {
	rpc.Searcher
	running, most atomic.Int64
	meet          chan struct{} // nil, or where two searches wait for each other
}

func (w *watched) Find(context.Context, *search.Request, func(search.Hit) (bool, error)) error {
	n := w.running.Add(1)
	defer w.running.Add(-1)
	if w.meet != nil {
		select {
		case w.meet <- struct{}{}:
		case <-w.meet:
		}
		return nil
	}
	for range 1000 { // whoever may come in does
		runtime.Gosched()
	}
	w.most.Store(max(w.most.Load(), n))
	return nil
}

// Somebody with many connections has one search running, so that those of others find room; others don't wait.
func TestSearchesOfOneUserTakeTurns(t *testing.T) {
	s := newSearchServer(t)
	s.users("ana", "bo")
	w := &watched{Searcher: s.index}
	s.svc = rpc.New(rpc.Options{
		Hub: s.hub, Store: s.store, Barrier: s.pipeline.Barrier, Accounts: s.accounts, Profiles: s.profiles,
		Devices: s.registry, Admin: auth.NewAdmin(s.accounts), Now: s.clock, Log: slog.New(slog.DiscardHandler), Search: w,
	})
	s.post("ana", "ana~bo", postOf("hello"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { s.call("ana", "search", `{"q":"hello"}`) })
	}
	wg.Wait()
	if n := w.most.Load(); n != 1 {
		t.Errorf("%d searches of one user at a time", n)
	}
	w.meet = make(chan struct{})
	for _, user := range []string{"ana", "bo"} {
		wg.Go(func() { s.call(user, "search", `{"q":"hello"}`) })
	}
	wg.Wait()
}

func TestSearchSnippet(t *testing.T) {
	s := newSearchServer(t)
	s.users("ana", "bob")
	s.post("ana", "ana~bob", postOf("We go <climbing> on Sunday, climbing is fun"))
	s.indexed()
	hits := s.find("bob", map[string]any{"q": "clim*"})
	if len(hits) != 1 || !slices.Equal(hits[0].Snippet, []string{"We go <", "climbing", "> on Sunday, ", "climbing", " is fun"}) || hits[0].From != "ana" || hits[0].At != epoch {
		t.Errorf("%+v", hits)
	}
}

func TestSearchRefuses(t *testing.T) {
	s := newSearchServer(t)
	s.users("ana")
	for _, p := range []string{
		`{}`, `{"q":"..."}`, `{"q":"a*"}`, `{"q":"x","limit":0}`, `{"q":"x","order":"best"}`, `{"q":"x","next":"AAAA"}`, `{"q":"x","next":"!"}`,
		`{"q":"x","from":"a b"}`, `{"q":"x","before":-1}`, `{"q":"x","after":0}`, `{"q":"x","conv":"A B"}`, `{"q":"` + strings.Repeat("x", 300) + `"}`,
	} {
		if got := s.call("ana", "search", p); got.Error == nil || got.Error.Code != chat.BadRequest {
			t.Errorf("%s: %v", p, got)
		}
	}
	for _, p := range []string{`{"q":"..."}`, `{"after":"AAAA"}`, `{"limit":-1}`, `{"after":"EgAB.A B"}`} {
		if got := s.call("ana", "group.search", p); got.Error == nil || got.Error.Code != chat.BadRequest {
			t.Errorf("group.search %s: %v", p, got)
		}
	}
	if got := s.call("ana", "group.recommend", `{"q":"x"}`); got.Error == nil {
		t.Error("group.recommend takes q")
	}
}

// Pages of both orders stay what they are while messages arrive.
func TestSearchPagesAreStable(t *testing.T) {
	s := newSearchServer(t)
	s.users("ana", "bob")
	for i := range 50 {
		s.post("ana", "ana~bob", postOf(strings.Repeat("stone ", 1+i%5)+fmt.Sprint(i)))
		s.advance(time.Millisecond)
	}
	for _, order := range []string{"newest", "rank"} {
		s.indexed()
		want := s.find("ana", map[string]any{"q": "stone", "order": order, "limit": 100})
		params := map[string]any{"q": "stone", "order": order, "limit": 7}
		var got []searchHit
		for {
			b, err := json.Marshal(params)
			must(t, err)
			var page searchPage
			s.ok("ana", "search", string(b), &page)
			got = append(got, page.Hits...)
			s.post("bob", "ana~bob", postOf("stone stone stone"))
			s.indexed()
			if !page.More {
				break
			}
			params["next"] = page.Next
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", order, got, want)
		}
	}
}

// Whatever happened: a search finds exactly what somebody would who reads all that they may read.
func TestSearchFindsWhatReadingFinds(t *testing.T) {
	s := newSearchServer(t)
	round, rounds := 0, 25 // the index takes its time: it leaves the processor to others
	if os.Getenv("PETREL_LONG") != "" {
		rounds = math.MaxInt
	}
	rapid.Check(t, func(rt *rapid.T) {
		if round++; round > rounds {
			return
		}
		name := func(s string) string { return fmt.Sprintf("%s%d", s, round) }
		people := []string{name("ana"), name("bob"), name("eve")}
		owner, bob := people[0], people[1]
		s.users(people...)
		convs := []string{name("open"), name("late"), chat.DirectID(owner, bob)}
		s.ok(owner, "group.create", fmt.Sprintf(`{"id":%q,"title":"Open","members":[%q],"history":"all","join":"open"}`, convs[0], bob), nil)
		s.ok(owner, "group.create", fmt.Sprintf(`{"id":%q,"title":"Late","members":[%q],"history":"joined","join":"open"}`, convs[1], bob), nil)
		who, where := rapid.SampledFrom(people), rapid.SampledFrom(convs)
		word := rapid.SampledFrom([]string{"red", "redder", "green", "blue", "東京", "京都"})
		text := func() string { return strings.Join(rapid.SliceOfN(word, 1, 4).Draw(rt, "text"), " ") }
		try := func(user, conv string, ev chat.Event) {
			_, _, direct := chat.Parties(conv)
			res := s.hub.Do(&hub.Request{Conv: conv, Direct: direct, Cmd: chat.Command{Op: chat.OpAppend, Actor: user, Event: ev}})
			if res.Err != nil && !errors.As(res.Err, new(*chat.Refusal)) {
				rt.Fatal(res.Err)
			}
		}
		seq := rapid.Uint64Range(1, 20)
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			user, conv := who.Draw(rt, "who"), where.Draw(rt, "where")
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			default:
				try(user, conv, chat.Event{Kind: chat.KindPost, Text: text()})
			case 4:
				try(user, conv, chat.Event{Kind: chat.KindPost, Text: text(), Expire: uint64(rapid.IntRange(1, 30).Draw(rt, "expire"))})
			case 5:
				try(user, conv, chat.Event{Kind: chat.KindEdit, Re: seq.Draw(rt, "re"), Text: text()})
			case 6:
				try(user, conv, chat.Event{Kind: chat.KindDelete, Re: seq.Draw(rt, "re")})
			case 7:
				s.call(user, "group.join", `{"conv":"`+conv+`"}`)
			case 8:
				if user != owner {
					s.call(user, "group.leave", `{"conv":"`+conv+`"}`)
				}
			case 9:
				s.advance(time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "ms")) * time.Millisecond)
			}
			if rapid.IntRange(0, 9).Draw(rt, "index") == 0 {
				s.indexed()
			}
		}
		s.indexed()
		for _, user := range people {
			for _, q := range []string{"red", "red*", `"green blue"`, "東京", "京", "red green"} {
				want := s.readFor(user, q, convs)
				for _, order := range []string{"newest", "rank"} {
					var got []string
					for _, h := range s.find(user, map[string]any{"q": q, "limit": 3, "order": order}) {
						got = append(got, h.String())
					}
					slices.Sort(got)
					if !slices.Equal(got, want) {
						rt.Fatalf("%s by %s (%s): a search finds %v, reading %v", q, user, order, got, want)
					}
				}
			}
		}
	})
}

// readFor reads all that a user may read, and looks for it in a simple way.
func (s *searchServer) readFor(user, q string, convs []string) (found []string) {
	for _, conv := range convs {
		r := s.call(user, "history", `{"conv":"`+conv+`","after":0,"limit":500}`)
		if r.Error != nil {
			continue
		}
		var reply struct {
			Events []struct {
				Seq  uint64 `json:"seq"`
				Kind string `json:"kind"`
				Re   uint64 `json:"re"`
				Text string `json:"text"`
			} `json:"events"`
		}
		must(s.t, json.Unmarshal(r.OK, &reply))
		texts := make(map[uint64]string)
		for _, ev := range reply.Events {
			_, there := texts[ev.Re]
			switch {
			case ev.Kind == "post" || ev.Kind == "":
				texts[ev.Seq] = ev.Text
			case ev.Kind == "edit" && there:
				texts[ev.Re] = ev.Text
			case ev.Kind == "delete":
				delete(texts, ev.Re)
			}
		}
		for seq, text := range texts {
			if says(text, q) {
				found = append(found, fmt.Sprintf("%s:%d", conv, seq))
			}
		}
	}
	slices.Sort(found)
	return found
}

func says(text, q string) bool {
	if phrase, ok := strings.CutPrefix(q, `"`); ok {
		return strings.Contains(" "+text+" ", " "+strings.TrimSuffix(phrase, `"`)+" ")
	}
	for _, w := range strings.Fields(q) {
		prefix, isPrefix := strings.CutSuffix(w, "*")
		if !slices.ContainsFunc(strings.Fields(text), func(have string) bool {
			if w >= "\u3000" { // no spaces there
				return strings.Contains(have, w)
			}
			return have == w || isPrefix && strings.HasPrefix(have, prefix)
		}) {
			return false
		}
	}
	return true
}

type groupPage struct {
	Groups []struct {
		Conv    string `json:"conv"`
		Title   string `json:"title"`
		Members int    `json:"members"`
	} `json:"groups"`
	After string `json:"after"`
	More  bool   `json:"more"`
}

func (s *searchServer) groups(user, method string, params map[string]any) string {
	s.t.Helper()
	var out []string
	for {
		b, err := json.Marshal(params)
		must(s.t, err)
		var page groupPage
		s.ok(user, method, string(b), &page)
		for _, g := range page.Groups {
			out = append(out, g.Conv)
		}
		if !page.More {
			return strings.Join(out, " ")
		}
		params["after"] = page.After
	}
}

func TestGroupSearch(t *testing.T) {
	s := newSearchServer(t)
	s.users("ana", "bob", "eve")
	s.ok("ana", "group.create", `{"id":"rocks","title":"Climbing in Oslo","about":"bouldering and more","visibility":"public","join":"open"}`, nil)
	s.ok("ana", "group.create", `{"id":"books","title":"Books","about":"about climbing, too","visibility":"public","join":"open","members":["bob"]}`, nil)
	s.ok("ana", "group.create", `{"id":"hidden","title":"Climbing, privately","join":"open"}`, nil)
	s.indexed()
	for _, c := range []struct{ q, want string }{
		{"climb", "rocks books"}, {"climbing books", "books"}, {"boul", "rocks"}, {"privately", ""}, {"", "books rocks"},
	} {
		if got := s.groups("eve", "group.search", map[string]any{"q": c.q, "limit": 1}); got != c.want {
			t.Errorf("%q finds %q, want %q", c.q, got, c.want)
		}
	}
	// The group is asked, not the index.
	s.ok("ana", "group.update", `{"conv":"rocks","visibility":"private"}`, nil)
	if got := s.groups("eve", "group.search", map[string]any{"q": "climb"}); got != "books" {
		t.Errorf("a group that became private is found: %s", got)
	}
	s.ok("ana", "group.delete", `{"conv":"books"}`, nil)
	if got := s.groups("eve", "group.search", map[string]any{"q": "climb"}); got != "" {
		t.Errorf("a group that ended is found: %s", got)
	}
}

// Where somebody is who blocks the caller does not show in what the caller is recommended.
func TestRecommendWithoutWhoBlocks(t *testing.T) {
	s := newSearchServer(t)
	s.users("ana", "vic", "xen", "yan", "zoe")
	s.ok("xen", "group.create", `{"id":"apples","title":"Apples","visibility":"public","join":"open"}`, nil)
	s.ok("yan", "group.create", `{"id":"books","title":"Books","visibility":"public","join":"open"}`, nil)
	s.ok("zoe", "group.join", `{"conv":"apples"}`, nil)
	s.ok("vic", "group.join", `{"conv":"books"}`, nil)
	s.post("ana", "ana~vic", postOf("hello"))
	s.post("vic", "ana~vic", postOf("hello"))
	s.indexed()
	want(t, "with a friend", s.groups("ana", "group.recommend", map[string]any{}), "books apples")
	s.ok("vic", "block", `{"user":"ana"}`, nil)
	want(t, "with somebody who blocks", s.groups("ana", "group.recommend", map[string]any{}), "apples books")
}

func TestGroupRecommend(t *testing.T) {
	s := newSearchServer(t)
	s.users("me", "friend", "pal", "stranger")
	create := func(by, id, visibility, members string) {
		t.Helper()
		s.ok(by, "group.create", fmt.Sprintf(`{"id":%q,"title":%q,"visibility":%q,"join":"open","members":[%s]}`, id, id, visibility, members), nil)
	}
	s.post("me", "friend~me", postOf("hello"))
	create("me", "ours", chat.Private, `"pal"`)
	create("stranger", "far", chat.Public, ``)
	create("friend", "near", chat.Public, `"pal"`)
	create("friend", "secret", chat.Private, `"pal"`)
	create("stranger", "banned", chat.Public, `"me"`)
	create("me", "mine", chat.Public, ``)
	s.ok("stranger", "member.ban", `{"conv":"banned","user":"me"}`, nil)
	s.indexed()
	for range 2 {
		if got := s.groups("me", "group.recommend", map[string]any{"limit": 1}); got != "near far" {
			t.Errorf("%q is recommended, want near and far", got)
		}
	}
	if got := s.groups("stranger", "group.recommend", map[string]any{}); got != "near mine" && got != "mine near" {
		t.Errorf("%q is recommended to somebody who knows nobody", got)
	}
}
