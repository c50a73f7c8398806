package push_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/broker/notify/push"
)

func TestEndpoints(t *testing.T) {
	strict, dev := push.Guard{}, loopback()
	inside := push.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	for _, c := range []struct {
		endpoint            string
		strict, dev, inside bool
	}{
		{"https://push.example.org/x?y=z", true, true, true},
		{"https://push.example.org:8443/x", true, true, true},
		{"https://8.8.8.8/x", true, true, true},
		{"http://push.example.org/x", false, false, false},
		{"http://127.0.0.1:9/x", false, true, false},
		{"http://localhost:9/x", false, true, false},
		{"https://localhost/x", false, true, false},
		{"https://LOCALHOST./x", false, true, false},
		{"https://a.localhost/x", false, true, false},
		{"https://[::1]/x", false, false, false}, // loopback of IPv4 alone is allowed here
		{"https://10.1.2.3/x", false, false, true},
		{"http://10.1.2.3/x", false, false, false},
		{"https://10.2.2.3/x", false, false, false},
		{"https://169.254.169.254/latest/meta-data", false, false, false},
		{"https://[::ffff:127.0.0.1]/x", false, true, false},
		{"https://user:password@push.example.org/", false, false, false},
		{"https://push.example.org/#x", false, false, false},
		{"ftp://push.example.org/", false, false, false},
		{"https:push.example.org", false, false, false},
		{"https:///x", false, false, false},
		{"https://:443/x", false, false, false},
		{"//push.example.org", false, false, false},
		{"", false, false, false},
		{"\x00", false, false, false},
	} {
		for _, g := range []struct {
			name  string
			guard push.Guard
			want  bool
		}{{"strict", strict, c.strict}, {"dev", dev, c.dev}, {"inside", inside, c.inside}} {
			if err := g.guard.Check(c.endpoint); (err == nil) != g.want {
				t.Errorf("%s %q: %v", g.name, c.endpoint, err)
			}
		}
	}
}

// A name says nothing about where it leads: what counts is the address that is connected to.
func TestConnectsToPublicAddressesOnly(t *testing.T) {
	svc := serve(t)
	s := senders(t, push.Options{Keys: vapid(t)})
	b := newBrowser(t)
	local := strings.Replace(svc.URL, "127.0.0.1", "localhost", 1) // resolved while it is called
	for _, endpoint := range []string{svc.URL, local} {
		for _, r := range []*notify.Registration{
			b.registration(notify.WebPush, endpoint), {Kind: notify.UnifiedPush, Endpoint: endpoint}, {Kind: notify.Webhook, Endpoint: endpoint, Secret: "x"},
		} {
			err := send(s, r, hello())
			var later *notify.Later
			if err == nil || errors.As(err, &later) || errors.Is(err, notify.ErrGone) {
				t.Errorf("%s %s: %v", r.Kind, endpoint, err)
			}
		}
	}
	if svc.count() != 0 {
		t.Errorf("called %d times", svc.count())
	}
}
