package examples_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// callers has browser/calls.mjs play a scenario with calls of the page. What it asks for is in asks; "stop" and "start" are the server's.
func callers(t *testing.T, s *petreltest.Server, scenario string, asks map[string]func()) {
	t.Helper()
	node := petreltest.Tool(t, "node")
	driver, err := filepath.Abs("browser/calls.mjs")
	must(t, err)
	browser := petreltest.Tool(t, "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
	petreltest.Installed(t, "browser/node_modules/playwright-core")
	files := httptest.NewServer(http.FileServer(http.Dir("browser")))
	defer files.Close()
	p := launch(t, "calls.mjs", exec.Command(node, driver, files.URL, "ws://"+s.HTTP+"/mqtt", browser, scenario))
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
			if do := asks[l]; do != nil {
				do()
				p.Say("done")
				continue
			}
			t.Log(l)
		}
	}
}

// TestCalls has two people call each other, from browsers.
func TestCalls(t *testing.T) {
	for _, scenario := range []string{"direct", "waiting", "handover", "settings", "glare", "reload", "crash"} {
		t.Run(scenario, func(t *testing.T) {
			callers(t, petreltest.Serve(t, petrel, "--dev"), scenario, nil)
		})
	}
}

// program runs a command of petrel that takes part in calls.
func program(t *testing.T, s *petreltest.Server, user string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(petrel, append(args, "--server", "mqtt://"+s.MQTT, "--user", user, "--json")...)
	cmd.Env = append(petreltest.Environ(), "PETREL_HOME="+t.TempDir(), "PETREL_PASSWORD=any")
	p := launch(t, strings.Join(args, " ")+" of "+user, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s of %s said:\n%s", args[0], user, p.Output())
		}
	})
	return p
}

// hears waits until a program is connected to so many others in a call and media arrive.
func (p *process) hears(others int, sfu bool) {
	p.t.Helper()
	p.Line(func(l string) bool {
		var s struct {
			In      float64
			SFU     bool
			Parties []struct{ Connected bool }
		}
		if json.Unmarshal([]byte(l), &s) != nil {
			return false
		}
		n := 0
		for _, m := range s.Parties {
			if m.Connected {
				n++
			}
		}
		return n == others && s.In > 10 && s.SFU == sfu
	})
}

// TestCallsProgram: a browser calls the program of the command line, and is called by it.
func TestCallsProgram(t *testing.T) {
	s := petreltest.Serve(t, petrel, "--dev")
	s.Admin("", "user", "add", "ann", "--no-password")
	s.Admin("", "user", "add", "bob", "--no-password")
	var bob *process
	callers(t, s, "program", map[string]func(){
		"answer": func() {
			bob = program(t, s, "bob", "answer", "--auto", "ann", "--limit", "150k", "--record", t.TempDir())
			bob.line("petrel: waiting for calls as bob")
		},
		"heard": func() { bob.hears(1, false) },
		"call": func() {
			bob.line("petrel: recorded ")
			bob.Kill()
			bob = program(t, s, "bob", "call", "@ann", "--see", "0")
		},
	})
	bob.Wait(0)
}

// TestCallsGroup: three browsers and two programs in one call, which is a mesh first and goes through the SFU in the end, also after a
// crash of that. They talk; in make long they see each other too, which is more than two processors do in good time.
func TestCallsGroup(t *testing.T) {
	petreltest.Tool(t, "mosquitto_rr")
	scenarios := []string{"voices"}
	if os.Getenv("PETREL_LONG") != "" {
		scenarios = append(scenarios, "group")
	}
	for _, scenario := range scenarios {
		t.Run(scenario, func(t *testing.T) { crew(t, scenario) })
	}
}

func crew(t *testing.T, scenario string) {
	s := petreltest.Serve(t, petrel, "--dev")
	for _, user := range []string{"ann", "bob", "carol", "dave", "erin"} {
		s.Admin("", "user", "add", user, "--no-password")
	}
	person{t: t, address: s.MQTT, user: "ann"}.ask("group.create", `{"id":"crew","title":"crew","members":["bob","carol","dave","erin"]}`, new(struct{}))
	var programs []*process
	callers(t, s, scenario, map[string]func(){
		"programs": func() {
			for _, user := range []string{"dave", "erin"} {
				programs = append(programs, program(t, s, user, "call", "crew"))
			}
		},
		"heard": func() {
			for _, p := range programs {
				p.hears(4, true)
			}
		},
	})
}
