// Package words is how texts are compared in a client's search, the same in every engine: what a word is, and
// what a query asks for.
//
// Start with [Parse]. An engine with an index puts [Tokens] of a text into it and asks it for [Query.FTS]; what
// that proposes is judged by [Query.Match], which is also all that an engine without an index needs.
package words

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxWord bounds the bytes of a word that are compared.
const maxWord = 64

// atom is a word, or one character of a script that puts no spaces between words.
type atom struct {
	text       string // as it is compared
	start, end int    // bytes of the original
	single     bool   // a character
	glued      bool   // nothing stands between it and the atom before
}

// split finds the atoms of a text. What is neither letter, number nor mark separates.
func split(text string) []atom {
	s := splitter{out: make([]atom, 0, len(text)/6+1), ended: -1}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			s.letter(rune(c), i, i+1)
		case 'A' <= c && c <= 'Z':
			s.letter(rune(c+'a'-'A'), i, i+1)
		case c < utf8.RuneSelf:
			s.stop()
		default:
			i = s.cluster(text, i)
			continue
		}
		i++
	}
	s.flush()
	return s.out
}

type splitter struct {
	out        []atom
	word       []byte // the word that is being gathered, text[start:end]
	start, end int
	glued      bool // whether it began where the atom before it ended
	ended      int  // where the last atom ended, if nothing has come since
}

func (s *splitter) letter(r rune, start, end int) {
	if len(s.word) == 0 {
		s.start, s.glued = start, s.ended == start
	}
	if len(s.word)+utf8.RuneLen(r) <= maxWord {
		s.word = utf8.AppendRune(s.word, r)
	}
	s.end = end
}

func (s *splitter) flush() {
	if len(s.word) > 0 {
		s.out = append(s.out, atom{text: string(s.word), start: s.start, end: s.end, glued: s.glued})
		s.word, s.ended = s.word[:0], s.end
	}
}

// stop ends a word, and what comes next stands apart.
func (s *splitter) stop() {
	s.flush()
	s.ended = -1
}

// cluster takes the character at byte i with the marks behind it, and returns where they end.
func (s *splitter) cluster(text string, i int) int {
	r, n := utf8.DecodeRuneInString(text[i:])
	end := i + n
	if unicode.Is(unicode.Cf, r) || r == '\u0640' { // joiners, directions, the Arabic stretcher: they neither belong to a word nor end it
		if s.ended == i {
			s.ended = end
		}
		return end
	}
	for end < len(text) {
		m, n := utf8.DecodeRuneInString(text[end:])
		if !unicode.Is(unicode.M, m) && m != '\uff9e' && m != '\uff9f' { // the latter: half-width marks of voice
			break
		}
		end += n
	}
	folded := fold(text[i:end])
	first, _ := utf8.DecodeRuneInString(folded)
	switch {
	case folded == "" && unicode.Is(unicode.M, r): // an accent that stands alone
	case folded == "":
		s.stop()
	case unspaced(first):
		s.flush()
		s.singles(folded, i, end)
	default:
		for _, r := range folded {
			s.letter(r, i, end)
		}
	}
	return end
}

// singles adds the characters of a folded cluster, mostly one, each with its marks.
func (s *splitter) singles(folded string, start, end int) {
	for glued := s.ended == start; folded != ""; glued = true {
		_, n := utf8.DecodeRuneInString(folded)
		for n < len(folded) {
			r, size := utf8.DecodeRuneInString(folded[n:])
			if !unicode.Is(unicode.M, r) {
				break
			}
			n += size
		}
		s.out = append(s.out, atom{text: clip(folded[:n]), start: start, end: end, single: true, glued: glued})
		folded = folded[n:]
	}
	s.ended = end
}

// clip shortens a character under a heap of marks.
func clip(s string) string {
	for len(s) > maxWord {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.Clone(s)
}

// fold returns a character with its marks as it is compared: the compatibility form (UAX #15, NFKC) in lower
// case, without the accents that people leave out when they type in a hurry.
func fold(cluster string) string {
	plain := make([]rune, 0, 8)
	for _, r := range norm.NFKD.String(cluster) {
		if ornament(r) || !unicode.In(r, unicode.L, unicode.N, unicode.M) {
			continue
		}
		switch r = unicode.ToLower(unicode.ToUpper(r)); r {
		case 'ß':
			plain = append(plain, 's', 's')
		case 'ø':
			plain = append(plain, 'o')
		case 'ł':
			plain = append(plain, 'l')
		case 'đ':
			plain = append(plain, 'd')
		case 'ı':
			plain = append(plain, 'i')
		default:
			plain = append(plain, r)
		}
	}
	return norm.NFC.String(string(plain))
}

// ornament are marks that tell no words apart: accents, Hebrew points, Arabic vowels, enclosures. Vowels and
// tones of Indic and South-East Asian scripts do.
func ornament(r rune) bool {
	return r >= 0x300 && unicode.Is(unicode.M, r) &&
		(r <= 0x36f || 0x0591 <= r && r <= 0x0670 || 0x06d6 <= r && r <= 0x06ed || 0x1ab0 <= r && r <= 0x1aff ||
			0x1dc0 <= r && r <= 0x1dff || 0x20d0 <= r && r <= 0x20ff || 0xfe00 <= r && r <= 0xfe2f || r >= 0xe0100)
}

// unspaced reports whether a character is of a script without spaces between words. Hangul counts: its particles
// join the words.
func unspaced(r rune) bool {
	return r >= 0x0e00 && (r == '\u30fc' || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
		unicode.Bopomofo, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Yi,
		unicode.Javanese, unicode.Balinese, unicode.Tai_Le, unicode.New_Tai_Lue, unicode.Tai_Tham, unicode.Tai_Viet))
}

// AppendTokens appends what an index holds of a text, each token preceded by a space: words, and of scripts
// without spaces pairs of neighbours, in their order; then each such character once.
func AppendTokens(dst []byte, text string) []byte {
	all := split(text)
	var seen map[string]struct{}
	for i := range all {
		a := &all[i]
		if !a.single {
			dst = append(append(dst, ' '), a.text...)
			continue
		}
		if pair(all, i) {
			dst = append(append(append(dst, ' '), all[i-1].text...), a.text...)
		}
		if seen == nil {
			seen = make(map[string]struct{})
		}
		seen[a.text] = struct{}{}
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
