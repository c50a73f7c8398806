package calls

import (
	"fmt"
	"slices"
	"testing"
)

// TestGroup: four in a mesh; with the fifth the call goes through the SFU, and nobody falls silent meanwhile.
func TestGroup(t *testing.T) {
	s := serve(t)
	names := []string{"ann", "bob", "cy", "di", "ed"}
	var devices []*device
	var voices []*voice
	var all []*Call
	for _, n := range names {
		devices = append(devices, s.device(n, n+"1"))
		voices = append(voices, newVoice(t, n))
	}
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
