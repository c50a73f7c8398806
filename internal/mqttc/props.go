package mqttc

import "encoding/binary"

// Property identifiers that a client meets, MQTT 5 §2.2.2.2.
const (
	PropPayloadFormat     = 0x01
	PropMessageExpiry     = 0x02
	PropContentType       = 0x03
	PropResponseTopic     = 0x08
	PropCorrelationData   = 0x09
	PropSubscriptionID    = 0x0B
	PropSessionExpiry     = 0x11
	PropAssignedClientID  = 0x12
	PropServerKeepAlive   = 0x13
	PropAuthMethod        = 0x15
	PropAuthData          = 0x16
	PropRequestProblem    = 0x17
	PropWillDelay         = 0x18
	PropRequestResponse   = 0x19
	PropResponseInfo      = 0x1A
	PropServerReference   = 0x1C
	PropReason            = 0x1F
	PropReceiveMaximum    = 0x21
	PropTopicAliasMaximum = 0x22
	PropTopicAlias        = 0x23
	PropMaximumQoS        = 0x24
	PropRetainAvailable   = 0x25
	PropUser              = 0x26
	PropMaximumPacketSize = 0x27
	PropWildcardAvailable = 0x28
	PropSubIDAvailable    = 0x29
	PropSharedAvailable   = 0x2A
)

// Properties is the encoded property list of a packet, checked when it was read. Looking something up
// walks the list and allocates only for strings that it returns.
type Properties []byte

// readVar reads a variable byte integer; size 0 means that it is malformed or incomplete.
func readVar(b []byte) (n, size int) {
	for i := 0; i < len(b) && i < 4; i++ {
		n |= int(b[i]&0x7F) << (7 * i)
		if b[i] < 0x80 {
			return n, i + 1
		}
	}
	return 0, 0
}

// next splits the first property off. Property ids are variable byte integers, but all that exist
// fit into one byte. size 0: malformed.
func (p Properties) next() (id byte, value []byte, size int) {
	n := 0
	b := p[1:]
	switch p[0] {
	case PropPayloadFormat, PropRequestProblem, PropRequestResponse, PropMaximumQoS,
		PropRetainAvailable, PropWildcardAvailable, PropSubIDAvailable, PropSharedAvailable:
		n = 1
	case PropServerKeepAlive, PropReceiveMaximum, PropTopicAliasMaximum, PropTopicAlias:
		n = 2
	case PropMessageExpiry, PropSessionExpiry, PropWillDelay, PropMaximumPacketSize:
		n = 4
	case PropSubscriptionID:
		if _, n = readVar(b); n == 0 {
			return 0, nil, 0
		}
	case PropContentType, PropResponseTopic, PropCorrelationData, PropAssignedClientID,
		PropAuthMethod, PropAuthData, PropResponseInfo, PropServerReference, PropReason:
		n = stringLen(b)
	case PropUser:
		if n = stringLen(b); n <= len(b) {
			n += stringLen(b[n:])
		}
	default:
		return 0, nil, 0
	}
	if n > len(b) {
		return 0, nil, 0
	}
	return p[0], b[:n], 1 + n
}

// stringLen is the encoded length of the string at the start of b, or more than len(b).
func stringLen(b []byte) int {
	if len(b) < 2 {
		return len(b) + 1
	}
	return 2 + int(binary.BigEndian.Uint16(b))
}

func (p Properties) valid() bool {
	for len(p) > 0 {
		_, _, size := p.next()
		if size == 0 {
			return false
		}
		p = p[size:]
	}
	return true
}

func (p Properties) find(id byte) ([]byte, bool) {
	for len(p) > 0 {
		got, value, size := p.next()
		if size == 0 {
			return nil, false
		}
		if got == id {
			return value, true
		}
		p = p[size:]
	}
	return nil, false
}

// Uint returns the first property of that id whose value is a number.
func (p Properties) Uint(id byte) (uint32, bool) {
	v, ok := p.find(id)
	if !ok {
		return 0, false
	}
	if id == PropSubscriptionID {
		n, _ := readVar(v)
		return uint32(n), true
	}
	switch len(v) {
	case 1:
		return uint32(v[0]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(v)), true
	case 4:
		return binary.BigEndian.Uint32(v), true
	}
	return 0, false
}

// String returns the first property of that id whose value is a string or bytes.
func (p Properties) String(id byte) (string, bool) {
	v, ok := p.find(id)
	if !ok || len(v) < 2 || stringLen(v) != len(v) {
		return "", false
	}
	return string(v[2:]), true
}

// User returns the value of the first user property with that key.
func (p Properties) User(key string) (string, bool) {
	for len(p) > 0 {
		id, v, size := p.next()
		if size == 0 {
			break
		}
		if id == PropUser {
			n := stringLen(v)
			if string(v[2:n]) == key {
				return string(v[n+2:]), true
			}
		}
		p = p[size:]
	}
	return "", false
}
