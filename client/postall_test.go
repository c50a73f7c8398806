package client_test

import (
	"errors"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// TestPostAll: what is written together is queued in its order; what can't be right ends it, and what stands before that is queued.
func TestPostAll(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inFile(t)).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	ms, err := ann.PostAll(soon(t), conv, client.Post{Text: "one"}, client.Post{Text: "two", ID: "second"}, client.Post{Text: "three"})
	must(t, err)
	if len(ms) != 3 || ms[1].ID != "second" || ms[2].State != client.StateQueued {
		t.Fatalf("%+v", ms)
	}
	for name, wrong := range map[string]client.Post{"no text": {}, "an id of another conversation": {Text: "x", ID: "carol"}} {
		if name != "no text" {
			_, err := ann.Post(soon(t), ann.Direct("nobody"), client.Post{Text: "never sent", ID: "carol"})
			must(t, err)
		}
		ms, err = ann.PostAll(soon(t), conv, client.Post{Text: name}, wrong, client.Post{Text: "not queued"})
		no := new(chat.Refusal)
		if !errors.As(err, &no) || len(ms) != 1 || ms[0].Text != name {
			t.Errorf("%s: %+v, %v", name, ms, err)
		}
		if _, err := ann.Sent(soon(t), ms[0]); err != nil {
			t.Error(err)
		}
	}
	if ms, err := ann.PostAll(soon(t), conv); err != nil || len(ms) != 0 {
		t.Errorf("nothing: %v, %v", ms, err)
	}
	bob.until("five", func() bool { return len(bob.texts(conv)) == 5 })
	if got := bob.texts(conv); got[0] != "one" || got[1] != "two" || got[2] != "three" {
		t.Errorf("%q", got)
	}
}
