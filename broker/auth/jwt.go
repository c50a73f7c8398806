package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWTOptions says which JSON Web Tokens are good as passwords. Without keys none is.
type JWTOptions struct {
	Keys     []JWTKey
	Issuer   string        // if set, iss must be this
	Audience string        // if set, aud must hold this
	Leeway   time.Duration // for exp and nbf; 0: 30 s
	NoCreate bool          // refuse a sub that has no account, instead of making one
	Admin    bool          // honour the claim "admin": true
}

// JWTKey is a file with a key and the only algorithm that it is used for.
type JWTKey struct {
	ID        string // kid; "": for tokens with any kid or none
	Algorithm string // HS256, RS256, ES256 or EdDSA
	File      string // HS256: the secret, at least 32 bytes, a line break at its end aside; others: a public key or certificate in PEM
}

const (
	maxJWT        = 8 << 10 // bytes
	minSecret     = 32      // RFC 7518 §3.2: as long as the hash at least
	minRSABits    = 2048    // RFC 7518 §3.3
	defaultLeeway = 30 * time.Second
)

func algorithms() []string { return []string{"HS256", "RS256", "ES256", "EdDSA"} }

func (o JWTOptions) validate() error {
	var errs []error
	if o.Leeway < 0 {
		errs = append(errs, errors.New("auth: JWT.Leeway is negative"))
	}
	for i, k := range o.Keys {
		if !slices.Contains(algorithms(), k.Algorithm) {
			errs = append(errs, fmt.Errorf("auth: JWT key %d: the algorithm is %q, but must be one of %s",
				i+1, k.Algorithm, strings.Join(algorithms(), ", ")))
		}
		if k.File == "" {
			errs = append(errs, fmt.Errorf("auth: JWT key %d has no file", i+1))
		}
	}
	return errors.Join(errs...)
}

// verifier is a loaded JWTOptions.
type verifier struct {
	o      JWTOptions
	keys   []loadedKey
	parser *jwt.Parser
}

type loadedKey struct {
	id, algorithm string
	key           any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

func (v *verifier) enabled() bool { return len(v.keys) > 0 }

// Reload reads the key files anew and takes over the options. On an error the former ones stay.
// Sessions that are connected stay so until their token expires.
func (s *Service) Reload(o JWTOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.Leeway == 0 {
		o.Leeway = defaultLeeway
	}
	v := &verifier{o: o}
	var errs []error
	for _, k := range o.Keys {
		key, err := loadKey(k)
		if err != nil {
			errs = append(errs, fmt.Errorf("auth: JWT key file %s: %w", k.File, err))
		}
		v.keys = append(v.keys, loadedKey{id: k.ID, algorithm: k.Algorithm, key: key})
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// WithValidMethods and a key set of the header's own algorithm only: a public key is never tried as
	// an HMAC secret, and "none" is never tried at all (RFC 8725 §3.1).
	rules := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms()), jwt.WithExpirationRequired(), jwt.WithLeeway(o.Leeway),
		jwt.WithTimeFunc(s.o.Now), jwt.WithStrictDecoding(),
	}
	if o.Issuer != "" {
		rules = append(rules, jwt.WithIssuer(o.Issuer))
	}
	if o.Audience != "" {
		rules = append(rules, jwt.WithAudience(o.Audience))
	}
	v.parser = jwt.NewParser(rules...)
	s.jwt.Store(v)
	return nil
}

func loadKey(k JWTKey) (any, error) {
	data, err := os.ReadFile(k.File)
	if err != nil {
		// The path is in the message already.
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, err
	}
	if k.Algorithm == "HS256" {
		secret := bytes.TrimRight(data, "\r\n")
		switch {
		case bytes.Contains(data, []byte("-----BEGIN")):
			return nil, errors.New("holds PEM; HS256 takes a secret that nobody else knows")
		case len(secret) < minSecret:
			return nil, fmt.Errorf("the secret has %d bytes, but must have %d at least", len(secret), minSecret)
		}
		return secret, nil
	}
	key, err := parsePublic(data)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if k.Algorithm == "RS256" && key.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("the RSA key has %d bits, but must have %d at least", key.N.BitLen(), minRSABits)
		}
		if k.Algorithm == "RS256" {
			return key, nil
		}
	case *ecdsa.PublicKey:
		if k.Algorithm == "ES256" && key.Curve != elliptic.P256() {
			return nil, errors.New("ES256 takes a key on the curve P-256")
		}
		if k.Algorithm == "ES256" {
			return key, nil
		}
	case ed25519.PublicKey:
		if k.Algorithm == "EdDSA" {
			return key, nil
		}
	}
	return nil, fmt.Errorf("holds a key of another kind than %s takes", k.Algorithm)
}

func parsePublic(data []byte) (any, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("holds no PEM block")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, errors.New("holds a private key; the server needs the public one only: keep the private one with whoever signs")
	}
	return nil, fmt.Errorf("holds a PEM block %q; a PUBLIC KEY or a CERTIFICATE is needed", block.Type)
}

// looksLikeJWT says whether s has three parts of which the first is a JOSE header.
func looksLikeJWT(s string) bool {
	head, rest, ok := strings.Cut(s, ".")
	if !ok || strings.Count(rest, ".") != 1 || len(s) > maxJWT {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return false
	}
	var h struct {
		Alg *string `json:"alg"`
	}
	return json.Unmarshal(raw, &h) == nil && h.Alg != nil
}

type claims struct {
	jwt.RegisteredClaims
	Admin any `json:"admin"`
}

// byJWT checks a password that looks like a JWT.
func (s *Service) byJWT(ctx context.Context, a Attempt, text string) (Identity, error) {
	v := s.jwt.Load()
	var c claims
	if _, err := v.parser.ParseWithClaims(text, &c, v.candidates); err != nil {
		return Identity{}, deny("the JWT is not good: " + jwtCause(err))
	}
	switch {
	case !ValidUser(c.Subject):
		return Identity{}, deny("sub of the JWT is no user id: it takes 1 to 64 of A-Z a-z 0-9 . _ -")
	case a.User != "" && a.User != c.Subject:
		return Identity{}, deny("the user name is not the sub of the JWT")
	}
	id, err := s.admitted(ctx, c.Subject, "jwt", !v.o.NoCreate)
	if err != nil {
		return Identity{}, err
	}
	if v.o.Admin && c.Admin == true {
		id.Admin = true
	}
	// Within the leeway the connection gets the rest of the leeway, instead of none.
	if id.Expires = c.ExpiresAt.Time; !s.o.Now().Before(id.Expires) {
		id.Expires = id.Expires.Add(v.o.Leeway)
	}
	return id, nil
}

// candidates returns the keys that may have signed the token: those of its algorithm and, if it names
// a key, with that name, or else without any.
func (v *verifier) candidates(t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("it has critical extensions") // RFC 7515 §4.1.11: none is understood here
	}
	kid, _ := t.Header["kid"].(string)
	var named, nameless jwt.VerificationKeySet
	for _, k := range v.keys {
		if k.algorithm != t.Method.Alg() {
			continue
		}
		if k.id == "" {
			nameless.Keys = append(nameless.Keys, k.key)
		}
		if kid == "" || k.id == kid {
			named.Keys = append(named.Keys, k.key)
		}
	}
	if len(named.Keys) > 0 {
		return named, nil
	}
	if len(nameless.Keys) > 0 {
		return nameless, nil
	}
	return nil, errors.New("no configured key has its algorithm and kid")
}

// jwtCause names what is wrong without quoting the token, as the library's texts may.
func jwtCause(err error) string {
	for _, c := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenMalformed, "it is malformed"},
		{jwt.ErrTokenUnverifiable, "no configured key has its algorithm and kid"},
		{jwt.ErrTokenSignatureInvalid, "the signature is wrong"},
		{jwt.ErrTokenRequiredClaimMissing, "exp, or a configured iss or aud, is missing"},
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenInvalidIssuer, "iss is wrong"},
		{jwt.ErrTokenInvalidAudience, "aud is wrong"},
	} {
		if errors.Is(err, c.is) {
			return c.text
		}
	}
	return "its claims are wrong"
}
