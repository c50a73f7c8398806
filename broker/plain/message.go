package plain

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/petrelchat/petrel/storage"
)

// Message is an application message as it is kept: what a PUBLISH carries that must reach the
// subscribers unaltered (MQTT 5 §3.3.2.3), and who sent it.
type Message struct {
	Topic    string
	Payload  []byte
	QoS      uint8  // of the publish
	Retain   bool   // of the publish
	From     uint64 // session that published; 0: none (a will after a restart, the server itself)
	FromUser string
	At       int64 // ms since 1970 when the server took it
	Expire   int64 // ms since 1970 when it expires; 0: never

	PayloadFormat     byte
	PayloadFormatFlag bool // whether PayloadFormat was given
	ContentType       string
	ResponseTopic     string
	Correlation       []byte      // nil: none
	User              [][2]string // in the sender's order [MQTT-3.3.2-18]
}

// Expired says whether the message must not be delivered any more [MQTT-3.3.2-5]. now is in ms.
func (m *Message) Expired(now int64) bool { return m.Expire != 0 && m.Expire <= now }

// Left returns the Message Expiry Interval to send, in seconds: what was received less the time that
// the message waited [MQTT-3.3.2-6]. ok is false when the message does not expire. A part of a second
// counts as one, since 0 would say that it has expired.
func (m *Message) Left(now int64) (seconds uint32, ok bool) {
	if m.Expire == 0 {
		return 0, false
	}
	ms := max(0, m.Expire-now)
	seconds64 := ms / 1000
	if ms%1000 != 0 {
		seconds64++
	}
	return uint32(min(seconds64, math.MaxUint32)), true
}

// A record of a message is the version, a byte of flags, a second one, then the fields in the order of
// AppendMessage; the payload is what is left at the end. The expiry comes first, so that a sweep need
// not decode the rest.
const messageVersion = 1

const (
	msgQoS     = 3 // mask
	msgRetain  = 1 << 2
	msgExpire  = 1 << 3
	msgFormat  = 1 << 4
	msgContent = 1 << 5
	msgReply   = 1 << 6
	msgCorrel  = 1 << 7
)

const (
	msgUser     = 1 << 0 // second byte
	msgFrom     = 1 << 1
	msgFromUser = 1 << 2
	msgKnown    = msgUser | msgFrom | msgFromUser
)

// AppendMessage encodes a message.
func AppendMessage(dst []byte, m *Message) []byte {
	return appendMessage(dst, m, m.Topic)
}

func appendMessage(dst []byte, m *Message, topic string) []byte {
	a := m.QoS&msgQoS | flag(m.Retain, msgRetain) | flag(m.Expire != 0, msgExpire) |
		flag(m.PayloadFormatFlag, msgFormat) | flag(m.ContentType != "", msgContent) |
		flag(m.ResponseTopic != "", msgReply) | flag(m.Correlation != nil, msgCorrel)
	b := flag(len(m.User) > 0, msgUser) | flag(m.From != 0, msgFrom) | flag(m.FromUser != "", msgFromUser)
	dst = append(dst, messageVersion, a, b)
	if m.Expire != 0 {
		dst = binary.AppendUvarint(dst, uint64(m.Expire))
	}
	dst = binary.AppendUvarint(dst, uint64(m.At))
	if m.From != 0 {
		dst = binary.AppendUvarint(dst, m.From)
	}
	if m.FromUser != "" {
		dst = appendString(dst, m.FromUser)
	}
	dst = appendString(dst, topic)
	if m.PayloadFormatFlag {
		dst = append(dst, m.PayloadFormat)
	}
	if m.ContentType != "" {
		dst = appendString(dst, m.ContentType)
	}
	if m.ResponseTopic != "" {
		dst = appendString(dst, m.ResponseTopic)
	}
	if m.Correlation != nil {
		dst = appendString(dst, m.Correlation)
	}
	if len(m.User) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(m.User)))
		for _, p := range m.User {
			dst = appendString(appendString(dst, p[0]), p[1])
		}
	}
	return append(dst, m.Payload...)
}

// DecodeMessage is the inverse of AppendMessage. The payload and the correlation data are slices of b.
// The error wraps storage.ErrRecord.
func DecodeMessage(b []byte) (*Message, error) {
	d := decoder{b: b, what: "plain message"}
	if v := d.byte(); v != messageVersion {
		d.fail("unknown version")
	}
	f, g := d.byte(), d.byte()
	if g&^msgKnown != 0 || f&msgQoS == 3 {
		d.fail("unknown flags")
	}
	m := &Message{QoS: f & msgQoS, Retain: f&msgRetain != 0}
	if f&msgExpire != 0 {
		m.Expire = int64(d.uvarint())
	}
	m.At = int64(d.uvarint())
	if g&msgFrom != 0 {
		m.From = d.uvarint()
	}
	if g&msgFromUser != 0 {
		m.FromUser = d.string()
	}
	m.Topic = d.string()
	if f&msgFormat != 0 {
		m.PayloadFormat, m.PayloadFormatFlag = d.byte(), true
	}
	if f&msgContent != 0 {
		m.ContentType = d.string()
	}
	if f&msgReply != 0 {
		m.ResponseTopic = d.string()
	}
	if f&msgCorrel != 0 {
		m.Correlation = d.bytes()
	}
	if g&msgUser != 0 {
		m.User = d.pairs()
	}
	if d.err != nil {
		return nil, d.err
	}
	if len(d.b) > 0 {
		m.Payload = d.b
	}
	return m, nil
}

// messageExpire returns Expire of an encoded message without decoding the rest.
func messageExpire(b []byte) (int64, error) {
	d := decoder{b: b, what: "plain message"}
	if v := d.byte(); v != messageVersion {
		d.fail("unknown version")
	}
	f := d.byte()
	d.byte()
	if d.err != nil || f&msgExpire == 0 {
		return 0, d.err
	}
	ms := int64(d.uvarint())
	return ms, d.err
}

// Ref says that a message waits for a session, and how that session gets it.
type Ref struct {
	QoS    uint8 // 1 or 2: the lower one of the publish's and the subscription's
	Retain bool  // the RETAIN flag of the delivery [MQTT-3.3.1-12], [MQTT-3.3.1-13]
	SubIDs []uint32
	// Size is how many bytes the message counts for the session's limit. Message is the message itself
	// when this session alone gets it, and nil when it stands in SpaceMessage.
	Size    uint32
	Message *Message
}

// A record of a ref is a byte of version and flags, the identifiers, and the size or the message.
const (
	refQoS      = 3 // mask
	refRetain   = 1 << 2
	refSubIDs   = 1 << 3
	refEmbedded = 1 << 4
	refVersion  = 1 << 5
	refVersions = 7 << 5 // mask
)

// maxSubID is the largest Subscription Identifier (MQTT 5 §3.8.2.1.2).
const maxSubID = 268_435_455

// AppendRef encodes a ref, with its message when it has one.
func AppendRef(dst []byte, r *Ref) []byte {
	dst = appendRefHead(dst, r, r.Message != nil)
	if r.Message != nil {
		return AppendMessage(dst, r.Message)
	}
	return binary.AppendUvarint(dst, uint64(r.Size))
}

func appendRefHead(dst []byte, r *Ref, embedded bool) []byte {
	dst = append(dst, refVersion|r.QoS&refQoS|flag(r.Retain, refRetain)|
		flag(len(r.SubIDs) > 0, refSubIDs)|flag(embedded, refEmbedded))
	if len(r.SubIDs) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(r.SubIDs)))
		for _, id := range r.SubIDs {
			dst = binary.AppendUvarint(dst, uint64(id))
		}
	}
	return dst
}

// DecodeRef is the inverse of AppendRef. The embedded message's payload and correlation data are
// slices of b. The error wraps storage.ErrRecord.
func DecodeRef(b []byte) (Ref, error) {
	r, rest, embedded, err := decodeRefHead(b)
	if err != nil || !embedded {
		return r, err
	}
	r.Message, err = DecodeMessage(rest)
	return r, err
}

// decodeRefHead decodes all but the embedded message, which is rest.
func decodeRefHead(b []byte) (r Ref, rest []byte, embedded bool, err error) {
	d := decoder{b: b, what: "plain reference"}
	f := d.byte()
	if f&refVersions != refVersion || f&refQoS == 3 {
		d.fail("unknown version")
	}
	r = Ref{QoS: f & refQoS, Retain: f&refRetain != 0}
	if f&refSubIDs != 0 {
		r.SubIDs = d.subIDs()
	}
	embedded = f&refEmbedded != 0
	if embedded {
		r.Size = uint32(min(len(d.b), math.MaxUint32))
		return r, d.b, true, d.err
	}
	n := d.uvarint()
	if n > math.MaxUint32 {
		d.fail("size too large")
	}
	if len(d.b) != 0 {
		d.fail("bytes after the end")
	}
	r.Size = uint32(n)
	return r, nil, false, d.err
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decoder takes values off b. The first fault stays in err, and everything after it is zero.
type decoder struct {
	b    []byte
	what string
	err  error
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s: %s", storage.ErrRecord, d.what, why)
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("cut short")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes takes a length and as many bytes, which alias the input.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail("cut short")
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes()) }

// count takes the number of items that follow, each of which takes at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n == 0 || n > uint64(len(d.b)/size) {
		d.fail("bad count")
		return 0
	}
	return int(n)
}

func (d *decoder) pairs() [][2]string {
	pairs := make([][2]string, d.count(2))
	for i := range pairs {
		pairs[i] = [2]string{d.string(), d.string()}
	}
	return pairs
}

func (d *decoder) subIDs() []uint32 {
	ids := make([]uint32, d.count(1))
	for i := range ids {
		id := d.uvarint()
		if id == 0 || id > maxSubID {
			d.fail("bad subscription identifier")
		}
		ids[i] = uint32(id)
	}
	return ids
}
