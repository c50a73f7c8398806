package link_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/client/internal/link"
	"github.com/petrelchat/petrel/internal/petreltest"
)

// TestBackoff: full jitter below a bound that doubles up to two minutes, begun anew after a connection that held.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		s.refuse(errors.New("no way"))
		ana := s.open() // whose dice always show half
		begun := time.Now()
		for i, want := range []float64{.25, .5, 1, 2, 4, 8, 16, 32, 60, 60} {
			ana.next("connecting")
			down := ana.next("down")
			if got := down.retry.Sub(begun); got != time.Duration(want*float64(time.Second)) {
				t.Fatalf("wait %d is %v", i, got)
			}
			if !strings.Contains(down.err.Error(), "no way") {
				t.Fatal(down.err)
			}
			begun = down.retry
		}
		s.admit()
		c := s.up()
		ana.next("up")
		time.Sleep(29 * time.Second)
		_ = c.Close()
		if down := ana.next("down"); time.Until(down.retry) != time.Minute {
			t.Fatalf("a short connection: %v", time.Until(down.retry))
		}
		c = s.up()
		ana.next("up")
		time.Sleep(30 * time.Second)
		_ = c.Close()
		if down := ana.next("down"); time.Until(down.retry) != 250*time.Millisecond {
			t.Fatalf("a connection that held: %v", time.Until(down.retry))
		}
		s.up()
	})
}

// TestPoke: a change of the network ends a wait at once, but not again and again; it begins an attempt anew that gets
// nowhere, and probes a connection.
func TestPoke(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.weary()
		begun := time.Now()
		ana.Poke()
		ana.next("connecting")
		if took := time.Since(begun); took != 0 {
			t.Fatalf("it took %v", took)
		}
		ana.next("down")
		ana.Poke()
		ana.Poke()
		s.admit()
		ana.next("connecting")
		if took := time.Since(begun); took != 2*time.Second {
			t.Fatalf("the second after %v", took)
		}
		s.expect() // and never answers
		synctest.Wait()
		ana.Poke()
		ana.Poke()
		begun = time.Now()
		ana.next("down")
		c := s.up()
		if took := time.Since(begun); took != 2*time.Second {
			t.Fatalf("begun anew after %v", took)
		}
		ana.next("up")
		ana.Poke()
		c.read(packets.PINGREQ)
		c.pong()
		synctest.Wait()
		ana.Poke()
		c.read(packets.PINGREQ)
		begun = time.Now()
		ana.next("down")
		if took := time.Since(begun); took != 3*time.Second {
			t.Fatalf("noticed after %v", took)
		}
		s.up()
	})
}

// TestMoved: a connection that ends with the network that it was in is made again at once, however often that happened; one from an address that
// is gone is not waited for.
func TestMoved(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		var here atomic.Pointer[net.IPNet]
		move := func(ip string) {
			here.Store(&net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(24, 32)})
			s.local.Store(&net.TCPAddr{IP: net.ParseIP(ip), Port: 4711})
		}
		move("192.0.2.1")
		ana := s.open(func(o *link.Options) {
			o.Addresses = func() ([]net.Addr, error) { return []net.Addr{here.Load()}, nil }
		})
		c := s.up()
		ana.next("up")
		for i := range 10 { // each connection is a short one
			time.Sleep(5 * time.Second)
			begun := time.Now()
			if i%2 == 0 {
				ana.Poke()
				c.read(packets.PINGREQ)
				_ = c.Close()
			} else {
				move(fmt.Sprint("192.0.2.", 2+i))
				ana.Poke()
			}
			ana.next("down")
			c = s.up()
			ana.next("up")
			if took := time.Since(begun); took != 0 {
				t.Fatalf("change %d took %v", i, took)
			}
		}
		time.Sleep(6 * time.Second)
		_ = c.Close()
		if down := ana.next("down"); !down.retry.After(time.Now()) {
			t.Fatal("a connection that ended long after a change is made again at once")
		}
		c = s.up()
		ana.next("up")
		ana.Poke()
		c.read(packets.PINGREQ)
		c.write(&packets.Disconnect{ReasonCode: 0x8E, Properties: &packets.Properties{}})
		if down := ana.next("down"); time.Until(down.retry) < 15*time.Second {
			t.Fatalf("a device whose place was taken comes back after %v", time.Until(down.retry))
		}
		dials := s.dials.Load()
		ana.Hurry()
		time.Sleep(10 * time.Second)
		if s.dials.Load() != dials {
			t.Fatal("a device whose place was taken hurries back")
		}
		c.closed()
		s.up()
	})
}

// TestHurry: who needs the connection now does not wait long, nor disturbs an attempt that is slow.
func TestHurry(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.weary()
		begun := time.Now()
		for i := range 3 {
			ana.Hurry()
			ana.Hurry()
			ana.next("connecting")
			if took := time.Since(begun); took != time.Duration(i)*2*time.Second {
				t.Fatalf("attempt %d after %v", i, took)
			}
			ana.next("down")
		}
		s.admit()
		ana.Hurry()
		ana.next("connecting")
		begun = time.Now()
		c := s.expect()
		time.Sleep(10 * time.Second)
		ana.Hurry()
		synctest.Wait()
		time.Sleep(9 * time.Second)
		c.write(&packets.Connack{Properties: &packets.Properties{}})
		ana.next("up")
		if took := time.Since(begun); took != 19*time.Second {
			t.Fatalf("it took %v", took)
		}
		ana.Hurry()
	})
}

// TestNoAnswerToConnect: an attempt ends by itself.
func TestNoAnswerToConnect(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		begun := time.Now()
		c := s.expect()
		down := ana.next("down")
		if took := time.Since(begun); took != 20*time.Second || !strings.Contains(down.err.Error(), "did not answer") {
			t.Fatalf("%v after %v", down.err, took)
		}
		c.closed()
		s.up()
		ana.next("up")
	})
}

// TestRefusals: what the server says to CONNECT, what it means for the next attempt, and what to do.
func TestRefusals(t *testing.T) {
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"ana","exp":946684800}`)) // when synctest begins
	for _, c := range []struct {
		code      byte
		reason    string
		password  string
		permanent bool
		advice    string
	}{
		{0x86, "not-authorized: The user name or the password is wrong.", "s3cret", true, "check the user name and the password"},
		{0x87, "", "", true, "check the user name"},
		{0x86, "", "e30." + claims + ".c2ln", true, "the token has expired"},
		{0x8A, "", "", true, "banned"},
		{0x85, "", "", true, "another"},
		{0x84, "", "", true, "MQTT 5"},
		{0x83, "bad-request: catchup", "", true, "versions"},
		{0x9D, "", "", true, "elsewhere"},
		{0x97, "", "", false, "as many devices"},
		{0x9F, "rate-limited: Too many wrong passwords. Try again in 30 s.", "", false, "too many"},
		{0x89, "", "", false, "no room"},
		{0x88, "unavailable: disk full", "", false, "no room"},
		{0x80, "", "", false, "a fault"},
		{0x86, "evil\x1b[2Jtext\x07", "", true, "check"},
	} {
		bubble(t, func(t *testing.T, s *script) {
			var password atomic.Value
			password.Store(c.password)
			ana := s.open(func(o *link.Options) {
				o.Credentials = func(context.Context) (string, error) { return password.Load().(string), nil }
			})
			conn := s.expect()
			if string(conn.connect.Password) != c.password || conn.connect.PasswordFlag != (c.password != "") {
				t.Fatalf("password %q", conn.connect.Password)
			}
			conn.write(&packets.Connack{ReasonCode: c.code, Properties: &packets.Properties{ReasonString: c.reason}})
			down := ana.next("down")
			var r *link.Refused
			if !errors.As(down.err, &r) || r.Code != c.code || r.Permanent != c.permanent || !strings.Contains(r.Advice, c.advice) {
				t.Fatalf("0x%02X: %#v", c.code, down.err)
			}
			if strings.ContainsAny(down.err.Error(), "\x1b\x07") || c.password != "" && strings.Contains(down.err.Error(), c.password) {
				t.Fatalf("%q", down.err)
			}
			if down.retry.IsZero() != c.permanent {
				t.Fatalf("0x%02X: next attempt %v", c.code, down.retry)
			}
			if c.permanent {
				time.Sleep(24 * time.Hour)
				if s.dials.Load() != 1 {
					t.Fatalf("0x%02X: %d attempts", c.code, s.dials.Load())
				}
				password.Store("right")
				ana.Renew()
			}
			if conn = s.up(); string(conn.connect.Password) != password.Load() {
				t.Fatalf("password %q", conn.connect.Password)
			}
			ana.next("up")
		})
	}
}

// TestNoCredentials: they are asked for again.
func TestNoCredentials(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		nobody := errors.New("the key ring is locked")
		var locked atomic.Bool
		locked.Store(true)
		ana := s.open(func(o *link.Options) {
			o.Credentials = func(context.Context) (string, error) {
				if locked.Load() {
					return "", nobody
				}
				return "secret", nil
			}
		})
		down := ana.next("down")
		var r *link.Refused
		if !errors.As(down.err, &r) || !errors.Is(down.err, nobody) || r.Permanent || down.retry.IsZero() || s.dials.Load() > 0 {
			t.Fatalf("%#v", down)
		}
		locked.Store(false)
		s.up()
		ana.next("up")
	})
}

// never is a wait without end.
const never = time.Duration(-1)

// TestDisconnects: what the server says when it ends a connection.
func TestDisconnects(t *testing.T) {
	bubble(t, func(t *testing.T, s *script) {
		ana := s.open()
		for _, c := range []struct {
			code   byte
			advice string
			least  time.Duration
		}{
			{0x8E, "another program", 15 * time.Second}, {0xA0, "token has expired", 0}, {0x8B, "going down", 0}, {0x80, "", 0}, {0x98, "log in again", never},
		} {
			conn := s.up()
			ana.next("up")
			conn.write(&packets.Disconnect{ReasonCode: c.code, Properties: &packets.Properties{}})
			down := ana.next("down")
			var r *link.Refused
			if !errors.As(down.err, &r) || r.Code != c.code || !strings.Contains(r.Advice, c.advice) || down.retry.IsZero() != (c.least == never) {
				t.Fatalf("0x%02X: %#v", c.code, down.err)
			}
			if c.least == never {
				ana.Poke() // changes nothing
				time.Sleep(24 * time.Hour)
				if len(s.accept) > 0 {
					t.Fatal("it came back by itself")
				}
				ana.Renew()
			} else if wait := time.Until(down.retry); wait < c.least {
				t.Fatalf("0x%02X: wait of %v", c.code, wait)
			}
			conn.closed()
		}
		s.up()
	})
}

// TestRealRefusals asks a real server.
func TestRealRefusals(t *testing.T) {
	s := serve(t, func(c *config.Config) { c.Dev = false })
	ana := open(t, s.at("mqtt", "mqtt"), "ana", func(o *link.Options) {
		o.Credentials = func(context.Context) (string, error) { return "wrong", nil }
	})
	down := ana.next("down")
	var r *link.Refused
	if !errors.As(down.err, &r) || !r.Permanent || r.Code != 0x86 || !down.retry.IsZero() {
		t.Fatalf("%#v", down.err)
	}
	t.Log(down.err)
}

// TestUnreachable: what keeps an attempt from reaching the server is explained.
func TestUnreachable(t *testing.T) {
	ca := petreltest.NewAuthority(t)
	secret := withTLS(ca)
	s := serve(t, func(c *config.Config) { c.MQTT[0].TLS = secret })
	plain := serve(t)
	gone, at := plain.between()
	gone.Close()
	for _, c := range []struct {
		at, advice string
	}{
		{at.String(), "is the server running"},
		{s.at("mqtts", "mqtt").String(), "not trusted"},
		{s.at("mqtt", "mqtt").String(), "it may want TLS"},
		{plain.at("mqtts", "mqtt").String(), "does not speak TLS"},
		{plain.at("wss", "http").String(), "does not speak TLS"},
		{plain.at("ws", "http").String() + "/nowhere", "/mqtt"},
		{"unix:///nowhere/there.sock", "no such socket"},
	} {
		d := open(t, parse(t, c.at), "ana")
		down := d.next("down")
		var u *link.Unreachable
		if !errors.As(down.err, &u) || !strings.Contains(u.Advice, c.advice) {
			t.Errorf("%s: %v", c.at, down.err)
		}
		if down.retry.IsZero() {
			t.Errorf("%s: not tried again", c.at)
		}
	}
}

// TestOptions: everything that is wrong is named.
func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o     link.Options
		wants []string
	}{
		{link.Options{}, []string{"no server", "no client id"}},
		{link.Options{Server: parse(t, "http://x"), ClientID: "a"}, []string{`"http"`}},
		{link.Options{Server: parse(t, "mqtt://ana:secret@x"), ClientID: "a"}, []string{"user or password"}},
		{link.Options{Server: parse(t, "mqtt:///x"), ClientID: "a"}, []string{"no host"}},
		{link.Options{Server: parse(t, "unix://relative/path"), ClientID: "a"}, []string{"unix:///"}},
		{link.Options{Server: parse(t, "mqtt://x"), ClientID: "\xff", SessionExpiry: -1, MaxPacket: 3,
			Properties: []link.Property{{Key: "\xff"}}, KeepAlive: link.KeepAlive{Least: time.Hour, First: time.Minute}},
			[]string{"client id", "expiry", "3 bytes", "property", "keep-alive"}},
	} {
		_, err := link.New(c.o, nil)
		for _, want := range c.wants {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%+v: %v, want %q in it", c.o, err, want)
			}
		}
	}
}

// TestClose: taking leave in all situations.
func TestClose(t *testing.T) {
	t.Run("while waiting", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			s.refuse(errors.New("no way"))
			ana := s.open()
			for range 10 {
				ana.next("down")
			}
			begun := time.Now()
			ana.close()
			if took := time.Since(begun); took != 0 {
				t.Fatalf("it took %v", took)
			}
			if down := ana.next("down"); !errors.Is(down.err, link.ErrClosed) {
				t.Fatal(down.err)
			}
		})
	})
	t.Run("while connecting", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			ana := s.open()
			c := s.expect()
			begun := time.Now()
			ana.close()
			if took := time.Since(begun); took != 0 {
				t.Fatalf("it took %v", took)
			}
			c.closed()
			if down := ana.next("down"); !errors.Is(down.err, link.ErrClosed) {
				t.Fatal(down.err)
			}
		})
	})
	t.Run("connected", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			ana := s.open()
			c := s.up()
			ana.next("up")
			for i := range 100 {
				_ = ana.Publish(link.Publish{Topic: "t", Payload: fmt.Append(nil, i)}, nil)
			}
			var closing sync.WaitGroup
			closing.Go(ana.close)
			for range 100 {
				c.publish()
			}
			c.leave()
			closing.Wait()
			if err := ana.Publish(link.Publish{Topic: "t"}, nil); !errors.Is(err, link.ErrClosed) {
				t.Fatal(err)
			}
		})
	})
	t.Run("nobody there", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			ana := s.open()
			s.up()
			ana.next("up")
			begun := time.Now()
			ana.close()
			if took := time.Since(begun); took != 2*time.Second {
				t.Fatalf("it took %v", took)
			}
		})
	})
	t.Run("never run", func(t *testing.T) {
		l, err := link.New(link.Options{Server: parse(t, "mqtt://x"), ClientID: "a"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Run(t.Context()); !errors.Is(err, link.ErrClosed) {
			t.Fatal(err)
		}
	})
	t.Run("context of Run", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *script) {
			ana := s.open()
			c := s.up()
			ana.next("up")
			ana.cancel()
			c.leave()
			if down := ana.next("down"); !errors.Is(down.err, link.ErrClosed) {
				t.Fatal(down.err)
			}
		})
	})
}
