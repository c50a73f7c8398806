package sfu

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
)

const (
	handshakeTime = 30 * time.Second
	replayWindow  = 512 // packets that may come out of order
	dtlsQueue     = 256 // packets, and
	dtlsBytes     = 256 << 10
)

// newCertificate makes the certificate of one run: its fingerprint goes through the signalling, so nobody need know it before.
func newCertificate(now time.Time) (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, "", err
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "sfu"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	sum := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, colons(sum[:]), nil
}

// colons writes a digest as SDP does. // RFC 8122 §5
func colons(b []byte) string {
	s := strings.ToUpper(hex.EncodeToString(b))
	var out strings.Builder
	for i := 0; i < len(s); i += 2 {
		if i > 0 {
			out.WriteByte(':')
		}
		out.WriteString(s[i : i+2])
	}
	return out.String()
}

// fingerprintOf returns the digest of a certificate with the hash that SDP named.
func fingerprintOf(name string, der []byte) string {
	var h hash.Hash
	switch strings.ToLower(name) {
	case "sha-256":
		h = sha256.New()
	case "sha-384":
		h = sha512.New384()
	case "sha-512":
		h = sha512.New()
	default:
		return ""
	}
	h.Write(der)
	return colons(h.Sum(nil))
}

// pipe is the packet connection that DTLS talks through: what the readers put into the buffer, and the party's route.
type pipe struct{ p *party }

func (c pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.p.dtlsIn.Read(b)
	return n, c.LocalAddr(), err
}

func (c pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	if r := c.p.via.Load(); r != nil {
		r.send(b)
	}
	return len(b), nil
}

func (c pipe) Close() error                       { return c.p.dtlsIn.Close() }
func (c pipe) LocalAddr() net.Addr                { return &net.UDPAddr{IP: net.IPv4zero} } // DTLS wants one and never uses it
func (c pipe) SetDeadline(t time.Time) error      { return c.p.dtlsIn.SetReadDeadline(t) }
func (c pipe) SetReadDeadline(t time.Time) error  { return c.p.dtlsIn.SetReadDeadline(t) }
func (c pipe) SetWriteDeadline(_ time.Time) error { return nil } // writes don't block

// dtlsPacket takes a packet of DTLS; the first one begins the handshake.
func (p *party) dtlsPacket(b []byte) {
	s := p.room.s
	p.dtlsRun.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closing && !p.gone.Load() {
			s.wg.Go(p.connect)
		}
	})
	_, _ = p.dtlsIn.Write(b) // full: lost, and sent again
}

// end closes the party's connection; connect returns.
func (p *party) end() {
	p.endOnce.Do(func() {
		close(p.ended)
		_ = p.dtlsIn.Close()
	})
}

// connect makes the keys, then serves the data channels until the connection ends.
func (p *party) connect() {
	s := p.room.s
	err := p.serve()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && s.ctx.Err() == nil {
		s.log.Debug("a connection of a call ended", "call", p.room.id, "party", p.id, "user", p.user, "error", err)
	}
	s.post(func(time.Time) { s.lost(p) })
}

func (p *party) serve() error {
	s := p.room.s
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTime)
	defer cancel()
	want := p.finger
	conn, err := dtls.ServerWithOptions(pipe{p}, pipe{p}.LocalAddr(),
		dtls.WithCertificates(s.cert),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		dtls.WithInsecureSkipVerify(true), // certificates are known by their fingerprints:
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || subtle.ConstantTimeCompare([]byte(fingerprintOf(want.hash, raw[0])), []byte(want.digest)) != 1 {
				return errors.New("the certificate is not the one that was signalled")
			}
			return nil
		}),
		dtls.WithInsecureSkipVerifyHello(true), // ICE has proved the address
		dtls.WithLoggerFactory(s.pionLog),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := p.key(conn); err != nil {
		return err
	}
	s.post(func(now time.Time) { s.connected(p, now) })
	return p.channels(conn)
}

// key takes the SRTP keys out of the handshake. // RFC 5764 §4.2
func (p *party) key(conn *dtls.Conn) error {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("no SRTP profile in common")
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("no DTLS state")
	}
	c := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := c.ExtractSessionKeysFromDTLS(&state, false); err != nil {
		return err
	}
	in, err := srtp.CreateContext(c.Keys.RemoteMasterKey, c.Keys.RemoteMasterSalt, c.Profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return err
	}
	out, err := srtp.CreateContext(c.Keys.LocalMasterKey, c.Keys.LocalMasterSalt, c.Profile)
	if err != nil {
		return err
	}
	p.in.mu.Lock()
	p.in.srtp = in
	p.in.mu.Unlock()
	p.out.mu.Lock()
	p.out.srtp = out
	p.out.mu.Unlock()
	return nil
}
