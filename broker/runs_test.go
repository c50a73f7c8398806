package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/servertest"
)

// A token of what a restored server has lost is refused, also when as much came again: what was posted in place of
// the lost would be passed over. A token of before the backup holds.
func TestSyncWithARestoredServer(t *testing.T) {
	open := func(dir string) *broker.Server {
		t.Helper()
		s, err := broker.New(broker.Options{Config: servertest.Config(dir)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	post := func(s *broker.Server, text string, n int) {
		t.Helper()
		for range n {
			if _, err := s.Post("ana~bo", "ana", chat.Event{Text: text}); err != nil {
				t.Fatal(err)
			}
		}
	}
	type reply struct {
		OK struct {
			Since string `json:"since"`
			Convs []struct {
				Events []struct {
					Text string `json:"text"`
				} `json:"events"`
			} `json:"convs"`
		} `json:"ok"`
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	sync := func(s *broker.Server, since string) (r reply, texts string) {
		t.Helper()
		raw := s.Call(context.Background(), "bo", "sync", fmt.Appendf(nil, `{"since":%q}`, since))
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		for _, c := range r.OK.Convs {
			for _, ev := range c.Events {
				texts += ev.Text + " "
			}
		}
		return r, strings.TrimSpace(texts)
	}
	dir, copies := filepath.Join(t.TempDir(), "data"), t.TempDir()
	backup, again := filepath.Join(copies, "backup"), filepath.Join(copies, "again")
	s := open(dir)
	post(s, "kept", 1)
	early, _ := sync(s, "")
	s.Close()
	if err := broker.BackupStopped(dir, backup); err != nil {
		t.Fatal(err)
	}
	s = open(dir)
	post(s, "lost", 3)
	late, texts := sync(s, early.OK.Since)
	if texts != "lost lost lost" {
		t.Fatalf("after a restart: %q %+v", texts, late)
	}
	s.Close()
	if err := broker.Restore(backup, again); err != nil {
		t.Fatal(err)
	}
	s = open(again)
	defer func() { s.Close() }()
	post(s, "new", 20)
	if r, texts := sync(s, late.OK.Since); r.Error.Code != string(chat.Conflict) {
		t.Errorf("the token of what was lost is taken, and gives %q", texts)
	}
	now, texts := sync(s, early.OK.Since)
	if texts != strings.TrimSpace(strings.Repeat("new ", 20)) {
		t.Errorf("the token of before gives %q", texts)
	}
	s.Close()
	s = open(again)
	if r, texts := sync(s, now.OK.Since); r.Error.Code != "" || texts != "" {
		t.Errorf("after another restart: %+v", r)
	}
}
