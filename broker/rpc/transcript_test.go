package rpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/chat"
)

var update = flag.Bool("update", false, "rewrite the replies in testdata")

// transcript is a story in requests and replies.
type transcript struct {
	Story string   `json:"story"`
	Users []string `json:"users"`
	Steps []step   `json:"steps"`
}

// step is a request with its reply, or something that happens beside. Tokens in replies read <token>; in a
// request, <since> and <after> are those of the last reply that had one.
type step struct {
	Note    string          `json:"note,omitempty"`
	As      string          `json:"as,omitempty"`
	Admin   bool            `json:"admin,omitempty"`
	Method  string          `json:"method,omitempty"`
	Request json.RawMessage `json:"request,omitempty"`
	Most    int             `json:"most,omitempty"` // bytes of the reply
	Reply   json.RawMessage `json:"reply,omitempty"`

	Post    *post   `json:"post,omitempty"`
	Cursor  *cursor `json:"cursor,omitempty"`
	Advance int     `json:"advance,omitempty"` // seconds
}

type post struct {
	By, Conv, Text, ID string
	Expire             uint64 `json:",omitempty"`
}

type cursor struct {
	Of, Conv        string
	Delivered, Read uint64
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no transcripts")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			must(t, err)
			var tr transcript
			d := json.NewDecoder(bytes.NewReader(b))
			d.DisallowUnknownFields()
			must(t, d.Decode(&tr))
			tr.run(t)
			if *update {
				must(t, os.WriteFile(file, tr.format(t), 0o644))
			}
		})
	}
}

var tokens = regexp.MustCompile(`"(since|after)":"([^"]*)"`)

func (tr *transcript) run(t *testing.T) {
	s := newServer(t)
	s.users(tr.Users...)
	last := map[string]string{}
	for i := range tr.Steps {
		st := &tr.Steps[i]
		switch {
		case st.Post != nil:
			s.post(st.Post.By, st.Post.Conv, chat.Event{Text: st.Post.Text, ID: st.Post.ID, Expire: st.Post.Expire})
			continue
		case st.Cursor != nil:
			s.cursor(st.Cursor.Of, st.Cursor.Conv, st.Cursor.Delivered, st.Cursor.Read)
			continue
		case st.Advance != 0:
			s.advance(time.Duration(st.Advance) * time.Second)
			continue
		}
		req := string(st.Request)
		for name, v := range last {
			req = strings.ReplaceAll(req, "<"+name+">", v)
		}
		got := s.svc.Call(context.Background(), rpc.Caller{User: st.As, Admin: st.Admin, Client: "phone"}, st.Method, []byte(req), st.Most)
		if st.Most > 0 && len(got) > st.Most && bytes.HasPrefix(got, []byte(`{"ok"`)) {
			t.Errorf("step %d: %d bytes", i, len(got))
		}
		for _, m := range tokens.FindAllSubmatch(got, -1) {
			last[string(m[1])] = string(m[2])
		}
		got = tokens.ReplaceAll(got, []byte(`"$1":"<token>"`))
		if *update {
			st.Reply = got
		} else if want := compact(t, st.Reply); string(got) != want {
			t.Errorf("step %d: %s by %q of %s\n got %s\nwant %s", i, st.Method, st.As, st.Request, got, want)
		}
	}
}

func compact(t *testing.T, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return out.String()
}

// format writes one step a line, so that a change shows as what it is.
func (tr *transcript) format(t *testing.T) []byte {
	line := func(v any) string {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		must(t, enc.Encode(v))
		return strings.TrimSpace(b.String())
	}
	var b strings.Builder
	b.WriteString("{\n\"story\": " + line(tr.Story) + ",\n\"users\": " + line(tr.Users) + ",\n\"steps\": [\n")
	for i, st := range tr.Steps {
		if i > 0 {
			b.WriteString(",\n")
		}
		b.WriteString(line(st))
	}
	b.WriteString("\n]}\n")
	return []byte(b.String())
}
