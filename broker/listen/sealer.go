package listen

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"
)

// A ticket crosses the wire twice for every reconnect, in NewSessionTicket and as the identity of the
// next ClientHello, and crypto/tls spends 105 bytes on one. Ours takes 53:
//
//	ticket = v | AES-256-CTR(k2, v, state)    v = the first 16 bytes of HMAC-SHA256(k1, state)
//	state  = suite (1) | created (4) | secret (32 or 48)    the usual: TLS 1.3 without client certificates
//	state  = 0 | random (16) | tls.SessionState.Bytes()     all others
//
// This is the synthetic IV of Rogaway and Shrimpton ("Deterministic Authenticated-Encryption"; RFC 5297 is
// one instance): v is the tag and the IV in one. It needs no nonce, so none can repeat. What it gives away
// is that two states are equal, and they never are: the secret of TLS 1.3 is fresh in every connection, and
// TLS 1.2, which puts the same master secret in the next ticket, has the random bytes.
const (
	sealIV   = 16 // bytes of v
	sealSalt = 16 // random bytes before a whole state

	// wholeState marks a state that holds the encoding of crypto/tls. Otherwise the first byte is the low
	// one of a TLS 1.3 cipher suite, 0x1301 to 0x1305, RFC 8446 §B.4.
	wholeState = 0
)

// sealer makes and opens the session tickets of one tls.Config. Its methods may be called from any
// goroutine.
type sealer struct {
	domain string // who may open the tickets, as bytes of any length
	keys   atomic.Pointer[[]sealKey]
}

// sealKey is what a secret becomes in a domain.
type sealKey struct {
	mac   [32]byte
	block cipher.Block
}

// newSealer returns a sealer whose tickets only a sealer with the same domain opens. secrets are as for turn.
func newSealer(domain string, secrets [][32]byte) (*sealer, error) {
	s := &sealer{domain: domain}
	if err := s.turn(secrets); err != nil {
		return nil, err
	}
	return s, nil
}

// turn takes over the secrets: the first one seals, all of them open. There must be one at least.
func (s *sealer) turn(secrets [][32]byte) error {
	keys := make([]sealKey, len(secrets))
	for i, secret := range secrets {
		k, err := hkdf.Key(sha256.New, secret[:], nil, "petrel session ticket SIV "+s.domain, 64)
		if err != nil {
			return fmt.Errorf("session tickets: %w", err)
		}
		keys[i].mac = [32]byte(k[:32])
		if keys[i].block, err = aes.NewCipher(k[32:]); err != nil {
			return fmt.Errorf("session tickets: %w", err)
		}
	}
	s.keys.Store(&keys)
	return nil
}

// wrap is for tls.Config.WrapSession.
func (s *sealer) wrap(_ tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
	whole, err := session.Bytes()
	if err != nil {
		return nil, err
	}
	state, ok := packState(whole)
	if !ok {
		state = make([]byte, 1+sealSalt, 1+sealSalt+len(whole))
		state[0] = wholeState
		if _, err := rand.Read(state[1:]); err != nil {
			return nil, err
		}
		state = append(state, whole...)
	}
	return (*s.keys.Load())[0].seal(state), nil
}

// unwrap is for tls.Config.UnwrapSession. A ticket that isn't ours is no error: the handshake goes on
// in full. The session's age, its certificates and its suite are for crypto/tls to judge.
func (s *sealer) unwrap(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
	for _, k := range *s.keys.Load() {
		state, ok := k.open(ticket)
		if !ok {
			continue
		}
		whole, ok := unpackState(state)
		if !ok {
			return nil, nil
		}
		session, err := tls.ParseSessionState(whole)
		if err != nil {
			return nil, nil // another Go release wrote it
		}
		return session, nil
	}
	return nil, nil
}

func (k *sealKey) seal(state []byte) []byte {
	ticket := make([]byte, sealIV+len(state))
	copy(ticket, k.tag(state))
	cipher.NewCTR(k.block, ticket[:sealIV]).XORKeyStream(ticket[sealIV:], state)
	return ticket
}

func (k *sealKey) open(ticket []byte) (state []byte, ok bool) {
	if len(ticket) <= sealIV {
		return nil, false
	}
	state = make([]byte, len(ticket)-sealIV)
	cipher.NewCTR(k.block, ticket[:sealIV]).XORKeyStream(state, ticket[sealIV:])
	if !hmac.Equal(k.tag(state), ticket[:sealIV]) {
		return nil, false
	}
	return state, true
}

func (k *sealKey) tag(state []byte) []byte {
	mac := hmac.New(sha256.New, k.mac[:])
	mac.Write(state)
	return mac.Sum(nil)[:sealIV]
}

// packState makes the short state of an encoded session. It is good only if it unpacks to the very same
// bytes, so what the short state can't say, and an encoding that a later Go changes, is never lost.
func packState(whole []byte) (state []byte, ok bool) {
	// uint16 version, uint8 type, uint16 cipher_suite, uint64 created_at, opaque secret<1..2^8-1>, …;
	// see tls.SessionState.
	const fixed = 2 + 1 + 2 + 8 + 1
	if len(whole) < fixed {
		return nil, false
	}
	created, secret := binary.BigEndian.Uint64(whole[5:]), whole[fixed:]
	n := int(whole[fixed-1])
	if n > len(secret) {
		return nil, false
	}
	state = append(make([]byte, 0, 5+n), whole[4])
	state = binary.BigEndian.AppendUint32(state, uint32(created)) // until 2106
	state = append(state, secret[:n]...)
	again, ok := unpackState(state)
	return state, ok && bytes.Equal(again, whole)
}

// unpackState returns the encoding of a session, for tls.ParseSessionState.
func unpackState(state []byte) (whole []byte, ok bool) {
	if len(state) > 1+sealSalt && state[0] == wholeState {
		return state[1+sealSalt:], true
	}
	if len(state) <= 5 || len(state) > 5+math.MaxUint8 || state[0] == wholeState {
		return nil, false
	}
	secret := state[5:]
	whole = binary.BigEndian.AppendUint16(make([]byte, 0, 32+len(secret)), tls.VersionTLS13)
	whole = append(whole, 1, 0x13, state[0]) // a server's; the suite
	whole = binary.BigEndian.AppendUint64(whole, uint64(binary.BigEndian.Uint32(state[1:])))
	whole = append(whole, byte(len(secret)))
	whole = append(whole, secret...)
	// No extra, no extended master secret (TLS 1.3 has its own), no early data, no certificates, no chains.
	return append(whole, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), true
}
