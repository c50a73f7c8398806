package e2e_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what has to come. A machine that is busy with other tests is
// slow; nothing here is supposed to take more than a second.
const patience = 60 * time.Second

// petrel is the program under test, built by TestMain.
var petrel string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "petrel-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	petrel = filepath.Join(dir, "petrel")
	build := exec.Command("go", "build", "-o", petrel, "../cmd/petrel")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the program does not build:", err)
		return 1
	}
	return m.Run()
}

// tool returns the path of a program that a test needs. Without it the test is skipped, in CI it fails:
// there the programs were installed before.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		missing(t, name+" is not installed: make tools e2e-deps installs it")
	}
	return path
}

// missing skips, or in CI fails, a test.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// server is a running petrel serve --dev. After a restart it has the same addresses.
type server struct {
	t          *testing.T
	data       string
	mqtt, http string // host:port
	cmd        *exec.Cmd
	ended      chan struct{}
	mu         sync.Mutex
	stderr     bytes.Buffer
}

// port is the MQTT port.
func (s *server) port() string { return s.mqtt[strings.LastIndexByte(s.mqtt, ':')+1:] }

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, data: filepath.Join(t.TempDir(), "data"), mqtt: "127.0.0.1:0", http: "127.0.0.1:0"}
	s.start()
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the server said:\n%s", s.log())
		}
	})
	return s
}

var announced = regexp.MustCompile(`(?:mqtt|http)://([0-9.:]+)`)

// start starts the server and returns when it is ready.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(petrel, "serve", "--dev", "--data", s.data, "--mqtt", s.mqtt, "--http", s.http)
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan struct{})
	ready := make(chan struct{})
	go s.read(pipe, ready, s.ended)
	select {
	case <-ready:
	case <-s.ended:
		s.t.Fatalf("the server ended:\n%s", s.log())
	case <-time.After(patience):
		s.t.Fatalf("the server is not ready:\n%s", s.log())
	}
}

// read takes in what the server says until it ends, and the addresses that it announces.
func (s *server) read(pipe io.Reader, ready, ended chan struct{}) {
	defer close(ended)
	seen := 0
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		line := lines.Text()
		s.mu.Lock()
		fmt.Fprintln(&s.stderr, line)
		s.mu.Unlock()
		found := announced.FindStringSubmatch(line)
		if found == nil || seen == 2 {
			continue
		}
		if strings.Contains(line, "mqtt://") {
			s.mqtt = found[1]
		} else {
			s.http = found[1]
		}
		if seen++; seen == 2 {
			close(ready)
		}
	}
}

func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.String()
}

// stop ends the server with a signal: SIGTERM in good order, SIGKILL like a crash.
func (s *server) stop(sig syscall.Signal) {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig) // it may have ended already, which Wait tells
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Error("the server does not stop")
		_ = s.cmd.Process.Kill()
	}
	err := s.cmd.Wait()
	if err != nil && sig != syscall.SIGKILL {
		s.t.Errorf("the server ended with %v", err)
	}
	s.cmd = nil
}

// restart crashes the server and starts it again.
func (s *server) restart() {
	s.t.Helper()
	s.stop(syscall.SIGKILL)
	s.start()
}

// get reads an HTTP resource of the server.
func (s *server) get(path string) string {
	s.t.Helper()
	res, err := http.Get("http://" + s.http + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s, %v", path, res.Status, err)
	}
	return string(body)
}
