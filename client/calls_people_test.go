package client_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

func TestContactsAndRequests(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob, eve := connect("ana"), connect("bob"), connect("eve")
		byAna, byBob := client.PeopleCalls{Via: ana}, client.PeopleCalls{Via: bob}
		need(t, ana.publish("u/bob/text", []byte("hello"), nil), eve.publish("u/bob/text", []byte("hello"), nil))
		requests := all(t, byBob.MessageRequests(ctx))
		if len(requests) != 2 || requests[0].User != "ana" || requests[0].Conv != "ana~bob" || requests[0].Head != 1 || requests[0].At == 0 {
			t.Errorf("%+v", requests)
		}
		if page, err := byBob.MessageRequestsPage(ctx, client.ListOptions{Limit: 1}); err != nil || !page.More || page.Next == "" {
			t.Errorf("%+v %v", page, err)
		}
		if conv, err := byBob.DeclineMessages(ctx, "eve"); err != nil || conv != "bob~eve" {
			t.Error(conv, err)
		}
		if conv, err := byBob.AcceptMessages(ctx, "ana"); err != nil || conv != "ana~bob" {
			t.Error(conv, err)
		}

		state, err := byAna.RequestContact(ctx, "bob", "we met in Oslo")
		if err != nil || state != "requested" {
			t.Error(state, err)
		}
		list := all(t, byBob.Contacts(ctx))
		if len(list) != 1 || list[0].User != "ana" || list[0].State != "incoming" || list[0].Text != "we met in Oslo" || list[0].Conv != "ana~bob" {
			t.Errorf("%+v", list)
		}
		if state, err = byBob.AcceptContact(ctx, "ana"); err != nil || state != "accepted" {
			t.Error(state, err)
		}
		page, err := byAna.ContactsPage(ctx, client.ListOptions{Limit: 1})
		if err != nil || page.More || page.Items[0].State != "accepted" || page.Items[0].Presence == nil || page.Items[0].Presence.State == "" {
			t.Errorf("%+v %v", page, err)
		}
		_, err = byBob.AcceptContact(ctx, "eve")
		refused(t, err, chat.NotFound)
		_, err = client.PeopleCalls{Via: eve}.RequestContact(ctx, "bob", "")
		need(t, err)
		need(t, byBob.DeclineContact(ctx, "eve"), byAna.RemoveContact(ctx, "bob"))

		need(t, byBob.Block(ctx, "eve"), byBob.Block(ctx, "ana"), byBob.Unblock(ctx, "ana"))
		if blocked := all(t, byBob.Blocked(ctx)); len(blocked) != 1 || blocked[0].User != "eve" || blocked[0].At == 0 {
			t.Errorf("%+v", blocked)
		}
		if page, err := byBob.BlockedPage(ctx, client.ListOptions{Limit: 1}); err != nil || page.More {
			t.Errorf("%+v %v", page, err)
		}
		_, err = client.PeopleCalls{Via: eve}.RequestContact(ctx, "bob", "")
		refused(t, err, chat.NotAuthorized)
	}, func(c *config.Config) { c.People.Messages = "requests" })
}

func TestProfileExportErase(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob, root := connect("ana"), connect("bob"), connect("root")
		profiles := client.ProfileCalls{Via: ana}
		p, err := profiles.Update(ctx, client.ProfileChange{Name: new("Ana"), Avatar: new("blue"), LastSeen: new(false), Messages: new("shared")})
		if err != nil || p.Name != "Ana" || p.LastSeen == nil || *p.LastSeen || p.Messages != "shared" || !*p.Receipts {
			t.Errorf("%+v %v", p, err)
		}
		if own, err := profiles.Get(ctx, ""); err != nil || own.User != "ana" || own.Avatar != "blue" {
			t.Errorf("%+v %v", own, err)
		}
		if other, err := (client.ProfileCalls{Via: bob}).Get(ctx, "ana"); err != nil || other.Name != "Ana" || other.Receipts != nil || other.Bot {
			t.Errorf("%+v %v", other, err)
		}
		_, err = profiles.Get(ctx, "nobody")
		refused(t, err, chat.NotFound)

		crew(t, ana, "bob")
		ana.post(t, "crew", `{"text":"mine","id":"m-1"}`)
		bob.post(t, "crew", `{"text":"not mine"}`)
		_, err = client.SettingCalls{Via: ana}.Set(ctx, "look", map[string]int{"size": 12})
		need(t, err)
		_, err = client.PeopleCalls{Via: ana}.RequestContact(ctx, "root", "")
		need(t, err, client.PeopleCalls{Via: ana}.Block(ctx, "bob"))
		items := all(t, profiles.Export(ctx))
		types := map[string]int{}
		var written strings.Builder
		for _, it := range items {
			types[it.Type]++
			b, err := json.Marshal(it)
			need(t, err)
			written.Write(b)
		}
		for _, typ := range []string{"account", "profile", "device", "contact", "block", "setting", "membership", "event"} {
			if types[typ] == 0 {
				t.Errorf("the export has no %s: %v", typ, types)
			}
		}
		for _, want := range []string{`"id":"m-1"`, `"text":"mine"`, `"value":{"size":12}`, `"name":"Ana"`} {
			if !strings.Contains(written.String(), want) {
				t.Errorf("the export as JSON has no %s: %s", want, &written)
			}
		}
		if strings.Contains(written.String(), "not mine") {
			t.Error("the export has what others wrote")
		}
		byRoot := all(t, client.AdminCalls{Via: root}.Export(ctx, "ana"))
		if len(byRoot) != len(items) {
			t.Errorf("%d items for an administrator, %d for ana", len(byRoot), len(items))
		}

		refused(t, client.ProfileCalls{Via: bob}.Erase(ctx, "ana"), chat.BadRequest)
		var declined *chat.Refusal
		if err := (client.ProfileCalls{Via: bob}).Erase(ctx, "bob"); errors.As(err, &declined) { // else the connection may have ended before the reply
			t.Error(err)
		}
		_, err = profiles.Get(ctx, "bob")
		refused(t, err, chat.NotFound)
	})
}

func TestReports(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob, root := connect("ana"), connect("bob"), connect("root")
		crew(t, ana, "bob")
		seq := ana.post(t, "crew", `{"text":"rude"}`)
		id, err := client.PeopleCalls{Via: bob}.Report(ctx, client.NewReport{Conv: "crew", Seq: seq, Reason: "it is rude"})
		need(t, err)
		_, err = client.PeopleCalls{Via: bob}.Report(ctx, client.NewReport{User: "ana", Reason: "so is all that she says"})
		need(t, err)
		admin := client.AdminCalls{Via: root}
		open := all(t, admin.Reports(ctx, false))
		i := slices.IndexFunc(open, func(r client.Report) bool { return r.ID == id }) // those of a millisecond have no order
		if len(open) != 2 || i < 0 {
			t.Fatalf("%+v", open)
		}
		if r := open[i]; r.By != "bob" || r.User != "ana" || r.Seq != seq || r.Reason != "it is rude" || r.At == 0 || r.Done != 0 {
			t.Errorf("%+v", r)
		}
		if n := len(open[i].Events); n == 0 || open[i].Events[n-1].Text != "rude" || open[i].Events[n-1].Seq != seq {
			t.Errorf("%+v", open[i].Events)
		}
		done, err := admin.ResolveReport(ctx, id, "talked to her")
		if err != nil || done.Done == 0 || done.DoneBy != "root" || done.Note != "talked to her" {
			t.Errorf("%+v %v", done, err)
		}
		if open = all(t, admin.Reports(ctx, false)); len(open) != 1 {
			t.Errorf("%+v", open)
		}
		if page, err := admin.ReportsPage(ctx, true, client.ListOptions{Limit: 1}); err != nil || !page.More || page.Items[0].ID != page.Next {
			t.Errorf("%+v %v", page, err)
		}
		_, err = client.AdminCalls{Via: bob}.ReportsPage(ctx, false, client.ListOptions{})
		refused(t, err, chat.NotAuthorized)
	})
}

func TestDevicesAndPush(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana := connect("ana")
		devices, push := client.DeviceCalls{Via: ana}, client.PushCalls{Via: ana}
		list := all(t, devices.List(ctx))
		if len(list) != 1 || list[0].Device != "ana" || !list[0].Online || !list[0].Current || list[0].Expiry == nil || *list[0].Expiry != 3600 || time.Since(list[0].Seen.Time()) > time.Hour {
			t.Errorf("%+v", list)
		}
		d, err := devices.Update(ctx, client.DeviceChange{Catchup: new(uint32(20)), Max: new(uint32(100_000))})
		if err != nil || d.Catchup != 20 || d.Max != 100_000 {
			t.Errorf("%+v %v", d, err)
		}
		refused(t, devices.Revoke(ctx, "ana"), chat.BadRequest)
		refused(t, devices.Revoke(ctx, "lost"), chat.NotFound)

		key, err := push.Key(ctx)
		if err != nil || key.Key == "" || !slices.Contains(key.Kinds, "webpush") {
			t.Errorf("%+v %v", key, err)
		}
		hook, err := push.Register(ctx, client.NewPush{Name: "hook", Kind: "webhook", Endpoint: "https://push.example.org/abc", Lang: "de"})
		if err != nil || hook.Secret == "" || hook.Host != "push.example.org" || hook.Lang != "de" || hook.Created == 0 {
			t.Errorf("%+v %v", hook, err)
		}
		_, err = push.Register(ctx, client.NewPush{
			Kind: "webpush", Endpoint: "https://push.example.org/def", Private: true, Keys: &client.PushKeys{
				P256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", Auth: "BTBZMqHH6r4Tts7J_aSIgg",
			},
		})
		need(t, err)
		regs, err := push.List(ctx)
		if err != nil || len(regs) != 2 || regs[0].Name != "ana" || !regs[0].Private || regs[1].Secret != "" {
			t.Errorf("%+v %v", regs, err)
		}
		refused(t, push.Test(ctx, "nothing"), chat.NotFound)
		need(t, push.Remove(ctx, ""))
		refused(t, push.Remove(ctx, ""), chat.NotFound)

		set, err := push.SetSettings(ctx, client.PushSettings{Mentions: new("muted"), Private: new(true), Quiet: &client.QuietHours{From: 1320, To: 420, Zone: "Europe/Berlin"}})
		need(t, err)
		got, err := push.Settings(ctx)
		if err != nil || !*got.Private || *got.Mentions != "muted" || got.Quiet == nil || *got.Quiet != (client.QuietHours{From: 1320, To: 420, Zone: "Europe/Berlin"}) || *got.Quiet != *set.Quiet {
			t.Errorf("%+v %+v %v", got, set, err)
		}
		if got, err = push.SetSettings(ctx, client.PushSettings{Quiet: &client.QuietHours{}}); err != nil || got.Quiet != nil {
			t.Errorf("%+v %v", got, err)
		}
	})
}
