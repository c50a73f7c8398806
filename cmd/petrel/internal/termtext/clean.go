// Package termtext makes other people's text fit for a terminal. Call [Line] or [Block] on everything that comes from
// elsewhere before it is printed; [Wrap] and [Cut] then fit it into columns, and [Emoji] turns :names: into emoji.
//
// What a message holds is chosen by its sender. An escape sequence in it would let the sender write anywhere on the
// reader's screen, retitle the window or fill the clipboard, and a bidirectional override shows other text than there is. Nothing of
// this package keeps state; all functions may be called from any goroutine.
package termtext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// marksMost is how many combining marks a character keeps. Written languages need three or four; more is meant to
// run over the lines above and below.
const marksMost = 6

// tabWidth is how many spaces stand for a tab: where a column of the terminal's is, text in a pane can't know.
const tabWidth = 4

// The controls of text that only what follows can make sense of.
const (
	lineSeparator      = '\u2028'
	paragraphSeparator = '\u2029'
	nextLine           = '\u0085'
	joiner             = '\u200d' // joins emoji into one
	nonJoiner          = '\u200c' // keeps letters of Arabic and Indic scripts apart
	blackFlag          = '\U0001F3F4'
	dottedCircle       = '\u25cc'
)

// Line returns s as one line without anything that a terminal would act upon: line breaks become spaces, control characters
// pictures of themselves (␛), invalid UTF-8 the replacement character. Invisible characters and those that reorder text are left out.
// The result of a result is the same.
func Line(s string) string { return clean(s, false) }

// Block is as [Line], but keeps line breaks, each as one \n.
func Block(s string) string { return clean(s, true) }

// plain reports whether there is nothing to clean: printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func clean(s string, block bool) string {
	if plain(s) {
		return s
	}
	c := cleaner{block: block}
	c.b.Grow(len(s))
	for i, r := range s {
		if r == '\r' && strings.HasPrefix(s[i+1:], "\n") {
			continue
		}
		c.take(r)
	}
	return c.b.String()
}

// cleaner goes through a text, rune by rune.
type cleaner struct {
	b     strings.Builder
	block bool
	begun bool // there is a character on this line that marks can stand on
	marks int  // on the character before
	flag  bool // the character before is a black flag, or a tag of one
	last  rune
}

func (c *cleaner) take(r rune) {
	switch {
	case r == '\n' || r == '\r' || r == '\v' || r == '\f' || r == nextLine || r == lineSeparator || r == paragraphSeparator:
		c.newline()
	case r == '\t':
		for range tabWidth {
			c.put(' ')
		}
	case r < ' ':
		c.put(r + 0x2400) // its picture [Unicode, Control Pictures]
	case r == 0x7f:
		c.put('\u2421')
	case r == utf8.RuneError || r >= 0x80 && r < 0xa0:
		c.put(utf8.RuneError) // C1 controls are escape sequences to 8-bit terminals
	case isTag(r):
		if c.flag { // the flags of Scotland, Wales, England are a black flag with tags; else tags are text that nobody sees
			c.b.WriteRune(r)
		}
	case r == joiner:
		if c.begun && c.last != joiner {
			c.b.WriteRune(r)
			c.last = r
		}
	case r == nonJoiner:
		if c.begun && joins(c.last) {
			c.b.WriteRune(r)
			c.last = r
		}
	case unseen(r):
	case unicode.Is(unicode.M, r):
		c.mark(r)
	default:
		c.put(r)
	}
}

func (c *cleaner) newline() {
	if !c.block {
		c.put(' ')
		return
	}
	c.put('\n')
	c.begun = false
}

func (c *cleaner) put(r rune) {
	c.b.WriteRune(r)
	c.begun, c.marks, c.flag, c.last = true, 0, r == blackFlag, r
}

// mark adds a combining mark, unless the character before has enough of them. One that would stand on what is left of the text gets a
// character of its own.
func (c *cleaner) mark(r rune) {
	if !c.begun {
		c.put(dottedCircle)
	}
	if c.marks++; c.marks <= marksMost {
		c.b.WriteRune(r)
		c.last = r
	}
}

func isTag(r rune) bool { return r >= 0xE0020 && r <= 0xE007F }

// joins reports whether r is of a script whose letters change their shape when they meet.
func joins(r rune) bool {
	return unicode.In(r, unicode.Arabic, unicode.Syriac, unicode.Mongolian, unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi,
		unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala)
}

// unseen reports whether r has no shape of its own, but changes how others are shown.
func unseen(r rune) bool {
	switch {
	case r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069: // bidirectional overrides, embeddings and isolates [UAX #9]
		return true
	case r == 0x200B || r == 0x200E || r == 0x200F || r == 0x061C: // zero-width space, direction marks
		// The marks have their use in mixed text, which needs them less than a reader needs to be sure that two names which
		// look the same are the same.
		return true
	case r >= 0x2060 && r <= 0x206F, r == 0xFEFF, r == 0x00AD, r == 0x034F, r == 0x180E:
		return true
	case r >= 0xFFF9 && r <= 0xFFFB, r >= 0x1D173 && r <= 0x1D17A, r >= 0xE0000 && r <= 0xE0FFF:
		return true
	case r == 0x115F || r == 0x1160 || r == 0x3164 || r == 0xFFA0: // fillers: letters that look like nothing
		return true
	}
	return unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Cs, r)
}
