package calls

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
)

// Local is what this device brings into a call, and who takes what it gets out of it.
type Local struct {
	// Tracks are sent to everybody in the call. A track may be in several calls; what is written to it while nothing is connected is lost.
	Tracks []webrtc.TrackLocal
	// Media are the kinds that this device takes part with: audio, video, screen, data. nil: those of Tracks, or audio.
	Media []string
	// Ring names who is to be rung in a group; nil: all members of a small one. Of Start.
	Ring []string
	// OnTrack takes what somebody sends, on a goroutine of its own for each track; what is not read is lost. It should return when reading
	// fails. nil: everything is thrown away.
	OnTrack func(*RemoteTrack)
	// OnData takes messages of others on the data channel, one at a time for each party. The data is the receiver's. nil: thrown away.
	OnData func(party string, data []byte)
	// OnKeyFrame says that a receiver needs a key frame of one of Tracks. It must not block.
	OnKeyFrame func(webrtc.TrackLocal)
}

func (l *Local) validate() error {
	for _, m := range l.Media {
		if !slices.Contains([]string{"audio", "video", "screen", "data"}, m) {
			return chat.Refuse(chat.BadRequest, "media are audio, video, screen and data, not %.20q", m)
		}
	}
	if len(l.Tracks) > tracksMost {
		return chat.Refuse(chat.BadRequest, "at most %d tracks", tracksMost)
	}
	return nil
}

// tracksMost is how many tracks a device sends: as many as the SFU takes of one.
const tracksMost = 4

func (l *Local) media() []string {
	if l.Media != nil {
		return l.Media
	}
	var all []string
	for _, t := range l.Tracks {
		if k := t.Kind().String(); !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	if all == nil {
		return []string{"audio"}
	}
	slices.Sort(all)
	return all
}

// RemoteTrack is what a party sends. Through the SFU it is a slot, in which one party may follow another: Party says whose the last packet was.
// Its methods may be called from any goroutine, ReadRTP from one at a time.
type RemoteTrack struct {
	*webrtc.TrackRemote
	c     *Call
	r     *webrtc.RTPReceiver
	pc    *webrtc.PeerConnection
	party atomic.Pointer[string]
	seen  atomic.Int64 // ns since 1970, of the last packet
}

// Party is who sends.
func (t *RemoteTrack) Party() string { return *t.party.Load() }

// User is whose party that is; "" if it has left.
func (t *RemoteTrack) User() string {
	party := t.Party()
	for _, m := range t.c.Status().Roster {
		if m.Party == party {
			return m.User
		}
	}
	return ""
}

// ReadRTP returns the next packet. It fails when the track, its connection or the call has ended.
func (t *RemoteTrack) ReadRTP() (*rtp.Packet, error) {
	pkt, _, err := t.TrackRemote.ReadRTP()
	if err == nil {
		t.seen.Store(time.Now().UnixNano())
	}
	return pkt, err
}

// RequestKeyFrame asks the sender for a picture that stands for itself.
func (t *RemoteTrack) RequestKeyFrame() {
	_ = t.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(t.SSRC())}})
}

// drain throws away what nobody wants: interceptors live from being read.
func (t *RemoteTrack) drain() {
	for {
		if _, err := t.ReadRTP(); err != nil {
			return
		}
	}
}
