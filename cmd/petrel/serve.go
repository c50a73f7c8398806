package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/petrelchat/petrel/broker/config"
)

type serveCmd struct {
	Config string `help:"Configuration file; docs/petrel.yaml shows every setting." env:"PETREL_CONFIG" placeholder:"FILE"`
	Data   string `help:"Directory of everything that survives (petrel-data)." placeholder:"DIR"`
	MQTT   string `name:"mqtt" help:"Address of the first MQTT listener (127.0.0.1:1883)." placeholder:"ADDR"`
	HTTP   string `name:"http" help:"Address for WebSocket, health and metrics (127.0.0.1:8080)." placeholder:"ADDR"`
	Dev    bool   `help:"To try things: loopback only, any user name with any password, no rate limits."`
}

// settings are the flags that were given, above file and environment.
func (c serveCmd) settings() []config.Setting {
	var s []config.Setting
	for _, f := range []config.Setting{
		{Source: "--data", Key: "data", Value: c.Data},
		{Source: "--mqtt", Key: "mqtt.0.addr", Value: c.MQTT},
		{Source: "--http", Key: "http.addr", Value: c.HTTP},
	} {
		if f.Value != "" {
			s = append(s, f)
		}
	}
	if c.Dev {
		s = append(s, config.Setting{Source: "--dev", Key: "dev", Value: "true"})
	}
	return s
}

// server is what serve asks of package broker.
type server interface {
	// Run serves until ctx ends, drains, and returns.
	Run(ctx context.Context) error
	// Reload takes over what can be, and names the settings that changed and those that wait for a restart.
	Reload(cfg config.Config) (changed, needRestart []string, err error)
	// Addr is where the named listener listens, "" if there is none.
	Addr(name string) string
}

func (c serveCmd) Run(ctx context.Context, io console) error {
	cfg, err := load(c.Config, io.env, c.settings()...)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	log := newLogger(io.err, cfg.Log, level)
	var s server
	s, err = newServer(cfg, log, func() { fmt.Fprint(io.err, welcome(cfg, s.Addr)) })
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.reloads(hup, done, io, s, log, level)
	}()
	err = s.Run(ctx)
	close(done)
	<-ended
	return err
}

// reloads answers SIGHUP until done.
func (c serveCmd) reloads(hup <-chan os.Signal, done <-chan struct{}, io console, s server, log *slog.Logger, level *slog.LevelVar) {
	for {
		select {
		case <-done:
			return
		case <-hup:
		}
		cfg, err := load(c.Config, io.env, c.settings()...)
		if err != nil {
			log.Error("configuration not reloaded; the old one stays", "error", err)
			continue
		}
		changed, restart, err := s.Reload(cfg)
		if err != nil {
			log.Error("configuration not reloaded; the old one stays", "error", err)
			continue
		}
		log.Info("configuration reloaded", "changed", strings.Join(changed, " "), "waits_for_restart", strings.Join(restart, " "))
		level.Set(logLevel(cfg.Log))
	}
}

// welcome says that the server is ready, and what to type next.
func welcome(cfg config.Config, addr func(name string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "petrel %s is ready. Data: %s\n", version, cfg.Data)
	for i, l := range cfg.MQTT {
		scheme := "mqtt"
		switch {
		case l.Unix != "":
			scheme = "unix"
		case l.TLS.On():
			scheme = "mqtts"
		}
		fmt.Fprintf(&b, "  MQTT       %s://%s\n", scheme, addr(config.ListenerName(i)))
	}
	if cfg.HTTP.Addr != "" {
		ws, web := "ws", "http"
		if cfg.HTTP.TLS.On() {
			ws, web = "wss", "https"
		}
		fmt.Fprintf(&b, "  WebSocket  %s://%s%s\n  Health     %s://%s/readyz\n", ws, addr("http"), cfg.HTTP.Path, web, addr("http"))
	}
	if cfg.Metrics.Addr != "" {
		fmt.Fprintf(&b, "  Metrics    http://%s/metrics\n", addr("metrics"))
	}
	if !cfg.Dev {
		fmt.Fprintf(&b, "Add a user:  petrel user add ann --data %s\n", cfg.Data)
		return b.String()
	}
	b.WriteString("Anybody may be anybody here. In two terminals:\n")
	host, port := "127.0.0.1", "1883"
	if len(cfg.MQTT) > 0 && cfg.MQTT[0].Addr != "" {
		a := addr(config.ListenerName(0))
		if i := strings.LastIndexByte(a, ':'); i >= 0 {
			host, port = strings.Trim(a[:i], "[]"), a[i+1:]
		}
	}
	fmt.Fprintf(&b, "  mosquitto_sub -h %s -p %s -u ann -i phone -c -q 1 -v -t 'c/+/text/+'\n", host, port)
	fmt.Fprintf(&b, "  mosquitto_pub -h %s -p %s -u bob -q 1 -t u/ann/text -m 'hello ann'\n", host, port)
	return b.String()
}

// levelTrace is below debug: the only level at which bodies may be written.
const levelTrace = slog.LevelDebug - 4

func newLogger(w io.Writer, c config.Log, level *slog.LevelVar) *slog.Logger {
	level.Set(logLevel(c))
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func logLevel(c config.Log) slog.Level {
	return map[string]slog.Level{"trace": levelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}[c.Level]
}
