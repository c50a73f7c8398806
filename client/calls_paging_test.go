package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// answers is a Caller that gives prepared replies, one after the other, and keeps what was asked.
type answers struct {
	replies []string // JSON; "!" and a code: a refusal
	asked   []string
}

func (a *answers) Call(_ context.Context, method string, req, reply any) error {
	b, err := json.Marshal(req)
	if err != nil {
		return err
	}
	a.asked = append(a.asked, method+" "+string(b))
	if len(a.replies) == 0 {
		return errors.New("nobody was expected to ask " + method)
	}
	next := a.replies[0]
	a.replies = a.replies[1:]
	if next[0] == '!' {
		return chat.Refuse(chat.Code(next[1:]), "as prepared")
	}
	return json.Unmarshal([]byte(next), reply)
}

func (a *answers) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(a.asked, want) {
		t.Errorf("asked\n%q\nwant\n%q", a.asked, want)
	}
}

func TestIteratorAsksForPageAfterPage(t *testing.T) {
	a := &answers{replies: []string{
		`{"members":[{"user":"ana"},{"user":"bob"}],"more":true}`, `{"members":[{"user":"eve"}],"more":false}`,
	}}
	var users []string
	for _, m := range all(t, client.MemberCalls{Via: a}.List(t.Context(), "crew")) {
		users = append(users, m.User)
	}
	if !slices.Equal(users, []string{"ana", "bob", "eve"}) {
		t.Error(users)
	}
	a.expect(t, `member.list {"conv":"crew"}`, `member.list {"conv":"crew","after":"bob"}`)
}

// Whoever has seen enough asks for nothing more.
func TestIteratorStops(t *testing.T) {
	a := &answers{replies: []string{`{"members":[{"user":"ana"},{"user":"bob"}],"more":true}`}}
	for range (client.MemberCalls{Via: a}).List(t.Context(), "crew") {
		break
	}
	a.expect(t, `member.list {"conv":"crew"}`)
}

// A page may be empty with another behind it; a token is handed back as it came, and a list can be ranged over again.
func TestIteratorPassesEmptyPages(t *testing.T) {
	pages := []string{`{"hits":[],"next":"A","more":true}`, `{"hits":[{"conv":"crew","seq":7}],"next":"B","more":true,"behind":true}`, `{"hits":[],"more":false}`}
	a := &answers{replies: slices.Concat(pages, pages)}
	hits := client.HistoryCalls{Via: a}.Search(t.Context(), client.SearchQuery{Words: "oslo"})
	for range 2 {
		if got := all(t, hits); len(got) != 1 || got[0].Seq != 7 {
			t.Error(got)
		}
	}
	a.expect(t, `search {"q":"oslo"}`, `search {"q":"oslo","next":"A"}`, `search {"q":"oslo","next":"B"}`,
		`search {"q":"oslo"}`, `search {"q":"oslo","next":"A"}`, `search {"q":"oslo","next":"B"}`)
}

func TestIteratorYieldsARefusalOnce(t *testing.T) {
	a := &answers{replies: []string{`{"members":[{"user":"ana"}],"more":true}`, "!not-found"}}
	var got []string
	for m, err := range (client.MemberCalls{Via: a}).List(t.Context(), "crew") {
		var refused *chat.Refusal
		if errors.As(err, &refused) {
			got = append(got, string(refused.Code))
			continue // an iterator that goes on after its error would panic here
		}
		got = append(got, m.User)
	}
	if !slices.Equal(got, []string{"ana", "not-found"}) {
		t.Error(got)
	}
}

// A server that says "more" for ever is an error, not an endless loop.
func TestIteratorEndsWithAServerThatDoesNot(t *testing.T) {
	for name, reply := range map[string]string{
		"no place": `{"groups":[{"conv":"a"}],"more":true}`, "the same place": `{"groups":[{"conv":"a"}],"after":"X","more":true}`,
	} {
		a := &answers{replies: []string{reply, reply, reply}}
		var last error
		for _, err := range (client.GroupCalls{Via: a}).Search(t.Context(), "") {
			last = err
		}
		if last == nil || len(a.asked) > 2 {
			t.Errorf("%s: %v after %d requests", name, last, len(a.asked))
		}
	}
	a := &answers{replies: []string{`{"events":[],"head":9,"more":true}`}}
	for _, err := range (client.HistoryCalls{Via: a}).After(t.Context(), "crew", 0) {
		if err == nil {
			t.Error("an empty page with more behind it was taken")
		}
	}
}

func events(from, to int) string {
	s := ""
	for i := from; i <= to; i++ {
		s += fmt.Sprintf(`,{"seq":%d,"from":"ana","at":1,"text":"hello"}`, i)
	}
	return s[1:]
}

func TestHistoryBothWays(t *testing.T) {
	a := &answers{replies: []string{`{"events":[` + events(1, 2) + `],"head":5,"more":true}`, `{"events":[` + events(3, 5) + `],"head":5,"more":false}`}}
	var got []uint64
	for _, e := range all(t, client.HistoryCalls{Via: a}.After(t.Context(), "crew", 0)) {
		got = append(got, e.Seq)
	}
	a.expect(t, `history {"conv":"crew","after":0,"limit":500}`, `history {"conv":"crew","after":2,"limit":500}`)
	a = &answers{replies: []string{`{"events":[` + events(4, 5) + `],"head":5,"more":true}`, `{"events":[` + events(1, 3) + `],"head":5,"more":false}`}}
	for _, e := range all(t, client.HistoryCalls{Via: a}.Before(t.Context(), "crew", 0)) {
		got = append(got, e.Seq)
	}
	a.expect(t, `history {"conv":"crew","limit":500}`, `history {"conv":"crew","before":4,"limit":500}`)
	if !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 5, 4, 3, 2, 1}) {
		t.Error(got)
	}
}

// What goes by seq takes only places that a page gave.
func TestWrongPlaceIsRefused(t *testing.T) {
	a := &answers{}
	_, err := client.HistoryCalls{Via: a}.PinsPage(t.Context(), "crew", client.ListOptions{After: "somewhere"})
	var refused *chat.Refusal
	if !errors.As(err, &refused) || refused.Code != chat.BadRequest || len(a.asked) > 0 {
		t.Error(err, a.asked)
	}
}

// Fields that a newer server adds are passed over.
func TestUnknownFieldsOfRepliesArePassedOver(t *testing.T) {
	a := &answers{replies: []string{`{"conv":"crew","title":"Crew","members":3,"weather":"fine"}`}}
	g, err := client.GroupCalls{Via: a}.Get(t.Context(), "crew")
	if err != nil || g.Title != "Crew" || g.Members != 3 {
		t.Error(g, err)
	}
}

func TestMillis(t *testing.T) {
	at := time.UnixMilli(1767225600123)
	if m := client.MillisOf(at); m != 1767225600123 || !m.Time().Equal(at) {
		t.Error(m, m.Time())
	}
	if !client.Millis(0).Time().IsZero() || !client.ForGood.Time().IsZero() || client.MillisOf(time.Time{}) != 0 {
		t.Error("the times without a date")
	}
}

// A setting's value is the same in both encodings, and can be written down in both.
func TestSettingValue(t *testing.T) {
	value := map[string]any{"theme": "dark", "size": 12.5, "tags": []any{"a", true, nil}}
	inJSON, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	inCBOR, err := cbor.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var a, b client.SettingValue
	if err := errors.Join(json.Unmarshal(inJSON, &a), cbor.Unmarshal(inCBOR, &b)); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]client.SettingValue{"JSON": a, "CBOR": b} {
		var got any
		if err := v.Decode(&got); err != nil || fmt.Sprint(got) != fmt.Sprint(value) || v.Null() {
			t.Errorf("%s: %v %v", name, got, err)
		}
		if v.String() != string(inJSON) {
			t.Errorf("%s is written as %s", name, v)
		}
		var again client.SettingValue
		out, err := cbor.Marshal(v)
		if err = errors.Join(err, cbor.Unmarshal(out, &again)); err != nil || again.String() != string(inJSON) {
			t.Errorf("%s in CBOR: % x %v", name, out, err)
		}
	}
	var none client.SettingValue
	if err := cbor.Unmarshal([]byte{0xf6}, &a); err != nil || !a.Null() || !none.Null() || a.String() != "null" || none.String() != "null" {
		t.Error("null:", err, a, none)
	}
	if text := ""; none.Decode(&text) != nil || text != "" {
		t.Error("no value as a text: " + strconv.Quote(text))
	}
}
