package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
)

type loginCmd struct {
	Server  string        `arg:"" optional:"" help:"mqtts://chat.example.org, mqtt://, wss://, ws:// or unix:///path; without it as before, or PETREL_SERVER."`
	User    string        `arg:"" optional:"" help:"User id; without it as before, or PETREL_USER."`
	Profile string        `help:"The name of the login, for those who have several (default)." env:"PETREL_PROFILE" placeholder:"NAME"`
	Token   bool          `help:"What is read is a token, not a password."`
	CA      string        `name:"ca" help:"PEM file of the authority that signed the server's certificate." env:"PETREL_CA" placeholder:"FILE"`
	Cert    string        `help:"PEM file of the client's certificate." placeholder:"FILE"`
	Key     string        `help:"PEM file of its key." placeholder:"FILE"`
	NoCheck bool          `help:"Save it without asking the server."`
	List    bool          `help:"List the profiles instead."`
	Timeout time.Duration `help:"How long to wait for the server." default:"30s"`
	JSON    bool          `name:"json" help:"Print JSON, one object a line."`
}

// Help is what petrel help login adds.
func (loginCmd) Help() string {
	return `The password or token is read from PETREL_PASSWORD or PETREL_TOKEN, from the terminal, unseen, or from the first line of ` +
		`standard input, tried at the server, and saved in a file that only you can read. It is never an argument: every user of ` +
		`the machine can read those. An empty line is no password, which a server in dev mode takes.`
}

func (c loginCmd) Run(ctx context.Context, con console) error {
	if c.List {
		return c.list(con)
	}
	p, err := c.profile(con.env)
	if err != nil {
		return err
	}
	if p.Server == "" || p.User == "" {
		return usagef("write the server and the user: petrel login mqtts://chat.example.org ann")
	}
	if err := p.Validate(); err != nil {
		return err
	}
	secret, token, err := c.secret(ctx, con, fmt.Sprintf("Password of %s at %s: ", p.User, p.Server))
	if err != nil {
		return err
	}
	p.SetSecret(secret, token)
	if !c.NoCheck {
		if err := c.check(ctx, con, p); err != nil {
			return err
		}
	}
	if err := p.Save(); err != nil {
		return err
	}
	t := talk{con: con, json: c.JSON}
	return t.say(profileJSON{p.Name, p.User, p.Server, p.Path()}, "logged in as %s at %s; saved in %s", p.User, p.Server, p.Path())
}

// profile is the profile as it was, with what the command line changes.
func (c loginCmd) profile(env []string) (profile.Profile, error) {
	p, err := profile.Saved(c.Profile, env)
	if err != nil {
		return p, err
	}
	p.Become(cmp.Or(c.Server, lookup(env, "PETREL_SERVER"), p.Server), cmp.Or(c.User, lookup(env, "PETREL_USER"), p.User))
	for _, f := range []struct {
		flag string
		to   *string
	}{{c.CA, &p.CA}, {c.Cert, &p.Cert}, {c.Key, &p.Key}} {
		if f.flag == "" {
			continue
		}
		// The profile is used from other directories too.
		if *f.to, err = filepath.Abs(f.flag); err != nil {
			return p, err
		}
	}
	return p, nil
}

// check connects once.
func (c loginCmd) check(ctx context.Context, con console, p profile.Profile) (err error) {
	cl, err := p.Open(ctx, profile.Use{Store: profile.Nothing, Tune: invisible})
	if err != nil {
		return err
	}
	t := &talk{Client: cl, p: p, con: con, timeout: c.Timeout}
	defer t.close(ctx, &err)
	if err := t.online(ctx); err != nil {
		return exitError{exitCode(err), fmt.Errorf("nothing is saved (--no-check saves it anyway): %w", err)}
	}
	return nil
}

type profileJSON struct {
	Profile string `json:"profile"`
	User    string `json:"user"`
	Server  string `json:"server"`
	Path    string `json:"path"`
}

func (c loginCmd) list(con console) error {
	names, err := profile.Names(con.env)
	if err != nil {
		return err
	}
	t := talk{con: con, json: c.JSON}
	l := t.newList("PROFILE\tUSER\tSERVER\tFILE")
	for _, name := range names {
		p, err := profile.Saved(name, con.env)
		if err != nil {
			return err
		}
		if err := l.row(profileJSON{p.Name, p.User, p.Server, p.Path()}, p.Name, p.User, p.Server, p.Path()); err != nil {
			return err
		}
	}
	return l.end()
}

// secret takes the password or token from the environment, the terminal, or what is piped in.
func (c loginCmd) secret(ctx context.Context, con console, prompt string) (secret string, token bool, err error) {
	if s := lookup(con.env, "PETREL_TOKEN"); s != "" {
		return s, true, nil
	}
	if s := lookup(con.env, "PETREL_PASSWORD"); s != "" {
		return s, c.Token, nil
	}
	f, ok := con.in.(*os.File)
	if !ok || !isTerminal(f) {
		s, err := bufio.NewReader(interruptible(ctx, con.in)).ReadString('\n')
		if ctx.Err() != nil {
			return "", false, notNow(errors.New("interrupted; nothing is saved"))
		}
		if err != nil && err != io.EOF {
			return "", false, err
		}
		if s == "" {
			return "", false, usagef("there is no password: type one, pipe it in, or set PETREL_PASSWORD or PETREL_TOKEN")
		}
		return strings.TrimRight(s, "\r\n"), c.Token, nil
	}
	if c.Token {
		prompt = strings.Replace(prompt, "Password", "Token", 1)
	}
	s, err := unseen(ctx, con, f, prompt)
	return s, c.Token, err
}

// unseen reads a line from the terminal without showing it. Interrupted, it leaves the terminal as it was.
func unseen(ctx context.Context, con console, tty *os.File, prompt string) (string, error) {
	echo := func(mode string) error {
		c := exec.Command("stty", mode)
		c.Stdin = tty
		return c.Run()
	}
	if err := echo("-echo"); err != nil {
		return "", errors.New("the terminal can't hide a password: pipe it in, or set PETREL_PASSWORD")
	}
	defer func() {
		_ = echo("echo") // nothing better to do
		fmt.Fprintln(con.err)
	}()
	fmt.Fprint(con.err, prompt)
	type read struct {
		line string
		err  error
	}
	typed := make(chan read, 1)
	go func() { // what waits for the terminal can't be interrupted; it ends with the process
		s, err := bufio.NewReader(tty).ReadString('\n')
		typed <- read{s, err}
	}()
	select {
	case <-ctx.Done():
		return "", errors.New("interrupted; nothing is saved")
	case r := <-typed:
		return strings.TrimRight(r.line, "\r\n"), r.err
	}
}

type logoutCmd struct {
	Profile string `help:"The login to forget (default)." env:"PETREL_PROFILE" placeholder:"NAME"`
	All     bool   `help:"Remove what this device knows of the conversations too, with what still waits to be sent."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

func (c logoutCmd) Run(con console) error {
	p, err := profile.Saved(c.Profile, con.env)
	if err != nil {
		return err
	}
	remove := p.Remove
	if c.All {
		remove = p.RemoveAll
	}
	if err := remove(); errors.Is(err, client.ErrBusy) {
		return notNow(fmt.Errorf("another petrel program of this user is at work, nothing was removed: end it and try again: %w", err))
	} else if err != nil {
		return err
	}
	t := talk{con: con, json: c.JSON}
	gone := profileJSON{p.Name, p.User, p.Server, p.Path()}
	if !c.All {
		return t.say(gone, "forgot the password of %s; what was read and what waits to be sent is still in %s", p.User, p.Dir())
	}
	return t.say(gone, "forgot %s at %s", p.User, p.Server)
}

// lookup finds a variable; the last one counts.
func lookup(env []string, name string) string {
	value := ""
	for _, e := range env {
		if k, v, _ := strings.Cut(e, "="); k == name {
			value = v
		}
	}
	return value
}
