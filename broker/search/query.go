package search

import (
	"errors"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/words"
)

// Bounds of what may be asked.
const (
	MaxQuery = 256 // bytes
	MaxTerms = 16

	// Beginnings of so many letters have an index of their own; what two letters begin is a good part of all words, and costs
	// as much.
	minPrefix = 3
)

// Parse reads a query as words.Parse does. A *chat.Refusal says what cannot be asked.
func Parse(q string) (words.Query, error) {
	if !utf8.ValidString(q) {
		return words.Query{}, errLong()
	}
	out, err := words.Parse(q, words.Limits{Bytes: MaxQuery, Terms: MaxTerms, Prefix: minPrefix})
	switch {
	case errors.Is(err, words.ErrLong):
		return words.Query{}, errLong()
	case errors.Is(err, words.ErrShort):
		return words.Query{}, chat.Refuse(chat.BadRequest, "the beginning of a word is at least %d letters before *", minPrefix)
	case err != nil:
		return words.Query{}, chat.Refuse(chat.BadRequest, "q is at most %d words or phrases", MaxTerms)
	}
	return out, nil
}

func errLong() error {
	return chat.Refuse(chat.BadRequest, "q is at most %d bytes of UTF-8", MaxQuery)
}

// Score says how good a hit is, higher is better: how often the terms are there for the length of the text (as BM25 weighs
// that), and whether they stand close together. spans are what q.Match returned.
func Score(q words.Query, text string, spans []words.Span) float64 {
	const k1, b, usual = 1.2, 0.75, 80 // bytes of a usual message
	if len(spans) == 0 {
		return 0
	}
	terms := q.Len()
	tf := float64(len(spans)) / float64(max(1, terms))
	score := tf * (k1 + 1) / (tf + k1*(1-b+b*float64(len(text))/usual))
	return score + proximity(spans, terms)
}

// proximity is 1 if as many hits as there are terms follow each other closely somewhere.
func proximity(spans []words.Span, terms int) float64 {
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
