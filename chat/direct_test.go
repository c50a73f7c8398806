package chat_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/chat"
)

func codeOf(err error) chat.Code {
	var r *chat.Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// carry decides, applies and marks, as an owner does.
func carry(t testing.TB, s *chat.State, c chat.Command) ([]chat.Event, error) {
	t.Helper()
	d, err := s.Decide(c, 1_000, chat.DefaultLimits())
	if err != nil {
		return nil, err
	}
	for i := range d.Events {
		s.Apply(&d.Events[i])
	}
	for _, m := range d.Marks {
		s.Mark(m)
	}
	return d.Events, nil
}

func write(who string, a *chat.Approach) chat.Command {
	return chat.Command{Op: chat.OpAppend, Actor: who, Approach: a, Event: chat.Event{Text: "hi"}}
}

// Who may write first, as a table: every setting, known or not, blocked or not.
func TestFirstMessage(t *testing.T) {
	const waits, refused, passes = "waits", "refused", "passes"
	for _, c := range []struct {
		a    *chat.Approach
		want string
	}{
		{nil, passes},
		{&chat.Approach{}, passes},
		{&chat.Approach{Messages: chat.MessagesAnyone}, passes},
		{&chat.Approach{Messages: chat.MessagesRequests}, waits},
		{&chat.Approach{Messages: chat.MessagesShared}, refused},
		{&chat.Approach{Messages: chat.MessagesRequests, Known: true}, passes},
		{&chat.Approach{Messages: chat.MessagesShared, Known: true}, passes},
		{&chat.Approach{Messages: chat.MessagesAnyone, Known: true, Blocked: true}, refused},
		{&chat.Approach{Messages: chat.MessagesAnyone, Blocked: true, Blocking: true}, refused},
	} {
		s := chat.NewDirect("ana", "bob")
		events, err := carry(t, s, write("ana", c.a))
		_, member := s.Member("bob")
		got := passes
		switch {
		case codeOf(err) == chat.NotAuthorized:
			got = refused
		case err != nil || len(events) != 1:
			t.Fatal(err, events)
		case s.Pending("bob") && !member:
			got = waits
		}
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.a, got, c.want)
		}
	}
	notes := chat.NewDirect("ana", "ana")
	if _, err := carry(t, notes, write("ana", &chat.Approach{Messages: chat.MessagesShared})); err != nil {
		t.Error("notes to oneself are nobody's request:", err)
	}
}

// The blocked, the declined and the stranger hear the same words.
func TestRefusalsTellNothing(t *testing.T) {
	shared := chat.NewDirect("ana", "bob")
	_, stranger := carry(t, shared, write("ana", &chat.Approach{Messages: chat.MessagesShared}))
	_, blocked := carry(t, shared, write("ana", &chat.Approach{Blocked: true}))
	asks := chat.NewDirect("ana", "bob")
	must := func(_ []chat.Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(carry(t, asks, write("ana", &chat.Approach{Messages: chat.MessagesRequests})))
	must(carry(t, asks, chat.Command{Op: chat.OpDismiss, Actor: "bob"}))
	_, declined := carry(t, asks, write("ana", nil))
	must(carry(t, asks, chat.Command{Op: chat.OpTake, Actor: "bob"}))
	must(carry(t, asks, chat.Command{Op: chat.OpBlock, Actor: "bob"}))
	_, later := carry(t, asks, write("ana", nil))
	for _, err := range []error{blocked, declined, later} {
		if err == nil || stranger == nil || err.Error() != stranger.Error() {
			t.Errorf("%v, want %v", err, stranger)
		}
	}
}

// Settings count among what may wait: who is not accepted fills no log with them.
func TestSettingsOfARequestAreBounded(t *testing.T) {
	s := chat.NewDirect("ana", "bob")
	_, err := carry(t, s, write("ana", &chat.Approach{Messages: chat.MessagesRequests}))
	n := 0
	for ; err == nil && n < 100; n++ {
		seconds := uint32(n + 1)
		_, err = carry(t, s, chat.Command{Op: chat.OpUpdate, Actor: "ana", Info: &chat.InfoChange{Expire: &seconds}})
	}
	if codeOf(err) != chat.RateLimited || s.Head != 10 {
		t.Errorf("%d events wait: %v", s.Head, err)
	}
}

// pairModel is the rules once more, without flags.
type pairModel struct {
	began, asked, accepted, declined bool
	n                                int
	blocks                           map[string]bool
}

func (m *pairModel) step(c chat.Command) (code chat.Code, events int) {
	a, b := c.Actor, "bob"
	if a == b {
		b = "ana"
	}
	recipient := m.asked && !m.accepted && a == "bob"
	switch c.Op {
	case chat.OpBlock, chat.OpUnblock:
		m.blocks[a] = c.Op == chat.OpBlock
		return "", 0
	case chat.OpTake, chat.OpDismiss:
		switch {
		case !m.began:
			return chat.NotFound, 0
		case !recipient && c.Op == chat.OpTake:
			return "", 0
		case !recipient:
			return chat.Conflict, 0
		case c.Op == chat.OpDismiss:
			m.declined = true
			return "", 0
		case m.blocks[a]:
			return chat.NotAuthorized, 0
		}
		m.accepted, m.n = true, m.n+1
		return "", 1
	}
	if m.blocks[a] || m.blocks[b] {
		return chat.NotAuthorized, 0
	}
	switch {
	case !m.began:
		m.began = true
		m.asked = c.Approach != nil && c.Approach.Messages == chat.MessagesRequests
	case recipient:
		m.accepted, m.n = true, m.n+2
		return "", 2
	case m.asked && !m.accepted && m.declined:
		return chat.NotAuthorized, 0
	case m.asked && !m.accepted && m.n >= 10:
		return chat.RateLimited, 0
	}
	m.n++
	return "", 1
}

// Any order of what the two do leads to what the model says; the state can be made again from its log and
// marks, and nobody is a member before they agreed.
func TestDirectProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := chat.NewDirect("ana", "bob")
		m := &pairModel{blocks: map[string]bool{}}
		asks := rapid.Bool().Draw(t, "asks")
		replayed := chat.NewDirect("ana", "bob")
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			c := chat.Command{
				Op: rapid.SampledFrom([]chat.Op{
					chat.OpAppend, chat.OpAppend, chat.OpAppend, chat.OpTake, chat.OpDismiss, chat.OpBlock, chat.OpUnblock, chat.OpUnblock,
				}).Draw(t, "op"),
				Actor: rapid.SampledFrom([]string{"ana", "bob"}).Draw(t, "actor"),
			}
			if c.Op == chat.OpAppend {
				c.Event.Text = "hi"
				if !m.began {
					c.Actor = "ana"
					c.Approach = &chat.Approach{Blocked: m.blocks["ana"] || m.blocks["bob"], Blocking: m.blocks["ana"]}
					if asks {
						c.Approach.Messages = chat.MessagesRequests
					}
				}
			} else if !m.began && (c.Op == chat.OpBlock || c.Op == chat.OpUnblock) {
				continue // before the conversation begins, a record has it, and the beginning is refused while it stands
			}
			before := s.Snapshot()
			d, err := s.Decide(c, 1_000, chat.DefaultLimits())
			if want, n := m.step(c); codeOf(err) != want || len(d.Events) != n {
				t.Fatalf("%v by %s in %+v: %v and %d events, want %q and %d", c.Op, c.Actor, before, err, len(d.Events), want, n)
			}
			if err != nil {
				continue
			}
			for i := range d.Events {
				if d.Events[i].Seq != s.Head+1 {
					t.Fatal("a gap")
				}
				s.Apply(&d.Events[i])
				replayed.Apply(&d.Events[i])
			}
			for _, mark := range d.Marks {
				s.Mark(mark)
			}
			check(t, s, replayed, m)
		}
	})
}

func check(t *rapid.T, s, replayed *chat.State, m *pairModel) {
	open := !m.asked || m.accepted
	if _, member := s.Member("bob"); m.began && member != open || slices.Contains(s.MemberList(), "bob") != (m.began && open) {
		t.Fatalf("bob is a member: %v, want %v", member, open)
	}
	if m.began && s.Pending("bob") == open || s.Pending("ana") {
		t.Fatal("what waits is not what should")
	}
	if want := m.began && (!open || m.blocks["ana"] || m.blocks["bob"]); s.Silent() != want {
		t.Fatalf("silent: %v, want %v", s.Silent(), want)
	}
	if m.began {
		if from, _, ok := s.Visible("bob"); !ok || from != 1 || s.MayRead("bob") != nil {
			t.Fatal("the recipient cannot read from the beginning")
		}
	}
	is, was := s.Snapshot().Members, replayed.Snapshot().Members
	for user := range is {
		if is[user].OfLog() != was[user].OfLog() {
			t.Fatalf("%s: %+v by the log %+v", user, is[user], was[user])
		}
	}
}

// All that was written before is unread for who accepts it.
func TestUnreadOfAnAcceptedRequest(t *testing.T) {
	s := chat.NewDirect("ana", "bob")
	for range 3 {
		if _, err := carry(t, s, write("ana", &chat.Approach{Messages: chat.MessagesRequests})); err != nil {
			t.Fatal(err)
		}
	}
	m, _ := s.Member("bob")
	if n := chat.UnreadAfter(chat.Cursor{}, m, s.Head); n != 0 {
		t.Error("a request has unread events before it is accepted:", n)
	}
	if _, err := carry(t, s, chat.Command{Op: chat.OpTake, Actor: "bob"}); err != nil {
		t.Fatal(err)
	}
	m, _ = s.Member("bob")
	if n := chat.UnreadAfter(chat.Cursor{}, m, s.Head); n != 4 {
		t.Error("unread:", n)
	}
}
