package link

import (
	"context"
	"strings"

	"github.com/petrelchat/petrel/chat"
)

// callsMost is how many requests of one connection petrel queues; one more is under way.
const callsMost = 16

// pendingCall waits for a reply.
type pendingCall struct{ result chan callResult } // room for one

type callResult struct {
	reply []byte
	err   error
}

func (p *pendingCall) settle(r callResult) {
	select {
	case p.result <- r:
	default: // the first counts
	}
}

func replyTopic(user string) string { return "u/" + user + "/rpc" }

// Call publishes a request to rpc/{method} and waits for the reply, JSON or CBOR as the request was: {"ok":…} or
// {"error":…}. The session must be subscribed to u/{user}/rpc; a SUBSCRIBE that was sent before will do. As many requests as
// the server queues are under way at once, others wait for their turn. Errors: ErrDown (nothing was sent),
// ErrLost, ErrTooLarge, ErrFull, ErrClosed, ctx's, and *chat.Refusal when the request itself was refused.
func (l *Link) Call(ctx context.Context, method string, req []byte) (reply []byte, err error) {
	if method == "" || strings.ContainsAny(method, "/+#\x00") {
		return nil, chat.Refuse(chat.BadRequest, "%.80q is no method", method)
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := l.up()
	if err != nil {
		return nil, err
	}
	call := &pendingCall{result: make(chan callResult, 1)}
	o, id, err := c.request(method, req, call)
	if err != nil {
		return nil, err
	}
	defer c.forget(id, call)
	if err := c.enqueue(o); err != nil {
		return nil, err
	}
	select {
	case r := <-call.result:
		return r.reply, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// request makes the packet of a request, and a place for its reply.
func (c *connection) request(method string, req []byte, call *pendingCall) (*outgoing, uint16, error) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return nil, 0, ErrDown
	}
	// A number comes again after 65,535 others only: a late reply meets nobody.
	c.lastCall++
	for c.calls[c.lastCall] != nil || c.lastCall == 0 {
		c.lastCall++
	}
	id := c.lastCall
	c.calls[id] = call
	c.mu.Unlock()
	o := &outgoing{
		publish: &Publish{Topic: "rpc/" + method, Payload: req, QoS: 1},
		reply:   &requestProps{topic: c.reply, data: correlation(id)},
		acked: func(a Ack, err error) {
			switch {
			case err != nil:
				call.settle(callResult{err: err})
			case a.Code >= 0x80:
				call.settle(callResult{err: a.Refusal()})
			}
		},
	}
	if err := c.prepare(o); err != nil {
		c.forget(id, call)
		return nil, 0, err
	}
	return o, id, nil
}

// correlation is the shortest form of id.
func correlation(id uint16) []byte {
	if id < 0x100 {
		return []byte{byte(id)}
	}
	return []byte{byte(id >> 8), byte(id)}
}

// replied takes what came to the reply topic. A reply for which nobody waits any more is dropped.
func (c *connection) replied(data, payload []byte) {
	id := uint16(0)
	switch len(data) {
	case 1:
		id = uint16(data[0])
	case 2:
		id = uint16(data[0])<<8 | uint16(data[1])
	}
	c.mu.Lock()
	call := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if call != nil {
		call.settle(callResult{reply: payload})
	}
}

func (c *connection) forget(id uint16, call *pendingCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[id] == call {
		delete(c.calls, id)
	}
}

// endCalls tells those whose request was acknowledged, but not answered.
func (c *connection) endCalls() {
	c.mu.Lock()
	calls := c.calls
	c.calls = make(map[uint16]*pendingCall)
	c.mu.Unlock()
	for _, call := range calls {
		call.settle(callResult{err: ErrLost})
	}
}
