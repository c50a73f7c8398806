package sfu

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	tcpQueue   = 256              // packets that wait for a slow connection; more are lost, as on UDP
	tcpConns   = 1000             // connections at a time
	tcpUnknown = 10 * time.Second // to the first valid STUN request
)

// stream is a TCP connection that carries packets, each behind its length (RFC 4571).
type stream struct {
	conn  net.Conn
	queue chan []byte
	ended chan struct{}
	once  sync.Once
	rt    *route // the reader's: nil until a request was valid
}

// send queues a packet, or drops it. b is not kept.
func (t *stream) send(b []byte) {
	frame := make([]byte, 2+len(b))
	binary.BigEndian.PutUint16(frame, uint16(len(b)))
	copy(frame[2:], b)
	select {
	case t.queue <- frame:
	default:
	}
}

func (t *stream) close() {
	t.once.Do(func() {
		close(t.ended)
		_ = t.conn.Close()
	})
}

// write is the connection's writer; it ends with the connection.
func (t *stream) write() {
	for {
		select {
		case <-t.ended:
			return
		case f := <-t.queue:
			_ = t.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if _, err := t.conn.Write(f); err != nil {
				t.close()
				return
			}
		}
	}
}

// acceptTCP takes connections until the listener is closed.
func (s *Server) acceptTCP() {
	var mu sync.Mutex
	open := map[*stream]bool{}
	var wg sync.WaitGroup
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				continue
			}
			break
		}
		t := &stream{conn: c, queue: make(chan []byte, tcpQueue), ended: make(chan struct{})}
		mu.Lock()
		full := len(open) >= tcpConns
		if !full {
			open[t] = true
		}
		mu.Unlock()
		if full {
			_ = c.Close()
			continue
		}
		wg.Go(t.write)
		wg.Go(func() {
			s.readTCP(t)
			mu.Lock()
			delete(open, t)
			mu.Unlock()
		})
	}
	mu.Lock()
	for t := range open {
		t.close()
	}
	mu.Unlock()
	wg.Wait()
}

// readTCP reads a connection until it ends.
func (s *Server) readTCP(t *stream) {
	defer t.close()
	defer func() {
		if t.rt != nil {
			s.index.forget(t.rt)
		}
	}()
	from, ok := addrPort(t.conn.RemoteAddr())
	if !ok {
		return
	}
	r := bufio.NewReaderSize(t.conn, 8<<10)
	buf := make([]byte, packetSize)
	w := newWriter(s.socks[0], &s.stats.out)
	dec := newReader(s)
	_ = t.conn.SetReadDeadline(time.Now().Add(tcpUnknown))
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(head[:]))
		if n == 0 || n > len(buf) {
			return
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return
		}
		now := time.Now()
		if isSTUN(buf[:n]) {
			if rt := s.stun(buf[:n], origin{key: from, addr: t.conn.RemoteAddr(), tcp: t}, now); rt != nil {
				t.rt = rt
			}
		} else if t.rt != nil {
			dec.packet(w, t.rt, buf[:n], now)
			if r.Buffered() == 0 {
				w.flush()
			}
		}
		if t.rt != nil {
			_ = t.conn.SetReadDeadline(now.Add(s.opt.Silence))
		}
	}
}

// addrPort is a socket's address as a key: an IPv4 address is one, also where it came through an IPv6 socket.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), ap.IsValid()
}
