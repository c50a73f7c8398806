package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
)

// isRefusal fails the fuzz target when a client's mistake is anything but a refusal whose reason is
// short and can be printed.
func isRefusal(t *testing.T, err error) {
	t.Helper()
	r, ok := err.(*chat.Refusal)
	if !ok || len(r.Reason) == 0 || len(r.Reason) > 600 || !utf8.ValidString(r.Reason) {
		t.Fatalf("not a proper refusal: %v", err)
	}
}

func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{"c/alice~bob/text", "c/g/call/x", "u/alice/json", "u/bob/status", "rpc/a.b", "k/x", "$SYS/a", "x/y", "c//text"} {
		f.Add(s, "bob")
	}
	f.Fuzz(func(t *testing.T, topic, me string) {
		p, err := ParsePublish(topic, me)
		if err != nil {
			isRefusal(t, err)
			if code := ReasonCode(err); code != 0x87 && code != 0x90 {
				t.Fatalf("%#x", code)
			}
			return
		}
		if p.Topic != topic || ValidTopic(topic) != nil || (p.Kind == PubPlain) != (SpaceOf(topic) == SpacePlain) {
			t.Fatalf("%+v", p)
		}
		if p.Kind != PubPlain && me == "" {
			t.Fatalf("a guest: %+v", p)
		}
		if needsConv := p.Kind == PubPost || p.Kind == PubTyping || p.Kind == PubRead; needsConv && ValidUser(me) && !ValidConv(p.Conv) {
			t.Fatalf("%+v", p)
		}
		if a, b, ok := DirectPeers(p.Conv); ok && a != me && b != me {
			t.Fatalf("another's conversation: %+v", p)
		}
	})
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"c/+/text/+", "c/alice~bob/cbor", "u/+/presence", "u/bob/rpc/+", "$share/n/c/+/json", "$SYS/#", "+/#", "c/#", "a/+/b"} {
		f.Add(s, "bob")
	}
	f.Fuzz(func(t *testing.T, filter, me string) {
		got, err := ParseFilter(filter, me)
		if err != nil {
			isRefusal(t, err)
			if code := SubackCode(err, true); code != 0x87 && code != 0x8F {
				t.Fatalf("%#x", code)
			}
			return
		}
		whole := got.Filter
		if got.Share != "" {
			whole = "$share/" + got.Share + "/" + got.Filter
		}
		if whole != filter || ValidFilter(filter) != nil {
			t.Fatalf("%q: %+v", filter, got)
		}
		if got.Kind != FilterPlain && (me == "" || strings.Contains(got.Filter, "#") && got.Kind != FilterSys) {
			t.Fatalf("%q by %q: %+v", filter, me, got)
		}
		if a, b, ok := DirectPeers(got.Conv); ok && a != me && b != me {
			t.Fatalf("another's conversation: %+v", got)
		}
	})
}

// matchNaive is §4.7 read aloud.
func matchNaive(filter, topic []string) bool {
	switch {
	case len(filter) == 1 && filter[0] == "#":
		return true
	case len(filter) == 0 || len(topic) == 0:
		return len(filter) == len(topic)
	}
	return (filter[0] == "+" || filter[0] == topic[0]) && matchNaive(filter[1:], topic[1:])
}

func FuzzMatchTopic(f *testing.F) {
	for _, s := range [][2]string{{"a/+/#", "a/b"}, {"+/#", "a"}, {"#", "$SYS/a"}, {"$SYS/#", "$SYS"}, {"//", "//"}, {"+/+", "/"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if ValidFilter(filter) != nil || strings.HasPrefix(filter, "$share/") || ValidTopic(topic) != nil {
			MatchTopic(filter, topic) // whatever it says, it ends
			return
		}
		want := matchNaive(strings.Split(filter, "/"), strings.Split(topic, "/"))
		if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
			want = false
		}
		if MatchTopic(filter, topic) != want {
			t.Fatalf("%q on %q: want %v", filter, topic, want)
		}
	})
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"text":"hello"}`, `{"kind":"edit","re":3,"text":"x","id":"a"}`, `{"kind":"react","re":1,"emoji":"👍"}`,
		`{"enc":"3q2-7w=="}`, `{"media":[{"a":1.5,"b":[null,true,-1e3]}],"ext":{"\ud83d\ude00":"\n"}}`, `{"text":"a","20":1,"-7":{},"z":18446744073709551616}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, err := DecodeEvent(ViewJSON, payload)
		if err != nil {
			isRefusal(t, err)
			return
		}
		if !json.Valid(payload) {
			t.Fatal("accepted what is not JSON")
		}
		js := AppendEvent(nil, ViewJSON, &e, true)
		if !json.Valid(js) {
			t.Fatalf("wrote what is not JSON: %s", js)
		}
		cb := AppendEvent(nil, ViewCBOR, &e, true)
		checkDeterministic(t, string(js), cb)
		for view, b := range map[View][]byte{ViewJSON: js, ViewCBOR: cb} {
			if back, err := DecodeEvent(view, b); err != nil || !reflect.DeepEqual(back, e) {
				t.Fatalf("%s: %s\n%+v\n%+v, %v", view, js, e, back, err)
			}
		}
		checkStored(t, e)
	})
}

func FuzzDecodeCBOR(f *testing.F) {
	for _, s := range []string{
		"\xa1\x06\x65hello", "\xa3\x04\x02\x06\x61x\x07\x03", "\xa1\x0d\x43\x01\x02\x03", "\xa2\x06\x61a\x14\x01",
		"\xbf\x06\x7f\x61a\x61b\xff\x10\xbf\x01\xf9\x3e\x00\x61b\x5f\x41\x01\xff\xff\xff", "\xa2\x06\x61a\x18\x64\xc2\x42\x01\x00", "\xa2\x06\x61a\x0c\x81\xa1\x20\xf7",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, err := DecodeEvent(ViewCBOR, payload)
		if err != nil {
			isRefusal(t, err)
			return
		}
		if err := cbor.Wellformed(payload); err != nil {
			t.Fatalf("accepted what is not CBOR: %v", err)
		}
		cb := AppendEvent(nil, ViewCBOR, &e, true)
		if back, err := DecodeEvent(ViewCBOR, cb); err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%x: %+v, %v", cb, back, err)
		}
		js := AppendEvent(nil, ViewJSON, &e, true)
		if !json.Valid(js) {
			t.Fatalf("wrote what is not JSON: %s", js)
		}
		// What JSON can't say (bytes, tags) may have grown; nothing else can be wrong with it.
		if back, err := DecodeEvent(ViewJSON, js); err == nil {
			if back.Text != e.Text || !bytes.Equal(back.Enc, e.Enc) {
				t.Fatalf("%s", js)
			}
		} else if !errors.Is(err, &chat.Refusal{Code: chat.TooLarge}) {
			t.Fatalf("%s: %v", js, err)
		}
		checkStored(t, e)
	})
}

func checkStored(t *testing.T, e chat.Event) {
	t.Helper()
	if back, err := DecodeStored(EncodeStored(nil, &e)); err != nil || !reflect.DeepEqual(back, e) || ContentHash(&back) != ContentHash(&e) {
		t.Fatalf("stored: %+v, %v", back, err)
	}
}

func FuzzDecodeStored(f *testing.F) {
	e := full()
	f.Add(EncodeStored(nil, &e))
	f.Add(EncodeStored(nil, &chat.Event{Seq: 1, From: "a", Kind: chat.KindPost, Text: "x"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeStored(b)
		if err != nil {
			if !errors.Is(err, ErrStored) {
				t.Fatal(err)
			}
			return
		}
		once := EncodeStored(nil, &e)
		back, err := DecodeStored(once)
		if err != nil || !bytes.Equal(EncodeStored(nil, &back), once) {
			t.Fatalf("%x: %+v, %v", once, back, err)
		}
		// A damaged store must not break the views.
		if js := AppendEvent(nil, ViewJSON, &e, true); !json.Valid(js) {
			t.Fatalf("%s", js)
		}
		AppendEvent(nil, ViewCBOR, &e, true)
	})
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		`{"conv":"crew","limit":5,"tag":"t"}`, `{"members":["a"],"open":true,"sub":{"n":1}}`, "", "\xa1\x64conv\x61a", `{"x":1}`, "\xbf\x63tag\x61t\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		req, err := ParseRequest("m", payload)
		var p testParams
		if err == nil {
			err = req.Params(&p)
		}
		if err != nil {
			isRefusal(t, err)
		}
		reply := AppendReply(nil, req.CBOR, req.Tag, p, err)
		if req.CBOR && cbor.Wellformed(reply) != nil || !req.CBOR && !json.Valid(reply) {
			t.Fatalf("%q", reply)
		}
	})
}
