package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxAtom bounds the bytes of an atom that count; of longer words only so much is compared.
const maxAtom = 64

// atom is a word, or a character of a script without spaces, in the form that is compared.
type atom struct {
	text       string
	start, end int  // bytes of the original
	single     bool // a character: its neighbours are no other words
	glued      bool // nothing stands between it and the atom before
}

// atoms splits a text. What is neither letter, number nor mark separates.
func atoms(text string) []atom {
	s := splitter{text: text, out: make([]atom, 0, len(text)/6+1)}
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			s.ascii(i, c)
			i++
			continue
		}
		i = s.cluster(i)
	}
	s.flush()
	return s.out
}

type splitter struct {
	text  string
	out   []atom
	word  []byte // gathers a word
	from  int    // where it begins
	to    int    // where it ends
	last  int    // where the last atom ended
	glued bool   // the word began right there
}

func (s *splitter) ascii(i int, c byte) {
	switch {
	case 'A' <= c && c <= 'Z':
		c += 'a' - 'A'
	case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
	default:
		s.flush()
		s.last = -1
		return
	}
	s.begin(i)
	if len(s.word) < maxAtom {
		s.word = append(s.word, c)
	}
	s.to = i + 1
}

// cluster takes one character with its marks, from byte i on, and returns where it ends.
func (s *splitter) cluster(i int) (end int) {
	r, size := utf8.DecodeRuneInString(s.text[i:])
	if ignored(r) {
		if s.last == i {
			s.last = i + size
		}
		return i + size
	}
	if !unicode.In(r, unicode.L, unicode.N, unicode.M) {
		s.flush()
		s.last = -1
		return i + size
	}
	end = i + size
	single := unspaced(r)
	for end < len(s.text) {
		next, n := utf8.DecodeRuneInString(s.text[end:])
		if !unicode.Is(unicode.M, next) && next != halfVoiced && next != halfSemiVoiced && !(jamo(r) && jamo(next) && next >= '\u1160') {
			break
		}
		end += n
	}
	folded := fold(s.text[i:end])
	if !single {
		first, _ := utf8.DecodeRuneInString(folded)
		single = unspaced(first)
	}
	switch {
	case folded == "":
		if len(s.word) > 0 {
			s.to = end
		}
	case single:
		s.flush()
		s.singles(folded, i, end)
	default:
		s.begin(i)
		for _, r := range folded {
			if len(s.word)+utf8.RuneLen(r) > maxAtom {
				break
			}
			s.word = utf8.AppendRune(s.word, r)
		}
		s.to = end
	}
	return end
}

// singles adds the characters of a folded cluster: its marks stay with their letters.
func (s *splitter) singles(folded string, start, end int) {
	glued := s.last == start
	for len(folded) > 0 {
		_, n := utf8.DecodeRuneInString(folded)
		for n < len(folded) {
			r, size := utf8.DecodeRuneInString(folded[n:])
			if !unicode.Is(unicode.M, r) {
				break
			}
			n += size
		}
		one := folded[:n]
		for len(one) > maxAtom { // a heap of marks
			_, size := utf8.DecodeLastRuneInString(one)
			one = one[:len(one)-size]
		}
		s.out = append(s.out, atom{text: strings.Clone(one), start: start, end: end, single: true, glued: glued})
		folded, glued = folded[n:], true
	}
	s.last = end
}

func (s *splitter) begin(i int) {
	if len(s.word) == 0 {
		s.from, s.glued = i, s.last == i
	}
}

func (s *splitter) flush() {
	if len(s.word) == 0 {
		return
	}
	s.out = append(s.out, atom{text: string(s.word), start: s.from, end: s.to, glued: s.glued})
	s.word, s.last = s.word[:0], s.to
}

// Marks of voice that stand behind half-width katakana as characters of their own.
const (
	halfVoiced     = '\uff9e'
	halfSemiVoiced = '\uff9f'
)

// jamo are the parts that a Hangul syllable is composed of; from U+1160 on those that go on with one.
func jamo(r rune) bool { return '\u1100' <= r && r <= '\u11ff' }

// ignored are characters that neither belong to a word nor end it: joiners, soft hyphens, directions.
func ignored(r rune) bool {
	return unicode.Is(unicode.Cf, r) || r == '\u0640' // the Arabic stretcher
}

// unspaced reports whether a character is of a script that puts no spaces between words; Hangul
// counts among them, since its particles join the words.
func unspaced(r rune) bool {
	if r < 0x0e00 {
		return false
	}
	return r == '\u30fc' || r == '\uff70' || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo,
		unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Yi, unicode.Javanese,
		unicode.Balinese, unicode.Tai_Le, unicode.New_Tai_Lue, unicode.Tai_Tham, unicode.Tai_Viet)
}

// fold returns a character with its marks in the form that is compared: compatibility forms
// (UAX #15, NFKC), lower case, without the marks that people leave out when they type in a hurry.
func fold(cluster string) string {
	if !utf8.ValidString(cluster) {
		return ""
	}
	var plain []rune
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
		default:
			plain = append(plain, r)
		}
	}
	return norm.NFC.String(string(plain))
}

// ornament are marks that don't tell words apart: accents, Hebrew points, Arabic vowels, variation
// selectors, enclosures. Vowels and tones of Indic and South-East Asian scripts are no ornament.
func ornament(r rune) bool {
	switch {
	case r < 0x300:
		return false
	case r <= 0x36f, 0x0591 <= r && r <= 0x05c7, 0x0610 <= r && r <= 0x061a, 0x064b <= r && r <= 0x065f, r == 0x0670,
		0x06d6 <= r && r <= 0x06ed, 0x1ab0 <= r && r <= 0x1aff, 0x1dc0 <= r && r <= 0x1dff, 0x20d0 <= r && r <= 0x20ff,
		0xfe00 <= r && r <= 0xfe0f, 0xfe20 <= r && r <= 0xfe2f, 0xe0100 <= r && r <= 0xe01ef:
		return true
	}
	return false
}

// appendTokens appends what the index holds of a text, separated by spaces: words and pairs of characters in their
// order, then each character once.
func appendTokens(dst []byte, all []atom) []byte {
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
		if i > 0 && pair(all, i) {
			dst = append(append(append(dst, ' '), all[i-1].text...), a.text...)
		}
	}
	for i := range all {
		if _, ok := seen[all[i].text]; ok && all[i].single {
			delete(seen, all[i].text)
			dst = append(append(dst, ' '), all[i].text...)
		}
	}
	return dst
}

// pair reports whether atom i and the one before it are a pair of characters.
func pair(all []atom, i int) bool { return all[i].single && all[i].glued && all[i-1].single }

// Tokens that no text holds: characters for private use. base keeps conversations and senders apart.
const (
	baseSender = 0xf0000
	baseConv   = 0x100000
	baseSize   = 0xff00
)

// appendNumber appends a number as such a token. Two characters at most: the index of prefixes, which begins at
// three, has none of them.
func appendNumber(dst []byte, base rune, n int64) []byte {
	if n >= baseSize {
		dst = utf8.AppendRune(dst, base+rune(n/baseSize%baseSize))
	}
	return utf8.AppendRune(dst, base+rune(n%baseSize))
}
