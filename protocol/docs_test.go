package protocol

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

const contract = "../docs/protocol.md"

func readContract(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The examples of the contract work: a block opens with ```json and, behind that, says what its lines
// are. Each line is one payload.
func TestContractExamples(t *testing.T) {
	n := map[string]int{}
	var what string
	for i, line := range strings.Split(readContract(t), "\n") {
		switch {
		case strings.HasPrefix(line, "```json"):
			what = strings.TrimSpace(strings.TrimPrefix(line, "```json"))
			if what == "" {
				t.Errorf("line %d: an example that does not say what it is", i+1)
			}
			continue
		case strings.HasPrefix(line, "```"):
			what = ""
			continue
		case what == "":
			continue
		}
		n[what]++
		if err := checkExample(what, []byte(line)); err != nil {
			t.Errorf("%s:%d: %s: %v", contract, i+1, what, err)
		}
	}
	for _, what := range []string{"post", "delivery", "request", "reply", "status", "error", "receipt", "tally", "presence", "info"} {
		if n[what] == 0 {
			t.Errorf("no example of a %s", what)
		}
	}
}

func checkExample(what string, payload []byte) error {
	if !json.Valid(payload) {
		return fmt.Errorf("not JSON: %s", payload)
	}
	strict := func(v any) error {
		dec := json.NewDecoder(strings.NewReader(string(payload)))
		dec.DisallowUnknownFields()
		return dec.Decode(v)
	}
	switch what {
	case "post":
		_, err := DecodeEvent(ViewJSON, payload)
		return err
	case "refused":
		if e, err := DecodeEvent(ViewJSON, payload); err == nil {
			return fmt.Errorf("accepted: %+v", e)
		}
		return nil
	case "delivery":
		d, err := ParseDelivery(ViewJSON, payload)
		if err == nil && (d.Kind == 0 || d.Seq == 0) {
			err = fmt.Errorf("no delivery: %+v", d)
		}
		if err == nil && d.To == 0 {
			if got := AppendEvent(nil, ViewJSON, &d.Event, true); string(got) != string(payload) {
				err = fmt.Errorf("petrel writes %s", got)
			}
		}
		return err
	case "request":
		_, err := ParseRequest("x", payload)
		return err
	case "reply":
		return strict(&struct {
			OK    json.RawMessage
			Error struct{ Code, Reason string }
			Tag   string
		}{})
	case "status":
		_, _, err := ParseStatus(payload)
		return err
	case "error":
		var line struct {
			Code              chat.Code
			Reason, Topic, ID string
			PID               uint16
		}
		err := strict(&line)
		if err == nil && reasonsOf(line.Code).puback == rcUnspecified {
			err = fmt.Errorf("no such code: %s", line.Code)
		}
		return err
	case "receipt":
		return strict(new(Receipt))
	case "tally":
		return strict(new(Tally))
	case "presence":
		return strict(new(Presence))
	case "info":
		return strict(new(InfoView))
	}
	return fmt.Errorf("the test does not know this kind of example")
}

// The tables of the contract are those of the code.
func TestContractTables(t *testing.T) {
	doc := readContract(t)
	want := func(row string) {
		if !strings.Contains(doc, "\n"+row) {
			t.Errorf("%s lacks the row %q", contract, row)
		}
	}
	for k, name := range kindNames {
		if name != "" {
			want(fmt.Sprintf("| `%s` | %d |", name, k))
		}
	}
	for k, name := range fieldNames {
		if name != "" {
			if !strings.Contains(doc, "\n| `"+name+"` |") || !strings.Contains(doc, fmt.Sprintf(" | %d |\n", k)) {
				t.Errorf("%s lacks the field %s with key %d", contract, name, k)
			}
		}
	}
	hello := chat.Event{Seq: 42, From: "bob", At: 1767225600000, Text: "hello"}
	if hex := fmt.Sprintf("%x", AppendEvent(nil, ViewCBOR, &hello, false)); !strings.Contains(strings.NewReplacer(" ", "", "\n", "").Replace(doc), hex) {
		t.Errorf("%s lacks the CBOR %s", contract, hex)
	}
	for _, c := range allCodes[:len(allCodes)-1] {
		r := reasonsOf(c)
		want(fmt.Sprintf("| `%s` | 0x%02X | 0x%02X | 0x%02X | 0x%02X |", c, r.puback, r.suback, r.connack, r.disconnect))
	}
}
