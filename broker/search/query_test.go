package search

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/words"
)

// Words have their tests in package words; this is what somebody sees.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		q, text string
		want    string // the text with what was found in brackets; "": not found
	}{
		{"hello", "Hello, world", "[Hello], world"},
		{`"hello world"`, "hello, World!", "[hello, World]!"},
		{"clim*", "Climbing and climate, not acclimate", "[Climbing] and [climate], not acclimate"},
		{"cafe", "Un café", "Un [café]"},
		{"東京", "今日は東京にいる", "今日は[東京]にいる"},
		{"rest rest*", "restful rest", "[restful] [rest]"},
		{"missing", "hello", ""},
		{"", "hello", "hello"},
	} {
		q, err := Parse(c.q)
		if err != nil {
			t.Errorf("%s: %v", c.q, err)
			continue
		}
		spans, ok := q.Match(c.text)
		got := ""
		if ok {
			got = strings.Join(marked(Snippet(c.text, spans)), "")
		}
		if got != c.want {
			t.Errorf("%s in %q: %q, want %q", c.q, c.text, got, c.want)
		}
	}
}

// marked puts what was found into brackets.
func marked(snippet []string) []string {
	out := append([]string(nil), snippet...)
	for i := 1; i < len(out); i += 2 {
		out[i] = "[" + out[i] + "]"
	}
	return out
}

func TestParseRefuses(t *testing.T) {
	for _, q := range []string{strings.Repeat("a", MaxQuery+1), "a\xff", "a*", "x yz* z", strings.Repeat("w ", MaxTerms+1), `"` + strings.Repeat("w ", words.MaxAtoms+1)} {
		var refusal *chat.Refusal
		if _, err := Parse(q); !errors.As(err, &refusal) || refusal.Code != chat.BadRequest {
			t.Errorf("%.20q: %v", q, err)
		}
	}
	for _, q := range []string{"", " ", "...", `""`, `"`, `* "*" **`, "NOT", "a AND b OR (c) NEAR/2 d", "t:x", "-", "^a"} {
		if _, err := Parse(q); err != nil {
			t.Errorf("%q: %v", q, err)
		}
	}
}

func TestSnippet(t *testing.T) {
	long := strings.Repeat("lorem ipsum dolor ", 30) + "the needle is here " + strings.Repeat("sit amet ", 30)
	q, err := Parse("needle")
	if err != nil {
		t.Fatal(err)
	}
	spans, _ := q.Match(long)
	got := Snippet(long, spans)
	if len(got) != 3 || got[1] != "needle" || !strings.HasPrefix(got[0], "…") || !strings.HasSuffix(got[2], "…") {
		t.Fatalf("%q", got)
	}
	if n := len(strings.Join(got, "")); n > snippetBytes+10 || n < snippetBytes/2 {
		t.Errorf("%d bytes: %q", n, got)
	}
	if got := Snippet("a\nb\x00c", nil); len(got) != 1 || got[0] != "a b c" {
		t.Errorf("%q", got)
	}
}

// A query is hostile: it is refused or answered, never misunderstood by the library, and what the text itself
// is asked for is found in it, by the index too.
func FuzzQuery(f *testing.F) {
	for _, s := range [][2]string{{"hello wor*", "hello world"}, {`"東京 x" -y`, "東京 x y"}, {`a"b"*`, "ab"}, {"NEAR(a b)", "near a b"}, {"ｶﾞ* \"", "ガ"}} {
		f.Add(s[0], s[1])
	}
	db, err := sql.Open("sqlite", filepath.Join(f.TempDir(), "fuzz.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE VIRTUAL TABLE words USING fts5(t, content='', contentless_delete=1, tokenize='ascii', prefix='3')`); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, q, text string) {
		query, err := Parse(q)
		if err != nil {
			if !errors.As(err, new(*chat.Refusal)) {
				t.Fatal(err)
			}
			return
		}
		spans, found := query.Match(text)
		for i, s := range spans {
			if s.Start < 0 || s.End > len(text) || s.Start > s.End || i > 0 && s.Start < spans[i-1].Start {
				t.Fatalf("spans %v of %q", spans, text)
			}
		}
		if parts := Snippet(text, spans); len(parts)%2 == 0 {
			t.Fatalf("%q", parts)
		}
		if query.Empty() {
			return
		}
		if _, err := db.Exec(`INSERT OR REPLACE INTO words(rowid, t) VALUES (1, ?)`, string(words.AppendTokens(nil, text))); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM words WHERE words MATCH ?`, query.FTS()).Scan(&n); err != nil {
			t.Fatalf("%q is %q: %v", q, query.FTS(), err)
		}
		if found && n == 0 {
			t.Fatalf("%q (%q) is in %q, and the index does not find it in %q", q, query.FTS(), text, words.AppendTokens(nil, text))
		}
	})
}
