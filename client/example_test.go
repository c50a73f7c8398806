package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/internal/servertest"
)

// exampleServer starts a server in this program, for the examples. stop ends it.
func exampleServer() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "petrel-example-")
	if err != nil {
		log.Fatal(err)
	}
	s, err := servertest.Run(broker.Options{Config: servertest.Config(dir)})
	if err != nil {
		log.Fatal(err)
	}
	return "mqtt://" + s.Addr("mqtt"), func() {
		_ = s.Stop()
		os.RemoveAll(dir)
	}
}

// Connect, send, receive.
func Example() {
	server, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	bob, err := client.Open(ctx, client.Options{Server: server, User: "bob", Store: memory.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close(ctx)
	bob.Wait(ctx, func(s client.Status) bool { return s.State == client.UpToDate })
	updates := bob.Updates(ctx)

	ann, err := client.Open(ctx, client.Options{Server: server, User: "ann", Store: memory.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer ann.Close(ctx)
	if _, err := ann.Send(ctx, ann.Direct("bob"), "hello"); err != nil {
		log.Fatal(err)
	}

	for u := range updates {
		if u.Kind != client.UpdateMessages {
			continue
		}
		messages, err := bob.Messages(ctx, u.Conv, client.Page{})
		if err != nil {
			log.Fatal(err)
		}
		for _, m := range messages {
			fmt.Printf("%s: %s\n", m.From, m.Text)
		}
		break
	}
	// Output:
	// ann: hello
}

// What is written without a connection waits on the disk; it can be seen, changed and taken back until it is sent.
func ExampleClient_Post_offline() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{Server: "mqtt://127.0.0.1:1", User: "ann", Store: memory.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)

	conv := c.Direct("bob")
	m, err := c.Post(ctx, conv, client.Post{Text: "see you at 8"})
	if err != nil {
		log.Fatal(err)
	}
	c.Post(ctx, conv, client.Post{Text: "bring a coat", Re: m.Target()})
	c.Edit(ctx, conv, m.Target(), "see you at 9")
	never, _ := c.Send(ctx, conv, "oops")
	c.Cancel(ctx, never.ID)

	messages, err := c.Messages(ctx, conv, client.Page{})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range messages {
		fmt.Println(m.State, m.Text)
	}
	// Output:
	// queued see you at 9
	// queued bring a coat
}

// A program that is woken for some seconds stores what it missed, sends what is queued, and leaves.
func ExampleFetch() {
	server, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kept := memory.New() // in a program: Options.Path, a file

	options := client.Options{Server: server, User: "bob", Device: "phone", Store: kept}
	if _, err := client.Fetch(ctx, options); err != nil {
		log.Fatal(err)
	}
	ann, err := client.Open(ctx, client.Options{Server: server, User: "ann", Store: memory.New()})
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"are you there?", "call me"} {
		ann.Send(ctx, ann.Direct("bob"), text)
	}
	ann.Close(ctx) // connects and sends them first

	got, err := client.Fetch(ctx, options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(got.Events, "events in", got.Conversations)
	// Output:
	// 2 events in [ann~bob]
}

// rot13 is a Codec that hides texts from children.
type rot13 struct{}

func (rot13) Out(_ context.Context, _ string, e *chat.Event) error {
	if e.Text != "" {
		e.Enc, e.Text = []byte(turn(e.Text)), ""
	}
	return nil
}

func (rot13) In(_ context.Context, _ string, e *chat.Event) error {
	if e.Enc != nil {
		e.Text = turn(string(e.Enc))
	}
	return nil
}

func turn(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z':
			b[i] = 'a' + (c-'a'+13)%26
		case c >= 'A' && c <= 'Z':
			b[i] = 'A' + (c-'A'+13)%26
		}
	}
	return string(b)
}

// End-to-end encryption is a Codec: the server sees what it makes.
func ExampleCodec() {
	server, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Open(ctx, client.Options{Server: server, User: "ann", Store: memory.New(), Codec: rot13{}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	m, err := c.Send(ctx, c.Direct("ann"), "nobody else reads this")
	if err != nil {
		log.Fatal(err)
	}
	if m, err = c.Sent(ctx, m); err != nil {
		log.Fatal(err)
	}
	var page struct {
		Events []struct{ Text string }
	}
	if err := c.Call(ctx, "history", map[string]any{"conv": m.Conv}, &page); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("here: %q\n", m.Text)
	fmt.Printf("there: %d event, text %q\n", len(page.Events), page.Events[0].Text)
	// Output:
	// here: "nobody else reads this"
	// there: 1 event, text ""
}
