package broker_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/signaling/sdp"
)

// speaker is a party of a call through the SFU, with a connection of its own.
type speaker struct {
	*client
	party string
	pc    *webrtc.PeerConnection
	mic   *webrtc.TrackLocalStaticRTP
	heard chan string // whose frames came
}

// connects offers to the SFU, a microphone and slots for so many others, and takes its answer.
func (p *speaker) connects(call string, others int) {
	p.t.Helper()
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	var m webrtc.MediaEngine
	err := m.RegisterDefaultCodecs()
	if err == nil {
		p.pc, err = webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(&m)).NewPeerConnection(webrtc.Configuration{})
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = p.pc.GracefulClose() })
	p.pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			pkt, _, err := tr.ReadRTP()
			if err != nil {
				return
			}
			select {
			case p.heard <- string(pkt.Payload):
			default:
			}
		}
	})
	if p.mic, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "mic", p.name); err != nil {
		p.t.Fatal(err)
	}
	if _, err = p.pc.AddTransceiverFromTrack(p.mic, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		p.t.Fatal(err)
	}
	for range others {
		if _, err = p.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			p.t.Fatal(err)
		}
	}
	o, err := p.pc.CreateOffer(nil)
	if err == nil {
		err = p.pc.SetLocalDescription(o)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.signals(call, "sfu", "offer", o.SDP)
	for {
		var x told
		if err := json.Unmarshal([]byte(p.pick("u/"+p.name+"/calls/"+p.party).payload), &x); err != nil {
			p.t.Fatal(err)
		}
		if x.Type != "answer" {
			continue
		}
		if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: plainSDP(p.t, x.Body)}); err != nil {
			p.t.Fatal(err)
		}
		return
	}
}

// plainSDP reads the body of an offer or answer.
func plainSDP(t *testing.T, body json.RawMessage) string {
	t.Helper()
	var text string
	if json.Unmarshal(body, &text) == nil {
		return text
	}
	var z struct{ Z string }
	if err := json.Unmarshal(body, &z); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(z.Z)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := sdp.Inflate(raw, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

// Five in a call are too many for connections from each to each: they meet at the SFU of the server, and hear each other there.
func TestFiveInACallHearEachOtherThroughTheSFU(t *testing.T) {
	fiveHearEachOther(t, serve(t), "127.0.0.1")
}

// The same where clients and server have IPv6 alone.
func TestFiveInACallThroughTheSFUOverIPv6(t *testing.T) {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no ::1:", err)
	}
	_ = c.Close()
	fiveHearEachOther(t, serve(t, func(c *config.Config) { c.SFU.Enabled, c.SFU.Listen = "true", "[::1]:0" }), "::1")
}

// fiveHearEachOther has five meet at an SFU whose candidates have that address.
func fiveHearEachOther(t *testing.T, s *testServer, at string) {
	names := []string{"ana", "bob", "cas", "dee", "eli"}
	var all []*speaker
	for _, n := range names {
		all = append(all, &speaker{client: s.phone(n, n), heard: make(chan string, 1024)})
	}
	s.group(names[0], "crew", names[1:]...)
	all[4].want("user.update", `{"relay":"always"}`) // the SFU does without a client's candidates, and tells nobody where it is
	var call string
	for i, p := range all {
		if i == 0 {
			call, p.party = p.starts("c/crew/call", `{"media":["audio"]}`)
		} else {
			var code byte
			if _, p.party, code = p.client.call("k/"+call+"/join", ""); code != 0 {
				t.Fatalf("join 0x%02X", code)
			}
		}
	}
	for _, p := range all {
		p.connects(call, len(all)-1)
		for line := range strings.Lines(p.pc.RemoteDescription().SDP) {
			if f := strings.Fields(line); strings.HasPrefix(line, "a=candidate:") && f[4] != at {
				t.Errorf("the SFU tells %s", line)
			}
		}
		for _, transport := range []string{" 1 udp ", " 1 tcp "} {
			if !strings.Contains(p.pc.RemoteDescription().SDP, transport) {
				t.Errorf("the SFU has no candidate for%s", transport)
			}
		}
	}
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := uint16(0); ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for _, p := range all {
				_ = p.mic.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: n, Timestamp: uint32(n) * 960}, Payload: []byte("from " + p.name)})
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for _, p := range all {
		missing := map[string]bool{}
		for _, o := range all {
			if o != p {
				missing["from "+o.name] = true
			}
		}
		for deadline := time.After(patience); len(missing) > 0; {
			select {
			case from := <-p.heard:
				delete(missing, from)
			case <-deadline:
				t.Fatalf("%s hears nothing %v", p.name, missing)
			}
		}
	}
	if m := s.get("/metrics"); !strings.Contains(m, fmt.Sprintf("\npetrel_sfu_parties %d\n", len(all))) {
		t.Error("the metrics know of no connections to the SFU")
	}
	// A bad offer is refused in its PUBACK, and who leaves is forgotten.
	all[0].barred(0x99, "k/"+call+"/signal", `{"to":"sfu","type":"offer","body":`+string(mustMarshal(t, strings.Replace(offer, "a=rtcp-mux\r\n", "", 1)))+`}`)
	for _, p := range all[1:] {
		p.does(call, "leave", "")
	}
	for deadline := time.Now().Add(patience); !strings.Contains(s.get("/metrics"), "\npetrel_sfu_parties 1\n"); {
		if time.Now().After(deadline) {
			t.Fatal("who left is still at the SFU")
		}
	}
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
