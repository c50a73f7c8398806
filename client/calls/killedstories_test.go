package calls

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// mutual are the flows between two who talk.
func mutual(a, b *voice) []*flow { return []*flow{{from: a.name, to: b}, {from: b.name, to: a}} }

// active waits until all of a call know that it is, and who takes part.
func active(t testing.TB, users []string, all ...*Call) {
	t.Helper()
	for _, c := range all {
		until(t, c, "active", func(s Status) bool {
			var who []string
			for _, m := range s.Roster {
				if !m.Reconnecting {
					who = append(who, m.User)
				}
			}
			slices.Sort(who)
			return s.State == StateActive && slices.Equal(who, users)
		})
	}
}

// direct is a call of two, on three devices, in which everything happens.
func direct(k *killer) *story {
	t := k.t
	ann, bob, bob2 := k.device("ann/a"), k.device("bob/b"), k.device("bob/b2")
	va, vb, vc := newVoice(t, "ann"), newVoice(t, "bob"), newVoice(t, "bob2")
	pics := newReel(t)
	s := &story{k: k, conv: ann.Direct("bob"), outcome: Answered, with: []string{"ann", "bob"}}
	both := mutual(va, vb)
	var a, b, c *Call
	s.steps = []step{
		{"start", func() {
			a = ann.start(s.conv, va.local())
			s.id = a.ID()
			b, c = bob.rings(), bob2.rings()
			until(t, a, "ringing", func(s Status) bool { return s.State == StateRinging })
		}, around("ann/a start", "bob/ ringing"), nil},
		{"silence", func() {
			must(t, c.Silence(soon(t)))
			over(t, c)
			<-c.Done()
		}, around("bob/b2 decline!"), nil},
		{"accept", func() {
			must(t, b.Accept(soon(t), Local{Tracks: vb.local().Tracks, OnTrack: pics.watch(vb)}))

			va.hears(5, "bob")
			vb.hears(5, "ann")
			active(t, s.with, a, b)
			s.began = time.Now()
			allStand(t, a, b)
		}, around("bob/b accept", "bob/b offer", "ann/a answer"), nil},
		{"hold", func() {
			must(t, a.Hold(soon(t), true))
			for _, c := range []*Call{a, b} {
				until(t, c, "ann's hold", func(s Status) bool {
					return slices.ContainsFunc(s.Roster, func(m Member) bool { return m.User == "ann" && m.Hold })
				})
			}
		}, around("ann/a negotiate"), nil},
		{"go on", func() {
			must(t, a.Hold(soon(t), false))
			va.hears(5, "bob")
			vb.hears(5, "ann")
		}, around("ann/a negotiate"), nil},
		{"video", func() {
			must(t, a.SetTracks(soon(t), nil, va.track, pics.track))
			pics.sees(t)
			until(t, b, "video", func(s Status) bool { return slices.Contains(s.Media, "video") })
			allStand(t, a, b)
		}, around("ann/a negotiate", "ann/a offer", "bob/b answer"), both},
		{"hand-over", func() {
			var err error
			c, err = bob2.TakeOver(soon(t), s.id, Local{Tracks: vc.local().Tracks, OnTrack: pics.watch(vc)})
			must(t, err)
			if got := over(t, b); got != Taken {
				t.Errorf("the call was %s", got)
			}
			va.hears(5, "bob2")
			vc.hears(5, "ann")
			active(t, s.with, a, c)
			allStand(t, a, c)
		}, around("bob/b2 resume", "bob/b2 offer", "ann/a answer"), nil},
		{"another network", func() {
			ann.Manager.NetworkChanged()
			va.hears(5, "bob2")
			vc.hears(5, "ann")
			allStand(t, a, c)
		}, around("ann/a offer", "bob/b2 answer"), nil},
		{"resume", func() {
			k.cut("bob/b2")
			until(t, c, "back", func(s Status) bool { return s.Online })
			active(t, s.with, a, c)
		}, around("bob/b2 resume!"), mutual(va, vc)}, // the server may not have noticed that bob was away
		{"hangup", func() {
			s.ended = time.Now()
			must(t, a.Hangup(soon(t)))
			if got := over(t, c); got != Answered {
				t.Errorf("the call was %s", got)
			}
			over(t, a)
			<-a.Done()
			<-c.Done()
		}, around("ann/a hangup"), nil},
	}
	return s
}

// declined is a call that somebody declines on one of two devices that ring.
func declined(k *killer) *story {
	t := k.t
	ann, bob, bob2 := k.device("ann/a"), k.device("bob/b"), k.device("bob/b2")
	s := &story{k: k, conv: ann.Direct("bob"), outcome: Declined}
	var a, b, c *Call
	s.steps = []step{
		{"start", func() {
			a = ann.start(s.conv, Local{})
			s.id = a.ID()
			b, c = bob.rings(), bob2.rings()
		}, nil, nil},
		{"decline", func() {
			must(t, b.Decline(soon(t), ""))
			for _, x := range []*Call{a, b, c} {
				if got := over(t, x); got != Declined && (x != c || got != Taken) {
					t.Errorf("the call was %s", got)
				}
				<-x.Done()
			}
		}, around("bob/b decline"), nil},
	}
	return s
}

// cancelled is a call that is taken back while it rings.
func cancelled(k *killer) *story {
	t := k.t
	ann, bob := k.device("ann/a"), k.device("bob/b")
	s := &story{k: k, conv: ann.Direct("bob"), outcome: Cancelled}
	var a, b *Call
	s.steps = []step{
		{"start", func() {
			a = ann.start(s.conv, Local{})
			s.id = a.ID()
			b = bob.rings()
		}, nil, nil},
		{"cancel", func() {
			must(t, a.Cancel(soon(t)))
			if got := over(t, b); got != Missed {
				t.Errorf("the call was %s", got)
			}
			<-a.Done()
			<-b.Done()
		}, around("ann/a cancel"), nil},
	}
	return s
}

// glare is two who call each other at the same moment.
func glare(k *killer) *story {
	t := k.t
	ann, bob := k.device("ann/a"), k.device("bob/b")
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	s := &story{k: k, conv: ann.Direct("bob"), outcome: Answered, with: []string{"ann", "bob"}}
	var a, b *Call
	s.steps = []step{
		{"start", func() {
			var err error
			done := make(chan struct{})
			go func() {
				defer close(done)
				b, err = bob.Start(soon(t), s.conv, vb.local())
			}()
			a = ann.start(s.conv, va.local())
			<-done
			must(t, err)
			if s.id = a.ID(); b.ID() != s.id {
				t.Errorf("there are two calls: %s and %s", a.ID(), b.ID())
			}
			va.hears(5, "bob")
			vb.hears(5, "ann")
			active(t, s.with, a, b)
			s.began = time.Now()
			for _, d := range []*device{ann, bob} { // it may have rung before it was answered
				select {
				case c := <-d.Incoming():
					if c.ID() != s.id {
						t.Errorf("%s rings", c.ID())
					}
				default:
				}
			}
		}, around("ann/a start", "bob/b start"), nil},
		{"hangup", func() {
			s.ended = time.Now()
			must(t, b.Hangup(soon(t)))
			over(t, a)
			<-a.Done()
			<-b.Done()
		}, around("bob/b hangup"), nil},
	}
	return s
}

// allStand waits until nothing is left to negotiate, nor to say.
func allStand(t testing.TB, all ...*Call) {
	t.Helper()
	for _, c := range all {
		until(t, c, "connections that stand", func(Status) bool {
			ok := make(chan bool, 1)
			return c.post(func() {
				good := len(c.pending) == 0
				for _, p := range c.peers {
					good = good && p.up && !p.again && p.unsaid == 0 && p.pc.SignalingState() == webrtc.SignalingStateStable
				}
				ok <- good
			}) && <-ok
		})
	}
}

// group is a call of four, and then of five.
func group(k *killer) *story {
	t := k.t
	names := []string{"ann", "bob", "cy", "di", "ed"}
	devices, voices, calls := make(map[string]*device), make(map[string]*voice), make(map[string]*Call)
	for _, n := range names {
		devices[n], voices[n] = k.device(n+"/1"), newVoice(t, n)
	}
	s := &story{k: k, conv: devices["ann"].group("crew", names[1:]...), outcome: Answered, with: names}
	hear := func(who ...string) {
		t.Helper()
		all := make([]*Call, 0, len(who))
		for _, n := range who {
			voices[n].hears(5, slices.DeleteFunc(slices.Clone(who), func(o string) bool { return o == n })...)
			all = append(all, calls[n])
		}
		active(t, who, all...)
	}
	joins := func(name, what string, there ...string) step {
		now := append(slices.Clone(there), name)
		var flows []*flow
		for i, a := range there {
			for _, b := range there[i+1:] {
				if len(there) < 4 {
					flows = append(flows, mutual(voices[a], voices[b])...)
				}
			}
		}
		st := step{name + " joins", func() {
			if what == "accept" {
				calls[name] = devices[name].rings()
				must(t, calls[name].Accept(soon(t), voices[name].local()))
			} else {
				calls[name] = devices[name].start(s.conv, voices[name].local())
			}
			if name == "bob" {
				active(t, now, calls[name])
				s.began = time.Now()
			}
			hear(now...)
		}, around(name+"/1 "+what, name+"/1 offer!"), flows}
		if len(there) < 4 {
			st.moments = append(st.moments, around(name+"/1 offer", "ann/1 answer")...)
		}
		return st
	}
	leaves := func(name string, left ...string) step {
		return step{name + " leaves", func() {
			must(t, calls[name].Hangup(soon(t)))
			over(t, calls[name])
			<-calls[name].Done()
			if len(left) == 0 {
				return
			}
			all := make([]*Call, 0, len(left))
			for _, n := range left {
				all = append(all, calls[n])
			}
			active(t, left, all...)
		}, around(name + "/1 hangup"), nil}
	}
	last := leaves("ann")
	last.moments = around("ann/1 hangup!")
	first := step{"start", func() {
		calls["ann"] = devices["ann"].start(s.conv, voices["ann"].local())
		s.id = calls["ann"].ID()
		devices["ed"].rings()
	}, around("ann/1 start", "bob/1 ringing"), nil}
	rejoins := joins("di", "start", "ann", "bob", "cy")
	rejoins.name = "di joins again"
	s.steps = []step{
		first,
		joins("bob", "accept", "ann"), joins("cy", "accept", "ann", "bob"), joins("di", "accept", "ann", "bob", "cy"),
		{"cy comes back", func() {
			k.cut("cy/1")
			until(t, calls["cy"], "back", func(s Status) bool { return s.Online })
			hear("ann", "bob", "cy", "di")
		}, around("cy/1 resume!"), rejoins.flows}, // the server may not have noticed that cy was away
		leaves("di", "ann", "bob", "cy"),
		rejoins,
		joins("ed", "start", "ann", "bob", "cy", "di"),
		leaves("bob", "ann", "cy", "di", "ed"),
		{"the others leave", func() {
			s.ended = time.Now()
			for _, n := range []string{"cy", "di", "ed"} {
				must(t, calls[n].Hangup(soon(t)))
				<-calls[n].Done()
			}
		}, around("di/1 hangup"), nil},
		last,
	}
	return s
}
