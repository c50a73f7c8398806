package client_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// crew has ana as owner of a group with members.
func crew(t *testing.T, ana *strict, members ...string) {
	t.Helper()
	_, err := client.GroupCalls{Via: ana}.Create(t.Context(), client.NewGroup{
		ID: "crew", Members: members, GroupSettings: client.GroupSettings{Title: new("Crew"), Forward: new("origin")},
	})
	need(t, err)
}

func TestReadingHistory(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob, eve := connect("ana"), connect("bob"), connect("eve")
		crew(t, ana, "bob")
		byAna, byBob := client.HistoryCalls{Via: ana}, client.HistoryCalls{Via: bob}
		root := ana.post(t, "crew", `{"text":"who comes?","id":"q-1"}`)
		reply := bob.post(t, "crew", fmt.Sprintf(`{"text":"I","re":%d}`, root))
		deeper := ana.post(t, "crew", fmt.Sprintf(`{"text":"good","re":%d}`, reply))
		edit := bob.post(t, "crew", fmt.Sprintf(`{"kind":"edit","text":"I do","re":%d}`, reply))
		for _, c := range []*strict{ana, bob} {
			c.post(t, "crew", fmt.Sprintf(`{"kind":"react","emoji":"👍","re":%d}`, root))
		}
		bob.post(t, "crew", fmt.Sprintf(`{"kind":"react","emoji":"⛵","re":%d}`, root))
		head := ana.post(t, "crew", fmt.Sprintf(`{"kind":"pin","re":%d}`, reply))

		page, err := byAna.Page(ctx, client.HistoryQuery{Conv: "crew", Before: deeper, Limit: 2})
		need(t, err)
		if !page.More || page.Head != head || len(page.Events) != 2 || page.Events[0].Seq != root || page.Events[0].ID != "q-1" || page.Events[1].Re != root {
			t.Errorf("%+v", page)
		}
		var seqs []uint64
		for _, e := range all(t, byBob.After(ctx, "crew", root-1)) {
			seqs = append(seqs, e.Seq)
		}
		if len(seqs) != int(head-root+1) || !slices.IsSorted(seqs) || seqs[0] != root {
			t.Error(seqs)
		}
		if back := all(t, byBob.Before(ctx, "crew", 0)); len(back) != int(head) || back[0].Seq != head || back[len(back)-1].Kind != chat.KindCreate {
			t.Error(len(back))
		}
		_, err = client.HistoryCalls{Via: eve}.Page(ctx, client.HistoryQuery{Conv: "crew"})
		refused(t, err, chat.NotFound)

		posts := all(t, byAna.Thread(ctx, "crew", deeper))
		if len(posts) != 3 || posts[0].Event.Seq != root || posts[1].Event.Text != "I do" || posts[1].Edited == 0 || posts[2].Depth != 2 {
			t.Errorf("%+v", posts)
		}
		thread, err := byAna.ThreadPage(ctx, "crew", root, client.ListOptions{Limit: 2})
		if err != nil || !thread.More || thread.Root != root || thread.Count != 2 || thread.Participants != 2 || thread.LastSeq != deeper || thread.LastAt == 0 ||
			!slices.Equal(thread.Users, []string{"ana", "bob"}) || thread.Unread != 1 {
			t.Errorf("%+v %v", thread, err)
		}
		if thread, err = byAna.ThreadPage(ctx, "crew", root, client.ListOptions{After: thread.Next}); err != nil || thread.More || len(thread.Items) != 1 || thread.Items[0].Event.Seq != deeper {
			t.Errorf("%+v %v", thread, err)
		}

		emoji := all(t, byBob.Reactions(ctx, "crew", root))
		if len(emoji) != 2 || emoji[1].Emoji != "👍" || emoji[1].Count != 2 || !emoji[1].Me || !slices.Equal(emoji[1].Users, []string{"ana", "bob"}) {
			t.Errorf("%+v", emoji)
		}
		who, err := byBob.ReactorsPage(ctx, "crew", root, "👍", client.ListOptions{Limit: 1})
		if err != nil || !who.More || who.Next != "ana" {
			t.Errorf("%+v %v", who, err)
		}
		if who := all(t, byBob.Reactors(ctx, "crew", root, "👍")); !slices.Equal(who, []string{"ana", "bob"}) {
			t.Error(who)
		}
		if who := all(t, byBob.Reactors(ctx, "crew", root, "😀")); len(who) != 0 {
			t.Error(who)
		}

		versions := all(t, byAna.Edits(ctx, "crew", edit))
		if len(versions) != 2 || versions[0].Text != "I" || versions[1].Text != "I do" || versions[1].Seq != edit {
			t.Errorf("%+v", versions)
		}
		one, err := byAna.EditsPage(ctx, "crew", reply, client.ListOptions{Limit: 1})
		if err != nil || !one.More || one.Next != fmt.Sprint(reply) {
			t.Errorf("%+v %v", one, err)
		}
		pins := all(t, byBob.Pins(ctx, "crew"))
		if len(pins) != 1 || pins[0].By != "ana" || pins[0].At == 0 || pins[0].Edited == 0 || pins[0].Event.Text != "I do" {
			t.Errorf("%+v", pins)
		}
	})
}

func TestReceipts(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob, eve := connect("ana"), connect("bob"), connect("eve")
		crew(t, ana, "bob", "eve")
		byAna := client.HistoryCalls{Via: ana}
		seq := ana.post(t, "crew", `{"text":"hello"}`)
		need(t, bob.publish("c/crew/read", fmt.Append(nil, seq), nil))
		page, err := byAna.ReceiptsPage(ctx, "crew", seq, client.ListOptions{Limit: 1})
		if err != nil || page.Of != 2 || page.Delivered != 1 || page.Read == nil || *page.Read != 1 || !page.More {
			t.Errorf("%+v %v", page, err)
		}
		who := all(t, byAna.Receipts(ctx, "crew", seq))
		if len(who) != 2 || who[0].User != "bob" || !who[0].Delivered || who[0].Read == nil || !*who[0].Read || who[1].Delivered || *who[1].Read {
			t.Errorf("%+v", who)
		}
		news, err := byAna.ReceiptsSince(ctx, "", 0)
		if err != nil || len(news.Convs) != 1 || news.Convs[0].Conv != "crew" || len(news.Convs[0].Users) != 1 || news.Since == "" || news.More {
			t.Fatalf("%+v %v", news, err)
		}
		if u := news.Convs[0].Users[0]; u.User != "bob" || u.Delivered != seq || u.Read == nil || *u.Read != seq {
			t.Errorf("%+v", u)
		}
		if _, err = byAna.ReceiptsSince(ctx, news.Since, 10); err != nil {
			t.Error(err)
		}
		_, err = byAna.ReceiptsSince(ctx, "nonsense", 0)
		refused(t, err, chat.BadRequest)

		// Who tells nothing is told nothing.
		p, err := client.ProfileCalls{Via: eve}.Update(ctx, client.ProfileChange{Receipts: new(false)})
		if err != nil || p.Receipts == nil || *p.Receipts {
			t.Errorf("%+v %v", p, err)
		}
		page, err = client.HistoryCalls{Via: eve}.ReceiptsPage(ctx, "crew", seq, client.ListOptions{})
		if err != nil || page.Read != nil || page.Items[0].Read != nil {
			t.Errorf("%+v %v", page, err)
		}
		m, err := client.MemberCalls{Via: eve}.ListPage(ctx, "crew", client.ListOptions{})
		if err != nil || m.Items[1].User != "bob" || m.Items[1].Read != nil || m.Items[1].Delivered != seq {
			t.Errorf("%+v %v", m, err)
		}
	}, func(c *config.Config) { c.People.Messages = "anyone" })
}

func TestConversations(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		ana, bob := connect("ana"), connect("bob")
		convs := client.ConvCalls{Via: ana}
		start, err := convs.Sync(ctx, "", 0)
		need(t, err)
		crew(t, ana, "bob")
		post := bob.post(t, "crew", `{"text":"look","mentions":["ana"]}`)
		direct := bob.post(t, "ana~bob", `{"text":"hello"}`)

		rows := all(t, convs.List(ctx))
		i := slices.IndexFunc(rows, func(r client.ConvRow) bool { return r.Conv == "crew" })
		if len(rows) != 2 || rows[0].Conv != "ana~bob" || rows[0].Kind != "direct" || i < 0 || rows[i].Title != "Crew" || rows[i].Head != post ||
			rows[i].Unread != 1 || rows[i].Mentions != 1 || rows[i].Role != "owner" || rows[i].Last.Text != "look" || rows[i].At == 0 {
			t.Errorf("%+v", rows)
		}
		page, err := convs.ListPage(ctx, client.ListOptions{Limit: 1})
		if err != nil || !page.More || page.Next == "" || len(page.Items) != 1 {
			t.Errorf("%+v %v", page, err)
		}

		away, err := convs.Mute(ctx, "crew", client.ForGood)
		if err != nil || away.Mute != client.ForGood {
			t.Errorf("%+v %v", away, err)
		}
		_, err = convs.Archive(ctx, "crew", true)
		need(t, err)
		if away, err = convs.Pin(ctx, "crew", true); err != nil || !away.Pinned || !away.Archived || away.At == 0 {
			t.Errorf("%+v %v", away, err)
		}
		if got, err := convs.PutAway(ctx, "crew"); err != nil || got != away {
			t.Errorf("%+v %v, want %+v", got, err, away)
		}
		if away, err = convs.Mute(ctx, "crew", 0); err != nil || away.Mute != 0 {
			t.Errorf("%+v %v", away, err)
		}
		if got, err := convs.PutAway(ctx, "ana~bob"); err != nil || got != (client.PutAway{}) {
			t.Errorf("%+v %v", got, err)
		}

		at, err := convs.SetDraft(ctx, "crew", "I was thin")
		need(t, err)
		_, err = convs.SetDraftIf(ctx, "crew", "other", 0)
		refused(t, err, chat.Conflict)
		at, err = convs.SetDraftIf(ctx, "crew", "I was thinking", at)
		need(t, err)
		if text, when, err := convs.Draft(ctx, "crew"); err != nil || text != "I was thinking" || when != at {
			t.Error(text, when, at, err)
		}
		_, err = convs.SetDraft(ctx, "crew", "")
		need(t, err)
		if text, _, err := convs.Draft(ctx, "crew"); err != nil || text != "" {
			t.Error(text, err)
		}
		_, err = convs.SetDraft(ctx, "nowhere", "hello")
		refused(t, err, chat.NotFound)

		g, err := convs.Update(ctx, "ana~bob", client.ConvSettings{Expire: new(uint32(3600)), Forward: new("origin")})
		if err != nil || g.Expire != 3600 || g.Conv != "ana~bob" {
			t.Errorf("%+v %v", g, err)
		}
		to := client.Forwarding{From: "crew", Seq: post, To: "ana~bob", ID: "f-1"}
		copied, err := convs.Forward(ctx, to)
		if again, err2 := convs.Forward(ctx, to); err != nil || err2 != nil || copied <= direct || again != copied {
			t.Error(copied, again, err, err2)
		}
		ev, err := client.HistoryCalls{Via: ana}.Page(ctx, client.HistoryQuery{Conv: "ana~bob", Limit: 1})
		if err != nil || ev.Events[0].Text != "look" || ev.Events[0].Fwd == nil || ev.Events[0].Fwd.From != "bob" {
			t.Errorf("%+v %v", ev, err)
		}
		if hidden, err := convs.Hide(ctx, "crew", post); err != nil || hidden != post {
			t.Error(hidden, err)
		}

		changed, err := convs.Sync(ctx, start.Since, 10)
		need(t, err)
		j := slices.IndexFunc(changed.Convs, func(c client.SyncConv) bool { return c.Conv == "crew" })
		if j < 0 || changed.More || changed.Own == nil || len(changed.Own.Events) == 0 {
			t.Fatalf("%+v", changed)
		}
		c := changed.Convs[j]
		if c.Info == nil || c.Info.Title != "Crew" || !c.Archived || !c.Pinned || c.Kind != "group" || c.Head != post || len(c.Events) == 0 || c.Events[len(c.Events)-1].Kind != chat.KindGone {
			t.Errorf("%+v", c)
		}
		need(t, client.GroupCalls{Via: ana}.Leave(ctx, "crew"))
		left, err := convs.Sync(ctx, changed.Since, 0)
		if err != nil || len(left.Convs) != 1 || !left.Convs[0].Left || left.Convs[0].Conv != "crew" {
			t.Errorf("%+v %v", left, err)
		}
	})
}

func TestPrivateSettings(t *testing.T) {
	inBoth(t, func(t *testing.T, _ *broker.Server, connect func(string) *strict) {
		ctx := t.Context()
		settings := client.SettingCalls{Via: connect("ana")}
		type look struct {
			Theme string `json:"theme"`
			Size  int    `json:"size"`
		}
		set, err := settings.Set(ctx, "look", look{"dark", 12})
		if err != nil || set.Name != "look" || set.At == 0 {
			t.Errorf("%+v %v", set, err)
		}
		got, err := settings.Get(ctx, "look")
		var value look
		if err != nil || got.At != set.At || got.Value.Decode(&value) != nil || value != (look{"dark", 12}) {
			t.Errorf("%+v %+v %v", got, value, err)
		}
		_, err = settings.SetIf(ctx, "look", "other", set.At-1)
		refused(t, err, chat.Conflict)
		_, err = settings.SetIf(ctx, "look", look{"light", 12}, set.At)
		need(t, err)
		_, err = settings.Set(ctx, "Not a name", 1)
		refused(t, err, chat.BadRequest)
		_, err = settings.SetIf(ctx, "new", true, 0)
		need(t, err)
		page, err := settings.ListPage(ctx, client.ListOptions{Limit: 1})
		if err != nil || !page.More || page.Next == "" || page.Items[0].Value.String() != `{"size":12,"theme":"light"}` {
			t.Errorf("%+v %v", page, err)
		}
		if list := all(t, settings.List(ctx)); len(list) != 2 || list[1].Name != "new" || list[1].Value.String() != "true" {
			t.Errorf("%+v", list)
		}
		if gone, err := settings.Set(ctx, "new", nil); err != nil || !gone.Value.Null() {
			t.Errorf("%+v %v", gone, err)
		}
		if none, err := settings.Get(ctx, "new"); err != nil || !none.Value.Null() || none.At != 0 {
			t.Errorf("%+v %v", none, err)
		}
	})
}
