package chat_test

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

const (
	none      = chat.RoleNone
	member    = chat.RoleMember
	moderator = chat.RoleModerator
	admin     = chat.RoleAdmin
	owner     = chat.RoleOwner
)

// newTeam is a group of ann (owner), ada (admin), mo (moderator), ben and cat (members).
func newTeam(t testing.TB, settings string) *room {
	t.Helper()
	r := newRoom(t, chat.NewGroup("team"))
	r.must(create("ann", "title=Team "+settings, "ada", "mo", "ben", "cat"))
	r.must(on(chat.OpRole, "ann", "ada", admin))
	r.must(on(chat.OpRole, "ann", "mo", moderator))
	return r
}

func TestCreate(t *testing.T) {
	r := newRoom(t, chat.NewGroup("team"))
	r.now = 77
	r.hidden(post("ann", "hello?"))
	r.must(create("ann", "title=Team about=x limit=4", "ben", "ann", "ben", "cat"),
		"1 ann creates ann owner title=Team about=x visibility=private join=invite history=all limit=4",
		"2 ann adds ben member by ann",
		"3 ann adds cat member by ann")
	want := chat.Info{Title: "Team", About: "x", Visibility: "private", Join: "invite", History: "all", Limit: 4, Created: 77, By: "ann"}
	if r.s.Info != want {
		t.Fatalf("info %+v, want %+v", r.s.Info, want)
	}
	if m, ok := r.s.Member("cat"); !ok || m != (chat.Member{Role: member, Since: 1, Joined: 3}) {
		t.Fatalf("cat is %+v, %v", m, ok)
	}
	r.no(chat.Conflict, "taken", create("eve", "title=Mine"))
	r.must(op(chat.OpEnd, "ann"))
	r.no(chat.Conflict, "taken", create("eve", "title=Mine")) // the log of the old one is still there
}

func TestCreateRefused(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, tc := range map[string]struct {
		id   string
		c    chat.Command
		code chat.Code
		part string
	}{
		"no settings":    {"g", chat.Command{Op: chat.OpCreate, Actor: "ann"}, chat.BadRequest, "title"},
		"no title":       {"g", create("ann", "about=x"), chat.BadRequest, "title"},
		"empty title":    {"g", create("ann", "title="), chat.BadRequest, "title"},
		"blank title":    {"g", create("ann", "title=\u3000"), chat.BadRequest, "title"},
		"long title":     {"g", create("ann", "title="+long(129)), chat.BadRequest, "title"},
		"title control":  {"g", create("ann", "title=a\x07b"), chat.BadRequest, "title"},
		"title no UTF-8": {"g", create("ann", "title=a\xff"), chat.BadRequest, "title"},
		"long about":     {"g", create("ann", "title=t about="+long(1025)), chat.BadRequest, "about"},
		"about control":  {"g", create("ann", "title=t about=\x00"), chat.BadRequest, "about"},
		"visibility":     {"g", create("ann", "title=t visibility=secret"), chat.BadRequest, "visibility"},
		"join":           {"g", create("ann", "title=t join=closed"), chat.BadRequest, "join"},
		"history":        {"g", create("ann", "title=t history=some"), chat.BadRequest, "history"},
		"limit":          {"g", create("ann", "title=t limit=5001"), chat.BadRequest, "5000"},
		"id upper case":  {"Team", create("ann", "title=t"), chat.BadRequest, "id"},
		"id dash first":  {"-x", create("ann", "title=t"), chat.BadRequest, "id"},
		"id long":        {long(65), create("ann", "title=t"), chat.BadRequest, "id"},
		"id empty":       {"", create("ann", "title=t"), chat.BadRequest, "id"},
		"actor":          {"g", create("", "title=t"), chat.BadRequest, "user"},
		"member":         {"g", create("ann", "title=t", "b~c"), chat.BadRequest, "members"},
		"too many":       {"g", create("ann", "title=t limit=2", "ben", "ben", "cat"), chat.Conflict, "at most 2"},
	} {
		t.Run(name, func(t *testing.T) { newRoom(t, chat.NewGroup(tc.id)).no(tc.code, tc.part, tc.c) })
	}
	r := newRoom(t, chat.NewGroup("g"))
	tab := "line\n\tline"
	c := create("ann", "title="+long(128)+" limit=2", "ben")
	c.Info.About = &tab
	r.must(c)
}

func TestUpdate(t *testing.T) {
	r := newTeam(t, "")
	r.must(update("ada", "title=Team about=new join=invite"), "8 ada sets about=new")
	r.idle(update("ann", "title=Team about=new"))
	r.idle(chat.Command{Op: chat.OpUpdate, Actor: "ann"})
	r.no(chat.NotAuthorized, "admin", update("mo", "title=Mine"))
	r.no(chat.BadRequest, "title", update("ann", "title="))
	r.no(chat.Conflict, "5 members", update("ann", "limit=4"))
	r.must(update("ann", "limit=5"))
	r.no(chat.Conflict, "full", on(chat.OpAdd, "ann", "dan", member))
	r.must(update("ann", "limit=0"), "10 ann sets limit=0")
	r.must(on(chat.OpAdd, "ann", "dan", member))
	r.hidden(update("eve", "title=Mine"))

	title := "before"
	c := chat.Command{Op: chat.OpUpdate, Actor: "ann", Info: &chat.InfoChange{Title: &title}}
	r.must(c)
	title = "after"
	if got := *r.log[len(r.log)-1].Info.Title; got != "before" {
		t.Fatalf("the event changed with the command's memory: %q", got)
	}
}

func TestEnd(t *testing.T) {
	r := newTeam(t, "visibility=public join=open")
	r.no(chat.NotAuthorized, "owner", op(chat.OpEnd, "ada"))
	r.must(op(chat.OpLeave, "cat"))
	r.must(op(chat.OpEnd, "ann"), "9 ann ends")
	if r.s.Count() != 0 || !r.s.Ended || len(r.s.MemberList()) != 0 {
		t.Fatalf("%d members, ended %v", r.s.Count(), r.s.Ended)
	}
	for user, last := range map[string]uint64{"ann": 9, "ben": 9, "cat": 8} {
		if from, to, ok := r.s.Visible(user); from != 1 || to != last || !ok {
			t.Errorf("%s sees %d to %d, %v; want 1 to %d", user, from, to, ok, last)
		}
		if r.s.CanSee(user) {
			t.Errorf("for %s the ended group is still there", user)
		}
	}
	for _, who := range []string{"ann", "ben", "eve"} {
		r.hidden(post(who, "still here?"))
		for o := chat.OpUpdate; o <= chat.OpRole; o++ {
			r.hidden(on(o, who, "ben", member))
		}
	}
}

func TestWhoseConversationIsIt(t *testing.T) {
	private, public, empty := newTeam(t, ""), newTeam(t, "visibility=public"), newRoom(t, chat.NewGroup("other"))
	for o := chat.OpUpdate; o <= chat.OpRole; o++ {
		private.hidden(on(o, "eve", "ben", member))
		empty.hidden(on(o, "eve", "ben", member))
		public.no(chat.NotAuthorized, "not a member", on(o, "eve", "ben", member))
	}
	private.hidden(post("eve", "x"))
	empty.hidden(post("eve", "x"))
	public.no(chat.NotAuthorized, "ask a moderator to add you", post("eve", "x"))
	public.must(update("ann", "join=request"))
	public.no(chat.NotAuthorized, "on request", post("eve", "x"))
	public.must(update("ann", "join=open"))
	public.no(chat.NotAuthorized, "join it first", post("eve", "x"))
	if private.s.CanSee("eve") || empty.s.CanSee("eve") || !public.s.CanSee("eve") || !private.s.CanSee("ben") {
		t.Fatal("CanSee is wrong")
	}
	if public.s.CanRead("eve", 1) {
		t.Fatal("a public group is read without joining it")
	}
	private.no(chat.BadRequest, "unknown", op(99, "ann"))
}

func TestJoin(t *testing.T) {
	r := newTeam(t, "visibility=public join=open limit=7")
	r.must(op(chat.OpJoin, "dan"), "8 dan joins dan member")
	r.idle(op(chat.OpJoin, "dan"))
	r.must(post("dan", "hello"))
	r.must(op(chat.OpJoin, "eve"))
	r.no(chat.Conflict, "full", op(chat.OpJoin, "fay"))
	r.must(update("ann", "limit=0"))
	r.no(chat.BadRequest, "user", op(chat.OpJoin, "#"))
	r.must(update("ann", "join=invite"))
	r.no(chat.NotAuthorized, "ask a moderator to add you", op(chat.OpJoin, "fay"))
	r.must(update("ann", "visibility=private"))
	r.hidden(op(chat.OpJoin, "fay"))
	r.must(update("ann", "join=open")) // known to whom the id was told
	r.must(op(chat.OpJoin, "fay"))
}

func TestLeave(t *testing.T) {
	r := newTeam(t, "")
	r.must(op(chat.OpLeave, "cat"), "8 cat leaves cat none")
	r.hidden(op(chat.OpLeave, "cat"))
	r.hidden(post("cat", "one more thing"))
	r.must(on(chat.OpRemove, "ben", "ben", none), "9 ben leaves ben none")

	t.Run("the owner", func(t *testing.T) {
		r.t = t
		r.must(op(chat.OpLeave, "ann"), "10 ann ranks ada owner by ann", "11 ann leaves ann none")
		r.must(op(chat.OpLeave, "mo"))
		r.must(op(chat.OpLeave, "ada"), "13 ada leaves ada none", "14 ada ends")
		if from, to, _ := r.s.Visible("ada"); from != 1 || to != 13 {
			t.Fatalf("ada sees %d to %d", from, to)
		}
	})
	t.Run("an owner among equals", func(t *testing.T) {
		r := newRoom(t, chat.NewGroup("g"))
		r.must(create("zoe", "title=t", "cat", "ben"))
		r.must(op(chat.OpLeave, "zoe"), "4 zoe ranks cat owner by zoe", "5 zoe leaves zoe none") // cat came first
	})
	t.Run("an owner among members of the same moment", func(t *testing.T) {
		r := newRoom(t, chat.Restore("g", false, 0, 0, chat.Info{}, false, map[string]chat.Member{
			"zoe": {Role: owner, Since: 1, Joined: 1}, "cat": {Role: member, Joined: 2}, "ben": {Role: member, Joined: 2}}))
		r.must(op(chat.OpLeave, "zoe"), "1 zoe ranks ben owner by zoe", "2 zoe leaves zoe none")
	})
	t.Run("one of two owners", func(t *testing.T) {
		r := newRoom(t, chat.Restore("g", false, 0, 0, chat.Info{}, false, map[string]chat.Member{
			"ann": {Role: owner, Since: 1, Joined: 1}, "zoe": {Role: owner, Since: 1, Joined: 2}, "ben": {Role: admin, Joined: 1}}))
		r.must(op(chat.OpLeave, "ann"), "1 ann leaves ann none")
	})
}

func TestAdd(t *testing.T) {
	r := newTeam(t, "limit=8")
	r.no(chat.NotAuthorized, "moderator", on(chat.OpAdd, "ben", "dan", member))
	r.must(on(chat.OpAdd, "mo", "dan", none), "8 mo adds dan member by mo")
	r.idle(on(chat.OpAdd, "mo", "dan", member))
	r.no(chat.NotAuthorized, "lower", on(chat.OpAdd, "mo", "eve", moderator))
	r.must(on(chat.OpAdd, "ada", "eve", moderator), "9 ada adds eve moderator by ada")
	r.no(chat.NotAuthorized, "lower", on(chat.OpAdd, "ann", "fay", owner))
	r.no(chat.BadRequest, "role is", on(chat.OpAdd, "ann", "fay", 5))
	r.no(chat.BadRequest, "user", on(chat.OpAdd, "ann", "f/y", member))
	r.must(on(chat.OpAdd, "ann", "fay", admin))
	r.no(chat.Conflict, "full", on(chat.OpAdd, "ann", "gil", member))
	r.lim.GroupMembers = 3 // the configuration got stricter: nobody is put out, nobody gets in
	r.no(chat.Conflict, "full with 8", on(chat.OpAdd, "ann", "gil", member))
}

func TestRemove(t *testing.T) {
	r := newTeam(t, "visibility=public join=open")
	r.no(chat.NotAuthorized, "moderator", on(chat.OpRemove, "ben", "cat", none))
	r.no(chat.NotFound, "not a member", on(chat.OpRemove, "mo", "eve", none))
	r.no(chat.NotAuthorized, "higher", on(chat.OpRemove, "mo", "ada", none))
	r.no(chat.NotAuthorized, "higher", on(chat.OpRemove, "ada", "ann", none))
	r.must(on(chat.OpAdd, "ann", "mia", moderator))
	r.no(chat.NotAuthorized, "higher", on(chat.OpRemove, "mo", "mia", none)) // equals
	r.must(on(chat.OpRemove, "mo", "ben", none), "9 mo removes ben none by mo")
	r.no(chat.NotFound, "not a member", on(chat.OpRemove, "mo", "ben", none))
	r.must(on(chat.OpRemove, "ann", "ada", none), "10 ann removes ada none by ann")
}

func TestRoles(t *testing.T) {
	r := newTeam(t, "")
	r.no(chat.NotAuthorized, "admin", on(chat.OpRole, "mo", "ben", moderator))
	r.no(chat.NotAuthorized, "higher", on(chat.OpRole, "ada", "ann", member))
	r.no(chat.NotAuthorized, "higher", on(chat.OpRole, "ada", "ada", member))
	r.no(chat.NotAuthorized, "lower", on(chat.OpRole, "ada", "ben", admin))
	r.no(chat.NotAuthorized, "lower", on(chat.OpRole, "ada", "ben", owner))
	r.no(chat.BadRequest, "remove", on(chat.OpRole, "ann", "ben", none))
	r.no(chat.BadRequest, "role is", on(chat.OpRole, "ann", "ben", 5))
	r.no(chat.NotFound, "not a member", on(chat.OpRole, "ann", "eve", admin))
	r.idle(on(chat.OpRole, "ann", "ada", admin))
	r.must(on(chat.OpRole, "ada", "mo", member), "8 ada ranks mo member by ada")
	r.must(on(chat.OpRole, "ann", "ben", owner), "9 ann ranks ben owner by ann", "10 ann ranks ann admin by ann")
	r.no(chat.NotAuthorized, "higher", on(chat.OpRole, "ann", "ben", admin))
	r.must(on(chat.OpRole, "ben", "ann", member))
}

func TestWhatIsVisible(t *testing.T) {
	const open = math.MaxUint64
	for _, tc := range []struct {
		history      string
		first, again uint64
	}{{"all", 1, 1}, {"joined", 8, 11}} {
		t.Run(tc.history, func(t *testing.T) {
			r := newTeam(t, "history="+tc.history)
			see := func(from, to uint64, ok bool) {
				t.Helper()
				if f, l, k := r.s.Visible("dan"); f != from || l != to || k != ok {
					t.Fatalf("dan sees %d to %d, %v; want %d to %d, %v", f, l, k, from, to, ok)
				}
			}
			see(0, 0, false)
			r.must(on(chat.OpAdd, "ann", "dan", member))
			see(tc.first, open, true)
			r.must(on(chat.OpRemove, "mo", "dan", none), "9 mo removes dan none by mo")
			see(tc.first, 9, true)
			r.must(post("ann", "dan is away"))
			if r.s.CanRead("dan", 10) || !r.s.CanRead("dan", 9) || !r.s.CanRead("ann", 10) {
				t.Fatal("CanRead is wrong")
			}
			r.must(on(chat.OpAdd, "mo", "dan", member))
			see(tc.again, open, true)
			if m, _ := r.s.Member("dan"); m.Joined != 11 || m.Left != 0 {
				t.Fatalf("dan is %+v", m)
			}
		})
	}
}

func TestMemberListIsNeverWrittenAgain(t *testing.T) {
	r := newTeam(t, "")
	first := r.s.MemberList()
	kept := slices.Clone(first)
	r.must(post("ann", "x"))
	if again := r.s.MemberList(); &again[0] != &first[0] {
		t.Fatal("rebuilt although the membership did not change")
	}
	_ = append(first, "stranger")
	r.must(on(chat.OpAdd, "ann", "aaa", member))
	second := r.s.MemberList()
	r.must(op(chat.OpLeave, "ben"))
	r.must(op(chat.OpEnd, "ann"))
	if !slices.Equal(first, kept) || !slices.Equal(second, append([]string{"aaa"}, kept...)) {
		t.Fatalf("handed out lists changed: %v, %v", first, second)
	}
}

func TestRestoreGoesOnAsIfNothingHappened(t *testing.T) {
	r := newTeam(t, "visibility=public join=open")
	r.must(op(chat.OpLeave, "cat"))
	p := r.s.Snapshot()
	r.s = chat.Restore(p.ID, p.Direct, p.Head, p.LastAt, p.Info, p.Ended, p.Members)
	if !reflect.DeepEqual(r.s.Snapshot(), p) || !slices.Equal(r.s.MemberList(), []string{"ada", "ann", "ben", "mo"}) {
		t.Fatalf("restored %+v with %v", r.s.Snapshot(), r.s.MemberList())
	}
	r.must(op(chat.OpJoin, "cat"), "9 cat joins cat member")
}

func TestApplyTakesOnlyTheNextEvent(t *testing.T) {
	for _, seq := range []uint64{0, 7, 9} {
		func() {
			r := newTeam(t, "")
			defer func() {
				if recover() == nil {
					t.Errorf("event %d applied after 7", seq)
				}
			}()
			r.s.Apply(&chat.Event{Seq: seq, Kind: chat.KindPost})
		}()
	}
}
