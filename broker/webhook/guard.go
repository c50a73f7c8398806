package webhook

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/petrelchat/petrel/internal/egress"
)

// Bounds of one exchange.
const (
	maxAnswer  = 4 << 10 // bytes of a body that are read; it is of no use
	maxHeaders = 16 << 10
)

// client returns what sends: through no proxy, since that would dial in our place; following no redirect,
// since the owner named one place; each step bounded in time.
func (o *Options) client(s Settings) *http.Client {
	g := egress.Guard{All: s.AllowPrivate}
	if s.AllowLoopback {
		g.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	var trust *tls.Config
	if o.TLS != nil {
		trust = o.TLS.Clone()
	}
	d := &net.Dialer{Timeout: s.Timeout, Control: g.Control}
	return &http.Client{
		Timeout:       s.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: d.DialContext, TLSClientConfig: trust, TLSHandshakeTimeout: s.Timeout, ResponseHeaderTimeout: s.Timeout,
			MaxResponseHeaderBytes: maxHeaders, MaxIdleConns: sendsMax, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
			DisableCompression: true, // a bomb would be unpacked
			ForceAttemptHTTP2:  true,
		},
	}
}
