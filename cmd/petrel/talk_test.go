package main

import (
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/client/store/sqlite"
	"github.com/petrelchat/petrel/internal/servertest"
)

// TestTalkScripts runs testdata/script/*.txtar: every command that talks as a user, against a server. They are the
// documentation of these commands as well.
//
//	server [jwt]        starts a server where ann, bob and carol have the password "pw-" and their name; its address
//	                    is in PETREL_SERVER, its directory in DATA. With jwt it takes tokens of that kind.
//	server dev          one where anybody may be anybody
//	server stop, start  ends it, and starts it again at the same address
//	as USER             the following commands are this user's; nobody's without a name
//	hold FILE           keeps a store open until "release"
//	newer FILE          makes a store one of a newer version
//	jwt USER AGE        puts into PETREL_TOKEN a token that expires after AGE
//	cut VAR EXPR FILE   puts into VAR what the group in EXPR matches in a file, or in stdout
func TestTalkScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Values[stageKey{}] = &talkStage{dir: filepath.Join(e.WorkDir, "data")}
			e.Setenv("PETREL_HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "server": onStage((*talkStage).server), "as": onStage((*talkStage).as), "hold": onStage((*talkStage).hold),
			"release": onStage((*talkStage).release), "newer": onStage((*talkStage).newer), "jwt": onStage((*talkStage).jwt), "cut": onStage((*talkStage).cut),
		},
	})
}

type stageKey struct{}

// talkStage is what a script has beside its directory: a server, and a store that somebody holds.
type talkStage struct {
	dir  string
	mode string // dev, jwt or ""
	addr string // where it listens; "": not yet
	stop func() // nil: it does not run
	held io.Closer
}

func onStage(do func(*talkStage, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this can't be negated")
		}
		do(ts.Value(stageKey{}).(*talkStage), ts, args)
	}
}

const jwtSecret = "a secret of thirty-two characters"

func (g *talkStage) server(ts *testscript.TestScript, args []string) {
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch verb {
	case "stop":
		g.stop()
		g.stop = nil
		return
	case "start":
		g.start(ts)
		return
	}
	g.mode = verb
	ts.Setenv("DATA", g.dir)
	g.start(ts)
	ts.Setenv("PETREL_SERVER", "mqtt://"+g.addr)
	if g.mode == "dev" {
		return
	}
	for _, user := range []string{"ann", "bob", "carol"} {
		ts.Setenv("PETREL_PASSWORD", "pw-"+user)
		ts.Check(ts.Exec("petrel", "user", "add", user, "--data", g.dir))
	}
	ts.Setenv("PETREL_PASSWORD", "")
}

func (g *talkStage) start(ts *testscript.TestScript) {
	cfg := servertest.Config(g.dir)
	cfg.Dev, cfg.People.Messages = g.mode == "dev", "anyone"
	if g.addr != "" {
		cfg.MQTT[0].Addr = g.addr
	}
	if g.mode == "jwt" {
		key := filepath.Join(filepath.Dir(g.dir), "jwt.key")
		ts.Check(os.WriteFile(key, []byte(jwtSecret), 0o600))
		cfg.Auth.JWT.Keys, cfg.Auth.JWT.Leeway = []config.JWTKey{{File: key, Alg: "HS256"}}, 0
	}
	s, err := servertest.Run(broker.Options{Config: cfg})
	ts.Check(err)
	g.addr, g.stop = s.Addr("mqtt"), func() { ts.Check(s.Stop()) }
	ts.Defer(func() {
		if g.stop != nil {
			g.stop()
			g.stop = nil
		}
	})
}

func (g *talkStage) as(ts *testscript.TestScript, args []string) {
	user, password := "", ""
	if len(args) > 0 {
		user, password = args[0], "pw-"+args[0]
	}
	ts.Setenv("PETREL_USER", user)
	ts.Setenv("PETREL_PASSWORD", password)
}

func (g *talkStage) hold(ts *testscript.TestScript, args []string) {
	s, err := sqlite.Open(ts.MkAbs(args[0]), sqlite.Options{})
	ts.Check(err)
	g.held = s
	ts.Defer(func() { _ = s.Close() })
}

func (g *talkStage) release(ts *testscript.TestScript, _ []string) { ts.Check(g.held.Close()) }

func (g *talkStage) newer(ts *testscript.TestScript, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec("PRAGMA user_version = 1000")
	ts.Check(err)
	ts.Check(db.Close())
}

func (g *talkStage) jwt(ts *testscript.TestScript, args []string) {
	age, err := time.ParseDuration(args[1])
	ts.Check(err)
	claims := jwt.MapClaims{"sub": args[0], "exp": time.Now().Add(age).Unix()}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(jwtSecret))
	ts.Check(err)
	ts.Setenv("PETREL_TOKEN", text)
}

func (g *talkStage) cut(ts *testscript.TestScript, args []string) {
	file := "stdout"
	if len(args) > 2 {
		file = args[2]
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile(file))
	if len(m) != 2 {
		ts.Fatalf("%s is not in %s", args[1], file)
	}
	ts.Setenv(args[0], m[1])
}
