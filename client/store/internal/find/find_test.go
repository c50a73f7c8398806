package find

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/internal/words"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		text, query string
		marks       []store.Mark
	}{
		{"Who comes climbing?", "CLIMB* who", []store.Mark{{Start: 0, End: 3}, {Start: 10, End: 18}}},
		{"Who comes climbing?", "climb", nil},
		{"Who comes climbing?", "", nil},
		{"Who comes climbing?", "…", nil},
	} {
		q, err := Parse(c.query)
		if err != nil {
			t.Fatal(err)
		}
		if marks, ok := q.Match(c.text); ok != (c.marks != nil) || !slices.Equal(marks, c.marks) {
			t.Errorf("%q in %q: %v, %v", c.query, c.text, marks, ok)
		}
	}
}

func TestBounds(t *testing.T) {
	for _, q := range []string{strings.Repeat("a", maxQuery+1), strings.Repeat("a ", words.MaxAtoms+1)} {
		if _, err := Parse(q); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("a query of %d bytes: %v", len(q), err)
		}
	}
	if q, err := Parse(strings.Repeat("a ", words.MaxAtoms)); err != nil || q.Empty() {
		t.Errorf("as many words as there may be: %v", err)
	}
}
