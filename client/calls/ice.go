package calls

import (
	"context"
	"errors"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// servers are what connections are made with.
type servers struct {
	ready  bool // servers are known
	stale  bool // they are to be asked for again
	relay  bool
	busy   bool
	conf   webrtc.Configuration
	until  time.Time // credentials are good
	cancel context.CancelFunc
}

func (i *servers) stop() {
	if i.cancel != nil {
		i.cancel()
	}
}

// fetchICE asks for ICE servers if there are none that are good. Without an answer no connection is made: it might give away
// what is not to be known.
func (c *Call) fetchICE() {
	if c.ended || c.ice.busy || c.ice.ready && !c.ice.stale && time.Now().Before(c.ice.until) {
		return
	}
	if c.ice.stale {
		c.ice.ready = false
	}
	c.ice.busy = true
	ctx, cancel := context.WithCancel(c.m.ctx)
	c.ice.cancel = cancel
	party := c.party
	c.wg.Go(func() {
		defer cancel()
		var got client.ICEServers
		var err error
		for {
			got, err = client.CallingCalls{Via: c.m.c}.ICE(ctx, c.id)
			var r *chat.Refusal
			if err == nil || ctx.Err() != nil || errors.Is(err, client.ErrClosed) || asRefusal(err, &r) && r.Code != chat.RateLimited {
				break
			}
			pause := time.NewTimer(500 * time.Millisecond)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
			}
		}
		c.post(func() { c.gotICE(got, err, party) })
	})
}

func (c *Call) gotICE(got client.ICEServers, err error, party string) {
	c.ice.busy = false
	if c.ended {
		return
	}
	if err != nil {
		c.m.log.Warn("there are no ICE servers", "call", c.id, "error", err)
		return // it is tried again by tick
	}
	if c.party != party && got.Relay {
		c.ice.stale = true // from before it was accepted
		c.fetchICE()
		return
	}
	life := got.TTL - time.Minute
	if got.TTL == 0 {
		life = 24 * time.Hour // none has credentials
	}
	c.ice.ready, c.ice.stale, c.ice.relay, c.ice.until = true, false, got.Relay, time.Now().Add(life)
	c.ice.conf = c.m.config(got)
	c.reconcile()
}
