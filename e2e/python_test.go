package e2e_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPaho lets Python's paho-mqtt talk MQTT 3.1.1.
func TestPaho(t *testing.T) {
	python, err := filepath.Abs("python/.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		missing(t, "paho-mqtt is not installed: make e2e-deps installs it")
	}
	s := startServer(t)
	host, port, err := net.SplitHostPort(s.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	script(t, s, "python", exec.Command(python, "python/conversation.py", host, port))
}
