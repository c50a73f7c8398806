package config

import (
	"net/url"
	"strings"
	"time"
)

func (c *checker) notify(n Notify) {
	c.duration("notify.window", n.Window, 100*time.Millisecond, time.Hour)
	c.count("notify.per_hour", n.PerHour, 1, 10_000)
	c.duration("notify.ttl", n.TTL, time.Minute, 28*day)
	c.count("notify.workers", n.Workers, 1, 1000)
	if n.Contact != "" {
		// What RFC 8292 §2.1 lets "sub" be.
		u, err := url.Parse(n.Contact)
		if err != nil || u.Scheme != "mailto" && u.Scheme != "https" || u.Opaque == "" && u.Host == "" {
			c.fault("notify.contact", "%q must be mailto: and an address, or an https: URL", n.Contact)
		}
	}
	c.prefixes("notify.allow", n.Allow)
	c.file("notify.fcm.credentials", n.FCM.Credentials)
	c.service("notify.fcm.endpoint", n.FCM.Endpoint)
	a := n.APNs
	c.file("notify.apns.key", a.Key)
	c.service("notify.apns.host", a.Host)
	for _, s := range []struct{ path, value string }{
		{"notify.apns.key_id", a.KeyID}, {"notify.apns.team_id", a.TeamID}, {"notify.apns.topic", a.Topic},
	} {
		if a.Key != "" && s.value == "" {
			c.fault(s.path, "is missing: APNs needs key, key_id, team_id and topic")
		}
	}
}

func (c *checker) calls(n Calls) {
	for _, l := range []struct {
		path string
		n    int
	}{
		{"per_user", n.PerUser}, {"parties", n.Parties}, {"rung", n.Rung},
		{"starts_per_pair", n.StartsPerPair}, {"starts_per_user", n.StartsPerUser}, {"signals", n.Signals},
	} {
		c.count("calls."+l.path, l.n, 1, 1_000_000)
	}
}

// service holds the address of a push service to https, but for tests on this machine.
func (c *checker) service(path, value string) {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) || strings.ContainsAny(value, "?#") {
		c.fault(path, "%q must be a URL that begins with https://", value)
	}
}
