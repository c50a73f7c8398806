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
	gates []gateAt
	prior map[string]chat.Prior
	now   int64
	lim   chat.Limits
}

// gateAt is what one decision changed at the gate, with the head that it followed.
type gateAt struct {
	head    uint64
	changes []chat.GateChange
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
		if c.Target.Kind == chat.KindEdit {
			c.Subject = &r.log[c.Target.Re-1]
		}
		r.acts(c)
	}
	if p, ok := r.prior[c.Actor+"/"+c.Event.ID]; ok && c.Event.ID != "" {
		c.Prior = &p
	}
	c.Hash = hash(c.Event)
}

// acts tells what the log says of the event that a command acts upon.
func (r *room) acts(c *chat.Command) {
	subject := c.Target.Seq
	if c.Subject != nil {
		subject = c.Subject.Seq
	}
	mine, all, pins := map[string]bool{}, map[string]bool{}, map[uint64]bool{}
	for _, e := range r.log {
		switch {
		case e.Kind == chat.KindPin:
			pins[e.Re] = true
		case e.Kind == chat.KindUnpin, e.Kind == chat.KindDelete:
			delete(pins, e.Re)
		}
		if e.Re != subject {
			continue
		}
		a := &c.Acts
		switch e.Kind {
		case chat.KindReact, chat.KindUnreact:
			on := e.Kind == chat.KindReact
			all[e.From+" "+e.Emoji] = on
			if e.From == c.Actor {
				mine[e.Emoji] = on
				if e.Emoji == c.Event.Emoji {
					a.Reacted = e.Seq
					if !on {
						a.Reacted = 0
					}
				}
			}
		case chat.KindPin:
			a.Pinned = e.Seq
		case chat.KindUnpin:
			a.Pinned = 0
		}
	}
	emoji := map[string]bool{}
	for k, on := range all {
		if _, name, _ := strings.Cut(k, " "); on {
			emoji[name] = true
		}
	}
	for _, on := range mine {
		if on {
			c.Acts.Mine++
		}
	}
	c.Acts.Emoji, c.Acts.Used, c.Acts.Pins = len(emoji), emoji[c.Event.Emoji], len(pins)
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
	if (len(d.Events)+len(d.Gate)+len(d.Marks) == 0) != d.Duplicate {
		r.t.Fatalf("%d events, %d changes at the gate and Duplicate=%v", len(d.Events), len(d.Gate), d.Duplicate)
	}
	if d.Duplicate {
		if d.Seq == 0 || d.Seq > r.s.Head {
			r.t.Fatalf("duplicate of seq %d with head %d", d.Seq, r.s.Head)
		}
		return
	}
	if len(d.Events) > 0 && d.Seq != d.Events[0].Seq {
		r.t.Fatalf("answered with seq %d for %v", d.Seq, lines(d.Events))
	}
	for i := range d.Events {
		e := &d.Events[i]
		if e.Seq != uint64(len(r.log)+1) || e.At < r.s.LastAt || e.From != c.Actor {
			r.t.Fatalf("event %d of %d after head %d at %d", e.Seq, e.At, len(r.log), r.s.LastAt)
		}
		r.log = append(r.log, *e)
		if e.Kind == chat.KindDelete { // and its edits, for good
			for i := range r.log {
				if t := &r.log[i]; t.Seq == e.Re || t.Kind == chat.KindEdit && t.Re == e.Re {
					*t = chat.Tombstone(t)
				}
			}
		}
		r.checkChanges(r.s.Snapshot(), r.s.Apply(e))
	}
	if len(d.Gate) > 0 {
		r.s.ApplyGate(d.Gate)
		r.gates = append(r.gates, gateAt{r.s.Head, d.Gate})
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
		if stored[user], _ = r.s.Member(user); stored[user] == (chat.Member{}) {
			delete(stored, user)
		}
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
	chat.KindBan: "bans", chat.KindUnban: "unbans", chat.KindMute: "mutes",
}

func line(e *chat.Event) string {
	s := fmt.Sprintf("%d %s %s", e.Seq, e.From, verbs[e.Kind])
	if e.Member != nil {
		s += " " + e.Member.User + " " + e.Member.Role.String()
		if e.Member.By != "" {
			s += " by " + e.Member.By
		}
		if e.Member.Until != 0 {
			s += fmt.Sprintf(" until %d", e.Member.Until)
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
	if i.Perms != nil {
		for _, a := range chat.Actions() {
			if r := i.Perms[a]; r > chat.RoleOwner {
				s += fmt.Sprintf(" p.%s=wrong", a)
			} else if r != chat.RoleNone {
				s += fmt.Sprintf(" p.%s=%s", a, r)
			}
		}
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
		case "p.post", "p.add", "p.pin", "p.info", "p.delete", "p.call":
			if i.Perms == nil {
				i.Perms = &chat.Perms{}
			}
			for _, a := range chat.Actions() {
				if "p."+a.String() == k {
					i.Perms[a] = roleNamed(v)
				}
			}
		default:
			panic("no such setting: " + k)
		}
	}
	return i
}

// roleNamed is beyond the owner for what is no role.
func roleNamed(name string) chat.Role {
	for r := chat.RoleNone; r <= chat.RoleOwner; r++ {
		if r.String() == name {
			return r
		}
	}
	return chat.RoleOwner + 1
}

// until is on with a time.
func until(o chat.Op, who, user string, ms int64) chat.Command {
	return chat.Command{Op: o, Actor: who, User: user, Until: ms}
}

// code is for OpInvite (with uses and expires), OpRevoke and OpAccept.
func code(o chat.Op, who, code string, uses uint32, expires int64) chat.Command {
	return chat.Command{Op: o, Actor: who, Code: code, Invite: chat.Invite{Uses: uses, Expires: expires}}
}

func create(who, settings string, members ...string) chat.Command {
	return chat.Command{Op: chat.OpCreate, Actor: who, Info: info(settings), Members: members}
}

func update(who, settings string) chat.Command {
	return chat.Command{Op: chat.OpUpdate, Actor: who, Info: info(settings)}
}
