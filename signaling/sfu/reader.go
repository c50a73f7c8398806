package sfu

import (
	"encoding/binary"
	"errors"
	"net"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/pion/rtcp"
)

const maxStreams = 64 // SSRCs of a party in one connection

// reader takes packets apart. It belongs to one goroutine.
type reader struct {
	s     *Server
	plain []byte
	seqs  []uint16
}

func newReader(s *Server) *reader { return &reader{s: s, plain: make([]byte, packetSize)} }

// read reads a socket until it is closed: it is where packets go in and out.
func (s *Server) read(sock *socket) {
	d, w := newReader(s), newWriter(sock, &s.stats.out)
	ms := make([]ipv4.Message, batchSize)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, packetSize)}
	}
	for {
		n, err := sock.batch.ReadBatch(ms, 0)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			continue // an ICMP error of some receiver
		}
		now := time.Now()
		for i := range ms[:n] {
			m := &ms[i]
			d.datagram(w, m.Buffers[0][:m.N], m.Addr, sock, now)
		}
		w.flush()
	}
}

// datagram takes a packet from the socket.
func (d *reader) datagram(w *writer, b []byte, addr net.Addr, sock *socket, now time.Time) {
	key, ok := addrPort(addr)
	if !ok {
		return
	}
	if isSTUN(b) {
		d.s.stun(b, origin{key: key, addr: addr, sock: sock}, now)
		return
	}
	if r := d.s.index.find(key); r != nil {
		d.packet(w, r, b, now)
	}
}

// packet takes a packet from an address that is a party's.
func (d *reader) packet(w *writer, r *route, b []byte, now time.Time) {
	switch {
	case isRTP(b) && isRTCP(b):
		d.rtcp(w, r.p, b, now)
	case isRTP(b):
		d.rtp(w, r.p, b, now)
	case isDTLS(b):
		r.p.dtlsPacket(b)
	}
}

// rtp decrypts a packet and forwards it.
func (d *reader) rtp(w *writer, p *party, b []byte, now time.Time) {
	in := &p.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.srtp == nil || !in.allow(len(b), now) {
		return
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	l, known := in.streams[ssrc]
	if !known && len(in.streams) >= maxStreams {
		return
	}
	plain, err := in.srtp.DecryptRTP(d.plain[:0], b, &in.hdr)
	if err != nil {
		d.s.stats.bad.Add(1)
		return
	}
	d.s.stats.in.Add(1)
	p.heard.Store(now.UnixNano())
	h := &in.hdr
	if in.exts.twcc != 0 {
		if v := h.GetExtension(in.exts.twcc); len(v) == 2 {
			in.twcc.Record(ssrc, binary.BigEndian.Uint16(v), now.UnixMicro())
		}
	}
	if l == nil {
		if l = in.bind(ssrc); l == nil {
			in.streams[ssrc] = nil // another packet may still say what it is
			return
		}
	}
	pk := packet{seq: h.SequenceNumber, ts: h.Timestamp, codec: l.t.pts[h.PayloadType], marker: h.Marker, padding: h.Padding, payload: plain[h.MarshalSize():]}
	if pk.codec == noCodec {
		return
	}
	if v := ext(in, in.exts.level); len(v) == 1 && l.t.kind == audio {
		pk.level, pk.hasLevel = v[0], true
		l.t.loud.hear(v[0], now)
	}
	if v := ext(in, in.exts.turn); len(v) == 1 && l.t.kind == video {
		pk.turn, pk.hasTurn = v[0], true
	}
	l.bytes.Add(int64(len(b)))
	l.last.Store(now.UnixNano())
	use, lost := l.in.took(&pk, l.t.kind.clock(), now)
	if !use {
		return
	}
	if lost && l.t.kind == video {
		l.wantKey.Store(true)
	}
	l.keep(&pk)
	if subs := l.t.subs.Load(); subs != nil {
		for _, o := range *subs {
			o.take(w, l, &pk, now)
		}
	}
}

// ext returns a header extension of the packet in hand, nil if there is none.
func ext(in *inbound, id uint8) []byte {
	if id == 0 {
		return nil
	}
	return in.hdr.GetExtension(id)
}

// rtcp decrypts what a party reports, and does what it asks for.
func (d *reader) rtcp(w *writer, p *party, b []byte, now time.Time) {
	p.in.mu.Lock()
	if p.in.srtp == nil || !p.in.allow(len(b), now) {
		p.in.mu.Unlock()
		return
	}
	plain, err := p.in.srtp.DecryptRTCP(d.plain[:0], b, nil)
	p.in.mu.Unlock()
	if err != nil {
		d.s.stats.bad.Add(1)
		return
	}
	p.heard.Store(now.UnixNano())
	pkts, err := rtcp.Unmarshal(plain)
	if err != nil {
		return
	}
	for _, pkt := range pkts {
		switch pkt := pkt.(type) {
		case *rtcp.SenderReport:
			p.in.report(pkt, now)
			d.loss(p, pkt.Reports)
		case *rtcp.ReceiverReport:
			d.loss(p, pkt.Reports)
		case *rtcp.PictureLossIndication:
			p.wantKey(pkt.MediaSSRC)
		case *rtcp.FullIntraRequest:
			for _, f := range pkt.FIR {
				p.wantKey(f.SSRC)
			}
		case *rtcp.TransportLayerNack:
			if o := p.slotOf(pkt.MediaSSRC); o != nil {
				d.seqs = d.seqs[:0]
				for _, n := range pkt.Nacks {
					d.seqs = append(d.seqs, n.PacketList()...)
				}
				o.resend(w, d.seqs[:min(len(d.seqs), len(o.sent))], now)
			}
		case *rtcp.TransportLayerCC:
			p.out.bwe.feedback(pkt)
		}
	}
}

// loss tells the estimator of a party without transport-wide feedback what it lost.
func (d *reader) loss(p *party, reports []rtcp.ReceptionReport) {
	worst := -1
	for _, r := range reports {
		if o := p.slotOf(r.SSRC); o != nil && o.kind == video {
			worst = max(worst, int(r.FractionLost))
		}
	}
	if worst >= 0 {
		p.out.bwe.lost(float64(worst) / 256)
	}
}
