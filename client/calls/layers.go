package calls

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
)

// layersMost is how many layers a picture has at most: as many as the SFU takes.
const layersMost = 3

// pictures puts layers of one picture together: tracks with the same ID and StreamID. All else is one track each.
func pictures(tracks []webrtc.TrackLocal) [][]webrtc.TrackLocal {
	var all [][]webrtc.TrackLocal
	for _, t := range tracks {
		i := slices.IndexFunc(all, func(p []webrtc.TrackLocal) bool {
			return t.RID() != "" && p[0].RID() != "" && p[0].ID() == t.ID() && p[0].StreamID() == t.StreamID()
		})
		if i < 0 {
			all = append(all, []webrtc.TrackLocal{t})
			continue
		}
		all[i] = append(all[i], t)
	}
	return all
}

func validTracks(tracks []webrtc.TrackLocal) error {
	all := pictures(tracks)
	if len(all) > tracksMost {
		return chat.Refuse(chat.BadRequest, "at most %d tracks", tracksMost)
	}
	for _, p := range all {
		if len(p) == 1 {
			continue
		}
		if len(p) > layersMost {
			return chat.Refuse(chat.BadRequest, "a picture has at most %d layers", layersMost)
		}
		rids := make(map[string]bool)
		for _, t := range p {
			if t.Kind() != webrtc.RTPCodecTypeVideo || rids[t.RID()] || !validRID(t.RID()) {
				return chat.Refuse(chat.BadRequest, "tracks with the same ID and StreamID are layers of one picture: "+
					"each needs an RID of its own, of up to 16 letters and digits")
			}
			rids[t.RID()] = true
		}
	}
	return nil
}

// validRID: RFC 8851 §10.
func validRID(s string) bool {
	if s == "" || len(s) > 16 {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// sending is a track, or a picture of several layers, on its way to another side.
type sending struct {
	layers []webrtc.TrackLocal
	sender *webrtc.RTPSender
	lanes  []*lane // one; through the SFU one for each layer
	there  []there // what the other side says of each lane

	// Which layer of several goes out in a mesh. Only the call's goroutine touches it.
	rates []int // bits per second
	best  int   // the largest layer that the network carries, as far as is known
	until time.Time
	pause time.Duration
}

// there is what the other side reports of a lane (RFC 3550 §6.4.1).
type there struct {
	lost   atomic.Int64 // of 256, since the report before
	jitter atomic.Int64 // of the clock's ticks
	at     atomic.Int64 // ns since 1970
}

// send adds a track, or the layers of a picture, to the connection.
func (p *peer) send(layers []webrtc.TrackLocal) {
	s := &sending{layers: layers, rates: make([]int, len(layers))}
	var err error
	if p.sfu && len(layers) > 1 {
		for _, t := range layers {
			s.lanes = append(s.lanes, newLane(t.RID(), t))
		}
	} else {
		s.lanes = []*lane{newLane("", layers...)}
	}
	s.there = make([]there, len(s.lanes))
	if p.sfu && (len(layers) > 1 || p.c.watch.Pictures != 0 && layers[0].Kind() == webrtc.RTPCodecTypeVideo) {
		err = p.sendOnly(s)
	} else {
		s.sender, err = p.pc.AddTrack(s.lanes[0])
	}
	if err != nil {
		p.c.m.log.Warn("a track can't be sent", "call", p.c.id, "party", p.party, "error", err)
		return
	}
	p.sends = append(p.sends, s)
	for i, l := range s.lanes {
		wanted := p.c.local.OnKeyFrame
		p.c.wg.Go(func() { s.reports(i, l, wanted) })
	}
}

// sendOnly adds what has a section of its own, in which nothing is received: a picture of several layers, for which that must be so, and pictures
// where the number of those that are received is bounded.
func (p *peer) sendOnly(s *sending) error {
	t, err := p.pc.AddTransceiverFromTrack(s.lanes[0], webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return err
	}
	s.sender = t.Sender()
	s.lanes[0].place = t
	for _, l := range s.lanes[1:] {
		l.place = t
		if err := s.sender.AddEncoding(l); err != nil {
			return err
		}
	}
	return nil
}

// reports reads what the other side says of a lane, until the connection ends.
func (s *sending) reports(i int, l *lane, wanted func(webrtc.TrackLocal)) {
	for {
		var pkts []rtcp.Packet
		var err error
		if l.rid == "" {
			pkts, _, err = s.sender.ReadRTCP()
		} else {
			pkts, _, err = s.sender.ReadSimulcastRTCP(l.rid)
		}
		if err != nil {
			return
		}
		for _, pkt := range pkts {
			switch pkt := pkt.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				if wanted != nil {
					now, next := l.sends()
					wanted(l.layers[now])
					if next != now {
						wanted(l.layers[next])
					}
				}
			case *rtcp.ReceiverReport:
				s.there[i].take(s.ssrc(i), pkt.Reports)
			case *rtcp.SenderReport:
				s.there[i].take(s.ssrc(i), pkt.Reports)
			}
		}
	}
}

func (s *sending) ssrc(lane int) uint32 {
	if e := s.sender.GetParameters().Encodings; lane < len(e) {
		return uint32(e[lane].SSRC)
	}
	return 0
}

func (t *there) take(ssrc uint32, reports []rtcp.ReceptionReport) {
	now := time.Now()
	for _, r := range reports {
		if r.SSRC != ssrc {
			continue
		}
		t.lost.Store(int64(r.FractionLost))
		t.jitter.Store(int64(r.Jitter))
		t.at.Store(now.UnixNano())
	}
}

// lossThere is the share that the other side missed lately, 0 to 1, of the worst lane. ok: it has said so.
func (s *sending) lossThere(now time.Time) (loss float64, ok bool) {
	for i := range s.there {
		t := &s.there[i]
		if at := t.at.Load(); at != 0 && now.UnixNano()-at < int64(reportsStale) {
			loss, ok = max(loss, float64(t.lost.Load())/256), true
		}
	}
	return loss, ok
}

const reportsStale = 5 * time.Second

// Which layer of a picture goes out in a mesh: the largest that the other side wants and the network carries. Nothing is known of the network
// but what gets lost; so a larger one is tried, and taken back for longer each time that it was too much.
const (
	muchLost   = 0.1
	littleLost = 0.03
	climbFirst = 2 * time.Second
	climbMost  = time.Minute
)

// choose is called each second, with the bits per second that the other side wants to get of it; 0: any.
func (s *sending) choose(now time.Time, span time.Duration, limit int) {
	if len(s.lanes) != 1 || len(s.layers) == 1 {
		return
	}
	for i, n := range s.lanes[0].count() {
		rate := int(float64(n) * 8 / span.Seconds())
		if s.rates[i] > 0 && rate > 0 { // key frames come now and then
			rate = (3*s.rates[i] + rate) / 4
		}
		s.rates[i] = rate
	}
	loss, known := s.lossThere(now)
	switch {
	case s.until.IsZero():
		s.until, s.pause = now.Add(climbFirst), climbFirst
	case known && loss > muchLost && s.best > 0:
		s.best--
		s.pause = min(2*s.pause, climbMost)
		s.until = now.Add(s.pause)
	case now.After(s.until) && loss < littleLost && s.best < len(s.layers)-1:
		s.best++
		s.until = now.Add(climbFirst)
	}
	pick := -1
	for i := 0; i <= s.best; i++ {
		if s.rates[i] > 0 && (pick < 0 || limit == 0 || s.rates[i] <= limit) {
			pick = i
		}
	}
	if pick < 0 {
		return // nothing flows
	}
	if _, next := s.lanes[0].sends(); next != pick {
		s.lanes[0].aim(pick)
	}
}

// switching is the layer that waits for a key frame; nil: none does.
func (s *sending) switching() webrtc.TrackLocal {
	if len(s.lanes) != 1 {
		return nil
	}
	if now, next := s.lanes[0].sends(); now != next {
		return s.layers[next]
	}
	return nil
}
