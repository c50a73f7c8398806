package e2e_test

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a client program whose output is read line by line.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser

	mu    sync.Mutex
	lines []string // of standard output and standard error
	next  int      // the first line that was not looked at
	more  chan struct{}
	ended chan struct{}
	err   error // what Wait returned; valid after ended
}

// launch starts a program in a process group of its own. It is killed at the end of the test.
func launch(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: cmd, more: make(chan struct{}, 1), ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
			p.wake()
		}
	}()
	go func() {
		p.err = cmd.Wait()
		w.Close()
		<-read
		close(p.ended)
		p.wake()
	}()
	t.Cleanup(p.unplug)
	return p
}

func (p *process) wake() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// unplug kills the program without giving it a chance to say goodbye, and waits for its end.
func (p *process) unplug() {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended meanwhile
	<-p.ended
}

// line returns the next line that keep wants. It fails the test if none comes.
func (p *process) line(keep func(string) bool) string {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		for p.next < len(p.lines) {
			l := p.lines[p.next]
			p.next++
			if keep(l) {
				p.mu.Unlock()
				return l
			}
		}
		all := strings.Join(p.lines, "\n")
		p.mu.Unlock()
		select {
		case <-p.more:
		case <-p.ended:
			p.mu.Lock()
			left := p.next < len(p.lines)
			p.mu.Unlock()
			if !left {
				p.t.Fatalf("%s ended (%v) and said only:\n%s", p.name, p.err, all)
			}
		case <-timeout:
			p.t.Fatalf("%s is silent after:\n%s", p.name, all)
		}
	}
}

// expect takes the next lines that keep wants, and compares them with want.
func (p *process) expect(keep func(string) bool, want ...string) {
	p.t.Helper()
	for i, w := range want {
		if got := p.line(keep); got != w {
			p.t.Fatalf("%s: line %d is %q, want %q", p.name, i+1, got, w)
		}
	}
}

// wait waits for the program's end, and fails the test unless it succeeded.
func (p *process) wait() {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end after:\n%s", p.name, strings.Join(p.output(), "\n"))
	}
	if p.err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name, p.err, strings.Join(p.output(), "\n"))
	}
}

// output is all that the program has said.
func (p *process) output() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// script runs a client program that writes "restart" when it wants the server to crash and come
// back, and reads a line when that has happened. It has to end well, and to end with "ok".
func script(t *testing.T, s *server, name string, cmd *exec.Cmd) {
	t.Helper()
	p := launch(t, name, cmd)
	for {
		switch l := p.line(func(string) bool { return true }); {
		case l == "restart":
			s.restart()
			if _, err := io.WriteString(p.in, "restarted\n"); err != nil {
				t.Fatal(err)
			}
		case l == "ok":
			p.wait()
			return
		default:
			t.Log(name + ": " + l)
		}
	}
}
