package main

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// What listen --keep remembers stands in the store of that name: a number for each conversation.
const (
	keptSince = "listen/since" // there from the first run on
	keptLast  = "listen/last/" // and the id of a conversation
)

// remembered reads what the run before has printed; known is false if there was none.
func (l *listener) remembered(ctx context.Context) (known bool, err error) {
	kept, err := l.Notes(ctx, "listen/")
	if err != nil {
		return false, err
	}
	for key, value := range kept {
		if conv, ok := strings.CutPrefix(key, keptLast); ok {
			if l.last[conv], err = strconv.ParseUint(string(value), 10, 64); err != nil {
				return false, err
			}
		}
	}
	_, known = kept[keptSince]
	return known, nil
}

// remember notes what was printed. Without --keep it does nothing.
func (l *listener) remember(ctx context.Context, last map[string]uint64) error {
	if l.c.Keep == "" {
		return nil
	}
	notes := map[string][]byte{keptSince: []byte("1")}
	for conv, seq := range last {
		notes[keptLast+conv] = strconv.AppendUint(nil, seq, 10)
	}
	return l.Note(context.WithoutCancel(ctx), notes)
}

// ownJSON is an event of the user's own log as the contract has it.
func ownJSON(e *chat.Event) json.RawMessage {
	return protocol.AppendEvent(nil, protocol.ViewJSON, e, true)
}
