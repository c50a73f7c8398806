package config

import (
	"net"
	"net/netip"
	"strconv"
)

// SFU is the server's part in the media of large calls.
type SFU struct {
	Enabled string   `yaml:"enabled"` // true or false; "": with dev only, on a free port of 127.0.0.1
	Listen  string   `yaml:"listen"`  // host:port, for UDP and TCP
	Public  []string `yaml:"public"`  // addresses under which others reach it; none: that of Listen
	Tracks  int      `yaml:"tracks"`  // that a party sends
	Audio   int      `yaml:"audio"`   // others whom a party hears at a time
	Video   int      `yaml:"video"`   // others whom a party sees at a time
	Bitrate Size     `yaml:"bitrate"` // a second, that a party sends
}

func defaultSFU() SFU {
	return SFU{Listen: "127.0.0.1:7882", Tracks: 4, Audio: 20, Video: 16, Bitrate: MiB}
}

// On reports whether there is an SFU.
func (s SFU) On(dev bool) bool { return s.Enabled == "true" || s.Enabled == "" && dev }

func (c *checker) sfu(cfg Config) {
	s := cfg.SFU
	if s.Enabled != "" {
		c.oneOf("sfu.enabled", s.Enabled, "true", "false")
	}
	c.address("sfu.listen", s.Listen)
	if host, _, err := net.SplitHostPort(s.Listen); err == nil && cfg.Dev && s.On(cfg.Dev) && !isLoopback(host) {
		c.fault("sfu.listen", "%s is no loopback address: with dev anybody may log in as anybody, so take 127.0.0.1, or leave dev out", s.Listen)
	}
	for i, p := range s.Public {
		a, err := netip.ParseAddr(p)
		if ap, e := netip.ParseAddrPort(p); e == nil {
			a, err = ap.Addr(), nil
		}
		if err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			c.fault(join("sfu.public", strconv.Itoa(i)), "%q must be the address under which others reach this server, like 203.0.113.7 or 203.0.113.7:7882", p)
		}
	}
	c.count("sfu.tracks", s.Tracks, 1, 16)
	c.count("sfu.audio", s.Audio, 1, 50)
	c.count("sfu.video", s.Video, 1, 50)
	c.size("sfu.bitrate", s.Bitrate, 8*KiB, GiB)
}
