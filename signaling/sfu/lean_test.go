package sfu

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"
	"golang.org/x/net/ipv4"
)

// lean is a client that does only what it must: a STUN request, a DTLS handshake, SRTP. It can send and count faster than the
// server forwards.
type lean struct {
	conn  *net.UDPConn
	batch *ipv4.PacketConn
	cert  tls.Certificate
	print string
	out   *srtp.Context
	seq   uint16
	ts    uint32
	plain []byte
	ms    []ipv4.Message
	n     int
}

func newLean(to string) (*lean, error) {
	a, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return nil, err
	}
	c, err := net.DialUDP("udp4", nil, a)
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(8 << 20)
	l := &lean{conn: c, batch: ipv4.NewPacketConn(c), ms: make([]ipv4.Message, 64)}
	for i := range l.ms {
		l.ms[i].Buffers = [][]byte{make([]byte, 0, 256)}
	}
	l.cert, l.print, err = newCertificate(time.Now())
	return l, err
}

const leanUfrag, leanPwd = "leanufrag", "leanpasswordleanpassword"

// offer is one track and so many slots of audio.
func (l *lean) offer(slots int) string {
	var b, mids strings.Builder
	for i := range slots + 1 {
		dir := "recvonly"
		if i == 0 {
			dir = "sendonly"
		}
		fmt.Fprintf(&mids, " %d", i)
		fmt.Fprintf(&b, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:%d\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:sha-256 %s\r\n"+
			"a=setup:actpass\r\na=rtcp-mux\r\na=%s\r\na=extmap:1 %s\r\na=rtpmap:111 opus/48000/2\r\n", i, leanUfrag, leanPwd, l.print, dir, levelURI)
	}
	return "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE" + mids.String() + "\r\n" + b.String()
}

// connect proves the address and makes keys.
func (l *lean) connect(answer string) error {
	find := func(key string) string {
		m := regexp.MustCompile(`a=` + key + `:(\S+)`).FindStringSubmatch(answer)
		if m == nil {
			return ""
		}
		return m[1]
	}
	ufrag, pwd := find("ice-ufrag"), find("ice-pwd")
	req, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ufrag+":"+leanUfrag),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
	if err != nil {
		return err
	}
	if _, err := l.conn.Write(req.Raw); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	_ = l.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := l.conn.Read(buf)
	if err != nil || !isSTUN(buf[:n]) {
		return errors.Join(err, errors.New("no answer to STUN"))
	}
	_ = l.conn.SetReadDeadline(time.Time{})
	var over atomic.Bool
	d, err := dtls.ClientWithOptions(connected{l.conn, &over}, l.conn.RemoteAddr(), dtls.WithCertificates(l.cert), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithLoggerFactory(silent{}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.HandshakeContext(ctx); err != nil {
		return err
	}
	st, _ := d.ConnectionState()
	over.Store(true)
	_ = l.conn.SetReadDeadline(time.Now())
	defer l.conn.SetReadDeadline(time.Time{})
	if _, err := d.Read(buf); err == nil {
		return errors.New("DTLS did not end")
	}
	c := srtp.Config{Profile: srtp.ProtectionProfileAeadAes128Gcm}
	if err := c.ExtractSessionKeysFromDTLS(&st, true); err != nil {
		return err
	}
	l.out, err = srtp.CreateContext(c.Keys.LocalMasterKey, c.Keys.LocalMasterSalt, c.Profile)
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 111, SSRC: 77}, Payload: make([]byte, benchFrame)}
	if e := p.SetExtension(1, []byte{30}); e != nil {
		return e
	}
	l.plain, _ = p.Marshal()
	return err
}

// connected is a connected socket as DTLS wants it, until the handshake is over: then media is the counter's.
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

// frame queues one packet.
func (l *lean) frame(plain bool) {
	m := &l.ms[l.n]
	if plain {
		m.Buffers[0] = m.Buffers[0][:20+benchFrame+16]
	} else {
		l.seq++
		l.ts += 960
		l.plain[2], l.plain[3] = byte(l.seq>>8), byte(l.seq)
		l.plain[4], l.plain[5], l.plain[6], l.plain[7] = byte(l.ts>>24), byte(l.ts>>16), byte(l.ts>>8), byte(l.ts)
		b, err := l.out.EncryptRTP(m.Buffers[0][:0], l.plain, nil)
		if err != nil {
			return
		}
		m.Buffers[0] = b
	}
	if l.n++; l.n == len(l.ms) {
		l.flush()
	}
}

func (l *lean) flush() {
	for i := 0; i < l.n; {
		n, err := l.batch.WriteBatch(l.ms[i:l.n], 0)
		if err != nil {
			break
		}
		i += n
	}
	l.n = 0
}

// count counts datagrams of media until the socket is closed.
func (l *lean) count(to *atomic.Int64) {
	ms := make([]ipv4.Message, 64)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, 512)}
	}
	for {
		n, err := l.batch.ReadBatch(ms, 0)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		media := int64(0)
		for i := range ms[:n] {
			if ms[i].N >= benchFrame+12 {
				media++
			}
		}
		to.Add(media)
	}
}
