package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/servertest"
)

// typist runs a command, types into it, and reads what it says, line by line.
type typist struct {
	t    *testing.T
	who  string
	in   *io.PipeWriter
	code chan int

	mu    sync.Mutex
	said  []byte
	seen  int // of said
	ended bool
	bell  chan struct{}
}

// Write implements io.Writer: it is the command's standard output and error.
func (y *typist) Write(b []byte) (int, error) {
	y.mu.Lock()
	y.said = append(y.said, b...)
	y.mu.Unlock()
	y.ring()
	return len(b), nil
}

func (y *typist) ring() {
	select {
	case y.bell <- struct{}{}:
	default:
	}
}

// types writes a line.
func (y *typist) types(line string) {
	y.t.Helper()
	if _, err := io.WriteString(y.in, line+"\n"); err != nil {
		y.t.Fatalf("%s: %v", y.who, err)
	}
}

// reads waits for something behind what was read last.
func (y *typist) reads(pattern string) {
	y.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(time.Minute)
	for {
		y.mu.Lock()
		at := re.FindIndex(y.said[y.seen:])
		rest, ended := string(y.said[y.seen:]), y.ended
		if at != nil {
			y.seen += at[1]
		}
		y.mu.Unlock()
		if at != nil {
			return
		}
		if ended {
			y.t.Fatalf("%s ended without %s:\n%s", y.who, pattern, rest)
		}
		select {
		case <-y.bell:
		case <-late:
			y.t.Fatalf("%s does not say %s, but\n%s", y.who, pattern, rest[max(0, len(rest)-4000):])
		}
	}
}

// exits waits for the end.
func (y *typist) exits(want int) {
	y.t.Helper()
	select {
	case got := <-y.code:
		if got != want {
			y.t.Errorf("%s exits with %d, not %d:\n%s", y.who, got, want, y.said)
		}
	case <-time.After(time.Minute):
		y.t.Fatalf("%s does not end", y.who)
	}
}

// phones runs commands that call, each as if on a machine of its own.
func phones(t *testing.T) func(user string, args ...string) *typist {
	addr := servertest.Serve(t, anyone).Addr("mqtt")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	return func(user string, args ...string) *typist {
		in, typed := io.Pipe()
		y := &typist{t: t, who: user, in: typed, code: make(chan int, 1), bell: make(chan struct{}, 1)}
		home := t.TempDir()
		wg.Go(func() {
			args := append(args, "--server", "mqtt://"+addr, "--user", user, "--json")
			code := run(ctx, args, console{in: in, out: y, err: y, env: []string{"PETREL_HOME=" + home, "PETREL_PASSWORD=x"}})
			_ = in.Close()
			y.mu.Lock()
			y.ended = true
			y.mu.Unlock()
			y.code <- code
			y.ring()
		})
		return y
	}
}

// with is how a line shows that a user is connected.
func with(user string) string { return fmt.Sprintf(`"user":"%s",[^}]*"connected":true`, user) }

// held is how a line shows that a user holds, or not.
func held(user string, on bool) string {
	if on {
		return with(user) + `,"hold":true`
	}
	return with(user) + `,"(speaking|rtt)"`
}

// TestCallWaiting: during a call somebody else calls; the first one is held, both are talked with in turn, and the first goes on at the end.
func TestCallWaiting(t *testing.T) {
	phone := phones(t)
	bob := phone("bob", "answer", "--auto", "ann", "--once")
	bob.reads("waiting for calls")
	ann := phone("ann", "call", "@bob", "--keys")
	ann.reads(with("bob"))
	bob.reads(with("ann"))
	carol := phone("carol", "call", "@ann")
	ann.reads("carol calls")
	ann.types("a")
	carol.reads(with("ann"))
	bob.reads(held("ann", true))
	ann.types("s")
	bob.reads(held("ann", false))
	carol.reads(held("ann", true))
	ann.types("s")
	carol.reads(held("ann", false))
	bob.reads(held("ann", true))
	ann.types("q")
	carol.exits(0)
	bob.reads(held("ann", false))
	ann.types("h")
	bob.reads(held("ann", true))
	dora := phone("dora", "call", "@ann")
	ann.reads("dora calls")
	ann.types("n")
	dora.exits(exitDeclined)
	ann.types("x")
	ann.reads("Commands are lines")
	ann.types("q")
	ann.exits(0)
	bob.exits(0)
}

// TestTake: a call goes on at another device of the user.
func TestTake(t *testing.T) {
	phone := phones(t)
	bob := phone("bob", "answer", "--auto", "ann", "--once")
	bob.reads("waiting for calls")
	ann := phone("ann", "call", "@bob", "--keys")
	ann.reads(with("bob"))
	elsewhere := phone("bob", "answer", "--take")
	bob.reads(`"outcome":"taken"`)
	bob.exits(0)
	elsewhere.reads(with("ann"))
	ann.types("q")
	elsewhere.exits(0)
	ann.exits(0)
	phone("bob", "answer", "--take").exits(exitFailed) // there is none
}

// TestCamera: a camera answers who may see it and nobody else; the picture begins later, in layers, and is kept.
func TestCamera(t *testing.T) {
	phone := phones(t)
	small, large, dir := film(t, 64, 48), film(t, 128, 96), t.TempDir()
	camera := phone("door", "answer", "--auto", "ann", "--audio", "none", "--video", small+","+large, "--loop")
	camera.reads("waiting for calls")
	phone("carol", "call", "@door", "--ring", "1s").exits(exitMissed)
	ann := phone("ann", "call", "@door", "--keys", "--record", dir, "--limit", "2M", "--pin", "door", "--see", "1", "--video", small, "--dark", "--loop")
	ann.reads(`"user":"door",[^}]*"media":\["audio","video"\],"connected":true,[^}]*"shown":true`)
	camera.reads(`"user":"ann",[^}]*"media":\["audio"\],"connected":true`)
	ann.types("v")
	camera.reads(`"user":"ann",[^}]*"media":\["audio","video"\],"connected":true,[^}]*"shown":true`)
	ann.types("p door")
	ann.types("v")
	camera.reads(`"user":"ann",[^}]*"media":\["audio"\],"connected":true`)
	for at := filepath.Join(dir, "door-1.ivf"); ; ann.reads(with("door")) { // a line each second
		if f, err := os.Stat(at); err == nil && f.Size() > 1000 {
			break
		}
	}
	ann.types("q")
	ann.reads("recorded .*door-1.ivf")
	ann.exits(0)
	camera.reads(`"outcome":"answered"`)
}

// film writes an IVF file.
func film(t *testing.T, w, h uint16) string {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("DKIF\x00\x00\x20\x00VP80")
	for _, v := range []any{w, h, uint32(25), uint32(1), uint32(25), uint32(0)} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 25 {
		f := bytes.Repeat([]byte{1}, int(w))
		if i%10 == 0 {
			copy(f, []byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, byte(w), 0, byte(h), 0}) // RFC 6386 §9.1
		}
		b.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, uint32(len(f))), uint64(i)))
		b.Write(f)
	}
	path := filepath.Join(t.TempDir(), "film.ivf")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
