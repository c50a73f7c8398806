package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// Link is one connection, kept alive.
type Link struct {
	o       Options
	h       Handler
	tickets *tickets
	slots   chan struct{} // for requests under way

	wake    chan struct{} // cap 1: whoever waits for the next attempt looks again
	leaving chan struct{} // closed by Close
	gone    chan struct{} // closed when no attempt may begin any more
	closed  chan struct{} // closed when Run has returned

	silent atomic.Int32 // connections that fell silent one after the other
	lastID uint16       // of packets; the writer's alone, and connections follow one another

	mu      sync.Mutex
	running bool
	closing bool
	state   state
	conn    *connection // the newest, up or not
	attempt *attempt    // the one under way
	next    time.Time   // when the next may begin
	parked  bool        // none may begin
	bidden  bool        // the server asked for the wait
	poked   time.Time   // when Poke or Hurry last began one
	moved   time.Time   // when Poke said that the network of the connection changed; zero: it has not
	back    backoff
	keep    keepAlive
	taken   map[uint16]bool // ids of QoS 2 that were taken and not yet released; the connection's mu guards what is in it
}

type state uint8

const (
	stateDown state = iota
	stateConnecting
	stateUp
)

// New checks the options. Nothing happens before Run.
func New(o Options, h Handler) (*Link, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	l := &Link{
		o: o, h: h, slots: make(chan struct{}, callsMost), wake: make(chan struct{}, 1),
		leaving: make(chan struct{}), gone: make(chan struct{}), closed: make(chan struct{}),
		back:    backoff{first: o.Patience.BackoffFirst, most: o.Patience.BackoffMost, rand: o.Rand},
		keep:    newKeepAlive(o.KeepAlive, o.Memory.Get(memoryKeepAlive)),
		tickets: newTickets(o.Memory, &o),
		taken:   make(map[uint16]bool),
	}
	return l, nil
}

// farewellMost bounds how long taking leave of the server takes.
const farewellMost = 2 * time.Second

// Run connects, and connects again whenever the connection ends, until ctx ends or Close is called; then it
// takes leave of the server, calls Down a last time, with ErrClosed, and returns nil. Call it once.
func (l *Link) Run(ctx context.Context) error {
	l.mu.Lock()
	if l.running || l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	l.running = true
	l.mu.Unlock()
	defer close(l.closed)
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	manager, err := autopaho.NewConnection(inner, l.config())
	if err != nil {
		return fmt.Errorf("autopaho: %w", err)
	}
	select {
	case <-ctx.Done():
	case <-l.leaving:
	}
	l.takeLeave()
	cancel()
	close(l.gone)
	_ = manager.Disconnect(context.Background()) // fails only by its context
	l.h.Down(ErrClosed, time.Time{})
	return nil
}

// config is what autopaho runs on. It asks for a CONNECT packet before each attempt, and there the link waits as
// long as it has to: the back-off that the library would sleep through is none, and the credentials are fresh.
func (l *Link) config() autopaho.ClientConfig {
	return autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{l.o.Server},
		CleanStartOnInitialConnection: l.o.CleanStart,
		ReconnectBackoff:              func(int) time.Duration { return 0 },
		ConnectTimeout:                l.o.Patience.Connect,
		ConnectPacketBuilder:          l.prepareConnect,
		AttemptConnection:             l.dial,
		OnConnectError:                l.attemptFailed,
		OnConnectionDown:              l.connectionEnded,
		ClientConfig: paho.ClientConfig{
			ClientID:      l.o.ClientID,
			Session:       sessions{l},
			PingHandler:   pulse{l},
			AuthHandler:   noAuth{l},
			PacketTimeout: l.o.Patience.Connect,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				l.current().received(p.Packet) // there is one: it received the message
				return true, nil
			}},
		},
	}
}

// noAuth refuses extended authentication, which nobody asked for (paho would call a nil handler).
type noAuth struct{ l *Link }

var _ paho.Auther = noAuth{}

func (n noAuth) Authenticate(*paho.Auth) *paho.Auth {
	n.Authenticated()
	return &paho.Auth{ReasonCode: packets.AuthContinueAuthentication}
}

func (n noAuth) Authenticated() {
	n.l.mu.Lock()
	c, a := n.l.conn, n.l.attempt
	n.l.mu.Unlock()
	err := errors.New("the server asks for an authentication that was not offered") // [MQTT-4.12.0-6]
	if a != nil {
		a.abort(err)
	} else if c != nil {
		_ = c.w.fail(err)
	}
}

// takeLeave lets no more attempt succeed, and ends the connection that there is in good order.
func (l *Link) takeLeave() {
	l.mu.Lock()
	l.closing = true
	c, a := l.conn, l.attempt
	l.mu.Unlock()
	if a != nil {
		a.abort(ErrClosed)
	}
	if c != nil {
		timer := time.NewTimer(farewellMost)
		defer timer.Stop()
		c.leave()
		select {
		case <-c.over: // the server closes it when it has read DISCONNECT [MQTT-3.14.4-1]
		case <-timer.C:
			_ = c.w.fail(ErrClosed)
		}
	}
}

// Close takes leave of the server (what was given to Publish before is written first, as far as that takes no
// longer than two seconds) and waits until Run has returned, or for ctx. It may be called more than once, and without Run.
func (l *Link) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closing {
		l.closing = true
		close(l.leaving)
	}
	running := l.running
	l.mu.Unlock()
	if !running {
		return nil
	}
	select {
	case <-l.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// current returns the newest connection, which may have ended.
func (l *Link) current() *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// up returns the connection that there is.
func (l *Link) up() (*connection, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closing:
		return nil, ErrClosed
	case l.state != stateUp:
		return nil, ErrDown
	}
	return l.conn, nil
}

// packetID returns an id that is not in flight. Ids go on across connections, so that the server does not meet
// one again that it may still be storing something for.
func (l *Link) packetID(used map[uint16]*outgoing) uint16 {
	for {
		l.lastID++
		if l.lastID != 0 && used[l.lastID] == nil {
			return l.lastID
		}
	}
}

// Publish sends p without waiting. Packets leave in the order of the calls. If it returns nil, done is called
// exactly once, from a goroutine of the link, which it must not keep, and perhaps before Publish has
// returned: with the server's answer, with ErrLost when the connection ended before that came, or with ErrDown when it ended before p
// was written. For QoS 0 it is called when p was written. An error means that nothing was sent and that done is never
// called: ErrDown, ErrClosed, ErrFull, ErrTooLarge, or what is wrong with p. done may be nil.
func (l *Link) Publish(p Publish, done func(Ack, error)) error {
	if err := p.validate(); err != nil {
		return err
	}
	c, err := l.up()
	if err != nil {
		return err
	}
	o := &outgoing{publish: &p, acked: done}
	if err := c.prepare(o); err != nil {
		return err
	}
	return c.enqueue(o)
}

// validate refuses what would make the server end the connection: sent again and again, it would never come to
// an end.
func (p *Publish) validate() error {
	switch {
	case p.Topic == "" || len(p.Topic) > math.MaxUint16 || !utf8.ValidString(p.Topic) || strings.ContainsAny(p.Topic, "+#\x00"):
		return fmt.Errorf("%.80q is no topic to publish to", p.Topic) // [MQTT-3.3.2-2]
	case p.QoS > 1:
		return fmt.Errorf("a publish at QoS %d: 0 and 1 are offered", p.QoS)
	}
	return checkProperties(p.Properties)
}

func checkProperties(props []Property) error {
	for _, u := range props {
		for _, s := range []string{u.Key, u.Value} {
			if len(s) > math.MaxUint16 || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
				return fmt.Errorf("user property %.40q must be UTF-8 of at most 65,535 bytes", u.Key)
			}
		}
	}
	return nil
}

// prepare measures a publish.
func (c *connection) prepare(o *outgoing) error {
	o.size = o.measure()
	// The estimate has room for an alias and for a long length; near the limit the exact size decides.
	if most := c.session.MaxPacket; most > 0 && o.size > most && o.exact() > most {
		return ErrTooLarge
	}
	if o.size > packetMost {
		return ErrTooLarge
	}
	return nil
}

// Subscribe subscribes and waits for the answer: one reason code for each filter, of which those from 0x80
// are refusals. Errors: ErrDown, ErrLost, ErrClosed, ErrFull, ctx's, or what is wrong with the filters.
func (l *Link) Subscribe(ctx context.Context, filters []Filter, props ...Property) ([]byte, error) {
	return await(ctx, func(done func([]byte, error)) error { return l.SubscribeFunc(filters, props, done) })
}

// SubscribeFunc is Subscribe without waiting: what is sent afterwards leaves afterwards. As with Publish, done is called
// exactly once if it returns nil.
func (l *Link) SubscribeFunc(filters []Filter, props []Property, done func(codes []byte, err error)) error {
	pk := &packets.Subscribe{Properties: &packets.Properties{}}
	size := 16
	for _, f := range filters {
		if !validFilter(f.Topic) || f.QoS > 1 || f.RetainHandling > 2 {
			return fmt.Errorf("%.80q at QoS %d is no filter", f.Topic, f.QoS)
		}
		pk.Subscriptions = append(pk.Subscriptions, packets.SubOptions{Topic: f.Topic, QoS: f.QoS, NoLocal: f.NoLocal,
			RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling})
		size += 3 + len(f.Topic)
	}
	for _, u := range props {
		pk.Properties.User = append(pk.Properties.User, packets.User{Key: u.Key, Value: u.Value})
		size += 5 + len(u.Key) + len(u.Value)
	}
	if err := checkProperties(props); err != nil {
		return err
	}
	return l.request(&outgoing{subscribe: pk, want: len(filters), size: size, codes: done})
}

// Unsubscribe ends subscriptions and waits for the answer, as Subscribe.
func (l *Link) Unsubscribe(ctx context.Context, topics ...string) ([]byte, error) {
	return await(ctx, func(done func([]byte, error)) error { return l.UnsubscribeFunc(topics, done) })
}

// UnsubscribeFunc is Unsubscribe without waiting, as SubscribeFunc.
func (l *Link) UnsubscribeFunc(topics []string, done func(codes []byte, err error)) error {
	size := 16
	for _, t := range topics {
		if !validFilter(t) {
			return fmt.Errorf("%.80q is no filter", t)
		}
		size += 2 + len(t)
	}
	pk := &packets.Unsubscribe{Topics: topics, Properties: &packets.Properties{}}
	return l.request(&outgoing{unsubscribe: pk, want: len(topics), size: size, codes: done})
}

func validFilter(t string) bool {
	return t != "" && len(t) <= math.MaxUint16 && utf8.ValidString(t) && strings.IndexByte(t, 0) < 0 // [MQTT-4.7.3-1..3]
}

// request sends a SUBSCRIBE or UNSUBSCRIBE.
func (l *Link) request(o *outgoing) error {
	if o.want == 0 {
		return errors.New("no filter is given") // [MQTT-3.8.3-2]
	}
	c, err := l.up()
	if err != nil {
		return err
	}
	if m := c.session.MaxPacket; m > 0 && o.size > m {
		return ErrTooLarge
	}
	return c.enqueue(o)
}

// await turns a call with a callback into one that waits.
func await(ctx context.Context, call func(func([]byte, error)) error) ([]byte, error) {
	type result struct {
		codes []byte
		err   error
	}
	answer := make(chan result, 1)
	if err := call(func(codes []byte, err error) { answer <- result{codes, err} }); err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		return r.codes, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
