package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/petrelchat/petrel/broker/config"
)

// fakeServer records what it is asked to reload.
type fakeServer struct {
	reloaded chan config.Config
	err      error
}

func (f *fakeServer) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *fakeServer) Addr(name string) string {
	return map[string]string{"mqtt": "127.0.0.1:1883", "mqtt-1": "/run/p.sock", "http": "127.0.0.1:8080"}[name]
}
func (f *fakeServer) Reload(cfg config.Config) ([]string, []string, error) {
	f.reloaded <- cfg
	return []string{"log.level"}, []string{"data"}, f.err
}

func TestReloadTakesFileAndFlagsAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "petrel.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := serveCmd{Config: file, MQTT: "127.0.0.1:7"}
	f := &fakeServer{reloaded: make(chan config.Config, 1)}
	var logged bytes.Buffer
	hup, done, ended := make(chan os.Signal), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		level := new(slog.LevelVar)
		c.reloads(hup, done, console{}, f, newLogger(&logged, config.Log{Level: "info", Format: "text"}, level), level)
	}()
	write("log: {level: warn}")
	hup <- syscall.SIGHUP
	if cfg := <-f.reloaded; cfg.Log.Level != "warn" || cfg.MQTT[0].Addr != "127.0.0.1:7" {
		t.Errorf("reloaded %+v", cfg)
	}
	write("log: {level: loud}")
	hup <- syscall.SIGHUP
	close(done)
	<-ended
	for _, want := range []string{"changed=log.level", "waits_for_restart=data", "not reloaded; the old one stays", ":1: log.level"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, logged.String())
		}
	}
}

func TestWelcomeSaysWhatToTypeNext(t *testing.T) {
	cfg := config.Default()
	cfg.MQTT = append(cfg.MQTT, config.Listener{Unix: "/run/p.sock"})
	got := welcome(cfg, (&fakeServer{}).Addr)
	for _, want := range []string{"mqtt://127.0.0.1:1883\n", "unix:///run/p.sock\n", "ws://127.0.0.1:8080/mqtt\n", "petrel user add ann --data petrel-data"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	cfg.Dev = true
	if got := welcome(cfg, (&fakeServer{}).Addr); !strings.Contains(got, "mosquitto_sub -h 127.0.0.1 -p 1883 -u ann") {
		t.Error(got)
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{errors.New("broken"), 1, "petrel: broken\n"},
		{usagef("odd"), 2, "petrel: odd\n"},
		{config.Faults{{Where: "f:1", Key: "k", Text: "t"}}, 2, "f:1: k: t\n"},
	} {
		var b bytes.Buffer
		if code := report(&b, c.err); code != c.code || b.String() != c.text {
			t.Errorf("%v: %d, %q", c.err, code, b.String())
		}
	}
}
