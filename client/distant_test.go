package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// TestPast looks at a place far from what is on a device: with what was done to the messages there, in both directions to the ends of the
// log, as somebody sees it who has all of it; and nothing of that stays.
func TestPast(t *testing.T) {
	s := serve(t)
	s.device("ann", "first", inMemory(t)).open().upToDate() // who never came is not known
	bob := s.device("bob", "b", inMemory(t)).open()
	conv := bob.Direct("ann")
	var ms []client.Message
	for i := range 1200 {
		ms = append(ms, bob.send(conv, num(i)))
		switch i {
		case 105:
			bob.upToDate() // what is only queued would be changed in place
			_, err := bob.Edit(soon(t), conv, ms[100].Target(), "edited")
			must(t, err)
			_, err = bob.React(soon(t), conv, ms[101].Target(), "🎉")
			must(t, err)
			_, err = bob.Post(soon(t), conv, client.Post{Text: "a reply", Re: ms[102].Target()})
			must(t, err)
			_, err = bob.Delete(soon(t), conv, ms[103].Target())
			must(t, err)
		case 1199: // later, where a new device has it
			_, err := bob.React(soon(t), conv, ms[104].Target(), "👍")
			must(t, err)
		}
	}
	bob.upToDate()
	bob.until("all of it", func() bool { return bob.waiting() == 0 })
	hit, err := bob.Message(soon(t), conv, client.Target{ID: ms[104].ID})
	must(t, err)

	ann := s.device("ann", "new", inMemory(t)).open()
	ann.upToDate()
	here := ann.show(conv)
	if _, err := ann.Message(soon(t), conv, client.At(hit.Seq)); !errors.Is(err, client.ErrNotFound) {
		t.Fatalf("it is on the device already, which proves nothing: %v", err)
	}
	p, err := ann.Past(soon(t), conv, hit.Seq, 40)
	must(t, err)
	past := func() map[uint64]client.Message {
		t.Helper()
		list, err := p.Messages(soon(t))
		must(t, err)
		by := make(map[uint64]client.Message)
		last := uint64(0)
		for _, m := range list {
			if m.Seq <= last {
				t.Fatalf("#%d after #%d", m.Seq, last)
			}
			last, by[m.Seq] = m.Seq, m
		}
		return by
	}
	see := past()
	if len(see) < 30 || len(see) > 40 {
		t.Errorf("%d messages around it", len(see))
	}
	at := func(i int) client.Message { return see[hit.Seq-104+uint64(i)] }
	if m := at(100); m.Text != "edited" || m.Edited.IsZero() {
		t.Errorf("an edit is not seen: %+v", m)
	}
	if m := at(101); len(m.Reactions) != 1 || m.Reactions[0].Emoji != "🎉" {
		t.Errorf("a reaction is not seen: %+v", m)
	}
	if m := at(102); m.Replies != 1 {
		t.Errorf("a reply is not counted: %+v", m)
	}
	if m := at(103); !m.Deleted && m.Text != "" {
		t.Errorf("what was deleted is seen: %+v", m)
	}
	if m := at(104); len(m.Reactions) != 1 || m.Reactions[0].Emoji != "👍" {
		t.Errorf("a reaction that came later is not seen: %+v", m)
	}
	_, err = ann.React(soon(t), conv, client.At(hit.Seq), "👀") // one's own, queued or stored
	must(t, err)
	if m := past()[hit.Seq]; len(m.Reactions) != 2 || !m.Reactions[1].Mine {
		t.Errorf("one's own reaction is not seen: %+v", m.Reactions)
	}
	for older, _ := p.More(); older; older, _ = p.More() {
		must(t, p.Older(soon(t), 500))
	}
	for _, newer := p.More(); newer; _, newer = p.More() {
		must(t, p.Newer(soon(t), 500))
	}
	all := past()
	for _, m := range bob.messages(conv) {
		if got := all[m.Seq]; got.Text != m.Text || m.Seq != got.Seq && !m.Deleted { // of what is gone there may be nothing
			t.Fatalf("#%d: %+v, want %+v", m.Seq, got, m)
		}
	}
	if now := ann.show(conv); len(now) > len(here)+200 {
		t.Error("what was only looked at has stayed")
	}
	ann.intact(conv)
}

// TestPastBounds: a window stays bounded however far one goes, and goes on where it was let go.
func TestPastBounds(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inMemory(t)).open()
	conv := ann.Direct("ann")
	for i := range 2600 {
		ann.send(conv, num(i))
		if i%500 == 0 {
			ann.upToDate()
		}
	}
	ann.upToDate()
	p, err := ann.Past(soon(t), conv, 1, 500)
	must(t, err)
	span := func() string {
		t.Helper()
		list, err := p.Messages(soon(t))
		must(t, err)
		older, newer := p.More()
		return fmt.Sprint(list[0].Seq, " ", list[len(list)-1].Seq, " ", len(list), " ", older, " ", newer)
	}
	for range 5 {
		must(t, p.Newer(soon(t), 500))
	}
	if got := span(); got != "601 2600 2000 true false" && got != "601 2600 2000 true true" {
		t.Errorf("%s: the oldest 600 are to be let go", got)
	}
	must(t, p.Newer(soon(t), 500)) // there is nothing
	for range 3 {
		must(t, p.Older(soon(t), 400))
	}
	if got := span(); got != "1 2000 2000 false true" {
		t.Errorf("%s: now the newest 600", got)
	}
	must(t, p.Older(soon(t), 1)) // there is nothing
	must(t, p.Newer(soon(t), 5))
	if got := span(); got != "6 2005 2000 true true" {
		t.Error(got)
	}

	if _, err := ann.Past(soon(t), conv, 0, 10); !declined(err) {
		t.Errorf("no seq: %v", err)
	}
	var no *chat.Refusal
	if _, err := ann.Past(soon(t), "no-such-group", 5, 10); !errors.As(err, &no) || no.Code != chat.NotFound {
		t.Errorf("no such conversation: %v", err)
	}
	if p, err := ann.Past(soon(t), conv, 1<<39, 10); err != nil {
		t.Error(err)
	} else if older, newer := p.More(); !older || newer {
		t.Errorf("behind the end: %v %v", older, newer)
	}
	s.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Older(ctx, 10); !errors.Is(err, client.ErrOffline) {
		t.Errorf("without a connection: %v", err)
	}
}
