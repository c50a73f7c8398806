package hooks

import (
	"bufio"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/delivery"
)

// conn is one connection: the net.Conn that the library sees, and what petrel knows about it. The
// library's writes go through the session's outbox, in order with everything else and never blocking;
// its deadlines are ignored, for it sets read and write deadlines together.
type conn struct {
	net.Conn // raw
	a        *Adapter
	cl       *mqtt.Client
	s        *delivery.Session
	id       auth.Identity
	acl      atomic.Pointer[auth.ACL] // of the rules in force when it was last asked; see rules
	limit    *limits
	client   string // client id
	number   uint64 // of the connection
	addr     netip.Addr
	v5       bool
	problems bool
	unproven bool // who the client is, is being checked
	br       *bufio.Reader
	busy     bool              // the read buffer has been filled
	pk       packets.Packet    // the one being handled
	short    [8]byte           // body of a short one
	expiry   uint32            // seconds that the session outlives the connection
	expires  *time.Timer       // of the credentials; nil: never
	aliases  map[uint16]string // inbound, [MQTT-3.3.2-7]
	calls    rpcQueue
	sys      bool // the library's writer runs for $SYS
	served   bool // what serve began is for part to end

	keepAlive time.Duration // one and a half; 0: none
	deadline  time.Time
	hurried   bool // deadline is that of a packet which has begun

	phase    atomic.Uint32 // how far it came: orders s, id and client for other goroutines
	kicked   atomic.Uint32 // delivery.Why
	heard    bool          // the service of calls counts the session among the user's devices
	acted    bool          // the client asked something of a call
	closing  sync.Once
	lingers  bool                         // the reader goes on until the client closes
	farewell atomic.Pointer[packets.Code] // DISCONNECT that the client was sent
}

// The phases of a connection. From opening on, id and client do not change any more; from letIn on, s.
const (
	connecting uint32 = iota
	opening           // its session is being opened: until CONNACK, a kick only leaves its reason
	letIn
)

// rules is what the connection may do with plain topics, by the rules in force now. Any goroutine may ask.
func (c *conn) rules() *auth.ACL {
	acl := c.acl.Load()
	if acl == nil || c.a.o.Auth.Stale(acl) {
		acl = c.a.o.Auth.Compile(c.id, c.client)
		c.acl.Store(acl)
	}
	return acl
}

// Write puts a packet of the library's into the outbox; before there is one, on the wire.
func (c *conn) Write(p []byte) (int, error) {
	if c.s != nil {
		c.s.Write(p)
		return len(p), nil
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.a.set().WriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetDeadline ignores the library: touch sets the read deadline, the outbox the write deadline.
func (c *conn) SetDeadline(time.Time) error { return nil }

// touch moves the read deadline when a packet came [MQTT-3.1.2-22]. Most packets need no system call:
// the deadline is moved in steps of an eighth.
func (c *conn) touch(now time.Time) {
	if c.keepAlive == 0 {
		return
	}
	if want := now.Add(c.keepAlive); want.Sub(c.deadline) > c.keepAlive/8 {
		c.deadline = want
		_ = c.Conn.SetReadDeadline(want) // fails only on a closed connection, which the next read reports
	}
}

// kickGrace is how long a client that is sent away has to take its DISCONNECT.
const kickGrace = time.Second

// kick ends the connection for a reason of the server's. It never blocks, and any goroutine may call it.
// serve looks for the reason at each change of the phase, after which this does: one of the two sees the
// other.
func (c *conn) kick(why delivery.Why) {
	if !c.kicked.CompareAndSwap(0, uint32(why)) {
		return
	}
	switch c.phase.Load() {
	case connecting:
		_ = c.Conn.Close() // who has not been let in is owed no reason
	case letIn:
		c.leave(kickCode(why), false)
	}
}

// lingerMax is how many bytes are read and thrown away while a client has still to learn why it is sent
// away: closing with unread bytes would reset the connection, and take the DISCONNECT away from it.
const lingerMax = 1 << 20

// leave sends MQTT 5 clients a DISCONNECT and closes the connection once it is written, or soon. With
// linger, which is for the reader alone, only our side is closed then and the rest is left to the reader.
// Before the session is there it is the reader's alone.
func (c *conn) leave(code packets.Code, linger bool) {
	c.closing.Do(func() {
		c.farewell.Store(&code)
		if c.s == nil {
			_ = c.Conn.Close()
			return
		}
		if c.v5 && code.Code >= 0x80 {
			c.s.Write(disconnect(code, c.problems, c.s.Connect().MaxPacket))
		}
		if c.lingers = linger; linger {
			c.s.FinishWriting()
		} else {
			c.s.Finish()
		}
		time.AfterFunc(kickGrace, func() { _ = c.Conn.Close() })
	})
}

// disconnect encodes a DISCONNECT of the server, §3.14, without its reason where the client wants none
// or the packet would exceed most bytes [MQTT-3.14.2-3]; 0: any.
func disconnect(code packets.Code, reason bool, most uint32) []byte {
	n := byte(min(len(code.Reason), 101))
	if !reason || n == 0 || n > 100 || most > 0 && uint32(n)+7 > most {
		return []byte{0xE0, 1, code.Code}
	}
	b := append([]byte{0xE0, 5 + n, code.Code, 3 + n, 0x1F, 0, n}, code.Reason...)
	return b
}

func kickCode(why delivery.Why) packets.Code {
	switch why {
	case delivery.TakenOver:
		return packets.ErrSessionTakenOver
	case delivery.Revoked:
		return packets.ErrAdministrativeAction
	case delivery.ServerStops:
		return packets.ErrServerShuttingDown
	case delivery.Expired:
		return packets.ErrMaxConnectTime
	}
	return packets.ErrUnspecifiedError
}

// limits slow one user down, all connections together.
type limits struct {
	events, requests atomic.Pointer[bucket]
	users            int // connections that share it
}

// set begins anew with the settings' rates.
func (l *limits) set(s *Settings) {
	l.events.Store(newBucket(s.EventsPerSecond, s.Burst))
	l.requests.Store(newBucket(s.RequestsPerSecond, s.Burst))
}
