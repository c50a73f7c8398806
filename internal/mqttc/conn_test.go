package mqttc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// script is a net.Conn whose peer says what r holds; what is written goes to w.
type script struct {
	net.Conn
	r io.Reader
	w bytes.Buffer
	n int // writes
}

func (s *script) Read(b []byte) (int, error)       { return s.r.Read(b) }
func (s *script) Write(b []byte) (int, error)      { s.n++; return s.w.Write(b) }
func (s *script) Close() error                     { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

func TestReadPacketFromAnyPieces(t *testing.T) {
	var in []byte
	payloads := []string{"one", strings.Repeat("2", 300), "", strings.Repeat("4", 5000), "five"}
	for i, p := range payloads {
		in = AppendPublish(in, 4, Publish{Topic: "t", Payload: []byte(p), QoS: 1, ID: uint16(i + 1)})
	}
	for name, pieces := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
	} {
		for _, size := range []int{1, 16, 64, 1 << 14} {
			c := NewConn(&script{r: pieces(bytes.NewReader(in))}, ConnectOptions{ReadBuffer: size})
			for i, want := range payloads {
				p, err := c.ReadPacket()
				if err != nil || string(p.Payload) != want || int(p.ID) != i+1 {
					t.Fatalf("%s, buffer %d, packet %d: %d bytes, id %d, %v", name, size, i, len(p.Payload), p.ID, err)
				}
			}
			if _, err := c.ReadPacket(); err != io.EOF {
				t.Fatalf("%s: the end is %v", name, err)
			}
			if n, _ := c.Bytes(); int(n) != len(in) {
				t.Errorf("%s: %d bytes counted of %d", name, n, len(in))
			}
		}
	}
}

func TestReadPacketEndsWithinAPacket(t *testing.T) {
	in := AppendPublish(nil, 4, Publish{Topic: "t", Payload: []byte("cut")})
	c := NewConn(&script{r: bytes.NewReader(in[:len(in)-1])}, ConnectOptions{})
	if _, err := c.ReadPacket(); err != io.ErrUnexpectedEOF {
		t.Fatalf("got %v", err)
	}
}

// TestAnnouncedLengthCostsNothing: 256 MB announced, a few bytes sent.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	in := []byte{PUBLISH << 4, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 'a'}
	c := NewConn(&script{r: bytes.NewReader(in)}, ConnectOptions{})
	if _, err := c.ReadPacket(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("above MaxPacket: %v", err)
	}
	c = NewConn(&script{r: bytes.NewReader(in)}, ConnectOptions{MaxPacket: 1 << 29})
	if _, err := c.ReadPacket(); err != io.ErrUnexpectedEOF {
		t.Errorf("below MaxPacket: %v", err)
	}
	if len(c.buf) > defaultReadBuffer {
		t.Errorf("%d bytes were allocated for %d", len(c.buf), len(in))
	}
}

func TestTopicAliasesOfTheServer(t *testing.T) {
	var in []byte
	for _, p := range []Publish{{Topic: "first", Alias: 1}, {Topic: "second", Alias: 2}, {Alias: 1}, {Alias: 2}, {Topic: "third", Alias: 1}, {Alias: 1}} {
		in = AppendPublish(in, 5, p)
	}
	c := NewConn(&script{r: bytes.NewReader(in)}, ConnectOptions{Version: 5, TopicAliasMaximum: 2})
	for _, want := range []string{"first", "second", "first", "second", "third", "third"} {
		if p, err := c.ReadPacket(); err != nil || string(p.Topic) != want {
			t.Fatalf("got %q %v, want %q", p.Topic, err, want)
		}
	}
	for name, p := range map[string]Publish{"above the maximum": {Topic: "t", Alias: 3}, "never set": {Alias: 2}} {
		c := NewConn(&script{r: bytes.NewReader(AppendPublish(nil, 5, p))}, ConnectOptions{Version: 5, TopicAliasMaximum: 2})
		if _, err := c.ReadPacket(); !errors.Is(err, ErrMalformed) {
			t.Errorf("alias %s: %v", name, err)
		}
	}
}

// TestAcksLeaveInOneWrite is the pattern that the package comment promises.
func TestAcksLeaveInOneWrite(t *testing.T) {
	var in []byte
	for i := range 10 {
		in = AppendPublish(in, 4, Publish{Topic: "t", QoS: 1, ID: uint16(i + 1)})
	}
	s := &script{r: bytes.NewReader(in)}
	c := NewConn(s, ConnectOptions{})
	for {
		p, err := c.ReadPacket()
		if err != nil {
			break
		}
		if err := c.WriteAck(PUBACK, p.ID, 0); err != nil {
			t.Fatal(err)
		}
		if !c.Ready() {
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.n != 1 || s.w.Len() != 40 {
		t.Errorf("%d writes of %d bytes", s.n, s.w.Len())
	}
}

// endless repeats a packet for ever.
type endless struct {
	packet []byte
	at     int
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.packet[e.at:])
	e.at = (e.at + n) % len(e.packet)
	return n, nil
}

type discard struct{ script }

func (*discard) Write(b []byte) (int, error) { return len(b), nil }

func TestHotPathAllocatesNothing(t *testing.T) {
	payload := make([]byte, 64)
	for _, version := range []byte{4, 5} {
		d := &discard{script{r: &endless{packet: AppendPublish(nil, version, Publish{Topic: "a/b/c", QoS: 1, ID: 5, Payload: payload})}}}
		c := NewConn(d, ConnectOptions{Version: version})
		if n := testing.AllocsPerRun(1000, func() {
			p, err := c.ReadPacket()
			if err != nil {
				t.Fatal(err)
			}
			c.WriteAck(PUBACK, p.ID, 0)
			c.WritePublish(Publish{Topic: "a/b/c", QoS: 1, ID: 9, Payload: payload})
			c.Flush()
		}); n != 0 {
			t.Errorf("v%d: %v allocations for a packet in and two out", version, n)
		}
	}
}

func TestDialOverUnixSocket(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := [][]byte{
		{CONNACK << 4, 6, 1, 0, 3, PropTopicAliasMaximum, 0, 7},
		append(append([]byte{CONNACK << 4, 9, 0, 0x87, 6}, PropReason, 0, 3), "why"...),
	}
	served := make(chan error, 1)
	go func() {
		for _, a := range answers {
			nc, err := l.Accept()
			if err == nil {
				_, err = io.ReadFull(nc, make([]byte, 16))
			}
			if err == nil {
				_, err = nc.Write(a)
			}
			if err != nil {
				served <- err
				return
			}
		}
		served <- nil
	}()
	c, ack, err := Dial(t.Context(), "unix://"+sock, ConnectOptions{Version: 5, ClientID: "c"})
	if err != nil || !ack.SessionPresent || ack.TopicAliasMaximum != 7 || ack.ReceiveMaximum != 65535 {
		t.Fatalf("%+v %v", ack, err)
	}
	if in, out := c.Bytes(); in != 8 || out != 16 || c.Wire() != (Wire{In: 8, Out: 16}) {
		t.Errorf("counted %d in, %d out", in, out)
	}
	c.Close()
	var refused *RefusedError
	if _, ack, err = Dial(t.Context(), "unix://"+sock, ConnectOptions{Version: 5, ClientID: "c"}); !errors.As(err, &refused) ||
		refused.Code != 0x87 || refused.Reason != "why" || ack.Code != 0x87 {
		t.Errorf("refusal: %+v %v", ack, err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

// TestDialGivesUpWithItsContext: the server accepts and says nothing.
func TestDialGivesUpWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		io.ReadFull(nc, make([]byte, 14)) // CONNECT is through: Dial waits for CONNACK
		cancel()
		io.Copy(io.Discard, nc) // until Dial closes
	}()
	if _, _, err := Dial(ctx, l.Addr().String(), ConnectOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDialRefusesUnknownScheme(t *testing.T) {
	if _, _, err := Dial(t.Context(), "http://127.0.0.1:1", ConnectOptions{}); err == nil || !strings.Contains(err.Error(), "scheme") {
		t.Errorf("got %v", err)
	}
	if _, _, err := Dial(t.Context(), "unix://"+filepath.Join(t.TempDir(), "none"), ConnectOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestTLSRecordsAreCounted(t *testing.T) {
	m := &meter{}
	var in []byte
	for _, n := range []int{0, 1, 300, 5, 16384} {
		in = append(in, 23, 3, 3, byte(n>>8), byte(n))
		in = append(in, make([]byte, n)...)
	}
	for len(in) > 0 { // pieces of seven bytes cut headers and bodies alike
		n := min(7, len(in))
		m.scan(in[:n])
		in = in[n:]
	}
	if got := m.records.Load(); got != 5 {
		t.Errorf("%d records", got)
	}
}
