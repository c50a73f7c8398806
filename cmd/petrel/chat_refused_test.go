package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/petrelchat/petrel/broker/config"
)

// strict is a server where ann and bob have the password "pw-" and their name, or a token of their own.
func strict(t *testing.T) *chatServer {
	t.Helper()
	key := filepath.Join(t.TempDir(), "jwt.key")
	if err := os.WriteFile(key, []byte(jwtSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := chatServe(t, func(cfg *config.Config) {
		cfg.Dev, cfg.People.Messages = false, "anyone"
		cfg.Auth.JWT.Keys, cfg.Auth.JWT.Leeway = []config.JWTKey{{File: key, Alg: "HS256"}}, 0
	})
	for _, user := range []string{"ann", "bob"} {
		add := exec.Command("petrel", "user", "add", user, "--data", s.Config.Data)
		add.Env = append(os.Environ(), "PETREL_PASSWORD=pw-"+user)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return s
}

// token is one of ann's that expires after a while.
func token(t *testing.T, after time.Duration) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(after).Unix()}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(jwtSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestChatRefused: who is not let in is told why and what to do, keeps what was typed, and sends it when the secret is right.
func TestChatRefused(t *testing.T) {
	t.Parallel()
	s := strict(t)
	bob := s.user("bob")
	env := s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1")
	ann := s.screen(80, 24, append(env, "PETREL_PASSWORD=wrong"), "bob")
	ann.shows("! refused by the server") // the notice
	ann.golden("40-wrong-password")
	ann.keys("careful", keyEnter)
	ann.shows("… queued")
	ann.quit()

	plain := s.plain(append(env, "PETREL_PASSWORD=wrong"), "--plain", "bob")
	plain.hears("password is wrong. (check the user name and the password or token")
	plain.types("/quit")
	plain.hears("that is kept, and goes out when petrel runs again")
	if err := plain.proc.Wait(); err != nil {
		t.Error(err)
	}

	expired := s.screen(80, 24, append(env, "PETREL_TOKEN="+token(t, -time.Hour)), "bob")
	expired.shows("! refused by the server")
	expired.golden("41-expired-token")
	expired.quit()

	right := s.screen(80, 24, append(env, "PETREL_PASSWORD=pw-ann"), "bob")
	right.shows("up to date")
	right.showsLine("careful", "✓✓")
	s.arrives(bob, bob.Direct("ann"), "careful")
}

// TestChatTokenEnds: a token that ends while petrel chat runs is told of too, and what is typed from then on is kept.
func TestChatTokenEnds(t *testing.T) {
	t.Parallel()
	s := strict(t)
	ann := s.screen(80, 24, s.chatEnv("ann", "TERM=xterm-256color", "NO_COLOR=1", "PETREL_TOKEN="+token(t, 4*time.Second)), "bob")
	ann.shows("up to date")
	ann.shows("expired")
	ann.keys("kept", keyEnter)
	ann.showsLine("kept", "… queued")
}
