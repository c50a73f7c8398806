package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// typed makes an editor of a text with the cursor at |.
func typed(text string) *editor {
	e := &editor{lines: true}
	before, after, _ := strings.Cut(text, "|")
	e.set(before + after)
	e.at = len(before)
	return e
}

func (e *editor) String() string { return e.text[:e.at] + "|" + e.text[e.at:] }

func press(e *editor, keys ...string) {
	codes := map[string]tea.KeyPressMsg{
		"left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight}, "home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd},
		"bs": {Code: tea.KeyBackspace}, "del": {Code: tea.KeyDelete}, "ctrl+w": {Code: 'w', Mod: tea.ModCtrl}, "ctrl+u": {Code: 'u', Mod: tea.ModCtrl},
		"ctrl+k": {Code: 'k', Mod: tea.ModCtrl}, "ctrl+left": {Code: tea.KeyLeft, Mod: tea.ModCtrl}, "ctrl+right": {Code: tea.KeyRight, Mod: tea.ModCtrl},
		"alt+enter": {Code: tea.KeyEnter, Mod: tea.ModAlt},
	}
	for _, k := range keys {
		if msg, ok := codes[k]; ok {
			e.key(msg)
		} else {
			e.key(tea.KeyPressMsg{Text: k, Code: []rune(k)[0]})
		}
	}
}

func TestEditor(t *testing.T) {
	family := "👩\u200d👩\u200d👧"
	for _, c := range []struct {
		from string
		keys []string
		want string
	}{
		{"|", []string{"a", "b"}, "ab|"},
		{"ab|", []string{"left", "x"}, "ax|b"},
		{"a" + family + "|b", []string{"left"}, "a|" + family + "b"},
		{"a" + family + "|", []string{"bs"}, "a|"},
		{"e\u0301|", []string{"bs"}, "|"},
		{"a|b", []string{"1", "\ufe0f\u20e3"}, "a1\ufe0f\u20e3|b"}, // an emoji in two pieces
		{"|", []string{"\u20e3"}, "\u25cc\u20e3|"},
		{"x\n|", []string{"\u0301"}, "x\n\u25cc\u0301|"},
		{"🇨🇭🇨🇭|", []string{"bs"}, "🇨🇭|"},
		{"one two, three|", []string{"ctrl+w"}, "one two, |"},
		{"one two, |", []string{"ctrl+left"}, "one |two, "},
		{"|one two", []string{"ctrl+right"}, "one| two"},
		{"one\ntwo|", []string{"home", "x"}, "one\nx|two"},
		{"on|e\ntwo", []string{"end"}, "one|\ntwo"},
		{"one\ntw|o", []string{"ctrl+u"}, "one\n|o"},
		{"o|ne\ntwo", []string{"ctrl+k"}, "o|\ntwo"},
		{"one|\ntwo", []string{"del"}, "one|two"},
		{"a|b", []string{"alt+enter"}, "a\n|b"},
		{"|", []string{"bs", "left", "ctrl+w"}, "|"},
	} {
		e := typed(c.from)
		press(e, c.keys...)
		if e.String() != c.want {
			t.Errorf("%q, %v: %q, want %q", c.from, c.keys, e, c.want)
		}
	}
}

func TestEditorCleansWhatIsPasted(t *testing.T) {
	e := typed("|")
	e.insert("a\x1b[2J\r\nb\u202e")
	if e.text != "a␛[2J\nb" {
		t.Errorf("%q", e.text)
	}
	one := &editor{}
	one.insert("a\nb")
	if one.text != "a b" {
		t.Errorf("%q", one.text)
	}
	e.insert(strings.Repeat("你", textMost))
	if len(e.text) > textMost || !e.full || termtext.Block(e.text) != e.text {
		t.Errorf("%d bytes, full %v", len(e.text), e.full)
	}
}

func TestEditorLayout(t *testing.T) {
	for _, c := range []struct {
		text   string
		width  int
		want   []string
		cursor place
	}{
		{"|", 10, []string{""}, place{0, 0}},
		{"hello|", 10, []string{"hello"}, place{5, 0}},
		{"hello wor|ld", 8, []string{"hello ", "world"}, place{3, 1}},
		{"你好世|界", 5, []string{"你好", "世界"}, place{2, 1}},
		{"a\n|b", 10, []string{"a", "b"}, place{0, 1}},
		{"abcdefghij|", 6, []string{"abcde", "fghij"}, place{5, 1}},
		{"abcde|fghij", 6, []string{"abcde", "fghij"}, place{0, 1}},
		{"a\n|", 6, []string{"a", ""}, place{0, 1}},
	} {
		lines, at := typed(c.text).layout(ansi.WcWidth, c.width)
		if diff := cmp.Diff(c.want, lines); diff != "" || at != c.cursor {
			t.Errorf("%q at %d: cursor %v, want %v (-want +got):\n%s", c.text, c.width, at, c.cursor, diff)
		}
	}
}

// TestEditorHolds: whatever is typed, nothing is lost by laying it out, and the cursor stands between characters, on the screen.
func TestEditorHolds(t *testing.T) {
	keys := rapid.SampledFrom([]string{"a", " ", "你", "👩", "\u200d", "\u0301", "🇨", "alt+enter", "left", "right", "home", "end", "bs", "del", "ctrl+w", "ctrl+u", "ctrl+k", "ctrl+left", "ctrl+right"})
	rapid.Check(t, func(t *rapid.T) {
		e := &editor{lines: true}
		width := rapid.IntRange(4, 30).Draw(t, "width")
		for _, k := range rapid.SliceOf(keys).Draw(t, "keys") {
			press(e, k)
			if e.at < 0 || e.at > len(e.text) {
				t.Fatalf("the cursor is at %d of %d", e.at, len(e.text))
			}
			lines, at := e.layout(ansi.WcWidth, width)
			if got := strings.Join(lines, ""); got != strings.ReplaceAll(e.text, "\n", "") {
				t.Fatalf("%q is laid out as %q", e.text, lines)
			}
			if at.y >= len(lines) || at.x >= width && ansi.WcWidth.StringWidth(lines[at.y]) < width {
				t.Fatalf("the cursor of %q is at %v, %d columns, %q", e, at, width, lines)
			}
		}
	})
}
