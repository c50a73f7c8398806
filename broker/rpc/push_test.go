package rpc_test

import (
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/chat"
)

// pushes is a server's notifications in memory.
type pushes struct {
	regs     map[string]notify.Registration
	settings notify.UserSettings
	tested   []string
}

func (p *pushes) PublicKey() string { return "BKey" }
func (p *pushes) Offers() []string  { return []string{"webhook"} }

func (p *pushes) Registrations(user string) (all []notify.Registration, err error) {
	for _, r := range p.regs {
		if r.User == user {
			all = append(all, r)
		}
	}
	return all, nil
}

func (p *pushes) Register(r notify.Registration) (notify.Registration, error) {
	if r.Kind != "webhook" {
		return r, chat.Refuse(chat.BadRequest, "no")
	}
	if r.Secret == "" {
		r.Secret = "made up"
	}
	r.Created = epoch
	p.regs[r.User+"/"+r.Name] = r
	return r, nil
}

func (p *pushes) Remove(user, name string) (found bool, err error) {
	_, found = p.regs[user+"/"+name]
	delete(p.regs, user+"/"+name)
	return found, nil
}

func (p *pushes) Test(user, name string) error {
	p.tested = append(p.tested, user+"/"+name)
	return nil
}

func (p *pushes) UserSettings(string) (notify.UserSettings, error) { return p.settings, nil }

func (p *pushes) UpdateSettings(_ string, change func(*notify.UserSettings)) (notify.UserSettings, error) {
	change(&p.settings)
	return p.settings, nil
}

// push makes a Service that offers notifications.
func (s *server) push(p rpc.Push) {
	s.svc = rpc.New(rpc.Options{
		Hub: s.hub, Store: s.store, Barrier: s.pipeline.Barrier, Accounts: s.accounts, Profiles: s.profiles,
		Devices: s.registry, Admin: auth.NewAdmin(s.accounts), Now: s.clock, Push: p,
	})
}

func TestPush(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob")
	p := &pushes{regs: map[string]notify.Registration{}}
	s.push(p)
	for _, c := range []struct{ user, method, request, want string }{
		{"alice", "push.key", `{}`, `{"ok":{"key":"BKey","kinds":["webhook"]}}`},
		{"alice", "push.list", ``, `{"ok":{"pushes":[]}}`},
		{"alice", "push.register", `{"kind":"webhook","endpoint":"https://a.example:8443/secret-path","lang":"de","private":true}`,
			`{"ok":{"name":"phone","kind":"webhook","host":"a.example:8443","private":true,"lang":"de","created":1767225600000,"secret":"made up"}}`},
		{"alice", "push.register", `{"name":"mine","kind":"webhook","endpoint":"https://a.example/x","secret":"a secret of mine"}`,
			`{"ok":{"name":"mine","kind":"webhook","host":"a.example","created":1767225600000}}`},
		{"alice", "push.register", `{"kind":"mail"}`, `{"error":{"code":"bad-request","reason":"no"}}`},
		{"alice", "push.test", `{"name":"mine"}`, `{"ok":{"name":"mine"}}`},
		{"bob", "push.list", ``, `{"ok":{"pushes":[]}}`},
		{"bob", "push.remove", `{"name":"mine"}`, `{"error":{"code":"not-found","reason":"you have no registration of that name: see push.list"}}`},
		{"alice", "push.remove", `{}`, `{"ok":{"name":"phone"}}`},
		{"alice", "push.list", ``, `{"ok":{"pushes":[{"name":"mine","kind":"webhook","host":"a.example","created":1767225600000}]}}`},
		{"alice", "push.settings", `{}`, `{"ok":{"private":false,"mentions":"all"}}`},
		{"alice", "push.settings", `{"mentions":"muted","quiet":{"from":1320,"to":420,"zone":"Europe/Berlin"}}`,
			`{"ok":{"private":false,"mentions":"muted","quiet":{"from":1320,"to":420,"zone":"Europe/Berlin"}}}`},
		{"alice", "push.settings", `{"private":true,"mentions":"all","quiet":{"from":0,"to":0}}`, `{"ok":{"private":true,"mentions":"all"}}`},
		{"", "push.key", `{}`, `{"error":{"code":"not-authorized"`},
	} {
		if got := string(s.raw(c.user, c.method, c.request, 0)); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s by %s:\n%s, want\n%s", c.method, c.request, c.user, got, c.want)
		}
	}
	if len(p.tested) != 1 || p.tested[0] != "alice/mine" {
		t.Errorf("tested %v", p.tested)
	}
}

// A device whose session is ended for good is told nothing any more.
func TestRevokedDeviceHasNoPush(t *testing.T) {
	s := newServer(t)
	s.users("alice")
	p := &pushes{regs: map[string]notify.Registration{"alice/tablet": {User: "alice", Name: "tablet", Kind: "webhook"}}}
	s.push(p)
	_, ended := s.connect("alice", "tablet", 3600)
	s.ok("alice", "device.revoke", `{"device":"tablet"}`, nil)
	<-ended
	if len(p.regs) != 0 {
		t.Errorf("%v", p.regs)
	}
}
