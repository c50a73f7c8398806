// Package vt is a terminal without a screen, for tests: it does what a program writes to it, and can be asked what would
// be seen. Call [New], write to the [Screen], read its [Screen.String].
//
// It understands what xterm-256color promises and programs use: placing the cursor, erasing, inserting and deleting, scroll
// regions, repeating, the alternate screen. It counts columns character by character, as terminals without mode 2027 do.
// What it does not know it notes in [Screen.Unknown] instead of guessing.
package vt

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/ansi/parser"
	"github.com/mattn/go-runewidth"
)

// cell is one column. A wide character has its text in the first one; the second is a continuation.
type cell struct {
	text string
	cont bool
	look Look
}

// Screen is the terminal. It belongs to one goroutine.
type Screen struct {
	w, h     int
	cells    [][]cell
	other    [][]cell // the screen that is not shown: normal or alternate
	alt      bool
	x, y     int
	wrap     bool // the last column was written: the next character goes to the next line
	top, bot int  // scroll region, inclusive
	saved    [2]int
	last     string // for REP
	lastW    int
	pen      Look // of what is written next
	parser   *ansi.Parser

	Title   string
	Hidden  bool            // the cursor is
	Unknown []string        // sequences that were not understood
	Colours map[string]bool // SGR sequences with a colour in them
	Modes   map[int]bool    // private modes that were switched, and how they are now: 1002 and 1006 are the mouse
	Clipped map[string]bool // OSC commands that came, by number
}

// New makes an empty screen.
func New(w, h int) *Screen {
	s := &Screen{Colours: make(map[string]bool), Clipped: make(map[string]bool), Modes: make(map[int]bool)}
	s.parser = ansi.NewParser()
	s.parser.SetParamsSize(parser.MaxParamsSize)
	s.parser.SetDataSize(1 << 16)
	s.parser.SetHandler(ansi.Handler{Print: s.print, Execute: s.execute, HandleCsi: s.csi, HandleEsc: s.esc, HandleOsc: s.osc})
	s.Resize(w, h)
	return s
}

// Resize empties the screen, as programs that use all of it paint anew.
func (s *Screen) Resize(w, h int) {
	s.w, s.h = w, h
	s.cells, s.other = blank(w, h), blank(w, h)
	s.top, s.bot, s.x, s.y, s.wrap = 0, h-1, 0, 0, false
}

func blank(w, h int) [][]cell {
	rows := make([][]cell, h)
	for i := range rows {
		rows[i] = empty(w)
	}
	return rows
}

func empty(w int) []cell {
	r := make([]cell, w)
	for i := range r {
		r[i].text = " "
	}
	return r
}

// Write implements io.Writer. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	for _, b := range p {
		s.parser.Advance(b)
	}
	return len(p), nil
}

// String is what is seen, without the spaces at the ends of lines.
func (s *Screen) String() string {
	var b strings.Builder
	for _, r := range s.cells {
		var line strings.Builder
		for _, c := range r {
			if !c.cont {
				line.WriteString(c.text)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// Cursor is where the cursor stands, from 0.
func (s *Screen) Cursor() (x, y int) { return s.x, s.y }

func (s *Screen) print(r rune) {
	n := runewidth.RuneWidth(r)
	if n == 0 { // belongs to the character before
		if x := s.x - 1; x >= 0 || s.wrap {
			if s.wrap {
				x = s.w - 1
			}
			for x > 0 && s.cells[s.y][x].cont {
				x--
			}
			s.cells[s.y][x].text += string(r)
		}
		return
	}
	s.put(string(r), n)
}

func (s *Screen) put(text string, n int) {
	if s.wrap || s.x+n > s.w {
		s.x, s.wrap = 0, false
		s.down()
	}
	s.clear(s.y, s.x, s.x+n)
	s.cells[s.y][s.x] = cell{text: text, look: s.pen}
	for i := 1; i < n; i++ {
		s.cells[s.y][s.x+i] = cell{cont: true, look: s.pen}
	}
	s.last, s.lastW = text, n
	if s.x += n; s.x >= s.w {
		s.x, s.wrap = s.w-1, true
	}
}

// clear empties columns of a row; a wide character that loses a half is gone.
func (s *Screen) clear(y, from, to int) {
	r := s.cells[y]
	from, to = max(from, 0), min(to, s.w)
	if from >= to {
		return
	}
	for i := from; i > 0 && r[i].cont; i-- {
		r[i-1].text, r[i].cont = " ", false
	}
	for i := to; i < s.w && r[i].cont; i++ {
		r[i] = cell{text: " "}
	}
	for i := from; i < to; i++ {
		r[i] = cell{text: " "}
	}
}

func (s *Screen) down() {
	if s.y == s.bot {
		s.scroll(s.top, s.bot, 1)
	} else if s.y < s.h-1 {
		s.y++
	}
}

// scroll moves rows of a region up by n, down if n is negative.
func (s *Screen) scroll(top, bot, n int) {
	for ; n > 0; n-- {
		copy(s.cells[top:bot+1], s.cells[top+1:bot+1])
		s.cells[bot] = empty(s.w)
	}
	for ; n < 0; n++ {
		copy(s.cells[top+1:bot+1], s.cells[top:bot])
		s.cells[top] = empty(s.w)
	}
}

func (s *Screen) execute(b byte) {
	switch b {
	case '\r':
		s.x, s.wrap = 0, false
	case '\n', '\v', '\f':
		s.down()
		s.wrap = false
	case '\b':
		s.x, s.wrap = max(s.x-1, 0), false
	case '\t':
		s.x = min((s.x/8+1)*8, s.w-1)
	case 0x07, 0:
	default:
		s.Unknown = append(s.Unknown, fmt.Sprintf("control %#x", b))
	}
}

func (s *Screen) esc(cmd ansi.Cmd) {
	switch cmd.Final() {
	case '7':
		s.saved = [2]int{s.x, s.y}
	case '8':
		s.x, s.y, s.wrap = s.saved[0], s.saved[1], false
	case 'M':
		if s.y == s.top {
			s.scroll(s.top, s.bot, -1)
		} else {
			s.y = max(s.y-1, 0)
		}
	case 'D':
		s.down()
	case '=', '>', '\\', 'B', '0': // keypads, string terminators, character sets
	default:
		s.Unknown = append(s.Unknown, fmt.Sprintf("ESC %c", cmd.Final()))
	}
}

func (s *Screen) osc(cmd int, data []byte) {
	s.Clipped[fmt.Sprint(cmd)] = true
	if cmd == 0 || cmd == 2 {
		_, title, _ := strings.Cut(string(data), ";")
		s.Title = title
	}
}
