package petreltest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a running program, whose output (standard output and standard error) is read line by line. Its methods are for the
// test's goroutine, and fail the test.
type Process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser

	ended chan struct{}
	err   error // what Wait returned; valid after ended

	mu    sync.Mutex
	lines []string
	next  int           // the first line that was not looked at
	more  chan struct{} // has one when there may be lines
}

// Launch starts a program in a process group of its own; name is what the test calls it. It is killed at the end of the test.
func Launch(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := start(t, name, cmd)
	t.Cleanup(p.Kill)
	return p
}

// start is Launch for whoever kills the program.
func start(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, name: name, cmd: cmd, more: make(chan struct{}, 1), ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	p.in, err = cmd.StdinPipe()
	must(t, err)
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	go p.read(r)
	return p
}

// longest is how much a line has at most. What is longer ends the reading, and so the program.
const longest = 1 << 20

// read takes in what the program says until it, and all children that it left, have ended.
func (p *Process) read(r *os.File) {
	defer close(p.ended)
	s := bufio.NewScanner(r)
	s.Buffer(nil, longest)
	for s.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
	r.Close()
	p.err = p.cmd.Wait()
}

// Kill ends the program and its children without giving them a chance to say goodbye.
func (p *Process) Kill() {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended meanwhile
		<-p.ended
	}
}

// Signal sends the program, not its children, a signal.
func (p *Process) Signal(sig os.Signal) {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(sig))
}

// Say writes lines to the program's standard input.
func (p *Process) Say(lines ...string) {
	p.t.Helper()
	for _, l := range lines {
		if _, err := io.WriteString(p.in, l+"\n"); err != nil {
			p.t.Fatalf("%s does not listen: %v\n%s", p.name, err, p.Output())
		}
	}
}

// EndInput closes the program's standard input.
func (p *Process) EndInput() {
	p.t.Helper()
	must(p.t, p.in.Close())
}

// Line returns the next line that keep wants, and passes over others. It fails the test if none comes.
func (p *Process) Line(keep func(line string) bool) string {
	p.t.Helper()
	timeout := time.After(Patience)
	over := false
	for {
		if l, ok := p.take(keep); ok {
			return l
		}
		if over {
			p.t.Fatalf("%s ended (%v), after:\n%s", p.name, p.err, p.Output())
		}
		select {
		case <-p.more:
		case <-p.ended:
			over = true
		case <-timeout:
			p.t.Fatalf("%s does not say what it should, after:\n%s", p.name, p.Output())
		}
	}
}

func (p *Process) take(keep func(string) bool) (line string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.next < len(p.lines) {
		l := p.lines[p.next]
		p.next++
		if keep(l) {
			return l, true
		}
	}
	return "", false
}

// Expect takes the next lines that keep wants, and compares them with want.
func (p *Process) Expect(keep func(line string) bool, want ...string) {
	p.t.Helper()
	for i, w := range want {
		if got := p.Line(keep); got != w {
			p.t.Fatalf("%s: line %d is\n%s\nwant\n%s\nof all this:\n%s", p.name, i+1, got, w, p.Output())
		}
	}
}

// Again lets Line begin once more with the first line.
func (p *Process) Again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = 0
}

// Wait waits for the program's end, and fails the test unless it exits with this code.
func (p *Process) Wait(code int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		p.t.Fatalf("%s does not end after:\n%s", p.name, p.Output())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("%s: exit code %d, want %d:\n%s", p.name, got, code, p.Output())
	}
}

// Output is all that the program has said.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}
