package petreltest

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a running petrel serve. After Start it has the same data and addresses as before.
type Server struct {
	*Process
	Data       string // directory
	MQTT, HTTP string // host:port

	t      testing.TB
	petrel string
	args   []string
}

// Serve starts petrel, the path of the program that Main built, on free ports of loopback; args as --dev. It returns when the
// server is ready. Without Stop the server is killed at the end of the test.
func Serve(t testing.TB, petrel string, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, petrel: petrel, args: args, Data: filepath.Join(t.TempDir(), "data"), MQTT: "127.0.0.1:0", HTTP: "127.0.0.1:0"}
	t.Cleanup(func() {
		if s.Process == nil {
			return // it was not even started
		}
		s.Kill()
		if t.Failed() {
			t.Logf("the server said:\n%s", s.Output())
		}
	})
	s.Start()
	return s
}

// Start starts the server once more, after Kill or Stop.
func (s *Server) Start() {
	s.t.Helper()
	args := append([]string{"serve", "--data", s.Data, "--mqtt", s.MQTT, "--http", s.HTTP}, s.args...)
	cmd := exec.Command(s.petrel, args...)
	cmd.Env = Environ()
	s.Process = start(s.t, "petrel", cmd)
	s.MQTT = Address(s.Line(func(l string) bool { return strings.Contains(l, "mqtt://") }))
	s.HTTP = Address(s.Line(func(l string) bool { return strings.Contains(l, "http://") })) // said last
}

// Address is the host:port of the first URL in a line, or "".
func Address(line string) string {
	if m := regexp.MustCompile(`//([0-9.:]+)`).FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}

// Stop ends the server in good order, as SIGTERM does. It fails the test unless it ends well.
func (s *Server) Stop() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-s.ended:
	case <-time.After(Patience):
		s.t.Error("the server does not stop")
		return
	}
	if s.err != nil {
		s.t.Errorf("the server ended with %v", s.err)
	}
}

// Restart crashes the server and starts it again.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.Start()
}

// HostPort is where MQTT is.
func (s *Server) HostPort() (host, port string) {
	host, port, _ = strings.Cut(s.MQTT, ":")
	return host, port
}

// Admin runs a command of petrel against this server, and returns its standard output.
func (s *Server) Admin(stdin string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.petrel, append(args, "--data", s.Data)...)
	cmd.Env = Environ()
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("petrel %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Get reads an HTTP resource of the server.
func (s *Server) Get(path string) string {
	s.t.Helper()
	res, err := http.Get("http://" + s.HTTP + path)
	must(s.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s, %v", path, res.Status, err)
	}
	return string(body)
}
