package config

import (
	"strings"
	"testing"
)

func TestTURNFaults(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, c := range map[string]struct{ text, want string }{
		"enabled":        {"enabled: maybe", `turn.enabled: "maybe" must be one of true, false`},
		"every address":  {"enabled: true\n  listen: [\"[::]:3478\"]", "turn.public: is missing: listen is every address"},
		"nothing":        {"enabled: true\n  listen: []", "turn.listen: there is no address"},
		"two ports":      {"listen: [127.0.0.1:1, \"[::1]:2\"]", "turn.listen.1: must have port 1, as the first address has"},
		"a name":         {"listen: [turn.example.org:3478]", `turn.listen.0: "turn.example.org" must be an IP address`},
		"public":         {"public: [0.0.0.0]", "turn.public.0: \"0.0.0.0\" must be the address under which others reach this server"},
		"half a pair":    {"tls: {cert: petrel.yaml}", "turn.tls: cert and key go together"},
		"ports":          {"relay_ports: 50000-49000", `turn.relay_ports: "50000-49000" must be two ports`},
		"one port":       {"relay_ports: 50000", `turn.relay_ports: "50000" must be two ports`},
		"no secret":      {"secret_file: none", "turn.secret_file: none: no such file"},
		"peers":          {"allow_peers: [lan]", `turn.allow_peers.0: "lan" must be an address or a prefix`},
		"credentials":    {"credentials: 1s", "turn.credentials: 1s must be from 1m to 1d"},
		"limit":          {"limits: {failures: 0}", "turn.limits.failures: 0 must be from 1"},
		"bandwidth":      {"limits: {bandwidth: 1B}", "turn.limits.bandwidth: 1B must be from 8KiB"},
		"total":          {"limits: {total_bandwidth: 1MiB}", "turn.limits.total_bandwidth: 1MiB must be from 2MiB"},
		"external":       {"external: [{secret_file: petrel.yaml}]", "turn.external.0.urls: is missing"},
		"external url":   {"external: [{urls: [\"turn:a b\"]}]", `turn.external.0.urls.0: "turn:a b" must be like`},
		"stun transport": {"external: [{urls: [\"stun:a?transport=udp\"]}]", `turn.external.0.urls.0: "stun:a?transport=udp" must be like`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write(t, "turn:\n  "+c.text+"\n"), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestTURNOfDevIsOnLoopback(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := Load(write(t, "dev: true\n"), nil)
	if err != nil || !cfg.TURN.On(cfg.Dev) {
		t.Fatalf("in dev mode there is one: %v", err)
	}
	if cfg, err = Load(write(t, "dev: false\n"), nil); err != nil || cfg.TURN.On(cfg.Dev) {
		t.Fatalf("there is none unless somebody said so: %v", err)
	}
	if cfg, err = Load(write(t, "dev: true\nturn: {enabled: false, listen: [\"0.0.0.0:3478\"]}\n"), nil); err != nil || cfg.TURN.On(cfg.Dev) {
		t.Fatalf("false is false: %v", err)
	}
	_, err = Load(write(t, "dev: true\nturn: {listen: [\"0.0.0.0:3478\"], public: [192.0.2.1]}\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "turn.listen.0: 0.0.0.0:3478 is no loopback address") {
		t.Errorf("dev mode in the open: %v", err)
	}
}

func TestTURNOnTheAddressOfAnother(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := Load(write(t, "turn: {enabled: true, listen: [\"127.0.0.1:1883\"]}\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1883 is mqtt.0.addr already") {
		t.Errorf("got %v", err)
	}
}
