package faultproxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/faultproxy"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the server's side of a connection.
type peer struct {
	*net.TCPConn
	t *testing.T
}

// rig is a proxy before a listener.
type rig struct {
	*faultproxy.Proxy
	t  *testing.T
	ln net.Listener
}

func newRig(t *testing.T) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := faultproxy.New(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	t.Cleanup(p.Close)
	return &rig{p, t, ln}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (r *rig) dial() *peer {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		r.t.Fatal(err)
	}
	return own(r.t, c)
}

// dialReset asserts that a connection is reset, be it before the client knows that it has one.
func (r *rig) dialReset() {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	if err == nil {
		own(r.t, c).isReset()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		r.t.Fatal(err)
	}
}

func own(t *testing.T, c net.Conn) *peer {
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &peer{c.(*net.TCPConn), t}
}

// both opens a connection and returns its two ends.
func (r *rig) both() (client, server *peer) {
	r.t.Helper()
	client = r.dial()
	c, err := r.ln.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	return client, own(r.t, c)
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := p.Write([]byte(s)); err != nil {
		p.t.Fatal(err)
	}
}

// gets asserts the next bytes.
func (p *peer) gets(want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(p, got); err != nil || string(got) != want {
		p.t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// rest reads to the end.
func (p *peer) rest() (string, error) {
	b, err := io.ReadAll(p)
	return string(b), err
}

func (p *peer) isReset() {
	p.t.Helper()
	if _, err := p.rest(); !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("the end is %v, want a reset", err)
	}
}

// isSilent asserts that nothing comes, not even the end.
func (p *peer) isSilent() {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	n, err := p.Read(make([]byte, 1))
	var slow net.Error
	if n != 0 || !errors.As(err, &slow) || !slow.Timeout() {
		p.t.Fatalf("got %d bytes and %v from a hole", n, err)
	}
	_ = p.SetReadDeadline(time.Now().Add(10 * time.Second))
}

func TestForwardsAndCounts(t *testing.T) {
	r := newRig(t)
	a, b := r.both()
	a.send("hello")
	b.gets("hello")
	b.send("hi")
	a.gets("hi")
	if s := r.Stats(); s != (faultproxy.Stats{Accepted: 1, Open: 1, Up: 5, Down: 2}) {
		t.Fatalf("%+v", s)
	}
	_ = a.CloseWrite()
	if rest, err := b.rest(); rest != "" || err != nil {
		t.Fatalf("%q, %v after the end", rest, err)
	}
	b.send("bye")
	_ = b.Close()
	if rest, err := a.rest(); rest != "bye" || err != nil {
		t.Fatalf("%q, %v", rest, err)
	}
	if err := r.Wait(within(t), func(s faultproxy.Stats) bool { return s.Open == 0 }); err != nil {
		t.Fatal(err)
	}
}

func TestCutAtEachByte(t *testing.T) {
	r := newRig(t)
	const text = "0123456789"
	for n := int64(1); n <= int64(len(text)); n++ { // 0 is below
		for _, up := range []bool{true, false} {
			f := faultproxy.Faults{CutUp: faultproxy.After(n)}
			if !up {
				f = faultproxy.Faults{CutDown: faultproxy.After(n)}
			}
			r.Next(f)
			from, to := r.both()
			if !up {
				from, to = to, from
			}
			_, _ = from.Write([]byte(text)) // may meet the reset already
			if got, err := to.rest(); got != text[:n] || err != nil {
				t.Fatalf("up=%v: %q, %v arrived of a connection that is cut after %d", up, got, err, n)
			}
			_ = to.Close()
			if _, err := from.rest(); err == nil {
				t.Fatalf("up=%v: whoever was cut off after %d was told a good end", up, n)
			}
		}
	}
}

func TestCutBeforeTheFirstByte(t *testing.T) {
	r := newRig(t)
	r.Next(faultproxy.Faults{CutUp: faultproxy.After(0)})
	r.dialReset()
	b, err := r.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := own(t, b).rest(); got != "" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestHole(t *testing.T) {
	r := newRig(t)
	r.Next(faultproxy.Faults{HoleDown: faultproxy.After(3)})
	a, b := r.both()
	b.send("abcdef")
	a.gets("abc")
	a.isSilent()
	a.send("still")
	b.gets("still")

	r.Hole()
	a.send("lost")
	b.isSilent()
	_ = a.Close()
	b.isSilent() // the end is swallowed too

	c, d := r.both()
	c.send("x")
	d.gets("x")
	r.Hole()
	c.send("lost")
	d.isSilent()
	r.Fill()
	c.send("y")
	d.gets("y")
}

func TestCutAndRefuse(t *testing.T) {
	r := newRig(t)
	a, b := r.both()
	a.send("x")
	b.gets("x")
	r.Cut()
	a.isReset()
	b.isReset()
	r.Refuse(true)
	r.dialReset()
	r.Refuse(false)
	c, d := r.both()
	c.send("x")
	d.gets("x")
	if s := r.Stats(); s.Accepted != 3 {
		t.Fatalf("%+v", s)
	}
}

func TestTarget(t *testing.T) {
	r := newRig(t)
	other := newRig(t)
	_ = r.ln.Close() // nobody is there any more
	r.dialReset()
	r.Target(other.ln.Addr().String())
	a := r.dial()
	c, err := other.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a.send("x")
	own(t, c).gets("x")
}

func TestDelay(t *testing.T) {
	r := newRig(t)
	const d = 30 * time.Millisecond
	r.Next(faultproxy.Faults{DelayUp: d})
	a, b := r.both()
	begun := time.Now()
	for range 5 {
		a.send("ab")
	}
	b.gets("ababababab")
	if took := time.Since(begun); took < d {
		t.Fatalf("it took %v", took)
	}
}

func TestDuplicate(t *testing.T) {
	r := newRig(t)
	if r.Duplicate(within(t)) == nil {
		t.Fatal("nothing can be duplicated yet")
	}
	a, b := r.both()
	big := bytes.Repeat([]byte("a"), 1000)
	a.send(string(big))
	b.gets(string(big))
	if err := r.Duplicate(within(t)); err != nil {
		t.Fatal(err)
	}
	c, err := r.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	own(t, c).gets(string(big))
}

// TestFrom: the server sees the address that the test wants.
func TestFrom(t *testing.T) {
	r := newRig(t)
	ip := net.IPv4(127, 0, 0, 2)
	if l, err := net.Listen("tcp", "127.0.0.2:0"); err != nil {
		t.Skip("this system has one loopback address only")
	} else {
		_ = l.Close()
	}
	r.From(ip)
	client, server := r.both()
	client.send("hello")
	server.gets("hello")
	if got := server.RemoteAddr().(*net.TCPAddr).IP; !got.Equal(ip) {
		t.Fatalf("the server takes %s for the client", got)
	}
}
