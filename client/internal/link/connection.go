package link

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

const (
	queueMost   = 1 << 16   // packets that wait to be sent
	queueBytes  = 16 << 20  // and their size
	windowMost  = 4096      // publishes that wait for PUBACK, whatever the server allows
	windowBytes = 256 << 10 // and their size: what a half-open connection may swallow. One longer goes alone
	batchBytes  = 64 << 10  // one write
)

// connection is the state of one connection. Its writer goroutine sends; paho's reader and the link's
// callers come in from outside.
type connection struct {
	l       *Link
	w       *wire
	session Session
	begun   time.Time
	reply   string // topic of replies

	wake    chan struct{} // cap 1: the writer has something to do
	watched chan struct{} // cap 1: the watcher has something to look at
	over    chan struct{} // closed at the end
	written chan struct{} // closed when the writer has ended
	once    sync.Once

	farewell bool // the writer's alone: DISCONNECT is sent, or about to be

	alias inAliases // the reader's of messages alone

	mu       sync.Mutex // all below
	ended    bool
	leaving  bool // what is queued is still sent, nothing is taken any more
	queue    []*outgoing
	queued   int // bytes
	inflight map[uint16]*outgoing
	sends    uint64    // packets in flight so far
	awaits   time.Time // since when something has been in flight, without a pause
	unacked  int       // bytes of publishes in flight
	aliases  outAliases
	dues     dues
	control  []byte // packets that go before all else: PUBCOMP, PINGREQ
	calls    map[uint16]*pendingCall
	lastCall uint16
	ping     ping
}

// outgoing is a packet on its way out. Exactly one of its functions is called, once.
type outgoing struct {
	publish *Publish
	reply   *requestProps
	size    int // of the packet, at most

	subscribe   *packets.Subscribe
	unsubscribe *packets.Unsubscribe
	want        int // reason codes in the answer
	n           uint64

	acked func(Ack, error)    // of a publish; may be nil
	codes func([]byte, error) // of the others
}

// requestProps are what makes a publish a request.
type requestProps struct {
	topic string
	data  []byte
}

// fail tells that there will be no answer.
func (o *outgoing) fail(err error) {
	switch {
	case o.codes != nil:
		o.codes(nil, err)
	case o.acked != nil:
		o.acked(Ack{}, err)
	}
}

func newConnection(l *Link, w *wire, s Session, aliases uint16) *connection {
	c := &connection{
		l: l, w: w, session: s, begun: time.Now(), reply: replyTopic(l.o.User),
		wake: make(chan struct{}, 1), watched: make(chan struct{}, 1), over: make(chan struct{}), written: make(chan struct{}),
		alias:    make(inAliases, l.o.Aliases),
		inflight: make(map[uint16]*outgoing), calls: make(map[uint16]*pendingCall),
	}
	c.aliases.most = aliases
	return c
}

// enqueue takes a packet for the writer.
func (c *connection) enqueue(o *outgoing) error {
	c.mu.Lock()
	switch {
	case c.ended:
		c.mu.Unlock()
		return ErrDown
	case c.leaving:
		c.mu.Unlock()
		return ErrClosed
	case len(c.queue) >= queueMost || c.queued > 0 && c.queued+o.size > queueBytes:
		c.mu.Unlock()
		return ErrFull
	}
	c.queue = append(c.queue, o)
	c.queued += o.size
	c.mu.Unlock()
	signal(c.wake)
	return nil
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run is the writer: it sends what has gathered, as much as fits in one write at a time.
func (c *connection) run() {
	defer close(c.written)
	var buf bytes.Buffer
	for {
		select {
		case <-c.wake:
		case <-c.over:
			return
		}
		for {
			buf.Reset()
			unanswered := c.fill(&buf)
			if buf.Len() == 0 {
				break
			}
			err := c.w.send(buf.Bytes())
			for _, done := range unanswered {
				if err != nil {
					done(Ack{}, ErrLost)
				} else {
					done(Ack{}, nil)
				}
			}
			if err != nil || c.farewell {
				return // of an error the reader learns too, and tells everybody
			}
		}
		if buf.Cap() > 4*batchBytes {
			buf = bytes.Buffer{}
		}
	}
}

// fill encodes what is to be sent next. What expects an answer is in flight then; the functions of what
// does not are returned.
func (c *connection) fill(buf *bytes.Buffer) (unanswered []func(Ack, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf.Write(c.control)
	c.control = c.control[:0]
	buf.Write(c.dues.appendReady(buf.AvailableBuffer()))
	idle := len(c.inflight) == 0
	begun := buf.Len()
	for len(c.queue) > 0 && buf.Len() < batchBytes {
		o := c.queue[0]
		if o.publish != nil && o.publish.QoS > 0 && !c.fits(o) || len(c.inflight) >= 0xFFFF {
			break
		}
		c.queue[0] = nil
		c.queue = c.queue[1:]
		c.queued -= o.size
		c.encode(buf, o)
		if o.publish != nil && o.publish.QoS == 0 && o.acked != nil {
			unanswered = append(unanswered, o.acked)
		}
	}
	if len(c.queue) == 0 {
		c.queue = nil
		if c.leaving {
			buf.Write([]byte{packets.DISCONNECT << 4, 0}) // normal disconnection, §3.14.2.1
			c.farewell = true
			return unanswered
		}
	}
	if buf.Len() > begun {
		c.pingAlong(buf)
	}
	if idle && len(c.inflight) > 0 {
		c.awaits = time.Now()
		signal(c.watched)
	}
	return unanswered
}

// fits tells whether the window has room for a publish.
func (c *connection) fits(o *outgoing) bool {
	if c.unacked == 0 {
		return true
	}
	// SUBSCRIBEs in flight are few, and only make it stricter.
	return c.unacked+o.size <= windowBytes && len(c.inflight) < c.session.ReceiveMax
}

// encode appends a packet and notes that it is in flight.
func (c *connection) encode(buf *bytes.Buffer, o *outgoing) {
	var id uint16
	if o.publish == nil || o.publish.QoS > 0 {
		id = c.l.packetID(c.inflight)
		c.sends++
		o.n = c.sends
		c.inflight[id] = o
	}
	// Writing to a bytes.Buffer does not fail.
	switch {
	case o.subscribe != nil:
		o.subscribe.PacketID = id
		_, _ = o.subscribe.WriteTo(buf)
	case o.unsubscribe != nil:
		o.unsubscribe.PacketID = id
		_, _ = o.unsubscribe.WriteTo(buf)
	default:
		if o.publish.QoS > 0 {
			c.unacked += o.size
		}
		alias, known := uint16(0), false
		if m := c.session.MaxPacket; m == 0 || o.size <= m { // size counts an alias
			alias, known = c.aliases.take(o.publish.Topic)
		}
		_, _ = o.packet(id, alias, known).WriteTo(buf)
	}
}

// packet makes the PUBLISH.
func (o *outgoing) packet(id, alias uint16, known bool) *packets.Publish {
	p := o.publish
	pk := &packets.Publish{PacketID: id, QoS: p.QoS, Retain: p.Retain, Topic: p.Topic, Payload: p.Payload}
	props := &packets.Properties{}
	if alias > 0 {
		props.TopicAlias = &alias
		if known {
			pk.Topic = "" // §3.3.2.3.4
		}
	}
	if s := expirySeconds(p.Expiry); s > 0 {
		props.MessageExpiry = &s
	}
	for _, u := range p.Properties {
		props.User = append(props.User, packets.User{Key: u.Key, Value: u.Value})
	}
	if o.reply != nil {
		props.ResponseTopic, props.CorrelationData = o.reply.topic, o.reply.data
	}
	pk.Properties = props
	return pk
}

// measure returns the most that the packet takes on the wire, with an alias.
func (o *outgoing) measure() int {
	p := o.publish
	n := 2 + len(p.Topic) + 2 + 3 + 5 + len(p.Payload)
	for _, u := range p.Properties {
		n += 5 + len(u.Key) + len(u.Value)
	}
	if o.reply != nil {
		n += 3 + len(o.reply.topic) + 3 + len(o.reply.data)
	}
	return n + 5 + 4 // fixed header and the properties' length
}

// exact returns what the packet takes without an alias.
func (o *outgoing) exact() int {
	var n counter
	_, _ = o.packet(1, 0, false).WriteTo(&n) // a counter does not fail
	return int(n)
}

type counter int

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

// settle takes the packet with that id out of flight.
func (c *connection) settle(id uint16, publish bool) *outgoing {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.inflight[id]
	if o == nil || (o.publish != nil) != publish {
		return nil
	}
	delete(c.inflight, id)
	if publish {
		c.unacked -= o.size
	}
	if len(c.queue) > 0 {
		signal(c.wake)
	}
	return o
}

// ack notes that a message may be acknowledged.
func (c *connection) ack(d *due) {
	c.mu.Lock()
	ready := !c.ended && c.dues.mark(d)
	c.mu.Unlock()
	if ready {
		signal(c.wake)
	}
}

// end closes the connection for a reason, and tells everybody who waits, in the order in which they called.
// It returns when nothing of the connection runs any more but paho. Only the first reason counts.
func (c *connection) end(cause error) {
	_ = c.w.fail(cause)
	c.once.Do(func() {
		close(c.over)
		<-c.written
		c.mu.Lock()
		c.ended = true
		lost := slices.SortedFunc(maps.Values(c.inflight), func(a, b *outgoing) int { return cmp.Compare(a.n, b.n) })
		unsent := c.queue
		c.queue, c.queued = nil, 0
		clear(c.inflight)
		c.dues = dues{}
		c.ping.resolve(ErrLost)
		c.mu.Unlock()
		for _, o := range lost {
			o.fail(ErrLost)
		}
		for _, o := range unsent {
			o.fail(ErrDown)
		}
		c.endCalls()
	})
}

// leave stops taking packets; when what was taken is written, DISCONNECT follows, and the writer ends.
func (c *connection) leave() {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	signal(c.wake)
}
