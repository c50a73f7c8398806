package verify_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/broker/plain"
	"github.com/petrelchat/petrel/broker/upkeep"
	"github.com/petrelchat/petrel/broker/verify"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

func check(t *testing.T, r storage.Reader) (verify.Summary, []verify.Problem) {
	t.Helper()
	var found []verify.Problem
	sum, err := verify.Check(r, func(p verify.Problem) { found = append(found, p) })
	if err != nil {
		t.Fatal(err)
	}
	var errs, warns int64
	for _, p := range found {
		if p.Severity == verify.Error {
			errs++
		} else {
			warns++
		}
	}
	if errs != sum.Errors || warns != sum.Warnings || sum.OK() != (errs == 0) {
		t.Errorf("%d errors and %d warnings were reported, the summary says %d and %d", errs, warns, sum.Errors, sum.Warnings)
	}
	return sum, found
}

// TestHealthy: what the parts of a server write has nothing wrong with it.
func TestHealthy(t *testing.T) {
	h := build(t)
	h.live()
	h.close()
	sum, found := check(t, h.store)
	for _, p := range found {
		t.Error(p)
	}
	want := verify.Summary{
		LastCommit: h.store.LastCommit(), Logs: 3, OwnLogs: 6, Events: sum.Events, Gone: 1, Conversations: 3, Members: 9, Requests: 2, Invites: 1, Views: 11,
		Cursors: sum.Cursors, RetryKeys: 5, Expiring: 1, Sessions: 2, Positions: 2, Filters: 2, Refs: 3, Messages: 1, Retained: 2,
		Wills: 1, Accounts: 1, Tokens: 1, Profiles: 1, Audited: 2, Journal: sum.Journal,
	}
	if sum != want {
		t.Errorf("summary\n got %+v\nwant %+v", sum, want)
	}
	if sum.Events < 15 || sum.Cursors < 2 {
		t.Errorf("too little was checked: %+v", sum)
	}
}

// put returns a corruption that sets a record.
func put(k storage.Key, v []byte) func(*testing.T, *house, *storage.Batch) {
	return func(_ *testing.T, _ *house, b *storage.Batch) { b.Set(k, v) }
}

func drop(k storage.Key) func(*testing.T, *house, *storage.Batch) {
	return func(_ *testing.T, _ *house, b *storage.Batch) { b.Delete(k) }
}

// rewrite returns a corruption that changes one event where it stands.
func rewrite(conv string, seq uint64, fn func(ev *chat.Event)) func(*testing.T, *house, *storage.Batch) {
	return func(t *testing.T, h *house, b *storage.Batch) {
		ev := h.event(conv, seq)
		fn(&ev)
		b.Erase(conv, seq, protocol.EncodeStored(nil, &ev))
	}
}

func (h *house) event(conv string, seq uint64) (ev chat.Event) {
	h.t.Helper()
	var bad error
	h.must(h.store.Read(conv, seq, seq, func(e storage.Entry) bool {
		ev, bad = protocol.DecodeStored(e.Data)
		return false
	}))
	h.must(bad)
	if ev.Seq != seq {
		h.t.Fatalf("there is no entry %d in %s", seq, conv)
	}
	return ev
}

// find returns the first key in a space for which ok holds.
func (h *house) find(s storage.Space, ok func(k storage.Key, v []byte) bool) (key storage.Key, value []byte) {
	h.t.Helper()
	h.must(h.store.Scan(storage.In(s), nil, func(k storage.Key, v []byte) bool {
		if ok(k, v) {
			key, value = append(storage.Key(nil), k...), append([]byte(nil), v...)
		}
		return key == nil
	}))
	if key == nil {
		h.t.Fatalf("there is no such record in space %q", byte(s))
	}
	return key, value
}

func (h *house) first(s storage.Space) (storage.Key, []byte) {
	return h.find(s, func(storage.Key, []byte) bool { return true })
}

// firstWith returns a corruption that replaces the first value in a space.
func firstWith(s storage.Space, v []byte) func(*testing.T, *house, *storage.Batch) {
	return func(_ *testing.T, h *house, b *storage.Batch) {
		k, _ := h.first(s)
		b.Set(k, v)
	}
}

// session returns anna's session and what a corruption makes of it.
func session(fn func(rec *storage.Session)) func(*testing.T, *house, *storage.Batch) {
	return func(t *testing.T, h *house, b *storage.Batch) {
		k := storage.In(storage.SpaceSession).Str("anna").Str("phone")
		rec := h.session(k)
		fn(&rec)
		b.Set(k, storage.Marshal(rec))
	}
}

func (h *house) session(k storage.Key) (rec storage.Session) {
	h.t.Helper()
	v, _, err := h.store.Get(k)
	h.must(err)
	h.must(storage.Unmarshal(v, &rec))
	return rec
}

// position returns a corruption of anna's position.
func position(fn func(p *storage.Position)) func(*testing.T, *house, *storage.Batch) {
	return func(t *testing.T, h *house, b *storage.Batch) {
		sid := h.session(storage.In(storage.SpaceSession).Str("anna").Str("phone")).SID
		k := storage.In(storage.SpacePosition).U64(sid)
		v, ok, err := h.store.Get(k)
		h.must(err)
		if !ok {
			t.Fatal("the session has no position")
		}
		var p storage.Position
		h.must(storage.Unmarshal(v, &p))
		fn(&p)
		b.Set(k, storage.Marshal(p))
	}
}

func isShared(k storage.Key, v []byte) bool {
	ref, err := plain.DecodeRef(v)
	return len(k) == 17 && err == nil && ref.Message == nil
}

func member(m chat.Member) []byte { return storage.AppendMember(nil, m) }

func prior(seq uint64) []byte { return storage.AppendPrior(nil, chat.Prior{Seq: seq}) }

type corruption struct {
	name string
	do   func(*testing.T, *house, *storage.Batch)
	want string // part of what is reported
}

func corruptions() []corruption {
	key := storage.In
	birds := key(storage.SpaceConv).Str("birds")
	annaInBirds, birdsOfAnna := key(storage.SpaceMember).Str("birds").Str("anna"), key(storage.SpaceMembership).Str("anna").Str("birds")
	retry := hub.RetryKey("birds", "anna", "a1")
	return []corruption{
		{"undecodable entry", func(_ *testing.T, _ *house, b *storage.Batch) { b.Erase("birds", 2, []byte("?")) }, "log birds, entry 2: it can't be read"},
		{"seq within", rewrite("birds", 2, func(ev *chat.Event) { ev.Seq = 9 }), "says that it is 9"},
		{"time goes back", rewrite("anna~bob", 3, func(ev *chat.Event) { ev.At = 5 }), "time is before"},
		{"stranger", rewrite("anna~bob", 2, func(ev *chat.Event) { ev.From = "carl" }), "no party"},
		{"no creation", rewrite("birds", 1, func(ev *chat.Event) { ev.Kind = chat.KindInfo }), "begins with its creation"},
		{"after the end", func(_ *testing.T, h *house, b *storage.Batch) {
			ev := h.event("gone", 2)
			head, _, _ := h.store.Head("gone")
			ev.Seq, ev.Kind = head+1, chat.KindPost
			b.Append("gone", head+1, protocol.EncodeStored(nil, &ev))
		}, "the group ended before it"},
		{"name of a log", func(_ *testing.T, _ *house, b *storage.Batch) {
			b.Append("No Name", 1, protocol.EncodeStored(nil, &chat.Event{Seq: 1, Kind: chat.KindCreate}))
		}, "has this name"},
		{"half a stub", rewrite("anna~bob", 2, func(ev *chat.Event) { ev.Kind = chat.KindGone }), "not all of it"},
		{"never disappears", func(_ *testing.T, h *house, b *storage.Batch) {
			k, _ := h.first(storage.SpaceExpire)
			b.Delete(k)
		}, "it will stay"},
		{"disappears another time", func(_ *testing.T, h *house, b *storage.Batch) {
			b.Set(key(storage.SpaceExpire).U64(77).Str("birds").U64(2), nil)
		}, "does not disappear then"},
		{"disappears without being there", put(key(storage.SpaceExpire).U64(77).Str("birds").U64(200), nil), "entry 200 of birds is to disappear"},
		{"request that can't be read", put(storage.RequestKey("birds", "eve"), []byte("?")), "the request to join can't be read"},
		{"request of a member", put(storage.RequestKey("birds", "bob"), storage.EncodeRequest(chat.Request{At: 1})), "is a member already"},
		{"request to nowhere", put(storage.RequestKey("nowhere", "eve"), storage.EncodeRequest(chat.Request{At: 1})), "there is no such group"},
		{"request to what ended", put(storage.RequestKey("gone", "eve"), storage.EncodeRequest(chat.Request{At: 1})), "the group has ended"},
		{"half closed request", put(storage.RequestKey("birds", "eve"), storage.EncodeRequest(chat.Request{At: 1, Closed: 2})), "whether it waits"},
		{"invitation that can't be read", put(storage.InviteKey("birds", "aaa"), []byte("?")), "the invitation can't be read"},
		{"invitation without a code", put(storage.InviteKey("birds", "aaa"), storage.EncodeInvite(chat.Invite{By: "anna"})), "leads elsewhere, or nowhere"},
		{"invitation of a stranger", put(storage.InviteKey("birds", "aaa"), storage.EncodeInvite(chat.Invite{By: "eve"})), "never was a member"},
		{"invitation for too many", put(storage.InviteKey("birds", "aaa"), storage.EncodeInvite(chat.Invite{By: "anna", Uses: 1, Used: 2})), "2 have come"},
		{"code without an invitation", put(storage.CodeKey("bbb"), []byte("birds")), "has no such invitation"},
		{"banned stranger has a past", put(key(storage.SpaceMember).Str("birds").Str("eve"), member(chat.Member{Left: 2, Banned: -1})), "never was a member, but has role"},
		{"banned stranger among members", func(_ *testing.T, _ *house, b *storage.Batch) {
			rec := member(chat.Member{Banned: -1})
			b.Set(key(storage.SpaceMember).Str("birds").Str("eve"), rec)
			b.Set(key(storage.SpaceMembership).Str("eve").Str("birds"), rec)
		}, "has the conversation among theirs"},
		{"ban that nobody decided", put(key(storage.SpaceMember).Str("birds").Str("eve"), member(chat.Member{Banned: -1})), "by the log this user never was a member"},
		{"bad time", put(key(storage.SpaceExpire).U64(7), nil), "time of an event to disappear can't be read"},
		{"no record", drop(birds), "the conversation has no record"},
		{"bad conversation", put(birds, []byte("?")), "record of a conversation can't be read"},
		{"other settings", put(birds, storage.Marshal(storage.Conv{Info: chat.Info{Title: "Fish"}})), "the settings are not"},
		{"ended", put(key(storage.SpaceConv).Str("anna~bob"), storage.Marshal(storage.Conv{Ended: true})), "whether the group has ended"},
		{"no log", put(key(storage.SpaceConv).Str("nowhere"), storage.Marshal(storage.Conv{})), "has no log"},
		{"bad member", put(annaInBirds, []byte{99}), "record of a member can't be read"},
		{"other role", put(annaInBirds, member(chat.Member{Role: chat.RoleMember, Since: 1, Joined: 1})), "the member is not what the log leads to"},
		{"sees before", put(annaInBirds, member(chat.Member{Role: chat.RoleOwner, Since: 3, Joined: 1})), "sees what is from 3 on"},
		{"joined later", put(annaInBirds, member(chat.Member{Role: chat.RoleOwner, Since: 1, Joined: 100})), "but the log ends at"},
		{"left and there", put(annaInBirds, member(chat.Member{Role: chat.RoleOwner, Since: 1, Joined: 1, Left: 2})), "don't go together"},
		{"missing member", drop(annaInBirds), "by the log this user is or was a member"},
		{"invented member", put(key(storage.SpaceMember).Str("birds").Str("zoe"), member(chat.Member{Role: 1, Since: 1, Joined: 1})), "never was a member"},
		{"missing membership", drop(birdsOfAnna), "the user's side of the membership"},
		{"other membership", put(birdsOfAnna, member(chat.Member{Role: 1, Since: 1, Joined: 1})), "the user's side of the membership"},
		{"invented membership", put(key(storage.SpaceMembership).Str("zoe").Str("birds"), member(chat.Member{Role: 1, Since: 1, Joined: 1})), "the conversation's side"},
		{"cursor past the head", put(key(storage.SpaceCursor).Str("anna~bob").Str("bob"), storage.AppendCursor(nil, chat.Cursor{Delivered: 4, Read: 1})), "delivered up to 4"},
		{"read before delivered", put(key(storage.SpaceCursor).Str("anna~bob").Str("bob"), storage.AppendCursor(nil, chat.Cursor{Delivered: 1, Read: 2})), "delivered only up to 1"},
		{"cursor of a stranger", put(key(storage.SpaceCursor).Str("anna~bob").Str("zoe"), storage.AppendCursor(nil, chat.Cursor{Delivered: 1})), "its user never was a member"},
		{"bad cursor", put(key(storage.SpaceCursor).Str("anna~bob").Str("bob"), nil), "record of a cursor can't be read"},
		{"missing retry key", drop(retry), "no retry key"},
		{"retry key past the head", put(retry, prior(100)), "acknowledged and not stored"},
		{"retry key of another", put(retry, prior(1)), "which is another event"},
		{"two with an id", put(hub.RetryKey("anna~bob", "anna", "2"), prior(3)), "its id names entry 3"},
		{"bad retry key", put(retry, nil), "retry key can't be read"},
		{"bad cutoff", put(upkeep.RetryCutoffKey(), []byte("?")), "it can't be read"},
		{"bad session", put(key(storage.SpaceSession).Str("anna").Str("phone"), []byte("?")), "record of a session can't be read"},
		{"two with a session id", func(_ *testing.T, h *house, b *storage.Batch) {
			b.Set(key(storage.SpaceSession).Str("zoe").Str("x"), storage.Marshal(h.session(key(storage.SpaceSession).Str("anna").Str("phone"))))
		}, "another session has the id"},
		{"session 0", session(func(rec *storage.Session) { rec.SID = 0 }), "has no id"},
		{"stays for ever", session(func(rec *storage.Session) { rec.Expiry++ }), "nothing says when"},
		{"filter gone", session(func(rec *storage.Session) { rec.Subs = append(rec.Subs, storage.Sub{Filter: "x/#", Options: 1}) }), `subscribes to "x/#"`},
		{"filter left", session(func(rec *storage.Session) { rec.Subs = rec.Subs[:0] }), "does not subscribe to it"},
		{"filter refused", session(func(rec *storage.Session) { rec.Subs = append(rec.Subs, storage.Sub{Filter: "c/#"}) }), "allowed no more"},
		{"other options", firstWith(storage.SpaceFilter, []byte{2, 0, 0, 0, 7}), "not those of the session's subscription"},
		{"bad filter", firstWith(storage.SpaceFilter, []byte{2}), "filter of a session can't be read"},
		{"filter of nobody", put(key(storage.SpaceFilter).U64(5).Str("a/#"), make([]byte, 5)), "session 5, which is not on record"},
		{"bad end", put(key(storage.SpaceSessionEnd).U64(5).Str("a"), nil), "end of a session can't be read"},
		{"bad mark of an end", put(key(storage.SpaceMeta).Str("ending").Str("x"), nil), "being removed can't be read"},
		{"ahead of the store", position(func(p *storage.Position) { p.Commit = 1 << 40 }), "come to commit"},
		{"ahead of a log", position(func(p *storage.Position) { p.Lag = []storage.Lag{{Log: "anna~bob", Next: 5}} }), "goes on in anna~bob at 5"},
		{"in flight past the head", position(func(p *storage.Position) {
			p.Alloc, p.Inflight = 9, []storage.Inflight{{Alloc: 1, Log: "anna~bob", Seq: 4, QoS: 1}}
		}), "entry 4 of anna~bob is in flight"},
		{"in flight and not sent", position(func(p *storage.Position) {
			p.Alloc, p.Inflight = 9, []storage.Inflight{{Alloc: 9, Log: "anna~bob", Seq: 3, QoS: 1}}
		}), "only 9 were sent"},
		{"bad position", firstWith(storage.SpacePosition, []byte("?")), "position of a session can't be read"},
		{"position of nobody", put(key(storage.SpacePosition).U64(5), storage.Marshal(storage.Position{})), "session 5, which is not on record"},
		{"received by nobody", put(key(storage.SpaceReceived).U64(5).U16(1), nil), "session 5, which is not on record"},
		{"bad packet id", put(key(storage.SpaceReleased).U64(5).U16(0), nil), "packet id of a session can't be read"},
		{"reserved for nothing", put(key(storage.SpaceInflight).U64(5).U64(1), make([]byte, 8)), "waits no more"},
		{"bad reservation", put(key(storage.SpaceInflight).U64(5).U64(1), nil), "packet in flight can't be read"},
		{"bad journal", put(key(storage.SpaceJournal).U64(1), []byte("?")), "the journal can't be read"},
		{"empty mark", put(key(storage.SpaceJournal).U64(1), storage.Marshal([]storage.Journal{{SID: 1}})), "packet id 0 of session 1"},
		{"message gone", func(_ *testing.T, h *house, b *storage.Batch) {
			k, _ := h.first(storage.SpaceMessage)
			b.Delete(k)
		}, "waits, but is not there"},
		{"reference gone", func(_ *testing.T, h *house, b *storage.Batch) {
			k, _ := h.find(storage.SpaceRef, isShared)
			b.Delete(k)
		}, "it would stay for ever"},
		{"counted too few", func(_ *testing.T, h *house, b *storage.Batch) {
			k, _ := h.first(storage.SpaceMessage)
			b.Set(k.Raw("c"), binary.AppendUvarint(nil, 1))
		}, "some would lose it"},
		{"counted too many", func(_ *testing.T, h *house, b *storage.Batch) {
			k, _ := h.first(storage.SpaceMessage)
			b.Set(k.Raw("c"), binary.AppendUvarint(nil, 9))
		}, "more sessions wait for message"},
		{"counts nothing", put(key(storage.SpaceMessage).U64(1).Raw("c"), []byte{1}), "which is not there"},
		{"bad message", firstWith(storage.SpaceMessage, []byte{2, 99}), "can't be read"},
		{"other size", func(_ *testing.T, h *house, b *storage.Batch) {
			k, _ := h.find(storage.SpaceRef, isShared)
			b.Set(k, plain.AppendRef(nil, &plain.Ref{QoS: 1, Size: 1}))
		}, "counts for 1 bytes"},
		{"other usage", func(_ *testing.T, h *house, b *storage.Batch) {
			k, _ := h.first(storage.SpaceRef)
			b.Set(k[:9], []byte{50, 60})
		}, "50 messages of 60 bytes wait"},
		{"bad usage", put(key(storage.SpaceRef).U64(5), []byte{1}), "how much waits for a session can't be read"},
		{"bad reference", firstWith(storage.SpaceRef, []byte{0}), "a waiting message can't be read"},
		{"waits for nobody", put(key(storage.SpaceRef).U64(5).U64(1), plain.AppendRef(nil, &plain.Ref{QoS: 1, Message: &plain.Message{Topic: "a"}})), "session 5, which is not on record"},
		{"bad retained message", firstWith(storage.SpaceRetained, nil), "the retained message can't be read"},
		{"retained for nothing", put(key(storage.SpaceRetained).Str("#"), nil), "topic of a retained message"},
		{"empty retained message", put(key(storage.SpaceRetained).Str("home/t"), plain.AppendMessage(nil, &plain.Message{QoS: 1})), "which means that there is none"},
		{"number of retained messages", put(key(storage.SpaceMeta).Str("retained"), []byte{9}), "there are 9 retained messages, but there are 2"},
		{"bad number", put(key(storage.SpaceMeta).Str("retained"), []byte{0x80}), "number of retained messages can't be read"},
		{"bad will", firstWith(storage.SpaceWill, nil), "the will can't be read"},
		{"bad account", put(key(storage.SpaceAccount).Str("anna"), []byte("?")), "the account can't be read"},
		{"account of another", put(key(storage.SpaceAccount).Str("zoe"), []byte(`{"v":1,"user":"Zoey"}`)), "account of Zoey"},
		{"bad password", put(key(storage.SpaceAccount).Str("zoe"), []byte(`{"v":1,"user":"Zoe","phc":"plain"}`)), "the password record"},
		{"bad token", firstWith(storage.SpaceToken, []byte("?")), "the device token can't be read"},
		{"token of another", func(_ *testing.T, h *house, b *storage.Batch) {
			_, v := h.first(storage.SpaceToken)
			b.Set(key(storage.SpaceToken).Str("mine"), v)
		}, "it is the device token"},
		{"token of nobody", drop(key(storage.SpaceAccount).Str("anna")), "has no account"},
		{"bad profile", put(key(storage.SpaceProfile).Str("anna"), []byte("?")), "the profile can't be read"},
		{"bad audit", put(key(storage.SpaceAudit).U64(1), []byte("{}")), "the audit entry can't be read"},
		{"another version's", put(storage.Key{'Y', 1}, nil), "no space of this version"},
	}
}

func TestCorruptions(t *testing.T) {
	for _, c := range corruptions() {
		t.Run(c.name, func(t *testing.T) {
			h := build(t)
			h.live()
			h.close()
			var b storage.Batch
			c.do(t, h, &b)
			p, err := h.store.Commit(&b)
			if err == nil {
				err = p.Wait()
			}
			h.must(err)
			_, found := check(t, h.store)
			wantProblem(t, found, c.want)
		})
	}
}

func wantProblem(t *testing.T, found []verify.Problem, want string) {
	t.Helper()
	for _, p := range found {
		if s := p.String(); strings.Contains(s, "petrel\"") || strings.Contains(s, "21.5") || strings.Contains(s, "hello") {
			t.Errorf("a problem tells what somebody wrote: %s", s)
		}
	}
	for _, p := range found {
		if strings.Contains(p.String(), want) {
			return
		}
	}
	t.Errorf("nothing says %q, but", want)
	for _, p := range found {
		t.Log(p)
	}
}

// bent is a store that shows a log otherwise than an engine would.
type bent struct {
	storage.Store
	log  string
	bend func(e *storage.Entry) bool // false: the entry is not there
	head uint64                      // instead of the real one
}

func (s *bent) Head(log string) (seq, commit uint64, err error) {
	seq, commit, err = s.Store.Head(log)
	if log == s.log && s.head != 0 {
		seq = s.head
	}
	return seq, commit, err
}

func (s *bent) Read(log string, from, to uint64, fn func(storage.Entry) bool) error {
	return s.Store.Read(log, from, to, func(e storage.Entry) bool {
		if log == s.log && s.bend != nil && !s.bend(&e) {
			return true
		}
		return fn(e)
	})
}

// TestBrokenLogs: faults that no commit can make.
func TestBrokenLogs(t *testing.T) {
	h := build(t)
	h.live()
	h.close()
	for _, c := range []struct {
		name, want string
		s          bent
	}{
		{"gap", "entry 3: the entry before it is 1: something is missing", bent{bend: func(e *storage.Entry) bool { return e.Seq != 2 }}},
		{"order", "it stands behind entry 2", bent{bend: func(e *storage.Entry) bool {
			if e.Seq == 3 {
				e.Seq = 2
			}
			return true
		}}},
		{"commits go back", "it is of commit 1, the entry before it of commit", bent{bend: func(e *storage.Entry) bool {
			if e.Seq == 3 {
				e.Commit = 1
			}
			return true
		}}},
		{"commit of the future", "but the last commit is", bent{bend: func(e *storage.Entry) bool {
			if e.Seq == 3 {
				e.Commit = 1 << 40
			}
			return true
		}}},
		{"head", "its head is 7 of commit", bent{head: 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.Store, c.s.log = h.store, "anna~bob"
			_, found := check(t, &c.s)
			wantProblem(t, found, c.want)
		})
	}
}

// TestAged: a store that upkeep has shortened and erased in is as healthy as before.
func TestAged(t *testing.T) {
	h := build(t)
	h.live()
	var b storage.Batch
	b.Vital = true
	ev := h.event("anna~bob", 1)
	b.Truncate("anna~bob", 2)
	b.Delete(hub.RetryKey("anna~bob", ev.From, ev.ID))
	gone := h.event("birds", 1)
	for seq := uint64(1); gone.Expire == 0; seq++ {
		gone = h.event("birds", seq)
	}
	stone := chat.Tombstone(&gone)
	b.Erase("birds", gone.Seq, protocol.EncodeStored(nil, &stone))
	b.Delete(hub.ExpireKey("birds", hub.DueOf(&gone)))
	// The key of the second event grew old.
	b.Delete(hub.RetryKey("anna~bob", "anna", "2"))
	b.Set(upkeep.RetryCutoffKey(), binary.BigEndian.AppendUint64(nil, uint64(h.event("anna~bob", 2).At+1)))
	h.must(h.pipe.CommitWait(&b))
	h.close()
	sum, found := check(t, h.store)
	for _, p := range found {
		t.Error(p)
	}
	if sum.Gone != 2 {
		t.Errorf("%d events have disappeared, not 2", sum.Gone)
	}
}

// TestUpkept: what upkeep leaves of a store is as healthy as it was.
func TestUpkept(t *testing.T) {
	h := build(t)
	h.live()
	for i := range 40 {
		seq := h.post("birds", "bob", chat.Event{ID: fmt.Sprint("more", i), Text: "look", Expire: uint64(i % 2)})
		reply := h.post("birds", "anna", chat.Event{Text: "where?", Re: seq, Expire: uint64(i % 3)})
		h.post("birds", "bob", chat.Event{Text: "there", Re: reply})
		h.post("birds", "anna", chat.Event{Kind: chat.KindReact, Re: reply, Emoji: "🔭"})
		h.post("birds", "bob", chat.Event{Kind: chat.KindEdit, Re: seq, Text: "look!"})
		h.post("birds", "anna", chat.Event{Kind: chat.KindPin, Re: seq})
	}
	done := make(chan struct{})
	tidy := func() {
		left := 0
		for _, s := range []storage.Space{storage.SpaceExpire, storage.SpaceRetry} {
			h.must(h.store.Scan(storage.In(s), nil, func(storage.Key, []byte) bool { left++; return true }))
		}
		first := uint64(0)
		h.must(h.store.Read("birds", 0, 1<<62, func(e storage.Entry) bool { first = e.Seq; return false }))
		if left == 0 && first > 30 && done != nil {
			close(done)
			done = nil
		}
	}
	finished := done
	u := upkeep.New(upkeep.Options{
		Store: h.store, Owners: h.hub, Commit: h.pipe.CommitWait, Extra: []func(){tidy}, Now: func() time.Time { return time.Now().Add(2 * time.Hour) },
		Settings:  upkeep.Settings{LogLength: 31, RetryKeys: time.Hour},
		Disappear: time.Millisecond, Sweep: time.Millisecond, ExtraEvery: time.Millisecond, Rest: time.Millisecond,
	})
	u.Start()
	<-finished
	u.Close()
	h.close()
	sum, found := check(t, h.store)
	for _, p := range found {
		t.Error(p)
	}
	if sum.Gone == 0 || sum.RetryKeys != 0 {
		t.Errorf("nothing was tidied up: %+v", sum)
	}
}
