package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, text string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("petrel.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "petrel.yaml"
}

func TestExampleFileShowsEverySettingWithItsDefault(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "petrel.yaml")
	got, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), got); d != "" {
		t.Errorf("docs/petrel.yaml and Default differ (-default +file):\n%s", d)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	walkType(reflect.TypeFor[Config](), "", func(p string) {
		if strings.HasPrefix(p, "auth.jwt.keys.") {
			return // no default; shown in a comment
		}
		name := p[strings.LastIndexByte(p, '.')+1:]
		if !strings.Contains(string(text), name+":") {
			t.Errorf("docs/petrel.yaml does not show %s", p)
		}
	})
}

func TestNothingMeansDefault(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "limits:\n", "{}"} {
		got, err := Load(write(t, text), []string{"HOME=/home/x", "PETREL_PASSWORD=secret"})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if d := cmp.Diff(Default(), got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestLoadSetsWhatTheFileSays(t *testing.T) {
	got, err := Load(write(t, `
mqtt:
  - addr: "[::1]:1884"
    tls: {client_auth: none}
  - unix: mqtt.sock
    unix_mode: 0660
limits: {packet: 2MiB, connect_timeout: 1m30s}
retention:
  log_age: 1d12h
acl: []
deny_filters: ["test/nosubscribe"]
admins: [ann, bob]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.MQTT = []Listener{{Addr: "[::1]:1884", TLS: TLS{ClientAuth: "none"}}, {Unix: "mqtt.sock", UnixMode: "0660"}}
	want.Limits.Packet, want.Limits.ConnectTimeout = 2*MiB, 90*time.Second
	want.Retention.LogAge = 36 * time.Hour
	want.ACL, want.DenyFilters, want.Admins = nil, []string{"test/nosubscribe"}, []string{"ann", "bob"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestVariablesStandAboveTheFileAndFlagsAboveBoth(t *testing.T) {
	path := write(t, "data: from-file\nlimits: {packet: 2MiB}\nlog: {level: warn}\n")
	env := []string{
		"PETREL_DATA=from-env", "PETREL_LIMITS_PACKET=3MiB", "PETREL_ADMINS=ann, bob", "PETREL_MQTT_ADDR=127.0.0.1:1",
		"PETREL_MQTT_1_ADDR=127.0.0.1:2", "PETREL_LIMITS_QUEUE_BYTES_PER_USER=1GiB", "PETREL_ACL_0_USERS=ann",
	}
	got, err := Load(path, env, Setting{"--data", "data", "from-flag"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Data, want.Limits.Packet, want.Log.Level = "from-flag", 3*MiB, "warn"
	want.Admins = []string{"ann", "bob"}
	want.MQTT = []Listener{{Addr: "127.0.0.1:1"}, {Addr: "127.0.0.1:2"}}
	want.Limits.Queue.BytesPerUser = GiB
	want.ACL[0].Users = []string{"ann"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEverySettingHasOneVariable(t *testing.T) {
	seen := map[string]string{}
	walkType(reflect.TypeFor[Config](), "", func(p string) {
		path := strings.ReplaceAll(p, "#", "0")
		name := variableOf(path)
		if other, twice := seen[name]; twice {
			t.Errorf("%s is %s and %s", name, other, path)
		}
		seen[name] = path
		if got, ok := pathOf(reflect.TypeFor[Config](), strings.TrimPrefix(name, "PETREL_")); !ok || got != path {
			t.Errorf("%s means %q, not %s", name, got, path)
		}
		for _, word := range []string{"password", "secret"} {
			if strings.Contains(path, word) && !strings.HasSuffix(path, "_file") {
				t.Errorf("%s: a secret belongs in a file that the setting names, or YAML would show it", path)
			}
		}
	})
}

// Each file with all the faults that Load must name, in this order.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"typo":        {"limits:\n  paket: 1MiB\n", `petrel.yaml:2: limits.paket: there is no such setting: did you mean packet?`},
		"wrong group": {"connect_timeout: 3s\n", `petrel.yaml:1: connect_timeout: there is no such setting: did you mean limits.connect_timeout?`},
		"unknown":     {"presence:\n  zzzzzzzzz: 1\n", `petrel.yaml:2: presence.zzzzzzzzz: there is no such setting; presence has coalesce`},
		"all at once": {"limits:\n  packet: 1MB\n  burst: -1\n  topic_levels: 1\nlog:\n  level: loud\ndev: yes\n", `
petrel.yaml:2: limits.packet: "1MB" is no size: write a number and its unit, like 512B, 64KiB, 1MiB or 2GiB
petrel.yaml:3: limits.burst: "-1" must be a whole number from 0 to 2147483647
petrel.yaml:7: dev: "yes" must be true or false
petrel.yaml:4: limits.topic_levels: 1 must be from 4 to 32768
petrel.yaml:6: log.level: "loud" must be one of trace, debug, info, warn, error`},
		"duration":     {"presence:\n  coalesce: 3\n", `petrel.yaml:2: presence.coalesce: "3" is no duration: write a number and its unit, like 300ms, 10s, 15m, 12h or 30d`},
		"twice":        {"data: a\ndata: b\n", `petrel.yaml:2: data: stands here a second time (first at petrel.yaml:1): keep one`},
		"scalar group": {"limits: 3\n", `petrel.yaml:1: limits: is a group: its settings (connect_timeout, write_timeout, drain_timeout, packet, packet_before_auth, event, group_members, requests_per_second, events_per_second, burst, connections, connections_per_address, subscriptions, topic_levels, inflight, inflight_v3, receive_maximum, user_properties, sessions_per_user, retained, queue) stand below it, indented`},
		"no list":      {"admins: ann\n", `petrel.yaml:1: admins: is a list: write [ann], or each entry on a line of its own after "- "`},
		"map for list": {"mqtt:\n  addr: 127.0.0.1:1\n", `petrel.yaml:2: mqtt: is a list: begin each entry with "- "`},
		"list":         {"data: [a]\n", `petrel.yaml:1: data: is a single value, no list`},
		"null":         {"data:\nadmins:\n", "petrel.yaml:1: data: has no value: write one, or remove the line for the default\npetrel.yaml:2: admins: has no value: write one ([] for none), or remove the line for the default"},
		"anchor":       {"data: &a x\n", `petrel.yaml:1: data: anchors, aliases and tags are not understood here: write the value itself`},
		"documents":    {"data: x\n---\ndata: y\n", `petrel.yaml:3: a second document begins here: a configuration is one document`},
		"listener": {"mqtt:\n  - addr: 127.0.0.1\n  - {}\n  - addr: 127.0.0.1:1\n    unix: x\n", `
petrel.yaml:2: mqtt.0.addr: "127.0.0.1" must be host:port, like 127.0.0.1:1883 or [::]:8883
petrel.yaml:3: mqtt.1: must have addr (host:port) or unix (a path)
petrel.yaml:4: mqtt.2: has addr and unix: make two listeners of it`},
		"tls": {"http:\n  tls:\n    cert: none.pem\n    client_auth: require\n", `
petrel.yaml:2: http.tls.key: is missing: cert and key go together
petrel.yaml:3: http.tls.cert: none.pem: no such file or directory
petrel.yaml:2: http.tls.client_ca: is missing: client_auth needs the certificate that signs the clients'`},
		"proxy": {"mqtt:\n  - addr: 127.0.0.1:1\n    proxy_protocol: true\n", `petrel.yaml:2: mqtt.0.trusted_proxies: proxy_protocol needs the addresses of the proxies: anybody else could claim any address`},
		"same":  {"http:\n  addr: 127.0.0.1:1883\n", `petrel.yaml:2: http.addr: 127.0.0.1:1883 is mqtt.0.addr already: one address, one listener`},
		"dev": {"dev: true\nhttp:\n  addr: 0.0.0.0:8080\nmqtt:\n  - addr: :1883\nmetrics: {addr: 'example.org:9'}\n", `
petrel.yaml:5: mqtt.0.addr: :1883 is no loopback address: with dev anybody may log in as anybody, so take 127.0.0.1, or leave dev out
petrel.yaml:3: http.addr: 0.0.0.0:8080 is no loopback address: with dev anybody may log in as anybody, so take 127.0.0.1, or leave dev out
petrel.yaml:6: metrics.addr: example.org:9 is no loopback address: with dev anybody may log in as anybody, so take 127.0.0.1, or leave dev out`},
		"jwt": {"auth:\n  jwt:\n    keys:\n      - alg: none\n", `
petrel.yaml:4: auth.jwt.keys.0.file: is missing: name the file with the key
petrel.yaml:4: auth.jwt.keys.0.alg: "none" must be one of HS256, RS256, ES256, EdDSA`},
		"acl": {"acl:\n  - users: [a b]\n    filter: a#\n  - users: ['*']\n    filter: c/+/json\n    read: true\n", `
petrel.yaml:2: acl.0.users.0: "a b" is no user id: 1 to 64 of A-Z a-z 0-9 . _ -
petrel.yaml:3: acl.0.filter: "a#" is no topic filter: # must be the whole last level, like news/#
petrel.yaml:2: acl.0: has no effect: say read: true, write: true or both (and deny: true to forbid it)
petrel.yaml:5: acl.1.filter: c/ is not under the ACL: membership decides there`},
		"public url":   {"public_url: chat.example.org\n", `petrel.yaml:1: public_url: "chat.example.org" must be an address without a slash at its end, like https://chat.example.org`},
		"public slash": {"public_url: https://chat.example.org/\n", `petrel.yaml:1: public_url: "https://chat.example.org/" must be an address without a slash at its end, like https://chat.example.org`},
		"origin": {"http: {origins: ['https://a.example', 'b.example', 'https://c.example/x', 'https://*.d']}\n", `
petrel.yaml:1: http.origins.1: "b.example" must be scheme://host or scheme://host:port, like https://chat.example.org
petrel.yaml:1: http.origins.2: "https://c.example/x" must be scheme://host or scheme://host:port, like https://chat.example.org
petrel.yaml:1: http.origins.3: "https://*.d" must be scheme://host or scheme://host:port, like https://chat.example.org`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write(t, c.text), nil)
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, want Faults", err)
			}
			if d := cmp.Diff(strings.TrimPrefix(c.want, "\n"), faults.Error()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSyntaxErrorNamesTheLine(t *testing.T) {
	_, err := Load(write(t, "data: x\nlimits:\n  packet: [1\n"), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "petrel.yaml:3: this is no YAML: ") {
		t.Errorf("got %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := Load("none.yaml", nil)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "there is no configuration file none.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestFaultsOfVariablesAndFlags(t *testing.T) {
	_, err := Load("", []string{"PETREL_LIMITS_PAKET=1", "PETREL_DEV=1", "PETREL_MQTT_5_ADDR=x:1", "PETREL_LIMITS=3", "PETREL_LOG_LEVEL=loud"},
		Setting{"--http", "http.addr", "8080"})
	want := `PETREL_DEV: dev: "1" must be true or false
PETREL_LIMITS: there is no such variable: a variable is PETREL_ and the key path in capitals, like PETREL_LIMITS_PACKET
PETREL_MQTT_5_ADDR: mqtt.5.addr: the list has only 1 entries: the next place is 1
PETREL_LIMITS_PAKET: there is no such variable: did you mean PETREL_LIMITS_PACKET?
--http: http.addr: "8080" must be host:port, like 127.0.0.1:1883 or [::]:8883
PETREL_LOG_LEVEL: log.level: "loud" must be one of trace, debug, info, warn, error`
	if d := cmp.Diff(want, err.Error()); d != "" {
		t.Error(d)
	}
}

func TestLoadDoesNotTouchDefaults(t *testing.T) {
	if _, err := Load("", []string{"PETREL_ACL_0_FILTER=x", "PETREL_MQTT_ADDR=127.0.0.1:9"}); err != nil {
		t.Fatal(err)
	}
	base := Default()
	v := reflect.ValueOf(&base).Elem()
	shared := base.ACL
	if err := assign(v, "acl.0.filter", "changed"); err != nil {
		t.Fatal(err)
	}
	if shared[0].Filter != "%u/#" {
		t.Error("assign wrote through to a list that somebody else holds")
	}
}

func TestPrintedConfigurationLoadsBack(t *testing.T) {
	want := Default()
	want.Admins = []string{"on", "123", "- x"}
	want.Admins = want.Admins[:2]
	want.Retention.LogAge = 36*time.Hour + 5*time.Millisecond
	want.Limits.Event = 1000
	want.MQTT = append(want.MQTT, Listener{Unix: "a: b # c", UnixMode: "0660"})
	text, err := want.YAML()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(write(t, string(text)), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\n%s", d, text)
	}
}

func TestDiff(t *testing.T) {
	a, b := Default(), Default()
	a.Admins = []string{}
	b.Data, b.Limits.Queue.Messages, b.Log.Level, b.Log.Format = "x", 1, "warn", "json"
	b.HTTP.Origins, b.MQTT = []string{"https://a.example"}, nil
	reload, restart := Diff(a, b)
	if want := []string{"http.origins", "limits.queue.messages", "log.level"}; !slices.Equal(reload, want) {
		t.Errorf("reloadable %v, want %v", reload, want)
	}
	if want := []string{"data", "mqtt", "log.format"}; !slices.Equal(restart, want) {
		t.Errorf("need restart %v, want %v", restart, want)
	}
	if reload, restart := Diff(a, Default()); reload != nil || restart != nil {
		t.Errorf("equal ones differ in %v %v", reload, restart)
	}
}
