package search

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
)

// Bounds of what may be asked.
const (
	MaxQuery = 256 // bytes
	MaxTerms = 16
	maxAtoms = 64

	// Beginnings of so many letters have an index of their own; what two letters begin is a good part of all words, and costs
	// as much.
	minPrefix = 3
)

// Query is what somebody looks for: all terms have to be there. The zero Query matches everything.
type Query struct {
	terms []term
}

// term is atoms that follow each other.
type term struct {
	atoms  []atom
	prefix bool // the last one is the beginning of a word
}

// Parse reads words, "phrases in quotes", and beginnings of words (clim*). A word with something else inside (e-mail) is
// a phrase of its parts. A *chat.Refusal says what cannot be asked.
func Parse(q string) (Query, error) {
	if len(q) > MaxQuery || !utf8.ValidString(q) {
		return Query{}, chat.Refuse(chat.BadRequest, "q is at most %d bytes of UTF-8", MaxQuery)
	}
	var out Query
	n := 0
	for rest := q; ; {
		var part string
		var star bool
		if part, star, rest = nextPart(rest); part == "" && rest == "" {
			return out, nil
		}
		t := term{atoms: atoms(part)}
		if len(t.atoms) == 0 {
			continue
		}
		for i := range t.atoms { // the query is the caller's; places in it mean nothing
			t.atoms[i].start, t.atoms[i].end = 0, 0
		}
		if last := t.atoms[len(t.atoms)-1]; star && !last.single {
			if utf8.RuneCountInString(last.text) < minPrefix {
				return Query{}, chat.Refuse(chat.BadRequest, "the beginning of a word is at least %d letters before *", minPrefix)
			}
			t.prefix = true
		}
		if n += len(t.atoms); len(out.terms) == MaxTerms || n > maxAtoms {
			return Query{}, chat.Refuse(chat.BadRequest, "q is at most %d words or phrases", MaxTerms)
		}
		out.terms = append(out.terms, t)
	}
}

// nextPart splits the next word or phrase off a query. A quote that is not closed reaches to the end.
func nextPart(q string) (part string, star bool, rest string) {
	q = strings.TrimLeftFunc(q, unicode.IsSpace)
	if q == "" {
		return "", false, ""
	}
	if tail, quoted := cutQuote(q); quoted {
		end := strings.IndexFunc(tail, isQuote)
		if end < 0 {
			return tail, false, ""
		}
		_, size := utf8.DecodeRuneInString(tail[end:])
		rest = tail[end+size:]
		rest, star = strings.CutPrefix(rest, "*")
		return tail[:end], star, rest
	}
	end := strings.IndexFunc(q, func(r rune) bool { return unicode.IsSpace(r) || isQuote(r) })
	if end < 0 {
		end = len(q)
	}
	part, star = strings.CutSuffix(q[:end], "*")
	return part, star, q[end:]
}

func isQuote(r rune) bool { return r == '"' || r == '“' || r == '”' || r == '„' }

func cutQuote(q string) (rest string, ok bool) {
	r, size := utf8.DecodeRuneInString(q)
	return q[size:], isQuote(r)
}

// Empty reports whether the query asks for no words.
func (q Query) Empty() bool { return len(q.terms) == 0 }

// match is the query as FTS5 understands it: it finds at least what Match accepts.
func (q Query) match() string {
	var parts []string
	add := func(tokens []string, prefix bool) {
		if len(tokens) == 0 {
			return
		}
		p := `"` + strings.Join(tokens, " ") + `"`
		if prefix {
			p += "*"
		}
		if !slices.Contains(parts, p) {
			parts = append(parts, p)
		}
	}
	for _, t := range q.terms {
		var words, pairs []string
		for i, a := range t.atoms {
			if !a.single {
				words = append(words, a.text)
				continue
			}
			add(words, false)
			words = nil
			switch {
			case i > 0 && pair(t.atoms, i):
				pairs = append(pairs, t.atoms[i-1].text+a.text)
			case i+1 == len(t.atoms) || !pair(t.atoms, i+1): // alone
				add([]string{a.text}, false)
			}
			if i+1 == len(t.atoms) || !pair(t.atoms, i+1) {
				add(pairs, false)
				pairs = nil
			}
		}
		add(words, t.prefix)
	}
	return strings.Join(parts, " AND ")
}

// Span is a part of a text, in bytes.
type Span struct{ Start, End int }

// Match reports whether a text has all that is looked for, and where: ascending, not overlapping.
func (q Query) Match(text string) (spans []Span, ok bool) {
	all := atoms(text)
	for i := range q.terms {
		found := q.terms[i].in(all)
		if len(found) == 0 {
			return nil, false
		}
		spans = append(spans, found...)
	}
	return joined(spans), true
}

// in returns all places of a term.
func (t *term) in(all []atom) (found []Span) {
	n := len(t.atoms)
	for i := 0; i+n <= len(all); i++ {
		if t.at(all[i : i+n]) {
			found = append(found, Span{all[i].start, all[i+n-1].end})
		}
	}
	return found
}

func (t *term) at(part []atom) bool {
	for i := range t.atoms {
		want, have := &t.atoms[i], &part[i]
		switch {
		case want.single != have.single:
			return false
		case i > 0 && pair(t.atoms, i) && !have.glued:
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

// Score says how good a hit is, higher is better: how often the terms are there for the length of the text (as BM25 weighs
// that), and whether they stand close together. spans are what Match returned.
func (q Query) Score(text string, spans []Span) float64 {
	const k1, b, usual = 1.2, 0.75, 80 // bytes of a usual message
	if len(spans) == 0 {
		return 0
	}
	tf := float64(len(spans)) / float64(max(1, len(q.terms)))
	score := tf * (k1 + 1) / (tf + k1*(1-b+b*float64(len(text))/usual))
	return score + proximity(spans, len(q.terms))
}

// proximity is 1 if as many hits as there are terms follow each other closely somewhere.
func proximity(spans []Span, terms int) float64 {
	if terms < 2 || len(spans) < terms {
		return 0
	}
	best := 0.0
	for i := 0; i+terms <= len(spans); i++ {
		gap := 0
		for j := i + 1; j < i+terms; j++ {
			gap += spans[j].Start - spans[j-1].End
		}
		best = max(best, 1/(1+float64(max(0, gap-terms))/8))
	}
	return best
}
