package client_test

import (
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

func stores(t *testing.T, run func(t *testing.T, st newStore)) {
	t.Run("memory", func(t *testing.T) { run(t, inMemory) })
	t.Run("sqlite", func(t *testing.T) { run(t, inFile) })
}

// A message, its states, and what can be done to it.
func TestConversation(t *testing.T) {
	stores(t, func(t *testing.T, st newStore) {
		s := serve(t)
		ann := s.device("ann", "a", st(t)).open()
		bob := s.device("bob", "b", st(t)).open()
		ann.upToDate()
		bob.upToDate()
		conv := ann.Direct("bob")
		m := ann.send(conv, "hello")
		if m.State != client.StateQueued || m.ID == "" {
			t.Errorf("queued: %+v", m)
		}
		bob.has(conv, "hello")
		ann.until("delivered", func() bool { return ann.messages(conv)[0].State == client.StateDelivered })
		must(t, bob.MarkRead(soon(t), conv, 1))
		ann.until("read", func() bool { return ann.messages(conv)[0].State == client.StateRead })

		_, err := bob.React(soon(t), conv, client.At(1), "👍")
		must(t, err)
		_, err = ann.Edit(soon(t), conv, client.At(1), "hello!")
		must(t, err)
		_, err = bob.Post(soon(t), conv, client.Post{Text: "hi", Re: client.At(1)})
		must(t, err)
		ann.has(conv, "hello!", "hi")
		bob.has(conv, "hello!", "hi")
		bob.until("his own to come back", func() bool { return bob.waiting() == 0 })
		first := bob.messages(conv)[0]
		if first.Edited.IsZero() || len(first.Reactions) != 1 || !first.Reactions[0].Mine || first.Replies != 1 {
			t.Errorf("folded: %+v", first)
		}
		if row, err := ann.Conversation(soon(t), conv); err != nil || row.Unread != 1 || row.Last == nil || row.Last.Text != "hi" || row.Peer != "bob" {
			t.Errorf("row: %+v %v", row, err)
		}
		_, err = ann.Delete(soon(t), conv, client.At(1))
		must(t, err)
		bob.until("deleted", func() bool { return bob.messages(conv)[0].Deleted })
		ann.until("deleted", func() bool { return ann.messages(conv)[0].Deleted && ann.Status().Queued == 0 })
		if a, b := ann.show(conv), bob.show(conv); a == b {
			t.Log(a)
		} // Mine differs in reactions: none is left after the deletion
		ann.intact(conv)
		bob.intact(conv)
	})
}

// What is written without a connection waits on the disk, in order, also over a restart of the program, with acts on messages that wait
// themselves.
func TestOffline(t *testing.T) {
	stores(t, func(t *testing.T, st newStore) {
		s := serve(t)
		s.proxy.Refuse(true)
		ann := s.device("ann", "a", st(t)).open()
		conv := ann.Direct("bob")
		one := ann.send(conv, "one")
		two := ann.send(conv, "two")
		_, err := ann.Post(soon(t), conv, client.Post{Text: "re one", Re: one.Target()})
		must(t, err)
		_, err = ann.React(soon(t), conv, two.Target(), "🎉")
		must(t, err)
		if m, err := ann.Edit(soon(t), conv, one.Target(), "one!"); err != nil || m.ID != one.ID || m.Text != "one!" {
			t.Errorf("an edit of what is queued: %+v %v", m, err)
		}
		gone := ann.send(conv, "never")
		must(t, ann.Cancel(soon(t), gone.ID))
		ann.close()
		ann.open()
		if got := ann.texts(conv); len(got) != 3 || ann.Status().Queued != 4 {
			t.Errorf("after a restart: %q, %+v", got, ann.Status())
		}
		bob := s.device("bob", "b", st(t)).open()
		s.proxy.Refuse(false)
		ann.NetworkChanged()
		bob.NetworkChanged()
		ann.upToDate()
		bob.has(conv, "one!", "two", "re one")
		bob.until("the reaction", func() bool { return len(bob.messages(conv)[1].Reactions) == 1 })
		ms := bob.messages(conv)
		if ms[2].Re != 1 || ms[2].Thread != 1 {
			t.Errorf("the reply: %+v", ms[2])
		}
		if err := ann.Cancel(soon(t), one.ID); err != client.ErrNotQueued {
			t.Errorf("cancelling what was sent: %v", err)
		}
		ann.intact(conv)
		bob.intact(conv)
	})
}

// Who comes for the first time gets the newest; the rest is loaded when somebody scrolls there.
func TestEarlier(t *testing.T) {
	s := serve(t)
	s.Call(soon(t), "bob", "group.join", []byte(`{"conv":"general"}`))
	s.Call(soon(t), "carl", "group.join", []byte(`{"conv":"general"}`))
	for i := range 300 {
		_, err := s.Post("general", "carl", chat.Event{Text: num(i)})
		must(t, err)
	}
	bob := s.device("bob", "b", inFile(t)).open()
	bob.upToDate()
	rows, err := bob.Conversations(soon(t), client.ConversationsQuery{})
	must(t, err)
	if len(rows) != 1 || !rows[0].Earlier || rows[0].Unread < 300 {
		t.Fatalf("%+v", rows)
	}
	before := len(bob.texts("general"))
	if before == 0 || before > 100 {
		t.Errorf("%d messages at first", before)
	}
	for more := true; more; {
		more, err = bob.Earlier(soon(t), "general", 70)
		must(t, err)
	}
	if got := bob.texts("general"); len(got) != 300 || got[0] != num(0) || got[299] != num(299) {
		t.Errorf("%d messages: %.100q", len(got), got)
	}
	bob.intact("general")
}
