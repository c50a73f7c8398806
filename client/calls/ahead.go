package calls

import (
	"github.com/petrelchat/petrel/chat"
)

// ahead has the offer of a direct call follow accept at once, instead of a round trip later, when the server has answered. The server takes the two in
// order and passes the offer on only if this device has won the call, so the caller learns no more than otherwise. Where it is not
// known yet how connections are made, or all is to go through relays until then, the offer waits for the answer.
func (c *Call) ahead(l *Local) {
	if c.ended || !c.online || c.party != "" || !chat.IsDirect(c.conv) || len(c.state.Parties) != 1 || len(c.peers) > 0 ||
		!c.ice.ready || c.ice.stale || c.ice.relay {
		return
	}
	caller := c.state.Parties[0]
	c.local, c.watch = *l, l.Watch
	c.epoch(caller.Party, caller.Epoch)
	if p := c.connect(caller.Party, caller.Epoch); p != nil {
		p.offer(false)
	}
}

// notAhead takes back what ahead did: the call was not accepted.
func (c *Call) notAhead() {
	if c.party != "" {
		return
	}
	for id, p := range c.peers {
		p.close()
		delete(c.peers, id)
		delete(c.epochs, id) // as if nobody had been met: a later accept offers
	}
}
