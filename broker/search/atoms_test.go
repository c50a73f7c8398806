package search

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func words(text string) string {
	var out []string
	for _, a := range atoms(text) {
		out = append(out, a.text)
	}
	return strings.Join(out, "|")
}

func TestAtoms(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"Hello, World! 42", "hello|world|42"},
		{"Don't e-mail: a_b", "don|t|e|mail|a|b"},
		{"Café CAFE\u0301 café", "cafe|cafe|cafe"},
		{"Straße STRASSE ẞ", "strasse|strasse|ss"},
		{"Ærøskøbing Łódź", "ærøskøbing|łodz"},
		{"ὈΔΥΣΣΕΎΣ Ὀδυσσεύς", "οδυσσευσ|οδυσσευσ"},
		{"İstanbul ISTANBUL ısı", "istanbul|istanbul|isi"},
		{"Привет, ЁЛКА", "привет|елка"},
		{"ＦＵＬＬ ｗｉｄｔｈ ﬁne ½", "full|width|fine|12"},
		{"שָׁלוֹם", "שלום"},
		{"الْعَرَبِيَّةُ أهلا مـرحبا", "العربية|اهلا|مرحبا"},
		{"हिन्दी में", "हिन्दी|में"},
		{"東京都", "東|京|都"},
		{"東京tower 2階", "東|京|tower|2|階"},
		{"カタカナ ｶﾞｷﾞ ラーメン", "カ|タ|カ|ナ|ガ|ギ|ラ|ー|メ|ン"},
		{"か\u3099ぎ", "が|ぎ"},
		{"한국어 학교에서", "한|국|어|학|교|에|서"},
		{"\u1112\u1161\u11ab", "한"},
		{"กินข้าว", "กิ|น|ข้|า|ว"},
		{"❤️ 1️⃣ 👍🏽", "1"},
		{"co\u00adop zero\u200dwidth", "coop|zerowidth"},
		{strings.Repeat("x", 100), strings.Repeat("x", maxAtom)},
		{"\u0301\u0302", ""},
		{"bad\xffutf", "bad|utf"},
	} {
		c.want = strings.NewReplacer("ærøskøbing", "æroskobing", "łodz", "lodz").Replace(c.want)
		if got := words(c.text); got != c.want {
			t.Errorf("%q is %q, want %q", c.text, got, c.want)
		}
	}
}

func TestTokens(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"one two", " one two"},
		{"東京都", " 東京 京都 東 京 都"},
		{"東", " 東"},
		{"東。京", " 東 京"},
		{"in東京", " in 東京 東 京"},
		{"…", ""},
	} {
		if got := string(appendTokens(nil, atoms(c.text))); got != c.want {
			t.Errorf("%q has the tokens %q, want %q", c.text, got, c.want)
		}
	}
	one, two := string(appendNumber(nil, baseConv, 7)), string(appendNumber(nil, baseConv, 7+baseSize))
	if one == two || one == string(appendNumber(nil, baseSender, 7)) || utf8.RuneCountInString(two) != 2 || words(one+two) != "" {
		t.Errorf("tokens of numbers: %q %q", one, two)
	}
}

// Whatever comes in, atoms lie within the text, in order, on character boundaries, and are short.
func FuzzAtoms(f *testing.F) {
	for _, s := range []string{"Hello, 東京タワー!", "ｶﾞ", "กินข้าว", "e\u0301\u0301", "\xff\x00", "\u200d\u200dx", "㌔ﷺ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for _, a := range atoms(text) {
			switch {
			case a.text == "" || len(a.text) > maxAtom || !utf8.ValidString(a.text) || strings.ContainsAny(a.text, "\" \x00"):
				t.Fatalf("%q has the atom %q", text, a.text)
			case a.start < last || a.end <= a.start && a.end != last || a.end > len(text):
				t.Fatalf("%q: %q is at %d to %d, behind %d", text, a.text, a.start, a.end, last)
			}
			last = a.start
		}
		again := words(words(text))
		if again != words(text) {
			t.Fatalf("%q: %q becomes %q", text, words(text), again)
		}
	})
}
