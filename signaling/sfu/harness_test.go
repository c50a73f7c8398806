package sfu

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/transport/v4"
	"github.com/pion/webrtc/v4"
)

// patience is how long a test waits for what must come; nothing waits that long when things work.
const patience = 60 * time.Second

// hall is a server and its clients, with the signalling between them.
type hall struct {
	t       *testing.T
	s       *Server
	mu      sync.Mutex
	clients map[string]*client
	frames  atomic.Int64 // that were sent
}

func newHall(t *testing.T, o Options) *hall {
	t.Helper()
	h := &hall{t: t, clients: map[string]*client{}}
	if o.Listen == "" && len(o.Conns) == 0 {
		o.Listen = "127.0.0.1:0"
	}
	o.Send = func(_, party, kind, _ string, body []byte) {
		h.mu.Lock()
		c := h.clients[party]
		h.mu.Unlock()
		if c != nil {
			c.signals <- signal{kind, append([]byte(nil), body...)}
		}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.s = s
	t.Cleanup(func() {
		h.mu.Lock()
		clients := h.clients
		h.mu.Unlock()
		for _, c := range clients {
			c.close()
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

type signal struct {
	kind string
	body []byte
}

// got is a packet that a client received, and the slot that it came in.
type got struct {
	mid string
	ext byte // audio level, 0xFF: none
	pkt *rtp.Packet
}

// client is a pion peer connection that does its duty (see the package comment).
type client struct {
	t        *testing.T
	h        *hall
	id       string
	pc       *webrtc.PeerConnection
	signals  chan signal
	done     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
	want     [2]int
	packets  chan got
	controls chan map[string]any
	messages chan []byte
	data     *webrtc.DataChannel
	control  *webrtc.DataChannel
	mu       sync.Mutex
	where    map[string]string // party by mid
	senders  []*webrtc.RTPSender
}

type clientOptions struct {
	net   transport.Net
	setup func(*webrtc.PeerConnection, *client) // adds what it sends
	video int                                   // slots for video that are offered at once
	chain func(*webrtc.MediaEngine, *interceptor.Registry) error
	tcp   bool
}

// join makes a client that takes part in the call "c".
func (h *hall) join(id string, o clientOptions) *client {
	h.t.Helper()
	c := &client{t: h.t, h: h, id: id, signals: make(chan signal, 64), done: make(chan struct{}), packets: make(chan got, 65536),
		controls: make(chan map[string]any, 1024), messages: make(chan []byte, 1024), where: map[string]string{}}
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		h.t.Fatal(err)
	}
	if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: levelURI}, webrtc.RTPCodecTypeAudio); err != nil {
		h.t.Fatal(err)
	}
	reg := &interceptor.Registry{}
	if o.chain == nil {
		o.chain = webrtc.RegisterDefaultInterceptors
	}
	if err := o.chain(m, reg); err != nil {
		h.t.Fatal(err)
	}
	if err := webrtc.ConfigureSimulcastExtensionHeaders(m); err != nil {
		h.t.Fatal(err)
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	if o.tcp {
		se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	}
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	se.LoggerFactory = silent{}
	if testing.Verbose() {
		f := logging.NewDefaultLoggerFactory()
		f.DefaultLogLevel = logging.LogLevelError
		se.LoggerFactory = f
	}
	if o.net != nil {
		se.SetNet(o.net)
	}
	var err error
	c.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(reg), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		h.t.Fatal(err)
	}
	c.channels()
	c.pc.OnTrack(c.track)
	if o.setup != nil {
		o.setup(c.pc, c)
	}
	for range o.video {
		c.slot(webrtc.RTPCodecTypeVideo)
	}
	h.mu.Lock()
	h.clients[id] = c
	h.mu.Unlock()
	c.wg.Add(1)
	go c.run()
	return c
}

func (c *client) slot(k webrtc.RTPCodecType) {
	if _, err := c.pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		c.t.Error(err)
	}
}

func (c *client) channels() {
	var err error
	if c.control, err = c.pc.CreateDataChannel(controlName, nil); err != nil {
		c.t.Fatal(err)
	}
	if c.data, err = c.pc.CreateDataChannel(dataName, nil); err != nil {
		c.t.Fatal(err)
	}
	c.control.OnMessage(func(m webrtc.DataChannelMessage) {
		var v map[string]any
		if err := json.Unmarshal(m.Data, &v); err != nil {
			c.t.Error(err)
			return
		}
		if v["kind"] == "slots" {
			c.mu.Lock()
			for _, e := range v["slots"].([]any) {
				e := e.(map[string]any)
				who, _ := e["party"].(string)
				c.where[e["mid"].(string)] = who
			}
			c.mu.Unlock()
		}
		c.controls <- v
	})
	c.data.OnMessage(func(m webrtc.DataChannelMessage) { c.messages <- append([]byte(nil), m.Data...) })
}

// shows returns the party in a slot.
func (c *client) shows(mid string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.where[mid]
}

// track reads a slot until the connection ends.
func (c *client) track(tr *webrtc.TrackRemote, recv *webrtc.RTPReceiver) {
	mid := recv.RTPTransceiver().Mid()
	var level uint8
	for _, e := range recv.GetParameters().HeaderExtensions {
		if e.URI == levelURI {
			level = uint8(e.ID)
		}
	}
	for {
		p, _, err := tr.ReadRTP()
		if err != nil {
			return
		}
		g := got{mid: mid, ext: 0xFF, pkt: p}
		if v := p.GetExtension(level); level != 0 && len(v) == 1 {
			g.ext = v[0]
		}
		select {
		case c.packets <- g:
		case <-c.done:
			return
		default:
		}
	}
}

// run offers, and offers again when the server asks for more slots.
func (c *client) run() {
	defer c.wg.Done()
	if !c.offer() {
		return
	}
	for {
		select {
		case <-c.done:
			return
		case s := <-c.signals:
			if s.kind != "negotiate" {
				c.t.Errorf("%s: %s came without an offer", c.id, s.kind)
				return
			}
			var v struct{ Want struct{ Audio, Video int } }
			if err := json.Unmarshal(s.body, &v); err != nil {
				c.t.Error(err)
			}
			for c.want[0] < v.Want.Audio {
				c.want[0]++
				c.slot(webrtc.RTPCodecTypeAudio)
			}
			for c.want[1] < v.Want.Video {
				c.want[1]++
				c.slot(webrtc.RTPCodecTypeVideo)
			}
			if !c.offer() {
				return
			}
		}
	}
}

// offer makes one exchange.
func (c *client) offer() bool {
	c.want = [2]int{}
	for _, t := range c.pc.GetTransceivers() {
		if d := t.Direction(); d == webrtc.RTPTransceiverDirectionRecvonly || d == webrtc.RTPTransceiverDirectionSendrecv {
			c.want[map[webrtc.RTPCodecType]int{webrtc.RTPCodecTypeAudio: 0, webrtc.RTPCodecTypeVideo: 1}[t.Kind()]]++
		}
	}
	o, err := c.pc.CreateOffer(nil)
	if err != nil {
		return c.failed(err)
	}
	if err := c.pc.SetLocalDescription(o); err != nil {
		return c.failed(err)
	}
	if err := c.h.s.Signal("c", c.id, "user-"+c.id, "offer", []byte(c.pc.LocalDescription().SDP)); err != nil {
		return c.failed(err)
	}
	var again []signal
	for {
		select {
		case <-c.done:
			return false
		case s := <-c.signals:
			if s.kind != "answer" {
				again = append(again, s)
				continue
			}
			text := string(s.body)
			if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: text}); err != nil {
				return c.failed(fmt.Errorf("%w\n%s", err, text))
			}
			if c.control != nil && c.control.ReadyState() == webrtc.DataChannelStateOpen {
				var version int
				if _, err := fmt.Sscanf(text, "v=0\r\no=- %s %d", new(string), &version); err != nil {
					return c.failed(err)
				}
				if err := c.control.SendText(fmt.Sprintf(`{"kind":"has","version":%d}`, version)); err != nil {
					return c.failed(err)
				}
			}
			for _, s := range again {
				c.signals <- s
			}
			return true
		}
	}
}

func (c *client) failed(err error) bool {
	select {
	case <-c.done:
	default:
		c.t.Errorf("%s: %v", c.id, err)
	}
	return false
}

func (c *client) close() {
	c.once.Do(func() {
		close(c.done)
		_ = c.pc.GracefulClose()
		c.wg.Wait()
	})
}

// leave ends the client's part as the signalling would.
func (c *client) leave() {
	c.h.s.Gone("c", c.id)
	c.close()
}

// addAudio makes the client send opaque audio frames, each with the audio level.
func addAudio(t *testing.T, pc *webrtc.PeerConnection, c *client) *webrtc.TrackLocalStaticRTP {
	t.Helper()
	tr, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "mic", c.id)
	if err != nil {
		t.Fatal(err)
	}
	c.send(tr)
	return tr
}

// send adds a track that is sent only.
func (c *client) send(tr webrtc.TrackLocal) *webrtc.RTPSender {
	x, err := c.pc.AddTransceiverFromTrack(tr, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		c.t.Fatal(err)
	}
	s := x.Sender()
	c.senders = append(c.senders, s)
	c.wg.Add(1)
	go func() { // interceptors work only while somebody reads
		defer c.wg.Done()
		buf := make([]byte, 1500)
		for {
			if _, _, err := s.Read(buf); err != nil {
				return
			}
		}
	}()
	return s
}

// talk sends a frame every few milliseconds until the test ends. The payload is the client's name, then a number.
func (c *client) talk(tr *webrtc.TrackLocalStaticRTP, level byte) {
	c.talkEvery(5*time.Millisecond, tr, level)
}

func (c *client) talkEvery(pause time.Duration, tr *webrtc.TrackLocalStaticRTP, level byte) {
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-c.done:
				return
			case <-tick.C:
			}
			p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(n), Timestamp: uint32(n * 240)}, Payload: opaque(c.id, int(c.h.frames.Add(1)))}
			for _, s := range c.senders[:1] {
				for _, e := range s.GetParameters().HeaderExtensions {
					if e.URI == levelURI {
						_ = p.SetExtension(uint8(e.ID), []byte{level})
					}
				}
			}
			_ = tr.WriteRTP(p)
		}
	}()
}

// opaque is a frame of 64 bytes that says who sent it, and nothing that a codec would know.
func opaque(id string, n int) []byte {
	head := fmt.Sprintf("%s/%d/", id, n)
	return []byte(head + strings.Repeat(string(rune('a'+n%26)), 64-len(head)))
}

// hears waits until packets of all the parties came, each unchanged.
func (c *client) hears(parties ...string) {
	c.t.Helper()
	missing := map[string]bool{}
	for _, p := range parties {
		missing[p] = true
	}
	deadline := time.After(patience)
	for len(missing) > 0 {
		select {
		case g := <-c.packets:
			id, _, _ := strings.Cut(string(g.pkt.Payload), "/")
			delete(missing, id)
		case <-deadline:
			c.t.Fatalf("%s never heard %v", c.id, missing)
		}
	}
}
