package hooks

import (
	"errors"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/chat"
)

// handle carries out one packet. bye is the client's leave; an error ends the connection with a
// DISCONNECT that says why.
func (c *conn) handle(pk *packets.Packet) (bye *goodbye, err error) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
		return nil, c.publish(pk)
	case packets.Puback:
		c.s.Ack(pk.PacketID)
	case packets.Pubrec:
		c.s.Rec(pk.PacketID, pk.ReasonCode >= 0x80)
	case packets.Pubrel:
		c.s.Release(pk.PacketID)
	case packets.Pubcomp:
		c.s.Comp(pk.PacketID)
	case packets.Subscribe:
		if code := pk.SubscribeValidate(); code != packets.CodeSuccess {
			return nil, code
		}
		aside(func() { err = c.subscribe(pk) })
		return nil, err
	case packets.Unsubscribe:
		if code := pk.UnsubscribeValidate(); code != packets.CodeSuccess {
			return nil, code
		}
		aside(func() { defer c.a.gate.enter()(); err = c.unsubscribe(pk) })
		return nil, err
	case packets.Pingreq:
		c.s.Write([]byte{packets.Pingresp << 4, 0}) // [MQTT-3.12.4-1]
	case packets.Disconnect:
		return c.goodbye(pk)
	case packets.Connect:
		return nil, packets.ErrProtocolViolationSecondConnect // [MQTT-3.1.0-2]
	default:
		return nil, packets.ErrProtocolViolation // AUTH without a method, or what only a server sends
	}
	return nil, nil
}

// goodbye takes a DISCONNECT.
func (c *conn) goodbye(pk *packets.Packet) (*goodbye, error) {
	bye := &goodbye{will: pk.ReasonCode != packets.CodeDisconnect.Code} // [MQTT-3.14.4-3]
	if pk.Properties.SessionExpiryIntervalFlag {
		e := pk.Properties.SessionExpiryInterval
		if e > 0 && c.s.Connect().Expiry == 0 {
			return nil, packets.ErrProtocolViolationZeroNonZeroExpiry // [MQTT-3.14.2-2]
		}
		if most := c.a.set().SessionExpiryMax; most > 0 {
			e = min(e, seconds(most))
		}
		bye.expiry = &e
	}
	return bye, nil
}

// publish checks a PUBLISH and resolves its topic alias, so that whoever decides about it sees its topic.
func (c *conn) publish(pk *packets.Packet) error {
	set := c.a.set()
	if pk.FixedHeader.Qos > 2 {
		return packets.ErrMalformedPacket // [MQTT-3.3.1-4]
	}
	if code := pk.PublishValidate(set.Aliases); code != packets.CodeSuccess {
		return code
	}
	if len(pk.Properties.User) > set.UserProperties {
		return packets.ErrQuotaExceeded
	}
	if pk.FixedHeader.Qos > 0 && c.s.Exceeds(pk.PacketID, pk.FixedHeader.Qos) {
		return packets.ErrReceiveMaximum // [MQTT-3.3.4-9]
	}
	if n := pk.Properties.TopicAlias; n > 0 {
		if pk.TopicName == "" {
			name, ok := c.aliases[n]
			if !ok {
				return packets.ErrProtocolViolation // §3.3.2.3.4: an alias that was never given
			}
			pk.TopicName = name
		} else {
			if c.aliases == nil {
				c.aliases = make(map[uint16]string)
			}
			c.aliases[n] = pk.TopicName
		}
		pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 0, false
	}
	c.a.stats.Published.Add(1)
	return c.pass(pk)
}

// pass shows a PUBLISH to the embedder's hooks and decides about it. The library's own way from its hooks to
// the acknowledgement is not taken: there an ordinary error delivers and acknowledges all the same.
func (c *conn) pass(pk *packets.Packet) error {
	if c.a.hooks.Len() == 0 {
		c.decide(pk)
		return nil
	}
	next, err := c.a.hooks.OnPublish(c.cl, *pk)
	switch {
	case err == nil:
		c.decide(&next)
	case errors.Is(err, packets.ErrRejectPacket): // the hook answers itself, or nobody does
	case errors.Is(err, packets.CodeSuccessIgnore):
		c.settled(pk, nil)
	default:
		c.settled(pk, declined(err))
	}
	c.a.hooks.OnPacketProcessed(c.cl, *pk, err)
	return nil
}

// declined turns a hook's error into a refusal.
func declined(err error) error {
	var code packets.Code
	switch errors.As(err, &code); code.Code {
	case packets.ErrQuotaExceeded.Code:
		return chat.Refuse(chat.RateLimited, "the server declines this message; try again later")
	case packets.ErrPayloadFormatInvalid.Code:
		return chat.Refuse(chat.BadRequest, "the server declines what this message holds")
	}
	return chat.Refuse(chat.NotAuthorized, "the server declines this message")
}
