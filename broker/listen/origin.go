package listen

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// checkOrigin refuses WebSockets that a foreign web page opens in somebody's browser (RFC 6455 §10.2).
// What is no browser sends no Origin.
func (l *HTTP) checkOrigin(r *http.Request) error {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return nil
	}
	origin := values[0]
	u, err := url.Parse(origin)
	if err != nil || len(values) > 1 || u.Scheme == "" || u.Host == "" {
		return errors.New("the Origin is none: pages without one (files, sandboxed frames) may not connect")
	}
	if l.o.Dev {
		if !isLoopbackHost(u.Hostname()) {
			return fmt.Errorf("the page is from %s: with --dev only pages from this machine may connect", u.Host)
		}
		return nil
	}
	if hostOf(u.Scheme, u.Host) == hostOf(u.Scheme, r.Host) {
		return nil
	}
	same := func(allowed string) bool { return strings.EqualFold(allowed, u.Scheme+"://"+u.Host) }
	if slices.ContainsFunc(*l.origins.Load(), same) {
		return nil
	}
	return fmt.Errorf("pages from %s://%s may not connect: add that to http.origins if they should", u.Scheme, u.Host)
}

// hostOf is the host in lower case without its scheme's default port.
func hostOf(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

func isLoopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// offersMQTT looks for the subprotocol in all lines of its header.
func offersMQTT(h http.Header) bool {
	for _, line := range h.Values("Sec-WebSocket-Protocol") {
		for word := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(word) == "mqtt" {
				return true
			}
		}
	}
	return false
}

// ClientAddr is the address that a request to one of the handlers came from.
func (l *HTTP) ClientAddr(r *http.Request) netip.Addr { return l.clientAddr(r) }

// clientAddr is the address that the request came from: through trusted proxies, the last one in
// X-Forwarded-For that is not itself a trusted proxy. What stands further left anybody may have written.
func (l *HTTP) clientAddr(r *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	client := remote.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !trusted(l.o.TrustedProxies, client) {
			break
		}
		a, ok := parseHop(hop)
		if !ok {
			break
		}
		client = a
	}
	return client
}

// parseHop reads an entry of X-Forwarded-For: an address, with a port if the proxy adds one.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}
