package hooks

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// Info is what a listener knows about a connection, behind proxies too.
type Info interface {
	ClientAddr() netip.Addr // not valid: a Unix socket
	PeerCN() string         // common name of a verified client certificate; "": none
}

// Attach serves one connection from its first byte to its end. It is what the listeners call, each in
// a goroutine of its own, and it returns when the session has been put away.
//
// An idle connection is its goroutine's stack more than anything else, and the collector halves a stack
// only while less than a quarter is in use. So everything but the reading happens aside, and nothing
// that is under the wait for the next packet has a large frame.
func (a *Adapter) Attach(listener string, nc net.Conn) error {
	c, err := a.enter(listener, nc)
	if c == nil {
		return err
	}
	if err == nil {
		err = c.stay()
	} else if c.served { // it was let in, and its session could not be started
		aside(func() { c.part(nil, err) })
	}
	return c.exit(err)
}

// enter admits a connection and lets its client in. c is nil for one that was not admitted.
func (a *Adapter) enter(listener string, nc net.Conn) (c *conn, err error) {
	c = &conn{Conn: nc, a: a, number: a.nextID.Add(1), br: bufio.NewReaderSize(nc, readBuffer)}
	info, known := nc.(Info)
	if known {
		c.addr = info.ClientAddr()
	}
	if !a.take(c) {
		return nil, errors.Join(errors.New("hooks: the server is stopping"), nc.Close())
	}
	a.o.Server.Listeners.ClientsWg.Add(1)
	a.stats.Connections.Add(1)
	aside(func() { err = c.open(listener, info) })
	return c, err
}

// stay reads until the connection ends, for whatever reason, and draws the consequences.
func (c *conn) stay() error {
	bye, err := c.loop()
	aside(func() { c.part(bye, err) })
	return err
}

// exit puts the session away and gives back what enter took.
func (c *conn) exit(err error) error {
	if c.s != nil {
		aside(func() {
			defer c.a.exits.enter()()
			c.s.Detach(c.expiry)
		})
		c.s.Drain() // the client learns why before the connection is closed
	}
	if c.lingers { // until the client has read it, or kickGrace is over
		_, _ = io.CopyN(io.Discard, c.br, lingerMax)
	}
	c.cl.Stop(err)
	_ = c.Conn.Close() // usually closed already
	c.a.release(c)
	c.a.o.Server.Listeners.ClientsWg.Done()
	return err
}

// open reads CONNECT, lets the client in or refuses it, and starts its session.
func (c *conn) open(listener string, info Info) error {
	a := c.a
	set := a.set()
	c.cl = a.o.Server.NewClient(c, listener, connID(c.number), false)
	// One deadline for the whole CONNECT, also when it trickles in.
	if err := c.Conn.SetReadDeadline(time.Now().Add(set.ConnectTimeout)); err != nil {
		return err
	}
	pk, err := c.read(set.PacketBeforeAuth, packets.Connect)
	if err != nil {
		a.stats.Malformed.Add(1)
		err = fmt.Errorf("hooks: no CONNECT: %w", err)
		var code packets.Code
		if errors.As(err, &code) {
			err = errors.Join(err, c.deny(c.pk.ProtocolVersion, code))
		}
		return err
	}
	defer a.gate.enter()() // not before: a client must not hold a turn by being slow
	c.v5 = pk.ProtocolVersion == 5
	connect, will, code := c.validate(pk)
	unique := c.cl.ID
	if code != packets.CodeSuccess {
		return errors.Join(c.deny(pk.ProtocolVersion, code), code)
	}
	c.cl.ParseConnect(listener, *pk)
	c.cl.ID = unique // the session table alone knows (user, client id)
	if err := a.hooks.OnConnect(c.cl, *pk); err != nil {
		return errors.Join(c.refuse(chat.Refuse(chat.NotAuthorized, "the server declines the connection")), err)
	}
	c.unproven = true
	if err := c.authenticate(pk, info); err != nil {
		a.stats.Refused.Add(1)
		return errors.Join(c.refuse(err), err)
	}
	c.unproven = false
	if will != nil {
		if err := c.mayWill(will); err != nil {
			return errors.Join(c.refuse(err), err)
		}
	}
	a.share(c)
	return c.serve(pk, connect, will)
}

// aside runs fn on a goroutine of its own and waits for it. What reads the store or computes a hash
// makes a stack grow to 32 KiB; the reader's lives as long as its connection, and stays small so.
func aside(fn func()) {
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	<-done
}

func connID(n uint64) string { return "c" + strconv.FormatUint(n, 36) }

// serve opens the session and answers CONNECT.
func (c *conn) serve(pk *packets.Packet, w *delivery.Connect, will *willSpec) error {
	a := c.a
	w.Key = delivery.Key{User: c.id.User, Client: c.client}
	if c.id.Guest {
		w.Key.User = "" // guests share nothing but the name of nobody
	}
	w.MaxSessions = a.set().SessionsPerUser
	if c.addr.IsValid() { // not over a Unix socket
		w.Addr = c.addr.String()
	}
	w.Denied = func(topic string) bool { return !c.rules().AllowDeliver(topic) }
	if sc := c.id.Scope; sc != nil {
		w.Convs, w.NoCursors, w.Quiet = sc.Convs, true, true
		w.MayResume = c.mayResume
	}
	w.Parted = c.parted
	c.phase.Store(opening)
	if c.kicked.Load() != 0 { // before it could be told
		return errors.New("hooks: the server is stopping")
	}
	s, present, err := a.o.Registry.Open(w)
	if err != nil {
		return errors.Join(c.refuse(err), err)
	}
	c.s, c.expiry = s, w.Expiry
	c.keepAliveFrom(pk)
	if will != nil {
		if err := a.o.Wills.Arm(c, will, present); err != nil {
			return errors.Join(c.refuse(err), err)
		}
	} else {
		a.o.Wills.Came(c, present)
	}
	// The library's own table of clients stays empty but for readers of $SYS: it copies it twice a second.
	c.served = true
	atomic.AddInt64(&a.o.Server.Info.ClientsConnected, 1)
	a.hooks.OnSessionEstablish(c.cl, *pk)
	if err := c.connack(present, w); err != nil {
		return err
	}
	c.phase.Store(letIn)
	if why := c.kicked.Load(); why != 0 { // since: a DISCONNECT may follow CONNACK, not precede it [MQTT-3.2.0-1]
		c.leave(kickCode(delivery.Why(why)), false)
	}
	if err := s.Start(); err != nil {
		c.leave(packets.ErrUnspecifiedError, false)
		return err
	}
	if !a.o.Auth.Current(c.id) { // revoked while it was let in
		c.kick(delivery.Revoked)
	}
	a.hooks.OnSessionEstablished(c.cl, *pk)
	if present {
		if err := c.resumeCalls(); err != nil {
			return err
		}
	}
	if !c.id.Expires.IsZero() {
		c.expires = time.AfterFunc(c.id.Expires.Sub(a.o.Now()), func() { c.kick(delivery.Expired) })
	}
	return nil
}

// part ends what serve began, but for the session. bye is nil unless the client took its leave.
func (c *conn) part(bye *goodbye, err error) {
	a := c.a
	if c.expires != nil {
		c.expires.Stop()
	}
	if bye != nil && bye.expiry != nil && c.expiry > 0 {
		c.expiry = *bye.expiry
	}
	// A goodbye takes the will back; a takeover, a crash of the client or our own leaving does not
	// [MQTT-3.1.2-10], [MQTT-3.14.4-3].
	a.o.Wills.Gone(c, bye != nil && !bye.will, c.expiry)
	for _, w := range c.calls.close() {
		c.answer(w.x, chat.Refuse(chat.Unavailable, "the connection ended before the request was carried out"))
	}
	a.hooks.OnDisconnect(c.cl, err, c.expiry == 0)
	atomic.AddInt64(&a.o.Server.Info.ClientsConnected, -1)
	if c.sys {
		a.o.Server.Clients.Delete(c.cl.ID)
	}
	c.leave(packets.CodeDisconnect, false)
}

// goodbye is a client's DISCONNECT.
type goodbye struct {
	will   bool // publish the will nevertheless: any reason code but 0x00
	expiry *uint32
}

// loop reads packets until the connection ends. bye is nil unless the client took its leave.
func (c *conn) loop() (bye *goodbye, err error) {
	set := c.a.set()
	for {
		if _, err := c.br.Peek(1); err != nil { // an idle connection waits here, where its stack is smallest
			return nil, c.failed(err)
		}
		if !c.s.WaitRoom() { // who takes no answers is not listened to either
			return nil, c.failed(net.ErrClosed)
		}
		pk, err := c.read(set.Packet, 0)
		if err != nil {
			return nil, c.failed(err)
		}
		bye, err := c.handle(pk)
		if err != nil {
			return nil, c.failed(err)
		}
		c.touch(time.Now()) // not before: a client that we made wait has not been silent
		if bye != nil {
			return bye, nil
		}
	}
}

// failed ends the connection with the right reason.
func (c *conn) failed(err error) error {
	var code packets.Code
	switch {
	case errors.As(err, &code):
		c.a.stats.Malformed.Add(1)
		c.leave(code, true)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.leave(packets.ErrKeepAliveTimeout, false) // [MQTT-3.1.2-22]
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrUnexpectedEOF):
		c.leave(packets.CodeDisconnect, false)
	default:
		var refusal *chat.Refusal
		if errors.As(err, &refusal) {
			c.leave(packets.Code{Code: protocol.DisconnectCode(err), Reason: protocol.ReasonString(err)}, true)
		} else {
			c.leave(packets.CodeDisconnect, false) // the connection broke
		}
	}
	return err
}
