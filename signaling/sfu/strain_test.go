package sfu

import (
	"fmt"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// gallery is a party with a slot for each of some cameras that send three layers, without any network.
func gallery(cameras int, now time.Time) *party {
	r := &room{s: &Server{opt: Options{}.withDefaults()}}
	p := &party{room: r, id: "bob"}
	p.out.bwe = newEstimator()
	r.order = append(r.order, p)
	for i := range cameras {
		q := &party{room: r, id: fmt.Sprint("camera", i)}
		q.out.bwe = newEstimator()
		t := newTrack(q, "0", video, []string{"q", "h", "f"})
		for j, l := range t.layers {
			l.rate.Store([]int64{145_000, 265_000, 900_000}[j])
			l.last.Store(now.UnixNano())
		}
		q.tracks = []*track{t}
		r.order = append(r.order, q)
		p.slots = append(p.slots, newSlot(p, fmt.Sprint(i), video, uint32(i+1)))
	}
	return p
}

// showing counts the slots in which there is video, or will be from its next key frame on.
func (p *party) showing() (n int) {
	for _, o := range p.slots {
		if o.kind == video && (o.cur.Load() != nil || o.next.Load() != nil) {
			n++
		}
	}
	return n
}

// pass lets some time go by for a party, in which layers flow.
func pass(p *party, now *time.Time, d time.Duration) {
	for end := now.Add(d); now.Before(end); {
		*now = now.Add(rateBeats * beat)
		for _, q := range p.room.order {
			for _, t := range q.tracks {
				for _, l := range t.layers {
					l.last.Store(now.UnixNano())
				}
			}
		}
		p.pick(*now)
	}
}

// An estimate follows what is sent. After a moment in which a machine was busy it is what one camera takes, and with one camera
// it stays there: the second one was dark for minutes.
func TestNoCameraStaysDarkForALowEstimate(t *testing.T) {
	now := time.Now()
	p := gallery(4, now)
	p.out.bwe.rate = 87_000
	p.fill(video, now)
	p.pick(now)
	if n := p.showing(); n != 1 {
		t.Fatalf("%d cameras are shown at once, and there is room for one", n)
	}
	pass(p, &now, 4*dareEvery)
	if n := p.showing(); n != 4 {
		t.Fatalf("%d of 4 cameras are shown, and all that was sent arrives", n)
	}
	for _, o := range p.slots {
		if l := o.next.Load(); l.rid != "q" {
			t.Errorf("layer %s is shown beyond the estimate", l.rid)
		}
	}
	// Now it doesn't arrive: what there is no room for is taken back, and not tried again at once.
	p.out.bwe.lost(0.3)
	pass(p, &now, rateBeats*beat)
	if n := p.showing(); n != 1 {
		t.Fatalf("%d cameras are shown over a path that loses a third", n)
	}
	p.out.bwe.lost(0)
	pass(p, &now, climbFirst-2*rateBeats*beat)
	if n := p.showing(); n != 1 {
		t.Fatalf("%d cameras are shown before %v have passed", n, climbFirst)
	}
	pass(p, &now, 5*dareEvery)
	if n := p.showing(); n != 4 {
		t.Fatalf("%d of 4 cameras are shown again", n)
	}
}

// An estimate that fell while little was sent does not grow beyond half as much again: a receiver saw the smallest layer for good.
func TestNobodyStaysAtASmallLayerForALowEstimate(t *testing.T) {
	now := time.Now()
	p := gallery(2, now)
	p.out.bwe.rate = 500_000 // two smallest layers, and nothing more
	p.fill(video, now)
	layers := func() (rids string) {
		for _, o := range p.slots {
			rids += o.next.Load().rid
		}
		return rids
	}
	is := func(after time.Duration, want string) {
		t.Helper()
		pass(p, &now, after)
		if got := layers(); got != want {
			t.Fatalf("layers %s are shown, want %s", got, want)
		}
	}
	is(rateBeats*beat, "hq") // what the estimate has room for
	is(climbFirst-2*rateBeats*beat, "hq")
	is(3*rateBeats*beat, "fq")
	is(climbFirst, "fh")
	is(climbFirst, "ff")
	is(climbMost, "ff")
	p.out.bwe.lost(0.3) // now it does not arrive
	p.out.bwe.rate = 500_000
	is(rateBeats*beat, "hq")
	p.out.bwe.lost(0)
	is(climbFirst-2*rateBeats*beat, "hq")
	is(3*rateBeats*beat, "fq")
	p.out.bwe.lost(0.3)
	p.out.bwe.rate = 500_000
	is(rateBeats*beat, "hq")
	p.out.bwe.lost(0)
	is(2*climbFirst-2*rateBeats*beat, "hq") // later each time
	is(3*rateBeats*beat, "fq")
}

func TestALimitIsKeptWhateverArrives(t *testing.T) {
	now := time.Now()
	p := gallery(4, now)
	p.limit = 300_000
	p.fill(video, now)
	pass(p, &now, 10*dareEvery)
	if n := p.showing(); n != 2 {
		t.Fatalf("%d cameras are shown, and the limit has room for two", n)
	}
	pass(p, &now, 2*climbMost)
	for _, o := range p.slots {
		if l := o.next.Load(); l != nil && l.rid != "q" {
			t.Errorf("layer %s is shown, and the limit has no room for it", l.rid)
		}
	}
}

// A camera that was never measured, or pauses, does not cost nothing: a limit holds before and meanwhile too.
func TestALimitIsKeptWhateverIsMeasured(t *testing.T) {
	now := time.Now()
	p := gallery(4, now)
	cameras := p.room.order[1:]
	p.limit = 1
	for _, q := range cameras {
		for _, l := range q.tracks[0].layers {
			l.rate.Store(0)
		}
	}
	p.fill(video, now)
	p.pick(now)
	if n := p.showing(); n != 1 {
		t.Fatalf("%d cameras are shown before any is measured, and the limit has room for none but the first", n)
	}
	p.limit = 300_000
	for _, q := range cameras {
		for _, l := range q.tracks[0].layers {
			l.bytes.Store(145_000 / 8 / 2)
		}
		q.measure()
	}
	p.pick(now)
	if n := p.showing(); n != 2 {
		t.Fatalf("%d cameras are shown, and the limit has room for two", n)
	}
	for _, q := range cameras {
		q.measure() // and nothing has come
	}
	pass(p, &now, 10*dareEvery)
	if n := p.showing(); n != 2 {
		t.Fatalf("%d cameras are shown while all pause, and the limit has room for two", n)
	}
	p.limit = 0
	p.pick(now)
	if n := p.showing(); n != 4 {
		t.Fatalf("%d of 4 cameras are shown without a limit", n)
	}
}

func TestALayerThatEndedIsNotAimedAt(t *testing.T) {
	now := time.Now()
	p := gallery(1, now)
	tr := p.room.order[1].tracks[0]
	tr.layers[2].rate.Store(0) // it ended, less than deadLayer ago
	if l := tr.alternatives(now); len(l) != 2 || l[0].rid != "q" || l[1].rid != "h" {
		t.Fatalf("%d alternatives", len(l))
	}
	for _, l := range tr.layers {
		l.rate.Store(0)
	}
	if l := tr.alternatives(now); len(l) != 3 {
		t.Fatalf("%d alternatives when none is measured yet", len(l))
	}
}

func TestStrain(t *testing.T) {
	for _, c := range []struct {
		name   string
		report func(n int) (status uint16, reported bool)
		want   bool
	}{
		{"all arrives", func(int) (uint16, bool) { return rtcp.TypeTCCPacketReceivedSmallDelta, true }, false},
		{"a twentieth is lost", func(n int) (uint16, bool) {
			if n%20 == 0 {
				return rtcp.TypeTCCPacketNotReceived, true
			}
			return rtcp.TypeTCCPacketReceivedSmallDelta, true
		}, false},
		{"a fifth is lost", func(n int) (uint16, bool) {
			if n%5 == 0 {
				return rtcp.TypeTCCPacketNotReceived, true
			}
			return rtcp.TypeTCCPacketReceivedSmallDelta, true
		}, true},
		{"every other report is lost", func(n int) (uint16, bool) { return rtcp.TypeTCCPacketReceivedSmallDelta, n/10%2 == 0 }, false},
		{"nothing is reported on", func(int) (uint16, bool) { return 0, false }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s strain
			seq := uint16(65_000) // it wraps
			for n := range 400 {
				s.send(seq, 1000)
				if status, ok := c.report(n); ok {
					s.report(&rtcp.TransportLayerCC{BaseSequenceNumber: seq, PacketStatusCount: 1,
						PacketChunks: []rtcp.PacketStatusChunk{&rtcp.StatusVectorChunk{SymbolList: []uint16{status, 0, 0}}}})
				}
				seq++
				if n%50 == 49 { // half a second
					s.beat()
				}
			}
			if s.holds() != c.want {
				t.Errorf("strain: %v, with %d bytes under way", s.holds(), s.pending)
			}
		})
	}
}

// Reports are bounded by what they say they are about, and by what was sent.
func TestStrainOfNonsense(t *testing.T) {
	var s strain
	s.report(&rtcp.TransportLayerCC{PacketStatusCount: 9})
	s.send(7, 1000)
	s.report(&rtcp.TransportLayerCC{BaseSequenceNumber: 30_000, PacketStatusCount: 65_535, PacketChunks: []rtcp.PacketStatusChunk{&rtcp.RunLengthChunk{RunLength: 8191}}})
	s.report(&rtcp.TransportLayerCC{BaseSequenceNumber: 7, PacketStatusCount: 1, PacketChunks: []rtcp.PacketStatusChunk{
		&rtcp.RunLengthChunk{PacketStatusSymbol: rtcp.TypeTCCPacketReceivedSmallDelta, RunLength: 8191}}})
	if s.pending != 0 || s.came != 1000 || s.lost != 0 || s.next != 8 {
		t.Fatalf("%d under way, %d came, %d lost, next %d", s.pending, s.came, s.lost, s.next)
	}
}
