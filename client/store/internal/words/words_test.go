package words

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/petrelchat/petrel/client/store"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		text, query string
		found       string // the marked parts, separated by |; "-": no match
	}{
		{"Who comes climbing on Sunday morning?", "climbing", "climbing"},
		{"Who comes climbing on Sunday morning?", `"sunday morning" clim*`, "climbing|Sunday morning"},
		{"Who comes climbing on Sunday morning?", "clim", "-"},
		{"Who comes climbing on Sunday morning?", `"morning sunday"`, "-"},
		{"Crème brûlée, façade, ÅNGSTRÖM", "creme BRULEE angstrom", "Crème|brûlée|ÅNGSTRÖM"},
		{"Die Straße nach Łódź", "strasse lodz", "Straße|Łódź"},
		{"the e-mail came", "e-mail", "e-mail"},
		{"the email came", "e-mail", "-"},
		{"ＡＢＣ １２３", "abc 123", "ＡＢＣ|１２３"},
		{"明日は東京で会いましょう", "東京", "東京"},
		{"明日は東京で会いましょう", "京東", "-"},
		{"明日は東京で会いましょう", "東", "東"},
		{"東。京", "東京", "-"},
		{"한국어로 이야기합시다", "한국어", "한국어"},
		{"สวัสดีครับ", "สวัสดี", "สวัสดี"},
		{"ｶﾞｷﾞ", "ガギ", "ｶﾞｷﾞ"},
		{"㍿ペトレル", "株式会社", "㍿"},
		{"Go言語で書く", "go言語", "Go言語"},
		{"привет МИР", "мир", "МИР"},
		{"שָׁלוֹם", "שלום", "שָׁלוֹם"},
		{"हिन्दी में", "हिन्दी", "हिन्दी"},
		{"co\u00adoperate", "cooperate", "co\u00adoperate"},
		{"hello", "", "-"},
		{"hello", "… —", "-"},
		{"hello", `"hello`, "hello"},
		{"aa aa", "aa a*", "aa|aa"},
		{strings.Repeat("x", 100), strings.Repeat("x", 70), strings.Repeat("x", 100)},
	} {
		q, err := Parse(c.query)
		if err != nil {
			t.Fatal(err)
		}
		marks, ok := q.Match(c.text)
		got := "-"
		if ok {
			var parts []string
			for _, m := range marks {
				parts = append(parts, c.text[m.Start:m.End])
			}
			got = strings.Join(parts, "|")
		}
		if got != c.found {
			t.Errorf("%q in %q: %q instead of %q", c.query, c.text, got, c.found)
		}
	}
}

func TestParseBounds(t *testing.T) {
	for _, q := range []string{strings.Repeat("a", maxQuery+1), strings.Repeat("a ", maxAtoms+1)} {
		if _, err := Parse(q); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("a query of %d bytes: %v", len(q), err)
		}
	}
	if q, err := Parse(strings.Repeat("a ", maxAtoms)); err != nil || q.Empty() {
		t.Errorf("as many words as there may be: %v", err)
	}
}

// Whatever a text is, it is found by itself, and marks are parts of it.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"hello", "東京 tokyo", "ｶﾞ", "\xff\xfe", "e\u0301\u0301", "ﷺ", "\u200bx", `"a"*`, "ก็"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, text, query string) {
		q, err := Parse(query)
		if err != nil {
			return
		}
		marks, ok := q.Match(text)
		if q.Empty() && ok {
			t.Fatal("an empty query found something")
		}
		end := 0
		for _, m := range marks {
			if m.Start < end || m.End <= m.Start || m.End > len(text) {
				t.Fatalf("marks %v in %d bytes", marks, len(text))
			}
			end = m.End
			if utf8.ValidString(text) && !utf8.ValidString(text[m.Start:m.End]) {
				t.Fatalf("a mark splits a character: %q", text[m.Start:m.End])
			}
		}
		if all := split(text); len(all) > 0 && len(all) <= maxAtoms {
			self := Query{terms: []term{{atoms: all}}}
			if _, ok := self.Match(text); !ok {
				t.Fatalf("%q does not contain itself", text)
			}
		}
		if strings.ContainsAny(string(AppendTokens(nil, text)), `"'*()`) {
			t.Fatal("a token that the index could take for something else")
		}
	})
}
