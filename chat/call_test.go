package chat_test

import (
	"testing"

	"github.com/petrelchat/petrel/chat"
)

func called(who string, with ...string) chat.Command {
	return chat.Command{Op: chat.OpCall, Actor: who, Event: chat.Event{ID: "aaaaaaaaaaaaa", Ext: []byte{0xa0}}, Members: with, Hash: 7}
}

func TestACallBeginsADirectConversation(t *testing.T) {
	for _, c := range []struct {
		name     string
		approach chat.Approach
		with     []string
		pending  bool
		code     chat.Code
	}{
		{"missed", chat.Approach{}, nil, false, ""},
		{"missed, from a stranger", chat.Approach{Messages: chat.MessagesRequests}, nil, true, ""},
		{"answered, from a stranger", chat.Approach{Messages: chat.MessagesRequests}, []string{"ann", "ben"}, false, ""},
		{"blocked meanwhile", chat.Approach{Blocked: true}, nil, false, chat.NotAuthorized},
	} {
		s := chat.NewState("ann~ben", true)
		cmd := called("ann", c.with...)
		cmd.Approach = &c.approach
		evs, err := carry(t, s, cmd)
		if codeOf(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.code != "" {
			continue
		}
		if len(evs) != 1 || evs[0].Kind != chat.KindCall || evs[0].From != "ann" || evs[0].ID != "aaaaaaaaaaaaa" || evs[0].Seq != 1 {
			t.Errorf("%s: %+v", c.name, evs)
		}
		if s.Pending("ben") != c.pending {
			t.Errorf("%s: ben is asked: %v", c.name, s.Pending("ben"))
		}
	}
}

func TestToAnswerACallIsToAcceptWhoCalls(t *testing.T) {
	for _, caller := range []string{"ann", "ben"} {
		s := chat.NewState("ann~ben", true)
		if _, err := carry(t, s, write("ann", &chat.Approach{Messages: chat.MessagesRequests})); err != nil || !s.Pending("ben") {
			t.Fatal(err)
		}
		evs, err := carry(t, s, called(caller, "ann", "ben"))
		if err != nil || len(evs) != 2 || evs[0].Kind != chat.KindJoin || evs[0].From != "ben" || evs[1].Kind != chat.KindCall || evs[1].From != caller {
			t.Errorf("%s calls: %+v, %v", caller, evs, err)
		}
		if s.Pending("ben") || s.Silent() {
			t.Error("ben is still asked")
		}
	}
	s := chat.NewState("ann~ben", true)
	if _, err := carry(t, s, write("ann", &chat.Approach{Messages: chat.MessagesRequests})); err != nil {
		t.Fatal(err)
	}
	if evs, err := carry(t, s, called("ann", "ann")); err != nil || len(evs) != 1 || !s.Pending("ben") {
		t.Errorf("a call that ben did not answer: %+v, %v", evs, err)
	}
}

func TestACallIsInTheLogOnceAndWhateverHappenedSince(t *testing.T) {
	s := chat.NewState("crew", false)
	title := "Crew"
	must := func(c chat.Command) {
		t.Helper()
		if _, err := carry(t, s, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := carry(t, s, called("ann")); codeOf(err) != chat.NotFound {
		t.Errorf("no such group: %v", err)
	}
	must(chat.Command{Op: chat.OpCreate, Actor: "ann", Info: &chat.InfoChange{Title: &title}, Members: []string{"ben"}})
	must(chat.Command{Op: chat.OpRemove, Actor: "ann", User: "ben"})
	must(called("ben", "ann")) // whose call it was
	again := called("ben", "ann")
	again.Prior = &chat.Prior{Seq: s.Head, Hash: 7}
	if d, err := s.Decide(again, 1, chat.DefaultLimits()); err != nil || !d.Duplicate || d.Seq != s.Head || len(d.Events) != 0 {
		t.Errorf("again: %+v, %v", d, err)
	}
	again.Prior.Hash = 8 // a post of ben's with that id
	if d, err := s.Decide(again, 1, chat.DefaultLimits()); err != nil || len(d.Events) != 1 {
		t.Errorf("the id is taken: %+v, %v", d, err)
	}
	must(chat.Command{Op: chat.OpEnd, Actor: "ann"})
	if _, err := carry(t, s, called("ann")); codeOf(err) != chat.NotFound {
		t.Errorf("a group that was deleted: %v", err)
	}
	if _, err := carry(t, chat.NewState("ann~ben", true), called("eve")); codeOf(err) != chat.NotFound {
		t.Errorf("others' conversation: %v", err)
	}
	nobody := called("ann")
	nobody.Event.ID = ""
	if _, err := carry(t, chat.NewState("ann~ben", true), nobody); codeOf(err) != chat.BadRequest {
		t.Errorf("no id: %v", err)
	}
}

func TestNobodyAppendsACall(t *testing.T) {
	s := chat.NewState("ann~ben", true)
	c := write("ann", nil)
	c.Event.Kind = chat.KindCall
	if _, err := carry(t, s, c); codeOf(err) != chat.BadRequest {
		t.Error(err)
	}
}

func TestWhoMayCallInAGroup(t *testing.T) {
	s := chat.NewState("crew", false)
	title := "Crew"
	perms := chat.Perms{chat.ActCall: chat.RoleModerator}
	for _, c := range []chat.Command{
		{Op: chat.OpCreate, Actor: "ann", Info: &chat.InfoChange{Title: &title}, Members: []string{"ben", "cat"}},
		{Op: chat.OpMute, Actor: "ann", User: "cat", Until: 5_000},
	} {
		if _, err := carry(t, s, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.MayCall("ben", 2_000); err != nil {
		t.Error(err)
	}
	if err := s.MayCall("cat", 2_000); codeOf(err) != chat.NotAuthorized {
		t.Errorf("muted: %v", err)
	}
	if err := s.MayCall("eve", 2_000); codeOf(err) != chat.NotFound {
		t.Errorf("no member: %v", err)
	}
	if _, err := carry(t, s, chat.Command{Op: chat.OpUpdate, Actor: "ann", Info: &chat.InfoChange{Perms: &perms}}); err != nil {
		t.Fatal(err)
	}
	if err := s.MayCall("ben", 2_000); codeOf(err) != chat.NotAuthorized {
		t.Errorf("the group lets moderators call: %v", err)
	}
}

func TestWordsOfCallSettings(t *testing.T) {
	for _, c := range []chat.Callers{chat.CallersAnyone, chat.CallersAccepted, chat.CallersNobody} {
		if got, ok := chat.ParseCallers(c.String()); !ok || got != c {
			t.Errorf("%d: %q, %v", c, c.String(), ok)
		}
	}
	for _, r := range []chat.Relay{chat.RelayNever, chat.RelayUntilAccepted, chat.RelayAlways} {
		if got, ok := chat.ParseRelay(r.String()); !ok || got != r {
			t.Errorf("%d: %q, %v", r, r.String(), ok)
		}
	}
	for _, word := range []string{"", "Anyone", "x"} {
		if c, ok := chat.ParseCallers(word); ok || c != chat.CallersDefault {
			t.Errorf("%q is %d", word, c)
		}
		if r, ok := chat.ParseRelay(word); ok || r != chat.RelayDefault {
			t.Errorf("%q is %d", word, r)
		}
	}
	if chat.CallersDefault.String() != "" || chat.Callers(200).String() != "" || chat.RelayDefault.String() != "" || chat.Relay(200).String() != "" {
		t.Error("a word for nothing")
	}
}
