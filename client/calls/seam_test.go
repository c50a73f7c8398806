package calls

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// TestSeams: what a party says is heard once and whole, however late each of the two ways is, for as long as both lose nothing. Ways that stall are taken for silent ones,
// whose the packets are may be told later, and the mesh ends while the SFU stalls.
func TestSeams(t *testing.T) {
	n := 300
	if long() {
		n = 20_000
	}
	for range n {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { seamed(t, seed) }) })
	}
}

// arrival is a packet on one of two ways.
type arrival struct {
	at    time.Duration
	frame int
	track *RemoteTrack
}

const frameTicks = 960 // 20 ms of Opus

func seamed(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	var s seams
	track := func(party string, sfu bool) *RemoteTrack {
		rt := &RemoteTrack{sfu: sfu}
		rt.party.Store(&party)
		rt.seam.kind, rt.seam.rate = webrtc.RTPCodecTypeAudio, 48000
		s.tracks = append(s.tracks, rt)
		return rt
	}
	const frames = 600
	// way is when each frame arrives, in order: some milliseconds later, and at times much later.
	way := func(from, to int, rt *RemoteTrack) (as []arrival) {
		delay := time.Duration(r.IntN(80)) * time.Millisecond
		var last time.Duration
		for i := from; i < to; i++ {
			at := time.Duration(i)*20*time.Millisecond + delay + time.Duration(r.IntN(10))*time.Millisecond
			if r.IntN(150) == 0 {
				at += time.Duration(r.IntN(3000)) * time.Millisecond
			}
			last = max(last, at)
			as = append(as, arrival{last, i, rt})
		}
		return as
	}
	base := make(map[*RemoteTrack]uint32)
	heard := map[string]*[frames]int{"ann": {}, "bob": {}}
	name := make(map[*RemoteTrack]string)
	var all []arrival
	ends := make(map[*RemoteTrack]time.Duration)
	told := make(map[*RemoteTrack]time.Duration)
	start := r.Uint32()
	for _, who := range []string{"ann", "bob"} {
		first := 100 + r.IntN(100) // of the SFU
		mesh, sfu := track(who, false), track(sfuParty, true)
		through := way(first, frames, sfu)
		// The mesh ends when the SFU has been heard for a while, and behind what the SFU does not have.
		over := way(0, min(frames, first+r.IntN(400)), mesh)
		ends[mesh] = max(over[len(over)-1].at, through[0].at+bridgeFor)
		told[sfu] = time.Duration(r.IntN(6000)) * time.Millisecond
		start += 1<<30 + r.Uint32N(1<<30) // as random ones are, nearly always: not near each other
		base[mesh], base[sfu] = start, start
		name[mesh], name[sfu] = who, who
		all = append(append(all, over...), through...)
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return int(a.at - b.at) })
	began := time.Now()
	for _, a := range all {
		time.Sleep(time.Until(began.Add(a.at)))
		for rt, at := range ends {
			if at < a.at {
				delete(ends, rt)
				s.end(rt)
			}
		}
		for rt, at := range told {
			if at < a.at {
				delete(told, rt)
				who := name[rt]
				rt.party.Store(&who)
			}
		}
		if s.take(a.track, &rtp.Header{Timestamp: base[a.track] + uint32(a.frame)*frameTicks}) {
			heard[name[a.track]][a.frame]++
		}
	}
	for who, got := range heard {
		var missing, doubled []int
		for i, k := range got {
			switch {
			case k == 0:
				missing = append(missing, i)
			case k > 1:
				doubled = append(doubled, i)
			}
		}
		if len(missing) > 0 || len(doubled) > 0 {
			t.Errorf("%s: missing %v, doubled %v", who, missing, doubled)
		}
	}
}
