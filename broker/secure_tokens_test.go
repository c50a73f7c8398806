package broker_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

const hmacSecret = "0123456789abcdef0123456789abcdef"

// issuer signs JWTs that the server's configuration accepts.
type issuer struct {
	t   *testing.T
	dir string
	ed  ed25519.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, dir: t.TempDir(), ed: private}
	i.file("hs", []byte(hmacSecret))
	i.file("ed", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return i
}

func (i *issuer) file(name string, b []byte) {
	i.t.Helper()
	if err := os.WriteFile(filepath.Join(i.dir, name), b, 0o600); err != nil {
		i.t.Fatal(err)
	}
}

func (i *issuer) configure(c *config.Config) {
	c.Auth.JWT.Keys = []config.JWTKey{
		{File: filepath.Join(i.dir, "hs"), Alg: "HS256"}, {File: filepath.Join(i.dir, "ed"), Alg: "EdDSA"},
	}
	c.Auth.JWT.Issuer, c.Auth.JWT.Leeway, c.Auth.JWT.Admin = "us", 0, true
}

func (i *issuer) sign(m jwt.SigningMethod, key any, c jwt.MapClaims) opt {
	i.t.Helper()
	s, err := jwt.NewWithClaims(m, c).SignedString(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return password(s)
}

func (i *issuer) hs(c jwt.MapClaims) opt {
	return i.sign(jwt.SigningMethodHS256, []byte(hmacSecret), c)
}
func (i *issuer) edd(c jwt.MapClaims) opt { return i.sign(jwt.SigningMethodEdDSA, i.ed, c) }

func claims(sub string, lasts time.Duration, more ...any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": sub, "iss": "us", "exp": time.Now().Add(lasts).Unix()}
	for i := 0; i < len(more); i += 2 {
		if k := more[i].(string); more[i+1] == nil {
			delete(c, k)
		} else {
			c[k] = more[i+1]
		}
	}
	return c
}

func TestJWT(t *testing.T) {
	by := newIssuer(t)
	s := serve(t, accounts, by.configure, func(c *config.Config) { c.Auth.Throttle.Failures = 100 })
	hour := time.Hour
	s.dial("ana", v5, by.hs(claims("ana", hour))).quiet() // the account comes into being
	bob := s.dial("bob", by.edd(claims("bob", hour)))
	bob.send("bob/x", "plain")
	if got := bob.ask("admin.user.list", `{"tag":"1"}`); refusalCode(got) != "not-authorized" {
		t.Error(got)
	}
	root := s.dial("root", by.edd(claims("root", hour, "admin", true)))
	if got := root.ask("admin.user.list", `{"tag":"1"}`); got["ok"] == nil {
		t.Error(got)
	}
	s.dial("", v5, device("phone"), by.hs(claims("ana", hour)), func(o *mqttc.ConnectOptions) { o.Username = "ana" }).quiet()
	for name, credential := range map[string]opt{
		"another's":                by.hs(claims("bob", hour)),
		"expired":                  by.hs(claims("ana", -time.Second)),
		"of another issuer":        by.hs(claims("ana", hour, "iss", "them")),
		"without expiry":           by.hs(claims("ana", hour, "exp", nil)),
		"unsigned":                 by.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims("ana", hour)),
		"with another secret":      by.sign(jwt.SigningMethodHS256, []byte(strings.ToUpper(hmacSecret)), claims("ana", hour)),
		"with the public key, RFC": by.sign(jwt.SigningMethodHS256, []byte(by.ed.Public().(ed25519.PublicKey)), claims("ana", hour)),
	} {
		t.Run(name, func(t *testing.T) { s.turnedAway(4, 0x86, "ana", credential) })
	}
	s.control("admin.user.update", map[string]any{"user": "ana", "disabled": true}, nil)
	s.turnedAway(4, 0x86, "ana", by.hs(claims("ana", hour)))
}

// The connection lasts as long as its credential.
func TestExpiryEndsConnections(t *testing.T) {
	by := newIssuer(t)
	s := serve(t, accounts, by.configure)
	s.addUsers("bob")
	const soon = 2 * time.Second
	ana := s.dial("ana", v5, by.hs(claims("ana", soon)))
	old := s.dial("ana", v3, device("old"), by.edd(claims("ana", soon)))
	sensor := s.dial("bob", v5, password(s.addToken("bob", map[string]any{"write": true, "expires": 1})))
	ana.quiet()
	ana.closedWith(0xA0)
	old.closedWith(0xA0)
	sensor.closedWith(0xA0)
}

// A renewed key file is taken over with a reload, and what the old one signed is refused.
func TestKeysReload(t *testing.T) {
	by := newIssuer(t)
	s := serve(t, accounts, by.configure)
	old := by.hs(claims("ana", time.Hour))
	ana := s.dial("ana", v5, old)
	by.file("hs", []byte(strings.Repeat("new-secret-", 4)))
	if _, _, err := s.Reload(s.Config); err != nil {
		t.Fatal(err)
	}
	s.turnedAway(4, 0x86, "ana", old)
	s.dial("ana", device("new"), by.sign(jwt.SigningMethodHS256, []byte(strings.Repeat("new-secret-", 4)), claims("ana", time.Hour)))
	ana.quiet() // it was let in; its token still holds for what it was for
}

func TestTokenRevocation(t *testing.T) {
	s := serve(t, accounts)
	s.addUsers("ana")
	var made struct{ ID, Token string }
	s.control("admin.token.add", map[string]any{"user": "ana", "name": "greenhouse", "read": true}, &made)
	sensor, phone := s.dial("ana", v5, device("sensor"), keep, password(made.Token)), s.signIn("ana", device("phone"))
	again := s.dial("ana", v3, device("sensor 2"), password(made.Token))
	s.control("admin.token.revoke", map[string]any{"id": made.ID}, nil)
	sensor.closedWith(0x98)
	again.closedWith(0x98)
	s.turnedAway(4, 0x86, "ana", device("sensor"), password(made.Token))
	phone.quiet()
}

// What a token may not do is not to be had by other ways either (PROTOCOL: delivery 12).
func TestTokenLimits(t *testing.T) {
	s := serve(t, accounts)
	s.addUsers("ana", "bob")
	s.group("ana", "sensors", "bob")
	s.group("ana", "mine", "bob")
	rw := s.addToken("bob", map[string]any{"convs": []string{"sensors"}, "read": true, "write": true})
	sensor := s.dial("bob", v5, device("sensor"), password(rw))
	t.Run("plain topics", func(t *testing.T) {
		code(t, sensor.subscribe("bob/#", "public/#", "$SYS/#", "u/bob/errors"), 0x87, 0x87, 0x87, 1)
		sensor.refused(0x87, "bob/x", "x")
		reader := s.dial("bob", v5, device("reader"), password(s.addToken("bob", map[string]any{"read": true})))
		code(t, reader.subscribe("bob/#", "u/bob/events"), 1, 0x87)
		reader.refused(0x87, "bob/x", "x")
		writer := s.dial("bob", v5, device("writer"), password(s.addToken("bob", map[string]any{"write": true})))
		code(t, writer.subscribe("bob/#", "c/sensors/text/+"), 0x87, 0x87)
		writer.send("bob/x", "x")
		reader.expect([2]string{"bob/x", "x"})
	})
	t.Run("wills", func(t *testing.T) {
		for _, topic := range []string{"c/mine/text", "u/ana/text", "u/bob/status", "bob/x"} {
			s.turnedAway(5, 0x87, "bob", device("willed"), password(rw), will(topic, "{}"))
		}
		s.dial("bob", v5, device("willed"), password(rw), will("c/sensors/text", "gone")).vanish()
	})
	t.Run("another device's session", func(t *testing.T) {
		for _, filter := range []string{"u/bob/events", "bob/#", "c/mine/json", "u/ana/presence"} {
			phone := s.signIn("bob", v5, keep, clean, device("phone"), func(o *mqttc.ConnectOptions) { o.SessionExpiry = 3600 })
			code(t, phone.subscribe(filter), 1)
			phone.leave()
			reason := s.turnedAway(5, 0x87, "bob", device("phone"), keep, password(rw))
			if !strings.Contains(reason, "client id") {
				t.Errorf("%s: reason %q", filter, reason)
			}
			if back := s.signIn("bob", v5, keep, device("phone")); !back.ack.SessionPresent {
				t.Errorf("%s: the phone's session is gone", filter)
			}
		}
		sensor.leave()
		own := s.dial("bob", v5, keep, device("sensor"), password(rw))
		code(t, own.subscribe("c/+/text/+"), 1)
		own.leave()
		if back := s.dial("bob", v5, keep, device("sensor"), password(rw)); !back.ack.SessionPresent {
			t.Error("a device with a token cannot resume its own session")
		}
	})
}
