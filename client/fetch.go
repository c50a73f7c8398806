package client

import (
	"context"
	"slices"
	"time"
)

// farewell is how long Fetch takes at most to leave after it is done, or out of time.
const farewell = 2 * time.Second

// Fetched is what Fetch did.
type Fetched struct {
	Conversations []string // in which something changed, by id
	Events        int      // that this device did not have
	Sent          int      // what left the outbox
	Failed        int      // what was refused
	Queued        int      // what is still to be sent
}

// Fetch is for programs that are woken for some seconds: it connects, stores and acknowledges all that has been missed, sends what is queued,
// and leaves. It returns when that is done, when ctx ends (with what was done until then, and ctx's error; nothing is lost,
// the next time goes on), or when the server refuses for good.
func Fetch(ctx context.Context, o Options) (f Fetched, err error) {
	c, err := open(ctx, o, true)
	if err != nil {
		return f, err
	}
	r := c.news.listen()
	defer c.news.leave(r)
	before := c.board.status()
	err = c.Wait(ctx, func(s Status) bool { return s.State == UpToDate && s.Queued == 0 || s.Permanent })
	if s := c.board.status(); err == nil && s.Permanent {
		err = s.Err
	}
	if err != nil && ctx.Err() != nil {
		err = c.offline(ctx)
		if c.board.status().State >= CatchingUp {
			err = ctx.Err()
		}
	}
	leave, stop := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer stop()
	if cerr := c.Close(leave); err == nil {
		err = cerr
	}
	after := c.board.status()
	f.Queued, f.Failed = after.Queued, max(after.Failed-before.Failed, 0)
	f.Sent = max(before.Queued-after.Queued-f.Failed, 0)
	f.Events = c.board.events()
	us, _ := c.news.next(leave, r)
	for _, u := range us {
		if (u.Kind == UpdateMessages || u.Kind == UpdateConversation) && u.Conv != "" {
			f.Conversations = append(f.Conversations, u.Conv)
		}
	}
	slices.Sort(f.Conversations)
	f.Conversations = slices.Compact(f.Conversations)
	return f, err
}
