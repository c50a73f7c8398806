package examples_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// TestShell lets two people chat with chat.sh, away and back, over a crash of the server.
func TestShell(t *testing.T) {
	sh, pub := petreltest.Tool(t, "sh"), petreltest.Tool(t, "mosquitto_pub")
	petreltest.Tool(t, "mosquitto_sub")
	s := petreltest.Serve(t, petrel, "--dev")
	host, port := s.HostPort()
	state := t.TempDir()
	chat := func(user, to string) *process {
		cmd := exec.Command(sh, "shell/chat.sh", user, to)
		cmd.Env = append(os.Environ(), "PETREL_HOST="+host, "PETREL_PORT="+port, "PETREL_STATE="+state)
		p := launch(t, "chat.sh of "+user, cmd)
		p.line("(listening)")
		return p
	}
	ann, bob := chat("ann", "@bob"), chat("bob", "@ann")
	const fromAnn, fromBob = "ann~bob ann: ", "ann~bob bob: "

	ann.Say(`"quotes" and \backslashes\ and $(touch x) and 日本`)
	bob.expect("", fromAnn+`"quotes" and \backslashes\ and $(touch x) and 日本`)
	bob.Say("hello ann", "how are you?")
	ann.expect("", fromBob+"hello ann", fromBob+"how are you?")

	// A message of several lines can't pretend to be another one, nor play with the terminal.
	forged := exec.Command(pub, "-h", host, "-p", port, "-u", "bob", "-q", "1", "-t", "u/ann/text", "-s")
	lines, err := forged.StdinPipe()
	must(t, err)
	must(t, forged.Start())
	_, err = lines.Write([]byte("first\nc/ann~bob/text/carl \x1b[2Jsecond\u009b31m"))
	must(t, err)
	must(t, lines.Close())
	must(t, forged.Wait())
	ann.expect("", fromBob+"first", "    c/ann~bob/text/carl  [2Jsecond 31m")

	bob.Kill()
	ann.Say("while you were away 1", "while you were away 2", "")
	other := chat("ann2", "no-such-group")
	other.Say("is anybody here?")
	other.expect("not sent: ", "not sent: Warning: Publish 1 failed: Not authorized.")
	other.Kill()
	s.Kill()
	ann.Say("written without a server", "and another")
	ann.line("(no server")
	s.Start()
	bob = chat("bob", "@ann")
	bob.Again() // the server need not wait for his subscription with what he missed
	bob.expect("ann~bob", fromAnn+"while you were away 1", fromAnn+"while you were away 2", fromAnn+"written without a server", fromAnn+"and another")
	bob.Say("welcome back")
	ann.expect("ann~bob", fromBob+"welcome back")
	ann.Say("the end")
	bob.expect("ann~bob", fromAnn+"the end")
}

// TestShellRefused: with a wrong password the script says so and ends.
func TestShellRefused(t *testing.T) {
	sh := petreltest.Tool(t, "sh")
	petreltest.Tool(t, "mosquitto_pub")
	s := petreltest.Serve(t, petrel)
	s.Admin("correct horse battery\n", "user", "add", "ann")
	host, port := s.HostPort()
	for _, says := range []string{"", "hello"} {
		cmd := exec.Command(sh, "shell/chat.sh", "ann", "@bob")
		cmd.Env = append(os.Environ(), "PETREL_HOST="+host, "PETREL_PORT="+port, "PETREL_PASSWORD=wrong", "PETREL_STATE="+t.TempDir())
		p := launch(t, "chat.sh", cmd)
		if says != "" {
			p.Say(says)
		}
		p.line("Connection error: Bad User Name or Password")
		p.Wait(1)
	}
}

// TestPython lets two people chat with chat.py: away and back, over crashes of the server and of the program.
func TestPython(t *testing.T) {
	python := petreltest.Installed(t, "python/.venv/bin/python")
	s := petreltest.Serve(t, petrel, "--dev")
	dir := t.TempDir()
	chat := func(user, to string) *process {
		return launch(t, "chat.py of "+user, exec.Command(python, "python/chat.py", user, to,
			"--server", "mqtt://"+s.MQTT, "--store", filepath.Join(dir, user+".db")))
	}
	const fromAnn, fromBob = "ann~bob ann: ", "ann~bob bob: "

	s.Admin("", "user", "add", "bob", "--no-password") // with --dev the others come into being when they connect
	ann := chat("ann", "@bob")
	ann.Say("hello bob \x1b[2J 👍")
	bob := chat("bob", "@ann")
	bob.expect("ann~bob", fromAnn+"hello bob  [2J 👍")
	bob.Say("hello ann")
	ann.expect("ann~bob", fromBob+"hello ann")

	// bob's program is killed, then the server, then ann's program, with a message that only its file has.
	bob.Kill()
	ann.Say("while you were away 1", "while you were away 2")
	s.Kill()
	ann.line("(the connection is lost)")
	ann.Say("written without a server")
	ann.line("(no connection: it waits)")
	ann.Kill()
	s.Start()
	ann = chat("ann", "@bob")
	ann.Say("and another")
	bob = chat("bob", "@ann")
	bob.expect("ann~bob", fromAnn+"while you were away 1", fromAnn+"while you were away 2", fromAnn+"written without a server", fromAnn+"and another")
	bob.Say("welcome back")
	ann.expect("ann~bob", fromBob+"welcome back")

	refused := chat("bob2", "no-such-group")
	refused.Say("is anybody here?")
	refused.expect("not", "not sent: not-found: there is no such conversation for you: check its id, or ask a member to add you")

	// The end of its input is the end of the program, after what was said is sent.
	ann.Say("the end")
	ann.EndInput()
	ann.Wait(0)
	bob.expect("ann~bob", fromAnn+"the end")
}

// TestPythonRefused: with a wrong password the program says so and ends.
func TestPythonRefused(t *testing.T) {
	python := petreltest.Installed(t, "python/.venv/bin/python")
	s := petreltest.Serve(t, petrel)
	s.Admin("correct horse battery\n", "user", "add", "ann")
	cmd := exec.Command(python, "python/chat.py", "ann", "@bob", "--server", "mqtt://"+s.MQTT, "--store", filepath.Join(t.TempDir(), "ann.db"))
	cmd.Env = append(os.Environ(), "PETREL_PASSWORD=wrong")
	p := launch(t, "chat.py", cmd)
	p.expect("", "the server refuses: Bad user name or password")
	p.Wait(1)
}

// TestBrowser has browser/drive.mjs use the page in a browser.
func TestBrowser(t *testing.T) {
	node := petreltest.Tool(t, "node")
	driver, err := filepath.Abs("browser/drive.mjs")
	must(t, err)
	browser := petreltest.Tool(t, "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
	petreltest.Installed(t, "browser/node_modules/playwright-core")
	s := petreltest.Serve(t, petrel, "--dev")
	files := httptest.NewServer(http.FileServer(http.Dir("browser")))
	defer files.Close()
	p := launch(t, "drive.mjs", exec.Command(node, driver, files.URL, "ws://"+s.HTTP+"/mqtt", browser))
	for {
		switch l := p.line(""); l {
		case "stop":
			s.Kill()
			p.Say("stopped")
		case "start":
			s.Start()
			p.Say("started")
		case "ok":
			p.Wait(0)
			return
		default:
			t.Log(l)
		}
	}
}

// TestEmbed talks to the bot of a program that has the server in it, before and after the program is killed.
func TestEmbed(t *testing.T) {
	petreltest.Tool(t, "mosquitto_pub")
	program := filepath.Join(t.TempDir(), "embed")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./embed") // in the way of make build
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, addr := filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	start := func() *process {
		p := launch(t, "embed", exec.Command(program, "-data", data, "-mqtt", addr, "-http", "127.0.0.1:0"))
		addr = petreltest.Address(p.line("petrel is ready: "))
		p.line("dice is there")
		return p
	}
	embed := start()
	human := person{t: t, address: addr, user: "ann", name: "watch"}
	human.say("c/general/text", "hello everybody") // it makes ann a member
	ann := human.listen("-10")
	ann.line("c/general/text/ann hello everybody")

	human.say("c/general/text", "/roll 3d1")
	ann.expect("c/general/text/dice", "c/general/text/dice 3d1: 1 + 1 + 1 = 3")
	human.say("c/general/text", "no command: /roll 2d1")
	human.say("c/general/text", "/roll everything")
	ann.expect("c/general/text/dice", "c/general/text/dice say how many dice, at most 20, and how many sides, at most 1000: /roll 2d6")
	human.say("u/dice/text", "/roll@dice 2d1")
	ann.expect("c/ann~dice/text/dice", "c/ann~dice/text/dice 2d1: 1 + 1 = 2")

	// It answers once, also after a crash.
	embed.Kill()
	embed = start()
	human.say("c/general/text", "/roll 4d1")
	ann.line("c/general/text/dice 4d1: 1 + 1 + 1 + 1 = 4")
	if replies := human.posted("general", "dice"); len(replies) != 3 {
		t.Errorf("replies to three commands: %q", replies)
	}
	embed.Signal(syscall.SIGTERM)
	embed.Wait(0)
}

// TestReadme: every example is in the table, with a file that is there.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("README.md")
	must(t, err)
	rows := regexp.MustCompile(`(?m)^\| \[(\w+)\]\((\w+)/`).FindAllStringSubmatch(string(b), -1)
	listed := make(map[string]bool)
	for _, r := range rows {
		listed[r[1]] = r[1] == r[2]
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(b), -1) {
		if _, err := os.Stat(link[1]); err != nil {
			t.Errorf("README.md: %v", err)
		}
	}
	all, err := os.ReadDir(".")
	must(t, err)
	for _, e := range all {
		if e.IsDir() && !listed[e.Name()] {
			t.Errorf("README.md does not list %s", e.Name())
		}
		delete(listed, e.Name())
	}
	if len(listed) > 0 {
		t.Errorf("README.md lists %v, which are not there", listed)
	}
}
