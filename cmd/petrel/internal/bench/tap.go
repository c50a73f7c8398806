package bench

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// tap is a TCP relay in front of a server: it counts what goes through, and can be shut. Its goroutines end
// with close.
type tap struct {
	ln     net.Listener
	target string
	shut   atomic.Bool // connections are dropped as they come
	n      atomic.Int64
	wg     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	live   int        // directions that are being relayed
	ended  *sync.Cond // one of them has ended
}

// newTap relays to target, host:port.
func newTap(target string) (*tap, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{ln: ln, target: target, conns: make(map[net.Conn]struct{})}
	t.ended = sync.NewCond(&t.mu)
	t.wg.Go(t.accept)
	return t, nil
}

func (t *tap) addr() string { return t.ln.Addr().String() }

// bytes is what went through so far, both directions added up.
func (t *tap) bytes() int64 { return t.n.Load() }

func (t *tap) accept() {
	for {
		c, err := t.ln.Accept()
		if err != nil {
			return
		}
		if t.shut.Load() {
			c.Close()
			continue
		}
		s, err := net.Dial("tcp", t.target)
		if err != nil {
			c.Close()
			continue
		}
		if !t.keep(c, s) {
			return
		}
		t.wg.Go(func() { t.copy(c, s) })
		t.wg.Go(func() { t.copy(s, c) })
	}
}

// keep notes connections, so that close ends them; false: it has been called.
func (t *tap) keep(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		if t.closed {
			c.Close()
			continue
		}
		t.conns[c] = struct{}{}
		t.live++
	}
	return !t.closed
}

// quiet waits until all connections have ended on both sides, and returns what went through so far.
func (t *tap) quiet() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.live > 0 {
		t.ended.Wait()
	}
	return t.bytes()
}

// copy relays one direction and counts it. When that has ended the receiver gets what is on its way and then the
// end; a connection is dropped when both directions have.
func (t *tap) copy(dst, src net.Conn) {
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.live--
		t.ended.Broadcast()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		t.n.Add(int64(n))
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				dst.(*net.TCPConn).CloseWrite()
			} else {
				dst.Close()
			}
			return
		}
	}
}

func (t *tap) close() {
	t.ln.Close()
	t.mu.Lock()
	t.closed = true
	for c := range t.conns {
		c.Close()
	}
	t.mu.Unlock()
	t.wg.Wait()
}
