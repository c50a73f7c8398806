package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/protocol"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("broken"), 1},
		{fmt.Errorf("x: %w", chat.Refuse(chat.NotFound, "no")), 1},
		{chat.Refuse(chat.Conflict, "no"), 1},
		{chat.Refuse(chat.NotAuthorized, "no"), 4},
		{errors.Join(nil, chat.Refuse(chat.RateLimited, "no")), 3},
		{chat.Refuse(chat.Unavailable, "no"), 3},
		{usagef("odd"), 2},
		{fmt.Errorf("x: %w", notNow(errors.New("away"))), 3},
		{fmt.Errorf("x: %w", client.ErrBusy), 3},
		{client.ErrOffline, 3},
		{context.DeadlineExceeded, 3},
		{client.ErrFull, 1},
		{client.ErrNewer, 1},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// TestNoSecretIsAFlag: every user of a machine can read the command lines of all.
func TestNoSecretIsAFlag(t *testing.T) {
	var c cli
	k, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, leaf := range k.Model.Leaves(false) {
		for _, f := range leaf.Flags {
			n++
			if word := f.Name; (strings.Contains(word, "password") || strings.Contains(word, "token") || strings.Contains(word, "secret")) &&
				f.Target.Kind() != reflect.Bool && !strings.HasSuffix(word, "-file") {
				t.Errorf("%s --%s", leaf.Path(), word)
			}
		}
	}
	if n < 100 {
		t.Fatalf("only %d flags were looked at", n)
	}
}

// TestEveryCommandHasJSON: those that talk as a user.
func TestEveryCommandHasJSON(t *testing.T) {
	var c cli
	k, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, leaf := range k.Model.Leaves(true) {
		top := leaf
		for top.Parent.Parent != nil {
			top = top.Parent
		}
		if top.Group == nil || top.Group.Key != "As a user" || top.Name == "chat" {
			continue
		}
		n++
		if !hasFlag(leaf, "json") {
			t.Errorf("%s has no --json", leaf.Path())
		}
	}
	if n < 30 {
		t.Fatalf("only %d commands were looked at", n)
	}
}

func hasFlag(n *kong.Node, name string) bool {
	for _, f := range n.Flags {
		if f.Name == name {
			return true
		}
	}
	return false
}

func TestJoinFrom(t *testing.T) {
	for in, want := range map[string]string{
		"listen x --from -5":    "listen x --from=-5",
		"listen x --from 5 -f":  "listen x --from 5 -f",
		"listen x --from -f":    "listen x --from -f",
		"send x -- --from -5":   "send x -- --from -5",
		"listen --from -5 x -f": "listen --from=-5 x -f",
		"listen x --from":       "listen x --from",
	} {
		if got := strings.Join(joinFrom(strings.Fields(in)), " "); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestTimes(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		read func(string, string, time.Time) (client.Millis, error)
		in   string
		want time.Time // zero: an error, unless in is empty
	}{
		{moment, "", time.Time{}},
		{moment, "36h", now.Add(-36 * time.Hour)},
		{moment, "2026-04-01", time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)},
		{moment, "2026-04-01T18:30", time.Date(2026, 4, 1, 18, 30, 0, 0, time.UTC)},
		{moment, "2026-04-01T18:30:00+02:00", time.Date(2026, 4, 1, 16, 30, 0, 0, time.UTC)},
		{moment, "yesterday", time.Time{}},
		{moment, "-1h", time.Time{}},
		{later, "", time.Time{}},
		{later, "24h", now.Add(24 * time.Hour)},
		{later, "2026-06-01", time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)},
		{later, "2026-04-01", time.Time{}},
		{later, "soon", time.Time{}},
	} {
		got, err := c.read("--x", c.in, now)
		if wrong := c.want.IsZero() && c.in != ""; (err != nil) != wrong || !wrong && !got.Time().Equal(c.want) {
			t.Errorf("%q: %v %v", c.in, got.Time(), err)
		}
	}
}

func TestCodeOf(t *testing.T) {
	for _, s := range []string{"abc", " abc\n", "petrel:join?code=abc", "https://chat.example.org/join/abc", "https://chat.example.org/x/join/abc"} {
		if got := codeOf(s); got != "abc" {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// TestQRCanBeRead: what is drawn with half blocks leads where it should.
func TestQRCanBeRead(t *testing.T) {
	link := "petrel:join?code=abcdefghijklmnopqrstuvwxyz"
	text, err := qr(link)
	if err != nil {
		t.Fatal(err)
	}
	const size = 8 // pixels of a module
	rows := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	img := image.NewGray(image.Rect(0, 0, size*len([]rune(rows[0])), 2*size*len(rows)))
	for y, row := range rows {
		for x, r := range []rune(row) {
			for half, light := range []bool{r == '█' || r == '▀', r == '█' || r == '▄'} {
				if !light {
					continue
				}
				for i := range size * size {
					img.SetGray(x*size+i%size, (2*y+half)*size+i/size, color.Gray{255})
				}
			}
		}
	}
	bits, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	got, err := qrcode.NewQRCodeReader().Decode(bits, nil)
	if err != nil || got.GetText() != link {
		t.Errorf("%v %v", got, err)
	}
}

func TestProgress(t *testing.T) {
	for _, c := range []struct {
		done, total int
		want        string
	}{
		{120, 4000, "catching up [                              ] 120 of 4,000"},
		{2000, 4000, "catching up [###############               ] 2,000 of 4,000"},
		{4001, 4000, "catching up [##############################] 4,001 of 4,000"},
		{1234567, 0, "catching up 1,234,567"},
	} {
		if got := bar("catching up", c.done, c.total); got != c.want {
			t.Errorf("%q", got)
		}
	}
	// There is none where nobody looks.
	var b bytes.Buffer
	p := newProgress(console{err: &b}, "x")
	p.next = time.Time{}
	p.show(1, 2)
	p.end()
	if b.Len() > 0 {
		t.Errorf("%q", b.String())
	}
	p.w = &b
	p.show(1, 2)
	p.show(2, 2) // too soon
	p.end()
	if got := b.String(); strings.Count(got, "x [") != 1 || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("%q", got)
	}
}

// TestNothingReachesTheTerminal: a sender chooses the text, and nothing more.
func TestNothingReachesTheTerminal(t *testing.T) {
	evil := "a\x1b]0;title\x07\u009b2Jb\nann: hello\u202e"
	now := time.Now()
	e := chat.Event{Seq: 1, From: "bob", Kind: chat.KindPost, Text: evil, Emoji: evil, Re: 1}
	m := client.Message{Conv: "x", From: "bob", Kind: chat.KindPost, Text: evil, Reason: evil, State: client.StateFailed, Reactions: []client.Reaction{{Emoji: evil}}}
	lines := []string{messageLine(&m, now), eventLine("x", &e, now)}
	for _, k := range []chat.Kind{chat.KindEdit, chat.KindReact, chat.KindUnreact} {
		e.Kind = k
		lines = append(lines, eventLine("x", &e, now))
	}
	var b bytes.Buffer
	if err := writeJSON(&b, newMessageJSON(&m)); err != nil {
		t.Fatal(err)
	}
	lines = append(lines, strings.TrimSuffix(b.String(), "\n"))
	// What the server answers is no better than what people write.
	m = client.Message{Conv: "x", From: evil, Kind: chat.KindPost, Text: "hi"}
	lines = append(lines, messageLine(&m, now))
	var said, group, told bytes.Buffer
	talk := talk{con: console{out: &said}}
	if err := talk.say(nil, "joined %s", evil); err != nil {
		t.Fatal(err)
	}
	talk.con.out = &group
	if err := talk.showGroup(&client.Group{Conv: "x", InfoView: protocol.InfoView{Perms: map[string]string{evil: evil}}}); err != nil {
		t.Fatal(err)
	}
	report(&told, chat.Refuse(chat.NotFound, "%s", strings.ReplaceAll(evil, "\n", " ")))
	own := listener{talk: &talk, c: &listenCmd{Text: true}}
	talk.con.out = &said
	if err := own.own(&chat.Event{Kind: chat.KindEdit, Text: evil}); err != nil {
		t.Fatal(err)
	}
	for _, out := range []*bytes.Buffer{&said, &group, &told} {
		lines = append(lines, strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")...)
	}
	for _, l := range lines {
		if strings.ContainsAny(l, "\x1b\x07\u009b") {
			t.Errorf("%q", l)
		}
		for _, part := range strings.Split(l, "\n")[1:] {
			if !strings.HasPrefix(part, "    ") {
				t.Errorf("%q begins a line of its own", part)
			}
		}
	}
}
