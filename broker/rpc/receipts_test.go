package rpc_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

type meantime struct {
	Conv  string `json:"conv"`
	Users []struct {
		User      string  `json:"user"`
		Delivered uint64  `json:"delivered"`
		Read      *uint64 `json:"read"`
	} `json:"users"`
	Seq       uint64  `json:"seq"`
	Delivered uint64  `json:"delivered"`
	Read      *uint64 `json:"read"`
	Of        uint64  `json:"of"`
}

// String is one line for a comparison; ? is what is not told.
func (m meantime) String() string {
	num := func(n *uint64) string {
		if n == nil {
			return "?"
		}
		return fmt.Sprint(*n)
	}
	out := m.Conv
	for _, u := range m.Users {
		out += fmt.Sprintf(" %s %d/%s", u.User, u.Delivered, num(u.Read))
	}
	if m.Seq > 0 {
		out += fmt.Sprintf(" #%d %d/%s of %d", m.Seq, m.Delivered, num(m.Read), m.Of)
	}
	return out
}

type meanwhiles struct {
	Convs    []meantime `json:"convs"`
	Receipts []meantime `json:"receipts"`
	Since    string     `json:"since"`
	More     bool       `json:"more"`
}

func lines(list []meantime) (out []string) {
	for _, m := range list {
		out = append(out, m.String())
	}
	return out
}

// group makes a group of the owner and others.
func (s *server) group(owner, id string, others ...string) {
	s.t.Helper()
	title := "Group " + id
	must(s.t, s.hub.Do(&hub.Request{Conv: id, Cmd: chat.Command{
		Op: chat.OpCreate, Actor: owner, Info: &chat.InfoChange{Title: &title}, Members: others}}).Err)
}

func (s *server) hide(user string) {
	s.t.Helper()
	s.ok(user, "user.update", `{"receipts":false}`, nil)
}

// A sender who was away learns what was delivered and read meanwhile, of the conversations they wrote to, once;
// of those who hide it, not what they read.
func TestReceiptsMeanwhile(t *testing.T) {
	s := newServer(t)
	s.users("ana", "bo", "cleo", "dan")
	s.group("ana", "crew", "bo", "cleo")
	s.group("bo", "quiet", "ana")
	s.post("ana", "ana~bo", postOf("hello"))
	mine := s.post("ana", "crew", postOf("who comes?"))
	s.post("bo", "quiet", postOf("ana wrote nothing here"))
	s.hide("cleo")
	var first, sync convs
	s.ok("ana", "sync", `{}`, &sync)
	s.ok("ana", "receipts.since", `{}`, &first)

	s.advance(time.Hour)
	s.cursor("bo", "ana~bo", 1, 0)
	s.cursor("bo", "crew", 0, mine)
	s.cursor("cleo", "crew", 0, mine)
	s.cursor("ana", "quiet", 0, 3)
	s.advance(time.Minute)
	want := []string{"ana~bo bo 1/0", fmt.Sprintf("crew bo %d/%d cleo %d/?", mine, mine, mine)}
	var got meanwhiles
	s.ok("ana", "receipts.since", fmt.Sprintf(`{"since":%q}`, first.Since), &got)
	equal(t, lines(got.Convs), want)
	var again meanwhiles
	s.ok("ana", "sync", fmt.Sprintf(`{"since":%q}`, sync.Since), &again)
	equal(t, lines(again.Receipts), want)

	// Paged, one conversation at a time.
	var pages []string
	page := meanwhiles{Since: first.Since, More: true}
	for page.More {
		since := page.Since
		page = meanwhiles{}
		s.ok("ana", "receipts.since", fmt.Sprintf(`{"since":%q,"limit":1}`, since), &page)
		pages = append(pages, lines(page.Convs)...)
	}
	equal(t, pages, want)

	s.advance(time.Hour)
	for _, since := range []string{got.Since, page.Since} {
		var later meanwhiles
		s.ok("ana", "receipts.since", fmt.Sprintf(`{"since":%q}`, since), &later)
		equal(t, lines(later.Convs), nil)
	}
	var quiet meanwhiles
	s.ok("ana", "sync", fmt.Sprintf(`{"since":%q}`, again.Since), &quiet)
	equal(t, lines(quiet.Receipts), nil)

	// Who is no member any more tells nothing, and is told nothing.
	s.cursor("bo", "ana~bo", 0, 1)
	s.ok("ana", "member.remove", `{"conv":"crew","user":"cleo"}`, nil)
	s.hide("ana")
	var blind meanwhiles
	s.ok("ana", "receipts.since", fmt.Sprintf(`{"since":%q}`, got.Since), &blind)
	equal(t, lines(blind.Convs), []string{"ana~bo bo 1/?"})
	var former meanwhiles
	s.ok("cleo", "receipts.since", `{}`, &former)
	equal(t, lines(former.Convs), nil)
}

// That somebody has read something is what they hide, not only what it was: nobody learns of it by being told
// again what was delivered.
func TestHiddenReadingLeavesNoTrace(t *testing.T) {
	s := newServer(t)
	s.users("ana", "bo")
	mine := s.post("ana", "ana~bo", postOf("hello"))
	s.hide("bo")
	s.cursor("bo", "ana~bo", mine, 0)
	s.advance(time.Hour)
	var before, after meanwhiles
	var first, second convs
	s.ok("ana", "receipts.since", `{}`, &before)
	equal(t, lines(before.Convs), []string{"ana~bo bo 1/?"})
	s.ok("ana", "sync", `{}`, &first)
	s.advance(time.Hour)
	s.cursor("bo", "ana~bo", 0, mine)
	s.advance(time.Minute)
	s.ok("ana", "receipts.since", fmt.Sprintf(`{"since":%q}`, before.Since), &after)
	equal(t, lines(after.Convs), nil)
	var again meanwhiles
	s.ok("ana", "sync", fmt.Sprintf(`{"since":%q}`, first.Since), &again)
	equal(t, lines(again.Receipts), nil)
	s.ok("bo", "sync", fmt.Sprintf(`{"since":%q}`, first.Since), &second)
	if len(second.Convs) != 1 {
		t.Error("the reader's own devices don't learn of it")
	}
}

// Who is blocked learns nothing of what the other one does.
func TestReceiptsOfWhoBlocks(t *testing.T) {
	s := newServer(t)
	s.users("ana", "bo")
	s.post("ana", "ana~bo", postOf("hello"))
	s.post("bo", "ana~bo", postOf("hi"))
	last := s.post("ana", "ana~bo", postOf("are you there?"))
	s.ok("bo", "block", `{"user":"ana"}`, nil)
	s.cursor("bo", "ana~bo", last, last)
	type told struct{ Delivered, Read, Of int }
	ask := fmt.Sprintf(`{"conv":"ana~bo","seq":%d}`, last)
	var got told
	s.ok("ana", "receipts", ask, &got)
	equal(t, []told{got}, []told{{Of: 1}})
	s.ok("bo", "unblock", `{"user":"ana"}`, nil)
	s.ok("ana", "receipts", ask, &got)
	equal(t, []told{got}, []told{{Delivered: 1, Read: 1, Of: 1}})
}

// In a large group the sender gets counts; a burst of readers is a few commits; and who hides it, doesn't see it.
func TestReceiptsOfALargeGroup(t *testing.T) {
	s := newServer(t)
	const n = 1000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("m%04d", i)
	}
	s.users("ana", names[0], names[1])
	s.group("ana", "crowd", names...)
	mine := s.post("ana", "crowd", postOf("all read this"))
	var first meanwhiles
	s.ok("ana", "receipts.since", `{}`, &first)
	s.advance(time.Hour)
	s.profiles.m[names[1]] = storage.Profile{NoRead: true}
	before := s.store.LastCommit()
	var wg sync.WaitGroup
	for _, name := range names[:900] {
		wg.Add(1)
		s.hub.MoveCursor(&hub.Move{Conv: "crowd", User: name, Read: mine, Done: func(r hub.Result) {
			if r.Err != nil {
				t.Error(r.Err)
			}
			wg.Done()
		}})
	}
	wg.Wait()
	if commits := s.store.LastCommit() - before; commits > 100 {
		t.Errorf("900 readers are %d commits", commits)
	}
	var got meanwhiles
	s.ok("ana", "receipts.since", fmt.Sprintf(`{"since":%q}`, first.Since), &got)
	equal(t, lines(got.Convs), []string{fmt.Sprintf("crowd #%d 900/899 of 1000", mine)})

	type page struct {
		Delivered, Of int
		Read          *int
		Who           []struct {
			User      string
			Delivered bool
			Read      *bool
		}
		More bool
	}
	var who page
	s.ok("ana", "receipts", fmt.Sprintf(`{"conv":"crowd","seq":%d,"limit":1000}`, mine), &who)
	if who.Delivered != 900 || who.Read == nil || *who.Read != 899 || who.Of != n || len(who.Who) != n || who.More || *who.Who[1].Read {
		t.Errorf("%d delivered, %v read of %d, %d shown", who.Delivered, who.Read, who.Of, len(who.Who))
	}
	var hidden page
	s.ok(names[1], "receipts", fmt.Sprintf(`{"conv":"crowd","seq":%d,"limit":3,"after":"m0000"}`, mine), &hidden)
	if hidden.Read != nil || len(hidden.Who) != 3 || !hidden.More || hidden.Who[1].Read != nil {
		t.Errorf("who hides what they read is told %+v", hidden)
	}
	if me := hidden.Who[0]; me.User != names[1] || me.Read == nil || !*me.Read {
		t.Errorf("of themselves they are told %+v", me)
	}
}

// The read audit has at most one entry per member and ten seconds, written with the cursor, and none when it is off.
func TestReadAudit(t *testing.T) {
	s := newServer(t)
	s.users("ana", "bo")
	for range 5 {
		s.post("ana", "ana~bo", postOf("x"))
	}
	entries := func() (list []storage.Read) {
		must(t, s.store.Scan(storage.ReadsOf("ana~bo"), nil, func(k storage.Key, v []byte) bool {
			conv, ms, user, ok := storage.TakeRead(k)
			r, err := storage.DecodeRead(v)
			if err != nil || !ok || conv != "ana~bo" || user != "bo" || r.At > ms || ms > r.At+10_000 {
				t.Errorf("%q: %d %+v %v", k, ms, r, err)
			}
			list = append(list, r)
			return true
		}))
		return list
	}
	s.cursor("bo", "ana~bo", 1, 0)
	s.advance(4 * time.Second)
	s.cursor("bo", "ana~bo", 3, 2)
	s.cursor("bo", "ana~bo", 3, 2) // no move
	s.advance(6 * time.Second)
	s.cursor("bo", "ana~bo", 3, 3)
	want := []storage.Read{
		{Cursor: chat.Cursor{Delivered: 3, Read: 2}, At: epoch + 4000},
		{Cursor: chat.Cursor{Delivered: 3, Read: 3}, At: epoch + 10_000},
	}
	equal(t, entries(), want)
	s.hub.SetAudit(false)
	s.advance(time.Minute)
	s.cursor("bo", "ana~bo", 5, 5)
	equal(t, entries(), want)
}
