package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/client"
)

// TestChatThread: the thread of a message is a screen of its own, where one reads it and writes into it; Esc goes back.
func TestChatThread(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	sent := s.sent(bob)
	direct := bob.Direct("ann")
	root := sent(bob.Send(t.Context(), direct, "Where shall we go on Sunday?"))
	sent(bob.Post(t.Context(), direct, client.Post{Text: "the lake, if it is warm", Re: root.Target()}))
	sent(bob.Send(t.Context(), direct, "and did you see the news?"))
	ann := s.screen(80, 24, s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1"), "bob")
	ann.shows("see the news")
	ann.keys("to the left", keyUp, keyUp)
	ann.showsLine("▌", "the lake")
	ann.keys("t") // from any post of it
	ann.shows("Thread in bob")
	ann.golden("60-thread")

	ann.keys("the mountains", keyEnter)
	ann.showsLine("the mountains", "✓✓")
	mine := s.arrives(bob, direct, "the mountains")
	if mine.Re != root.Seq || mine.Thread != root.Seq {
		t.Errorf("it replies to #%d in the thread of #%d, want #%d", mine.Re, mine.Thread, root.Seq)
	}
	sent(bob.Post(t.Context(), direct, client.Post{Text: "by train?", Re: mine.Target()}))
	ann.shows("by train?")
	ann.keys(keyUp)
	ann.showsLine("▌", "by train?")
	ann.keys("r", "by bicycle", keyEnter) // to a post of the thread
	ann.showsLine("by bicycle", "✓✓")
	sent(bob.Send(t.Context(), direct, "what is said elsewhere"))
	sent(bob.React(t.Context(), direct, mine.Target(), "🎉"))
	ann.shows("🎉 1")
	ann.keys("half a thought")
	ann.golden("61-thread-written")

	ann.keys(keyEsc) // the conversation, with what was typed there, and with the message that the thread was opened from
	ann.golden("62-thread-left")
	ann.keys("t")
	ann.shows("> half a thought")
	s.Stop()
	ann.shows("offline")
	ann.keys("\x15", "from the tunnel", keyEnter)
	ann.showsLine("from the tunnel", "… queued")
	s.Start()
	bob.NetworkChanged() // at once, not when it would try again
	ann.keys("/retrynow", keyEnter)
	if m := s.arrives(bob, direct, "from the tunnel"); m.Thread != root.Seq {
		t.Errorf("it is in the thread of #%d", m.Thread)
	}
	ann.keys(keyEsc)
	ann.showsLine("▌", "the lake")
	ann.keys(keyEsc)
	ann.until("nothing is chosen", func(s string) bool { return !strings.Contains(s, "│▌") })
	ann.keys("\x15", "/thread #1", keyEnter) // by its number
	ann.shows("5 replies")
}

// TestChatThreadFar: of a thread that began long ago, what is not on this device comes from the server; without a connection it is said
// that there may be more.
func TestChatThreadFar(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	direct := bob.Direct("ann")
	root := s.farAway(bob, 300, 0)
	first := s.sent(bob)(bob.Post(t.Context(), direct, client.Post{Text: "an early reply", Re: root.Target()}))
	s.sent(bob)(bob.Edit(t.Context(), direct, first.Target(), "an early reply, corrected"))
	var last client.Message
	for i := range 200 {
		var err error
		if last, err = bob.Send(t.Context(), direct, fmt.Sprintf("later %03d", i)); err != nil {
			t.Fatal(err)
		}
	}
	s.sent(bob)(last, nil)
	s.sent(bob)(bob.Post(t.Context(), direct, client.Post{Text: "a late reply", Re: root.Target()}))
	env := s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1")
	ann := s.screen(80, 24, env, "bob")
	ann.shows("a late reply")
	ann.shows("up to date")
	ann.keys(keyUp)
	ann.showsLine("▌", "a late reply")
	ann.keys("t")
	ann.golden("64-thread-far")
	ann.keys(keyEsc)
	ann.shows("later 199")
	s.Stop()
	ann.shows("offline")
	ann.keys("t")
	ann.shows("1 reply, on this device")
}

// TestChatThreadPlain: the same, read out.
func TestChatThreadPlain(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	sent := s.sent(bob)
	direct := bob.Direct("ann")
	root := sent(bob.Send(t.Context(), direct, "Where shall we go?"))
	sent(bob.Post(t.Context(), direct, client.Post{Text: "the lake", Re: root.Target()}))
	sent(bob.Send(t.Context(), direct, "see you later"))
	env := s.chatEnv("ann", "TERM=dumb")
	s.readUp(env, "see you later")
	ann := s.plain(env, "--plain")
	ann.hears("up to date")
	ann.types("/to bob")
	ann.hears("see you later")
	ann.types("/thread #2")
	ann.hears("the lake")
	ann.types("the mountains")
	ann.hears("delivered")
	if m := s.arrives(bob, direct, "the mountains"); m.Thread != root.Seq {
		t.Errorf("it is in the thread of #%d", m.Thread)
	}
	sent(bob.Post(t.Context(), direct, client.Post{Text: "by train?", Re: root.Target()}))
	ann.hears("by train?")
	ann.types("/thread")
	ann.hears("-- bob")
	ann.types("later!")
	ann.hears("delivered")
	if m := s.arrives(bob, direct, "later!"); m.Thread != 0 {
		t.Errorf("it is in the thread of #%d", m.Thread)
	}
	ann.types("/thread #99")
	ann.hears("no message #99")
	ann.types("/quit")
	ann.endFrom("> /to bob", "thread")
}

// TestChatKeycaps: emoji that begin with a digit, # or * are emoji too, wherever one is typed.
func TestChatKeycaps(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	direct := bob.Direct("ann")
	m := s.sent(bob)(bob.Send(t.Context(), direct, "vote: one or two?"))
	ann := s.screen(80, 24, s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1"), "bob")
	ann.shows("vote")
	ann.keys(keyUp)
	ann.showsLine("▌", "vote")
	ann.keys("+", "1\ufe0f\u20e3", keyEnter)
	ann.shows("1\ufe0f\u20e3 1")
	s.reacted(bob, direct, m.Target(), "1\ufe0f\u20e3")
	ann.keys(keyEsc)
	ann.shows("Tab list")
	ann.keys("/react #\u20e3", keyEnter) // without its selector, and no number of a message
	s.reacted(bob, direct, m.Target(), "#\ufe0f\u20e3")
	ann.keys("/react #1 *\ufe0f\u20e3", keyEnter)
	s.reacted(bob, direct, m.Target(), "*\ufe0f\u20e3")
	ann.golden("65-keycaps")
	ann.keys("/react #1 1", keyEnter) // a digit alone is none
	ann.shows("Say which emoji")
}
