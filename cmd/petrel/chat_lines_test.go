package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petrelchat/petrel/internal/servertest"
)

// lines is petrel chat --plain.
type lines struct {
	t    *testing.T
	in   io.WriteCloser
	out  *bufio.Scanner
	proc *exec.Cmd
	all  strings.Builder
}

func (s *chatServer) plain(env []string, args ...string) *lines {
	s.t.Helper()
	p := &lines{t: s.t, proc: exec.Command("petrel", append([]string{"chat"}, args...)...)}
	p.proc.Env = env
	var err error
	if p.in, err = p.proc.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	out, err := p.proc.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	p.proc.Stderr = os.Stderr
	if err := p.proc.Start(); err != nil {
		s.t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	return p
}

// readUp lets a user read what bob wrote, up to the last message, and leave: what is told of catching up, and when, depends on how
// fast it goes.
func (s *chatServer) readUp(env []string, last string) {
	s.t.Helper()
	p := s.plain(env, "--plain")
	p.hears("up to date")
	p.types("/to bob")
	p.hears("-- bob")
	p.types("/quit")
	for p.next() {
	}
	if err := p.proc.Wait(); err != nil || !strings.Contains(p.all.String(), last) {
		s.t.Errorf("%v, and this was read:\n%s", err, p.all.String())
	}
}

// types types a line.
func (p *lines) types(line string) {
	p.t.Helper()
	p.all.WriteString("> " + line + "\n")
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// hears waits for a line that has a text in it.
func (p *lines) hears(text string) {
	p.t.Helper()
	for p.next() {
		if strings.Contains(p.out.Text(), text) {
			return
		}
	}
	p.t.Fatalf("%q is not said; what was:\n%s", text, p.all.String())
}

func (p *lines) next() bool {
	watch := time.AfterFunc(servertest.Patience, func() { p.proc.Process.Kill() })
	defer watch.Stop()
	if !p.out.Scan() {
		return false
	}
	p.all.WriteString(p.out.Text() + "\n")
	return true
}

// end reads to the end, and compares the whole transcript.
func (p *lines) end(name string) {
	p.t.Helper()
	p.endFrom("", name)
}

// endFrom compares what was said from the first line on that begins with a text: how much of catching up is told of depends on when
// it began.
func (p *lines) endFrom(first, name string) {
	p.t.Helper()
	for p.next() {
	}
	if err := p.proc.Wait(); err != nil {
		p.t.Errorf("petrel chat --plain: %v\n%s", err, p.all.String())
	}
	all := "\n" + masked(p.all.String())
	p.same(name, all[max(strings.Index(all, "\n"+first), 0)+1:])
}

// same compares a transcript with the one in the file.
func (p *lines) same(name, got string) {
	p.t.Helper()
	file := filepath.Join("testdata", "chat", name+".transcript")
	if *updateScreens {
		writeGolden(p.t, file, got)
		return
	}
	if diff := cmp.Diff(readGolden(p.t, file), got); diff != "" {
		p.t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
