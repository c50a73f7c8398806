package link

import (
	"crypto/x509"
	"net"
	"net/url"
	"strings"
	"testing"
	"unicode"
)

// idle is a connection whose writer does not run: the server reads nothing.
func idle(t *testing.T) *connection {
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	l, err := New(Options{Server: &url.URL{Scheme: "mqtt", Host: "x"}, User: "ann", ClientID: "a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newConnection(l, newWire(here, &l.o), Session{}, 0)
}

// TestAnswersAreBounded: a server that asks and takes no answers does not fill the memory.
func TestAnswersAreBounded(t *testing.T) {
	for what, once := range map[string]func(*connection){
		"PUBREL":  func(c *connection) { c.released(7) },
		"PUBLISH": func(c *connection) { c.owe(7, 2) },
	} {
		c := idle(t)
		for range receiveMost {
			once(c)
		}
		if why := c.w.why(); why != nil {
			t.Errorf("%s: so many may be under way: %v", what, why)
		}
		for range receiveMost {
			once(c)
		}
		if why := c.w.why(); why == nil || len(c.control) > controlMost || len(c.dues.list) > receiveMost {
			t.Errorf("%s: %v, %d bytes, %d acknowledgements", what, why, len(c.control), len(c.dues.list))
		}
	}
}

// TestCertificatesAreNotBelieved: whoever answers in a server's place chooses the names in a certificate.
func TestCertificatesAreNotBelieved(t *testing.T) {
	cert := &x509.Certificate{DNSNames: []string{"evil\x1b]0;owned\x07\n.example"}}
	got := unreachable(&url.URL{Scheme: "mqtts", Host: "chat.example.org"}, x509.HostnameError{Certificate: cert, Host: "chat.example.org"}).Error()
	if strings.ContainsFunc(got, unicode.IsControl) || !strings.Contains(got, "check the address") {
		t.Errorf("%q", got)
	}
}
