package termtext

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestLine(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "hello", "hello"},
		{"clear screen", "\x1b[2Jx", "␛[2Jx"},
		{"title", "\x1b]0;owned\x07", "␛]0;owned␇"},
		{"8-bit CSI", "\u009b31m", "\ufffd31m"},
		{"raw 8-bit CSI", "\x9b31m", "\ufffd31m"},
		{"newlines", "a\r\nb\nc\rd\u2028e", "a b c d e"},
		{"tab", "a\tb", "a    b"},
		{"delete", "a\x7fb", "a␡b"},
		{"override", "user\u202etxt.exe\u202c", "usertxt.exe"},
		{"isolates", "\u2066a\u2069", "a"},
		{"zero width", "a\u200bd\u2060min\ufeff", "admin"},
		{"tags", "hi\U000E0068\U000E0069", "hi"},
		{"flag of Wales", "🏴\U000E0067\U000E0062\U000E0077\U000E006C\U000E0073\U000E007F!", "🏴\U000E0067\U000E0062\U000E0077\U000E006C\U000E0073\U000E007F!"},
		{"family", "👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"},
		{"joiner alone", "\u200da", "a"},
		{"accents", "e\u0301", "e\u0301"},
		{"stacked marks", "Z" + strings.Repeat("\u0301", 50), "Z" + strings.Repeat("\u0301", 6)},
		{"mark first", "\u0301a", "◌\u0301a"},
		{"hebrew", "שלום", "שלום"},
		{"persian", "می\u200cخواهم", "می\u200cخواهم"},
		{"latin with a non-joiner", "ad\u200cmin", "admin"},
		{"chinese", "你好", "你好"},
		{"filler", "\u3164", ""},
		{"invalid", "a\xffb", "a\ufffdb"},
	} {
		if got := Line(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := Block("a\r\nb\u2029\u0301c"); got != "a\nb\n◌\u0301c" {
		t.Errorf("block: %q", got)
	}
}

// harmless fails if a terminal would act upon s, or show it elsewhere than where it stands.
func harmless(t interface {
	Helper()
	Errorf(string, ...any)
}, s string, block bool) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%q is not UTF-8", s)
	}
	marks := 0
	for _, r := range s {
		switch {
		case r == '\n' && block:
		case unicode.IsControl(r), r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029, r == 0x200B, r == 0xFEFF:
			t.Errorf("%q has %U", s, r)
		}
		if marks++; !unicode.Is(unicode.M, r) {
			marks = 0
		}
		if marks > marksMost {
			t.Errorf("%q has more than %d marks on a character", s, marksMost)
		}
	}
	if ansi.Strip(s) != s {
		t.Errorf("%q has escape sequences", s)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"\x1b[2J", "\x1bP1$r\x1b\\", "\u009d0;x\u009c", "e\u0301\u200d\u0301", "🏴\U000E0067\u200d\U000E0067", "\r\r\n\v\f\u0085", "\xe2\x80", "\u200c\u0627\u200c\u200c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line, block := Line(s), Block(s)
		harmless(t, line, false)
		harmless(t, block, true)
		if again := Line(line); again != line {
			t.Errorf("Line of %q is %q", line, again)
		}
		if again := Block(block); again != block {
			t.Errorf("Block of %q is %q", block, again)
		}
		for _, m := range []Method{ansi.WcWidth, ansi.GraphemeWidth} {
			for _, w := range []int{2, 7, 40} {
				checkWrap(t, m, block, w)
				if got := Width(m, Cut(m, line, w)); got > w {
					t.Errorf("cut to %d, %q takes %d", w, line, got)
				}
			}
		}
	})
}

// checkWrap checks what holds of every wrapped text: no line is too long unless one character is, and nothing but spaces is lost.
func checkWrap(t interface {
	Helper()
	Errorf(string, ...any)
}, m Method, text string, width int) {
	t.Helper()
	lines := Wrap(m, text, width)
	bare := func(s string) string { return strings.NewReplacer(" ", "", "\n", "").Replace(s) }
	if got := bare(strings.Join(lines, "")); got != bare(text) {
		t.Errorf("wrapped at %d, %q became %q", width, text, lines)
	}
	for _, l := range lines {
		n := 0
		clusters(m, l, func(string, int) bool { n++; return true })
		if got := Width(m, l); got > width && n > 1 {
			t.Errorf("wrapped at %d, a line of %q takes %d: %q", width, text, got, l)
		}
		if strings.Contains(l, "\n") {
			t.Errorf("a line has a line break: %q", l)
		}
	}
}

func TestWrapKeepsAll(t *testing.T) {
	words := rapid.SampledFrom([]string{" ", "  ", "a", "word", "longer", "你好", "世", "👩\u200d👧", "e\u0301", "\n", "https://example.org/a/b", "שלום", "❤️"})
	rapid.Check(t, func(t *rapid.T) {
		text := Block(strings.Join(rapid.SliceOf(words).Draw(t, "words"), ""))
		checkWrap(t, rapid.SampledFrom([]Method{ansi.WcWidth, ansi.GraphemeWidth}).Draw(t, "method"), text, rapid.IntRange(2, 30).Draw(t, "width"))
	})
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two three", 8, []string{"one two", "three"}},
		{"longerthanaline x", 6, []string{"longer", "thanal", "ine x"}},
		{"a longerthanaline", 6, []string{"a", "longer", "thanal", "ine"}},
		{"你好世界", 5, []string{"你好", "世界"}},
		{"ab你好", 5, []string{"ab你", "好"}},
		{"  indented text here", 12, []string{"  indented", "text here"}},
		{"a\n\nb", 5, []string{"a", "", "b"}},
		{"trailing      ", 9, []string{"trailing"}},
	} {
		if diff := cmp.Diff(c.want, Wrap(ansi.WcWidth, c.in, c.width)); diff != "" {
			t.Errorf("%q at %d (-want +got):\n%s", c.in, c.width, diff)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"hello", 5, "hello"}, {"hello", 4, "hel…"}, {"hello", 1, "…"}, {"hello", 0, ""}, {"你好世界", 6, "你好…"}, {"你好", 3, "你…"},
	} {
		if got := Cut(ansi.WcWidth, c.in, c.width); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
	family := "👩\u200d👩\u200d👧"
	if wc, g := Width(ansi.WcWidth, family), Width(ansi.GraphemeWidth, family); wc <= g || g != 2 {
		t.Errorf("a family takes %d columns by characters, %d by what people see", wc, g)
	}
}

func TestEmoji(t *testing.T) {
	for in, want := range map[string]string{
		":+1:": "👍", "+1": "👍", "thumbsup": "👍", ":HEART:": "❤️", "👍": "👍", "🇨🇭": "🇨🇭", "👩\u200d👩\u200d👧": "👩\u200d👩\u200d👧", " :joy: ": "😂",
		"1\ufe0f\u20e3": "1\ufe0f\u20e3", "#\u20e3": "#\ufe0f\u20e3", "*\ufe0f\u20e3": "*\ufe0f\u20e3", "❤": "❤️", // keycaps; the form that servers keep
		"1": "", "#": "", "12\ufe0f\u20e3": "", "é": "", "你": "",
		"hello": "", "": "", ":": "", "👍👍": "", "\x1b[2J": "", "a": "", "\u202e": "", ":nosuch:": "",
	} {
		got, ok := Emoji(in)
		if ok != (want != "") || got != want {
			t.Errorf("Emoji(%q) = %q, %v, want %q", in, got, ok, want)
		}
	}
	for _, sc := range Shortcuts() {
		if got, ok := Emoji(":" + sc.Name + ":"); !ok || got != sc.Emoji || Line(got) != got {
			t.Errorf("%s: %q, %v", sc.Name, got, ok)
		}
	}
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"yes :+1: and :tada::tada:": "yes 👍 and 🎉🎉", "at 10:30: go": "at 10:30: go", "`:+1:`": "`:+1:`",
		"http://x:80/:heart:": "http://x:80/:heart:", ":nosuch: :joy:": ":nosuch: 😂", "a : b : c": "a : b : c", ":wave:\n:wave:": "👋\n👋",
		"(:fire:)": "(🔥)", "::": "::", "": "",
	} {
		if got := Expand(in); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestComplete(t *testing.T) {
	if got := Complete("hea", 3); len(got) != 2 || got[0].Name != "heart" || got[1].Name != "broken_heart" {
		t.Errorf("hea: %v", got)
	}
	if got := Complete("", 6); len(got) != 6 || got[0].Emoji != "👍" {
		t.Errorf("nothing: %v", got)
	}
	if got := Complete("thumb", 6); len(got) != 2 || got[0].Emoji != "👎" && got[1].Emoji != "👎" {
		t.Errorf("thumb: %v", got)
	}
	if got := Complete("zzzzz", 6); len(got) != 0 {
		t.Errorf("zzzzz: %v", got)
	}
}
