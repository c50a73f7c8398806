package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checker gathers faults under a path.
type checker struct{ faults Faults }

func (c *checker) fault(path, format string, args ...any) {
	c.faults = append(c.faults, Fault{Key: path, Text: fmt.Sprintf(format, args...)})
}

// Validate returns Faults that name everything that is wrong with the values, or nil. With Dev, every
// listener must be on a loopback address or a Unix socket: a server that takes any password is nobody
// else's.
func (cfg Config) Validate() error {
	c := &checker{}
	if cfg.Data == "" {
		c.fault("data", "must name a directory")
	}
	c.publicURL(cfg.PublicURL)
	if len(cfg.MQTT) == 0 && cfg.HTTP.Addr == "" {
		c.fault("mqtt", "there is no listener: give mqtt or http an address")
	}
	for i, l := range cfg.MQTT {
		c.listener(join("mqtt", strconv.Itoa(i)), l)
	}
	c.http(cfg.HTTP)
	if cfg.Metrics.Addr != "" {
		c.address("metrics.addr", cfg.Metrics.Addr)
	}
	c.addressesDiffer(cfg)
	if cfg.Dev {
		c.loopbackOnly(cfg)
	}
	c.limits(cfg.Limits)
	c.retention(cfg)
	c.auth(cfg.Auth)
	c.topics(cfg)
	c.notify(cfg.Notify)
	c.calls(cfg.Calls)
	c.turn(cfg)
	c.sfu(cfg)
	c.oneOf("people.messages", cmp.Or(cfg.People.Messages, "anyone"), "anyone", "requests", "shared")
	c.count("webhooks.per_second", cfg.Webhooks.PerSecond, 0, 1_000_000)
	c.duration("webhooks.timeout", cfg.Webhooks.Timeout, 100*time.Millisecond, 5*time.Minute)
	c.oneOf("log.level", cfg.Log.Level, "trace", "debug", "info", "warn", "error")
	c.oneOf("log.format", cfg.Log.Format, "text", "json")
	c.size("storage.cache", cfg.Storage.Cache, MiB, 1<<40)
	c.size("storage.memtable", cfg.Storage.Memtable, MiB, 2*GiB)
	c.count("search.share", cfg.Search.Share, 1, 100)
	c.size("search.cache", cfg.Search.Cache, MiB, GiB)
	c.size("storage.min_free", cfg.Storage.MinFree, 0, 1<<50)
	c.size("storage.reserve", cfg.Storage.Reserve, 0, 1<<50)
	if len(c.faults) > 0 {
		return c.faults
	}
	return nil
}

func (c *checker) listener(path string, l Listener) {
	switch {
	case l.Addr == "" && l.Unix == "":
		c.fault(path, "must have addr (host:port) or unix (a path)")
	case l.Addr != "" && l.Unix != "":
		c.fault(path, "has addr and unix: make two listeners of it")
	case l.Addr != "":
		c.address(path+".addr", l.Addr)
	case len(l.Unix) > 100:
		// sockaddr_un has room for 107 bytes, and the socket is made under a longer name first.
		c.fault(path+".unix", "a socket's path can have at most 100 bytes, this has %d", len(l.Unix))
	}
	if _, err := ParseMode(l.UnixMode); err != nil {
		c.fault(path+".unix_mode", "%s", err)
	} else if l.UnixMode != "" && l.Unix == "" {
		c.fault(path+".unix_mode", "is about Unix sockets, and this listener is none")
	}
	c.tls(path+".tls", l.TLS)
	c.prefixes(path+".trusted_proxies", l.TrustedProxies)
	if l.ProxyProtocol && l.Unix == "" && len(l.TrustedProxies) == 0 {
		c.fault(path+".trusted_proxies", "proxy_protocol needs the addresses of the proxies: anybody else could claim any address")
	}
	if !l.ProxyProtocol && len(l.TrustedProxies) > 0 {
		c.fault(path+".trusted_proxies", "has no effect without proxy_protocol: true")
	}
}

func (c *checker) http(h HTTP) {
	if h.Addr == "" {
		return
	}
	c.address("http.addr", h.Addr)
	c.tls("http.tls", h.TLS)
	c.prefixes("http.trusted_proxies", h.TrustedProxies)
	if !strings.HasPrefix(h.Path, "/") || strings.ContainsAny(h.Path, "{} ?#") {
		c.fault("http.path", "%q must be a path like /mqtt", h.Path)
	}
	if slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, h.Path) {
		c.fault("http.path", "%s is taken: choose another, like /mqtt", h.Path)
	}
	for i, o := range h.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || strings.TrimSuffix(u.Scheme+"://"+u.Host, "/") != o || strings.Contains(o, "*") {
			c.fault(join("http.origins", strconv.Itoa(i)), "%q must be scheme://host or scheme://host:port, like https://chat.example.org", o)
		}
	}
}

func (c *checker) address(path, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		c.fault(path, "%q must be host:port, like 127.0.0.1:1883 or [::]:8883", addr)
	}
}

func (c *checker) tls(path string, t TLS) {
	if t.Cert != "" && t.Key == "" {
		c.fault(path+".key", "is missing: cert and key go together")
	}
	if t.Key != "" && t.Cert == "" {
		c.fault(path+".cert", "is missing: cert and key go together")
	}
	c.file(path+".cert", t.Cert)
	c.file(path+".key", t.Key)
	c.file(path+".client_ca", t.ClientCA)
	c.oneOf(path+".client_auth", cmp.Or(t.ClientAuth, "none"), "none", "request", "require")
	asks := t.ClientAuth == "request" || t.ClientAuth == "require"
	switch {
	case asks && t.ClientCA == "":
		c.fault(path+".client_ca", "is missing: client_auth needs the certificate that signs the clients'")
	case !asks && t.ClientCA != "":
		c.fault(path+".client_auth", "must be request or require, or client_ca has no effect")
	}
	if !t.On() && (t.ClientCA != "" || asks) {
		c.fault(path, "asks for client certificates, but has no cert and key of its own")
	}
}

// file faults a named file that can't be read.
func (c *checker) file(path, name string) {
	if name == "" {
		return
	}
	f, err := os.Open(name)
	if err != nil {
		reason := err
		var pe *fs.PathError
		if errors.As(err, &pe) {
			reason = pe.Err
		}
		c.fault(path, "%s: %s", name, reason)
		return
	}
	defer f.Close() //nolint:errcheck // only read
	if st, err := f.Stat(); err == nil && st.IsDir() {
		c.fault(path, "%s is a directory, not a file", name)
	}
}

func (c *checker) prefixes(path string, list []string) {
	for i, s := range list {
		if _, err := ParsePrefix(s); err != nil {
			c.fault(join(path, strconv.Itoa(i)), "%s", err)
		}
	}
}

func (c *checker) oneOf(path, got string, want ...string) {
	if !slices.Contains(want, got) {
		c.fault(path, "%q must be one of %s", got, strings.Join(want, ", "))
	}
}

func (c *checker) size(path string, got, low, high Size) {
	if got < low || got > high {
		c.fault(path, "%s must be from %s to %s", got, low, high)
	}
}

func (c *checker) count(path string, got, low, high int) {
	if got < low || got > high {
		c.fault(path, "%d must be from %d to %d", got, low, high)
	}
}

func (c *checker) duration(path string, got, low, high time.Duration) {
	if got < low || got > high {
		c.fault(path, "%s must be from %s to %s", FormatDuration(got), FormatDuration(low), FormatDuration(high))
	}
}

// addressesDiffer faults two listeners on one address; port 0 is a free one each time.
func (c *checker) addressesDiffer(cfg Config) {
	seen := map[string]string{}
	note := func(path, addr string) {
		if addr == "" || strings.HasSuffix(addr, ":0") {
			return
		}
		if first, twice := seen[addr]; twice {
			c.fault(path, "%s is %s already: one address, one listener", addr, first)
			return
		}
		seen[addr] = path
	}
	for i, l := range cfg.MQTT {
		path := join("mqtt", strconv.Itoa(i))
		note(path+".addr", l.Addr)
		note(path+".unix", l.Unix)
	}
	note("http.addr", cfg.HTTP.Addr)
	note("metrics.addr", cfg.Metrics.Addr)
	if cfg.TURN.On(cfg.Dev) && cfg.TURN.Enabled != "" {
		for i, at := range cfg.TURN.Listen {
			note(join("turn.listen", strconv.Itoa(i)), at)
		}
	}
	if cfg.SFU.On(cfg.Dev) && cfg.SFU.Enabled != "" {
		note("sfu.listen", cfg.SFU.Listen)
	}
}

func (c *checker) loopbackOnly(cfg Config) {
	note := func(path, addr string) {
		if host, _, err := net.SplitHostPort(addr); err == nil && !isLoopback(host) {
			c.fault(path, "%s is no loopback address: with dev anybody may log in as anybody, so take 127.0.0.1, or leave dev out", addr)
		}
	}
	for i, l := range cfg.MQTT {
		note(join("mqtt", strconv.Itoa(i))+".addr", l.Addr)
		if l.ProxyProtocol {
			c.fault(join("mqtt", strconv.Itoa(i))+".proxy_protocol", "lets others in through a proxy: leave it out with dev")
		}
	}
	note("http.addr", cfg.HTTP.Addr)
	note("metrics.addr", cfg.Metrics.Addr)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// ParsePrefix reads 10.0.0.0/8, 10.1.2.3 or 2001:db8::/32.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q must be an address or a prefix, like 10.1.2.3 or 10.0.0.0/8", s)
	}
	return p.Masked(), nil
}

// ParsePrefixes reads a list that Validate accepted.
func ParsePrefixes(list []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		p, err := ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// ParseMode reads the permissions of a socket: octal, "" is 0600.
func ParseMode(s string) (fs.FileMode, error) {
	if s == "" {
		return 0o600, nil
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf("%q must be octal permissions, like 0660", s)
	}
	return fs.FileMode(n), nil
}
