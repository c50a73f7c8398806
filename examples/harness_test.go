package examples_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
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

// patience is how long a test waits for what has to come, on a machine that is busy with other tests.
const patience = 60 * time.Second

// petrel is the server, built by TestMain.
var petrel string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "petrel-examples-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	petrel = filepath.Join(dir, "petrel")
	build := exec.Command("go", "build", "-o", petrel, "../cmd/petrel")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the server does not build:", err)
		return 1
	}
	return m.Run()
}

// tool returns the path of the first of some programs that is installed. Without any the test is skipped, in
// CI it fails: there they were installed before.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return absolute(t, path)
		}
	}
	missing(t, names[0])
	return ""
}

// installed is tool for a file of this folder that make e2e-deps puts there.
func installed(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, path)
	}
	return absolute(t, path)
}

func missing(t *testing.T, what string) {
	t.Helper()
	why := what + " is not installed: make e2e-deps installs it"
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	must(t, err)
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is a running program, whose output (standard output and standard error) is read line by line.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{}
	err   error // what Wait returned; valid after ended

	mu    sync.Mutex
	lines []string
	next  int // the first line that was not looked at
	more  chan struct{}
}

// launch starts a program in a process group of its own. It is killed at the end of the test.
func launch(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: cmd, more: make(chan struct{}, 1), ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe() // not io.Pipe: Wait would wait for children that keep it open
	must(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	p.in, err = cmd.StdinPipe()
	must(t, err)
	err = cmd.Start()
	w.Close()
	must(t, err)
	go func() {
		defer close(p.ended)
		defer r.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
			p.wake()
		}
		p.err = cmd.Wait()
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) wake() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// kill ends the program and its children without giving them a chance to say goodbye.
func (p *process) kill() {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended meanwhile
		<-p.ended
	}
}

// say writes lines to the program's standard input.
func (p *process) say(lines ...string) {
	p.t.Helper()
	for _, l := range lines {
		if _, err := io.WriteString(p.in, l+"\n"); err != nil {
			p.t.Fatalf("%s does not listen: %v\n%s", p.name, err, p.output())
		}
	}
}

// line returns the next line that begins with prefix, and passes over others. It fails the test if none comes.
func (p *process) line(prefix string) string {
	p.t.Helper()
	timeout := time.After(patience)
	over := false
	for {
		p.mu.Lock()
		for p.next < len(p.lines) {
			l := p.lines[p.next]
			p.next++
			if strings.HasPrefix(l, prefix) {
				p.mu.Unlock()
				return l
			}
		}
		p.mu.Unlock()
		if over {
			p.t.Fatalf("%s ended (%v) without %q, after:\n%s", p.name, p.err, prefix, p.output())
		}
		select {
		case <-p.more:
		case <-p.ended:
			over = true
		case <-timeout:
			p.t.Fatalf("%s does not say %q, after:\n%s", p.name, prefix, p.output())
		}
	}
}

// expect takes the next lines; prefix as in line.
func (p *process) expect(prefix string, want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.line(prefix); got != w {
			p.t.Fatalf("%s says\n%s\nwant\n%s\nof all this:\n%s", p.name, got, w, p.output())
		}
	}
}

// wait waits for the program's end, and fails the test unless it exits with this code.
func (p *process) wait(code int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end after:\n%s", p.name, p.output())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("%s: exit code %d, want %d:\n%s", p.name, got, code, p.output())
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// server is a running petrel. After a crash it comes back with the same addresses.
type server struct {
	*process
	t          *testing.T
	args       []string
	data       string
	mqtt, http string // host:port
}

// startServer starts a server; args as --dev.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, args: args, data: filepath.Join(t.TempDir(), "data"), mqtt: "127.0.0.1:0", http: "127.0.0.1:0"}
	s.start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server said:\n%s", s.output())
		}
	})
	return s
}

var address = regexp.MustCompile(`//([0-9.:]+)`)

// start returns when the server is ready.
func (s *server) start() {
	s.t.Helper()
	args := append([]string{"serve", "--data", s.data, "--mqtt", s.mqtt, "--http", s.http}, s.args...)
	s.process = launch(s.t, "petrel", exec.Command(petrel, args...))
	s.mqtt = address.FindStringSubmatch(s.line("  MQTT "))[1]
	s.http = address.FindStringSubmatch(s.line("  WebSocket "))[1]
}

// host and port of MQTT.
func (s *server) hostPort() (host, port string) {
	host, port, _ = strings.Cut(s.mqtt, ":")
	return host, port
}

// admin runs a command of petrel against this server, and returns its standard output.
func (s *server) admin(stdin string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(petrel, append(args, "--data", s.data)...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("petrel %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// person is somebody who uses mosquitto's clients.
type person struct {
	t                    *testing.T
	address              string // of MQTT
	user, password, name string // name: of the session that listen keeps
}

func (a person) command(program string, args ...string) *exec.Cmd {
	a.t.Helper()
	host, port, _ := strings.Cut(a.address, ":")
	args = append([]string{"-h", host, "-p", port, "-V", "mqttv5", "-u", a.user, "-q", "1"}, args...)
	if a.password != "" {
		args = append(args, "-P", a.password)
	}
	return exec.Command(tool(a.t, program), args...)
}

func (a person) say(topic, text string) {
	a.t.Helper()
	must(a.t, a.command("mosquitto_pub", "-t", topic, "-m", text).Run())
}

// listen shows messages as "topic text", from a seq on or, like "-1", the newest.
func (a person) listen(from string) *process {
	a.t.Helper()
	return launch(a.t, "mosquitto_sub", a.command("mosquitto_sub", "-i", a.name, "-c", "-t", "c/+/text/+", "-F", "%t %p",
		"-D", "subscribe", "user-property", "from", from))
}

// ask makes a request.
func (a person) ask(method, params string, reply any) {
	a.t.Helper()
	out, err := a.command("mosquitto_rr", "-t", "rpc/"+method, "-e", "u/"+a.user+"/rpc", "-m", params).Output()
	must(a.t, err)
	must(a.t, json.Unmarshal(out, &struct{ OK any }{reply}))
}

// posted is what a user posted in a conversation, as the log has it.
func (a person) posted(conv, user string) (texts []string) {
	a.t.Helper()
	var page struct{ Events []struct{ From, Text string } }
	a.ask("history", fmt.Sprintf(`{"conv":%q,"limit":500}`, conv), &page)
	for _, e := range page.Events {
		if e.From == user && e.Text != "" {
			texts = append(texts, e.Text)
		}
	}
	return texts
}
