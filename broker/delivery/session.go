package delivery

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// Connect is what a connection brings to its session.
type Connect struct {
	Key
	Conn      net.Conn
	V5        bool
	Clean     bool            // Clean Start, or Clean Session
	Expiry    uint32          // seconds; MaxUint32: never; 0: the session ends with the connection
	Window    int             // Receive Maximum of an MQTT 5 client; 0: not stated
	Receive   int             // our own Receive Maximum; MQTT 5
	MaxPacket uint32          // Maximum Packet Size; 0: any
	Aliases   uint16          // Topic Alias Maximum
	MetaSeq   bool            // PUBACKs carry the seq
	Problems  bool            // the client takes reason strings
	Catchup   uint64          // at most the last N events of each conversation; 0: all
	Convs     map[string]bool // the only conversations that this device may use; nil: all
	// MayResume says whether the session may be resumed though it has this filter; nil: it may with all.
	MayResume func(f *protocol.Filter) bool
	// MaxSessions is how many durable sessions the user may have; 0: any number.
	MaxSessions int
	Quiet       bool                    // does not count for presence
	NoCursors   bool                    // moves no cursor of its user
	Denied      func(topic string) bool // plain topics that a rule forbids to deliver; nil: none
	Owner       any                     // whose the session is, for hooks
	Addr        string
	// Parted is called once, when nothing that the client sent is under way any more, before another connection
	// gets the session; nil: nobody cares.
	Parted func()
	// Kick ends the connection for a reason of the server's. It must not block.
	Kick func(why Why)
}

// Why says why the server ends a connection.
type Why uint8

// The reasons.
const (
	TakenOver Why = iota + 1
	Revoked
	Broken // writing failed
	ServerStops
	Expired
)

// link is the connection's side of a session. It is replaced as a whole when a session gets another
// connection, and never changed after.
type link struct {
	c       *Connect
	out     *outbox
	aliases aliases
	max     uint32 // Maximum Packet Size
	textMax uint32 // of a 3.1.1 device: longer text is cut
}

// Session is one device of a user while it is connected.
type Session struct {
	r     *Registry
	key   Key
	SID   uint64
	c     *Connect
	link  *link
	ended chan struct{} // closed when the session has been put away
	stand bool          // has the key for a moment in the name of no connection

	durable bool // outlives its connection
	expiry  uint32
	created int64
	name    string

	// storing is held while the session's record or position is put into a batch and committed, so that
	// an older state never follows a newer one. It is taken before any other lock.
	storing sync.Mutex

	mu       sync.Mutex
	live     bool // is offered events
	resuming bool // what it missed is being looked up: nothing may be sent yet
	seeking  bool // where subscriptions are to start is being looked up: nothing at QoS 1 may overtake it
	gone     bool // detached
	subs     map[string]*subscription
	index    subIndex
	win      window
	lag      map[source]*lagging
	order    [classes][]source // lagging sources by class, in turns
	pumping  bool
	commit   uint64 // everything up to here was offered or is named in lag
	dup      uint64 // events of commits up to this one may have been sent before a crash
	resend   []sent // what was in flight when the session was put away, to be sent again

	shares      []*share // that it is a member of, by view; nil where one was left
	sharesFirst bool     // whose turn it is when the window has room again

	in        []*Inbound
	chains    chains              // of posts, see Inbound.Follow
	undone    int                 // of in: neither stored nor refused yet
	quiet     chan struct{}       // made by who waits until nothing is under way; nil: nobody does
	plainUsed atomic.Bool         // the owner of the plain messages was given something to do
	plainEver bool                // had a plain filter at QoS ≥ 1: messages may wait for it
	received  map[uint16]bool     // inbound QoS 2 ids between PUBLISH and PUBREL; true: of this connection
	held      int                 // how many of received are of this connection
	released  map[uint16]struct{} // outbound QoS 2 ids between PUBREC and PUBCOMP, without a window entry
	unseen    map[uint16]unseen   // stored publishes whose acknowledgement the client cannot have seen
	acked     []ackSent
	inRoom    *sync.Cond
	delivered map[string]uint64 // acknowledged seqs not yet handed to the hub
	owned     map[string]uint64 // highest acknowledged seq of this connection, for an empty read
	touched   bool              // the position on disk is behind

}

// Key returns the session key.
func (s *Session) Key() Key { return s.key }

// User returns the session's user, "" for a guest.
func (s *Session) User() string { return s.key.User }

// Owner returns what the connection gave as its owner.
func (s *Session) Owner() any { return s.c.Owner }

// Connect returns what the connection brought. Read only.
func (s *Session) Connect() *Connect { return s.c }

// Kick ends the session's connection.
func (s *Session) Kick(why Why) { s.c.Kick(why) }

// Write appends bytes of whole packets to what is on its way to the client. It never blocks.
func (s *Session) Write(p []byte) {
	s.link.out.append(func(b []byte) []byte { return append(b, p...) })
	s.link.out.flush()
}

// liveMax is how many bytes may wait for a connection before live packets at QoS 0 are dropped.
const liveMax = 1 << 20

// offer gives the session an event that has just become durable. It reports whether something is to
// be flushed. Only the dispatcher calls it.
func (s *Session) offer(d *hub.Delivery, enc *encoding) (wrote bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live || s.gone {
		return false
	}
	if d.Log[0] == '@' {
		if sub := s.index.own; sub != nil {
			wrote = s.offerView(d, enc, source{d.Log, viewOwn}, match{qos: sub.qos, ids: sub.ids()})
		}
		return wrote
	}
	if !s.allows(d.Log) {
		return false
	}
	for v := protocol.ViewText; v <= protocol.ViewCBOR; v++ {
		m, ok := s.index.match(d.Log, v)
		if !ok || m.noLocal && d.Origin == s.SID {
			if ok && m.noLocal && d.Origin == s.SID {
				s.skipOwn(d, source{d.Log, byte(v)})
			}
			continue
		}
		if s.offerView(d, enc, source{d.Log, byte(v)}, m) {
			wrote = true
		}
	}
	return wrote
}

// skipOwn keeps the order right for a sender that does not want its own events: while the log lags,
// what is read later must leave it out too.
func (s *Session) skipOwn(d *hub.Delivery, src source) {
	l, ok := s.lag[src]
	switch {
	case ok:
		l.offered(d.Event.Seq)
	case d.Begins == s.key.User:
		l = s.beginLog(d, src)
	case s.resuming || s.seeking:
		l = s.lags(src, d.Event.Seq, d.Event.Seq)
		l.fresh = s.resuming
	default:
		return
	}
	l.leaveOut(d.Event.Seq)
	if d.Former == s.key.User {
		l.ends(d.Event.Seq)
	}
}

func (s *Session) offerView(d *hub.Delivery, enc *encoding, src source, m match) bool {
	seq := d.Event.Seq
	if m.qos == 0 {
		topic, payload, ok := enc.in(src.view, s.key.User)
		if !ok || s.resuming || s.link.out.pending() > liveMax {
			return false
		}
		return s.put(&publish{topic: topic, payload: payload, subIDs: m.ids, props: m.props(s, src.view, d.Event)}, src, seq, 0)
	}
	if d.Begins == s.key.User {
		s.beginLog(d, src)
		return false
	}
	left := d.Former == s.key.User
	if l, ok := s.lag[src]; ok {
		l.offered(seq)
		if left {
			l.ends(seq)
		}
		return false
	}
	if s.resuming || s.seeking || s.win.room() <= 0 {
		l := s.lags(src, seq, seq)
		l.fresh = s.resuming
		if left {
			l.ends(seq)
		}
		return false
	}
	topic, payload, ok := enc.in(src.view, s.key.User)
	if !ok {
		return false
	}
	p := publish{topic: topic, payload: payload, subIDs: m.ids, props: m.props(s, src.view, d.Event)}
	return s.put(&p, src, seq, 1)
}

// put sends a packet of a source. What the client cannot take becomes a stub, or is cut. s.mu is held.
func (s *Session) put(p *publish, src source, seq uint64, qos byte) bool {
	l := s.link
	p.qos = qos
	if l.max > 0 || l.textMax > 0 {
		if !s.fit(p, src, seq) {
			return false
		}
	}
	size := publishSize(p)
	s.r.Sent.Add(1)
	if qos > 0 {
		p.pid = s.win.add(src, seq, size, qos)
		s.touch()
	}
	l.out.append(func(b []byte) []byte { return l.encode(b, p) })
	return true
}

// fit makes a packet small enough for the client [MQTT-3.1.2-24]. It returns false where nothing can
// be sent: the text view then has a gap, which is normal there.
func (s *Session) fit(p *publish, src source, seq uint64) bool {
	l := s.link
	text := src.view == byte(protocol.ViewText)
	if text && l.textMax > 0 {
		if over := publishSize(p) - int(l.textMax); over > 0 {
			p.payload = cut(p.payload, len(p.payload)-over)
		}
	}
	over := publishSize(p) - int(l.max)
	if l.max == 0 || over <= 0 {
		return true
	}
	if text {
		p.payload = cut(p.payload, len(p.payload)-over)
	} else if src.view != viewPlain {
		e := encoding{log: src.log}
		if _, payload, ok := e.stub(src.view, s.key.User, seq, seq, chat.KindLarge); ok {
			p.payload, p.props = payload, nil
		}
	}
	return publishSize(p) <= int(l.max) && len(p.payload) > 0
}

// fits reports whether the client takes a packet of that size [MQTT-3.1.2-24].
func (s *Session) fits(p *publish) bool { return s.link.max == 0 || publishSize(p) <= int(s.link.max) }

// allows reports whether the device may see a conversation at all.
func (s *Session) allows(conv string) bool {
	return s.c.Convs == nil || s.c.Convs[conv]
}

// sendLive sends a live view's payload if the session subscribes to it.
func (s *Session) sendLive(kind protocol.FilterKind, name string, topic, payload []byte, retain bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live || s.gone || s.link.out.pending() > liveMax {
		return false
	}
	if kind != protocol.FilterPresence && name != "" && !s.allows(name) {
		return false
	}
	ids, ok := s.index.liveMatch(kind, name, string(topic))
	if !ok {
		return false
	}
	return s.putLive(&publish{topic: topic, payload: payload, subIDs: ids, retain: retain})
}

func (s *Session) putLive(p *publish) bool {
	l := s.link
	if l.max > 0 && publishSize(p) > int(l.max) {
		return false
	}
	l.out.append(func(b []byte) []byte { return l.encode(b, p) })
	return true
}

// Live sends a payload at QoS 0 to this session alone, if it subscribes to the topic: replies,
// refusals, and the retained state at the time of a subscription.
func (s *Session) Live(kind protocol.FilterKind, name, topic string, payload, props []byte, retain bool) {
	s.mu.Lock()
	ids, ok := s.index.liveMatch(kind, name, topic)
	if ok && !s.gone {
		ok = s.putLive(&publish{topic: []byte(topic), payload: payload, props: props, subIDs: ids, retain: retain})
	}
	s.mu.Unlock()
	if ok {
		s.link.out.flush()
	}
}

// Tell sends a payload of a live view at QoS 0 to this session alone, if it subscribes to the topic. Unlike Live it
// is for those who don't wait for the session: where the connection has not taken what waits for it, the
// payload is dropped.
func (s *Session) Tell(kind protocol.FilterKind, name, topic string, payload []byte) {
	if s.sendLive(kind, name, []byte(topic), payload, false) {
		s.link.out.flush()
	}
}

// Drain waits until the connection has taken what waits for it: for those who send much at once.
func (s *Session) Drain() { s.link.out.drain() }

// WaitRoom waits until the connection has taken so much of what waits for it that there is room for more:
// for those who make it grow, the reader of requests and those who answer them. false: the connection is
// gone, or about to be closed. Not for the dispatcher, and no lock may be held.
func (s *Session) WaitRoom() bool { return s.link.out.waitRoom(liveMax) }

// Finish writes what waits and closes the connection.
func (s *Session) Finish() { s.link.out.finish(false) }

// FinishWriting writes what waits and closes the connection's sending side, if it has one of its own, so
// that the client can read to the end although it has sent more. Finish, or closing, must follow.
func (s *Session) FinishWriting() { s.link.out.finish(true) }

// Pending is how many bytes wait for the connection.
func (s *Session) Pending() int { return s.link.out.pending() }

// touch marks the session's position as changed. s.mu is held.
func (s *Session) touch() {
	if s.touched {
		return
	}
	s.touched = true
	s.r.markDirty(s)
}
