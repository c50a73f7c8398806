package mqttc

import (
	"io"
	"net"
	"sync/atomic"
)

// ReadPacket waits for the next packet and resolves its topic alias. The packet's slices are valid
// until the next call. Errors of the network come as they are (io.EOF between packets,
// io.ErrUnexpectedEOF within one); bad bytes wrap ErrMalformed or ErrTooLarge. After an error the
// connection is of no further use.
func (c *Conn) ReadPacket() (Packet, error) {
	for {
		have := c.buf[c.r:c.w]
		total, err := frameLen(have)
		if err != nil {
			return Packet{}, err
		}
		if total > c.max {
			return Packet{}, ErrTooLarge
		}
		if total > 0 && len(have) >= total {
			c.r += total
			p, err := Decode(c.version, have[:total])
			if err == nil && p.Alias != 0 {
				err = c.resolve(&p)
			}
			return p, err
		}
		if err := c.fill(total); err != nil {
			if err == io.EOF && len(have) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return Packet{}, err
		}
	}
}

// Ready reports whether ReadPacket would return without waiting for the network.
func (c *Conn) Ready() bool {
	have := c.buf[c.r:c.w]
	total, err := frameLen(have)
	return err != nil || total > c.max || total > 0 && len(have) >= total
}

// fill reads once. The buffer grows only when it is full, doubling, so that a length that is
// announced but never sent costs nothing.
func (c *Conn) fill(need int) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
		if len(c.buf) > c.initial && need <= c.initial {
			c.buf = nil // a long packet is through
		}
	}
	if c.buf == nil {
		c.buf = make([]byte, c.initial)
	}
	if c.r > 0 && (c.w == len(c.buf) || c.r+need > len(c.buf)) {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		size := min(2*len(c.buf), max(c.max, len(c.buf)+8))
		bigger := make([]byte, size)
		copy(bigger, c.buf[:c.w])
		c.buf = bigger
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	c.appIn.Add(int64(n))
	if n > 0 {
		return nil // an error that came along comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

func (c *Conn) resolve(p *Packet) error {
	if int(p.Alias) >= len(c.aliases) {
		return malformed("topic alias above the maximum") // [MQTT-3.1.2-26]
	}
	if len(p.Topic) > 0 {
		c.aliases[p.Alias] = append(c.aliases[p.Alias][:0], p.Topic...)
		return nil
	}
	if p.Topic = c.aliases[p.Alias]; len(p.Topic) == 0 {
		return malformed("topic alias never set")
	}
	return nil
}

// Await reads until a packet of that type comes and returns it. Others are given to other, which may
// be nil; a DISCONNECT of the server is returned too, whatever was awaited.
func (c *Conn) Await(kind byte, other func(Packet) error) (Packet, error) {
	for {
		p, err := c.ReadPacket()
		if err != nil || p.Type == kind || p.Type == DISCONNECT {
			return p, err
		}
		if other != nil {
			if err := other(p); err != nil {
				return Packet{}, err
			}
		}
	}
}

// WritePublish queues a PUBLISH. Payload and Props are copied.
func (c *Conn) WritePublish(p Publish) error {
	c.out = AppendPublish(c.out, c.version, p)
	return c.written()
}

// WriteAck queues a PUBACK, PUBREC, PUBREL or PUBCOMP; code is 0 for success.
func (c *Conn) WriteAck(kind byte, id uint16, code byte) error {
	c.out = AppendAck(c.out, c.version, kind, id, code)
	return c.written()
}

// WriteSubscribe queues a SUBSCRIBE.
func (c *Conn) WriteSubscribe(id uint16, filters []Filter, user ...UserProperty) error {
	c.out = AppendSubscribe(c.out, c.version, id, filters, user...)
	return c.written()
}

// WriteUnsubscribe queues an UNSUBSCRIBE.
func (c *Conn) WriteUnsubscribe(id uint16, filters ...string) error {
	c.out = AppendUnsubscribe(c.out, c.version, id, filters...)
	return c.written()
}

// WritePing queues a PINGREQ.
func (c *Conn) WritePing() error { return c.Raw([]byte{PINGREQ << 4, 0}) }

// WriteDisconnect queues a DISCONNECT; code 0 is the normal one.
func (c *Conn) WriteDisconnect(code byte) error {
	c.out = AppendDisconnect(c.out, c.version, code)
	return c.written()
}

// Raw queues bytes as they are, for tests of what a server does with bad input.
func (c *Conn) Raw(b []byte) error {
	c.out = append(c.out, b...)
	return c.written()
}

func (c *Conn) written() error {
	if len(c.out) < flushAt {
		return nil
	}
	return c.Flush()
}

// Flush writes what is queued with one call. After an error nothing is queued any more.
func (c *Conn) Flush() error {
	if len(c.out) == 0 {
		return nil
	}
	n, err := c.nc.Write(c.out)
	c.appOut.Add(int64(n))
	c.out = c.out[:0]
	return err
}

// Wire is what went over the socket below TLS. Records counts TLS records from the server, handshake
// and tickets included. For a connection without TLS it equals Bytes, and Records is 0.
type Wire struct {
	In, Out int64
	Records int64
}

// Wire returns the counters of the socket.
func (c *Conn) Wire() Wire {
	if c.wire == nil {
		in, out := c.Bytes()
		return Wire{In: in, Out: out}
	}
	return Wire{In: c.wire.in.Load(), Out: c.wire.out.Load(), Records: c.wire.records.Load()}
}

// meter counts bytes and TLS records (RFC 8446 §5.1: type, version, length) below a tls.Conn, which
// calls Read from one goroutine at a time.
type meter struct {
	net.Conn
	in, out, records atomic.Int64
	head             [5]byte
	headLen          int
	bodyLeft         int
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.in.Add(int64(n))
	m.scan(b[:n])
	return n, err
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.out.Add(int64(n))
	return n, err
}

func (m *meter) scan(b []byte) {
	for len(b) > 0 {
		if m.bodyLeft > 0 {
			n := min(m.bodyLeft, len(b))
			m.bodyLeft -= n
			b = b[n:]
			continue
		}
		n := copy(m.head[m.headLen:], b)
		m.headLen += n
		b = b[n:]
		if m.headLen == len(m.head) {
			m.records.Add(1)
			m.bodyLeft = int(m.head[3])<<8 | int(m.head[4])
			m.headLen = 0
		}
	}
}
