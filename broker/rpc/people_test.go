package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// own returns what a user's own log says, a line for each entry.
func (s *server) own(user string) (lines []string) {
	s.t.Helper()
	must(s.t, s.pipeline.Barrier())
	must(s.t, s.store.Read(storage.OwnLog(user), 1, 1<<62, func(e storage.Entry) bool {
		ev, err := protocol.DecodeStored(e.Data)
		must(s.t, err)
		ev.Seq, ev.At = 0, 0
		lines = append(lines, string(protocol.AppendEvent(nil, protocol.ViewJSON, &ev, false)))
		return true
	}))
	return lines
}

func (s *server) refuse(user, method, payload string, code chat.Code) {
	s.t.Helper()
	r := s.call(user, method, payload)
	if r.Error == nil || r.Error.Code != code {
		s.t.Fatalf("%s of %s by %s: %s %v, want %s", method, payload, user, r.OK, r.Error, code)
	}
}

// contactsOf is the list of a user's contacts as words.
func (s *server) contactsOf(user string) string {
	s.t.Helper()
	var got struct {
		Contacts []struct{ User, State, Text string }
	}
	s.ok(user, "contact.list", `{}`, &got)
	var words []string
	for _, c := range got.Contacts {
		words = append(words, strings.TrimSpace(c.User+" "+c.State+" "+c.Text))
	}
	return strings.Join(words, ", ")
}

func (s *server) same(got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestContacts(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob", "carol")
	s.ok("alice", "contact.request", `{"user":"bob","text":"from school"}`, nil)
	s.ok("alice", "contact.request", `{"user":"bob","text":"again"}`, nil) // changes nothing
	s.same(s.contactsOf("alice"), "bob requested")
	s.same(s.contactsOf("bob"), "alice incoming from school")
	s.refuse("alice", "contact.accept", `{"user":"bob"}`, chat.NotFound)

	// Declined, silently: asking again changes nothing, and it can be accepted all the same.
	s.ok("bob", "contact.decline", `{"user":"alice"}`, nil)
	s.same(s.contactsOf("alice"), "bob requested")
	s.same(s.contactsOf("bob"), "")
	s.ok("alice", "contact.remove", `{"user":"bob"}`, nil)
	s.ok("alice", "contact.request", `{"user":"bob","text":"please"}`, nil)
	s.same(s.contactsOf("bob"), "")
	s.ok("bob", "contact.accept", `{"user":"alice"}`, nil)
	s.same(s.contactsOf("bob"), "alice accepted")
	s.ok("bob", "contact.accept", `{"user":"alice"}`, nil)

	// Requests that cross meet.
	s.ok("alice", "contact.request", `{"user":"carol"}`, nil)
	s.ok("carol", "contact.request", `{"user":"alice"}`, nil)
	s.same(s.contactsOf("alice"), "bob accepted, carol accepted")
	s.ok("alice", "contact.remove", `{"user":"carol"}`, nil)
	s.same(s.contactsOf("carol"), "")

	for _, bad := range []string{`{}`, `{"user":"alice"}`, `{"user":"no such"}`, `{"user":"bob","text":"` + strings.Repeat("x", 257) + `"}`} {
		s.refuse("alice", "contact.request", bad, chat.BadRequest)
	}
	s.refuse("alice", "contact.request", `{"user":"nobody"}`, chat.NotFound)
	want := []string{
		`{"from":"alice","kind":"contact","text":"incoming","member":{"user":"alice"}}`,
		`{"from":"bob","kind":"contact","text":"none","member":{"user":"alice"}}`, // own devices: declined
		`{"from":"bob","kind":"contact","text":"accepted","member":{"user":"alice"}}`,
	}
	if got := s.own("bob"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("bob's own log\n%s", strings.Join(got, "\n"))
	}
}

// Of requests that come at once from both sides, whatever the order, two contacts come.
func TestCrossingRequests(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob")
	for range 20 {
		var wg sync.WaitGroup
		for _, pair := range [][2]string{{"alice", "bob"}, {"bob", "alice"}} {
			wg.Go(func() { s.raw(pair[0], "contact.request", `{"user":"`+pair[1]+`"}`, 0) })
		}
		wg.Wait()
		s.same(s.contactsOf("alice")+"; "+s.contactsOf("bob"), "bob accepted; alice accepted")
		s.ok("alice", "contact.remove", `{"user":"bob"}`, nil)
	}
}

func TestContactLimits(t *testing.T) {
	s := newServer(t)
	s.users("alice")
	for i := range 201 {
		s.users(fmt.Sprintf("u%03d", i))
	}
	for i := range 200 {
		s.ok("alice", "contact.request", fmt.Sprintf(`{"user":"u%03d"}`, i), nil)
	}
	s.refuse("alice", "contact.request", `{"user":"u200"}`, chat.RateLimited)
	s.ok("u007", "contact.accept", `{"user":"alice"}`, nil)
	s.ok("alice", "contact.request", `{"user":"u200"}`, nil)
	var page struct {
		Contacts []struct{ User string }
		After    string
		More     bool
	}
	seen := 0
	for after := ""; ; after = page.After {
		s.ok("alice", "contact.list", fmt.Sprintf(`{"limit":64,"after":%q}`, after), &page)
		seen += len(page.Contacts)
		if !page.More {
			break
		}
	}
	if seen != 201 {
		t.Error("listed:", seen)
	}

	// Asking and taking it back fills nobody's own log without end.
	var b storage.Batch
	b.Set(storage.TallyKey("u001", "contacts"), storage.Marshal(storage.Tally{Day: s.clock() / (24 * time.Hour).Milliseconds(), N: 499}))
	must(t, s.pipeline.CommitWait(&b))
	s.ok("u001", "contact.request", `{"user":"u002"}`, nil)
	s.ok("u001", "contact.remove", `{"user":"u002"}`, nil)
	s.refuse("u001", "contact.request", `{"user":"u002"}`, chat.RateLimited)
	s.advance(24 * time.Hour)
	s.ok("u001", "contact.request", `{"user":"u002"}`, nil)
}

// Two devices set the same thing at once: both are told of both, in the order in which they count, and the last
// one is what stands.
func TestSettingsLastWriterWins(t *testing.T) {
	s := newServer(t)
	s.users("alice")
	type view struct {
		Value any
		At    int64
	}
	replies := make(chan view, 64)
	var wg sync.WaitGroup
	for device := range 2 {
		wg.Go(func() {
			for i := range 32 {
				var r struct{ OK view }
				b := s.raw("alice", "setting.set", fmt.Sprintf(`{"name":"theme","value":"%d-%d"}`, device, i), 0)
				if err := json.Unmarshal(b, &r); err != nil || r.OK.At == 0 {
					t.Errorf("%s %v", b, err)
				}
				replies <- r.OK
			}
		})
	}
	wg.Wait()
	close(replies)
	var last view
	times := map[int64]bool{}
	for v := range replies {
		if times[v.At] {
			t.Fatal("two values of one time:", v.At)
		}
		if times[v.At] = true; v.At > last.At {
			last = v
		}
	}
	var got view
	s.ok("alice", "setting.get", `{"name":"theme"}`, &got)
	if got != last {
		t.Errorf("%v stands, but %v was last", got, last)
	}
	lines := s.own("alice")
	if len(lines) != 64 || !strings.Contains(lines[63], fmt.Sprintf(`"value":%q`, last.Value)) {
		t.Errorf("the own log ends with %s after %d entries", lines[len(lines)-1], len(lines))
	}
	// Who wants to know gives the time of what they have seen.
	s.refuse("alice", "setting.set", fmt.Sprintf(`{"name":"theme","value":1,"if":%d}`, last.At-1), chat.Conflict)
	s.ok("alice", "setting.set", fmt.Sprintf(`{"name":"theme","value":{"dark":[1,null]},"if":%d}`, last.At), nil)
	s.same(string(s.call("alice", "setting.list", `{}`).OK),
		fmt.Sprintf(`{"settings":[{"name":"theme","value":{"dark":[1,null]},"at":%d}],"more":false}`, last.At+1))
	s.ok("alice", "setting.set", `{"name":"theme","value":null}`, nil)
	s.same(string(s.call("alice", "setting.list", `{}`).OK), `{"settings":[],"more":false}`)
}

func TestSettingBounds(t *testing.T) {
	s := newServer(t)
	s.users("alice")
	for _, bad := range []string{
		`{"value":1}`, `{"name":"","value":1}`, `{"name":"A","value":1}`, `{"name":"a/b","value":1}`,
		`{"name":"` + strings.Repeat("a", 65) + `","value":1}`,
	} {
		s.refuse("alice", "setting.set", bad, chat.BadRequest)
	}
	s.refuse("alice", "setting.set", `{"name":"a","value":"`+strings.Repeat("x", 4096)+`"}`, chat.TooLarge)
	for i := range 500 {
		s.ok("alice", "setting.set", fmt.Sprintf(`{"name":"n%d","value":%d}`, i, i), nil)
	}
	s.refuse("alice", "setting.set", `{"name":"one-more","value":1}`, chat.TooLarge)
	s.ok("alice", "setting.set", `{"name":"n7","value":"changed"}`, nil)
	s.ok("alice", "setting.set", `{"name":"n8","value":null}`, nil)
	s.ok("alice", "setting.set", `{"name":"one-more","value":1}`, nil)
}

func TestConvSettings(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob")
	s.ok("alice", "group.create", `{"id":"crew","title":"Crew"}`, nil)
	s.ok("alice", "conv.mute", `{"conv":"crew"}`, nil)
	s.ok("alice", "conv.pin", `{"conv":"crew"}`, nil)
	s.ok("alice", "conv.archive", `{"conv":"alice~bob","archived":true}`, nil)
	crew, err := storage.ConvSettings(s.store, "alice", "crew")
	must(t, err)
	if crew.Mute != storage.MutedForGood || !crew.Pinned || crew.Archived || !crew.Muted(epoch) {
		t.Errorf("%+v", crew)
	}
	until := epoch + time.Hour.Milliseconds()
	s.ok("alice", "conv.mute", fmt.Sprintf(`{"conv":"crew","until":%d}`, until), nil)
	s.ok("alice", "conv.pin", `{"conv":"crew","pinned":false}`, nil)
	crew, err = storage.ConvSettings(s.store, "alice", "crew")
	must(t, err)
	if crew.Mute != until || crew.Pinned || !crew.Muted(until-1) || crew.Muted(until) {
		t.Errorf("%+v", crew)
	}
	s.ok("alice", "conv.mute", `{"conv":"crew","until":0}`, nil)
	s.refuse("alice", "conv.mute", `{"conv":"crew","until":-5}`, chat.BadRequest)
	s.refuse("bob", "conv.mute", `{"conv":"crew"}`, chat.NotFound)
	s.refuse("bob", "conv.mute", `{"conv":"nowhere"}`, chat.NotFound)
	s.refuse("bob", "conv.archive", `{"conv":"alice~carol"}`, chat.NotFound)
	lines := strings.Join(s.own("alice"), "\n")
	for _, want := range []string{
		`"kind":"setting","ext":{"name":"mute","value":-1},"conv":"crew"`, `"ext":{"name":"pin","value":true},"conv":"crew"`,
		`"ext":{"name":"archive","value":true},"conv":"alice~bob"`, `"ext":{"name":"mute","value":0},"conv":"crew"`,
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("the own log has no %s:\n%s", want, lines)
		}
	}
}

// A draft that is written word by word is stored each time, and told at most every two seconds, the last one
// always: also when the server ends before it is told.
func TestDrafts(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob")
	for _, text := range []string{"I", "I was", "I was thinking"} {
		s.ok("alice", "draft.set", fmt.Sprintf(`{"conv":"alice~bob","text":%q}`, text), nil)
	}
	if lines := s.own("alice"); len(lines) != 1 || !strings.Contains(lines[0], `"value":"I"`) {
		t.Fatal(lines)
	}
	var got struct{ Value string }
	s.ok("alice", "setting.get", `{"conv":"alice~bob","name":"draft"}`, &got)
	s.same(got.Value, "I was thinking")
	s.svc.Close() // before the time has come
	again := rpc.New(rpc.Options{
		Hub: s.hub, Store: s.store, Barrier: s.pipeline.Barrier, Accounts: s.accounts, Profiles: s.profiles, Devices: s.registry,
		Admin: noAdmin{}, Now: s.clock,
	})
	must(t, again.Resume())
	if lines := s.own("alice"); len(lines) != 2 || !strings.Contains(lines[1], `"value":"I was thinking"`) {
		t.Fatal(lines)
	}
	must(t, again.Resume())
	if lines := s.own("alice"); len(lines) != 2 {
		t.Fatal("it is told twice:", lines)
	}
	s.svc = again
	s.advance(3 * time.Second)
	s.ok("alice", "draft.set", `{"conv":"alice~bob","text":""}`, nil)
	if lines := s.own("alice"); len(lines) != 3 || !strings.Contains(lines[2], `"value":""`) {
		t.Fatal(lines)
	}
	s.same(string(s.call("alice", "setting.list", `{}`).OK), `{"settings":[],"more":false}`)
	s.refuse("alice", "draft.set", `{"conv":"alice~bob"}`, chat.BadRequest)
	s.refuse("alice", "draft.set", `{"conv":"alice~bob","text":"`+strings.Repeat("x", 64<<10+1)+`"}`, chat.TooLarge)
	s.refuse("alice", "draft.set", `{"conv":"nowhere","text":"x"}`, chat.NotFound)
	again.Close()
}

func TestReports(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob", "carol", "dave", "root")
	s.ok("alice", "group.create", `{"id":"crew","title":"Crew","members":["bob","carol"]}`, nil)
	for i := range 6 {
		s.post("bob", "crew", postOf(fmt.Sprint("spam ", i)))
	}
	var id struct{ ID string }
	s.ok("carol", "report", `{"conv":"crew","seq":9,"reason":"spam"}`, &id)
	lines := s.own("alice")
	s.same(lines[len(lines)-1], `{"from":"carol","kind":"report","text":"spam","re":9,"member":{"user":"carol"},"conv":"crew"}`)
	if lines := strings.Join(s.own("bob"), ""); strings.Contains(lines, "report") {
		t.Error("who is reported is told:", lines)
	}
	s.ok("alice", "member.role", `{"conv":"crew","user":"bob","role":"moderator"}`, nil)
	s.ok("carol", "report", `{"conv":"crew","seq":9,"user":"alice","reason":"she lets him"}`, nil)
	if lines := strings.Join(s.own("bob"), "") + strings.Join(s.own("alice"), ""); strings.Contains(lines, "lets him") {
		t.Error("those whom a report is about are told:", lines)
	}
	s.advance(24 * time.Hour)
	for payload, code := range map[string]chat.Code{
		`{"reason":"x"}`:                          chat.BadRequest,
		`{"conv":"crew","seq":9,"reason":" "}`:    chat.BadRequest,
		`{"seq":9,"reason":"x"}`:                  chat.BadRequest,
		`{"conv":"crew","seq":99,"reason":"x"}`:   chat.NotFound,
		`{"conv":"nowhere","seq":1,"reason":"x"}`: chat.NotFound,
		`{"user":"nobody","reason":"x"}`:          chat.NotFound,
		`{"user":"carol","reason":"it is me"}`:    chat.BadRequest,
	} {
		s.refuse("carol", "report", payload, code)
	}
	s.refuse("dave", "report", `{"conv":"crew","seq":9,"reason":"x"}`, chat.NotFound)
	s.refuse("alice", "admin.reports", `{}`, chat.NotAuthorized)
	root := func(method, payload string) string {
		return string(s.svc.Call(t.Context(), rpc.Caller{User: "root", Admin: true}, method, []byte(payload), 0))
	}
	got := root("admin.reports", `{}`)
	for _, want := range []string{`"by":"carol","user":"bob","conv":"crew","seq":9,"reason":"spam"`, `"text":"spam 5"`, `"text":"spam 1"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if strings.Contains(got, "spam 0") {
		t.Error("more events than promised:", got)
	}
	if got := root("admin.report.resolve", `{"id":"`+id.ID+`","note":"banned"}`); !strings.Contains(got, `"doneby":"root"`) {
		t.Error(got)
	}
	if got := root("admin.reports", `{}`); strings.Contains(got, `"spam"`) {
		t.Error("it is still open:", got)
	}
	if got := root("admin.reports", `{"all":true}`); !strings.Contains(got, `"note":"banned"`) {
		t.Error(got)
	}
	for range 20 {
		s.ok("carol", "report", `{"user":"bob","reason":"again"}`, nil)
	}
	s.refuse("carol", "report", `{"user":"bob","reason":"again"}`, chat.RateLimited)
	s.advance(24 * time.Hour)
	s.ok("carol", "report", `{"user":"bob","reason":"again"}`, nil)
}

// The export has everything of the user's own, page by page, and nothing that others wrote.
func TestExport(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob", "cas")
	s.ok("cas", "contact.request", `{"user":"alice","text":"words of cas"}`, nil)
	s.ok("alice", "group.create", `{"id":"crew","title":"Crew","members":["bob"]}`, nil)
	for i := range 700 {
		s.post("alice", "crew", postOf(fmt.Sprint("mine ", i)))
		s.post("bob", "crew", postOf("of bob"))
	}
	s.post("alice", "alice~bob", postOf("to bob"))
	s.ok("alice", "contact.request", `{"user":"bob"}`, nil)
	s.ok("alice", "setting.set", `{"name":"theme","value":"dark"}`, nil)
	s.ok("alice", "draft.set", `{"conv":"crew","text":"almost"}`, nil)
	s.ok("alice", "user.update", `{"name":"Alice","messages":"shared"}`, nil)
	var page struct {
		Items []json.RawMessage
		After string
		More  bool
	}
	var all strings.Builder
	items := map[string]int{}
	for pages, after := 0, ""; ; after = page.After {
		page.Items, page.More = nil, false
		s.ok("alice", "user.export", fmt.Sprintf(`{"after":%q}`, after), &page)
		for _, it := range page.Items {
			var head struct{ Type string }
			must(t, json.Unmarshal(it, &head))
			items[head.Type]++
			all.Write(it)
		}
		if !page.More {
			break
		}
		if pages++; pages > 10 {
			t.Fatal("no end")
		}
	}
	want := map[string]int{"account": 1, "profile": 1, "contact": 2, "setting": 2, "membership": 2, "event": 703} // and create, add
	if fmt.Sprint(items) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", items, want)
	}
	for _, text := range []string{`"mine 0"`, `"mine 699"`, `"to bob"`, `"almost"`, `"dark"`, `"messages":"shared"`} {
		if strings.Count(all.String(), text) != 1 {
			t.Errorf("%s is there %d times", text, strings.Count(all.String(), text))
		}
	}
	if strings.Contains(all.String(), "of bob") || strings.Contains(all.String(), "of cas") {
		t.Error("it has what others wrote")
	}
	s.refuse("alice", "user.export", `{"after":"9/x"}`, chat.BadRequest)
	s.refuse("alice", "user.erase", `{"confirm":"yes"}`, chat.BadRequest)
}

type noAdmin struct{}

func (noAdmin) Methods() []string { return nil }
func (noAdmin) Call(context.Context, string, func(any) error) (any, error) {
	return nil, chat.Refuse(chat.NotFound, "there is no such method")
}

// A first message that comes right behind a block, before that is on disk, is refused all the same; and one that
// comes behind the end of the block is not.
func TestBlockAndFirstMessageInOneBatch(t *testing.T) {
	s := newServer(t)
	for i := range 50 {
		other := fmt.Sprintf("u%02d", i)
		conv := chat.DirectID("alice", other)
		results := make(chan hub.Result, 4)
		submit := func(cmd chat.Command, rec *storage.Block) {
			var b storage.Batch
			if rec != nil {
				b.Set(storage.BlockKey("alice", other), storage.Marshal(*rec))
				b.Set(storage.BlockKey(other, "alice"), storage.Marshal(storage.Block{At: rec.By, By: rec.At}))
			}
			s.hub.Submit(&hub.Request{Conv: conv, Direct: true, Cmd: cmd, With: b, Done: func(r hub.Result) { results <- r }})
		}
		post := chat.Command{Op: chat.OpAppend, Actor: other, Event: postOf("hi")}
		submit(chat.Command{Op: chat.OpBlock, Actor: "alice"}, &storage.Block{At: 1})
		submit(post, nil)
		submit(chat.Command{Op: chat.OpUnblock, Actor: "alice"}, &storage.Block{})
		submit(post, nil)
		refused := 0
		for range 4 {
			if r := <-results; r.Err != nil {
				refused++
			}
		}
		if refused != 1 {
			t.Fatalf("%s: %d of the two messages were refused, want the first alone", conv, refused)
		}
		if head, _, err := s.hub.Head(conv); err != nil || head != 1 {
			t.Fatal(head, err)
		}
	}
}
