package words

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

var wide = Limits{Bytes: 1024, Terms: MaxAtoms}

func TestMatch(t *testing.T) {
	const climbing = "Who comes climbing on Sunday morning?"
	for _, c := range []struct {
		text, query string
		found       string // the parts that match, separated by |; "-": no match
	}{
		{"Hello, world", "hello", "Hello"},
		{"the World says hello", "hello world", "World|hello"},
		{"hello, World!", `"hello world"`, "hello, World"},
		{"world hello", `"hello world"`, "-"},
		{"hello world", `“hello world”`, "hello world"},
		{"hello world", `"hello world`, "hello world"},
		{climbing, `"sunday morning" clim*`, "climbing|Sunday morning"},
		{climbing, "clim", "-"},
		{climbing, "sunday missing", "-"},
		{"Climbing and climate, not acclimate", "clim*", "Climbing|climate"},
		{"let us climb", `"let us clim*`, "-"}, // the star is within the quotes: it means nothing there
		{"let us climb", `"let us clim"*`, "let us climb"},
		{"Crème brûlée, façade, ÅNGSTRÖM", "creme BRULEE angstrom", "Crème|brûlée|ÅNGSTRÖM"},
		{"Un cafe\u0301", "café", "cafe\u0301"},
		{"A cafe", "café", "cafe"},
		{"Die Straße nach Łódź", "strasse lodz", "Straße|Łódź"},
		{"my E-Mail and e mail, not mail", "e-mail", "E-Mail|e mail"},
		{"the email came", "e-mail", "-"},
		{"ＡＢＣ １２３", "abc 123", "ＡＢＣ|１２３"},
		{"Petrel™", "petrel", "Petrel"},
		{"20 °C", "20℃", "20 °C"},
		{"明日は東京で会いましょう", "東京", "東京"},
		{"明日は東京で会いましょう", "京東", "-"},
		{"東京都", "京", "京"},
		{"東京都", "京*", "京"},
		{"東。京", "東京", "-"},
		{"東。京", `"東 京"`, "東。京"},
		{"東京Tower", "東京tower", "東京Tower"},
		{"Go言語で書く", "go言語", "Go言語"},
		{"ｶﾞｷﾞ", "ガギ", "ｶﾞｷﾞ"},
		{"㍿ペトレル", "株式会社ペトレル", "㍿ペトレル"},
		{"1月", "㋀", "1月"},
		{"학교에서", "학교", "학교"},
		{"\u1112\u1161\u11a8\u1100\u116d에서", "학교", "\u1112\u1161\u11a8\u1100\u116d"},
		{"학교에서", "\u1112\u1161\u11a8\u1100\u116d", "학교"},
		{"กินข้าวแล้ว", "ข้าว", "ข้าว"},
		{"привет МИР", "мир", "МИР"},
		{"שָׁלוֹם", "שלום", "שָׁלוֹם"},
		{"हिन्दी में", "हिन्दी", "हिन्दी"},
		{"co\u00adoperate", "cooperate", "co\u00adoperate"},
		{"b a", "a a", "a"},
		{"restful rest", "rest rest*", "restful|rest"},
		{strings.Repeat("x", 100), strings.Repeat("x", 70), strings.Repeat("x", 100)},
		{"hello", "", ""},
		{"hello", "… —", ""},
		{"hello", `* "*" **`, ""},
	} {
		q, err := Parse(c.query, wide)
		if err != nil {
			t.Fatal(err)
		}
		got := "-"
		if spans, ok := q.Match(c.text); ok {
			var parts []string
			for _, s := range spans {
				parts = append(parts, c.text[s.Start:s.End])
			}
			got = strings.Join(parts, "|")
		}
		if got != c.found {
			t.Errorf("%q in %q: %q instead of %q", c.query, c.text, got, c.found)
		}
	}
}

func TestLimits(t *testing.T) {
	narrow := Limits{Bytes: 100, Terms: 3, Prefix: 3}
	for _, c := range []struct {
		query string
		l     Limits
		err   error
	}{
		{strings.Repeat("a", 100), narrow, nil},
		{strings.Repeat("a", 101), narrow, ErrLong},
		{"a b c ...", narrow, nil},
		{"a b c d", narrow, ErrMany},
		{"яб*", narrow, ErrShort},
		{"ябл* 東*", narrow, nil},
		{"a*", wide, nil},
		{strings.Repeat("a ", MaxAtoms), wide, nil},
		{strings.Repeat("a ", MaxAtoms+1), wide, ErrMany},
		{`"` + strings.Repeat("a ", MaxAtoms+1), wide, ErrMany},
	} {
		if q, err := Parse(c.query, c.l); !errors.Is(err, c.err) || q.Empty() != (err != nil) {
			t.Errorf("%.20q: %v instead of %v", c.query, err, c.err)
		}
	}
}

func TestFTS(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"", ""},
		{"one Two", `"one" AND "two"`},
		{`"one two" thr*`, `"one two" AND "thr"*`},
		{`"one two"*`, `"one two"*`},
		{"one one", `"one"`},
		{"東京都", `"東京 京都"`},
		{"京*", `"京"`},
		{`"東 京"`, `"東" AND "京"`},
		{"in東京tow*", `"in" AND "東京" AND "tow"*`},
		{`a"NOT b) OR"*`, `"a" AND "not b or"*`},
	} {
		q, err := Parse(c.query, wide)
		if err != nil {
			t.Fatal(err)
		}
		if got := q.FTS(); got != c.want {
			t.Errorf("%s is %s, want %s", c.query, got, c.want)
		}
	}
}

func TestPrefixes(t *testing.T) {
	q, err := Parse("a oslo 東 cl*", wide)
	if err != nil {
		t.Fatal(err)
	}
	p := q.Prefixes()
	if got, want := p.FTS(), `"a" AND "oslo"* AND "東" AND "cl"*`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if q.FTS() == p.FTS() {
		t.Error("the query itself was changed")
	}
	terms := p.Terms()
	if len(terms) != 4 || terms[1].FTS() != `"oslo"*` {
		t.Errorf("%+v", terms)
	}
}

// Whatever a text is, it is found by itself, and spans are parts of it, in order, that contain whole characters.
func FuzzMatch(f *testing.F) {
	for _, c := range corpus {
		f.Add(c.text, c.text)
	}
	for _, s := range []string{"東京 tokyo", "ｶﾞ", "\xff\xfe", "ﷺ", "\u200bx", `"a"*`, "ก็", "ㅋ*"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, text, query string) {
		if all := split(text); len(all) > 0 && len(all) <= MaxAtoms {
			self := Query{terms: []term{{atoms: all}}}
			if _, ok := self.Match(text); !ok {
				t.Fatalf("%q does not contain itself", text)
			}
		}
		q, err := Parse(query, wide)
		if err != nil {
			return
		}
		spans, ok := q.Match(text)
		if q.Empty() != (q.FTS() == "") || q.Empty() && !ok || ok && !q.Empty() && len(spans) == 0 {
			t.Fatalf("%q in %q: %v, %v", query, text, spans, ok)
		}
		if _, still := q.Prefixes().Match(text); ok && !still {
			t.Fatalf("%q is in %q, and not as prefixes", query, text)
		}
		end := 0
		for _, s := range spans {
			if s.Start < end || s.End <= s.Start || s.End > len(text) {
				t.Fatalf("%v in %d bytes", spans, len(text))
			}
			end = s.End
			if utf8.ValidString(text) && !utf8.ValidString(text[s.Start:s.End]) {
				t.Fatalf("a character is split: %q", text[s.Start:s.End])
			}
		}
	})
}
