package link

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	chunk       = 16 << 10 // of a write that one deadline is for; a TLS record
	readBuffer  = 4 << 10
	waitingMost = 4 << 20 // bytes of messages that may wait for the handler before reading stops
	packetMost  = 16 << 20
)

// wire is the network connection as paho sees it. It joins what paho writes of one packet into one write,
// refuses packets that are too long before anybody allocates for them, stops reading while the handler has
// enough, and remembers when there was traffic, and what ended it.
type wire struct {
	conn    net.Conn
	resumed bool          // the TLS session was
	write   time.Duration // for one chunk

	out sync.Mutex // held while writing
	buf []byte     // what paho has written since Lock

	in    *bufio.Reader // reader's alone, as is frame
	frame frame

	mu          sync.Mutex // all below
	room        *sync.Cond // waiting has shrunk, or ended
	cause       error      // what ended it; nil while it lives
	heard, sent time.Time
	waiting     int   // bytes of messages that were read and not yet handled
	sizes       []int // of each of them
}

// paho locks a writer that is a sync.Locker around the writes of one packet.
var (
	_ net.Conn    = (*wire)(nil)
	_ sync.Locker = (*wire)(nil)
)

func newWire(conn net.Conn, o *Options) *wire {
	w := &wire{conn: conn, write: o.Patience.Write, in: bufio.NewReaderSize(conn, readBuffer)}
	if c, ok := conn.(interface{ Resumed() bool }); ok {
		w.resumed = c.Resumed()
	}
	w.frame.most = packetMost
	if o.MaxPacket != 0 {
		w.frame.most = int(o.MaxPacket)
	}
	w.room = sync.NewCond(&w.mu)
	w.heard = time.Now()
	w.sent = w.heard
	return w
}

// Lock begins a packet of paho's.
func (w *wire) Lock() { w.out.Lock() }

// Write takes a part of a packet. It must come between Lock and Unlock.
func (w *wire) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// Unlock sends the packet. An error ends the connection, which is how paho learns of it.
func (w *wire) Unlock() {
	_ = w.flush(w.buf) // it is the cause now
	clear(w.buf)       // there was a password in it
	w.buf = w.buf[:0]
	w.out.Unlock()
}

// send writes whole packets.
func (w *wire) send(p []byte) error {
	w.out.Lock()
	defer w.out.Unlock()
	return w.flush(p)
}

func (w *wire) flush(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), chunk)
		if err := w.conn.SetWriteDeadline(time.Now().Add(w.write)); err != nil {
			return w.fail(err)
		}
		if _, err := w.conn.Write(p[:n]); err != nil {
			return w.fail(err)
		}
		p = p[n:]
	}
	w.mu.Lock()
	w.sent = time.Now()
	w.mu.Unlock()
	return nil
}

// Read is for paho's reader alone.
func (w *wire) Read(p []byte) (int, error) {
	if w.frame.left == 0 {
		w.waitRoom()
	}
	fill := w.in.Buffered() == 0
	n, err := w.in.Read(p)
	if fill && n > 0 {
		w.mu.Lock()
		w.heard = time.Now()
		w.mu.Unlock()
	}
	if n > 0 {
		if bad := w.frame.feed(p[:n], w.arrives); bad != nil {
			return 0, w.fail(bad)
		}
	}
	if err != nil {
		return n, w.fail(err)
	}
	return n, nil
}

// waitRoom waits while the handler has enough.
func (w *wire) waitRoom() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.waiting > waitingMost && w.cause == nil {
		w.room.Wait()
	}
}

// arrives counts a message that is being read.
func (w *wire) arrives(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting += size
	w.sizes = append(w.sizes, size)
}

// handled discounts the oldest message.
func (w *wire) handled() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sizes) > 0 {
		choked := w.waiting > waitingMost
		w.waiting -= w.sizes[0]
		w.sizes = w.sizes[1:]
		if choked && w.waiting <= waitingMost {
			w.heard = time.Now() // what came meanwhile is read from now on
		}
		w.room.Signal()
	}
}

// choked tells whether reading stopped for the handler: then silence means nothing.
func (w *wire) choked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting > waitingMost
}

// traffic tells when bytes last came and went.
func (w *wire) traffic() (heard, sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard, w.sent
}

// fail ends the connection for a reason, unless it has ended already, and returns the first reason.
func (w *wire) fail(cause error) error {
	w.mu.Lock()
	first := w.cause == nil
	if first {
		w.cause = cause
	}
	cause = w.cause
	w.room.Broadcast()
	w.mu.Unlock()
	if first {
		_ = w.conn.Close() // the cause says more
	}
	return cause
}

// why returns what ended the connection, nil while it lives.
func (w *wire) why() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

// Close ends the connection without another reason.
func (w *wire) Close() error {
	_ = w.fail(net.ErrClosed)
	return nil
}

func (w *wire) LocalAddr() net.Addr                { return w.conn.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr               { return w.conn.RemoteAddr() }
func (w *wire) SetDeadline(t time.Time) error      { return w.conn.SetDeadline(t) }
func (w *wire) SetReadDeadline(t time.Time) error  { return w.conn.SetReadDeadline(t) }
func (w *wire) SetWriteDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }

// frame follows the packets in a stream of bytes.
type frame struct {
	most  int // longest packet
	left  int // bytes of the packet's body that are still to come
	head  byte
	size  int
	shift int
	begun bool // the first byte of a packet was there, its length is not complete
}

// feed goes on with bytes that were read. message is called with the size of each PUBLISH when that is known.
func (f *frame) feed(p []byte, message func(size int)) error {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			f.left -= n
			p = p[n:]
			continue
		}
		b := p[0]
		p = p[1:]
		if !f.begun {
			f.begun, f.head, f.size, f.shift = true, b, 0, 0
			continue
		}
		f.size |= int(b&0x7F) << f.shift
		f.shift += 7
		switch {
		case f.size+f.shift/7+1 > f.most:
			return fmt.Errorf("the server sent a packet of %d bytes or more, at most %d are taken", f.size, f.most)
		case b >= 0x80 && f.shift >= 28: // [MQTT-1.5.5-1]
			return errors.New("the server sent something that is not MQTT")
		case b < 0x80:
			f.begun, f.left = false, f.size
			if f.head>>4 == 3 {
				message(f.size)
			}
		}
	}
	return nil
}

// readable turns what ended a connection into a sentence.
func readable(err error) error {
	switch {
	case err == nil || errors.Is(err, net.ErrClosed):
		return errors.New("the connection was closed")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return errors.New("the server closed the connection")
	}
	return err
}
