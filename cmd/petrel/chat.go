package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
	"github.com/petrelchat/petrel/cmd/petrel/internal/tui"
)

type chatCmd struct {
	profile.Flags
	Plain bool   `help:"Plain lines in and out, without placing the cursor: for screen readers and pipes. So it is anyway if standard output is no terminal, or one that can't do more."`
	Mouse bool   `help:"The mouse scrolls and chooses; to select text, hold Shift then."`
	Away  bool   `help:"Don't show others that you are there."`
	Conv  string `arg:"" optional:"" help:"What to open: a user, or a group by its id or title."`
}

// Help is what petrel help chat adds.
func (chatCmd) Help() string {
	return `It works while there is no connection: what you send waits on this device's disk, marked as queued, and goes out when ` +
		`there is one. F1 shows the keys, /help the commands. NO_COLOR is respected.`
}

func (c chatCmd) Run(ctx context.Context, con console) (err error) {
	p, err := profile.Load(c.Flags, con.env)
	if err != nil {
		return err
	}
	cl, err := p.Open(ctx, profile.Use{Store: profile.Chat, Tune: func(o *client.Options) { o.Invisible = c.Away }})
	if errors.Is(err, client.ErrBusy) {
		return notNow(fmt.Errorf("petrel chat is open already as %s, in another window: go there, or close it: %w", p.User, err))
	}
	if err != nil {
		return err
	}
	err = tui.Run(ctx, tui.Options{Client: cl.Client, In: con.in, Out: con.out, Env: con.env, Plain: c.Plain, Mouse: c.Mouse, Open: c.Conv})
	// What is on its way gets a moment; the rest stays on the disk for the next time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), chatFarewell)
	defer cancel()
	closed := cl.Close(ctx)
	if errors.Is(closed, context.DeadlineExceeded) {
		closed = nil
	}
	return errors.Join(err, closed)
}

const chatFarewell = 3 * time.Second
