package protocol

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

// The hand-written encodings are those of the json tags.
func TestStateJSON(t *testing.T) {
	info := chat.Info{Title: "T \"x\"", About: "a", Visibility: "public", Join: "open", History: "all", Limit: 9, Created: 5, By: "al"}
	for _, v := range []interface{ Append([]byte) []byte }{
		Receipt{User: "bob", Delivered: 3, Read: 0},
		Presence{State: StateAway, Seen: 12, Text: "in a \"meeting\" é"},
		Presence{State: StateOffline},
		NewInfoView(&info, 4, chat.RoleAdmin, 77),
		NewInfoView(&chat.Info{}, 2, chat.RoleNone, 0),
	} {
		want, err := json.Marshal(v)
		if got := v.Append([]byte("x")); err != nil || string(got) != "x"+string(want) {
			t.Errorf("\n got %s\nwant x%s (%v)", got, want, err)
		}
	}
}

func TestParseStatus(t *testing.T) {
	for payload, want := range map[string][2]string{
		"":                                {},
		`{"state":"away","text":"lunch"}`: {"away", "lunch"},
		`{"text":"lunch"}`:                {"online", "lunch"},
		`{}`:                              {"online", ""},
		"\xa1\x65state\x64away":           {"away", ""},
		`{"text":"` + strings.Repeat("é", 128) + `"}`: {"online", strings.Repeat("é", 128)},
	} {
		state, text, err := ParseStatus([]byte(payload))
		if err != nil || [2]string{state, text} != want {
			t.Errorf("%.30q: %q %q %v", payload, state, text, err)
		}
	}
	for payload, code := range map[string]chat.Code{
		`{"state":"offline"}`: chat.BadRequest,
		`{"state":1}`:         chat.BadRequest,
		`{"stat":"away"}`:     chat.BadRequest,
		`{"tag":"x"}`:         chat.BadRequest,
		`away`:                chat.BadRequest,
		"{\"text\":\"\xff\"}": chat.BadRequest,
		`{"text":"` + strings.Repeat("x", 257) + `"}`: chat.TooLarge,
	} {
		if state, text, err := ParseStatus([]byte(payload)); !errors.Is(err, &chat.Refusal{Code: code}) || state+text != "" {
			t.Errorf("%.30q: %q %q %v", payload, state, text, err)
		}
	}
}

func TestParseRead(t *testing.T) {
	for payload, want := range map[string]uint64{"0": 0, "17": 17, "007": 7, "18446744073709551615": 1<<64 - 1} {
		if seq, all, err := ParseRead([]byte(payload)); seq != want || all || err != nil {
			t.Errorf("%q: %d %v %v", payload, seq, all, err)
		}
	}
	if seq, all, err := ParseRead(nil); seq != 0 || !all || err != nil {
		t.Error("empty means all")
	}
	for _, payload := range []string{" 1", "1 ", "+1", "-1", "1.0", "0x1", "1_0", "18446744073709551616", "000000000000000000001", "all", "\n"} {
		if _, all, err := ParseRead([]byte(payload)); all || refusal(t, err) == nil {
			t.Errorf("%q: %v", payload, err)
		}
	}
}

func TestNames(t *testing.T) {
	for k, name := range kindNames {
		if got, ok := ParseKind(name); ok != (name != "") || ok && int(got) != k {
			t.Errorf("%d %q: %d %v", k, name, got, ok)
		}
	}
	if KindName(200) != "" || RoleName(9) != "" {
		t.Error("unknown")
	}
	for r := chat.RoleNone; r <= chat.RoleOwner; r++ {
		if got, ok := ParseRole(RoleName(r)); !ok || got != r {
			t.Errorf("%d: %d %v", r, got, ok)
		}
	}
	if _, ok := ParseRole("king"); ok {
		t.Error("king")
	}
}
