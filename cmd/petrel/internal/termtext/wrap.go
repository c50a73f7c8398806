package termtext

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Method is how a terminal counts columns. Most count character by character ([ansi.WcWidth]); those with mode 2027 count
// what people see as one character ([ansi.GraphemeWidth]): a family emoji takes two columns instead of six.
type Method = ansi.Method

// clusters calls yield for each thing in s that stays together, with its columns.
func clusters(m Method, s string, yield func(text string, width int) bool) {
	var state byte
	for len(s) > 0 {
		seq, width, n, next := m.DecodeSequenceInString(s, state, nil)
		if n <= 0 {
			return
		}
		if !yield(seq, width) {
			return
		}
		s, state = s[n:], next
	}
}

// Width is how many columns a clean line takes.
func Width(m Method, s string) int {
	if plain(s) {
		return len(s)
	}
	return m.StringWidth(s)
}

// Cut shortens a clean line to at most width columns; a tail of … says that something is missing.
func Cut(m Method, s string, width int) string {
	switch {
	case width <= 0:
		return ""
	case Width(m, s) <= width:
		return s
	case width == 1:
		return "…"
	}
	var b strings.Builder
	used := 0
	clusters(m, s, func(text string, w int) bool {
		if used+w > width-1 {
			return false
		}
		b.WriteString(text)
		used += w
		return true
	})
	return b.String() + "…"
}

// Wrap breaks clean text into lines of at most width columns, at least 2: at spaces, between wide characters (which
// Chinese and Japanese text breaks at), and within words only if they are longer than a line. Indentation is kept, the
// spaces at a break are not. There is always one line at least.
func Wrap(m Method, s string, width int) []string {
	width = max(width, 2)
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, wrapLine(m, line, width)...)
	}
	return lines
}

func wrapLine(m Method, s string, width int) []string {
	if Width(m, s) <= width {
		return []string{s}
	}
	w := wrapper{width: width}
	clusters(m, s, func(text string, n int) bool {
		w.take(text, n)
		return true
	})
	w.settle()
	return append(w.lines, w.line.String())
}

// wrapper fills lines. What may still move to the next line, the part behind the last place to break, is in word.
type wrapper struct {
	width      int
	lines      []string
	line, word strings.Builder // word follows line
	used, tail int             // columns of both
	gap        int             // spaces between them
	after      bool            // a line was begun because the one before was full
}

func (w *wrapper) take(text string, n int) {
	if text == " " {
		w.settle()
		if w.used > 0 || !w.after { // spaces at a break are dropped
			w.gap++
		}
		return
	}
	if n > 1 {
		w.settle() // one may break before a wide character
	}
	if w.used+w.gap+w.tail+n > w.width {
		w.overflow(n)
	}
	w.word.WriteString(text)
	w.tail += n
	if n > 1 {
		w.settle()
	}
}

// overflow makes room for n more columns.
func (w *wrapper) overflow(n int) {
	if w.used > 0 {
		w.lines = append(w.lines, w.line.String())
		w.line.Reset()
		w.used, w.gap, w.after = 0, 0, true
	}
	if w.gap+w.tail+n <= w.width {
		return
	}
	if w.tail == 0 || w.gap >= w.width { // indentation that leaves no room
		w.gap = 0
	}
	if w.gap+w.tail+n > w.width { // a word that is longer than a line
		w.settle()
		w.lines = append(w.lines, w.line.String())
		w.line.Reset()
		w.used, w.after = 0, true
	}
}

// settle moves the word to the line.
func (w *wrapper) settle() {
	if w.tail == 0 && w.word.Len() == 0 {
		return
	}
	for range w.gap {
		w.line.WriteByte(' ')
	}
	w.line.WriteString(w.word.String())
	w.used += w.gap + w.tail
	w.word.Reset()
	w.gap, w.tail = 0, 0
}
