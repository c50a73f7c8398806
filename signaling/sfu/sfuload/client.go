// Package sfuload loads an SFU with media, and what it is compared with: a plain forwarder. Call New for each party, Offer and Connect to come in by
// ICE and DTLS (or Dial alone, to load the Forwarder), then Flood and Count.
//
// A Client does only what it must: one STUN request, a DTLS handshake, SRTP. It sends and counts faster than anything forwards.
package sfuload

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"
	"golang.org/x/net/ipv4"
)

// The ICE credentials of every offer.
const (
	Ufrag = "leanufrag"
	Pwd   = "leanpasswordleanpassword"
)

// FrameSize is what a frame has, bytes of opaque payload.
const FrameSize = 64

// overhead is what a packet has beside its frame: the header with one extension (RFC 3550, RFC 8285), the tag of AES-GCM (RFC 7714).
const overhead = 12 + 8 + 16

// batchMost is how many packets go into one system call.
const batchMost = 64

const patience = 10 * time.Second

// Client is one party. Its methods are for one goroutine, but Count is for another, and Close for any.
type Client struct {
	conn  *net.UDPConn
	batch *ipv4.PacketConn
	cert  tls.Certificate
	print string // of the certificate, as SDP has it

	keys  *srtp.Context // nil: plain datagrams of the same size
	seq   uint16
	ts    uint32
	plain []byte // the packet before it is encrypted
	out   []ipv4.Message
	n     int // messages of out that wait
}

// New makes a party.
func New() (*Client, error) {
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, err
	}
	print, err := fingerprint.Fingerprint(parsed, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	c := &Client{cert: cert, print: strings.ToUpper(print), out: make([]ipv4.Message, batchMost)}
	for i := range c.out {
		c.out[i].Buffers = [][]byte{make([]byte, 0, 256)}
	}
	return c, nil
}

// Close ends the party, and Count.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// Dial says where datagrams go, host:port. A plain forwarder learns the party by the datagram that this sends.
func (c *Client) Dial(to string) error {
	if err := c.dial(to); err != nil {
		return err
	}
	_, err := c.conn.Write([]byte("here"))
	return err
}

func (c *Client) dial(to string) error {
	a, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return err
	}
	if c.conn, err = net.DialUDP("udp4", nil, a); err != nil {
		return err
	}
	_ = c.conn.SetReadBuffer(8 << 20) // as much as the system lets one have
	c.batch = ipv4.NewPacketConn(c.conn)
	return nil
}

// Offer describes one track of audio that is sent, and so many slots for what is received.
func (c *Client) Offer(slots int) string { return Offer(c.print, slots) }

// Offer is that of a party whose certificate has a fingerprint (SHA-256).
func Offer(fingerprint string, slots int) string {
	var b, mids strings.Builder
	for i := range slots + 1 {
		dir := "recvonly"
		if i == 0 {
			dir = "sendonly"
		}
		fmt.Fprintf(&mids, " %d", i)
		fmt.Fprintf(&b, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:%d\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:sha-256 %s\r\n"+
			"a=setup:actpass\r\na=rtcp-mux\r\na=%s\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtpmap:111 opus/48000/2\r\n",
			i, Ufrag, Pwd, fingerprint, dir)
	}
	return "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE" + mids.String() + "\r\n" + b.String()
}

// Connect takes the answer to the offer: it goes to the first address there, proves its own, and makes keys.
func (c *Client) Connect(answer string) error {
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(answer)
		if m == nil {
			return ""
		}
		return strings.Join(m[1:], ":")
	}
	to := find(`a=candidate:\S+ 1 (?i:udp) \d+ ([0-9.]+) (\d+) `)
	if to == "" {
		return errors.New("sfuload: the answer has no candidate for UDP over IPv4")
	}
	if err := c.dial(to); err != nil {
		return err
	}
	if err := c.check(find(`a=ice-ufrag:(\S+)`), find(`a=ice-pwd:(\S+)`)); err != nil {
		return err
	}
	if err := c.handshake(); err != nil {
		return fmt.Errorf("sfuload: DTLS: %w", err)
	}
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 111, SSRC: 77}, Payload: make([]byte, FrameSize)}
	if err := p.SetExtension(1, []byte{30}); err != nil { // it speaks: -30 dBov, RFC 6464
		return err
	}
	var err error
	c.plain, err = p.Marshal()
	return err
}

// check sends a request that nominates this address, and waits for its answer. // RFC 8445 §7.2
func (c *Client) check(ufrag, pwd string) error {
	req, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ufrag+":"+Ufrag),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(req.Raw); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := c.conn.Read(buf)
	if err != nil || !stun.IsMessage(buf[:n]) {
		return errors.Join(errors.New("sfuload: no answer to STUN"), err)
	}
	return c.conn.SetReadDeadline(time.Time{})
}

// handshake makes the keys. DTLS has the socket until then only. // RFC 5764
func (c *Client) handshake() error {
	var over atomic.Bool
	d, err := dtls.ClientWithOptions(connected{c.conn, &over}, c.conn.RemoteAddr(), dtls.WithCertificates(c.cert), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithLoggerFactory(&logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.HandshakeContext(ctx); err != nil {
		return err
	}
	state, _ := d.ConnectionState()
	over.Store(true)
	_ = c.conn.SetReadDeadline(time.Now())
	if _, err := d.Read(make([]byte, 1500)); err == nil {
		return errors.New("it did not end")
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	conf := srtp.Config{Profile: srtp.ProtectionProfileAeadAes128Gcm}
	if err := conf.ExtractSessionKeysFromDTLS(&state, true); err != nil {
		return err
	}
	c.keys, err = srtp.CreateContext(conf.Keys.LocalMasterKey, conf.Keys.LocalMasterSalt, conf.Profile)
	return err
}

// connected is a connected socket as DTLS wants it, until the handshake is over: then what comes is media.
type connected struct {
	*net.UDPConn
	over *atomic.Bool
}

func (c connected) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.over.Load() {
		return 0, nil, net.ErrClosed
	}
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

func (c connected) Close() error { return nil }
