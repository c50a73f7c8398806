package hooks

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/rs/xid"
)

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
	case max(len(pk.Properties.User), len(p.WillProperties.User)) > c.a.set().UserProperties:
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
