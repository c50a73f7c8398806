package auth

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// chain checks that each entry has the hash of the one before, and returns what they say.
func (h *house) chain(t *testing.T) (list []string) {
	t.Helper()
	all, more, err := h.Audit(AuditQuery{Limit: 1000})
	must(t, err)
	if more {
		t.Fatal("there are more")
	}
	for i, e := range all {
		if i > 0 && !bytes.Equal(e.Prev, all[i-1].Hash) {
			t.Errorf("entry %s is not linked to the one before", e.ID)
		}
		list = append(list, e.What+" "+e.Target)
	}
	return list
}

func TestEntriesAreChained(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	h.add(t, "bob", "pw")
	h.store.fail = storage.ErrFull
	if err := h.AddUser(t.Context(), "eve", nil, false); !errors.Is(err, &chat.Refusal{Code: chat.Unavailable}) {
		t.Fatal(err)
	}
	h.store.fail = nil // what was not stored has left no gap
	h.add(t, "cas", "pw")
	if got := fmt.Sprint(h.chain(t)); got != "[user.add ann user.add bob user.add cas]" {
		t.Fatal(got)
	}
	again := reopen(t, h.store, nil)
	again.clock.add(-time.Hour) // a clock that was set back in between
	again.add(t, "dan", "pw")
	if got := again.chain(t); len(got) != 4 || got[3] != "user.add dan" {
		t.Fatal(got)
	}
}

// A batch that could not be stored is what it was, so that it may be stored later.
func TestSealIsUndone(t *testing.T) {
	store := &memory{records: map[string][]byte{}}
	trail, err := OpenTrail(store, time.Now)
	must(t, err)
	var b storage.Batch
	b.Set(storage.In(storage.SpaceMeta).Str("x"), []byte("x"))
	b.Ops = append(b.Ops, AuditOp(AuditEntry{Who: "ann", What: "test", Target: "bob", Note: `a "quoted" word`}))
	before, head := fmt.Sprintf("%+v", b.Ops), fmt.Sprintf("%+v", trail.head)
	undo := trail.Seal(&b)
	if len(b.Ops) != 3 || len(b.Ops[1].Key) != 17 || !bytes.Contains(b.Ops[1].Value, []byte(`"prev":""`)) {
		t.Fatalf("%+v", b.Ops)
	}
	undo()
	if got := fmt.Sprintf("%+v", b.Ops); got != before || fmt.Sprintf("%+v", trail.head) != head {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
	var plain storage.Batch
	plain.Set(storage.In(storage.SpaceMeta).Str("x"), nil)
	trail.Seal(&plain)
	if plain.Len() != 1 {
		t.Error("a batch without entries got something")
	}
}

func TestAuditIsSelected(t *testing.T) {
	h := open(t, nil)
	for _, u := range []string{"ann", "bob"} {
		h.add(t, u, "pw")
		h.clock.add(time.Minute)
	}
	info, _, err := h.AddToken(WithActor(t.Context(), "bob"), "ann", TokenSpec{Read: true})
	must(t, err)
	h.clock.add(time.Minute)
	must(t, h.RevokeToken(t.Context(), info.ID))
	all, _, err := h.Audit(AuditQuery{})
	must(t, err)
	start := h.clock.Now().Add(-3 * time.Minute).UnixMilli()
	for _, c := range []struct {
		q    AuditQuery
		want string
	}{
		{AuditQuery{User: "ann"}, "user.add token.add token.revoke"},
		{AuditQuery{User: "bob"}, "user.add token.add"}, // done to bob, done by bob
		{AuditQuery{Kind: "token"}, "token.add token.revoke"},
		{AuditQuery{Kind: "token.add"}, "token.add"},
		{AuditQuery{Kind: "tok"}, ""},
		{AuditQuery{After: all[1].ID}, "token.add token.revoke"},
		{AuditQuery{Before: all[1].ID}, "user.add"},
		{AuditQuery{After: all[0].ID, Before: all[3].ID}, "user.add token.add"},
		{AuditQuery{After: fmt.Sprint(start + 60_000)}, "user.add token.add token.revoke"},
		{AuditQuery{Before: fmt.Sprint(start + 60_000)}, "user.add"},
		{AuditQuery{Before: "0"}, ""},
		{AuditQuery{User: "ann", Limit: 2}, "user.add token.add"},
	} {
		list, more, err := h.Audit(c.q)
		must(t, err)
		var got []string
		for _, e := range list {
			got = append(got, e.What)
		}
		if s := strings.Join(got, " "); s != c.want || more != (c.q.Limit > 0) {
			t.Errorf("%+v: %s, more %v, want %s", c.q, s, more, c.want)
		}
	}
}

// A storm of logins is few entries, and nobody who tries passwords can flood the trail.
func TestLoginsAreNoted(t *testing.T) {
	h := open(t, func(o *Options) { o.Throttle.Off = true })
	h.add(t, "ann", "pw")
	for range 50 {
		h.in(t, login("ann", "pw"))
		h.out(t, login("ann", "guess"), chat.NotAuthorized)
	}
	h.in(t, from("192.0.2.7", login("ann", "pw")))
	want := func(want ...string) {
		t.Helper()
		list, _, err := h.Audit(AuditQuery{Kind: "login", Limit: 1000})
		must(t, err)
		var got []string
		for _, e := range list {
			got = append(got, fmt.Sprintf("%s %s from %s: %s +%d", e.What, e.Target, e.Addr, e.Note, e.Count))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	first := []string{
		"login ann from 192.0.2.1: password +0", "login.fail ann from 192.0.2.1: the password is wrong +0", "login ann from 192.0.2.7: password +0",
	}
	want(first...)
	must(t, h.Flush())
	want(first...) // their time is not over
	h.clock.add(failEvery)
	must(t, h.Flush())
	h.clock.add(loginEvery)
	h.in(t, login("ann", "pw"))
	want(append(first, "login.fail ann from 192.0.2.1: the password is wrong +49", "login ann from 192.0.2.1: password +49")...)
	for k, v := range h.store.records {
		if strings.Contains(string(v), "guess") {
			t.Errorf("a password is in the store: %q %s", k, v)
		}
	}
}

func TestFloodOfFailuresIsCounted(t *testing.T) {
	h := open(t, func(o *Options) { o.Throttle.Off = true })
	const tries = failsPerHour + 100
	for i := range tries {
		h.out(t, login(fmt.Sprintf("nobody%d", i), tokenMark+strings.Repeat("a", tokenID+tokenSecret)), chat.NotAuthorized)
	}
	must(t, h.Flush())
	if n := h.store.count(storage.SpaceAudit); n != failsPerHour+1 {
		t.Errorf("%d entries", n)
	}
	list, _, err := h.Audit(AuditQuery{Kind: "login.flood"})
	must(t, err)
	if len(list) != 1 || list[0].Count != 100 {
		t.Errorf("got %+v", list)
	}
}

func TestBots(t *testing.T) {
	h := open(t, nil)
	ctx := t.Context()
	h.add(t, "ann", "pw")
	h.add(t, "bob", "pw")
	must(t, h.AddBot(ctx, "ann", "robo", ""))
	refusal(t, h.AddBot(ctx, "bob", "Robo", ""), chat.Conflict)
	refusal(t, h.AddBot(ctx, "robo", "robo2", ""), chat.NotAuthorized)
	refusal(t, h.AddBot(ctx, "nobody", "robo3", ""), chat.NotFound)
	_, text, err := h.BotToken(ctx, "ann", "robo", TokenSpec{Read: true, Write: true})
	must(t, err)
	id := h.in(t, login("robo", text))
	if id.Scope != nil || id.Admin {
		t.Errorf("got %+v", id)
	}
	_, _, err = h.BotToken(ctx, "bob", "robo", TokenSpec{Read: true})
	refusal(t, err, chat.NotFound)
	refusal(t, h.DeleteBot(ctx, "bob", "robo"), chat.NotFound)

	// No password, no certificate lets a bot in, and it is no administrator.
	refusal(t, h.SetPassword(ctx, "robo", []byte("pw")), chat.BadRequest)
	refusal(t, h.SetAdmin(ctx, "robo", true), chat.BadRequest)
	h.out(t, login("robo", "pw"), chat.NotAuthorized)
	h.out(t, Attempt{CertCN: "robo"}, chat.NotAuthorized)
	dev := reopen(t, h.store, func(o *Options) { o.Dev = true })
	dev.out(t, login("robo", "anything"), chat.NotAuthorized)
	dev.in(t, login("robo", text))

	// A new token makes the old one void.
	h.revocations()
	_, newer, err := h.BotToken(ctx, "ann", "robo", TokenSpec{Read: true, Write: true})
	must(t, err)
	h.out(t, login("robo", text), chat.NotAuthorized)
	if got := h.revocations(); len(got) != 1 || got[0].user != "robo" || got[0].token != id.TokenID {
		t.Errorf("revoked %v", got)
	}

	// A bot ends with its owner, and whoever takes their name is not the owner.
	id = h.in(t, login("robo", newer))
	must(t, h.SetDisabled(ctx, "ann", true))
	if got := h.revocations(); len(got) != 2 || got[1].user != "robo" {
		t.Errorf("revoked %v", got)
	}
	h.out(t, login("robo", newer), chat.NotAuthorized)
	if h.Current(id) {
		t.Error("the session of a bot whose owner is disabled is current")
	}
	must(t, h.SetDisabled(ctx, "ann", false))
	h.in(t, login("robo", newer))
	must(t, h.DeleteUser(ctx, "ann"))
	if _, ok := h.IsBot("robo"); ok || h.Exists("robo") || h.store.count(storage.SpaceBot) != 0 || h.store.count(storage.SpaceToken) != 0 {
		t.Error("the bot is still there")
	}
}

// The record of an account outlives a crash between its owner's end and its own.
func TestOrphanedBot(t *testing.T) {
	h := open(t, nil)
	h.add(t, "ann", "pw")
	must(t, h.AddBot(t.Context(), "ann", "robo", ""))
	_, text, err := h.BotToken(t.Context(), "ann", "robo", TokenSpec{Read: true})
	must(t, err)
	delete(h.store.records, string(accountKey("ann")))
	h = reopen(t, h.store, nil)
	h.out(t, login("robo", text), chat.NotAuthorized)
	h.clock.add(time.Second)
	h.add(t, "ann", "pw") // another person
	h.out(t, login("robo", text), chat.NotAuthorized)
}

func TestCommands(t *testing.T) {
	h := open(t, nil)
	ctx := t.Context()
	h.add(t, "ann", "pw")
	for _, bot := range []string{"ci", "fun"} {
		must(t, h.AddBot(ctx, "ann", bot, ""))
	}
	must(t, h.SetCommands(ctx, "ann", "ci", []Command{{Name: "deploy", About: "Ships it"}, {Name: "build"}}))
	must(t, h.SetCommands(ctx, "fun", "fun", []Command{{Name: "roll"}, {Name: "build"}}))
	for _, c := range []struct {
		by   string
		list []Command
		code chat.Code
	}{
		{"bob", []Command{{Name: "x"}}, chat.NotFound},
		{"ann", []Command{{Name: "X"}}, chat.BadRequest},
		{"ann", []Command{{Name: "/x"}}, chat.BadRequest},
		{"ann", []Command{{Name: "x"}, {Name: "x"}}, chat.BadRequest},
		{"ann", []Command{{Name: "x", About: "two\nlines"}}, chat.BadRequest},
		{"ann", make([]Command, maxCommands+1), chat.BadRequest},
	} {
		refusal(t, h.SetCommands(ctx, c.by, "ci", c.list), c.code)
	}
	h = reopen(t, h.store, nil)
	for text, want := range map[string]string{
		"/deploy": "[ci]", "/deploy now": "[ci]", "/deploy\nnow": "[ci]", "/build": "[ci fun]", "/build@fun x": "[fun]", "/build@eve x": "[]",
		"/roll@ci": "[]", "deploy": "[]", "/": "[]", "": "[]", "//deploy": "[]", "/deploys": "[]", " /deploy": "[]",
		"/" + strings.Repeat("x", 500): "[]",
	} {
		got := append([]string{}, h.Addressed(text)...)
		slices.Sort(got)
		if fmt.Sprint(got) != want {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
	if got := h.CommandsOf(func(bot string) bool { return bot == "ci" }); len(got) != 1 || len(got[0].Commands) != 2 || got[0].Commands[0].Name != "build" {
		t.Errorf("got %+v", got)
	}
	must(t, h.SetCommands(ctx, "ann", "ci", nil))
	if got := h.Addressed("/deploy"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	must(t, h.DeleteBot(ctx, "ann", "fun"))
	if got := h.Addressed("/roll"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
