package signaling

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
)

// TestContractExamples: the examples of docs/protocol.md are what this package takes and writes. A line of a block "text calls" is
// a topic and a payload.
func TestContractExamples(t *testing.T) {
	doc, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	in, n := false, map[string]int{}
	for i, line := range strings.Split(string(doc), "\n") {
		switch {
		case line == "```text calls":
			in = true
		case strings.HasPrefix(line, "```"):
			in = false
		case in:
			topic, payload, _ := strings.Cut(line, " ")
			kind, err := example(strings.Split(topic, "/"), []byte(payload))
			if err != nil {
				t.Errorf("line %d: %s: %v", i+1, topic, err)
			}
			n[kind]++
		}
	}
	for _, kind := range []string{"start", "verb", "signal", "told", "passed on", "roster"} {
		if n[kind] == 0 {
			t.Errorf("no example of a %s: %v", kind, n)
		}
	}
}

func example(topic []string, payload []byte) (string, error) {
	const parties = 32 // MaxParties
	exact := func(kind string, into any) (string, error) {
		dec := json.NewDecoder(bytes.NewReader(payload))
		dec.DisallowUnknownFields()
		return kind, dec.Decode(into)
	}
	switch {
	case topic[0] == "k" && ValidCall(topic[1]) && topic[2] == "signal":
		f, _, err := parse(payload, MaxSignal, parties)
		if err == nil {
			_, err = readSignal(f, false)
		}
		return "signal", err
	case topic[0] == "k" && ValidCall(topic[1]) && Verb(topic[2]).Valid():
		_, _, err := parse(payload, MaxPayload, parties)
		return "verb", err
	case len(topic) == 4 && topic[2] == "calls" && validParty(topic[3]):
		return exact("passed on", &signalBody{})
	case len(topic) == 3 && topic[2] == "calls":
		return exact("told", &struct {
			headBody
			stateBody
		}{})
	case topic[2] == "call" && bytes.Contains(payload, []byte(`"parties"`)):
		return exact("roster", &rosterBody{})
	case topic[2] == "call":
		_, _, err := parse(payload, MaxPayload, parties)
		return "start", err
	}
	return "", chat.Refuse(chat.BadRequest, "no topic of calls")
}

// TestIDs: ids of calls are in the order of time, and no two are alike.
func TestIDs(t *testing.T) {
	last, seen := "", map[string]bool{}
	for ms := int64(1_700_000_000_000); ms < 1_900_000_000_000; ms += 97_000_000 {
		for range 3 {
			id := NewCallID(time.UnixMilli(ms))
			if !ValidCall(id) || seen[id] || id[:8] < last[:min(8, len(last))] {
				t.Fatalf("%s after %s", id, last)
			}
			seen[id], last = true, id
		}
	}
	if a, b := NewPartyID(), NewPartyID(); !validParty(a) || a == b {
		t.Fatal("ids of parties")
	}
}
