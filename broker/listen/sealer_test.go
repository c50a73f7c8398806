package listen

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// purse is a client's cache of one session, whose ticket the test may look at and spoil.
type purse struct {
	session *tls.ClientSessionState
	ticket  []byte
	spoil   func(ticket []byte) []byte // nil: leave it
}

func (p *purse) Get(string) (*tls.ClientSessionState, bool) {
	if p.session == nil || p.spoil == nil {
		return p.session, p.session != nil
	}
	_, state, err := p.session.ResumptionState()
	if err != nil {
		return nil, false
	}
	spoilt, err := tls.NewResumptionState(p.spoil(slices.Clone(p.ticket)), state)
	return spoilt, err == nil
}

func (p *purse) Put(_ string, s *tls.ClientSessionState) {
	if p.session = s; s != nil {
		p.ticket, _, _ = s.ResumptionState()
	}
}

// house is a server that the test stops and starts, and a client that comes back.
type house struct {
	*petreltest.Authority
	t     *testing.T
	clock *handClock
	file  string
	purse *purse
	*tls.Config
}

func newHouse(t *testing.T, version uint16) *house {
	h := &house{Authority: petreltest.NewAuthority(t), t: t, clock: newHandClock(), file: filepath.Join(t.TempDir(), "tickets"), purse: &purse{}}
	h.clock.turn(-time.Duration(h.clock.now().Nanosecond())) // sessions are dated in whole seconds
	h.Issue("server", "server")
	h.Issue("ann", "ann")
	h.Config = h.Client("ann")
	h.Config.MaxVersion, h.Config.ClientSessionCache, h.Config.Time = version, h.purse, h.clock.now
	return h
}

// start is a server that knows what the file of tickets holds.
func (h *house) start(auth tls.ClientAuthType) *Certificates {
	h.t.Helper()
	tickets, err := OpenTickets(h.file, h.clock.now())
	must(h.t, err)
	o := CertificateOptions{Cert: h.Path("server.pem"), Key: h.Path("server.key"), ClientAuth: auth, Tickets: tickets, Now: h.clock.now}
	if auth != tls.NoClientCert {
		o.ClientCA = h.Path("ca.pem")
	}
	certs, err := NewCertificates(o)
	must(h.t, err)
	return certs
}

// visit shakes hands and says whether the session was to be resumed. Whatever else, the client is ann
// wherever certificates are verified.
func (h *house) visit(certs *Certificates, resumes bool, when string) {
	h.t.Helper()
	cs, ss, err := shake(h.t, certs.Config(), h.Config)
	if err != nil {
		h.t.Fatalf("%s: %v", when, err)
	}
	if cs.DidResume != resumes || ss.DidResume != resumes {
		h.t.Errorf("%s: resumed %v", when, cs.DidResume)
	}
	want := "ann"
	if certs.o.ClientAuth == tls.NoClientCert {
		want = ""
	}
	if got := verifiedCN(ss); got != want {
		h.t.Errorf("%s: the session is of %q", when, got)
	}
}

// versions runs a test with both versions of TLS.
func versions(t *testing.T, test func(t *testing.T, version uint16)) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) { test(t, v) })
	}
}

func TestTicketsResume(t *testing.T) {
	versions(t, func(t *testing.T, version uint16) {
		for _, auth := range []tls.ClientAuthType{tls.NoClientCert, tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert} {
			h := newHouse(t, version)
			first := h.start(auth)
			h.visit(first, false, "at first")
			h.visit(first, true, "again")
			h.visit(h.start(auth), true, "after a restart")
			h.clock.turn(25 * time.Hour)
			h.visit(first, true, "with yesterday's secret")
			h.clock.turn(49 * time.Hour)
			h.visit(h.start(auth), true, "with the last secret but one, after a restart")
			h.clock.turn(73 * time.Hour)
			h.visit(first, false, "when the secrets are too old")
			h.visit(first, true, "after that")
		}
	})
}

func TestTicketsOfAnotherListener(t *testing.T) {
	modes := []tls.ClientAuthType{tls.NoClientCert, tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert}
	versions(t, func(t *testing.T, version uint16) {
		h := newHouse(t, version)
		for _, from := range modes {
			for _, to := range modes {
				h.purse.Put("", nil)
				h.visit(h.start(from), false, "at first")
				h.visit(h.start(to), from == to, from.String()+" to "+to.String())
			}
		}
	})
}

func TestTicketsOfAnotherAuthority(t *testing.T) {
	versions(t, func(t *testing.T, version uint16) {
		h := newHouse(t, version)
		certs := h.start(tls.RequireAndVerifyClientCert)
		h.visit(certs, false, "at first")
		ours, err := os.ReadFile(h.Path("ca.pem"))
		must(t, err)
		theirs, err := os.ReadFile(petreltest.NewAuthority(t).Path("ca.pem"))
		must(t, err)
		must(t, os.WriteFile(h.Path("ca.pem"), append(ours, theirs...), 0o600))
		must(t, certs.Reload())
		h.visit(certs, false, "when the authorities have changed")
		h.visit(certs, true, "again")
	})
}

func TestTicketThatIsSpoilt(t *testing.T) {
	versions(t, func(t *testing.T, version uint16) {
		h := newHouse(t, version)
		certs := h.start(tls.RequireAndVerifyClientCert)
		h.visit(certs, false, "at first")
		for name, spoil := range map[string]func([]byte) []byte{
			"first bit":     func(b []byte) []byte { b[0] ^= 0x80; return b },
			"last bit":      func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
			"a byte short":  func(b []byte) []byte { return b[:len(b)-1] },
			"a byte more":   func(b []byte) []byte { return append(b, 0) },
			"one byte":      func(b []byte) []byte { return b[:1] },
			"nothing known": func([]byte) []byte { return bytes.Repeat([]byte{7}, 4000) },
		} {
			h.purse.spoil = spoil
			h.visit(certs, false, name)
			h.purse.spoil = nil
			h.visit(certs, true, "after "+name)
		}
	})
}

// TLS 1.2 puts the same secret in the next ticket, and keeps the age of the first.
func TestTicketsEndAfterAWeek(t *testing.T) {
	h := newHouse(t, tls.VersionTLS12)
	certs := h.start(tls.NoClientCert)
	h.visit(certs, false, "at first")
	seen := map[string]bool{string(h.purse.ticket): true}
	for i := range 14 { // twice a day: the second ticket has the secret of the first
		h.clock.turn(24 * time.Hour * time.Duration(1-i%2))
		h.visit(certs, true, "within the week")
		if seen[string(h.purse.ticket)] {
			t.Error("the same ticket twice: an observer can tell that it is the same client")
		}
		seen[string(h.purse.ticket)] = true
	}
	h.clock.turn(time.Second)
	h.visit(certs, false, "after a week")
}

// Even with a secret that is still known, a ticket of TLS 1.3 is good for a week, whatever the client's clock.
func TestTicketAgeIsTheServers(t *testing.T) {
	h := newHouse(t, tls.VersionTLS13)
	h.Config.Time = time.Now
	s, err := newSealer("test", [][32]byte{{1}})
	must(t, err)
	pair, err := tls.LoadX509KeyPair(h.Path("server.pem"), h.Path("server.key"))
	must(t, err)
	server := &tls.Config{Certificates: []tls.Certificate{pair}, Time: h.clock.now, WrapSession: s.wrap, UnwrapSession: s.unwrap}
	for _, step := range []struct {
		wait    time.Duration
		resumes bool
	}{{0, false}, {7 * 24 * time.Hour, true}, {7*24*time.Hour + time.Second, false}} {
		h.clock.turn(step.wait)
		cs, _, err := shake(t, server, h.Config)
		must(t, err)
		if cs.DidResume != step.resumes {
			t.Errorf("after %v: resumed %v", step.wait, cs.DidResume)
		}
	}
}

func TestTicketSize(t *testing.T) {
	for version, most := range map[uint16]int{tls.VersionTLS13: 53, tls.VersionTLS12: 110} {
		h := newHouse(t, version)
		certs := h.start(tls.NoClientCert)
		for range 2 {
			_, _, err := shake(t, certs.Config(), h.Config)
			must(t, err)
			// The suites with SHA-384 have a secret of 48 bytes; Go chooses AES-128 or ChaCha20 over them.
			if n := len(h.purse.ticket); n == 0 || n > most {
				t.Errorf("%s: a ticket of %d bytes", tls.VersionName(version), n)
			}
		}
	}
}

// encodedSession is what tls.SessionState.Bytes makes of a server's session of TLS 1.3.
func encodedSession(suite uint16, created uint64, secret []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{3, 4, 1}, suite)
	b = append(binary.BigEndian.AppendUint64(b, created), byte(len(secret)))
	return append(append(b, secret...), make([]byte, 11)...)
}

func TestSealerKeepsSessions(t *testing.T) {
	s, err := newSealer("test", [][32]byte{{1}})
	must(t, err)
	secret := bytes.Repeat([]byte{5}, 48)
	usual := encodedSession(tls.TLS_AES_256_GCM_SHA384, 1_800_000_000, secret)
	with := func(at int, b byte) []byte { c := slices.Clone(usual); c[at] = b; return c }
	for name, c := range map[string]struct {
		whole []byte
		size  int
	}{
		"usual":              {usual, 16 + 5 + 48},
		"short secret":       {encodedSession(tls.TLS_CHACHA20_POLY1305_SHA256, 1, secret[:32]), 16 + 5 + 32},
		"after 2106":         {encodedSession(tls.TLS_AES_128_GCM_SHA256, 1<<32, secret), 16 + 17 + len(usual)},
		"another suite":      {encodedSession(0xC02F, 1, secret), 16 + 17 + len(usual)},
		"suite 0x1300":       {encodedSession(0x1300, 1, secret), 16 + 17 + len(usual)},
		"extended secret":    {with(len(usual)-8, 1), 16 + 17 + len(usual)},
		"TLS 1.2":            {append(with(1, 3), 0, 29), 16 + 17 + len(usual) + 2},
		"with an extra byte": {slices.Concat(usual[:len(usual)-11], []byte{0, 0, 4, 0, 0, 1, 9}, usual[len(usual)-8:]), 16 + 17 + len(usual) + 4},
	} {
		session, err := tls.ParseSessionState(c.whole)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ticket, err := s.wrap(tls.ConnectionState{}, session)
		must(t, err)
		if len(ticket) != c.size {
			t.Errorf("%s: a ticket of %d bytes, want %d", name, len(ticket), c.size)
		}
		back, err := s.unwrap(ticket, tls.ConnectionState{})
		if err != nil || back == nil {
			t.Fatalf("%s: %v, %v", name, back, err)
		}
		if got, err := back.Bytes(); err != nil || !bytes.Equal(got, c.whole) {
			t.Errorf("%s: became %x, %v", name, got, err)
		}
		for i := range ticket {
			for bit := range 8 {
				spoilt := slices.Clone(ticket)
				spoilt[i] ^= 1 << bit
				if got, err := s.unwrap(spoilt, tls.ConnectionState{}); got != nil || err != nil {
					t.Fatalf("%s: byte %d spoilt: %v, %v", name, i, got, err)
				}
			}
			if got, err := s.unwrap(ticket[:i], tls.ConnectionState{}); got != nil || err != nil {
				t.Fatalf("%s: %d bytes: %v, %v", name, i, got, err)
			}
		}
	}
}

// A ticket is opened by its domain and its secret only, whichever place that has.
func TestSealerKeys(t *testing.T) {
	session, err := tls.ParseSessionState(encodedSession(tls.TLS_AES_128_GCM_SHA256, 1, make([]byte, 32)))
	must(t, err)
	a, err := newSealer("a", [][32]byte{{1}})
	must(t, err)
	ticket, err := a.wrap(tls.ConnectionState{}, session)
	must(t, err)
	opens := func(domain string, want bool, secrets ...[32]byte) {
		t.Helper()
		s, err := newSealer(domain, secrets)
		must(t, err)
		got, err := s.unwrap(ticket, tls.ConnectionState{})
		must(t, err)
		if got != nil != want {
			t.Errorf("%s with %d secrets opens: %v", domain, len(secrets), got != nil)
		}
	}
	opens("a", true, [32]byte{1})
	opens("a", true, [32]byte{3}, [32]byte{2}, [32]byte{1})
	opens("a", false, [32]byte{3}, [32]byte{2})
	opens("b", false, [32]byte{1})
	must(t, a.turn([][32]byte{{2}, {1}}))
	next, err := a.wrap(tls.ConnectionState{}, session)
	must(t, err)
	if ticket = next; bytes.Contains(next, make([]byte, 8)) {
		t.Error("the secret shows")
	}
	opens("a", true, [32]byte{2})
	opens("a", false, [32]byte{1})
}

func FuzzUnwrap(f *testing.F) {
	s, err := newSealer("test", [][32]byte{{2}, {1}})
	must(f, err)
	usual := encodedSession(tls.TLS_AES_128_GCM_SHA256, 1_800_000_000, make([]byte, 32))
	session, err := tls.ParseSessionState(usual)
	must(f, err)
	ticket, err := s.wrap(tls.ConnectionState{}, session)
	must(f, err)
	f.Add(ticket, false)
	f.Add(append([]byte{1}, make([]byte, 36)...), true)
	f.Add(append(make([]byte, 1+sealSalt), usual...), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if !sealed { // from the wire
			got, err := s.unwrap(data, tls.ConnectionState{})
			if err != nil || got != nil != bytes.Equal(data, ticket) {
				t.Fatalf("%x: %v, %v", data, got, err)
			}
			if state, ok := packState(data); ok {
				if again, ok := unpackState(state); !ok || !bytes.Equal(again, data) {
					t.Fatalf("%x became %x", data, again)
				}
			}
			return
		}
		k := (*s.keys.Load())[1] // a state that another release of the server has sealed
		if len(data) > 0 {
			if state, ok := k.open(k.seal(data)); !ok || !bytes.Equal(state, data) {
				t.Fatalf("%x became %x", data, state)
			}
		}
		got, err := s.unwrap(k.seal(data), tls.ConnectionState{})
		if err != nil {
			t.Fatal(err)
		}
		if got == nil {
			return
		}
		if _, err := s.wrap(tls.ConnectionState{}, got); err != nil {
			t.Fatal(err)
		}
	})
}
