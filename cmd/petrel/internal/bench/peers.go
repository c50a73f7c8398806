package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// peerNames are the servers that the bench can start.
var peerNames = []string{"petrel", "mosquitto", "nats", "nats-sync"}

// peer is a kind of server: how it is started and what it can do.
type peer struct {
	name   string
	petrel bool // conversations; others get plain topics
	v5     bool // speaks MQTT 5
	// command prepares the process for an empty or used data directory. nil: it runs already.
	command func(p place) (*exec.Cmd, error)
}

// place is where one server process lives. cert and key are empty for plain TCP; conf is more of petrel's configuration.
type place struct {
	dir       string
	mqtt      int // port on 127.0.0.1
	http      int
	cert, key string
	conf      string
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// peers resolves --addr or --peers, building the nats peer if it is asked for.
func (r *runner) peers(ctx context.Context) ([]peer, error) {
	if r.opt.Addr != "" {
		return []peer{{name: r.opt.Kind, petrel: r.opt.Kind == "petrel", v5: r.opt.Kind != "plain-v4"}}, nil
	}
	var out []peer
	for _, name := range r.opt.Peers {
		switch name {
		case "petrel":
			out = append(out, peer{name: name, petrel: true, v5: true, command: r.petrelCommand})
		case "mosquitto":
			if _, err := exec.LookPath(r.opt.Mosquitto); err != nil {
				return nil, fmt.Errorf("%w: install Debian's package mosquitto, or name the binary with --mosquitto", err)
			}
			out = append(out, peer{name: name, v5: true, command: r.mosquittoCommand})
		case "nats", "nats-sync":
			if err := r.buildNATS(ctx); err != nil {
				return nil, err
			}
			sync := name == "nats-sync"
			out = append(out, peer{name: name, command: func(p place) (*exec.Cmd, error) {
				args := []string{"--data", p.dir, "--mqtt", loopback(p.mqtt)}
				if p.cert != "" {
					args = append(args, "--cert", p.cert, "--key", p.key)
				}
				if sync {
					args = append(args, "--sync")
				}
				return exec.Command(r.nats, args...), nil
			}})
		}
	}
	return out, nil
}

func namesOf(peers []peer) []string {
	var out []string
	for _, p := range peers {
		out = append(out, p.name)
	}
	return out
}

// petrelCommand starts petrel as its users would, in dev mode because that needs no accounts.
func (r *runner) petrelCommand(p place) (*exec.Cmd, error) {
	bin := r.opt.Petrel
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		bin = self
	}
	args := []string{"serve", "--dev", "--data", filepath.Join(p.dir, "data"), "--http", loopback(p.http)}
	conf := p.conf
	if p.cert == "" {
		args = append(args, "--mqtt", loopback(p.mqtt))
	} else {
		conf += fmt.Sprintf("mqtt:\n  - addr: %q\n    tls:\n      cert: %q\n      key: %q\n", loopback(p.mqtt), p.cert, p.key)
	}
	if conf == "" {
		return exec.Command(bin, args...), nil
	}
	file := filepath.Join(p.dir, "petrel.yaml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return exec.Command(bin, append(args, "--config", file)...), nil
}

// mosquittoCommand writes a configuration with persistence on and no limit on queues, so that it is
// asked to keep what petrel keeps. Nagle's algorithm is off, as in the other servers.
func (r *runner) mosquittoCommand(p place) (*exec.Cmd, error) {
	conf := fmt.Sprintf("listener %d 127.0.0.1\n", p.mqtt)
	if p.cert != "" {
		conf += "certfile " + p.cert + "\nkeyfile " + p.key + "\n"
	}
	conf += "allow_anonymous true\npersistence true\npersistence_location " + p.dir + "/\n" +
		"max_queued_messages 0\nmax_queued_bytes 0\nset_tcp_nodelay true\nlog_dest stderr\nlog_type error\n"
	if os.Getuid() == 0 {
		conf += "user root\n" // it would give up the right to its own directory
	}
	file := filepath.Join(p.dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return exec.Command(r.opt.Mosquitto, "-c", file), nil
}

// buildNATS compiles the nats peer once per run.
func (r *runner) buildNATS(ctx context.Context) error {
	if r.nats != "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(r.opt.NATSDir, "go.mod")); err != nil {
		return fmt.Errorf("the nats peer is built from petrel's source tree: run there, or name the folder with --nats-dir: %w", err)
	}
	bin := filepath.Join(r.dir, "nats")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, ".")
	cmd.Dir = r.opt.NATSDir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the nats peer: %w\n%s", err, out)
	}
	r.nats = bin
	return nil
}
