package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/internal/servertest"
)

// farAway fills a conversation of bob's with ann: so many messages, with one in between that is worth to be found.
func (s *chatServer) farAway(bob *client.Client, n, needle int) client.Message {
	s.t.Helper()
	direct := bob.Direct("ann")
	var last, found client.Message
	for i := range n {
		text := fmt.Sprintf("message %04d", i)
		if i == needle {
			text = "the needle in the haystack"
		}
		var err error
		if last, err = bob.Send(s.t.Context(), direct, text); err != nil {
			s.t.Fatal(err)
		}
		if i == needle {
			found = last
		}
	}
	s.sent(bob)(last, nil)
	return s.sent(bob)(found, nil)
}

// findable waits until the server's search finds a message: its index follows.
func (s *chatServer) findable(c *client.Client, words string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), servertest.Patience)
	defer cancel()
	for found := false; !found; {
		page, err := c.History().SearchPage(ctx, client.SearchQuery{Words: words}, client.ListOptions{Limit: 1})
		if err != nil && ctx.Err() != nil {
			s.t.Fatalf("%q is not found: %v", words, err)
		}
		found = err == nil && len(page.Items) > 0 && !page.Behind
	}
}

// TestChatJumps: what a search found is shown with what is around it, however far that is from what is on this device: from there one
// scrolls in both directions, answers, and returns. Without a connection it is said why not, and nothing else changes.
func TestChatJumps(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	needle := s.farAway(bob, 1600, 120)
	s.sent(bob)(bob.React(t.Context(), bob.Direct("ann"), needle.Target(), "🎉"))
	env := s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1")
	ann := s.screen(80, 24, env, "bob")
	ann.shows("message 1599")
	ann.shows("up to date")
	search := func(words, hit string) {
		t.Helper()
		ann.keys(keyCtrlF, "\x15", words, keyEnter) // Ctrl+U: what was looked for before
		ann.shows("1 message on the server")
		ann.shows(hit)
	}
	s.findable(bob, "needle")
	search("needle", "haystack")
	s.Stop()
	ann.shows("offline")
	ann.keys(keyEnter)
	ann.golden("50-far-offline")
	s.Start()
	bob.NetworkChanged() // at once, not when it would try again
	ann.keys(keyEsc)
	ann.shows("message 1599")
	ann.keys("/retrynow", keyEnter)

	s.findable(bob, "needle")
	ann.keys(keyCtrlF) // looks for the same again
	ann.shows("1 message on the server")
	ann.keys(keyEnter)
	ann.shows("message 0119")
	ann.golden("51-far")
	ann.keys("+", "1") // what is far away can be acted upon
	ann.shows("👍 1")
	s.reacted(bob, bob.Direct("ann"), needle.Target(), "👍")
	beyond := regexp.MustCompile(`message 0(2[5-9]|[3-9])`)
	ann.pressUntil(keyPgDown, "more than was fetched", beyond.MatchString)
	below := "\n" + strings.Repeat(" ", 26) + "│"
	ann.press(keyPgUp, "─ Today ───────────────────────"+below+"bob hh:mm"+below+"  message 0000") // as far up as it goes
	ann.golden("52-far-first")
	ann.keys(keyEnd)
	ann.shows("message 1599")

	s.findable(bob, `"message 1200"`)
	search(`"message 1200"`, "  message 1200") // near enough to be brought to this device
	ann.keys(keyEnter)
	ann.showsLine("▌", "message 1200")
	ann.keys("r", "found it", keyEnter)
	ann.showsLine("found it", "✓✓")
	if m := s.arrives(bob, bob.Direct("ann"), "found it"); m.Re != needle.Seq+1080 {
		t.Errorf("it replies to #%d", m.Re)
	}
	ann.keys(keyUp)
	ann.showsLine("▌", "found it")
	ann.keys(keyEnter) // to what it replies to
	ann.showsLine("▌", "message 1200")
	ann.keys(keyEnd)
	ann.shows("found it")
	s.Stop()
	ann.shows("offline")
	ann.keys(keyCtrlF, "\x15", `"message 1201"`, keyEnter) // is on this device now
	ann.shows("  message 1201")                            // not what was asked for before, which Ctrl+F looks for again
	ann.keys(keyEnter)
	ann.showsLine("▌", "message 1201")
}

// reacted waits until somebody has put an emoji on a message.
func (s *chatServer) reacted(c *client.Client, conv string, to client.Target, emoji string) {
	s.t.Helper()
	updates := c.Updates(s.t.Context())
	look := func() bool {
		m, err := c.Message(s.t.Context(), conv, to)
		for _, r := range m.Reactions {
			if err == nil && r.Emoji == emoji && !r.Mine {
				return true
			}
		}
		return false
	}
	if look() {
		return
	}
	for range updates {
		if look() {
			return
		}
	}
}

// TestChatJumpsPlain: the same, read out; without a connection too.
func TestChatJumpsPlain(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	s.farAway(bob, 1300, 7)
	env := s.chatEnv("ann", "TERM=dumb")
	s.readUp(env, "message 1299")
	ann := s.plain(env)
	ann.hears("up to date")
	ann.types("/to bob")
	ann.hears("message 1299")
	s.findable(bob, "needle")
	ann.types("/search needle")
	ann.hears("haystack")
	ann.types("/around #8")
	ann.hears("that was around")
	ann.types("/around #100000")
	ann.hears("There is no message #100000")
	ann.types("/around nothing")
	ann.hears("Say around which")
	ann.types("/quit")
	ann.endFrom("> /search needle", "around")

	s.Stop()
	away := s.plain(env, "bob")
	away.hears("offline")
	away.types("/around #20")
	away.hears("#20 is not on this device, and there is no connection")
	away.types("/around #1299") // is there
	away.hears("that was around #1299")
	away.types("/quit")
	for away.next() {
	}
	if err := away.proc.Wait(); err != nil {
		t.Error(err)
	}
}
