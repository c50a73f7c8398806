package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/petrelchat/petrel/client/internal/link"
)

// script is a server that does what the test says, in the virtual time of testing/synctest.
type script struct {
	t       *testing.T
	accept  chan net.Conn
	refused atomic.Pointer[error] // of dials; nil: they succeed
	dials   atomic.Int32
	local   atomic.Pointer[net.TCPAddr] // where dials come from; nil: nobody asks
}

func (s *script) refuse(err error) { s.refused.Store(&err) }
func (s *script) admit()           { s.refused.Store(nil) }

func newScript(t *testing.T) *script { return &script{t: t, accept: make(chan net.Conn, 16)} }

// dial is a link's Options.Dial.
func (s *script) dial(context.Context) (net.Conn, error) {
	s.dials.Add(1)
	if err := s.refused.Load(); err != nil {
		return nil, *err
	}
	ours, theirs := buffered()
	theirs.(*end).local = s.local.Load()
	s.accept <- ours
	return theirs, nil
}

// open starts a Link to the script, with the time-outs that are the default unless change says otherwise.
func (s *script) open(change ...func(*link.Options)) *device {
	s.t.Helper()
	d := open(s.t, nil, "ana", append([]func(*link.Options){func(o *link.Options) {
		o.Dial = s.dial
		o.Patience = link.Patience{}
		o.Rand = func() float64 { return 0.5 }
	}}, change...)...)
	d.wait = 1000 * time.Hour // virtual
	return d
}

// weary is a Link that was refused so often that it waits long for its next attempt.
func (s *script) weary() *device {
	s.t.Helper()
	s.refuse(errors.New("no way"))
	d := s.open()
	for range 8 {
		d.next("down")
	}
	return d
}

// conn is one connection to the script.
type conn struct {
	net.Conn
	t       *testing.T
	connect *packets.Connect
}

// expect waits for a connection and its CONNECT.
func (s *script) expect() *conn {
	s.t.Helper()
	c := &conn{Conn: <-s.accept, t: s.t}
	c.connect = c.read(packets.CONNECT).Content.(*packets.Connect)
	return c
}

// up lets a connection in.
func (s *script) up(change ...func(*packets.Connack)) *conn {
	s.t.Helper()
	c := s.expect()
	ack := &packets.Connack{Properties: &packets.Properties{}}
	for _, fn := range change {
		fn(ack)
	}
	c.write(ack)
	return c
}

// read waits for the next packet, which must be of that type.
func (c *conn) read(kind byte) *packets.ControlPacket {
	c.t.Helper()
	p, err := packets.ReadPacket(c)
	if err != nil {
		c.t.Fatalf("waiting for packet type %d: %v", kind, err)
	}
	if p.Type != kind {
		c.t.Fatalf("got %v, want packet type %d", p, kind)
	}
	return p
}

func (c *conn) publish() *packets.Publish {
	c.t.Helper()
	return c.read(packets.PUBLISH).Content.(*packets.Publish)
}

func (c *conn) write(p packets.Packet) {
	c.t.Helper()
	if _, err := p.WriteTo(c); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) bytes(b ...byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) puback(id uint16, code byte, props ...packets.User) {
	c.write(&packets.Puback{PacketID: id, ReasonCode: code, Properties: &packets.Properties{User: props}})
}

func (c *conn) pong() { c.bytes(packets.PINGRESP<<4, 0) }

// leave reads the shortest DISCONNECT and closes, as a server does.
func (c *conn) leave() {
	c.t.Helper()
	got := make([]byte, 2)
	if _, err := io.ReadFull(c, got); err != nil || got[0] != packets.DISCONNECT<<4 || got[1] != 0 {
		c.t.Fatalf("% x, %v instead of DISCONNECT", got, err)
	}
	_ = c.Close()
}

// closed asserts that the link has closed the connection.
func (c *conn) closed() {
	c.t.Helper()
	if _, err := packets.ReadPacket(c); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Fatalf("the connection is not closed: %v", err)
	}
}

// buffered is a pair of connections that take what is written without waiting for the reader, as a kernel does.
func buffered() (a, b net.Conn) {
	one, two := newPipe(), newPipe()
	return &end{in: one, out: two}, &end{in: two, out: one}
}

type pipe struct {
	data   chan []byte
	closed chan struct{}
}

func newPipe() *pipe { return &pipe{data: make(chan []byte, 1<<16), closed: make(chan struct{})} }

func (p *pipe) close() {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
}

// end is one side of a pair. It is closed from one goroutine at a time.
type end struct {
	net.Conn // nil: only what is below is used
	in, out  *pipe
	rest     []byte
	local    *net.TCPAddr
}

func (e *end) LocalAddr() net.Addr { return e.local }

func (e *end) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		select {
		case e.rest = <-e.in.data:
			continue
		default:
		}
		select {
		case e.rest = <-e.in.data:
		case <-e.in.closed:
			select {
			case e.rest = <-e.in.data:
			default:
				return 0, io.EOF
			}
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func (e *end) Write(p []byte) (int, error) {
	select {
	case <-e.out.closed:
		return 0, io.ErrClosedPipe
	default:
	}
	e.out.data <- append([]byte(nil), p...)
	return len(p), nil
}

func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}

func (e *end) SetWriteDeadline(time.Time) error { return nil }

// bubble runs a test in virtual time.
func bubble(t *testing.T, fn func(t *testing.T, s *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, newScript(t)) })
}
