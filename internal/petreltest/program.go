// Package petreltest is what tests need that run programs, or speak TLS: the built server, other people's programs with what they
// say, an authority that signs certificates. Only tests import it.
//
// Start with [Main] in TestMain, then [Serve] and [Launch]; or with [NewAuthority].
package petreltest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits for what has to come. A machine that is busy with other tests is slow; nothing is supposed
// to take more than a second.
const Patience = 60 * time.Second

// Main builds petrel, in the way of make build, puts the path of the program into petrel, and runs the tests. It returns the exit code.
func Main(m *testing.M, petrel *string) int {
	dir, err := os.MkdirTemp("", "petrel-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	*petrel = filepath.Join(dir, "petrel")
	build := exec.Command("go", "build", "-trimpath", "-o", *petrel, "github.com/petrelchat/petrel/cmd/petrel")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "petrel does not build:", err)
		return 1
	}
	return m.Run()
}

// Environ is the environment for petrel: without PETREL_LONG, which is for tests (make long), and which petrel would refuse as a
// setting that it does not know.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PETREL_LONG=") })
}

// Tool returns the absolute path of the first of some programs that is installed. Without any the test is skipped, in CI it
// fails: there they were installed before.
func Tool(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return absolute(t, path)
		}
	}
	missing(t, names[0])
	return ""
}

// Installed is Tool for a file, relative to the package's folder, that make e2e-deps puts there.
func Installed(t testing.TB, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, path)
	}
	return absolute(t, path)
}

func missing(t testing.TB, what string) {
	t.Helper()
	why := what + " is not installed: make e2e-deps installs it"
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func absolute(t testing.TB, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	must(t, err)
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
