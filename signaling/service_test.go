package signaling_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling"
)

// talk brings a direct call between ann and ben to the phase.
func (y *yard) talk(ann, ben *device) (call, annParty, benParty string) {
	y.t.Helper()
	a := y.ok(y.start(ann, "ann~ben", `{"media":["audio","video"],"id":"k1"}`))
	y.ok(y.do(ben, a.Call, "ringing", ""))
	b := y.ok(y.do(ben, a.Call, "accept", `{"media":["audio"]}`))
	y.ok(y.do(ben, a.Call, "signal", sig(a.Party, "offer")))
	y.ok(y.do(ann, a.Call, "signal", sig(b.Party, "answer")))
	return a.Call, a.Party, b.Party
}

// TestDirectCall: a call between two, told to everybody as it goes, and written down.
func TestDirectCall(t *testing.T) {
	y := newYard(t)
	ann, phone, tablet := y.device("ann", "a"), y.device("ben", "phone"), y.device("ben", "tablet")
	a := y.ok(y.start(ann, "ann~ben", `{"media":["audio","video"],"id":"k1"}`))
	if !signaling.ValidCall(a.Call) || len(a.Party) != 8 {
		t.Fatalf("%+v", a)
	}
	if again := y.ok(y.start(ann, "ann~ben", `{"media":["audio","video"],"id":"k1"}`)); again != a {
		t.Fatalf("a retry got %+v, the first %+v", again, a)
	}
	y.refused(y.start(ann, "ann~ben", `{"id":"k2"}`), chat.Conflict)
	y.refused(y.start(y.device("ann", "other"), "ann~ben", `{"id":"k1"}`), chat.Conflict)
	ring := phone.take()
	if len(ring) != 1 || ring[0].m["kind"] != "ring" || ring[0].m["from"] != "ann" || ring[0].m["exp"] != float64(y.now.Load()+120_000) || ring[0].m["relay"] != nil {
		t.Fatalf("%+v", ring)
	}
	y.hears(tablet, "ring")
	y.hears(ann, "new")
	y.ok(y.do(phone, a.Call, "ringing", "{}"))
	y.ok(y.do(tablet, a.Call, "ringing", ""))
	y.hears(ann, "ringing")
	y.hears(phone, "ringing")
	b := y.ok(y.do(phone, a.Call, "accept", `{"media":["audio"]}`))
	if again := y.ok(y.do(phone, a.Call, "accept", `{"media":["audio"]}`)); again != b {
		t.Fatalf("a retry got %+v, the first %+v", again, b)
	}
	y.refused(y.do(tablet, a.Call, "accept", ""), chat.Conflict)
	y.refused(y.do(tablet, a.Call, "ringing", ""), chat.Conflict)
	y.hears(tablet, "ringing", "taken")
	y.hears(phone, "connecting")
	y.hears(ann, "connecting")
	y.ok(y.do(phone, a.Call, "signal", sig(a.Party, "offer")))
	y.ok(y.do(phone, a.Call, "signal", `{"to":"`+a.Party+`","type":"candidates","body":["candidate:1 1 udp 1 10.0.0.1 1 typ host"]}`))
	got := ann.take()
	if len(got) != 2 || got[0].topic != a.Party || got[0].m["from"] != b.Party || got[0].m["user"] != "ben" || got[0].m["seq"] != 1.0 || got[0].m["body"] != description ||
		got[1].m["seq"] != 2.0 || !strings.Contains(got[1].raw, `"body":[{"c":"candidate:1 1 udp 1 10.0.0.1 1 typ host"}]`) {
		t.Fatalf("%+v", got)
	}
	y.ok(y.do(ann, a.Call, "signal", sig(b.Party, "answer")))
	y.hears(phone, "active", "answer")
	y.hears(ann, "active")
	y.passes(65 * time.Second)
	y.refused(y.do(tablet, a.Call, "hangup", ""), chat.NotAuthorized)
	y.ok(y.do(phone, a.Call, "hangup", ""))
	y.ok(y.do(phone, a.Call, "hangup", ""))
	y.ok(y.do(ann, a.Call, "hangup", ""))
	y.settle()
	y.hears(ann, "ended")
	y.hears(phone, "ended")
	y.refused(y.do(tablet, a.Call, "accept", ""), chat.NotFound)
	y.refused(y.start(ann, "ann~ben", `{"id":"k1"}`), chat.NotFound) // late: it is over
	ev := y.event()
	if ev["outcome"] != "answered" || ev["duration"] != uint64(65) || ev["call"] != a.Call || len(ev["with"].([]any)) != 2 || len(ev["media"].([]any)) != 2 {
		t.Fatalf("%+v", ev)
	}
	if y.w.tries != 1 {
		t.Fatalf("appended %d times", y.w.tries)
	}
	y.empty()
	if s := y.calls.Stats(); s.Live != 0 || s.Parties != 0 || s.Unwritten != 0 || s.Started != 1 || s.Ended["answered"] != 1 || s.Signals != 3 {
		t.Fatalf("%+v", s)
	}
	y.ok(y.start(ann, "ann~ben", `{"id":"k3"}`))
}

// TestGlare: both call each other, and are in one call without a ring.
func TestGlare(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	a := y.ok(y.start(ann, "ann~ben", `{"id":"x"}`))
	b := y.ok(y.start(ben, "ann~ben", `{"id":"y"}`))
	if a.Call != b.Call || a.Party == b.Party || b.Party == "" {
		t.Fatalf("%+v %+v", a, b)
	}
	if again := y.ok(y.start(ben, "ann~ben", `{"id":"y"}`)); again != b {
		t.Fatalf("%+v", again)
	}
	y.hears(ann, "new", "connecting")
	y.hears(ben, "ring", "connecting")
}

// TestReturn: who comes while it rings gets the ring; who comes after the end gets nothing; and a party gets its signals again.
func TestReturn(t *testing.T) {
	y := newYard(t)
	ann, phone := y.device("ann", "a"), y.device("ben", "phone")
	a := y.ok(y.start(ann, "ann~ben", "{}"))
	late := y.device("ben", "late")
	y.hears(late, "ring")
	y.ok(y.do(late, a.Call, "decline", `{"device":true}`))
	y.disconnect(late)
	y.connect(late)
	y.hears(late, "new") // how it stands, without a ring
	b := y.ok(y.do(phone, a.Call, "accept", ""))
	y.ok(y.do(phone, a.Call, "signal", sig(a.Party, "offer")))
	y.disconnect(ann)
	phone.take()
	y.ok(y.do(phone, a.Call, "signal", `{"to":"`+a.Party+`","type":"candidates","body":null}`))
	ann.take()
	y.connect(ann)
	y.hears(ann, "connecting", "offer", "candidates")
	y.hears(phone, "connecting")
	y.ok(y.do(ann, a.Call, "resume", `{"party":"`+a.Party+`","seq":1}`))
	y.hears(ann, "connecting", "candidates")
	y.ok(y.do(ann, a.Call, "signal", sig(b.Party, "answer")))
	y.passes(61 * time.Second)
	ann.take()
	y.ok(y.do(ann, a.Call, "resume", ""))
	y.hears(ann, "active") // what was kept is too old
	y.ok(y.do(ann, a.Call, "hangup", ""))
	y.settle()
	last := y.device("ben", "last")
	y.hears(last)
}

// TestMissed: nobody answers; who returns later is not rung, and the log has it.
func TestMissed(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	a := y.ok(y.start(ann, "ann~ben", "{}"))
	y.passes(100 * time.Second)
	y.ok(y.do(ben, a.Call, "ringing", ""))
	y.passes(19 * time.Second)
	y.hears(ann, "new", "ringing")
	y.passes(time.Second) // 120 s after the start, though only 20 s after it rang
	y.hears(ann, "ended")
	y.hears(ben, "ring", "ringing", "missed")
	if ev := y.event(); ev["outcome"] != "missed" || ev["with"] != nil {
		t.Fatalf("%+v", ev)
	}
}

// TestSilent: who is not to be rung is not, and the caller sees a call that nobody answers.
func TestSilent(t *testing.T) {
	y := newYard(t)
	y.w.mute["ben"] = true
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	y.ok(y.start(ann, "ann~ben", "{}"))
	y.passes(121 * time.Second)
	y.hears(ann, "new", "ended")
	y.hears(ben)
	if len(y.w.rang) != 0 {
		t.Fatalf("%v", y.w.rang)
	}
	if ev := y.event(); ev["outcome"] != "missed" {
		t.Fatalf("%+v", ev)
	}
}

// TestSilenceAndWord: signalling that is lost ends a call after 30 s, unless the media is heard.
func TestSilenceAndWord(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	call, _, benParty := y.talk(ann, ben)
	y.disconnect(ben)
	for range 10 {
		y.passes(14 * time.Second)
		y.ok(y.do(ann, call, "resume", `{"hears":["`+benParty+`"]}`))
	}
	y.connect(ben)
	y.ok(y.do(ben, call, "resume", `{"party":"`+benParty+`"}`))
	y.disconnect(ben)
	y.passes(29 * time.Second)
	if s := y.calls.Stats(); s.Live != 1 {
		t.Fatal("it ended early")
	}
	y.passes(time.Second)
	if ev := y.event(); ev["outcome"] != "answered" {
		t.Fatalf("%+v", ev)
	}
	y.connect(ben)
	y.refused(y.do(ben, call, "resume", `{"party":"`+benParty+`"}`), chat.NotFound)
}

// TestHandOver: another device of mine takes my part over; the old one falls silent, and its signals end.
func TestHandOver(t *testing.T) {
	y := newYard(t)
	ann, phone, desk := y.device("ann", "a"), y.device("ben", "phone"), y.device("ben", "desk")
	call, annParty, benParty := y.talk(ann, phone)
	for _, d := range []*device{ann, phone, desk} {
		d.take()
	}
	y.refused(y.do(desk, call, "resume", ""), chat.Conflict)
	y.hears(desk, "active") // it learns how things stand all the same
	b := y.ok(y.do(desk, call, "resume", `{"party":"`+benParty+`"}`))
	if b.Party != benParty {
		t.Fatalf("%+v", b)
	}
	y.hears(phone, "taken")
	y.refused(y.do(phone, call, "signal", sig(annParty, "offer")), chat.Conflict)
	got := ann.take()
	if !strings.Contains(got[0].raw, `"epoch":2`) {
		t.Fatalf("%+v", got)
	}
	y.hears(desk, "active")
	y.ok(y.do(ann, call, "signal", sig(benParty, "offer")))
	if m := desk.take(); len(m) != 1 || m[0].m["seq"] != 2.0 {
		t.Fatalf("the numbers do not go on: %+v", m)
	}
	y.hears(phone)
	y.ok(y.do(desk, call, "resume", `{"fresh":true}`))
	if got := ann.take(); !strings.Contains(got[0].raw, `"epoch":3`) {
		t.Fatalf("%+v", got)
	}
}

// TestWaiting: one call waits, the next finds the line busy.
func TestWaiting(t *testing.T) {
	y := newYard(t)
	ann, ben, cat, dan := y.device("ann", "a"), y.device("ben", "b"), y.device("cat", "c"), y.device("dan", "d")
	y.talk(ann, ben)
	ben.take()
	y.ok(y.start(cat, "ben~cat", "{}"))
	if m := ben.take(); len(m) != 1 || m[0].m["waiting"] != true || m[0].m["kind"] != "ring" {
		t.Fatalf("%+v", m)
	}
	y.ok(y.start(dan, "ben~dan", "{}"))
	y.settle()
	y.hears(ben, "missed")
	y.hears(dan, "ended")
	if ev := y.event(); ev["outcome"] != "busy" {
		t.Fatalf("%+v", ev)
	}
}

// TestGroupCall: members join; with the fifth the call goes through the SFU; each change is in the roster.
func TestGroupCall(t *testing.T) {
	y := newYard(t, func(y *yard) { y.sfu = &sfu{} })
	y.w.members["crew"] = []string{"ann", "ben", "cat", "dan", "eve", "fay"}
	ann := y.device("ann", "1")
	a := y.ok(y.start(ann, "crew", `{"ring":["ben","zoe"]}`))
	if len(y.w.rang) != 1 || y.w.rang[0] != "ben" {
		t.Fatalf("%v", y.w.rang)
	}
	y.refused(y.do(y.device("zoe", "z"), a.Call, "join", ""), chat.NotFound)
	last := a
	for _, u := range []string{"ben", "cat", "dan", "eve"} {
		if strings.Contains(y.w.roster["crew"], `"mode":"sfu"`) {
			t.Fatal("an SFU for a few")
		}
		last = y.ok(y.start(y.device(u, "1"), "crew", "{}"))
		if last.Call != a.Call {
			t.Fatal("another call")
		}
	}
	var roster struct {
		Mode    string
		Version uint64
		Parties []struct{ User, State string }
	}
	if err := json.Unmarshal([]byte(y.w.roster["crew"]), &roster); err != nil || roster.Mode != "sfu" || len(roster.Parties) != 5 || roster.Parties[4].State != "joined" {
		t.Fatalf("%+v %v", roster, err)
	}
	y.ok(y.do(ann, a.Call, "signal", sig("sfu", "offer")))
	ann.take()
	y.calls.FromForwarder(a.Call, a.Party, "answer", "7 8", []byte(description))
	y.calls.FromForwarder(a.Call, "nobodyyy", "answer", "7 8", []byte(description))
	y.settle()
	if m := ann.take(); len(m) != 1 || m[0].m["from"] != "sfu" || m[0].m["type"] != "answer" || m[0].m["re"] != "7 8" || m[0].topic != a.Party {
		t.Fatalf("%+v", m)
	}
	y.calls.Left("crew", "eve")
	y.settle()
	if strings.Contains(y.w.roster["crew"], "eve") {
		t.Fatal(y.w.roster["crew"])
	}
	if got := strings.Join(y.sfu.take(), ", "); got != "offer of ann, gone "+last.Party {
		t.Fatal(got)
	}
	y.ok(y.do(ann, a.Call, "leave", ""))
	y.calls.Left("crew", "")
	y.settle()
	if y.w.roster["crew"] != "" || y.event()["outcome"] != "answered" {
		t.Fatalf("%q %+v", y.w.roster["crew"], y.event())
	}
	y.empty()
}

// TestCrowd: what many hear of many who come is bounded by time, not by the square of them; and in the end all know all.
func TestCrowd(t *testing.T) {
	const n = 60
	y := newYard(t, func(y *yard) { y.sfu = &sfu{} })
	var all []*device
	for i := range n {
		y.w.members["crew"] = append(y.w.members["crew"], fmt.Sprint("u", i))
	}
	for i := range n {
		all = append(all, y.device(fmt.Sprint("u", i), "1"))
		y.ok(y.start(all[i], "crew", "{}"))
	}
	y.passes(time.Second)
	told := 0
	for i, d := range all {
		got := d.take()
		told += len(got)
		last := got[len(got)-1].m
		if len(last["parties"].([]any)) != n || last["party"] == nil {
			t.Fatalf("u%d was told last %v", i, last)
		}
	}
	if told > 10*n {
		t.Errorf("%d messages to %d", told, n)
	}
	if strings.Count(y.w.roster["crew"], `"user"`) != n {
		t.Error(y.w.roster["crew"])
	}
	y.ok(y.do(all[0], y.callIn("crew"), "leave", ""))
	y.hears(all[0], "active") // at once, without a party
	y.hears(all[1])
	y.passes(time.Second)
	y.hears(all[1], "active")
}

func (y *yard) callIn(conv string) string {
	y.t.Helper()
	var roster struct{ Call string }
	if err := json.Unmarshal([]byte(y.w.roster[conv]), &roster); err != nil {
		y.t.Fatal(err)
	}
	return roster.Call
}

// TestStranger: a call of others, and a call that there is not, are the same to a stranger.
func TestStranger(t *testing.T) {
	y := newYard(t)
	ann, ben, eve := y.device("ann", "a"), y.device("ben", "b"), y.device("eve", "e")
	call, annParty, _ := y.talk(ann, ben)
	ann.take()
	ben.take()
	for _, verb := range []string{"ringing", "accept", "decline", "cancel", "hangup", "join", "leave", "resume", "signal"} {
		payload := ""
		if verb == "signal" {
			payload = sig(annParty, "offer")
		}
		got, want := y.do(eve, call, verb, payload), y.do(eve, "nosuchcallaaa", verb, payload)
		if got.Err == nil || got.Err.Error() != want.Err.Error() {
			t.Errorf("%s: %v, of none %v", verb, got.Err, want.Err)
		}
	}
	y.hears(ann)
	y.hears(ben)
	if _, err := y.calls.State(context.Background(), "eve", call); err == nil || y.calls.Takes("eve", call) || !y.calls.Takes("ben", call) {
		t.Error("eve learns of it")
	}
	st, err := y.calls.State(context.Background(), "ben", "")
	if err != nil || !strings.Contains(string(st), `"state":"active"`) {
		t.Errorf("%s %v", st, err)
	}
	y.w.stop["eve ann~eve"] = true
	y.refused(y.start(eve, "ann~eve", "{}"), chat.NotAuthorized)
}
