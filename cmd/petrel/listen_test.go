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
)

// TestListenLive: listen that keeps nothing misses nothing while it runs, over a restart of the server and with events that
// come while it is away; and an interrupt ends it without an error.
func TestListenLive(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	dev := func(cfg *config.Config) { cfg.Dev = true }
	addr, stop, err := startServer(dir, "", dev)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, stop, err = startServer(dir, addr, dev); err != nil {
		t.Fatal(err)
	}
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
