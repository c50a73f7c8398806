package hooks

import (
	"bufio"
	"bytes"
	"log/slog"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// watched is a feed that notes its read deadlines.
type watched struct {
	feed
	deadlines []time.Time
}

func (w *watched) SetReadDeadline(t time.Time) error {
	w.deadlines = append(w.deadlines, t)
	return nil
}

func reading(b []byte, piece int) (*conn, *watched) {
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	a := &Adapter{hooks: &mqtt.Hooks{Log: server.Log}}
	a.o.Server = server
	nc := &watched{feed: feed{b: b, piece: piece}}
	c := &conn{Conn: nc, a: a, br: bufio.NewReaderSize(nc, readBuffer)}
	c.cl = server.NewClient(nc, "test", "test", false)
	c.cl.Properties.ProtocolVersion = 4
	return c, nc
}

// publishOf is a PUBLISH at QoS 0 with n bytes of payload.
func publishOf(n int) []byte {
	b := []byte{packets.Publish << 4}
	for n += 3; ; n >>= 7 {
		if n < 0x80 {
			b = append(b, byte(n))
			break
		}
		b = append(b, byte(n)|0x80)
	}
	return append(b, 0, 1, 'x')
}

// TestReadLargePacket: a packet that comes in pieces is read whole, and one that is only announced takes no
// memory.
func TestReadLargePacket(t *testing.T) {
	payload := bytes.Repeat([]byte("petrel"), 50_000)
	c, nc := reading(append(publishOf(len(payload)), payload...), 1000)
	pk, err := c.read(1<<20, 0)
	if err != nil || !bytes.Equal(pk.Payload, payload) {
		t.Fatal("300 KB are not read as they were sent:", err)
	}
	if n := len(nc.deadlines); n < 2 || nc.deadlines[0].IsZero() || !nc.deadlines[n-1].IsZero() {
		t.Error("a packet that has begun has a deadline, and what follows it has none:", nc.deadlines)
	}
	c, _ = reading(publishOf(100<<20), 1000)
	before := allocated()
	if _, err := c.read(0, 0); err == nil {
		t.Fatal("a packet that did not come")
	}
	if n := allocated() - before; n > 1<<20 {
		t.Errorf("announcing 100 MiB took %d bytes", n)
	}
}

// TestReadDeadline: the keep-alive's is kept where it is earlier, and a packet that is there sets none.
func TestReadDeadline(t *testing.T) {
	c, nc := reading(append(publishOf(10), make([]byte, 10)...), 1000)
	if _, err := c.read(0, 0); err != nil || len(nc.deadlines) != 0 {
		t.Error("a packet in one piece:", nc.deadlines, err)
	}
	c, nc = reading(append(publishOf(10), make([]byte, 10)...), 1)
	c.keepAlive = time.Second
	c.touch(time.Now())
	if _, err := c.read(0, 0); err != nil || len(nc.deadlines) != 1 {
		t.Error("within the keep-alive:", nc.deadlines, err)
	}
}

// TestTypingPace: one sign in two seconds, whoever else types.
func TestTypingPace(t *testing.T) {
	var p typingPace
	at := time.Unix(1000, 0)
	say := func(want bool, user string, on bool, after time.Duration) {
		t.Helper()
		at = at.Add(after)
		if got := p.ready("crew", user, on, at); got != want {
			t.Errorf("%s %v at %v: %v", user, on, at, got)
		}
	}
	say(true, "ana", true, 0)
	say(false, "ana", true, time.Second)
	say(true, "ana", false, 0)
	say(true, "bob", true, 900*time.Millisecond)
	say(true, "ana", true, 200*time.Millisecond) // 2.1 s after hers
	say(false, "bob", true, time.Second)         // 1.2 s after his, a generation later
	say(true, "bob", true, time.Second)
	say(false, "ana", true, -200*time.Millisecond)
	if n := len(p.last) + len(p.elder); n > 4 {
		t.Errorf("%d signs are remembered", n)
	}
}
