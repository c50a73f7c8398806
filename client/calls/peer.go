package calls

import (
	"slices"
	"time"

	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/client"
)

// config is what connections are made with.
func (m *Manager) config(got client.ICEServers) webrtc.Configuration {
	conf := webrtc.Configuration{ICEServers: slices.Clone(m.o.Servers), BundlePolicy: webrtc.BundlePolicyMaxBundle}
	for _, s := range got.Servers {
		conf.ICEServers = append(conf.ICEServers, webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Credential})
	}
	if got.Relay || m.o.RelayOnly {
		conf.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	return conf
}

// Times of a connection.
const (
	gatherFor    = 50 * time.Millisecond // candidates that are found so soon go with the description, or together
	restartEvery = 3 * time.Second       // at most
	repeatAfter  = 3 * time.Second       // without a connection: what was said is said again
	stalledAfter = 10 * time.Second      // without a connection: ICE begins anew
	hopeless     = 25 * time.Second
)

// peer is a connection to one party, or to the SFU. Only the call's goroutine touches it, but for what pion calls back.
type peer struct {
	c      *Call
	party  string
	epoch  uint64
	polite bool
	sfu    bool
	pc     *webrtc.PeerConnection
	closed bool

	up        bool // connected
	ever      bool
	since     time.Time // of the last change of up
	restarted time.Time
	again     bool // to be negotiated when the exchange that runs is over
	afresh    bool // with an ICE restart
	ignored   bool // the last offer of the other side was

	unsaid   webrtc.SDPType // a local description that waits for candidates
	saying   bool
	found    []candidate // local ones to be told
	telling  bool        // a timer runs
	gathered bool
	queue    []webrtc.ICECandidateInit // of the other side, before its description

	data    *webrtc.DataChannel
	control *webrtc.DataChannel // the SFU's
	senders map[webrtc.TrackLocal]*webrtc.RTPSender
	tracks  []*RemoteTrack
	slots   map[string]string // of the SFU: party by mid
	last    flows
}

// connect makes a connection to a party. nil: that is not possible now.
func (c *Call) connect(party string, epoch uint64) *peer {
	p := &peer{c: c, party: party, epoch: epoch, polite: c.party > party, sfu: party == sfuParty, slots: make(map[string]string)}
	if err := p.begin(); err != nil {
		c.m.log.Error("no connection can be made", "call", c.id, "error", err)
		c.say("hangup", request{Reason: "failed"}, nil)
		c.over(Failed, "failed")
		return nil
	}
	c.peers[party] = p
	return p
}

// begin makes the connection.
func (p *peer) begin() (err error) {
	if p.pc, err = p.c.m.api.NewPeerConnection(p.c.ice.conf); err != nil {
		return err
	}
	p.since, p.senders = time.Now(), make(map[webrtc.TrackLocal]*webrtc.RTPSender)
	p.listen()
	if p.sfu {
		p.openSFU()
	}
	p.addTracks()
	return nil
}

// listen has pion's callbacks reach the call's goroutine.
func (p *peer) listen() {
	pc := p.pc
	post := func(fn func()) {
		p.c.post(func() {
			if !p.closed && p.pc == pc {
				fn()
			}
		})
	}
	p.pc.OnICECandidate(func(i *webrtc.ICECandidate) { post(func() { p.candidate(i) }) })
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) { post(func() { p.changed(s) }) })
	p.pc.OnDataChannel(func(d *webrtc.DataChannel) { post(func() { p.channel(d) }) })
	p.pc.OnTrack(func(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		rt := &RemoteTrack{TrackRemote: t, c: p.c, r: r, pc: pc}
		mid := r.RTPTransceiver().Mid()
		party := p.party
		if p.sfu {
			party = t.StreamID()
		}
		rt.party.Store(&party)
		post(func() { p.track(rt, mid) })
	})
}

// track hands a track to whoever takes it.
func (p *peer) track(rt *RemoteTrack, mid string) {
	if who := p.slots[mid]; p.sfu && who != "" {
		rt.party.Store(&who)
	}
	p.tracks = append(p.tracks, rt)
	take := p.c.local.OnTrack
	p.c.wg.Go(func() {
		if take != nil {
			take(rt)
		}
		rt.drain()
	})
	p.c.wg.Go(func() { // interceptors live from being read
		buf := make([]byte, 1500)
		for {
			if _, _, err := rt.r.Read(buf); err != nil {
				return
			}
		}
	})
}

// addTracks adds what is sent, and what is to be received.
func (p *peer) addTracks() {
	l := &p.c.local
	for _, t := range l.Tracks {
		if p.senders[t] == nil {
			p.add(t)
		}
	}
	media := l.media()
	if !p.sfu && slices.Contains(media, "data") && p.data == nil && p.c.offers(p) {
		p.open("data")
	}
	for _, k := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		wanted := slices.Contains(p.c.state.Media, k.String()) || slices.Contains(media, k.String())
		has := slices.ContainsFunc(p.pc.GetTransceivers(), func(t *webrtc.RTPTransceiver) bool { return t.Kind() == k })
		if wanted && !has && p.c.offers(p) {
			_, _ = p.pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		}
	}
}

// offers reports whether this device makes the first offer of a connection: to the SFU, and when the other side has not.
func (c *Call) offers(p *peer) bool {
	return p.sfu || p.pc.RemoteDescription() == nil && p.pc.SignalingState() == webrtc.SignalingStateStable
}

func (p *peer) add(t webrtc.TrackLocal) {
	s, err := p.pc.AddTrack(t)
	if err != nil {
		p.c.m.log.Warn("a track can't be sent", "call", p.c.id, "party", p.party, "error", err)
		return
	}
	p.senders[t] = s
	wanted := p.c.local.OnKeyFrame
	p.c.wg.Go(func() {
		for {
			pkts, _, err := s.ReadRTCP()
			if err != nil {
				return
			}
			for _, pkt := range pkts {
				switch pkt.(type) {
				case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
					if wanted != nil {
						wanted(t)
					}
				}
			}
		}
	})
}

// retrack makes the connection send what the call has now.
func (p *peer) retrack() {
	for t, s := range p.senders {
		if !slices.Contains(p.c.local.Tracks, t) {
			delete(p.senders, t)
			_ = p.pc.RemoveTrack(s)
		}
	}
	p.addTracks()
	if slices.Contains(p.c.local.media(), "data") && p.data == nil {
		p.open("data")
	}
	p.gate()
	p.offer(false)
}

// gateAll lets media flow, or not, as holds say.
func (c *Call) gateAll() {
	for _, p := range c.peers {
		p.gate()
	}
}

func (p *peer) gate() {
	shut := p.c.hold || slices.ContainsFunc(p.c.state.Parties, func(m client.CallParty) bool { return m.Party == p.party && m.Hold })
	for t, s := range p.senders {
		switch is := s.Track(); {
		case shut && is != nil:
			_ = s.ReplaceTrack(nil)
		case !shut && is == nil:
			_ = s.ReplaceTrack(t)
		}
	}
}

// changed takes a change of the connection's state.
func (p *peer) changed(s webrtc.PeerConnectionState) {
	up := s == webrtc.PeerConnectionStateConnected
	if up != p.up {
		p.up, p.since = up, time.Now()
		p.c.show()
	}
	switch s {
	case webrtc.PeerConnectionStateConnected:
		p.ever = true
		p.c.heardAt = time.Now()
	case webrtc.PeerConnectionStateDisconnected:
		if !p.polite || p.sfu { // one of the two is enough; the other follows with the next tick but one
			p.restart()
		}
	case webrtc.PeerConnectionStateFailed:
		p.restart()
	}
}

// restart begins ICE anew, not too often.
func (p *peer) restart() {
	if p.closed || time.Since(p.restarted) < restartEvery || !p.c.online || p.pc.RemoteDescription() == nil {
		return
	}
	p.restarted = time.Now()
	p.c.fetchICE()
	p.offer(true)
}

// close ends the connection. It does not wait: a relay that does not answer may take some seconds.
func (p *peer) close() {
	if p.closed {
		return
	}
	p.closed, p.up = true, false
	p.c.m.closing.Go(func() { _ = p.pc.GracefulClose() })
}

func (p *peer) open(label string) {
	d, err := p.pc.CreateDataChannel(label, nil)
	if err != nil {
		p.c.m.log.Warn("no data channel", "call", p.c.id, "party", p.party, "error", err)
		return
	}
	p.channel(d)
}

// channel takes a data channel, of either side.
func (p *peer) channel(d *webrtc.DataChannel) {
	switch d.Label() {
	case "data":
		p.data = d
		take, party, sfu := p.c.local.OnData, p.party, p.sfu
		d.OnMessage(func(m webrtc.DataChannelMessage) {
			from, b := party, m.Data
			if sfu { // the sender's party is in front
				if len(b) == 0 || int(b[0]) >= len(b) {
					return
				}
				from, b = string(b[1:1+b[0]]), b[1+b[0]:]
			}
			if take != nil {
				take(from, b)
			}
		})
	case "sfu":
		p.control = d
		d.OnMessage(func(m webrtc.DataChannelMessage) {
			p.c.post(func() {
				if !p.closed {
					p.controlled(m.Data)
				}
			})
		})
	}
}

// silence keeps pion from writing to standard error.
type silence struct{}

func (silence) NewLogger(string) logging.LeveledLogger { return mute{} }

type mute struct{}

func (mute) Trace(string)          {}
func (mute) Tracef(string, ...any) {}
func (mute) Debug(string)          {}
func (mute) Debugf(string, ...any) {}
func (mute) Info(string)           {}
func (mute) Infof(string, ...any)  {}
func (mute) Warn(string)           {}
func (mute) Warnf(string, ...any)  {}
func (mute) Error(string)          {}
func (mute) Errorf(string, ...any) {}
