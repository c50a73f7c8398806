package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
)

// talkFlags are those of every command that talks as a user.
type talkFlags struct {
	profile.Flags
	Timeout time.Duration `help:"How long to wait for the server." default:"30s"`
	JSON    bool          `name:"json" help:"Print JSON, one object a line. Times are ms since 1970 UTC."`
}

// talk is a client that is open, for one command.
type talk struct {
	*profile.Client
	p       profile.Profile
	con     console
	json    bool
	timeout time.Duration
}

// need is what a command wants of the store.
type need int

const (
	mayKeep  need = iota // it only asks the server: while another command has the store, or where there is no place for one, it does without
	mustKeep             // it reads or writes what is kept: it waits for its turn
	// mustKeepOffline is mustKeep for what concerns this device alone.
	mustKeepOffline
)

// farewell is how long a command waits at its end for what is on its way.
const farewell = 5 * time.Second

// open makes a client of what flags, environment and profile say. It does not wait for the server.
func (f talkFlags) open(ctx context.Context, con console, n need) (*talk, error) {
	use := profile.Use{Store: profile.Commands}
	switch n {
	case mustKeepOffline:
		use.Busy, use.Tune = patience(con, f.Timeout), stayOffline
	case mustKeep:
		use.Busy = patience(con, f.Timeout)
	}
	t, err := f.openUse(ctx, con, use)
	if n == mayKeep && (errors.Is(err, client.ErrBusy) || errors.Is(err, profile.ErrNoStore)) {
		return f.openUse(ctx, con, profile.Use{Store: profile.Nothing})
	}
	return t, err
}

func (f talkFlags) openUse(ctx context.Context, con console, use profile.Use) (*talk, error) {
	if f.Timeout < 0 {
		return nil, usagef("--timeout: %v must not be negative", f.Timeout)
	}
	p, err := profile.Load(f.Flags, con.env)
	if err != nil {
		return nil, err
	}
	if use.Tune == nil {
		use.Tune = invisible
	}
	c, err := p.Open(ctx, use)
	if err != nil {
		return nil, err
	}
	return &talk{Client: c, p: p, con: con, json: f.JSON, timeout: f.Timeout}, nil
}

// invisible is how commands connect: they come and go, and nobody should see their user come and go with them.
func invisible(o *client.Options) { o.Invisible = true }

// stayOffline is for what concerns this device alone.
func stayOffline(o *client.Options) {
	o.Dial = func(context.Context) (net.Conn, error) { return nil, errors.New("this command does not connect") }
}

// patience waits while another command has the store, and says so when that takes long.
func patience(con console, most time.Duration) func(error) error {
	begun, told := time.Now(), false
	return func(busy error) error {
		waited := time.Since(begun)
		if waited >= most {
			return notNow(fmt.Errorf("another petrel command of this user is still at work; nothing was done: %w", busy))
		}
		if waited > time.Second && !told {
			told = true
			fmt.Fprintln(con.err, "petrel: waiting for another petrel command of this user")
		}
		return nil
	}
}

// close ends the client. What was to be done is done or was reported: only a failing store is news.
func (t *talk) close(ctx context.Context, err *error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if e := t.Close(ctx); e != nil && *err == nil && !errors.Is(e, context.DeadlineExceeded) {
		*err = e
	}
}

// bounded is ctx with the command's patience.
func (t *talk) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.timeout)
}

// online waits for the connection. It gives up when an attempt fails: whoever asks wants to know now.
func (t *talk) online(ctx context.Context) error {
	return t.await(ctx, func(s client.Status) bool { return s.State == client.Offline && s.Err != nil })
}

// patiently waits for the connection as long as the flags say, over failed attempts too.
func (t *talk) patiently(ctx context.Context) error {
	told := false
	return t.await(ctx, func(s client.Status) bool {
		if s.State == client.Offline && s.Err != nil && !told && t.timeout >= time.Second {
			told = true
			fmt.Fprintf(t.con.err, "petrel: %v; trying for %v (Ctrl-C leaves it queued)\n", s.Err, t.timeout)
		}
		return false
	})
}

// await waits until there is a connection, or what refused it would refuse it again, or hopeless says so.
func (t *talk) await(ctx context.Context, hopeless func(client.Status) bool) error {
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	var last client.Status
	err := t.Wait(ctx, func(s client.Status) bool {
		last = s
		return s.State >= client.CatchingUp || s.Permanent || hopeless(s)
	})
	switch {
	case last.State >= client.CatchingUp:
		return nil
	case last.Permanent:
		return exitError{exitDenied, fmt.Errorf("%s at %s is %w; %s", t.p.User, t.p.Server, last.Err, t.p.Remedy())}
	case last.Err != nil:
		return notNow(last.Err)
	case errors.Is(err, context.Canceled):
		return notNow(errors.New("interrupted"))
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return notNow(fmt.Errorf("%s does not answer within %v (--timeout)", t.p.Server, t.timeout))
}

// ask opens a client, waits for the server and hands both over to a command that only asks.
func (f talkFlags) ask(ctx context.Context, con console, do func(context.Context, *talk) error) (err error) {
	t, err := f.open(ctx, con, mayKeep)
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	if err := t.online(ctx); err != nil {
		return err
	}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	return t.late(do(ctx, t))
}

// late says what a deadline means to whoever typed the command.
func (t *talk) late(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return notNow(fmt.Errorf("%s did not answer within %v (--timeout)", t.p.Server, t.timeout))
	}
	if errors.Is(err, context.Canceled) {
		return notNow(errors.New("interrupted"))
	}
	return err
}

// conv reads how people name a conversation: a group's id, @user, or a~b.
func (t *talk) conv(s string) (string, error) {
	if user, direct := strings.CutPrefix(s, "@"); direct {
		if !chat.ValidUser(user) {
			return "", usagef("%q is no user id: 1 to 64 letters, digits, dots, dashes and underscores", user)
		}
		return t.Direct(user), nil
	}
	if !chat.ValidGroup(s) && !chat.IsDirect(s) {
		return "", usagef("%q is no conversation: write the id of a group, or @user for the direct one with somebody", s)
	}
	return s, nil
}

// target reads what names a message: its number in the conversation, or the id of one that waits in the outbox.
func target(s string) client.Target {
	if seq, err := strconv.ParseUint(s, 10, 64); err == nil {
		return client.At(seq)
	}
	return client.Target{ID: s}
}

// moment reads a time that somebody wrote: 2026-05-01, 2026-05-01T18:30, or a duration back from now.
func moment(flag, s string, now time.Time) (client.Millis, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return client.MillisOf(now.Add(-d)), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return client.MillisOf(at), nil
		}
	}
	return 0, usagef("%s: %q is no time: write 2026-05-01, 2026-05-01T18:30, or how long ago, like 36h", flag, s)
}

// later reads when something ends: a duration from now, or a time. "": never.
func later(flag, s string, now time.Time) (client.Millis, error) {
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return client.MillisOf(now.Add(d)), nil
	}
	at, err := moment(flag, s, now)
	if err == nil && s != "" && !at.Time().After(now) {
		err = usagef("%s: %q is over already", flag, s)
	}
	return at, err
}
