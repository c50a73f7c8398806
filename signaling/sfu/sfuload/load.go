package sfuload

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

// Flood has clients send frames for a time, rate packets a second in all, each in turn, in bursts of a millisecond. It returns how many
// were sent: fewer, if this machine can't send as many.
func Flood(all []*Client, rate int, d time.Duration) (sent int) {
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		<-tick.C
		passed := time.Since(began)
		if passed > d {
			return sent
		}
		due := int(passed.Seconds()*float64(rate)) - sent
		for i := range due {
			all[i%len(all)].frame()
		}
		for _, c := range all {
			c.flush()
		}
		sent += due
	}
}

// frame queues one packet.
func (c *Client) frame() {
	m := &c.out[c.n]
	if c.keys == nil {
		m.Buffers[0] = m.Buffers[0][:FrameSize+overhead]
	} else {
		c.seq++
		c.ts += 960 // 20 ms at 48 kHz
		c.plain[2], c.plain[3] = byte(c.seq>>8), byte(c.seq)
		c.plain[4], c.plain[5], c.plain[6], c.plain[7] = byte(c.ts>>24), byte(c.ts>>16), byte(c.ts>>8), byte(c.ts)
		b, err := c.keys.EncryptRTP(m.Buffers[0][:0], c.plain, nil)
		if err != nil {
			return
		}
		m.Buffers[0] = b
	}
	if c.n++; c.n == len(c.out) {
		c.flush()
	}
}

func (c *Client) flush() {
	for i := 0; i < c.n; {
		n, err := c.batch.WriteBatch(c.out[i:c.n], 0)
		if err != nil {
			break
		}
		i += n
	}
	c.n = 0
}

// Count adds up the packets of media that come, until Close.
func (c *Client) Count(to *atomic.Int64) {
	ms := make([]ipv4.Message, batchMost)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, 512)}
	}
	for {
		n, err := c.batch.ReadBatch(ms, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		media := int64(0)
		for i := range ms[:max(n, 0)] {
			if ms[i].N >= FrameSize+12 { // the others are STUN and RTCP
				media++
			}
		}
		to.Add(media)
	}
}

// Forwarder is the physical minimum: it reads datagrams and writes each to all others who have sent one, with one call of the standard
// library for each. No encryption, no state.
type Forwarder struct {
	conn    *net.UDPConn
	packets atomic.Uint64
}

// NewForwarder listens on a free port of loopback.
func NewForwarder() (*Forwarder, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(4 << 20)
	return &Forwarder{conn: c}, nil
}

// Addr is where it listens, host:port.
func (f *Forwarder) Addr() string { return f.conn.LocalAddr().String() }

// Packets are those that it took and sent. Any goroutine may ask.
func (f *Forwarder) Packets() uint64 { return f.packets.Load() }

// Close ends Run.
func (f *Forwarder) Close() error { return f.conn.Close() }

// Run forwards until Close.
func (f *Forwarder) Run() {
	var known []netip.AddrPort
	buf := make([]byte, 2048)
	for {
		n, from, err := f.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		f.packets.Add(1)
		have := false
		for _, to := range known {
			if to == from {
				have = true
				continue
			}
			if _, err := f.conn.WriteToUDPAddrPort(buf[:n], to); err == nil {
				f.packets.Add(1)
			}
		}
		if !have {
			known = append(known, from)
		}
	}
}
