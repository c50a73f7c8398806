package words

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// folder brings characters into the form that is compared: the compatibility form (UAX #15, NFKC) in lower case, without the
// marks that people leave out when they type in a hurry. It keeps its memory from one to the next.
type folder struct{ apart, plain, composed []byte }

// fold folds a character with its marks. The result is the folder's, until the next call.
func (f *folder) fold(cluster string) []byte {
	f.plain = f.plain[:0]
	if r, n := utf8.DecodeRuneInString(cluster); n == len(cluster) && whole(cluster, r) {
		f.add(r)
	} else {
		f.apart = norm.NFKD.AppendString(f.apart[:0], cluster)
		for rest := f.apart; len(rest) > 0; {
			r, n := utf8.DecodeRune(rest)
			rest = rest[n:]
			f.add(r)
		}
	}
	if norm.NFC.IsNormal(f.plain) {
		return f.plain
	}
	f.composed = norm.NFC.Append(f.composed[:0], f.plain...)
	return f.composed
}

// whole reports whether a character stays what it is when it is taken apart and composed again, which most do.
func whole(s string, r rune) bool {
	return syllable(r) || norm.NFKD.PropertiesString(s).Decomposition() == nil
}

// add adds a character that was taken apart.
func (f *folder) add(r rune) {
	if ornament(r) || r == stretcher || !lettered(r) {
		return
	}
	switch r = unicode.ToLower(unicode.ToUpper(r)); r {
	case 'ß':
		f.plain = append(f.plain, "ss"...)
	case 'ø':
		f.plain = append(f.plain, 'o')
	case 'ł':
		f.plain = append(f.plain, 'l')
	case 'đ':
		f.plain = append(f.plain, 'd')
	default:
		f.plain = utf8.AppendRune(f.plain, r)
	}
}

// lettered reports whether words are made of such characters.
func lettered(r rune) bool { return unicode.In(r, unicode.L, unicode.N, unicode.M) }

// stretcher makes Arabic words longer: the tatweel.
const stretcher = '\u0640'

// ignored are characters that neither belong to a word nor end it: the stretcher, joiners, soft hyphens, directions.
func ignored(r rune) bool { return r == stretcher || unicode.Is(unicode.Cf, r) }

// marksEnd returns where the marks end that follow the character r from byte i on.
func marksEnd(text string, i int, r rune) int {
	hangul := '\u1100' <= r && r <= '\u11ff' || syllable(r)
	for i < len(text) && text[i] >= utf8.RuneSelf {
		m, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case unicode.Is(unicode.M, m):
		case m == '\uff9e', m == '\uff9f': // the marks of voice behind half-width katakana
		case hangul && '\u1160' <= m && m <= '\u11ff': // a vowel or a final consonant goes on with the syllable
		default:
			return i
		}
		i += n
	}
	return i
}

// syllable reports whether a character is a syllable of Hangul. (The tables of decompositions have none of them: they are computed.)
func syllable(r rune) bool { return '가' <= r && r <= '힣' }

// ornament are marks that tell no words apart: accents, Hebrew points, Arabic vowels, variation selectors, enclosures.
// Vowels and tones of Indic and South-East Asian scripts do.
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

// unspaced reports whether a folded character is of a script that puts no spaces between words. Hangul counts: its
// particles join the words.
func unspaced(r rune) bool {
	return r >= 0x0e00 && (r == '\u30fc' || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
		unicode.Bopomofo, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Yi,
		unicode.Javanese, unicode.Balinese, unicode.Tai_Le, unicode.New_Tai_Lue, unicode.Tai_Tham, unicode.Tai_Viet))
}
