package rpc_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/chat"
)

// Whatever is asked for, the records are what the owner of the group knows: a server that starts on them
// decides alike. What is refused leaves no trace.
func TestGateIsOnRecord(t *testing.T) {
	s := newServer(t)
	users := []string{"ann", "ben", "cat", "dan", "eve"}
	s.users(users...)
	s.ok("ann", "group.create", `{"id":"crew","title":"Crew","join":"request","members":["ben"]}`, nil)
	s.ok("ann", "member.role", `{"conv":"crew","user":"ben","role":"moderator"}`, nil)
	rng := rand.New(rand.NewPCG(7, 7))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	var code string
	done := map[string]int{}
	for range 600 {
		method := pick("group.join", "group.join", "request.approve", "request.deny", "group.leave", "invite.create", "invite.accept",
			"invite.accept", "invite.revoke", "member.ban", "member.unban", "member.mute", "member.remove")
		who, whom := pick(users...), pick(users...)
		if method != "group.join" && method != "group.leave" && method != "invite.accept" {
			who = pick("ann", "ben")
		}
		if who == "ann" && method == "group.leave" {
			continue // or the run would end early
		}
		until := s.clock() + rng.Int64N(7200)*1000
		request := map[string]string{
			"group.join": `{"conv":"crew","text":"please"}`, "group.leave": `{"conv":"crew"}`,
			"invite.create": fmt.Sprintf(`{"conv":"crew","uses":%d,"expires":%d}`, rng.IntN(3), until),
			"invite.accept": fmt.Sprintf(`{"code":%q}`, code), "invite.revoke": fmt.Sprintf(`{"code":%q}`, code),
			"member.ban":  fmt.Sprintf(`{"conv":"crew","user":%q,"until":%d}`, whom, until),
			"member.mute": fmt.Sprintf(`{"conv":"crew","user":%q,"until":%d}`, whom, until),
		}[method]
		if request == "" {
			request = fmt.Sprintf(`{"conv":"crew","user":%q}`, whom)
		}
		before := s.snapshot("crew")
		if r := s.call(who, method, request); r.Error == nil {
			done[method]++
			if method == "invite.create" {
				code = fmt.Sprintf("g%025d", s.ids)
			}
		} else if after := s.snapshot("crew"); !reflect.DeepEqual(before, after) {
			t.Fatalf("%s by %s of %s was refused (%v) and led from\n%+v\nto\n%+v", method, who, request, r.Error, before, after)
		}
		st, _, err := hub.LoadState(s.store, codec{}, "crew", false)
		must(t, err)
		if got, want := st.Snapshot(), s.snapshot("crew"); !reflect.DeepEqual(got, want) {
			t.Fatalf("after %s by %s of %s\non record %+v\nin memory %+v", method, who, request, got, want)
		}
		s.advance(time.Duration(rng.IntN(900)) * time.Second)
	}
	if len(done) != 11 {
		t.Errorf("not all was done: %v", done)
	}
	_, err := verify.Check(s.store, func(p verify.Problem) { t.Error(p) })
	must(t, err)
}

func (s *server) snapshot(conv string) (p chat.Snapshot) {
	s.t.Helper()
	must(s.t, s.hub.Query(conv, false, func(v hub.View) { p = v.State.Snapshot() }))
	return p
}

// A small client gets the lists of a gate a part at a time.
func TestGateListsFitTheClient(t *testing.T) {
	s := newServer(t)
	s.users("ann", "ben", "cat", "dan")
	s.ok("ann", "group.create", `{"id":"crew","title":"Crew","join":"request"}`, nil)
	for _, user := range []string{"ben", "cat", "dan"} {
		s.ok(user, "group.join", `{"conv":"crew","text":"a few words that take some room in the reply"}`, nil)
		s.ok("ann", "invite.create", `{"conv":"crew"}`, nil)
	}
	for method, want := range map[string]string{
		"request.list": `{"ok":{"requests":[{"user":"ben","at":1767225600000,"text":"a few words that take some room in the reply"}],"more":true}}`,
		"invite.list": `{"ok":{"invites":[{"conv":"crew","code":"g0000000000000000000000001","link":"petrel:join?code=g0000000000000000000000001",` +
			`"uses":0,"used":0,"expires":0,"by":"ann","at":1767225600000}],"more":true}}`,
	} {
		if got := string(s.raw("ann", method, `{"conv":"crew"}`, map[string]int{"request.list": 180, "invite.list": 260}[method])); got != want {
			t.Errorf("%s: %s", method, got)
		}
	}
}

// Who is not in a group learns nothing of its invitations by trying to revoke them: of those that hold, of those that
// hold no more, and of codes that there never were.
func TestRevokeTellsNothing(t *testing.T) {
	s := newServer(t)
	s.users("ann", "ben")
	for _, visibility := range []string{"private", "public"} {
		s.ok("ann", "group.create", fmt.Sprintf(`{"id":%q,"title":"Crew","visibility":%q}`, visibility, visibility), nil)
		for _, second := range []int64{1, 1000} {
			s.ok("ann", "invite.create", fmt.Sprintf(`{"conv":%q,"expires":%d}`, visibility, s.clock()+1000*second), nil)
			s.advance(2 * time.Second)
			code := fmt.Sprintf("g%025d", s.ids)
			got := s.call("ben", "invite.revoke", fmt.Sprintf(`{"code":%q}`, code))
			if none := s.call("ben", "invite.revoke", `{"code":"g99"}`); !reflect.DeepEqual(got, none) {
				t.Errorf("%s: %v, of no code %v", visibility, got.Error, none.Error)
			}
			s.ok("ann", "invite.revoke", fmt.Sprintf(`{"code":%q}`, code), nil)
		}
	}
}

// How far somebody has come in a direct conversation is told to nobody whom they block.
func TestBlockedSeeNoCursors(t *testing.T) {
	s := newServer(t)
	s.users("ann", "ben")
	s.post("ann", "ann~ben", chat.Event{Text: "hello"})
	var list struct {
		Members []struct {
			User            string
			Delivered, Read uint64
		}
	}
	sees := func() uint64 {
		t.Helper()
		list.Members = nil
		s.ok("ann", "member.list", `{"conv":"ann~ben"}`, &list)
		return list.Members[1].Delivered + list.Members[1].Read
	}
	s.cursor("ben", "ann~ben", 1, 1)
	if n := sees(); n != 2 {
		t.Error("before the block ann sees", n)
	}
	s.ok("ben", "block", `{"user":"ann"}`, nil)
	if n := sees(); n != 0 {
		t.Error("after it ann sees", n)
	}
}
