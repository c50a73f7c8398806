package calls

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"
)

// wishes sets when media of the device's user go through a relay.
func (d *device) wishes(relay string) {
	d.t.Helper()
	must(d.t, d.Call(soon(d.t), "user.update", map[string]any{"relay": relay}, nil))
}

// candidates are the types of all candidates that a call's connections know, of this side or the other one: as told, and as found by
// being heard from.
func candidates(t *testing.T, c *Call, kind webrtc.StatsType) (types []string) {
	t.Helper()
	must(t, c.do(soon(t), func(done func(error)) {
		for _, p := range c.peers {
			for _, s := range p.pc.GetStats() {
				if s, ok := s.(webrtc.ICECandidateStats); ok && s.Type == kind {
					types = append(types, s.CandidateType.String())
				}
			}
			d := p.pc.RemoteDescription()
			if kind == webrtc.StatsTypeLocalCandidate {
				d = p.pc.LocalDescription()
			}
			for line := range strings.Lines(d.SDP) {
				if rest, ok := strings.CutPrefix(line, "a=candidate:"); ok {
					types = append(types, strings.Fields(rest)[7])
				}
			}
		}
		done(nil)
	}))
	slices.Sort(types)
	return slices.Compact(types)
}

// policy is whether a call makes connections by way of relays only.
func policy(t *testing.T, c *Call) (ready, relay bool) {
	t.Helper()
	must(t, c.do(soon(t), func(done func(error)) {
		ready, relay = c.ice.ready, c.ice.conf.ICETransportPolicy == webrtc.ICETransportPolicyRelay
		done(nil)
	}))
	return ready, relay
}

// TestWhoWantsARelayIsReachedByWayOfIt: the other side gets no address of theirs but the relay's, whoever calls, and media flow both ways.
func TestWhoWantsARelayIsReachedByWayOfIt(t *testing.T) {
	s := serve(t)
	ann, ben := s.device("ann", "phone"), s.device("ben", "desk")
	ann.wishes("always")
	va, vb := newVoice(t, "ann"), newVoice(t, "ben")
	for _, calls := range []struct {
		from, to *device
		l, r     *voice
	}{{ann, ben, va, vb}, {ben, ann, vb, va}} {
		out := calls.from.start(calls.from.Direct(calls.to.Me()), calls.l.local())
		in := calls.to.rings()
		must(t, in.Accept(soon(t), calls.r.local()))
		va.hears(5, "ben")
		vb.hears(5, "ann")
		hers, his := out, in
		if calls.from == ben {
			hers, his = in, out
		}
		if got := candidates(t, his, webrtc.StatsTypeRemoteCandidate); !slices.Equal(got, []string{"relay"}) {
			t.Errorf("ben knows of ann %v", got)
		}
		if got := candidates(t, hers, webrtc.StatsTypeLocalCandidate); !slices.Equal(got, []string{"relay"}) {
			t.Errorf("ann's device gathers %v", got)
		}
		if got := candidates(t, hers, webrtc.StatsTypeRemoteCandidate); !slices.Contains(got, "host") {
			t.Errorf("ann knows of ben %v, who has no such wish", got)
		}
		must(t, out.Hangup(soon(t)))
		over(t, in)
	}
}

// TestRelayUntilAccepted: a device that rings prepares for a relay alone; once its user has accepted it takes what is best.
func TestRelayUntilAccepted(t *testing.T) {
	s := serve(t)
	ann, ben := s.device("ann", "phone"), s.device("ben", "desk")
	ben.wishes("until-accepted")
	va, vb := newVoice(t, "ann"), newVoice(t, "ben")
	out := ann.start(ann.Direct("ben"), va.local())
	in := ben.rings()
	ctx := soon(t)
	for ready := false; !ready; ready, _ = policy(t, in) { // nobody is told of it
		must(t, ctx.Err())
		runtime.Gosched()
	}
	if _, relay := policy(t, in); !relay {
		t.Error("ben's device would gather addresses while it rings")
	}
	must(t, in.Accept(soon(t), vb.local()))
	va.hears(5, "ben")
	vb.hears(5, "ann")
	if _, relay := policy(t, in); relay {
		t.Error("ben has accepted, and is still relayed")
	}
	if got := candidates(t, out, webrtc.StatsTypeRemoteCandidate); !slices.Contains(got, "host") {
		t.Errorf("ann knows of ben %v", got)
	}
	must(t, out.Hangup(soon(t)))
	over(t, in)
}
