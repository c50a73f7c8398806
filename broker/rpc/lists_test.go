package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

func postOf(text string) chat.Event { return chat.Event{Kind: chat.KindPost, Text: text} }

type convs struct {
	Convs []struct {
		Conv   string          `json:"conv"`
		Head   uint64          `json:"head"`
		Read   uint64          `json:"read"`
		Unread uint64          `json:"unread"`
		Left   bool            `json:"left"`
		Events protocol.Events `json:"events"`
		Gap    bool            `json:"gap"`
	} `json:"convs"`
	Reads  map[string]uint64 `json:"reads"`
	Relist bool              `json:"relist"`
	After  string            `json:"after"`
	Since  string            `json:"since"`
	More   bool              `json:"more"`
}

// crowd makes n groups of alice's, with a post of bob's in each.
func crowd(s *server, n int) []string {
	s.users("alice", "bob")
	ids := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		ids[i] = fmt.Sprintf("g%04d", i)
		wg.Add(2)
		title := "Group " + ids[i]
		done := func(r hub.Result) {
			if r.Err != nil {
				s.t.Error(r.Err)
			}
			wg.Done()
		}
		s.hub.Submit(&hub.Request{Conv: ids[i], Done: done, Cmd: chat.Command{
			Op: chat.OpCreate, Actor: "alice", Info: &chat.InfoChange{Title: &title}, Members: []string{"bob"}}})
		s.hub.Submit(&hub.Request{Conv: ids[i], Done: done, Cmd: chat.Command{Op: chat.OpAppend, Actor: "bob", Event: postOf("hello")}})
	}
	wg.Wait()
	return ids
}

// Whatever becomes active between the pages, each conversation comes exactly once.
func TestConvListIsStable(t *testing.T) {
	s := newServer(t)
	ids := crowd(s, 57)
	seen := map[string]int{}
	request := `{"limit":10}`
	for page := 0; ; page++ {
		var got convs
		s.ok("alice", "conv.list", request, &got)
		for _, c := range got.Convs {
			seen[c.Conv]++
		}
		if !got.More {
			break
		}
		for i := range ids { // some shown already, some not yet
			if i%3 == page%3 {
				s.post("bob", ids[i], postOf("more"))
			}
		}
		request = fmt.Sprintf(`{"limit":10,"after":%q}`, got.After)
	}
	for _, id := range ids {
		if seen[id] != 1 {
			t.Errorf("%s came %d times", id, seen[id])
		}
	}
}

// A client that takes little gets everything all the same.
func TestSmallReplies(t *testing.T) {
	s := newServer(t)
	ids := crowd(s, 20)
	for i := range 30 {
		s.post("bob", ids[0], postOf(strings.Repeat("long ", i*20)+"."))
	}
	const most = 1500
	seen := map[string]bool{}
	request, since := "{}", ""
	for range 100 {
		b := s.raw("alice", "sync", request, most)
		if len(b) > most {
			t.Fatalf("%d bytes", len(b))
		}
		var r struct {
			OK    *convs        `json:"ok"`
			Error *chat.Refusal `json:"error"`
		}
		if must(t, json.Unmarshal(b, &r)); r.Error != nil {
			t.Fatal(r.Error)
		}
		for _, c := range r.OK.Convs {
			seen[c.Conv] = true
			if c.Conv == ids[0] && (!c.Gap || len(c.Events.List) == 0) {
				t.Errorf("the long conversation: gap %v, %d events", c.Gap, len(c.Events.List))
			}
		}
		if since = r.OK.Since; !r.OK.More {
			break
		}
		request = fmt.Sprintf(`{"since":%q}`, since)
	}
	if len(seen) != len(ids) {
		t.Errorf("%d of %d conversations", len(seen), len(ids))
	}
	seq := uint64(1 << 62)
	for seq > 1 {
		var h struct {
			Events protocol.Events `json:"events"`
			More   bool            `json:"more"`
		}
		b := s.raw("alice", "history", fmt.Sprintf(`{"conv":%q,"before":%d}`, ids[0], seq), 400)
		var r struct {
			OK any `json:"ok"`
		}
		r.OK = &h
		if must(t, json.Unmarshal(b, &r)); len(b) > 400 || len(h.Events.List) == 0 {
			t.Fatalf("%s", b)
		}
		last := h.Events.List[len(h.Events.List)-1].Seq
		if first := h.Events.List[0].Seq; seq < 1<<62 && last != seq-1 || h.More != (first > 1) {
			t.Fatalf("events %d to %d before %d, more %v", first, last, seq, h.More)
		}
		seq = h.Events.List[0].Seq
	}
}

// What a device knows by sync alone is what there is, while others write and read at the same time.
func TestSyncMissesNothing(t *testing.T) {
	s := newServer(t)
	ids := crowd(s, 30)
	type state struct{ head, read uint64 }
	known := map[string]state{}
	since := ""
	round := func(limit int) {
		for more := true; more; {
			var got convs
			s.ok("alice", "sync", fmt.Sprintf(`{"since":%q,"limit":%d}`, since, limit), &got)
			since, more = got.Since, got.More
			in := map[string]bool{}
			for _, c := range got.Convs {
				k := known[c.Conv]
				if n := len(c.Events.List); !c.Gap && n > 0 && c.Events.List[0].Seq > k.head+1 {
					t.Errorf("%s: knows up to %d, gets from %d without a gap", c.Conv, k.head, c.Events.List[0].Seq)
				}
				known[c.Conv], in[c.Conv] = state{c.Head, c.Read}, true
			}
			if got.Reads == nil {
				continue
			}
			for conv, k := range known {
				if in[conv] {
					continue
				}
				if k.read = k.head; got.Reads[conv] != 0 || hasKey(got.Reads, conv) {
					k.read = got.Reads[conv]
				}
				known[conv] = k
			}
		}
	}
	var wg sync.WaitGroup // bounded: who asks for one conversation at a time is never done while several change
	for w := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < 700; i += 7 {
				seq := s.post("bob", ids[i%len(ids)], postOf("more"))
				if i%2 == 0 {
					s.cursor("alice", ids[i%len(ids)], seq, seq)
				}
			}
		}()
	}
	for i := range 20 {
		round(1 + i%40)
	}
	wg.Wait()
	s.cursor("alice", ids[3], 1<<40, 3)
	round(500)
	for _, id := range ids {
		want := state{}
		must(t, s.hub.Query(id, false, func(v hub.View) { want = state{v.State.Head, v.Cursors["alice"].Read} }))
		if known[id] != want {
			t.Errorf("%s: knows %+v, it is %+v", id, known[id], want)
		}
	}
}

func hasKey(m map[string]uint64, k string) bool { _, ok := m[k]; return ok }

// When the list of what is unread would fill the reply, the client is sent to conv.list.
func TestSyncRelist(t *testing.T) {
	s := newServer(t)
	ids := crowd(s, 60)
	var got convs
	s.ok("alice", "sync", `{}`, &got)
	if got.Relist || got.Reads != nil || len(got.Convs) != len(ids) {
		t.Fatalf("%d conversations, relist %v", len(got.Convs), got.Relist)
	}
	s.cursor("alice", ids[7], 0, 3)
	s.restart() // what moved while the last server ran is not known to this one
	var r struct{ OK convs }
	must(t, json.Unmarshal(s.raw("alice", "sync", fmt.Sprintf(`{"since":%q}`, got.Since), 2000), &r))
	if !r.OK.Relist || r.OK.Reads != nil {
		t.Errorf("relist %v, %d reads", r.OK.Relist, len(r.OK.Reads))
	}
	s.ok("alice", "sync", fmt.Sprintf(`{"since":%q}`, got.Since), &got)
	if got.Relist || len(got.Reads) != len(ids)-1 || hasKey(got.Reads, ids[7]) {
		t.Errorf("relist %v, %d reads", got.Relist, len(got.Reads))
	}
}

// CBOR requests get CBOR replies that say the same.
func TestCBOR(t *testing.T) {
	s := newServer(t)
	crowd(s, 3)
	s.post("alice", "g0000", chat.Event{Kind: chat.KindPost, Text: "mine", ID: "x"})
	for _, r := range []struct {
		method string
		params map[string]any
	}{
		{"group.get", map[string]any{"conv": "g0001"}},
		{"group.get", map[string]any{"conv": "nowhere"}},
		{"member.list", map[string]any{"conv": "g0001", "limit": 1}},
		{"conv.list", map[string]any{}},
		{"receipts", map[string]any{"conv": "g0000", "seq": 4}},
		{"user.get", map[string]any{"user": "bob"}},
		{"device.list", nil},
		{"history", map[string]any{"conv": "g0000", "tag": "t"}},
		{"sync", map[string]any{}},
	} {
		asCBOR, err := cbor.Marshal(r.params)
		must(t, err)
		if r.params == nil {
			asCBOR = []byte{0xA0}
		}
		asJSON, err := json.Marshal(r.params)
		must(t, err)
		if r.params == nil {
			asJSON = []byte("{}")
		}
		fromJSON, fromCBOR := map[string]any{}, map[string]any{}
		must(t, json.Unmarshal(s.raw("alice", r.method, string(asJSON), 0), &fromJSON))
		b := s.raw("alice", r.method, string(asCBOR), 0)
		if err := cbor.Unmarshal(b, &fromCBOR); err != nil {
			t.Fatalf("%s: %v: %x", r.method, err, b)
		}
		if got, want := shape(fromCBOR), shape(fromJSON); got != want {
			t.Errorf("%s:\nCBOR %s\nJSON %s", r.method, got, want)
		}
	}
}

// shape prints a reply in a form that both encodings share. Events have integer keys in CBOR: of them it
// shows how many fields there are.
func shape(v any) string {
	switch x := v.(type) {
	case map[string]any:
		if _, isEvent := x["seq"]; isEvent {
			return fmt.Sprint("event with ", len(x))
		}
		m := map[string]string{}
		for k := range maps.Keys(x) {
			m[k] = shape(x[k])
		}
		return fmt.Sprint(m)
	case map[any]any:
		if _, isEvent := x[uint64(1)]; isEvent {
			return fmt.Sprint("event with ", len(x))
		}
		m := map[string]any{}
		for k, v := range x {
			m[fmt.Sprint(k)] = v
		}
		return shape(m)
	case []any:
		var b strings.Builder
		for _, e := range x {
			b.WriteString(shape(e) + ";")
		}
		return b.String()
	case float64:
		return fmt.Sprint(uint64(x))
	}
	return fmt.Sprint(v)
}

// What is not a conversation of the caller's any more is in no list.
func TestFormerMembersSeeNoNews(t *testing.T) {
	s := newServer(t)
	ids := crowd(s, 2)
	var got convs
	s.ok("bob", "sync", `{}`, &got)
	s.ok("alice", "member.remove", `{"conv":"g0000","user":"bob"}`, nil)
	s.post("alice", ids[0], postOf("a secret"))
	for _, method := range []string{"conv.list", "sync"} {
		for _, request := range []string{`{}`, fmt.Sprintf(`{"since":%q}`, got.Since)} {
			if b := s.raw("bob", method, request, 0); strings.Contains(string(b), "a secret") {
				t.Errorf("%s tells %s", method, b)
			}
		}
	}
}

func FuzzCall(f *testing.F) {
	s := newServer(f)
	crowd(s, 3)
	methods := s.svc.Methods()
	for _, r := range onConversations {
		f.Add(r.method, []byte(fmt.Sprintf(r.request, "g0001")), 0)
	}
	f.Add("sync", []byte(`{"since":"Av___38AAA"}`), 500)
	f.Add("conv.list", []byte("\xa1elimit\x01"), 300)
	f.Add("history", []byte("\xa2dconveg0001eafter\x1b\xff\xff\xff\xff\xff\xff\xff\xff"), 100)
	f.Add("user.update", []byte(`{"name":"\ud800"}`), 0)
	f.Fuzz(func(t *testing.T, method string, payload []byte, most int) {
		if len(method) == 1 { // makes known methods likely
			method = methods[int(method[0])%len(methods)]
		}
		b := s.svc.Call(context.Background(), rpc.Caller{User: "alice", Client: "phone"}, method, payload, most%4096)
		var r map[string]any
		var err error
		if len(b) > 0 && b[0] == '{' {
			err = json.Unmarshal(b, &r)
		} else {
			err = cbor.Unmarshal(b, &r)
		}
		if err != nil {
			t.Fatalf("%s of %q: %v: %q", method, payload, err, b)
		}
		_, ok := r["ok"]
		_, refused := r["error"]
		if ok == refused {
			t.Fatalf("%s of %q answers %q", method, payload, b)
		}
		if most %= 4096; ok && most > 0 && len(b) > most {
			t.Fatalf("%s of %q: %d bytes of at most %d", method, payload, len(b), most)
		}
	})
}

// A thousand conversations of which ten changed: the aim is 5 ms and 4 KB.
func BenchmarkSync(b *testing.B) {
	s := newServer(b)
	ids := crowd(s, 1000)
	for _, id := range ids[50:] {
		s.cursor("alice", id, 3, 3)
	}
	var got convs
	for request := `{"limit":500}`; ; request = fmt.Sprintf(`{"limit":500,"since":%q}`, got.Since) {
		if s.ok("alice", "sync", request, &got); !got.More {
			break
		}
	}
	for i := range 10 {
		s.post("bob", ids[i*97], postOf("Are we still meeting at eight?"))
	}
	request := fmt.Sprintf(`{"since":%q}`, got.Since)
	for b.Loop() {
		reply := s.raw("alice", "sync", request, 0)
		b.ReportMetric(float64(len(reply)), "bytes/reply")
	}
}

// The first page of a list of a thousand conversations: the aim is 10 ms.
func BenchmarkConvList(b *testing.B) {
	s := newServer(b)
	crowd(s, 1000)
	for b.Loop() {
		s.raw("alice", "conv.list", `{}`, 0)
	}
}
