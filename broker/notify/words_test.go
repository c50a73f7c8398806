package notify

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCut(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"short", 10, "short"},
		{"exactly10!", 10, "exactly10!"},
		{"eleven chars", 10, "eleven ch…"},
		{"at a word end", 6, "at a…"},
		{long, 100, long[:99] + "…"},
		{"äöüäöü", 4, "äöü…"},
		{"abe\u0301\u0302xyz", 5, "ab…"},                                          // e with two marks is one
		{"ab\U0001F469\u200D\U0001F680cd", 5, "ab…"},                              // an astronaut is one
		{"a\U0001F44D\U0001F3FDbcd", 3, "a…"},                                     // a thumb and its colour
		{"\U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7x", 4, "\U0001F1E9\U0001F1EA…"}, // of two flags the first
		{"ab\u2764\uFE0Fcd", 4, "ab…"},
	} {
		if got := cut(c.text, c.n); got != c.want {
			t.Errorf("%q to %d: %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

func FuzzPreview(f *testing.F) {
	f.Add("hello\nworld")
	f.Add("e\u0301\u202Eabc\x00")
	f.Add("\xFF\xFE" + strings.Repeat("\U0001F1E9", 300))
	f.Fuzz(func(t *testing.T, s string) {
		got := cut(oneLine(s), previewMax)
		if n := utf8.RuneCountInString(got); n > previewMax || !utf8.ValidString(got) {
			t.Errorf("%q: %d characters", got, n)
		}
		if strings.ContainsAny(got, "\n\r\t\x00\u202E") {
			t.Errorf("%q", got)
		}
	})
}

func TestPhrases(t *testing.T) {
	for _, lang := range []string{"", "en", "de", "fr", "es", "tlh"} {
		p := phrasesOf(lang)
		for n := 1; n <= 5; n++ {
			who := p.who([]string{"Ana", "Bo"}[:min(2, n)], n)
			if strings.Contains(who, "%") || !strings.Contains(who, "Ana") || n > 1 && !strings.Contains(who, "Bo") {
				t.Errorf("%s, %d senders: %s", lang, n, who)
			}
			if s := p.count(n, n == 5); strings.Contains(s, "%") || s == "" {
				t.Errorf("%s: %s", lang, s)
			}
		}
	}
	if got := phrasesOf("en").who([]string{"Ana", "Bo"}, 4); got != "Ana, Bo and 2 others" {
		t.Error(got)
	}
}

func TestBackOff(t *testing.T) {
	for fails := range 20 {
		least := min(backOffMax, backOffMin<<min(fails, 20))
		if d := backOff(fails, 0); d < least || d > least+least/2 {
			t.Errorf("after %d failures %v", fails, d)
		}
	}
	if d := backOff(0, 3*backOffMax); d != 3*backOffMax {
		t.Errorf("%v, and was asked for %v", d, 3*backOffMax)
	}
	if d := backOff(0, 1000*backOffMax); d != 24*backOffMax {
		t.Errorf("%v", d)
	}
}
