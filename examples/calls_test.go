package examples_test

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
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
	for _, scenario := range []string{"direct", "glare", "reload", "crash"} {
		t.Run(scenario, func(t *testing.T) {
			callers(t, petreltest.Serve(t, petrel, "--dev"), scenario, nil)
		})
	}
}
