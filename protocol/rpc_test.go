package protocol

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
)

type testParams struct {
	Conv    string   `json:"conv"`
	Limit   int      `json:"limit,omitempty"`
	Members []string `json:"members"`
	Open    *bool    `json:"open"`
	Sub     struct {
		N uint8 `json:"n"`
	} `json:"sub"`
}

func TestParseRequest(t *testing.T) {
	want := testParams{Conv: "crew", Limit: 50, Members: []string{"a", "b"}, Open: ptr(false)}
	want.Sub.N = 7
	js := `{"conv":"crew","limit":50,"members":["a","b"],"open":false,"sub":{"n":7},"tag":"t-1"}`
	asCBOR, err := cborOfJSON([]byte(js))
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{js, " \n" + js + "\t", string(asCBOR)} {
		req, err := ParseRequest("history", []byte(payload))
		if err != nil || req.Method != "history" || req.Tag != "t-1" || req.CBOR != (payload == string(asCBOR)) {
			t.Fatalf("%+v, %v", req, err)
		}
		var got testParams
		if err := req.Params(&got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	req, err := ParseRequest("sync", nil)
	if err != nil || req.CBOR || req.Params(new(struct{})) != nil {
		t.Errorf("empty: %+v, %v", req, err)
	}
}

func TestRequestRefused(t *testing.T) {
	for _, c := range []struct{ payload, says string }{
		{`{"conv":"a","lmit":1}`, `"lmit"`},
		{`{"Conv":"a"}`, `"Conv"`},
		{`{"conv":"a","conv":"b"}`, `"conv" occurs twice`},
		{`{"tag":"a","tag":"b"}`, `"tag" occurs twice`},
		{`{"conv":5}`, "conv has the wrong type"},
		{`{"limit":"5"}`, "limit has the wrong type"},
		{`{"limit":5.5}`, "limit has the wrong type"},
		{`{"sub":{"n":300}}`, "sub has the wrong type"},
		{`{"sub":{"m":1}}`, "a field that the method does not know"},
		{`{"members":"a"}`, "members has the wrong type"},
		{`{"tag":5}`, "tag must be a string"},
		{`{"tag":"` + strings.Repeat("t", 65) + `"}`, "tag"},
		{`[]`, "object"},
		{`5`, "object"},
		{`{`, "JSON"},
		{`nonsense`, "JSON"},
		{"\x00", "JSON"},
		{`{"members":` + strings.Repeat("[", 16), "deep"},
		{"\xa1\x64conv", "CBOR"},
		{"\xa1\x01\x01", `"1"`},
		{"\xa2\x64conv\x61a\x64conv\x61b", "twice"},
		{"\xa0\xa0", "follows"},
	} {
		req, err := ParseRequest("m", []byte(c.payload))
		if err == nil {
			err = req.Params(new(testParams))
		}
		if r := refusal(t, err); r == nil || !strings.Contains(r.Reason, c.says) || ReasonCode(err) != 0x99 && r.Code != chat.TooLarge {
			t.Errorf("%.40q: %v; want %q", c.payload, err, c.says)
		}
		if want := c.payload != "" && c.payload[0]>>5 == majMap; req.CBOR != want {
			t.Errorf("%.40q: CBOR is %v", c.payload, req.CBOR)
		}
	}
	// The tag survives a refusal, so that the reply finds its request.
	req, err := ParseRequest("m", []byte(`{"tag":"t","x":1}`))
	if err != nil || req.Tag != "t" || req.Params(new(testParams)) == nil {
		t.Errorf("%+v, %v", req, err)
	}
}

func TestAppendReply(t *testing.T) {
	ok := struct {
		Conv string     `json:"conv"`
		List Events     `json:"events"`
		Last EventReply `json:"last"`
		None EventReply `json:"none"`
		Skip string     `json:"skip,omitempty"`
	}{
		Conv: "<a>",
		List: Events{Me: "bob", List: []chat.Event{{Seq: 1, From: "bob", ID: "x", Text: "<>"}, {Seq: 2, From: "al", ID: "y", Enc: []byte{1}}}},
		Last: EventReply{Me: "bob", Event: &chat.Event{Seq: 3, Kind: chat.KindGone}},
	}
	refused := chat.Refuse(chat.Conflict, "say \"why\"")
	for _, c := range []struct {
		tag, want string
		ok        any
		err       error
	}{
		{"t", `{"ok":{},"tag":"t"}`, nil, nil},
		{"", `{"ok":{}}`, nil, nil},
		{"", `{"ok":{"conv":"<a>","events":[{"seq":1,"from":"bob","id":"x","text":"<>"},{"seq":2,"from":"al","enc":"AQ"}],"last":{"seq":3,"to":3,"kind":"gone"},"none":null}}`, ok, nil},
		{"t", `{"error":{"code":"conflict","reason":"say \"why\""},"tag":"t"}`, ok, refused},
		{"", `{"error":{"code":"conflict","reason":"say \"why\""}}`, nil, refused},
		{"", `{"error":{"code":"unavailable","reason":"the server could not do this: try again later"}}`, nil, errors.New("disk on /secret")},
		{"t", `{"error":{"code":"unavailable","reason":"the server could not do this: try again later"},"tag":"t"}`, make(chan int), nil},
	} {
		js := AppendReply([]byte("x"), false, c.tag, c.ok, c.err)
		if string(js) != "x"+c.want {
			t.Errorf("\n got %s\nwant %s", js, c.want)
		}
		b := AppendReply(nil, true, c.tag, c.ok, c.err)
		checkDeterministic(t, c.want, b)
		var v map[string]any
		if err := cbor.Unmarshal(b, &v); err != nil || v["tag"] != nil != (c.tag != "") || (v["error"] == nil) != strings.HasPrefix(c.want, `{"ok"`) {
			t.Errorf("%x: %v, %v", b, v, err)
		}
	}
	b := AppendReply(nil, true, "", ok, nil)
	if events := hex.EncodeToString([]byte("\x66events")) + "82" + "a4" + "0101" + "0263626f62" + "056178" + "06623c3e" + "a3" + "0102" + "0262616c" + "0d4101"; !strings.Contains(hex.EncodeToString(b), events) {
		t.Errorf("%x", b)
	}
}

func TestEventsRoundTrip(t *testing.T) {
	type reply struct {
		L Events      `json:"l"`
		E *EventReply `json:"e,omitempty"`
		N EventReply  `json:"n"`
	}
	in := reply{
		L: Events{Me: "a", List: []chat.Event{{Seq: 1, From: "a", Kind: chat.KindPost, ID: "i", Text: "t"}, {Seq: 2, Kind: chat.KindLarge}}},
		E: &EventReply{Me: "a", Event: &chat.Event{Seq: 3, Kind: chat.KindEdit, Text: "u", Re: 1}},
	}
	want := reply{L: Events{List: in.L.List}, E: &EventReply{Event: in.E.Event}}
	js, err1 := json.Marshal(in)
	cb, err2 := replyMode.Marshal(in)
	var fromJSON, fromCBOR reply
	if err := errors.Join(err1, err2, json.Unmarshal(js, &fromJSON), cbor.Unmarshal(cb, &fromCBOR)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromJSON, want) || !reflect.DeepEqual(fromCBOR, want) {
		t.Errorf("%+v\n%+v", fromJSON, fromCBOR)
	}
}
