package client_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/internal/faultproxy"
	"github.com/petrelchat/petrel/internal/servertest"
)

// serverIn is the environment variable with which this test program is a server on a data directory.
const serverIn = "PETREL_TEST_SERVER_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverIn); dir != "" {
		beServer(dir)
		return
	}
	if path := os.Getenv(clientIn); path != "" {
		beClient(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// beServer serves until it is killed, or its parent is gone.
func beServer(dir string) {
	cfg := servertest.Config(dir)
	servertest.Unpaced(&cfg)
	s, err := servertest.Run(broker.Options{Config: cfg})
	if err == nil {
		fmt.Println(s.Addr("mqtt"))
		_, _ = bufio.NewReader(os.Stdin).ReadString(0) // ends with the parent
		err = s.Stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// process is a server in a process of its own.
type process struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	addr string
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), serverIn+"="+p.dir)
	p.cmd.Stderr = os.Stderr
	_, err := p.cmd.StdinPipe()
	must(p.t, err)
	out, err := p.cmd.StdoutPipe()
	must(p.t, err)
	must(p.t, p.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(p.t, err)
	p.addr = strings.TrimSpace(line)
}

// kill ends the process as SIGKILL does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// The server is killed in the middle of everything, again and again: what was acknowledged is there, once and in order, and what was not
// is sent again.
func TestServerKilled(t *testing.T) {
	rounds := 6
	if long() {
		rounds = 100
	}
	p := &process{t: t, dir: t.TempDir()}
	p.start()
	t.Cleanup(func() { p.kill() })
	proxy, err := faultproxy.New(p.addr)
	must(t, err)
	t.Cleanup(proxy.Close)
	s := &server{Server: &servertest.Server{Log: servertest.NewLog(t)}, t: t, proxy: proxy}
	ann := s.device("ann", "a", inFile(t)).open()
	bob := s.device("bob", "b", inMemory(t)).open()
	ann.upToDate()
	bob.upToDate()
	conv := ann.Direct("bob")
	r := seed(t)
	n := 0
	for range rounds {
		for range 40 {
			ann.send(conv, "ann "+num(n))
			bob.send(conv, "bob "+num(n))
			n++
		}
		few := r.IntN(40)
		ann.until("some are sent", func() bool { return ann.Status().Queued <= few })
		p.kill()
		p.start()
		proxy.Target(p.addr)
		ann.NetworkChanged()
		bob.NetworkChanged()
	}
	for _, d := range []*device{ann, bob} {
		d.until("all", func() bool { return d.waiting() == 0 && len(d.posts(conv)) == 2*n })
		d.intact(conv)
		for _, who := range []string{"ann ", "bob "} {
			i := 0
			for _, text := range d.posts(conv) {
				if rest, ok := strings.CutPrefix(text, who); ok {
					if rest != num(i) {
						t.Fatalf("%s%s stands where %s belongs", who, rest, num(i))
					}
					i++
				}
			}
		}
	}
	if a, b := ann.log(conv, false), bob.log(conv, false); a != b {
		t.Errorf("the logs differ: %s", differ(a, b))
	}
}
