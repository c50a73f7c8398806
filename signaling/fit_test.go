package signaling_test

import (
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling"
	"github.com/petrelchat/petrel/signaling/sdp"
)

// says has a party send something, and returns the body that the other one gets; nil: nothing.
func (y *yard) says(from, to *device, call, party, kind string, body any) any {
	y.t.Helper()
	b, err := json.Marshal(map[string]any{"to": party, "type": kind, "body": body})
	if err != nil {
		y.t.Fatal(err)
	}
	to.take()
	y.ok(y.do(from, call, "signal", string(b)))
	got := to.take()
	got = slices.DeleteFunc(got, func(m told) bool { return m.m["kind"] != "signal" })
	if len(got) == 0 {
		return nil
	}
	if len(got) != 1 {
		y.t.Fatalf("%+v", got)
	}
	return got[0].m["body"]
}

func deflated(text string) map[string]any {
	return map[string]any{"z": base64.StdEncoding.EncodeToString(sdp.Deflate([]byte(text)))}
}

// inflated is the description that a body has.
func inflated(t *testing.T, body any) string {
	t.Helper()
	if s, ok := body.(string); ok {
		return s
	}
	z, err := base64.StdEncoding.DecodeString(body.(map[string]any)["z"].(string))
	if err != nil {
		t.Fatal(err)
	}
	text, err := sdp.Inflate(z, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUnknownAttributes: what a newer browser writes reaches no older one, and ends no call; and a body is what it was where there
// was nothing to leave out.
func TestUnknownAttributes(t *testing.T) {
	y := newYard(t, func(y *yard) { y.sfu = &sfu{} })
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, annParty, _ := y.talk(ann, ben)
	news := strings.ReplaceAll(description, "a=mid:0\r\n", "a=mid:0\r\na=tomorrow:<&>\r\n")
	unpadded := map[string]any{"z": strings.TrimRight(deflated(description)["z"].(string), "=")}
	for name, c := range map[string]struct{ body, want any }{
		"plain": {description, description}, "plain and new": {news, description},
		"deflated": {unpadded, unpadded}, "deflated and new": {deflated(news), deflated(description)},
	} {
		got := y.says(ben, ann, call, annParty, "offer", c.body)
		if a, b := mustMarshal(got), mustMarshal(c.want); a != b {
			t.Errorf("%s: %s, want %s", name, a, b)
		}
	}
}

func mustMarshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestPassedOnIsNoLonger: nothing that is passed on is much longer than what came, whatever it consists of.
func TestPassedOnIsNoLonger(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, annParty, _ := y.talk(ann, ben)
	ann.take()
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) string { // which no deflate makes shorter by much
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(' ' + random.IntN('~'-' '))
		}
		return string(b)
	}
	for _, filler := range []string{"<", "&", "x", "é", "noise"} {
		text := description
		for len(text)+1000 < 30<<10 {
			line := strings.Repeat(filler, 900/len(filler))
			if filler == "noise" {
				line = noise(900)
			}
			text += "a=fmtp:111 " + line + "\r\n"
		}
		short := text[:strings.LastIndex(text[:20<<10], "\n")+1] // which fits even if all of it is noise
		for _, body := range []any{text, deflated(short), deflated(short + "a=new\r\n")} {
			b, err := json.Marshal(map[string]any{"to": annParty, "type": "offer", "body": body})
			if err != nil {
				t.Fatal(err)
			}
			payload := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(b))
			y.ok(y.do(ben, call, "signal", payload))
			got := ann.take()
			if n := len(got[len(got)-1].raw); n > signaling.MaxSignal+1024 {
				t.Errorf("%d bytes of %d with %q", n, len(payload), filler)
			}
		}
	}
}

const (
	hostLine  = "candidate:1 1 udp 9 203.0.113.7 51472 typ host"
	relayLine = "candidate:3 1 udp 7 198.51.100.1 5000 typ relay raddr 203.0.113.7 rport 44323"
	relayTold = "candidate:3 1 udp 7 198.51.100.1 5000 typ relay raddr 0.0.0.0 rport 9"
)

// TestRelayIsEnforced: of somebody who wants media to go through a relay, no address gets to others, even if their device
// tells of it. What is said of others stays as it is.
func TestRelayIsEnforced(t *testing.T) {
	y := newYard(t, func(y *yard) { y.sfu = &sfu{} })
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, annParty, benParty := y.talk(ann, ben)
	open := strings.Replace(description, "127.0.0.1", "203.0.113.7", 1) + "c=IN IP4 203.0.113.7\r\na=" + hostLine + "\r\na=" + relayLine + "\r\n"
	set := func(r chat.Relay) {
		y.w.mu.Lock()
		defer y.w.mu.Unlock()
		y.w.relay["ben"] = r
	}
	for _, body := range []any{open, deflated(open)} {
		set(chat.RelayAlways)
		got := inflated(t, y.says(ben, ann, call, annParty, "offer", body))
		if strings.Contains(got, "203.0.113.7") || strings.Contains(got, "typ host") || !strings.Contains(got, "a="+relayTold+"\r\n") {
			t.Errorf("ann gets %q", got)
		}
		set(chat.RelayUntilAccepted) // ben has accepted
		if got := inflated(t, y.says(ben, ann, call, annParty, "offer", body)); got != open {
			t.Errorf("ann gets %q", got)
		}
	}
	set(chat.RelayAlways)
	line := func(body any) (all []string) {
		if body == nil {
			return []string{"nothing"}
		}
		for _, c := range body.([]any) {
			all = append(all, c.(map[string]any)["c"].(string))
		}
		return all
	}
	for _, c := range []struct {
		from, to    *device
		party       string
		lines, want []string
	}{
		{ben, ann, annParty, []string{hostLine, relayLine}, []string{relayTold}},
		{ben, ann, annParty, []string{hostLine}, []string{"nothing"}},
		{ben, ann, annParty, []string{relayTold, ""}, []string{relayTold, ""}},
		{ann, ben, benParty, []string{hostLine, relayLine}, []string{hostLine, relayLine}},
	} {
		if got := line(y.says(c.from, c.to, call, c.party, "candidates", c.lines)); !slices.Equal(got, c.want) {
			t.Errorf("%v is told as %v", c.lines, got)
		}
	}
	// The end of candidates is told, and what there was nothing of left a gap in no numbers.
	y.ok(y.do(ben, call, "signal", `{"to":"`+annParty+`","type":"candidates","body":null}`))
	y.ok(y.do(ben, call, "signal", `{"to":"`+annParty+`","type":"candidates","body":["`+hostLine+`"]}`))
	y.ok(y.do(ben, call, "signal", `{"to":"`+annParty+`","type":"candidates","body":["`+relayLine+`"]}`))
	got := ann.take()
	if len(got) != 2 || got[0].m["body"] != nil || got[1].m["seq"] != got[0].m["seq"].(float64)+1 {
		t.Errorf("%+v", got)
	}
	y.refused(y.do(ben, call, "signal", `{"to":"aaaaaaaa","type":"candidates","body":["`+hostLine+`"]}`), chat.NotFound)
}

// TestNobodySpeaksBeforeAccepting: whoever is called has nothing passed on before they have a party of their own, whatever they
// publish, so that their device can give nothing away.
func TestNobodySpeaksBeforeAccepting(t *testing.T) {
	y := newYard(t)
	ann, shy := y.device("ann", "a"), y.device("shy", "s")
	a := y.ok(y.start(ann, "ann~shy", "{}"))
	ring := shy.take()
	if len(ring) != 1 || ring[0].m["relay"] != true {
		t.Fatalf("%+v", ring)
	}
	if st, err := y.calls.State(t.Context(), "shy", a.Call); err != nil || !strings.Contains(string(st), `"relay":true`) {
		t.Fatalf("%s %v", st, err)
	}
	y.ok(y.do(shy, a.Call, "ringing", ""))
	ann.take()
	for _, body := range []string{
		sig(a.Party, "offer"), `{"to":"` + a.Party + `","type":"candidates","body":["` + hostLine + `"]}`,
		`{"to":"` + a.Party + `","type":"negotiate","body":{"want":"` + hostLine + `"}}`, `{"type":"negotiate","body":{"media":["audio"]}}`,
	} {
		if got := y.do(shy, a.Call, "signal", body); got.Err == nil {
			t.Errorf("%s is passed on", body)
		}
	}
	y.ok(y.do(shy, a.Call, "resume", `{"fresh":true}`))
	if got := ann.take(); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	b := y.ok(y.do(shy, a.Call, "accept", ""))
	if st, err := y.calls.State(t.Context(), "shy", a.Call); err != nil || strings.Contains(string(st), `"relay"`) || b.Party == "" {
		t.Fatalf("%s %v", st, err)
	}
	if got := y.says(shy, ann, a.Call, a.Party, "candidates", []string{hostLine}); got == nil {
		t.Error("accepted, and still nothing is told")
	}
}
