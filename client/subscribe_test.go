package client_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/petrelchat/petrel/client"
)

// stingy is a connection on which the first SUBACKs say that the server's disk is full (0x97).
type stingy struct {
	net.Conn
	in      *bufio.Reader
	rest    []byte // of the packet that was read last
	refuse  int
	refused *atomic.Int32
}

// Read implements net.Conn: packet by packet.
func (c *stingy) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		kind, err := c.in.ReadByte()
		if err != nil {
			return 0, err
		}
		n, err := binary.ReadUvarint(c.in) // [MQTT-1.5.5]
		if err != nil {
			return 0, err
		}
		c.rest = binary.AppendUvarint([]byte{kind}, n)
		head := len(c.rest)
		c.rest = append(c.rest, make([]byte, n)...)
		if _, err := io.ReadFull(c.in, c.rest[head:]); err != nil {
			return 0, err
		}
		if kind == 0x90 && c.refuse > 0 {
			c.refuse--
			c.refused.Add(1)
			properties, k := binary.Uvarint(c.rest[head+2:])
			for i := head + 2 + k + int(properties); i < len(c.rest); i++ {
				c.rest[i] = 0x97
			}
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// TestSubscribedLater: what the server can't grant now is asked for again on the same connection; until then the status says so.
func TestSubscribedLater(t *testing.T) {
	s := serve(t)
	bob := s.device("bob", "b", inMemory(t)).open()
	bob.upToDate()
	var refused, dialed atomic.Int32
	ann := s.device("ann", "a", inMemory(t), func(o *client.Options) {
		o.Dial = func(ctx context.Context) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, "tcp", s.proxy.Addr())
			if err != nil {
				return nil, err
			}
			dialed.Add(1)
			return &stingy{Conn: nc, in: bufio.NewReader(nc), refuse: 2, refused: &refused}, nil
		}
	})
	ann.open()
	ann.await("a word about it", func(st client.Status) bool { return st.Err != nil && st.State >= client.CatchingUp })
	bob.send(bob.Direct("ann"), "meanwhile")
	ann.await("the subscriptions", func(st client.Status) bool { return st.Err == nil && st.State == client.UpToDate })
	ann.has(ann.Direct("bob"), "meanwhile")
	if n := refused.Load(); n != 2 || dialed.Load() != 1 {
		t.Errorf("refused %d times, on %d connections", n, dialed.Load())
	}
}
