package signaling_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling"
)

// sent publishes a start in a packet.
func (y *yard) sent(x *device, conv string, p signaling.Packet, payload string) signaling.Answer {
	y.t.Helper()
	ch := make(chan signaling.Answer, 2)
	y.calls.Start(x, conv, p, []byte(payload), func(a signaling.Answer) { ch <- a })
	return y.once(ch)
}

// TestStartsThatComeLate: a start that comes again, because its PUBACK was lost, begins nothing when its call is over, with an id or without.
func TestStartsThatComeLate(t *testing.T) {
	y := newYard(t)
	ann, ben, other := y.device("ann", "a"), y.device("ben", "b"), y.device("ann", "other")
	for i, c := range []struct {
		payload       string
		first, second signaling.Packet
	}{
		{`{"media":["audio"]}`, signaling.Packet{ID: 7}, signaling.Packet{ID: 7, Dup: true}},
		{`{"media":["audio"],"id":"x"}`, signaling.Packet{}, signaling.Packet{}},
		{`{"media":["audio"],"id":"y"}`, signaling.Packet{ID: 9}, signaling.Packet{ID: 10, Dup: true}},
	} {
		y.passes(time.Minute)
		a := y.ok(y.sent(ann, "ann~ben", c.first, c.payload))
		if again := y.ok(y.sent(ann, "ann~ben", c.second, c.payload)); again != a {
			t.Fatalf("%d: %+v, and again %+v", i, a, again)
		}
		y.ok(y.do(ann, a.Call, "cancel", ""))
		ben.take()
		y.refused(y.sent(ann, "ann~ben", c.second, c.payload), chat.NotFound)
		// Nor does it answer the call that ben begins meanwhile, nor is it forgotten behind that one.
		b := y.ok(y.sent(ben, "ann~ben", signaling.Packet{ID: 7, Dup: true}, c.payload+" "))
		y.refused(y.sent(ann, "ann~ben", c.second, c.payload), chat.NotFound)
		y.ok(y.do(ben, b.Call, "cancel", ""))
		y.refused(y.sent(ann, "ann~ben", c.second, c.payload), chat.NotFound)
		y.settle()
		y.hears(ben, "new", "ended")
	}
	y.passes(time.Minute)
	// These are others: the packet id was free again, it is another packet, another device, another payload.
	for i, p := range []struct {
		x       *device
		p       signaling.Packet
		payload string
	}{
		{ann, signaling.Packet{ID: 7}, `{"media":["audio"]}`}, {ann, signaling.Packet{ID: 8, Dup: true}, `{"media":["audio"]}`},
		{other, signaling.Packet{ID: 7, Dup: true}, `{"media":["audio"]}`}, {ann, signaling.Packet{ID: 7, Dup: true}, `{"media":["video"]}`},
		{ann, signaling.Packet{}, `{"media":["audio"]}`},
	} {
		a := y.sent(p.x, "ann~ben", p.p, p.payload)
		if a.Err != nil {
			t.Fatalf("%d: %v", i, a.Err)
		}
		y.ok(y.do(p.x, a.Call, "cancel", ""))
	}
	// Nobody remembers for ever.
	y.passes(11 * time.Minute)
	y.ok(y.do(ann, y.ok(y.sent(ann, "ann~ben", signaling.Packet{}, `{"id":"x"}`)).Call, "cancel", ""))
}

// TestStartOfWhoHasLeft: in a group's call that goes on, a start that comes again takes nobody in who has left; whoever was only given up
// comes back by it.
func TestStartOfWhoHasLeft(t *testing.T) {
	y := newYard(t)
	y.w.members["crew"] = []string{"ann", "ben", "cat"}
	ann, ben, cat := y.device("ann", "a"), y.device("ben", "b"), y.device("cat", "c")
	y.ok(y.start(ann, "crew", "{}"))
	join, again := signaling.Packet{ID: 5}, signaling.Packet{ID: 5, Dup: true}
	b := y.ok(y.sent(ben, "crew", join, "{}"))
	y.ok(y.sent(cat, "crew", join, "{}"))
	y.ok(y.do(ben, b.Call, "leave", ""))
	y.refused(y.sent(ben, "crew", again, "{}"), chat.NotFound)
	y.ok(y.sent(ben, "crew", join, "{}"))
	y.disconnect(cat)
	y.passes(31 * time.Second)
	if st, err := y.calls.State(t.Context(), "cat", ""); err != nil || string(st) != `{"calls":[]}` {
		t.Fatalf("%s %v", st, err)
	}
	y.connect(cat)
	if c := y.ok(y.sent(cat, "crew", again, "{}")); c.Call != b.Call {
		t.Fatalf("%+v", c)
	}
}

// TestRememberedIsBounded: of those who come and go in one conversation the newest are remembered, and nothing of a conversation in which
// nothing was for long.
func TestRememberedIsBounded(t *testing.T) {
	y := newYard(t, func(y *yard) { y.lim = signaling.Limits{StartsPerPair: 1000, StartsPerUser: 1000} })
	y.w.members["crew"] = []string{"ann", "ben"}
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	a := y.ok(y.start(ann, "crew", "{}"))
	for i := range 300 {
		y.ok(y.start(ben, "crew", fmt.Sprintf(`{"id":"%d"}`, i)))
		y.ok(y.do(ben, a.Call, "leave", ""))
	}
	y.refused(y.start(ben, "crew", `{"id":"299"}`), chat.NotFound)
	y.ok(y.start(ben, "crew", `{"id":"0"}`))
	y.ok(y.do(ann, a.Call, "leave", ""))
	y.ok(y.do(ben, a.Call, "leave", ""))
	if n := y.calls.Remembered(); n == 0 {
		t.Fatal("nothing is remembered")
	}
	y.passes(11 * time.Minute)
	if n := y.calls.Remembered(); n != 0 {
		t.Fatalf("%d are remembered", n)
	}
}

// TestSilentCallsKeepNobodyOut: a call that does not ring, because its conversation is muted, is none that others wait behind.
func TestSilentCallsKeepNobodyOut(t *testing.T) {
	y := newYard(t)
	ann, ben, cat, dan := y.device("ann", "a"), y.device("ben", "b"), y.device("cat", "c"), y.device("dan", "d")
	y.w.mute["ben"] = true
	y.ok(y.start(ann, "ann~ben", "{}"))
	y.ok(y.start(cat, "ben~cat", "{}"))
	y.w.mute["ben"] = false
	d := y.ok(y.start(dan, "ben~dan", "{}"))
	if m := ben.take(); len(m) != 1 || m[0].m["call"] != d.Call || m[0].m["kind"] != "ring" || m[0].m["waiting"] != nil {
		t.Fatalf("%+v", m)
	}
}

// TestLimitsChange: other limits hold for what comes after they were set, and put nobody out.
func TestLimitsChange(t *testing.T) {
	y := newYard(t)
	ann, ben, cat := y.device("ann", "a"), y.device("ben", "b"), y.device("cat", "c")
	call, _, benParty := y.talk(ann, ben)
	y.calls.SetLimits(signaling.Limits{PerUser: 1, SignalsPerUser: 3, StartsPerUser: 1})
	y.refused(y.start(ann, "ann~cat", "{}"), chat.RateLimited)
	y.ok(y.start(cat, "ben~cat", "{}"))
	y.refused(y.start(cat, "ann~cat", "{}"), chat.RateLimited)
	for range 2 {
		y.ok(y.do(ann, call, "signal", `{"to":"`+benParty+`","type":"candidates"}`))
	}
	y.refused(y.do(ann, call, "signal", `{"to":"`+benParty+`","type":"candidates"}`), chat.RateLimited)
	y.calls.SetLimits(signaling.Limits{})
	y.ok(y.do(ann, call, "signal", `{"to":"`+benParty+`","type":"candidates"}`))
	y.ok(y.do(ann, y.ok(y.start(ann, "ann~cat", "{}")).Call, "cancel", ""))
}

// TestSignalsForTheEpochBefore: what was meant for media of the receiver that have begun anew since is acknowledged and goes no further; what the
// sender says of itself with it holds.
func TestSignalsForTheEpochBefore(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, annParty, _ := y.talk(ann, ben)
	y.ok(y.do(ann, call, "resume", `{"fresh":true}`))
	say := func(of, more string) []told {
		t.Helper()
		ann.take()
		y.ok(y.do(ben, call, "signal", `{"to":"`+annParty+`",`+of+more+`}`))
		return ann.take()
	}
	const cands = `"type":"candidates","body":null`
	if got := say(`"of":1,`, cands); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := say(`"of":1,`, `"type":"negotiate","body":{"hold":true}`); len(got) != 1 || got[0].m["kind"] != "state" {
		t.Errorf("%+v", got)
	}
	for of, want := range map[string]any{"": nil, `"of":2,`: 2.0, `"of":9,`: 9.0} {
		if got := say(of, cands); len(got) != 1 || got[0].m["kind"] != "signal" || got[0].m["of"] != want {
			t.Errorf("%s: %+v", of, got)
		}
	}
	y.refused(y.do(ben, call, "signal", `{"to":"`+annParty+`","of":-1,`+cands+`}`), chat.BadRequest)
}

// TestAnswersNameTheirOffer: re is passed on with an answer, and refused where it is none.
func TestAnswersNameTheirOffer(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, annParty, benParty := y.talk(ann, ben)
	y.ok(y.do(ann, call, "signal", sig(benParty, "offer")))
	ann.take()
	answer := strings.TrimSuffix(sig(annParty, "answer"), "}")
	y.ok(y.do(ben, call, "signal", answer+`,"re":"4107843920185637889 18446744073709551615"}`))
	if got := ann.take(); len(got) == 0 || got[0].m["re"] != "4107843920185637889 18446744073709551615" {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{`7`, `"7"`, `"7 "`, `"7  8"`, `"7 8a"`, `"7 184467440737095516150"`, `"-1 8"`, `"7 8 9"`} {
		y.refused(y.do(ben, call, "signal", answer+`,"re":`+bad+`}`), chat.BadRequest)
	}
	y.refused(y.do(ben, call, "signal", `{"to":"`+annParty+`","re":"7 8","type":"candidates","body":null}`), chat.BadRequest)
}
