package e2e_test

import (
	"os"
	"testing"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// petrel is the program under test, built by TestMain.
var petrel string

func TestMain(m *testing.M) { os.Exit(petreltest.Main(m, &petrel)) }

// startServer starts petrel serve --dev, which has to end in good order when the test does.
func startServer(t *testing.T) *petreltest.Server {
	t.Helper()
	s := petreltest.Serve(t, petrel, "--dev")
	t.Cleanup(s.Stop)
	return s
}
