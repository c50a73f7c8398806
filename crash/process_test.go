package crash_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// process is a running server.
type process struct {
	cmd     *exec.Cmd
	addr    string // of the MQTT listener
	http    string // of the HTTP listener
	started int64  // ms since 1970, when it took connections
	log     string // file with what it said
	once    sync.Once
	done    chan struct{}

	dying atomic.Bool // it was killed, or is just being
}

// start starts the server on the world's data directory and waits until it takes connections.
func (w *world) start() *process {
	w.t.Helper()
	p := &process{
		cmd: exec.Command(w.bin, "serve", "--dev", "--data", w.dir, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"),
		log: filepath.Join(filepath.Dir(w.dir), "server.log"), done: make(chan struct{}),
	}
	// Those who are away are told soon, and as often as there is something.
	p.cmd.Env = append(os.Environ(), "PETREL_NOTIFY_WINDOW=150ms", "PETREL_NOTIFY_PER_HOUR=10000")
	said, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	w.lives.Add(1)
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.kill)
	ready := make(chan struct{})
	go func() {
		defer close(p.done)
		defer said.Close()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			_, _ = said.WriteString(lines.Text() + "\n") // for people who look into a failure
			if _, a, ok := strings.Cut(lines.Text(), "MQTT       mqtt://"); ok {
				p.addr = a
			}
			if _, a, ok := strings.Cut(lines.Text(), "Health     http://"); ok { // said last
				p.http = strings.TrimSuffix(a, "/readyz")
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
		p.started = now()
	case <-p.done:
		w.t.Fatalf("round %d: the server does not start again; see %s", w.round, p.log)
	case <-time.After(patience):
		w.t.Fatalf("round %d: the server is not ready; see %s", w.round, p.log)
	}
	return p
}

// kill is SIGKILL. It returns when the process is gone.
func (p *process) kill() {
	p.dying.Store(true)
	p.once.Do(func() {
		_ = p.cmd.Process.Kill() // fails only when it is gone already
		<-p.done
		_ = p.cmd.Wait() // says that it was killed
	})
}
