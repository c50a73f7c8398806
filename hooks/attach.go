package hooks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/rs/xid"
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

// deny answers a CONNECT that is not as it must be. MQTT 3.1.1 has codes for few of the reasons, and ends
// the connection without a word for the others [MQTT-3.1.4-1].
func (c *conn) deny(version byte, code packets.Code) error {
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code.Code}
	switch {
	case version >= 5:
		c.cl.Properties.ProtocolVersion = 5
		ack.Properties.ReasonString = code.Reason
	case code == packets.ErrUnsupportedProtocolVersion:
		ack.ReasonCode = packets.Err3UnsupportedProtocolVersion.Code
	case code == packets.ErrClientIdentifierNotValid:
		ack.ReasonCode = packets.Err3ClientIdentifierNotValid.Code
	case code == packets.ErrMalformedUsername:
		ack.ReasonCode = packets.ErrMalformedUsernameOrPassword.Code
	default:
		return nil
	}
	return c.cl.WritePacket(ack)
}

// refuse answers CONNECT with a refusal.
func (c *conn) refuse(err error) error {
	code := packets.Code{Code: protocol.ConnackCode(err, c.v5), Reason: protocol.ReasonString(err)}
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code.Code}
	if quota := new(delivery.SessionQuota); c.v5 && errors.As(err, &quota) {
		ack.ReasonCode = packets.ErrQuotaExceeded.Code
	}
	if c.unproven && errors.Is(err, &chat.Refusal{Code: chat.NotAuthorized}) {
		ack.ReasonCode = packets.ErrBadUsernameOrPassword.Code // §3.2.2.2; of 3.1.1 table 3.1
		if !c.v5 {
			ack.ReasonCode = packets.ErrMalformedUsernameOrPassword.Code
		}
	}
	if c.v5 && c.problems {
		ack.Properties.ReasonString = code.Reason
	}
	return c.cl.WritePacket(ack)
}

// validate checks CONNECT and takes from it what the session needs. What the library refuses wrongly
// (an empty will payload, an empty password) is hidden from it.
func (c *conn) validate(pk *packets.Packet) (*delivery.Connect, *willSpec, packets.Code) {
	p := &pk.Connect
	c.problems = !(pk.Properties.RequestProblemInfoFlag && pk.Properties.RequestProblemInfo == 0)
	payload, password := p.WillPayload, p.Password
	if p.WillFlag && len(payload) == 0 {
		p.WillPayload = []byte{0} // may be empty, §3.1.3.4
	}
	if p.PasswordFlag && len(password) == 0 {
		p.Password = []byte{0}
	}
	code := pk.ConnectValidate()
	p.WillPayload, p.Password = payload, password
	switch {
	case code == packets.ErrProtocolViolationProtocolVersion && string(p.ProtocolName) == "MQTT":
		return nil, nil, packets.ErrUnsupportedProtocolVersion // [MQTT-3.1.2-2]
	case code != packets.CodeSuccess:
		return nil, nil, code
	case p.PasswordFlag && !p.UsernameFlag && !c.v5:
		return nil, nil, packets.ErrProtocolViolationFlagNoUsername // [MQTT-3.1.2-22] of 3.1.1
	case !p.WillFlag && p.WillQos != 0:
		return nil, nil, packets.ErrProtocolViolationQosOutOfRange // [MQTT-3.1.2-11]
	case pk.Properties.AuthenticationMethod != "":
		return nil, nil, packets.ErrBadAuthenticationMethod // [MQTT-4.12.0-1]
	case p.ClientIdentifier == "" && !p.Clean && !c.v5:
		return nil, nil, packets.ErrClientIdentifierNotValid // [MQTT-3.1.3-8] of 3.1.1
	case !utf8.Valid(p.Username) || bytes.IndexByte(p.Username, 0) >= 0:
		return nil, nil, packets.ErrMalformedUsername // [MQTT-3.1.3-11], [MQTT-1.5.4-2]
	case len(pk.Properties.User) > c.a.set().UserProperties:
		return nil, nil, packets.ErrQuotaExceeded
	}
	connect, err := c.wishes(pk)
	if err != nil {
		return nil, nil, packets.Code{Code: 0x83, Reason: protocol.ReasonString(err)}
	}
	var will *willSpec
	if p.WillFlag {
		will = newWill(pk)
		c.cl.Properties.Will.Flag = 0 // ours alone: the library's may not be published
		p.WillFlag = false
	}
	return connect, will, packets.CodeSuccess
}

// wishes turns the properties of CONNECT into what the session is asked for.
func (c *conn) wishes(pk *packets.Packet) (*delivery.Connect, error) {
	set := c.a.set()
	props := &pk.Properties
	w := &delivery.Connect{
		Conn: c.Conn, V5: c.v5, Clean: pk.Connect.Clean, Problems: c.problems, Owner: c, Kick: c.kick,
		Window: int(props.ReceiveMaximum), MaxPacket: props.MaximumPacketSize, Aliases: props.TopicAliasMaximum,
		Receive: int(set.ReceiveMaximum),
	}
	switch {
	case !c.v5 && !pk.Connect.Clean:
		w.Expiry = seconds(set.SessionExpiryV3)
	case c.v5 && props.SessionExpiryIntervalFlag:
		w.Expiry = props.SessionExpiryInterval
		if most := seconds(set.SessionExpiryMax); set.SessionExpiryMax > 0 {
			w.Expiry = min(w.Expiry, most)
		}
	}
	for _, u := range props.User {
		switch u.Key {
		case "meta":
			if u.Val != "seq" {
				return nil, chat.Refuse(chat.BadRequest, "user property meta of CONNECT is seq")
			}
			w.MetaSeq = true
		case "catchup":
			n, err := strconv.ParseUint(u.Val, 10, 32)
			if err != nil || n == 0 {
				return nil, chat.Refuse(chat.BadRequest, "user property catchup is a number of events, at least 1")
			}
			w.Catchup = n
		case "presence":
			if u.Val != "no" {
				return nil, chat.Refuse(chat.BadRequest, "user property presence is no")
			}
			w.Quiet = true
		}
	}
	return w, nil
}

func seconds(d time.Duration) uint32 {
	if d <= 0 {
		return math.MaxUint32
	}
	return uint32(min(int64(d/time.Second), math.MaxUint32))
}

// authTimeout bounds how long a CONNECT waits for its password to be checked.
const authTimeout = 30 * time.Second

func (c *conn) authenticate(pk *packets.Packet, info Info) error {
	c.client = pk.Connect.ClientIdentifier
	if c.client == "" {
		c.client = xid.New().String() // [MQTT-3.1.3-6]
		c.cl.Properties.Props.AssignedClientID = c.client
	}
	at := auth.Attempt{User: string(pk.Connect.Username), Password: pk.Connect.Password,
		HasPassword: pk.Connect.PasswordFlag, ClientID: c.client, Addr: c.addr}
	if info != nil {
		at.CertCN = info.PeerCN()
	}
	ctx, cancel := context.WithTimeout(context.Background(), authTimeout)
	defer cancel()
	id, err := c.a.o.Auth.Authenticate(ctx, at)
	if err != nil {
		return err
	}
	c.id = id
	if id.Scope == nil && !id.Guest && slices.Contains(c.a.set().Admins, id.User) {
		c.id.Admin = true
	}
	return nil
}

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
	if err := s.Start(); err != nil {
		c.leave(packets.ErrUnspecifiedError, false)
		return err
	}
	if !a.o.Auth.Current(c.id) { // revoked while it was let in
		c.kick(delivery.Revoked)
	}
	a.hooks.OnSessionEstablished(c.cl, *pk)
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

func (c *conn) keepAliveFrom(pk *packets.Packet) {
	set := c.a.set()
	k := time.Duration(pk.Connect.Keepalive) * time.Second
	own := k
	if set.KeepAlive > 0 {
		k = set.KeepAlive
	}
	if set.KeepAliveMax > 0 && (k == 0 || k > set.KeepAliveMax) && c.v5 {
		k = set.KeepAliveMax
	}
	if !c.v5 {
		k = own // 3.1.1 has no way to tell the client another
	}
	c.cl.State.Keepalive = uint16(min(k/time.Second, math.MaxUint16))
	c.cl.State.ServerKeepalive = k != own
	c.keepAlive = k + k/2
	c.deadline = time.Time{}
	_ = c.Conn.SetReadDeadline(time.Time{})
	c.touch(time.Now())
}

// connack accepts the connection and states what the server can take. Every byte counts at a
// reconnect: what has MQTT 5's default is not stated. That goes for Receive Maximum too as a rule, since
// a client that has much on its way to the disk is slowed down by not being read.
func (c *conn) connack(present bool, w *delivery.Connect) error {
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, SessionPresent: present}
	if c.v5 {
		set, own := c.a.set(), &c.cl.Properties.Props
		p := &ack.Properties
		p.MaximumPacketSize, p.TopicAliasMaximum = set.Packet, set.Aliases
		p.AssignedClientID = own.AssignedClientID // [MQTT-3.2.2-16]
		if set.ReceiveMaximum < math.MaxUint16 {
			p.ReceiveMaximum = set.ReceiveMaximum // §3.2.2.3.3
		}
		if c.cl.State.ServerKeepalive {
			p.ServerKeepAlive, p.ServerKeepAliveFlag = c.cl.State.Keepalive, true // [MQTT-3.1.2-21]
		}
		if w.Expiry != own.SessionExpiryInterval { // it gets less than it asked for
			p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = w.Expiry, true
		}
	}
	return c.cl.WritePacket(ack)
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
