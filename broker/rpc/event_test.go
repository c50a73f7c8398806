package rpc_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// crew is a server with a group of ana (owner), bob and cas.
func crew(t *testing.T, settings string) *server {
	s := newServer(t)
	s.users("ana", "bob", "cas", "dan")
	s.ok("ana", "group.create", `{"id":"crew","title":"Crew","members":["bob","cas"]`+settings+`}`, nil)
	return s
}

func (s *server) refused(user, method, payload string, code chat.Code, says string) {
	s.t.Helper()
	r := s.call(user, method, payload)
	if r.Error == nil || r.Error.Code != code || !strings.Contains(r.Error.Reason, says) {
		s.t.Errorf("%s of %s by %s: %v %s; want %s with %q", method, payload, user, r.Error, r.OK, code, says)
	}
}

type shownEvent struct {
	Seq  uint64
	From string
	Kind string
	Text string
	Fwd  map[string]any
}

type threadAnswer struct {
	Root   uint64
	Events []struct {
		Depth  int
		Edited int64
		Event  shownEvent
	}
	Count, Participants, Unread int
	Users                       []string
	Last                        struct {
		Seq uint64
		At  int64
	}
	More bool
}

// lines shows the events of a thread.
func (a *threadAnswer) lines() (list []string) {
	for _, e := range a.Events {
		line := fmt.Sprintf("%d:%d %s", e.Depth, e.Event.Seq, e.Event.Text+e.Event.Kind)
		if e.Edited != 0 {
			line += " edited"
		}
		list = append(list, line)
	}
	return list
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		t.Errorf("%s\n got %s\nwant %s", what, g, w)
	}
}

func TestThread(t *testing.T) {
	s := crew(t, "")
	root := s.post("ana", "crew", chat.Event{Text: "root"})
	one := s.post("bob", "crew", chat.Event{Text: "one", Re: root})
	s.post("ana", "crew", chat.Event{Text: "between"})
	two := s.post("cas", "crew", chat.Event{Text: "two", Re: one})
	s.advance(time.Second)
	edit := s.post("bob", "crew", chat.Event{Kind: chat.KindEdit, Re: one, Text: "uno"})
	three := s.post("bob", "crew", chat.Event{Text: "three", Re: edit})

	var a threadAnswer
	ask := func(user, payload string) {
		t.Helper()
		a = threadAnswer{}
		s.ok(user, "thread", payload, &a)
	}
	all := []string{
		fmt.Sprintf("0:%d root", root), fmt.Sprintf("1:%d uno edited", one), fmt.Sprintf("2:%d two", two), fmt.Sprintf("2:%d three", three),
	}
	ask("ana", fmt.Sprintf(`{"conv":"crew","root":%d}`, root))
	want(t, "thread", a.lines(), all)
	want(t, "users", a.Users, []string{"bob", "cas"})
	want(t, "numbers", []int{a.Count, a.Participants, a.Unread, int(a.Last.Seq), int(a.Last.At - epoch)}, []int{3, 2, 3, int(three), 1000})
	ask("ana", fmt.Sprintf(`{"conv":"crew","root":%d}`, edit)) // any event of it names the thread
	want(t, "thread", a.lines(), all)
	s.cursor("ana", "crew", one, one)
	ask("ana", fmt.Sprintf(`{"conv":"crew","root":%d}`, root))
	want(t, "unread", a.Unread, 2)

	// Pages are stable while messages come.
	ask("bob", fmt.Sprintf(`{"conv":"crew","root":%d,"limit":2}`, root))
	want(t, "first page", a.lines(), all[:2])
	want(t, "more", a.More, true)
	four := s.post("ana", "crew", chat.Event{Text: "four", Re: three})
	all = append(all, fmt.Sprintf("3:%d four", four))
	ask("bob", fmt.Sprintf(`{"conv":"crew","root":%d,"limit":2,"after":%d}`, root, one))
	want(t, "second page", a.lines(), all[2:4])
	ask("bob", fmt.Sprintf(`{"conv":"crew","root":%d,"limit":2,"after":%d}`, root, three))
	want(t, "third page", a.lines(), all[4:])
	want(t, "more", a.More, false)
	ask("bob", fmt.Sprintf(`{"conv":"crew","root":%d,"after":9999}`, root))
	want(t, "beyond the end", a.lines(), nil)

	// Its first post may go; the thread stays.
	s.post("ana", "crew", chat.Event{Kind: chat.KindDelete, Re: root})
	s.post("cas", "crew", chat.Event{Kind: chat.KindDelete, Re: two})
	ask("bob", fmt.Sprintf(`{"conv":"crew","root":%d}`, root))
	all[0], all[2] = fmt.Sprintf("0:%d gone", root), fmt.Sprintf("2:%d gone", two)
	want(t, "thread without its root", a.lines(), all)
	want(t, "users", a.Users, []string{"ana", "bob"})
	want(t, "count", []int{a.Count, a.Participants}, []int{3, 2})

	s.refused("dan", "thread", fmt.Sprintf(`{"conv":"crew","root":%d}`, root), chat.NotFound, "no such conversation")
	s.refused("bob", "thread", `{"conv":"crew","root":9999}`, chat.NotFound, "no such event")
	s.refused("bob", "thread", `{"conv":"crew"}`, chat.NotFound, "no such event")
	react := s.post("bob", "crew", chat.Event{Kind: chat.KindReact, Re: one, Emoji: "👍"})
	s.refused("bob", "thread", fmt.Sprintf(`{"conv":"crew","root":%d}`, react), chat.BadRequest, "acts upon")
}

// Who joined later, into a group whose history begins with joining, sees of a thread what came since.
func TestThreadSinceJoining(t *testing.T) {
	s := crew(t, `,"history":"joined"`)
	root := s.post("ana", "crew", chat.Event{Text: "secret"})
	one := s.post("bob", "crew", chat.Event{Text: "hidden", Re: root})
	old := s.post("ana", "crew", chat.Event{Text: "old"})
	s.ok("ana", "member.add", `{"conv":"crew","user":"dan"}`, nil)
	two := s.post("cas", "crew", chat.Event{Text: "seen", Re: one})
	var a threadAnswer
	s.ok("dan", "thread", fmt.Sprintf(`{"conv":"crew","root":%d}`, root), &a)
	want(t, "thread", a.lines(), []string{fmt.Sprintf("0:%d gone", root), fmt.Sprintf("2:%d seen", two)})
	want(t, "users", a.Users, []string{"cas"})
	want(t, "numbers", []int{a.Count, a.Participants, a.Unread, int(a.Last.Seq)}, []int{1, 1, 1, int(two)})
	for _, seq := range []uint64{one, old} {
		s.refused("dan", "thread", fmt.Sprintf(`{"conv":"crew","root":%d}`, seq), chat.NotFound, "no such event")
	}
	for _, method := range []string{"reactions", "edits", "hide"} {
		s.refused("dan", method, fmt.Sprintf(`{"conv":"crew","seq":%d}`, root), chat.NotFound, "no such event")
		s.refused("eve", method, fmt.Sprintf(`{"conv":"crew","seq":%d}`, root), chat.NotFound, "no such conversation")
	}
	s.refused("dan", "forward", fmt.Sprintf(`{"from":"crew","seq":%d,"conv":"ana~dan"}`, root), chat.NotFound, "no such event")
}

func TestReactions(t *testing.T) {
	s := crew(t, "")
	seq := s.post("ana", "crew", chat.Event{Text: "hello"})
	for user, list := range map[string]string{"ana": "👍", "bob": "👍 ❤️ 🎉", "cas": "👍 🎉"} {
		for emoji := range strings.FieldsSeq(list) {
			s.post(user, "crew", chat.Event{Kind: chat.KindReact, Re: seq, Emoji: emoji})
		}
	}
	s.post("bob", "crew", chat.Event{Kind: chat.KindUnreact, Re: seq, Emoji: "❤"})
	type row struct {
		Emoji string
		Count int
		Me    bool
		Users []string
	}
	var a struct {
		Reactions []row
		More      bool
	}
	ask := func(payload string, rows ...row) {
		t.Helper()
		a.Reactions = nil
		s.ok("bob", "reactions", fmt.Sprintf(payload, seq), &a)
		want(t, payload, a.Reactions, append([]row{}, rows...))
	}
	ask(`{"conv":"crew","seq":%d}`, row{"🎉", 2, true, []string{"bob", "cas"}}, row{"👍", 3, true, []string{"ana", "bob", "cas"}})
	ask(`{"conv":"crew","seq":%d,"limit":1}`, row{"🎉", 2, true, []string{"bob", "cas"}})
	want(t, "more", a.More, true)
	ask(`{"conv":"crew","seq":%d,"limit":1,"after":"🎉"}`, row{"👍", 3, true, []string{"ana", "bob", "cas"}})
	want(t, "more", a.More, false)
	ask(`{"conv":"crew","seq":%d,"emoji":"👍","limit":2}`, row{"👍", 3, true, []string{"ana", "bob"}})
	want(t, "more", a.More, true)
	ask(`{"conv":"crew","seq":%d,"emoji":"👍","limit":2,"after":"bob"}`, row{"👍", 3, true, []string{"cas"}})
	ask(`{"conv":"crew","seq":%d,"emoji":"no emoji"}`)
	s.post("ana", "crew", chat.Event{Kind: chat.KindDelete, Re: seq})
	s.refused("bob", "reactions", fmt.Sprintf(`{"conv":"crew","seq":%d}`, seq), chat.NotFound, "no such event")
	n := 0
	must(t, s.store.Scan(storage.In(storage.SpaceReaction), nil, func(storage.Key, []byte) bool { n++; return true }))
	want(t, "records of reactions to what was deleted", n, 0)
}

func TestEdits(t *testing.T) {
	s := crew(t, "")
	seq := s.post("ana", "crew", chat.Event{Text: "a"})
	s.post("ana", "crew", chat.Event{Kind: chat.KindEdit, Re: seq, Text: "b"})
	last := s.post("ana", "crew", chat.Event{Kind: chat.KindEdit, Re: seq, Text: "c"})
	var a struct {
		Seq      uint64
		Versions []shownEvent
		More     bool
	}
	texts := func() (all string) {
		for _, v := range a.Versions {
			all += v.Text
		}
		return all
	}
	s.ok("bob", "edits", fmt.Sprintf(`{"conv":"crew","seq":%d}`, last), &a)
	want(t, "versions", texts(), "abc")
	want(t, "post", a.Seq, seq)
	s.ok("bob", "edits", fmt.Sprintf(`{"conv":"crew","seq":%d,"limit":2}`, seq), &a)
	want(t, "page", fmt.Sprint(texts(), a.More), "abtrue")
	s.ok("bob", "edits", fmt.Sprintf(`{"conv":"crew","seq":%d,"limit":2,"after":%d}`, seq, a.Versions[1].Seq), &a)
	want(t, "page", fmt.Sprint(texts(), a.More), "cfalse")
}

func TestPins(t *testing.T) {
	s := crew(t, "")
	var seqs []uint64
	for i := range 3 {
		seqs = append(seqs, s.post("bob", "crew", chat.Event{Text: fmt.Sprint("p", i)}))
		s.post("ana", "crew", chat.Event{Kind: chat.KindPin, Re: seqs[i]})
	}
	s.post("bob", "crew", chat.Event{Kind: chat.KindEdit, Re: seqs[0], Text: "edited"})
	s.post("bob", "crew", chat.Event{Kind: chat.KindDelete, Re: seqs[1]})
	var a struct {
		Pins []struct {
			By    string
			At    int64
			Event shownEvent
		}
		More bool
	}
	s.ok("cas", "pins", `{"conv":"crew"}`, &a)
	if len(a.Pins) != 2 || a.Pins[0].Event.Text != "edited" || a.Pins[1].Event.Text != "p2" || a.Pins[0].By != "ana" || a.Pins[0].At != epoch {
		t.Errorf("pins %+v", a.Pins)
	}
	s.ok("cas", "pins", `{"conv":"crew","limit":1}`, &a)
	want(t, "page", fmt.Sprint(len(a.Pins), a.More), "1 true")
	s.ok("cas", "pins", fmt.Sprintf(`{"conv":"crew","after":%d}`, seqs[0]), &a)
	want(t, "page", a.Pins[0].Event.Seq, seqs[2])
	s.post("ana", "crew", chat.Event{Kind: chat.KindUnpin, Re: seqs[2]})
	s.ok("cas", "pins", fmt.Sprintf(`{"conv":"crew","after":%d}`, seqs[0]), &a)
	want(t, "pins", len(a.Pins), 0)
}

// What somebody deletes for themselves is a stub wherever they look, and there for everybody else.
func TestHide(t *testing.T) {
	s := crew(t, "")
	seq := s.post("ana", "crew", chat.Event{Text: "embarrassing"})
	reply := s.post("cas", "crew", chat.Event{Text: "indeed", Re: seq})
	s.ok("bob", "hide", fmt.Sprintf(`{"conv":"crew","seq":%d}`, seq), nil)
	s.ok("bob", "hide", fmt.Sprintf(`{"conv":"crew","seq":%d}`, seq), nil) // once more changes nothing
	s.post("ana", "crew", chat.Event{Kind: chat.KindEdit, Re: seq, Text: "embarrassing, sorry"})
	for user, sees := range map[string]bool{"bob": false, "cas": true} {
		for method, payload := range map[string]string{
			"history": `{"conv":"crew"}`, "sync": `{}`, "conv.list": `{}`, "thread": fmt.Sprintf(`{"conv":"crew","root":%d}`, reply),
		} {
			if got := strings.Contains(string(s.raw(user, method, payload, 0)), "embarrassing"); got != sees {
				t.Errorf("%s of %s shows it: %v", method, user, got)
			}
		}
	}
	s.refused("bob", "edits", fmt.Sprintf(`{"conv":"crew","seq":%d}`, seq), chat.NotFound, "no such event")
	s.refused("bob", "hide", `{"conv":"crew","seq":999}`, chat.NotFound, "no such event")
	var own []chat.Event
	must(t, s.store.Read(storage.OwnLog("bob"), 0, 1<<62, func(e storage.Entry) bool {
		ev, err := codec{}.DecodeStored(e.Data)
		must(t, err)
		own = append(own, ev)
		return true
	}))
	own = slices.DeleteFunc(own, func(ev chat.Event) bool { return ev.Kind != chat.KindHidden })
	if len(own) != 1 || own[0].Conv != "crew" || own[0].Re != seq {
		t.Errorf("own log: %+v", own)
	}
	hidden, err := storage.Hidden(s.store, "bob", "crew", seq, seq+9)
	must(t, err)
	want(t, "hidden", hidden, []uint64{seq})
	hidden, err = storage.Hidden(s.store, "bob", "crew", seq+1, seq+9)
	must(t, err)
	want(t, "hidden behind it", hidden, nil)
	s.same(string(s.call("bob", "hidden", `{}`).OK), fmt.Sprintf(`{"hidden":[{"conv":"crew","seq":%d}],"more":false}`, seq))
	s.same(string(s.call("cas", "hidden", `{}`).OK), `{"hidden":[],"more":false}`)
	s.ok("bob", "hide", fmt.Sprintf(`{"conv":"crew","seq":%d}`, reply), nil)
	s.same(string(s.call("bob", "hidden", `{"limit":1}`).OK), fmt.Sprintf(`{"hidden":[{"conv":"crew","seq":%d}],"after":"crew/%d","more":true}`, seq, seq))
	s.same(string(s.call("bob", "hidden", fmt.Sprintf(`{"limit":1,"after":"crew/%d"}`, seq)).OK), fmt.Sprintf(`{"hidden":[{"conv":"crew","seq":%d}],"more":false}`, reply))
	for _, after := range []string{"crew", "crew/", "crew/x", "/", "crew/-1"} {
		s.refused("bob", "hidden", fmt.Sprintf(`{"after":%q}`, after), chat.BadRequest, "after is that of the page before")
	}
}

// A forwarded post tells of its origin what the conversation that it comes from allows, and of private ones
// never which they are.
func TestForward(t *testing.T) {
	s := crew(t, "")
	s.ok("ana", "group.create", `{"id":"square","title":"Square","visibility":"public","members":["bob"]}`, nil)
	s.ok("ana", "group.create", `{"id":"other","title":"Other","members":["bob"]}`, nil)
	s.post("ana", "ana~bob", chat.Event{Text: "between us"})
	n := 0
	var to forwardAnswer
	fwd := func(from string, seq uint64, conv string) map[string]any {
		t.Helper()
		n++
		s.ok("bob", "forward", fmt.Sprintf(`{"from":%q,"seq":%d,"conv":%q,"id":"f%d"}`, from, seq, conv, n), &to)
		var h struct{ Events []shownEvent }
		s.ok("bob", "history", fmt.Sprintf(`{"conv":%q,"limit":1}`, conv), &h)
		if e := h.Events[0]; e.From != "bob" || e.Seq != to.Seq || e.Fwd == nil {
			t.Errorf("forwarded: %+v", e)
		}
		return h.Events[0].Fwd
	}
	square := s.post("ana", "square", chat.Event{Text: "public", Mentions: []string{"bob"}})
	want(t, "out of a public group", fwd("square", square, "other"), map[string]any{"conv": "square", "seq": square, "from": "ana", "at": epoch})
	again := to
	s.ok("bob", "forward", fmt.Sprintf(`{"from":"square","seq":%d,"conv":"other","id":"f%d"}`, square, n), &to)
	want(t, "a repetition", to, again)
	want(t, "onwards, out of a private group that does not tell", fwd("other", to.Seq, "crew"), map[string]any{})
	private := s.post("ana", "crew", chat.Event{Text: "private"})
	want(t, "out of a private group", fwd("crew", private, "other"), map[string]any{})
	want(t, "out of a direct conversation", fwd("ana~bob", 1, "other"), map[string]any{})
	s.ok("ana", "group.update", `{"conv":"crew","forward":"origin"}`, nil)
	want(t, "out of a private group that tells", fwd("crew", private, "other"), map[string]any{"from": "ana", "at": epoch})
	want(t, "within it", fwd("crew", private, "crew"), map[string]any{"conv": "crew", "seq": private, "from": "ana", "at": epoch})
	s.ok("ana", "group.update", `{"conv":"square","forward":"hidden"}`, nil)
	want(t, "out of a public group that does not tell", fwd("square", square, "other"), map[string]any{})

	burning := s.post("ana", "crew", chat.Event{Text: "burning", Expire: 60})
	s.advance(20 * time.Second)
	fwd("crew", burning, "other")
	var h struct{ Events []struct{ Expire uint64 } }
	s.ok("bob", "history", `{"conv":"other","limit":1}`, &h)
	want(t, "time left to what disappears", h.Events[0].Expire, 40)
	edited := s.post("ana", "crew", chat.Event{Text: "stays"})
	s.post("ana", "crew", chat.Event{Kind: chat.KindEdit, Re: edited, Text: "goes", Expire: 30})
	s.advance(10 * time.Second)
	fwd("crew", edited, "other")
	s.ok("bob", "history", `{"conv":"other","limit":1}`, &h)
	want(t, "time left to an edit that disappears", h.Events[0].Expire, 20)
	s.advance(time.Minute)
	s.refused("bob", "forward", fmt.Sprintf(`{"from":"crew","seq":%d,"conv":"other"}`, burning), chat.NotFound, "no such event")
	s.refused("bob", "forward", fmt.Sprintf(`{"from":"crew","seq":%d,"conv":"nowhere"}`, private), chat.NotFound, "no such conversation")
	s.refused("bob", "forward", fmt.Sprintf(`{"from":"crew","seq":%d,"conv":"bob~nobody"}`, private), chat.NotFound, "no such conversation")
	s.refused("dan", "forward", fmt.Sprintf(`{"from":"crew","seq":%d,"conv":"bob~dan"}`, private), chat.NotFound, "no such conversation")
	s.refused("bob", "forward", `{"from":"crew","seq":1,"conv":"other"}`, chat.BadRequest, "only posts")
}

type forwardAnswer struct {
	Conv string
	Seq  uint64
}

// Either of two may say when what they write disappears.
func TestConvUpdate(t *testing.T) {
	s := crew(t, "")
	s.refused("bob", "conv.update", `{"conv":"ana~bob","expire":60}`, chat.Conflict, "first message")
	s.post("ana", "ana~bob", chat.Event{Text: "stays"})
	var a struct{ Expire uint32 }
	s.ok("bob", "conv.update", `{"conv":"ana~bob","expire":60}`, &a)
	want(t, "expire", a.Expire, 60)
	s.post("ana", "ana~bob", chat.Event{Text: "goes"})
	s.post("ana", "ana~bob", chat.Event{Text: "stays longer", Expire: 3600})
	s.advance(time.Minute)
	var h struct{ Events []shownEvent }
	s.ok("bob", "history", `{"conv":"ana~bob"}`, &h)
	var got []string
	for _, e := range h.Events {
		got = append(got, e.Text+e.Kind)
	}
	want(t, "history", got, []string{"stays", "info", "gone", "stays longer"})
	s.refused("dan", "conv.update", `{"conv":"ana~bob","expire":0}`, chat.NotFound, "no such conversation")
	s.refused("bob", "conv.update", `{"conv":"ana~bob"}`, chat.BadRequest, "expire and forward")
	s.refused("bob", "conv.update", `{"conv":"crew","expire":60}`, chat.NotAuthorized, "settings")
	s.refused("bob", "conv.update", `{"conv":"ana~bob","expire":4000000000}`, chat.BadRequest, "at most")
}
