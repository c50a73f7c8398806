package delivery

import "encoding/binary"

// The packets that delivery itself puts on the wire. Everything else is encoded by the broker's
// library; these are the hot ones, and PUBLISH is assembled straight into a connection's buffer.

const (
	typePublish = 0x30
	typePuback  = 0x40
	typePubrec  = 0x50
	typePubrel  = 0x62
	typePubcomp = 0x70
)

// MQTT 5 property identifiers, §2.2.2.2.
const (
	propFormat       = 0x01
	propExpiry       = 0x02
	propContentType  = 0x03
	propResponse     = 0x08
	propCorrelation  = 0x09
	propSubID        = 0x0B
	propReasonString = 0x1F
	propAlias        = 0x23
	propUser         = 0x26
)

// publish is one PUBLISH packet as it is handed to a connection.
type publish struct {
	topic   []byte // the name; replaced by an alias where the connection has one
	payload []byte
	props   []byte // encoded MQTT 5 properties without length, alias and subscription identifiers
	subIDs  []uint32
	qos     byte
	dup     bool
	retain  bool
	pid     uint16
	expiry  uint32 // remaining seconds, MQTT 5; 0: none
}

// appendPublish appends the packet. alias 0: none; named says that the topic goes with it.
func appendPublish(b []byte, p *publish, v5 bool, alias uint16, named bool) []byte {
	topic := p.topic
	if alias != 0 && !named {
		topic = nil // [MQTT-3.3.2-12]
	}
	n, props := p.lengths(topic, v5, alias)
	first := byte(typePublish) | p.qos<<1
	if p.dup {
		first |= 0x08
	}
	if p.retain {
		first |= 0x01
	}
	b = append(b, first)
	b = appendVarint(b, uint32(n))
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	if p.qos > 0 {
		b = binary.BigEndian.AppendUint16(b, p.pid)
	}
	if v5 {
		b = appendVarint(b, uint32(props))
		if alias != 0 {
			b = append(b, propAlias, byte(alias>>8), byte(alias))
		}
		if p.expiry != 0 {
			b = append(b, propExpiry)
			b = binary.BigEndian.AppendUint32(b, p.expiry)
		}
		for _, id := range p.subIDs {
			b = appendVarint(append(b, propSubID), id)
		}
		b = append(b, p.props...)
	}
	return append(b, p.payload...)
}

// lengths returns the Remaining Length of the packet and the length of its properties.
func (p *publish) lengths(topic []byte, v5 bool, alias uint16) (n, props int) {
	n = 2 + len(topic) + len(p.payload)
	if p.qos > 0 {
		n += 2
	}
	if !v5 {
		return n, 0
	}
	props = len(p.props)
	if alias != 0 {
		props += 3
	}
	if p.expiry != 0 {
		props += 5
	}
	for _, id := range p.subIDs {
		props += 1 + varintLen(id)
	}
	return n + props + varintLen(uint32(props)), props
}

// publishSize is the packet's size without alias in MQTT 5, whose clients may bound it. In MQTT 3.1.1 it is
// a byte or a few shorter.
func publishSize(p *publish) int {
	n, _ := p.lengths(p.topic, true, 0)
	return 1 + varintLen(uint32(n)) + n
}

// aliasCost is what a topic alias that is given out adds at most to a packet: the property, and a byte each
// of the two lengths around it.
const aliasCost = 5

// encode appends a PUBLISH for this connection, with an alias where that leaves it within the client's
// Maximum Packet Size. Only append of the outbox calls it: aliases must be named in the order of the wire.
func (l *link) encode(b []byte, p *publish) []byte {
	alias, named := uint16(0), true
	if l.max == 0 || publishSize(p)+aliasCost <= int(l.max) {
		alias, named = l.aliases.use(p.topic)
	}
	return appendPublish(b, p, l.c.V5, alias, named)
}

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. MQTT 5 omits what is success, §3.4.2.1.
func appendAck(b []byte, typ byte, pid uint16, v5 bool, code byte, props []byte) []byte {
	if !v5 || (code == 0 && len(props) == 0) {
		return append(b, typ, 2, byte(pid>>8), byte(pid))
	}
	if len(props) == 0 {
		return append(b, typ, 3, byte(pid>>8), byte(pid), code)
	}
	n := uint32(len(props))
	b = append(b, typ)
	b = appendVarint(b, 3+n+uint32(varintLen(n)))
	b = append(b, byte(pid>>8), byte(pid), code)
	return append(appendVarint(b, n), props...)
}

// appendUserProp appends an MQTT 5 user property.
func appendUserProp(b []byte, key, value string) []byte {
	b = append(b, propUser)
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, key...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

func appendStringProp(b []byte, id byte, s string) []byte {
	b = append(b, id)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendVarint appends a variable byte integer, §1.5.5.
func appendVarint(b []byte, n uint32) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func varintLen(n uint32) int {
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

// aliases gives out topic aliases towards one connection [MQTT-3.3.2-9]. They live and die with it.
type aliases struct {
	max  uint16
	m    map[string]uint16
	next uint16
	name []string // by alias-1
}

// aliasesMax bounds the memory that a client can make us spend on its aliases.
const aliasesMax = 64

// use returns the alias for a topic, and whether the name must go with it. 0: no alias.
func (a *aliases) use(topic []byte) (alias uint16, named bool) {
	if a.max == 0 {
		return 0, true
	}
	if n, ok := a.m[string(topic)]; ok {
		return n, false
	}
	if a.m == nil {
		a.m = make(map[string]uint16)
	}
	if len(a.name) < int(a.max) {
		a.name = append(a.name, string(topic))
		n := uint16(len(a.name))
		a.m[a.name[n-1]] = n
		return n, true
	}
	// All are in use: the one that was given out longest ago changes its meaning.
	a.next = a.next%a.max + 1
	delete(a.m, a.name[a.next-1])
	a.name[a.next-1] = string(topic)
	a.m[a.name[a.next-1]] = a.next
	return a.next, true
}
