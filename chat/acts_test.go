package chat_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

// What is there already is not put there twice, and what is not there can't be taken away.
func TestRepeatedActs(t *testing.T) {
	r := newTeam(t, "")
	r.must(post("ben", "8"))
	r.must(act("cat", chat.KindUnreact, 8))
	r.must(act("cat", chat.KindReact, 8), "9 cat reacts re 8")
	r.must(act("cat", chat.KindReact, 8))
	r.must(act("ben", chat.KindReact, 8), "10 ben reacts re 8")
	r.must(act("cat", chat.KindUnreact, 8), "11 cat unreacts re 8")
	r.must(act("cat", chat.KindUnreact, 8))
	r.must(act("mo", chat.KindUnpin, 8))
	r.must(act("mo", chat.KindPin, 8), "12 mo pins re 8")
	r.must(act("ann", chat.KindPin, 8))
	r.must(act("ann", chat.KindUnpin, 8), "13 ann unpins re 8")
}

func TestWithdrawing(t *testing.T) {
	r := newTeam(t, "")
	within := uint32(60)
	r.must(chat.Command{Op: chat.OpUpdate, Actor: "ann", Info: &chat.InfoChange{Withdraw: &within}})
	for seq := 9; seq <= 13; seq++ {
		r.must(post([]string{"ben", "mo"}[seq%2], fmt.Sprint(seq)))
	}
	r.must(act("ben", chat.KindEdit, 10))
	r.now += 60_000
	r.must(act("ben", chat.KindDelete, 12)) // to the second
	r.now++
	r.no(chat.NotAuthorized, "within 60 seconds", act("ben", chat.KindDelete, 10))
	r.no(chat.NotAuthorized, "within 60 seconds", act("ben", chat.KindDelete, 14)) // its edit makes it no younger
	r.must(act("mo", chat.KindDelete, 11))                                         // a moderator, own ones too
	r.must(act("mo", chat.KindDelete, 10))
	nobody := chat.Perms{}
	nobody[chat.ActDelete] = chat.RoleOwner
	r.must(chat.Command{Op: chat.OpUpdate, Actor: "ann", Info: &chat.InfoChange{Perms: &nobody}})
	r.no(chat.NotAuthorized, "within 60 seconds", act("mo", chat.KindDelete, 13)) // who may not delete others' is bound
	r.must(act("ann", chat.KindDelete, 9))
}

func TestUsualExpiry(t *testing.T) {
	r := newTeam(t, "")
	r.must(post("ben", "stays"))
	usual := uint32(60)
	r.must(chat.Command{Op: chat.OpUpdate, Actor: "ann", Info: &chat.InfoChange{Expire: &usual}})
	own, longer, fwd := post("ben", "10"), post("ben", "11"), post("ben", "12")
	own.Event.Expire, longer.Event.Expire, fwd.Event.Expire = 5, 500, 500
	fwd.Fwd = &chat.Forward{}
	expiring := act("ben", chat.KindReact, 8)
	expiring.Event.Expire = 7
	for _, c := range []chat.Command{own, longer, fwd, post("ben", "13"), act("ben", chat.KindEdit, 8), act("ben", chat.KindEdit, 13), expiring} {
		r.must(c)
	}
	var got []uint64
	for _, e := range r.log[9:] {
		got = append(got, e.Expire)
	}
	if fmt.Sprint(got) != "[5 500 60 60 0 60 0]" {
		t.Errorf("expiry %v", got)
	}
}

func TestMentionsNameMembers(t *testing.T) {
	mention := func(who, whom string) chat.Command {
		c := post(who, "hey")
		c.Event.Mentions = []string{whom}
		return c
	}
	r := newTeam(t, "")
	r.must(mention("ann", "ben"))
	r.no(chat.BadRequest, "no member", mention("ann", "eve"))
	r.must(op(chat.OpLeave, "ben"))
	r.no(chat.BadRequest, "no member", mention("ann", "ben"))
	d := newRoom(t, chat.NewDirect("ann", "ben"))
	for range 2 {
		if _, err := d.do(mention("ann", "ben")); err != nil {
			t.Error(err)
		}
		if _, err := d.do(mention("ann", "cat")); err == nil {
			t.Error("a mention of somebody else")
		}
	}
}

func TestActsSayNothing(t *testing.T) {
	r := newTeam(t, "")
	r.must(post("ann", "8"))
	for _, k := range []chat.Kind{chat.KindDelete, chat.KindReact, chat.KindUnreact, chat.KindPin, chat.KindUnpin} {
		for _, ev := range []chat.Event{{Text: "x"}, {Media: []byte{0x80}}, {Mentions: []string{"ben"}}} {
			c := act("ann", k, 8)
			c.Event.Text, c.Event.Media, c.Event.Mentions = ev.Text, ev.Media, ev.Mentions
			r.no(chat.BadRequest, "for posts and edits", c)
		}
	}
	forged := post("ann", "x")
	forged.Event.Fwd = &chat.Forward{}
	r.no(chat.BadRequest, "fwd", forged)
}

func TestTombstoneHoldsNoBody(t *testing.T) {
	e := chat.Event{
		Seq: 9, From: "ann", At: 5, Kind: chat.KindPost, ID: "secret", Text: "secret", Re: 7, Thread: 3, Emoji: "secret", Mentions: []string{"secret"},
		Expire: 60, Media: []byte("secret"), Enc: []byte("secret"), Ext: []byte("secret"), Extra: []byte("secret"), Fwd: &chat.Forward{From: "secret"},
	}
	stone := chat.Tombstone(&e)
	if s := fmt.Sprintf("%+v", stone); strings.Contains(s, "secret") || stone.Thread != 3 || stone.Seq != 9 {
		t.Error(s)
	}
	if again := chat.Tombstone(&stone); fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", stone) {
		t.Errorf("a tombstone's tombstone is %+v", again)
	}
	if e.Kind = chat.KindEdit; chat.Tombstone(&e).Re != 0 {
		t.Error("of an edit it stays what it changed")
	}
}
