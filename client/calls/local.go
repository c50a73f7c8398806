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
	// Tracks of video with the same ID and StreamID, and RIDs of their own (webrtc.WithRTPStreamID), are layers of one picture, up to three, the
	// smallest first: the SFU gets all of them and chooses for each receiver (simulcast), in a mesh each gets the one that fits. They must
	// carry key frames when OnKeyFrame asks for them. A track that is a Leveler says who speaks.
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
	// Watch is what this device wants to see of the others.
	Watch Watch
	// OnKeyFrame says that a receiver needs a key frame of one of Tracks. It must not block.
	OnKeyFrame func(webrtc.TrackLocal)
}

func (l *Local) validate() error {
	for _, m := range l.Media {
		if !slices.Contains([]string{"audio", "video", "screen", "data"}, m) {
			return chat.Refuse(chat.BadRequest, "media are audio, video, screen and data, not %.20q", m)
		}
	}
	if err := l.Watch.validate(); err != nil {
		return err
	}
	return validTracks(l.Tracks)
}

// tracksMost is how many tracks a device sends, layers not counted: as many as the SFU takes of one.
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
	spoke atomic.Int64 // ns since 1970, when it was loud last
	level uint8        // id of the header extension that says how loud it is; 0: there is none
	loud  int          // smoothed, 0 to 127, times 256; of who reads
	sfu   bool
	seam  seam
}

// levelID is the id of the header extension for audio levels on a receiver; 0: there is none.
func levelID(r *webrtc.RTPReceiver) uint8 {
	for _, e := range r.GetParameters().HeaderExtensions {
		if e.URI == levelURI && e.ID > 0 && e.ID <= 14 {
			return uint8(e.ID)
		}
	}
	return 0
}

// hear notes how loud a packet is.
func (t *RemoteTrack) hear(p *rtp.Packet) {
	b := p.GetExtension(t.level)
	if len(b) != 1 {
		return
	}
	level := 127 - int(b[0]&0x7F)
	if d := level<<8 - t.loud; d > 0 {
		t.loud += d / 4 // speech is noticed at once,
	} else {
		t.loud += d / 32 // and a pause between words is none
	}
	if t.loud>>8 >= speakLevel {
		t.spoke.Store(t.seen.Load())
	}
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

// ReadRTP returns the next packet; what comes while the call is on hold here is left out. It fails when the track, its connection or the call has ended.
//
// When a mesh becomes a call through the SFU, what a party sends goes on in another track, and comes on both ways for a while. No packet of audio is missing or
// doubled by that if the party uses this package: the old track yields those before, the new one those behind, each in the order in which they arrive. A picture goes
// on in the new track with a key frame, and the old track ends there.
func (t *RemoteTrack) ReadRTP() (*rtp.Packet, error) {
	for {
		pkt, _, err := t.TrackRemote.ReadRTP()
		if err != nil {
			t.c.seams.end(t)
			return nil, err
		}
		t.seen.Store(time.Now().UnixNano())
		if t.level != 0 {
			t.hear(pkt)
		}
		if t.c.seams.take(t, &pkt.Header) && !t.c.held.Load() {
			return pkt, nil
		}
	}
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
