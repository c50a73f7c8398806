package client_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

func TestAdministration(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		root, ana := connect("root"), connect("ana")
		admin := client.AdminCalls{Via: root}
		acc, err := admin.AddUser(ctx, client.NewAccount{User: "carol", Password: new("a long secret"), Admin: new(false)})
		if err != nil || acc.User != "carol" || !acc.Password || acc.Admin || acc.Created == 0 {
			t.Errorf("%+v %v", acc, err)
		}
		_, err = admin.AddUser(ctx, client.NewAccount{User: "Carol"})
		refused(t, err, chat.Conflict)
		_, err = admin.SetPassword(ctx, "carol", "another secret")
		need(t, err)
		if acc, err = admin.UpdateUser(ctx, client.AccountChange{User: "carol", Admin: new(true), Disabled: new(true)}); err != nil || !acc.Admin || !acc.Disabled {
			t.Errorf("%+v %v", acc, err)
		}
		var names []string
		for _, a := range all(t, admin.Users(ctx)) {
			names = append(names, a.User)
		}
		if !slices.Equal(names, []string{"ana", "carol", "root"}) {
			t.Error(names)
		}
		if page, err := admin.UsersPage(ctx, client.ListOptions{After: "ana", Limit: 1}); err != nil || !page.More || page.Next != "carol" {
			t.Errorf("%+v %v", page, err)
		}

		token, err := admin.AddToken(ctx, client.NewToken{User: "ana", Name: "sensor", Expires: 3600, TokenScope: client.TokenScope{Convs: []string{"crew"}, Write: new(true)}})
		if err != nil || token.ID == "" || token.Token == "" {
			t.Errorf("%+v %v", token, err)
		}
		tokens := all(t, admin.Tokens(ctx, "ana"))
		if len(tokens) != 1 || tokens[0].ID != token.ID || tokens[0].Read || !tokens[0].Write || tokens[0].Expires == 0 || !slices.Equal(tokens[0].Convs, []string{"crew"}) {
			t.Errorf("%+v", tokens)
		}
		if page, err := admin.TokensPage(ctx, "", client.ListOptions{Limit: 1}); err != nil || page.More || len(page.Items) != 1 {
			t.Errorf("%+v %v", page, err)
		}
		need(t, admin.RevokeToken(ctx, token.ID), admin.DeleteUser(ctx, "carol"))

		entries := all(t, admin.Audit(ctx, client.AuditQuery{User: "carol", Kind: "user"}))
		var what []string
		for i, e := range entries {
			what = append(what, e.What)
			if e.Who != "root" || e.Target != "carol" || e.At == 0 || e.Hash == "" || i > 0 && e.Prev == "" {
				t.Errorf("%+v", e)
			}
		}
		if got := strings.Join(what, " "); got != "user.add user.passwd user.admin.on user.disable user.del" {
			t.Error(got)
		}
		page, err := admin.AuditPage(ctx, client.AuditQuery{User: "carol", Since: entries[0].ID, Before: entries[3].ID}, client.ListOptions{Limit: 1})
		if err != nil || !page.More || page.Items[0].ID != entries[1].ID || page.Next != entries[1].ID {
			t.Errorf("%+v %v", page, err)
		}

		_, err = client.AdminCalls{Via: ana}.UsersPage(ctx, client.ListOptions{})
		refused(t, err, chat.NotAuthorized)
	})
}

func TestBotsAndWebhooks(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob := connect("ana"), connect("bob")
		bots, hooks := client.BotCalls{Via: ana}, client.WebhookCalls{Via: ana}
		crew(t, ana, "bob")
		made, err := bots.Create(ctx, client.NewBot{User: "ci", Name: "Build bot", TokenScope: client.TokenScope{Convs: []string{"crew"}, Read: new(true), Write: new(true)}})
		if err != nil || made.User != "ci" || made.ID == "" || made.Token == "" {
			t.Errorf("%+v %v", made, err)
		}
		_, err = bots.Create(ctx, client.NewBot{User: "bob"})
		refused(t, err, chat.Conflict)
		again, err := bots.NewToken(ctx, "ci", client.TokenScope{})
		if err != nil || again.Token == made.Token || again.User != "ci" {
			t.Errorf("%+v %v", again, err)
		}
		if p, err := (client.ProfileCalls{Via: bob}).Get(ctx, "ci"); err != nil || !p.Bot || p.Name != "Build bot" {
			t.Errorf("%+v %v", p, err)
		}
		commands := []client.SlashCommand{{Name: "deploy", About: "Ships the newest build"}, {Name: "status"}}
		need(t, bots.SetCommands(ctx, "ci", commands))
		refused(t, client.BotCalls{Via: bob}.SetCommands(ctx, "ci", nil), chat.NotFound)
		if list := all(t, bots.List(ctx)); len(list) != 1 || list[0].Name != "Build bot" || !slices.Equal(list[0].Commands, commands) {
			t.Errorf("%+v", list)
		}
		_, err = client.MemberCalls{Via: ana}.Add(ctx, "crew", "ci", "member")
		need(t, err)
		if list := all(t, client.BotCalls{Via: bob}.Commands(ctx, "crew")); len(list) != 1 || list[0].User != "ci" || !slices.Equal(list[0].Commands, commands) {
			t.Errorf("%+v", list)
		}

		in, err := hooks.Create(ctx, client.NewWebhook{Conv: "crew", Kind: "in", Name: "CI", Bot: "ci"})
		if err != nil || in.ID == "" || !strings.Contains(in.URL, in.ID) || in.Bot != "ci" || in.Secret != "" {
			t.Errorf("%+v %v", in, err)
		}
		out, err := hooks.Create(ctx, client.NewWebhook{Conv: "crew", Kind: "out", URL: "https://bots.example.org/petrel", Events: []string{"edit", "post"}})
		if err != nil || out.Secret == "" {
			t.Errorf("%+v %v", out, err)
		}
		list := all(t, hooks.List(ctx, "crew"))
		i := slices.IndexFunc(list, func(w client.Webhook) bool { return w.ID == out.ID })
		if len(list) != 2 || i < 0 || list[i].Kind != "out" || list[i].By != "ana" || list[i].URL != "https://bots.example.org/petrel" ||
			len(list[i].Events) != 2 || list[i].Next == 0 || list[i].Off != 0 || list[1-i].Bot != "ci" || list[1-i].Name != "CI" {
			t.Errorf("%+v", list)
		}
		turned, err := hooks.Rotate(ctx, out.ID)
		if err != nil || turned.Secret == "" || turned.Secret == out.Secret {
			t.Errorf("%+v %v", turned, err)
		}
		refused(t, client.WebhookCalls{Via: bob}.Delete(ctx, out.ID), chat.NotFound)
		need(t, hooks.Enable(ctx, out.ID), hooks.Delete(ctx, out.ID), hooks.Delete(ctx, in.ID), bots.Delete(ctx, "ci"))
		if list := all(t, bots.List(ctx)); len(list) != 0 {
			t.Errorf("%+v", list)
		}
	})
}
