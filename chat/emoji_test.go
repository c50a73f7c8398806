package chat_test

import (
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
)

// testdata/emoji.txt has emoji sequences that Unicode 17.0 recommends (RGI), fully-qualified, one a line.
func recommended(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/emoji.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// Every emoji that people have on their keyboards is one, and already in the form that is kept. Without its
// variation selectors it is the same one.
func TestEmojiRecommended(t *testing.T) {
	list := recommended(t)
	if len(list) < 3000 {
		t.Fatalf("only %d emoji", len(list))
	}
	for _, s := range list {
		if got, ok := chat.Emoji(s); !ok || got != s {
			t.Errorf("%s (%+q): %+q, %v", s, s, got, ok)
		}
		bare := strings.ReplaceAll(s, "\ufe0f", "")
		if got, ok := chat.Emoji(bare); !ok || got != s {
			t.Errorf("%s without selectors (%+q): %+q, %v", s, bare, got, ok)
		}
	}
}

func TestEmojiRefused(t *testing.T) {
	for _, s := range []string{
		"", "a", "yes", "5", "#", "*", ":)", "<b>", " ", "\n", "\x00", "\xff", "é", "人", "→", "€",
		"👍👍", "👍 ", " 👍", "👍a", "a👍", "👍\ufe0e", "❤\ufe0e", "👍\u200d", "\u200d👍", "👍\u200d\u200d👍",
		"🇩", "🇩🇪🇫", "🇩🇪🇫🇷", "5\ufe0f", "5\ufe0f\ufe0f\u20e3", "\u20e3", "a\u20e3", "\ufe0f", "👍\ufe0f\ufe0f", "👍🏽🏽",
		"🏴\U000E0067", "🏴\U000E007F", "\U000E0067\U000E007F", "🏴" + strings.Repeat("\U000E0067", 7) + "\U000E007F",
		"👍\u20e3", "👨\u200d🇩🇪", strings.Repeat("👩\u200d", 12) + "👩", "👍\u0301", "\u202e👍",
	} {
		if got, ok := chat.Emoji(s); ok || got != "" {
			t.Errorf("%+q is an emoji: %+q", s, got)
		}
	}
}

// What counts as an emoji is short, has nothing of a text in it, and is kept in a form that counts as the
// same emoji again.
func FuzzEmoji(f *testing.F) {
	for _, s := range []string{"👍", "👍🏽", "❤", "1️⃣", "🇩🇪", "👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "x", "👍\ufe0e", "©", "🏳️‍🌈"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := chat.Emoji(s)
		if !ok {
			if c != "" {
				t.Fatalf("refused with %+q", c)
			}
			return
		}
		if again, ok := chat.Emoji(c); !ok || again != c {
			t.Fatalf("%+q is kept as %+q, which is kept as %+q, %v", s, c, again, ok)
		}
		if len(c) > 64 || !utf8.ValidString(c) || strings.ContainsFunc(c, unicode.IsSpace) || strings.ContainsFunc(c, unicode.IsControl) {
			t.Fatalf("%+q is kept as %+q", s, c)
		}
		if strings.ContainsFunc(c, unicode.IsLetter) && !strings.ContainsRune(c, 'ℹ') && !strings.ContainsFunc(c, enclosed) {
			t.Fatalf("%+q has a letter", c)
		}
	})
}

// enclosed are the letters among pictographs.
func enclosed(r rune) bool { return r >= 0x1F100 && r <= 0x1F2FF || r == 'Ⓜ' }
