package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// connFlags say which server to talk to, and as whom. A password is never a flag: every user of the
// machine can read those.
type connFlags struct {
	URL          string `name:"url" help:"mqtt://, mqtts://, ws://, wss:// host:port, or unix:///path." default:"mqtt://127.0.0.1:1883" env:"PETREL_URL"`
	User         string `short:"u" help:"User id; without it a guest. The password comes from PETREL_PASSWORD or --password-file." env:"PETREL_USER"`
	PasswordFile string `help:"File with the password or token in its first line." placeholder:"FILE"`
	ClientID     string `short:"i" help:"Client id: one device of the user."`
	CA           string `name:"ca" help:"PEM file of the authority that signed the server's certificate." placeholder:"FILE"`
	Cert         string `help:"PEM file of the client's certificate." placeholder:"FILE"`
	Key          string `help:"PEM file of its key." placeholder:"FILE"`
}

const dialTimeout = 10 * time.Second

// dial opens the connection that the URL names.
func (f connFlags) dial(ctx context.Context) (net.Conn, error) {
	u, err := url.Parse(f.URL)
	if err != nil {
		return nil, usagef("--url: %v", err)
	}
	secure, err := f.tlsConfig(u.Hostname())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var c net.Conn
	switch u.Scheme {
	case "mqtt", "tcp":
		c, err = new(net.Dialer).DialContext(ctx, "tcp", withPort(u, "1883"))
	case "mqtts", "tls", "ssl":
		c, err = (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", withPort(u, "8883"))
	case "unix":
		c, err = new(net.Dialer).DialContext(ctx, "unix", u.Path)
	case "ws", "wss":
		c, err = dialWebSocket(ctx, u, secure)
	default:
		return nil, usagef("--url: %q must begin with mqtt://, mqtts://, ws://, wss:// or unix://", f.URL)
	}
	if err != nil {
		return nil, fmt.Errorf("no server answers at %s: start one with petrel serve, or name another with --url: %w", f.URL, err)
	}
	return packets.NewThreadSafeConn(c), nil
}

func withPort(u *url.URL, port string) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}

func dialWebSocket(ctx context.Context, u *url.URL, secure *tls.Config) (net.Conn, error) {
	if u.Path == "" {
		u.Path = "/mqtt"
	}
	ws, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		Subprotocols: []string{"mqtt"},
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: secure}},
	})
	if err != nil {
		return nil, err
	}
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
}

func (f connFlags) tlsConfig(host string) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, usagef("--ca: %v", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, usagef("--ca: there is no PEM certificate in %s", f.CA)
		}
	}
	if f.Cert != "" || f.Key != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, usagef("--cert and --key: %v", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func (f connFlags) password(env []string) (string, error) {
	if f.PasswordFile != "" {
		text, err := os.ReadFile(f.PasswordFile)
		if err != nil {
			return "", usagef("--password-file: %v", err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		return strings.TrimSuffix(first, "\r"), nil
	}
	for _, e := range env {
		if p, ok := strings.CutPrefix(e, "PETREL_PASSWORD="); ok {
			return p, nil
		}
	}
	return "", nil
}

// session is a connected client, and why its connection ended.
type session struct {
	*paho.Client
	lost chan error // holds one at most
}

// connect connects. change may add to the configuration and the CONNECT.
func (f connFlags) connect(ctx context.Context, env []string, change func(*paho.ClientConfig, *paho.Connect)) (*session, error) {
	password, err := f.password(env)
	if err != nil {
		return nil, err
	}
	c, err := f.dial(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{lost: make(chan error, 1)}
	lose := func(err error) {
		select {
		case s.lost <- err:
		default:
		}
	}
	cfg := paho.ClientConfig{
		Conn:          c,
		PacketTimeout: 30 * time.Second,
		OnClientError: func(err error) { lose(fmt.Errorf("the connection is lost: %w", err)) },
		OnServerDisconnect: func(d *paho.Disconnect) {
			reason := ""
			if d.Properties != nil {
				reason = d.Properties.ReasonString
			}
			lose(refusal("the server ended the connection", d.ReasonCode, reason))
		},
	}
	// RequestProblemInfo: without it no reason strings, and we want to print them [MQTT-3.1.2-29].
	connect := &paho.Connect{
		ClientID: f.ClientID, KeepAlive: 30, CleanStart: true, Properties: &paho.ConnectProperties{RequestProblemInfo: true},
		Username: f.User, UsernameFlag: f.User != "", Password: []byte(password), PasswordFlag: password != "",
	}
	change(&cfg, connect)
	s.Client = paho.NewClient(cfg)
	ack, err := s.Connect(ctx, connect)
	if err == nil {
		return s, nil
	}
	_ = c.Close()
	if ack != nil && ack.ReasonCode >= 0x80 {
		reason := ""
		if ack.Properties != nil {
			reason = ack.Properties.ReasonString
		}
		return nil, refusal("the server refused the connection", ack.ReasonCode, reason)
	}
	return nil, fmt.Errorf("connecting: %w", err)
}

func (s *session) close() { _ = s.Disconnect(&paho.Disconnect{}) }

// refusal is a reason code as an error: the server's own words if it gave any.
func refusal(what string, code byte, reason string) error {
	if reason == "" {
		reason = reasonText(code)
	}
	return fmt.Errorf("%s: %s (0x%02X)", what, cut(termtext.Line(reason), 512), code)
}

// reasonText is what a reason code means [MQTT5 §2.4].
func reasonText(code byte) string {
	if text, ok := map[byte]string{
		0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
		0x84: "unsupported protocol version", 0x85: "client identifier not valid", 0x86: "bad user name or password",
		0x87: "not authorized", 0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned", 0x8B: "server shutting down",
		0x8C: "bad authentication method", 0x8D: "keep alive timeout", 0x8E: "session taken over by another connection with this client id",
		0x8F: "topic filter invalid", 0x90: "topic name invalid", 0x91: "packet identifier in use", 0x93: "receive maximum exceeded",
		0x94: "topic alias invalid", 0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded",
		0x98: "administrative action", 0x99: "payload format invalid", 0x9A: "retain not supported", 0x9B: "QoS not supported",
		0x9C: "use another server", 0x9D: "server moved", 0x9E: "shared subscriptions not supported", 0x9F: "connection rate exceeded",
		0xA0: "maximum connect time", 0xA1: "subscription identifiers not supported", 0xA2: "wildcard subscriptions not supported",
	}[code]; ok {
		return text
	}
	return "no reason given"
}

// userProperties reads k=v flags.
func userProperties(flags []string) (paho.UserProperties, error) {
	var all paho.UserProperties
	for _, f := range flags {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return nil, usageError{errors.New("--user-property: write key=value")}
		}
		all.Add(k, v)
	}
	return all, nil
}
