package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
	"github.com/petrelchat/petrel/internal/servertest"
)

// anyone lets everybody write to everybody.
func anyone(c *config.Config) { c.People.Messages = "anyone" }

// TestListenLive: listen that keeps nothing misses nothing while it runs, over a restart of the server and with events that
// come while it is away; and an interrupt ends it without an error.
func TestListenLive(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	s := servertest.Serve(t, anyone)
	addr := s.Addr("mqtt")
	ctx, cancel := context.WithTimeout(context.Background(), 3*servertest.Patience)
	defer cancel()
	as := func(ctx context.Context, user string, out, errs io.Writer, args ...string) int {
		return run(ctx, append(args, "--server", "mqtt://"+addr, "--user", user), console{
			in: strings.NewReader(""), out: out, err: errs, env: []string{"PETREL_HOME=" + home, "PETREL_PASSWORD=x"},
		})
	}
	send := func(text string) {
		t.Helper()
		if code := as(ctx, "ann", io.Discard, io.Discard, "send", "@bob", text); code != 0 {
			t.Fatalf("send exits with %d", code)
		}
	}
	if code := as(ctx, "bob", io.Discard, io.Discard, "who"); code != 0 { // in dev mode a user comes into being like this
		t.Fatalf("who exits with %d", code)
	}
	send("before")
	send("just before")

	listening, interrupt := context.WithCancel(ctx)
	out, outEnd := io.Pipe()
	errs, errsEnd := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- as(listening, "bob", outEnd, errsEnd, "listen")
		outEnd.Close()
		errsEnd.Close()
	}()
	said := bufio.NewReader(errs)
	if line, err := said.ReadString('\n'); err != nil || line != "petrel: listening as bob\n" {
		t.Fatalf("%q %v", line, err)
	}
	go io.Copy(io.Discard, said) //nolint:errcheck // until the pipe ends
	lines := bufio.NewReader(out)
	expect := func(seq int, text string) {
		t.Helper()
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, fmt.Sprintf(`{"conv":"ann~bob","seq":%d,`, seq)) || !strings.HasSuffix(line, fmt.Sprintf(`"text":%q}`+"\n", text)) {
			t.Fatalf("%q %v", line, err)
		}
	}
	send("live")
	expect(3, "live")
	s.Config.MQTT[0].Addr = addr
	s.Restart()
	for i := range 40 { // more than a sync brings by itself
		send(fmt.Sprint("missed ", i))
	}
	for i := range 40 {
		expect(4+i, fmt.Sprint("missed ", i))
	}
	interrupt()
	if got := <-code; got != 0 {
		t.Errorf("listen exits with %d", got)
	}
}

// TestListenStaysSmall: what listen has printed, or passes over, is not kept.
func TestListenStaysSmall(t *testing.T) {
	t.Parallel()
	addr := servertest.Serve(t, anyone).Addr("mqtt")
	ctx, cancel := context.WithTimeout(context.Background(), 3*servertest.Patience)
	defer cancel()
	out, outEnd := io.Pipe()
	errs, errsEnd := io.Pipe()
	open := func(user string, out, err io.Writer) *talk {
		t.Helper()
		con := console{in: strings.NewReader(""), out: out, err: err, env: []string{"PETREL_HOME=" + t.TempDir(), "PETREL_PASSWORD=x"}}
		f := talkFlags{Flags: profile.Flags{Server: "mqtt://" + addr, User: user}, Timeout: time.Minute}
		tk, e := f.openUse(ctx, con, profile.Use{Store: profile.Nothing})
		if e == nil {
			e = tk.online(ctx)
		}
		if e != nil {
			t.Fatal(e)
		}
		return tk
	}
	bob, carol := open("bob", outEnd, errsEnd), open("carol", io.Discard, io.Discard)
	ann, other := open("ann", io.Discard, io.Discard), open("bob", io.Discard, io.Discard)
	for _, tk := range []*talk{bob, carol, ann, other} {
		var err error
		defer tk.close(ctx, &err)
	}

	listening, interrupt := context.WithCancel(ctx)
	l := &listener{talk: bob, c: &listenCmd{}, last: make(map[string]uint64), only: []string{bob.Direct("ann")}}
	ended := make(chan error, 1)
	go func() {
		ended <- l.run(listening)
		outEnd.Close()
	}()
	if _, err := bufio.NewReader(errs).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	const many = 1000
	send := func(from *talk, to, text string) {
		t.Helper()
		if _, err := from.Send(ctx, from.Direct(to), text); err != nil {
			t.Fatal(err)
		}
	}
	sent := func(s client.Status) bool { return s.State == client.UpToDate && s.Queued == 0 }
	for range many {
		send(carol, "bob", "passed over")
	}
	if err := carol.Wait(ctx, sent); err != nil {
		t.Fatal(err)
	}
	for i := range many {
		send(ann, "bob", fmt.Sprint("message ", i))
	}
	lines := bufio.NewReader(out)
	for range many {
		if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"conv":"ann~bob",`) {
			t.Fatalf("%q %v", line, err)
		}
	}
	interrupt()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, conv := range []string{bob.Direct("ann"), bob.Direct("carol"), store.OwnLog} {
		kept, err := bob.Events(ctx, conv, client.Page{Limit: 10 * many})
		if err != nil || len(kept) > page {
			t.Errorf("%d events of %s are kept, %v", len(kept), conv, err)
		}
	}
}
