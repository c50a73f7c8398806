package sfu

import (
	"sync/atomic"
	"time"
)

const (
	sentVideo = 512 // packets of a slot whose place is known, so that they can be sent again
	sentAudio = 64
	blindWait = 3 * time.Second // for a key frame; then the layer is changed at any frame
	slotWait  = time.Second     // for the party to say that it has the answer with a slot; then the slot begins anyway
)

// slot is a stream of packets to a party: its SSRC, sequence numbers and timestamps go on whatever is shown in it.
type slot struct {
	p    *party
	mid  string
	kind kind
	ssrc uint32
	pts  [codecs]uint8 // payload type + 1 by codec; 0: the party doesn't take it. Guarded by p.out.mu
	nack bool          // the party may ask for packets again; guarded by p.out.mu

	// Server.run's own.
	source  *track
	version int       // of the answer that tells of the slot
	from    time.Time // when the slot may begin: what comes before its answer is lost to the party, a key frame above all

	cur   atomic.Pointer[layer] // what is forwarded; written under p.out.mu
	next  atomic.Pointer[layer] // what is to be, from its next key frame on; written under p.out.mu
	since atomic.Int64          // ns when next was set

	// Guarded by p.out.mu.
	begun    bool
	seqOff   uint16
	tsOff    uint32
	floor    uint16 // no number below is used any more: it belongs to what was shown before, or is forgotten
	epoch    uint32 // of cur, when it was spliced in
	lastSeq  uint16
	lastTS   uint32
	lastAt   time.Time
	picOff   uint16
	tl0Off   uint8
	lastPic  uint16
	lastTL0  uint8
	frameTS  uint32 // of next, to see where its frames begin
	switches int
	packets  uint32
	octets   uint32
	sent     []sentAt
}

// sentAt says what went out under a sequence number.
type sentAt struct {
	place
	from  *layer
	inSeq uint16
	again time.Time // when it was last sent again
}

func newSlot(p *party, mid string, k kind, ssrc uint32) *slot {
	n := sentAudio
	if k == video {
		n = sentVideo
	}
	return &slot{p: p, mid: mid, kind: k, ssrc: ssrc, sent: make([]sentAt, n)}
}

// take forwards a packet of the layer, if the slot shows it or can begin to.
func (o *slot) take(w *writer, l *layer, pk *packet, now time.Time) {
	if o.cur.Load() != l && o.next.Load() != l {
		return
	}
	p := o.p
	r := p.via.Load()
	if r == nil {
		return
	}
	p.out.mu.Lock()
	b := o.rewrite(w.next(), l, pk, now)
	p.out.mu.Unlock()
	if b != nil {
		w.push(r, b)
	}
}

// rewrite appends the packet as it goes out, encrypted; nil: it doesn't. Called with p.out.mu held.
func (o *slot) rewrite(dst []byte, l *layer, pk *packet, now time.Time) []byte {
	out := &o.p.out
	pt := o.pts[pk.codec]
	if out.srtp == nil || pt == 0 {
		return nil
	}
	switch {
	case o.cur.Load() != l:
		if !o.change(l, pk, now) {
			return nil
		}
	case o.epoch != l.in.epoch:
		o.splice(l, pk, now)
	}
	seq := pk.seq + o.seqOff
	if int16(seq-o.floor) < 0 || o.used(seq) {
		return nil
	}
	pl := place{seq: seq, ts: pk.ts + o.tsOff, pic: o.picOff, tl0: o.tl0Off}
	x := &out.audioExts
	if o.kind == video {
		x = &out.videoExts
		if x.twcc != 0 {
			pl.twcc = out.twcc
			out.twcc++
		}
	}
	b := appendPacket(dst, pk, pl, o.ssrc, pt-1, x)
	size := len(b)
	b, err := out.srtp.EncryptRTP(b, b, &out.hdr)
	if err != nil {
		return nil
	}
	o.sent[int(pl.seq)%len(o.sent)] = sentAt{place: pl, from: l, inSeq: pk.seq}
	if int16(pl.seq-o.lastSeq) > 0 || o.packets == 0 {
		o.lastSeq, o.lastTS, o.lastAt = pl.seq, pl.ts, now
		if int(o.lastSeq-o.floor) >= len(o.sent) {
			o.floor = o.lastSeq - uint16(len(o.sent)) + 1
		}
		if pk.codec == vp8 {
			pic, tl0 := pictureVP8(pk.payload)
			o.lastPic, o.lastTL0 = pic+o.picOff, tl0+o.tl0Off
		}
	}
	o.packets++
	o.octets += uint32(len(pk.payload))
	if x.twcc != 0 {
		out.bwe.sent(&out.hdr, pl.twcc, size)
	}
	return b
}

// change makes the layer the one that is shown, if the packet is where that can happen.
func (o *slot) change(l *layer, pk *packet, now time.Time) bool {
	if o.next.Load() != l {
		return false
	}
	if o.kind == video && !keyFrame(pk) {
		begins := o.frameTS != 0 && pk.ts != o.frameTS
		o.frameTS = pk.ts
		if !begins || now.UnixNano()-o.since.Load() < int64(blindWait) {
			return false
		}
	}
	o.splice(l, pk, now)
	o.switches++
	o.frameTS = 0
	o.cur.Store(l)
	o.next.Store(nil)
	return true
}

// splice makes the packet the one that follows what went out last.
func (o *slot) splice(l *layer, pk *packet, now time.Time) {
	if o.begun {
		o.seqOff = o.lastSeq + 1 - pk.seq
		passed := max(1, now.Sub(o.lastAt).Microseconds()*o.kind.clock()/1_000_000)
		o.tsOff = o.lastTS + uint32(passed) - pk.ts
		if pk.codec == vp8 {
			pic, tl0 := pictureVP8(pk.payload)
			o.picOff, o.tl0Off = o.lastPic+1-pic, o.lastTL0+1-tl0
		}
	}
	o.begun, o.floor, o.epoch = true, pk.seq+o.seqOff, l.in.epoch
}

// used reports whether a number of the window was sent already: SRTP must never see it with another content.
func (o *slot) used(seq uint16) bool {
	e := &o.sent[int(seq)%len(o.sent)]
	return e.from != nil && e.seq == seq
}

// aim makes the layer the next one to be shown; nil: nothing from now on. what is shown goes on until then if it is of the same
// track. Server.run calls it.
func (o *slot) aim(l *layer, now time.Time) {
	if l != nil && now.Before(o.from) {
		return
	}
	o.p.out.mu.Lock()
	defer o.p.out.mu.Unlock()
	cur := o.cur.Load()
	if l == nil {
		o.cur.Store(nil)
		o.next.Store(nil)
		return
	}
	if l == cur {
		o.next.Store(nil)
		return
	}
	if cur != nil && cur.t != l.t {
		o.cur.Store(nil)
	}
	if o.next.Load() == l {
		return
	}
	o.frameTS = 0
	o.since.Store(now.UnixNano())
	o.next.Store(l)
	if o.kind == video {
		l.wantKey.Store(true)
	}
}

// resend sends what the receiver misses again, once in 20 ms.
func (o *slot) resend(w *writer, seqs []uint16, now time.Time) {
	p := o.p
	r := p.via.Load()
	if r == nil {
		return
	}
	for _, seq := range seqs {
		p.out.mu.Lock()
		e := &o.sent[int(seq)%len(o.sent)]
		if e.from == nil || e.seq != seq || now.Sub(e.again) < 20*time.Millisecond || p.out.srtp == nil || !o.nack {
			p.out.mu.Unlock()
			continue
		}
		e.again = now
		x := &p.out.audioExts
		if o.kind == video {
			x = &p.out.videoExts
		}
		b := e.from.again(w.next(), e.inSeq, e.place, o.ssrc, &o.pts, x)
		if b == nil {
			p.out.mu.Unlock()
			continue
		}
		b, err := p.out.srtp.EncryptRTP(b, b, &p.out.hdr)
		p.out.mu.Unlock()
		if err == nil {
			p.room.s.stats.resent.Add(1)
			w.push(r, b)
		}
	}
}
