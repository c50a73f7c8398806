package calls

import (
	"net"
	"slices"
	"strings"
	"time"

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
	c.reach(now)
	c.measure(now)
	if c.party != "" && now.Sub(c.onlyAt) > silentMost && now.Sub(c.heardAt) > silentMost {
		c.say("hangup", request{Reason: "failed"}, nil)
		c.over(c.outcome(""), "lost")
		return
	}
	c.vouch(now)
	c.mend(now)
	c.bridged(now)
	for _, p := range c.peers {
		p.look()
	}
	c.show()
}

// reach sees that this device is reached while somebody talks to it: it notices another network if nobody tells it, and does not wait long for signalling,
// without which media don't find their way again. A server that is gone is left in peace more and more.
func (c *Call) reach(now time.Time) {
	if c.party == "" {
		return
	}
	if here := c.m.here(); here != c.here {
		if c.here != "" && here != "" {
			c.m.c.NetworkChanged()
			for _, p := range c.peers {
				p.lookAround()
			}
		}
		c.here = here
	}
	if !c.online && now.Sub(c.hurried) >= hurryEvery+now.Sub(c.onlyAt)/8 {
		c.hurried = now
		c.m.c.RetryNow()
	}
}

const hurryEvery = 2 * time.Second

// vouch tells the server whose media arrive although their signalling is away.
func (c *Call) vouch(now time.Time) {
	away := func(p client.CallParty) bool { return p.State == "reconnecting" && p.Party != c.party }
	if !c.online || c.party == "" || now.Sub(c.vouched) < vouchEvery || !slices.ContainsFunc(c.state.Parties, away) {
		return
	}
	if h := c.hears(now); len(h) > 0 {
		c.vouched = now
		gen := c.gen
		c.sayWhile(func() bool { return c.gen == gen && !c.ended }, "resume", request{Seq: c.seq, Hears: h}, nil)
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
		if !p.ever && p.since.Before(c.backAt) && now.Sub(c.backAt) > c.patience(p) {
			// It was being made while the server was away. Its relay may be gone then, for which ICE waits for seconds, for each address again; nor
			// does a restart of ICE come before that.
			if p.sfu {
				c.rebuild()
				return
			}
			p.anew()
			continue
		}
		if long > hopeless && !p.polite || long > hopeless+rebuildEvery { // not both at once
			down++
		}
		switch {
		case p.ever && long > 2*time.Second, p.sfu && long > stalledAfter:
			p.restart()
		case !p.ever && !p.sfu && long > p.stalled():
			p.tries++
			p.anew()
			continue
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

// patience is how long a connection gets that was being made before the last reconnection: the polite side waits for the other one.
func (c *Call) patience(p *peer) time.Duration {
	if p.polite && !p.sfu {
		return 2 * afreshAfter
	}
	return afreshAfter
}

const afreshAfter = 2 * time.Second

// stalled is how long a connection may take to come to be before another one is tried, longer each time: the network may be as slow as that.
func (p *peer) stalled() time.Duration {
	wait := stalledAfter << min(p.tries, 2)
	if p.polite {
		wait *= 2
	}
	return wait
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

// lookAround is called when the device is connected again, or its addresses are others: perhaps it is in another network, and ICE would notice later.
func (p *peer) lookAround() {
	moved := p.here != p.c.m.here() && (p.last.local == "" || !p.c.m.has(p.last.local))
	if moved {
		p.restarted = time.Time{} // that was in the network before
	}
	if moved || !p.up && p.ever || p.up && time.Since(p.last.heard) > 2*time.Second {
		p.tries = 0
		p.restart()
	}
}

// here is what addresses the device has; "": that can't be known.
func (m *Manager) here() string {
	all, err := m.net.addresses()
	if err != nil {
		return ""
	}
	var list []string
	for _, a := range all {
		list = append(list, a.String())
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// has reports whether the device still has an address.
func (m *Manager) has(ip string) bool {
	want := net.ParseIP(ip)
	if want == nil {
		return true
	}
	all, err := m.net.addresses()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(want)
	})
}
