// Package mqttc is a small MQTT 3.1.1 and 5 client for load generators and crash tests: call Dial,
// then WritePublish, WriteSubscribe, WriteAck and Flush on one side and ReadPacket on the other.
//
// It does nothing by itself. There is no goroutine, no keep-alive, no resending and no automatic
// acknowledgement, so a test decides what goes over the wire and when, and the hot path costs
// neither an allocation nor a lock. Packets that were written gather in memory until Flush;
// acknowledging as long as Ready reports another packet and flushing then puts many PUBACKs into one
// system call.
//
// A Conn may be used by two goroutines: one that reads (ReadPacket, Ready, Await) and one that writes
// (Write…, Raw, Flush). Close, the counters and deadlines may be used by any. Dial leaves both sides
// to its caller.
package mqttc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

const (
	defaultReadBuffer = 16 << 10
	defaultMaxPacket  = 2 << 20
	flushAt           = 32 << 10 // a writer that never flushes is flushed here
)

// ConnectOptions says how to connect. The zero value is MQTT 3.1.1 with an empty client id, a session
// to be resumed and no keep-alive.
type ConnectOptions struct {
	Version           byte // 4 (MQTT 3.1.1) or 5; 0 means 4
	ClientID          string
	Username          string // "" sends none
	Password          []byte // nil sends none
	CleanStart        bool
	KeepAlive         uint16 // seconds; nothing is sent by itself, so 0 unless the test pings
	SessionExpiry     uint32 // seconds, MQTT 5; 0 leaves the property out
	ReceiveMaximum    uint16 // MQTT 5; 0 leaves the property out
	MaximumPacketSize uint32 // bytes, MQTT 5; 0 leaves the property out
	TopicAliasMaximum uint16 // aliases that the server may use, MQTT 5
	UserProperties    []UserProperty
	Will              *Will

	TLS        *tls.Config // used for tls:// addresses
	LocalAddr  net.Addr    // nil: the system chooses
	ReadBuffer int         // bytes; 0 means 16 KiB. Idle connections do with 64
	MaxPacket  int         // longest packet that is accepted, bytes; 0 means 2 MiB
}

func (o ConnectOptions) version() byte {
	if o.Version == 5 {
		return 5
	}
	return 4
}

// Connack is the server's answer to CONNECT. Values that it did not state have MQTT 5's defaults.
type Connack struct {
	SessionPresent    bool
	Code              byte
	Reason            string
	ReceiveMaximum    uint16
	TopicAliasMaximum uint16
	MaximumPacketSize uint32 // 0: no limit stated
	ServerKeepAlive   uint16 // seconds; 0: not stated
	AssignedClientID  string
	Size              int // bytes of the CONNACK on the wire
}

// RefusedError is returned by Dial when the server answered CONNECT with a code other than success.
type RefusedError struct {
	Code   byte
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("mqttc: connection refused by the server: 0x%02X %s", e.Code, e.Reason)
}

// Conn is a client's connection. See the package comment for what may run at the same time.
type Conn struct {
	nc      net.Conn // what packets are written to; TLS if there is any
	wire    *meter   // the socket below
	version byte
	max     int
	initial int

	buf     []byte // read buffer; buf[r:w] is unread
	r, w    int
	aliases [][]byte // topics by the server's alias
	out     []byte

	appIn, appOut atomic.Int64
}

// Dial connects to addr, sends CONNECT and waits for CONNACK. addr is host:port, tcp://host:port,
// tls://host:port or unix:///path. ctx bounds all of that, not the connection's later life. A
// refusal is a *RefusedError, with the Connack filled in and the connection closed.
func Dial(ctx context.Context, addr string, o ConnectOptions) (*Conn, Connack, error) {
	c, err := Open(ctx, addr, o)
	if err != nil {
		return nil, Connack{}, err
	}
	stop := context.AfterFunc(ctx, func() { c.nc.SetDeadline(time.Unix(1, 0)) })
	ack, err := c.Connect(o)
	if !stop() && err == nil {
		err = context.Cause(ctx) // the deadline was or is about to be set: unusable
	}
	if err != nil {
		c.Close()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, ack, err
	}
	return c, ack, nil
}

// Open makes the connection, with its TLS handshake, and sends nothing over it: for tests that want
// to send something else than a CONNECT first.
func Open(ctx context.Context, addr string, o ConnectOptions) (*Conn, error) {
	network, host, secure := "tcp", addr, false
	if scheme, rest, ok := strings.Cut(addr, "://"); ok {
		host = rest
		switch scheme {
		case "tcp", "mqtt":
		case "tls", "ssl", "mqtts":
			secure = true
		case "unix":
			network = "unix"
		default:
			return nil, fmt.Errorf("mqttc: address %q: scheme must be tcp, tls or unix", addr)
		}
	}
	d := net.Dialer{LocalAddr: o.LocalAddr}
	raw, err := d.DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	if !secure {
		return NewConn(raw, o), nil
	}
	wire := &meter{Conn: raw}
	tc := o.TLS.Clone()
	if tc == nil {
		tc = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if tc.ServerName == "" {
		tc.ServerName, _, _ = net.SplitHostPort(host)
	}
	secured := tls.Client(wire, tc)
	if err := secured.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	c := NewConn(secured, o)
	c.wire = wire
	return c, nil
}

// NewConn wraps a connection that exists already, one end of a net.Pipe for instance.
func NewConn(nc net.Conn, o ConnectOptions) *Conn {
	c := &Conn{nc: nc, version: o.version(), max: o.MaxPacket, initial: o.ReadBuffer}
	if c.max <= 0 {
		c.max = defaultMaxPacket
	}
	if c.initial <= 0 {
		c.initial = defaultReadBuffer
	}
	if o.TopicAliasMaximum > 0 && c.version == 5 {
		c.aliases = make([][]byte, int(o.TopicAliasMaximum)+1)
	}
	return c
}

// Connect sends CONNECT and reads CONNACK on a connection made by Open or NewConn.
func (c *Conn) Connect(o ConnectOptions) (Connack, error) {
	c.out = AppendConnect(c.out, o)
	if err := c.Flush(); err != nil {
		return Connack{}, err
	}
	p, err := c.ReadPacket()
	if err != nil {
		return Connack{}, err
	}
	if p.Type != CONNACK {
		return Connack{}, malformed("the first packet is not CONNACK") // [MQTT-3.2.0-1]
	}
	a := Connack{SessionPresent: p.SessionPresent, Code: p.Code, ReceiveMaximum: 0xFFFF, Size: p.Size}
	a.Reason, _ = p.Props.String(PropReason)
	a.AssignedClientID, _ = p.Props.String(PropAssignedClientID)
	if n, ok := p.Props.Uint(PropReceiveMaximum); ok {
		a.ReceiveMaximum = uint16(n)
	}
	n, _ := p.Props.Uint(PropTopicAliasMaximum)
	a.TopicAliasMaximum = uint16(n)
	n, _ = p.Props.Uint(PropServerKeepAlive)
	a.ServerKeepAlive = uint16(n)
	a.MaximumPacketSize, _ = p.Props.Uint(PropMaximumPacketSize)
	if a.Code != 0 {
		return a, &RefusedError{Code: a.Code, Reason: a.Reason}
	}
	return a, nil
}

// Version is the protocol version of the connection, 4 or 5.
func (c *Conn) Version() byte { return c.version }

// Close closes the socket without a DISCONNECT: to the server this device has vanished.
func (c *Conn) Close() error { return c.nc.Close() }

// Disconnect sends DISCONNECT, waits until the server has closed or timeout has passed, and closes.
// Waiting makes "the session is put away" something a caller can rely on. It reads, so the reading
// side must have ended.
func (c *Conn) Disconnect(timeout time.Duration) error {
	c.out = AppendDisconnect(c.out, c.version, 0)
	if err := c.Flush(); err != nil {
		c.nc.Close()
		return err
	}
	c.nc.SetReadDeadline(time.Now().Add(timeout))
	for {
		if _, err := c.ReadPacket(); err != nil {
			closeErr := c.nc.Close()
			if errors.Is(err, io.EOF) {
				return closeErr
			}
			return err
		}
	}
}

// SetReadDeadline and SetWriteDeadline are those of net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// SetWriteDeadline bounds Flush and the writes that flush by themselves.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }

// Bytes returns what MQTT itself has read and written on this connection, TLS not counted.
func (c *Conn) Bytes() (in, out int64) { return c.appIn.Load(), c.appOut.Load() }

// TLS reports the state of a tls:// connection; ok is false for others.
func (c *Conn) TLS() (state tls.ConnectionState, ok bool) {
	if t, is := c.nc.(*tls.Conn); is {
		return t.ConnectionState(), true
	}
	return tls.ConnectionState{}, false
}
