package push

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/egress"
)

// Guard keeps users from having the server call what only the server can reach.
type Guard struct {
	Allow []netip.Prefix // addresses that may be called although they are not public
	Plain bool           // http:// to loopback addresses that are allowed: for development
}

func (g *Guard) allows(a netip.Addr) bool { return egress.Guard{Allow: g.Allow}.Allows(a) }

// Check refuses endpoints that will never be called. That a name leads to a public address shows when it is called.
func (g *Guard) Check(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return chat.Refuse(chat.BadRequest, "endpoint is a URL, like https://push.example.org/abc")
	}
	if u.User != nil || u.Fragment != "" {
		return chat.Refuse(chat.BadRequest, "endpoint has no user, password or fragment")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	addr, err := netip.ParseAddr(host)
	literal := err == nil
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if local { // RFC 6761 §6.3
		addr, literal = netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	}
	if literal && !g.allows(addr) {
		return chat.Refuse(chat.BadRequest, "endpoint is at an address that is not public: this server does not call it")
	}
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && g.Plain && literal && addr.Unmap().IsLoopback():
		return nil
	}
	return chat.Refuse(chat.BadRequest, "endpoint begins with https://")
}

// Bounds of a call. The whole of it is bounded by its context.
const (
	dialTimeout   = 5 * time.Second
	headerTimeout = 10 * time.Second
	headerBytes   = 16 << 10
)

// Client returns a client for endpoints that users name. It uses no proxy of the environment, which would
// connect in its stead, and hands redirects back as they are.
func (g *Guard) Client() *http.Client {
	d := &net.Dialer{Timeout: dialTimeout, Control: egress.Guard{Allow: g.Allow}.Control}
	return client(d.DialContext)
}

func client(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dial, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: headerTimeout,
			MaxResponseHeaderBytes: headerBytes, MaxIdleConns: 64, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
		},
	}
}

// bare takes from an error what http.Client adds to it: the URL, which is as good as a password.
func bare(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var oe *net.OpError
	if errors.As(err, &oe) && oe.Err != nil {
		err = oe.Err
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return errors.New("the endpoint's name can't be resolved")
	}
	return fmt.Errorf("calling the endpoint: %w", err)
}
