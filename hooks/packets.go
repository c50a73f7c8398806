package hooks

import (
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
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
		aside(func() { err = c.unsubscribe(pk) })
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
	bye := &goodbye{will: pk.ReasonCode == packets.CodeDisconnectWillMessage.Code}
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

// publish checks a PUBLISH, resolves its topic alias, and hands it to the library, whose hooks, the
// embedder's and then the deciding one, see it with its topic.
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
	if n := pk.Properties.TopicAlias; n > 0 {
		if pk.TopicName == "" {
			name, ok := c.aliases[n]
			if !ok {
				return packets.ErrTopicAliasInvalid // [MQTT-3.3.4-6] of a name never given
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
	if pk.TopicName[0] == '$' || strings.Contains(pk.TopicName, "\x00") {
		c.decide(pk) // the library drops these without an answer
		return nil
	}
	return c.a.o.Server.InjectPacket(c.cl, *pk)
}
