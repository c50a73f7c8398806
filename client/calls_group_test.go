package client_test

import (
	"bytes"
	"errors"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/internal/servertest"
)

// inBoth runs a test with requests in CBOR and in JSON, each on a server of its own.
func inBoth(t *testing.T, test func(t *testing.T, s *broker.Server, connect func(user string) *strict), change ...func(*config.Config)) {
	for _, encoding := range []string{"cbor", "json"} {
		t.Run(encoding, func(t *testing.T) {
			s := callServer(t, change...)
			test(t, s, func(user string) *strict { return caller(t, s, user, encoding == "json") })
		})
	}
}

// refused asserts a refusal with a code.
func refused(t *testing.T, err error, code chat.Code) {
	t.Helper()
	var r *chat.Refusal
	if !errors.As(err, &r) || r.Code != code || r.Reason == "" {
		t.Errorf("%v, want a refusal %s", err, code)
	}
}

func need(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func users(list []client.GroupMember) string {
	var names []string
	for _, m := range list {
		names = append(names, m.User+":"+m.Role)
	}
	return strings.Join(names, " ")
}

func TestGroupAndMembers(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob, eve := connect("ana"), connect("bob"), connect("eve")
		groups, roster := client.GroupCalls{Via: ana}, client.MemberCalls{Via: ana}

		conv, err := groups.Create(ctx, client.NewGroup{ID: "crew", Members: []string{"bob"}, GroupSettings: client.GroupSettings{
			Title: new("Crew"), About: new("who sails"), Limit: new(uint32(10)), Perms: map[string]string{"pin": "member"},
		}})
		need(t, err)
		if conv != "crew" {
			t.Error(conv)
		}
		_, err = groups.Create(ctx, client.NewGroup{ID: "crew", GroupSettings: client.GroupSettings{Title: new("Other")}})
		refused(t, err, chat.Conflict)
		random, err := groups.Create(ctx, client.NewGroup{GroupSettings: client.GroupSettings{Title: new("No id")}})
		if err != nil || len(random) < 20 {
			t.Error(random, err)
		}

		g, err := groups.Get(ctx, "crew")
		need(t, err)
		if g.Conv != "crew" || g.Title != "Crew" || g.Members != 2 || g.Role != "owner" || g.Limit != 10 || g.Perms["pin"] != "member" ||
			g.Visibility != "private" || g.Join != "invite" || g.History != "all" {
			t.Errorf("%+v", g)
		}
		_, err = client.GroupCalls{Via: eve}.Get(ctx, "crew")
		refused(t, err, chat.NotFound)
		if g, err = groups.Update(ctx, "crew", client.GroupSettings{Title: new("The crew"), Expire: new(uint32(60))}); err != nil || g.Title != "The crew" || g.Expire != 60 || g.About != "who sails" {
			t.Errorf("%+v %v", g, err)
		}

		m, err := roster.Add(ctx, "crew", "eve", "")
		if err != nil || m.User != "eve" || m.Role != "member" || m.Joined == 0 || m.Read == nil {
			t.Errorf("%+v %v", m, err)
		}
		if m, err = roster.SetRole(ctx, "crew", "bob", "moderator"); err != nil || m.Role != "moderator" {
			t.Errorf("%+v %v", m, err)
		}
		if got := users(all(t, roster.List(ctx, "crew"))); got != "ana:owner bob:moderator eve:member" {
			t.Error(got)
		}
		page, err := roster.ListPage(ctx, "crew", client.ListOptions{Limit: 2})
		if err != nil || !page.More || users(page.Items) != "ana:owner bob:moderator" {
			t.Errorf("%+v %v", page, err)
		}
		if page, err = roster.ListPage(ctx, "crew", client.ListOptions{After: page.Next}); err != nil || page.More || page.Next != "" || users(page.Items) != "eve:member" {
			t.Errorf("%+v %v", page, err)
		}

		until := client.MillisOf(time.Now().Add(time.Hour))
		byBob := client.MemberCalls{Via: bob}
		if m, err = byBob.Mute(ctx, "crew", "eve", until); err != nil || m.Muted != until {
			t.Errorf("%+v %v", m, err)
		}
		if g, err := (client.GroupCalls{Via: eve}).Get(ctx, "crew"); err != nil || g.Muted != until {
			t.Errorf("%+v %v", g, err)
		}
		if m, err = byBob.Mute(ctx, "crew", "eve", 0); err != nil || m.Muted != 0 {
			t.Errorf("%+v %v", m, err)
		}
		_, err = byBob.Remove(ctx, "crew", "ana")
		refused(t, err, chat.NotAuthorized)
		if m, err = byBob.Ban(ctx, "crew", "eve", until); err != nil || m.Banned == nil || *m.Banned != until || m.Role != "" {
			t.Errorf("%+v %v", m, err)
		}
		if got := all(t, byBob.Bans(ctx, "crew")); len(got) != 1 || got[0] != (client.Ban{User: "eve", Until: until}) {
			t.Error(got)
		}
		_, err = byBob.Unban(ctx, "crew", "eve")
		need(t, err)
		if m, err = byBob.Ban(ctx, "crew", "eve", 0); err != nil || m.Banned == nil || *m.Banned != 0 {
			t.Errorf("for good: %+v %v", m, err)
		}
		if m, err = roster.Remove(ctx, "crew", "bob"); err != nil || m.Left == 0 || m.Role != "" {
			t.Errorf("%+v %v", m, err)
		}
		need(t, groups.Leave(ctx, random), groups.Delete(ctx, "crew"))
		_, err = groups.Get(ctx, "crew")
		refused(t, err, chat.NotFound)
	})
}

func TestWaysIntoAGroup(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob, eve := connect("ana"), connect("bob"), connect("eve")
		groups, invites, requests := client.GroupCalls{Via: ana}, client.InviteCalls{Via: ana}, client.JoinRequestCalls{Via: ana}
		for id, join := range map[string]string{"open": "open", "asks": "request"} {
			_, err := groups.Create(ctx, client.NewGroup{ID: id, GroupSettings: client.GroupSettings{Title: new(id + " sea"), Visibility: new("public"), Join: &join}})
			need(t, err)
		}
		byBob, byEve := client.GroupCalls{Via: bob}, client.GroupCalls{Via: eve}
		pending, err := byBob.Join(ctx, "open", "")
		if err != nil || pending {
			t.Error(pending, err)
		}
		for _, by := range []client.GroupCalls{byBob, byEve} {
			if pending, err = by.Join(ctx, "asks", "let me in"); err != nil || !pending {
				t.Error(pending, err)
			}
		}
		if g, err := byBob.Get(ctx, "asks"); err != nil || !g.Pending {
			t.Errorf("%+v %v", g, err)
		}
		list := all(t, requests.List(ctx, "asks"))
		if len(list) != 2 || list[0].User != "bob" || list[0].Text != "let me in" || time.Since(list[0].At.Time()) > time.Hour {
			t.Errorf("%+v", list)
		}
		if page, err := requests.ListPage(ctx, "asks", client.ListOptions{Limit: 1}); err != nil || !page.More || page.Next != "bob" {
			t.Errorf("%+v %v", page, err)
		}
		m, err := requests.Approve(ctx, "asks", "bob")
		if err != nil || m.Role != "member" {
			t.Errorf("%+v %v", m, err)
		}
		need(t, requests.Deny(ctx, "asks", "eve"))
		_, err = byEve.Join(ctx, "asks", "")
		refused(t, err, chat.RateLimited)
		_, err = requests.Approve(ctx, "asks", "eve")
		refused(t, err, chat.NotFound)

		expires := client.MillisOf(time.Now().Add(time.Hour))
		inv, err := invites.Create(ctx, client.NewInvite{Conv: "asks", Uses: 2, Expires: expires, QR: true})
		need(t, err)
		if inv.Conv != "asks" || len(inv.Code) != 26 || !strings.Contains(inv.Link, inv.Code) || inv.Uses != 2 || inv.Expires != expires || inv.By != "ana" {
			t.Errorf("%+v", inv)
		}
		if img, err := png.Decode(bytes.NewReader(inv.QR)); err != nil || img.Bounds().Dx() < 200 {
			t.Error("the QR code is no picture:", err)
		}
		if group, err := (client.InviteCalls{Via: eve}).Accept(ctx, strings.ToUpper(inv.Code), ""); err != nil || group != "asks" {
			t.Error(group, err)
		}
		plain, err := invites.Create(ctx, client.NewInvite{Conv: "asks"})
		if err != nil || plain.QR != nil || plain.Expires != 0 {
			t.Errorf("%+v %v", plain, err)
		}
		page, err := invites.List(ctx, "asks")
		if err != nil || page.More || len(page.Items) != 2 {
			t.Errorf("%+v %v", page, err)
		}
		if i := slices.IndexFunc(page.Items, func(i client.Invite) bool { return i.Code == inv.Code }); i < 0 || page.Items[i].Used != 1 {
			t.Errorf("%+v", page)
		}
		if group, err := invites.Revoke(ctx, inv.Code, ""); err != nil || group != "asks" {
			t.Error(group, err)
		}
		_, err = client.InviteCalls{Via: bob}.Accept(ctx, inv.Code, "")
		refused(t, err, chat.NotFound)
	})
}

// await asks until a search has what it should, which the index takes a moment for.
func await(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for end := time.Now().Add(servertest.Patience); !ask(); {
		if time.Now().After(end) {
			t.Fatal(what, "is not found")
		}
	}
}

func TestSearchAndDiscovery(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob := connect("ana"), connect("bob")
		for _, id := range []string{"oslo-one", "oslo-two", "bergen"} {
			_, err := client.GroupCalls{Via: ana}.Create(ctx, client.NewGroup{ID: id, GroupSettings: client.GroupSettings{
				Title: new("People of " + id[:4]), Visibility: new("public"), Join: new("open"),
			}})
			need(t, err)
		}
		by := client.GroupCalls{Via: bob}
		find := func(q string) []string {
			var ids []string
			for _, g := range all(t, by.Search(ctx, q)) {
				ids = append(ids, g.Conv)
			}
			slices.Sort(ids)
			return ids
		}
		await(t, "group", func() bool { return slices.Equal(find("osl"), []string{"oslo-one", "oslo-two"}) })
		page, err := by.SearchPage(ctx, "people", client.ListOptions{Limit: 1})
		if err != nil || !page.More || len(page.Items) != 1 || page.Items[0].Title == "" {
			t.Errorf("%+v %v", page, err)
		}
		_, err = by.Join(ctx, "bergen", "")
		need(t, err)
		await(t, "recommendation", func() bool {
			var ids []string
			for _, g := range all(t, by.Recommend(ctx)) {
				ids = append(ids, g.Conv)
			}
			return slices.Contains(ids, "oslo-one") && !slices.Contains(ids, "bergen")
		})

		first := ana.post(t, "bergen", `{"text":"it rains in Bergen"}`)
		ana.post(t, "bergen", `{"text":"it rained in Bergen yesterday"}`)
		history := client.HistoryCalls{Via: bob}
		q := client.SearchQuery{Words: `"in bergen" rain*`, Conv: "bergen", From: "ana", Order: "rank", After: 1, Before: client.MillisOf(time.Now().Add(time.Hour))}
		await(t, "post", func() bool { return len(all(t, history.Search(ctx, q))) == 2 })
		q.Words = "rains"
		hits := all(t, history.Search(ctx, q))
		if len(hits) != 1 || hits[0].Conv != "bergen" || hits[0].Seq != first || hits[0].From != "ana" || !slices.Contains(hits[0].Snippet, "rains") {
			t.Errorf("%+v", hits)
		}
		hitsPage, err := history.SearchPage(ctx, client.SearchQuery{Words: "bergen"}, client.ListOptions{Limit: 1})
		if err != nil || !hitsPage.More || hitsPage.Next == "" || len(hitsPage.Items) != 1 {
			t.Errorf("%+v %v", hitsPage, err)
		}
		_, err = history.SearchPage(ctx, client.SearchQuery{}, client.ListOptions{})
		refused(t, err, chat.BadRequest)
	})
}
