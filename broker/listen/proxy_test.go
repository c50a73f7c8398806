package listen

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// v2 makes a version 2 header.
func v2(command, family byte, body ...byte) string {
	h := append(bytes.Clone(proxyV2Start), 2<<4|command, family, byte(len(body)>>8), byte(len(body)))
	return string(append(h, body...))
}

var (
	v2IPv4 = v2(1, 0x11, 192, 0, 2, 1, 10, 0, 0, 1, 0x13, 0x88, 0x07, 0x5b)
	v2IPv6 = v2(1, 0x21, append(bytes.Repeat([]byte{0x20}, 32), 0, 1, 0, 2)...)
)

var proxyHeaders = map[string]string{ // header → client, "" for none
	"PROXY TCP4 192.0.2.1 10.0.0.1 5000 1883\r\n":      "192.0.2.1",
	"PROXY TCP6 2001:db8::1 2001:db8::2 5000 1883\r\n": "2001:db8::1",
	"PROXY TCP6 ::ffff:192.0.2.1 ::1 5000 1883\r\n":    "192.0.2.1",
	"PROXY UNKNOWN\r\n":                                "",
	"PROXY UNKNOWN ffff:f::1 whatever 1 2\r\n":         "",
	v2IPv4:   "192.0.2.1",
	v2IPv6:   "2020:2020:2020:2020:2020:2020:2020:2020",
	v2(0, 0): "",
	v2(1, 0x31, bytes.Repeat([]byte{'u'}, 216)...):                                    "",
	v2(1, 0x11, append([]byte{1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2}, 0x20, 0, 1, 9)...): "1.2.3.4", // with a TLV
}

func TestProxyHeaders(t *testing.T) {
	for header, want := range proxyHeaders {
		got, n, err := parseProxy([]byte(header + "rest"))
		if err != nil || n != len(header) || (want == "") == got.IsValid() || want != "" && got.String() != want {
			t.Errorf("%q: %v, %d, %v", header, got, n, err)
		}
		for i := range len(header) {
			if _, _, err := parseProxy([]byte(header[:i])); !errors.Is(err, errProxyShort) {
				t.Errorf("%q cut after %d: %v, want errProxyShort", header, i, err)
			}
		}
	}
}

func TestProxyHeadersThatAreNone(t *testing.T) {
	for _, text := range []string{
		"\x10\x0c\x00\x04MQTT", "PROXY TCP4 192.0.2.1 10.0.0.1 5000\r\n", "PROXY TCP4 2001:db8::1 ::1 5000 1883\r\n",
		"PROXY TCP6 192.0.2.1 10.0.0.1 5000 1883\r\n", "PROXY TCP4 192.0.2.1 10.0.0.1 70000 1883\r\n",
		"PROXY UDP4 192.0.2.1 10.0.0.1 5000 1883\r\n", "PROXY TCP4 192.0.2.300 10.0.0.1 5000 1883\r\n", "PROXY \r\n",
		"PROXY " + strings.Repeat("x", 200), "PROXX", v2(2, 0), v2(1, 0x11, 1, 2, 3), v2(1, 0x21, 1, 2, 3),
		string(append(bytes.Clone(proxyV2Start), 0x11, 0, 0, 0)), string(append(bytes.Clone(proxyV2Start), 0x21, 0, 0xff, 0xff)),
	} {
		if a, n, err := parseProxy([]byte(text)); !errors.Is(err, errProxyHeader) {
			t.Errorf("%q: %v, %d, %v", text, a, n, err)
		}
	}
}

// readerConn is a connection that only reads.
type readerConn struct {
	net.Conn
	io.Reader
}

func (c readerConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func TestReadProxyLeavesTheStreamWhole(t *testing.T) {
	long := v2(1, 0x11, append([]byte{192, 0, 2, 9, 10, 0, 0, 1, 0, 1, 0, 2}, make([]byte, 3000)...)...)
	for _, header := range []string{v2IPv4, long, "PROXY TCP4 192.0.2.1 10.0.0.1 5000 1883\r\n"} {
		for name, slow := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		} {
			c, client, err := readProxy(readerConn{Reader: slow(strings.NewReader(header + "the rest"))})
			if err != nil || !client.IsValid() {
				t.Fatalf("%s: %v, %v", name, client, err)
			}
			rest, err := io.ReadAll(c)
			if err != nil || string(rest) != "the rest" {
				t.Errorf("%s: went on with %q, %v", name, rest, err)
			}
		}
	}
	if _, _, err := readProxy(readerConn{Reader: strings.NewReader("PROXY TCP4")}); !errors.Is(err, io.EOF) {
		t.Errorf("a cut header: %v", err)
	}
}

func FuzzProxy(f *testing.F) {
	for h := range proxyHeaders {
		f.Add([]byte(h))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		client, n, err := parseProxy(b)
		if err != nil {
			if n != 0 || client.IsValid() {
				t.Fatalf("an error, but %v, %d", client, n)
			}
			if errors.Is(err, errProxyShort) && len(b) >= proxyMax {
				t.Fatalf("asks for more than its bound after %d bytes", len(b))
			}
			return
		}
		if n <= 0 || n > len(b) || n > proxyMax {
			t.Fatalf("a header of %d in %d bytes", n, len(b))
		}
		// What follows must not change what the header says, and every cut of it is incomplete.
		again, m, err := parseProxy(b[:n])
		if again != client || m != n || err != nil {
			t.Fatalf("alone it is %v, %d, %v; was %v, %d", again, m, err, client, n)
		}
		if _, _, err := parseProxy(b[:n-1]); err == nil {
			t.Fatal("it is complete without its last byte too")
		}
		if client.IsValid() && (client.Is4In6() || client.Zone() != "") {
			t.Fatalf("%v is not in its plain form", client)
		}
	})
}
