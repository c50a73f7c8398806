package listen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// wsConn is a WebSocket as a stream: each Write is one binary message, reads go on across messages
// [MQTT-6.0.0-2].
//
// The library's own NetConn closes the connection when a read deadline passes. A broker needs the
// connection then, to say DISCONNECT with a reason. So a goroutine (pump) reads the messages and hands
// them over through a pipe whose deadlines harm nothing; it holds no bytes while the client is idle.
type wsConn struct {
	peer
	ws     *websocket.Conn
	raw    net.Conn // below ws, for write deadlines
	out    net.Conn // Read reads here
	in     net.Conn // pump writes here
	ended  error    // why pump ended; written before in is closed
	once   sync.Once
	closed chan struct{} // closed when the closing handshake is over

	write    sync.Mutex // one message after another
	mu       sync.Mutex // the two below
	deadline time.Time
	writing  bool
}

var (
	_ net.Conn = (*wsConn)(nil)
	_ Info     = (*wsConn)(nil)
)

func newWSConn(ws *websocket.Conn, raw net.Conn, p peer) *wsConn {
	c := &wsConn{peer: p, ws: ws, raw: raw, closed: make(chan struct{})}
	c.out, c.in = net.Pipe()
	return c
}

// pump reads messages until the WebSocket ends or the connection is closed.
func (c *wsConn) pump(buffers *sync.Pool) {
	c.ended = c.copyMessages(buffers)
	_ = c.in.Close()
}

func (c *wsConn) copyMessages(buffers *sync.Pool) error {
	for {
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return endOf(err)
		}
		if kind != websocket.MessageBinary { // [MQTT-6.0.0-1]
			err := errors.New("the client sent a text message: MQTT goes in binary ones")
			_ = c.ws.Close(websocket.StatusUnsupportedData, "MQTT goes in binary messages")
			return err
		}
		buf := buffers.Get().(*[]byte)
		_, err = io.CopyBuffer(struct{ io.Writer }{c.in}, r, *buf)
		buffers.Put(buf)
		if err != nil {
			return endOf(err)
		}
	}
}

// endOf is io.EOF for a client that closed its WebSocket in good order.
func endOf(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return io.EOF
	}
	return fmt.Errorf("WebSocket: %w", err)
}

func (c *wsConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	switch {
	case err == io.EOF && c.ended != nil:
		err = c.ended
	case err == io.ErrClosedPipe:
		err = net.ErrClosed
	}
	return n, err
}

// Write sends p as one binary message. When the write deadline passes, the message is cut in half and
// the connection with it.
func (c *wsConn) Write(p []byte) (int, error) {
	c.write.Lock()
	defer c.write.Unlock()
	if err := c.beginWrite(); err != nil {
		return 0, err
	}
	err := c.ws.Write(context.Background(), websocket.MessageBinary, p)
	c.endWrite()
	switch {
	case err == nil:
		return len(p), nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		_ = c.ws.CloseNow()
		return 0, os.ErrDeadlineExceeded
	case errors.Is(err, net.ErrClosed):
		return 0, net.ErrClosed
	}
	return 0, fmt.Errorf("WebSocket: %w", err)
}

func (c *wsConn) beginWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deadline.IsZero() {
		if !time.Now().Before(c.deadline) {
			return os.ErrDeadlineExceeded
		}
		if err := c.raw.SetWriteDeadline(c.deadline); err != nil {
			return err
		}
	}
	c.writing = true
	return nil
}

// endWrite takes the deadline off again: it is for Write, and must not hit a pong that pump sends later.
func (c *wsConn) endWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
	if !c.deadline.IsZero() {
		_ = c.raw.SetWriteDeadline(time.Time{})
	}
}

func (c *wsConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.writing {
		return c.raw.SetWriteDeadline(t)
	}
	return nil
}

func (c *wsConn) SetReadDeadline(t time.Time) error { return c.out.SetReadDeadline(t) }

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close ends reading at once and returns; the closing handshake of the WebSocket (RFC 6455 §7), for which
// a dead client is given ten seconds, goes on behind.
func (c *wsConn) Close() error {
	err := error(net.ErrClosed)
	c.once.Do(func() {
		err = nil
		_ = c.out.Close()
		go func() {
			defer close(c.closed)
			_ = c.ws.Close(websocket.StatusNormalClosure, "")
		}()
	})
	return err
}

// finish closes the connection and waits for the handshake.
func (c *wsConn) finish() {
	_ = c.Close()
	<-c.closed
}

func (c *wsConn) LocalAddr() net.Addr  { return c.raw.LocalAddr() }
func (c *wsConn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// hijacked keeps hold of the connection that the WebSocket is made of.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = c
	return c, rw, err
}
