package calls

import (
	"slices"
	"time"

	"github.com/pion/webrtc/v4"
)

// flows is what a connection has carried.
type flows struct {
	sent, received uint64 // bytes
	answers        uint64
	rtt            time.Duration
	relayed        bool
	local          string // the address of the device that is used; "": one of a NAT or a relay is
	heard          time.Time
	streams        map[webrtc.SSRC]stream
}

// stream is what has come on one stream of packets.
type stream struct {
	bytes         uint64
	packets, lost int64
	jitter        time.Duration
}

// tally adds up what came in a second.
type tally struct {
	bytes         uint64
	packets, lost int64
	jitter        time.Duration
}

func (t *tally) add(now, before stream) {
	if now.bytes >= before.bytes {
		t.bytes += now.bytes - before.bytes
	}
	t.packets += max(now.packets-before.packets, 0)
	t.lost += max(now.lost-before.lost, 0)
	if now.packets > before.packets { // what does not flow is not unsteady
		t.jitter = max(t.jitter, now.jitter)
	}
}

func (t *tally) loss() float64 {
	if t.packets+t.lost <= 0 {
		return 0
	}
	return float64(t.lost) / float64(t.packets+t.lost)
}

// measure reads the figures of all connections.
func (c *Call) measure(now time.Time) {
	var q Quality
	var rtts time.Duration
	var n int
	var all tally
	span := now.Sub(c.measured)
	fresh := c.measured.IsZero() || span <= 0
	c.quality = make(map[string]Quality, len(c.state.Parties))
	for _, p := range c.peers {
		if !p.up && !p.ever {
			continue
		}
		f, last := p.flows(now), p.last
		if p.last = f; f.heard.After(c.heardAt) {
			c.heardAt = f.heard
		}
		one := Quality{RTT: f.rtt, LossThere: p.lossThere(now), Relayed: f.relayed}
		came := make(map[string]*tally)
		if !last.heard.IsZero() && !fresh {
			one.Sent, one.Received = rate(f.sent, last.sent, span), rate(f.received, last.received, span)
			for ssrc, s := range f.streams {
				party := p.whose(ssrc)
				if came[party] == nil {
					came[party] = &tally{}
				}
				came[party].add(s, last.streams[ssrc])
				all.add(s, last.streams[ssrc])
			}
		}
		q.Sent, q.Received = q.Sent+one.Sent, q.Received+one.Received
		q.Relayed, q.LossThere = q.Relayed || f.relayed, max(q.LossThere, one.LossThere)
		if f.rtt > 0 {
			rtts, n = rtts+f.rtt, n+1
		}
		c.share(p, one, came, span)
	}
	if !fresh {
		c.adapt(now, span)
	}
	c.measured = now
	if n > 0 {
		q.RTT = rtts / time.Duration(n)
	}
	q.Loss, q.Jitter = all.loss(), all.jitter
	c.board.set(func(s *Status) { s.Quality = q })
}

// share gives each party the figures of its connection; through the SFU what came of it, and the way to the SFU.
func (c *Call) share(p *peer, one Quality, came map[string]*tally, span time.Duration) {
	if !p.sfu {
		if t := came[p.party]; t != nil {
			one.Loss, one.Jitter = t.loss(), t.jitter
		}
		if c.peers[sfuParty] == nil || !c.peers[sfuParty].up {
			c.quality[p.party] = one
		}
		return
	}
	if !p.up {
		return
	}
	for i := range c.state.Parties {
		party := c.state.Parties[i].Party
		if party == c.party {
			continue
		}
		m := Quality{RTT: one.RTT, Relayed: one.Relayed}
		if t := came[party]; t != nil {
			m.Loss, m.Jitter, m.Received = t.loss(), t.jitter, rate(t.bytes, 0, span)
		}
		c.quality[party] = m
	}
}

// whose is the party whose packets a stream carries.
func (p *peer) whose(ssrc webrtc.SSRC) string {
	i := slices.IndexFunc(p.tracks, func(t *RemoteTrack) bool { return t.SSRC() == ssrc })
	if i < 0 {
		return p.party
	}
	return p.tracks[i].Party()
}

// lossThere is what the other side misses of what is sent, 0 to 1: of the stream that suffers most.
func (p *peer) lossThere(now time.Time) float64 {
	worst := 0.0
	for _, s := range p.sends {
		if loss, ok := s.lossThere(now); ok {
			worst = max(worst, loss)
		}
	}
	return worst
}

func rate(now, before uint64, span time.Duration) int {
	if now < before || span <= 0 {
		return 0
	}
	return int(float64(now-before) * 8 / span.Seconds())
}

// flows reads the figures of a connection.
func (p *peer) flows(now time.Time) flows {
	f := flows{heard: p.last.heard, streams: make(map[webrtc.SSRC]stream)}
	stats := p.pc.GetStats()
	for _, s := range stats {
		s, ok := s.(webrtc.ICECandidatePairStats)
		if !ok {
			continue
		}
		f.sent += s.BytesSent
		f.received += s.BytesReceived
		f.answers += s.ResponsesReceived
		if !s.Nominated {
			continue
		}
		if s.State == webrtc.StatsICECandidatePairStateSucceeded {
			f.rtt = time.Duration(s.CurrentRoundTripTime * float64(time.Second))
		}
		if l, ok := stats[s.LocalCandidateID].(webrtc.ICECandidateStats); ok {
			f.relayed = l.CandidateType == webrtc.ICECandidateTypeRelay
			if l.CandidateType == webrtc.ICECandidateTypeHost {
				f.local = l.IP // others are not the device's own
			}
		}
		if r, ok := stats[s.RemoteCandidateID].(webrtc.ICECandidateStats); ok && r.CandidateType == webrtc.ICECandidateTypeRelay {
			f.relayed = true // the other side's
		}
	}
	for _, r := range p.pc.GetReceivers() {
		for _, t := range r.Tracks() {
			if s := p.counts.Get(uint32(t.SSRC())); s != nil {
				in := s.InboundRTPStreamStats
				f.streams[t.SSRC()] = stream{
					bytes: in.BytesReceived + in.HeaderBytesReceived, packets: int64(in.PacketsReceived), lost: max(in.PacketsLost, 0),
					jitter: time.Duration(in.Jitter * float64(time.Second)),
				}
			}
		}
	}
	if f.received != p.last.received || f.answers != p.last.answers || f.heard.IsZero() {
		f.heard = now
	}
	return f
}
