// Package servertest is what tests need that run servers in their own process: one with its data and its log, the proxy before it,
// clients that lose no time. Only tests import it. Tests of the built program use petreltest.
//
// Start with [Serve]. What has no testing.TB, as examples and scripts, starts with [Config] and [Run].
package servertest

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// Patience is how long a test waits for what has to come; it is no part of any assertion. A machine that is busy with other tests
// is slow; nothing is supposed to take more than a second.
const Patience = 60 * time.Second

// Soon is a context that ends when Patience, or the test, does.
func Soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Config are the settings of servers of tests: in dev mode, on free ports of loopback, with passwords that cost nothing and no room
// kept free on the disk.
func Config(dir string) config.Config {
	c := config.Default()
	c.Data, c.Dev = dir, true
	c.MQTT[0].Addr, c.HTTP.Addr = "127.0.0.1:0", "127.0.0.1:0"
	c.Storage.MinFree, c.Storage.Reserve = 0, 0
	c.Auth.Argon2 = config.Argon2{Memory: 8 * config.KiB, Time: 1, Threads: 1}
	return c
}

// Unpaced lets everybody post and ask as fast as they can.
func Unpaced(c *config.Config) { c.Limits.RequestsPerSecond, c.Limits.EventsPerSecond = 0, 0 }

// Running is a server that Run started.
type Running struct {
	*broker.Server
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // what broker.Server.Run returned; valid after ended
}

// Run starts a server, and returns when it is ready. Its OnReady is Run's own.
func Run(o broker.Options) (*Running, error) {
	ready := make(chan struct{})
	o.OnReady = func() { close(ready) }
	s, err := broker.New(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Running{Server: s, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = s.Run(ctx)
	}()
	select {
	case <-ready:
		return r, nil
	case <-r.ended:
		cancel()
		return nil, errors.Join(errors.New("the server ended before it was ready"), r.err)
	case <-time.After(Patience):
		return nil, errors.Join(errors.New("the server is not ready"), r.Stop())
	}
}

// Stop ends the server as SIGTERM does, and returns what it ended with; more calls return the same.
func (r *Running) Stop() error {
	r.cancel()
	select {
	case <-r.ended:
		return r.err
	case <-time.After(Patience):
		return errors.New("the server does not end")
	}
}

// Server is a server of a test. Its methods are for the test's goroutine, and fail the test.
type Server struct {
	*broker.Server // another one after each Start

	Config config.Config         // what the next Start goes by
	Tune   func(*broker.Options) // what no setting says, as the clock and the store; each Start calls it. nil: nothing
	Log    *Log

	t     testing.TB
	run   *Running // nil: it does not run
	proxy *faultproxy.Proxy
}

// Serve starts a server with settings as Config's, changed in turn. It ends with the test.
func Serve(t testing.TB, change ...func(*config.Config)) *Server {
	t.Helper()
	s := New(t, change...)
	s.Start()
	return s
}

// New is Serve for whoever has more to say before Start.
func New(t testing.TB, change ...func(*config.Config)) *Server {
	t.Helper()
	s := &Server{Config: Config(t.TempDir()), Log: NewLog(t), t: t}
	for _, f := range change {
		f(&s.Config)
	}
	t.Cleanup(s.Stop)
	return s
}

// Start starts the server: after Stop with the same data, at another address unless Config names one.
func (s *Server) Start() {
	s.t.Helper()
	o := broker.Options{Config: s.Config, Log: slog.New(slog.NewTextHandler(s.Log, nil))}
	if s.Tune != nil {
		s.Tune(&o)
	}
	run, err := Run(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Server, s.run = run.Server, run
	if s.proxy != nil {
		s.proxy.Target(s.Addr("mqtt"))
	}
}

// Stop ends the server as SIGTERM does, if it runs.
func (s *Server) Stop() {
	s.t.Helper()
	if s.run == nil {
		return
	}
	if err := s.run.Stop(); err != nil {
		s.t.Error("the server ended with", err)
	}
	s.run = nil
}

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// Ended waits until the server has ended by itself, and returns why.
func (s *Server) Ended() error {
	s.t.Helper()
	select {
	case <-s.run.ended:
	case <-time.After(Patience):
		s.t.Fatal("the server goes on")
	}
	err := s.run.Stop()
	s.run = nil
	return err
}

// Proxy is one before the server, which breaks connections when the test says so. It follows the server over Start.
func (s *Server) Proxy() *faultproxy.Proxy {
	s.t.Helper()
	if s.proxy != nil {
		return s.proxy
	}
	p, err := faultproxy.New(s.Addr("mqtt"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(p.Close)
	s.proxy = p
	return p
}
