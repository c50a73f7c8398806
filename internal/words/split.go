// Package words is what petrel takes for a word, the same in the server's index and in a client's: how texts are compared, what
// an index holds of them, and what a query asks for.
//
// Start with [Parse]. An index holds [AppendTokens] of a text and is asked for [Query.FTS]; what it proposes is judged by
// [Query.Match], which is also all that is needed without an index.
//
// A text is a sequence of atoms: words, or single characters of scripts that put no spaces between words. Case, width, accents and
// other ornaments don't count. Words are indexed as they are, characters as overlapping pairs and one by one.
package words

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Version is that of what AppendTokens makes of a text. An index that was filled by another one is made anew: whoever changes a
// token raises it.
const Version = 2

// maxAtom bounds the bytes of an atom that count; of longer words only so much is compared.
const maxAtom = 64

// atom is a word, or a character of a script without spaces.
type atom struct {
	text       string // as it is compared
	start, end int    // bytes of the original
	single     bool   // a character
	glued      bool   // nothing stands between it and the character before
}

// split finds the atoms of a text, which need not be valid UTF-8.
func split(text string) []atom {
	s := splitter{text: text, out: make([]atom, 0, len(text)/6+1), ended: -1}
	for i := 0; i < len(text); {
		c := text[i]
		small := c
		if 'A' <= c && c <= 'Z' {
			small += 'a' - 'A'
		}
		letter := 'a' <= small && small <= 'z' || '0' <= c && c <= '9'
		switch {
		case c >= utf8.RuneSelf || letter && marksEnd(text, i+1, rune(c)) > i+1:
			i = s.cluster(i)
			continue
		case letter:
			s.letter(rune(small), i, i+1)
		default:
			s.stop()
		}
		i++
	}
	s.flush()
	return s.out
}

// splitter is a text on its way.
type splitter struct {
	text       string
	out        []atom
	word       []byte // is being gathered
	full       bool   // and has as much as counts
	wide       bool   // and is not ASCII alone
	start, end int    // where the word is
	ended      int    // where the last character ended, if nothing has come since; or -1
	f          folder
}

// letter adds one to the word; of a cluster of several each has the place of all.
func (s *splitter) letter(r rune, start, end int) {
	if len(s.word) == 0 {
		s.start = start
	}
	s.end = end
	if s.full = s.full || len(s.word)+utf8.RuneLen(r) > maxAtom; !s.full {
		s.word = utf8.AppendRune(s.word, r)
		s.wide = s.wide || r >= utf8.RuneSelf
	}
}

func (s *splitter) flush() {
	if len(s.word) == 0 {
		return
	}
	text := string(s.word)
	if s.wide { // marks that stood apart are composed with their letters
		text = norm.NFC.String(text)
	}
	s.out = append(s.out, atom{text: text, start: s.start, end: s.end})
	s.word, s.full, s.wide = s.word[:0], false, false
}

// stop ends a word, and what comes next stands apart.
func (s *splitter) stop() {
	s.flush()
	s.ended = -1
}

// skip passes over what neither belongs to a word nor ends it.
func (s *splitter) skip(start, end int) {
	if s.ended == start {
		s.ended = end
	}
}

// cluster takes one character with its marks, from byte i on, and returns where it ends.
func (s *splitter) cluster(i int) (end int) {
	r, n := utf8.DecodeRuneInString(s.text[i:])
	end = i + n
	if ignored(r) {
		s.skip(i, end)
		return end
	}
	letter := lettered(r)
	if !letter && norm.NFKD.PropertiesString(s.text[i:]).Decomposition() == nil {
		s.stop()
		return end
	}
	end = marksEnd(s.text, end, r)
	folded := s.f.fold(s.text[i:end])
	first, _ := utf8.DecodeRune(folded)
	switch symbol := !letter && !unicode.Is(unicode.Other_Alphabetic, r); {
	case len(folded) == 0 && letter: // an accent that stands alone
		if len(s.word) > 0 {
			s.end = end
		}
		s.skip(i, end)
	case len(folded) == 0, symbol && unicode.Is(unicode.M, first):
		s.stop()
	case symbol: // ㎏, ™ and № are words of their own; Ⓐ is a letter
		s.flush()
		s.add(folded, i, end)
		s.flush()
	default:
		s.add(folded, i, end)
	}
	return end
}

// add takes what a cluster was folded to: letters of the word, characters of scripts without spaces, or both.
func (s *splitter) add(folded []byte, start, end int) {
	for inside := false; len(folded) > 0; inside = true {
		first, n := utf8.DecodeRune(folded)
		for n < len(folded) {
			r, size := utf8.DecodeRune(folded[n:])
			if !unicode.Is(unicode.M, r) {
				break
			}
			n += size
		}
		part := folded[:n]
		folded = folded[n:]
		if unspaced(first) {
			s.flush()
			s.out = append(s.out, atom{text: clip(part), start: start, end: end, single: true, glued: inside || s.ended == start})
			s.ended = end
			continue
		}
		for len(part) > 0 {
			r, size := utf8.DecodeRune(part)
			s.letter(r, start, end)
			part = part[size:]
		}
	}
}

// clip shortens a character under a heap of marks.
func clip(s []byte) string {
	for len(s) > maxAtom {
		_, n := utf8.DecodeLastRune(s)
		s = s[:len(s)-n]
	}
	return string(s)
}

// AppendTokens appends what an index holds of a text, each token preceded by a space: words, and pairs of neighbouring
// characters, in their order; then each character once. A token consists of letters, numbers and marks in lower case, and of nothing
// that is for private use.
func AppendTokens(dst []byte, text string) []byte {
	all := split(text)
	var seen map[string]struct{}
	for i := range all {
		a := &all[i]
		if !a.single {
			dst = append(append(dst, ' '), a.text...)
			continue
		}
		if seen == nil {
			seen = make(map[string]struct{})
		}
		seen[a.text] = struct{}{}
		if pair(all, i) {
			dst = append(append(append(dst, ' '), all[i-1].text...), a.text...)
		}
	}
	for i := range all { // in the order of the text: the same tokens each time
		if _, ok := seen[all[i].text]; ok && all[i].single {
			delete(seen, all[i].text)
			dst = append(append(dst, ' '), all[i].text...)
		}
	}
	return dst
}

// pair reports whether atom i and the one before are neighbouring characters.
func pair(all []atom, i int) bool {
	return i > 0 && all[i].single && all[i].glued && all[i-1].single
}
