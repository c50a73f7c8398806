package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
)

var update = flag.Bool("update", false, "rewrite the CBOR in testdata/events.golden")

// testdata/events.golden has deliveries in both encodings: "# name", the JSON, the CBOR in hex.
func TestGolden(t *testing.T) {
	const file = "testdata/events.golden"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.TrimSpace(string(b)), "\n\n")
	for i, block := range blocks {
		lines := strings.Split(block, "\n")
		name, js := lines[0], lines[1]
		d, err := ParseDelivery(ViewJSON, []byte(js))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		encode := func(view View) []byte {
			if d.To != 0 {
				return AppendStub(nil, view, d.Seq, d.To, d.Kind)
			}
			return AppendEvent(nil, view, &d.Event, true)
		}
		if got := encode(ViewJSON); string(got) != js {
			t.Errorf("%s: JSON\n got %s\nwant %s", name, got, js)
		}
		got := encode(ViewCBOR)
		if *update {
			blocks[i] = strings.Join([]string{name, js, hex.EncodeToString(got)}, "\n")
			continue
		}
		if hex.EncodeToString(got) != lines[2] {
			t.Errorf("%s: CBOR\n got %x\nwant %s", name, got, lines[2])
		}
		back, err := ParseDelivery(ViewCBOR, got)
		if err != nil || !reflect.DeepEqual(back, d) {
			t.Errorf("%s: back from CBOR: %+v, %v; want %+v", name, back, err, d)
		}
		checkDeterministic(t, name, got)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// checkDeterministic asks another implementation to encode the same data.
func checkDeterministic(t *testing.T, name string, b []byte) {
	t.Helper()
	var v any
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: maxDepth + 1}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	if err := dec.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %x: %v", name, b, err)
	}
	again, err := replyMode.Marshal(v)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("%s: not deterministic:\n got %x\nwant %x (%v)", name, b, again, err)
	}
}

func TestDecodeText(t *testing.T) {
	e, err := DecodeEvent(ViewText, []byte("hé\n\x00"))
	if err != nil || !reflect.DeepEqual(e, chat.Event{Kind: chat.KindPost, Text: "hé\n\x00"}) {
		t.Errorf("%+v, %v", e, err)
	}
	for payload, code := range map[string]chat.Code{
		"": chat.BadRequest, "\xff": chat.BadRequest, strings.Repeat("a", MaxText+1): chat.TooLarge,
	} {
		if _, err := DecodeEvent(ViewText, []byte(payload)); !errors.Is(err, &chat.Refusal{Code: code}) {
			t.Errorf("%.9q: %v", payload, err)
		}
	}
	if _, err := DecodeEvent(ViewText, bytes.Repeat([]byte("a"), MaxText)); err != nil {
		t.Error(err)
	}
}

func TestDecodeRefused(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	long := strings.Repeat("x", MaxText+1)
	for _, c := range []struct{ json, code, says string }{
		{``, "bad-request", "object"},
		{`[]`, "bad-request", "object"},
		{`{`, "bad-request", "key"},
		{`{"text":"a"`, "bad-request", "comma"},
		{`{"text":"a",}`, "bad-request", "key"},
		{`{"text":"a"} x`, "bad-request", "follows"},
		{`{"text" "a"}`, "bad-request", "colon"},
		{`{text:"a"}`, "bad-request", "key"},
		{`{"text":"a`, "bad-request", "end"},
		{`{"text":"a\`, "bad-request", "end"},
		{`{"text":"\x"}`, "bad-request", "escape"},
		{`{"text":"\u12"}`, "bad-request", "hexadecimal"},
		{`{"text":"\ud800"}`, "bad-request", "surrogate"},
		{`{"text":"\udc00\ud800"}`, "bad-request", "surrogate"},
		{"{\"text\":\"a\nb\"}", "bad-request", "control"},
		{"{\"text\":\"\\n\nb\"}", "bad-request", "control"},
		{"{\"text\":\"\xff\"}", "bad-request", "UTF-8"},
		{`{"text":tru}`, "bad-request", "value"},
		{`{"text":1}`, "bad-request", "text"},
		{`{"text":null}`, "bad-request", "text"},
		{`{}`, "bad-request", "text, enc"},
		{`{"text":""}`, "bad-request", "text, enc"},
		{`{"media":[]}`, "bad-request", "text, enc"},
		{`{"text":"a","text":"b"}`, "bad-request", `"text" occurs twice`},
		{`{"text":"a","x":1,"x":2}`, "bad-request", `"x" occurs twice`},
		{`{"text":"a","x":{"y":1,"y":2}}`, "bad-request", `"y" occurs twice`},
		{`{"text":"a","\u0074ext":"b"}`, "bad-request", `"text" occurs twice`},
		{`{"text":"a","seq":1}`, "bad-request", "seq is set by the server"},
		{`{"text":"a","from":"x"}`, "bad-request", "from is set"},
		{`{"text":"a","at":1}`, "bad-request", "at is set"},
		{`{"text":"a","thread":1}`, "bad-request", "thread is set"},
		{`{"text":"a","member":{}}`, "bad-request", "member is set"},
		{`{"text":"a","info":{}}`, "bad-request", "info is set"},
		{`{"text":"a","to":1}`, "bad-request", "to is set"},
		{`{"text":"a","conv":"x"}`, "bad-request", "conv is set"},
		{`{"text":"a","kind":"join"}`, "bad-request", "join are written by the server"},
		{`{"text":"a","kind":"gone"}`, "bad-request", "server"},
		{`{"text":"a","kind":"added"}`, "bad-request", "server"},
		{`{"text":"a","kind":"shout"}`, "bad-request", "kind must be"},
		{`{"text":"a","kind":""}`, "bad-request", "kind must be"},
		{`{"text":"a","kind":1}`, "bad-request", "kind"},
		{`{"kind":"edit","text":"a"}`, "bad-request", "re"},
		{`{"kind":"react","re":1}`, "bad-request", "emoji"},
		{`{"kind":"react","emoji":"👍"}`, "bad-request", "re"},
		{`{"text":"a","re":0}`, "bad-request", "re must"},
		{`{"text":"a","re":-1}`, "bad-request", "re must"},
		{`{"text":"a","re":1.0}`, "bad-request", "re must"},
		{`{"text":"a","re":"1"}`, "bad-request", "re must"},
		{`{"text":"a","re":01}`, "bad-request", "leading zero"},
		{`{"text":"a","x":1.}`, "bad-request", "point"},
		{`{"text":"a","x":1e}`, "bad-request", "exponent"},
		{`{"text":"a","x":-}`, "bad-request", "digits"},
		{`{"text":"a","x":1e999}`, "bad-request", "too large"},
		{`{"text":"a","expire":4294967296}`, "bad-request", "expire"},
		{`{"text":"a","mentions":"bob"}`, "bad-request", "mentions"},
		{`{"text":"a","mentions":["b b"]}`, "bad-request", "mentions"},
		{`{"text":"a","mentions":[` + strings.Repeat(`"b",`, 64) + `"b"]}`, "too-large", "64"},
		{`{"text":"a","id":"` + strings.Repeat("i", 65) + `"}`, "too-large", "id"},
		{`{"text":"a","id":"a\u0000b"}`, "bad-request", "control"},
		{`{"kind":"react","re":1,"emoji":"` + strings.Repeat("e", 65) + `"}`, "too-large", "emoji"},
		{`{"text":"` + long + `"}`, "too-large", "65536"},
		{`{"text":"a","ext":{"x":"` + strings.Repeat("x", MaxExt) + `"}}`, "too-large", "ext"},
		{`{"text":"a","x":"` + strings.Repeat("x", MaxExt) + `"}`, "too-large", "unknown keys"},
		{`{"text":"a","x":"` + strings.Repeat("x", 3*MaxExt) + `"}`, "too-large", "unknown keys"},
		{`{"text":"a","ext":[]}`, "bad-request", "ext"},
		{`{"text":"a","media":{}}`, "bad-request", "media"},
		{`{"text":"a","media":["x"]}`, "bad-request", "media"},
		{`{"enc":"a"}`, "bad-request", "base64url"},
		{`{"enc":"+/+/"}`, "bad-request", "base64url"},
		{`{"enc":"AA\nAA"}`, "bad-request", "base64url"},
		{`{"enc":5}`, "bad-request", "base64url"},
		{`{"text":"a","x":` + deep(16) + `}`, "bad-request", "deep"},
		{`{"text":"a","x":` + strings.Repeat("[", 100000), "bad-request", "deep"},
		{`{"text":"a","media":[` + strings.Repeat("{},", maxItems) + `{}]}`, "bad-request", "elements"},
		{`{"text":"a","6":"b"}`, "bad-request", "use the name"},
	} {
		e, err := DecodeEvent(ViewJSON, []byte(c.json))
		if r := refusal(t, err); r == nil || string(r.Code) != c.code || !strings.Contains(r.Reason, c.says) || e.Kind != 0 {
			t.Errorf("%.60s: %v; want %s with %q", c.json, err, c.code, c.says)
		}
	}
	if _, err := DecodeEvent(ViewJSON, []byte(`{"text":"a","x":`+deep(15)+`}`)); err != nil {
		t.Error(err)
	}
}

func TestDecodeRefusedCBOR(t *testing.T) {
	for _, c := range []struct{ hex, says string }{
		{"", "too early"},
		{"80", "map"},
		{"a1", "too early"},
		{"a10661", "longer"},
		{"a1066161ff", "follows"},
		{"a1061b", "too early"},
		{"a2066161" + "066162", "twice"},
		{"a20661611864821864", "too early"},
		{"a3066161" + "186401" + "186402", "twice"},
		{"a3066161" + "186401" + "1900" + "6402", "twice"},    // the same key, not in shortest form
		{"a3066161" + "186401" + "6331303002", "twice"},       // 100 and "100"
		{"a2066161" + "10a20501613502", `"5" occurs twice`},   // ext {5: 1, "5": 2}
		{"a2066161" + "0101", "seq is set"},                   // seq
		{"a2066161" + "1101", "to is set"},                    // to
		{"a2066161" + "6474657874" + "6161", "is 6 in CBOR"},  // "text" beside 6
		{"a2066161" + "6136" + "6161", "must be an integer"},  // "6" beside 6
		{"a2066161" + "04646a6f696e", "kind must be a small"}, // kind as text
		{"a2066161" + "0410", "create are written by the server"},
		{"a2066161" + "041863", "kind must be"},
		{"a10661ff", "UTF-8"},
		{"a1067f6161" + "4161ff", "another type"},
		{"a2066161" + "4101" + "01", "neither text"},
		{"a2066161" + "1864e5", "simple"},
		{"a2066161" + "1864f820", "simple"},
		{"a2066161" + "18641c", "reserved"},
		{"a2066161" + "18641f", "reserved"},
		{"a2066161" + "1864ff", "reserved"},
		{"a2066161" + "1864" + strings.Repeat("81", 16) + "01", "deep"},
		{"a2066161" + "1864" + strings.Repeat("c1", 16) + "01", "deep"},
		{"a2066161" + "18649b7fffffffffffffff", "too early"},
		{"a2066161" + "18649f" + strings.Repeat("01", maxItems+1) + "ff", "elements"},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(c.hex, err)
		}
		_, err = DecodeEvent(ViewCBOR, b)
		if r := refusal(t, err); r == nil || !strings.Contains(r.Reason, c.says) {
			t.Errorf("%.60s: %v; want %q", c.hex, err, c.says)
		}
	}
}

// Whatever well-formed encoding a sender chose, what is stored and delivered is the deterministic one.
func TestCBORIsNormalised(t *testing.T) {
	want := `{"text":"ab","ext":{"a":[1,1.5],"b":{"1":"AQI","x":-5}}}`
	for _, h := range []string{
		"a2" + "06626162" + "10a2" + "616182" + "01f93e00" + "6162a2" + "01420102" + "617824",
		"bf" + "10bf" + "6162bf" + "7f6178ff3804" + "18015f41014102ff" + "ff" + "61619f" + "1801fb3ff8000000000000" + "ff" + "ff" + "18067f" + "61616162ffff",
	} {
		b, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		e, err := DecodeEvent(ViewCBOR, b)
		if err != nil {
			t.Fatalf("%s: %v", h, err)
		}
		if got := AppendEvent(nil, ViewJSON, &e, false); string(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", h, got, want)
		}
		checkDeterministic(t, h, AppendEvent(nil, ViewCBOR, &e, false))
	}
}

func TestFloats(t *testing.T) {
	for js, h := range map[string]string{
		"1.0": "f93c00", "-0.0": "f98000", "0.1": "fb3fb999999999999a", "1.5": "f93e00", "65504.0": "f97bff",
		"65536.0": "fa47800000", "5.960464477539063e-08": "f90001", "3.4028234663852886e+38": "fa7f7fffff",
		"1e+300": "fb7e37e43c8800759c", "18446744073709551615": "1bffffffffffffffff", "-18446744073709551616": "3bffffffffffffffff",
		"18446744073709552000.0": "fa5f800000", "-1": "20", "0": "00", "1.401298464324817e-45": "fa00000001",
		"0.000030517578125": "f90200",
	} {
		b, err := cborOfJSON([]byte(js))
		if err != nil || hex.EncodeToString(b) != h {
			t.Errorf("%s: %x, %v; want %s", js, b, err, h)
		}
		if back := string(appendJSONOf(nil, b)); back != js {
			t.Errorf("%s came back as %s", js, back)
		}
	}
	for h, js := range map[string]string{"f97e00": "null", "f97c00": "null", "fbfff0000000000000": "null", "f7": "null", "c11a00000001": "1", "c2420100": `"AQA"`} {
		b, _ := hex.DecodeString(h)
		if got := string(appendJSONOf(nil, b)); got != js {
			t.Errorf("%s: %s; want %s", h, got, js)
		}
	}
	for i := range 1 << 16 {
		f := halfToFloat(uint16(i))
		b := appendFloat(nil, f)
		if f == f && (len(b) != 3 || int(b[1])<<8|int(b[2]) != i) {
			t.Fatalf("half %04x: %v is encoded as %x", i, f, b)
		}
	}
}

func TestAppendEvent(t *testing.T) {
	e := chat.Event{Seq: 7, From: "bob", At: 1, Kind: chat.KindPost, ID: "x", Text: "a<\"\\\n\x01\xffé"}
	want := `{"seq":7,"from":"bob","at":1,"text":"a<\"\\\n\u0001` + "\uFFFD" + `é"}`
	if got := string(AppendEvent([]byte("pre"), ViewJSON, &e, false)); got != "pre"+want {
		t.Errorf("%s", got)
	}
	if got := string(AppendEvent(nil, ViewText, &e, true)); got != e.Text {
		t.Errorf("%q", got)
	}
	if got := string(AppendEvent(nil, ViewJSON, &chat.Event{}, true)); got != "{}" {
		t.Errorf("%s", got)
	}
	if got := AppendEvent(nil, ViewCBOR, &chat.Event{From: "\xff"}, true); hex.EncodeToString(got) != "a10263efbfbd" {
		t.Errorf("%x", got)
	}
	gone := chat.Event{Seq: 3, Kind: chat.KindGone, Text: "secret"}
	if got := string(AppendEvent(nil, ViewJSON, &gone, true)); got != `{"seq":3,"to":3,"kind":"gone"}` {
		t.Errorf("%s", got)
	}
	if got := AppendStub(nil, ViewText, 1, 2, chat.KindLarge); len(got) != 0 {
		t.Errorf("%s", got)
	}
	damaged := chat.Event{Text: "a", Extra: []byte{0xa1}, Media: []byte{0x9f}}
	if got := AppendEvent(nil, ViewJSON, &damaged, true); string(got) != `{"text":"a","media":null}` {
		t.Errorf("%s", got)
	}
}

func TestManyExtraKeys(t *testing.T) {
	js := `{"text":"a","0":"zero"`
	for c := range 30 {
		js += fmt.Sprintf(`,"x%02d":1`, c)
	}
	js += `}`
	e, err := DecodeEvent(ViewJSON, []byte(js))
	if err != nil {
		t.Fatal(err)
	}
	b := AppendEvent([]byte{1, 2}, ViewCBOR, &e, true)[2:]
	checkDeterministic(t, "many", b)
	back, err := DecodeEvent(ViewCBOR, b)
	if err != nil || !reflect.DeepEqual(back, e) {
		t.Errorf("%+v, %v", back, err)
	}
	if !json.Valid(AppendEvent(nil, ViewJSON, &e, true)) {
		t.Error("invalid JSON")
	}
}
