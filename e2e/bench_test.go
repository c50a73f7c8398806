package e2e_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestBenchRuns lets every scenario of petrel bench run for a moment: it fails when a server or the client loses,
// repeats or reorders a message, or refuses one.
func TestBenchRuns(t *testing.T) {
	small := strings.Fields("--warmup 50ms --duration 200ms --pairs 3 --members 20 --offline 10 --messages 500 --waiting 300 --conns 100 " +
		"--sessions 100 --group 100 --busy 20 --log 300 --convs 20 --sdk-messages 200")
	cmd := exec.Command(petrel, append([]string{"bench", "--scenarios", "all", "--dir", t.TempDir()}, small...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, scenario := range []string{"pairs-64", "sync-1000", "search", "bytes", "sdk-send", "sdk-open", "sdk-bytes"} {
		if !strings.Contains(string(out), "\n| "+scenario+" | ") {
			t.Errorf("%s has no row:\n%s", scenario, out)
		}
	}
}
