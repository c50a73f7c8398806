package sfu

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	batchSize  = 64   // packets of one system call
	packetSize = 1600 // longest packet that is read, and room for what goes out
)

// batcher is a socket that takes many packets at once. ipv4.PacketConn and ipv6.PacketConn are it; on systems without such a
// call they move one packet at a time.
type batcher interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// socket is one of the sockets that share the port. Any goroutine may write.
type socket struct {
	net.PacketConn
	batch batcher
}

func newSocket(c net.PacketConn) *socket {
	s := &socket{PacketConn: c, batch: single{c}}
	u, ok := c.(*net.UDPConn)
	if !ok {
		return s
	}
	// What fails here leaves the system's default: a shorter burst is survived.
	_ = u.SetReadBuffer(4 << 20)
	_ = u.SetWriteBuffer(4 << 20)
	if a, _ := u.LocalAddr().(*net.UDPAddr); a != nil && a.IP.To4() == nil {
		s.batch = ipv6.NewPacketConn(u)
	} else {
		s.batch = ipv4.NewPacketConn(u)
	}
	return s
}

// single is a batcher over any packet connection.
type single struct{ net.PacketConn }

func (s single) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	n, addr, err := s.ReadFrom(ms[0].Buffers[0])
	if err != nil {
		return 0, err
	}
	ms[0].N, ms[0].Addr = n, addr
	return 1, nil
}

func (s single) WriteBatch(ms []ipv4.Message, _ int) (int, error) {
	for i := range ms {
		if _, err := s.WriteTo(ms[i].Buffers[0], ms[i].Addr); err != nil {
			return i, err
		}
	}
	return len(ms), nil
}

// listen opens the sockets of the port, and the TCP listener beside them. Of free ports it tries some, because one may be
// free for UDP alone.
func listen(addr string) (socks []*socket, tcp net.Listener, err error) {
	_, port, _ := net.SplitHostPort(addr)
	for range 10 {
		if socks, tcp, err = listenOnce(addr); err == nil || port != "0" {
			break
		}
	}
	return socks, tcp, err
}

func listenOnce(addr string) (socks []*socket, tcp net.Listener, err error) {
	lc := net.ListenConfig{Control: sharePort}
	n := readers()
	if !canShare {
		n = 1
	}
	for range n {
		c, err := lc.ListenPacket(context.Background(), "udp", addr)
		if err != nil {
			closeAll(socks)
			return nil, nil, err
		}
		socks = append(socks, newSocket(c))
		addr = c.LocalAddr().String() // a port 0 is settled by the first
	}
	if tcp, err = net.Listen("tcp", addr); err != nil {
		closeAll(socks)
		return nil, nil, err
	}
	return socks, tcp, nil
}

func closeAll(socks []*socket) {
	for _, s := range socks {
		_ = s.Close()
	}
}

// route is an address that proved to be a party's: over UDP, or a TCP connection.
type route struct {
	p     *party
	key   netip.AddrPort
	addr  net.Addr // as the socket takes it
	sock  *socket  // that the address was last heard on
	tcp   *stream  // not nil: over TCP
	heard atomic.Int64
}

// send sends one packet now. Any goroutine may call it; b is not kept.
func (r *route) send(b []byte) {
	if r.tcp != nil {
		r.tcp.send(b)
		return
	}
	_, _ = r.sock.WriteTo(b, r.addr) // a packet that is lost
}

// writer gathers packets for one system call. It belongs to one goroutine.
type writer struct {
	sock *socket
	ms   []ipv4.Message
	n    int
	sent *atomic.Uint64
}

func newWriter(s *socket, sent *atomic.Uint64) *writer {
	w := &writer{sock: s, ms: make([]ipv4.Message, batchSize), sent: sent}
	mem := make([]byte, batchSize*packetSize)
	for i := range w.ms {
		w.ms[i].Buffers = [][]byte{mem[i*packetSize : i*packetSize : (i+1)*packetSize]}
	}
	return w
}

// next is the empty buffer of the packet that push will add.
func (w *writer) next() []byte { return w.ms[w.n].Buffers[0][:0] }

// push adds the packet b, made in next's memory, for the route.
func (w *writer) push(r *route, b []byte) {
	w.sent.Add(1)
	if r.tcp != nil {
		r.tcp.send(b)
		return
	}
	m := &w.ms[w.n]
	m.Buffers[0], m.Addr = b, r.addr
	if w.n++; w.n == len(w.ms) {
		w.flush()
	}
}

// flush sends what has gathered.
func (w *writer) flush() {
	for done := 0; done < w.n; {
		n, err := w.sock.batch.WriteBatch(w.ms[done:w.n], 0)
		if err != nil || n <= 0 {
			n = 1 // one receiver that can't be reached must not keep the others waiting
		}
		done += n
	}
	w.n = 0
}
