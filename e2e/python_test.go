package e2e_test

import (
	"os/exec"
	"testing"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// TestPaho lets Python's paho-mqtt talk MQTT 3.1.1.
func TestPaho(t *testing.T) {
	python := petreltest.Installed(t, "python/.venv/bin/python")
	s := startServer(t)
	host, port := s.HostPort()
	script(t, s, "python", exec.Command(python, "python/conversation.py", host, port))
}
