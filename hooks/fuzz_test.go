package hooks

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"runtime/metrics"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// feed is a connection that has sent some bytes, which come in pieces, and then nothing any more.
type feed struct {
	b     []byte
	piece int
}

func (f *feed) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), f.piece)], f.b)
	f.b = f.b[n:]
	return n, nil
}

func (f *feed) Write(p []byte) (int, error)      { return len(p), nil }
func (f *feed) Close() error                     { return nil }
func (f *feed) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (f *feed) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (f *feed) SetDeadline(time.Time) error      { return nil }
func (f *feed) SetReadDeadline(time.Time) error  { return nil }
func (f *feed) SetWriteDeadline(time.Time) error { return nil }

// allocated is how many bytes the process has ever allocated, give or take what the caches of its threads
// have not reported.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// FuzzRead reads hostile bytes as packets: of an MQTT version, or from CONNECT on if that is 0. It must not
// panic, must end, and must not take more memory than a packet of the limit and what was really sent are
// worth.
func FuzzRead(f *testing.F) {
	const limit = 32 << 10
	f.Add(byte(0), byte(1), []byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'm', 'e', 0xC0, 0, 0xE0, 0})
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	a := &Adapter{hooks: &mqtt.Hooks{Log: server.Log}}
	a.o.Server = server
	f.Fuzz(func(t *testing.T, version, piece byte, b []byte) {
		nc := &feed{b: b, piece: int(piece) + 1}
		c := &conn{Conn: nc, a: a, br: bufio.NewReaderSize(nc, readBuffer)}
		c.cl = server.NewClient(nc, "fuzz", "fuzz", false)
		c.cl.Properties.ProtocolVersion = version
		want := byte(0)
		switch version {
		case 0:
			want = packets.Connect
		case 3, 4, 5:
		default:
			return
		}
		before := allocated()
		sent := 0
		for {
			pk, err := c.read(limit, want)
			if err != nil {
				break
			}
			if want != 0 && pk.FixedHeader.Type != want {
				t.Fatalf("packet type %d before CONNECT", pk.FixedHeader.Type)
			}
			if sent += 2 + pk.FixedHeader.Remaining; sent > len(b) || pk.FixedHeader.Remaining > limit {
				t.Fatalf("a packet of %d bytes: the limit is %d, and %d were sent in all", pk.FixedHeader.Remaining, limit, len(b))
			}
			if want != 0 {
				want, c.cl.Properties.ProtocolVersion = 0, pk.ProtocolVersion
			}
		}
		// A user property of five bytes is 32 in memory, and its slice grows by doubling.
		if n := allocated() - before; n > uint64(512<<10+limit+64*len(b)) {
			t.Errorf("%d bytes made it take %d bytes of memory", len(b), n)
		}
	})
}
