package calls

import (
	"sync/atomic"
	"testing"

	"github.com/petrelchat/petrel/client"
)

// most is how many bytes of signalling each side of a direct call may cost, from the start to the end.
const most = 6 << 10

// counted counts what a call costs in payloads: those that are told, and those that are said.
type counted struct {
	handler
	n *atomic.Int64
}

func (c counted) Told(party string, payload []byte) {
	c.n.Add(int64(len(payload)))
	c.handler.Told(party, payload)
}

// count counts the payloads about calls that a device receives and publishes from now on.
func (d *device) count() *atomic.Int64 {
	d.t.Helper()
	n := new(atomic.Int64)
	must(d.t, d.HandleCalls(nil))
	must(d.t, d.HandleCalls(counted{handler{d.Manager}, n}))
	d.Manager.said = func(payload []byte) { n.Add(int64(len(payload))) }
	return n
}

var _ client.CallHandler = counted{}

// cost makes a direct call with audio and video, ends it, and returns the bytes of each side.
func cost(t testing.TB) (caller, callee int64) {
	s := serve(t)
	ann, bob := s.device("ann", "a"), s.device("bob", "b")
	na, nb := ann.count(), bob.count()
	va, vb := newVoice(t, "ann"), newVoice(t, "bob")
	la, lb := va.local(), vb.local()
	la.Tracks, lb.Tracks = append(la.Tracks, videoTrack(t, "ann")), append(lb.Tracks, videoTrack(t, "bob"))
	a := ann.start(ann.Direct("bob"), la)
	b := bob.rings()
	must(t, b.Accept(soon(t), lb))
	va.hears(50, "bob")
	vb.hears(50, "ann")
	must(t, a.Hangup(soon(t)))
	over(t, b)
	return na.Load(), nb.Load()
}

func TestBytes(t *testing.T) {
	a, b := cost(t)
	t.Logf("the caller's signalling takes %d bytes, the callee's %d", a, b)
	if a > most || b > most {
		t.Errorf("the signalling of a call takes %d and %d bytes, more than %d", a, b, most)
	}
	if a < 1000 || b < 1000 {
		t.Errorf("%d and %d bytes: not all of it was counted", a, b)
	}
}
