package hooks

import (
	"context"
	"sync"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// rpcQueue carries out a connection's requests one after the other, away from its reader: a request
// that waits for the disk must not keep acknowledgements waiting.
type rpcQueue struct {
	mu      sync.Mutex
	queue   []call
	running bool
	closed  bool
	cancel  context.CancelFunc
	idle    *sync.Cond
}

type call struct {
	x      *inbound
	method string
}

// callsMax bounds the requests of one connection that wait.
const callsMax = 16

// close cancels what runs and waits for it. It returns what was not begun.
func (q *rpcQueue) close() (left []call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	left, q.queue = q.queue, nil
	q.closed = true
	if q.cancel != nil {
		q.cancel()
	}
	for q.running {
		q.idle.Wait()
	}
	return left
}

// request queues an RPC. Its PUBACK follows when it was carried out; the reply goes to the response
// topic, or by tag.
func (c *conn) request(x *inbound, method string) {
	switch {
	case c.id.Scope != nil:
		c.answer(x, chat.Refuse(chat.NotAuthorized, "a device token makes no requests"))
		return
	case x.pk.Properties.ResponseTopic != "" && !protocol.ValidResponseTopic(x.pk.Properties.ResponseTopic, c.id.User):
		c.answer(x, chat.Refuse(chat.NotAuthorized, "the Response Topic must be %s or below it", protocol.RPCTopic(c.id.User)))
		return
	}
	c.a.stats.Requests.Add(1)
	q := &c.calls
	keep := *x.pk // the reader's packet is its own
	y := *x
	y.pk = &keep
	q.mu.Lock()
	if q.idle == nil {
		q.idle = sync.NewCond(&q.mu)
	}
	full := len(q.queue) >= callsMax
	if !full && !q.closed {
		q.queue = append(q.queue, call{&y, method})
		if !q.running {
			q.running = true
			ctx, cancel := context.WithCancel(context.Background())
			q.cancel = cancel
			go c.runCalls(ctx)
		}
	}
	q.mu.Unlock()
	if full {
		c.answer(x, chat.Refuse(chat.RateLimited, "%d requests wait already; ask again when they are answered", callsMax))
	}
}

func (c *conn) runCalls(ctx context.Context) {
	q := &c.calls
	for {
		q.mu.Lock()
		if len(q.queue) == 0 {
			q.running = false
			q.cancel()
			q.idle.Broadcast()
			q.mu.Unlock()
			return
		}
		next := q.queue[0]
		q.queue = q.queue[1:]
		q.mu.Unlock()
		c.call(ctx, next)
	}
}

// call carries out one request and sends its reply to this session alone.
func (c *conn) call(ctx context.Context, w call) {
	pk := w.x.pk
	most := int(c.a.set().Packet)
	if m := int(c.s.Connect().MaxPacket); m > 0 {
		most = min(most, m)
	}
	topic := protocol.RPCTopic(c.id.User)
	var props []byte
	if pk.Properties.ResponseTopic != "" {
		topic = pk.Properties.ResponseTopic
	}
	if d := pk.Properties.CorrelationData; len(d) > 0 {
		props = append(props, 0x09, byte(len(d)>>8), byte(len(d)))
		props = append(props, d...)
	}
	most -= len(topic) + len(props) + 16
	who := Caller{User: c.id.User, Admin: c.id.Admin, Client: c.client}
	reply := c.a.o.RPC.Call(ctx, who, w.method, pk.Payload, most)
	if c.s.WaitRoom() { // else nobody is there to read it
		c.s.Live(protocol.FilterRPC, "", topic, reply, props, false)
	}
	if w.x.in != nil {
		w.x.in.SettleNow(hub.Result{})
	}
}
