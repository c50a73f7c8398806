package e2e_test

import (
	"os/exec"
	"testing"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// script runs a client program that writes "restart" when it wants the server to crash and come
// back, and reads a line when that has happened. It has to end well, and to end with "ok".
func script(t *testing.T, s *petreltest.Server, name string, cmd *exec.Cmd) {
	t.Helper()
	p := petreltest.Launch(t, name, cmd)
	for {
		switch l := p.Line(func(string) bool { return true }); {
		case l == "restart":
			s.Restart()
			p.Say("restarted")
		case l == "ok":
			p.Wait(0)
			return
		default:
			t.Log(name + ": " + l)
		}
	}
}
