// Package find reads what a search of a client asks for, the same in every engine: the words of package words, in the terms of
// package store.
//
// Start with [Parse].
package find

import (
	"errors"
	"fmt"

	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/internal/words"
)

// maxQuery bounds a query, in bytes.
const maxQuery = 1024

// Query is what somebody looks for.
type Query struct{ words.Query }

// Parse reads a query as words.Parse does. The error is store.ErrInvalid: the query is too long.
func Parse(text string) (Query, error) {
	q, err := words.Parse(text, words.Limits{Bytes: maxQuery, Terms: words.MaxAtoms})
	switch {
	case errors.Is(err, words.ErrLong):
		return Query{}, fmt.Errorf("%w: a search has at most %d bytes", store.ErrInvalid, maxQuery)
	case err != nil:
		return Query{}, fmt.Errorf("%w: a search has at most %d words", store.ErrInvalid, words.MaxAtoms)
	}
	return Query{q}, nil
}

// Match reports whether a text has all that is looked for, and where: ascending, not overlapping. An empty query
// finds nothing.
func (q Query) Match(text string) (marks []store.Mark, ok bool) {
	spans, ok := q.Query.Match(text)
	if !ok || q.Empty() {
		return nil, false
	}
	marks = make([]store.Mark, len(spans))
	for i, s := range spans {
		marks[i] = store.Mark(s)
	}
	return marks, true
}
