package client

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
)

// TestHostileReply: what a server says why it declines is one line of bounded length, without anything that a terminal would act
// upon; so is what is wrong with a reply that can't be read.
func TestHostileReply(t *testing.T) {
	evil := "no\x1b[2J\u009b\x07\n\u202eyes " + strings.Repeat("long ", 100_000)
	reply := map[string]any{"error": map[string]any{"code": evil, "reason": evil}}
	for name, encode := range map[string]func(any) ([]byte, error){"JSON": json.Marshal, "CBOR": cbor.Marshal} {
		b, err := encode(reply)
		if err != nil {
			t.Fatal(err)
		}
		err = parseReply(b, nil)
		no := new(chat.Refusal)
		if !errors.As(err, &no) || len(no.Reason) > 512 || len(no.Code) > 512 {
			t.Fatalf("%s: %d bytes: %.100v", name, len(no.Reason), err)
		}
		if !strings.HasPrefix(no.Reason, "no[2Jyes long ") || strings.ContainsAny(err.Error(), "\x1b\u009b\x07\n\u202e") {
			t.Errorf("%s: %.100q", name, no.Reason)
		}
	}
	var number struct{ N int8 }
	err := parseReply([]byte(`{"ok":{"N":`+strings.Repeat("1", 100_000)+`}}`), &number)
	if err == nil || len(err.Error()) > 1024 {
		t.Errorf("%.100v", err)
	}
}
