package mqttc

import "encoding/binary"

// Control packet types [MQTT-2.1.2].
const (
	CONNECT     = 1
	CONNACK     = 2
	PUBLISH     = 3
	PUBACK      = 4
	PUBREC      = 5
	PUBREL      = 6
	PUBCOMP     = 7
	SUBSCRIBE   = 8
	SUBACK      = 9
	UNSUBSCRIBE = 10
	UNSUBACK    = 11
	PINGREQ     = 12
	PINGRESP    = 13
	DISCONNECT  = 14
	AUTH        = 15
)

// UserProperty is one name and value pair of MQTT 5. Order and repetition are kept.
type UserProperty struct{ Key, Value string }

// Will is the message that the server publishes when this connection ends without a DISCONNECT.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Delay   uint32 // seconds, MQTT 5; 0 leaves the property out
}

// Publish is a message to send. Topic "" with an Alias uses an alias established before.
type Publish struct {
	Topic   string
	Payload []byte
	ID      uint16 // packet id; ignored at QoS 0
	Alias   uint16 // topic alias, MQTT 5; 0: none
	QoS     byte
	Dup     bool
	Retain  bool
	Props   []byte // further encoded properties (see AppendUserProperty), MQTT 5
}

// Filter is one entry of a SUBSCRIBE. NoLocal and the retain options exist in MQTT 5 only.
type Filter struct {
	Topic             string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0 send, 1 send if new, 2 don't
}

// AppendUserProperty appends an encoded user property; the result can be used as Publish.Props.
func AppendUserProperty(b []byte, key, value string) []byte {
	return appendString(appendString(append(b, PropUser), key), value)
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendUser(b []byte, props []UserProperty) []byte {
	for _, p := range props {
		b = AppendUserProperty(b, p.Key, p.Value)
	}
	return b
}

// appendVar appends a variable byte integer, MQTT 5 §1.5.5.
func appendVar(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func varLen(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// appendFrame puts the fixed header in front of a body. Only packets that are rare are built this way.
func appendFrame(b []byte, first byte, body []byte) []byte {
	return append(appendVar(append(b, first), len(body)), body...)
}

func bit(on bool, mask byte) byte {
	if on {
		return mask
	}
	return 0
}

// AppendPublish appends an encoded PUBLISH for protocol version 4 or 5.
func AppendPublish(b []byte, version byte, p Publish) []byte {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	props := len(p.Props)
	if version == 5 {
		if p.Alias != 0 {
			props += 3
		}
		n += varLen(props) + props
	}
	b = append(b, PUBLISH<<4|bit(p.Dup, 8)|p.QoS<<1|bit(p.Retain, 1))
	b = appendVar(b, n)
	b = appendString(b, p.Topic)
	if p.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, p.ID)
	}
	if version == 5 {
		b = appendVar(b, props)
		if p.Alias != 0 {
			b = append(b, PropTopicAlias, byte(p.Alias>>8), byte(p.Alias))
		}
		b = append(b, p.Props...)
	}
	return append(b, p.Payload...)
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. Code 0, and MQTT 3.1.1, take the short form.
func AppendAck(b []byte, version, kind byte, id uint16, code byte) []byte {
	first := kind << 4
	if kind == PUBREL {
		first |= 2 // [MQTT-3.6.1-1]
	}
	if version == 5 && code != 0 {
		return append(b, first, 3, byte(id>>8), byte(id), code)
	}
	return append(b, first, 2, byte(id>>8), byte(id))
}

// AppendSubscribe appends a SUBSCRIBE; user properties are left out for MQTT 3.1.1.
func AppendSubscribe(b []byte, version byte, id uint16, filters []Filter, user ...UserProperty) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	if version == 5 {
		props := appendUser(nil, user)
		body = append(appendVar(body, len(props)), props...)
	}
	for _, f := range filters {
		opts := f.QoS
		if version == 5 {
			opts |= bit(f.NoLocal, 4) | bit(f.RetainAsPublished, 8) | f.RetainHandling<<4
		}
		body = append(appendString(body, f.Topic), opts)
	}
	return appendFrame(b, SUBSCRIBE<<4|2, body)
}

// AppendUnsubscribe appends an UNSUBSCRIBE.
func AppendUnsubscribe(b []byte, version byte, id uint16, filters ...string) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	if version == 5 {
		body = append(body, 0)
	}
	for _, f := range filters {
		body = appendString(body, f)
	}
	return appendFrame(b, UNSUBSCRIBE<<4|2, body)
}

// AppendDisconnect appends a DISCONNECT; a code other than 0 exists in MQTT 5 only.
func AppendDisconnect(b []byte, version, code byte) []byte {
	if version == 5 && code != 0 {
		return append(b, DISCONNECT<<4, 1, code)
	}
	return append(b, DISCONNECT<<4, 0)
}

// AppendConnect appends the CONNECT that these options ask for.
func AppendConnect(b []byte, o ConnectOptions) []byte {
	v := o.version()
	flags := bit(o.CleanStart, 2) | bit(o.Username != "", 0x80) | bit(o.Password != nil, 0x40)
	if w := o.Will; w != nil {
		flags |= 4 | w.QoS<<3 | bit(w.Retain, 0x20)
	}
	body := appendString(nil, "MQTT")
	body = append(body, v, flags, byte(o.KeepAlive>>8), byte(o.KeepAlive))
	if v == 5 {
		props := connectProps(o)
		body = append(appendVar(body, len(props)), props...)
	}
	body = appendString(body, o.ClientID)
	if w := o.Will; w != nil {
		if v == 5 {
			var props []byte
			if w.Delay != 0 {
				props = binary.BigEndian.AppendUint32(append(props, PropWillDelay), w.Delay)
			}
			body = append(appendVar(body, len(props)), props...)
		}
		body = appendString(body, w.Topic)
		body = appendString(body, string(w.Payload))
	}
	if o.Username != "" {
		body = appendString(body, o.Username)
	}
	if o.Password != nil {
		body = appendString(body, string(o.Password))
	}
	return appendFrame(b, CONNECT<<4, body)
}

func connectProps(o ConnectOptions) []byte {
	var b []byte
	if o.SessionExpiry != 0 {
		b = binary.BigEndian.AppendUint32(append(b, PropSessionExpiry), o.SessionExpiry)
	}
	if o.ReceiveMaximum != 0 {
		b = binary.BigEndian.AppendUint16(append(b, PropReceiveMaximum), o.ReceiveMaximum)
	}
	if o.MaximumPacketSize != 0 {
		b = binary.BigEndian.AppendUint32(append(b, PropMaximumPacketSize), o.MaximumPacketSize)
	}
	if o.TopicAliasMaximum != 0 {
		b = binary.BigEndian.AppendUint16(append(b, PropTopicAliasMaximum), o.TopicAliasMaximum)
	}
	return appendUser(b, o.UserProperties)
}
