package chat

import (
	"strings"
	"unicode/utf8"
)

// Emoji returns the form in which petrel keeps an emoji, and whether s is one: exactly one emoji of
// Unicode, by the grammar of UTS #51 (Unicode Emoji), §1.4.9 (EBNF): a pictograph with an optional skin
// tone, several joined by zero width joiners, a flag of two regional indicators, a keycap, a flag of a region
// by tags. It goes by structure and not by a list, so that a sequence which the next Unicode recommends is
// fine today: code points that Unicode reserves for pictographs count.
//
// Some emoji may be written with or without the variation selector that asks for their colourful form. They
// are the same to people, so one form is kept: the fully-qualified one (UTS #51, ED-18a). A sequence
// that asks for the form of text (U+FE0E) is no emoji.
func Emoji(s string) (canonical string, ok bool) {
	if len(s) == 0 || len(s) > maxEmojiBytes || !utf8.ValidString(s) {
		return "", false
	}
	p := emojiParser{rest: s}
	p.out.Grow(len(s) + 8)
	ok = p.flag() || p.keycap() || p.sequence()
	if !ok || p.rest != "" || p.out.Len() > maxEmojiBytes {
		return "", false
	}
	return p.out.String(), true
}

// What emoji are made of besides pictographs.
const (
	zwj         = 0x200D  // zero width joiner
	keycapMark  = 0x20E3  // combining enclosing keycap
	emojiStyle  = 0xFE0F  // variation selector 16
	regionA     = 0x1F1E6 // regional indicators A to Z
	regionZ     = 0x1F1FF
	toneLight   = 0x1F3FB // skin tones, light to dark
	toneDark    = 0x1F3FF
	tagZero     = 0xE0030 // tags: the digits and lower-case letters of ASCII
	tagNine     = 0xE0039
	tagA        = 0xE0061
	tagZ        = 0xE007A
	tagEnd      = 0xE007F
	tagsMax     = 6 // of a region: two letters of its country and up to three more (UTS #51, Annex C), one to spare
	elementsMax = 10
)

// emojiParser takes an emoji apart and puts its canonical form together. A method that returns false has
// taken nothing, or what it took is no emoji.
type emojiParser struct {
	rest string
	out  strings.Builder
}

func (p *emojiParser) peek() rune {
	r, n := utf8.DecodeRuneInString(p.rest)
	if n == 0 {
		return -1
	}
	return r
}

// take takes the next rune if it is between lo and hi.
func (p *emojiParser) take(lo, hi rune) bool {
	r := p.peek()
	if r < lo || r > hi {
		return false
	}
	p.rest = p.rest[utf8.RuneLen(r):]
	p.out.WriteRune(r)
	return true
}

// skip takes a rune that the canonical form has elsewhere.
func (p *emojiParser) skip(r rune) {
	if p.peek() == r {
		p.rest = p.rest[utf8.RuneLen(r):]
	}
}

// flag is emoji_flag_sequence := regional_indicator regional_indicator.
func (p *emojiParser) flag() bool {
	first := p.take(regionA, regionZ)
	return first && p.take(regionA, regionZ)
}

// keycap is emoji_keycap_sequence := [0-9#*] U+FE0F U+20E3.
func (p *emojiParser) keycap() bool {
	if !p.take('0', '9') && !p.take('#', '#') && !p.take('*', '*') {
		return false
	}
	p.skip(emojiStyle)
	p.out.WriteRune(emojiStyle)
	return p.take(keycapMark, keycapMark)
}

// sequence is emoji_zwj_sequence := element ( ZWJ element )*, or one element with tags behind it.
func (p *emojiParser) sequence() bool {
	for n := 1; n <= elementsMax; n++ {
		if !p.element() {
			return false
		}
		if !p.take(zwj, zwj) {
			return n > 1 || p.tags()
		}
	}
	return false
}

// element is a pictograph, with a skin tone or a variation selector; or a skin tone by itself.
func (p *emojiParser) element() bool {
	r := p.peek()
	if toneLight <= r && r <= toneDark {
		return p.take(r, r)
	}
	if !inRanges(pictographs, r) || !p.take(r, r) {
		return false
	}
	if p.take(toneLight, toneDark) {
		return true
	}
	p.skip(emojiStyle)
	if inRanges(textual, r) {
		if tone := p.peek(); toneLight <= tone && tone <= toneDark {
			return p.take(tone, tone) // the selector before a tone is superfluous
		}
		p.out.WriteRune(emojiStyle)
	}
	return true
}

// tags is tag_modifier := tag+ U+E007F, or nothing.
func (p *emojiParser) tags() bool {
	n := 0
	for n <= tagsMax && (p.take(tagZero, tagNine) || p.take(tagA, tagZ)) {
		n++
	}
	return n == 0 || n <= tagsMax && p.take(tagEnd, tagEnd)
}

// inRanges looks a rune up in ranges that ascend.
func inRanges(ranges [][2]rune, r rune) bool {
	low, high := 0, len(ranges)
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch {
		case r < ranges[mid][0]:
			high = mid
		case r > ranges[mid][1]:
			low = mid + 1
		default:
			return true
		}
	}
	return false
}
