package calls

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/pion/webrtc/v4"
)

// openSFU prepares a connection to the SFU: both data channels must be there before the first offer (package signaling/sfu).
func (p *peer) openSFU() {
	p.open("sfu")
	p.open("data")
}

// slotsMost bounds what the SFU may make this device allocate.
const slotsMost = 32

// slotsFor offers as many slots as would be of use.
func (p *peer) slotsFor(w want) {
	grown := false
	for _, k := range []struct {
		kind webrtc.RTPCodecType
		n    int
	}{{webrtc.RTPCodecTypeAudio, w.Audio}, {webrtc.RTPCodecTypeVideo, w.Video}} {
		has := 0
		for _, t := range p.pc.GetTransceivers() {
			if d := t.Direction(); t.Kind() == k.kind && (d == webrtc.RTPTransceiverDirectionRecvonly || d == webrtc.RTPTransceiverDirectionSendrecv) {
				has++
			}
		}
		for ; has < min(k.n, slotsMost); has++ {
			if _, err := p.pc.AddTransceiverFromKind(k.kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
				return
			}
			grown = true
		}
	}
	if grown {
		p.offer(false)
	}
}

// controlled takes what the SFU says on its channel.
func (p *peer) controlled(b []byte) {
	var m struct {
		Kind  string `json:"kind"`
		Slots []struct {
			Mid   string `json:"mid"`
			Party string `json:"party"`
		} `json:"slots"`
	}
	if json.Unmarshal(b, &m) != nil || m.Kind != "slots" {
		return
	}
	clear(p.slots)
	for _, s := range m.Slots {
		p.slots[s.Mid] = s.Party
	}
	mids := make(map[*webrtc.TrackRemote]string)
	for _, t := range p.pc.GetTransceivers() {
		if r := t.Receiver(); r != nil {
			for _, tr := range r.Tracks() {
				mids[tr] = t.Mid()
			}
		}
	}
	for _, rt := range p.tracks {
		if who := p.slots[mids[rt.TrackRemote]]; who != "" && who != rt.Party() {
			rt.party.Store(&who)
		}
	}
}

// bridged ends connections of the mesh whose party is heard through the SFU: it is connected there, and so hears this device.
func (c *Call) bridged(now time.Time) {
	sfu := c.peers[sfuParty]
	if sfu == nil || !sfu.up {
		return
	}
	for id, p := range c.peers {
		if id == sfuParty {
			continue
		}
		flows := slices.ContainsFunc(sfu.tracks, func(t *RemoteTrack) bool { return t.Party() == id && now.Sub(t.at()) < 2*time.Second })
		if flows || now.Sub(sfu.since) > silentBridge {
			delete(c.peers, id)
			p.close()
		}
	}
}

// silentBridge is how long the mesh is kept for a party that sends nothing.
const silentBridge = 10 * time.Second

func (t *RemoteTrack) at() time.Time { return time.Unix(0, t.seen.Load()) }
