package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/client"
)

// hostile is what somebody sends who wants to do things to the reader's terminal: clear it, retitle it, fill the
// clipboard, write elsewhere, turn text around, and stack marks over other lines.
const hostile = "\x1b[2J\x1b]0;owned\x07\x1b]52;c;ZXZpbA==\x07\u009b31mred\x1b[10;10Hhere \u202eevil\u202c Z\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309 \r\b\bgone"

// TestChatScreens is a conversation in a terminal of 80 by 24, then of 50 by 20. ann sits before it.
func TestChatScreens(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("carol") // a member who is not there
	bob := s.user("bob")
	ann := s.screen(80, 24, s.chatEnv("ann", "TERM=xterm-256color"))
	ann.golden("01-empty")

	sent := s.sent(bob)
	direct := bob.Direct("ann")
	sent(bob.Send(t.Context(), direct, "hello ann"))
	sent(bob.Send(t.Context(), direct, "你好，世界! שלום עולם 👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 é"))
	sent(bob.Send(t.Context(), direct, hostile))
	group, err := bob.Groups().Create(t.Context(), client.NewGroup{ID: "climbing", Members: []string{"ann", "carol"}, GroupSettings: client.GroupSettings{Title: new("Climbing")}})
	if err != nil {
		t.Fatal(err)
	}
	sent(bob.Post(t.Context(), group, client.Post{Text: "@ann who comes on Sunday? https://example.org/a/rather/long/address?that=has&to=be#broken at some place", Mentions: []string{"ann"}}))
	ann.golden("02-list")

	ann.keys(keyDown, keyEnter) // bob
	ann.golden("03-direct")

	ann.keys("Hi bob, :tada: for you. This is long enough that it has to be wrapped at the end of the line.", keyEnter)
	mine := s.arrives(bob, direct, "Hi bob, 🎉 for you. This is long enough that it has to be wrapped at the end of the line.")
	ann.golden("04-delivered")
	if err := bob.MarkRead(t.Context(), direct, mine.Seq); err != nil {
		t.Fatal(err)
	}
	sent(bob.React(t.Context(), direct, client.At(mine.Seq), "❤️"))
	sent(bob.Post(t.Context(), direct, client.Post{Text: "thank you", Re: client.At(mine.Seq)}))
	ann.golden("05-read")

	ann.keys(keyUp, "+", "joy") // choose thank you, react
	ann.golden("06-react")
	ann.keys(keyEnter)
	ann.shows("😂 1")
	ann.keys("r", "you are welcome", keyEnter)
	ann.showsLine("you are welcome", "✓✓")
	ann.keys(keyUp)
	ann.showsLine("▌", "you are welcome")
	ann.keys("e", "!", keyEnter)
	ann.shows("(edited)")
	ann.keys("oops", keyEnter)
	ann.showsLine("oops", "✓✓")
	ann.keys(keyUp)
	ann.showsLine("▌", "oops")
	ann.keys("d")
	ann.shows("Delete for everyone?")
	ann.keys("y")
	ann.golden("07-acts")

	types := func(on bool) {
		if err := bob.SetTyping(t.Context(), direct, on); err != nil {
			t.Fatal(err)
		}
	}
	types(true)
	ann.golden("08-typing", func() { types(true) })
	types(false)

	ann.keys(keyEsc)
	ann.shows("↑ messages")
	ann.keys("a draft that stays", "\x1b[1;3B") // Alt+Down: the group below
	ann.shows("who comes on Sunday?")
	ann.keys("me!", keyEnter)
	s.arrives(bob, group, "me!")
	ann.golden("09-group") // carol is not there: 1 of 2

	ann.keys(keyCtrlG)
	ann.golden("10-members")
	ann.keys(keyEsc)
	ann.shows("me!")
	ann.keys(keyCtrlF)
	ann.shows("Search here")
	ann.keys("sunday", keyEnter)
	ann.golden("11-search")
	ann.keys(keyTab)
	ann.shows("Search everywhere")
	ann.keys(keyEsc)
	ann.shows("me!")
	ann.keys(keyF1)
	ann.golden("12-help")
	ann.keys(keyEsc)
	ann.shows("me!")

	ann.resize(50, 20)
	ann.golden("13-narrow")
	ann.keys(keyEsc)
	ann.golden("14-narrow-list")

	if slices.Contains(slices.Collect(maps.Keys(ann.vt.Clipped)), "52") || strings.Contains(ann.vt.Title, "owned") {
		t.Error("a message acted upon the terminal")
	}
	if len(ann.vt.Colours) == 0 {
		t.Error("there are no colours")
	}
	if len(ann.vt.Unknown) > 0 {
		t.Errorf("the terminal was sent what it does not know: %q", ann.vt.Unknown)
	}
}

// TestChatOffline: what is typed while there is no server waits, is seen to wait, outlives the program, and goes out.
func TestChatOffline(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	s.sent(bob)(bob.Send(t.Context(), bob.Direct("ann"), "hello ann"))
	env := s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1")
	ann := s.screen(80, 24, env, "bob")
	ann.shows("hello ann")
	ann.shows("up to date")
	s.Stop()
	ann.shows("offline")
	ann.keys("one", keyEnter, "two", keyEnter, "three", keyEnter)
	ann.golden("20-offline")
	ann.keys(keyUp)
	ann.showsLine("▌", "three")
	ann.keys("x") // taken back
	ann.golden("21-cancelled")
	ann.quit()

	again := s.screen(50, 20, env, "bob")
	again.golden("22-offline-again")
	s.Start()
	again.keys("/retrynow", keyEnter)
	s.arrives(bob, bob.Direct("ann"), "two")
	again.shows("up to date")
	last := s.arrives(bob, bob.Direct("ann"), "two")
	if err := bob.MarkRead(t.Context(), bob.Direct("ann"), last.Seq); err != nil {
		t.Fatal(err)
	}
	again.golden("23-sent") // without colours, words say what was read
	if all, err := bob.Messages(t.Context(), bob.Direct("ann"), client.Page{}); err != nil || len(all) != 3 {
		t.Errorf("bob has %d messages, want 3: %v", len(all), err)
	}
	if len(again.vt.Colours) > 0 {
		t.Errorf("NO_COLOR is set, and there are colours %v", again.vt.Colours)
	}
}

// TestChatScrollsBack: older messages come as far as there are any, and the newest stays one key away.
func TestChatScrollsBack(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	direct := bob.Direct("ann")
	var last client.Message
	for i := range 260 {
		var err error
		if last, err = bob.Send(t.Context(), direct, "message "+strings.Repeat("x", i%7)+" number "+time.Duration(i).String()); err != nil {
			t.Fatal(err)
		}
	}
	s.sent(bob)(last, nil)
	ann := s.screen(80, 24, s.chatEnv("ann", "TERM=xterm-256color"), "bob")
	ann.shows("number 259ns")
	ann.press(keyPgUp, "number 0s\n")
	ann.golden("30-first")
	ann.keys(keyTab, keyTab, keyEnd)
	ann.golden("31-last")
}

// TestChatPlain is the same for ears: a transcript.
func TestChatPlain(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	sent := s.sent(bob)
	direct := bob.Direct("ann")
	sent(bob.Send(t.Context(), direct, "hello ann"))
	env := s.chatEnv("ann", "TERM=dumb")
	ann := s.plain(env, "--plain")
	ann.hears("up to date")
	ann.types("/to bob")
	ann.hears("hello ann")
	ann.types("hi bob :wave:")
	m := s.arrives(bob, direct, "hi bob 👋")
	ann.hears("delivered")
	if err := bob.MarkRead(t.Context(), direct, m.Seq); err != nil {
		t.Fatal(err)
	}
	ann.hears("read")
	sent(bob.React(t.Context(), direct, client.At(m.Seq), "👍"))
	ann.hears("Reactions to #")
	sent(bob.Send(t.Context(), direct, hostile))
	ann.hears("gone")
	ann.types("/reply #1 first!")
	s.arrives(bob, direct, "first!")
	ann.hears("delivered")
	ann.types("/edit second")
	ann.hears("is now: second")
	ann.types("/delete")
	ann.hears("deleted")
	ann.types("/search hello")
	ann.hears("hello ann")
	ann.types("/who")
	ann.hears("* bob")
	ann.types("/serach hello")
	ann.hears("did you mean /search?")
	ann.types("/create Climbing : bob")
	ann.hears("ann added bob")
	ann.types("// is no command")
	ann.hears("delivered")
	sent(bob.Send(t.Context(), direct, "elsewhere"))
	ann.hears("elsewhere")
	ann.types("/quit")
	ann.end("plain")
}

// TestChatPipe: lines from a pipe go out before the program ends, and it is plain by itself.
func TestChatPipe(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("bob")
	ann := s.plain(s.chatEnv("ann", "TERM=xterm-256color"), "bob")
	ann.hears("up to date")
	ann.types("one")
	ann.types("two")
	ann.in.Close()
	ann.end("pipe")
	bob := s.user("bob")
	s.arrives(bob, bob.Direct("ann"), "two")
}
