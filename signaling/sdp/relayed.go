package sdp

import (
	"bytes"
	"net/netip"
	"strings"
)

// hiddenPort stands for a port that is not told (RFC 8839 section 5.1, RFC 8840 section 4.1.1).
const hiddenPort = "9"

// Relayed is Clean for somebody who gives away no addresses but those of relays: candidates of all other types are left out too, and
// addresses that stand in other lines become 0.0.0.0 or ::, with the port 9 (RFC 8839 section 5.1, RFC 8828 section 5.2).
func Relayed(text []byte, b Bounds) ([]byte, error) {
	clean, err := Clean(text, b)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	for rest := string(clean); rest != ""; {
		line, after, ended := strings.Cut(rest, "\n")
		rest = after
		line, cr := strings.CutSuffix(line, "\r")
		line, ok := relayedLine(line)
		if !ok {
			continue
		}
		out.WriteString(line)
		if cr {
			out.WriteByte('\r')
		}
		if ended {
			out.WriteByte('\n')
		}
	}
	if hidden := []byte(out.String()); !bytes.Equal(hidden, clean) {
		return Clean(hidden, b) // what it says now is held to the same bounds
	}
	return clean, nil
}

// relayedLine returns what is told of a line that was checked; false: nothing.
func relayedLine(l string) (string, bool) {
	f := strings.Fields(l[2:])
	switch n := len(f); l[0] {
	case 'o', 'c': // … nettype addrtype address, RFC 8866 sections 5.2 and 5.7
		if n < 3 {
			return "", false
		}
		f[n-1] = "0.0.0.0"
		if f[n-2] == "IP6" {
			f[n-1] = "::"
		}
		return l[:2] + strings.Join(f, " "), true
	case 'm':
		if strings.Trim(f[1], "0") != "" { // a section with 0 is refused
			f[1] = hiddenPort
		}
		return l[:2] + strings.Join(f, " "), true
	case 'a':
		switch name, _, _ := strings.Cut(l[2:], ":"); name {
		case "candidate":
			return RelayedCandidate(l)
		case "rtcp": // RFC 3605 section 2.1: port, and perhaps an address
			return "a=rtcp:" + hiddenPort, true
		case "remote-candidates":
			return "", false
		}
	}
	return l, true
}

// RelayedCandidate returns what is told of a candidate that CheckCandidate has passed by somebody who gives away no addresses but
// those of relays; false: nothing. The end of candidates is told.
func RelayedCandidate(line string) (string, bool) {
	before, rest, ok := strings.Cut(line, "candidate:")
	if !ok {
		return line, true
	}
	f := strings.Fields(rest)
	if len(f) < 8 || f[7] != "relay" {
		return "", false
	}
	for i := 8; i+1 < len(f); i += 2 {
		switch f[i] {
		case "raddr":
			if len(f[i+1]) < len("::") {
				return "", false
			}
			f[i+1] = hide(f[i+1])
		case "rport":
			f[i+1] = hiddenPort
		}
	}
	return before + "candidate:" + strings.Join(f, " "), true
}

// hide returns what stands for an address that is not told. It is never longer.
func hide(addr string) string {
	if a, err := netip.ParseAddr(addr); err == nil && a.Is4() || err != nil && len(addr) >= len("0.0.0.0") {
		return "0.0.0.0"
	}
	return "::"
}
