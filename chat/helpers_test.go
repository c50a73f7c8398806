package chat_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

// room is a conversation with its log and retry keys: what an owner of it keeps. It feeds Decide and
// Apply as the owner does, and checks what must hold after each step.
type room struct {
	t     testing.TB
	s     *chat.State
	log   []chat.Event
	prior map[string]chat.Prior
	now   int64
	lim   chat.Limits
}

func newRoom(t testing.TB, s *chat.State) *room {
	return &room{t: t, s: s, prior: map[string]chat.Prior{}, now: 1_000, lim: chat.DefaultLimits()}
}

func (r *room) fill(c *chat.Command) {
	if c.Op != chat.OpAppend {
		return
	}
	if re := c.Event.Re; re >= 1 && re <= uint64(len(r.log)) {
		c.Target = &r.log[re-1]
	}
	if p, ok := r.prior[c.Actor+"/"+c.Event.ID]; ok && c.Event.ID != "" {
		c.Prior = &p
	}
	c.Hash = hash(c.Event)
}

// hash stands for the owner's content hash.
func hash(e chat.Event) uint64 {
	var h uint64 = 14695981039346656037
	for _, b := range fmt.Sprintf("%d|%s|%d|%s", e.Kind, e.Text, e.Re, e.Emoji) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

// do decides and applies, and returns the new events as lines.
func (r *room) do(c chat.Command) ([]string, error) {
	r.t.Helper()
	r.fill(&c)
	before := r.s.Snapshot()
	d, err := r.s.Decide(c, r.now, r.lim)
	if !reflect.DeepEqual(before, r.s.Snapshot()) {
		r.t.Fatalf("Decide changed the state: %+v", c)
	}
	if err != nil {
		var refusal *chat.Refusal
		if !errors.As(err, &refusal) || refusal.Code == "" || refusal.Reason == "" {
			r.t.Fatalf("%v is no refusal with a code and a reason", err)
		}
		if len(d.Events) > 0 || d.Seq != 0 || d.Duplicate {
			r.t.Fatalf("a refusal with a decision: %+v", d)
		}
		return nil, err
	}
	r.apply(c, d)
	return lines(d.Events), nil
}

func (r *room) apply(c chat.Command, d chat.Decision) {
	r.t.Helper()
	if (len(d.Events) == 0) != d.Duplicate {
		r.t.Fatalf("%d events and Duplicate=%v", len(d.Events), d.Duplicate)
	}
	if d.Duplicate {
		if d.Seq == 0 || d.Seq > r.s.Head {
			r.t.Fatalf("duplicate of seq %d with head %d", d.Seq, r.s.Head)
		}
		return
	}
	if d.Seq != d.Events[0].Seq {
		r.t.Fatalf("answered with seq %d for %v", d.Seq, lines(d.Events))
	}
	for i := range d.Events {
		e := &d.Events[i]
		if e.Seq != uint64(len(r.log)+1) || e.At < r.s.LastAt || e.From != c.Actor {
			r.t.Fatalf("event %d of %d after head %d at %d", e.Seq, e.At, len(r.log), r.s.LastAt)
		}
		r.log = append(r.log, *e)
		r.checkChanges(r.s.Snapshot(), r.s.Apply(e))
	}
	if c.Op == chat.OpAppend && c.Event.ID != "" {
		r.prior[c.Actor+"/"+c.Event.ID] = chat.Prior{Seq: d.Seq, Hash: c.Hash}
	}
}

// checkChanges: an owner who stores just what Changes names has stored all that changed.
func (r *room) checkChanges(before chat.Snapshot, ch chat.Changes) {
	r.t.Helper()
	after := r.s.Snapshot()
	stored := before.Members
	for _, user := range ch.Members {
		stored[user], _ = r.s.Member(user)
	}
	if !reflect.DeepEqual(stored, after.Members) {
		r.t.Fatalf("Changes names %v; stored %v, is %v", ch.Members, stored, after.Members)
	}
	if !ch.Info && (before.Info != after.Info || before.Ended != after.Ended) {
		r.t.Fatal("settings changed and Changes does not say so")
	}
	var current []string
	for user, m := range after.Members {
		if m.Role != chat.RoleNone {
			current = append(current, user)
		}
	}
	slices.Sort(current)
	if !slices.Equal(current, r.s.MemberList()) || len(current) != r.s.Count() {
		r.t.Fatalf("MemberList %v, Count %d, members %v", r.s.MemberList(), r.s.Count(), current)
	}
}

// must is do for what is allowed; it compares the events unless want is absent.
func (r *room) must(c chat.Command, want ...string) {
	r.t.Helper()
	got, err := r.do(c)
	if err != nil {
		r.t.Fatalf("refused: %v", err)
	}
	if len(want) > 0 && !slices.Equal(got, want) {
		r.t.Fatalf("events\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// idle is do for what is allowed and leads to nothing new.
func (r *room) idle(c chat.Command) {
	r.t.Helper()
	if got, err := r.do(c); err != nil || len(got) != 0 {
		r.t.Fatalf("events %v, error %v; want neither", got, err)
	}
}

// no is do for what is refused with this code; the reason must say what part does.
func (r *room) no(code chat.Code, part string, c chat.Command) {
	r.t.Helper()
	got, err := r.do(c)
	if !errors.Is(err, &chat.Refusal{Code: code}) || !strings.Contains(err.Error(), part) {
		r.t.Fatalf("events %v, error %v; want %s with %q", got, err, code, part)
	}
}

// hidden is do for what must look as if there were no such conversation.
func (r *room) hidden(c chat.Command) {
	r.t.Helper()
	if got, err := r.do(c); !errors.Is(err, chat.NoSuchConversation()) {
		r.t.Fatalf("events %v, error %v; want NoSuchConversation", got, err)
	}
}

// lines writes events as a story: "seq who what".
func lines(events []chat.Event) []string {
	var out []string
	for i := range events {
		out = append(out, line(&events[i]))
	}
	return out
}

var verbs = map[chat.Kind]string{
	chat.KindPost: "posts", chat.KindEdit: "edits", chat.KindDelete: "deletes", chat.KindReact: "reacts",
	chat.KindUnreact: "unreacts", chat.KindPin: "pins", chat.KindUnpin: "unpins", chat.KindCreate: "creates",
	chat.KindInfo: "sets", chat.KindJoin: "joins", chat.KindAdd: "adds", chat.KindLeave: "leaves",
	chat.KindRemove: "removes", chat.KindRole: "ranks", chat.KindEnd: "ends",
}

func line(e *chat.Event) string {
	s := fmt.Sprintf("%d %s %s", e.Seq, e.From, verbs[e.Kind])
	if e.Member != nil {
		s += " " + e.Member.User + " " + e.Member.Role.String()
		if e.Member.By != "" {
			s += " by " + e.Member.By
		}
	}
	if e.Text != "" {
		s += " " + e.Text
	}
	if e.Re != 0 {
		s += fmt.Sprintf(" re %d", e.Re)
	}
	if e.Thread != 0 {
		s += fmt.Sprintf(" in %d", e.Thread)
	}
	return s + setting(e.Info)
}

func setting(i *chat.InfoChange) (s string) {
	if i == nil {
		return ""
	}
	for _, f := range []struct {
		name string
		v    *string
	}{{"title", i.Title}, {"about", i.About}, {"visibility", i.Visibility}, {"join", i.Join}, {"history", i.History}} {
		if f.v != nil {
			s += " " + f.name + "=" + *f.v
		}
	}
	if i.Limit != nil {
		s += fmt.Sprintf(" limit=%d", *i.Limit)
	}
	return s
}

// Commands, so that stories stay short.

func post(who, text string) chat.Command {
	return chat.Command{Op: chat.OpAppend, Actor: who, Event: chat.Event{Text: text}}
}

func act(who string, k chat.Kind, re uint64) chat.Command {
	c := chat.Command{Op: chat.OpAppend, Actor: who, Event: chat.Event{Kind: k, Re: re}}
	switch k {
	case chat.KindPost, chat.KindEdit:
		c.Event.Text = "t"
	case chat.KindReact, chat.KindUnreact:
		c.Event.Emoji = "👍"
	}
	return c
}

func op(o chat.Op, who string) chat.Command { return chat.Command{Op: o, Actor: who} }

func on(o chat.Op, who, user string, role chat.Role) chat.Command {
	return chat.Command{Op: o, Actor: who, User: user, Role: role}
}

// info reads "title=x join=open limit=3".
func info(settings string) *chat.InfoChange {
	i := &chat.InfoChange{}
	for _, f := range strings.Fields(settings) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "title":
			i.Title = &v
		case "about":
			i.About = &v
		case "visibility":
			i.Visibility = &v
		case "join":
			i.Join = &v
		case "history":
			i.History = &v
		case "limit":
			var n uint32
			if _, err := fmt.Sscan(v, &n); err != nil {
				panic(err)
			}
			i.Limit = &n
		default:
			panic("no such setting: " + k)
		}
	}
	return i
}

func create(who, settings string, members ...string) chat.Command {
	return chat.Command{Op: chat.OpCreate, Actor: who, Info: info(settings), Members: members}
}

func update(who, settings string) chat.Command {
	return chat.Command{Op: chat.OpUpdate, Actor: who, Info: info(settings)}
}
