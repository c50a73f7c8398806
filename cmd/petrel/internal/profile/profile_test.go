package profile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/client"
)

func env(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{"PETREL_HOME=" + t.TempDir()}, more...)
}

// save writes ann's profile and returns it as it is read again.
func save(t *testing.T, env []string, name string) Profile {
	t.Helper()
	p, err := Saved(name, env)
	if err != nil {
		t.Fatal(err)
	}
	p.Server, p.User = "mqtts://chat.example.org", "ann"
	p.SetSecret("s3cret", false)
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	if p, err = Saved(name, env); err != nil {
		t.Fatal(err)
	}
	return p
}

func secretOf(t *testing.T, p Profile) string {
	t.Helper()
	o, err := p.Options()
	if err != nil {
		t.Fatal(err)
	}
	s, err := o.Credentials.Secret(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatStandsAboveWhat(t *testing.T) {
	home := env(t)
	save(t, home, "")
	for _, c := range []struct {
		name                 string
		flags                Flags
		env                  []string
		user, server, secret string
	}{
		{"the file", Flags{}, nil, "ann", "mqtts://chat.example.org", "s3cret"},
		{"the same flags", Flags{User: "ann", Server: "mqtts://chat.example.org"}, nil, "ann", "mqtts://chat.example.org", "s3cret"},
		{"another user does not get the password", Flags{User: "bob"}, nil, "bob", "mqtts://chat.example.org", ""},
		{"another server does not get the password", Flags{Server: "mqtt://evil.example.org"}, nil, "ann", "mqtt://evil.example.org", ""},
		{"a password from the environment", Flags{User: "bob"}, []string{"PETREL_PASSWORD=hush"}, "bob", "mqtts://chat.example.org", "hush"},
		{"a token wins", Flags{}, []string{"PETREL_PASSWORD=hush", "PETREL_TOKEN=tok"}, "ann", "mqtts://chat.example.org", "tok"},
	} {
		p, err := Load(c.flags, append(home, c.env...))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := secretOf(t, p); p.User != c.user || p.Server != c.server || got != c.secret {
			t.Errorf("%s: %s at %s with %q", c.name, p.User, p.Server, got)
		}
	}
	p, err := Load(Flags{Server: "unix:///run/p.sock", User: "carol"}, env(t, "PETREL_PASSWORD=x"))
	if err != nil || secretOf(t, p) != "x" {
		t.Errorf("without a file: %v", err)
	}
}

func TestFaults(t *testing.T) {
	home := env(t)
	for _, f := range []Flags{
		{}, {Profile: "none"}, {Profile: "../x"}, {Profile: ".x"}, {Server: "mqtt://h"}, {Server: "http://h", User: "ann"}, {Server: "mqtt://h", User: "a b"},
		{Server: "mqtt://u:p@h", User: "ann"}, {Server: "mqtt://h", User: "ann", StoreMax: "much"}, {Server: "mqtt://h", User: "ann", StoreMax: "-1"},
	} {
		var fault Fault
		if _, err := Load(f, home); !errors.As(err, &fault) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	p := save(t, home, "tls")
	for _, change := range []func(*Profile){
		func(p *Profile) { p.CA = filepath.Join(t.TempDir(), "none") },
		func(p *Profile) { p.CA = p.Path() },
		func(p *Profile) { p.Cert = p.Path() },
	} {
		broken := p
		change(&broken)
		var fault Fault
		if _, err := broken.Options(); !errors.As(err, &fault) {
			t.Errorf("%+v: %v", broken.CA, err)
		}
	}
}

// TestOnlyItsOwner: the file is made unreadable for others, and refused when it is not so any more.
func TestOnlyItsOwner(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("access is not in the mode there")
	}
	home := env(t)
	p := save(t, home, "")
	st, err := os.Stat(p.Path())
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatal(st.Mode(), err)
	}
	for _, mode := range []os.FileMode{0o604, 0o640, 0o620} {
		if err := os.Chmod(p.Path(), mode); err != nil {
			t.Fatal(err)
		}
		var fault Fault
		if _, err := Load(Flags{}, home); !errors.As(err, &fault) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	// A new login makes it right, and leaves nothing else behind.
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Dir(p.Path()))
	if err != nil || len(files) != 1 {
		t.Errorf("%v %v", files, err)
	}
	if _, err := Load(Flags{}, home); err != nil {
		t.Error(err)
	}
}

// TestABrokenFileIsNotRepeated: there is a password in it.
func TestABrokenFileIsNotRepeated(t *testing.T) {
	home := env(t)
	p := save(t, home, "")
	for _, text := range []string{`{"user":"ann","pasword":"hunter2"}`, `{"password":"hunter2",`, `hunter2`, strings.Repeat(" ", maxFile) + `"hunter2"`, ""} {
		if err := os.WriteFile(p.Path(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(Flags{}, home)
		var fault Fault
		if !errors.As(err, &fault) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// TestLoginRenews: what runs gets a new secret from the file, but not somebody else's.
func TestLoginRenews(t *testing.T) {
	home := env(t)
	p := save(t, home, "")
	now := p
	now.SetSecret("fresh", true)
	if err := now.Save(); err != nil {
		t.Fatal(err)
	}
	if got := secretOf(t, p); got != "fresh" {
		t.Errorf("%q", got)
	}
	now.User = "bob"
	if err := now.Save(); err != nil {
		t.Fatal(err)
	}
	if got := secretOf(t, p); got != "s3cret" {
		t.Errorf("ann connects with the secret of bob: %q", got)
	}
}

// TestStoresAreApart: no two users, servers or uses share a file, and a store keeps its device.
func TestStoresAreApart(t *testing.T) {
	home := env(t)
	seen := make(map[string]string)
	for _, server := range []string{"mqtt://h", "mqtt://h:1884", "mqtt://h_1884", "unix:///a/b_c", "unix:///a_b/c", "ws://h:80/x"} {
		for _, user := range []string{"ann", "bob"} {
			p := Profile{Name: "x", Server: server, User: user, home: home[0]}
			for _, s := range []Store{Chat, Commands, "listen-x"} {
				path := p.StorePath(s)
				if other, taken := seen[path]; taken {
					t.Errorf("%s of %s at %s is %s", s, user, server, other)
				}
				seen[path] = server + user
			}
		}
	}
	p, err := Load(Flags{Server: "mqtt://127.0.0.1:1", User: "ann"}, home)
	if err != nil {
		t.Fatal(err)
	}
	device := func(s Store) string {
		t.Helper()
		ctx := context.Background()
		c, err := p.Open(ctx, Use{Store: s})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Open(ctx, Use{Store: s}); s != Nothing && !errors.Is(err, client.ErrBusy) {
			t.Errorf("%s is opened twice: %v", s, err)
		}
		if err := c.Note(ctx, map[string][]byte{"k/a": []byte("1")}); err != nil {
			t.Error(err)
		}
		if notes, err := c.Notes(ctx, "k/"); err != nil || len(notes) != 1 || string(notes["k/a"]) != "1" {
			t.Errorf("%v %v", notes, err)
		}
		d := c.Device()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		return d
	}
	first, again, chat, tmp := device(Commands), device(Commands), device(Chat), device(Nothing)
	if first != again || !strings.HasPrefix(first, "cli-") || !strings.HasPrefix(chat, "chat-") || tmp == device(Nothing) {
		t.Errorf("%s %s %s %s", first, again, chat, tmp)
	}
}

func TestNames(t *testing.T) {
	home := env(t)
	if names, err := Names(home); err != nil || len(names) != 0 {
		t.Errorf("%v %v", names, err)
	}
	save(t, home, "work")
	p := save(t, home, "")
	if names, err := Names(home); err != nil || strings.Join(names, " ") != "default work" {
		t.Errorf("%v %v", names, err)
	}
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
	var fault Fault
	if err := p.Remove(); !errors.As(err, &fault) {
		t.Error(err)
	}
}

// TestBecome: what was for another user or server does not come along, what is for the same stays.
func TestBecome(t *testing.T) {
	full := Profile{Server: "mqtts://a", User: "ann", Password: "pw", Token: "tk", CA: "ca", Cert: "cert", Key: "key", saved: true}
	for _, c := range []struct {
		server, user string
		want         Profile
	}{
		{"mqtts://a", "ann", full},
		{"mqtts://a", "bob", Profile{Server: "mqtts://a", User: "bob", CA: "ca"}},
		{"mqtts://b", "ann", Profile{Server: "mqtts://b", User: "ann"}},
	} {
		got := full
		if got.Become(c.server, c.user); got != c.want {
			t.Errorf("%s at %s: %+v", c.user, c.server, got)
		}
	}
}
