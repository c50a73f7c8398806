package hooks

import (
	"bufio"
	"bytes"
	"io"
	"sync/atomic"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What a connection reads ahead, bytes: little while it is idle, more once it has been busy.
const (
	readBuffer = 512
	readBusy   = 4 << 10
)

// read reads one packet of at most limit bytes, refused before it is allocated. want 0: any type. On an
// error about a CONNECT, c.pk has the protocol version if that could be made out. The packet is valid
// until the next read; what its slices point to is never used again.
//
// The framing is ours and the decoding the library's, whose own reader knows one limit for all,
// allocates every packet twice and needs 14 KiB of stack.
func (c *conn) read(limit uint32, want byte) (*packets.Packet, error) {
	switch n := c.br.Buffered(); {
	case n == 0 && c.busy && c.br.Size() < readBusy:
		c.br = bufio.NewReaderSize(c.Conn, readBusy)
	case n >= readBuffer/2:
		c.busy = true
	}
	first, err := c.br.ReadByte()
	if err != nil {
		return nil, err
	}
	pk := &c.pk
	*pk = packets.Packet{}
	pk.ProtocolVersion = c.cl.Properties.ProtocolVersion
	if err = pk.FixedHeader.Decode(first); err == packets.ErrProtocolViolationQosOutOfRange {
		return nil, packets.ErrMalformedPacket // [MQTT-3.3.1-4]
	} else if err != nil {
		return nil, err
	}
	if want != 0 && pk.FixedHeader.Type != want {
		return nil, packets.ErrProtocolViolationRequireFirstConnect // [MQTT-3.1.0-1]
	}
	n, size, err := remainingLength(c.br)
	if err != nil {
		return nil, err
	}
	if limit > 0 && uint64(1+size+n) > uint64(limit) {
		return nil, packets.ErrPacketTooLarge // [MQTT-3.2.2-15]
	}
	var body []byte
	if t := pk.FixedHeader.Type; n <= len(c.short) && t >= packets.Puback && t <= packets.Pubcomp {
		body = c.short[:n] // nothing of an acknowledgement is kept
	} else {
		body = make([]byte, n)
	}
	if _, err = io.ReadFull(c.br, body); err != nil {
		return nil, err
	}
	info := c.a.o.Server.Info
	atomic.AddInt64(&info.PacketsReceived, 1)
	atomic.AddInt64(&info.BytesReceived, int64(1+size+n))
	pk.FixedHeader.Remaining = n
	if err = decode(pk, body); err != nil {
		return nil, err
	}
	if pk.FixedHeader.Type == packets.Publish {
		atomic.AddInt64(&info.MessagesReceived, 1)
	}
	if c.a.hooks.Len() > 0 { // the embedder's
		err = c.show()
	}
	return pk, err
}

// show lets the embedder's hooks see and change the packet. It is a function of its own for its 3 KiB of
// stack.
func (c *conn) show() (err error) {
	c.pk, err = c.a.hooks.OnPacketRead(c.cl, c.pk)
	return err
}

// remainingLength reads a variable byte integer of at most four bytes, §2.1.4.
func remainingLength(r *bufio.Reader) (n, size int, err error) {
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, 0, err
		}
		n |= int(b&0x7F) << shift
		if b < 0x80 {
			return n, shift/7 + 1, nil
		}
	}
	return 0, 0, packets.ErrMalformedVariableByteInteger
}

// decode fills a packet from what follows its fixed header. The library's decoders take much for good
// that the standard calls malformed, so the layout is checked first.
func decode(pk *packets.Packet, body []byte) (err error) {
	defer func() {
		if r := recover(); r != nil { // they index beyond hostile input
			err = packets.ErrMalformedPacket
		}
	}()
	if err := checkLayout(pk, body); err != nil {
		return err
	}
	switch pk.FixedHeader.Type {
	case packets.Connect:
		if v := pk.ProtocolVersion; v < 3 || v > 5 {
			pk.Connect.ProtocolName = []byte("MQTT") // what follows may look otherwise
			return nil
		}
		return pk.ConnectDecode(body)
	case packets.Publish:
		return pk.PublishDecode(body)
	case packets.Puback:
		return pk.PubackDecode(body)
	case packets.Pubrec:
		return pk.PubrecDecode(body)
	case packets.Pubrel:
		return pk.PubrelDecode(body)
	case packets.Pubcomp:
		return pk.PubcompDecode(body)
	case packets.Subscribe:
		return pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		return pk.UnsubscribeDecode(body)
	case packets.Disconnect:
		if len(body) == 1 {
			pk.ReasonCode = body[0] // which the library passes over
		}
		return pk.DisconnectDecode(body)
	case packets.Pingreq:
		return nil
	case packets.Auth:
		return packets.ErrProtocolViolation // no method was agreed on at CONNECT, §4.12
	}
	if pk.FixedHeader.Type == packets.Reserved {
		return packets.ErrMalformedPacket // §2.1.2
	}
	return packets.ErrProtocolViolation // what only a server sends
}

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
