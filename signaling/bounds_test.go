package signaling_test

import (
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling"
)

// TestRates: starts and signals are counted by the minute, calls by the user.
func TestRates(t *testing.T) {
	y := newYard(t, func(y *yard) {
		y.lim = signaling.Limits{StartsPerPair: 2, StartsPerUser: 4, SignalsPerUser: 2, PerUser: 1}
	})
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, _, benParty := y.talk(ann, ben)
	y.refused(y.start(ann, "ann~cat", "{}"), chat.RateLimited) // one call
	y.ok(y.do(ann, call, "signal", sig(benParty, "offer")))
	y.refused(y.do(ann, call, "signal", sig(benParty, "offer")), chat.RateLimited)
	y.ok(y.do(ann, call, "hangup", ""))
	y.ok(y.do(ann, y.ok(y.start(ann, "ann~ben", "{}")).Call, "cancel", ""))
	y.refused(y.start(ann, "ann~ben", "{}"), chat.RateLimited)
	y.ok(y.do(ann, y.ok(y.start(ann, "ann~dan", "{}")).Call, "cancel", ""))
	y.refused(y.start(ann, "ann~eve", "{}"), chat.RateLimited)
	y.passes(time.Minute)
	y.ok(y.start(ann, "ann~ben", "{}"))
}

// TestRefusedPayloads: what is malformed or too much is refused with a reason that says what would be right, and changes nothing.
func TestRefusedPayloads(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, annParty, benParty := y.talk(ann, ben)
	before := y.stored(call).Version
	signal := func(kind, body string) string {
		return `{"to":"` + benParty + `","type":"` + kind + `","body":` + body + `}`
	}
	long := strings.Repeat("x", 33<<10)
	for name, c := range map[string]struct {
		verb, payload string
		code          chat.Code
		why           string
	}{
		"no such verb":         {"dance", "", chat.BadRequest, "verbs"},
		"no JSON":              {"accept", "hello", chat.BadRequest, "JSON object"},
		"a list":               {"accept", "[]", chat.BadRequest, "JSON object"},
		"unknown media":        {"join", `{"media":["smell"]}`, chat.BadRequest, "audio, video"},
		"long":                 {"hangup", `{"reason":"` + long[:17<<10] + `"}`, chat.TooLarge, "16384"},
		"longer":               {"signal", `{"body":"` + long + `"}`, chat.TooLarge, "32768"},
		"no party's id":        {"resume", `{"party":"me"}`, chat.BadRequest, "8 characters"},
		"another's party":      {"resume", `{"party":"` + benParty + `"}`, chat.NotFound, "over"},
		"two ways to decline":  {"decline", `{"device":true,"reason":"busy"}`, chat.BadRequest, "leave out"},
		"no type":              {"signal", `{"to":"` + benParty + `"}`, chat.BadRequest, "type is"},
		"to nobody":            {"signal", `{"type":"candidates","body":null}`, chat.BadRequest, "to is missing"},
		"to oneself":           {"signal", `{"to":"` + annParty + `","type":"candidates"}`, chat.BadRequest, "another one"},
		"to a party that left": {"signal", `{"to":"aaaaaaaa","type":"candidates"}`, chat.NotFound, "left"},
		"to no SFU":            {"signal", `{"to":"sfu","type":"candidates"}`, chat.Conflict, "mesh"},
		"no SDP":               {"signal", signal("offer", `"hello"`), chat.BadRequest, "SDP of the offer: line 1"},
		"a number":             {"signal", signal("answer", `7`), chat.BadRequest, "base64 of raw deflate"},
		"no base64":            {"signal", signal("offer", `{"z":"!"}`), chat.BadRequest, "base64"},
		"no deflate":           {"signal", signal("offer", `{"z":"AAAA"}`), chat.BadRequest, "deflate"},
		"no candidate":         {"signal", signal("candidates", `["candidate:1 1 udp 1 evil.example.org 1 typ host"]`), chat.BadRequest, "candidate 1: the address"},
		"many candidates":      {"signal", signal("candidates", "["+strings.Repeat(`"",`, 32)+`""]`), chat.BadRequest, "at most 32"},
		"a long mid":           {"signal", signal("candidates", `[{"c":"","mid":"`+long[:65]+`"}]`), chat.BadRequest, "mid"},
		"wants much":           {"signal", signal("negotiate", `{"want":"`+long[:3000]+`"}`), chat.BadRequest, "want"},
		"negotiates nothing":   {"signal", `{"type":"negotiate"}`, chat.BadRequest, "negotiate"},
	} {
		a := y.do(ann, call, c.verb, c.payload)
		if r, ok := a.Err.(*chat.Refusal); !ok || r.Code != c.code || !strings.Contains(r.Reason, c.why) || strings.Contains(r.Reason, "evil") {
			t.Errorf("%s: %v, want %s with %q", name, a.Err, c.code, c.why)
		}
	}
	for name, payload := range map[string]string{
		"a long id": `{"id":"` + long[:65] + `"}`, "no user": `{"ring":["a b"]}`, "many users": `{"ring":[` + strings.Repeat(`"ann",`, 100) + `"ann"]}`,
		"media twice": `{"media":["audio","audio","audio","audio","audio","audio","audio","audio","audio"]}`,
	} {
		if a := y.start(ann, "ann~cat", payload); a.Err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
	y.refused(y.start(y.device("ann", long[:257]), "ann~cat", ""), chat.BadRequest)
	if st := y.stored(call); st.Version != before {
		t.Errorf("it changed: %+v", st)
	}
}

// TestSignalsAreBounded: of many signals to somebody who is away the newest are kept, and all go with the call.
func TestSignalsAreBounded(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, _, benParty := y.talk(ann, ben)
	y.disconnect(ben)
	ben.take()
	for range 100 {
		y.ok(y.do(ann, call, "signal", `{"to":"`+benParty+`","type":"candidates","body":[]}`))
	}
	y.connect(ben)
	got := ben.take()
	if len(got) != 65 || got[1].m["seq"] != 38.0 || got[64].m["seq"] != 101.0 {
		t.Fatalf("%d messages, from %v", len(got), got[1].m)
	}
	y.ok(y.do(ann, call, "hangup", ""))
	y.settle()
	y.empty()
}

// TestCloseUnopened: a service that was not opened can be closed.
func TestCloseUnopened(t *testing.T) {
	y := newYard(t)
	s, err := signaling.New(signaling.Options{Store: y.store, Commit: y.pipe, World: y.w})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := signaling.New(signaling.Options{}); err == nil {
		t.Error("a service of nothing")
	}
}
