package egress_test

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/egress"
)

func TestGuard(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for addr, class := range map[string]string{
		"93.184.215.14": "public", "2606:2800:220:1::1": "public", "8.8.8.8": "public",
		"127.0.0.1": "loopback", "127.255.1.2": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback",
		"10.0.0.1": "private", "172.16.5.4": "private", "192.168.1.1": "private", "fd00::1": "private", "::ffff:10.0.0.1": "private",
		"169.254.169.254": "private", "fe80::1%eth0": "private", "100.64.0.1": "private", "192.0.0.8": "private", "198.18.0.1": "private",
		"240.0.0.1": "private", "255.255.255.255": "private", "0.1.2.3": "private", "192.0.2.1": "private", "203.0.113.9": "private",
		"64:ff9b::7f00:1": "private", "64:ff9b::a00:1": "private", "2002:7f00:1::": "private", "2001:0:7f00:1::": "private",
		"::127.0.0.1": "private", "fec0::1": "private", "2001:db8::1": "private", "100::1": "private", "192.88.99.1": "private",
		"0.0.0.0": "never", "::": "never", "224.0.0.1": "never", "239.1.2.3": "never", "ff02::1": "never", "::ffff:224.0.0.1": "never",
	} {
		a := netip.MustParseAddr(addr)
		for _, g := range []egress.Guard{{}, {Allow: loopback}, {All: true}} {
			want := class == "public" || g.Allow != nil && class == "loopback" || g.All && class != "never"
			if public := class == "public"; egress.Public(a) != public {
				t.Errorf("%s is public: %v", addr, !public)
			}
			if got := g.Allows(a); got != want {
				t.Errorf("%+v lets %s (%s) through: %v", g, addr, class, got)
			}
		}
	}
	if (egress.Guard{All: true}).Allows(netip.Addr{}) {
		t.Error("no address is allowed")
	}
	for _, bad := range []struct{ network, address string }{
		{"tcp4", "127.0.0.1:443"}, {"tcp6", "[::1]:443"}, {"tcp6", "[fe80::1%lo]:443"}, {"unix", "/run/x.sock"}, {"tcp4", "nonsense"}, {"udp4", "8.8.8.8:53"},
	} {
		if err := (egress.Guard{}).Control(bad.network, bad.address, nil); !errors.Is(err, egress.ErrForbidden) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := (egress.Guard{}).Control("tcp4", "93.184.215.14:443", nil); err != nil {
		t.Error(err)
	}
}

// The example of docs/protocol.md.
func TestSignature(t *testing.T) {
	const want = "v1=fbad76d480e5768a7085b69e49df165f79750c2e3877b93f6a18ce003dfa0ae7"
	if got := egress.Sign("secret-secret-secret", "1767225600", []byte(`{"v":1}`)); got != want {
		t.Error(got)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"120":                           2 * time.Minute,
		" 7 ":                           7 * time.Second,
		"-1":                            0,
		"soon":                          0,
		"1e3":                           0,
		"99999999999999999999":          0,
		"Sat, 21 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Sat, 21 Nov 2026 11:00:00 GMT": 0, // it is past
	} {
		if got := egress.RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("Retry-After: %q: %v, want %v", value, got, want)
		}
	}
}
