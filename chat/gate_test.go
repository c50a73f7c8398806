package chat_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

func TestBan(t *testing.T) {
	r := newTeam(t, "visibility=public join=open")
	r.must(until(chat.OpBan, "mo", "ben", r.now+5_000), "8 mo bans ben member by mo until 6000")
	if m, in := r.s.Member("ben"); in || m != (chat.Member{Since: 1, Joined: 4, Left: 8, Banned: 6_000}) {
		t.Fatalf("ben is %+v, %v", m, in)
	}
	if from, to, ok := r.s.Visible("ben"); from != 1 || to != 8 || !ok {
		t.Fatalf("ben sees %d to %d, %v", from, to, ok)
	}
	r.idle(until(chat.OpBan, "ada", "ben", 6_000))
	r.no(chat.NotAuthorized, "banned from this group for 5 seconds more", op(chat.OpJoin, "ben"))
	r.no(chat.Conflict, "unban them first", on(chat.OpAdd, "ann", "ben", member))
	r.must(until(chat.OpBan, "mo", "ben", 7_000), "9 mo bans ben none by mo until 7000") // longer
	r.now = 7_000
	if got := r.s.Banned(r.now); len(got) != 0 {
		t.Fatalf("banned after its time: %v", got)
	}
	r.must(op(chat.OpJoin, "ben"), "10 ben joins ben member")
	if m, _ := r.s.Member("ben"); m.Banned != 0 {
		t.Fatalf("ben is %+v", m)
	}

	r.must(on(chat.OpBan, "ann", "ben", none), "11 ann bans ben member by ann")
	r.idle(on(chat.OpBan, "mo", "ben", none))
	r.no(chat.NotAuthorized, "ask one of its moderators", op(chat.OpJoin, "ben"))
	r.no(chat.BadRequest, "time to come", until(chat.OpBan, "mo", "ben", r.now))
	r.no(chat.BadRequest, "time to come", until(chat.OpBan, "mo", "ben", 1<<60))
	r.no(chat.BadRequest, "leave the group", on(chat.OpBan, "mo", "mo", none))
	r.no(chat.BadRequest, "no user id", on(chat.OpBan, "mo", "a~b", none))
	r.no(chat.NotAuthorized, "only a moderator or above bans", on(chat.OpBan, "cat", "eve", none))
	r.must(on(chat.OpUnban, "mo", "ben", none), "12 mo unbans ben none by mo")
	r.idle(on(chat.OpUnban, "mo", "ben", none))
	r.must(op(chat.OpJoin, "ben"))
}

// TestBanOfAStranger: who never was a member leaves no trace but the ban, and none at all after it.
func TestBanOfAStranger(t *testing.T) {
	r := newTeam(t, "")
	before := r.s.Snapshot().Members
	r.must(on(chat.OpBan, "mo", "eve", none), "8 mo bans eve none by mo")
	if m, in := r.s.Member("eve"); in || m != (chat.Member{Banned: chat.BannedForGood}) {
		t.Fatalf("eve is %+v, %v", m, in)
	}
	if _, _, ok := r.s.Visible("eve"); ok || r.s.CanRead("eve", 0) || r.s.CanRead("eve", 1) || r.s.CanSee("eve") {
		t.Fatal("eve sees something of a group that she never was in")
	}
	if got := r.s.Banned(r.now); !slices.Equal(got, []string{"eve"}) || r.s.Count() != 5 {
		t.Fatalf("banned %v, %d members", got, r.s.Count())
	}
	r.hidden(op(chat.OpJoin, "eve"))
	r.must(on(chat.OpUnban, "mo", "eve", none))
	if after := r.s.Snapshot().Members; !reflect.DeepEqual(before, after) {
		t.Fatalf("members %v, were %v", after, before)
	}
}

func TestMute(t *testing.T) {
	r := newTeam(t, "visibility=public join=open")
	r.must(post("ben", "hello"))
	r.must(until(chat.OpMute, "mo", "ben", r.now+90_000), "9 mo mutes ben none by mo until 91000")
	r.idle(until(chat.OpMute, "mo", "ben", r.now+90_000))
	for _, k := range []chat.Kind{chat.KindPost, chat.KindEdit, chat.KindReact} {
		r.no(chat.NotAuthorized, "for 90 seconds more", act("ben", k, 8))
	}
	r.no(chat.NotFound, "not a member", until(chat.OpMute, "mo", "eve", r.now+90_000))
	r.no(chat.BadRequest, "time to come", until(chat.OpMute, "mo", "ben", r.now))
	r.must(op(chat.OpLeave, "ben"))
	r.must(op(chat.OpJoin, "ben"))
	r.no(chat.NotAuthorized, "muted", post("ben", "I am back")) // leaving is no way out
	r.now += 90_000
	r.must(post("ben", "sorry"))

	r.must(until(chat.OpMute, "ada", "mo", r.now+10_000))
	r.no(chat.NotAuthorized, "muted", act("mo", chat.KindPin, 8))
	r.must(until(chat.OpMute, "ada", "mo", 0), "14 ada mutes mo none by ada")
	r.must(act("mo", chat.KindPin, 8))

	r.must(until(chat.OpMute, "ann", "ada", r.now+10_000))
	title := "Listen to me"
	r.no(chat.NotAuthorized, "muted", chat.Command{Op: chat.OpUpdate, Actor: "ada", Info: &chat.InfoChange{Title: &title}})
	r.must(op(chat.OpLeave, "ann"))
	r.must(post("ada", "nobody is left who could lift it")) // the new owner
}

// Who may not write withdraws what they said without a word: not the muted, not where others post, not to
// somebody who takes nothing from them.
func TestWithdrawnWithoutAWord(t *testing.T) {
	says := func(who string, re uint64) []chat.Command {
		list := []chat.Command{act(who, chat.KindDelete, re), act(who, chat.KindDelete, re), act(who, chat.KindDelete, re)}
		list[0].Event.Ext, list[1].Event.Extra, list[2].Event.Enc = []byte{0xa0}, []byte{0xa0}, []byte("x")
		return list
	}
	r := newTeam(t, "")
	for seq := 8; seq <= 10; seq++ {
		r.must(post("ben", "hello"))
	}
	r.must(says("ben", 8)[0])
	r.must(until(chat.OpMute, "mo", "ben", r.now+90_000))
	for _, c := range says("ben", 9) {
		r.no(chat.NotAuthorized, "alone", c)
	}
	r.must(act("ben", chat.KindDelete, 9))
	r.must(until(chat.OpMute, "mo", "ben", 0))
	posts := chat.Perms{chat.ActPost: moderator}
	r.must(chat.Command{Op: chat.OpUpdate, Actor: "ann", Info: &chat.InfoChange{Perms: &posts}})
	r.no(chat.NotAuthorized, "alone", says("ben", 10)[0])
	r.must(act("ben", chat.KindDelete, 10))

	pair := chat.NewDirect("ana", "bob")
	events, err := carry(t, pair, write("ana", nil))
	if _, err2 := carry(t, pair, op(chat.OpBlock, "bob")); err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for _, c := range append(says("ana", 1), act("ana", chat.KindDelete, 1)) {
		c.Target = &events[0]
		wordless := len(c.Event.Enc)+len(c.Event.Ext)+len(c.Event.Extra) == 0
		if _, err := carry(t, pair, c); wordless != (err == nil) {
			t.Errorf("deleting with %+v: %v", c.Event, err)
		}
	}
}

func TestRequest(t *testing.T) {
	for _, visibility := range []string{"private", "public"} {
		r := newTeam(t, "join=request visibility="+visibility)
		ask := chat.Command{Op: chat.OpJoin, Actor: "eve", Text: "Ben told me"}
		for range 2 {
			d, err := r.s.Decide(ask, r.now, r.lim)
			if err != nil || !d.Pending || len(d.Events) > 0 || d.Seq != 7 {
				t.Fatalf("%+v, %v", d, err)
			}
			r.apply(ask, d)
		}
		if q, ok := r.s.Request("eve"); !ok || q != (chat.Request{At: 1_000, Text: "Ben told me"}) || !r.s.Requested("eve") {
			t.Fatalf("the request is %+v, %v", q, ok)
		}
		r.no(chat.NotAuthorized, "decides about requests", on(chat.OpApprove, "ben", "eve", none))
		r.no(chat.NotFound, "no request", on(chat.OpApprove, "mo", "fay", none))
		r.must(on(chat.OpApprove, "mo", "eve", none), "8 mo adds eve member by mo")
		r.idle(on(chat.OpApprove, "ada", "eve", none)) // two moderators at once
		if len(r.s.Requesters()) > 0 {
			t.Fatal("a member waits")
		}

		r.must(op(chat.OpJoin, "fay"))
		r.must(on(chat.OpDeny, "ada", "fay", none))
		r.idle(on(chat.OpDeny, "ada", "fay", none))
		r.no(chat.RateLimited, "ask again in 60 minutes", op(chat.OpJoin, "fay"))
		r.no(chat.NotFound, "no request", on(chat.OpApprove, "mo", "fay", none))
		r.now += 3_600_000
		r.must(op(chat.OpJoin, "fay"))
		r.must(op(chat.OpLeave, "fay")) // takes it back
		r.no(chat.NotFound, "no request", on(chat.OpDeny, "ada", "fay", none))
		r.no(chat.RateLimited, "ask again", op(chat.OpJoin, "fay"))

		r.must(op(chat.OpJoin, "gus"))
		r.must(on(chat.OpBan, "mo", "gus", none))
		if r.s.Requested("gus") {
			t.Fatal("a banned user waits")
		}
		r.no(chat.NotAuthorized, "banned", op(chat.OpJoin, "gus"))
		r.no(chat.BadRequest, "one line", chat.Command{Op: chat.OpJoin, Actor: "hal", Text: strings.Repeat("x", 257)})
		r.no(chat.BadRequest, "one line", chat.Command{Op: chat.OpJoin, Actor: "hal", Text: "a\nb"})
		r.must(op(chat.OpJoin, "hal"))
		r.must(update("ann", "join=open"))
		r.must(op(chat.OpJoin, "hal"), "11 hal joins hal member")
		if r.s.Requested("hal") {
			t.Fatal("a member waits")
		}
	}
}

func TestRequestsAreBounded(t *testing.T) {
	r := newTeam(t, "join=request")
	for i := range 500 {
		r.must(op(chat.OpJoin, fmt.Sprintf("u%03d", i)))
	}
	r.no(chat.Conflict, "500 requests", op(chat.OpJoin, "one-more"))
	for i := range 500 {
		r.must(on(chat.OpDeny, "mo", fmt.Sprintf("u%03d", i), none))
	}
	r.now += 3_600_000
	r.must(op(chat.OpJoin, "one-more"))
	if n := len(r.s.Snapshot().Requests); n != 1 {
		t.Fatalf("%d requests are on record, want the one that waits", n)
	}
}

func TestDeciders(t *testing.T) {
	r := newTeam(t, "")
	if got := r.s.Deciders(50); !slices.Equal(got, []string{"ann", "ada", "mo"}) {
		t.Fatalf("%v decide", got)
	}
	if got := r.s.Deciders(2); !slices.Equal(got, []string{"ann", "ada"}) {
		t.Fatalf("%v decide first", got)
	}
	r.must(update("ann", "p.add=member"))
	if got := r.s.Deciders(50); !slices.Equal(got, []string{"ann", "ada", "mo", "ben", "cat"}) {
		t.Fatalf("%v decide", got)
	}
}

func TestInvitation(t *testing.T) {
	r := newTeam(t, "limit=7")
	dead := chat.NoSuchInvitation().Reason
	accept := func(who, c string) chat.Command { return code(chat.OpAccept, who, c, 0, 0) }
	r.no(chat.NotAuthorized, "invites", code(chat.OpInvite, "ben", "aaa", 1, 0))
	r.must(code(chat.OpInvite, "mo", "aaa", 1, r.now+60_000))
	r.no(chat.NotFound, dead, accept("eve", "bbb"))
	r.must(accept("eve", "aaa"), "8 eve joins eve member by mo")
	r.idle(accept("eve", "aaa")) // a retry
	r.idle(accept("ben", "aaa"))
	r.no(chat.NotFound, dead, accept("fay", "aaa")) // used up

	r.must(code(chat.OpInvite, "mo", "ccc", 0, r.now+60_000))
	r.now += 60_000
	r.no(chat.NotFound, dead, accept("fay", "ccc")) // expired
	r.must(code(chat.OpInvite, "mo", "ddd", 0, 0))
	if n := len(r.s.Snapshot().Invites); n != 1 {
		t.Fatalf("%d invitations on record, want the one that holds", n)
	}
	r.must(accept("fay", "ddd"))
	r.no(chat.Conflict, "full", accept("gus", "ddd"))
	if inv := r.s.Invites(r.now)["ddd"]; inv.Used != 1 {
		t.Fatalf("the invitation is %+v", inv)
	}
	r.must(on(chat.OpBan, "ann", "fay", none))
	r.no(chat.NotAuthorized, "banned", accept("fay", "ddd"))

	r.must(code(chat.OpInvite, "ada", "eee", 0, 0))
	r.no(chat.NotAuthorized, "act upon", code(chat.OpRevoke, "mo", "eee", 0, 0))
	r.no(chat.NotAuthorized, "invites", code(chat.OpRevoke, "ben", "ddd", 0, 0))
	r.must(on(chat.OpRole, "ann", "cat", moderator))
	r.no(chat.NotAuthorized, "act upon", code(chat.OpRevoke, "cat", "ddd", 0, 0)) // an equal's
	r.must(code(chat.OpRevoke, "ada", "ddd", 0, 0))
	r.no(chat.NotFound, dead, code(chat.OpRevoke, "ada", "ddd", 0, 0))
	r.no(chat.NotFound, dead, accept("gus", "ddd"))
	r.must(on(chat.OpRole, "ann", "ada", member)) // who may not invite any more has no invitations either
	r.no(chat.NotFound, dead, accept("gus", "eee"))
	r.must(on(chat.OpRole, "ann", "ada", admin))
	r.must(op(chat.OpEnd, "ann"))
	r.no(chat.NotFound, dead, accept("gus", "eee"))
	if p := r.s.Snapshot(); p.Invites != nil || p.Requests != nil {
		t.Fatalf("the gate of a group that ended: %v %v", p.Invites, p.Requests)
	}
}

func TestInvitationsRefused(t *testing.T) {
	r := newTeam(t, "")
	for name, tc := range map[string]struct {
		c    chat.Command
		part string
	}{
		"no code":   {code(chat.OpInvite, "mo", "", 0, 0), "new code"},
		"bad code":  {code(chat.OpInvite, "mo", "A\x00", 0, 0), "new code"},
		"long code": {code(chat.OpInvite, "mo", strings.Repeat("a", 65), 0, 0), "new code"},
		"uses":      {code(chat.OpInvite, "mo", "aaa", 1_000_001, 0), "1000000"},
		"past":      {code(chat.OpInvite, "mo", "aaa", 0, r.now), "time to come"},
		"negative":  {code(chat.OpInvite, "mo", "aaa", 0, -1), "time to come"},
		"far":       {code(chat.OpInvite, "mo", "aaa", 0, 1<<60), "time to come"},
	} {
		t.Run(name, func(t *testing.T) { r.t = t; r.no(chat.BadRequest, tc.part, tc.c) })
	}
	r.t = t
	for i := range 100 {
		r.must(code(chat.OpInvite, "mo", fmt.Sprint("code", i), 0, 0))
	}
	r.no(chat.Conflict, "100 invitations", code(chat.OpInvite, "mo", "aaa", 0, 0))
	r.hidden(code(chat.OpInvite, "eve", "aaa", 0, 0))
}

// TestHistoryFromJoining: whichever way somebody comes in, a group that says so shows them nothing from before.
func TestHistoryFromJoining(t *testing.T) {
	for _, way := range []string{"add", "join", "approve", "accept"} {
		r := newTeam(t, "history=joined join=open")
		r.must(post("ben", "secret"))
		switch way {
		case "add":
			r.must(on(chat.OpAdd, "mo", "eve", none))
		case "join":
			r.must(op(chat.OpJoin, "eve"))
		case "approve":
			r.must(update("ann", "join=request"))
			r.must(op(chat.OpJoin, "eve"))
			r.must(on(chat.OpApprove, "mo", "eve", none))
		case "accept":
			r.must(code(chat.OpInvite, "mo", "aaa", 0, 0))
			r.must(code(chat.OpAccept, "eve", "aaa", 0, 0))
		}
		joined := r.s.Head
		if r.s.CanRead("eve", joined-1) || !r.s.CanRead("eve", joined) {
			t.Errorf("%s: eve joined at %d and sees %d: %v", way, joined, joined-1, r.s.CanRead("eve", joined-1))
		}
	}
}
