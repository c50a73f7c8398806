package chat_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/chat"
)

var users = []string{"ann", "ben", "cat", "dan", "eve"}

// reached counts what the random runs came across, so that a generator that has stopped asking the
// interesting questions shows as a failure.
type reached map[string]int

// TestRulesAgreeWithModel runs random commands of random users through the package and through the
// model, on a direct conversation and on a group, and checks what must hold after each of them.
func TestRulesAgreeWithModel(t *testing.T) {
	seen := reached{}
	run := func(rt *rapid.T) {
		direct := rapid.IntRange(0, 3).Draw(rt, "direct") == 0
		r, m := newRoom(t, chat.NewGroup("team")), &model{max: 4}
		if direct {
			r, m = newRoom(t, chat.NewDirect("ben", "ann")), &model{direct: true, party: []string{"ann", "ben"}, max: 4}
		}
		r.t, r.now, r.lim.GroupMembers = failer{t, rt}, 1_000_000, 4
		if !direct && rapid.IntRange(0, 19).Draw(rt, "created") < 19 {
			compare(rt, r, m, create("ann", "title=t "+drawSettings(rt), "ben", "cat"), seen)
		}
		over := 0 // steps since the group ended: a few are enough
		for step := range rapid.IntRange(60, 120).Draw(rt, "steps") {
			if r.s.Ended {
				if over++; over > 5 {
					break
				}
			}
			r.now += rapid.Int64Range(-2_000, 3_000).Draw(rt, "passed")
			if rapid.IntRange(0, 29).Draw(rt, "pause") == 29 {
				r.now += 3_600_000
			}
			c := drawCommand(rt, r, direct, step)
			compare(rt, r, m, c, seen)
			checkState(rt, r, m)
		}
		checkReplay(rt, r, direct)
	}
	for round := range 40 { // rapid runs 100 each, or fewer; of the rarest thing below there is one in as many
		rapid.Check(t, run)
		if round >= 2 && seen.missing() == "" {
			break
		}
	}
	if what := seen.missing(); what != "" {
		t.Errorf("no run came across %q", what)
	}
	t.Log(seen)
}

// missing is something that no run came across; "": all there is was seen.
func (r reached) missing() string {
	for _, what := range []string{"posts", "edits", "deletes", "reacts", "unreacts", "pins", "unpins", "creates", "sets", "joins",
		"adds", "leaves", "removes", "ranks", "ends", "bans", "unbans", "mutes", "asks", "withdraws", "approves",
		"denies", "invites", "revokes", "accepts", "rate-limited", "nothing new", "heir", nowhere, "bad-request", "not-authorized", "not-found", "conflict"} {
		if r[what] == 0 {
			return what
		}
	}
	return ""
}

// failer reports a room's complaints to rapid, which shrinks the run that led to them.
type failer struct {
	testing.TB
	rt *rapid.T
}

func (f failer) Helper()                        { f.rt.Helper() }
func (f failer) Fatal(args ...any)              { f.rt.Fatal(args...) }
func (f failer) Fatalf(format string, a ...any) { f.rt.Fatalf(format, a...) }

func compare(t *rapid.T, r *room, m *model, c chat.Command, seen reached) {
	want, story := m.step(c, r.now)
	before := r.s.Snapshot().Members
	got, err := r.do(c)
	if mute := before[c.Actor].Muted; c.Op == chat.OpAppend && c.Event.Kind != chat.KindDelete && len(got) > 0 && mute > max(r.now, r.s.LastAt) {
		t.Fatalf("%s is muted until %d and wrote %v", c.Actor, mute, got)
	}
	code := ""
	var refusal *chat.Refusal
	if errors.As(err, &refusal) {
		code = string(refusal.Code)
	}
	if errors.Is(err, chat.NoSuchConversation()) {
		code = nowhere
	}
	if code != want || !slices.Equal(got, story) {
		t.Fatalf("%+v\nled to  %q %q (%v)\nmodel   %q %q", c, code, got, err, want, story)
	}
	if want == "" && len(story) == 0 {
		want = "nothing new"
	}
	if want != "" {
		seen[want]++
	}
	for _, e := range m.story[len(m.story)-len(story):] {
		seen[e.verb]++
	}
	seen[m.did]++
	if len(story) == 2 && m.story[len(m.story)-2].verb == "ranks" && m.story[len(m.story)-1].verb == "leaves" {
		seen["heir"]++
	}
}

// checkState compares the state with the model; the order of seqs and times is checked by room.
func checkState(t *rapid.T, r *room, m *model) {
	crowd := m.crowd()
	if m.direct {
		crowd = nil
		if m.began() {
			crowd = slices.Clone(m.party)
		}
	}
	slices.Sort(crowd)
	if !slices.Equal(r.s.MemberList(), crowd) || int(r.s.Head) != len(m.story) || r.s.Ended != m.over() {
		t.Fatalf("members %v head %d ended %v, model %v %d %v", r.s.MemberList(), r.s.Head, r.s.Ended, crowd, len(m.story), m.over())
	}
	if !m.direct && r.s.Count() > m.room() {
		t.Fatalf("%d members, limit %d", r.s.Count(), m.room())
	}
	owners := 0
	for _, user := range append([]string{"stranger"}, users...) {
		rec, _ := r.s.Member(user)
		if want := m.role(user); int(rec.Role) != want && !(m.direct && !m.began()) {
			t.Fatalf("%s is %v, model %d", user, rec.Role, want)
		}
		if rec.Role == chat.RoleOwner {
			owners++
		}
		if may := r.s.MayRead(user) == nil; may != (m.role(user) > 0) {
			t.Fatalf("%s may post: %v", user, may)
		}
		if r.s.CanSee(user) != (m.role(user) > 0 || m.outside() != nowhere) {
			t.Fatalf("%s can see: %v", user, r.s.CanSee(user))
		}
		for seq := 1; seq <= len(m.story)+1; seq++ {
			if r.s.CanRead(user, uint64(seq)) != m.sees(user, seq) {
				t.Fatalf("%s can read %d: %v, model %v", user, seq, r.s.CanRead(user, uint64(seq)), m.sees(user, seq))
			}
		}
	}
	if !m.direct && m.began() && !m.over() && owners != 1 {
		t.Fatalf("%d owners", owners)
	}
	if !m.direct {
		checkGate(t, r, m)
	}
}

// checkGate compares who is banned, who waits and who is invited.
func checkGate(t *rapid.T, r *room, m *model) {
	now := max(r.now, r.s.LastAt)
	var banned, waiting []string
	for _, user := range users {
		if m.kept(user, now) {
			banned = append(banned, user)
			if m.role(user) > 0 {
				t.Fatalf("%s is banned and a member", user)
			}
		}
		if m.waits(user) {
			waiting = append(waiting, user)
		}
		if rec, _ := r.s.Member(user); rec.BannedAt(now) != m.kept(user, now) || m.role(user) > 0 && rec.Muted != m.mute(user) {
			t.Fatalf("%s is %+v, model banned %d, muted %d", user, rec, m.ban(user), m.mute(user))
		}
	}
	if !slices.Equal(r.s.Banned(now), banned) || !slices.Equal(r.s.Requesters(), waiting) {
		t.Fatalf("banned %v, waiting %v, model %v and %v", r.s.Banned(now), r.s.Requesters(), banned, waiting)
	}
	hold := r.s.Invites(now)
	for code, tk := range m.codes {
		inv, ok := hold[code]
		if ok != m.holds(tk, now) || ok && (inv.By != tk.by || inv.Used != tk.used || inv.Uses != tk.uses) {
			t.Fatalf("invitation %s is %+v (%v), model %+v", code, inv, ok, tk)
		}
		delete(hold, code)
	}
	for code, inv := range r.s.Snapshot().Invites {
		if inv.Uses > 0 && inv.Used > inv.Uses {
			t.Fatalf("%d came by the invitation %s for %d", inv.Used, code, inv.Uses)
		}
	}
	if len(hold) > 0 {
		t.Fatalf("there are invitations %v, of which the model knows nothing", hold)
	}
}

// checkReplay: the log alone makes the same state again, and so do the stored records from any point on.
func checkReplay(t *rapid.T, r *room, direct bool) {
	cut := rapid.IntRange(0, len(r.log)).Draw(t, "restart")
	s := chat.NewState(r.s.ID, direct)
	gates := r.gates
	for i := range r.log {
		if i == cut {
			p := s.Snapshot()
			s = chat.Restore(p.ID, p.Direct, p.Head, p.LastAt, p.Info, p.Ended, p.Members)
			s.RestoreGate(p.Requests, p.Invites)
		}
		s.Apply(&r.log[i])
		for len(gates) > 0 && gates[0].head == s.Head {
			s.ApplyGate(gates[0].changes)
			gates = gates[1:]
		}
	}
	if got, want := s.Snapshot(), r.s.Snapshot(); !reflect.DeepEqual(got, want) {
		t.Fatalf("replayed\n%+v\nis\n%+v", got, want)
	}
	if !slices.Equal(s.MemberList(), r.s.MemberList()) {
		t.Fatalf("replayed members %v, are %v", s.MemberList(), r.s.MemberList())
	}
}

func drawSettings(t *rapid.T) (s string) {
	draw := func(name string, values ...string) {
		if v := rapid.SampledFrom(append(values, "-", "-", "-")).Draw(t, name); v != "-" {
			s += " " + name + "=" + v
		}
	}
	draw("visibility", "public", "private", "public", "private", "wrong")
	draw("join", "request", "open", "invite", "open", "request", "wrong")
	draw("history", "all", "joined", "joined")
	draw("limit", "0", "2", "3", "4", "5")
	draw("about", "x", "")
	if rapid.IntRange(0, 2).Draw(t, "perms") == 0 {
		roles := append([]string{"wrong"}, roleNames[1:]...)
		for _, a := range []string{"post", "add", "pin", "info", "delete"} {
			draw("p."+a, append([]string{"-", "-", "-"}, roles[rapid.IntRange(0, 1).Draw(t, "right"):]...)...)
		}
	}
	return s
}

func drawCommand(t *rapid.T, r *room, direct bool, step int) chat.Command {
	head, now := len(r.log), r.now
	who := rapid.SampledFrom(users).Draw(t, "who")
	if in := r.s.MemberList(); len(in) > 0 && rapid.IntRange(0, 3).Draw(t, "outsider") < 3 {
		who = rapid.SampledFrom(in).Draw(t, "which")
	}
	// Ending is rare, or little else would be seen.
	ops := []chat.Op{1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 5, 5, 5, 6, 7, 7, 7, 8, 9, 9, 9, 9, 10, 10, 11, 12, 13, 13, 14, 15, 15, 16, 17, 17}
	if rapid.IntRange(0, 39).Draw(t, "rare") == 39 {
		ops = []chat.Op{chat.OpCreate, chat.OpEnd, 99}
	}
	if direct && rapid.IntRange(0, 3).Draw(t, "talk") > 0 {
		ops = []chat.Op{chat.OpAppend}
		who = users[rapid.SampledFrom([]int{0, 0, 0, 1, 1, 1, 2}).Draw(t, "party")]
	}
	// rapid prefers the first of a list, so each step begins elsewhere.
	turned := slices.Concat(ops[step*7%len(ops):], ops[:step*7%len(ops)])
	switch o := rapid.SampledFrom(turned).Draw(t, "op"); o {
	case chat.OpAppend:
		c := drawEvent(t, who, head)
		if k := c.Event.Kind; k == chat.KindUnreact || k == chat.KindUnpin { // there are few to take back
			for _, e := range r.log {
				if e.Kind == k-1 && rapid.IntRange(0, 3).Draw(t, "this one") < 3 {
					c.Actor, c.Event.Re = e.From, e.Re
				}
			}
		}
		return c
	case chat.OpCreate:
		return create(who, rapid.SampledFrom([]string{"title=t", "title=t", ""}).Draw(t, "title")+drawSettings(t),
			rapid.SliceOfN(rapid.SampledFrom(users), 0, 5).Draw(t, "members")...)
	case chat.OpUpdate:
		return update(who, rapid.SampledFrom([]string{"", "title=t", "title=u", "title="}).Draw(t, "title")+drawSettings(t))
	case chat.OpBan, chat.OpMute:
		at := rapid.SampledFrom([]int64{now + 5_000, now + 50_000, 0, now + 4_000_000, now - 1}).Draw(t, "until")
		return until(o, who, rapid.SampledFrom(users).Draw(t, "user"), at)
	case chat.OpInvite, chat.OpRevoke:
		expires := rapid.SampledFrom([]int64{0, 0, now + 5_000, now - 1}).Draw(t, "expires")
		return code(o, who, rapid.SampledFrom([]string{"c1", "c2", "c3"}).Draw(t, "code"), rapid.Uint32Range(0, 2).Draw(t, "uses"), expires)
	case chat.OpApprove, chat.OpDeny, chat.OpUnban:
		whom := append(slices.Concat(r.s.Requesters(), r.s.Banned(now)), users...)
		return on(o, who, rapid.SampledFrom(whom).Draw(t, "whom"), member)
	case chat.OpLeave:
		if ask := r.s.Requesters(); len(ask) > 0 && rapid.IntRange(0, 3).Draw(t, "stays") < 3 {
			who = rapid.SampledFrom(ask).Draw(t, "who asked")
		}
		return op(o, who)
	case chat.OpJoin, chat.OpAccept:
		if rapid.IntRange(0, 4).Draw(t, "stranger") < 4 {
			who = rapid.SampledFrom([]string{"dan", "eve", "cat", "ben"}).Draw(t, "newcomer")
		}
		if o == chat.OpAccept {
			return code(o, who, rapid.SampledFrom([]string{"c1", "c2", "c3"}).Draw(t, "code"), 0, 0)
		}
		words := rapid.SampledFrom([]string{"", "let me in", "please", strings.Repeat("x", 257)}).Draw(t, "words")
		return chat.Command{Op: o, Actor: who, Text: words}
	default:
		return on(o, who, rapid.SampledFrom(users).Draw(t, "user"), chat.Role(rapid.IntRange(0, 5).Draw(t, "role")))
	}
}

func drawEvent(t *rapid.T, who string, head int) chat.Command {
	k := rapid.SampledFrom([]chat.Kind{2, 0, 4, 3, 6, 1, 5, 7, 2, 3, 8}).Draw(t, "kind")
	re := rapid.IntRange(-1, 6).Draw(t, "back")
	c := post(who, fmt.Sprint("t", rapid.IntRange(0, 1).Draw(t, "text")))
	switch {
	case re >= 0 && head > 0:
		c = act(who, k, uint64(max(head+1-re, 0)))
	case rapid.IntRange(0, 9).Draw(t, "without re") == 9:
		c.Event.Kind = k
	}
	c.Event.ID = rapid.SampledFrom([]string{"", "", "a", "b", "c"}).Draw(t, "id")
	c.Event.Expire = rapid.SampledFrom([]uint64{0, 0, 0, 1, 3}).Draw(t, "expire")
	switch rapid.IntRange(0, 39).Draw(t, "wrong") { // rapid prefers the low numbers: these are all right
	case 36:
		c.Event.Seq = 1
	case 37:
		c.Event.Conv = "team"
	case 38:
		c.Event.Emoji = "👍"
	case 39:
		c.Event.Text = ""
	}
	return c
}
