package broker_test

import (
	"testing"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/mqttc"
)

// The rules for plain topics by default: everybody's own and the public ones, in both protocol versions.
func TestDefaultRules(t *testing.T) {
	s := serve(t, accounts)
	s.addUsers("ana", "bob", "eve")
	for _, version := range []opt{v3, v5} {
		ana, bob := s.signIn("ana", version, device("own")), s.signIn("bob", v5)
		code(t, ana.subscribe("ana/#", "ana", "public/#", "public/+/x", "u/ana/errors"), 1, 1, 1, 1, 1)
		no := byte(0x87)
		if ana.Version() == 4 {
			no = 0x80
		}
		for _, filter := range []string{"bob/#", "#", "+/x", "$SYS/#", "an/#", "anab/x", "$share/g/bob/#"} {
			code(t, ana.subscribe(filter), no)
		}
		ana.pending = nil // what 3.1.1 learns of it
		bob.send("public/news/x", "for all")
		if m := ana.next(); m.payload != "for all" {
			t.Error(m)
		}
		bob.refused(0x87, "ana/x", "not bob's")
		bob.refused(0x87, "elsewhere", "nobody's")
		ana.send("ana/x", "hers")
		if m := ana.next(); m.topic != "ana/x" {
			t.Error(m)
		}
		s.turnedAway(5, 0x87, "bob", device("willed"), password(passwordOf("bob")), will("ana/x", "from beyond"))
		ana.quiet()
		ana.leave()
	}
	s.turnedAway(4, 0x86, "", device("guest"))
}

// Rules that deny win wherever they stand, and hold on delivery, retained messages and all; %c is the device.
func TestRules(t *testing.T) {
	rule := func(filter string, read, write, deny bool, users ...string) config.Rule {
		return config.Rule{Users: users, Filter: filter, Read: read, Write: write, Deny: deny}
	}
	s := serve(t, accounts, func(c *config.Config) {
		c.ACL = []config.Rule{
			rule("news/#", true, false, false, "*"), rule("news/#", true, true, false, "editor"),
			rule("news/secret/#", true, false, true, "ana"), rule("news/closed", false, true, true, "*"),
			rule("devices/%u/%c/#", true, true, false, "*"),
		}
	})
	s.addUsers("ana", "bob", "editor")
	editor := s.signIn("editor", v5)
	editor.publishWith(mqttc.Publish{Topic: "news/secret/old", Payload: []byte("kept"), QoS: 1, Retain: true})
	editor.refused(0x87, "news/closed", "x")
	both := map[string]*client{"ana": s.signIn("ana", v5, keep, clean), "bob": s.signIn("bob", v5)}
	for _, c := range both {
		code(t, c.subscribeWith([]mqttc.Filter{{Topic: "news/#", QoS: 2}}), 2)
		code(t, c.subscribeWith([]mqttc.Filter{{Topic: "news/+/old", QoS: 0}}), 0)
	}
	code(t, both["ana"].subscribe("news/secret/+", "news/secret/old"), 0x87, 0x87)
	for _, want := range []string{"kept", "kept"} {
		if m := both["bob"].next(); m.payload != want || !m.retain {
			t.Error(m)
		}
	}
	for _, qos := range []byte{0, 1} {
		editor.put(mqttc.Publish{Topic: "news/secret/new", Payload: []byte("hidden"), QoS: qos, ID: 77})
	}
	editor.await(mqttc.PUBACK)
	editor.send("news/open", "seen")
	for _, want := range []string{"hidden", "hidden", "seen"} {
		if m := both["bob"].next(); m.payload != want {
			t.Error(m)
		}
	}
	if m := both["ana"].next(); m.payload != "seen" {
		t.Error(m)
	}
	both["ana"].quiet()
	both["ana"].refused(0x87, "news/x", "x")
	both["ana"].leave()
	editor.send("news/secret/new", "while she is away")
	editor.send("news/open", "seen too")
	ana := s.signIn("ana", v5, keep)
	if m := ana.next(); m.payload != "seen too" {
		t.Error(m)
	}
	ana.quiet()

	lamp := s.signIn("bob", v5, device("lamp"))
	lamp.send("devices/bob/lamp/on", "1")
	lamp.refused(0x87, "devices/bob/door/on", "1")
	s.signIn("bob", v5, device("+")).refused(0x87, "devices/bob/lamp/on", "1")
	code(t, s.signIn("bob", v5, device("#")).subscribe("devices/bob/#"), 0x87)
}

// New rules and limits hold for the connections that are there.
func TestRulesReload(t *testing.T) {
	s := serve(t, accounts)
	s.addUsers("ana", "bob")
	ana, bob := s.signIn("ana", v5), s.signIn("bob", v5)
	away := s.signIn("ana", v5, keep, clean, device("away"))
	for _, c := range []*client{ana, away} {
		code(t, c.subscribe("public/#"), 1)
	}
	away.leave()
	cfg := s.Config
	cfg.ACL = []config.Rule{{Users: []string{"bob"}, Filter: "public/#", Read: true, Write: true}, {Users: []string{"*"}, Filter: "fresh/#", Read: true, Write: true}}
	cfg.DenyFilters = []string{"fresh/closed"}
	cfg.Limits.TopicLevels, cfg.Limits.Event, cfg.Limits.GroupMembers = 4, 256, 2
	changed, restart, err := s.Reload(cfg)
	if err != nil || len(restart) != 0 {
		t.Fatal(changed, restart, err)
	}
	bob.send("public/x", "not for ana any more")
	ana.refused(0x87, "ana/x", "x")
	ana.refused(0x87, "public/x", "x")
	ana.send("fresh/x", "x")
	code(t, ana.subscribe("public/y", "fresh/#", "fresh/closed", "fresh/a/b/c/d"), 0x87, 1, 0x80, 0x8F)
	ana.refused(0x83, "u/bob/text", string(make([]byte, 300)))
	bob.send("fresh/x", "for ana")
	if m := ana.next(); m.payload != "for ana" {
		t.Error(m)
	}
	ana.quiet()
	s.signIn("ana", v5, keep, device("away")).quiet()
	cfg.ACL = append(cfg.ACL, config.Rule{Users: []string{"*"}, Filter: "a#"})
	if _, _, err := s.Reload(cfg); err == nil {
		t.Error("a rule that is none is taken over")
	}
	ana.send("fresh/x", "the old rules hold")
}
