package tui

import (
	"strings"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/charmbracelet/x/ansi"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// textMost bounds what is typed or pasted, in bytes: the server takes no longer text.
const textMost = 64 << 10

// joiner is the zero width joiner of emoji.
const joiner = '\u200d'

// editor is a text that is being typed. Its text is clean. Positions are bytes, always between two things that people
// see as one character.
type editor struct {
	text  string
	at    int
	lines bool // may have line breaks
	full  bool // something was left out
}

func (e *editor) set(text string) {
	e.text, e.at = "", 0
	e.insert(text)
}

// insert puts text at the cursor, cleaned.
func (e *editor) insert(text string) {
	if r, _ := utf8.DecodeRuneInString(text); e.at > 0 && (unicode.Is(unicode.M, r) || r == joiner) { // it belongs to what stands before: terminals may send 1️⃣ in two pieces
		start := e.prev(e.at)
		text = e.text[start:e.at] + text
		e.cut(start, e.at)
	}
	if e.lines {
		text = termtext.Block(text)
	} else {
		text = termtext.Line(text)
	}
	e.full = false
	if room := textMost - len(e.text); len(text) > room {
		e.full = true
		for room > 0 && !utf8.RuneStart(text[room]) {
			room--
		}
		text = text[:max(room, 0)]
	}
	e.text = e.text[:e.at] + text + e.text[e.at:]
	e.at += len(text)
	e.settle()
}

// settle moves the cursor behind the character that it would stand in.
func (e *editor) settle() {
	for at := 0; at < e.at; {
		n := e.next(at)
		if n >= e.at {
			e.at = n
			return
		}
		at = n
	}
}

// next and prev are the positions one character on and back.
func (e *editor) next(at int) int {
	if at >= len(e.text) {
		return len(e.text)
	}
	if e.text[at] == '\n' {
		return at + 1
	}
	c, _ := ansi.FirstGraphemeCluster(e.text[at:], ansi.GraphemeWidth)
	return at + max(len(c), 1)
}

func (e *editor) prev(at int) int {
	// Where characters end depends on what stands before them; a line break always ends one.
	from := strings.LastIndexByte(e.text[:max(at-1, 0)], '\n') + 1
	for from < at {
		n := e.next(from)
		if n >= at {
			return from
		}
		from = n
	}
	return max(at-1, 0)
}

// wordBack and wordOn are the beginnings and ends of words.
func (e *editor) wordBack() int {
	at := e.at
	for at > 0 && !e.wordAt(e.prev(at)) {
		at = e.prev(at)
	}
	for at > 0 && e.wordAt(e.prev(at)) {
		at = e.prev(at)
	}
	return at
}

func (e *editor) wordOn() int {
	at := e.at
	for at < len(e.text) && !e.wordAt(at) {
		at = e.next(at)
	}
	for at < len(e.text) && e.wordAt(at) {
		at = e.next(at)
	}
	return at
}

func (e *editor) wordAt(at int) bool {
	r, _ := utf8.DecodeRuneInString(e.text[at:])
	return unicode.IsLetter(r) || unicode.IsDigit(r)
}

func (e *editor) cut(from, to int) {
	e.text = e.text[:from] + e.text[to:]
	e.at = from
}

// key takes a key press; handled is false if it is none of an editor's.
func (e *editor) key(k tea.KeyPressMsg) (handled bool) {
	switch k.String() {
	case "left", "ctrl+b":
		e.at = e.prev(e.at)
	case "right":
		e.at = e.next(e.at)
	case "ctrl+left", "alt+left", "alt+b":
		e.at = e.wordBack()
	case "ctrl+right", "alt+right":
		e.at = e.wordOn()
	case "home", "ctrl+a":
		e.at = strings.LastIndexByte(e.text[:e.at], '\n') + 1
	case "end", "ctrl+e":
		e.at = e.lineEnd()
	case "backspace", "ctrl+h":
		e.cut(e.prev(e.at), e.at)
	case "delete", "ctrl+d":
		e.cut(e.at, e.next(e.at))
	case "ctrl+w", "alt+backspace", "ctrl+backspace":
		e.cut(e.wordBack(), e.at)
	case "alt+d", "ctrl+delete":
		e.cut(e.at, e.wordOn())
	case "ctrl+u":
		e.cut(strings.LastIndexByte(e.text[:e.at], '\n')+1, e.at)
	case "ctrl+k":
		e.cut(e.at, e.lineEnd())
	case "alt+enter", "ctrl+j", "shift+enter":
		if !e.lines {
			return false
		}
		e.insert("\n")
	default:
		if k.Text == "" || k.Mod.Contains(tea.ModCtrl) || k.Mod.Contains(tea.ModAlt) {
			return false
		}
		e.insert(k.Text)
	}
	return true
}

func (e *editor) lineEnd() int {
	if i := strings.IndexByte(e.text[e.at:], '\n'); i >= 0 {
		return e.at + i
	}
	return len(e.text)
}

// place is a position on the screen.
type place struct{ x, y int }

// layout breaks the text into lines of less than width columns, so that the cursor has room behind each, and says where
// it is.
func (e *editor) layout(m termtext.Method, width int) (lines []string, cursor place) {
	width = max(width-1, 2)
	var line []cluster
	used := 0
	flush := func(n int) { // the first n clusters make a line
		var b strings.Builder
		for _, c := range line[:n] {
			b.WriteString(c.text)
		}
		lines = append(lines, b.String())
		line = line[n:]
		used = 0
		for _, c := range line {
			used += c.width
		}
	}
	for at := 0; at <= len(e.text); {
		if at < len(e.text) && e.text[at] != '\n' {
			next := e.next(at)
			c := cluster{at, e.text[at:next], m.StringWidth(e.text[at:next])}
			if used+c.width > width {
				n := len(line)
				for i := n; i > 0; i-- { // behind the last space, if there is one
					if line[i-1].text == " " {
						n = i
						break
					}
				}
				flush(n)
			}
			line, used = append(line, c), used+c.width
			at = next
			continue
		}
		flush(len(line))
		at++
	}
	return lines, e.find(m, lines)
}

// cluster is one character as people see it, and where it stands.
type cluster struct {
	at    int
	text  string
	width int
}

// find says where in the lines the cursor is.
func (e *editor) find(m termtext.Method, lines []string) (c place) {
	at := 0
	for y, l := range lines {
		end := at + len(l)
		wrapped := end < len(e.text) && e.text[end] != '\n' // goes on in the next line, where the cursor stands if it is between
		if e.at < end || e.at == end && !wrapped {
			return place{m.StringWidth(l[:e.at-at]), y}
		}
		at = end
		if !wrapped {
			at++
		}
	}
	return place{0, max(len(lines)-1, 0)}
}

// word is what stands before the cursor since the last space: what Tab may complete.
func (e *editor) word() string {
	return e.text[strings.LastIndexAny(e.text[:e.at], " \n")+1 : e.at]
}

// complete puts text in place of the word.
func (e *editor) complete(text string) {
	e.cut(e.at-len(e.word()), e.at)
	e.insert(text)
}
