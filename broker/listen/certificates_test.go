package listen

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// handClock is a clock that the test turns.
type handClock struct{ ns atomic.Int64 }

func newHandClock() *handClock {
	c := &handClock{}
	c.ns.Store(time.Now().UnixNano())
	return c
}
func (c *handClock) now() time.Time       { return time.Unix(0, c.ns.Load()) }
func (c *handClock) turn(d time.Duration) { c.ns.Add(int64(d)) }

// shake runs a handshake and returns what the client and the server saw.
func shake(t *testing.T, server, client *tls.Config) (cs, ss tls.ConnectionState, err error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a net.Pipe holds nothing, and the two would wait for each other
	must(t, err)
	defer ln.Close() //nolint:errcheck // a test
	a, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	b, err := ln.Accept()
	must(t, err)
	s := tls.Server(b, server)
	done := make(chan error, 1)
	go func() {
		defer b.Close() //nolint:errcheck // a test
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
	}()
	c := tls.Client(a, client)
	if err = c.Handshake(); err == nil {
		_, err = c.Read(make([]byte, 1)) // TLS 1.3's tickets come before it
	}
	_ = a.Close()
	if serr := <-done; err == nil {
		err = serr
	}
	return c.ConnectionState(), s.ConnectionState(), err
}

func serial(s tls.ConnectionState) string { return s.PeerCertificates[0].SerialNumber.String() }

func TestCertificateFollowsItsFiles(t *testing.T) {
	pki, clock := petreltest.NewAuthority(t), newHandClock()
	first := pki.Issue("server", "server")
	certs, err := NewCertificates(CertificateOptions{Cert: pki.Path("server.pem"), Key: pki.Path("server.key"), Now: clock.now})
	must(t, err)
	cfg := certs.Config()
	see := func(want string, when string) {
		t.Helper()
		cs, _, err := shake(t, cfg, pki.Client(""))
		must(t, err)
		if serial(cs) != want {
			t.Errorf("%s: another certificate", when)
		}
	}
	see(first.SerialNumber.String(), "at first")
	second := pki.Issue("server", "server")
	later := time.Now().Add(time.Second)
	must(t, os.Chtimes(pki.Path("server.pem"), later, later)) // whatever the file system's granularity
	clock.turn(checkEvery - 1)
	see(first.SerialNumber.String(), "before it is time to look")
	clock.turn(1)
	see(second.SerialNumber.String(), "after the change")

	must(t, os.WriteFile(pki.Path("server.pem"), []byte("half writ"), 0o600))
	clock.turn(checkEvery)
	see(second.SerialNumber.String(), "with a damaged file")
	if err := certs.Reload(); err == nil {
		t.Error("Reload of a damaged file reports nothing")
	}
	must(t, os.Remove(pki.Path("server.pem")))
	clock.turn(checkEvery)
	see(second.SerialNumber.String(), "without the file")
	third := pki.Issue("server", "server")
	must(t, certs.Reload())
	see(third.SerialNumber.String(), "after Reload")
}

func TestCertificateThatIsNone(t *testing.T) {
	pki := petreltest.NewAuthority(t)
	pki.Issue("server", "server")
	pki.Issue("other", "other")
	for _, o := range []CertificateOptions{
		{Cert: pki.Path("server.pem"), Key: pki.Path("other.key")},
		{Cert: pki.Path("none.pem"), Key: pki.Path("server.key")},
		{Cert: pki.Path("server.pem"), Key: pki.Path("server.key"), ClientCA: pki.Path("server.key"), ClientAuth: tls.RequireAndVerifyClientCert},
	} {
		if _, err := NewCertificates(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestTicketSecrets(t *testing.T) {
	file, now := filepath.Join(t.TempDir(), "tickets"), time.Now()
	tickets, err := OpenTickets(file, now)
	must(t, err)
	get := func(at time.Time, want int) [][32]byte {
		t.Helper()
		s, err := tickets.Secrets(at)
		must(t, err)
		if len(s) != want {
			t.Fatalf("%d secrets, want %d", len(s), want)
		}
		return s
	}
	day1 := get(now, 1)
	if get(now.Add(ticketAge-time.Second), 1)[0] != day1[0] {
		t.Error("turned too early")
	}
	day2 := get(now.Add(ticketAge), 2)
	if day2[0] == day1[0] || day2[1] != day1[0] {
		t.Error("the old secret must come after the new one")
	}
	get(now.Add(2*ticketAge), 3)
	day4 := get(now.Add(3*ticketAge), 3)
	if day4[2] != day2[0] {
		t.Error("the oldest must go")
	}
	st, err := os.Stat(file)
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	tickets, err = OpenTickets(file, now.Add(3*ticketAge))
	must(t, err)
	if again := get(now.Add(3*ticketAge), 3); again[0] != day4[0] || again[2] != day4[2] {
		t.Error("read back otherwise")
	}
	if set := get(now.Add(-100*ticketAge), 1); set[0] == day4[0] {
		t.Error("secrets from the future are kept")
	}
}

func TestTicketFileThatOthersCanRead(t *testing.T) {
	file, now := filepath.Join(t.TempDir(), "tickets"), time.Now()
	for name, spoil := range map[string]func() error{
		"readable": func() error { return os.Chmod(file, 0o644) },
		"damaged":  func() error { return os.WriteFile(file, []byte("123 abc\n"), 0o600) },
	} {
		tickets, err := OpenTickets(file, now)
		must(t, err)
		before, err := tickets.Secrets(now)
		must(t, err)
		must(t, spoil())
		tickets, err = OpenTickets(file, now)
		must(t, err)
		after, err := tickets.Secrets(now)
		must(t, err)
		if len(after) != 1 || after[0] == before[0] {
			t.Errorf("%s: the file is still used", name)
		}
		if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
