package calls

import (
	"slices"
	"time"

	"github.com/pion/webrtc/v4"
)

// Times of a mesh that becomes a call through the SFU.
const (
	bridgeFor    = 1500 * time.Millisecond // both ways, so that what is late on the old one still arrives
	silentBridge = 10 * time.Second        // the mesh is kept for a party of which nothing is known,
	unsaidBridge = 30 * time.Second        // and for one that does not say that it is through
	flowing      = 2 * time.Second         // without a packet nothing flows
)

// bridged ends connections of the mesh that are needed no longer, make before break. That takes both sides: this one has heard its party through the SFU for a
// while, and the party says the same. Who ended it as soon as it heard the other one would make that one deaf, which may have no slot for it yet.
func (c *Call) bridged(now time.Time) {
	sfu := c.peers[sfuParty]
	for id, p := range c.peers {
		switch {
		case id == sfuParty:
			continue
		case sfu == nil || !sfu.up || !p.crosses(sfu, now):
			p.crossed = time.Time{}
			continue
		case p.crossed.IsZero():
			p.crossed = now
		}
		since := now.Sub(p.crossed)
		if since >= bridgeFor && !p.through {
			p.through = true
			p.signal("negotiate", negotiation{Want: &want{Through: true}})
		}
		if since >= bridgeFor && p.let || since >= unsaidBridge {
			delete(c.peers, id)
			p.close()
		}
	}
}

// crosses reports whether all that comes from a party of the mesh comes through the SFU too, as far as it will.
func (p *peer) crosses(sfu *peer, now time.Time) bool {
	any := false
	for _, k := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		flows := func(t *RemoteTrack) bool {
			return t.Kind() == k && t.Party() == p.party && now.Sub(t.at()) < flowing
		}
		there := slices.ContainsFunc(sfu.tracks, flows)
		any = any || there
		if there || !slices.ContainsFunc(p.tracks, flows) {
			continue
		}
		its, empty, slots := sfu.holds(k, p.party)
		patience := silentBridge // others are more important (last-N)
		if its || !slots && (k == webrtc.RTPCodecTypeAudio || p.c.watch.Pictures >= 0) {
			patience = unsaidBridge // it will begin, or the SFU's wish for slots is on its way
		}
		if !sfu.slotted || empty || now.Sub(sfu.since) < patience { // empty: it is not in the SFU yet
			return false
		}
	}
	return any || now.Sub(sfu.since) >= silentBridge // who sends nothing may be connected, or not
}
