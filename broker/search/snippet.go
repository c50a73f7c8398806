package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/petrelchat/petrel/internal/words"
)

// snippetBytes is how much of a text a snippet shows.
const snippetBytes = 160

// Snippet returns the part of a text where most was found, cut at words: plain text and hits in turn, beginning with plain
// text, which may be empty. An ellipsis stands where it is cut. spans are what Match returned.
func Snippet(text string, spans []words.Span) []string {
	from, to := window(text, spans)
	lead := from > 0
	var out []string
	at := from
	for _, s := range spans {
		if s.End <= from || s.Start >= to {
			continue
		}
		start, end := max(s.Start, from), min(s.End, to)
		out = append(out, oneLine(text[at:start]), oneLine(text[start:end]))
		at = end
	}
	out = append(out, oneLine(text[at:to]))
	if lead {
		out[0] = "…" + out[0]
	}
	if to < len(text) {
		out[len(out)-1] += "…"
	}
	return out
}

// window finds the stretch with most hits.
func window(text string, spans []words.Span) (from, to int) {
	if len(text) <= snippetBytes {
		return 0, len(text)
	}
	best, first := 0, 0
	for i := range spans {
		n := 0
		for _, s := range spans[i:] {
			if n > 0 && s.End-spans[i].Start > snippetBytes*3/4 {
				break
			}
			n++
		}
		if n > best {
			best, first = n, spans[i].Start
		}
	}
	from = max(0, min(first-snippetBytes/4, len(text)-snippetBytes))
	to = min(len(text), from+snippetBytes)
	return cutAt(text, from, first, true), cutAt(text, to, from, false)
}

// cutAt moves a cut to the next space, if there is one near, and never into a character. It stays on its side of limit.
func cutAt(text string, i, limit int, forward bool) int {
	if i <= 0 || i >= len(text) {
		return max(0, min(i, len(text)))
	}
	for !utf8.RuneStart(text[i]) {
		i--
	}
	const near = 20
	if forward {
		if k := strings.IndexFunc(text[i:min(len(text), i+near)], unicode.IsSpace); k >= 0 && i+k+1 <= limit {
			return i + k + 1
		}
		return i
	}
	if k := strings.LastIndexFunc(text[max(0, i-near):i], unicode.IsSpace); k >= 0 && max(0, i-near)+k > limit {
		return max(0, i-near) + k
	}
	return i
}

// oneLine replaces what a line of a list cannot show.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
