package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/words"
	"github.com/petrelchat/petrel/storage"
)

func TestFollowsTheLog(t *testing.T) {
	r := newRig(t)
	r.post("g", "ana", "Let us go climbing")
	r.pass(time.Minute)
	r.post("a~b", "ana", "climbing on Sunday?")
	r.pass(time.Minute)
	two := r.post("g", "bob", "no climbing for me")
	r.add("g", chat.Event{From: "bob", Kind: chat.KindReact, Re: 1, Emoji: "👍"})
	r.caughtUp()
	r.want("climbing", "g:2 a~b:1 g:1", "g", "a~b", "nowhere")
	r.want("climbing", "g:2 g:1", "g")
	r.want("climbing", "")
	r.want("clim* sunday", "a~b:1", "g", "a~b")
	r.want(`"go climbing"`, "g:1", "g", "a~b")
	if got := r.rows("", func(q *Request) { q.From = "ana" }, "g", "a~b"); sorted(got) != "a~b:1 g:1" {
		t.Errorf("of ana: %v", got)
	}
	if got := r.rows("climbing", func(q *Request) { q.From = "nobody" }, "g"); len(got) > 0 {
		t.Errorf("of nobody: %v", got)
	}
	r.add("g", chat.Event{From: "bob", Kind: chat.KindEdit, Re: two, Text: "swimming for me"})
	r.caughtUp()
	r.want("climbing", "a~b:1 g:1", "g", "a~b")
	r.want("swimming", "g:2", "g")
	r.add("g", chat.Event{From: "eve", Kind: chat.KindEdit, Re: two, Text: "forged"}) // no hub lets this in
	r.erase("g", 1)
	r.add("g", chat.Event{From: "ana", Kind: chat.KindDelete, Re: 1})
	r.caughtUp()
	r.want("climbing", "a~b:1", "g", "a~b")
	r.want("forged", "", "g")
	if n := r.x.Stats().Docs; n != 2 {
		t.Errorf("%d texts are in the index, want 2", n)
	}
}

func TestTimes(t *testing.T) {
	r := newRig(t)
	for range 5 {
		r.post("g", "ana", "tick")
		r.pass(time.Second)
	}
	r.caughtUp()
	got := r.rows("tick", func(q *Request) { q.After, q.Before = start+1, start+3000 }, "g")
	if s := strings.Join(got, " "); !strings.Contains(s, "g:3 g:2") || strings.Contains(s, "g:1") || strings.Contains(s, "g:5") {
		t.Errorf("%s", s) // before is exact only in the log
	}
	var row int64
	q, _ := Parse("tick")
	must(t, r.x.Find(context.Background(), &Request{Query: q, Convs: []string{"g"}}, func(h Hit) (bool, error) {
		row = h.Row
		return h.Seq > 4, nil
	}))
	r.post("g", "ana", "tick") // comes while somebody pages
	r.caughtUp()
	if got := r.rows("tick", func(q *Request) { q.Below = row }, "g"); strings.Join(got, " ") != "g:3 g:2 g:1" {
		t.Errorf("the next page: %v", got)
	}
}

// Many in one millisecond, of one conversation and of several whose numbers look alike.
func TestOneMillisecond(t *testing.T) {
	r := newRig(t)
	const n = 1500
	for i := range n {
		r.post("g", "ana", fmt.Sprintf("all word%d", i))
	}
	r.caughtUp()
	if got := len(r.rows("all", nil, "g")); got != n {
		t.Fatalf("%d of %d are found", got, n)
	}
	r.add("g", chat.Event{From: "ana", Kind: chat.KindEdit, Re: 1300, Text: "changed"})
	r.erase("g", 700)
	r.add("g", chat.Event{From: "ana", Kind: chat.KindDelete, Re: 700})
	r.caughtUp()
	r.want("word1299", "", "g")
	r.want("word699", "", "g")
	r.want("changed", "g:1300", "g")
	r.want("word1298", "g:1299", "g")
}

func TestDisappears(t *testing.T) {
	r := newRig(t)
	r.add("g", chat.Event{From: "ana", Kind: chat.KindPost, Text: "secret one", Expire: 60})
	r.post("g", "ana", "secret two")
	r.add("g", chat.Event{From: "ana", Kind: chat.KindPost, Enc: []byte("secret"), Text: ""})
	r.caughtUp()
	r.want("secret", "g:2 g:1", "g")
	r.pass(61 * time.Second)
	r.caughtUp()
	r.want("secret", "g:2", "g")
	// Erased and cut off without an event: a check finds it.
	r.post("g", "ana", "secret three")
	r.caughtUp()
	r.erase("g", 2)
	r.x.feed.audit = 0
	r.caughtUp()
	r.caughtUp()
	r.want("secret", "g:4", "g")
	var b storage.Batch
	r.post("g", "ana", "last")
	b.Truncate("g", 5)
	must(t, r.commit(&b))
	for range 3 {
		r.caughtUp()
	}
	r.want("secret", "", "g")
}

// What was deleted leaves the file, tokens and all.
func TestPurge(t *testing.T) {
	r := newRig(t)
	for i := range 300 {
		r.post("g", "ana", fmt.Sprintf("filler%d xylophonequartz", i))
	}
	r.post("g", "ana", "zzyzxroad")
	r.caughtUp()
	inFile := func(token string) bool {
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(filepath.Join(r.dir, fileName+suffix))
			if err == nil && bytes.Contains(b, []byte(token)) {
				return true
			}
		}
		return false
	}
	if !inFile("zzyzxroad") {
		t.Fatal("the token is not in the file to begin with")
	}
	r.erase("g", 301)
	r.add("g", chat.Event{From: "ana", Kind: chat.KindDelete, Re: 301})
	r.caughtUp()
	r.pass(2 * purgeEvery)
	r.caughtUp()
	r.want("zzyzxroad", "", "g")
	if inFile("zzyzxroad") || inFile("yzxroad") {
		t.Error("the token is in the file still")
	}
	if got := len(r.rows("xylophonequartz", nil, "g")); got != 300 {
		t.Errorf("%d others are found", got)
	}
}

// A new index of the same logs finds what the old one found, and so does one that was interrupted anywhere.
func TestRebuildAndInterruption(t *testing.T) {
	r := newRig(t)
	rng := rand.New(rand.NewPCG(1, 2))
	vocabulary := strings.Fields("red green blue 東京 大阪 кот собака")
	posts := map[string][]uint64{}
	for i := range 400 {
		conv := fmt.Sprintf("g%d", rng.IntN(5))
		text := vocabulary[rng.IntN(len(vocabulary))] + " " + vocabulary[rng.IntN(len(vocabulary))]
		switch own := posts[conv]; {
		case len(own) > 0 && rng.IntN(5) == 0:
			r.add(conv, chat.Event{From: "ana", Kind: chat.KindEdit, Re: own[rng.IntN(len(own))], Text: text})
		case len(own) > 0 && rng.IntN(8) == 0:
			k := rng.IntN(len(own))
			r.erase(conv, own[k])
			r.add(conv, chat.Event{From: "ana", Kind: chat.KindDelete, Re: own[k]})
			posts[conv] = append(own[:k:k], own[k+1:]...)
		default:
			posts[conv] = append(own, r.post(conv, "ana", text))
		}
		r.pass(time.Duration(rng.IntN(50)) * time.Millisecond)
		if i%37 == 0 {
			r.restart() // without waiting: whatever it was at
		}
	}
	r.caughtUp()
	answers := func() string {
		var out []string
		for _, w := range vocabulary {
			out = append(out, w+"="+sorted(r.rows(w, nil, "g0", "g1", "g2", "g3", "g4")))
		}
		return strings.Join(out, "\n")
	}
	before, docs := answers(), r.x.Stats().Docs
	for _, damage := range []func(path string){
		func(path string) { must(t, os.Remove(path)) },
		func(path string) { must(t, os.WriteFile(path, bytes.Repeat([]byte("no database "), 1000), 0o600)) },
		func(path string) { must(t, os.Truncate(path, 5000)) },
	} {
		r.x.Close()
		damage(filepath.Join(r.dir, fileName))
		r.open()
		if !r.x.Behind() {
			t.Error("it does not say that it is being filled")
		}
		r.caughtUp()
		if after := answers(); after != before || r.x.Stats().Docs != docs {
			t.Fatalf("rebuilt it finds\n%s\n(%d), before\n%s\n(%d)", after, r.x.Stats().Docs, before, docs)
		}
		if r.x.Behind() {
			t.Error("it says that it is being filled")
		}
	}
}

// Damage that shows only while the index is in use.
func TestDamageInUse(t *testing.T) {
	r := newRig(t)
	for i := range 500 {
		r.post("g", "ana", fmt.Sprintf("hello %d", i))
	}
	r.caughtUp()
	if _, err := r.x.db.w.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(r.dir, fileName), os.O_WRONLY, 0)
	must(t, err)
	st, err := f.Stat()
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(st.Size())-4096), 4096)
	must(t, errors.Join(err, f.Close()))
	r.x.db.r.SetMaxIdleConns(0) // forget what is cached
	q, _ := Parse("hello")
	err = r.x.Find(context.Background(), &Request{Query: q, Convs: []string{"g"}}, func(Hit) (bool, error) { return true, nil })
	var refusal *chat.Refusal
	if !errors.As(err, &refusal) || refusal.Code != chat.Unavailable {
		t.Fatalf("%v", err)
	}
	r.caughtUp()
	if got := len(r.rows("hello", nil, "g")); got != 500 {
		t.Errorf("%d are found", got)
	}
}

// An index that was filled by a program with other words, or has another layout, is made anew.
func TestOtherVersion(t *testing.T) {
	r := newRig(t)
	r.post("g", "ana", "㍿ and \u1112\u1161\u11ab")
	r.caughtUp()
	for _, c := range []struct {
		change string
		kept   int
	}{
		{`UPDATE meta SET v = 1 WHERE k = 'version'`, 0}, // before words had versions
		{fmt.Sprintf(`UPDATE meta SET v = %d WHERE k = 'version'`, layout<<8|(words.Version-1)), 0},
		{fmt.Sprintf(`UPDATE meta SET v = %d WHERE k = 'version'`, (layout+1)<<8|words.Version), 0},
		{`DELETE FROM meta WHERE k = 'version'`, 0},
		{`SELECT 1`, 1},
	} {
		_, err := r.x.db.w.Exec(`INSERT INTO words (rowid, t) VALUES (1, 'marker'); ` + c.change)
		must(t, err)
		r.restart()
		r.caughtUp()
		var n int
		must(t, r.x.db.r.QueryRow(`SELECT count(*) FROM words WHERE words MATCH 'marker'`).Scan(&n))
		if n != c.kept {
			t.Errorf("after %s: what was in the index is there %d times, want %d", c.change, n, c.kept)
		}
		r.want("株式会社", "g:1", "g")
		r.want("한", "g:1", "g")
	}
}

// An entry that cannot be read costs its own text, and what was done to it, and nothing else.
func TestUnreadableEntry(t *testing.T) {
	r := newRig(t)
	var b storage.Batch
	b.Set(storage.In(storage.SpaceConv).Str("c"), storage.Marshal(storage.Conv{}))
	b.Append("c", 1, []byte{0xff})
	must(t, r.commit(&b))
	r.add("c", chat.Event{From: "ana", Kind: chat.KindEdit, Re: 1, Text: "edited word"})
	r.add("c", chat.Event{From: "ana", Kind: chat.KindDelete, Re: 1})
	r.post("c", "ana", "a word behind it")
	r.pass(time.Second)
	r.post("d", "ana", "a word elsewhere")
	r.caughtUp()
	r.want("word", "d:1 c:4", "c", "d")
}

// The file of another store is of no use.
func TestOtherStore(t *testing.T) {
	r := newRig(t)
	r.post("g", "ana", "mine")
	r.caughtUp()
	r.x.Close()
	other := newRig(t)
	other.post("g", "eve", "theirs")
	other.x.Close()
	other.dir = r.dir
	other.open()
	other.caughtUp()
	other.want("mine", "", "g")
	other.want("theirs", "g:1", "g")
	r.x = other.x // which is what is to be closed
}

// With more conversations than go into a query, rows of others are passed over.
func TestManyConversations(t *testing.T) {
	r := newRig(t)
	var mine []string
	for i := range 120 {
		conv := fmt.Sprintf("g%d", i)
		r.post(conv, "ana", "common")
		r.pass(time.Millisecond)
		if i%2 == 0 {
			mine = append(mine, conv)
		}
	}
	r.caughtUp()
	got := r.rows("common", nil, mine...)
	if len(got) != 60 || got[0] != "g118:1" || got[59] != "g0:1" {
		t.Errorf("%d: %v", len(got), got)
	}
}

func TestPublicGroups(t *testing.T) {
	r := newRig(t)
	group := func(conv, title, about, visibility string, ended bool, members ...string) {
		var b storage.Batch
		head, _, err := r.store.Head(conv)
		must(t, err)
		ev := chat.Event{Seq: head + 1, From: "ana", At: r.clock().UnixMilli(), Kind: chat.KindInfo}
		b.Append(conv, ev.Seq, r.encode(&ev))
		b.Set(storage.In(storage.SpaceConv).Str(conv), storage.Marshal(storage.Conv{Ended: ended, Info: chat.Info{Title: title, About: about, Visibility: visibility}}))
		for _, m := range members {
			b.Set(storage.In(storage.SpaceMember).Str(conv).Str(m), storage.AppendMember(nil, chat.Member{Role: chat.RoleMember}))
		}
		must(t, r.commit(&b))
		r.x.Note(conv)
		r.caughtUp()
	}
	names := func(q string) string {
		query, err := Parse(q)
		must(t, err)
		all, err := r.x.FindGroups(context.Background(), query.Prefixes())
		must(t, err)
		var out []string
		for _, g := range all {
			out = append(out, fmt.Sprintf("%s/%d", g.Conv, g.Members))
		}
		return sorted(out)
	}
	group("rocks", "Climbing Oslo", "For all who climb", chat.Public, false, "ana", "bob")
	group("books", "Books", "also about climbing", chat.Public, false, "ana")
	group("secret", "Climbing secretly", "", chat.Private, false, "ana")
	if got := names("clim"); got != "books/1 rocks/2" {
		t.Error(got)
	}
	if got := names(""); got != "books/1 rocks/2" {
		t.Error(got)
	}
	group("books", "Books", "nothing else", chat.Public, false, "ana")
	group("rocks", "Climbing Oslo", "", chat.Private, false)
	group("secret", "Climbing openly", "", chat.Public, false)
	if got := names("climbing"); got != "secret/1" {
		t.Error(got)
	}
	r.restart()
	if _, ok := r.x.PublicGroup("rocks"); ok {
		t.Error("a private group is among the public ones")
	}
	if g, ok := r.x.PublicGroup("secret"); !ok || g.Members != 1 {
		t.Error("a public group was forgotten")
	}
	group("secret", "Climbing openly", "", chat.Public, true)
	if got := names("climbing"); got != "" {
		t.Error(got)
	}
}
