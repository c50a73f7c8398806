package calls

import (
	"slices"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/client"
)

// signalled takes a signal for this party.
func (c *Call) signalled(t *told) {
	c.onlyAt = time.Now()
	if c.ended || c.party == "" && c.incoming && len(c.early) >= candsMost {
		return
	}
	if c.party == "" { // ahead of the answer that names the party
		c.early = append(c.early, t)
		return
	}
	if t.Party != c.party || t.Seq <= c.seq {
		return
	}
	if t.Seq > c.seq+1 && c.seq != 0 && c.gap != c.seq && c.online {
		c.gap = c.seq // once: what has expired does not come again
		c.resume()
		return
	}
	c.seq = t.Seq
	if !c.ice.ready {
		c.early = append(c.early, t)
		return
	}
	c.dispatch(t)
}

// dispatch gives a signal to the connection that it is about.
func (c *Call) dispatch(t *told) {
	if t.Epoch < c.epochs[t.From] || t.Of != 0 && t.Of < c.own {
		return // of a connection that is no more
	}
	c.epoch(t.From, t.Epoch)
	p := c.peers[t.From]
	if p == nil {
		if t.From == sfuParty || t.Type != "offer" || c.state.Mode == sfuParty {
			return // an answer to what is forgotten
		}
		if p = c.connect(t.From, t.Epoch); p == nil {
			return
		}
	}
	p.take(t)
}

// epoch notes the epoch of a party. A newer one ends its connection. lost: an offer was under way there, which is not passed on any more.
func (c *Call) epoch(party string, n uint64) (lost bool) {
	if n <= c.epochs[party] {
		return false
	}
	c.epochs[party] = n
	if p := c.peers[party]; p != nil && p.epoch != n {
		lost = !p.ever && p.pc.SignalingState() == webrtc.SignalingStateHaveLocalOffer
		delete(c.peers, party)
		p.close()
	}
	return lost
}

// reconcile makes the connections that the call's state asks for, and ends the others.
func (c *Call) reconcile() {
	if c.ended || c.party == "" || !c.ice.ready || c.state.Seq == 0 {
		return
	}
	switch stateOf(c.state.State) {
	case StateConnecting, StateActive, StateReconnecting:
	default:
		return
	}
	here := make(map[string]bool, len(c.state.Parties))
	mine := slices.IndexFunc(c.state.Parties, func(p client.CallParty) bool { return p.Party == c.party })
	if mine < 0 {
		return // from before it had a part
	}
	c.own = max(c.own, c.state.Parties[mine].Epoch)
	for i := range c.state.Parties {
		p := &c.state.Parties[i]
		if p.Party == c.party {
			continue
		}
		here[p.Party] = true
		known := c.epochs[p.Party]
		lost := c.epoch(p.Party, p.Epoch)
		if c.state.Mode == sfuParty || c.peers[p.Party] != nil {
			continue
		}
		if known == 0 && i < mine || c.fresh || lost {
			if peer := c.connect(p.Party, p.Epoch); peer != nil {
				peer.offer(false)
			}
		}
	}
	c.fresh = false
	for id, p := range c.peers {
		if id != sfuParty && !here[id] {
			delete(c.peers, id)
			p.close()
		}
	}
	if c.state.Mode == sfuParty {
		c.epoch(sfuParty, uint64(c.state.SFU))
		if c.peers[sfuParty] == nil {
			if p := c.connect(sfuParty, uint64(c.state.SFU)); p != nil {
				p.offer(false)
			}
		}
	}
	c.gateAll()
	early := c.early
	c.early = nil
	for _, t := range early {
		if t.Seq > c.seq { // from before the party was known
			c.signalled(t)
		} else {
			c.dispatch(t)
		}
	}
}

// rebuild begins all media anew: nothing else helped.
func (c *Call) rebuild() {
	if time.Since(c.rebuilt) < rebuildEvery || !c.online {
		return
	}
	c.rebuilt = time.Now()
	was := c.own
	c.own++ // what is on its way is for the connections that end here
	for id, p := range c.peers {
		delete(c.peers, id)
		p.close()
	}
	c.say("resume", request{Fresh: true}, func(_ client.CallAck, err error) {
		switch {
		case c.ended:
		case err == nil:
			c.fresh = true
			c.reconcile()
		case notFound(err):
			c.vanished("")
		case conflict(err):
			c.over(Taken, "")
		default:
			c.own = was // it was not to be
		}
	})
}

const rebuildEvery = 10 * time.Second
