package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/internal/mqttc"
	"github.com/petrelchat/petrel/internal/servertest"
)

// The server without dev, on the wire: who gets in, and as whom.

func v3(o *mqttc.ConnectOptions) { o.Version = 4 }

// tryAt connects to any address; the client id is the user's name unless an option says otherwise.
func (s *testServer) tryAt(addr, user string, opts ...opt) (*client, error) {
	o := mqttc.ConnectOptions{ClientID: user, Username: user, CleanStart: true}
	for _, fn := range opts {
		fn(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, ack, err := mqttc.Dial(ctx, addr, o)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return &client{Conn: conn, t: s.t, name: user, ack: ack}, nil
}

// turnedAway asserts the codes with which both versions are refused, and returns MQTT 5's reason.
func (s *testServer) turnedAway(three, five byte, user string, opts ...opt) (reason string) {
	s.t.Helper()
	for version, want := range map[byte]byte{4: three, 5: five} {
		_, err := s.try(user, append(opts[:len(opts):len(opts)], func(o *mqttc.ConnectOptions) { o.Version = version })...)
		var refused *mqttc.RefusedError
		if !errors.As(err, &refused) || refused.Code != want {
			s.t.Errorf("%s with MQTT version %d: %v, want CONNACK 0x%02X", user, version, err, want)
			continue
		}
		if version == 5 {
			reason = refused.Reason
		}
	}
	return reason
}

// ask makes a request as a client does, and returns the reply.
func (c *client) ask(method, request string) map[string]any {
	c.t.Helper()
	if !c.asks {
		code(c.t, c.subscribe("u/"+c.name+"/rpc"), 1)
		c.asks = true
	}
	c.send("rpc/"+method, request)
	return object(c.t, c.next().payload)
}

func refusalCode(reply map[string]any) string {
	e, _ := reply["error"].(map[string]any)
	return fmt.Sprint(e["code"])
}

func TestAccounts(t *testing.T) {
	s := serve(t, accounts, func(c *config.Config) { c.Admins = []string{"root"}; c.Auth.Throttle.Failures = 100 })
	s.addUsers("ana", "root")
	for _, version := range []opt{v3, v5} {
		s.signIn("ana", version).quiet()
	}
	wrong := s.turnedAway(4, 0x86, "ana", password("a guess"))
	for name, opts := range map[string][]opt{
		"no such user":     {password(passwordOf("ana"))},
		"no password":      nil,
		"empty password":   {password("")},
		"another spelling": {password(passwordOf("ana"))},
		"no user name":     {password(passwordOf("ana"))},
	} {
		user := map[string]string{"no such user": "nobody", "another spelling": "ANA", "no user name": ""}[name]
		if user == "" && name != "no user name" {
			user = "ana"
		}
		if name == "no user name" {
			opts = []opt{clean, device("x")} // guests are for dev
		}
		if reason := s.turnedAway(4, 0x86, user, opts...); reason != wrong {
			t.Errorf("%s: the reason %q tells more than %q", name, reason, wrong)
		}
	}

	t.Run("control socket", func(t *testing.T) {
		st, err := os.Stat(broker.SocketPath(s.Config.Data))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", st, err)
		}
		c, err := control.Dial(broker.SocketPath(s.Config.Data))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		err = c.Call(context.Background(), "admin.user.add", map[string]any{"user": "Ana", "password": "x"}, nil)
		if !errors.Is(err, &chat.Refusal{Code: chat.Conflict}) {
			t.Errorf("a second spelling of a user: %v", err)
		}
	})
	t.Run("administrators", func(t *testing.T) {
		root := s.signIn("root") // by the configuration
		if got := root.ask("admin.user.add", `{"user":"ops","password":"let me in","admin":true,"tag":"1"}`); got["ok"] == nil {
			t.Fatal(got)
		}
		ops := s.dial("ops", v5, password("let me in")) // by the account
		if got := ops.ask("admin.user.passwd", `{"user":"ana","password":"another"}`); got["ok"] == nil {
			t.Fatal(got)
		}
		s.turnedAway(4, 0x86, "ana", password(passwordOf("ana")))
		ana := s.dial("ana", password("another"))
		for _, method := range []string{"admin.user.add", "admin.user.list", "admin.token.add", "admin.audit", "admin.nothing"} {
			if got := ana.ask(method, `{"user":"eve","tag":"1"}`); refusalCode(got) != "not-authorized" {
				t.Errorf("%s by a user: %v", method, got)
			}
		}
		code(t, ana.subscribe("$SYS/#"), 0x80)
		trail, _ := ops.ask("admin.audit", `{}`)["ok"].(map[string]any)
		all := fmt.Sprint(trail["entries"])
		for _, want := range []string{"control socket", "root", "user.passwd"} {
			if !strings.Contains(all, want) {
				t.Errorf("the audit trail lacks %q: %s", want, all)
			}
		}
		for _, secret := range []string{"let me in", "another"} {
			if strings.Contains(all, secret) {
				t.Error("a password is in the audit trail")
			}
		}
	})
}

// A change to an account ends its live connections, all of them at once.
func TestAccountChangesCutSessions(t *testing.T) {
	s := serve(t, accounts)
	for _, tc := range []struct{ name, method, request string }{
		{"password", "admin.user.passwd", `"password":"new"`},
		{"disabled", "admin.user.update", `"disabled":true`},
		{"deleted", "admin.user.del", ``},
	} {
		s.addUsers(tc.name, "bystander-"+tc.name)
		other := s.signIn("bystander-" + tc.name)
		phone, tablet := s.signIn(tc.name, v5, device("phone"), keep), s.signIn(tc.name, v3, device("tablet"))
		sensor := s.dial(tc.name, v5, device("sensor"), password(s.addToken(tc.name, map[string]any{"write": true})))
		request := map[string]any{"user": tc.name}
		for k, v := range object(t, "{"+tc.request+"}") {
			request[k] = v
		}
		s.control(tc.method, request, nil)
		phone.closedWith(0x98)
		tablet.closedWith(0x98)
		sensor.closedWith(0x98)
		s.turnedAway(4, 0x86, tc.name, password(passwordOf(tc.name)))
		other.quiet()
	}
}

// Wrong passwords slow the user and the address down, and time heals it.
func TestThrottle(t *testing.T) {
	var at clock
	s := serveTuned(t, at.options, accounts)
	s.addUsers("ana", "bob", "eve")
	s.signIn("bob").leave() // known from here
	token := s.addToken("eve", map[string]any{"write": true})
	for range 5 {
		if _, err := s.try("ana", password("a guess")); err == nil {
			t.Fatal("a wrong password")
		}
	}
	if reason := s.turnedAway(3, 0x9F, "ana", password(passwordOf("ana"))); !strings.Contains(reason, "1 s") {
		t.Errorf("reason %q", reason)
	}
	s.turnedAway(3, 0x9F, "eve", password(passwordOf("eve"))) // the address is slow for whoever is new there
	s.signIn("bob").leave()
	s.dial("eve", password(token)).leave() // not to be guessed, so not slowed
	at.forward(2 * time.Second)
	s.signIn("ana").quiet()
}

// A data directory is of one kind for ever, and a server that lets anybody in is this machine's alone.
func TestDevMark(t *testing.T) {
	for _, dev := range []bool{true, false} {
		dir := t.TempDir()
		kind := func(c *config.Config) { c.Dev = dev }
		s := serve(t, in(dir), kind)
		s.Stop()
		cfg := s.Config
		cfg.Dev = !dev
		_, err := broker.New(broker.Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "--dev") || !strings.Contains(err.Error(), dir) {
			t.Errorf("made with dev=%v and opened otherwise: %v", dev, err)
		}
		serve(t, in(dir), kind)
	}
	cfg := config.Default()
	cfg.Data, cfg.Dev, cfg.MQTT[0].Addr = filepath.Join(t.TempDir(), "none"), true, "0.0.0.0:0"
	if _, err := broker.New(broker.Options{Config: cfg}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Error(err)
	}
	if _, err := os.Stat(cfg.Data); err == nil {
		t.Error("a refused configuration has made a data directory")
	}
}

// Nobody's password gets into the log, whatever they do with it.
func TestNoSecretsInTheLog(t *testing.T) {
	out := servertest.NewLog(t)
	const secret, body = "correct horse", "battery staple"
	debug := func(o *broker.Options) {
		o.Log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s := serveTuned(t, debug, accounts)
	s.control("admin.user.add", map[string]any{"user": "ana", "password": secret}, nil)
	token := s.addToken("ana", map[string]any{"write": true})
	ana := s.dial("ana", v5, password(secret))
	ana.send("ana/x", body)
	ana.refused(0x87, "other/x", body)
	ana.refused(0x99, "c/x/json", `{"text":"`+body)
	_, _ = s.try("ana", password("x"+secret))
	_, _ = s.try("bob", password(token))
	ana.bytes(frame(0x32, append(str(nil, "ana/x"), 0, 0, 0, 'b', 'a', 't', 't', 'e', 'r', 'y'))...)
	ana.closedWith(0x82)
	s.Stop()
	for _, hidden := range []string{secret, body, token, "battery"} {
		if strings.Contains(out.String(), hidden) {
			t.Errorf("%q is in the log", hidden)
		}
	}
}
