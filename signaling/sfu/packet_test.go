package sfu

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/rtp"
	rtpcodecs "github.com/pion/rtp/codecs"
	"github.com/pion/srtp/v3"
	"pgregory.net/rapid"
)

// bench is a slot without a network: what it sends is decrypted by its receiver.
func newBenchSlot(t testing.TB, k kind) (*slot, *srtp.Context) {
	t.Helper()
	key, salt := make([]byte, 16), make([]byte, 12)
	out, err := srtp.CreateContext(key, salt, srtp.ProtectionProfileAeadAes128Gcm)
	if err != nil {
		t.Fatal(err)
	}
	in, err := srtp.CreateContext(key, salt, srtp.ProtectionProfileAeadAes128Gcm, srtp.SRTPReplayProtection(1<<14))
	if err != nil {
		t.Fatal(err)
	}
	p := &party{id: "bob"}
	p.out.srtp, p.out.bwe = out, newEstimator()
	o := newSlot(p, "0", k, 4711)
	o.pts[opus], o.pts[vp8] = 112, 97
	return o, in
}

// No number is ever used for two packets, whatever a sender does with its own: SRTP would give its keys away.
func TestNoNumberIsUsedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, in := newBenchSlot(&testing.T{}, video)
		src := &party{id: "ann"}
		tr := newTrack(src, "0", video, []string{"a", "b"})
		now := time.Unix(1000, 0)
		seqs := []uint16{uint16(rapid.Uint16().Draw(t, "a")), uint16(rapid.Uint16().Draw(t, "b"))}
		o.next.Store(tr.layers[0])
		buf, n := make([]byte, 0, packetSize), 0
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond)
			i := rapid.IntRange(0, 1).Draw(t, "layer")
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				o.aim(tr.layers[i], now)
			case 1: // the sender begins anew
				seqs[i] = rapid.Uint16().Draw(t, "anew")
				tr.layers[i].in.epoch++
			case 2: // a gap
				seqs[i] += uint16(rapid.IntRange(1, 2000).Draw(t, "gap"))
			}
			seq := seqs[i] - uint16(rapid.IntRange(0, 40).Draw(t, "late"))
			seqs[i]++
			n++
			pk := packet{seq: seq, ts: uint32(n) * 3000, codec: vp8, payload: []byte{0x90, 0x80, 0x80 | byte(n>>8), byte(n), 0, byte(n)}}
			b := o.rewrite(buf[:0], tr.layers[i], &pk, now)
			if b == nil {
				continue
			}
			if _, err := in.DecryptRTP(nil, b, nil); err != nil {
				t.Fatalf("packet %d can't be taken by its receiver: %v", n, err)
			}
		}
	})
}

// What is sent again is the same to the last byte.
func TestSentAgainIsTheSame(t *testing.T) {
	o, in := newBenchSlot(t, video)
	o.p.out.videoExts = exts{twcc: 3, turn: 4}
	o.p.out.twcc = 77
	tr := newTrack(&party{id: "ann"}, "0", video, nil)
	l := tr.layers[0]
	o.next.Store(l)
	pk := packet{seq: 9, ts: 90, codec: vp8, marker: true, hasTurn: true, turn: 1, payload: []byte{0x90, 0x80, 0x81, 2, 0, 1, 2, 3}}
	l.keep(&pk)
	first := bytes.Clone(o.rewrite(nil, l, &pk, time.Unix(1, 0)))
	e := o.sent[int(o.lastSeq)%len(o.sent)]
	again := l.again(nil, e.inSeq, e.place, o.ssrc, &o.pts, &o.p.out.videoExts)
	again, err := o.p.out.srtp.EncryptRTP(again, again, nil)
	if err != nil || !bytes.Equal(first, again) {
		t.Fatalf("%x was sent, and then %x (%v)", first, again, err)
	}
	plain, err := in.DecryptRTP(nil, first, nil)
	if err != nil {
		t.Fatal(err)
	}
	var p rtp.Packet
	if err := p.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	if v := p.GetExtension(3); !bytes.Equal(v, []byte{0, 77}) || !bytes.Equal(p.GetExtension(4), []byte{1}) || !p.Marker || p.SSRC != 4711 || p.PayloadType != 96 {
		t.Fatalf("the header is %+v", p.Header)
	}
}

// Of frames in which no key frame can be seen one is as good as any, after a while.
func TestLayersOfOpaqueVideoChangeAtAFrame(t *testing.T) {
	o, _ := newBenchSlot(t, video)
	tr := newTrack(&party{id: "ann"}, "0", video, []string{"a", "b"})
	now := time.Unix(1000, 0)
	hidden := []byte{0x00, 0xFF, 0xFF} // the middle of a frame, for all that VP8 says
	o.cur.Store(tr.layers[0])
	o.aim(tr.layers[1], now)
	give := func(seq uint16, ts uint32) bool {
		return o.rewrite(nil, tr.layers[1], &packet{seq: seq, ts: ts, codec: vp8, payload: hidden}, now) != nil
	}
	if give(1, 3000) || give(2, 6000) {
		t.Fatal("the layer was changed where no key frame was seen")
	}
	now = now.Add(blindWait)
	if give(3, 6000) {
		t.Fatal("the layer was changed within a frame")
	}
	if !give(4, 9000) || o.cur.Load() != tr.layers[1] {
		t.Fatal("the layer is never changed")
	}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	o, _ := newBenchSlot(t, audio)
	o.p.out.audioExts = exts{level: 1}
	l := newTrack(&party{id: "ann"}, "0", audio, nil).layers[0]
	o.next.Store(l)
	pk := packet{codec: opus, hasLevel: true, level: 3, payload: make([]byte, 64)}
	buf := make([]byte, 0, packetSize)
	now := time.Unix(1, 0)
	if n := testing.AllocsPerRun(1000, func() {
		pk.seq++
		pk.ts += 960
		l.in.took(&pk, 48000, now)
		l.keep(&pk)
		if o.rewrite(buf, l, &pk, now) == nil {
			t.Fatal("not forwarded")
		}
	}); n > 0 {
		t.Fatalf("%v allocations for a packet", n)
	}
}

func TestWhoSendsTooMuchIsCut(t *testing.T) {
	in := &inbound{rate: 1000}
	now := time.Unix(1, 0)
	sent := 0
	for range 100 {
		if in.allow(100, now) {
			sent += 100
		}
	}
	if sent != 1000 {
		t.Fatalf("%d bytes went through at once, at 1000 a second", sent)
	}
	if now = now.Add(100 * time.Millisecond); !in.allow(100, now) || in.allow(100, now) {
		t.Fatal("a tenth of a second is not a tenth of the rate")
	}
}

func TestGapsAreNoticed(t *testing.T) {
	var s stats
	now := time.Unix(1, 0)
	for _, seq := range []uint16{65533, 65534, 1, 0} {
		if use, lost := s.took(&packet{seq: seq}, 90000, now); !use || lost {
			t.Fatal("too much is lost")
		}
	}
	ask, lost := s.due(nil, now.Add(time.Second))
	if len(ask) != 1 || ask[0] != 65535 || lost {
		t.Fatalf("asks for %v", ask)
	}
	if ask, _ = s.due(nil, now.Add(time.Second)); len(ask) != 0 {
		t.Fatalf("asks again at once: %v", ask)
	}
	if _, lost = s.due(nil, now.Add(3*time.Second)); !lost {
		t.Fatal("what does not come is never given up")
	}
	if _, lost := s.took(&packet{seq: 500}, 90000, now); !lost || len(s.missing) != 0 {
		t.Fatal("a long gap is asked for packet by packet")
	}
	// One packet from far away is a stray; a second one is a sender that began anew.
	epoch := s.epoch
	if use, _ := s.took(&packet{seq: 30000}, 90000, now); use || s.epoch != epoch {
		t.Fatal("a stray packet was taken")
	}
	if use, _ := s.took(&packet{seq: 30001}, 90000, now); !use || s.epoch == epoch {
		t.Fatal("a sender that began anew was not noticed")
	}
}

func FuzzPayloads(f *testing.F) {
	f.Add([]byte{0x90, 0xE0, 0x81, 2, 3, 4, 0, 1}, uint16(5), uint8(6))
	f.Add([]byte{24, 0, 2, 7, 1, 0, 1, 5}, uint16(1), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, pic uint16, tl0 uint8) {
		for _, c := range []codec{opus, vp8, h264} {
			pk := packet{codec: c, payload: b}
			keyFrame(&pk)
			out := appendPacket(nil, &pk, place{seq: 1, pic: pic, tl0: tl0, twcc: 9}, 5, 96, &exts{level: 1, twcc: 2})
			var p rtp.Packet
			if err := p.Unmarshal(out); err != nil {
				t.Fatal(err)
			}
			if (c != vp8 || pic == 0 && tl0 == 0) && !bytes.Equal(p.Payload, b) {
				t.Fatalf("%x became %x", b, p.Payload)
			}
		}
		// pion reads the same picture id.
		var want rtpcodecs.VP8Packet
		if rest, err := want.Unmarshal(b); err == nil && len(rest) > 0 {
			if got, l := pictureVP8(b); got != want.PictureID || l != want.TL0PICIDX {
				t.Fatalf("%x: picture %d, %d, and pion says %d, %d", b, got, l, want.PictureID, want.TL0PICIDX)
			}
		}
	})
}

// A reader takes any bytes.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte{0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2})
	f.Add([]byte{22, 254, 253, 0, 0})
	s, err := New(Options{Listen: "127.0.0.1:0", Send: func(string, string, string, string, []byte) {}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	d, w := newReader(s), newWriter(s.socks[0], &s.stats.out)
	_, in := newBenchSlot(f, audio)
	r := &room{s: s, id: "c", parties: map[string]*party{}}
	p := r.join("ann", "ann", &offer{ufrag: "abcd"}, time.Now())
	p.dtlsRun.Do(func() {})
	p.in.srtp = in
	rt := &route{p: p, addr: s.socks[0].LocalAddr(), sock: s.socks[0]}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(make([]byte, 0, packetSize), b[:min(len(b), packetSize)]...)
		s.stun(b, origin{addr: rt.addr, sock: rt.sock}, time.Now())
		d.packet(w, rt, b, time.Now())
		w.n = 0
	})
}
