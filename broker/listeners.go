package broker

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/pprof"
	"path/filepath"

	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/broker/listen"
	"github.com/petrelchat/petrel/broker/webhook"
)

// listen opens the control socket and all listeners, and starts to serve them.
func (s *Server) listen() error {
	c := s.cfg.Load()
	if err := s.openControl(c); err != nil {
		return err
	}
	var err error
	if needsTLS(c) {
		if s.tickets, err = listen.OpenTickets(filepath.Join(c.Data, "tickets"), s.now()); err != nil {
			return err
		}
	}
	if err := s.startRelay(c); err != nil {
		return err
	}
	for i := range c.MQTT {
		l, err := s.stream(config.ListenerName(i), &c.MQTT[i], c)
		if err != nil {
			return err
		}
		if err := s.add(config.ListenerName(i), l); err != nil {
			return err
		}
	}
	if err := s.listenHTTP(c); err != nil {
		return err
	}
	for _, l := range s.listeners {
		s.wg.Add(1)
		go func() { defer s.wg.Done(); l.Serve(s.adapter.Attach) }()
	}
	return nil
}

func needsTLS(c *config.Config) bool {
	on := c.HTTP.TLS.On()
	for i := range c.MQTT {
		on = on || c.MQTT[i].TLS.On()
	}
	return on
}

// add opens a listener. The library knows it too, so that its own closing waits for no stranger.
func (s *Server) add(name string, l listeners.Listener) error {
	if err := s.mochi.AddListener(l); err != nil {
		return fmt.Errorf("listener %s: %w", name, err)
	}
	s.listeners[name] = l
	return nil
}

func (s *Server) stream(name string, l *config.Listener, c *config.Config) (*listen.Stream, error) {
	o := listen.StreamOptions{ID: name, Addr: l.Addr, Unix: l.Unix, Proxy: l.ProxyProtocol, HandshakeTimeout: c.Limits.ConnectTimeout, Admit: s.adapter.Admit}
	var err error
	if l.UnixMode != "" {
		if o.Mode, err = config.ParseMode(l.UnixMode); err != nil {
			return nil, fmt.Errorf("listener %s: unix_mode: %w", name, err)
		}
	}
	if o.Trusted, err = config.ParsePrefixes(l.TrustedProxies); err != nil {
		return nil, fmt.Errorf("listener %s: %w", name, err)
	}
	if o.TLS, err = s.certificates(&l.TLS, nil); err != nil {
		return nil, fmt.Errorf("listener %s: %w", name, err)
	}
	return listen.NewStream(o), nil
}

func (s *Server) certificates(t *config.TLS, protos []string) (*listen.Certificates, error) {
	if !t.On() {
		return nil, nil
	}
	o := listen.CertificateOptions{Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA, Tickets: s.tickets, NextProtos: protos, Now: s.now, Log: s.log}
	switch t.ClientAuth {
	case "request":
		o.ClientAuth = tls.VerifyClientCertIfGiven
	case "require":
		o.ClientAuth = tls.RequireAndVerifyClientCert
	}
	certs, err := listen.NewCertificates(o)
	if err == nil {
		s.certs = append(s.certs, certs)
	}
	return certs, err
}

// listenHTTP opens the listener for WebSocket, health and metrics, and the one for metrics alone.
func (s *Server) listenHTTP(c *config.Config) error {
	metrics := s.metricsHandler()
	handlers := map[string]http.Handler{"/healthz": http.HandlerFunc(s.healthz), "/readyz": http.HandlerFunc(s.readyz)}
	if c.Dev { // loopback only there
		handlers["/debug/pprof/"] = http.HandlerFunc(pprof.Index)
		handlers["/debug/pprof/profile"] = http.HandlerFunc(pprof.Profile)
	}
	handlers[webhook.Pattern] = s.webhooks
	handlers[joinPattern] = joinPage()
	if c.Metrics.Addr == "" {
		handlers["/metrics"] = metrics
	} else {
		l := listen.NewHTTP(listen.HTTPOptions{ID: "metrics", Addr: c.Metrics.Addr, Dev: c.Dev}, map[string]http.Handler{"/metrics": metrics})
		if err := s.add("metrics", l); err != nil {
			return err
		}
	}
	if c.HTTP.Addr == "" {
		return nil
	}
	trusted, err := config.ParsePrefixes(c.HTTP.TrustedProxies)
	if err != nil {
		return err
	}
	certs, err := s.certificates(&c.HTTP.TLS, []string{"http/1.1"})
	if err != nil {
		return fmt.Errorf("listener http: %w", err)
	}
	l := listen.NewHTTP(listen.HTTPOptions{
		ID: "http", Addr: c.HTTP.Addr, TLS: certs, Path: c.HTTP.Path, Origins: c.HTTP.Origins, Dev: c.Dev,
		TrustedProxies: trusted, HandshakeTimeout: c.Limits.ConnectTimeout, Admit: s.adapter.Admit,
		MessageLimit: max(4<<20, 2*int64(c.Limits.Packet)),
	}, handlers)
	s.http = append(s.http, l)
	return s.add("http", l)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // a prober that is gone needs no answer
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !s.Ready() {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("not ready\n"))
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

// openControl answers the command line on a Unix socket in the data directory.
func (s *Server) openControl(c *config.Config) error {
	srv, err := control.Listen(control.Options{Path: SocketPath(c.Data), Log: s.log, Context: actorContext})
	if err != nil {
		return err
	}
	s.control = srv
	s.registerControl(srv)
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		if err := srv.Serve(); err != nil {
			s.log.Error("the control socket failed", "error", err)
		}
	}()
	return nil
}
