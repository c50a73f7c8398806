package calls

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/client"
)

// openSFU prepares a connection to the SFU: both data channels must be there before the first offer (package signaling/sfu).
func (p *peer) openSFU() {
	p.open("sfu")
	p.open("data")
}

// slotsMost bounds what the SFU may make this device allocate.
const slotsMost = 32

// sectionsMost bounds the sections of a description, some below what the server takes: sections are never taken away (RFC 8829 §5.2.2).
const sectionsMost = 240

// slotsFor offers as many slots as would be of use, and are wanted.
func (p *peer) slotsFor(w want) {
	changed := p.slotsOf(webrtc.RTPCodecTypeAudio, count(w.Audio))
	n := count(w.Video)
	if most := p.c.watch.Pictures; most != 0 {
		n = min(n, max(most, 0))
	}
	if p.slotsOf(webrtc.RTPCodecTypeVideo, n) || changed {
		p.offer(false)
	}
}

// count is a number of the SFU's, bounded.
func count(n *int) int {
	if n == nil {
		return 0
	}
	return max(0, min(*n, slotsMost))
}

// slotsOf makes the slots of a kind as many as n, and reports whether they were not. Fewer there are only of pictures, if that is wanted: empty ones go first.
func (p *peer) slotsOf(k webrtc.RTPCodecType, n int) (changed bool) {
	var has []*webrtc.RTPTransceiver
	all := p.pc.GetTransceivers()
	for _, t := range all {
		if d := t.Direction(); t.Kind() == k && (d == webrtc.RTPTransceiverDirectionRecvonly || d == webrtc.RTPTransceiverDirectionSendrecv) {
			has = append(has, t)
		}
	}
	for m := len(has); m < n && len(all)+m-len(has) < sectionsMost; m++ {
		if _, err := p.pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return changed
		}
		changed = true
	}
	if k != webrtc.RTPCodecTypeVideo || p.c.watch.Pictures == 0 {
		return changed
	}
	slices.SortStableFunc(has, func(a, b *webrtc.RTPTransceiver) int { return p.worth(a) - p.worth(b) })
	for i := 0; i < len(has)-n; i++ {
		if has[i].Direction() == webrtc.RTPTransceiverDirectionRecvonly && has[i].Stop() == nil {
			changed = true
		}
	}
	return changed
}

// worth orders slots: empty ones, then those that show somebody, then those that show who is pinned.
func (p *peer) worth(t *webrtc.RTPTransceiver) int {
	party := p.slots[t.Mid()].party
	switch {
	case party == "":
		return 0
	case slices.ContainsFunc(p.c.state.Parties, func(m client.CallParty) bool { return m.Party == party && p.c.pinned(&m) }):
		return 2
	}
	return 1
}

// has says that this device has an answer: new slots begin then, not before pion knows whose their packets are.
func (p *peer) has(answer string) {
	n, err := strconv.Atoi(origin(answer, 2))
	if err != nil || p.control == nil || p.control.ReadyState() != webrtc.DataChannelStateOpen {
		return
	}
	b, _ := json.Marshal(held{Kind: "has", Version: n}) // it always encodes
	_ = p.control.SendText(string(b))                   // the channel has ended, otherwise
}

// held is what has says.
type held struct {
	Kind    string `json:"kind"`
	Version int    `json:"version"`
}

// slot is where the SFU shows a party.
type slot struct {
	kind  webrtc.RTPCodecType
	party string // "": it is empty
}

// holds reports what slots of a kind there are: for a party, empty ones, any.
func (p *peer) holds(k webrtc.RTPCodecType, party string) (its, empty, any bool) {
	for _, s := range p.slots {
		if s.kind == k {
			its, empty, any = its || s.party == party, empty || s.party == "", true
		}
	}
	return its, empty, any
}

// controlled takes what the SFU says on its channel.
func (p *peer) controlled(b []byte) {
	var m struct {
		Kind  string `json:"kind"`
		Slots []struct {
			Mid   string `json:"mid"`
			Media string `json:"media"`
			Party string `json:"party"`
		} `json:"slots"`
		Parties []string `json:"parties"`
	}
	if json.Unmarshal(b, &m) != nil {
		return
	}
	switch m.Kind {
	case "slots":
	case "speakers":
		p.speakers = m.Parties
		p.c.show()
		return
	default:
		return // of a newer server
	}
	clear(p.slots)
	p.shown, p.slotted = nil, true
	for _, s := range m.Slots {
		p.slots[s.Mid] = slot{kind: webrtc.NewRTPCodecType(s.Media), party: s.Party}
		if s.Media == "video" && s.Party != "" {
			p.shown = append(p.shown, s.Party)
		}
	}
	defer p.c.show()
	mids := make(map[*webrtc.TrackRemote]string)
	for _, t := range p.pc.GetTransceivers() {
		if r := t.Receiver(); r != nil {
			for _, tr := range r.Tracks() {
				mids[tr] = t.Mid()
			}
		}
	}
	for _, rt := range p.tracks {
		if who := p.slots[mids[rt.TrackRemote]].party; who != "" && who != rt.Party() {
			rt.party.Store(&who)
		}
	}
}

func (t *RemoteTrack) at() time.Time { return time.Unix(0, t.seen.Load()) }
