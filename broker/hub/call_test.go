package hub_test

import (
	"testing"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// The event of a call is stored once, also by a hub that knows nothing of the first time, and is unread for those who
// did not take part.
func TestTheEventOfACall(t *testing.T) {
	y := newYard(t)
	defer func() { y.close() }()
	ev := chat.Event{Kind: chat.KindCall, ID: "aaaaaaaaaaaaa", Ext: []byte{0xa0}}
	write := func() hub.Result {
		return y.hub.Do(&hub.Request{Conv: conv, Cmd: chat.Command{
			Op: chat.OpCall, Actor: "ann", Members: []string{"ann", "ben", "eve"}, Event: ev, Hash: protocol.ContentHash(&ev),
		}})
	}
	head := y.post("ann", chat.Event{Text: "I'll call"}).Seq
	for _, user := range []string{"ann", "ben", "cat"} {
		moved := make(chan hub.Result, 1)
		y.hub.MoveCursor(&hub.Move{Conv: conv, User: user, Delivered: head, Read: head, Done: func(r hub.Result) { moved <- r }})
		y.must((<-moved).Err)
	}
	first := write()
	y.must(first.Err)
	if again := write(); again.Err != nil || again.Seq != first.Seq || !again.Duplicate {
		t.Errorf("again: %+v", again)
	}
	y.restart()
	if again := write(); again.Err != nil || again.Seq != first.Seq || !again.Duplicate {
		t.Errorf("by another hub: %+v", again)
	}
	y.must(y.hub.Query(conv, false, func(v hub.View) {
		if v.State.Head != first.Seq {
			t.Errorf("the log ends at %d, the call is %d", v.State.Head, first.Seq)
		}
		for user, want := range map[string]uint64{"ann": first.Seq, "ben": first.Seq, "cat": head} {
			if got := v.Cursors[user].Read; got != want {
				t.Errorf("%s has read up to %d, want %d", user, got, want)
			}
		}
		if _, ok := v.Cursors["eve"]; ok {
			t.Error("a cursor of somebody who is no member")
		}
	}))
}
