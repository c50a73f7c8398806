package words

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxAtoms is how many words, and characters of scripts without spaces, a query has at most.
const MaxAtoms = 64

// Limits are what may be asked where Parse is called.
type Limits struct {
	Bytes  int // of a query
	Terms  int // words and phrases of a query
	Prefix int // letters that the beginning of a word has at least; 0: any
}

// What Parse refuses. Its callers know how to say it: what a query is called and whose it is.
var (
	ErrLong  = errors.New("words: more bytes than a query may have")
	ErrMany  = errors.New("words: more words than a query may have")
	ErrShort = errors.New("words: the beginning of a word has too few letters")
)

// Query is what somebody looks for: all of its terms have to be there. The zero Query asks for nothing.
type Query struct{ terms []term }

// term is atoms that follow each other.
type term struct {
	atoms  []atom
	prefix bool // the last one is the beginning of a word
}

// Parse reads words, "phrases in quotes", and beginnings of words (clim*). A word with something else inside (e-mail) is a
// phrase of its parts. The error is ErrLong, ErrMany or ErrShort.
func Parse(text string, l Limits) (Query, error) {
	if len(text) > l.Bytes {
		return Query{}, ErrLong
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
		if last := t.atoms[len(t.atoms)-1]; star && !last.single { // the beginning of a character is the character
			if utf8.RuneCountInString(last.text) < l.Prefix {
				return Query{}, ErrShort
			}
			t.prefix = true
		}
		if n += len(t.atoms); n > MaxAtoms || len(q.terms) == l.Terms {
			return Query{}, ErrMany
		}
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

// Empty reports whether the query asks for nothing.
func (q Query) Empty() bool { return len(q.terms) == 0 }

// Len is how many words and phrases the query has.
func (q Query) Len() int { return len(q.terms) }

// Terms returns each word and phrase as a query of its own.
func (q Query) Terms() []Query {
	out := make([]Query, len(q.terms))
	for i := range q.terms {
		out[i].terms = q.terms[i : i+1 : i+1]
	}
	return out
}

// Prefixes returns the query with every word of two letters and more taken for the beginning of one, as suits a search
// while typing, among a few texts.
func (q Query) Prefixes() Query {
	out := Query{terms: slices.Clone(q.terms)}
	for i, t := range out.terms {
		last := t.atoms[len(t.atoms)-1]
		out.terms[i].prefix = t.prefix || !last.single && utf8.RuneCountInString(last.text) >= 2
	}
	return out
}

// FTS is the query in the language of SQLite's FTS5, for an index of AppendTokens' tokens (tokenize='ascii'): it finds at least
// what Match accepts. Of an empty query it is "", which FTS5 refuses.
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

// Span is a part of a text, in bytes.
type Span struct{ Start, End int }

// Match reports whether a text has all that is looked for, and where: ascending, not overlapping. Any text has what an empty
// query asks for.
func (q Query) Match(text string) (spans []Span, ok bool) {
	if q.Empty() {
		return nil, true
	}
	all := split(text)
	for i := range q.terms {
		before := len(spans)
		if spans = q.terms[i].appendPlaces(spans, all); len(spans) == before {
			return nil, false
		}
	}
	return joined(spans), true
}

// appendPlaces appends where a term is.
func (t *term) appendPlaces(spans []Span, all []atom) []Span {
	n := len(t.atoms)
	for i := 0; i+n <= len(all); i++ {
		if t.at(all[i : i+n]) {
			spans = append(spans, Span{all[i].start, all[i+n-1].end})
		}
	}
	return spans
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

func joined(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int { return a.Start - b.Start })
	out := spans[:0]
	for _, s := range spans {
		if k := len(out); k > 0 && s.Start < out[k-1].End {
			out[k-1].End = max(out[k-1].End, s.End)
			continue
		}
		out = append(out, s)
	}
	return out
}
