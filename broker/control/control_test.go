package control

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

// socketPath is short, whatever the name of the test.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "petrel.sock")
}

func serve(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

type greeting struct {
	Name string `json:"name"`
}

type callerKey struct{}

func TestCall(t *testing.T) {
	path := socketPath(t)
	var logged bytes.Buffer
	s := serve(t, Options{
		Path:    path,
		Log:     slog.New(slog.NewTextHandler(&logged, nil)),
		Context: func(ctx context.Context) context.Context { return context.WithValue(ctx, callerKey{}, "socket") },
	})
	s.Register("greet", func(ctx context.Context, decode func(any) error) (any, error) {
		var req greeting
		if err := decode(&req); err != nil {
			return nil, chat.Refuse(chat.BadRequest, "undecodable")
		}
		return greeting{Name: "hello " + req.Name + " from " + ctx.Value(callerKey{}).(string)}, nil
	})
	s.Register("refuse", func(context.Context, func(any) error) (any, error) {
		return nil, chat.Refuse(chat.Conflict, "taken")
	})
	s.Register("break", func(context.Context, func(any) error) (any, error) { return nil, errors.New("the disk is on fire") })
	c, ctx := dial(t, path), t.Context()

	var reply greeting
	if err := c.Call(ctx, "greet", greeting{Name: "ann"}, &reply); err != nil || reply.Name != "hello ann from socket" {
		t.Fatalf("greet = %q, %v", reply.Name, err)
	}
	if err := c.Call(ctx, "greet", nil, nil); err != nil {
		t.Errorf("an empty request: %v", err)
	}
	for _, tc := range []struct {
		method string
		in     any
		want   *chat.Refusal
	}{
		{"greet", map[string]any{"name": "ann", "nmae": 1}, chat.Refuse(chat.BadRequest, "undecodable")},
		{"refuse", nil, chat.Refuse(chat.Conflict, "taken")},
		{"break", nil, chat.Refuse(chat.Unavailable, "the disk is on fire")},
		{"nothing", nil, chat.Refuse(chat.NotFound, "")},
		{"a/../greet", nil, chat.Refuse(chat.NotFound, "")},
		{"greet", greeting{Name: strings.Repeat("x", maxBody)}, chat.Refuse(chat.TooLarge, "")},
	} {
		if err := c.Call(ctx, tc.method, tc.in, nil); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.method, err, tc.want)
		}
	}
	if !strings.Contains(logged.String(), "fire") || strings.Contains(logged.String(), "taken") {
		t.Errorf("only faults belong into the log: %s", &logged)
	}
	resp, err := c.http.Get("http://petrel/rpc/greet")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("GET: %s", resp.Status)
	}
}

func TestDecodeStrict(t *testing.T) {
	for body, ok := range map[string]bool{
		``: true, `{}`: true, `{"name":"a"}`: true, "{\"name\":\"a\"}\n": true,
		`{"name":1}`: false, `{"x":1}`: false, `{}{}`: false, `{`: false, `{} x`: false,
	} {
		if err := decodeStrict([]byte(body), new(greeting)); (err == nil) != ok {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestSocketFile(t *testing.T) {
	path := socketPath(t)
	s, err := Listen(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("mode %v, %v", fi.Mode(), err)
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := Listen(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a second server: %v", err)
	}
	if err := s.Close(t.Context()); err != nil { // Serve never ran
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file outlived the server: %v", err)
	}
	if _, err := Dial(path); err == nil || !strings.Contains(err.Error(), "no server runs") {
		t.Errorf("Dial without a server: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := socketPath(t)
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	if _, err := Dial(path); err == nil || !strings.Contains(err.Error(), "no server runs") {
		t.Errorf("Dial to a stale socket: %v", err)
	}
	s := serve(t, Options{Path: path})
	s.Register("ping", func(context.Context, func(any) error) (any, error) { return struct{}{}, nil })
	if err := dial(t, path).Call(t.Context(), "ping", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Options{Path: path}); err == nil {
		t.Error("a regular file was replaced")
	}
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("now holds %q", data)
	}
}

func TestCloseSparesASuccessor(t *testing.T) {
	path := socketPath(t)
	first, err := Listen(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path) // by hand; then another server starts
	serve(t, Options{Path: path})
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
}

func TestCloseWaitsForCalls(t *testing.T) {
	path := socketPath(t)
	s, err := Listen(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	started, goOn := make(chan struct{}), make(chan struct{})
	s.Register("slow", func(context.Context, func(any) error) (any, error) {
		close(started)
		<-goOn
		return greeting{Name: "done"}, nil
	})
	c := dial(t, path)
	var reply greeting
	called, closed := make(chan error, 1), make(chan error, 1)
	go func() { called <- c.Call(context.Background(), "slow", nil, &reply) }()
	<-started
	go func() { closed <- s.Close(context.Background()) }()
	if err := <-served; err != nil { // Shutdown has begun
		t.Fatal(err)
	}
	close(goOn)
	if err := <-called; err != nil || reply.Name != "done" {
		t.Errorf("the running call: %q, %v", reply.Name, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestLongPathSaysWhatToDo(t *testing.T) {
	dir := filepath.Join(filepath.Dir(socketPath(t)), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Options{Path: filepath.Join(dir, "petrel.sock")}); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("err = %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}
