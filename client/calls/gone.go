package calls

import (
	"context"
	"time"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/protocol"
)

// Times of looking up what became of a call. Its event may be written a moment after its end.
const (
	lookFor   = 3 * time.Second
	lookEvery = 200 * time.Millisecond
	lookBack  = 20 // events
)

// vanished is called when the server does not know the call any more: it ended while this device, or the server, was away. What became of
// it stands in the log of its conversation; if not, it is taken for guess, "" for what it looks like from here.
func (c *Call) vanished(guess string) {
	if c.ended || c.vanishing {
		return
	}
	c.vanishing = true
	ctx, cancel := context.WithTimeout(c.m.ctx, lookFor)
	c.wg.Go(func() {
		defer cancel()
		became := c.lookUp(ctx)
		c.post(func() {
			switch {
			case became == "" && guess != "":
				became = guess
			case became == "":
				became = c.outcome("")
			case c.party == "" && became == Answered:
				became = Taken
			case c.party == "" && became == Cancelled:
				became = Missed
			}
			c.over(became, "")
		})
	})
}

// lookUp finds the outcome of the call in the log, "" if it is not there: it goes on without this device, or the conversation is no more.
func (c *Call) lookUp(ctx context.Context) string {
	for {
		page, err := client.HistoryCalls{Via: c.m.c}.Page(ctx, client.HistoryQuery{Conv: c.conv, Limit: lookBack})
		for i := range page.Events {
			if end, ok := protocol.CallEndOf(&page.Events[i]); ok && end.Call == c.id {
				return end.Outcome
			}
		}
		if notFound(err) {
			return ""
		}
		pause := time.NewTimer(lookEvery)
		select {
		case <-pause.C:
		case <-c.quits:
			pause.Stop()
			return ""
		case <-ctx.Done():
			pause.Stop()
			return ""
		}
	}
}
