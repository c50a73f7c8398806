package words

import (
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"unicode/utf8"
)

func wordsOf(text string) string {
	var out []string
	for _, a := range split(text) {
		out = append(out, a.text)
	}
	return strings.Join(out, "|")
}

// corpus is texts and what is compared of them.
var corpus = []struct{ text, want string }{
	{"", ""},
	{"Hello, World! 42", "hello|world|42"},
	{"Don't e-mail: a_b", "don|t|e|mail|a|b"},
	{"Café CAFE\u0301 café", "cafe|cafe|cafe"},
	{"Straße STRASSE ẞ", "strasse|strasse|ss"},
	{"Ærøskøbing Łódź Đorđe", "æroskobing|lodz|dorde"},
	{"ὈΔΥΣΣΕΎΣ Ὀδυσσεύς", "οδυσσευσ|οδυσσευσ"},
	{"İstanbul ISTANBUL ısı", "istanbul|istanbul|isi"},
	{"Привет, ЁЛКА", "привет|елка"},
	{"ＦＵＬＬ ｗｉｄｔｈ ﬁne ½ x²", "full|width|fine|12|x2"},
	{"𝓟𝓮𝓽𝓻𝓮𝓵 Ⓟⓔⓣⓡⓔⓛ", "petrel|petrel"},
	{"שָׁלוֹם", "שלום"},
	{"الْعَرَبِيَّةُ أهلا مـرحبا", "العربية|اهلا|مرحبا"},
	{"لهۥ", "له"}, // a small waw, which only the Quran has
	{"हिन्दी में", "हिन्दी|में"},
	{"ক\u09c7\u200d\u09be", "ক\u09cb"}, // one vowel of two signs, torn apart
	{"東京都", "東|京|都"},
	{"東京tower 2階", "東|京|tower|2|階"},
	{"カタカナ ｶﾞｷﾞ ラーメン ﾗｰﾒﾝ", "カ|タ|カ|ナ|ガ|ギ|ラ|ー|メ|ン|ラ|ー|メ|ン"},
	{"か\u3099ぎ あ゛", "が|ぎ|あ"},
	{"㍿ペトレル ㌔ ㋀ ㈱", "株|式|会|社|ペ|ト|レ|ル|キ|ロ|1|月|株"},
	{"Petrel™ №5 20℃ 3㎏", "petrel|tm|no|5|20|c|3|kg"},
	{"한국어 학교에서", "한|국|어|학|교|에|서"},
	{"\u1112\u1161\u11ab\u1100\u116e\u11a8 하\u11ab", "한|국|한"}, // as some systems write: in parts
	{"กินข้าว กิน\u200bข้าว", "กิ|น|ข้|า|ว|กิ|น|ข้|า|ว"},
	{"❤️ 1️⃣ 👍🏽", "1"},
	{"co\u00adop zero\u200dwidth", "coop|zerowidth"},
	{strings.Repeat("x", 100), strings.Repeat("x", maxAtom)},
	{strings.Repeat("я", 32) + "я1", strings.Repeat("я", 32)},
	{strings.Repeat("a", 63) + "яb", strings.Repeat("a", 63)},
	{"東" + strings.Repeat("\u302a", 100), "東" + strings.Repeat("\u302a", 20)},
	{"\u0301\u0302", ""},
	{"bad\xffutf", "bad|utf"},
	{"private \ue000\U000f0000 use", "private|use"},
}

func TestSplit(t *testing.T) {
	for _, c := range corpus {
		if got := wordsOf(c.text); got != c.want {
			t.Errorf("%q is %q, want %q", c.text, got, c.want)
		}
	}
}

func TestTokens(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"one two one", " one two one"},
		{"東京都", " 東京 京都 東 京 都"},
		{"東", " 東"},
		{"東。京", " 東 京"},
		{"東\u200d\u0301京", " 東京 東 京"},
		{"in東京", " in 東京 東 京"},
		{"東㈱京", " 東株 株京 東 株 京"},
		{"東京東京", " 東京 京東 東京 東 京"},
		{"…", ""},
	} {
		if got := string(AppendTokens(nil, c.text)); got != c.want {
			t.Errorf("%q has the tokens %q, want %q", c.text, got, c.want)
		}
	}
}

// TestVersion: an index that was filled with other tokens is made anew, if it is told that they are others.
func TestVersion(t *testing.T) {
	sum := fnv.New64a()
	for _, c := range corpus {
		_, _ = sum.Write(AppendTokens(nil, c.text)) // never fails
	}
	if got, want := fmt.Sprintf("%d: %016x", Version, sum.Sum64()), "2: 31cc47c9495130f3"; got != want {
		t.Errorf("the tokens are %s, not %s: raise Version if they changed, and put them here", got, want)
	}
}

// Whatever comes in, atoms lie within the text, in order and on the boundaries of characters; they are short, and split into themselves. And no
// token is one that an index could take for something else.
func FuzzSplit(f *testing.F) {
	for _, c := range corpus {
		f.Add(c.text)
	}
	for _, s := range []string{"e\u0301\u0301", "\xff\x00", "\u200d\u200dx", "ﷺ", "e\u0e31", "ﹹ", "\u1100\u1161\u1161", "ㅋㅋㅋ", "aﾞ゛"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		start, end := 0, 0
		for _, a := range split(text) {
			switch {
			case a.text == "" || len(a.text) > maxAtom || !utf8.ValidString(a.text):
				t.Fatalf("%q has the atom %q", text, a.text)
			case a.start < start || a.end <= a.start || a.end > len(text) || a.start < end && (a.start != start || a.end != end):
				t.Fatalf("%q: %q is at %d to %d, behind %d to %d", text, a.text, a.start, a.end, start, end)
			case utf8.ValidString(text) && !utf8.ValidString(text[a.start:a.end]):
				t.Fatalf("%q: %q is part of a character", text, text[a.start:a.end])
			}
			if again := split(a.text); len(again) != 1 || again[0].text != a.text || again[0].single != a.single {
				t.Fatalf("%q: %+q becomes %+v", text, a.text, again)
			}
			start, end = a.start, a.end
		}
		if once := wordsOf(text); wordsOf(once) != once {
			t.Fatalf("%q: %+q becomes %+q", text, once, wordsOf(once))
		}
		for _, r := range string(AppendTokens(nil, text)) {
			if r != ' ' && (!lettered(r) || 'A' <= r && r <= 'Z') {
				t.Fatalf("%q has a token with %q", text, r)
			}
		}
	})
}

func BenchmarkAppendTokens(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"latin", "the build is green again, please pull before you go on"}, {"emoji", "see you at eight then … 👍🏽 ❤️ — really"},
		{"russian", "Привет, увидимся завтра в восемь у входа"}, {"japanese", "明日は東京で会いましょう"},
		{"korean", "한국어로 이야기합시다"}, {"hindi", "मैं कल सुबह आऊँगा"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for range b.N {
				buf = AppendTokens(buf[:0], c.text)
			}
		})
	}
}
