package hub_test

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
)

// restart makes a new hub over the store: it has nothing in memory.
func (y *yard) restart() {
	y.t.Helper()
	y.hub.Close()
	y.hub = hub.New(hub.Options{
		Store: y.store, Pipeline: y.pipe, Sink: nobody{}, Codec: codec{}, Limits: chat.DefaultLimits(), Now: y.now.Load, Owners: 1,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

func refused(err error, code chat.Code) bool {
	var r *chat.Refusal
	return errors.As(err, &r) && r.Code == code
}

// What is asked of a conversation first decides nothing about what it is: a cursor of a direct one that comes before
// anything else, as after a restart, must not make a group of it, in which blocks don't count.
func TestDirectConversationAfterCursor(t *testing.T) {
	y := newYard(t)
	defer func() { y.close() }()
	direct := func(actor string, op chat.Op, ev chat.Event) error {
		return y.hub.Do(&hub.Request{Conv: "ann~ben", Direct: true, Cmd: chat.Command{Op: op, Actor: actor, Event: ev}}).Err
	}
	y.must(direct("ann", chat.OpAppend, chat.Event{Text: "hello"}))
	y.must(direct("ben", chat.OpBlock, chat.Event{}))
	y.restart()

	moved := make(chan hub.Result, 1)
	y.hub.MoveCursor(&hub.Move{Conv: "ann~ben", User: "ben", Read: 1, Done: func(r hub.Result) { moved <- r }})
	y.must((<-moved).Err)
	if err := direct("ann", chat.OpAppend, chat.Event{Text: "can you hear me?"}); !refused(err, chat.NotAuthorized) {
		t.Errorf("a blocked user writes: %v", err)
	}
	y.must(direct("ben", chat.OpUnblock, chat.Event{}))
	y.must(direct("ann", chat.OpAppend, chat.Event{Text: "thank you"}))
}
