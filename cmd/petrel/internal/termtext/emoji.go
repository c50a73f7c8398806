package termtext

import (
	"maps"
	"slices"
	"strings"

	"github.com/petrelchat/petrel/chat"
)

// Shortcut is an emoji with the name that it may be typed by.
type Shortcut struct{ Name, Emoji string }

// Shortcuts are the emoji that have names, the most used ones first.
func Shortcuts() []Shortcut {
	return []Shortcut{
		{"+1", "👍"}, {"heart", "❤️"}, {"joy", "😂"}, {"open_mouth", "😮"}, {"cry", "😢"}, {"pray", "🙏"},
		{"tada", "🎉"}, {"fire", "🔥"}, {"eyes", "👀"}, {"-1", "👎"}, {"white_check_mark", "✅"}, {"x", "❌"},
		{"smile", "😄"}, {"grin", "😁"}, {"wink", "😉"}, {"blush", "😊"}, {"thinking", "🤔"}, {"sweat_smile", "😅"},
		{"rofl", "🤣"}, {"sob", "😭"}, {"angry", "😠"}, {"scream", "😱"}, {"sunglasses", "😎"}, {"shrug", "🤷"},
		{"clap", "👏"}, {"wave", "👋"}, {"ok_hand", "👌"}, {"muscle", "💪"}, {"raised_hands", "🙌"}, {"handshake", "🤝"},
		{"100", "💯"}, {"rocket", "🚀"}, {"star", "⭐"}, {"sparkles", "✨"}, {"bulb", "💡"}, {"warning", "⚠️"},
		{"question", "❓"}, {"exclamation", "❗"}, {"zzz", "💤"}, {"skull", "💀"}, {"poop", "💩"}, {"robot", "🤖"},
		{"coffee", "☕"}, {"beer", "🍺"}, {"cake", "🎂"}, {"pizza", "🍕"}, {"gift", "🎁"}, {"sun", "☀️"},
		{"rain", "🌧️"}, {"snowflake", "❄️"}, {"mountain", "⛰️"}, {"bird", "🐦"}, {"cat", "🐱"}, {"dog", "🐶"},
		{"train", "🚆"}, {"phone", "📞"}, {"lock", "🔒"}, {"pin", "📌"}, {"hourglass", "⏳"}, {"broken_heart", "💔"},
	}
}

// aliases are other names for the same.
func aliases() map[string]string {
	return map[string]string{
		"thumbsup": "+1", "thumbs_up": "+1", "yes": "+1", "thumbsdown": "-1", "thumbs_down": "-1", "no": "-1",
		"love": "heart", "lol": "joy", "laughing": "joy", "wow": "open_mouth", "sad": "cry", "thanks": "pray",
		"party": "tada", "check": "white_check_mark", "done": "white_check_mark", "cross": "x", "hi": "wave", "think": "thinking",
	}
}

// Emoji returns the emoji that somebody means: by a name of [Shortcuts], with colons around it or not, or the emoji
// itself, as servers keep it. ok is false for anything else: for words, that is, and for what is not exactly one emoji.
func Emoji(s string) (emoji string, ok bool) {
	s = strings.TrimSpace(s)
	name := strings.ToLower(strings.Trim(s, ":"))
	if real, found := aliases()[name]; found {
		name = real
	}
	all := Shortcuts()
	if i := slices.IndexFunc(all, func(sc Shortcut) bool { return sc.Name == name || sc.Emoji == s }); i >= 0 {
		return all[i].Emoji, true
	}
	if Line(s) != s {
		return "", false
	}
	return chat.Emoji(s)
}

// Complete returns what a name that was begun may become, at most n, the most used ones first. An empty one may become
// any.
func Complete(begun string, n int) []Shortcut {
	begun = strings.ToLower(strings.Trim(begun, ": "))
	var found []Shortcut
	for _, rest := range []bool{false, true} { // beginnings before what only holds it
		for _, sc := range Shortcuts() {
			if at := strings.Index(sc.Name, begun); at == 0 && !rest || at > 0 && rest {
				found = append(found, sc)
			}
		}
	}
	others := aliases()
	for _, alias := range slices.Sorted(maps.Keys(others)) {
		name := others[alias]
		if begun != "" && strings.HasPrefix(alias, begun) && !slices.ContainsFunc(found, func(sc Shortcut) bool { return sc.Name == name }) {
			e, _ := Emoji(name)
			found = append(found, Shortcut{name, e})
		}
	}
	return found[:min(n, len(found))]
}

// Expand replaces each :name: of [Shortcuts] in a text by its emoji. What stands in `code` and in addresses
// (http://host:80/a:b:) stays.
func Expand(s string) string {
	if strings.Count(s, ":") < 2 {
		return s
	}
	var b strings.Builder
	code := false
	for len(s) > 0 {
		i := strings.IndexAny(s, ":`")
		if i < 0 {
			break
		}
		if s[i] == '`' {
			code = !code
			b.WriteString(s[:i+1])
			s = s[i+1:]
			continue
		}
		j := strings.IndexByte(s[i+1:], ':')
		if j < 0 {
			break
		}
		begins := i == 0 || s[i-1] == ' ' || s[i-1] == '\n' || s[i-1] == '('
		if name := s[i+1 : i+1+j]; begins && !code && name != "" {
			if e, ok := Emoji(":" + name + ":"); ok {
				b.WriteString(s[:i])
				b.WriteString(e)
				s = s[i+j+2:]
				continue
			}
		}
		b.WriteString(s[:i+1])
		s = s[i+1:]
	}
	b.WriteString(s)
	return b.String()
}
