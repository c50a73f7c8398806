package words

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/petrelchat/petrel/client/store"
)

// Bounds of what may be asked.
const (
	maxQuery = 1024 // bytes
	maxAtoms = 64
)

// Query is what somebody looks for: all of its terms have to be there.
type Query struct{ terms []term }

// term is atoms that follow each other.
type term struct {
	atoms  []atom
	prefix bool // the last one is the beginning of a word
}

// Parse reads words, "phrases in quotes", and beginnings of words (clim*). A word with something else inside
// (e-mail) is a phrase of its parts. The error is store.ErrInvalid: the query is too long.
func Parse(text string) (Query, error) {
	if len(text) > maxQuery {
		return Query{}, fmt.Errorf("%w: a search has at most %d bytes", store.ErrInvalid, maxQuery)
	}
	var q Query
	n := 0
	for rest := text; rest != ""; {
		var part string
		var star bool
		part, star, rest = nextPart(rest)
		t := term{atoms: split(part)}
		if len(t.atoms) == 0 {
			continue
		}
		if n += len(t.atoms); n > maxAtoms {
			return Query{}, fmt.Errorf("%w: a search has at most %d words", store.ErrInvalid, maxAtoms)
		}
		t.prefix = star && !t.atoms[len(t.atoms)-1].single // the beginning of a character is the character
		q.terms = append(q.terms, t)
	}
	return q, nil
}

// nextPart splits the next word or phrase off. A quote that is not closed reaches to the end.
func nextPart(q string) (part string, star bool, rest string) {
	q = strings.TrimLeftFunc(q, unicode.IsSpace)
	if r, n := utf8.DecodeRuneInString(q); isQuote(r) {
		part, rest = q[n:], ""
		if end := strings.IndexFunc(part, isQuote); end >= 0 {
			_, size := utf8.DecodeRuneInString(part[end:])
			part, rest = part[:end], part[end+size:]
		}
		rest, star = strings.CutPrefix(rest, "*")
		return part, star, rest
	}
	end := strings.IndexFunc(q, func(r rune) bool { return unicode.IsSpace(r) || isQuote(r) })
	if end < 0 {
		end = len(q)
	}
	part, star = strings.CutSuffix(q[:end], "*")
	return part, star, q[end:]
}

func isQuote(r rune) bool { return r == '"' || r == '“' || r == '”' || r == '„' }

// Empty reports whether the query asks for nothing, and so finds nothing.
func (q Query) Empty() bool { return len(q.terms) == 0 }

// FTS is the query in the language of SQLite's FTS5, for an index of Tokens: it finds at least what Match
// accepts.
func (q Query) FTS() string {
	var parts []string
	add := func(tokens []string, star string) {
		if p := `"` + strings.Join(tokens, " ") + `"` + star; len(tokens) > 0 && !slices.Contains(parts, p) {
			parts = append(parts, p)
		}
	}
	for _, t := range q.terms {
		var run []string // words or pairs that follow each other in the index
		for i, a := range t.atoms {
			switch next := i + 1; {
			case !a.single:
				run = append(run, a.text)
				if next == len(t.atoms) && t.prefix {
					add(run, "*")
					run = nil
				} else if next == len(t.atoms) || t.atoms[next].single {
					add(run, "")
					run = nil
				}
			case pair(t.atoms, i):
				run = append(run, t.atoms[i-1].text+a.text)
				if next == len(t.atoms) || !pair(t.atoms, next) {
					add(run, "")
					run = nil
				}
			case next == len(t.atoms) || !pair(t.atoms, next): // alone
				add([]string{a.text}, "")
			}
		}
	}
	return strings.Join(parts, " AND ")
}

// Match reports whether a text has all that is looked for, and where: ascending, not overlapping. An empty
// query matches nothing.
func (q Query) Match(text string) (marks []store.Mark, ok bool) {
	all := split(text)
	for i := range q.terms {
		before := len(marks)
		if marks = q.terms[i].appendPlaces(marks, all); len(marks) == before {
			return nil, false
		}
	}
	return join(marks), len(q.terms) > 0
}

// appendPlaces appends where a term is.
func (t *term) appendPlaces(marks []store.Mark, all []atom) []store.Mark {
	n := len(t.atoms)
	for i := 0; i+n <= len(all); i++ {
		if t.at(all[i : i+n]) {
			marks = append(marks, store.Mark{Start: all[i].start, End: all[i+n-1].end})
		}
	}
	return marks
}

func (t *term) at(part []atom) bool {
	for i := range t.atoms {
		want, have := &t.atoms[i], &part[i]
		switch {
		case want.single != have.single:
			return false
		case pair(t.atoms, i) && !have.glued:
			return false
		case want.text == have.text:
		case t.prefix && i == len(t.atoms)-1 && strings.HasPrefix(have.text, want.text):
		default:
			return false
		}
	}
	return true
}

func join(marks []store.Mark) []store.Mark {
	slices.SortFunc(marks, func(a, b store.Mark) int { return a.Start - b.Start })
	out := marks[:0]
	for _, m := range marks {
		if k := len(out); k > 0 && m.Start < out[k-1].End {
			out[k-1].End = max(out[k-1].End, m.End)
			continue
		}
		out = append(out, m)
	}
	return out
}
