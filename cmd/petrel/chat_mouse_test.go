package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/client"
)

// Where the mouse is and what it does, as terminals tell it in mode 1006; columns and rows from 1.
func mouseClick(x, y int) string { return fmt.Sprintf("\x1b[<0;%d;%dM\x1b[<0;%d;%dm", x, y, x, y) }
func mouseUp(x, y int) string    { return fmt.Sprintf("\x1b[<64;%d;%dM", x, y) }
func mouseDown(x, y int) string  { return fmt.Sprintf("\x1b[<65;%d;%dM", x, y) }

const mouseButtons, mouseNumbers = 1002, 1006 // modes: buttons and what moves with one held, told in decimal numbers

// rowOf is the row of the screen, from 1, that has a text in the pane beside the list.
func (p *screen) rowOf(text string) int {
	p.t.Helper()
	for i, line := range strings.Split(p.look(), "\n") {
		if _, pane, ok := strings.Cut(line, "│"); ok && strings.Contains(pane, text) {
			return i + 1
		}
	}
	p.t.Fatalf("%q is not on the screen\n%s", text, p.look())
	return 0
}

func (p *screen) mode(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.vt.Modes[n]
}

// TestChatMouse: the wheel scrolls what it is over, a click opens a conversation, chooses a message, or goes to the text. Without --mouse the
// terminal keeps the mouse for itself.
func TestChatMouse(t *testing.T) {
	t.Parallel()
	s := chatServe(t)
	s.account("ann")
	bob, carol := s.user("bob"), s.user("carol")
	direct := bob.Direct("ann")
	var last client.Message
	for i := range 60 {
		var err error
		if last, err = bob.Send(t.Context(), direct, fmt.Sprintf("message %02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	s.sent(bob)(last, nil)
	s.sent(carol)(carol.Send(t.Context(), carol.Direct("ann"), "hello from carol"))

	env := s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1")
	without := s.screen(80, 24, env)
	without.shows("carol")
	if without.mode(mouseButtons) {
		t.Error("the mouse is taken without being asked for")
	}
	without.quit()

	ann := s.screen(80, 24, env, "--mouse")
	ann.shows("carol")
	ann.shows("up to date")
	if !ann.mode(mouseButtons) || !ann.mode(mouseNumbers) {
		t.Errorf("the terminal is not asked to tell of the mouse: %v", ann.vt.Modes)
	}
	ann.keys(mouseClick(5, 3)) // the second row of the list: the first is carol, the newest
	ann.shows("message 59")
	ann.press(mouseUp(50, 10), "bob hh:mm\n                          │  message 00") // as far up as it goes
	ann.keys(mouseClick(40, ann.rowOf("message 05")))
	ann.golden("45-clicked")
	ann.keys("+", "1") // a key acts upon what was clicked
	ann.shows("👍 1")
	for range 20 {
		ann.keys(mouseDown(50, 10))
	}
	ann.shows("message 59")
	ann.keys(mouseClick(40, 23), "typed", keyEnter) // into the text
	ann.showsLine("typed", "✓✓")
	ann.keys(keyEsc)
	ann.shows("Enter open")
	ann.keys(mouseDown(5, 5), mouseDown(5, 5)) // over the list: chooses another row
	ann.keys(keyEnter)
	ann.shows("hello from carol")
	ann.keys(mouseClick(5, 2), mouseClick(79, 24), mouseClick(200, 100)) // also where there is nothing
	ann.shows("message 59")
	ann.quit()
	if ann.mode(mouseButtons) {
		t.Error("the mouse is not given back")
	}
}
