package tui

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// offline is a real client whose network never answers: each attempt hangs until the client is closed.
func offline(t *testing.T) *client.Client {
	t.Helper()
	st := memory.New()
	c, err := client.Open(t.Context(), client.Options{Server: "mqtt://127.0.0.1:1", User: "ann", Store: st, Dial: func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := errors.Join(c.Close(ctx), st.Close()); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	return c
}

// driver stands for bubbletea: it runs commands one after another, those that need the network aside.
type driver struct {
	t    *testing.T
	m    *model
	held []tea.Cmd
	wg   sync.WaitGroup // of all commands: ticks end by themselves, what waits for the network ends with the test
}

func drive(t *testing.T, w, h int) *driver {
	t.Helper()
	m := newModel(t.Context(), &Options{Client: offline(t), Now: time.Now, Zone: time.UTC})
	d := &driver{t: t, m: m}
	t.Cleanup(d.wg.Wait)
	d.run(m.Init())
	d.send(tea.WindowSizeMsg{Width: w, Height: h})
	return d
}

func (d *driver) send(msg tea.Msg) {
	_, cmd := d.m.Update(msg)
	d.run(cmd)
}

// run runs a command as far as it does not wait: ticks of the clock are dropped.
func (d *driver) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	got := make(chan tea.Msg, 1)
	d.wg.Go(func() { got <- cmd() })
	select {
	case msg := <-got:
		switch msg := msg.(type) {
		case nil, tickMsg, typedMsg:
		case tea.BatchMsg:
			for _, c := range msg {
				d.run(c)
			}
		default:
			d.send(msg)
		}
	case <-time.After(50 * time.Millisecond): // it waits for the network, or the clock: the keyboard does not
		d.held = append(d.held, cmd)
	}
}

func (d *driver) keys(text string) {
	for _, r := range text {
		d.send(tea.KeyPressMsg{Text: string(r), Code: r})
	}
}

func (d *driver) press(code rune, mod tea.KeyMod) { d.send(tea.KeyPressMsg{Code: code, Mod: mod}) }

func (d *driver) screen() string { return ansi.Strip(d.m.View().Content) }

// TestKeyboardNeverWaits: nothing that is typed waits for a network which does not answer, and all of it is kept.
func TestKeyboardNeverWaits(t *testing.T) {
	d := drive(t, 80, 24)
	d.run(d.m.do("to", "bob"))
	d.keys("one")
	d.press(tea.KeyEnter, 0)
	d.keys("/join somewhere")
	d.press(tea.KeyEnter, 0)
	d.keys("two")
	d.press(tea.KeyEnter, 0)
	out, err := d.m.c.Outbox(t.Context(), "")
	if err != nil || len(out) != 2 || out[0].Text != "one" || out[1].Text != "two" {
		t.Fatalf("the outbox holds %v, %v", out, err)
	}
	d.run(d.m.reload())
	if got := d.screen(); !strings.Contains(got, "one") || strings.Count(got, "… queued") != 2 {
		t.Errorf("the screen is\n%s", got)
	}
	if len(d.held) == 0 {
		t.Error("joining a group did not wait for the network: the test proves nothing")
	}
}

// TestDraftsStay: what was typed in one conversation is there when one comes back, and after a restart.
func TestDraftsStay(t *testing.T) {
	d := drive(t, 80, 24)
	d.run(d.m.do("to", "bob"))
	d.keys("half a")
	d.run(d.m.do("to", "carol"))
	if got := d.m.open.edit.text; got != "" {
		t.Errorf("carol's text is %q", got)
	}
	d.run(d.m.do("to", "bob"))
	if got := d.m.open.edit.text; got != "half a" {
		t.Errorf("bob's text is %q", got)
	}
	again := newModel(t.Context(), &Options{Client: d.m.c, Now: time.Now, Zone: time.UTC})
	d2 := &driver{t: t, m: again}
	t.Cleanup(d2.wg.Wait)
	d2.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	d2.run(again.do("to", "bob"))
	if got := again.open.edit.text; got != "half a" {
		t.Errorf("after a restart bob's text is %q", got)
	}
}

// TestEveryLineFits: whatever somebody writes, however they are called, each line of the screen has exactly its columns,
// and no control character but those that the painter put there.
func TestEveryLineFits(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", " ", "word ", "\x1b[2J", "\x1b]0;x\a", "\n", "\t", "你好", "👩\u200d👧", "🇨🇭", "e\u0301", "\u0301", "\u202e", "שלום", "\u009b", "\xff", "\r", "https://example.org/x"})
	text := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 0, 30).Draw(t, "pieces"), "") })
	rapid.Check(t, func(t *rapid.T) {
		p := newPainter(time.UTC)
		p.method = rapid.SampledFrom([]termtext.Method{ansi.WcWidth, ansi.GraphemeWidth}).Draw(t, "method")
		p.colour = rapid.Bool().Draw(t, "colour")
		width := rapid.IntRange(20, 90).Draw(t, "width")
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		m := client.Message{
			Seq: 5, From: text.Draw(t, "from"), Kind: chat.KindPost, Text: text.Draw(t, "text"), At: now, Re: 4, Replies: 2, Pinned: true, Mine: rapid.Bool().Draw(t, "mine"),
			State: client.State(rapid.IntRange(0, 6).Draw(t, "state")), Of: 3, Read: 1, Delivered: 2, Reason: text.Draw(t, "reason"),
			Reactions: []client.Reaction{{Emoji: text.Draw(t, "emoji"), Count: 1, Users: []string{"x"}}},
		}
		quoted := client.Message{Seq: 4, Text: text.Draw(t, "quoted"), From: m.From, Kind: chat.KindPost}
		s := typesetter{p: &p, width: width, now: now, fresh: 1, byKey: map[uint64]*client.Message{4: &quoted}}
		rows := s.set(&m, nil).rows
		joined := client.Message{Seq: 6, Kind: chat.KindJoin, At: now, Event: chat.Event{Member: &chat.MemberChange{User: m.From, By: m.Text}}}
		rows = append(rows, s.set(&joined, &m).rows...)
		for _, r := range rows {
			line := p.line(r, width)
			if got := p.method.StringWidth(line); got != width {
				t.Fatalf("a line takes %d columns of %d: %q", got, width, line)
			}
			bare := ansi.Strip(line)
			if termtext.Line(bare) != bare {
				t.Fatalf("a line is not clean: %q", bare)
			}
		}
	})
}

// TestScreensFit: no size of the terminal breaks the screen.
func TestScreensFit(t *testing.T) {
	d := drive(t, 80, 24)
	d.run(d.m.do("to", "bob"))
	d.keys("a text that is long enough to be wrapped in a narrow terminal, 你好世界")
	for _, size := range [][2]int{{200, 60}, {80, 24}, {61, 10}, {60, 24}, {59, 24}, {50, 20}, {30, 8}, {20, 6}, {8, 4}, {7, 3}, {1, 1}} {
		d.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		for _, help := range []bool{false, true} {
			d.m.help = help
			for _, f := range []focus{onList, onEditor, onMessages} {
				d.m.focus = f
				lines := strings.Split(d.m.View().Content, "\n")
				if len(lines) != size[1] {
					t.Errorf("at %v there are %d lines", size, len(lines))
				}
				for _, l := range lines {
					if got := ansi.WcWidth.StringWidth(l); got > size[0] {
						t.Errorf("at %v a line takes %d: %q", size, got, ansi.Strip(l))
					}
				}
			}
		}
		if c := d.m.View().Cursor; c != nil && (c.X >= size[0] || c.Y >= size[1]) {
			t.Errorf("at %v the cursor stands at %v", size, c)
		}
	}
}

func TestStatusWords(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		s    client.Status
		want string
	}{
		{client.Status{State: client.UpToDate}, "up to date"},
		{client.Status{State: client.UpToDate, Queued: 2}, "up to date: 2 on the way"},
		{client.Status{State: client.CatchingUp, Done: 120, Total: 4000}, "catching up 120 of 4,000"},
		{client.Status{State: client.Offline, Queued: 3, Retry: now.Add(4500 * time.Millisecond)}, "offline: 3 queued · retry in 5 s"},
		{client.Status{State: client.Offline, Failed: 1, Err: chat.Refuse(chat.NotAuthorized, "the password is wrong")}, "offline · 1 refused · the password is wrong"},
	} {
		if got := statusWords(c.s, now); got != c.want {
			t.Errorf("%+v: %q, want %q", c.s, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line, name, args, text string
		ok                     bool
	}{
		{"hello", "", "", "hello", false}, {"//shrug", "", "", "/shrug", false}, {"/to  bob ", "to", "bob", "", true}, {"/OPEN bob", "to", "bob", "", true},
		{"/re #12 yes", "reply", "#12 yes", "", true}, {"/nonsense x", "nonsense", "x", "", true}, {"/", "", "", "", true},
	} {
		name, args, text, ok := parse(c.line)
		if name != c.name || args != c.args || text != c.text || ok != c.ok {
			t.Errorf("%q: %q, %q, %q, %v", c.line, name, args, text, ok)
		}
	}
	if got := unknownCommand("serach"); !strings.Contains(got, "/search?") || !strings.Contains(got, "//serach") {
		t.Error(got)
	}
	for _, c := range commands() {
		if !known(c.name) || c.help == "" {
			t.Errorf("%+v", c)
		}
	}
}

// TestEveryCommandIsCarriedOut: what the help lists, exists.
func TestEveryCommandIsCarriedOut(t *testing.T) {
	a := actor{c: offline(t)}
	screens := []string{"list", "more", "search", "who", "status", "quiet", "help", "quit", "thread", "around"} // these are the screens' and plain's own
	for _, c := range commands() {
		_, conv := a.ofConversation(c.name)
		_, message := a.ofMessage(c.name)
		own := strings.Contains(" to create join away back retrynow ", " "+c.name+" ") || strings.Contains(strings.Join(screens, " "), c.name)
		if !conv && !message && !own {
			t.Errorf("/%s is in the help and does nothing", c.name)
		}
	}
}

func TestInviteCode(t *testing.T) {
	code := "abcdefghijklmnopqrstuvwxyz"
	for in, want := range map[string]string{
		code: code, "petrel:join?code=" + code: code, "https://chat.example.org/join?code=" + code: code, "climbing": "", "https://x.org/?code=short": "", "": "",
	} {
		if got := inviteCode(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestPlainWhereItMustBe(t *testing.T) {
	for env, want := range map[string]bool{"TERM=xterm": false, "TERM=dumb": true, "TERM=": true, "X=y": true} {
		if dumb([]string{env}) != want {
			t.Errorf("%s: %v", env, !want)
		}
	}
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if terminal(f) || terminal(&bytes.Buffer{}) {
		t.Error("a file passes for a terminal")
	}
}

// TestPlainOffline: without a network what is typed is queued, and said to be kept when the input ends.
func TestPlainOffline(t *testing.T) {
	c := offline(t)
	var out bytes.Buffer
	in := strings.NewReader("/to bob\nhello\n/quit\n")
	if err := runPlain(t.Context(), &Options{Client: c, Zone: time.UTC, Now: time.Now}, in, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-- bob --", "queued until there is a connection.", "1 message is not sent yet"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said:\n%s", want, out.String())
		}
	}
}

// TestPlainBrokenInput: what came before a line that is too long is done, and the fault is told.
func TestPlainBrokenInput(t *testing.T) {
	c := offline(t)
	var out bytes.Buffer
	in := strings.NewReader("/to bob\nhello\n/quit\n" + strings.Repeat("x", 2*lineMost))
	err := runPlain(t.Context(), &Options{Client: c, Zone: time.UTC, Now: time.Now}, in, &out)
	if queued, e := c.Outbox(t.Context(), ""); e != nil || len(queued) != 1 {
		t.Errorf("%d are queued, want 1: %v", len(queued), e)
	}
	if err != nil && !strings.Contains(err.Error(), "longer than") {
		t.Error(err)
	}
}
