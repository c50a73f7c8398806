package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// lottery is a codec whose cipher is another each time, and which notes how often it decrypts what.
type lottery struct {
	mu  sync.Mutex
	n   int
	ins map[uint64]int
}

func (l *lottery) Out(_ context.Context, _ string, e *chat.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	if e.Text == "refuse me" {
		return errors.New("no key of bob's is known")
	}
	e.Enc, e.Text = fmt.Appendf(nil, "%d:%s", l.n, turn(e.Text)), ""
	return nil
}

func (l *lottery) In(_ context.Context, _ string, e *chat.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ins[e.Seq]++
	_, rest, ok := cut(string(e.Enc))
	if ok {
		e.Text = turn(rest)
	}
	return nil
}

func cut(s string) (before, after string, ok bool) {
	for i := range len(s) {
		if s[i] == ':' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// An encrypted message is encrypted once, however often it has to be sent, and decrypted once, however often it comes.
func TestCodec(t *testing.T) {
	s := serve(t)
	a, b := &lottery{ins: map[uint64]int{}}, &lottery{ins: map[uint64]int{}}
	ann := s.device("ann", "a", inFile(t), func(o *client.Options) { o.Codec = a }).open()
	bob := s.device("bob", "b", inFile(t), func(o *client.Options) { o.Codec = b }).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	want := nums(30)
	for i, text := range want {
		ann.send(conv, text)
		if i%3 == 0 {
			s.proxy.Cut()
		}
		if i%10 == 9 {
			ann.kill()
			ann.open()
		}
	}
	ann.upToDate()
	ann.has(conv, want...)
	bob.has(conv, want...)
	bob.upToDate()
	a.mu.Lock()
	if a.n < 30 || len(a.ins) != 0 {
		t.Errorf("encrypted %d times, own ones decrypted: %v", a.n, a.ins)
	}
	a.mu.Unlock()
	b.mu.Lock()
	for seq, n := range b.ins {
		if n != 1 {
			t.Errorf("seq %d was decrypted %d times", seq, n)
		}
	}
	b.mu.Unlock()
	m := ann.send(conv, "refuse me")
	if _, err := ann.Sent(soon(t), m); !errors.Is(err, &chat.Refusal{Code: chat.BadRequest}) {
		t.Error(err)
	}
}

// postbox is an Uploader that fails the first time.
type postbox struct {
	mu    sync.Mutex
	tries int
}

func (p *postbox) Upload(_ context.Context, _ string, a client.Attachment) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tries++; p.tries == 1 {
		return nil, errors.New("the shelf is full")
	}
	if a.Name == "virus" {
		return nil, chat.Refuse(chat.BadRequest, "this is not taken")
	}
	return cbor.Marshal(map[string]any{"name": a.Name, "size": len(a.Data)})
}

// Attachments wait like messages, and what was written after them does not overtake them.
func TestAttachments(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inFile(t), func(o *client.Options) { o.Uploader = &postbox{} }).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	_, err := ann.Post(soon(t), conv, client.Post{Text: "look", Attachments: []client.Attachment{{Name: "a.jpg", Data: []byte("jpeg")}, {Name: "b.jpg"}}})
	must(t, err)
	ann.send(conv, "nice?")
	bob.has(conv, "look", "nice?")
	var media []struct{ Name string }
	must(t, cbor.Unmarshal(bob.messages(conv)[0].Media, &media))
	if len(media) != 2 || media[1].Name != "b.jpg" {
		t.Errorf("%+v", media)
	}
	m, err := ann.Post(soon(t), conv, client.Post{Attachments: []client.Attachment{{Name: "virus"}}})
	must(t, err)
	if _, err := ann.Sent(soon(t), m); !errors.Is(err, &chat.Refusal{Code: chat.BadRequest}) {
		t.Error(err)
	}
	m, err = bob.Post(soon(t), conv, client.Post{Attachments: []client.Attachment{{Name: "x"}}})
	must(t, err)
	if _, err := bob.Sent(soon(t), m); !errors.Is(err, &chat.Refusal{Code: chat.BadRequest}) {
		t.Errorf("without an uploader: %v", err)
	}
}

// Everything also goes as JSON.
func TestJSON(t *testing.T) {
	s := serve(t)
	asJSON := func(o *client.Options) { o.JSON = true }
	ann := s.device("ann", "a", inFile(t), asJSON).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	for _, text := range nums(20) {
		ann.send(conv, text)
	}
	bob.has(conv, nums(20)...)
	must(t, bob.SetDraft(soon(t), conv, "x"))
	must(t, ann.SetDraft(soon(t), conv, "y"))
	must(t, ann.Archive(soon(t), conv, true))
	ann.close()
	again := s.device("ann", "other", inMemory(t), asJSON).open()
	again.until("what was set", func() bool {
		row, err := again.Conversation(soon(t), conv)
		return err == nil && row.Draft == "y" && row.Archived
	})
}

// Who is there and who types holds for the moment.
func TestPresence(t *testing.T) {
	s := serve(t)
	ann := s.device("ann", "a", inMemory(t)).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	ann.send(conv, "hello")
	bob.has(conv, "hello")
	bob.until("ann is there", func() bool { return bob.Presence("ann").State == "online" })
	must(t, ann.SetStatus(soon(t), "away", "lunch"))
	bob.until("ann is away", func() bool { p := bob.Presence("ann"); return p.State == "away" && p.Text == "lunch" })
	must(t, ann.SetTyping(soon(t), conv, true))
	bob.until("ann types", func() bool { return len(bob.Typing(conv)) == 1 })
	ann.send(conv, "there")
	bob.until("ann has sent it", func() bool { return len(bob.Typing(conv)) == 0 })
	s.proxy.Cut()
	bob.until("ann is there again", func() bool { return bob.Presence("ann").State == "away" })
}

// Ten thousand messages queue and leave, each once, in order.
func TestManyQueued(t *testing.T) {
	s := serve(t)
	n := 2000
	if long() {
		n = 10_000
	}
	s.proxy.Refuse(true)
	ann := s.device("ann", "a", inFile(t)).open()
	conv := ann.Direct("ann")
	var wg sync.WaitGroup
	gate := make(chan struct{}, 64)
	for i := range n {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			if _, err := ann.Send(soon(t), conv, num(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	order := ann.outbox()
	s.proxy.Refuse(false)
	ann.NetworkChanged()
	ann.until("all", func() bool { return ann.waiting() == 0 })
	got := ann.posts(conv)
	if len(got) != n {
		t.Fatalf("%d messages", len(got))
	}
	for i := range got {
		if got[i] != order[i] {
			t.Fatalf("%q stands where %q was written", got[i], order[i])
		}
	}
	ann.intact(conv)
}
