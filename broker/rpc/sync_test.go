package rpc_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

func equal[E comparable](t testing.TB, got, want []E) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// known is what a device knows of a conversation.
type known struct {
	head, read, unread uint64
	mute               int64
	archived, pinned   bool
	title              string
}

// mirror is a device that knows what it has been told by sync, and nothing else.
type mirror struct {
	s      *server
	user   string
	since  string
	convs  map[string]known
	events map[string]map[uint64]string // by conversation and seq
}

type syncPage struct {
	Convs []struct {
		Conv     string
		Left     bool
		Info     *protocol.InfoView
		Head     uint64
		Read     uint64
		Unread   uint64
		Mute     int64
		Archived bool
		Pinned   bool
		Events   protocol.Events
		Gap      bool
	}
	Reads *map[string]uint64
	Since string
	More  bool
}

// page asks for one page and applies it. It returns whether there is more, or what was wrong with it.
func (m *mirror) page(limit int) (more bool, err error) {
	var got syncPage
	m.s.ok(m.user, "sync", fmt.Sprintf(`{"since":%q,"limit":%d}`, m.since, limit), &got)
	told := make(map[string]bool)
	for _, c := range got.Convs {
		if c.Left {
			delete(m.convs, c.Conv)
			delete(m.events, c.Conv)
			continue
		}
		told[c.Conv] = true
		k := known{c.Head, c.Read, c.Unread, c.Mute, c.Archived, c.Pinned, m.convs[c.Conv].title}
		if c.Info != nil {
			k.title = c.Info.Title
		}
		if err := m.take(c.Conv, c.Events.List, c.Gap); err != nil {
			return false, err
		}
		m.convs[c.Conv] = k
	}
	if got.Reads != nil {
		for conv, k := range m.convs {
			if told[conv] {
				continue
			}
			if read, ok := (*got.Reads)[conv]; !ok {
				k.read, k.unread = k.head, 0
			} else if read > k.read {
				k.read, k.unread = read, min(k.unread, k.head-read)
			}
			m.convs[conv] = k
		}
	}
	m.since = got.Since
	return got.More, nil
}

// take notes events, which must follow what is known of a conversation that the device is in already.
func (m *mirror) take(conv string, list []chat.Event, gap bool) error {
	have, old := m.events[conv], m.convs[conv]
	if have == nil {
		have = make(map[uint64]string)
		m.events[conv] = have
	}
	for i := range list {
		ev := &list[i]
		if (ev.Kind == chat.KindAdd || ev.Kind == chat.KindJoin) && ev.Member.User == m.user {
			clear(have) // a new time in the group
			old.head = 0
		}
		if i == 0 && !gap && old.head > 0 && ev.Seq > old.head+1 && len(have) > 0 {
			return fmt.Errorf("%s: knows up to %d, gets from %d without a gap", conv, old.head, ev.Seq)
		}
		if i > 0 && ev.Seq != list[i-1].Seq+1 {
			return fmt.Errorf("%s: %d follows %d", conv, ev.Seq, list[i-1].Seq)
		}
		have[ev.Seq] = ev.Text
	}
	var part chat.Member
	must(m.s.t, m.s.hub.Query(conv, chat.IsDirect(conv), func(v hub.View) { part, _ = v.State.Member(m.user) }))
	if len(list) > 0 && list[0].Seq < part.Since {
		return fmt.Errorf("%s: is told event %d, and may see from %d on", conv, list[0].Seq, part.Since)
	}
	return nil
}

// truth is what the server would tell somebody who looks at every conversation.
func truth(s *server, user string) map[string]known {
	all := make(map[string]known)
	prefix := storage.In(storage.SpaceMembership).Str(user)
	must(s.t, s.store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
		conv, _, _ := storage.TakeStr(k[len(prefix):])
		must(s.t, s.hub.Query(conv, chat.IsDirect(conv), func(v hub.View) {
			m, ok := v.State.Member(user)
			if !ok {
				return
			}
			cur := v.Cursors[user]
			set, err := storage.ConvSettings(s.store, user, conv)
			must(s.t, err)
			all[conv] = known{v.State.Head, cur.Read, chat.UnreadAfter(cur, m, v.State.Head), set.Mute, set.Archived, set.Pinned, v.State.Info.Title}
		}))
		return true
	}))
	return all
}

// Whatever happens in whatever order, and whenever a device asks, what it was told is what there is. It is
// never told an event of before or after its time in a group.
func TestSyncIsTheTruth(t *testing.T) {
	s := newServer(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		me, bo, cleo := fmt.Sprint("me", n), fmt.Sprint("bo", n), fmt.Sprint("cleo", n)
		s.users(me, bo, cleo)
		var ids []string
		for i := range 5 {
			id := fmt.Sprintf("g%d-%d", n, i)
			history := rapid.SampledFrom([]string{chat.HistoryAll, chat.HistoryJoined}).Draw(rt, "history")
			must(t, s.hub.Do(&hub.Request{Conv: id, Cmd: chat.Command{Op: chat.OpCreate, Actor: bo, Members: []string{me, cleo},
				Info: &chat.InfoChange{Title: &id, History: &history}}}).Err)
			ids = append(ids, id)
		}
		groups := len(ids)
		ids = append(ids, bo+"~"+me, cleo+"~"+me)
		m := &mirror{s: s, user: me, convs: map[string]known{}, events: map[string]map[uint64]string{}}
		conv := func() string { return rapid.SampledFrom(ids).Draw(rt, "conv") }
		group := func() string { return rapid.SampledFrom(ids[:groups]).Draw(rt, "group") }
		step := 0
		rt.Repeat(map[string]func(*rapid.T){
			"post": func(rt *rapid.T) {
				id, who := conv(), rapid.SampledFrom([]string{me, bo, cleo}).Draw(rt, "who")
				step++
				for range rapid.SampledFrom([]int{1, 1, 1, 25}).Draw(rt, "times") {
					s.hub.Do(&hub.Request{Conv: id, Direct: chat.IsDirect(id), Cmd: chat.Command{Op: chat.OpAppend, Actor: who, Event: postOf(fmt.Sprint("post ", step))}})
				}
			},
			"read": func(rt *rapid.T) {
				ch := make(chan hub.Result, 1)
				id := conv()
				head, _, err := s.hub.Head(id)
				must(t, err)
				s.hub.MoveCursor(&hub.Move{Conv: id, User: rapid.SampledFrom([]string{me, me, bo}).Draw(rt, "who"),
					Read: rapid.Uint64Range(0, head).Draw(rt, "seq"), Done: func(r hub.Result) { ch <- r }})
				<-ch // who is no member is refused
			},
			"join":   func(*rapid.T) { s.call(bo, "member.add", fmt.Sprintf(`{"conv":%q,"user":%q}`, group(), me)) },
			"remove": func(*rapid.T) { s.call(bo, "member.remove", fmt.Sprintf(`{"conv":%q,"user":%q}`, group(), me)) },
			"leave":  func(*rapid.T) { s.call(me, "group.leave", fmt.Sprintf(`{"conv":%q}`, group())) },
			"title": func(*rapid.T) {
				step++
				s.call(bo, "group.update", fmt.Sprintf(`{"conv":%q,"title":"Title %d"}`, group(), step))
			},
			"put away": func(rt *rapid.T) {
				id := conv()
				set := storage.ConvSetting{Mute: rapid.SampledFrom([]int64{0, -1}).Draw(rt, "mute"),
					Archived: rapid.Bool().Draw(rt, "archived"), Pinned: rapid.Bool().Draw(rt, "pinned")}
				note := &hub.Note{Log: storage.OwnLog(me), Own: []hub.Own{{User: me, Event: chat.Event{Kind: chat.KindSetting, Conv: id}}}}
				note.With.Set(storage.ConvSettingKey(me, id), storage.Marshal(&set))
				must(t, s.hub.Tell(note))
			},
			"sync": func(rt *rapid.T) {
				if _, err := m.page(rapid.IntRange(1, 5).Draw(rt, "limit")); err != nil {
					rt.Fatal(err)
				}
			},
			"restart": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "indeed") == 0 {
					s.restart()
				}
			},
			"": func(*rapid.T) {},
		})
		for more, rounds := true, 0; more; rounds++ {
			var err error
			if more, err = m.page(500); err != nil || rounds > 3 {
				rt.Fatal("a sync that does not end: ", err)
			}
		}
		want := truth(s, me)
		if !maps.Equal(m.convs, want) {
			rt.Fatalf("the device knows\n%+v, there is\n%+v", m.convs, want)
		}
	})
}

// What was acknowledged before a sync is told by it, and not again by the next, also in the moment in which the
// server still works out what follows from it.
func TestSyncTellsOnce(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob")
	var first, next convs
	synced := make(chan struct{})
	s.waits = make(chan struct{}, 1)
	s.hub.Submit(&hub.Request{Conv: "alice~bob", Direct: true,
		Cmd: chat.Command{Op: chat.OpAppend, Actor: "bob", Event: postOf("hello")},
		Done: func(r hub.Result) { // the acknowledgement, on the goroutine that settles
			if r.Err != nil {
				t.Error(r.Err)
			}
			go func() {
				defer close(synced)
				s.ok("alice", "sync", `{}`, &first)
			}()
			select {
			case <-s.waits:
			case <-synced:
				t.Error("answered with a token of before")
			case <-time.After(10 * time.Second):
				t.Error("it waits for something else than the disk")
			}
		}})
	<-synced
	if len(first.Convs) != 1 || len(first.Convs[0].Events.List) != 1 {
		t.Fatalf("the first: %+v", first)
	}
	if s.ok("alice", "sync", fmt.Sprintf(`{"since":%q}`, first.Since), &next); len(next.Convs) != 0 {
		t.Errorf("told again: %+v", next.Convs)
	}
}

// The work of a sync and its bytes follow what changed: the owners are asked about these conversations only.
func TestSyncFollowsChanges(t *testing.T) {
	s := newServer(t)
	ids := crowd(s, 300)
	var got convs
	s.ok("alice", "sync", `{"limit":500}`, &got)
	for _, id := range ids[:3] {
		s.post("bob", id, postOf("news"))
	}
	s.cursor("alice", ids[7], 3, 3)
	var next convs
	s.ok("alice", "sync", fmt.Sprintf(`{"since":%q}`, got.Since), &next)
	if len(next.Convs) != 4 || next.Reads != nil || next.More {
		t.Errorf("%d conversations, reads %v", len(next.Convs), next.Reads)
	}
	if last := next.Convs[3]; last.Conv != ids[7] || last.Read != 3 || len(last.Events.List) != 0 {
		t.Errorf("the conversation that was read on another device: %+v", last)
	}
	s.ok("alice", "sync", fmt.Sprintf(`{"since":%q}`, next.Since), &got)
	if len(got.Convs) != 0 || got.Reads != nil {
		t.Errorf("without news: %d conversations, reads %v", len(got.Convs), got.Reads)
	}
	// A server that does not remember tells all that is unread, once.
	s.cursor("alice", ids[8], 3, 3)
	s.restart()
	var cold convs
	s.ok("alice", "sync", fmt.Sprintf(`{"since":%q}`, got.Since), &cold)
	if len(cold.Convs) != 0 || len(cold.Reads) != len(ids)-2 || hasKey(cold.Reads, ids[7]) {
		t.Errorf("after a restart: %d conversations, %d reads", len(cold.Convs), len(cold.Reads))
	}
	var warm convs
	s.ok("alice", "sync", fmt.Sprintf(`{"since":%q}`, cold.Since), &warm)
	if warm.Reads != nil {
		t.Errorf("told twice: %d reads", len(warm.Reads))
	}
}

// Unread mentions are counted, and how a conversation was put away is told, in both lists.
func TestRows(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob")
	s.group("alice", "crew", "bob")
	s.post("bob", "crew", chat.Event{Kind: chat.KindPost, Text: "alice?", Mentions: []string{"alice"}})
	s.post("bob", "crew", postOf("no mention of alice"))
	s.post("bob", "crew", chat.Event{Kind: chat.KindPost, Text: "both", Mentions: []string{"bob", "alice"}})
	note := &hub.Note{Log: storage.OwnLog("alice"), Own: []hub.Own{{User: "alice", Event: chat.Event{Kind: chat.KindSetting, Conv: "crew"}}}}
	note.With.Set(storage.ConvSettingKey("alice", "crew"), storage.Marshal(&storage.ConvSetting{Mute: epoch + 1000, Pinned: true}))
	must(t, s.hub.Tell(note))
	type rows struct {
		Convs []struct {
			Conv             string
			Mentions         int
			Mute             int64
			Pinned, Archived bool
		}
	}
	for _, method := range []string{"sync", "conv.list"} {
		var got rows
		if s.ok("alice", method, `{}`, &got); len(got.Convs) != 1 {
			t.Fatalf("%s: %+v", method, got)
		}
		if r := got.Convs[0]; r.Mentions != 2 || r.Mute != epoch+1000 || !r.Pinned || r.Archived {
			t.Errorf("%s: %+v", method, r)
		}
	}
	s.cursor("alice", "crew", 0, 4)
	s.advance(2e9)
	for _, method := range []string{"sync", "conv.list"} {
		var got rows
		if s.ok("alice", method, `{}`, &got); got.Convs[0].Mentions != 1 || got.Convs[0].Mute != 0 {
			t.Errorf("%s later: %+v", method, got)
		}
	}
}
