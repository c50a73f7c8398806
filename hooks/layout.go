package hooks

import (
	"bytes"

	"github.com/mochi-mqtt/server/v2/packets"
)

// checkLayout checks that a packet's fields fill it exactly, and what the standard says about its flags
// and properties. The texts, and which property may stand where, are the library's to check.
func checkLayout(pk *packets.Packet, body []byte) error {
	r := fields{b: body}
	v5 := pk.ProtocolVersion == 5
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = r.connect(pk)
	case packets.Publish:
		r.text()
		if pk.FixedHeader.Qos > 0 {
			r.take(2)
		}
		if v5 {
			_, err = r.properties()
		}
		r.b = nil // the payload
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		if id := r.take(2); !r.bad && id[0]|id[1] == 0 {
			return packets.ErrProtocolViolationNoPacketID // [MQTT-2.2.1-3]
		}
		err = r.reason(v5)
	case packets.Subscribe:
		err = r.subscribe(v5)
	case packets.Unsubscribe:
		r.take(2)
		if v5 {
			_, err = r.properties()
		}
		for !r.bad && len(r.b) > 0 {
			r.text()
		}
	case packets.Disconnect:
		err = r.reason(v5)
	case packets.Pingreq: // nothing may follow
	default:
		return nil
	}
	if err == nil && (r.bad || len(r.b) > 0) {
		err = packets.ErrMalformedPacket
	}
	return err
}

// fields walks over the bytes of a packet. bad: it is shorter than it says.
type fields struct {
	b   []byte
	bad bool
}

var noField [2]byte

// take returns the next n bytes; if they are not there, zeros.
func (r *fields) take(n int) []byte {
	if n > len(r.b) {
		r.b, r.bad = nil, true
		if n <= len(noField) {
			return noField[:n]
		}
		return make([]byte, n)
	}
	f := r.b[:n]
	r.b = r.b[n:]
	return f
}

// text returns a string or binary data, §1.5.4, §1.5.6.
func (r *fields) text() []byte {
	n := r.take(2)
	if length := int(n[0])<<8 | int(n[1]); length <= len(r.b) {
		return r.take(length)
	}
	r.b, r.bad = nil, true
	return nil
}

func (r *fields) varint() (n int) {
	for shift := 0; shift < 28; shift += 7 {
		b := r.take(1)[0]
		n |= int(b&0x7F) << shift
		if b < 0x80 {
			return n
		}
	}
	r.bad = true
	return 0
}

func (r *fields) connect(pk *packets.Packet) error {
	name := string(r.text())
	version, flags := r.take(1)[0], r.take(1)[0]
	if name != "MQTT" && name != "MQIsdp" {
		return packets.ErrProtocolViolationProtocolName // [MQTT-3.1.2-1]
	}
	pk.ProtocolVersion = version
	if version < 3 || version > 5 {
		r.b, r.bad = nil, false
		return nil
	}
	if flags&1 != 0 || flags>>3&3 == 3 {
		return packets.ErrMalformedPacket // [MQTT-3.1.2-3], [MQTT-3.1.2-12]
	}
	r.take(2) // keep-alive
	v5 := version == 5
	if v5 {
		seen, err := r.properties()
		if err != nil {
			return err
		}
		if seen.has(packets.PropAuthenticationData) && !seen.has(packets.PropAuthenticationMethod) {
			return packets.ErrProtocolViolation // §3.1.2.11.10
		}
	}
	r.text() // client id
	if flags&0x04 != 0 {
		if v5 {
			if _, err := r.properties(); err != nil {
				return err
			}
		}
		r.text()
		r.text()
	}
	if flags&0x80 != 0 {
		r.text()
	}
	if flags&0x40 != 0 {
		r.text()
	}
	return nil
}

// reason walks over a reason code and properties, either of which may be missing, §3.4.2.1.
func (r *fields) reason(v5 bool) (err error) {
	if !v5 || len(r.b) == 0 {
		return nil
	}
	if r.take(1); len(r.b) > 0 {
		_, err = r.properties()
	}
	return err
}

func (r *fields) subscribe(v5 bool) error {
	r.take(2)
	if v5 {
		if _, err := r.properties(); err != nil {
			return err
		}
	}
	for !r.bad && len(r.b) > 0 {
		filter, o := r.text(), r.take(1)[0]
		switch {
		case r.bad:
		case v5 && o&0xC0 != 0, !v5 && o > 2:
			return packets.ErrMalformedPacket // [MQTT-3.8.3-5]; of 3.1.1 [MQTT-3-8.3-4]
		case o&3 == 3, o&0x30 == 0x30:
			return packets.ErrProtocolViolation // §3.8.3.1
		case o&4 != 0 && bytes.HasPrefix(filter, []byte("$share/")):
			return packets.ErrProtocolViolationInvalidSharedNoLocal // [MQTT-3.8.3-4]
		}
	}
	return nil
}

// propertySet is which properties a list has, by their identifiers, which are all below 64.
type propertySet uint64

func (s propertySet) has(id byte) bool { return s>>id&1 != 0 }

// properties walks over a list of properties, §2.2.2.
func (r *fields) properties() (seen propertySet, err error) {
	list := fields{b: r.take(min(r.varint(), len(r.b)+1))}
	if r.bad {
		return 0, packets.ErrMalformedPacket
	}
	for len(list.b) > 0 {
		id := list.take(1)[0]
		if id >= 64 {
			return 0, packets.ErrMalformedBadProperty
		}
		if id != packets.PropUser && seen.has(id) {
			return 0, packets.ErrProtocolViolation // more than once
		}
		seen |= 1 << id
		if err := list.property(id); err != nil {
			return 0, err
		}
		if list.bad {
			return 0, packets.ErrMalformedProperties
		}
	}
	return seen, nil
}

// property walks over the value of one property that a client may send.
func (r *fields) property(id byte) error {
	ok := true
	switch id {
	case packets.PropPayloadFormat, packets.PropRequestProblemInfo, packets.PropRequestResponseInfo:
		ok = r.take(1)[0] <= 1
	case packets.PropReceiveMaximum:
		v := r.take(2)
		ok = v[0]|v[1] != 0
	case packets.PropTopicAliasMaximum, packets.PropTopicAlias:
		r.take(2)
	case packets.PropMaximumPacketSize:
		v := r.take(4)
		ok = v[0]|v[1]|v[2]|v[3] != 0
	case packets.PropMessageExpiryInterval, packets.PropSessionExpiryInterval, packets.PropWillDelayInterval:
		r.take(4)
	case packets.PropSubscriptionIdentifier:
		ok = r.varint() != 0
	case packets.PropResponseTopic:
		ok = !bytes.ContainsAny(r.text(), "+#") // [MQTT-3.3.2-14]
	case packets.PropContentType, packets.PropCorrelationData, packets.PropAuthenticationMethod,
		packets.PropAuthenticationData, packets.PropReasonString, packets.PropServerReference:
		r.text()
	case packets.PropUser:
		r.text()
		r.text()
	default:
		return packets.ErrMalformedBadProperty
	}
	if !ok && !r.bad {
		return packets.ErrProtocolViolation
	}
	return nil
}
