package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol, as HAProxy's proxy-protocol.txt has it (revision 2020/03/05).

const (
	proxyV1Max = 107  // §2.1: with the CRLF
	proxyMax   = 4096 // our bound for a v2 header with its TLVs; the standard's is 16+65535
)

var (
	proxyV1Start   = []byte("PROXY ")
	proxyV2Start   = []byte("\r\n\r\n\x00\r\nQUIT\n")
	errProxyShort  = errors.New("incomplete PROXY header")
	errProxyHeader = errors.New("no PROXY header")
)

// parseProxy reads the header at the start of b. It returns its length and the client's address, the
// zero Addr if the header says nothing about one (UNKNOWN, LOCAL, or a Unix socket). errProxyShort: b
// may be the beginning of a header.
func parseProxy(b []byte) (client netip.Addr, n int, err error) {
	switch {
	case bytes.HasPrefix(b, proxyV1Start):
		return parseProxyV1(b)
	case bytes.HasPrefix(b, proxyV2Start):
		return parseProxyV2(b)
	case bytes.HasPrefix(proxyV1Start, b), bytes.HasPrefix(proxyV2Start, b):
		return netip.Addr{}, 0, errProxyShort
	}
	return netip.Addr{}, 0, errProxyHeader
}

// parseProxyV1 reads "PROXY TCP4 192.0.2.1 192.0.2.2 5000 1883\r\n" (§2.1).
func parseProxyV1(b []byte) (netip.Addr, int, error) {
	end := bytes.Index(b[:min(len(b), proxyV1Max)], []byte("\r\n"))
	if end < 0 {
		if len(b) >= proxyV1Max {
			return netip.Addr{}, 0, fmt.Errorf("%w: version 1 without its end after %d bytes", errProxyHeader, proxyV1Max)
		}
		return netip.Addr{}, 0, errProxyShort
	}
	words := strings.Split(string(b[:end]), " ")
	if words[1] == "UNKNOWN" { // whatever follows is to be ignored
		return netip.Addr{}, end + 2, nil
	}
	wrong := fmt.Errorf("%w: malformed version 1", errProxyHeader)
	if len(words) != 6 {
		return netip.Addr{}, 0, wrong
	}
	src, err1 := netip.ParseAddr(words[2])
	dst, err2 := netip.ParseAddr(words[3])
	_, err3 := strconv.ParseUint(words[4], 10, 16)
	_, err4 := strconv.ParseUint(words[5], 10, 16)
	if errors.Join(err1, err2, err3, err4) != nil || src.Zone() != "" || dst.Zone() != "" {
		return netip.Addr{}, 0, wrong
	}
	switch {
	case words[1] == "TCP4" && src.Is4() && dst.Is4(), words[1] == "TCP6" && src.Is6() && dst.Is6():
		return src.Unmap(), end + 2, nil
	}
	return netip.Addr{}, 0, wrong
}

// parseProxyV2 reads the binary header (§2.2).
func parseProxyV2(b []byte) (netip.Addr, int, error) {
	if len(b) < 16 {
		return netip.Addr{}, 0, errProxyShort
	}
	version, command := b[12]>>4, b[12]&15
	if version != 2 || command > 1 {
		return netip.Addr{}, 0, fmt.Errorf("%w: unknown version or command %#x", errProxyHeader, b[12])
	}
	n := 16 + int(binary.BigEndian.Uint16(b[14:]))
	if n > proxyMax {
		return netip.Addr{}, 0, fmt.Errorf("%w: version 2 with %d bytes, at most %d are taken", errProxyHeader, n, proxyMax)
	}
	if len(b) < n {
		return netip.Addr{}, 0, errProxyShort
	}
	body := b[16:n]
	if command == 0 { // LOCAL: the proxy itself, a health check
		return netip.Addr{}, n, nil
	}
	size := 0
	switch family := b[13] >> 4; family {
	case 1: // AF_INET
		size = 4
	case 2: // AF_INET6
		size = 16
	default: // AF_UNSPEC, AF_UNIX: no address, and the rest is to be skipped
		return netip.Addr{}, n, nil
	}
	if len(body) < 2*size+4 {
		return netip.Addr{}, 0, fmt.Errorf("%w: version 2 is too short for its addresses", errProxyHeader)
	}
	a, _ := netip.AddrFromSlice(body[:size])
	return a.Unmap(), n, nil
}

// readProxy reads the header off c, within the deadline that c has, and returns a connection that goes on
// behind it. The client is the zero Addr if the header names none.
func readProxy(c net.Conn) (net.Conn, netip.Addr, error) {
	buf := make([]byte, 0, 256)
	for {
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		client, used, perr := parseProxy(buf)
		switch {
		case perr == nil && used == len(buf):
			return c, client, nil
		case perr == nil:
			return &prefixConn{Conn: c, rest: buf[used:]}, client, nil
		case !errors.Is(perr, errProxyShort):
			return nil, netip.Addr{}, perr
		case err != nil:
			return nil, netip.Addr{}, fmt.Errorf("%w: %w", errProxyShort, err)
		}
		if len(buf) == cap(buf) { // parseProxy asks for at most proxyMax
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
	}
}

// prefixConn reads what came behind the header first. One goroutine reads it, as with any net.Conn that
// carries a stream.
type prefixConn struct {
	net.Conn
	rest []byte
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

// NetConn returns the connection below; do not read from it.
func (c *prefixConn) NetConn() net.Conn { return c.Conn }
