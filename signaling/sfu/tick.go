package sfu

import (
	"time"

	"github.com/pion/rtcp"
)

// What happens at which beat of 20 ms.
const (
	feedbackBeats = 5  // transport-wide feedback, 100 ms
	rateBeats     = 25 // rates are measured and layers chosen, slots that wait begin, 500 ms
	listenBeats   = 10 // speakers, 200 ms
	reportBeats   = 50 // RTCP reports, silence, 1 s
)

// tick does what is due on beat n: asking for what is missing, key frames, feedback, reports, layers, speakers.
func (s *Server) tick(w *writer, n int, now time.Time) {
	for _, r := range s.rooms {
		for _, p := range r.order {
			p.askAgain(w, now)
			if n%feedbackBeats == 0 {
				p.feedBack(w)
			}
			if n%reportBeats == 0 {
				p.reports(w, now)
			}
			if n%rateBeats == 0 {
				p.measure()
				p.out.bwe.beat()
			}
		}
		if n%listenBeats == 0 {
			r.listen(now)
		}
		if n%rateBeats == 0 {
			for _, p := range r.order {
				p.play(now)
				p.pick(now)
			}
		}
	}
	if n%reportBeats == 0 {
		s.sweep(now)
	}
}

// askAgain asks the party for packets that are missing, and for key frames that somebody needs.
func (p *party) askAgain(w *writer, now time.Time) {
	var pkts []rtcp.Packet
	var seqs []uint16
	for _, t := range p.tracks {
		for _, l := range t.layers {
			p.in.mu.Lock()
			ssrc := l.in.ssrc
			var lost bool
			seqs, lost = l.in.due(seqs[:0], now)
			p.in.mu.Unlock()
			if ssrc == 0 {
				continue
			}
			if lost && t.kind == video {
				l.wantKey.Store(true)
			}
			if len(seqs) > 0 {
				pkts = append(pkts, &rtcp.TransportLayerNack{SenderSSRC: p.ssrc, MediaSSRC: ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers(seqs)})
			}
			if now.Sub(l.keyAt) >= keyPause && l.wantKey.Swap(false) {
				l.keyAt = now
				l.keys.Add(1)
				pkts = append(pkts, &rtcp.PictureLossIndication{SenderSSRC: p.ssrc, MediaSSRC: ssrc})
			}
		}
	}
	p.sendRTCP(w, pkts...)
}

// feedBack tells the party when its packets came, so that it finds its rate.
func (p *party) feedBack(w *writer) {
	p.in.mu.Lock()
	pkts := p.in.twcc.BuildFeedbackPacket()
	p.in.mu.Unlock()
	for _, pkt := range pkts {
		p.sendRTCP(w, pkt)
	}
}

// measure takes the rates of the party's layers.
func (p *party) measure() {
	const perSecond = int64(time.Second / (rateBeats * beat))
	for _, t := range p.tracks {
		for _, l := range t.layers {
			rate := l.bytes.Swap(0) * 8 * perSecond
			if old := l.rate.Load(); old != 0 && rate != 0 {
				rate = (old + rate) / 2
			}
			l.rate.Store(rate)
			if rate != 0 {
				l.took.Store(rate)
			}
		}
	}
}

// reports sends what RFC 3550 wants: how the party's packets arrived, and the clocks of what it gets.
func (p *party) reports(w *writer, now time.Time) {
	var blocks []rtcp.ReceptionReport
	for _, t := range p.tracks {
		for _, l := range t.layers {
			if b, ok := l.received(now); ok {
				blocks = append(blocks, b)
			}
		}
	}
	for len(blocks) > 0 {
		n := min(len(blocks), 31) // RFC 3550 §6.4.1: the count has five bits
		p.sendRTCP(w, &rtcp.ReceiverReport{SSRC: p.ssrc, Reports: blocks[:n]})
		blocks = blocks[n:]
	}
	for _, o := range p.slots {
		if sr := o.clock(now); sr != nil {
			p.sendRTCP(w, sr, &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: o.ssrc,
				Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: sfuParty}}}}})
		}
	}
}

// received is the report about a layer.
func (l *layer) received(now time.Time) (rtcp.ReceptionReport, bool) {
	l.t.p.in.mu.Lock()
	defer l.t.p.in.mu.Unlock()
	in := &l.in
	if !in.begun {
		return rtcp.ReceptionReport{}, false
	}
	// RFC 3550 A.3
	last := in.cycles + uint32(in.max)
	expected := last - in.base + 1
	expectedNow, receivedNow := expected-in.expectedThen, in.received-in.receivedThen
	in.expectedThen, in.receivedThen = expected, in.received
	r := rtcp.ReceptionReport{SSRC: in.ssrc, LastSequenceNumber: last, Jitter: uint32(in.jitter)}
	if lost := int64(expected) - int64(in.received); lost > 0 {
		r.TotalLost = uint32(min(lost, 1<<23-1))
	}
	if expectedNow > receivedNow && expectedNow > 0 {
		r.FractionLost = uint8(min(255, (expectedNow-receivedNow)*256/expectedNow))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.sr.at.IsZero() {
		r.LastSenderReport = uint32(l.sr.ntp >> 16)
		r.Delay = uint32(now.Sub(l.sr.at).Seconds() * 65536)
	}
	return r, true
}

// clock is the sender report of a slot: the source's clock with the slot's timestamps, so that what belongs together is in step.
func (o *slot) clock(now time.Time) *rtcp.SenderReport {
	l := o.cur.Load()
	if l == nil {
		return nil
	}
	l.mu.Lock()
	sr := l.sr
	l.mu.Unlock()
	if sr.at.IsZero() {
		return nil
	}
	o.p.out.mu.Lock()
	defer o.p.out.mu.Unlock()
	since := now.Sub(sr.at)
	ntp := uint64(since.Seconds() * (1 << 32))
	return &rtcp.SenderReport{SSRC: o.ssrc, NTPTime: sr.ntp + ntp, RTPTime: sr.rtp + o.tsOff + uint32(since.Microseconds()*o.kind.clock()/1_000_000),
		PacketCount: o.packets, OctetCount: o.octets}
}

// sweep gives up connections that are silent.
func (s *Server) sweep(now time.Time) {
	for _, r := range s.rooms {
		for i := 0; i < len(r.order); i++ {
			if p := r.order[i]; now.UnixNano()-p.heard.Load() > int64(s.opt.Silence) {
				s.log.Info("a party of a call is silent at the SFU", "call", r.id, "party", p.id, "user", p.user)
				s.lost(p)
				i--
			}
		}
	}
}
