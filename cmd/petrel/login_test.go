package main

import (
	"path/filepath"
	"testing"

	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
)

// TestLoginElsewhere: certificates stay for a login at the same server, and are those of the command line at another one.
func TestLoginElsewhere(t *testing.T) {
	env := []string{"PETREL_HOME=" + t.TempDir()}
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	login := func(c loginCmd) profile.Profile {
		t.Helper()
		p, err := c.profile(env)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Save(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	login(loginCmd{Server: "mqtts://a.example", User: "ann", CA: ca, Cert: cert, Key: key})
	if p := login(loginCmd{Server: "mqtts://a.example", User: "ann"}); p.CA != ca || p.Cert != cert || p.Key != key {
		t.Errorf("again: %+v", p)
	}
	if p := login(loginCmd{}); p.CA != ca || p.Cert != cert || p.Key != key {
		t.Errorf("as before: %+v", p)
	}
	if p := login(loginCmd{Server: "mqtts://b.example", CA: cert}); p.User != "ann" || p.CA != cert || p.Cert != "" || p.Key != "" {
		t.Errorf("at another server, with an authority: %+v", p)
	}
	if p := login(loginCmd{Server: "mqtts://c.example"}); p.CA != "" || p.Cert != "" || p.Key != "" {
		t.Errorf("at another server: %+v", p)
	}
}
