// Package sdp makes session descriptions (RFC 8866) and ICE candidates (RFC 8839) fit to be passed on: begin with Clean and
// CheckCandidate, and Relayed and RelayedCandidate for whoever gives away no addresses. It does not negotiate anything. What passes
// has the shape and the size of what WebRTC implementations write, and no attribute that is not known here, so that a peer's parser
// meets nothing that only an attacker would send; the peer trusts it no more for that.
//
// No error holds anything of what was checked: addresses and keys are nobody's business but the peers'.
package sdp

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a session description.
type Bounds struct {
	Bytes    int // plain
	Lines    int
	Sections int // m= lines
}

// MaxLine is the length of a line in bytes, without its end.
const MaxLine = 1024

// MaxCandidate is the length of a candidate in bytes.
const MaxCandidate = 512

// Peer returns the bounds of what one party sends to another one. A browser writes some 150 lines and 6 KB for each video that it may
// send or get, with more for each codec that its device has.
func Peer() Bounds { return Bounds{Bytes: 32 << 10, Lines: 1000, Sections: 64} }

// SFU returns the bounds of what goes to or comes from an SFU, which has sections for everybody's media.
func SFU() Bounds { return Bounds{Bytes: 128 << 10, Lines: 4000, Sections: 256} }

// Inflate returns what was deflated (RFC 1951, without any header), at most limit bytes of it.
func Inflate(z []byte, limit int) ([]byte, error) {
	r := flate.NewReader(bytes.NewReader(z))
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, errors.New("it is not raw deflate (RFC 1951)")
	}
	if len(out) > limit {
		return nil, errors.New("it is longer than " + strconv.Itoa(limit) + " bytes when inflated")
	}
	return out, nil
}

// Deflate is the inverse of Inflate.
func Deflate(plain []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil // only of levels that there are not
	}
	if _, err := w.Write(plain); err != nil {
		return nil // a buffer takes everything
	}
	if err := w.Close(); err != nil {
		return nil
	}
	return b.Bytes()
}

// Clean returns a session description without the attributes that are not known here. Whoever does not understand an attribute
// ignores it (RFC 8866 section 5.13), so the description means to its receiver what it would mean to one of an older version, and a
// browser that writes something new can go on calling. The result is text itself if there is nothing to leave out, and else has
// memory of its own; cleaning it again changes nothing. An error says what else is wrong with the description.
func Clean(text []byte, b Bounds) ([]byte, error) {
	if len(text) > b.Bytes {
		return nil, errors.New("it is longer than " + strconv.Itoa(b.Bytes) + " bytes")
	}
	c := checker{b: b}
	for rest := string(text); rest != ""; {
		whole := rest
		line, after, _ := strings.Cut(rest, "\n")
		rest = after
		whole = whole[:len(whole)-len(rest)]
		c.n++
		keep, err := c.line(strings.TrimSuffix(line, "\r"))
		if err != nil {
			return nil, errors.New("line " + strconv.Itoa(c.n) + ": " + err.Error())
		}
		c.take(whole, keep)
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	if !c.cut {
		return text, nil
	}
	return []byte(c.out.String()), nil
}

type checker struct {
	b                   Bounds
	n, sections         int
	print, ufrag, pwd   bool // said at session level or for a section
	origin, named, time bool
	out                 strings.Builder // the lines that stay
	cut                 bool            // one does not
}

func (c *checker) take(line string, keep bool) {
	if keep {
		c.out.WriteString(line)
	} else {
		c.cut = true
	}
}

// line checks a line, without its end. keep is false if it says nothing that is known.
func (c *checker) line(l string) (keep bool, err error) {
	switch {
	case c.n > c.b.Lines:
		return false, errors.New("there are more than " + strconv.Itoa(c.b.Lines) + " lines")
	case len(l) > MaxLine:
		return false, errors.New("it is longer than " + strconv.Itoa(MaxLine) + " bytes")
	case len(l) < 2 || l[1] != '=':
		return false, errors.New("it is not of the form letter=value")
	case !printable(l):
		return false, errors.New("it has control characters")
	case c.n == 1 && l != "v=0":
		return false, errors.New("it must be v=0") // RFC 8866 section 5.1
	}
	value := l[2:]
	switch l[0] {
	case 'v':
		if c.n != 1 {
			return false, errors.New("v= comes once")
		}
	case 'o', 's', 't':
		return true, c.session(l[0], value)
	case 'm':
		return true, c.media(value)
	case 'a':
		return c.attribute(value)
	case 'b', 'c', 'i':
	default:
		return false, errors.New("WebRTC sends no such line")
	}
	return true, nil
}

// session is a line of the description's head.
func (c *checker) session(letter byte, value string) error {
	if c.sections > 0 {
		return errors.New("it belongs before the first m=")
	}
	switch letter {
	case 'o':
		if c.origin || len(strings.Fields(value)) != 6 { // RFC 8866 section 5.2
			return errors.New("o= comes once and has six fields")
		}
		c.origin = true
	case 's':
		c.named = true
	case 't':
		c.time = true
	}
	return nil
}

func (c *checker) media(value string) error {
	if c.sections++; c.sections > c.b.Sections {
		return errors.New("there are more than " + strconv.Itoa(c.b.Sections) + " media sections")
	}
	f := strings.Fields(value)
	if len(f) < 4 {
		return errors.New("m= has a kind, a port, a protocol and formats")
	}
	switch f[0] {
	case "audio", "video", "application":
	default:
		return errors.New("m= is audio, video or application")
	}
	if _, err := strconv.ParseUint(f[1], 10, 16); err != nil {
		return errors.New("the port of m= is a number")
	}
	switch f[2] { // RFC 8829 section 5.1.2, RFC 8841
	case "UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF",
		"UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP":
		return nil
	}
	return errors.New("the protocol of m= is none of WebRTC's: media must be encrypted")
}

func (c *checker) attribute(value string) (keep bool, err error) {
	name, v, _ := strings.Cut(value, ":")
	switch name {
	case "fingerprint":
		f := strings.Fields(v)
		if len(f) != 2 || !hexPairs(f[1]) { // RFC 8122 section 5
			return false, errors.New("a fingerprint is a hash function and pairs of hexadecimal digits")
		}
		c.print = true
	case "ice-ufrag":
		if !iceChars(v, 4) { // RFC 8839 section 5.4
			return false, errors.New("ice-ufrag has 4 to 256 letters, digits, + and /")
		}
		c.ufrag = true
	case "ice-pwd":
		if !iceChars(v, 22) {
			return false, errors.New("ice-pwd has 22 to 256 letters, digits, + and /")
		}
		c.pwd = true
	case "candidate":
		return true, CheckCandidate(value)
	case "crypto": // RFC 4568: who asks for this would not do with DTLS, and the keys of media are not for the server to see
		return false, errors.New("keys come over DTLS, not with crypto")
	default:
		return known(name), nil
	}
	return true, nil
}

func (c *checker) end() error {
	switch {
	case c.n == 0:
		return errors.New("it is empty")
	case !c.origin || !c.named || !c.time:
		return errors.New("o=, s= or t= is missing")
	case c.sections == 0:
		return errors.New("there is no media section")
	case !c.print:
		return errors.New("there is no fingerprint: media must be encrypted with DTLS")
	case !c.ufrag || !c.pwd:
		return errors.New("ice-ufrag or ice-pwd is missing")
	}
	return nil
}

// known lists what Chromium, Firefox, WebKit and pion write beside what attribute looks at.
func known(attribute string) bool {
	switch attribute {
	case "group", "msid-semantic", "extmap", "extmap-allow-mixed", "ice-lite", "ice-options", "ice-pacing", "setup", "tls-id", "identity",
		"mid", "sendrecv", "sendonly", "recvonly", "inactive", "bundle-only",
		"rtcp", "rtcp-mux", "rtcp-mux-only", "rtcp-rsize", "rtcp-fb", "rtcp-xr", "rtpmap", "fmtp", "ptime", "maxptime", "framerate", "imageattr",
		"ssrc", "ssrc-group", "msid", "rid", "simulcast", "packetization", "x-google-flag", "label", "content", "lang",
		"end-of-candidates", "remote-candidates", "sctp-port", "sctpmap", "sctp-init", "max-message-size", "tool":
		return true
	}
	return false
}

// CheckCandidate reports what is wrong with a candidate: candidate:… as browsers give it, with or without a=. An empty
// one, which ends the candidates of a section, is fine.
func CheckCandidate(line string) error {
	line = strings.TrimPrefix(line, "a=")
	if line == "" {
		return nil
	}
	if len(line) > MaxCandidate || !printable(line) {
		return errors.New("a candidate is one line of at most " + strconv.Itoa(MaxCandidate) + " bytes")
	}
	rest, ok := strings.CutPrefix(line, "candidate:")
	f := strings.Fields(rest)
	if !ok || len(f) < 8 || f[6] != "typ" { // RFC 8839 section 5.1
		return errors.New("a candidate is candidate:foundation component transport priority address port typ type …")
	}
	if !iceChars(f[0], 1) || len(f[0]) > 32 {
		return errors.New("the foundation of a candidate has 1 to 32 letters, digits, + and /")
	}
	if n, err := strconv.ParseUint(f[1], 10, 16); err != nil || n < 1 || n > 256 {
		return errors.New("the component of a candidate is a number from 1 to 256")
	}
	if t := strings.ToLower(f[2]); t != "udp" && t != "tcp" && t != "ssltcp" {
		return errors.New("the transport of a candidate is udp or tcp")
	}
	if _, err := strconv.ParseUint(f[3], 10, 32); err != nil {
		return errors.New("the priority of a candidate is a number of 32 bits")
	}
	if !address(f[4]) {
		return errors.New("the address of a candidate is an IP address or a name that ends in .local")
	}
	if _, err := strconv.ParseUint(f[5], 10, 16); err != nil {
		return errors.New("the port of a candidate is a number")
	}
	switch f[7] {
	case "host", "srflx", "prflx", "relay":
		return nil
	}
	return errors.New("the type of a candidate is host, srflx, prflx or relay")
}

// address: browsers hide host addresses behind names of multicast DNS. Other names would make the peer ask its
// resolver for whatever an attacker likes.
func address(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	name, ok := strings.CutSuffix(s, ".local")
	if !ok || name == "" || len(name) > 63 {
		return false
	}
	for _, c := range []byte(name) {
		if !alnum(c) && c != '-' {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// iceChars: RFC 8839 section 5.1, ice-char. Firefox and pion stay within it, and - and _ are met in the wild.
func iceChars(s string, atLeast int) bool {
	if len(s) < atLeast || len(s) > 256 {
		return false
	}
	for _, c := range []byte(s) {
		if !alnum(c) && c != '+' && c != '/' && c != '-' && c != '_' && c != '=' {
			return false
		}
	}
	return true
}

func hexPairs(s string) bool {
	for i, c := range []byte(s) {
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if i%3 == 2 && c != ':' || i%3 != 2 && !hex {
			return false
		}
	}
	return len(s)%3 == 2
}

// printable: what ends a line anywhere else than in SDP is none either.
func printable(s string) bool {
	if strings.ContainsAny(s, "\u2028\u2029") {
		return false
	}
	for _, c := range []byte(s) {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
