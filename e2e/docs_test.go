package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// The documents are scripts. A comment before a fenced block says what the block is:
//
//	<!-- doctest: run -->            its commands are run and have to succeed
//	<!-- doctest: terminal=ann -->   its command runs on, as in a terminal called ann
//	<!-- doctest: output -->         this is what the commands of the last run have written
//	<!-- doctest: output=ann -->     this is what ann's terminal shows next
//	<!-- doctest: file=petrel.yaml --> its lines are the file of that name
//
// and <!-- doctest: close=ann -->, without a block, kills what runs in ann's terminal. In output, …
// stands for anything within a line. Blocks without a comment are not run.

// step is one instruction of a document.
type step struct {
	line      int
	verb, arg string
	text      string // of the block
}

var (
	instruction = regexp.MustCompile(`^<!-- doctest: (run|terminal|output|file|close)(?:=(\S+))? -->$`)
	fence       = regexp.MustCompile("^```[a-z]*$")
)

// steps reads a document's instructions.
func steps(t *testing.T, file string) []step {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []step
	lines := strings.Split(string(b), "\n")
	for i := 0; i < len(lines); i++ {
		if !strings.Contains(lines[i], "doctest:") {
			continue
		}
		m := instruction.FindStringSubmatch(lines[i])
		if m == nil {
			t.Fatalf("%s:%d: unknown instruction %s", file, i+1, lines[i])
		}
		s := step{line: i + 1, verb: m[1], arg: m[2]}
		if s.verb != "close" {
			i++
			if i == len(lines) || !fence.MatchString(lines[i]) {
				t.Fatalf("%s:%d: no block follows", file, i+1)
			}
			var body []string
			for i++; i < len(lines) && lines[i] != "```"; i++ {
				body = append(body, lines[i])
			}
			s.text = strings.Join(body, "\n")
		}
		all = append(all, s)
	}
	return all
}

// stage is where a document is played: a directory of its own, with the programs on the PATH, and
// with other ports and directories in place of those that the document names.
type stage struct {
	t          *testing.T
	dir        string
	env        []string
	replace    *strings.Replacer
	terminals  map[string]*petreltest.Process
	lastOutput []string
}

func newStage(t *testing.T, mqttAddr, httpAddr string) *stage {
	t.Helper()
	g := &stage{t: t, dir: t.TempDir(), terminals: make(map[string]*petreltest.Process)}
	bin := filepath.Join(g.dir, "bin")
	must(t, os.Mkdir(bin, 0o755))
	must(t, os.Symlink(petrel, filepath.Join(bin, "petrel")))
	_, port, err := net.SplitHostPort(mqttAddr)
	must(t, err)
	stdbuf := petreltest.Tool(t, "stdbuf")
	for _, name := range []string{"mosquitto_pub", "mosquitto_sub", "mosquitto_rr"} {
		debug := ""
		if name == "mosquitto_sub" {
			debug = "-d" // it tells when the subscription is acknowledged: a person is slow enough
		}
		script := fmt.Sprintf("#!/bin/sh\nexec %s -oL %s %s -h 127.0.0.1 -p %s \"$@\"\n", stdbuf, petreltest.Tool(t, name), debug, port)
		must(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755))
	}
	g.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"),
		"PETREL_MQTT_ADDR="+mqttAddr, "PETREL_HTTP_ADDR="+httpAddr, "PETREL_URL=mqtt://"+mqttAddr, "PETREL_HOME="+filepath.Join(g.dir, "home"))
	g.replace = strings.NewReplacer("127.0.0.1:8080", httpAddr, "127.0.0.1:1883", mqttAddr, "sudo -u petrel ", "", "sudo ", "",
		"/var/lib/petrel", g.dir+"/lib", "/etc/petrel", g.dir+"/etc", "/var/backups", g.dir+"/backups")
	for _, d := range []string{"etc", "backups"} {
		must(t, os.Mkdir(filepath.Join(g.dir, d), 0o755))
	}
	return g
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command is bash, in this place.
func (g *stage) command(text string) *exec.Cmd {
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", g.replace.Replace(text))
	cmd.Dir, cmd.Env = g.dir, g.env
	return cmd
}

// chatter is what mosquitto's clients say only because of -d.
var chatter = regexp.MustCompile(`^(Client \S+ (sending|received) .*|Subscribed \(mid: .*)$`)

func said(l string) bool { return !chatter.MatchString(l) }

// play carries out the steps in order.
func (g *stage) play(file string, all []step) {
	for _, s := range all {
		g.t.Logf("%s:%d: %s %s", file, s.line, s.verb, s.arg)
		switch s.verb {
		case "run":
			out, err := g.command(s.text).CombinedOutput()
			if err != nil {
				g.t.Fatalf("%v\n%s", err, out)
			}
			g.lastOutput = nil
			for l := range strings.Lines(string(out)) {
				if l = strings.TrimSuffix(l, "\n"); said(l) {
					g.lastOutput = append(g.lastOutput, l)
				}
			}
		case "terminal":
			p := petreltest.Launch(g.t, s.arg, g.command("exec "+s.text))
			g.terminals[s.arg] = p
			if strings.Contains(s.text, "mosquitto_sub") {
				p.Line(subscribed)
				p.Again()
			}
		case "output":
			g.output(s)
		case "file":
			must(g.t, os.WriteFile(g.replace.Replace(s.arg), []byte(g.replace.Replace(s.text)+"\n"), 0o600))
		case "close":
			g.terminals[s.arg].Kill()
		}
	}
}

func (g *stage) output(s step) {
	g.t.Helper()
	want := strings.Split(g.replace.Replace(s.text), "\n")
	if s.arg == "" {
		if !match(strings.Join(want, "\n"), strings.Join(g.lastOutput, "\n")) {
			g.t.Fatalf("the commands wrote\n%s\nand the document says\n%s", strings.Join(g.lastOutput, "\n"), s.text)
		}
		return
	}
	for _, w := range want {
		if got := g.terminals[s.arg].Line(said); !match(w, got) {
			g.t.Fatalf("%s shows\n%s\nand the document says\n%s", s.arg, got, w)
		}
	}
}

// match compares text with a pattern in which … stands for anything within a line.
func match(pattern, text string) bool {
	parts := strings.Split(pattern, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(text)
}

// TestReadme types what the README says, against the server that make run starts.
func TestReadme(t *testing.T) {
	all := steps(t, "../README.md")
	if len(all) < 5 {
		t.Fatalf("only %d instructions", len(all))
	}
	s := startServer(t)
	newStage(t, s.MQTT, s.HTTP).play("README.md", all)
}

// TestCommandLine types what docs/cli.md says.
func TestCommandLine(t *testing.T) {
	all := steps(t, "../docs/cli.md")
	if len(all) < 5 {
		t.Fatalf("only %d instructions", len(all))
	}
	s := startServer(t)
	newStage(t, s.MQTT, s.HTTP).play("docs/cli.md", all)
}

// TestOperations types what docs/operations.md says. It starts its servers itself.
func TestOperations(t *testing.T) {
	all := steps(t, "../docs/operations.md")
	if len(all) < 5 {
		t.Fatalf("only %d instructions", len(all))
	}
	newStage(t, freeAddr(t), freeAddr(t)).play("docs/operations.md", all)
}

// freeAddr is an address where nobody listens: a server is to be restarted there.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestReadmeShowsTheExample keeps the README's Go code equal to the example that is compiled and run.
func TestReadmeShowsTheExample(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	must(t, err)
	rest := string(readme)
	for _, file := range []string{"client/example_test.go", "broker/example_test.go"} {
		source, err := os.ReadFile("../" + file)
		must(t, err)
		_, block, found := strings.Cut(rest, "```go\n")
		code, after, closed := strings.Cut(block, "\n```")
		if !found || !closed {
			t.Fatalf("README.md has no Go block from %s", file)
		}
		if rest = after; !strings.Contains(trimmed(string(source)), trimmed(code)) {
			t.Errorf("this is not in %s:\n%s", file, code)
		}
	}
}

// trimmed is a text without the indentation of its lines.
func trimmed(text string) string {
	var lines []string
	for l := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(l))
	}
	return strings.Join(lines, "\n")
}
