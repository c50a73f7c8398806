package e2e_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestBenchRuns lets every scenario of petrel bench run for a moment: it fails when a server or the client loses,
// repeats or reorders a message, or refuses one. Those of calls are below.
func TestBenchRuns(t *testing.T) {
	t.Parallel()
	small := strings.Fields("--warmup 50ms --duration 200ms --pairs 3 --members 20 --offline 10 --messages 500 --waiting 300 --conns 100 " +
		"--sessions 100 --group 100 --busy 20 --log 300 --convs 20 --sdk-messages 200")
	bench(t, strings.Fields("pairs-64 pairs-1k plain-64 plain-1k rate fanout-64 fanout-1k offline offline-group waiting idle sessions storm group-cost "+
		"history sync-1000 busy receipts search indexing sdk-send sdk-open sdk-bytes bytes"), small)
}

// TestBenchOfCallsRuns: also when a device does not ring, or rings for what is over, and when no media arrive.
func TestBenchOfCallsRuns(t *testing.T) {
	t.Parallel()
	small := strings.Fields("--warmup 50ms --duration 200ms --calls 20 --call-devices 4 --call-times 1 --call-delays 5ms --call-away 100ms --call-pickup 50ms")
	bench(t, strings.Fields("calls-setup calls-bytes calls-back calls-silent calls-switch calls-ringing calls-sfu"), small)
}

// bench runs scenarios, each of which must have a row.
func bench(t *testing.T, scenarios, flags []string) {
	t.Helper()
	cmd := exec.Command(petrel, append([]string{"bench", "--scenarios", strings.Join(scenarios, ","), "--dir", t.TempDir()}, flags...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, scenario := range scenarios {
		if !strings.Contains(string(out), "\n| "+scenario+" | ") {
			t.Errorf("%s has no row:\n%s", scenario, out)
		}
	}
}
