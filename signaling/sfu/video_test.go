package sfu

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v4/vnet"
	"github.com/pion/webrtc/v4"
)

// stage is one layer of a test's video.
type stage struct {
	rid     string
	bitrate int
	track   *webrtc.TrackLocalStaticRTP
	key     atomic.Bool  // the next frame is to be a key frame
	asked   atomic.Int64 // requests for one
}

// film sends VP8 with the layers, 50 packets of a frame each per second and layer, key frames only when asked.
func film(t *testing.T, c *client, stages ...*stage) {
	t.Helper()
	var sender *webrtc.RTPSender
	var place *webrtc.RTPTransceiver
	for i, s := range stages {
		var opts []func(*webrtc.TrackLocalStaticRTP)
		if s.rid != "" {
			opts = append(opts, webrtc.WithRTPStreamID(s.rid))
		}
		var err error
		if s.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "camera", c.id, opts...); err != nil {
			t.Fatal(err)
		}
		s.key.Store(true)
		if i == 0 {
			x, err := c.pc.AddTransceiverFromTrack(s.track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
			if err != nil {
				t.Fatal(err)
			}
			place, sender = x, x.Sender()
		} else if err := sender.AddEncoding(s.track); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range stages {
		c.wg.Add(2)
		go c.requests(sender, s)
		go c.roll(place, s)
	}
}

// requests reads what receivers ask of a stage.
func (c *client) requests(sender *webrtc.RTPSender, s *stage) {
	defer c.wg.Done()
	for {
		var pkts []rtcp.Packet
		var err error
		if s.rid == "" {
			pkts, _, err = sender.ReadRTCP()
		} else {
			pkts, _, err = sender.ReadSimulcastRTCP(s.rid)
		}
		if err != nil {
			return
		}
		for _, p := range pkts {
			if _, ok := p.(*rtcp.PictureLossIndication); ok {
				s.asked.Add(1)
				s.key.Store(true)
			}
		}
	}
}

// roll sends a stage until the client ends. Each layer has its own numbers, times and picture ids.
func (c *client) roll(place *webrtc.RTPTransceiver, s *stage) {
	defer c.wg.Done()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	seq, ts, pic := uint16(rand.Uint32()), rand.Uint32(), uint16(rand.Uint32())&0x7FFF
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		seq, ts, pic = seq+1, ts+1800, (pic+1)&0x7FFF
		payload := make([]byte, max(40, s.bitrate/50/8))
		copy(payload, []byte{0x90, 0x80, 0x80 | byte(pic>>8), byte(pic), 1})
		if s.key.Swap(false) {
			payload[4] = 0
		}
		copy(payload[5:], s.rid)
		copy(payload[8:], fmt.Sprintf("%s/%d/", c.id, c.h.frames.Add(1)))
		p := &rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, SequenceNumber: seq, Timestamp: ts}, Payload: payload}
		for _, e := range place.Sender().GetParameters().HeaderExtensions {
			switch {
			case e.URI == midURI && place.Mid() != "":
				_ = p.SetExtension(uint8(e.ID), []byte(place.Mid()))
			case e.URI == ridURI && s.rid != "":
				_ = p.SetExtension(uint8(e.ID), []byte(s.rid))
			}
		}
		_ = s.track.WriteRTP(p)
	}
}

// frame is what a receiver sees of a packet of roll.
type frame struct {
	seq uint16
	ts  uint32
	pic uint16
	key bool
	rid byte
}

func (g got) frame() frame {
	b := g.pkt.Payload
	return frame{g.pkt.SequenceNumber, g.pkt.Timestamp, binary.BigEndian.Uint16(b[2:]) & 0x7FFF, b[4] == 0, b[5]}
}

// sees waits for a frame of the layer, and checks on the way that the stream goes on without a seam.
func (c *client) sees(rid byte, last *frame) {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case g := <-c.packets:
			f := g.frame()
			if d := int16(f.seq - last.seq); last.rid != 0 && d > 0 {
				if d == 1 && (f.pic != (last.pic+1)&0x7FFF || int32(f.ts-last.ts) <= 0) {
					c.t.Fatalf("after %+v came %+v", *last, f)
				}
				if d == 1 && f.rid != last.rid && !f.key {
					c.t.Fatalf("layer %c began without a key frame", f.rid)
				}
			}
			*last = f
			if f.rid == rid {
				return
			}
		case <-deadline:
			c.t.Fatalf("layer %c never came; %c is shown", rid, last.rid)
		}
	}
}

func layers() []*stage {
	return []*stage{{rid: "q", bitrate: 60_000}, {rid: "h", bitrate: 200_000}, {rid: "f", bitrate: 450_000}}
}

func TestSimulcastFollowsWhatTheReceiverWants(t *testing.T) {
	h := newHall(t, Options{})
	h.join("ann", clientOptions{setup: func(_ *webrtc.PeerConnection, c *client) { film(t, c, layers()...) }})
	bob := h.join("bob", clientOptions{video: 1})
	ready(t, bob)
	var last frame
	bob.sees('f', &last)
	for _, step := range []struct {
		limit int
		rid   byte
	}{{100_000, 'q'}, {300_000, 'h'}, {0, 'f'}} {
		if err := bob.control.SendText(fmt.Sprintf(`{"kind":"want","limit":%d}`, step.limit)); err != nil {
			t.Fatal(err)
		}
		bob.sees(step.rid, &last)
	}
}

// wire is a virtual network with the server and a host for each client.
type wire struct {
	t      *testing.T
	router *vnet.Router
	conn   net.PacketConn
	hosts  int
}

func newWire(t *testing.T) *wire {
	t.Helper()
	r, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "10.0.0.0/24", MinDelay: 5 * time.Millisecond, LoggerFactory: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, router: r, hosts: 10}
	n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{"10.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.AddNet(n); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Stop() })
	if w.conn, err = n.ListenPacket("udp4", "10.0.0.1:7000"); err != nil {
		t.Fatal(err)
	}
	return w
}

// host makes a network for a client; with a queue it gets packets only as fast as that lets them through.
func (w *wire) host(q vnet.Discipline) (*vnet.Net, string) {
	w.t.Helper()
	w.hosts++
	ip := fmt.Sprintf("10.0.0.%d", w.hosts)
	n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}})
	if err != nil {
		w.t.Fatal(err)
	}
	var nic vnet.NIC = n
	if q != nil {
		queue, err := vnet.NewQueue(n, q)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = queue.Close() })
		nic = queue
	}
	if err := w.router.AddNet(nic); err != nil {
		w.t.Fatal(err)
	}
	return n, ip
}

func TestConstrainedReceiverGetsALowerLayer(t *testing.T) {
	w := newWire(t)
	h := newHall(t, Options{Conns: []net.PacketConn{w.conn}})
	annNet, _ := w.host(nil)
	narrow := vnet.NewTBFQueue(10_000_000, 20_000, 30_000)
	bobNet, _ := w.host(narrow)
	h.join("ann", clientOptions{net: annNet, setup: func(_ *webrtc.PeerConnection, c *client) { film(t, c, layers()...) }})
	bob := h.join("bob", clientOptions{net: bobNet, video: 1})
	ready(t, bob)
	var last frame
	bob.sees('f', &last)
	narrow.SetRate(300_000)
	began := time.Now()
	nextBelow(bob, &last)
	t.Logf("a lower layer came after %v", time.Since(began).Round(time.Millisecond))
	narrow.SetRate(10_000_000)
	began = time.Now()
	drain(bob) // what came before
	last = frame{}
	bob.sees('f', &last)
	t.Logf("and the best one again after %v", time.Since(began).Round(time.Millisecond))
}

// nextBelow returns the layer of the next frame that is not the best one.
func nextBelow(c *client, last *frame) byte {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case g := <-c.packets:
			if f := g.frame(); f.rid != 'f' {
				*last = f
				return f.rid
			}
		case <-deadline:
			c.t.Fatal("the best layer went on through a third of the rate that it needs")
		}
	}
}

func TestLostPacketsAreSentAgain(t *testing.T) {
	w := newWire(t)
	h := newHall(t, Options{Conns: []net.PacketConn{w.conn}})
	annNet, annIP := w.host(nil)
	bobNet, bobIP := w.host(nil)
	var lost [2]atomic.Int64
	rng := rand.New(rand.NewPCG(1, 2))
	w.router.AddChunkFilter(func(c vnet.Chunk) bool {
		b := c.UserData()
		if len(b) < 100 || !isRTP(b) || isRTCP(b) {
			return true
		}
		from, to := c.SourceAddr().(*net.UDPAddr).IP.String(), c.DestinationAddr().(*net.UDPAddr).IP.String()
		drop := rng.IntN(100) < 10
		switch {
		case drop && from == annIP:
			lost[0].Add(1)
		case drop && to == bobIP:
			lost[1].Add(1)
		default:
			return true
		}
		return false
	})
	one := &stage{bitrate: 100_000}
	h.join("ann", clientOptions{net: annNet, setup: func(_ *webrtc.PeerConnection, c *client) { film(t, c, one) }})
	bob := h.join("bob", clientOptions{net: bobNet, video: 1})
	const run = 300
	seen := map[uint16]bool{}
	var first uint16
	begun := false
	deadline := time.After(patience)
	for have := 0; have < run; {
		select {
		case g := <-bob.packets:
			if !begun {
				begun, first = true, g.pkt.SequenceNumber
			}
			seen[g.pkt.SequenceNumber] = true
			for seen[first+uint16(have)] {
				have++
			}
		case <-deadline:
			t.Fatalf("packet %d never came; %d and %d were lost, %d sent again", have, lost[0].Load(), lost[1].Load(), h.s.Stats().Resent)
		}
	}
	if lost[0].Load() == 0 || lost[1].Load() == 0 || h.s.Stats().Resent == 0 {
		t.Fatalf("%d and %d were lost, %d sent again: nothing was tested", lost[0].Load(), lost[1].Load(), h.s.Stats().Resent)
	}
	t.Logf("%d packets without a gap; %d were lost before and %d behind the server, which sent %d again", run, lost[0].Load(), lost[1].Load(), h.s.Stats().Resent)
}

func TestKeyFrameRequestsAreThrottled(t *testing.T) {
	h := newHall(t, Options{})
	one := &stage{bitrate: 50_000}
	h.join("ann", clientOptions{setup: func(_ *webrtc.PeerConnection, c *client) { film(t, c, one) }})
	bob := h.join("bob", clientOptions{video: 1})
	var ssrc uint32
	select {
	case g := <-bob.packets:
		ssrc = g.pkt.SSRC
	case <-time.After(patience):
		t.Fatal("no video")
	}
	began, before := time.Now(), one.asked.Load()
	for time.Since(began) < 2*keyPause {
		if err := bob.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
			t.Fatal(err)
		}
		<-bob.packets // the pace
	}
	asked := one.asked.Load() - before
	if most := int64(time.Since(began)/keyPause) + 1; asked > most || asked == 0 {
		t.Fatalf("%d requests in %v got through, and should be 1 to %d", asked, time.Since(began), most)
	}
}

func TestWhoSpeaksIsShown(t *testing.T) {
	h := newHall(t, Options{Video: 1})
	both := func(id string) (*client, *webrtc.TrackLocalStaticRTP) {
		var tr *webrtc.TrackLocalStaticRTP
		c := h.join(id, clientOptions{setup: func(pc *webrtc.PeerConnection, c *client) {
			tr = addAudio(t, pc, c)
			film(t, c, &stage{bitrate: 30_000})
		}})
		return c, tr
	}
	ann, annMic := both("ann")
	cem, cemMic := both("cem")
	dia, diaMic := both("dia")
	bob := h.join("bob", clientOptions{video: 1})
	ready(t, ann, bob, cem, dia)
	videoSlot := func() string {
		for _, x := range bob.pc.GetTransceivers() {
			if x.Kind() == webrtc.RTPCodecTypeVideo {
				return x.Mid()
			}
		}
		return ""
	}
	ann.talk(annMic, 120)
	dia.talk(diaMic, 120)
	cem.talk(cemMic, 10)
	deadline := time.After(patience)
	for bob.shows(videoSlot()) != "cem" {
		select {
		case <-bob.controls:
		case <-deadline:
			t.Fatalf("bob sees %q, and cem speaks", bob.shows(videoSlot()))
		}
	}
	// A pin comes before whoever speaks.
	if err := bob.control.SendText(`{"kind":"want","pin":["dia"]}`); err != nil {
		t.Fatal(err)
	}
	for bob.shows(videoSlot()) != "dia" {
		select {
		case <-bob.controls:
		case <-deadline:
			t.Fatalf("bob sees %q, and pinned dia", bob.shows(videoSlot()))
		}
	}
}
