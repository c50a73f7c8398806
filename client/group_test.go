package client_test

import (
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// In a group a message is delivered when all have it, and read when all have read it; the counts say how far it is. Who was away
// learns it when they come back.
func TestGroupStates(t *testing.T) {
	s := serve(t)
	names := []string{"ann", "bob", "cleo"}
	ds := map[string]*device{}
	for _, n := range names {
		ds[n] = s.device(n, n, inMemory(t)).open()
		ds[n].upToDate()
	}
	ann := ds["ann"]
	must(t, ann.Call(soon(t), "group.create", map[string]any{
		"id": "crew", "title": "Crew", "visibility": "private", "join": "invite", "history": "all", "members": []string{"bob", "cleo"},
	}, nil))
	ds["cleo"].close()
	m := ann.send("crew", "hello")
	m, err := ann.Sent(soon(t), m)
	must(t, err)
	last := func() client.Message { ms := ann.messages("crew"); return ms[len(ms)-1] }
	ann.until("one of two", func() bool { l := last(); return l.Delivered == 1 && l.Of == 2 && l.State == client.StateSent })
	row, err := ds["bob"].Conversation(soon(t), "crew")
	must(t, err)
	must(t, ds["bob"].MarkRead(soon(t), "crew", row.Head))
	ann.until("read by one", func() bool { return last().Read == 1 })
	ann.close()
	ds["cleo"].open()
	ds["cleo"].has("crew", "hello")
	must(t, ds["cleo"].MarkRead(soon(t), "crew", 1<<30))
	ds["cleo"].upToDate()
	ds["cleo"].close() // tells what was read
	ann.open()
	ann.until("read by all", func() bool { l := last(); return l.State == client.StateRead && l.Read == 2 && l.Of == 2 })

	must(t, ann.Call(soon(t), "group.update", map[string]any{"conv": "crew", "title": "The Crew"}, nil))
	bob := ds["bob"]
	bob.until("the new title", func() bool { row, _ := bob.Conversation(soon(t), "crew"); return row.Title == "The Crew" })
	must(t, ann.Call(soon(t), "member.role", map[string]any{"conv": "crew", "user": "bob", "role": "moderator"}, nil))
	bob.until("the role", func() bool { row, _ := bob.Conversation(soon(t), "crew"); return row.Role == "moderator" })
	must(t, ann.Call(soon(t), "hide", map[string]any{"conv": "crew", "seq": m.Seq}, nil))
	ann.until("hidden", func() bool {
		got, err := ann.Message(soon(t), "crew", client.At(m.Seq))
		return err == nil && got.Deleted
	})
	if got, err := bob.Message(soon(t), "crew", client.At(m.Seq)); err != nil || got.Deleted {
		t.Errorf("hidden from others: %+v %v", got, err)
	}
	hits, err := bob.Find(soon(t), "hel*", "", 10)
	must(t, err)
	if len(hits) != 1 || hits[0].Text != "hello" {
		t.Errorf("found %+v", hits)
	}
	must(t, ann.Call(soon(t), "group.delete", map[string]any{"conv": "crew"}, nil))
	bob.until("it ended", func() bool { row, _ := bob.Conversation(soon(t), "crew"); return row.Left })
	rows, err := bob.Conversations(soon(t), client.ConversationsQuery{List: client.ListFormer})
	must(t, err)
	if len(rows) != 1 {
		t.Errorf("%+v", rows)
	}
}

// A first message of a stranger may be a request: it is unread only once it is accepted, and all of it is here then.
func TestMessageRequest(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inMemory(t)).open()
	bob := s.device("bob", "b", inFile(t)).open()
	ann.upToDate()
	bob.upToDate()
	must(t, bob.Call(soon(t), "user.update", map[string]any{"messages": "requests"}, nil))
	conv := chat.DirectID("ann", "bob")
	for i := range 3 {
		ann.send(conv, num(i))
	}
	ann.upToDate()
	bob.close()
	bob.open()
	bob.upToDate()
	must(t, bob.Call(soon(t), "message.accept", map[string]any{"user": "ann"}, nil))
	bob.has(conv, nums(3)...)
	bob.until("unread", func() bool {
		row, err := bob.Conversation(soon(t), conv)
		return err == nil && !row.Pending && row.Unread == 3
	})
	bob.send(conv, "hi")
	ann.has(conv, append(nums(3), "hi")...)
	ann.intact(conv)
	bob.intact(conv)
}

// A page ends where something is missing, and pages lead through the whole log.
func TestPages(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inFile(t)).open()
	conv := ann.Direct("ann")
	for i := range 95 {
		ann.send(conv, num(i))
	}
	ann.until("all", func() bool { return ann.waiting() == 0 })
	var got []string
	for before := uint64(0); before != 1; {
		ms, err := ann.Messages(soon(t), conv, client.Page{Before: before, Limit: 20})
		must(t, err)
		var page []string
		for _, m := range ms {
			page = append(page, m.Text)
		}
		got = append(page, got...)
		before = ms[0].Seq
	}
	if fmt.Sprint(got) != fmt.Sprint(nums(95)) {
		t.Errorf("backwards: %q", got)
	}
	got = nil
	for after := uint64(1); ; {
		ms, err := ann.Messages(soon(t), conv, client.Page{After: after, Limit: 20})
		must(t, err)
		if len(ms) == 0 {
			break
		}
		for _, m := range ms {
			got = append(got, m.Text)
		}
		after = ms[len(ms)-1].Seq
	}
	if fmt.Sprint(got) != fmt.Sprint(nums(95)[1:]) {
		t.Errorf("forwards: %q", got)
	}
}
