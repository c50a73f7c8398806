package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

const hmacSecret = "0123456789abcdef0123456789abcdef"

// signers is one key of each kind, and the options that know them.
type signers struct {
	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	ed      ed25519.PrivateKey
	dir     string
	options JWTOptions
}

var makeRSA = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newSigners(t *testing.T) *signers {
	t.Helper()
	k := &signers{dir: t.TempDir()}
	var err error
	k.rsa, err = makeRSA()
	must(t, err)
	k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(t, err)
	k.options.Keys = []JWTKey{
		{Algorithm: "HS256", File: k.file(t, "hs", []byte(hmacSecret+"\n"))},
		{Algorithm: "RS256", File: k.file(t, "rs", publicPEM(t, &k.rsa.PublicKey))},
		{Algorithm: "ES256", File: k.file(t, "es", publicPEM(t, &k.ec.PublicKey))},
		{Algorithm: "EdDSA", File: k.file(t, "ed", publicPEM(t, k.ed.Public()))},
	}
	return k
}

func (k *signers) file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(k.dir, name)
	must(t, os.WriteFile(path, data, 0o600))
	return path
}

func publicPEM(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (h *house) claims(sub string) jwt.MapClaims {
	return jwt.MapClaims{"sub": sub, "exp": h.clock.Now().Add(time.Hour).Unix()}
}

func sign(t *testing.T, m jwt.SigningMethod, key any, c jwt.MapClaims, header ...string) string {
	t.Helper()
	token := jwt.NewWithClaims(m, c)
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i]] = header[i+1]
	}
	text, err := token.SignedString(key)
	must(t, err)
	return text
}

func TestJWT(t *testing.T) {
	k := newSigners(t)
	h := open(t, func(o *Options) { o.JWT = k.options; o.Throttle.Off = true })
	for name, text := range map[string]string{
		"HS256": sign(t, jwt.SigningMethodHS256, []byte(hmacSecret), h.claims("Ann")),
		"RS256": sign(t, jwt.SigningMethodRS256, k.rsa, h.claims("Ann")),
		"ES256": sign(t, jwt.SigningMethodES256, k.ec, h.claims("Ann")),
		"EdDSA": sign(t, jwt.SigningMethodEdDSA, k.ed, h.claims("Ann")),
	} {
		for _, user := range []string{"Ann", ""} {
			id := h.in(t, login(user, text))
			if id.User != "Ann" || id.Method != "jwt" || id.Admin || id.Scope != nil || !id.Expires.Equal(h.clock.Now().Add(time.Hour)) {
				t.Errorf("%s: identity %+v", name, id)
			}
			if !h.Current(id) {
				t.Error("not current")
			}
		}
		for _, user := range []string{"bob", "ann"} {
			if r := h.out(t, login(user, text), chat.NotAuthorized); r.Reason != wrongText {
				t.Error(r.Reason)
			}
		}
		tampered := []byte(text)
		tampered[len(tampered)-10] ^= 'A' ^ 'B'
		h.out(t, login("Ann", string(tampered)), chat.NotAuthorized)
	}
	if !h.Exists("Ann") || h.store.count(storage.SpaceAccount) != 1 {
		t.Error("the account was not made once")
	}
	if strings.Contains(h.logs.String(), "eyJ") {
		t.Errorf("a token is in the log:\n%s", h.logs)
	}
	must(t, h.SetDisabled(t.Context(), "Ann", true))
	h.out(t, login("Ann", sign(t, jwt.SigningMethodRS256, k.rsa, h.claims("Ann"))), chat.NotAuthorized)
}

func TestJWTAlgorithmConfusion(t *testing.T) {
	k := newSigners(t)
	_, strangerEd, _ := ed25519.GenerateKey(rand.Reader)
	for _, key := range k.options.Keys {
		// The server knows this one key only, so that another algorithm has nothing to hide behind.
		h := open(t, func(o *Options) { o.JWT.Keys = []JWTKey{key}; o.Throttle.Off = true })
		public, err := os.ReadFile(key.File)
		must(t, err)
		good := 0
		for name, text := range map[string]string{
			"none":             sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, h.claims("ann")),
			"HS256 public PEM": sign(t, jwt.SigningMethodHS256, public, h.claims("ann")),
			"HS384":            sign(t, jwt.SigningMethodHS384, []byte(hmacSecret), h.claims("ann")),
			"HS512":            sign(t, jwt.SigningMethodHS512, []byte(hmacSecret), h.claims("ann")),
			"RS512":            sign(t, jwt.SigningMethodRS512, k.rsa, h.claims("ann")),
			"PS256":            sign(t, jwt.SigningMethodPS256, k.rsa, h.claims("ann")),
			"stranger":         sign(t, jwt.SigningMethodEdDSA, strangerEd, h.claims("ann")),
			"crit":             sign(t, jwt.SigningMethodEdDSA, k.ed, h.claims("ann"), "crit", "b64"),
		} {
			if name == "HS256 public PEM" && key.Algorithm != "HS256" {
				trimmed := sign(t, jwt.SigningMethodHS256, []byte(strings.TrimSpace(string(public))), h.claims("ann"))
				h.out(t, login("ann", trimmed), chat.NotAuthorized)
			}
			if _, err := h.Authenticate(t.Context(), login("ann", text)); err == nil {
				t.Errorf("%s passes for %s", name, key.Algorithm)
			}
		}
		for name, text := range map[string]string{
			"HS256": sign(t, jwt.SigningMethodHS256, []byte(hmacSecret), h.claims("ann")),
			"RS256": sign(t, jwt.SigningMethodRS256, k.rsa, h.claims("ann")),
			"ES256": sign(t, jwt.SigningMethodES256, k.ec, h.claims("ann")),
			"EdDSA": sign(t, jwt.SigningMethodEdDSA, k.ed, h.claims("ann")),
		} {
			if _, err := h.Authenticate(t.Context(), login("ann", text)); err == nil {
				good++
				if name != key.Algorithm {
					t.Errorf("%s passes for %s", name, key.Algorithm)
				}
			}
		}
		if good != 1 {
			t.Errorf("%d tokens pass for %s", good, key.Algorithm)
		}
	}
}

func TestJWTClaims(t *testing.T) {
	k := newSigners(t)
	h := open(t, func(o *Options) {
		o.JWT = k.options
		o.JWT.Issuer, o.JWT.Audience = "https://id.example", "petrel"
		o.Throttle.Off = true
	})
	now := h.clock.Now()
	token := func(change jwt.MapClaims) Attempt {
		c := h.claims("ann")
		c["iss"], c["aud"] = "https://id.example", []string{"other", "petrel"}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return login("", sign(t, jwt.SigningMethodHS256, []byte(hmacSecret), c))
	}
	h.in(t, token(nil))
	h.in(t, token(jwt.MapClaims{"nbf": now.Add(29 * time.Second).Unix()}))
	late := h.in(t, token(jwt.MapClaims{"exp": now.Add(-29 * time.Second).Unix()}))
	if !late.Expires.Equal(now.Add(time.Second)) {
		t.Errorf("within the leeway the connection ends at its end, not at %v", late.Expires)
	}
	for name, change := range map[string]jwt.MapClaims{
		"expired":      {"exp": now.Add(-31 * time.Second).Unix()},
		"no exp":       {"exp": nil},
		"exp no time":  {"exp": "tomorrow"},
		"not yet":      {"nbf": now.Add(31 * time.Second).Unix()},
		"wrong issuer": {"iss": "https://id.example.evil"},
		"no issuer":    {"iss": nil},
		"wrong aud":    {"aud": "other"},
		"no aud":       {"aud": nil},
		"no sub":       {"sub": nil},
		"sub no user":  {"sub": "a/b"},
		"sub a number": {"sub": 7},
	} {
		if _, err := h.Authenticate(t.Context(), token(change)); err == nil {
			t.Errorf("%s passes", name)
		} else {
			refusal(t, err, chat.NotAuthorized)
		}
	}
	if h.in(t, token(jwt.MapClaims{"admin": true})).Admin {
		t.Error("the claim admin is honoured unasked")
	}
	o := k.options
	o.Admin = true
	must(t, h.Reload(o))
	if !h.in(t, token(jwt.MapClaims{"admin": true})).Admin {
		t.Error("the claim admin is not honoured")
	}
	for _, v := range []any{"true", 1, false, nil, []bool{true}} {
		if h.in(t, token(jwt.MapClaims{"admin": v})).Admin {
			t.Errorf("admin: %v makes an administrator", v)
		}
	}
}

func TestJWTKeyIDs(t *testing.T) {
	k := newSigners(t)
	a, b, c := strings.Repeat("a", 32), strings.Repeat("b", 32), strings.Repeat("c", 32)
	h := open(t, func(o *Options) {
		o.Throttle.Off = true
		o.JWT.Keys = []JWTKey{
			{ID: "1", Algorithm: "HS256", File: k.file(t, "a", []byte(a))},
			{ID: "2", Algorithm: "HS256", File: k.file(t, "b", []byte(b))},
			{Algorithm: "HS256", File: k.file(t, "c", []byte(c))},
		}
	})
	for _, tc := range []struct {
		secret, kid string
		ok          bool
	}{
		{a, "1", true}, {b, "2", true}, {a, "2", false}, {c, "1", false}, {c, "3", true}, {a, "3", false},
		{a, "", true}, {b, "", true}, {c, "", true},
	} {
		var header []string
		if tc.kid != "" {
			header = []string{"kid", tc.kid}
		}
		text := sign(t, jwt.SigningMethodHS256, []byte(tc.secret), h.claims("ann"), header...)
		if _, err := h.Authenticate(t.Context(), login("ann", text)); (err == nil) != tc.ok {
			t.Errorf("secret %.1s, kid %q: %v", tc.secret, tc.kid, err)
		}
	}
}

func TestJWTReload(t *testing.T) {
	k := newSigners(t)
	h := open(t, func(o *Options) { o.Throttle.Off = true })
	text := sign(t, jwt.SigningMethodHS256, []byte(hmacSecret), h.claims("ann"))
	h.out(t, login("ann", text), chat.NotAuthorized) // without keys it is just a password
	o := JWTOptions{Keys: k.options.Keys[:1], NoCreate: true}
	must(t, h.Reload(o))
	h.out(t, login("ann", text), chat.NotAuthorized) // no account
	h.add(t, "ann", "pw")
	h.in(t, login("ann", text))
	h.in(t, login("ann", "pw"))

	k.file(t, "hs", []byte("short"))
	if err := h.Reload(o); err == nil || !strings.Contains(err.Error(), "32") {
		t.Errorf("a short secret: %v", err)
	}
	h.in(t, login("ann", text)) // the former key stays
	k.file(t, "hs", []byte(strings.Repeat("n", 32)))
	must(t, h.Reload(o))
	h.out(t, login("ann", text), chat.NotAuthorized)
	h.in(t, login("ann", sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("n", 32)), h.claims("ann"))))
}

func TestJWTKeyFiles(t *testing.T) {
	k := newSigners(t)
	private, err := x509.MarshalPKCS8PrivateKey(k.ed)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey)})
	if _, err := loadKey(JWTKey{Algorithm: "RS256", File: k.file(t, "pkcs1", pkcs1)}); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct{ algorithm, file, says string }{
		"missing":          {"RS256", filepath.Join(k.dir, "nowhere"), "no such file"},
		"PEM as secret":    {"HS256", k.options.Keys[1].File, "PEM"},
		"secret as key":    {"RS256", k.options.Keys[0].File, "no PEM"},
		"ES key for RS256": {"RS256", k.options.Keys[2].File, "another kind"},
		"RS key for EdDSA": {"EdDSA", k.options.Keys[1].File, "another kind"},
		"private":          {"EdDSA", k.file(t, "private", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "private key"},
		"P-384":            {"ES256", k.file(t, "p384", publicPEM(t, &p384.PublicKey)), "P-256"},
		"other PEM":        {"ES256", k.file(t, "other", pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte{1}})), "PEM block"},
	} {
		if _, err := loadKey(JWTKey{Algorithm: tc.algorithm, File: tc.file}); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLooksLikeJWT(t *testing.T) {
	for s, want := range map[string]bool{
		"eyJhbGciOiJIUzI1NiJ9.e30.x": true,
		"eyJhbGciOiJIUzI1NiJ9.e30":   false,
		"eyJhbGciOiJIUzI1NiJ9.e.3.0": false,
		"my.pass.word":               false,
		"e30.e30.x":                  false, // {} names no algorithm
		"..":                         false,
		"":                           false,
		"eyJhbGciOiJIUzI1NiJ9.e30." + strings.Repeat("x", maxJWT): false,
	} {
		if looksLikeJWT(s) != want {
			t.Errorf("%.40q: %v", s, !want)
		}
	}
}
