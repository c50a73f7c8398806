package e2e_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestServeRefuses: what a server must not be started on, it names, with an ordinary error.
func TestServeRefuses(t *testing.T) {
	dev := startServer(t)
	busy := exec.Command(petrel, "serve", "--dev", "--data", dev.Data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")
	refused(t, busy, 1, "another process has this data directory open")

	taken := exec.Command(petrel, "serve", "--dev", "--data", filepath.Join(t.TempDir(), "data"), "--mqtt", dev.MQTT, "--http", "127.0.0.1:0")
	refused(t, taken, 1, "address already in use")

	dev.Stop()
	serious := exec.Command(petrel, "serve", "--data", dev.Data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")
	refused(t, serious, 1, "was made by serve --dev")

	open := exec.Command(petrel, "serve", "--dev", "--data", filepath.Join(t.TempDir(), "data"), "--mqtt", "0.0.0.0:0")
	refused(t, open, 2, "loopback")
}

// refused runs a server that has to end at once with an exit code and a line that says why.
func refused(t *testing.T, cmd *exec.Cmd, code int, why string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(string(out), why) || strings.Contains(string(out), "goroutine ") {
		t.Errorf("%v, want exit code %d and %q:\n%s", err, code, why, out)
	}
}
