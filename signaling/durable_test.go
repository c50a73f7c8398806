package signaling_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/signaling"
	"github.com/petrelchat/petrel/signaling/call"
	"github.com/petrelchat/petrel/storage"
)

// stored is what the disk of a yard holds of a call.
func (y *yard) stored(id string) *call.State {
	y.t.Helper()
	v, ok, err := y.store.Get(storage.CallKey(id))
	if err != nil || !ok {
		return nil
	}
	st := &call.State{}
	if err := storage.Unmarshal(v, st); err != nil {
		y.t.Fatal(err)
	}
	return st
}

// TestPowerLossAtEveryStep: after each acknowledged step of a call the power goes. What comes up is the call as it was acknowledged, with
// everybody away; it goes on, and is written down once.
func TestPowerLossAtEveryStep(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	var a, b signaling.Answer
	steps := []struct {
		name  string
		do    func()
		phase call.Phase
		end   call.Outcome // if ann hangs up after the crash
	}{
		{"start", func() { a = y.ok(y.start(ann, "ann~ben", `{"id":"k"}`)) }, call.New, call.Cancelled},
		{"ringing", func() { y.ok(y.do(ben, a.Call, "ringing", "")) }, call.Ringing, call.Cancelled},
		{"decline on a device", func() { y.ok(y.do(ben, a.Call, "decline", `{"device":true}`)) }, call.Ringing, call.Cancelled},
		{"accept", func() { b = y.ok(y.do(ben, a.Call, "accept", "")) }, call.Connecting, call.Failed},
		{"offer", func() { y.ok(y.do(ben, a.Call, "signal", sig(a.Party, "offer"))) }, call.Connecting, call.Failed},
		{"answer", func() { y.ok(y.do(ann, a.Call, "signal", sig(b.Party, "answer"))) }, call.Active, call.Answered},
		{"hold", func() {
			y.ok(y.do(ann, a.Call, "signal", `{"to":"`+b.Party+`","type":"negotiate","body":{"hold":true}}`))
		}, call.Active, call.Answered},
		{"went", func() { y.disconnect(ben) }, call.Active, call.Answered},
		{"came", func() { y.connect(ben) }, call.Active, call.Answered},
		{"hangup", func() { y.ok(y.do(ann, a.Call, "hangup", "")) }, call.Ended, call.Answered},
	}
	for _, step := range steps {
		if step.phase == call.Ended {
			y.w.mu.Lock()
			y.w.refuse = storage.ErrClosed // the power goes before the event is in the log
			y.w.mu.Unlock()
		}
		step.do()
		t.Run(step.name, func(t *testing.T) {
			want := y.stored(a.Call)
			if want == nil || want.Phase != step.phase {
				t.Fatalf("on disk %+v", want)
			}
			c := y.crashed(t)
			c.settle()
			if step.phase != call.Ended {
				c.goesOn(want, a, step.end)
			}
			c.settle()
			if ev := c.event(); ev["outcome"] != string(step.end) || ev["call"] != a.Call || c.w.tries != 1 {
				t.Fatalf("%+v after %d attempts", ev, c.w.tries)
			}
			c.empty()
		})
	}
}

// goesOn checks a call after a crash, and has ann hang up.
func (y *yard) goesOn(want *call.State, a signaling.Answer, end call.Outcome) {
	y.t.Helper()
	got := y.stored(a.Call)
	if got.Version != want.Version+1 || got.Nobody != y.now.Load() {
		y.t.Fatalf("taken up as %+v", got)
	}
	for i := range got.Parties {
		if got.Parties[i].Away != y.now.Load() {
			y.t.Fatalf("%+v is there", got.Parties[i])
		}
		got.Parties[i].Away, want.Parties[i].Away = 0, 0
	}
	got.Version, got.Nobody, got.Accepted, want.Nobody, want.Accepted, want.Back = want.Version, 0, 0, 0, 0, 0
	if !reflect.DeepEqual(got, want) {
		y.t.Fatalf("on disk before %+v\nnow %+v", want, got)
	}
	ben := y.device("ben", "b")
	ann := y.device("ann", "a")
	heard := ben.kinds()
	switch {
	case want.Phase == call.Active && (len(heard) < 2 || heard[0] != "reconnecting"):
		y.t.Fatalf("ben was told %v", heard)
	case want.RingOf("ben") != nil && len(want.RingOf("ben").Deaf) == 0 && heard[0] != "ring":
		y.t.Fatalf("ben was told %v", heard)
	}
	if m := ann.take(); len(m) == 0 || m[0].m["party"] != a.Party {
		y.t.Fatalf("ann was told %+v", m)
	}
	y.ok(y.do(ann, a.Call, "hangup", ""))
}

// held is a store whose commits are durable only when the test says so.
type held struct {
	storage.Store
	mu   sync.Mutex
	gate chan struct{} // nil: open
}

func (h *held) Commit(b *storage.Batch) (storage.Pending, error) {
	p, err := h.Store.Commit(b)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return heldPending{p, h.gate}, nil
}

type heldPending struct {
	storage.Pending
	gate chan struct{}
}

func (p heldPending) Wait() error {
	if p.gate != nil {
		<-p.gate
	}
	return p.Pending.Wait()
}

// TestNothingToldBeforeDurable: while the disk is slow nobody hears of anything, not even who asked, and then in order.
func TestNothingToldBeforeDurable(t *testing.T) {
	var h *held
	y := newYard(t, func(y *yard) {
		y.wrap = func(s storage.Store) storage.Store { h = &held{Store: s}; return h }
	})
	ann, ben, ben2 := y.device("ann", "a"), y.device("ben", "b"), y.device("ben", "b2")
	gate := make(chan struct{})
	h.mu.Lock()
	h.gate = gate
	h.mu.Unlock()
	var answers atomic.Int32
	count := func(signaling.Answer) { answers.Add(1) }
	var id string
	y.calls.Start(ann, "ann~ben", signaling.Packet{}, []byte(`{"id":"k"}`), func(a signaling.Answer) { id = a.Call; count(a) })
	y.calls.Start(ann, "ann~ben", signaling.Packet{}, []byte(`{"id":"k"}`), count)
	err := y.store.Scan(storage.In(storage.SpaceCall), nil, func(k storage.Key, _ []byte) bool {
		id, _, _ = storage.TakeStr(k[1:])
		return true
	})
	if err != nil || id == "" {
		t.Fatal(err)
	}
	y.calls.Do(ben, id, "accept", nil, count)
	y.calls.Do(ben2, id, "accept", nil, func(a signaling.Answer) {
		if a.Err == nil {
			t.Error("two have it")
		}
		count(a)
	})
	if n := answers.Load(); n != 0 || y.calls.Takes("ben", id) {
		t.Fatalf("%d answers before the sync", n)
	}
	y.hears(ann)
	y.hears(ben)
	h.mu.Lock()
	h.gate = nil
	h.mu.Unlock()
	close(gate)
	y.settle()
	if n := answers.Load(); n != 4 {
		t.Fatalf("%d answers", n)
	}
	y.hears(ann, "new", "connecting")
	y.hears(ben, "ring", "connecting")
	y.hears(ben2, "ring", "taken")
}

// full is a store whose disk is full at times; worse takes not even what frees space.
type full struct {
	storage.Store
	full, worse atomic.Bool
}

func (f *full) Commit(b *storage.Batch) (storage.Pending, error) {
	if f.worse.Load() || f.full.Load() && !b.Vital {
		return nil, fmt.Errorf("no room: %w", storage.ErrFull)
	}
	return f.Store.Commit(b)
}

// TestFullDisk: a full disk refuses what is new and changes nothing; calls can end all the same, and what happened meanwhile is done later.
func TestFullDisk(t *testing.T) {
	var f *full
	y := newYard(t, func(y *yard) {
		y.wrap = func(s storage.Store) storage.Store { f = &full{Store: s}; return f }
	})
	ann, ben := y.device("ann", "a"), y.device("ben", "b")
	no := func(a signaling.Answer) {
		t.Helper()
		if a.Err == nil || !strings.Contains(a.Err.Error(), "full") {
			t.Fatalf("%+v", a)
		}
	}
	f.full.Store(true)
	no(y.start(ann, "ann~ben", `{"id":"k"}`))
	if s := y.calls.Stats(); s.Live != 0 || s.Started != 0 || y.calls.Takes("ann", "") {
		t.Fatalf("%+v", s)
	}
	f.full.Store(false)
	id, annParty, _ := y.talk(ann, ben)
	ann.take()
	ben.take()
	before, err := json.Marshal(y.stored(id))
	if err != nil {
		t.Fatal(err)
	}
	f.full.Store(true)
	f.worse.Store(true)
	no(y.do(ben, id, "signal", sig(annParty, "offer")))
	no(y.do(ben, id, "hangup", ""))
	y.w.mu.Lock()
	y.w.here["ben"] = nil
	y.w.mu.Unlock()
	y.calls.Went(ben)
	y.calls.Tick()
	if after, err := json.Marshal(y.stored(id)); err != nil || string(after) != string(before) {
		t.Fatalf("%s, before %s", after, before)
	}
	y.hears(ann)
	y.hears(ben)
	f.worse.Store(false)
	y.passes(2 * time.Second)
	y.hears(ann, "reconnecting")
	y.passes(29 * time.Second)
	y.passes(2 * time.Second)
	y.hears(ann, "ended")
	if ev := y.event(); ev["outcome"] != "answered" {
		t.Fatalf("%+v", ev)
	}
	y.empty()
}

// TestLogThatIsNotReady: the event of a call is tried until the log takes it.
func TestLogThatIsNotReady(t *testing.T) {
	y := newYard(t)
	y.w.refuse = chat.Refuse(chat.Unavailable, "not now")
	ann := y.device("ann", "a")
	a := y.ok(y.start(ann, "ann~ben", "{}"))
	y.ok(y.do(ann, a.Call, "cancel", ""))
	y.settle()
	if y.stored(a.Call) == nil || y.calls.Stats().Unwritten != 1 {
		t.Fatal("it is forgotten")
	}
	y.w.mu.Lock()
	y.w.refuse = nil
	y.w.mu.Unlock()
	y.passes(time.Second)
	if ev := y.event(); ev["outcome"] != "cancelled" {
		t.Fatalf("%+v", ev)
	}
	y.empty()
}

// TestManyAtOnce: devices that accept at the same moment, and users who call each other at the same moment.
func TestManyAtOnce(t *testing.T) {
	y := newYard(t)
	ann, ben := y.device("ann", "a"), []*device{}
	for i := range 8 {
		ben = append(ben, y.device("ben", fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, winners := map[string]bool{}, 0
	for _, d := range []*device{ann, ben[0]} {
		wg.Add(1)
		go y.calls.Start(d, "ann~ben", signaling.Packet{}, []byte("{}"), func(a signaling.Answer) {
			mu.Lock()
			ids[a.Call] = true
			mu.Unlock()
			wg.Done()
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Fatalf("%v", ids)
	}
	y.settle()
	for id := range ids {
		y.ok(y.do(ann, id, "hangup", ""))
	}
	a := y.ok(y.start(ann, "ann~ben", "{}"))
	for _, d := range ben {
		wg.Add(1)
		go y.calls.Do(d, a.Call, "accept", nil, func(a signaling.Answer) {
			mu.Lock()
			if a.Err == nil {
				winners++
			}
			mu.Unlock()
			wg.Done()
		})
	}
	wg.Wait()
	if winners != 1 {
		t.Fatalf("%d have it", winners)
	}
	if _, err := y.calls.State(context.Background(), "ann", a.Call); err != nil {
		t.Fatal(err)
	}
}

// FuzzDo: whatever devices publish, each publish is answered once, and a call of others stays as it is.
func FuzzDo(f *testing.F) {
	f.Add("start", []byte(`{"media":["audio"],"id":"x","ring":["ben"]}`))
	f.Add("signal", []byte(`{"to":"aaaaaaaa","type":"candidates","body":[{"c":"candidate:1 1 udp 1 10.0.0.1 1 typ host","m":0,"mid":"0"}]}`))
	f.Add("signal", []byte(`{"to":"aaaaaaaa","type":"offer","body":{"z":"S0wqVkgsLlbIzSwuVkjOSMzJSc1LTwUA"}}`))
	f.Add("signal", []byte(`{"type":"negotiate","body":{"hold":true,"media":["video"],"want":{"max":3}}}`))
	f.Add("resume", []byte(`{"party":"aaaaaaaa","seq":3,"hears":["bbbbbbbb"],"fresh":true}`))
	f.Add("decline", []byte(`{"device":true}`))
	y := newYard(f)
	ann, ben, eve := y.device("ann", "a"), y.device("ben", "b"), y.device("eve", "e")
	id, _, _ := y.talk(ann, ben)
	f.Fuzz(func(t *testing.T, verb string, payload []byte) {
		y.now.Add(61_000) // a minute of its own for the rates
		before := y.calls.Stats()
		var got atomic.Int32
		answered := func(signaling.Answer) { got.Add(1) }
		y.calls.Start(eve, "ann~eve", signaling.Packet{ID: 1, Dup: true}, payload, answered)
		y.calls.Do(eve, id, signaling.Verb(verb), payload, answered)
		if err := y.pipe.Barrier(); err != nil {
			t.Fatal(err)
		}
		if n := got.Load(); n != 2 {
			t.Fatalf("%d answers of 2", n)
		}
		y.calls.Do(ann, id, "resume", []byte("{}"), answered)
		st, err := y.calls.State(context.Background(), "ann", id)
		if err != nil || !strings.Contains(string(st), id) || before.Live == 0 {
			t.Fatalf("the call of ann and ben is gone: %v", err)
		}
	})
}
