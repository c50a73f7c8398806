package main

import (
	"testing"

	"github.com/petrelchat/petrel/client"
)

// TestChatLooks: how a conversation looks with the colours of the terminal's theme; and with NO_COLOR, where no colour is left and words
// or signs say what colours did.
func TestChatLooks(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob := s.user("bob")
	sent := s.sent(bob)
	direct := bob.Direct("ann")
	sent(bob.Send(t.Context(), direct, "hello ann"))
	_, err := bob.Groups().Create(t.Context(), client.NewGroup{ID: "climbing", Members: []string{"ann"}, GroupSettings: client.GroupSettings{Title: new("Climbing")}})
	if err != nil {
		t.Fatal(err)
	}
	sent(bob.Post(t.Context(), "climbing", client.Post{Text: "@ann who comes?", Mentions: []string{"ann"}}))
	ann := s.screen(80, 24, s.chatEnv("ann", "TERM=xterm-256color"), "bob")
	ann.shows("hello ann")
	ann.keys("hi bob", keyEnter)
	m := s.arrives(bob, direct, "hi bob")
	sent(bob.React(t.Context(), direct, client.At(m.Seq), "🎉"))
	if err := bob.MarkRead(t.Context(), direct, m.Seq); err != nil {
		t.Fatal(err)
	}
	ann.shows("🎉 1")
	ann.keys(keyUp, "+", "1")
	ann.shows("👍 1")
	ann.keys(keyEsc)
	ann.shows("Tab list")
	ann.goldenLooks("46-colours")

	mute := s.screen(80, 24, s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1"), "bob")
	mute.shows("👍 1")
	mute.goldenLooks("47-no-colours")
	for _, p := range []*screen{ann, mute} {
		p.quit()
		if len(p.vt.Unknown) > 0 {
			t.Errorf("the terminal was sent what it does not know: %q", p.vt.Unknown)
		}
	}
	if len(ann.vt.Colours) == 0 {
		t.Error("there are no colours")
	}
	if len(mute.vt.Colours) > 0 {
		t.Errorf("NO_COLOR is set, and there are colours %v", mute.vt.Colours)
	}
}
