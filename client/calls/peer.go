package calls

import (
	"slices"
	"time"

	"github.com/pion/interceptor/pkg/stats"
	"github.com/pion/logging"
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
	restartEvery = 3 * time.Second       // at most; twice as long after each that did not help,
	restartMost  = 12 * time.Second      // up to this
	repeatAfter  = 3 * time.Second       // without a connection: what was said is said again
	stalledAfter = 10 * time.Second      // without a connection: another one takes its place, or ICE begins anew
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
	counts stats.Getter // of its streams
	closed bool

	up        bool // connected
	ever      bool
	since     time.Time // of the last change of up
	restarted time.Time
	tries     int       // restarts since it was connected
	here      string    // addresses of the device when its candidates were gathered
	given     time.Time // until when the credentials are good that it has
	again     bool      // to be negotiated when the exchange that runs is over
	afresh    bool      // with an ICE restart
	ignored   bool      // the last offer of the other side was
	mistaken  int       // answers to offers that had been given up

	unsaid   webrtc.SDPType // a local description that waits for candidates
	saying   bool
	mine     webrtc.SessionDescription // the newest, as it was made
	re       string                    // names the offer that it answers
	local    []string                  // candidates that were found since
	found    []candidate               // those that are still to be told
	telling  bool                      // a timer runs
	gathered bool
	queue    []webrtc.ICECandidateInit // of the other side, before its description

	data    *webrtc.DataChannel
	control *webrtc.DataChannel // the SFU's
	sends   []*sending
	tracks  []*RemoteTrack
	slots   map[string]slot // of the SFU, by mid,
	slotted bool            // if it has told of them
	useful  want            // slots, says the SFU
	shown   []string        // parties in its slots for video

	speakers []string // parties that speak, says the SFU
	asked    string   // what this device wants to see, as it was said last
	wants    want     // what the other side wants to see

	crossed time.Time // of the mesh: since when its party comes through the SFU as well; zero: it does not
	through bool      // of the mesh: the party was told so,
	let     bool      // and has told the same
	last    flows
}

// connect makes a connection to a party. nil: that is not possible now.
func (c *Call) connect(party string, epoch uint64) *peer {
	p := &peer{c: c, party: party, epoch: epoch, polite: c.party > party, sfu: party == sfuParty, slots: make(map[string]slot)}
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
	if p.pc, p.counts, err = p.c.m.engine.connect(p.c.ice.conf); err != nil {
		return err
	}
	p.since, p.here, p.sends, p.asked, p.given = time.Now(), p.c.m.here(), nil, "", p.c.ice.until
	p.listen()
	if p.sfu {
		p.openSFU()
	}
	p.addTracks()
	return nil
}

// anew puts another connection in place of one that does not come to be. The other side does so when it gets the offer, and all other connections go on.
func (p *peer) anew() {
	p.forsake()
	p.unsaid, p.queue, p.again, p.afresh = 0, nil, false, false
	if err := p.begin(); err != nil {
		p.broken("another connection", err)
		return
	}
	p.offer(false)
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
		rt := &RemoteTrack{TrackRemote: t, c: p.c, r: r, pc: pc, level: levelID(r), sfu: p.sfu}
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
	if who := p.slots[mid].party; p.sfu && who != "" {
		rt.party.Store(&who)
	}
	p.tracks = append(p.tracks, rt)
	p.c.seams.add(rt)
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
	for _, layers := range pictures(l.Tracks) {
		if !slices.ContainsFunc(p.sends, func(s *sending) bool { return slices.Equal(s.layers, layers) }) {
			p.send(layers)
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

// retrack makes the connection send what the call has now.
func (p *peer) retrack() {
	now := pictures(p.c.local.Tracks)
	p.sends = slices.DeleteFunc(p.sends, func(s *sending) bool {
		stays := slices.ContainsFunc(now, func(layers []webrtc.TrackLocal) bool { return slices.Equal(s.layers, layers) })
		if !stays {
			_ = p.pc.RemoveTrack(s.sender)
		}
		return !stays
	})
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
	unseen := p.wants.Video != nil && *p.wants.Video == 0
	for _, s := range p.sends {
		picture := s.layers[0].Kind() == webrtc.RTPCodecTypeVideo
		for _, l := range s.lanes {
			if opened := l.gate(shut || unseen && picture); opened && picture {
				p.c.keyFrame(l.layers...)
			}
		}
	}
}

// changed takes a change of the connection's state.
func (p *peer) changed(s webrtc.PeerConnectionState) {
	up := s == webrtc.PeerConnectionStateConnected
	if up != p.up {
		p.up, p.since = up, time.Now()
		if up {
			p.tries, p.here = 0, p.c.m.here()
		}
		p.c.show()
		p.look()
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

// restart begins ICE anew, not too often: candidates take time to be found and told, and checks to be made, the more of it the worse the network is. Both
// sides that begin anew all the time never get there.
func (p *peer) restart() {
	if p.closed || time.Since(p.restarted) < min(restartEvery<<min(p.tries, 8), restartMost) || !p.c.online || p.pc.RemoteDescription() == nil {
		return
	}
	p.restarted, p.here = time.Now(), p.c.m.here()
	p.tries++
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
			if take != nil && len(b) <= messageMost {
				take(from, b)
			}
		})
	case "sfu":
		p.control = d
		d.OnOpen(func() {
			p.c.post(func() {
				if !p.closed && p.control == d {
					p.asked = ""
					p.look()
				}
			})
		})
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
