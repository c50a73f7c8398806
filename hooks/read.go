package hooks

import (
	"bufio"
	"io"
	"sync/atomic"
	"time"

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
	if c.br.Buffered() == 0 {
		c.hurry(want, 0)
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
		body = make([]byte, min(n, bodyStep))
	}
	if n > c.br.Buffered() {
		c.hurry(want, n)
	}
	if body, err = c.fill(body, n); err != nil {
		return nil, err
	}
	c.unhurry()
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

// bodyStep is how much is allocated for a packet before anything of it has come: who announces much and
// sends nothing takes no more.
const bodyStep = 64 << 10

// fill reads a body of n bytes into b, which grows as they come.
func (c *conn) fill(b []byte, n int) ([]byte, error) {
	for have := 0; ; {
		if _, err := io.ReadFull(c.br, b[have:]); err != nil {
			return nil, err
		}
		if have = len(b); have == n {
			return b, nil
		}
		b = append(make([]byte, 0, min(n, 2*have)), b...)
		b = b[:cap(b)]
	}
}

// A packet that has begun must come to its end, also where there is no keep-alive: in packetTimeout, and
// at least packetPace bytes a second. CONNECT has its own deadline.
const (
	packetTimeout = 30 * time.Second
	packetPace    = 4 << 10
)

// hurry sets the deadline for the n bytes to come of a packet, unless the keep-alive's is earlier.
func (c *conn) hurry(want byte, n int) {
	if want != 0 {
		return
	}
	by := time.Now().Add(packetTimeout + time.Duration(n/packetPace)*time.Second)
	if c.deadline.IsZero() || by.Before(c.deadline) {
		c.deadline, c.hurried = by, true
		_ = c.Conn.SetReadDeadline(by) // fails only on a closed connection, which the next read reports
	}
}

// unhurry gives the next packet all the time that it has; with a keep-alive, touch does.
func (c *conn) unhurry() {
	if c.hurried && c.keepAlive == 0 {
		c.deadline = time.Time{}
		_ = c.Conn.SetReadDeadline(time.Time{})
	}
	c.hurried = false
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
