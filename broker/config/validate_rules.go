package config

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// userID is a user as PROTOCOL.md has it.
var userID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (c *checker) limits(l Limits) {
	c.duration("limits.connect_timeout", l.ConnectTimeout, 100*time.Millisecond, 10*time.Minute)
	c.duration("limits.write_timeout", l.WriteTimeout, 100*time.Millisecond, time.Hour)
	c.duration("limits.drain_timeout", l.DrainTimeout, 0, time.Hour)
	// A remaining length has four bytes at most, so a packet 256 MiB [MQTT-1.5.5-1].
	c.size("limits.packet", l.Packet, KiB, 256*MiB)
	c.size("limits.packet_before_auth", l.PacketBeforeAuth, 256, 256*MiB)
	c.size("limits.event", l.Event, 256, 256*MiB)
	if l.PacketBeforeAuth > l.Packet {
		c.fault("limits.packet_before_auth", "%s is more than limits.packet (%s): make it at most that", l.PacketBeforeAuth, l.Packet)
	}
	if l.Event > l.Packet {
		c.fault("limits.event", "%s is more than limits.packet (%s): make it at most that", l.Event, l.Packet)
	}
	c.count("limits.group_members", l.GroupMembers, 1, 1_000_000)
	c.count("limits.requests_per_second", l.RequestsPerSecond, 0, 1_000_000)
	c.count("limits.events_per_second", l.EventsPerSecond, 0, 1_000_000)
	c.count("limits.burst", l.Burst, 1, 1000)
	c.count("limits.subscriptions", l.Subscriptions, 1, 1_000_000)
	c.count("limits.topic_levels", l.TopicLevels, 4, 32_768)
	// Receive Maximum and packet ids have 16 bits [MQTT-2.2.1-3].
	c.count("limits.inflight", l.Inflight, 1, 65_535)
	c.count("limits.inflight_v3", l.InflightV3, 1, 65_535)
	c.count("limits.receive_maximum", l.ReceiveMaximum, 1, 65_535)
	c.count("limits.user_properties", l.UserProperties, 0, 65_535)
	c.count("limits.sessions_per_user", l.SessionsPerUser, 1, 1_000_000)
	c.size("limits.queue.bytes", l.Queue.Bytes, 0, 1<<50)
	c.size("limits.queue.bytes_per_user", l.Queue.BytesPerUser, 0, 1<<50)
	if l.Queue.BytesPerUser > 0 && l.Queue.BytesPerUser < l.Queue.Bytes {
		c.fault("limits.queue.bytes_per_user", "%s is less than limits.queue.bytes (%s), which one session alone may use", l.Queue.BytesPerUser, l.Queue.Bytes)
	}
}

func (c *checker) retention(cfg Config) {
	r, k := cfg.Retention, cfg.KeepAlive
	c.duration("retention.log_age", r.LogAge, 0, 36500*day)
	c.duration("retention.session_expiry_v3", r.SessionExpiryV3, time.Second, 36500*day)
	c.duration("retention.session_expiry_max", r.SessionExpiryMax, time.Second, 36500*day)
	c.duration("retention.retry_keys", r.RetryKeys, time.Minute, 36500*day)
	c.duration("retention.reads", r.Reads, 0, 36500*day)
	c.duration("presence.coalesce", cfg.Presence.Coalesce, 0, 10*time.Minute)
	for _, s := range []struct {
		path string
		d    time.Duration
	}{{"keep_alive.server", k.Server}, {"keep_alive.max", k.Max}} {
		// Two bytes of seconds [MQTT-3.1.2-22].
		c.duration(s.path, s.d, 0, 65_535*time.Second)
		if s.d%time.Second != 0 {
			c.fault(s.path, "%s must be whole seconds", FormatDuration(s.d))
		}
	}
	if k.Max > 0 && k.Server > k.Max {
		c.fault("keep_alive.server", "%s is more than keep_alive.max (%s)", FormatDuration(k.Server), FormatDuration(k.Max))
	}
}

func (c *checker) auth(a Auth) {
	c.size("auth.argon2.memory", a.Argon2.Memory, 8*KiB, 4*GiB)
	c.count("auth.argon2.time", a.Argon2.Time, 1, 100)
	c.count("auth.argon2.threads", a.Argon2.Threads, 1, 255)
	c.duration("auth.jwt.leeway", a.JWT.Leeway, 0, time.Hour)
	kids := map[string]bool{}
	for i, k := range a.JWT.Keys {
		path := "auth.jwt.keys." + strconv.Itoa(i)
		if k.File == "" {
			c.fault(path+".file", "is missing: name the file with the key")
		}
		c.file(path+".file", k.File)
		c.oneOf(path+".alg", k.Alg, "HS256", "RS256", "ES256", "EdDSA")
		if kids[k.KID] && k.KID != "" {
			c.fault(path+".kid", "%q is taken by a key above: each has its own", k.KID)
		}
		kids[k.KID] = true
	}
	if len(a.JWT.Keys) == 0 && (a.JWT.Issuer != "" || a.JWT.Audience != "" || a.JWT.Admin) {
		c.fault("auth.jwt.keys", "there are none: without a key no token is accepted")
	}
	c.count("auth.throttle.failures", a.Throttle.Failures, 1, 1000)
	c.duration("auth.throttle.window", a.Throttle.Window, time.Second, day)
	c.duration("auth.throttle.delay", a.Throttle.Delay, time.Millisecond, time.Hour)
	c.duration("auth.throttle.max", a.Throttle.Max, 0, day)
	if a.Throttle.Max < a.Throttle.Delay {
		c.fault("auth.throttle.max", "%s is less than auth.throttle.delay (%s)", FormatDuration(a.Throttle.Max), FormatDuration(a.Throttle.Delay))
	}
}

func (c *checker) topics(cfg Config) {
	for i, r := range cfg.ACL {
		path := "acl." + strconv.Itoa(i)
		if len(r.Users) == 0 {
			c.fault(path+".users", "is missing: name user ids, or \"*\" for every authenticated user")
		}
		for j, u := range r.Users {
			if u != "*" {
				c.user(path+".users."+strconv.Itoa(j), u)
			}
		}
		c.filter(path+".filter", r.Filter)
		switch first, _, _ := strings.Cut(r.Filter, "/"); first {
		case "c", "u", "k", "rpc":
			c.fault(path+".filter", "%s/ is not under the ACL: membership decides there", first)
		}
		if !r.Read && !r.Write {
			c.fault(path, "has no effect: say read: true, write: true or both (and deny: true to forbid it)")
		}
	}
	for i, f := range cfg.DenyFilters {
		c.filter("deny_filters."+strconv.Itoa(i), f)
	}
	for i, u := range cfg.Admins {
		c.user("admins."+strconv.Itoa(i), u)
	}
}

func (c *checker) user(path, id string) {
	if !userID.MatchString(id) {
		c.fault(path, "%q is no user id: 1 to 64 of A-Z a-z 0-9 . _ -", id)
	}
}

// filter checks the rules of topic filters [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1].
func (c *checker) filter(path, f string) {
	if f == "" {
		c.fault(path, "is missing: write a topic filter, like news/#")
		return
	}
	levels := strings.Split(f, "/")
	for i, l := range levels {
		if strings.Contains(l, "#") && (l != "#" || i != len(levels)-1) {
			c.fault(path, "%q is no topic filter: # must be the whole last level, like news/#", f)
			return
		}
		if strings.Contains(l, "+") && l != "+" {
			c.fault(path, "%q is no topic filter: + must be a whole level, like news/+/today", f)
			return
		}
	}
	if len(f) > 65_535 || strings.ContainsRune(f, 0) {
		c.fault(path, "a topic filter has no zero byte and at most 65535 bytes")
	}
}

// publicURL holds it to what something can be appended to.
func (c *checker) publicURL(v string) {
	if v == "" {
		return
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.HasSuffix(v, "/") || strings.ContainsAny(v, "?#") {
		c.fault("public_url", "%q must be an address without a slash at its end, like https://chat.example.org", v)
	}
}
