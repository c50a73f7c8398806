package calls

import (
	"net"
	"slices"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/client"
)

// silentMost is for how long media and signalling may both be silent.
const silentMost = 30 * time.Second

// tick is called each second.
func (c *Call) tick(now time.Time) {
	if c.ended {
		return
	}
	if c.online {
		c.onlyAt = now
	}
	if c.party == "" && c.incoming && !c.until.IsZero() && now.After(c.until) {
		c.over(Missed, "timeout")
		return
	}
	if !c.ice.ready && c.party != "" {
		c.fetchICE()
	}
	if c.party != "" && c.online && c.state.Seq == 0 { // what was told went by: devices are told at QoS 0
		c.resume()
	}
	c.measure(now)
	if c.party != "" && now.Sub(c.onlyAt) > silentMost && now.Sub(c.heardAt) > silentMost {
		c.say("hangup", request{Reason: "failed"}, nil)
		c.over(c.outcome(""), "lost")
		return
	}
	c.vouch(now)
	c.mend(now)
	c.bridged(now)
	c.show()
}

// vouch tells the server whose media arrive although their signalling is away.
func (c *Call) vouch(now time.Time) {
	away := func(p client.CallParty) bool { return p.State == "reconnecting" && p.Party != c.party }
	if !c.online || c.party == "" || now.Sub(c.vouched) < vouchEvery || !slices.ContainsFunc(c.state.Parties, away) {
		return
	}
	if h := c.hears(now); len(h) > 0 {
		c.vouched = now
		gen := c.gen
		c.sayWhile(func() bool { return c.gen == gen && !c.ended }, "resume", request{Party: c.party, Seq: c.seq, Hears: h}, nil)
	}
}

const vouchEvery = 5 * time.Second // the server believes it for 15

// hears lists the parties whose media, or answers to checks of the connection, arrived just now.
func (c *Call) hears(now time.Time) []string {
	var all []string
	for id, p := range c.peers {
		switch {
		case !p.up || now.Sub(p.last.heard) > 5*time.Second:
		case id != sfuParty:
			all = append(all, id)
		default:
			for _, t := range p.tracks {
				if who := t.Party(); now.Sub(t.at()) < 5*time.Second && c.member(who) && !slices.Contains(all, who) {
					all = append(all, who)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

func (c *Call) member(party string) bool {
	return slices.ContainsFunc(c.state.Parties, func(p client.CallParty) bool { return p.Party == party })
}

// mend sees that connections come to be, and come back.
func (c *Call) mend(now time.Time) {
	if !c.online || c.party == "" || !c.ice.ready {
		return
	}
	down, all := 0, 0
	for _, p := range c.peers {
		all++
		if p.up {
			continue
		}
		long := now.Sub(p.since)
		if long > hopeless && !p.polite || long > hopeless+rebuildEvery { // not both at once
			down++
		}
		if p.ever && long > 2*time.Second || long > stalledAfter {
			p.restart()
		}
		if !p.ever && long > repeatAfter && now.Sub(c.asked) > repeatAfter { // something got lost on a connection that was too slow
			c.asked = now
			c.resume()
			p.repeat()
		}
	}
	if all > 0 && down == all {
		c.rebuild()
		return
	}
	if s := stateOf(c.state.State); c.state.Mode == sfuParty || s != StateConnecting && s != StateActive && s != StateReconnecting {
		return
	}
	for _, m := range c.state.Parties { // an offer that was to come and did not
		if c.peers[m.Party] != nil {
			delete(c.waits, m.Party)
		} else if m.Party != c.party && m.State == "joined" && now.Sub(c.since(m.Party, now)) > repeatAfter {
			delete(c.waits, m.Party)
			if p := c.connect(m.Party, m.Epoch); p != nil {
				p.offer(false)
			}
		}
	}
}

// since is when this party began to lack a connection.
func (c *Call) since(party string, now time.Time) time.Time {
	if c.waits == nil {
		c.waits = make(map[string]time.Time)
	}
	if c.waits[party].IsZero() {
		c.waits[party] = now
	}
	return c.waits[party]
}

// flows is what a connection has carried.
type flows struct {
	sent, received uint64 // bytes
	packets, lost  int64
	answers        uint64
	rtt            time.Duration
	relayed        bool
	local          string // the address that is used
	heard          time.Time
}

// totals are those of the second before.
type totals struct{ at time.Time }

// measure reads the figures of all connections.
func (c *Call) measure(now time.Time) {
	var q Quality
	var rtts time.Duration
	var n int
	var packets, lost int64
	span := now.Sub(c.lastQ.at)
	for _, p := range c.peers {
		if !p.up && !p.ever {
			continue
		}
		f := p.flows(now)
		if !p.last.heard.IsZero() && !c.lastQ.at.IsZero() && span > 0 {
			q.Sent += rate(f.sent, p.last.sent, span)
			q.Received += rate(f.received, p.last.received, span)
			packets += max(f.packets-p.last.packets, 0)
			lost += max(f.lost-p.last.lost, 0)
		}
		if f.rtt > 0 {
			rtts, n = rtts+f.rtt, n+1
		}
		q.Relayed = q.Relayed || f.relayed
		if p.last = f; f.heard.After(c.heardAt) {
			c.heardAt = f.heard
		}
	}
	c.lastQ.at = now
	if n > 0 {
		q.RTT = rtts / time.Duration(n)
	}
	if packets+lost > 0 {
		q.Loss = float64(lost) / float64(packets+lost)
	}
	c.board.set(func(s *Status) { s.Quality = q })
}

func rate(now, before uint64, span time.Duration) int {
	if now < before {
		return 0
	}
	return int(float64(now-before) * 8 / span.Seconds())
}

// flows reads the figures of a connection.
func (p *peer) flows(now time.Time) flows {
	f := flows{heard: p.last.heard}
	stats := p.pc.GetStats()
	for _, s := range stats {
		switch s := s.(type) {
		case webrtc.ICECandidatePairStats:
			f.sent += s.BytesSent
			f.received += s.BytesReceived
			f.answers += s.ResponsesReceived
			if !s.Nominated {
				continue
			}
			if s.State == webrtc.StatsICECandidatePairStateSucceeded {
				f.rtt = time.Duration(s.CurrentRoundTripTime * float64(time.Second))
			}
			if l, ok := stats[s.LocalCandidateID].(webrtc.ICECandidateStats); ok {
				f.relayed = l.CandidateType == webrtc.ICECandidateTypeRelay
				f.local = l.IP
			}
		case webrtc.InboundRTPStreamStats:
			f.packets += int64(s.PacketsReceived)
			f.lost += int64(max(s.PacketsLost, 0))
		}
	}
	if f.received != p.last.received || f.answers != p.last.answers || f.heard.IsZero() {
		f.heard = now
	}
	return f
}

// lookAround is called when the device is connected again: perhaps it is in another network, and ICE would notice later.
func (p *peer) lookAround() {
	switch {
	case !p.up && p.ever, p.up && p.last.local != "" && !p.last.relayed && !p.c.m.has(p.last.local):
		p.restart()
	case p.up && time.Since(p.last.heard) > 2*time.Second:
		p.restart()
	}
}

// has reports whether the device still has an address.
func (m *Manager) has(ip string) bool {
	want := net.ParseIP(ip)
	if m.o.addresses == nil || want == nil {
		return true
	}
	all, err := m.o.addresses()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(want)
	})
}
