package sfu

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/datachannel"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v4/packetio"
)

// party is one connection of a member of a call. An offer that is a reload makes a new one.
type party struct {
	room *room
	id   string
	user string
	ssrc uint32 // of our own reports

	finger fingerprint // of its certificate

	via    atomic.Pointer[route] // where packets go; nil until it is known
	heard  atomic.Int64          // ns of the last packet from it
	gone   atomic.Bool
	routes []*route // guarded by index.mu

	in  inbound
	out outbound

	// The DTLS association and what runs over it.
	dtlsIn  *packetio.Buffer
	dtlsRun sync.Once
	ended   chan struct{}
	endOnce sync.Once

	// Server.run's own.
	creds   *creds
	desc    *offer // the last one that was taken
	tracks  []*track
	slots   []*slot
	version int // of the answer
	told    int // slots that were asked for, audio and video
	pins    []string
	limit   int // bits per second; 0: none
	spoke   time.Time
	control *datachannel.DataChannel
	data    *datachannel.DataChannel
	rungs   climb
	dares   dare   // to show cameras that are dark,
	steps   dare   // and better layers
	shown   string // the last message about slots
}

// inbound is what is needed to take a party's packets.
type inbound struct {
	mu      sync.Mutex
	srtp    *srtp.Context
	hdr     rtp.Header
	exts    exts
	streams map[uint32]*layer
	tracks  []*track // that packets may belong to
	declare map[uint32]*track
	twcc    *twcc.Recorder
	budget  bucket
	rate    int // bytes per second
}

// outbound is what is needed to send packets to a party.
type outbound struct {
	mu        sync.Mutex
	srtp      *srtp.Context
	hdr       rtp.Header
	audioExts exts
	videoExts exts
	twcc      uint16
	bwe       *estimator
	slots     atomic.Pointer[map[uint32]*slot]
}

// bucket is a token bucket; it belongs to whoever holds the lock around it.
type bucket struct {
	tokens float64
	at     time.Time
}

// take takes n of what comes at rate per second, with a burst of so much.
func (b *bucket) take(n, rate, burst float64, now time.Time) bool {
	b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()*rate)
	if b.at.IsZero() {
		b.tokens = burst
	}
	b.at = now
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// allow reports whether the party may send so many bytes more.
func (in *inbound) allow(n int, now time.Time) bool {
	return in.budget.take(float64(n), float64(in.rate), float64(in.rate), now)
}

// bind finds out which layer a new stream belongs to: by RID and MID, by what the offer declared, or because only one has
// its payload type. // RFC 8843 §9.2
func (in *inbound) bind(ssrc uint32) *layer {
	var found *layer
	mid, rid := string(ext(in, in.exts.mid)), string(ext(in, in.exts.rid))
	for _, t := range in.tracks {
		if mid != "" && t.mid != mid || t.pts[in.hdr.PayloadType] == noCodec {
			continue
		}
		if d := in.declare[ssrc]; d != nil && d != t && mid == "" {
			continue
		}
		if len(t.layers) == 1 {
			if found != nil {
				return nil // more than one might be meant
			}
			found = t.layers[0]
			continue
		}
		for _, l := range t.layers {
			if rid != "" && l.rid == rid {
				found = l
			}
		}
	}
	if found == nil {
		return nil
	}
	if old := found.in.ssrc; old != 0 && old != ssrc {
		delete(in.streams, old)
	}
	found.in = stats{ssrc: ssrc, epoch: found.in.epoch + 1}
	in.streams[ssrc] = found
	return found
}

// report notes how a stream's timestamps and its sender's clock belong together.
func (in *inbound) report(sr *rtcp.SenderReport, now time.Time) {
	in.mu.Lock()
	l := in.streams[sr.SSRC]
	in.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	l.sr = senderReport{ntp: sr.NTPTime, rtp: sr.RTPTime, at: now}
	l.mu.Unlock()
}

// slotOf finds a slot by the SSRC that its receiver sees.
func (p *party) slotOf(ssrc uint32) *slot {
	m := p.out.slots.Load()
	if m == nil {
		return nil
	}
	return (*m)[ssrc]
}

// wantKey asks the source of a slot for a key frame, soon.
func (p *party) wantKey(ssrc uint32) {
	o := p.slotOf(ssrc)
	if o == nil || o.kind != video {
		return
	}
	if l := o.cur.Load(); l != nil {
		l.wantKey.Store(true)
	}
	if l := o.next.Load(); l != nil {
		l.wantKey.Store(true)
	}
}

// sendRTCP sends reports and requests to the party, encrypted.
func (p *party) sendRTCP(w *writer, pkts ...rtcp.Packet) {
	r := p.via.Load()
	if r == nil || len(pkts) == 0 {
		return
	}
	raw, err := rtcp.Marshal(pkts)
	if err != nil || len(raw) > packetSize-64 {
		return
	}
	p.out.mu.Lock()
	if p.out.srtp == nil {
		p.out.mu.Unlock()
		return
	}
	b, err := p.out.srtp.EncryptRTCP(w.next(), raw, nil)
	p.out.mu.Unlock()
	if err == nil {
		w.push(r, b)
	}
}
