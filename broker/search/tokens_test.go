package search

import (
	"testing"
	"unicode/utf8"

	"github.com/petrelchat/petrel/internal/words"
)

func TestAppendNumber(t *testing.T) {
	one, two := string(appendNumber(nil, baseConv, 7)), string(appendNumber(nil, baseConv, 7+baseSize))
	if one == two || one == string(appendNumber(nil, baseSender, 7)) || utf8.RuneCountInString(two) != 2 || len(words.AppendTokens(nil, one+two)) > 0 {
		t.Errorf("tokens of numbers: %q %q", one, two)
	}
}
