package calls

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
)

// people are users with a device and a voice each.
func people(t *testing.T, s *server, names []string) (devices []*device, voices []*voice) {
	t.Helper()
	for _, n := range names {
		devices = append(devices, s.device(n, n+"1"))
		voices = append(voices, newVoice(t, n))
	}
	return devices, voices
}

// TestGroup: four in a mesh; with the fifth the call goes through the SFU, and nobody falls silent meanwhile.
func TestGroup(t *testing.T) {
	s := serve(t)
	names := []string{"ann", "bob", "cy", "di", "ed"}
	devices, voices := people(t, s, names)
	var all []*Call
	conv := devices[0].group("crew", names[1:]...)
	hear := func(n, frames int) {
		for i := range n {
			voices[i].hears(frames, slices.DeleteFunc(slices.Clone(names[:n]), func(who string) bool { return who == names[i] })...)
		}
	}
	all = append(all, devices[0].start(conv, voices[0].local()))
	for i := 1; i < 4; i++ {
		c := devices[i].rings()
		must(t, c.Accept(soon(t), voices[i].local()))
		all = append(all, c)
	}
	hear(4, 5)
	for _, c := range all {
		if c.Status().SFU {
			t.Error("four make a mesh")
		}
	}
	all = append(all, devices[4].start(conv, voices[4].local())) // it joins
	hear(5, 5)
	for _, c := range all {
		until(t, c, "everybody through the SFU", func(s Status) bool { return s.SFU && len(s.Roster) == 5 })
		until(t, c, "no mesh", func(Status) bool {
			peers := make(chan int, 1)
			return c.post(func() { peers <- len(c.peers) }) && <-peers == 1
		})
	}
	hear(5, 20)

	// The SFU ends with its server, and begins anew with the next one.
	s.stop()
	s.start()
	s.proxy.Target(s.Addr("mqtt"))
	hear(5, 20)
	for i, c := range all {
		must(t, c.Hangup(soon(t)))
		want := Left
		if got := over(t, c); got != want {
			t.Errorf("%s: the call was %s", names[i], got)
		}
		for _, other := range all[i+1:] {
			until(t, other, fmt.Sprint(names[i], " gone"), func(s Status) bool { return len(s.Roster) == len(all)-1-i })
		}
	}
}

// twice hears an answer of the SFU once more when there is another offer: who tells an offer again gets two.
type twice struct {
	handler
	mu     sync.Mutex
	says   bool // what was answered
	answer map[string]any
	more   float64 // that were told beyond what came
}

func (w *twice) Told(party string, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var t map[string]any
	_ = json.Unmarshal(payload, &t) // of the server
	tell := func(t map[string]any) {
		b, _ := json.Marshal(t) // it was decoded
		w.handler.Told(party, b)
	}
	if t["kind"] != "signal" {
		tell(t)
		return
	}
	t["seq"] = t["seq"].(float64) + w.more
	if !w.says {
		delete(t, "re")
	}
	tell(t)
	switch {
	case t["from"] == sfuParty && t["type"] == "answer":
		w.answer = t
	case t["from"] == sfuParty && t["type"] == "negotiate" && w.answer != nil: // which is answered with an offer
		w.more++
		again := maps.Clone(w.answer)
		again["seq"] = t["seq"].(float64) + 1
		tell(again)
	}
}

// TestAnswerTwice: an answer that comes once more is not taken for one to the next offer, whose slots would be deaf then; neither if the SFU does not say what it answers.
func TestAnswerTwice(t *testing.T) {
	for _, says := range []bool{true, false} {
		t.Run(fmt.Sprint("says ", says), func(t *testing.T) {
			s := serve(t)
			names := []string{"ann", "bob", "cy", "di", "ed"}
			devices, voices := people(t, s, names)
			w := &twice{handler: handler{devices[0].Manager}, says: says}
			must(t, devices[0].HandleCalls(nil))
			must(t, devices[0].HandleCalls(w))
			conv := devices[0].group("crew", names[1:]...)
			a := devices[0].start(conv, voices[0].local())
			for i := 1; i < len(names); i++ {
				if i < 4 {
					must(t, devices[i].rings().Accept(soon(t), voices[i].local()))
				} else {
					devices[i].start(conv, voices[i].local())
				}
			}
			until(t, a, "everybody through the SFU", func(s Status) bool { return s.SFU && len(s.Roster) == len(names) })
			alone(t, a)
			voices[0].hears(20, names[1:]...)
			if w.mu.Lock(); w.more == 0 {
				t.Error("no answer came twice")
			}
			if re, _ := w.answer["re"].(string); (re != "") != says {
				t.Errorf("the SFU's answer is for %q", re)
			}
			w.mu.Unlock()
		})
	}
}
