package chat_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

func TestDirectConversation(t *testing.T) {
	r := newRoom(t, chat.NewDirect("ben", "ann"))
	if r.s.ID != "ann~ben" || r.s.Count() != 0 {
		t.Fatalf("%s with %d members", r.s.ID, r.s.Count())
	}
	r.hidden(post("eve", "x"))
	for _, user := range []string{"ann", "ben"} {
		if from, to, ok := r.s.Visible(user); from != 1 || to != math.MaxUint64 || !ok || !r.s.CanSee(user) {
			t.Fatalf("%s sees %d to %d, %v", user, from, to, ok)
		}
	}
	r.must(post("ben", "hi"), "1 ben posts hi")
	r.must(post("ann", "hello"), "2 ann posts hello")
	r.hidden(post("eve", "x"))
	if _, _, ok := r.s.Visible("eve"); ok || r.s.CanSee("eve") {
		t.Fatal("eve sees it")
	}
	if m, ok := r.s.Member("ann"); !ok || m != (chat.Member{Role: member, Since: 1, Joined: 1}) {
		t.Fatalf("ann is %+v", m)
	}
	for o := chat.OpCreate; o <= chat.OpRole; o++ {
		r.no(chat.BadRequest, "direct", on(o, "ann", "ben", member))
		r.hidden(on(o, "eve", "ben", member))
	}
	r.must(act("ben", chat.KindPin, 2), "3 ben pins re 2") // no moderators here
	r.no(chat.NotAuthorized, "author", act("ben", chat.KindDelete, 2))
}

func TestNotesToOneself(t *testing.T) {
	r := newRoom(t, chat.NewDirect("ann", "ann"))
	r.must(post("ann", "milk"))
	r.hidden(post("ben", "x"))
	if !slices.Equal(r.s.MemberList(), []string{"ann"}) {
		t.Fatalf("members %v", r.s.MemberList())
	}
}

func TestMalformedDirectIDsAreNobodys(t *testing.T) {
	for _, id := range []string{"", "ann", "~", "ann~", "~ann", "ben~ann", "ann~ann~ann"} {
		newRoom(t, chat.NewState(id, true)).hidden(post("ann", "x"))
	}
	newRoom(t, chat.NewState("ann~ben", false)).hidden(post("ann", "x"))
}

func TestIDs(t *testing.T) {
	for s, want := range map[string][2]bool{ // user, group
		"": {}, "ann": {true, true}, "Ann.B_c-1": {true, false}, "-a": {true, false}, "a-": {true, true}, "1": {true, true},
		"a~b": {}, "a/b": {}, "a+": {}, "ä": {}, "a b": {}, "a\x00": {},
		strings.Repeat("a", 64): {true, true}, strings.Repeat("a", 65): {},
	} {
		if got := [2]bool{chat.ValidUser(s), chat.ValidGroup(s)}; got != want {
			t.Errorf("%q: user, group = %v, want %v", s, got, want)
		}
	}
	if a, b, ok := chat.Parties(chat.DirectID("b", "B")); a != "B" || b != "b" || !ok {
		t.Errorf("parties %q %q %v", a, b, ok)
	}
}

func TestPostRefused(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, tc := range map[string]struct {
		e    chat.Event
		code chat.Code
		part string
	}{
		"nothing":        {chat.Event{}, chat.BadRequest, "a post has"},
		"only mentions":  {chat.Event{Mentions: []string{"ben"}}, chat.BadRequest, "a post has"},
		"seq":            {chat.Event{Text: "t", Seq: 1}, chat.BadRequest, "set by the server"},
		"from":           {chat.Event{Text: "t", From: "ann"}, chat.BadRequest, "set by the server"},
		"at":             {chat.Event{Text: "t", At: 1}, chat.BadRequest, "set by the server"},
		"thread":         {chat.Event{Text: "t", Thread: 1}, chat.BadRequest, "set by the server"},
		"member":         {chat.Event{Text: "t", Member: &chat.MemberChange{}}, chat.BadRequest, "set by the server"},
		"info":           {chat.Event{Text: "t", Info: &chat.InfoChange{}}, chat.BadRequest, "set by the server"},
		"conv":           {chat.Event{Text: "t", Conv: "team"}, chat.BadRequest, "set by the server"},
		"kind create":    {chat.Event{Text: "t", Kind: chat.KindCreate}, chat.BadRequest, "made by the server"},
		"kind call":      {chat.Event{Text: "t", Kind: chat.KindCall}, chat.BadRequest, "made by the server"},
		"kind gone":      {chat.Event{Text: "t", Kind: chat.KindGone}, chat.BadRequest, "made by the server"},
		"kind 8":         {chat.Event{Text: "t", Kind: 8}, chat.BadRequest, "kind"},
		"long text":      {chat.Event{Text: long(64<<10 + 1)}, chat.TooLarge, "65536"},
		"long ext":       {chat.Event{Ext: make([]byte, 4<<10+1)}, chat.TooLarge, "4096"},
		"long event":     {chat.Event{Text: long(64 << 10), Enc: make([]byte, 64<<10), ID: "i"}, chat.TooLarge, "131072"},
		"many mentions":  {chat.Event{Text: "t", Mentions: make([]string, 128<<10)}, chat.TooLarge, "131072"},
		"text no UTF-8":  {chat.Event{Text: "\xc0\x80"}, chat.BadRequest, "UTF-8"},
		"long id":        {chat.Event{Text: "t", ID: long(65)}, chat.BadRequest, "64"},
		"id with zero":   {chat.Event{Text: "t", ID: "a\x00"}, chat.BadRequest, "id"},
		"expire":         {chat.Event{Text: "t", Expire: 1 << 32}, chat.BadRequest, "expire"},
		"mentions":       {chat.Event{Text: "t", Mentions: []string{"a~b"}}, chat.BadRequest, "mentions"},
		"emoji":          {chat.Event{Text: "t", Emoji: "👍"}, chat.BadRequest, "reactions"},
		"edit of 0":      {chat.Event{Text: "t", Kind: chat.KindEdit}, chat.BadRequest, "re"},
		"edit empty":     {chat.Event{Re: 8, Kind: chat.KindEdit}, chat.BadRequest, "delete it"},
		"no emoji":       {chat.Event{Re: 8, Kind: chat.KindReact}, chat.BadRequest, "emoji"},
		"emoji no UTF-8": {chat.Event{Re: 8, Kind: chat.KindReact, Emoji: "\xff"}, chat.BadRequest, "emoji"},
		"emoji a word":   {chat.Event{Re: 8, Kind: chat.KindReact, Emoji: "yes"}, chat.BadRequest, "emoji"},
		"emoji a line":   {chat.Event{Re: 8, Kind: chat.KindReact, Emoji: "👍 👍"}, chat.BadRequest, "emoji"},
		"emoji long":     {chat.Event{Re: 8, Kind: chat.KindReact, Emoji: strings.Repeat("👍", 17)}, chat.BadRequest, "emoji"},
		"re to nowhere":  {chat.Event{Text: "t", Re: 9}, chat.NotFound, "no event 9"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTeam(t, "")
			r.must(post("ann", "post 8"))
			r.no(tc.code, tc.part, chat.Command{Op: chat.OpAppend, Actor: "ann", Event: tc.e})
			r.hidden(chat.Command{Op: chat.OpAppend, Actor: "eve", Event: tc.e})
		})
	}
}

func TestPostKeepsWhatTheSenderMaySet(t *testing.T) {
	r := newTeam(t, "")
	sent := chat.Event{ID: "i", Text: strings.Repeat("x", 64<<10), Mentions: []string{"ben"}, Expire: 1<<32 - 1,
		Media: []byte{0x80}, Enc: []byte{1}, Ext: []byte{0xa0}, Extra: []byte{0xa0}}
	r.must(chat.Command{Op: chat.OpAppend, Actor: "ann", Event: sent})
	got := r.log[7]
	if got.Kind != chat.KindPost || got.ID != "i" || got.Text != sent.Text || got.Mentions[0] != "ben" || got.Expire != sent.Expire ||
		len(got.Media) != 1 || len(got.Enc) != 1 || len(got.Ext) != 1 || len(got.Extra) != 1 {
		t.Fatalf("stored %+v", got)
	}
	for _, only := range []chat.Event{{Enc: []byte{1}}, {Media: []byte{1}}, {Ext: []byte{1}}, {Extra: []byte{1}}} {
		r.must(chat.Command{Op: chat.OpAppend, Actor: "ann", Event: only})
	}
}

func TestEmoji(t *testing.T) {
	r := newTeam(t, "")
	for _, emoji := range []string{"👍", "👍🏽", "❤️", "1️⃣", "ℹ️", "🇩🇪", "👩‍👩‍👧‍👦", "‼️", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"} {
		r.must(chat.Command{Op: chat.OpAppend, Actor: "ben", Event: chat.Event{Kind: chat.KindReact, Re: 1, Emoji: emoji}})
	}
}

func TestRepliesAndThreads(t *testing.T) {
	r := newTeam(t, "")
	r.must(post("ann", "root"), "8 ann posts root")
	r.must(act("ben", chat.KindPost, 8), "9 ben posts t re 8 in 8")
	r.must(act("cat", chat.KindPost, 9), "10 cat posts t re 9 in 8")
	r.must(act("ben", chat.KindEdit, 9), "11 ben edits t re 9 in 8")
	r.must(act("ann", chat.KindPost, 11), "12 ann posts t re 9 in 8")  // a reply to an edit is one to the post
	r.must(act("ann", chat.KindEdit, 8), "13 ann edits t re 8")        // the root starts the thread, it is not in it
	r.must(act("cat", chat.KindPost, 13), "14 cat posts t re 8 in 8")  // ... and a reply to its edit is
	r.must(act("cat", chat.KindPost, 1), "15 cat posts t re 1 in 1")   // one may answer to the creation too
	r.must(act("cat", chat.KindReact, 13), "16 cat reacts re 8")       //
	r.no(chat.BadRequest, "acts upon", act("ann", chat.KindPost, 16))  // but not to a reaction
	r.no(chat.BadRequest, "acts upon", act("ann", chat.KindReact, 16)) //
	r.no(chat.NotFound, "no event 99", act("ann", chat.KindReact, 99)) //
	r.must(act("cat", chat.KindUnreact, 8), "17 cat unreacts re 8")    //
	r.hidden(act("eve", chat.KindPost, 8))                             //
}

func TestEdits(t *testing.T) {
	r := newTeam(t, "")
	r.must(post("ben", "one"))
	r.no(chat.NotAuthorized, "author", act("ann", chat.KindEdit, 8)) // not even the owner
	r.must(act("ben", chat.KindEdit, 8), "9 ben edits t re 8")
	r.must(act("ben", chat.KindEdit, 9), "10 ben edits t re 8")
	r.no(chat.NotAuthorized, "author", act("ann", chat.KindEdit, 10))
	r.no(chat.BadRequest, "only posts", act("ann", chat.KindEdit, 1))
	r.must(chat.Command{Op: chat.OpAppend, Actor: "ben", Event: chat.Event{Kind: chat.KindEdit, Re: 8, Enc: []byte{1}}})
	r.must(op(chat.OpLeave, "ben"))
	r.hidden(act("ben", chat.KindEdit, 8))
}

func TestDeletions(t *testing.T) {
	r := newTeam(t, "")
	r.must(post("ben", "8"))
	r.must(post("ada", "9"))
	r.must(act("ben", chat.KindEdit, 8))
	r.no(chat.NotAuthorized, "moderator", act("cat", chat.KindDelete, 8))
	r.no(chat.NotAuthorized, "higher", act("mo", chat.KindDelete, 9))
	r.no(chat.BadRequest, "only posts", act("ann", chat.KindDelete, 1))
	r.must(act("mo", chat.KindDelete, 10), "11 mo deletes re 8")
	r.must(act("ada", chat.KindDelete, 9), "12 ada deletes re 9")
	r.must(op(chat.OpLeave, "ada"))
	r.no(chat.NotFound, "no event 9", act("mo", chat.KindDelete, 9))
	r.no(chat.NotFound, "no event 10", act("ben", chat.KindEdit, 10)) // the edits went with their post
	r.must(on(chat.OpRole, "ann", "cat", moderator))
	r.must(post("cat", "15"))
	r.no(chat.NotAuthorized, "higher", act("mo", chat.KindDelete, 15)) // equals
	r.must(op(chat.OpLeave, "cat"))
	r.must(act("mo", chat.KindDelete, 15), "17 mo deletes re 15") // cat has no rank any more
}

func TestPins(t *testing.T) {
	r := newTeam(t, "")
	r.must(post("ben", "8"))
	r.no(chat.NotAuthorized, "moderator", act("ben", chat.KindPin, 8))
	r.no(chat.NotAuthorized, "moderator", act("ben", chat.KindUnpin, 8))
	r.must(act("mo", chat.KindPin, 8), "9 mo pins re 8")
	r.must(act("ann", chat.KindUnpin, 8), "10 ann unpins re 8")
}

func TestNobodyActsUponWhatTheyCannotSee(t *testing.T) {
	r := newTeam(t, "history=joined")
	r.must(post("ben", "before dan"))
	r.must(on(chat.OpAdd, "ann", "dan", moderator))
	r.must(act("ben", chat.KindEdit, 8), "10 ben edits t re 8")
	for _, k := range []chat.Kind{chat.KindPost, chat.KindEdit, chat.KindReact, chat.KindUnreact, chat.KindPin, chat.KindUnpin, chat.KindDelete} {
		r.no(chat.NotFound, "no event 8", act("dan", k, 8))
		r.no(chat.NotFound, "no event 10", act("dan", k, 10)) // the edit is seen, the post is not
		if k == chat.KindEdit {
			continue
		}
		r.must(act("ann", k, 8))
	}
}

func TestWhatHasExpiredIsGone(t *testing.T) {
	r := newTeam(t, "")
	c := post("ben", "burn")
	c.Event.Expire = 5
	r.must(c)
	r.now += 4_999
	r.must(act("ann", chat.KindReact, 8))
	r.now++
	r.no(chat.NotFound, "no event 8", act("ann", chat.KindReact, 8))
	r.log[8] = chat.Event{Seq: 9, Kind: chat.KindGone}
	r.no(chat.NotFound, "no event 9", act("ann", chat.KindPost, 9))
}

func TestRetries(t *testing.T) {
	r := newTeam(t, "")
	c, other := post("ben", "once"), post("ben", "something else")
	c.Event.ID, other.Event.ID = "k", "k"
	r.must(c, "8 ben posts once")
	r.must(post("ann", "9"))
	r.idle(c)
	r.fill(&c)
	if d, err := r.s.Decide(c, r.now, r.lim); err != nil || !d.Duplicate || d.Seq != 8 {
		t.Fatalf("%+v, %v; want the first one's seq 8", d, err)
	}
	r.no(chat.Conflict, "seq 8", other)
	same := post("ann", "mine")
	same.Event.ID = "k"
	r.must(same, "10 ann posts mine") // ids are each sender's own

	r.must(op(chat.OpLeave, "ben"))
	r.idle(c) // the PUBACK that was lost comes, also to those who left
	r.hidden(other)
	r.must(op(chat.OpEnd, "ann"))
	r.idle(c)
}

func TestTimeNeverGoesBackInALog(t *testing.T) {
	r := newTeam(t, "")
	r.now = 5_000
	r.must(post("ann", "8"))
	r.now = 3_000 // the clock jumped
	r.must(post("ann", "9"))
	r.must(op(chat.OpLeave, "ann"))
	for _, e := range r.log[7:] {
		if e.At != 5_000 {
			t.Fatalf("seq %d is at %d", e.Seq, e.At)
		}
	}
}

func TestAnEditDisappearsWithItsPost(t *testing.T) {
	s := chat.NewDirect("ann", "ben")
	var first *chat.Event
	apply := func(ev chat.Event, target *chat.Event, now int64) chat.Event {
		t.Helper()
		d, err := s.Decide(chat.Command{Op: chat.OpAppend, Actor: "ann", Event: ev, Target: target, Subject: first}, now, chat.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(&d.Events[0])
		return d.Events[0]
	}
	post := apply(chat.Event{Text: "gone soon", Expire: 60}, nil, 1_000_000)
	first = &post
	edit := apply(chat.Event{Kind: chat.KindEdit, Re: 1, Text: "gone, soon"}, &post, 1_020_500)
	if edit.Expire != 40 {
		t.Errorf("the edit disappears %d s after it was made, its post 39.5 s", edit.Expire)
	}
	again := apply(chat.Event{Kind: chat.KindEdit, Re: 2, Text: "x", Expire: 5}, &edit, 1_030_000)
	if again.Expire != 5 {
		t.Errorf("a shorter life of its own became %d", again.Expire)
	}
}
