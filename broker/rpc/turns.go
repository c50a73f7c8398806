package rpc

import (
	"context"
	"sync"

	"github.com/petrelchat/petrel/chat"
)

// turns lets each user's requests of a kind run one after the other, on however many connections they come: of what
// few can have at a time, nobody takes all. The zero value is ready for use.
type turns struct {
	mu sync.Mutex
	m  map[string]*turn // of users who have one, or wait for it
}

type turn struct {
	free chan struct{} // holds a token while nobody has it
	n    int           // who has it or waits
}

// take waits for the user's turn; done ends it.
func (t *turns) take(ctx context.Context, user string) (done func(), err error) {
	t.mu.Lock()
	if t.m == nil {
		t.m = make(map[string]*turn)
	}
	k := t.m[user]
	if k == nil {
		k = &turn{free: make(chan struct{}, 1)}
		k.free <- struct{}{}
		t.m[user] = k
	}
	k.n++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if k.n--; k.n == 0 {
			delete(t.m, user)
		}
	}
	select {
	case <-k.free:
		return func() { k.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, chat.Refuse(chat.Unavailable, "the connection has ended")
	}
}

// inTurn has a method run for one request of a user at a time.
func inTurn(fn method) method {
	return func(c *call) (any, error) {
		done, err := c.searches.take(c.ctx, c.User)
		if err != nil {
			return nil, err
		}
		defer done()
		return fn(c)
	}
}
