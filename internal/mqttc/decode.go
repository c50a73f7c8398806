package mqttc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every error about bytes that are not a packet which a server may send.
var ErrMalformed = errors.New("mqttc: malformed packet")

// ErrTooLarge is wrapped when a packet exceeds ConnectOptions.MaxPacket.
var ErrTooLarge = errors.New("mqttc: packet too large")

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// Packet is one packet from the server. Its slices point into the connection's read buffer and are
// valid until the next ReadPacket; copy what must stay.
type Packet struct {
	Type           byte // PUBLISH, PUBACK, …
	QoS            byte
	Dup, Retain    bool
	SessionPresent bool       // CONNACK
	Code           byte       // reason code of CONNACK, acknowledgements, DISCONNECT and AUTH
	Alias          uint16     // topic alias as received; Topic is resolved by ReadPacket
	ID             uint16     // packet id
	Topic          []byte     // PUBLISH
	Payload        []byte     // PUBLISH
	Codes          []byte     // SUBACK, UNSUBACK: one for each filter
	Props          Properties // MQTT 5
	Size           int        // bytes on the wire, fixed header included
}

// frameLen returns the whole length of the packet at the start of b, 0 if its header is not
// complete yet.
func frameLen(b []byte) (total int, err error) {
	n, shift := 0, 0
	for i := 1; i < len(b); i++ {
		n |= int(b[i]&0x7F) << shift
		if b[i] < 0x80 {
			return n + i + 1, nil
		}
		if shift += 7; shift > 21 { // MQTT 5 §1.5.5: at most four bytes
			return 0, malformed("remaining length")
		}
	}
	return 0, nil
}

// Decode reads the packet that frame consists of, exactly. It allocates nothing; the packet's
// slices point into frame, and an empty topic with an alias is left as it is.
func Decode(version byte, frame []byte) (Packet, error) {
	total, err := frameLen(frame)
	if err != nil {
		return Packet{}, err
	}
	if total == 0 || total != len(frame) {
		return Packet{}, malformed("length")
	}
	first := frame[0]
	p := Packet{Type: first >> 4, Size: total}
	body := frame[1:]
	for body[0] >= 0x80 {
		body = body[1:]
	}
	body = body[1:]
	if flags := first & 0x0F; p.Type != PUBLISH && flags != bit(p.Type == PUBREL, 2) {
		return Packet{}, malformed("flags") // [MQTT-2.1.3-1]
	}
	switch p.Type {
	case PUBLISH:
		err = p.publish(version, first, body)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		err = p.ack(version, body)
	case CONNACK:
		err = p.connack(version, body)
	case SUBACK, UNSUBACK:
		err = p.suback(version, body)
	case PINGRESP:
		if len(body) != 0 {
			err = malformed("PINGRESP with a body")
		}
	case DISCONNECT, AUTH:
		err = p.reason(version, body)
	default:
		err = malformed("type that no server sends")
	}
	if err != nil {
		return Packet{}, err
	}
	return p, nil
}

func (p *Packet) publish(version, first byte, b []byte) error {
	p.Dup, p.QoS, p.Retain = first&8 != 0, first>>1&3, first&1 != 0
	if p.QoS == 3 || p.QoS == 0 && p.Dup {
		return malformed("QoS") // [MQTT-3.3.1-4], [MQTT-3.3.1-2]
	}
	if len(b) < 2 {
		return malformed("topic")
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return malformed("topic")
	}
	p.Topic, b = b[2:2+n], b[2+n:]
	if p.QoS > 0 {
		if len(b) < 2 {
			return malformed("packet id")
		}
		p.ID, b = binary.BigEndian.Uint16(b), b[2:]
		if p.ID == 0 {
			return malformed("packet id 0") // [MQTT-2.2.1-3]
		}
	}
	if version == 5 {
		rest, err := p.properties(b)
		if err != nil {
			return err
		}
		b = rest
		if alias, ok := p.Props.Uint(PropTopicAlias); ok {
			if alias == 0 {
				return malformed("topic alias 0") // [MQTT-3.3.2-8]
			}
			p.Alias = uint16(alias)
		}
	}
	if n == 0 && p.Alias == 0 {
		return malformed("empty topic")
	}
	p.Payload = b
	return nil
}

func (p *Packet) properties(b []byte) (rest []byte, err error) {
	n, size := readVar(b)
	if size == 0 || len(b)-size < n {
		return nil, malformed("property length")
	}
	p.Props = Properties(b[size : size+n])
	if !p.Props.valid() {
		return nil, malformed("properties")
	}
	return b[size+n:], nil
}

func (p *Packet) ack(version byte, b []byte) error {
	if len(b) < 2 || version != 5 && len(b) != 2 {
		return malformed("acknowledgement")
	}
	if p.ID = binary.BigEndian.Uint16(b); p.ID == 0 {
		return malformed("packet id 0")
	}
	return p.reason(version, b[2:])
}

// reason reads a reason code and properties, either of which may be left out (MQTT 5 §3.4.2).
func (p *Packet) reason(version byte, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if version != 5 {
		return malformed("body that MQTT 3.1.1 does not have")
	}
	p.Code, b = b[0], b[1:]
	if len(b) == 0 {
		return nil
	}
	rest, err := p.properties(b)
	if err == nil && len(rest) != 0 {
		err = malformed("trailing bytes")
	}
	return err
}

func (p *Packet) connack(version byte, b []byte) error {
	if len(b) < 2 || b[0] > 1 {
		return malformed("CONNACK") // [MQTT-3.2.2-1]
	}
	p.SessionPresent, p.Code, b = b[0] == 1, b[1], b[2:]
	// A server that refuses the version answers in its own, without properties.
	if version == 5 && len(b) > 0 {
		rest, err := p.properties(b)
		if err != nil {
			return err
		}
		b = rest
	}
	if len(b) != 0 {
		return malformed("trailing bytes")
	}
	return nil
}

func (p *Packet) suback(version byte, b []byte) error {
	if len(b) < 2 {
		return malformed("SUBACK")
	}
	if p.ID, b = binary.BigEndian.Uint16(b), b[2:]; p.ID == 0 {
		return malformed("packet id 0")
	}
	if version == 5 {
		rest, err := p.properties(b)
		if err != nil {
			return err
		}
		b = rest
	}
	p.Codes = b
	return nil
}
