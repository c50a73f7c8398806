package client

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/protocol"
)

// CallHandler hears of calls: package client/calls is one. Its methods are called one at a time by the connection's goroutine, in
// order, and must not block. A method may be called with what it heard before.
type CallHandler interface {
	// Connected says that there is a connection (again), and that it may be another one than before.
	Connected()
	// Disconnected says that there is none.
	Disconnected()
	// Told hands over what came on u/{me}/calls, or on u/{me}/calls/{party}. The payload is the handler's.
	Told(party string, payload []byte)
}

// CallAck is what the server says to what was published about a call.
type CallAck struct {
	Call  string // which call it was about: that which began, or was joined
	Party string // the part in it that this device has; "": none
}

// callHook hands over what concerns calls.
type callHook struct {
	wanted bool // Options.Calls

	mu sync.Mutex // calls of the handler, one at a time
	h  CallHandler
}

func (k *callHook) tell(fn func(CallHandler)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.h != nil {
		fn(k.h)
	}
}

// take hands over a delivery if it is about calls.
func (k *callHook) take(me string, m *link.Message) bool {
	rest, ok := strings.CutPrefix(m.Topic, protocol.CallsTopic(me, ""))
	if !ok || rest != "" && rest[0] != '/' {
		return false
	}
	k.tell(func(h CallHandler) { h.Told(strings.TrimPrefix(rest, "/"), m.Payload) })
	m.Ack() // what is lost on the way to the handler, the server repeats when the device comes back
	return true
}

// callFilters are subscribed to by devices that ring.
func (c *core) callFilters() []link.Filter {
	if !c.calls.wanted {
		return nil
	}
	return []link.Filter{{Topic: protocol.CallsTopic(c.me, "")}, {Topic: protocol.CallsTopic(c.me, "+")}}
}

// HandleCalls says who hears of calls from now on; nil: nobody. There is one handler at a time. If the device is connected already, it hears of
// that at once, and the server is asked how calls stand. After HandleCalls(nil) no method of the handler runs any more; so it must not
// be called from within one. It is an error without Options.Calls.
func (c *Client) HandleCalls(h CallHandler) error {
	if !c.calls.wanted {
		return errors.New("client options: Calls: it must be set, or the device does not subscribe to calls")
	}
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	if h != nil && c.calls.h != nil {
		return errors.New("client: there is somebody who handles calls already")
	}
	if c.calls.h = h; h == nil || !c.sess.up() {
		return nil
	}
	h.Connected()
	if err := c.line.SubscribeFunc(c.callFilters()[:1], nil, func([]byte, error) {}); err != nil {
		c.log.Debug("not subscribed: the connection has ended", "error", err)
	}
	return nil
}

// StartCall publishes the start of a call in a conversation (docs/protocol.md, Calls). It does not wait and nothing is queued: without a
// connection the error is ErrOffline, and done is never called. If it returns nil, done is called once, from a goroutine of the client's
// which it must not keep: with the server's answer, a *chat.Refusal, or ErrOffline if the connection ended before that came;
// whether it was carried out is not known then, and it may be said again.
func (c *Client) StartCall(conv string, payload []byte, done func(CallAck, error)) error {
	if !protocol.ValidConv(conv) {
		return chat.Refuse(chat.BadRequest, "%.80q is no conversation", conv)
	}
	return c.publishCall(protocol.CallTopic(conv), payload, done)
}

// CallVerb publishes to k/{call}/{verb}; otherwise as StartCall. What is published first arrives first.
func (c *Client) CallVerb(call, verb string, payload []byte, done func(CallAck, error)) error {
	if !protocol.ValidCall(call) {
		return chat.Refuse(chat.BadRequest, "%.80q is no call", call)
	}
	return c.publishCall("k/"+call+"/"+verb, payload, done)
}

func (c *Client) publishCall(topic string, payload []byte, done func(CallAck, error)) error {
	if err := c.alive(); err != nil {
		return err
	}
	err := c.line.Publish(link.Publish{Topic: topic, Payload: payload, QoS: 1}, func(a link.Ack, err error) {
		switch refusal := a.Refusal(); {
		case err != nil:
			done(CallAck{}, callFault(err))
		case refusal != nil:
			done(CallAck{}, refusal)
		default:
			done(CallAck{Call: a.Property("call"), Party: a.Property("party")}, nil)
		}
	})
	return callFault(err)
}

func callFault(err error) error {
	switch {
	case errors.Is(err, link.ErrClosed):
		return ErrClosed
	case errors.Is(err, link.ErrDown), errors.Is(err, link.ErrLost), errors.Is(err, link.ErrFull):
		return fmt.Errorf("%w (calls are not queued)", ErrOffline)
	case errors.Is(err, link.ErrTooLarge):
		return chat.Refuse(chat.TooLarge, "this is longer than the server takes")
	}
	return err
}
