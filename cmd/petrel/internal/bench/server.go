package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// server is a running peer. One goroutine starts and stops it.
type server struct {
	peer
	addr     string // for mqttc.Dial
	ready    string // URL of /readyz; "" if it has none
	loopback bool
	pid      int
	tls      *tls.Config
	place    place
	env      []string // beside the bench's own
	cmd      *exec.Cmd
	exited   chan struct{} // closed when the process has ended
	log      tail
}

// start runs a peer with an empty data directory and waits until it answers a CONNECT.
func (r *runner) start(ctx context.Context, p peer) (*server, error) {
	return r.startIn(ctx, p, place{})
}

// startIn is start with the certificate that at names, if any.
func (r *runner) startIn(ctx context.Context, p peer, at place) (*server, error) {
	if p.command == nil {
		s := &server{peer: p, addr: r.opt.Addr, pid: r.opt.PID, loopback: strings.HasPrefix(r.opt.Addr, "127.")}
		if strings.HasPrefix(s.addr, "tls:") {
			s.tls = clientTLS()
		}
		return s, nil
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	if at.dir, err = os.MkdirTemp(r.dir, p.name+"-"); err != nil {
		return nil, err
	}
	at.mqtt, at.http = ports[0], ports[1]
	s := &server{peer: p, addr: loopback(at.mqtt), loopback: true, place: at}
	if at.cert != "" {
		s.addr = "tls://" + s.addr
		s.loopback = false // source addresses are for plain TCP only
		s.tls = clientTLS()
	}
	if p.petrel {
		s.ready = "http://" + loopback(at.http) + "/readyz"
	}
	if _, err := s.launch(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// clientTLS resumes sessions and, like the small clients whose bytes are worth counting, offers
// X25519 only: the post-quantum key share that Go adds by default is 1.2 KB in each direction. Which
// certificate a server under test has is of no interest to a load generator.
func clientTLS() *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		CurvePreferences:   []tls.CurveID{tls.X25519},
		MinVersion:         tls.VersionTLS13,
	}
}

// launch starts the process and returns how long it took until it was ready.
func (s *server) launch(ctx context.Context) (time.Duration, error) {
	cmd, err := s.command(s.place)
	if err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.Env = append(cmd.Environ(), s.env...)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }() // ends with the process, which close ends
	s.cmd, s.exited, s.pid = cmd, exited, cmd.Process.Pid
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if s.isReady(ctx) {
			return time.Since(start), nil
		}
		select {
		case <-exited:
			return 0, fmt.Errorf("%s ended at its start: %s", s.name, s.log.String())
		case <-ctx.Done():
			return 0, fmt.Errorf("%s did not become ready: %w: %s", s.name, context.Cause(ctx), s.log.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// isReady asks /readyz where there is one, and else whether a CONNECT is answered.
func (s *server) isReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if s.ready != "" {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ready, nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	o := s.options("probe", "probe")
	o.CleanStart, o.TLS = true, s.tls
	c, _, err := mqttc.Dial(ctx, s.addr, o)
	if err != nil {
		return false
	}
	c.Disconnect(time.Second)
	return true
}

// stop ends the process in order, or kills it after a minute.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return nil
	case <-time.After(time.Minute):
		cmd.Process.Kill()
		<-s.exited
		return fmt.Errorf("%s did not end within a minute of SIGTERM and was killed", s.name)
	}
}

// close kills the process, whose work is done, and removes its data.
func (s *server) close() error {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.exited
		s.cmd = nil
	}
	if s.place.dir == "" {
		return nil
	}
	return os.RemoveAll(s.place.dir)
}

// options are what every connection of the bench begins with. Users exist in petrel only: the plain
// peers are spared the bytes.
func (s *server) options(user, device string) mqttc.ConnectOptions {
	o := mqttc.ConnectOptions{ClientID: device}
	if s.petrel {
		o.Username, o.Password = user, []byte("bench")
	}
	return o
}

// persistent makes the session outlive the connection, in MQTT 5 where the peer speaks it.
func (s *server) persistent(o mqttc.ConnectOptions) mqttc.ConnectOptions {
	if s.v5 {
		o.Version, o.SessionExpiry = 5, 0xFFFFFFFF
	}
	return o
}

// pair names the topic to publish to and the filter to subscribe to for pair i.
func (s *server) pair(i int, plain bool) (topic, filter string) {
	if s.petrel && !plain {
		return "u/" + receiverName(i) + "/text", "c/+/text/+"
	}
	t := "bench/pair/" + strconv.Itoa(i)
	return t, t
}

// inbox is pair for device i of the offline scenarios.
func (s *server) inbox(i int) (topic, filter string) {
	if s.petrel {
		return "u/" + deviceName(i) + "/text", "c/+/text/+"
	}
	t := "bench/inbox/" + strconv.Itoa(i)
	return t, t
}

// group is the conversation that everybody is in.
func (s *server) group() (topic, filter string) {
	if s.petrel {
		return "c/general/text", "c/general/text/+"
	}
	return "bench/general", "bench/general"
}

func senderName(i int) string   { return "ana" + strconv.Itoa(i) }
func receiverName(i int) string { return "bob" + strconv.Itoa(i) }
func deviceName(i int) string   { return "dev" + strconv.Itoa(i) }

// freePorts returns ports that nobody listens on, all different.
func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

// tail keeps the last bytes that a process printed, for error messages.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if len(t.buf) > 4096 {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-2048:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
