package notify

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// phrases are the words of one language. Programs go by the fields of a notification; these are for
// devices that show what they get.
type phrases struct {
	and       string // between two names
	andOthers string // %[1]s, %[2]s: names; %[3]d: how many more, 2 or more
	andOther  string // the same, one more
	message   string // one
	messages  string // %s: how many
	in        string // %[1]s: all of it so far; %[2]s: the group's title
	mention   string // %s: who
	call      string // %s: who
	ring      string
	convs     string // %[1]s: all of it so far; %[2]d: conversations
	test      string
}

// phrasesOf returns the words of a language tag; English for those that there are none of.
func phrasesOf(lang string) *phrases {
	primary, _, _ := strings.Cut(strings.ToLower(lang), "-")
	switch primary {
	case "de":
		return &phrases{"%s und %s", "%[1]s, %[2]s und %[3]d weitere", "%[1]s, %[2]s und 1 weitere Person", "1 Nachricht", "%s Nachrichten",
			"%[1]s in %[2]s", "%s hat dich erwähnt", "%s: Anruf", "Anruf …", "%[1]s in %[2]d Unterhaltungen", "Benachrichtigungen kommen an"}
	case "fr":
		return &phrases{"%s et %s", "%[1]s, %[2]s et %[3]d autres", "%[1]s, %[2]s et 1 autre personne", "1 message", "%s messages",
			"%[1]s dans %[2]s", "%s vous a mentionné", "%s : appel", "Appel entrant", "%[1]s dans %[2]d conversations", "Les notifications arrivent"}
	case "es":
		return &phrases{"%s y %s", "%[1]s, %[2]s y %[3]d más", "%[1]s, %[2]s y 1 más", "1 mensaje", "%s mensajes",
			"%[1]s en %[2]s", "%s te mencionó", "%s: llamada", "Llamada entrante", "%[1]s en %[2]d conversaciones", "Las notificaciones llegan"}
	}
	return &phrases{"%s and %s", "%[1]s, %[2]s and %[3]d others", "%[1]s, %[2]s and 1 other", "1 message", "%s messages",
		"%[1]s in %[2]s", "%s mentioned you", "%s: call", "Incoming call", "%[1]s in %[2]d conversations", "Notifications arrive"}
}

// who joins the senders' names: two of them at most are named. total is how many senders there are.
func (p *phrases) who(names []string, total int) string {
	switch {
	case total == 1:
		return names[0]
	case total == 2:
		return fmt.Sprintf(p.and, names[0], names[1])
	case total == 3:
		return fmt.Sprintf(p.andOther, names[0], names[1])
	}
	return fmt.Sprintf(p.andOthers, names[0], names[1], total-2)
}

func (p *phrases) count(n int, more bool) string {
	switch {
	case more:
		return fmt.Sprintf(p.messages, strconv.Itoa(n)+"+")
	case n == 1:
		return p.message
	}
	return fmt.Sprintf(p.messages, strconv.Itoa(n))
}

// previewMax is how many characters of a message a notification has at most, and nameMax of a name.
const (
	previewMax = 100
	nameMax    = 40
)

// oneLine makes a text fit to be shown in one line among others' words: white space becomes single spaces, and
// what controls a display or the direction of writing goes.
func oneLine(s string) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case unicode.IsControl(r) || isDirection(r) || r == unicode.ReplacementChar:
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
		if b.Len() > 16*previewMax { // enough for any cut; the text may have 64 KiB
			break
		}
	}
	return b.String()
}

// isDirection tells the characters that embed, override or isolate a direction (UAX #9 §2).
func isDirection(r rune) bool {
	return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == 0x200E || r == 0x200F || r == 0x061C
}

// cut shortens s to at most n characters (code points), the last of which is then an ellipsis. It does not part what
// is shown as one: a letter and its marks, a flag, an emoji of several.
func cut(s string, n int) string {
	rs := []rune(s)
	if len(rs) <= n {
		return s
	}
	end := n - 1
	for end > 0 && joins(rs, end) {
		end--
	}
	return strings.TrimRight(string(rs[:end]), " ") + "…"
}

// joins reports whether no boundary of a grapheme cluster is before rs[i]: the rules GB9, GB9a, GB11 and GB12 of
// UAX #29, as far as whole classes of characters tell.
func joins(rs []rune, i int) bool {
	const zwj = 0x200D
	r, before := rs[i], rs[i-1]
	switch {
	case r == zwj || before == zwj:
		return true
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Mc): // variation selectors too
		return true
	case r >= 0x1F3FB && r <= 0x1F3FF: // skin
		return true
	case r >= 0xE0020 && r <= 0xE007F: // tags of a region's flag
		return true
	case isRegional(r) && isRegional(before):
		run := 0
		for j := i - 1; j >= 0 && isRegional(rs[j]); j-- {
			run++
		}
		return run%2 == 1
	}
	return false
}

func isRegional(r rune) bool { return r >= 0x1F1E6 && r <= 0x1F1FF }
