package config

import (
	"strings"
	"testing"
)

func TestSFUFaults(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, c := range map[string]struct{ text, want string }{
		"enabled": {"enabled: maybe", `sfu.enabled: "maybe" must be one of true, false`},
		"listen":  {"listen: here", "sfu.listen:"},
		"public":  {"public: [sfu.example.org]", `sfu.public.0: "sfu.example.org" must be the address`},
		"tracks":  {"tracks: 0", "sfu.tracks: 0 must be from 1"},
		"video":   {"video: 1000", "sfu.video: 1000 must be from 1 to 50"},
		"bitrate": {"bitrate: 1B", "sfu.bitrate: 1B must be from 8KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write(t, "sfu:\n  "+c.text+"\n"), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := Load(write(t, "dev: true\nsfu: {listen: \"0.0.0.0:7882\"}\n"), nil); err == nil || !strings.Contains(err.Error(), "sfu.listen: 0.0.0.0:7882 is no loopback address") {
		t.Errorf("dev mode in the open: %v", err)
	}
	cfg, err := Load(write(t, "sfu: {public: [203.0.113.7, \"[2001:db8::1]:7882\"]}\n"), nil)
	if err != nil || cfg.SFU.On(cfg.Dev) || !cfg.SFU.On(true) {
		t.Errorf("there is one with dev, or if somebody said so: %v", err)
	}
}
