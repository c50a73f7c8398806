package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// offline is the console of somebody who has a profile, and no server.
func offline(t *testing.T, in io.Reader, out io.Writer) console {
	t.Setenv("PETREL_SERVER", "mqtt://127.0.0.1:1")
	t.Setenv("PETREL_USER", "ann")
	return console{in: in, out: out, err: io.Discard, env: []string{"PETREL_HOME=" + t.TempDir()}}
}

// stuck is standard input to which nobody writes.
type stuck struct{ reading chan struct{} }

func (s stuck) Read([]byte) (int, error) {
	s.reading <- struct{}{}
	select {}
}

// TestInterruptedInput: ^C ends what waits for standard input.
func TestInterruptedInput(t *testing.T) {
	for _, args := range []string{"send @bob", "send @bob --lines", "send @bob --lines --queue", "login mqtt://127.0.0.1 ann --no-check"} {
		in := stuck{make(chan struct{})}
		con := offline(t, in, io.Discard)
		ctx, cancel := context.WithCancel(context.Background())
		code := make(chan int)
		go func() { code <- run(ctx, strings.Fields(args), con) }()
		select {
		case <-in.reading:
		case got := <-code:
			t.Fatalf("petrel %s read nothing: exit code %d", args, got)
		}
		cancel()
		if got := <-code; got != exitNotNow {
			t.Errorf("petrel %s: exit code %d", args, got)
		}
	}
}

// broken is standard output on a full disk, after some lines.
type broken struct{ lines int }

func (b *broken) Write(p []byte) (int, error) {
	if b.lines--; b.lines < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

// endless is standard input that has no end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "line\n"), nil }

// TestLinesThatNobodyCanBeTold: when standard output is broken, --lines takes no more of them, and ends.
func TestLinesThatNobodyCanBeTold(t *testing.T) {
	con := offline(t, endless{}, &broken{lines: 3})
	var told bytes.Buffer
	con.err = &told
	if got := run(context.Background(), []string{"send", "@bob", "--lines", "--queue"}, con); got != exitFailed || !strings.Contains(told.String(), "no space left") {
		t.Errorf("exit code %d, %s", got, told.String())
	}
}

// TestInterruptibleReads: what nobody interrupts comes whole.
func TestInterruptibleReads(t *testing.T) {
	text := strings.Repeat("0123456789", 3000)
	got, err := io.ReadAll(interruptible(context.Background(), strings.NewReader(text)))
	if err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
