package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/auth"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/control"
)

// dataFlag finds the running server's socket: by the flag, or as the server found its data directory.
type dataFlag struct {
	Config string `help:"The server's configuration file, to find its data directory." env:"PETREL_CONFIG" placeholder:"FILE"`
	Data   string `help:"The server's data directory (petrel-data)." placeholder:"DIR"`
}

func (f dataFlag) dir(env []string) (string, error) {
	if f.Data != "" {
		return f.Data, nil
	}
	cfg, err := load(f.Config, env)
	return cfg.Data, err
}

// Places in a data directory.
func socketIn(data string) string { return broker.SocketPath(data) }
func storeIn(data string) string  { return broker.StoreDir(data) }

// call asks the running server.
func (f dataFlag) call(ctx context.Context, env []string, method string, in, out any) error {
	dir, err := f.dir(env)
	if err != nil {
		return err
	}
	c, err := control.Dial(socketIn(dir))
	if err != nil {
		return fmt.Errorf("%w (start it with: petrel serve --data %s)", err, dir)
	}
	defer c.Close()
	return c.Call(ctx, method, in, out)
}

type userCmd struct {
	Add    userAddCmd    `cmd:"" help:"Make an account. The password comes from the terminal, standard input or PETREL_PASSWORD."`
	Passwd userPasswdCmd `cmd:"" help:"Set a password."`
	Del    userDelCmd    `cmd:"" help:"Delete an account, its sessions and tokens, and erase what the user wrote."`
	Export userExportCmd `cmd:"" help:"Print all that a user is, has and said, one JSON object a line."`
	List   userListCmd   `cmd:"" help:"List the accounts."`
}

type userAddCmd struct {
	dataFlag
	User       string `arg:"" help:"User id: 1 to 64 of A-Z a-z 0-9 . _ -"`
	Admin      bool   `help:"May call rpc/admin.*."`
	NoPassword bool   `help:"No password: tokens and certificates only."`
}

func (c userAddCmd) Run(ctx context.Context, io console) error {
	req := auth.UserRequest{User: c.User}
	if c.Admin {
		req.Admin = &c.Admin
	}
	if !c.NoPassword {
		p, err := newPassword(io)
		if err != nil {
			return err
		}
		req.Password = &p
	}
	if err := c.call(ctx, io.env, "admin.user.add", req, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.out, "added %s\n", c.User)
	return err
}

type userPasswdCmd struct {
	dataFlag
	User string `arg:""`
}

func (c userPasswdCmd) Run(ctx context.Context, io console) error {
	p, err := newPassword(io)
	if err != nil {
		return err
	}
	if err := c.call(ctx, io.env, "admin.user.passwd", auth.UserRequest{User: c.User, Password: &p}, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.out, "changed the password of %s\n", c.User)
	return err
}

type userDelCmd struct {
	dataFlag
	User string `arg:""`
}

func (c userDelCmd) Run(ctx context.Context, io console) error {
	if err := c.call(ctx, io.env, "admin.user.del", auth.UserRequest{User: c.User}, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.out, "deleted %s\n", c.User)
	return err
}

type userExportCmd struct {
	dataFlag
	User string `arg:""`
}

// Run prints one JSON object a line: all that the user is, has and said.
func (c userExportCmd) Run(ctx context.Context, io console) error {
	for after := ""; ; {
		var page struct {
			Items []json.RawMessage `json:"items"`
			After string            `json:"after"`
			More  bool              `json:"more"`
		}
		req := struct {
			User  string `json:"user"`
			After string `json:"after"`
		}{c.User, after}
		if err := c.call(ctx, io.env, "admin.user.export", req, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if _, err := fmt.Fprintf(io.out, "%s\n", item); err != nil {
				return err
			}
		}
		if after = page.After; !page.More {
			return nil
		}
	}
}

type userListCmd struct{ dataFlag }

func (c userListCmd) Run(ctx context.Context, io console) error {
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "USER\tADMIN\tDISABLED\tPASSWORD\tCREATED")
	for req := (auth.ListRequest{Limit: 1000}); ; {
		var page auth.UserListReply
		if err := c.call(ctx, io.env, "admin.user.list", req, &page); err != nil {
			return err
		}
		for _, u := range page.Users {
			fmt.Fprintf(w, "%s\t%t\t%t\t%t\t%s\n", u.User, u.Admin, u.Disabled, u.Password, when(u.Created))
			req.After = u.User
		}
		if !page.More || len(page.Users) == 0 {
			return w.Flush()
		}
	}
}

type tokenCmd struct {
	Add    tokenAddCmd    `cmd:"" help:"Make a token that a device uses as its password. It is shown once."`
	Revoke tokenRevokeCmd `cmd:"" help:"Revoke a token; its connections end."`
	List   tokenListCmd   `cmd:"" help:"List the tokens, without what is secret in them."`
}

type tokenAddCmd struct {
	dataFlag
	User    string   `arg:""`
	Name    string   `help:"What the device is called."`
	Conv    []string `help:"Only these conversations."`
	Read    bool     `help:"May read; without --read and --write it may both."`
	Write   bool     `help:"May write."`
	Expires string   `help:"When it ends, from now: 12h, 90d." placeholder:"DURATION"`
}

func (c tokenAddCmd) Run(ctx context.Context, io console) error {
	req := auth.TokenRequest{User: c.User, Name: c.Name, Convs: c.Conv}
	if c.Read || c.Write {
		req.Read, req.Write = &c.Read, &c.Write
	}
	if c.Expires != "" {
		d, err := config.ParseDuration(c.Expires)
		if err != nil || d < time.Second {
			return usagef("--expires: %q must be a second at least, like 12h or 90d", c.Expires)
		}
		req.Expires = int64(d / time.Second)
	}
	var reply auth.TokenAddReply
	if err := c.call(ctx, io.env, "admin.token.add", req, &reply); err != nil {
		return err
	}
	fmt.Fprintf(io.err, "token %s of %s; it is not shown again:\n", reply.ID, c.User)
	_, err := fmt.Fprintln(io.out, reply.Token)
	return err
}

type tokenRevokeCmd struct {
	dataFlag
	ID string `arg:"" help:"As petrel token list shows it."`
}

func (c tokenRevokeCmd) Run(ctx context.Context, io console) error {
	if err := c.call(ctx, io.env, "admin.token.revoke", auth.IDRequest{ID: c.ID}, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.out, "revoked %s\n", c.ID)
	return err
}

type tokenListCmd struct {
	dataFlag
	User string `arg:"" optional:"" help:"Of this user only."`
}

func (c tokenListCmd) Run(ctx context.Context, io console) error {
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tUSER\tNAME\tRIGHTS\tCONVERSATIONS\tEXPIRES\tUSED")
	for req := (auth.ListRequest{User: c.User, Limit: 1000}); ; {
		var page auth.TokenListReply
		if err := c.call(ctx, io.env, "admin.token.list", req, &page); err != nil {
			return err
		}
		for _, t := range page.Tokens {
			rights := strings.TrimPrefix(map[bool]string{true: ",read"}[t.Read]+map[bool]string{true: ",write"}[t.Write], ",")
			convs := "all"
			if len(t.Convs) > 0 {
				convs = strings.Join(t.Convs, ",")
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.User, t.Name, rights, convs, when(t.Expires), when(t.Used))
			req.After = t.ID
		}
		if !page.More || len(page.Tokens) == 0 {
			return w.Flush()
		}
	}
}

// when writes milliseconds since 1970.
func when(ms int64) string {
	if ms == 0 {
		return "never"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04")
}

// newPassword takes a password from PETREL_PASSWORD, from the terminal (twice, unseen), or from the first
// line of what is piped in.
func newPassword(io console) (string, error) {
	for _, e := range io.env {
		if p, ok := strings.CutPrefix(e, "PETREL_PASSWORD="); ok {
			return p, nil
		}
	}
	in := bufio.NewReader(io.in)
	if f, ok := io.in.(*os.File); ok && isTerminal(f) {
		return typedTwice(in, io.err, f)
	}
	return line(in)
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

func typedTwice(in *bufio.Reader, w io.Writer, tty *os.File) (string, error) {
	echo := func(mode string) error {
		c := exec.Command("stty", mode)
		c.Stdin = tty
		return c.Run()
	}
	if err := echo("-echo"); err != nil {
		return "", errors.New("the terminal can't hide a password: pipe it in, or set PETREL_PASSWORD")
	}
	defer echo("echo") //nolint:errcheck // nothing better to do
	fmt.Fprint(w, "Password: ")
	first, err := line(in)
	fmt.Fprint(w, "\nAgain: ")
	if err != nil {
		return "", err
	}
	second, err := line(in)
	fmt.Fprintln(w)
	if err == nil && first != second {
		err = errors.New("the two are not the same: nothing was changed")
	}
	return first, err
}

// line reads one without its end. An empty one is no password.
func line(in *bufio.Reader) (string, error) {
	b, err := in.ReadBytes('\n')
	b = bytes.TrimRight(b, "\r\n")
	if len(b) == 0 {
		if err != nil && err != io.EOF {
			return "", err
		}
		return "", errors.New("there is no password: type one, pipe it in, or set PETREL_PASSWORD")
	}
	return string(b), nil
}
