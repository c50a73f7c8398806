package config

import (
	"cmp"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"time"
)

func (c *checker) turn(cfg Config) {
	t := cfg.TURN
	if t.Enabled != "" {
		c.oneOf("turn.enabled", t.Enabled, "true", "false")
	}
	c.turnAddresses(t, cfg.Dev)
	if (t.TLS.Cert == "") != (t.TLS.Key == "") {
		c.fault("turn.tls", "cert and key go together")
	}
	c.file("turn.tls.cert", t.TLS.Cert)
	c.file("turn.tls.key", t.TLS.Key)
	c.file("turn.secret_file", t.SecretFile)
	if _, _, err := ParsePorts(t.RelayPorts); err != nil {
		c.fault("turn.relay_ports", "%s", err)
	}
	if len(t.Realm) < 1 || len(t.Realm) > 127 {
		c.fault("turn.realm", "must have from 1 to 127 bytes")
	}
	c.prefixes("turn.allow_peers", t.AllowPeers)
	c.duration("turn.credentials", t.Credentials, time.Minute, day)
	l := t.Limits
	for _, n := range []struct {
		path  string
		value int
	}{
		{"allocations", l.Allocations}, {"allocations_per_user", l.AllocationsPerUser}, {"allocations_per_address", l.AllocationsPerAddress},
		{"permissions", l.Permissions}, {"connections", l.Connections}, {"connections_per_address", l.ConnectionsPerAddress}, {"failures", l.Failures},
	} {
		c.count("turn.limits."+n.path, n.value, 1, 1_000_000)
	}
	c.size("turn.limits.bandwidth", l.Bandwidth, 8*KiB, GiB)
	if l.TotalBandwidth != 0 {
		c.size("turn.limits.total_bandwidth", l.TotalBandwidth, l.Bandwidth, 1<<40)
	}
	c.duration("turn.limits.lifetime", l.Lifetime, time.Minute, 30*day)
	for i, e := range t.External {
		c.turnServer(join("turn.external", strconv.Itoa(i)), e)
	}
}

func (c *checker) turnAddresses(t TURN, dev bool) {
	port, everywhere := "", false
	for i, at := range t.Listen {
		path := join("turn.listen", strconv.Itoa(i))
		c.address(path, at)
		host, p, err := net.SplitHostPort(at)
		if err != nil {
			continue
		}
		if port != "" && p != port {
			c.fault(path, "must have port %s, as the first address has", port)
		}
		port = cmp.Or(port, p)
		a, err := netip.ParseAddr(host)
		if host != "" && err != nil {
			c.fault(path, "%q must be an IP address", host)
		}
		everywhere = everywhere || host == "" || a.IsUnspecified()
		if dev && t.On(dev) && !isLoopback(host) {
			c.fault(path, "%s is no loopback address: with dev anybody may log in as anybody, so take 127.0.0.1, or leave dev out", at)
		}
	}
	for i, s := range t.Public {
		if a, err := netip.ParseAddr(s); err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			c.fault(join("turn.public", strconv.Itoa(i)), "%q must be the address under which others reach this server, like 203.0.113.7", s)
		}
	}
	if !t.On(dev) {
		return
	}
	if len(t.Listen) == 0 {
		c.fault("turn.listen", "there is no address: name one, or say enabled: false")
	}
	if everywhere && len(t.Public) == 0 {
		c.fault("turn.public", "is missing: listen is every address, and peers must be told which of them reach this server")
	}
}

func (c *checker) turnServer(path string, e TURNServer) {
	if len(e.URLs) == 0 {
		c.fault(path+".urls", "is missing, like [turn:turn.example.org:3478]")
	}
	valid := regexp.MustCompile(`^(stuns?:[^?@\s/#]+|turns?:[^?@\s/#]+(\?transport=(udp|tcp))?)$`) // RFC 7064, 7065
	for i, u := range e.URLs {
		if !valid.MatchString(u) {
			c.fault(join(path+".urls", strconv.Itoa(i)), "%q must be like stun:host:3478, turn:host:3478?transport=udp or turns:host:5349", u)
		}
	}
	c.file(path+".secret_file", e.SecretFile)
}
